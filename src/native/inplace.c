/* SPDX-License-Identifier: MIT */
/*
 * inplace.c - memory in place: watched without frames, it stays the program's own private mapping, and the host's to
 * copy for a child, to swap, to combine. Rights in the host's tables are all that is changed of it (cache.c). The
 * engine's tables know of a page only what has to be known; what is present is asked of the host, here.
 *
 * Such a range has an extent of the pool, as its home, but no memory of it.
 */
#include "native/native.h"

#include <string.h>

/* Advice that was given before: see advise.c. */
static uint32_t advised(uint64_t start)
{
	unsigned advice = __atomic_load_n(&fl_native.advice, __ATOMIC_RELAXED) ? fl_host_maps_advice(start) : 0;

	return fl_state_flags(advice);
}

int fl_in_place_adopt(struct fl_mm *mm, uint64_t start, uint64_t end, uint32_t access)
{
	enum fl_right right = (access & VM_WRITE) ? FL_RIGHT_WRITE : access ? FL_RIGHT_READ : FL_RIGHT_NONE;
	uint64_t pgoff = fl_extent_alloc(start, end, FL_SECTION_POOL, right);

	if (pgoff == FL_PFN_NONE)
		return -ENOMEM;
	fl_vma_insert(mm, start, end, pgoff, access | advised(start) | VM_SOFTDIRTY | VM_IN_PLACE, NULL);
	return 0;
}

/*
 * ---- what was in place once: soft-dirty tracking takes it back, and until then all of it counts as dirty. It is a
 * hint: whatever the host has there by then is tracked as well as it was ----
 */

#define KNOWN_MAX 256

static struct {
	uint64_t start, end;
} known[KNOWN_MAX];	  /* [m] sorted, disjoint */
static uint32_t nr_known; /* [m], and read without */

static void remember(uint64_t start, uint64_t end)
{
	unsigned i = 0, n;

	while (i < nr_known && known[i].end < start)
		i++;
	for (n = i; n < nr_known && known[n].start <= end; n++) {
		start = fl_min(start, known[n].start);
		end = fl_max(end, known[n].end);
	}
	if (n == i && nr_known == KNOWN_MAX)
		return;
	memmove(&known[i + 1], &known[n], (nr_known - n) * sizeof(known[0]));
	__atomic_store_n(&nr_known, nr_known + 1 - (n - i), __ATOMIC_RELAXED);
	known[i].start = start;
	known[i].end = end;
}

void fl_in_place_moved(uint64_t start, uint64_t len)
{
	remember(start, start + len);
}

bool fl_in_place_known(uint64_t start, uint64_t end)
{
	for (unsigned i = 0; i < nr_known; i++)
		if (known[i].start < end && start < known[i].end)
			return true;
	return false;
}

bool fl_in_place_any_known(void)
{
	return __atomic_load_n(&nr_known, __ATOMIC_RELAXED);
}

void fl_in_place_release(struct fl_mm *mm, struct fl_vma *vma)
{
	if (fl_cache_restore(vma)) /* the host has no room for it: it stays watched */
		return;
	remember(vma->start, vma->end);
	/* a thread that was refused an access finds no mapping, and is to repeat it */
	__atomic_fetch_add(&fl_native.undone, 1, __ATOMIC_RELEASE);
	fl_do_munmap(mm, vma->start, vma->end);
}

static int claim_again(struct fl_mm *mm, uint64_t start, uint64_t end)
{
	struct fl_host_map map;
	int ret = 0;

	for (uint64_t at = start, limit; at < end && (ret = fl_host_maps_next(at, &map)) == 1; at = limit) {
		struct fl_vma *vma = fl_find_vma(mm, at);

		at = fl_max(at, map.start);
		limit = fl_min(end, map.end);
		if (vma && vma->start <= at) {
			limit = vma->end;
			continue;
		}
		if (vma)
			limit = fl_min(limit, vma->start);
		if (map.anon && at < limit &&
		    (fl_vma_reserve(mm, 1) || fl_in_place_adopt(mm, at, limit, fl_prot_access(map.prot))))
			return -ENOMEM;
	}
	return ret < 0 ? ret : 0;
}

int fl_in_place_again(struct fl_mm *mm)
{
	int err = 0;

	for (unsigned i = 0; i < nr_known && !err; i++)
		err = claim_again(mm, known[i].start, known[i].end);
	return err;
}

/* ---- which pages are there ---- */

