/* SPDX-License-Identifier: MIT */
/* check.c - walks the invariants that mm.h states, I1 to I9. */
#include "mm/check.h"

#include "mm/folio.h"
#include "mm/mmap_lock.h"
#include "mm/pgtable.h"
#include "mm/vma.h"

#include "base/signals.h"

struct walk {
	struct fl_mm *mm;
	void (*say)(const char *invariant, uint64_t addr);
	int bad;
};

static void expect(struct walk *w, bool ok, const char *invariant, uint64_t addr)
{
	if (ok)
		return;
	w->bad++;
	w->say(invariant, addr);
}

static void check_vma(struct walk *w, uint32_t i)
{
	struct fl_vma *v = w->mm->vmas[i], *prev = i ? w->mm->vmas[i - 1] : NULL;

	expect(w, v->start < v->end && PAGE_ALIGNED(v->start | v->end) && v->end <= TASK_SIZE, "I1 range", v->start);
	expect(w, !prev || prev->end <= v->start, "I1 sorted and disjoint", v->start);
	expect(w,
	       !prev || prev->end != v->start || prev->flags != v->flags || prev->ctx != v->ctx ||
		       !fl_vma_continues(prev, v) || prev->pgoff + PAGES(prev->end - prev->start) != v->pgoff,
	       "I1 merged", v->start);
	expect(w, !(v->flags & VM_UFFD) == !v->ctx, "I2 flags and object", v->start);
	expect(w, v->vm_page_prot == fl_vm_page_prot(v->flags), "I3 vm_page_prot", v->start);
}

/* What an entry of any kind and level must be; `nr`: the pages that it is for. */
static void check_bits(struct walk *w, const struct fl_vma *v, uint64_t addr, fl_pte_t pte, unsigned nr)
{
	expect(w, v && !(v->flags & VM_RELEASED), "I4 entry in a mapping", addr);
	expect(w, !pte_uffd_wp(pte) || !(pte.val & PTE_WRITE), "I5 uffd-wp is not writable", addr);
	expect(w, !pte_uffd_wp(pte) || !v || (v->flags & VM_UFFD_WP), "I5 uffd-wp is registered", addr);
	expect(w, !pte_marker(pte) || pte.val == pte_wp_marker().val || pte.val == pte_guard_marker().val,
	       "I5 marker", addr);
	expect(w, !pte_write(pte) || !v || (v->flags & VM_WRITE), "I6 writable mapping", addr);
	expect(w, !pte_write(pte) || (pte_dirty(pte) && pte_soft_dirty(pte)), "I6 writable is dirty", addr);
	expect(w, !pte_write(pte) || !pte_hint(pte), "I6 hint", addr);
	expect(w, nr == 1 || !v || (addr >= v->start && addr + PMD_SIZE <= v->end), "I9 leaf in one mapping", addr);
	expect(w, nr == 1 || pte_pfn(pte) % PTRS_PER_TABLE == 0, "I9 leaf's frames", addr);
	expect(w, nr == 1 || !v || v->kind->leaf != FL_LEAF_DROP || !pte_uffd_wp(pte),
	       "I9 a leaf that is dropped is not protected", addr);
}

static void check_page(struct walk *w, struct fl_vma *v, uint64_t addr, fl_pte_t pte)
{
	enum fl_right right = v ? pte_right(pte, v) : FL_RIGHT_NONE;
	struct fl_mm *mm = w->mm;

	if (pte_present(pte)) {
		struct fl_folio *folio = fl_folio(mm, pte_pfn(pte)); /* a forked space changes it, too: look twice */
		int32_t users = __atomic_load_n(&folio->refcount, __ATOMIC_RELAXED);
		int32_t maps = __atomic_load_n(&folio->mapcount, __ATOMIC_ACQUIRE);
		int32_t again = __atomic_load_n(&folio->refcount, __ATOMIC_RELAXED);
		bool shared = v && (v->flags & VM_SHARED);

		expect(w, maps > 0 && maps <= fl_max(users, again), "I7 folio counts", addr);
		expect(w, !pte_write(pte) || shared || (maps == 1 && !fl_page_mapping(mm, pte_pfn(pte))),
		       "I7 writable is exclusive", addr);
	}
	if (v && !(v->flags & VM_RELEASED) && right != FL_RIGHT_WRITE)
		expect(w, !mm->ops->rights.caches(v, addr, right + 1), "I8 cached right", addr);
}

/* => the entries are as they were when they were looked up: mmap_lock is held for writing */
static void check_pmd(struct walk *w, uint64_t addr, unsigned *leaves)
{
	fl_pmd_t pmd = pmdp_get_lockless(fl_pmd_offset(w->mm, addr));
	struct fl_vma *next = fl_find_vma(w->mm, addr), *v;
	bool leaf = pmd_leaf(pmd);

	leaves[fl_pt_index(addr)] += leaf;
	if (leaf)
		check_bits(w, fl_vma_lookup(w->mm, addr), addr, pmd_pte_at(pmd, 0), PTRS_PER_TABLE);
	for (unsigned i = 0; i < PTRS_PER_TABLE; i++, addr += PAGE_SIZE) {
		fl_pte_t pte = leaf ? pmd_pte_at(pmd, i) : ptep_get(pmd_ptes(pmd) + i);

		if (next && next->end <= addr)
			next = fl_find_vma(w->mm, addr);
		v = next && next->start <= addr ? next : NULL;
		if (!leaf && !pte_none(pte))
			check_bits(w, v, addr, pte, 1);
		if (leaf && v)
			expect(w, fl_page_mapping(w->mm, pte_pfn(pte)) == v->file, "I9 whose a leaf's pages are",
			       addr);
		check_page(w, v, addr, pte);
	}
}

static void check_deposits(struct walk *w, const unsigned *leaves)
{
	for (unsigned i = 0; i < FL_PT_LOCKS; i++) {
		unsigned n = 0;

		for (uint64_t *t = w->mm->deposit[i]; t; t = fl_ptr(t[0]))
			n++;
		expect(w, n == leaves[i], "I9 deposited tables", i);
	}
}

int fl_mm_verify(struct fl_mm *mm, void (*say)(const char *invariant, uint64_t addr))
{
	struct walk w = {.mm = mm, .say = say};
	unsigned leaves[FL_PT_LOCKS] = {0};
	uint64_t signals = fl_signals_block();

	fl_mmap_write_lock(mm);
	for (uint32_t i = 0; i < mm->nr_vmas; i++)
		check_vma(&w, i);
	for (uint64_t a = fl_pgtable_next(mm, 0, TASK_SIZE); a < TASK_SIZE;
	     a = fl_pgtable_next(mm, PMD_ALIGN_DOWN(a) + PMD_SIZE, TASK_SIZE))
		check_pmd(&w, PMD_ALIGN_DOWN(a), leaves);
	check_deposits(&w, leaves);
	fl_mmap_write_unlock(mm);
	fl_signals_restore(signals);
	return w.bad;
}
