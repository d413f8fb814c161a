/* SPDX-License-Identifier: MIT */
/* zap.c - taking pages out of page tables, and freeing the tables that are then empty. */
#include "mm/zap.h"

#include "mm/file.h"
#include "mm/folio.h"
#include "mm/kind.h"
#include "mm/mmap_lock.h"
#include "mm/right.h"
#include "mm/vma_table.h"

/* What a migration entry stands for the migration itself holds. */
void fl_put_entry(struct fl_mm *mm, fl_pte_t old, unsigned nr)
{
	if (pte_swap(old))
		mm->ops->swap->free(mm, pte_pfn(old));
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
	mm->ops->rights.invalidate(mm, vma, addr, addr + PMD_SIZE, fl_absent_right(vma));
	fl_put_entry(mm, old, PTRS_PER_TABLE);
}

void fl_leaf_break(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr, bool table)
{
	struct fl_slot s = fl_slot_at(mm, addr);

	if (!s.pmdp)
		return;
	FL_BUG_ON(vma->kind->leaf == FL_LEAF_NEVER);
	if (vma->kind->leaf == FL_LEAF_DROP)
		zap_leaf(mm, vma, s.pmdp, s.addr, table);
	else
		fl_pmd_split(mm, s.pmdp, addr);
}

/* What of a range goes. */
struct zap {
	struct fl_mm *mm;
	struct fl_vma *vma;
	bool keep_wp;	 /* leave a marker for what is write-protected */
	bool keep_guard; /* it guards the place, not the page */
	bool file_only;	 /* not private copies of a file's pages */
};

/* What an entry becomes. */
static fl_pte_t zapped(const struct zap *z, fl_pte_t old)
{
	bool private_copy = pte_swap(old) || (pte_present(old) && !fl_page_mapping(z->mm, pte_pfn(old)));

	if (z->file_only && (private_copy || pte_migration(old)))
		return old;
	if (z->keep_guard && pte_guard(old))
		return old;
	return z->keep_wp && pte_uffd_wp(old) ? pte_wp_marker() : (fl_pte_t){0};
}

static void zap_table(const struct zap *z, uint64_t addr, uint64_t end)
{
	fl_pte_t *ptep = fl_pte_split(z->mm, addr), gone[64];
	unsigned nr;

	while (ptep && addr < end) {
		enum fl_right left = FL_RIGHT_WRITE;
		uint64_t first = addr;

		for (nr = 0; addr < end && nr < ARRAY_SIZE(gone); addr += PAGE_SIZE, ptep++) {
			fl_pte_t old = ptep_get(ptep), new = pte_none(old) ? old : zapped(z, old);

			if (new.val == old.val)
				continue;
			set_pte(ptep, new);
			gone[nr++] = old;
			left = fl_min(left, pte_right(new, z->vma));
		}
		if (nr)
			z->mm->ops->rights.invalidate(z->mm, z->vma, first, addr, left);
		for (unsigned i = 0; i < nr; i++)
			fl_put_entry(z->mm, gone[i], 1);
	}
}

static void zap_range(const struct zap *z, uint64_t start, uint64_t end)
{
	fl_for_each_pmd(z->mm, addr, next, start, end) {
		struct fl_mutex *ptl = fl_pt_lock(z->mm, addr);
		struct fl_slot s;

		fl_mutex_lock(ptl);
		s = fl_slot_at(z->mm, addr);
		if (s.pmdp && (z->vma->kind->leaf == FL_LEAF_DROP || next - addr == PMD_SIZE))
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
	zap_range(&(struct zap){.mm = mm, .vma = vma, .keep_wp = vma->kind->keeps_marker, .keep_guard = true}, start,
		  end);
}

void fl_zap_file_range(struct fl_mm *mm, struct fl_vma *vma, uint64_t start, uint64_t end, bool cow)
{
	zap_range(&(struct zap){.mm = mm, .vma = vma, .keep_wp = true, .keep_guard = true, .file_only = !cow}, start,
		  end);
}

void fl_zap_gone(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr, fl_pte_t *ptep)
{
	fl_pte_t old = ptep_get(ptep);

	set_pte(ptep, pte_uffd_wp(old) ? pte_wp_marker() : (fl_pte_t){0});
	mm->ops->rights.invalidate(mm, vma, addr, addr + PAGE_SIZE, FL_RIGHT_NONE);
	fl_put_entry(mm, old, 1);
}

/* Has the caller sole access to all mappings of [lo, hi)? A fault might be about to set an entry. */
static bool sole_access(const struct fl_mm *mm, uint64_t lo, uint64_t hi)
{
	struct fl_vma *vma;
	uint32_t i;

	fl_for_each_vma(mm, vma, i, lo, hi)
		if (!fl_vma_excluded(vma))
			return false;
	return true;
}

fl_pte_t *fl_pte_movable(struct fl_mm *mm, const struct fl_vma *vma, uint64_t addr)
{
	return vma->kind->leaf == FL_LEAF_SPLIT ? fl_pte_split(mm, addr) : fl_pte_offset(mm, addr);
}

void fl_free_pgtables(struct fl_mm *mm, uint64_t start, uint64_t end)
{
	fl_pgtable_free(mm, start, end, sole_access);
}

void fl_hide_range(struct fl_mm *mm, uint64_t start, uint64_t end)
{
	struct fl_vma *vma;
	uint32_t i;

	fl_for_each_vma(mm, vma, i, start, end)
		mm->ops->rights.invalidate(mm, vma, fl_max(start, vma->start), fl_min(end, vma->end), FL_RIGHT_NONE);
}
