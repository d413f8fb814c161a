/* SPDX-License-Identifier: MIT */
/*
 * sample.c - the hint as an access sampler. A hinted entry grants nothing; the fault of the first access takes
 * the hint away and notes the access in the entry ("young"). To look is to set the hint anew, then to read what was
 * noted: an access in between finds the entry without a hint when it is read, and is left to the next look, so that
 * each is reported once.
 */
#include "mm/sample.h"

#include "mm/claim.h"
#include "mm/mmap_lock.h"
#include "mm/pgtable.h"
#include "mm/protect.h"
#include "mm/vma.h"

#include "base/clock.h"

/* Read and clear what the entries of a range inside one PMD entry have noted. => page-table lock held */
static int64_t collect(struct fl_mm *mm, uint64_t addr, uint64_t end, uint8_t *vec)
{
	int64_t touched = 0;

	while (addr < end) {
		struct fl_slot s = fl_slot_at(mm, addr);
		fl_pte_t pte = s.nr ? slot_get(&s) : (fl_pte_t){0};
		uint64_t next = s.nr ? fl_min(s.addr + ((uint64_t)s.nr << PAGE_SHIFT), end) : end;
		bool young = pte_hint(pte) && pte_young(pte);

		if (young)
			slot_set(&s, pte_mkold(pte));
		touched += young ? (int64_t)PAGES(next - addr) : 0;
		for (; addr < next; addr += PAGE_SIZE)
			if (vec)
				*vec++ = young;
	}
	return touched;
}

/* => mmap_lock held */
static int64_t look(struct fl_mm *mm, struct fl_vma *vma, uint64_t start, uint64_t end, uint8_t *vec)
{
	int64_t touched = fl_claim_look(mm, vma, start, end);

	if (touched)
		return touched;
	fl_change_protection(mm, vma, start, end, MM_CP_PROT_NUMA);
	fl_for_each_pmd(mm, addr, next, start, end) {
		struct fl_mutex *ptl = fl_pt_lock(mm, addr);

		fl_mutex_lock(ptl);
		touched += collect(mm, addr, next, vec ? vec + PAGES(addr - start) : NULL);
		fl_mutex_unlock(ptl);
	}
	return touched;
}

int64_t fl_sample_collect(struct fl_mm *mm, uint64_t start, uint64_t end, uint8_t *vec)
{
	uint64_t at = start;
	int64_t touched = 0, now;

	fl_mmap_read_lock(mm);
	while (at < end) {
		struct fl_vma *vma = fl_vma_lookup(mm, at);
		uint64_t stop = vma ? fl_min(vma->end, end) : 0;

		if (!vma || !(vma->flags & VM_SAMPLED)) {
			touched = -EINVAL;
			break;
		}
		now = look(mm, vma, at, stop, vec ? vec + PAGES(at - start) : NULL);
		touched = now < 0 ? now : touched + now;
		at = now < 0 ? end : stop;
	}
	fl_mmap_read_unlock(mm);
	return touched;
}

/* Watch an adopted range, or stop. => mmap_lock held for writing, two reserved */
static void set_sampled(struct fl_mm *mm, uint64_t start, uint64_t end, bool on)
{
	struct fl_vma *vma;
	uint32_t i;

	fl_vma_split(mm, start);
	fl_vma_split(mm, end);
	fl_for_each_vma(mm, vma, i, start, end) {
		if (on) /* what is there now has not been touched since */
			look(mm, vma, vma->start, vma->end, NULL);
		fl_vma_set(vma, on ? vma->flags | VM_SAMPLED : vma->flags & ~VM_SAMPLED, vma->ctx);
	}
	fl_unclaim(mm, start, end); /* hints that are still there go with the entries */
}

int fl_sample_range(struct fl_mm *mm, uint64_t start, uint64_t end, bool on)
{
	uint64_t entry_ns = on && !mm->sampling.since && mm->ops->entry_ns ? mm->ops->entry_ns(mm) : 0;
	int err;

	fl_mmap_write_lock_range(mm, start, end);
	err = on ? fl_claim_range(mm, start, end, VM_SAMPLED, NULL, NULL) : fl_vma_reserve(mm, 2);
	if (!err && on && !mm->sampling.since) {
		mm->sampling.entry_ns = entry_ns;
		__atomic_store_n(&mm->sampling.since, fl_now_ns(), __ATOMIC_RELAXED);
	}
	if (!err)
		set_sampled(mm, start, end, on);
	fl_mmap_write_unlock(mm);
	return err;
}
