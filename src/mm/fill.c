/* SPDX-License-Identifier: MIT */
/*
 * fill.c - UFFDIO_COPY, UFFDIO_ZEROPAGE and UFFDIO_CONTINUE below the ABI. A fill works in runs: consecutive missing
 * units of one mapping under one page-table lock whose frames are consecutive too. The frames are written while no
 * entry and no cached right leads to them, then the entries are set: other threads see a unit whole or not at all.
 */
#include "mm/fill.h"

#include "mm/claim.h"
#include "mm/file.h"
#include "mm/folio.h"
#include "mm/mmap_lock.h"
#include "mm/pgtable.h"
#include "mm/protect.h"
#include "mm/source.h"
#include "mm/vma.h"
#include "mm/zap.h"

#include "host/count.h"

#define RUN_PAGES 64u /* the longest run, so that a large fill does not keep the lock from the faults beside it */

struct run {
	fl_pte_t *ptep;
	uint64_t addr, pfn;
	uint64_t nr, unit; /* pages */
};

/* How far the fill may go in one run from addr: within the mapping, the table and the limit. */
static uint64_t run_limit(const struct fl_vma *vma, uint64_t addr, uint64_t end)
{
	uint64_t limit = fl_min(end, vma->end);

	limit = fl_min(limit, PMD_ALIGN_DOWN(addr) + PMD_SIZE);
	return fl_min(PAGES(limit - addr), fl_max(PAGES(vma->kind->unit), (uint64_t)RUN_PAGES));
}

/* Linux 6.18, observed: COPY fills a marked page, and the mark is gone; ZEROPAGE finds it there, if it is private. */
static bool may_fill(const struct fl_vma *vma, fl_pte_t pte, enum fl_fill_kind kind)
{
	return kind == FL_FILL_ZERO && !vma->kind->add ? pte_none(pte) : pte_no_page(pte);
}

/* The address at which the backing ends; that memory without one ends, its mapping says. => file's lock held */
static uint64_t backing_end(const struct fl_vma *vma)
{
	return vma->kind->end ? vma->kind->end(vma) : UINT64_MAX;
}

/* May the unit at addr, whose first entry is ptep, be filled? => file's lock and page-table lock held */
static int check_unit(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr, fl_pte_t *ptep, enum fl_fill_kind kind)
{
	if (vma->kind->add && vma->kind->lookup(vma, addr) != FL_PFN_NONE)
		return -EEXIST;
	if (!ptep)
		return -EEXIST; /* a leaf has been there */
	for (unsigned i = 0; i < PAGES(vma->kind->unit); i++) {
		if (vma->kind->add && pte_present(ptep_get(ptep + i))) /* of a page that the backing has not */
			fl_zap_gone(mm, vma, addr + ((uint64_t)i << PAGE_SHIFT), ptep + i);
		if (!may_fill(vma, ptep_get(ptep + i), kind))
			return -EEXIST;
	}
	return 0;
}

static void put_frames(struct fl_mm *mm, uint64_t pfn, uint64_t nr)
{
	while (nr--)
		fl_folio_put(mm, pfn + nr);
}

/* Collect missing units with consecutive frames. Leaves run->nr 0 and says why. => page-table lock held */
static int run_collect(struct fl_mm *mm, struct fl_vma *vma, struct run *run, uint64_t limit, enum fl_fill_kind kind)
{
	uint64_t end = backing_end(vma);

	for (run->nr = 0; run->nr < limit; run->nr += run->unit) {
		uint64_t addr = run->addr + (run->nr << PAGE_SHIFT), pfn;
		int err = addr >= end ? -ENXIO
				      : check_unit(mm, vma, addr, run->ptep ? run->ptep + run->nr : NULL, kind);

		if (err)
			return err;
		pfn = vma->kind->frames(mm, vma, addr);
		if (pfn == FL_PFN_NONE)
			return -ENOMEM;
		if (run->nr && pfn != run->pfn + run->nr) {
			put_frames(mm, pfn, run->unit);
			return 0;
		}
		if (!run->nr)
			run->pfn = pfn;
	}
	return 0;
}

/* Give back the frames from the `from`th on, and what comes before them of the same unit. */
static void run_shorten(struct fl_mm *mm, struct run *run, uint64_t from)
{
	from -= from % run->unit;
	put_frames(mm, run->pfn + from, run->nr - from);
	run->nr = from;
}

/* What the entry of a filled page says. Where accesses are sampled, the first one is still to come. */
static fl_pte_t new_entry(struct fl_mm *mm, struct fl_vma *vma, uint64_t pfn, const struct fl_fill *f)
{
	fl_pte_t pte = pte_make(pfn, vma);

	/* what a shared file has is a page of its own, also when it holds zeros */
	pte = f->kind == FL_FILL_ZERO && !vma->kind->add ? pte_mkzero(pte) : pte_mkdirty(pte);
	if (f->wp)
		pte = pte_mkuffd_wp(pte);
	if (vma->flags & VM_SAMPLED)
		pte = pte_mkhint(pte);
	return fl_pte_upgrade(mm, vma, pte, 1);
}

