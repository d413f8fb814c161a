/* SPDX-License-Identifier: MIT */
/*
 * fork.c - a second address space over the same frames, as fork(2) makes it. Pages are shared until one side writes:
 * the entries of both are read-only, and a frame that two entries map is copied by the fault. Registrations stay with
 * the parent, and so does the write-protection of its entries.
 */
#include "mm/fork.h"

#include "mm/folio.h"
#include "mm/mmap_lock.h"
#include "mm/pgtable.h"
#include "mm/protect.h"
#include "mm/vma.h"

/* What the child gets of an entry, and its share of what is behind it. */
static fl_pte_t share(struct fl_mm *mm, fl_pte_t pte, unsigned nr)
{
	if (pte_guard(pte))
		return pte;
	if (pte_no_page(pte))
		return (fl_pte_t){0};
	if (pte_swap(pte))
		mm->ops->swap->dup(mm, pte_pfn(pte));
	for (unsigned i = 0; i < nr && pte_present(pte); i++) {
		__atomic_fetch_add(&fl_folio(mm, pte_pfn(pte) + i)->refcount, 1, __ATOMIC_RELAXED);
		__atomic_fetch_add(&fl_folio(mm, pte_pfn(pte) + i)->mapcount, 1, __ATOMIC_RELAXED);
	}
	return pte_wrprotect(pte_clear_hint(pte_clear_uffd_wp(pte)));
}

static int copy_leaf(struct fl_mm *child, struct fl_mm *parent, uint64_t addr, fl_pmd_t leaf)
{
	fl_pmd_t *pmdp = fl_pmd_alloc(child, addr);
	uint64_t *table = pmdp ? fl_pgtable_spare(child) : NULL;

	if (!table)
		return -ENOMEM;
	fl_pmd_set_leaf(child, pmdp, addr, share(parent, pmd_pte_at(leaf, 0), PTRS_PER_TABLE), table);
	return 0;
}

static int copy_table(struct fl_mm *child, struct fl_mm *parent, uint64_t addr, uint64_t end)
{
	fl_pte_t *from = fl_pte_offset(parent, addr), *to;

	if (fl_pte_alloc(child, addr))
		return -ENOMEM;
	for (to = fl_pte_offset(child, addr); addr < end; addr += PAGE_SIZE)
		set_pte(to++, share(parent, ptep_get(from++), 1));
	return 0;
}

/* => no other thread knows the child */
static int copy_range(struct fl_mm *child, struct fl_mm *parent, struct fl_vma *vma)
{
	fl_for_each_pmd(parent, addr, next, vma->start, vma->end) {
		fl_pmd_t pmd = pmdp_get_lockless(fl_pmd_offset(parent, addr));
		int err;

		if (pmd_leaf(pmd) && vma->kind->leaf == FL_LEAF_DROP)
			continue; /* the child finds it in the cache */
		err = pmd_leaf(pmd) ? copy_leaf(child, parent, addr, pmd) : copy_table(child, parent, addr, next);
		if (err)
			return err;
	}
	fl_change_protection(parent, vma, vma->start, vma->end, 0); /* what is shared now is read-only */
	return 0;
}

int fl_mm_copy(struct fl_mm *child, struct fl_mm *parent)
{
	const uint32_t not_inherited = VM_UFFD | VM_SAMPLED | VM_LOCKED;
	int err = 0;

	/*
	 * a file that it maps leads other threads to it before it is complete; two locks of one rank, but this one is
	 * free
	 */
	FL_BUG_ON(!fl_write_trylock(&child->mmap_lock));
	fl_mmap_write_lock(parent);
	for (uint32_t i = 0; i < parent->nr_vmas && !err; i++) {
		struct fl_vma *vma = parent->vmas[i], *copy;

		if (vma->flags & VM_DONTFORK)
			continue;
		err = fl_vma_reserve(child, 1);
		if (err)
			break;
		copy = fl_vma_insert(child, vma->start, vma->end, vma->pgoff, vma->flags & ~not_inherited, NULL);
		fl_vma_set_backing(copy, vma, vma->start);
		if (!(vma->flags & (VM_WIPEONFORK | VM_SHARED))) /* what is shared is found in the file's cache */
			err = copy_range(child, parent, vma);
	}
	fl_vma_merge(child, 0, TASK_SIZE);
	fl_mmap_write_unlock(parent);
	fl_write_unlock_tried(&child->mmap_lock);
	fl_mmap_write_lock(child); /* its mappings can be pinned when this ends */
	fl_mmap_write_unlock(child);
	return err;
}
