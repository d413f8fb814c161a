/* SPDX-License-Identifier: MIT */
/* mmap.c - what mapping calls do to the tables: drop pages, forget ranges, change access, move entries. */
#include "mm/file.h"
#include "mm/mm.h"

/* What an entry that is gone has held. Of a migration entry the migration itself holds it. */
static void put_entry(struct fl_mm *mm, fl_pte_t old, unsigned nr)
{
	if (pte_swap(old))
		mm->ops->swap_free(mm, pte_pfn(old));
	for (unsigned i = 0; i < nr && pte_present(old); i++) {
		fl_folio_unmapped(fl_folio(mm, pte_pfn(old) + i));
		fl_folio_put(mm, pte_pfn(old) + i);
	}
}

/*
 * The order in which a page dies: the entry, then every cached right, then the frame. Where the leaf was nothing is,
 * or an empty table. => page-table lock held
 */
static void zap_leaf(struct fl_mm *mm, struct fl_vma *vma, fl_pmd_t *pmdp, uint64_t addr, bool table)
{
	fl_pte_t old = pmd_pte_at(pmdp_get_lockless(pmdp), 0);

	if (table)
		fl_pmd_to_table(mm, pmdp, addr);
	else
		fl_pmd_clear_leaf(mm, pmdp, addr);
	mm->ops->invalidate(mm, vma, addr, addr + PMD_SIZE, FL_RIGHT_NONE);
	put_entry(mm, old, PTRS_PER_TABLE);
}

void fl_leaf_break(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr, bool table)
{
	struct fl_slot s = fl_slot_at(mm, addr);

	if (!s.pmdp)
		return;
	if (vma->file)
		zap_leaf(mm, vma, s.pmdp, s.addr, table);
	else
		fl_pmd_split(mm, s.pmdp, addr);
}

/* What of a range goes. */
struct zap {
	struct fl_mm *mm;
	struct fl_vma *vma;
	bool keep_wp;	/* leave a marker for what is write-protected */
	bool file_only; /* not private copies of a file's pages */
};

/* What an entry becomes. */
static fl_pte_t zapped(const struct zap *z, fl_pte_t old)
{
	bool private_copy = pte_swap(old) || (pte_present(old) && !fl_page_mapping(z->mm, pte_pfn(old)));

	if (z->file_only && (private_copy || pte_migration(old)))
		return old;
	return z->keep_wp && pte_uffd_wp(old) ? mk_wp_marker() : (fl_pte_t){0};
}

static void zap_table(const struct zap *z, uint64_t addr, uint64_t end)
{
	fl_pte_t *ptep = fl_pte_split(z->mm, addr), gone[64];
	unsigned nr;

	while (ptep && addr < end) {
		uint64_t first = addr;

		for (nr = 0; addr < end && nr < ARRAY_SIZE(gone); addr += PAGE_SIZE, ptep++) {
			fl_pte_t old = ptep_get(ptep), new = pte_none(old) ? old : zapped(z, old);

			if (new.val == old.val)
				continue;
			set_pte(ptep, new);
			gone[nr++] = old;
		}
		if (nr)
			z->mm->ops->invalidate(z->mm, z->vma, first, addr, FL_RIGHT_NONE);
		for (unsigned i = 0; i < nr; i++)
			put_entry(z->mm, gone[i], 1);
	}
}

static void zap_range(const struct zap *z, uint64_t start, uint64_t end)
{
	fl_for_each_pmd(z->mm, addr, next, start, end) {
		struct fl_mutex *ptl = fl_pt_lock(z->mm, addr);
		struct fl_slot s;

		fl_mutex_lock(ptl);
		s = fl_slot_at(z->mm, addr);
		if (s.pmdp && (z->vma->file || next - addr == PMD_SIZE)) /* of a file's, a part of it takes all */
			zap_leaf(z->mm, z->vma, s.pmdp, s.addr, false);
		else
			zap_table(z, addr, next);
		fl_mutex_unlock(ptl);
	}
}

void fl_zap_range(struct fl_mm *mm, struct fl_vma *vma, uint64_t start, uint64_t end)
{
	zap_range(&(struct zap){.mm = mm, .vma = vma}, start, end);
}

void fl_zap_advised(struct fl_mm *mm, struct fl_vma *vma, uint64_t start, uint64_t end)
{
	zap_range(&(struct zap){.mm = mm, .vma = vma, .keep_wp = vma->file}, start, end);
}

void fl_zap_file_range(struct fl_mm *mm, struct fl_vma *vma, uint64_t start, uint64_t end, bool cow)
{
	zap_range(&(struct zap){.mm = mm, .vma = vma, .keep_wp = true, .file_only = !cow}, start, end);
}

void fl_zap_gone(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr, fl_pte_t *ptep)
{
	fl_pte_t old = ptep_get(ptep);

	set_pte(ptep, pte_uffd_wp(old) ? mk_wp_marker() : (fl_pte_t){0});
	mm->ops->invalidate(mm, vma, addr, addr + PAGE_SIZE, FL_RIGHT_NONE);
	put_entry(mm, old, 1);
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
		/* writable again at once what was so before: it changes no right that the mapping has kept */
		fl_change_protection(mm, vma, vma->start, vma->end, MM_CP_TRY_CHANGE_WRITABLE);
	}
	fl_vma_merge(mm, start, end);
}

/*
 * An entry at its new place: not write-protected, since without the event for it a registration does not follow its
 * memory; and soft-dirty, for the contents of that address have changed.
 */
static fl_pte_t moved(struct fl_mm *mm, struct fl_vma *vma, fl_pte_t old, uint64_t pfn)
{
	fl_pte_t pte = pte_mkdirty(pte_clear_uffd_wp(old));

	if (!pte_present(pte))
		return pte;
	return fl_maybe_mkwrite(mm, vma, pte_modify(pte_set_pfn(pte, pfn), vma), 1);
}

static void move_entry(struct fl_mm *mm, fl_pte_t *from, struct fl_vma *vma, uint64_t addr, bool rehome)
{
	fl_pte_t old = ptep_get(from);
	uint64_t pfn = pte_pfn(old);

	set_pte(from, (fl_pte_t){0});
	if (pte_marker(old))
		return;
	if (rehome && pte_present(old)) {
		pfn = vma->pgoff + PAGES(addr - vma->start);
		*fl_folio(mm, pfn) = (struct fl_folio){
			.refcount = 1, .mapcount = 1, .mapping = fl_folio(mm, pte_pfn(old))->mapping};
		put_entry(mm, old, 1);
	}
	set_pte(fl_pte_offset(mm, addr), moved(mm, vma, old, pfn));
}

void fl_hide_range(struct fl_mm *mm, uint64_t start, uint64_t end)
{
	struct fl_vma *vma;
	uint32_t i;

	fl_for_each_vma(mm, vma, i, start, end)
		mm->ops->invalidate(mm, vma, fl_max(start, vma->start), fl_min(end, vma->end), FL_RIGHT_NONE);
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

/* => mmap_lock held for writing, so the page-table locks are not needed: nobody else looks at entries */
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
