/* SPDX-License-Identifier: MIT */
/*
 * fault.c - one fault, from the top:
 *
 *   no mapping of ours ............................... FL_FOREIGN
 *   the mapping forbids the access ................... FL_SEGV
 *   released between the access and this look ........ the host grants it now: run it again
 *   no entry:  registered for missing ................ the userfaultfd object
 *              else .................................. a zero page
 *   entry, write, uffd-wp, registered for it ......... the userfaultfd object
 *   entry, write, read-only for want of a first write  writable
 *   entry that grants the access ..................... the backend had forgotten it: grant again
 *
 * The code is structured as that list is.
 */
#include "mm/mm.h"

#include "base/count.h"

fl_userfault_fn *fl_handle_userfault;

static bool access_ok(const struct fl_vma *vma, uint32_t flags)
{
	return vma->vm_page_prot & ((flags & FAULT_WRITE) ? VM_WRITE : VM_READ | VM_EXEC);
}

static enum fl_fault userfault(struct fl_vmf *vmf, bool wp)
{
	vmf->wp = wp;
	return fl_handle_userfault(vmf);
}

/* Map a page of zeros. => page-table lock held */
static enum fl_fault do_anonymous_page(struct fl_vmf *vmf, fl_pte_t *ptep)
{
	struct fl_mm *mm = vmf->mm;
	uint64_t addr = PAGE_ALIGN_DOWN(vmf->addr);
	uint64_t pfn = mm->ops->frame_get(mm, vmf->vma, addr);
	fl_pte_t pte;

	if (pfn == FL_PFN_NONE)
		return FL_SIGBUS;
	if (mm->ops->frames_zero(mm, pfn, 1)) {
		fl_folio_put(mm, pfn);
		return FL_SIGBUS;
	}
	fl_folio(mm, pfn)->mapcount++;
	pte = pte_mkyoung(mk_pte(pfn, vmf->vma));
	if (vmf->flags & FAULT_WRITE)
		pte = pte_mkdirty(pte);
	set_pte(ptep, pte);
	mm->ops->grant(mm, vmf->vma, addr, 1, pte_right(pte, vmf->vma));
	fl_count(faults_zero, 1);
	return FL_DONE;
}

/* An entry is there. => page-table lock held */
static void do_present_page(struct fl_vmf *vmf, fl_pte_t *ptep)
{
	struct fl_mm *mm = vmf->mm;
	fl_pte_t pte = pte_mkyoung(ptep_get(ptep));

	if (vmf->flags & FAULT_WRITE)
		pte = pte_mkdirty(pte_mkwrite(pte)); /* pages are exclusive: nothing to copy */
	set_pte(ptep, pte);
	mm->ops->grant(mm, vmf->vma, PAGE_ALIGN_DOWN(vmf->addr), 1, pte_right(pte, vmf->vma));
	fl_count(faults_spurious, 1);
}

/* => mmap_lock held for reading; dropped */
static enum fl_fault handle_pte_fault(struct fl_vmf *vmf)
{
	struct fl_mm *mm = vmf->mm;
	struct fl_mutex *ptl = fl_pt_lock(mm, vmf->addr);
	bool missing_mode = vmf->vma->flags & VM_UFFD_MISSING;
	fl_pte_t *ptep = missing_mode ? fl_pte_offset(mm, vmf->addr) : fl_pte_alloc(mm, vmf->addr);
	enum fl_fault ret = FL_DONE;
	fl_pte_t pte;

	if (!ptep && !missing_mode) {
		fl_read_unlock(&mm->mmap_lock);
		return FL_SIGBUS; /* no memory for a table */
	}
	fl_mutex_lock(ptl);
	if (!ptep) /* a fill may have made the table meanwhile; from now on it would need our lock */
		ptep = fl_pte_offset(mm, vmf->addr);
	pte = ptep ? ptep_get(ptep) : (fl_pte_t){ 0 };
	if (pte_none(pte) && missing_mode)
		return userfault(vmf, false);
	if (pte_none(pte))
		ret = do_anonymous_page(vmf, ptep);
	else if ((vmf->flags & FAULT_WRITE) && pte_uffd_wp(pte))
		return userfault(vmf, true);
	else
		do_present_page(vmf, ptep);
	fl_mutex_unlock(ptl);
	fl_read_unlock(&mm->mmap_lock);
	return ret;
}

enum fl_fault fl_handle_mm_fault(struct fl_vmf *vmf)
{
	enum fl_fault ret;

	do {
		fl_read_lock(&vmf->mm->mmap_lock);
		vmf->vma = fl_vma_lookup(vmf->mm, vmf->addr);
		if (!vmf->vma)
			ret = FL_FOREIGN;
		else if (!access_ok(vmf->vma, vmf->flags))
			ret = FL_SEGV;
		else if (vmf->vma->flags & VM_RELEASED)
			ret = FL_RELEASED;
		else
			ret = handle_pte_fault(vmf);
		if (ret == FL_FOREIGN || ret == FL_SEGV || ret == FL_RELEASED)
			fl_read_unlock(&vmf->mm->mmap_lock);
		if (ret == FL_HANDOFF)
			vmf->flags |= FAULT_NO_HANDLER;
	} while (ret == FL_HANDOFF);
	return ret == FL_RELEASED ? FL_DONE : ret;
}
