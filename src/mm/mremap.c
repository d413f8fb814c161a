/* SPDX-License-Identifier: MIT */
/* mremap.c - moving entries to other addresses, for mremap(2). */
#include "mm/mremap.h"

#include "mm/folio.h"
#include "mm/protect.h"
#include "mm/vma.h"
#include "mm/zap.h"

/* A marker, or what is behind an entry, at its new place: see fl_moved_flags(). */
static fl_pte_t moved(struct fl_mm *mm, struct fl_vma *vma, fl_pte_t old, uint64_t pfn)
{
	fl_pte_t pte = (vma->flags & VM_UFFD_WP) ? old : pte_clear_uffd_wp(old);

	if (pte_guard(old))
		return old;
	if (pte_marker(old))
		return (vma->flags & VM_UFFD_WP) ? old : (fl_pte_t){0};
	pte = pte_mkdirty(pte);
	if (!pte_present(pte))
		return pte;
	return fl_pte_upgrade(mm, vma, pte_set_prot(pte_set_pfn(pte, pfn), vma), 1);
}

static void move_entry(struct fl_mm *mm, fl_pte_t *from, struct fl_vma *vma, uint64_t addr, bool rehome)
{
	fl_pte_t old = ptep_get(from);
	uint64_t pfn = pte_pfn(old);

	set_pte(from, (fl_pte_t){0});
	if (rehome && pte_present(old)) {
		pfn = vma->pgoff + PAGES(addr - vma->start);
		*fl_folio(mm, pfn) = (struct fl_folio){
			.refcount = 1, .mapcount = 1, .mapping = fl_folio(mm, pte_pfn(old))->mapping};
		fl_put_entry(mm, old, 1);
	}
	set_pte(fl_pte_offset(mm, addr), moved(mm, vma, old, pfn));
}

int fl_move_prepare(struct fl_mm *mm, uint64_t old, uint64_t new, uint64_t len)
{
	fl_for_each_pmd(mm, addr, next, old, old + len) {
		fl_pte_t *ptep;

		if (next - addr < PMD_SIZE || ((new - old) & ~PMD_MASK))
			fl_leaf_break(mm, fl_vma_lookup(mm, addr), addr, true);
		for (ptep = fl_pte_split(mm, addr); addr < next; addr += PAGE_SIZE, ptep++)
			if (!pte_none(ptep_get(ptep)) && fl_pte_alloc(mm, new + (addr - old))) {
				fl_free_pgtables(mm, new, new + len);
				return -ENOMEM;
			}
	}
	return 0;
}

/* => mmap_lock held for writing, so the page-table locks are not needed: no other thread looks at entries */
void fl_move_entries(struct fl_mm *mm, uint64_t old, struct fl_vma *new_vma, uint64_t new, uint64_t len, bool rehome)
{
	fl_hide_range(mm, old, old + len);
	fl_for_each_pmd(mm, addr, next, old, old + len) {
		fl_pte_t *ptep = fl_pte_offset(mm, addr);

		for (; addr < next; addr += PAGE_SIZE, ptep++)
			if (!pte_none(ptep_get(ptep)))
				move_entry(mm, ptep, new_vma, new + (addr - old), rehome);
	}
}
