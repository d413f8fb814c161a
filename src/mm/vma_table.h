/* SPDX-License-Identifier: MIT */
/*
 * vma_table.h - the table of an address space's mappings: look-up, with and without a lock; room made in advance.
 * "=>" states a precondition: locks held, signals blocked.
 */
#ifndef FL_MM_VMA_TABLE_H
#define FL_MM_VMA_TABLE_H

#include "mm/types.h"

/* The first mapping that ends above addr, or NULL. => mmap_lock held; without it under vma_seq, see mmap_lock.c */
struct fl_vma *fl_find_vma(const struct fl_mm *mm, uint64_t addr);
/* The mapping that contains addr, or NULL. => mmap_lock held */
struct fl_vma *fl_vma_lookup(const struct fl_mm *mm, uint64_t addr);
/* Index of the first mapping that ends above addr. => mmap_lock held */
uint32_t fl_vma_index(const struct fl_mm *mm, uint64_t addr);
/* Mappings between start and end, in order. `i` is a cursor variable. */
#define fl_for_each_vma(mm, vma, i, from, to)                                                                        \
	for (i = fl_vma_index(mm, from); i < (mm)->nr_vmas && (vma = (mm)->vmas[i])->start < (to); i++)

/*
 * Make sure that the next `nr` insertions or splits succeed. -ENOMEM.
 * => mmap_lock held for writing, as for all below
 */
int fl_vma_reserve(struct fl_mm *mm, uint32_t nr);
/* One of those reserved, and back again. */
struct fl_vma *fl_vma_take_spare(struct fl_mm *mm);
void fl_vma_put_spare(struct fl_mm *mm, struct fl_vma *vma);
struct fl_vma *fl_vma_next_spare(const struct fl_vma *vma);
/* => between fl_write_seqbegin() and fl_write_seqend() of vma_seq, as for the next */
void fl_vma_table_insert(struct fl_mm *mm, struct fl_vma *vma);
void fl_vma_table_remove(struct fl_mm *mm, uint32_t at);
/* With the address space go all its tables and spare mappings. => no other user */
void fl_vma_table_free(struct fl_mm *mm);

#endif
