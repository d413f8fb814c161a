/* SPDX-License-Identifier: MIT */
/* clock.h - the time as every layer reads it: nanoseconds, monotonic. Async-signal-safe. */
#ifndef FL_BASE_CLOCK_H
#define FL_BASE_CLOCK_H

#include "host/task.h"

static inline uint64_t fl_now_ns(void)
{
	return fl_host_now_ns();
}

#endif
