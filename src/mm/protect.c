/* SPDX-License-Identifier: MIT */
/*
 * protect.c - change_protection(): the only way in which rights of existing entries change. It takes no protection:
 * what an entry may grant follows from the mapping's vm_page_prot and from the entry's own bits.
 */
#include "mm/protect.h"

#include "mm/folio.h"
#include "mm/mmu.h"
#include "mm/pgtable.h"
#include "mm/vma.h"
#include "mm/zap.h"

/*
 * Is each of the frames this entry's alone? A forked space may still share some of a leaf's, and the cache of a file
 * has its pages.
 */
static bool exclusive(const struct fl_mm *mm, fl_pte_t pte, unsigned nr)
{
	for (unsigned i = 0; i < nr; i++)
		if (fl_page_mapping(mm, pte_pfn(pte) + i) || !fl_folio_alone(fl_folio(mm, pte_pfn(pte) + i)))
			return false;
	return true;
}

bool fl_can_change_pte_writable(const struct fl_mm *mm, const struct fl_vma *vma, fl_pte_t pte, unsigned nr)
{
	if (!(vma->flags & VM_WRITE) || pte_uffd_wp(pte) || pte_hint(pte))
		return false;
	if (fl_vma_tracked(vma) && !pte_soft_dirty(pte))
		return false;
	return (vma->flags & VM_SHARED) ? pte_dirty(pte) : exclusive(mm, pte, nr);
}

/* What a present entry becomes. */
static fl_pte_t change_present(struct fl_mm *mm, struct fl_vma *vma, fl_pte_t pte, unsigned nr, uint32_t cp_flags)
{
	if (cp_flags & MM_CP_PROT_NUMA)
		return pte_mkhint(pte);
	if (cp_flags & MM_CP_CLEAR_SOFT_DIRTY)
		pte = pte_clear_soft_dirty(pte);
	if (cp_flags & MM_CP_UFFD_WP)
		return pte_mkuffd_wp(pte);
	if (cp_flags & MM_CP_UFFD_WP_RESOLVE)
		pte = pte_clear_uffd_wp(pte);
	pte = pte_set_prot(pte, vma);
	return (cp_flags & MM_CP_TRY_CHANGE_WRITABLE) ? fl_pte_upgrade(mm, vma, pte, nr) : pte;
}

/* What an entry that grants nothing becomes: only the bits that come back with the page. */
static fl_pte_t change_absent(fl_pte_t pte, uint32_t cp_flags)
{
	if (pte_none(pte))
		return (cp_flags & MM_CP_UFFD_WP_MARKERS) ? pte_wp_marker() : pte;
	if (pte_guard(pte))
		return pte;
	if (pte_marker(pte))
		return (cp_flags & MM_CP_UFFD_WP_RESOLVE) ? (fl_pte_t){0} : pte;
	if (cp_flags & MM_CP_CLEAR_SOFT_DIRTY)
		pte = pte_clear_soft_dirty(pte);
	if (cp_flags & MM_CP_UFFD_WP)
		return pte_mkuffd_wp(pte);
	return (cp_flags & MM_CP_UFFD_WP_RESOLVE) ? pte_clear_uffd_wp(pte) : pte;
}

/*
 * One call, and what the backend has not been told of it yet: the part in which rights shrank, and the most that is
 * left.
 */
struct change {
	struct fl_mm *mm;
	struct fl_vma *vma;
	uint32_t cp_flags;
	uint64_t start, end; /* the shrunk part */
	enum fl_right left;
	int64_t pages; /* changed */
};

static void note_shrink(struct change *c, const struct fl_slot *s, enum fl_right left)
{
	if (c->start == c->end)
		c->start = s->addr;
	c->end = s->addr + ((uint64_t)s->nr << PAGE_SHIFT);
	c->left = fl_min(c->left, left);
}

/* => page-table lock held */
static void change_slot(struct change *c, const struct fl_slot *s)
{
	fl_pte_t old = slot_get(s), new;

	if (pte_present(old))
		new = change_present(c->mm, c->vma, old, s->nr, c->cp_flags);
	else
		new = change_absent(old, c->cp_flags);
	if (new.val == old.val)
		return;
	slot_set(s, new);
	c->pages += s->nr;
	if (pte_right(new, c->vma) < pte_right(old, c->vma))
		note_shrink(c, s, pte_right(new, c->vma));
}

