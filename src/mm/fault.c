/* SPDX-License-Identifier: MIT */
/*
 * fault.c - one fault, from the top:
 *
 *   no mapping here ................................... FL_FOREIGN
 *   the mapping forbids the access ................... FL_SEGV
 *   released between the access and this look ........ the host grants it now: run it again
 *   in place, and hidden ............................. its data comes to frames, then as below
 *   no page:   guarded by the program's advice ....... FL_SEGV, and so it is where the host finds no page in place
 *              in place, and the mapping allows it ... the backend had forgotten it: grant again
 *              behind the end of the backing ......... SIGBUS
 *              the backing has the page, minor ....... the userfaultfd object
 *              the backing has it .................... map it; a store to a private mapping gets a copy
 *              registered for missing ................ the userfaultfd object
 *              else .................................. a new page, which a file gets into its cache first
 *   a page that a marker has write-protected ......... is so from the beginning
 *   a page that is not in its frame: swapped out ..... swapped in, then as below
 *                                    migrating ....... wait for it, then run the access again
 *   a page, with the hint ............................ note the access and take the hint away, then as below
 *   a page, write, uffd-wp ........................... the userfaultfd object
 *   a page, write, shared with a forked space ........ a copy of its own
 *   a page, write, read-only for want of a first write  writable
 *   an entry that grants the access .................. the backend had forgotten it: grant again
 *
 * The code is structured as that list is. "A page" is an entry of either level: what is done to a leaf is done to its
 * 512 pages.
 */
#include "mm/fault.h"

#include "mm/claim.h"
#include "mm/file.h"
#include "mm/folio.h"
#include "mm/kind.h"
#include "mm/migrate.h"
#include "mm/mmap_lock.h"
#include "mm/protect.h"
#include "mm/source.h"
#include "mm/swap.h"
#include "mm/uffd_ops.h"
#include "mm/vma.h"
#include "mm/zap.h"

#include "base/clock.h"
#include "host/count.h"

#include <string.h>

/* What one look at a fault comes to. */
enum look {
	DONE,	    /* run the access again */
	ASK,	    /* the userfaultfd object, for vmf->why */
	AGAIN,	    /* look once more */
	BEHIND_END, /* of the file */
	GUARDED,
	FORBIDDEN, /* to execute what is there */
	NO_MEMORY,
	REFUSED, /* by user space */
};

static bool access_ok(const struct fl_vma *vma, uint32_t flags)
{
	return fl_vma_access(vma) & ((flags & FAULT_WRITE) ? VM_WRITE : VM_READ | VM_EXEC);
}

/* The fetch of an instruction brings the page, as a load does; only then is it known that it may not be executed. */
static bool no_exec(const struct fl_vma *vma, uint32_t flags)
{
	return (flags & FAULT_EXEC) && !(fl_vma_access(vma) & VM_EXEC);
}

static enum look ask(struct fl_vmf *vmf, enum fl_why why)
{
	vmf->why = why;
	return ASK;
}

void fl_vmf_unlock(struct fl_vmf *vmf)
{
	fl_mutex_unlock(fl_pt_lock(vmf->mm, vmf->addr));
	fl_vma_unlock_file(vmf->vma);
	fl_vma_unpin(vmf->vma);
}

/*
 * The backend had forgotten the right, or never heard of it. Then it has most likely not heard of the neighbours'
 * either: give it all at once that the table grants alike around the page. => page-table lock held
 */
static void grant_around(struct fl_vmf *vmf, const struct fl_slot *s, enum fl_right right)
{
	struct fl_vma *vma = vmf->vma;
	uint64_t lo = fl_max(vma->start, PMD_ALIGN_DOWN(s->addr)),
		 hi = fl_min(vma->end, PMD_ALIGN_DOWN(s->addr) + PMD_SIZE);
	uint64_t first = s->addr, end = s->addr + PAGE_SIZE;

	while (first > lo && pte_right(ptep_get(s->ptep - PAGES(s->addr - first) - 1), vma) == right)
		first -= PAGE_SIZE;
	while (end < hi && pte_right(ptep_get(s->ptep + PAGES(end - s->addr)), vma) == right)
		end += PAGE_SIZE;
	vmf->mm->ops->rights.grant(vmf->mm, vma, first, PAGES(end - first), right);
}

