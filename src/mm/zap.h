/* SPDX-License-Identifier: MIT */
/*
 * zap.h - taking pages out of page tables: an entry goes, then every cached right, then the frame.
 * "=>" states a precondition: locks held, signals blocked.
 */
#ifndef FL_MM_ZAP_H
#define FL_MM_ZAP_H

#include "mm/pgtable.h"

/* Give back what an entry that is gone has held; `nr`: the pages that it was for. => page-table lock held */
void fl_put_entry(struct fl_mm *mm, fl_pte_t old, unsigned nr);

/*
 * Part of what a leaf at addr maps, if there is one, is about to differ from the rest. The leaf becomes 512 entries
 * that say the same. But the pages of a file are found again in its cache: there it is dropped, as by the kernel
 * (Linux 6.18, observed), and nothing takes its place, or, if `table`, an empty one. => mmap_lock and page-table lock
 * held
 */
void fl_leaf_break(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr, bool table);

/* Drop the entries of a range inside one mapping, and their pages. => mmap_lock held, no page-table lock */
void fl_zap_range(struct fl_mm *mm, struct fl_vma *vma, uint64_t start, uint64_t end);
/*
 * The same for MADV_DONTNEED: what is write-protected of a file stays so, as a marker, until its page is there again.
 */
void fl_zap_advised(struct fl_mm *mm, struct fl_vma *vma, uint64_t start, uint64_t end);
/*
 * The same when a file loses its pages, with markers kept; without `cow` private copies of them stay.
 * => as above, and the file's lock held
 */
void fl_zap_file_range(struct fl_mm *mm, struct fl_vma *vma, uint64_t start, uint64_t end, bool cow);
/*
 * The present entry of a shared page that has left its file without notice (fl_file_ops.untold). => page-table lock
 * held
 */
void fl_zap_gone(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr, fl_pte_t *ptep);

/*
 * The entry of a page that may go elsewhere, by swap or migration, after a split if need be; NULL: there is none. A
 * leaf that is not split stays where it is. => mmap_lock and page-table lock held
 */
fl_pte_t *fl_pte_movable(struct fl_mm *mm, const struct fl_vma *vma, uint64_t addr);

/* Free the tables of a range that holds no entries. => mmap_lock held for writing */
void fl_free_pgtables(struct fl_mm *mm, uint64_t start, uint64_t end);
/* Drop every cached right to a page of the range. => mmap_lock held for writing */
void fl_hide_range(struct fl_mm *mm, uint64_t start, uint64_t end);

#endif
