/* SPDX-License-Identifier: MIT */
/* yield.h - the engine's, but now and then a thread pauses at a yield point (delay.c). */
#ifndef FL_STRESS_BASE_YIELD_H
#define FL_STRESS_BASE_YIELD_H

#include_next "base/yield.h"

void fl_delay(const void *what);

#undef fl_yield_point
#undef fl_yield_look
#define fl_yield_point(what) fl_delay(what)
#define fl_yield_look(what)  fl_delay(what)

#endif
