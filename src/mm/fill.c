/* SPDX-License-Identifier: MIT */
/*
 * fill.c - UFFDIO_COPY, UFFDIO_ZEROPAGE and UFFDIO_CONTINUE below the ABI. A fill works in runs: consecutive missing
 * pages of one mapping under one page-table lock whose frames are consecutive too. The frames are written while no
 * entry and no cached right leads to them, then the entries are set: other threads see a page whole or not at all.
 */
#include "mm/fill.h"

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
	uint64_t nr;
};

/* How far the fill may go in one run from addr: within the mapping, the table and the limit. */
static uint64_t run_limit(const struct fl_vma *vma, uint64_t addr, uint64_t end)
{
	uint64_t limit = fl_min(end, vma->end);

	limit = fl_min(limit, PMD_ALIGN_DOWN(addr) + PMD_SIZE);
	return fl_min(PAGES(limit - addr), (uint64_t)RUN_PAGES);
}

/* Linux 6.18, observed: COPY fills a marked page, and the mark is gone; ZEROPAGE finds it there, if it is private. */
static bool may_fill(const struct fl_vma *vma, fl_pte_t pte, enum fl_fill_kind kind)
{
	return kind == FL_FILL_ZERO && !fl_vma_adds(vma) ? pte_none(pte) : pte_no_page(pte);
}

/* How many pages the file has; that memory without one ends, its mapping says. => file's lock held */
static uint64_t file_end(const struct fl_vma *vma)
{
	return vma->file ? vma->file->ops->nr_pages(vma->file) : UINT64_MAX;
}

/* A page that is behind the end of the file, or that the file has already, cannot be filled. => file's lock held */
static int check_file(struct fl_vma *vma, uint64_t addr, uint64_t nr_pages)
{
	uint64_t index;

	if (!vma->file)
		return 0;
	index = fl_vma_page_index(vma, addr);
	if (index >= nr_pages)
		return -ENXIO;
	if (fl_vma_adds(vma) && vma->file->ops->find(vma->file, vma, addr, index) != FL_PFN_NONE)
		return -EEXIST;
	return 0;
}

/* Collect missing pages with consecutive frames. Leaves run->nr 0 and says why. => page-table lock held */
static int run_collect(struct fl_mm *mm, struct fl_vma *vma, struct run *run, uint64_t limit, enum fl_fill_kind kind)
{
	uint64_t nr_pages = file_end(vma);

	for (run->nr = 0; run->nr < limit; run->nr++) {
		uint64_t addr = run->addr + (run->nr << PAGE_SHIFT), pfn;
		int err = check_file(vma, addr, nr_pages);

		if (err)
			return err;
		if (fl_vma_adds(vma) && run->ptep && pte_present(ptep_get(run->ptep + run->nr)))
			fl_zap_gone(mm, vma, addr, run->ptep + run->nr); /* of a page that the file has not */
		if (!run->ptep || !may_fill(vma, ptep_get(run->ptep + run->nr), kind))
			return -EEXIST;
		pfn = mm->ops->frame_get(mm, vma, addr);
		if (pfn == FL_PFN_NONE)
			return -ENOMEM;
		if (run->nr && pfn != run->pfn + run->nr) {
			fl_folio_put(mm, pfn);
			return 0;
		}
		if (!run->nr)
			run->pfn = pfn;
	}
	return 0;
}

/* Give back the frames from the `from`th on. */
static void run_shorten(struct fl_mm *mm, struct run *run, uint64_t from)
{
	while (run->nr > from) {
		run->nr--;
		fl_folio_put(mm, run->pfn + run->nr);
	}
}

/* What the entry of a filled page says. Where accesses are sampled, the first one is still to come. */
static fl_pte_t new_entry(struct fl_mm *mm, struct fl_vma *vma, uint64_t pfn, const struct fl_fill *f)
{
	fl_pte_t pte = mk_pte(pfn, vma);

	/* what a shared file has is a page of its own, also when it holds zeros */
	pte = f->kind == FL_FILL_ZERO && !fl_vma_adds(vma) ? pte_mkzero(pte) : pte_mkdirty(pte);
	if (f->wp)
		pte = pte_mkuffd_wp(pte);
	if (vma->flags & VM_SAMPLED)
		pte = pte_mkhint(pte);
	return fl_maybe_mkwrite(mm, vma, pte, 1);
}

