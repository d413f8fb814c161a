/* SPDX-License-Identifier: MIT */
/* swap.h - pages move out to the backend's swap area, and back in. "=>" states a precondition. */
#ifndef FL_MM_SWAP_H
#define FL_MM_SWAP_H

#include "mm/pgtable.h"

/*
 * Move the pages of a range of one mapping out. Returns how many; -EOPNOTSUPP: there is no swap area.
 * => mmap_lock held for reading, no page-table lock
 */
int64_t fl_swap_out_range(struct fl_mm *mm, struct fl_vma *vma, uint64_t start, uint64_t end);
/* Bring one back in. -ENOMEM; the entry is then as it was. => mmap_lock and page-table lock held */
int fl_swap_in(struct fl_mm *mm, struct fl_vma *vma, const struct fl_slot *slot);

#endif
