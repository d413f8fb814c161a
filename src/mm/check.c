/* SPDX-License-Identifier: MIT */
/* check.c - walks the invariants that mm.h states, I1 to I8, one function each for mappings and entries. */
#include "mm/mm.h"

#include "base/alloc.h"

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
	expect(w, !prev || prev->end != v->start || prev->flags != v->flags || prev->ctx != v->ctx ||
			  prev->pgoff + PAGES(prev->end - prev->start) != v->pgoff,
	       "I1 merged", v->start);
	expect(w, !(v->flags & VM_UFFD) == !v->ctx, "I2 flags and object", v->start);
	expect(w, v->vm_page_prot == fl_vm_page_prot(v->flags), "I3 vm_page_prot", v->start);
}

static void check_entry(struct walk *w, uint64_t addr, fl_pte_t pte)
{
	struct fl_mm *mm = w->mm;
	struct fl_vma *v = fl_vma_lookup(mm, addr);
	enum fl_right right = FL_RIGHT_NONE;

	if (!pte_none(pte)) {
		expect(w, v && !(v->flags & VM_RELEASED), "I4 entry in a mapping", addr);
		expect(w, !pte_uffd_wp(pte) || !pte_write(pte), "I5 uffd-wp is not writable", addr);
		expect(w, !pte_uffd_wp(pte) || !v || (v->flags & VM_UFFD_WP), "I5 uffd-wp is registered", addr);
		expect(w, !pte_write(pte) || !v || (v->vm_page_prot & VM_WRITE), "I6 writable mapping", addr);
		if (v)
			right = pte_right(pte, v);
	}
	if (pte_present(pte)) {
		struct fl_folio *folio = fl_folio(mm, pte_pfn(pte));

		expect(w, folio->refcount > 0 && folio->mapcount == 1, "I7 folio counts", addr);
	}
	if (v && !(v->flags & VM_RELEASED) && right != FL_RIGHT_WRITE)
		expect(w, !mm->ops->caches(mm, addr, right + 1), "I8 cached right", addr);
}

int fl_mm_verify(struct fl_mm *mm, void (*say)(const char *invariant, uint64_t addr))
{
	struct walk w = { .mm = mm, .say = say };
	uint64_t irq = fl_irq_save();

	fl_write_lock(&mm->mmap_lock);
	for (uint32_t i = 0; i < mm->nr_vmas; i++)
		check_vma(&w, i);
	for (uint64_t a = fl_pgtable_next(mm, 0, TASK_SIZE); a < TASK_SIZE; a = fl_pgtable_next(mm, a, TASK_SIZE)) {
		uint64_t end = PMD_ALIGN_DOWN(a) + PMD_SIZE;

		for (; a < end; a += PAGE_SIZE)
			check_entry(&w, a, ptep_get(fl_pte_offset(mm, a)));
	}
	fl_write_unlock(&mm->mmap_lock);
	fl_irq_restore(irq);
	return w.bad;
}
