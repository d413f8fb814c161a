/* SPDX-License-Identifier: MIT */
/* mm.c - birth and death of an address space. */
#include "mm/mm.h"

#include "base/alloc.h"

#include <string.h>

int fl_mm_init(struct fl_mm *mm, const struct fl_mmu_ops *ops, void *backend, const struct fl_pool *pool)
{
	memset(mm, 0, sizeof(*mm));
	fl_rwlock_init(&mm->mmap_lock, FL_RANK_MMAP);
	for (unsigned i = 0; i < FL_PT_LOCKS; i++)
		fl_mutex_init(&mm->pt_lock[i], FL_RANK_PT);
	fl_uffd_ops.init(mm);
	mm->pool = *pool;
	mm->ops = ops;
	mm->backend = backend;
	mm->excl_end = UINT64_MAX; /* no other thread knows it yet */
	mm->excl_done = true;
	mm->pgd = fl_alloc(&mm->metadata, PAGE_SIZE, FL_FP_PGTABLE);
	return mm->pgd ? 0 : -ENOMEM;
}

void fl_mm_exit(struct fl_mm *mm)
{
	fl_mmap_write_lock(mm);
	fl_do_munmap(mm, 0, TASK_SIZE); /* no mapping is split by that, so nothing need be reserved */
	fl_mmap_write_unlock(mm);
	fl_pins_drain(&mm->pins);
	fl_vma_table_free(mm);
	fl_free(&mm->metadata, mm->pgd, PAGE_SIZE);
}