/* Set the entry, and let the backend cache what it grants; `around`: and its neighbours. => page-table lock held */
static void install(struct fl_vmf *vmf, const struct fl_slot *s, fl_pte_t pte, bool around)
{
	enum fl_right right = pte_right(pte, vmf->vma);

	slot_set(s, pte);
	if (around)
		grant_around(vmf, s, right);
	else
		vmf->mm->ops->rights.grant(vmf->mm, vmf->vma, s->addr, s->nr, right);
}

/* The entry of a page that was not there; `old` is none or a marker, which a store meets again. */
static fl_pte_t new_entry(const struct fl_vmf *vmf, uint64_t pfn, fl_pte_t old)
{
	bool write = vmf->flags & FAULT_WRITE, zeros = vmf->vma->kind->zeros;
	fl_pte_t pte = pte_mkyoung(pte_make(pfn, vmf->vma));

	if (pte_uffd_wp(old))
		pte = pte_mkuffd_wp(pte);
	if (zeros && !write)
		pte = pte_mkzero(pte);
	else if (write && (zeros || !pte_uffd_wp(old)))
		pte = pte_mkwritten(pte);
	return fl_pte_upgrade(vmf->mm, vmf->vma, pte, 1);
}

/* Map a unit, of which the backing has `found`, or a hole. => locks of handle_fault() held */
static enum look map_unit(struct fl_vmf *vmf, const struct fl_slot *s, uint64_t addr, uint64_t found)
{
	const struct fl_memory_kind *kind = vmf->vma->kind;
	uint64_t pfn = kind->make(vmf->mm, vmf->vma, addr, found, vmf->flags & FAULT_WRITE);
	fl_pte_t *ptep = s->ptep - PAGES(s->addr - addr);
	enum fl_right right = FL_RIGHT_WRITE;

	if (pfn == FL_PFN_NONE)
		return NO_MEMORY;
	for (unsigned i = 0; i < PAGES(kind->unit); i++) {
		fl_pte_t pte = new_entry(vmf, pfn + i, ptep_get(ptep + i));

		set_pte(ptep + i, pte);
		right = fl_min(right, pte_right(pte, vmf->vma));
	}
	vmf->mm->ops->rights.grant(vmf->mm, vmf->vma, addr, PAGES(kind->unit), right);
	if (kind->zeros)
		fl_count(faults_zero, 1);
	else
		fl_count(faults_cached, 1);
	return DONE;
}

/* Leave the frame to the other entries that map it. => page-table lock held */
static enum look copy_shared_page(struct fl_vmf *vmf, struct fl_slot s)
{
	struct fl_mm *mm = vmf->mm;
	fl_pte_t old, pte;
	uint64_t pfn;

	if (s.pmdp) {
		fl_leaf_break(mm, vmf->vma, vmf->addr, true);
		if (vmf->vma->kind->leaf == FL_LEAF_DROP)
			return DONE; /* the access finds no page now, and goes by what that means */
		s = fl_slot_at(mm, vmf->addr);
	}
	old = slot_get(&s);
	if (vmf->vma->kind->own) { /* it is a copy already, and from now on the program's own */
		vmf->vma->kind->own(mm, pte_pfn(old));
		install(vmf, &s, fl_pte_upgrade(mm, vmf->vma, pte_mkwritten(old), 1), false);
		return DONE;
	}
	pfn = mm->ops->frames.get(mm, vmf->vma, s.addr);
	if (pfn == FL_PFN_NONE)
		return NO_MEMORY;
	if (fl_frame_copy(mm, pfn, pte_pfn(old))) {
		fl_folio_put(mm, pfn);
		return NO_MEMORY;
	}
	fl_folio(mm, pfn)->mapcount = 1;
	pte = pte_mkwritten(pte_set_pfn(old, pfn));
	slot_set(&s, pte);
	mm->ops->rights.invalidate(mm, vmf->vma, s.addr, s.addr + PAGE_SIZE, FL_RIGHT_NONE); /* of the old frame */
	fl_folio_unmapped(fl_folio(mm, pte_pfn(old)));
	fl_folio_put(mm, pte_pfn(old));
	install(vmf, &s, fl_pte_upgrade(mm, vmf->vma, pte, 1), false);
	return DONE;
}

/* Noted: the hint goes, and what rights there were before it come back. => page-table lock held */
static fl_pte_t take_hint(struct fl_vmf *vmf, const struct fl_slot *s, fl_pte_t pte)
{
	vmf->hinted = true;
	return fl_pte_upgrade(vmf->mm, vmf->vma, pte_clear_hint(pte), s->nr);
}

