/* SPDX-License-Identifier: MIT */
/* munmap.c - unmapping: the pages of a range, its mappings, and the tables that are then empty. */
#include "mm/munmap.h"

#include "mm/vma.h"
#include "mm/zap.h"

void fl_do_munmap(struct fl_mm *mm, uint64_t start, uint64_t end)
{
	struct fl_vma *vma;
	uint32_t i;

	fl_vma_split(mm, start);
	fl_vma_split(mm, end);
	fl_for_each_vma(mm, vma, i, start, end) {
		fl_zap_range(mm, vma, vma->start, vma->end);
		if (mm->ops->frames.unmapped)
			mm->ops->frames.unmapped(mm, vma->start, vma->end, vma->pgoff);
	}
	fl_vma_remove(mm, start, end);
	fl_free_pgtables(mm, start, end);
}
