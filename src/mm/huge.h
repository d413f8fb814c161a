/* SPDX-License-Identifier: MIT */
/*
 * huge.h - 2 MiB at a time: leaves that faults make, and MADV_COLLAPSE.
 * "=>" states a precondition: locks held, signals blocked.
 */
#ifndef FL_MM_HUGE_H
#define FL_MM_HUGE_H

#include "mm/fault.h"

/* Zeros of 2 MiB for a fault, if mapping and memory allow it. => mmap_lock held, no page-table lock */
bool fl_huge_anonymous_fault(struct fl_vmf *vmf);
/* A leaf over a large folio that the cache of a file has, if mapping and memory allow it. => as above */
bool fl_huge_cached_fault(struct fl_vmf *vmf);
/* See fl_memory_kind: frames that follow from addresses, or others; a private mapping's copy of a large folio. */
int fl_gather_homes(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr, const fl_pte_t *ptes, uint64_t *head);
int fl_gather_copies(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr, const fl_pte_t *ptes, uint64_t *head);
bool fl_read_large(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr, uint64_t pfn);
/*
 * MADV_COLLAPSE: each aligned 2 MiB of [start, end) that can becomes a leaf; holes between mappings are left out. 0,
 * or what is said of the first that cannot (Linux 6.18, observed), which for a file is also the last that is tried:
 * -EINVAL (it is empty; a page is write-protected or, of a file, might be; a private mapping has a copy of a page; a
 * mapping's part has no aligned address, or its file no aligned pages there; MADV_NOHUGEPAGE), -EBUSY (a page is
 * missing in registered memory), -EAGAIN (one is on its way, or in use), -ENOMEM. => no lock held, signals blocked
 */
int fl_collapse(struct fl_mm *mm, uint64_t start, uint64_t end);
/* Its part that is about the file: 512 pages of the cache leave all mappings and become one folio. => no lock held */
int fl_collapse_cache(struct fl_file *file, uint64_t first);
/*
 * A leaf over that folio, in place of an empty table. 0, -ENOMEM. => mmap_lock for writing and the file's lock held
 */
int fl_map_large(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr);
/* The same for a part of one mapping of anonymous memory. => mmap_lock held for writing */
int fl_collapse_anonymous(struct fl_mm *mm, struct fl_vma *vma, uint64_t start, uint64_t end);
/* Make leaves where all 512 pages are there, in their homes, which costs nothing and does not show. => as above */
void fl_collapse_full(struct fl_mm *mm, struct fl_vma *vma);

#endif