/* => locks of handle_fault() held */
static enum look fault_present_page(struct fl_vmf *vmf, const struct fl_slot *s)
{
	fl_pte_t pte = pte_mkyoung(slot_get(s));
	bool forgotten = false;

	if (pte_hint(pte))
		pte = take_hint(vmf, s, pte);
	if ((vmf->flags & FAULT_WRITE) && pte_uffd_wp(pte)) {
		slot_set(s, pte); /* the hint has done its work */
		return ask(vmf, FL_WHY_WP);
	}
	if (vmf->flags & FAULT_WRITE)
		pte = pte_mkwritten(pte);
	if ((vmf->flags & FAULT_WRITE) && !pte_write(pte)) {
		pte = fl_pte_upgrade(vmf->mm, vmf->vma, pte, s->nr);
		if (!pte_write(pte))
			return copy_shared_page(vmf, *s);
		fl_count(faults_write, 1);
	} else if (!vmf->hinted) {
		fl_count(faults_spurious, 1);
		forgotten = !s->pmdp;
	}
	install(vmf, s, pte, forgotten);
	return DONE;
}

/*
 * Is something about to be noted of a leaf that is to be known of one page? Of a leaf that the program has asked for
 * it is noted as a whole; one that was made because it happened to be possible must not show.
 */
static bool one_of_many(const struct fl_vmf *vmf, const struct fl_slot *s, fl_pte_t pte)
{
	if (!s->pmdp || !pte_unasked(pte))
		return false;
	return pte_hint(pte) || ((vmf->flags & FAULT_WRITE) && !pte_write(pte) && fl_vma_tracked(vmf->vma));
}

/* No page is mapped: none, or a marker. => locks of handle_fault() held */
static enum look fault_no_page(struct fl_vmf *vmf, const struct fl_slot *s)
{
	struct fl_vma *vma = vmf->vma;
	uint64_t addr = fl_unit_of(vma->kind, vmf->addr), found = FL_PFN_NONE;
	enum fl_right right = s->nr ? pte_right(slot_get(s), vma) : fl_absent_right(vma);

	if (s->nr && pte_guard(slot_get(s)))
		return GUARDED;
	if (right >= ((vmf->flags & FAULT_WRITE) ? FL_RIGHT_WRITE : FL_RIGHT_READ)) { /* the host has the page */
		if (vmf->flags & FAULT_NOWHERE)
			return GUARDED;
		if (no_exec(vma, vmf->flags))
			return FORBIDDEN;
		fl_count(faults_spurious, 1);
		grant_around(vmf, s, right);
		return DONE;
	}
	if (vma->kind->end && vmf->addr >= vma->kind->end(vma))
		return BEHIND_END;
	if (vma->kind->lookup)
		found = vma->kind->lookup(vma, addr);
	if (found == FL_PFN_NONE && (vma->flags & VM_UFFD_MISSING))
		return ask(vmf, FL_WHY_MISSING);
	if (found != FL_PFN_NONE && (vma->flags & VM_UFFD_MINOR))
		return ask(vmf, FL_WHY_MINOR);
	return map_unit(vmf, s, addr, found);
}

/* The page is on its way to another frame. => locks of handle_fault() held; dropped */
static enum look wait_for_migration(struct fl_vmf *vmf)
{
	uint32_t seen;

	fl_yield_point(&vmf->mm->migrations);
	seen = __atomic_load_n(&vmf->mm->migrations, __ATOMIC_ACQUIRE);
	fl_vmf_unlock(vmf);
	fl_migration_wait(vmf->mm, seen);
	return DONE;
}

/* Hand the fault over, with the locks. => locks of handle_fault() held; dropped */
static enum look ask_user_space(struct fl_vmf *vmf)
{
	switch (fl_uffd_ops.fault(vmf)) {
	case FL_ANSWER_RETRY:
		return DONE;
	case FL_ANSWER_PASSED_ON:
		vmf->flags |= FAULT_NO_HANDLER;
		return AGAIN;
	default:
		return REFUSED;
	}
}

/* => locks of handle_fault() held; dropped */
static enum look handle_slot(struct fl_vmf *vmf, struct fl_slot *s)
{
	fl_pte_t pte = s->nr ? slot_get(s) : (fl_pte_t){0};
	enum look look;

