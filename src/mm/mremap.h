/* SPDX-License-Identifier: MIT */
/* mremap.h - moving entries to other addresses. "=>" states a precondition: locks held, signals blocked. */
#ifndef FL_MM_MREMAP_H
#define FL_MM_MREMAP_H

#include "mm/types.h"

/*
 * Moving, for mremap(): first the tables for the entries of [old, old + len) at their new place (-ENOMEM, with
 * nothing changed), then the entries, without their uffd-wp. `rehome`: frames have homes, and the backend has copied
 * the contents to the new ones.
 * => mmap_lock held for writing
 */
int fl_move_prepare(struct fl_mm *mm, uint64_t old, uint64_t new, uint64_t len);
void fl_move_entries(struct fl_mm *mm, uint64_t old, struct fl_vma *new_vma, uint64_t new, uint64_t len, bool rehome);

#endif
