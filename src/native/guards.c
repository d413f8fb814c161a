/* SPDX-License-Identifier: MIT */
/*
 * guards.c - guard markers of the program's (mm/guard.h) and the host's own. Memory that the host serves alone has
 * them in the host's tables; what is registered has them in the engine's, beside the markers by which it hides pages.
 */
#include "native/native.h"

int fl_guards_adopt(struct fl_mm *mm, uint64_t start, uint64_t end)
{
	uint64_t run_end;
	int err = 0;

	for (uint64_t at = start; !err && at < end && fl_host_guarded_next(&at, end, &run_end) == 1; at = run_end)
		err = fl_guard_set(mm, at, run_end);
	return err;
}

void fl_guards_release(struct fl_mm *mm, uint64_t start, uint64_t end)
{
	uint64_t run_end;

	for (uint64_t at = start; fl_guard_next(mm, &at, end, &run_end); at = run_end)
		while (fl_host_guard(at, run_end - at) == -ENOMEM)
			fl_host_yield();
	fl_guard_remove(mm, start, end);
}

bool fl_guards_host_has(uint64_t addr)
{
	uint64_t start = PAGE_ALIGN_DOWN(addr), end = start + PAGE_SIZE, run_end;

	return fl_host_guarded_next(&start, end, &run_end) == 1;
}
