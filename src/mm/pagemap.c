/* SPDX-License-Identifier: MIT */
/* pagemap.c - the words of /proc/self/pagemap for memory of ours, and clearing soft-dirty. */
#include "mm/mm.h"

#include <faultline/faultline.h>

/* => mmap_lock held */
static uint64_t pagemap_word(const struct fl_mm *mm, uint64_t addr)
{
	fl_pte_t *ptep = fl_pte_offset(mm, addr);
	fl_pte_t pte = ptep ? ptep_get(ptep) : (fl_pte_t){ 0 };

	if (!pte_present(pte))
		return 0;
	return FL_PM_PRESENT | FL_PM_EXCLUSIVE | (pte_uffd_wp(pte) ? FL_PM_UFFD_WP : 0);
}

void fl_pagemap(struct fl_mm *mm, uint64_t addr, uint64_t nr, uint64_t *words)
{
	uint64_t irq = fl_irq_save();

	fl_read_lock(&mm->mmap_lock);
	for (uint64_t i = 0; i < nr; i++) {
		struct fl_vma *vma = fl_vma_lookup(mm, addr + (i << PAGE_SHIFT));

		if (vma && !(vma->flags & VM_RELEASED))
			words[i] = pagemap_word(mm, addr + (i << PAGE_SHIFT));
	}
	fl_read_unlock(&mm->mmap_lock);
	fl_irq_restore(irq);
}

int fl_clear_soft_dirty(struct fl_mm *mm)
{
	return 0;
}