/* The filled units become the backing's; those for which it has no memory are not filled after all. */
static int run_add(struct fl_mm *mm, struct fl_vma *vma, struct run *run)
{
	for (uint64_t i = 0; vma->kind->add && i < run->nr; i += run->unit)
		if (vma->kind->add(vma, run->addr + (i << PAGE_SHIFT), run->pfn + i)) {
			run_shorten(mm, run, i);
			return -ENOMEM;
		}
	return 0;
}

static void run_install(struct fl_mm *mm, struct fl_vma *vma, const struct run *run, const struct fl_fill *f)
{
	fl_pte_t pte = {0};

	for (uint64_t i = 0; i < run->nr; i++) {
		fl_folio(mm, run->pfn + i)->mapcount = 1;
		pte = new_entry(mm, vma, run->pfn + i, f);
		set_pte(run->ptep + i, pte);
	}
	if (run->nr && pte_right(pte, vma) != FL_RIGHT_NONE)
		mm->ops->rights.grant(mm, vma, run->addr, run->nr, pte_right(pte, vma));
}

static int run_zero(struct fl_mm *mm, const struct fl_vma *vma, struct run *run)
{
	uint64_t step = vma->kind->add ? run->unit : run->nr;

	for (uint64_t i = 0; i < run->nr; i += step)
		if (mm->ops->frames.zero(mm, run->pfn + i, step)) {
			run_shorten(mm, run, i);
			return -ENOMEM;
		}
	return 0;
}

/* Write the frames of a run; shortens it to the pages that could be written. */
static int run_write(struct fl_mm *mm, const struct fl_vma *vma, const struct fl_fill *f, struct run *run,
		     uint64_t *src_fault)
{
	uint64_t src = f->src + (run->addr - f->dst);
	int64_t done;

	if (f->kind == FL_FILL_ZERO)
		return run_zero(mm, vma, run);
	done = mm->ops->frames.fill(mm, run->pfn, f->source, src, run->nr << PAGE_SHIFT);
	if (done == (int64_t)(run->nr << PAGE_SHIFT))
		return 0;
	run_shorten(mm, run, done > 0 ? PAGES((uint64_t)done) : 0);
	if (done < 0)
		return (int)done;
	*src_fault = src + (uint64_t)done;
	return -EFAULT;
}

/* Could the source of the page at addr be read now? */
static bool source_readable(struct fl_mm *mm, const struct fl_fill *f, uint64_t addr, uint64_t *src_fault)
{
	uint64_t src = f->src + (addr - f->dst), n;

	n = f->source->probe(mm, src, PAGE_SIZE);
	*src_fault = src + n;
	return n == PAGE_SIZE;
}

/* Map what the backing has of the unit at addr. 0, -errno; *right: what all its entries grant. */
static int continue_unit(struct fl_mm *mm, struct fl_vma *vma, const struct fl_fill *f, uint64_t addr, fl_pte_t *ptep,
			 enum fl_right *right)
{
	uint64_t pfn = vma->kind->lookup(vma, addr);

	if (pfn == FL_PFN_NONE)
		return -ENXIO;
	for (unsigned i = 0; i < PAGES(vma->kind->unit); i++)
		if (!ptep || !pte_no_page(ptep_get(ptep + i)))
			return -EEXIST;
	pfn = vma->kind->make(mm, vma, addr, pfn, false);
	if (pfn == FL_PFN_NONE)
		return -ENOMEM;
	*right = FL_RIGHT_WRITE;
	for (unsigned i = 0; i < PAGES(vma->kind->unit); i++) {
		fl_pte_t pte = pte_mkdirty(pte_make(pfn + i, vma));

		pte = fl_pte_upgrade(mm, vma, f->wp ? pte_mkuffd_wp(pte) : pte, 1);
		set_pte(ptep + i, pte);
		*right = fl_min(*right, pte_right(pte, vma));
	}
	return 0;
}

/* UFFDIO_CONTINUE: map what the backing has. => file's lock and page-table lock held */
static void continue_run(struct fl_mm *mm, struct fl_vma *vma, const struct fl_fill *f, struct run *run,
			 uint64_t limit, int *err)
{
	uint64_t end = backing_end(vma), granted = 0;
	enum fl_right right = FL_RIGHT_NONE;

	for (run->nr = 0; run->nr < limit; run->nr += run->unit) {
		uint64_t addr = run->addr + (run->nr << PAGE_SHIFT);
		fl_pte_t *ptep = run->ptep ? run->ptep + run->nr : NULL;
		enum fl_right next = FL_RIGHT_NONE;

		*err = addr >= end ? -EINVAL : continue_unit(mm, vma, f, addr, ptep, &next);
		if (*err)
			break;
		if (next != right && granted < run->nr) {
			mm->ops->rights.grant(mm, vma, run->addr + (granted << PAGE_SHIFT), run->nr - granted, right);
			granted = run->nr;
		}
		right = next;
	}
	if (granted < run->nr)
		mm->ops->rights.grant(mm, vma, run->addr + (granted << PAGE_SHIFT), run->nr - granted, right);
}

