/* SPDX-License-Identifier: MIT */
/*
 * shared_adopt.c - adopting mappings of shared memory, and releasing them: hiding them, putting their file into the
 * direct map, and carrying what is mapped from the host's tables into the engine's and back.
 */
#include "native/native.h"
#include "native/shared.h"

/* May the mapping be written, or be made writable? Asked of another mapping of the same pages. */
static bool may_write(uint64_t start)
{
	long copy = fl_host_alias(start, PAGE_SIZE, 0);
	bool ok;

	if (fl_host_failed(copy))
		return false;
	ok = fl_host_mprotect((uint64_t)copy, PAGE_SIZE, PROT_READ | PROT_WRITE) == 0;
	fl_host_munmap((uint64_t)copy, PAGE_SIZE);
	return ok;
}

/* What the host maps with one leaf, at `from`, becomes a leaf. => tables exist */
void fl_file_set_leaves(struct fl_mm *mm, struct fl_vma *vma, uint64_t from)
{
	struct fl_shared_file *f = fl_shared_of(vma->file);

	fl_vma_lock_file(vma);
	for (uint64_t at = PMD_ALIGN(vma->start); at + PMD_SIZE <= vma->end; at += PMD_SIZE) {
		uint64_t first = fl_vma_page_index(vma, at);

		if (fl_pte_offset(mm, at) && first % CHUNK_PAGES == 0 &&
		    fl_host_mapped_huge(from + (at - vma->start)) && fl_large_add(f, first) == 0 &&
		    vma->file->ops->find_large(vma->file, vma, at, first) != FL_PFN_NONE)
			fl_map_large(mm, vma, at); /* otherwise it is page by page */
	}
	fl_vma_unlock_file(vma);
}

/* What the program has in its tables goes into the engine's. => tables exist */
void fl_file_set_entries(struct fl_mm *mm, struct fl_vma *vma)
{
	uint64_t run_end;

	fl_file_set_leaves(mm, vma, vma->start);
	for (uint64_t at = vma->start; at < vma->end && fl_host_shown_next(&at, vma->end, &run_end) == 1;
	     at = run_end)
		for (uint64_t a = at; a < run_end; a += PAGE_SIZE) {
			fl_pte_t *ptep = fl_pte_offset(mm, a); /* NULL: it is a leaf's */
			uint64_t pfn = ptep ? vma->file->ops->find(vma->file, vma, a, fl_vma_page_index(vma, a))
					    : FL_PFN_NONE;

			if (pfn == FL_PFN_NONE)
				continue;
			fl_folio(mm, pfn)->refcount = fl_folio(mm, pfn)->mapcount = 1;
			set_pte(ptep, fl_pte_upgrade(mm, vma, pte_mkdirty(pte_make(pfn, vma)), 1));
		}
}

/* The extent from pgoff on has the file's pages from `index` on. */
static void set_chunks(uint64_t pgoff, uint64_t nr, struct fl_shared_file *f, uint64_t index)
{
	for (uint64_t i = pgoff / CHUNK_PAGES; i <= (pgoff + nr - 1) / CHUNK_PAGES; i++) {
		struct chunk *c = chunk_of(i * CHUNK_PAGES);

		c->file = f;
		c->index = index + i * CHUNK_PAGES - pgoff;
	}
}

/*
 * The program's mapping a second time, for the direct map: mmap(2) of the file would fill its holes after
 * mlockall(MCL_FUTURE). What the program had the mapping marked as is not for this one.
 */
static int map_direct(uint64_t start, uint64_t len, uint64_t to)
{
	if (fl_fail(FL_FP_ADOPT) || fl_host_failed(fl_host_alias(start, len, to)))
		return -ENOMEM;
	fl_host_madvise(to, len, MADV_DOFORK);
	return fl_host_mprotect(to, len, PROT_READ | PROT_WRITE);
}

/* The file is in the direct map, and the range hidden. Undone if it fails. => there are tables */
static int hide_shared(struct fl_mm *mm, uint64_t start, uint64_t end, uint64_t pgoff)
{
	int err;

	fl_host_munlock(start, end - start); /* markers are refused on locked memory */
	err = map_direct(start, end - start, fl_addr(fl_kmap_local(mm, pgoff)));
	if (!err)
		err = fl_host_mprotect(start, end - start, PROT_NONE);
	if (!err)
		return 0;
	fl_file_unmap_direct(pgoff, PAGES(end - start));
	return -ENOMEM;
}

static int adopt_pages(struct fl_mm *mm, uint64_t start, uint64_t end, const struct fl_host_map *map,
		       struct fl_shared_file *f)
{
	uint64_t offset = map->offset + (start - map->start), pgoff;
	struct fl_vma *vma;
	bool any;

