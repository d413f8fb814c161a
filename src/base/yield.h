/* SPDX-License-Identifier: MIT */
/*
 * yield.h - moments between two looks. Most of what threads share is behind locks; where something is read or changed
 * without one, and the order of two threads there matters, fl_yield_point() names the place and the thing. It is
 * nothing in the library. In tests/stress a thread may pause there for a while. The scheduler of tests/sim, which has
 * a header of its own in place of this one, lets other threads run there, and learns which steps of two threads do
 * not commute.
 */
#ifndef FL_BASE_YIELD_H
#define FL_BASE_YIELD_H

#include "arch/cpu.h"

#define fl_yield_point(what) ((void)(what))
/* The same where the thing is only read: two threads that only read commute. */
#define fl_yield_look(what)  ((void)(what))

#endif
