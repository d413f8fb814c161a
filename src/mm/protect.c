/* SPDX-License-Identifier: MIT */
/*
 * protect.c - change_protection(): the only way in which rights of existing entries change. It takes no protection:
 * what an
 * entry may grant follows from the mapping's vm_page_prot and from the entry's own bits.
 */
#include "mm/mm.h"

/* What the entry becomes. */
static fl_pte_t change_pte(fl_pte_t pte, const struct fl_vma *vma, uint32_t cp_flags)
{
	if (cp_flags & MM_CP_UFFD_WP)
		return pte_mkuffd_wp(pte);
	if (cp_flags & MM_CP_UFFD_WP_RESOLVE)
		pte = pte_clear_uffd_wp(pte);
	/* private pages are exclusive: writable as soon as mapping and entry allow it */
	return (vma->vm_page_prot & VM_WRITE) ? pte_mkwrite(pte) : pte_wrprotect(pte);
}

/* What shrank, gathered over a range so that the backend hears of it once. */
struct shrink {
	uint64_t start, end;
};

static void note_shrink(struct shrink *s, uint64_t addr)
{
	if (s->start == s->end)
		s->start = addr;
	s->end = addr + PAGE_SIZE;
}

/* The entries of one table. => page-table lock held */
static int64_t change_pte_range(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr, uint64_t end, uint32_t cp_flags,
				struct shrink *shrink)
{
	fl_pte_t *ptep = fl_pte_offset(mm, addr);
	int64_t changed = 0;

	for (; addr < end; addr += PAGE_SIZE, ptep++) {
		fl_pte_t old = ptep_get(ptep), new;

		if (!pte_present(old))
			continue;
		new = change_pte(old, vma, cp_flags);
		if (pte_write(old) && !pte_write(new))
			note_shrink(shrink, addr);
		if (new.val == old.val)
			continue;
		set_pte(ptep, new);
		changed++;
	}
	return changed;
}

int64_t fl_change_protection(struct fl_mm *mm, struct fl_vma *vma, uint64_t start, uint64_t end, uint32_t cp_flags)
{
	struct shrink shrink = { 0 };
	int64_t changed = 0;

	for (uint64_t addr = fl_pgtable_next(mm, start, end); addr < end; addr = fl_pgtable_next(mm, addr, end)) {
		uint64_t next = fl_min(PMD_ALIGN_DOWN(addr) + PMD_SIZE, end);
		struct fl_mutex *ptl = fl_pt_lock(mm, addr);

		fl_mutex_lock(ptl);
		changed += change_pte_range(mm, vma, addr, next, cp_flags, &shrink);
		fl_mutex_unlock(ptl);
		addr = next;
	}
	/* A mapping that lost all access hides everything; otherwise only the write right can have gone. */
	if (!(vma->vm_page_prot & VM_ACCESS))
		mm->ops->invalidate(mm, start, end, FL_RIGHT_NONE);
	else if (shrink.start < shrink.end)
		mm->ops->invalidate(mm, shrink.start, shrink.end, FL_RIGHT_READ);
	return changed;
}
