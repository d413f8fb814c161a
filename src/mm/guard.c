/* SPDX-License-Identifier: MIT */
/* guard.c - guard markers of the program's: see guard.h. */
#include "mm/guard.h"

#include "mm/pgtable.h"
#include "mm/zap.h"

int fl_guard_set(struct fl_mm *mm, uint64_t start, uint64_t end)
{
	for (uint64_t addr = start, next; addr < end; addr = next) {
		int err = fl_pte_alloc(mm, addr);
		fl_pte_t *ptep;

		if (err)
			return err;
		next = fl_min(PMD_ALIGN_DOWN(addr) + PMD_SIZE, end);
		fl_mutex_lock(fl_pt_lock(mm, addr));
		ptep = fl_pte_offset(mm, addr);
		for (uint64_t i = 0; i < PAGES(next - addr); i++)
			set_pte(ptep + i, pte_guard_marker());
		fl_mutex_unlock(fl_pt_lock(mm, addr));
	}
	return 0;
}

int fl_guard_install(struct fl_mm *mm, struct fl_vma *vma, uint64_t start, uint64_t end)
{
	fl_zap_range(mm, vma, start, end);
	return fl_guard_set(mm, start, end);
}

void fl_guard_remove(struct fl_mm *mm, uint64_t start, uint64_t end)
{
	fl_for_each_pmd(mm, addr, next, start, end) {
		fl_pte_t *ptep;

		fl_mutex_lock(fl_pt_lock(mm, addr));
		ptep = fl_pte_offset(mm, addr);
		for (uint64_t i = 0; ptep && i < PAGES(next - addr); i++)
			if (pte_guard(ptep_get(ptep + i)))
				set_pte(ptep + i, (fl_pte_t){0});
		fl_mutex_unlock(fl_pt_lock(mm, addr));
	}
}

bool fl_guard_next(struct fl_mm *mm, uint64_t *start, uint64_t end, uint64_t *run_end)
{
	uint64_t at = fl_pgtable_next(mm, *start, end);

	while (at < end && !pte_guard(fl_pte_get(mm, at)))
		at = fl_pgtable_next(mm, at + PAGE_SIZE, end);
	if (at >= end)
		return false;
	*start = at;
	while (at < end && pte_guard(fl_pte_get(mm, at)))
		at += PAGE_SIZE;
	*run_end = at;
	return true;
}
