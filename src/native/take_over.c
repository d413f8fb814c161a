/* SPDX-License-Identifier: MIT */
/*
 * take_over.c - memory in place that is registered for missing faults, and how it gets frames, 2 MiB at a time.
 *
 * What holds a page everywhere (VM_WHOLE) stays as it is: no fault of it is a missing one, until the program drops a
 * page. What has holes is hidden at once, and its data stays where it is until a page of it is touched or filled.
 * Then what the mapping has of that chunk is cut off, its data goes to the pool, and the pool is mapped in its place,
 * as in an adoption (adopt.c). The extent was the mapping's from the beginning, so the parts that the pool has merge.
 * While a chunk is exchanged, only faults in it wait.
 */
#include "native/native.h"

/* ---- registering ---- */

#define LOOKS 64u /* at runs of data: a registration takes as long whatever the range holds */

/* No right is left, and none is cached. A host without room for one more mapping may get it from the cache. */
static int hide(struct fl_mm *mm, struct fl_vma *vma)
{
	uint64_t len = vma->end - vma->start;
	int err;

	while ((err = fl_host_protect(vma->start, len, PROT_NONE)) == -ENOMEM && fl_cache_shrink(mm))
		;
	if (!err)
		fl_cache_forget(vma->pgoff, PAGES(len));
	return err;
}

/* From now on it has frames. */
static void becomes_pool(struct fl_mm *mm, struct fl_vma *vma, uint32_t flags)
{
	fl_vma_set(vma, (vma->flags & ~(VM_IN_PLACE | VM_WHOLE)) | flags, vma->ctx);
	fl_vma_set_kind(vma, mm->ops->kinds->anonymous);
	fl_state_apply(vma->start, vma->end, vma->flags);
	fl_direct_conform(vma);
}

/* What of a mapping has holes: hidden, or at once of the pool, if it is a hole as a whole. */
static int sort_holes(struct fl_mm *mm, uint64_t start, uint64_t end)
{
	struct fl_vma *vma;
	uint64_t at = start;
	uint32_t flags;
	int ret = start < end ? fl_vma_reserve(mm, 2) : 1;

	if (ret)
		return fl_min(ret, 0);
	fl_vma_split(mm, start);
	fl_vma_split(mm, end);
	vma = fl_vma_lookup(mm, start);
	ret = hide(mm, vma);
	fl_yield_point(&fl_native);
	if (!ret)
		ret = fl_host_page_next(&at, end, true);
	if (ret || fl_pgtable_next(mm, start, end) < end)
		return fl_min(ret, 0); /* data, or something to be known of it */
	ret = fl_guards_adopt(mm, start, end);
	if (ret)
		return ret;
	flags = fl_host_locked(start, PAGE_SIZE) ? VM_LOCKED : 0;
	if (!fl_native_map_pool(start, end, vma->pgoff, FL_FP_ADOPT))
		becomes_pool(mm, vma, flags);
	return 0;
}

static int set_whole(struct fl_mm *mm, uint64_t start, uint64_t end)
{
	int err = fl_vma_reserve(mm, 2);
	struct fl_vma *vma;

	if (err)
		return err;
	fl_vma_split(mm, start);
	fl_vma_split(mm, end);
	vma = fl_vma_lookup(mm, start);
	fl_vma_set(vma, vma->flags | VM_WHOLE, vma->ctx);
	return 0;
}

/* One mapping in place, of which the program may reach all: up to each hole, and on from the next data. */
static int sort_mapping(struct fl_mm *mm, uint64_t start, uint64_t end)
{
	uint64_t at = start, holes = start, hole;
	int ret = 1;

	for (unsigned looks = 0; ret > 0 && at < end && looks < LOOKS; looks++) {
		hole = at;
		ret = fl_host_page_next(&hole, end, false);
		hole = ret ? PMD_ALIGN_DOWN(hole) : end;
		if (ret >= 0 && at < hole) {
			ret = sort_holes(mm, holes, at);
			if (!ret)
				ret = set_whole(mm, at, hole);
			holes = hole;
		}
		at = PMD_ALIGN_DOWN(fl_max(at, hole)) + PMD_SIZE;
		if (ret >= 0)
			ret = at < end ? fl_host_page_next(&at, end, true) : 0;
		at = PMD_ALIGN_DOWN(at);
	}
	return ret < 0 ? ret : sort_holes(mm, holes, end);
}

int fl_hide_in_place(struct fl_mm *mm, uint64_t start, uint64_t end)
{
	struct fl_vma *vma;
	int err = fl_vma_reserve(mm, 2);

	for (uint64_t at = start, next; !err && (vma = fl_find_vma(mm, at)) && vma->start < end; at = next) {
		next = vma->end;
		if (!(vma->flags & VM_IN_PLACE) || (vma->flags & VM_UFFD_MISSING))
			continue;
		fl_vma_split(mm, start);
		fl_vma_split(mm, end);
		vma = fl_find_vma(mm, fl_max(at, start));
		fl_vma_set(vma, vma->flags & ~VM_WHOLE, vma->ctx);
		next = vma->end;
		err = sort_mapping(mm, vma->start, vma->end);
	}
	return err;
}

