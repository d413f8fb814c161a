/* SPDX-License-Identifier: MIT */
/* pagemap.c - the words of /proc/self/pagemap for registered memory, and clearing soft-dirty. */
#include "mm/pagemap.h"

#include "mm/claim.h"
#include "mm/folio.h"
#include "mm/mmap_lock.h"
#include "mm/pgtable.h"
#include "mm/protect.h"
#include "mm/vma.h"

#include "base/signals.h"

#include <faultline/faultline.h>

/*
 * Does the page have a frame of its own, in the kernel's eyes? Zeros for which no write was requested are the zero
 * page there, which is shared by all. Here they may be written unnoticed, but then they are no longer zeros.
 */
bool fl_page_exclusive(struct fl_mm *mm, fl_pte_t pte)
{
	if (pte_zero(pte) && mm->ops->frames.is_zero(mm, pte_pfn(pte)))
		return false;
	return fl_folio_alone(fl_folio(mm, pte_pfn(pte)));
}

/*
 * soft-dirty.rst, pagemap.rst; Linux 6.18 as observed for what these leave open: a marker counts as swapped.
 * => mmap_lock held
 */
static uint64_t pagemap_word(struct fl_mm *mm, const struct fl_vma *vma, uint64_t addr)
{
	fl_pte_t pte = fl_pte_get(mm, addr);
	uint64_t word = 0;

	if (pte_present(pte)) { /* its frame is read, and only the lock keeps it where it is */
		fl_mutex_lock(fl_pt_lock(mm, addr));
		pte = fl_pte_get(mm, addr);
		if (pte_present(pte) && fl_page_exclusive(mm, pte))
			word |= FL_PM_EXCLUSIVE;
		if (pte_present(pte) && fl_page_mapping(mm, pte_pfn(pte)))
			word |= FL_PM_FILE;
		fl_mutex_unlock(fl_pt_lock(mm, addr));
	}
	if (pte_present(pte)) {
		word |= FL_PM_PRESENT;
	} else if (!pte_none(pte)) {
		word |= FL_PM_SWAP | (pte_guard(pte) ? FL_PM_GUARD : 0);
	}
	if (pte_uffd_wp(pte))
		word |= FL_PM_UFFD_WP;
	if (pte_soft_dirty(pte) || (vma->flags & VM_SOFTDIRTY))
		word |= FL_PM_SOFT_DIRTY;
	return word;
}

void fl_pagemap(struct fl_mm *mm, uint64_t addr, uint64_t nr, uint64_t *words)
{
	uint64_t signals = fl_signals_block();

	fl_mmap_read_lock(mm);
	for (uint64_t i = 0; i < nr; i++, addr += PAGE_SIZE) {
		struct fl_vma *vma = fl_vma_lookup(mm, addr);

		if (vma && !(vma->flags & VM_RELEASED))
			words[i] = pagemap_word(mm, vma, addr);
	}
	fl_mmap_read_unlock(mm);
	fl_signals_restore(signals);
}

/*
 * What the host serves alone is taken back: there, stores would go unnoticed. If that fails, it is released again. =>
 * mmap_lock held for writing
 */
static int take_back(struct fl_mm *mm)
{
	int err = mm->ops->claims ? mm->ops->claims->again(mm) : 0;
	struct fl_vma *vma;

	for (uint64_t at = 0; !err && (vma = fl_find_vma(mm, at)); at = vma->end)
		if (vma->flags & VM_RELEASED) {
			uint64_t end = vma->end;

			at = vma->start;
			err = fl_claim_range(mm, at, end, 0, NULL, NULL);
			vma = fl_vma_lookup(mm, at); /* it may have merged */
		}
	if (!err)
		return 0;
	fl_unclaim(mm, 0, TASK_SIZE);
	return err;
}

int fl_clear_soft_dirty(struct fl_mm *mm)
{
	int err;

	fl_mmap_write_lock(mm);
	err = take_back(mm);
	for (uint32_t i = 0; i < mm->nr_vmas && !err; i++) {
		struct fl_vma *vma = mm->vmas[i];

		fl_vma_set(vma, vma->flags & ~VM_SOFTDIRTY, vma->ctx);
		fl_change_protection(mm, vma, vma->start, vma->end, MM_CP_CLEAR_SOFT_DIRTY);
	}
	if (!err)
		fl_vma_merge(mm, 0, TASK_SIZE);
	fl_mmap_write_unlock(mm);
	return err;
}
