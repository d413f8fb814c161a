/* SPDX-License-Identifier: MIT */
/* swap.c - pages whose contents are in the backend's swap area. The entry keeps what must come back with the page. */
#include "mm/swap.h"

#include "mm/folio.h"
#include "mm/protect.h"
#include "mm/zap.h"

/* A page without other mappings. Returns whether it went out. => page-table lock held */
static bool swap_out(struct fl_mm *mm, struct fl_vma *vma, fl_pte_t *ptep, uint64_t addr)
{
	fl_pte_t old = ptep_get(ptep);
	uint64_t slot, pfn = pte_pfn(old);

	if (!pte_present(old) || fl_page_mapping(mm, pfn) || !fl_folio_alone(fl_folio(mm, pfn)))
		return false;
	slot = mm->ops->swap->get(mm);
	if (slot == FL_PFN_NONE)
		return false;
	set_pte(ptep, mk_swap_pte(slot, old));
	mm->ops->rights.invalidate(mm, vma, addr, addr + PAGE_SIZE,
				   FL_RIGHT_NONE); /* before the contents are read: no store is lost */
	mm->ops->swap->write(mm, slot, pfn);
	fl_folio(mm, pfn)->mapcount = 0;
	fl_folio_put(mm, pfn);
	return true;
}

int64_t fl_swap_out_range(struct fl_mm *mm, struct fl_vma *vma, uint64_t start, uint64_t end)
{
	int64_t done = 0;

	if (!mm->ops->swap)
		return -EOPNOTSUPP;
	if (vma->flags & VM_LOCKED)
		return 0;
	fl_for_each_pmd(mm, addr, next, start, end) {
		struct fl_mutex *ptl = fl_pt_lock(mm, addr);
		fl_pte_t *ptep;

		fl_mutex_lock(ptl);
		ptep = fl_pte_movable(mm, vma, addr);
		for (; ptep && addr < next; addr += PAGE_SIZE, ptep++)
			done += swap_out(mm, vma, ptep, addr);
		fl_mutex_unlock(ptl);
	}
	return done;
}

int fl_swap_in(struct fl_mm *mm, struct fl_vma *vma, const struct fl_slot *s)
{
	fl_pte_t old = slot_get(s);
	uint64_t pfn = mm->ops->frames.get(mm, vma, s->addr);

	if (pfn == FL_PFN_NONE)
		return -ENOMEM;
	if (mm->ops->swap->read(mm, pte_pfn(old), pfn)) {
		fl_folio_put(mm, pfn);
		return -ENOMEM;
	}
	fl_folio(mm, pfn)->mapcount = 1;
	slot_set(s, fl_pte_upgrade(mm, vma, pte_present_again(pfn, old), 1));
	mm->ops->swap->free(mm, pte_pfn(old));
	return 0;
}