int fl_hide_whole(struct fl_mm *mm, uint64_t start, uint64_t end)
{
	struct fl_vma *vma;
	int err = 0;

	for (uint64_t at = start, lo, hi; !err && at < end && (vma = fl_find_vma(mm, at)) && vma->start < end;
	     at = hi) {
		lo = fl_max(vma->start, PMD_ALIGN_DOWN(start));
		hi = fl_min(vma->end, PMD_ALIGN(end));
		if (!(vma->flags & VM_WHOLE) || !(vma->flags & VM_UFFD_MISSING))
			continue;
		fl_mmap_exclude(mm, lo, hi);
		err = fl_native_verify(mm, lo, hi); /* it may be cut */
		vma = fl_find_vma(mm, lo);
		if (err || !vma || vma->start >= hi)
			continue;
		lo = fl_max(lo, vma->start);
		hi = fl_min(hi, vma->end);
		err = fl_vma_reserve(mm, 2);
		if (err)
			break;
		fl_vma_split(mm, lo);
		fl_vma_split(mm, hi);
		vma = fl_vma_lookup(mm, lo);
		err = hide(mm, vma);
		if (!err)
			fl_vma_set(vma, vma->flags & ~VM_WHOLE, vma->ctx);
		fl_vma_merge(mm, lo, hi);
	}
	return err;
}

/* ---- taking over ---- */

/* A page that the tables have, and the host has not, is one of zeros. => those of all others have their frames */
static void set_zeros(struct fl_mm *mm, struct fl_vma *vma)
{
	for (uint64_t a = vma->start; a < vma->end; a += PAGE_SIZE) {
		fl_pte_t *ptep = fl_pte_offset(mm, a);
		uint64_t pfn = vma_pfn(vma, a);

		if (ptep && pte_present(ptep_get(ptep)) &&
		    !bit_get(chunk_of(pfn)->resident, (unsigned)(pfn % CHUNK_PAGES)))
			fl_set_entry(mm, vma, a, FL_RUN_ZERO);
	}
}

/* A mapping in place that has no more than one chunk. On failure it is hidden, and its pages are where they were. */
static int take_piece(struct fl_mm *mm, struct fl_vma *vma)
{
	uint64_t nr = PAGES(vma->end - vma->start), aside = 0;
	uint32_t flags = fl_host_locked(vma->start, PAGE_SIZE) ? VM_LOCKED : 0; /* advice is noted already */
	bool data;
	int err = fl_vma_hidden(vma) ? 0 : hide(mm, vma);

	fl_yield_point(&fl_native);
	if (flags & VM_LOCKED) /* or what is moved aside counts as locked for good */
		fl_host_munlock(vma->start, nr << PAGE_SHIFT);
	if (!err)
		err = fl_prepare_tables(mm, vma->start, vma->end, &data);
	if (!err)
		err = fl_guards_adopt(mm, vma->start, vma->end);
	if (!err)
		err = fl_exchange(mm, vma->start, vma->end, vma->pgoff, data, &aside);
	if (err) {
		fl_free_pgtables(mm, vma->start, vma->end);
		fl_frames_punch(vma->pgoff, nr);
		return err;
	}
	becomes_pool(mm, vma, flags);
	bit_fill(chunk_of(vma->pgoff)->resident, (unsigned)(vma->pgoff % CHUNK_PAGES), (unsigned)nr, false);
	if (data) {
		fl_set_entries(mm, vma, aside);
		fl_host_munmap(aside, nr << PAGE_SHIFT);
	}
	set_zeros(mm, vma);
	return 0;
}

int fl_take_over_locked(struct fl_mm *mm, uint64_t start, uint64_t end)
{
	struct fl_vma *vma;
	int err = 0;

	for (uint64_t at = start, hi; !err && at < end && (vma = fl_find_vma(mm, at)) && vma->start < end; at = hi) {
		uint64_t lo = fl_max(vma->start, PMD_ALIGN_DOWN(at));

		hi = vma->end;
		if (!(vma->flags & VM_IN_PLACE))
			continue;
		hi = fl_min(vma->end, PMD_ALIGN_DOWN(lo) + PMD_SIZE);
		err = fl_vma_reserve(mm, 2);
		if (err)
			break;
		fl_vma_split(mm, lo);
		fl_vma_split(mm, hi);
		err = take_piece(mm, fl_vma_lookup(mm, lo));
		fl_vma_merge(mm, lo, hi);
	}
	return err;
}

/* Chunk by chunk, so that faults in the others go on meanwhile. */
int fl_native_take_over(struct fl_mm *mm, uint64_t start, uint64_t end)
{
	int err = 0;

	for (uint64_t at = start, next; at < end && !err; at = next) {
		next = PMD_ALIGN_DOWN(at) + PMD_SIZE;
		fl_mmap_write_lock_range(mm, PMD_ALIGN_DOWN(at), next);
		err = fl_take_over_locked(mm, at, fl_min(next, end));
		fl_mmap_write_unlock(mm);
	}
	return err;
}