/*
 * Un-protecting a few pages is what a handler does for a thread that is about to store to them: cache the right now,
 * and the store need not fault once more. => page-table lock held
 */
#define GRANT_PAGES 16u

static void grant_resolved(struct change *c, uint64_t addr, uint64_t end)
{
	for (uint64_t first = addr; addr <= end; addr += PAGE_SIZE) {
		if (addr < end && pte_right(fl_pte_get(c->mm, addr), c->vma) == FL_RIGHT_WRITE)
			continue;
		if (first < addr)
			c->mm->ops->rights.grant(c->mm, c->vma, first, PAGES(addr - first), FL_RIGHT_WRITE);
		first = addr + PAGE_SIZE;
	}
}

/*
 * The part of one PMD entry. false: it needs markers, and the leaf that was to get them has been dropped. =>
 * page-table lock held
 */
static bool change_pmd(struct change *c, uint64_t addr, uint64_t end)
{
	bool protect = c->cp_flags & MM_CP_UFFD_WP, drops = c->vma->kind->leaf == FL_LEAF_DROP;
	struct fl_slot s = fl_slot_at(c->mm, addr);

	if (s.pmdp && (end - addr < PMD_SIZE || (drops && protect))) {
		fl_leaf_break(c->mm, c->vma, addr, protect);
		s = fl_slot_at(c->mm, addr);
	}
	if (!s.nr && (c->cp_flags & MM_CP_UFFD_WP_MARKERS))
		return false;
	if (s.pmdp)
		change_slot(c, &s);
	else
		for (; s.nr && s.addr < end; s.addr += PAGE_SIZE, s.ptep++)
			change_slot(c, &s);
	/* not when a registration ends: what is given back then, and to whom, is the backend's to see */
	if ((c->cp_flags & MM_CP_UFFD_WP_RESOLVE) && PAGES(end - addr) <= GRANT_PAGES && fl_vma_access(c->vma) &&
	    (c->vma->flags & VM_UFFD_WP))
		grant_resolved(c, addr, end);
	return true;
}

/* The first of [addr, end) that has an entry, or, where empty memory gets markers, a table for the first. */
static int next_pmd(struct change *c, uint64_t *addr, uint64_t end)
{
	if (c->cp_flags & MM_CP_UFFD_WP_MARKERS)
		return *addr < end ? fl_pte_alloc(c->mm, *addr) : 0;
	*addr = fl_pgtable_next(c->mm, *addr, end);
	return 0;
}

int64_t fl_change_protection(struct fl_mm *mm, struct fl_vma *vma, uint64_t start, uint64_t end, uint32_t cp_flags)
{
	struct change c = {.mm = mm, .vma = vma, .cp_flags = cp_flags, .left = FL_RIGHT_WRITE};
	uint64_t addr = start;
	int err;

	while (!(err = next_pmd(&c, &addr, end)) && addr < end) {
		uint64_t next = fl_min(PMD_ALIGN_DOWN(addr) + PMD_SIZE, end);
		struct fl_mutex *ptl = fl_pt_lock(mm, addr);

		fl_mutex_lock(ptl);
		if (change_pmd(&c, addr, next))
			addr = next;
		fl_mutex_unlock(ptl);
	}
	/* A mapping that has lost all access hides everything, whatever its entries say. */
	if (!fl_vma_access(vma))
		mm->ops->rights.invalidate(mm, vma, start, end, FL_RIGHT_NONE);
	else if ((cp_flags & MM_CP_CLEAR_SOFT_DIRTY) && fl_absent_right(vma) != FL_RIGHT_NONE)
		mm->ops->rights.invalidate(mm, vma, start, end, fl_min(c.left, fl_absent_right(vma)));
	else if (c.start < c.end)
		mm->ops->rights.invalidate(mm, vma, c.start, c.end, c.left);
	return err ? err : c.pages;
}

void fl_vma_set_uffd(struct fl_mm *mm, struct fl_vma *vma, uint32_t uffd_flags, struct fl_uffd_ctx *ctx)
{
	bool drop_wp = (vma->flags & VM_UFFD_WP) && !(uffd_flags & VM_UFFD_WP);

	/* vm_page_prot first: the entries follow it */
	fl_vma_set(vma, (vma->flags & ~VM_UFFD) | uffd_flags, ctx);
	if (drop_wp)
		fl_change_protection(mm, vma, vma->start, vma->end,
				     MM_CP_UFFD_WP_RESOLVE | MM_CP_TRY_CHANGE_WRITABLE);
}
