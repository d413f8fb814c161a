/* SPDX-License-Identifier: MIT */
/*
 * source.h - where the bytes of a copy come from: memory of this process, or of a guest's address space.
 * "=>" states a precondition: locks held, signals blocked.
 */
#ifndef FL_MM_SOURCE_H
#define FL_MM_SOURCE_H

#include "mm/types.h"

struct fl_source {
	/*
	 * Copy `len` bytes at `src` to `to`, with page faults disabled. Returns the bytes before the first fault.
	 * => a page-table lock may be held
	 */
	uint64_t (*read)(struct fl_mm *mm, void *to, uint64_t src, uint64_t len);
	/* How many could be read now? => as above */
	uint64_t (*probe)(struct fl_mm *mm, uint64_t src, uint64_t len);
	/*
	 * Make the page at `src` readable, as the kernel does for a system call; it may wait. 0, -EFAULT. => no lock
	 * held
	 */
	int (*fault_in)(struct fl_mm *mm, uint64_t src);
};

/* `src` is an address of this process, whatever the address space. A backend may let the host read it. */
extern const struct fl_source fl_source_process;

/* Copy a frame to another, which nothing maps. 0, -ENOMEM. => page-table lock held */
int fl_frame_copy(struct fl_mm *mm, uint64_t to, uint64_t from);

#endif
