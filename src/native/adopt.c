/* SPDX-License-Identifier: MIT */
/*
 * adopt.c - a registration adopts private anonymous memory of the program; an unregistration lets the host serve it
 * alone again.
 *
 * Adopting, while other threads use the memory: hide it (their accesses fault, and wait for mmap_lock), look which
 * pages hold data, make tables for them, move the pages aside, copy them into the pool, map the pool in their place.
 * Every step until the last can be undone.
 */
#include "native/native.h"

#include "mm/file.h"

/* ---- fit ---- */

int fl_native_fit(struct fl_mm *mm, uint64_t start, uint64_t end)
{
	bool any = false;

	fl_native.asked.end = 0;
	for (uint64_t addr = start; addr < end;) {
		struct fl_vma *vma = fl_find_vma(mm, addr);
		struct fl_host_map map;
		int ret;

		if (vma && vma->start <= addr) {
			any = true;
			addr = vma->end;
			continue;
		}
		ret = fl_host_maps_next(addr, &map);
		if (ret < 0)
			return ret;
		if (!ret || map.start >= end)
			break;
		vma = fl_find_vma(mm, map.start);
		if (!(vma && vma->start <= map.start) && !map.anon && !fl_file_fit(&map))
			return -EINVAL;
		if (map.start <= start && map.end >= end)
			fl_native.asked = map;
		any = true;
		addr = map.end;
	}
	return any ? 0 : -EINVAL;
}

bool fl_native_mapped(struct fl_mm *mm, uint64_t start, uint64_t end)
{
	struct fl_host_map map;

	return fl_host_maps_next(start, &map) == 1 && map.start < end;
}

/* ---- adopt ---- */

/* The page tables that the data in [start, end) needs, so that nothing can fail later. *any: there is data */
int fl_prepare_tables(struct fl_mm *mm, uint64_t start, uint64_t end, bool *any)
{
	uint64_t run_end;
	enum fl_run what;
	int ret;

	*any = false;
	for (; start < end && (ret = fl_host_resident_next(&start, end, &run_end, &what)); start = run_end) {
		if (ret < 0)
			return ret;
		*any = true;
		for (uint64_t a = start; a < run_end; a = PMD_ALIGN_DOWN(a) + PMD_SIZE)
			if (fl_pte_alloc(mm, a))
				return -ENOMEM;
	}
	return 0;
}

/* Copy the data of [start, end), which lies at `aside` now, to the frames from pgoff on. */
static int copy_aside(uint64_t start, uint64_t end, uint64_t aside, uint64_t pgoff)
{
	uint64_t at = aside, limit = aside + (end - start), run_end;
	enum fl_run what;
	int ret;

	for (; at < limit && (ret = fl_host_resident_next(&at, limit, &run_end, &what)); at = run_end) {
		if (ret < 0)
			return ret;
		if (what != FL_RUN_ZERO && fl_pool_write(pgoff + PAGES(at - aside), at, run_end - at))
			return -ENOMEM; /* of zeros, the pool has enough */
	}
	return 0;
}

void fl_set_entry(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr, enum fl_run what)
{
	uint64_t pfn = vma_pfn(vma, addr);
	fl_pte_t pte = pte_make(pfn, vma), old = ptep_get(fl_pte_offset(mm, addr));

	bit_fill(chunk_of(pfn)->resident, (unsigned)(pfn % CHUNK_PAGES), 1, true);
	fl_folio(mm, pfn)->refcount = 1;
	fl_folio(mm, pfn)->mapcount = 1;
	fl_folio(mm, pfn)->mapping =
		what == FL_RUN_FILE ? vma->file : NULL; /* a copy that still counts as the file's */
	pte = what == FL_RUN_ZERO ? pte_mkzero(pte) : pte_mkdirty(pte);
	if (fl_vma_tracked(vma) && !pte_soft_dirty(old))
		pte = pte_clear_soft_dirty(pte);
	if (pte_uffd_wp(old))
		pte = pte_mkuffd_wp(pte);
	if ((vma->flags & VM_SAMPLED) && (pte_no_page(old) || pte_hint(old)))
		pte = pte_mkhint(pte);
	if (pte_young(old))
		pte = pte_mkyoung(pte);
	set_pte(fl_pte_offset(mm, addr), fl_pte_upgrade(mm, vma, pte, 1));
}