/* => file's lock and page-table lock held */
static void fill_locked(struct fl_mm *mm, struct fl_vma *vma, const struct fl_fill *f, struct run *run, int *err,
			uint64_t *src_fault)
{
	int write_err, add_err;

	*err = run_collect(mm, vma, run, run_limit(vma, run->addr, f->dst + f->len), f->kind);
	if (!run->nr && *err == -EEXIST && f->kind == FL_FILL_COPY && !source_readable(mm, f, run->addr, src_fault))
		*err = -EFAULT; /* the kernel reads the source first */
	if (!run->nr)
		return;
	write_err = run_write(mm, vma, f, run, src_fault);
	add_err = run_add(mm, vma, run);
	if (write_err || add_err)
		*err = add_err ? add_err : write_err;
	run_install(mm, vma, run, f);
}

/* One run. The bytes filled; *err says what ended it early. => mapping pinned */
static uint64_t fill_run(struct fl_mm *mm, struct fl_vma *vma, const struct fl_fill *f, uint64_t addr, int *err,
			 uint64_t *src_fault)
{
	struct fl_mutex *ptl = fl_pt_lock(mm, addr);
	struct run run = {.addr = addr, .unit = PAGES(vma->kind->unit)};

	*err = fl_pte_alloc(mm, addr);
	if (*err)
		return 0;
	fl_vma_lock_file(vma);
	fl_mutex_lock(ptl);
	run.ptep = fl_pte_offset(mm, addr); /* NULL: a leaf was there */
	if (f->kind == FL_FILL_CONTINUE)
		continue_run(mm, vma, f, &run, run_limit(vma, addr, f->dst + f->len), err);
	else
		fill_locked(mm, vma, f, &run, err, src_fault);
	fl_mutex_unlock(ptl);
	fl_vma_unlock_file(vma);
	return run.nr << PAGE_SHIFT;
}

/*
 * Does the range lie in one mapping? Neighbours that differ only in where their frames live are one to the program.
 * => mmap_lock held, if it goes on behind the end
 */
static bool in_one_mapping(struct fl_mm *mm, const struct fl_vma *vma, uint64_t end)
{
	while (vma && end > vma->end) {
		const struct fl_vma *next = fl_vma_lookup(mm, vma->end);

		vma = next && fl_vma_alike(vma, next) ? next : NULL;
	}
	return vma;
}

/* May the fill continue? All that is left is in one mapping, which must be registered, with any object. */
static int fill_check(const struct fl_vma *vma, const struct fl_fill *f)
{
	if (!(vma->flags & VM_UFFD))
		return -ENOENT;
	if (f->wp && !(vma->flags & VM_UFFD_WP))
		return -EINVAL;
	if (f->kind == FL_FILL_CONTINUE && !vma->kind->lookup)
		return -EINVAL;
	if (!fl_unit_aligned(vma->kind, f->dst | f->len))
		return -EINVAL;
	return 0;
}

/*
 * The mapping at addr, pinned, if it has all up to `end` that is to be filled. NULL: it has not. Of
 * those that look as one to the program it is the first.
 */
static struct fl_vma *start_fill(struct fl_mm *mm, uint64_t addr, uint64_t end)
{
	struct fl_vma *vma = fl_vma_pin(mm, addr);
	bool one;

	if (!vma || vma->end >= end)
		return vma;
	fl_vma_unpin(vma);
	fl_mmap_read_lock(mm); /* the neighbours matter */
	vma = fl_vma_lookup(mm, addr);
	one = vma && in_one_mapping(mm, vma, end);
	vma = one ? fl_vma_pin_locked(mm, addr) : NULL;
	fl_mmap_read_unlock(mm);
	return vma;
}

static void count_filled(enum fl_fill_kind kind, uint64_t pages)
{
	switch (kind) {
	case FL_FILL_COPY:
		fl_count(copies, pages);
		break;
	case FL_FILL_ZERO:
		fl_count(zeropages, pages);
		break;
	case FL_FILL_CONTINUE:
		fl_count(continued, pages);
		break;
	}
}

int fl_fill_range(struct fl_mm *mm, const struct fl_fill *f, uint64_t *done, uint64_t *src_fault)
{
	int err = 0;

	while (*done < f->len && !err) {
		uint64_t filled = 0;
		struct fl_vma *vma;
		bool in_place;

		vma = start_fill(mm, f->dst + *done, f->dst + f->len);
		if (!vma)
			return -ENOENT;
		err = fill_check(vma, f);
		in_place = vma->flags & VM_IN_PLACE;
		if (!err && !in_place)
			filled = fill_run(mm, vma, f, f->dst + *done, &err, src_fault);
		fl_vma_unpin(vma);
		if (!err && in_place) /* a fill is into frames */
			err = fl_take_over(mm, f->dst + *done, f->dst + *done + 1);
		*done += filled;
		count_filled(f->kind, PAGES(filled));
	}
	return err;
}