/* What is known of a page that is there and has no entry: that it grants what an absent one does. */
static fl_pte_t found_entry(struct fl_mm *mm, struct fl_vma *vma, uint64_t pfn)
{
	fl_pte_t pte = pte_make(pfn, vma);

	fl_folio(mm, pfn)->refcount = fl_folio(mm, pfn)->mapcount = 1;
	if (vma->flags & VM_SAMPLED) /* it was not there at the last look */
		pte = pte_mkyoung(pte);
	return fl_vma_tracked(vma) ? pte : fl_pte_upgrade(mm, vma, pte_mkdirty(pte), 1);
}

/* => in one table's 2 MiB; page-table lock held */
static void note_found(struct fl_mm *mm, struct fl_vma *vma, uint64_t start, uint64_t end)
{
	fl_pte_t *ptep = fl_pte_split(mm, start);

	for (; start < end; start += PAGE_SIZE, ptep++)
		if (pte_none(ptep_get(ptep)))
			set_pte(ptep, found_entry(mm, vma, vma_pfn(vma, start)));
}

/* The entries of one run. 0, -ENOMEM: for a table */
static int look_at(struct fl_mm *mm, struct fl_vma *vma, uint64_t start, uint64_t end)
{
	for (uint64_t next; start < end; start = next) {
		next = fl_min(PMD_ALIGN_DOWN(start) + PMD_SIZE, end);
		if (fl_pte_alloc(mm, start))
			return -ENOMEM;
		fl_mutex_lock(fl_pt_lock(mm, start));
		note_found(mm, vma, start, next);
		fl_mutex_unlock(fl_pt_lock(mm, start));
	}
	return 0;
}

int fl_in_place_look(struct fl_mm *mm, struct fl_vma *vma, uint64_t start, uint64_t end)
{
	struct fl_host_scan scan;
	struct fl_host_run run;
	int ret, err = 0;

	fl_host_scan_begin(&scan, start, end);
	while (!err && (ret = fl_host_scan_next(&scan, &run)))
		err = ret < 0 ? ret : look_at(mm, vma, run.start, run.end);
	fl_host_scan_end(&scan);
	return err;
}

/* ---- MADV_COLLAPSE ---- */

/* The first obstacle decides: a page that is protected, or one that is not there and may be asked for. */
static int may_collapse(struct fl_mm *mm, const struct fl_vma *vma, uint64_t addr)
{
	struct fl_host_run run = {0};
	struct fl_host_scan scan;
	int ret, err = 0;

	fl_host_scan_begin(&scan, addr, addr + PMD_SIZE);
	ret = fl_host_scan_next(&scan, &run);
	if (ret != 1 && !fl_pte_offset(mm, addr)) /* nothing is there */
		err = -EINVAL;
	for (uint64_t a = addr; a < addr + PMD_SIZE && !err; a += PAGE_SIZE) {
		if (ret == 1 && run.end <= a)
			ret = fl_host_scan_next(&scan, &run);
		if (pte_uffd_wp(fl_pte_get(mm, a)))
			err = -EINVAL;
		else if ((vma->flags & VM_UFFD) && (ret != 1 || a < run.start || run.what == FL_RUN_ZERO))
			err = -EBUSY;
	}
	fl_host_scan_end(&scan);
	return err;
}

/* Linux 6.18, observed, as huge.c has it: a range without 2 MiB in it is one if an aligned address is. */
static bool may_be_huge(const struct fl_vma *vma, uint64_t start, uint64_t end)
{
	return PMD_ALIGN(vma->start) + PMD_SIZE <= vma->end && PMD_ALIGN(start) <= PMD_ALIGN_DOWN(end) &&
	       !(vma->flags & VM_NOHUGEPAGE);
}

/* The host takes only what has one right, and prefers it to be writable. */
static void make_even(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr)
{
	enum fl_right right = FL_RIGHT_WRITE;

	fl_mutex_lock(fl_pt_lock(mm, addr));
	for (uint64_t a = addr; a < addr + PMD_SIZE; a += PAGE_SIZE)
		right = fl_min(right, pte_right(fl_pte_get(mm, a), vma));
	fl_native_invalidate(mm, vma, addr, addr + PMD_SIZE, right);
	fl_native_grant(mm, vma, addr, PTRS_PER_TABLE, right);
	fl_mutex_unlock(fl_pt_lock(mm, addr));
}

int fl_in_place_collapse(struct fl_mm *mm, struct fl_vma *vma, uint64_t start, uint64_t end)
{
	int ret = 0;

	if (!may_be_huge(vma, start, end))
		return -EINVAL;
	for (uint64_t addr = PMD_ALIGN(start); addr + PMD_SIZE <= end; addr += PMD_SIZE) {
		int err = may_collapse(mm, vma, addr);

		if (!err) {
			make_even(mm, vma, addr);
			err = fl_host_collapse(addr);
		}
		ret = ret ? ret : err;
	}
	return ret;
}