void fl_set_entries(struct fl_mm *mm, struct fl_vma *vma, uint64_t aside)
{
	uint64_t at = aside, limit = aside + (vma->end - vma->start), run_end;
	enum fl_run what;

	if (vma->file)
		fl_file_set_leaves(mm, vma, aside);
	for (; at < limit && fl_host_resident_next(&at, limit, &run_end, &what) == 1; at = run_end)
		for (uint64_t a = at; a < run_end; a += PAGE_SIZE)
			if (fl_pte_offset(mm, vma->start + (a - aside))) /* otherwise it is a leaf's */
				fl_set_entry(mm, vma, vma->start + (a - aside), what);
	if (!vma->file)
		fl_collapse_full(mm, vma);
}

int fl_native_map_pool(uint64_t start, uint64_t end, uint64_t pgoff, enum fl_inject_point fp)
{
	struct fl_host_policy policy;
	bool any = fl_host_policy_get(start, &policy);
	int err = fl_pool_map(pgoff, end - start, start, fp);

	if (!err)
		fl_state_policy(start, end, any ? &policy : NULL);
	return err;
}

int fl_exchange(struct fl_mm *mm, uint64_t start, uint64_t end, uint64_t pgoff, bool data, uint64_t *aside)
{
	uint64_t len = end - start;
	long at = data ? fl_host_move_aside(start, len) : 0;
	int err = 0;

	if (fl_host_failed(at))
		return (int)at;
	if (data) {
		fl_host_mprotect((uint64_t)at, len, PROT_READ);
		err = copy_aside(start, end, (uint64_t)at, pgoff);
	}
	fl_yield_point(&fl_native);
	if (!err)
		err = fl_native_map_pool(start, end, pgoff, FL_FP_ADOPT);
	fl_yield_point(&fl_native);
	if (err && data) {
		fl_host_mprotect((uint64_t)at, len, PROT_NONE);
		fl_host_move_back((uint64_t)at, len, start);
	}
	*aside = (uint64_t)at;
	return err;
}

uint32_t fl_adopted_flags(uint64_t start, uint64_t end)
{
	uint32_t flags = fl_host_locked(start, end - start) ? VM_LOCKED : 0;
	unsigned advice = __atomic_load_n(&fl_native.advice, __ATOMIC_RELAXED) ? fl_host_maps_advice(start) : 0;

	return flags | fl_state_flags(advice);
}

/* One host mapping. One spare fl_vma is reserved. */
int fl_adopt_private(struct fl_mm *mm, uint64_t start, uint64_t end, uint32_t access, struct fl_file *file,
		     uint64_t index)
{
	uint64_t pgoff = fl_extent_alloc(start, end, FL_SECTION_POOL, FL_RIGHT_NONE), aside = 0;
	struct fl_vma *vma;
	uint32_t flags;
	bool data;
	int err;

	if (pgoff == FL_PFN_NONE)
		return -ENOMEM;
	flags = fl_adopted_flags(start, end);
	if (flags & VM_LOCKED) /* or what is moved aside counts as locked for good */
		fl_host_munlock(start, end - start);
	err = fl_host_mprotect(start, end - start, PROT_NONE);
	fl_yield_point(&fl_native);
	if (!err)
		err = fl_prepare_tables(mm, start, end, &data);
	if (!err)
		err = fl_guards_adopt(mm, start, end);
	if (!err)
		err = fl_exchange(mm, start, end, pgoff, data, &aside);
	if (err) {
		fl_host_mprotect(start, end - start, fl_access_prot(access));
		__atomic_fetch_add(&fl_native.undone, 1, __ATOMIC_RELEASE);
		fl_guard_remove(mm, start, end);
		fl_free_pgtables(mm, start, end);
		fl_extent_free(start, end, pgoff);
		return err;
	}
	vma = fl_vma_insert(mm, start, end, pgoff, access | flags | VM_SOFTDIRTY, NULL);
	fl_vma_set_file(vma, file, index);
	fl_state_apply(start, end, flags);
	fl_direct_conform(vma);
	if (data) {
		fl_set_entries(mm, vma, aside);
		fl_host_munmap(aside, end - start);
	}
	return 0;
}

/* ---- released ranges, taken back: what the pool holds is what is there ---- */

bool fl_released_owned(struct fl_vma *vma, uint64_t addr)
{
	uint64_t pfn = vma_pfn(vma, addr);

	return bit_get(chunk_of(pfn)->owned, (unsigned)(pfn % CHUNK_PAGES)) ||
	       !fl_native_frame_is_zero(&fl_native.mm, pfn);
}

