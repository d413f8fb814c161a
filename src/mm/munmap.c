/* SPDX-License-Identifier: MIT */
/* munmap.c - unmapping: the pages of a range, its mappings, and the tables that are then empty. */
#include "mm/munmap.h"

#include "mm/vma.h"
#include "mm/zap.h"

static void unmap(struct fl_mm *mm, uint64_t start, uint64_t end, uint32_t flag)
{
	struct fl_vma *vma;
	uint32_t i;

	fl_vma_split(mm, start);
	fl_vma_split(mm, end);
	fl_for_each_vma(mm, vma, i, start, end) {
		if (flag)
			fl_vma_set(vma, vma->flags | flag, vma->ctx);
		fl_zap_range(mm, vma, vma->start, vma->end);
		if (mm->ops->frames.unmapped)
			mm->ops->frames.unmapped(mm, vma->start, vma->end, vma->pgoff);
	}
	fl_vma_remove(mm, start, end);
	fl_free_pgtables(mm, start, end);
}

void fl_do_munmap(struct fl_mm *mm, uint64_t start, uint64_t end)
{
	unmap(mm, start, end, 0);
}

void fl_munmap_gone(struct fl_mm *mm, uint64_t start, uint64_t end)
{
	unmap(mm, start, end, VM_GONE);
}
