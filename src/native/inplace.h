/* SPDX-License-Identifier: MIT */
/* inplace.h - memory that is watched where it is. "=>" states a precondition. */
#ifndef FL_NATIVE_INPLACE_H
#define FL_NATIVE_INPLACE_H

#include "mm/mm.h"

/* A part of one private anonymous mapping of the host's. 0, -ENOMEM. => mmap_lock held for writing, one reserved */
int fl_in_place_adopt(struct fl_mm *mm, uint64_t start, uint64_t end, uint32_t access);
/* Its rights come back, and it is forgotten; if they cannot, neither. => mmap_lock held for writing */
void fl_in_place_release(struct fl_mm *mm, struct fl_vma *vma);
/*
 * What was released is watched again, for soft-dirty: -ENOMEM, with some of it done. Has any of the range been
 * released; any at all (which needs no lock)? => mmap_lock held, for writing for the first
 */
int fl_in_place_again(struct fl_mm *mm);
bool fl_in_place_known(uint64_t start, uint64_t end);
bool fl_in_place_any_known(void);
/* It is elsewhere now, and not watched. => mmap_lock held for writing */
void fl_in_place_moved(uint64_t start, uint64_t len);
/* madvise(MADV_COLLAPSE). => mmap_lock held for writing */
int fl_in_place_collapse(struct fl_mm *mm, struct fl_vma *vma, uint64_t start, uint64_t end);
/* See fl_claim_ops.look. */
int fl_in_place_look(struct fl_mm *mm, struct fl_vma *vma, uint64_t start, uint64_t end);

#endif