/* Tables for what the pool holds, and in a second pass the entries, which cannot fail. */
static int readopt_entries(struct fl_mm *mm, struct fl_vma *vma, bool tables)
{
	uint64_t limit = vma->pgoff + PAGES(vma->end - vma->start), run_end;

	if (vma->flags & VM_SHARED) {
		bool any = false;

		if (tables)
			return fl_prepare_tables(mm, vma->start, vma->end, &any);
		fl_file_set_entries(mm, vma);
		return 0;
	}
	for (uint64_t pfn = vma->pgoff; pfn < limit && fl_pool_next_data(&pfn, limit, &run_end); pfn = run_end)
		for (uint64_t p = pfn; p < run_end; p++) {
			uint64_t addr = vma->start + ((p - vma->pgoff) << PAGE_SHIFT);

			if (!tables)
				fl_set_entry(mm, vma, addr, fl_released_owned(vma, addr) ? FL_RUN_DATA : FL_RUN_ZERO);
			else if (fl_pte_alloc(mm, addr))
				return -ENOMEM;
		}
	return 0;
}

static int readopt(struct fl_mm *mm, struct fl_vma *vma)
{
	uint64_t len = vma->end - vma->start;

	if (!(vma->flags & VM_SHARED) && fl_direct_set(vma->pgoff, PAGES(len), true)) /* to look what is there */
		return -ENOMEM;
	if (fl_host_mprotect(vma->start, len, PROT_NONE)) {
		fl_direct_conform(vma);
		return -ENOMEM;
	}
	/* other parts of its chunks may be in use */
	if (fl_guards_adopt(mm, vma->start, vma->end) || readopt_entries(mm, vma, true) ||
	    fl_native_conform(mm, vma)) {
		fl_cache_unhide(vma);
		fl_guards_release(mm, vma->start, vma->end);
		fl_free_pgtables(mm, vma->start, vma->end);
		while (fl_host_mprotect(vma->start, len, fl_access_prot(fl_vma_access(vma))) == -ENOMEM &&
		       fl_cache_shrink(mm))
			;
		fl_direct_conform(vma);
		return -ENOMEM;
	}
	readopt_entries(mm, vma, false);
	fl_vma_set(vma, vma->flags & ~VM_RELEASED, NULL);
	fl_direct_conform(vma);
	if (!vma->file)
		fl_collapse_full(mm, vma);
	return 0;
}

static int readopt_range(struct fl_mm *mm, uint64_t start, uint64_t end)
{
	struct fl_vma *vma;
	int err = fl_vma_reserve(mm, 2);

	if (err)
		return err;
	for (uint64_t addr = start; (vma = fl_find_vma(mm, addr)) && vma->start < end; addr = vma->end) {
		if (!(vma->flags & VM_RELEASED))
			continue;
		fl_vma_split(mm, start);
		fl_vma_split(mm, end);
		vma = fl_find_vma(mm, fl_max(addr, start));
		err = readopt(mm, vma);
		if (err)
			return err;
	}
	return 0;
}

/* A part of one mapping of the host's. One spare fl_vma is reserved. */
static int adopt_mapping(struct fl_mm *mm, uint64_t start, uint64_t end, const struct fl_host_map *map)
{
	if (!map->anon)
		return fl_file_adopt(mm, start, end, map);
	return fl_native.in_place ? fl_in_place_adopt(mm, start, end, fl_prot_access(map->prot))
				  : fl_adopt_private(mm, start, end, fl_prot_access(map->prot), NULL, 0);
}

/* fit() has just asked the same, if all is one mapping. */
static int next_map(uint64_t addr, struct fl_host_map *map)
{
	*map = fl_native.asked;
	fl_native.asked.end = 0;
	return map->end ? 1 : fl_host_maps_next(addr, map);
}

static int adopt(struct fl_mm *mm, uint64_t start, uint64_t end, uint32_t claim)
{
	int err = readopt_range(mm, start, end);

	for (uint64_t addr = start; addr < end && !err;) {
		struct fl_vma *vma = fl_find_vma(mm, addr);
		struct fl_host_map map;
		uint64_t limit;
		int ret;

		if (vma && vma->start <= addr) {
			addr = vma->end;
			continue;
		}
		ret = next_map(addr, &map);
		if (ret < 0)
			return ret;
		if (!ret || map.start >= end)
			break;
		addr = fl_max(addr, map.start);
		if (vma && vma->start <= addr)
			continue; /* adopted already, as the host lists it */
		limit = fl_min(map.end, end);
		if (vma)
			limit = fl_min(limit, vma->start);
		err = fl_vma_reserve(mm, 1);
		if (!err)
			err = adopt_mapping(mm, addr, limit, &map);
		addr = limit;
	}
	if (!err && (claim & VM_UFFD_MISSING))
		err = fl_hide_in_place(mm, start, end);
	fl_vma_merge(mm, start, end);
	return err;
}

