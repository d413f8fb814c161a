/* SPDX-License-Identifier: MIT */
/* mmap.c - what mapping calls do to the tables: drop pages, forget ranges, change access, move entries. */
#include "mm/mm.h"

/*
 * The order in which a page dies: the entry, then every cached right, then the frame. => page-table lock held
 */
static void zap_pte_range(struct fl_mm *mm, uint64_t addr, uint64_t end)
{
	fl_pte_t *ptep = fl_pte_offset(mm, addr);
	uint64_t pfns[64];
	unsigned nr;

	while (addr < end) {
		uint64_t first = addr;

		for (nr = 0; addr < end && nr < ARRAY_SIZE(pfns); addr += PAGE_SIZE, ptep++) {
			fl_pte_t old = ptep_get(ptep);

			if (pte_none(old))
				continue;
			set_pte(ptep, (fl_pte_t){ 0 });
			pfns[nr++] = pte_pfn(old);
		}
		if (nr)
			mm->ops->invalidate(mm, first, addr, FL_RIGHT_NONE);
		for (unsigned i = 0; i < nr; i++) {
			fl_folio(mm, pfns[i])->mapcount--;
			fl_folio_put(mm, pfns[i]);
		}
	}
}

void fl_zap_range(struct fl_mm *mm, struct fl_vma *vma, uint64_t start, uint64_t end)
{
	for (uint64_t addr = fl_pgtable_next(mm, start, end); addr < end; addr = fl_pgtable_next(mm, addr, end)) {
		uint64_t next = fl_min(PMD_ALIGN_DOWN(addr) + PMD_SIZE, end);
		struct fl_mutex *ptl = fl_pt_lock(mm, addr);

		fl_mutex_lock(ptl);
		zap_pte_range(mm, addr, next);
		fl_mutex_unlock(ptl);
		addr = next;
	}
}

void fl_do_munmap(struct fl_mm *mm, uint64_t start, uint64_t end)
{
	struct fl_vma *vma;
	uint32_t i;

	fl_vma_split(mm, start);
	fl_vma_split(mm, end);
	fl_for_each_vma(mm, vma, i, start, end) {
		fl_zap_range(mm, vma, vma->start, vma->end);
		mm->ops->unmapped(mm, vma->start, vma->end, vma->pgoff);
	}
	fl_vma_remove(mm, start, end);
	fl_free_pgtables(mm, start, end);
}

void fl_do_mprotect(struct fl_mm *mm, uint64_t start, uint64_t end, uint32_t access)
{
	struct fl_vma *vma;
	uint32_t i;

	fl_vma_split(mm, start);
	fl_vma_split(mm, end);
	fl_for_each_vma(mm, vma, i, start, end) {
		uint32_t old = vma->flags;

		fl_vma_set(vma, (old & ~VM_ACCESS) | access, vma->ctx);
		if (vma->flags == old)
			continue;
		while (((old ^ access) & VM_EXEC) && !(old & VM_RELEASED) && mm->ops->conform &&
		       mm->ops->conform(mm, vma))
			; /* to take the right to execute away has no alternative */
		fl_change_protection(mm, vma, vma->start, vma->end, 0);
	}
	fl_vma_merge(mm, start, end);
}

/* One entry to its new place. */
static void move_entry(struct fl_mm *mm, fl_pte_t *from, struct fl_vma *vma, uint64_t addr, bool rehome)
{
	fl_pte_t old = ptep_get(from);
	uint64_t pfn = pte_pfn(old);

	set_pte(from, (fl_pte_t){ 0 });
	if (rehome) {
		pfn = vma->pgoff + PAGES(addr - vma->start);
		*fl_folio(mm, pfn) = (struct fl_folio){ .refcount = 1, .mapcount = 1 };
		fl_folio(mm, pte_pfn(old))->mapcount--;
		fl_folio_put(mm, pte_pfn(old));
	}
	set_pte(fl_pte_offset(mm, addr), pte_mkdirty(mk_pte(pfn, vma)));
}

int fl_move_prepare(struct fl_mm *mm, uint64_t old, uint64_t new, uint64_t len)
{
	uint64_t end = old + len;

	for (uint64_t a = fl_pgtable_next(mm, old, end); a < end; a = fl_pgtable_next(mm, a + PAGE_SIZE, end))
		if (!pte_none(ptep_get(fl_pte_offset(mm, a))) && !fl_pte_alloc(mm, new + (a - old))) {
			fl_free_pgtables(mm, new, new + len);
			return -ENOMEM;
		}
	return 0;
}

/* => mmap_lock held for writing, so the page-table locks are not needed: nobody else looks at entries */
void fl_move_entries(struct fl_mm *mm, uint64_t old, struct fl_vma *new_vma, uint64_t new, uint64_t len, bool rehome)
{
	uint64_t end = old + len;

	mm->ops->invalidate(mm, old, end, FL_RIGHT_NONE);
	for (uint64_t addr = fl_pgtable_next(mm, old, end); addr < end; addr = fl_pgtable_next(mm, addr, end)) {
		uint64_t next = fl_min(PMD_ALIGN_DOWN(addr) + PMD_SIZE, end);

		for (; addr < next; addr += PAGE_SIZE)
			if (!pte_none(ptep_get(fl_pte_offset(mm, addr))))
				move_entry(mm, fl_pte_offset(mm, addr), new_vma, new + (addr - old), rehome);
	}
}