	if (!may_write(start))
		return -EPERM;
	if (fl_prepare_tables(mm, start, end, &any) || fl_guards_adopt(mm, start, end))
		goto fail;
	pgoff = fl_extent_alloc(start, end, FL_SECTION_FILES, FL_RIGHT_NONE);
	if (pgoff == FL_PFN_NONE)
		goto fail;
	if (hide_shared(mm, start, end, pgoff)) {
		fl_extent_put(start, end, pgoff); /* nothing is there */
		goto fail;
	}
	set_chunks(pgoff, PAGES(end - start), f, PAGES(offset));
	vma = fl_vma_insert(mm, start, end, pgoff, fl_prot_access(map->prot) | VM_SHARED | VM_SOFTDIRTY, NULL);
	fl_vma_set_file(vma, &f->file, PAGES(offset));
	if (any)
		fl_file_set_entries(mm, vma);
	return 0;
fail:
	fl_guard_remove(mm, start, end);
	fl_free_pgtables(mm, start, end);
	return -ENOMEM;
}

static int adopt_shared(struct fl_mm *mm, uint64_t start, uint64_t end, const struct fl_host_map *map)
{
	int err = 0;
	struct fl_shared_file *f = fl_shared_get(map, &err);

	if (!f)
		return err;
	err = adopt_pages(mm, start, end, map, f);
	fl_file_put(&f->file); /* the mapping has a reference of its own */
	return err;
}

/* Private: pages copied here are the engine's, as anonymous memory is; the file is asked for the others. */
static int adopt_private(struct fl_mm *mm, uint64_t start, uint64_t end, const struct fl_host_map *map)
{
	int err = 0;
	struct fl_shared_file *f = fl_shared_get(map, &err);

	if (!f)
		return err;
	err = fl_adopt_private(mm, start, end, fl_prot_access(map->prot), &f->file,
			       PAGES(map->offset + (start - map->start)));
	fl_file_put(&f->file);
	return err;
}

int fl_file_adopt(struct fl_mm *mm, uint64_t start, uint64_t end, const struct fl_host_map *map)
{
	return map->shared ? adopt_shared(mm, start, end, map) : adopt_private(mm, start, end, map);
}

/* Unhide the whole mapping, and drop host entries for pages that the engine no longer shows. */
static void show_all(struct fl_vma *vma)
{
	uint64_t len = vma->end - vma->start;

	fl_host_drop(vma->start, len);
	fl_cache_forget(vma->pgoff, PAGES(len));
	if (fl_native.guard)
		fl_host_unguard_all(vma->start, len);
	while (fl_host_mprotect(vma->start, len, fl_access_prot(vma->flags)) == -ENOMEM && fl_cache_shrink(vma->mm))
		;
}

/* A leaf becomes one at `to`, if that is aligned as it is; otherwise nothing. */
static void populate_leaf(uint64_t to, uint64_t len)
{
	if (len == PMD_SIZE && (to & ~PMD_MASK) == 0 && fl_host_collapse(to))
		fl_host_populate(to, len, false);
}

/* A load would also bring cached neighbours in; a store does not. */
void fl_file_populate(struct fl_mm *mm, const struct fl_vma *vma, uint64_t start, uint64_t end, uint64_t to)
{
	fl_for_each_pmd(mm, addr, next, start, end) {
		if (fl_slot_at(mm, addr).pmdp) {
			populate_leaf(to + (addr - start), next - addr);
			continue;
		}
		for (uint64_t a = addr, from; a < next; a = fl_max(a, from + PAGE_SIZE)) {
			for (from = a; a < next && pte_present(fl_pte_get(mm, a)); a += PAGE_SIZE)
				;
			if (a > from)
				fl_host_populate(to + (from - start), a - from, vma->flags & VM_WRITE);
		}
	}
}

void fl_file_release(struct fl_mm *mm, struct fl_vma *vma)
{
	show_all(vma);
	fl_file_populate(mm, vma, vma->start, vma->end, vma->start);
	fl_guards_release(mm, vma->start, vma->end);
	fl_zap_range(mm, vma, vma->start, vma->end);
	fl_vma_set(vma, vma->flags | VM_RELEASED, NULL);
}

void fl_file_give_back(struct fl_mm *mm, uint64_t start, uint64_t end)
{
	struct fl_vma *vma;

	for (uint64_t at = start; (vma = fl_find_vma(mm, at)) && vma->start < end;) {
		uint64_t from = fl_max(start, vma->start), to = fl_min(end, vma->end);

		at = to;
		if (!vma->file || !(vma->flags & VM_SHARED))
			continue;
		fl_vma_split(mm, from);
		fl_vma_split(mm, to);
		vma = fl_vma_lookup(mm, from);
		if (!(vma->flags & VM_RELEASED))
			fl_file_release(mm, vma);
		fl_do_munmap(mm, from, to);
	}
}

void fl_file_fork_child(struct fl_mm *mm)
{
	for (uint32_t i = 0; i < mm->nr_vmas; i++) {
		struct fl_vma *vma = mm->vmas[i];

		if (!vma->file)
			continue;
		fl_mutex_init(&vma->file->lock, FL_RANK_FILE); /* a thread of the parent may have held it */
		if ((vma->flags & VM_SHARED) &&
		    !(vma->flags & VM_RELEASED)) /* a child finds its pages again itself */
			fl_zap_range(mm, vma, vma->start, vma->end);
	}
}
