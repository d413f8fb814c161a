/* SPDX-License-Identifier: MIT */
/*
 * own.c - the program's mapping calls, where they meet the engine's own memory. To the program there is a hole: each
 * call is made for what is around it, and then says what it says of holes.
 */
#include "native/calls.h"

#include "host/own.h"

bool fl_native_own(uint64_t addr, uint64_t len)
{
	uint64_t start = PAGE_ALIGN_DOWN(addr), end = addr + len, stop;

	return len && len <= TASK_SIZE && addr < TASK_SIZE && fl_own_next(&start, end, &stop);
}

int fl_native_around_own(uint64_t addr, uint64_t len, fl_part_fn *fn, long arg, enum fl_hole hole)
{
	uint64_t end = addr + PAGE_ALIGN(len), at = addr;

	while (at < end) {
		uint64_t own = at, stop = end;
		bool any = fl_own_next(&own, end, &stop);
		int ret = 0;

		if (!any)
			own = end;
		if (own > at)
			ret = fn(at, own - at, arg);
		if (ret == -ENOMEM && hole == FL_HOLE_LATER)
			ret = 0; /* another hole */
		if (ret)
			return ret;
		if (any && hole == FL_HOLE_ENDS)
			return -ENOMEM;
		at = any ? stop : end;
	}
	return hole == FL_HOLE_PASSED ? 0 : -ENOMEM;
}
