/* SPDX-License-Identifier: MIT */
/* munmap.c - unmapping: the pages of a range, its mappings, and the tables that are then empty. */
#include "mm/munmap.h"

#include "base/signals.h"
#include "mm/mmap_lock.h"
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
			mm->ops->frames.unmapped(mm, vma);
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

/* What the range has of mappings are mappings of their own, so that nothing is left to do at its borders. -ENOMEM */
static int cut(struct fl_mm *mm, uint64_t start, uint64_t end)
{
	int err = fl_vma_reserve(mm, 2);

	if (err)
		return err;
	fl_vma_split(mm, start);
	fl_vma_split(mm, end);
	return 0;
}

int64_t fl_munmap_with(struct fl_mm *mm, uint64_t start, uint64_t end, fl_change_fn *change, const void *call)
{
	uint64_t signals = fl_signals_block();
	int64_t ret;

	fl_mmap_write_lock_range(mm, start, end);
	ret = cut(mm, start, end);
	if (!ret)
		ret = change(call);
	fl_yield_point(mm);
	if (ret >= 0)
		fl_munmap_gone(mm, start, end);
	else
		fl_vma_merge(mm, start, end);
	fl_mmap_write_unlock(mm);
	fl_signals_restore(signals);
	return ret;
}
