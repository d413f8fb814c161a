/* SPDX-License-Identifier: MIT */
/* mremap.h - moving entries to other addresses. "=>" states a precondition: locks held, signals blocked. */
#ifndef FL_MM_MREMAP_H
#define FL_MM_MREMAP_H

#include "mm/types.h"

/*
 * The flags of a mapping at its new place. Without the event for it a registration does not follow its memory;
 * entries and markers go by the flags. All of it is soft-dirty, for the contents of those addresses have changed.
 */
static inline uint32_t fl_moved_flags(const struct fl_vma *vma)
{
	return (vma->flags & ~VM_UFFD) | VM_SOFTDIRTY;
}

/*
 * Moving, for mremap(): first the tables for the entries of [old, old + len) at their new place (-ENOMEM, with
 * nothing changed), then the entries, with uffd-wp if `new_vma` is registered
 * for it. `rehome`: frames have homes, and the backend has copied
 * the contents to the new ones.
 * => mmap_lock held for writing
 */
int fl_move_prepare(struct fl_mm *mm, uint64_t old, uint64_t new, uint64_t len);
void fl_move_entries(struct fl_mm *mm, uint64_t old, struct fl_vma *new_vma, uint64_t new, uint64_t len, bool rehome);

#endif
