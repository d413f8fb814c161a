/* SPDX-License-Identifier: MIT */
/* kinds.c - anonymous memory, shared pages of files, private copies of them. */
#include "mm/kind.h"

#include "mm/file.h"
#include "mm/folio.h"
#include "mm/huge.h"
#include "mm/source.h"

/* ---- anonymous memory ---- */

static uint64_t one_frame(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr)
{
	return mm->ops->frames.get(mm, vma, addr);
}

static uint64_t make_zeros(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr, uint64_t found, bool write)
{
	uint64_t pfn = one_frame(mm, vma, addr);

	if (pfn == FL_PFN_NONE)
		return pfn;
	if (mm->ops->frames.zero(mm, pfn, 1)) {
		fl_folio_put(mm, pfn);
		return FL_PFN_NONE;
	}
	fl_folio(mm, pfn)->mapcount = 1;
	return pfn;
}

/* The host has the page, or will: what it holds is not ours to touch. */
static uint64_t make_in_place(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr, uint64_t found, bool write)
{
	uint64_t pfn = one_frame(mm, vma, addr);

	if (pfn != FL_PFN_NONE)
		fl_folio(mm, pfn)->mapcount = 1;
	return pfn;
}

/* Where pages have homes there is one entry for each, and a page that is a copy of a file's counts as that file's. */
static void make_own(struct fl_mm *mm, uint64_t pfn)
{
	fl_folio(mm, pfn)->mapping = NULL;
}

/* ---- files ---- */

static uint64_t file_end(const struct fl_vma *vma)
{
	uint64_t nr = vma->file->ops->nr_pages(vma->file);

	if (nr <= vma->index)
		return vma->start;
	return vma->start + (fl_min(nr - vma->index, PAGES(vma->end - vma->start)) << PAGE_SHIFT);
}

static uint64_t file_lookup(struct fl_vma *vma, uint64_t addr)
{
	return vma->file->ops->find(vma->file, vma, addr, fl_vma_page_index(vma, addr));
}

/* What the file has, or a new page that it gets. */
static uint64_t file_page(struct fl_vma *vma, uint64_t addr, uint64_t found)
{
	if (found != FL_PFN_NONE)
		return found;
	return vma->file->ops->make(vma->file, vma, addr, fl_vma_page_index(vma, addr));
}

static int file_add(struct fl_vma *vma, uint64_t addr, uint64_t pfn)
{
	return vma->file->ops->add(vma->file, vma, pfn, fl_vma_page_index(vma, addr));
}

static uint64_t make_shared(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr, uint64_t found, bool write)
{
	uint64_t pfn = file_page(vma, addr, found);

	if (pfn != FL_PFN_NONE)
		fl_folio_map(mm, pfn);
	return pfn;
}

/* A frame of the mapping's own, counted for its entry; the caller fills it. */
static uint64_t own_frame(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr,
			  int (*fill)(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr, uint64_t own,
				      uint64_t from),
			  uint64_t from)
{
	uint64_t own = one_frame(mm, vma, addr);

	if (own == FL_PFN_NONE)
		return own;
	if (fill(mm, vma, addr, own, from)) {
		fl_folio_put(mm, own);
		return FL_PFN_NONE;
	}
	fl_folio(mm, own)->mapcount = 1;
	return own;
}

static int copy_from(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr, uint64_t own, uint64_t from)
{
	return fl_frame_copy(mm, own, from);
}

static int read_from_file(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr, uint64_t own, uint64_t from)
{
	return vma->file->ops->read(vma->file, fl_vma_page_index(vma, addr), own);
}

/* A store gets a copy; a load maps the file's page. */
static uint64_t make_private(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr, uint64_t found, bool write)
{
	uint64_t pfn = file_page(vma, addr, found);

	if (pfn == FL_PFN_NONE)
		return pfn;
	if (write)
		return own_frame(mm, vma, addr, copy_from, pfn);
	fl_folio_map(mm, pfn);
	return pfn;
}

/* It is a copy at once; until it is written to it counts as the file's. */
static uint64_t make_private_home(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr, uint64_t found, bool write)
{
	uint64_t pfn = file_page(vma, addr, found);

	if (pfn != FL_PFN_NONE)
		pfn = own_frame(mm, vma, addr, read_from_file, pfn);
	if (pfn != FL_PFN_NONE)
		fl_folio(mm, pfn)->mapping = write ? NULL : vma->file;
	return pfn;
}

/* ---- tables ---- */

#define ANONYMOUS                                                                                                    \
	.unit = PAGE_SIZE, .leaf = FL_LEAF_SPLIT, .zeros = true, .host_serves = true, .make = make_zeros,            \
	.frames = one_frame, .fault_leaf = fl_huge_anonymous_fault
#define OF_FILE                                                                                                      \
	.unit = PAGE_SIZE, .leaf = FL_LEAF_DROP, .keeps_marker = true, .end = file_end, .lookup = file_lookup,       \
	.frames = one_frame, .fault_leaf = fl_huge_cached_fault

static const struct fl_memory_kind anonymous = {
	ANONYMOUS,
	.name = "anonymous",
	.migrates = true,
	.gather = fl_gather_copies,
};
static const struct fl_memory_kind shared = {
	OF_FILE, .name = "shared", .migrates = true, .host_serves = true, .make = make_shared, .add = file_add,
};
static const struct fl_memory_kind private_copy = {
	OF_FILE,
	.name = "private copy",
	.migrates = true,
	.make = make_private,
};

const struct fl_kinds fl_kinds = {&anonymous, &shared, &private_copy, NULL};

static const struct fl_memory_kind anonymous_home = {
	ANONYMOUS,
	.name = "anonymous, with homes",
	.own = make_own,
	.gather = fl_gather_homes,
};
static const struct fl_memory_kind in_place = {
	.name = "anonymous, in place",
	.unit = PAGE_SIZE,
	.leaf = FL_LEAF_SPLIT,
	.zeros = true,
	.host_serves = true,
	.make = make_in_place,
	.frames = one_frame,
};
static const struct fl_memory_kind shared_home = {
	OF_FILE, .name = "shared, with homes", .host_serves = true, .make = make_shared, .add = file_add,
};
static const struct fl_memory_kind private_copy_home = {
	OF_FILE,	 .name = "private copy, with homes", .make = make_private_home,
	.own = make_own, .read_large = fl_read_large,
};

const struct fl_kinds fl_kinds_homes = {&anonymous_home, &shared_home, &private_copy_home, &in_place};
