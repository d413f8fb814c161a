/* SPDX-License-Identifier: MIT */
/* mprotect.h - changing the access that mappings allow. "=>" states a precondition: locks held, signals blocked. */
#ifndef FL_MM_MPROTECT_H
#define FL_MM_MPROTECT_H

#include "mm/types.h"

/*
 * mprotect(2) on the mappings of [start, end), which the caller has found complete. Uses up to two reserved.
 * => mmap_lock held for writing
 */
void fl_do_mprotect(struct fl_mm *mm, uint64_t start, uint64_t end, uint32_t access);

#endif
