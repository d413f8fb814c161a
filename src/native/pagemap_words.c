/* SPDX-License-Identifier: MIT */
/*
 * pagemap_words.c - what the process's own /proc/self/pagemap and clear_refs say and do about registered memory. The
 * tables know what is registered. What was released is the host's alone again, but still a mapping of the pool: its
 * words say so, and know only what was touched since.
 */
#include "native/calls.h"

#include <faultline/faultline.h>

#include <string.h>

static struct fl_mm *const mm = &fl_native.mm;

/*
 * The words of a run of released pages, from the host's. All of it counts as soft-dirty, or it would not have been
 * released; a page of zeros counts as the shared zero page. => mmap_lock held
 */
static void released(struct fl_vma *vma, uint64_t addr, uint64_t nr, uint64_t *words)
{
	const uint64_t data = FL_PM_PRESENT | FL_PM_SWAP;
	unsigned char in[64];

	for (uint64_t i = 0; i < nr && (vma->flags & VM_SHARED); i++) /* the host's own, except for where it is */
		words[i] =
			(words[i] & (FL_PM_EXCLUSIVE | FL_PM_FILE | FL_PM_SWAP | FL_PM_PRESENT)) | FL_PM_SOFT_DIRTY;
	for (uint64_t i = 0; i < nr && !(vma->flags & VM_SHARED); i++) {
		if (i % sizeof(in) == 0 &&
		    fl_host_mincore(addr + (i << PAGE_SHIFT), fl_min(nr - i, (uint64_t)sizeof(in)) << PAGE_SHIFT, in))
			return;
		/* the pool holds exactly what the program has */
		if (words[i] & FL_PM_SWAP)
			words[i] = FL_PM_SOFT_DIRTY | FL_PM_SWAP;
		else if ((words[i] & data) || (in[i % sizeof(in)] & 1))
			words[i] = FL_PM_SOFT_DIRTY | FL_PM_PRESENT |
				   (fl_released_owned(vma, addr + (i << PAGE_SHIFT)) ? FL_PM_EXCLUSIVE : 0);
		else
			words[i] = FL_PM_SOFT_DIRTY;
	}
}

/* Shared memory: the host knows which other mappings a page has. What was released counts as soft-dirty, as above. */
static void shared(const struct fl_vma *vma, uint64_t nr, const uint64_t *hosts, uint64_t *words)
{
	const uint64_t both = FL_PM_PRESENT | FL_PM_FILE;

	for (uint64_t i = 0; i < nr; i++) {
		if (vma->flags & VM_RELEASED)
			words[i] |= FL_PM_SOFT_DIRTY;
		else if ((words[i] & hosts[i] & both) == both)
			words[i] = (words[i] & ~FL_PM_EXCLUSIVE) | (hosts[i] & FL_PM_EXCLUSIVE);
	}
}

/* Memory in place: the host's words, but for what the engine's tables have of the page. => mmap_lock held */
static void in_place(struct fl_vma *vma, uint64_t addr, uint64_t nr, const uint64_t *hosts, uint64_t *words)
{
	const uint64_t ours = FL_PM_UFFD_WP | FL_PM_SOFT_DIRTY, there = FL_PM_PRESENT | FL_PM_SWAP;

	for (uint64_t i = 0; i < nr; i++, addr += PAGE_SIZE) {
		fl_pte_t pte = fl_pte_get(mm, addr);

		words[i] = (hosts[i] & ~ours) | (words[i] & ours);
		if (!(hosts[i] & there) && pte_uffd_wp(pte)) /* a marker, or what a refused store has made of it */
			words[i] |= pte_present(pte) ? FL_PM_PRESENT | FL_PM_EXCLUSIVE : FL_PM_SWAP;
	}
}

/* Memory that was in place and no longer is counts as soft-dirty, if it is there. => mmap_lock held */
static void forgotten(uint64_t addr, uint64_t nr, uint64_t *words)
{
	struct fl_host_map map = {0};

	for (uint64_t i = 0; i < nr && fl_in_place_any_known(); i++, addr += PAGE_SIZE) {
		if (fl_vma_lookup(mm, addr) || !fl_in_place_known(addr, addr + PAGE_SIZE))
			continue;
		if (map.end <= addr && fl_host_maps_next(addr, &map) != 1)
			return;
		if (map.start <= addr)
			words[i] |= FL_PM_SOFT_DIRTY;
	}
}

bool fl_native_pagemap_ours(uint64_t start, uint64_t end)
{
	uint64_t signals;
	bool ret;

	if (fl_native_touches(start, end))
		return true;
	if (!fl_in_place_any_known())
		return false;
	signals = fl_signals_block();
	fl_mmap_read_lock(mm);
	ret = fl_in_place_known(start, end);
	fl_mmap_read_unlock(mm);
	fl_signals_restore(signals);
	return ret;
}

void fl_native_pagemap(uint64_t addr, uint64_t nr, uint64_t *words)
{
	uint64_t signals, end = addr + (nr << PAGE_SHIFT), hosts[FL_PAGEMAP_WORDS];
	struct fl_vma *vma;
	uint32_t i;

	memcpy(hosts, words, nr * sizeof(*words));
	fl_pagemap(mm, addr, nr, words);
	signals = fl_signals_block();
	fl_mmap_read_lock(mm);
	forgotten(addr, nr, words);
	fl_for_each_vma(mm, vma, i, addr, end) {
		uint64_t from = fl_max(addr, vma->start), n = PAGES(fl_min(end, vma->end) - from),
			 at = PAGES(from - addr);

		if (vma->flags & VM_IN_PLACE)
			in_place(vma, from, n, hosts + at, words + at);
		else if (vma->flags & VM_SHARED)
			shared(vma, n, hosts + at, words + at);
		else if (vma->flags & VM_RELEASED)
			released(vma, from, n, words + at);
	}
	fl_mmap_read_unlock(mm);
	fl_signals_restore(signals);
}

int fl_native_clear_refs(void)
{
	uint64_t signals;
	int err;

	if (!__atomic_load_n(&fl_native.ready, __ATOMIC_ACQUIRE))
		return 0;
	signals = fl_signals_block();
	err = fl_clear_soft_dirty(mm);
	fl_signals_restore(signals);
	return err;
}
