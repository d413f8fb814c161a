/* SPDX-License-Identifier: MIT */
/* sys.h - in place of the engine's: the few system calls that what is explored makes, answered by the scheduler. */
#ifndef FL_SIM_BASE_SYS_H
#define FL_SIM_BASE_SYS_H

#define fl_sys6 host_sys6
#include_next "base/sys.h"
#undef fl_sys6

long sim_sys(long nr, long a, long b, long c, long d, long e, long f);

static inline long fl_sys6(long nr, long a, long b, long c, long d, long e, long f)
{
	return sim_sys(nr, a, b, c, d, e, f);
}

#endif