	if (one_of_many(vmf, s, pte)) { /* the rest of the leaf stays as it is */
		fl_pmd_split(vmf->mm, s->pmdp, vmf->addr);
		*s = fl_slot_at(vmf->mm, vmf->addr);
		pte = slot_get(s);
	}
	if (pte_present(pte) && !s->pmdp && fl_vma_page_gone(vmf->vma, s->addr)) {
		fl_zap_gone(vmf->mm, vmf->vma, s->addr, s->ptep);
		pte = slot_get(s);
	}
	if (pte_migration(pte))
		return wait_for_migration(vmf);
	if (pte_swap(pte) && fl_swap_in(vmf->mm, vmf->vma, s))
		look = NO_MEMORY;
	else if (pte_no_page(pte))
		look = fault_no_page(vmf, s);
	else if (no_exec(vmf->vma, vmf->flags))
		look = FORBIDDEN;
	else
		look = fault_present_page(vmf, s);
	if (look == ASK)
		return ask_user_space(vmf);
	fl_vmf_unlock(vmf);
	return look;
}

/* => mapping pinned; unpinned */
static enum look handle_fault(struct fl_vmf *vmf)
{
	/* a message about memory that is nowhere needs no table */
	bool table = vmf->vma->kind->lookup || (vmf->vma->flags & (VM_UFFD_MISSING | VM_IN_PLACE)) != VM_UFFD_MISSING;
	bool (*leaf)(struct fl_vmf *) = vmf->vma->kind->fault_leaf;
	struct fl_mm *mm = vmf->mm;
	struct fl_slot s;

	if (table && !(leaf && leaf(vmf)) && fl_pte_alloc(mm, vmf->addr)) {
		fl_vma_unpin(vmf->vma);
		return NO_MEMORY; /* for a table */
	}
	fl_vma_lock_file(vmf->vma);
	fl_mutex_lock(fl_pt_lock(mm, vmf->addr));
	/* if there is no table, a fill would need our lock to put an entry into one */
	s = fl_slot_at(mm, vmf->addr);
	if (unlikely(!s.nr && table)) { /* there was a leaf, which was dropped */
		fl_vmf_unlock(vmf);
		return DONE;
	}
	return handle_slot(vmf, &s);
}

/* Whether the page is missing is seen once what the host has of it is in frames. => mapping pinned; unpinned */
static enum look take_over(struct fl_vmf *vmf)
{
	fl_vma_unpin(vmf->vma);
	return fl_take_over(vmf->mm, vmf->addr, vmf->addr + 1) ? NO_MEMORY : AGAIN;
}

/* What a fault on a hint has cost, for the access sampler's account. */
static void note_hint(struct fl_mm *mm, uint64_t began)
{
	__atomic_fetch_add(&mm->sampling.faults, 1, __ATOMIC_RELAXED);
	__atomic_fetch_add(&mm->sampling.fault_ns, fl_now_ns() - began + mm->sampling.entry_ns, __ATOMIC_RELAXED);
}

enum fl_fault fl_handle_mm_fault(struct fl_vmf *vmf)
{
	uint64_t began = __atomic_load_n(&vmf->mm->sampling.since, __ATOMIC_RELAXED) ? fl_now_ns() : 0;
	enum look look;

	do {
		vmf->vma = fl_vma_pin(vmf->mm, vmf->addr);
		if (!vmf->vma)
			return FL_FOREIGN;
		if (!access_ok(vmf->vma, vmf->flags) ||
		    ((vmf->vma->flags & VM_RELEASED) && no_exec(vmf->vma, vmf->flags))) {
			fl_vma_unpin(vmf->vma);
			return FL_SEGV;
		}
		if (vmf->vma->flags & VM_RELEASED) {
			fl_vma_unpin(vmf->vma);
			vmf->released = true;
			return FL_DONE; /* the host grants it now */
		}
		look = fl_vma_hidden(vmf->vma) ? take_over(vmf) : handle_fault(vmf);
	} while (look == AGAIN);
	if (vmf->hinted && began && !vmf->delivered)
		note_hint(vmf->mm, began);
	vmf->nowhere = look == GUARDED;
	if (look == DONE)
		return FL_DONE;
	return look == GUARDED || look == FORBIDDEN ? FL_SEGV : FL_SIGBUS;
}