/* The filled pages go into the file's cache; those for which it has no memory are not filled after all. */
static int run_add(struct fl_mm *mm, struct fl_vma *vma, struct run *run)
{
	for (uint64_t i = 0; fl_vma_adds(vma) && i < run->nr; i++)
		if (fl_vma_add(vma, run->addr + (i << PAGE_SHIFT), run->pfn + i)) {
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
		mm->ops->grant(mm, vma, run->addr, run->nr, pte_right(pte, vma));
}

static int run_zero(struct fl_mm *mm, const struct fl_vma *vma, struct run *run)
{
	uint64_t step = fl_vma_adds(vma) ? 1 : run->nr;

	for (uint64_t i = 0; i < run->nr; i += step)
		if (mm->ops->frames_zero(mm, run->pfn + i, step)) {
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
	done = mm->ops->frames_fill(mm, run->pfn, f->source, src, run->nr << PAGE_SHIFT);
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

/* The frame that the cache has for the page at addr, to be mapped. FL_PFN_NONE: *err. => file's lock held */
static uint64_t cached_frame(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr, uint64_t nr_pages, fl_pte_t *ptep,
			     int *err)
{
	uint64_t index = fl_vma_page_index(vma, addr), pfn;

	*err = -EINVAL;
	if (index >= nr_pages)
		return FL_PFN_NONE;
	*err = -ENXIO;
	pfn = vma->file->ops->find(vma->file, vma, addr, index);
	if (pfn == FL_PFN_NONE)
		return pfn;
	*err = -EEXIST;
	if (!ptep || !pte_no_page(ptep_get(ptep)))
		return FL_PFN_NONE;
	pfn = fl_map_cached(mm, vma, addr, pfn, false);
	*err = pfn == FL_PFN_NONE ? -ENOMEM : 0;
	return pfn;
}

static fl_pte_t cached_entry(struct fl_mm *mm, struct fl_vma *vma, uint64_t pfn, const struct fl_fill *f)
{
	fl_pte_t pte = pte_mkdirty(mk_pte(pfn, vma));

	return fl_maybe_mkwrite(mm, vma, f->wp ? pte_mkuffd_wp(pte) : pte, 1);
}

/* UFFDIO_CONTINUE: map what the cache has. => file's lock and page-table lock held */
static void continue_run(struct fl_mm *mm, struct fl_vma *vma, const struct fl_fill *f, struct run *run,
			 uint64_t limit, int *err)
{
	uint64_t nr_pages = file_end(vma), granted = 0;
	enum fl_right right = FL_RIGHT_NONE;

	for (run->nr = 0; run->nr < limit; run->nr++) {
		uint64_t addr = run->addr + (run->nr << PAGE_SHIFT);
		fl_pte_t *ptep = run->ptep ? run->ptep + run->nr : NULL, pte;
		uint64_t pfn = cached_frame(mm, vma, addr, nr_pages, ptep, err);

		if (pfn == FL_PFN_NONE)
			break;
		pte = cached_entry(mm, vma, pfn, f);
		set_pte(ptep, pte);
		if (pte_right(pte, vma) != right && granted < run->nr) {
			mm->ops->grant(mm, vma, run->addr + (granted << PAGE_SHIFT), run->nr - granted, right);
			granted = run->nr;
		}
		right = pte_right(pte, vma);
	}
	if (granted < run->nr)
		mm->ops->grant(mm, vma, run->addr + (granted << PAGE_SHIFT), run->nr - granted, right);
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

/* One run. The bytes filled; *err says what ended it early. => at work in the mapping */
static uint64_t fill_run(struct fl_mm *mm, struct fl_vma *vma, const struct fl_fill *f, uint64_t addr, int *err,
			 uint64_t *src_fault)
{
	struct fl_mutex *ptl = fl_pt_lock(mm, addr);
	struct run run = {.addr = addr};

	*err = fl_pte_alloc(mm, addr);
	if (*err)
		return 0;
	fl_vma_lock_file(vma);
	fl_mutex_lock(ptl);
	run.ptep = fl_pte_offset(mm, addr); /* NULL: a leaf has been there */
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

/*
 * May the fill go on? The whole of what is left lies in one mapping, which must be registered; by whom does not
 * matter.
 */
static int fill_check(const struct fl_vma *vma, const struct fl_fill *f)
{
	if (!(vma->flags & VM_UFFD))
		return -ENOENT;
	if (f->wp && !(vma->flags & VM_UFFD_WP))
		return -EINVAL;
	if (f->kind == FL_FILL_CONTINUE && !vma->file)
		return -EINVAL;
	return 0;
}

/*
 * The mapping at addr, to be at work in it, if it has all up to `end` that is to be filled. NULL: it has not. Of
 * those that look as one to the program it is the first.
 */
static struct fl_vma *start_fill(struct fl_mm *mm, uint64_t addr, uint64_t end)
{
	struct fl_vma *vma = fl_vma_pin(mm, addr);
	bool one;

	if (!vma || vma->end >= end)
		return vma;
	fl_vma_unpin(vma);
	fl_mmap_read_lock(mm); /* the neighbours have a say */
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

		vma = start_fill(mm, f->dst + *done, f->dst + f->len);
		if (!vma)
			return -ENOENT;
		err = fill_check(vma, f);
		if (!err)
			filled = fill_run(mm, vma, f, f->dst + *done, &err, src_fault);
		fl_vma_unpin(vma);
		*done += filled;
		count_filled(f->kind, PAGES(filled));
	}
	return err;
}
