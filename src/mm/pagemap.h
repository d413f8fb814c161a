/* SPDX-License-Identifier: MIT */
/* pagemap.h - what a program sees of its pages. "=>" states a precondition: locks held, signals blocked. */
#ifndef FL_MM_PAGEMAP_H
#define FL_MM_PAGEMAP_H

#include "mm/types.h"

/* Is a present page the program's alone, in the kernel's eyes? => mmap_lock held */
bool fl_page_exclusive(struct fl_mm *mm, fl_pte_t pte);
/*
 * Overwrite the /proc/self/pagemap words of those of `nr` pages from addr on that the engine manages. => no lock held
 */
void fl_pagemap(struct fl_mm *mm, uint64_t addr, uint64_t nr, uint64_t *words);
/* No page is soft-dirty any longer, and writes are noted from now on. 0, -ENOMEM. => no lock held, signals blocked */
int fl_clear_soft_dirty(struct fl_mm *mm);

#endif
