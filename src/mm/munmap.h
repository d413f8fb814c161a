/* SPDX-License-Identifier: MIT */
/* munmap.h - unmapping, at the level of mappings. "=>" states a precondition: locks held, signals blocked. */
#ifndef FL_MM_MUNMAP_H
#define FL_MM_MUNMAP_H

#include "mm/types.h"

/* Zap and forget [start, end): mappings, tables, frames. Uses up to two reserved. => mmap_lock held for writing */
void fl_do_munmap(struct fl_mm *mm, uint64_t start, uint64_t end);
/*
 * The same after the backend has unmapped the range: the rights went with its mappings, and the addresses may belong
 * to another mapping already. The mappings are VM_GONE meanwhile, so rights.invalidate() has nothing to do, and it is
 * frames.unmapped() that forgets. => as above; the borders were split before, if a leaf crosses them
 */
void fl_munmap_gone(struct fl_mm *mm, uint64_t start, uint64_t end);
/*
 * A call of the program that removes or replaces what is mapped in [start, end): first `change` has the backend do
 * it, and returns its result, then the tables find it gone. -errno of either: both are as they were.
 * => no lock held; change() is called with mmap_lock held for writing
 */
typedef int64_t fl_change_fn(const void *call);
int64_t fl_munmap_with(struct fl_mm *mm, uint64_t start, uint64_t end, fl_change_fn *change, const void *call);

#endif