int fl_native_adopt_fit(struct fl_mm *mm, uint64_t start, uint64_t end, uint32_t claim)
{
	int err;

	__atomic_fetch_add(&fl_native.adopting, 1, __ATOMIC_RELAXED);
	err = adopt(mm, start, end, claim);
	__atomic_fetch_sub(&fl_native.adopting, 1, __ATOMIC_RELEASE);
	return err;
}

int fl_native_adopt(struct fl_mm *mm, uint64_t start, uint64_t end, uint32_t claim)
{
	fl_native.asked.end = 0;
	return fl_native_adopt_fit(mm, start, end, claim);
}

/* ---- release ---- */

/* The entries of one table go; the pool gets memory exactly where there were entries. */
static void release_table(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr, uint64_t end)
{
	while (addr < end) { /* the tables exist, and no leaves */
		uint64_t from = addr, pfn = vma_pfn(vma, addr);
		bool present = pte_present(ptep_get(fl_pte_offset(mm, addr)));

		for (; addr < end && pte_present(ptep_get(fl_pte_offset(mm, addr))) == present; addr += PAGE_SIZE) {
			struct fl_folio *folio = fl_folio(mm, vma_pfn(vma, addr));

			if (!present) {
				set_pte(fl_pte_offset(mm, addr), (fl_pte_t){0}); /* it may have been a marker */
				continue;
			}
			if (fl_page_exclusive(mm, fl_pte_get(mm, addr)))
				bit_fill(chunk_of(pfn)->owned, (unsigned)(vma_pfn(vma, addr) % CHUNK_PAGES), 1, true);
			set_pte(fl_pte_offset(mm, addr), (fl_pte_t){0});
			folio->refcount = folio->mapcount = 0;
		}
		if (present)
			fl_frames_touch(pfn, PAGES(addr - from));
		else if (bit_any(chunk_of(pfn)->resident, (unsigned)(pfn % CHUNK_PAGES), (unsigned)PAGES(addr - from),
				 true))
			fl_frames_punch(pfn, PAGES(addr - from));
	}
}

/* Ranges without a table can have no entry, but frames that kept their memory. */
static void release_chunk(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr, uint64_t end)
{
	uint64_t pfn = vma_pfn(vma, addr);
	unsigned first = (unsigned)(pfn % CHUNK_PAGES), nr = (unsigned)PAGES(end - addr);
	fl_pte_t *ptep;

	fl_mutex_lock(fl_pt_lock(mm, addr)); /* others use its deposits */
	ptep = fl_pte_split(mm, addr);
	fl_mutex_unlock(fl_pt_lock(mm, addr));
	if (ptep)
		release_table(mm, vma, addr, end);
	else if (bit_any(chunk_of(pfn)->resident, first, nr, true))
		fl_frames_punch(pfn, nr);
	bit_fill(chunk_of(pfn)->resident, first, nr, false); /* only the host knows what it holds from now on */
}

void fl_native_release(struct fl_mm *mm, struct fl_vma *vma)
{
	uint64_t len = vma->end - vma->start;
	int err;

	if (vma->flags & VM_IN_PLACE) {
		fl_in_place_release(mm, vma);
		return;
	}
	if (vma->flags & VM_SHARED) {
		fl_file_release(mm, vma);
		return;
	}
	/* One fresh mapping has no markers and no splits. If the host has no room for it, the range stays adopted. */
	while ((err = fl_native_map_pool(vma->start, vma->end, vma->pgoff, FL_FP_NONE)) && fl_cache_shrink(mm))
		;
	if (err)
		return;
	fl_state_apply(vma->start, vma->end, vma->flags);
	fl_guards_release(mm, vma->start, vma->end);
	fl_cache_forget(vma->pgoff, PAGES(len));
	for (uint64_t a = vma->start, next; a < vma->end; a = next) {
		next = fl_min(PMD_ALIGN_DOWN(a) + PMD_SIZE, vma->end);
		release_chunk(mm, vma, a, next);
	}
	fl_yield_point(vma);
	/* A thread that was hit by the change faults, and finds it released. */
	while (fl_host_mprotect(vma->start, len, fl_access_prot(fl_vma_access(vma))) == -ENOMEM &&
	       fl_cache_shrink(mm))
		;
	fl_vma_set(vma, vma->flags | VM_RELEASED, NULL);
}
