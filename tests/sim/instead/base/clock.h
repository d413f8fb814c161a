/* SPDX-License-Identifier: MIT */
/* clock.h - in place of the engine's: time stands still, except for a thread that polls. */
#ifndef FL_BASE_CLOCK_H
#define FL_BASE_CLOCK_H

#include <stdint.h>

uint64_t sim_now_ns(void);

static inline uint64_t fl_now_ns(void)
{
	return sim_now_ns();
}

#endif
