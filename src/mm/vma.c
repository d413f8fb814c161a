/* SPDX-License-Identifier: MIT */
/*
 * vma.c - the table of mappings: a sorted array, found in by bisection. A process registers few ranges, so the
 * copying of
 * pointers at an insertion is cheaper than a tree's indirections in every fault.
 *
 * Nothing here fails once fl_vma_reserve() has succeeded: operations first reserve, then change.
 */
#include "mm/file.h"
#include "mm/mm.h"

#include "base/alloc.h"

#include <string.h>

/*
 * Does somebody want to be asked before a page may be written? Copy-on-write, for all private memory; a write-protect
 * registration; soft-dirty, once it is tracked.
 */
static bool wants_writenotify(uint32_t flags)
{
	return !(flags & VM_SHARED) || (flags & VM_UFFD_WP) || !(flags & VM_SOFTDIRTY);
}

uint32_t fl_vm_page_prot(uint32_t flags)
{
	uint32_t prot = flags & VM_ACCESS;

	if (prot & VM_WRITE)
		prot |= VM_READ; /* x86 has no write-only pages */
	return wants_writenotify(flags) ? prot & ~VM_WRITE : prot;
}

void fl_vma_set(struct fl_vma *vma, uint32_t flags, struct fl_uffd_ctx *ctx)
{
	fl_vma_lock_file(vma); /* who fills a file's holes looks whether anybody waits for them */
	vma->flags = flags;
	vma->vm_page_prot = fl_vm_page_prot(flags);
	vma->ctx = (flags & VM_UFFD) ? ctx : NULL;
	fl_vma_unlock_file(vma);
}

uint32_t fl_vma_index(const struct fl_mm *mm, uint64_t addr)
{
	uint32_t lo = 0, hi = mm->nr_vmas;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (mm->vmas[mid]->end <= addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

struct fl_vma *fl_find_vma(const struct fl_mm *mm, uint64_t addr)
{
	uint32_t i = fl_vma_index(mm, addr);

	return i < mm->nr_vmas ? mm->vmas[i] : NULL;
}

struct fl_vma *fl_vma_lookup(const struct fl_mm *mm, uint64_t addr)
{
	struct fl_vma *vma = fl_find_vma(mm, addr);

	return vma && vma->start <= addr ? vma : NULL;
}

static int grow_table(struct fl_mm *mm, uint32_t need)
{
	uint32_t cap = mm->cap_vmas ? mm->cap_vmas : 32;
	struct fl_vma **table;

	while (cap < need)
		cap *= 2;
	if (cap == mm->cap_vmas)
		return 0;
	table = fl_alloc(&mm->metadata, cap * sizeof(*table), FL_FP_VMA_TABLE);
	if (!table)
		return -ENOMEM;
	if (mm->nr_vmas)
		memcpy(table, mm->vmas, mm->nr_vmas * sizeof(*table));
	fl_free(&mm->metadata, mm->vmas, mm->cap_vmas * sizeof(*table));
	mm->vmas = table;
	mm->cap_vmas = cap;
	return 0;
}

/* Spare mappings are chained by their ctx field. */
static void put_spare(struct fl_mm *mm, struct fl_vma *vma)
{
	vma->ctx = (struct fl_uffd_ctx *)(void *)mm->spare;
	mm->spare = vma;
	mm->nr_spare++;
}

static struct fl_vma *take_spare(struct fl_mm *mm)
{
	struct fl_vma *vma = mm->spare;

	FL_BUG_ON(!vma); /* fl_vma_reserve() was forgotten */
	mm->spare = (struct fl_vma *)(void *)vma->ctx;
	mm->nr_spare--;
	return vma;
}

int fl_vma_reserve(struct fl_mm *mm, uint32_t nr)
{
	if (grow_table(mm, mm->nr_vmas + nr))
		return -ENOMEM;
	while (mm->nr_spare < nr) {
		struct fl_vma *vma = fl_alloc(&mm->metadata, sizeof(*vma), FL_FP_VMA);

		if (!vma)
			return -ENOMEM;
		put_spare(mm, vma);
	}
	return 0;
}

static void table_insert(struct fl_mm *mm, uint32_t i, struct fl_vma *vma)
{
	FL_BUG_ON(mm->nr_vmas == mm->cap_vmas);
	memmove(&mm->vmas[i + 1], &mm->vmas[i], (mm->nr_vmas - i) * sizeof(*mm->vmas));
	mm->vmas[i] = vma;
	mm->nr_vmas++;
}

static void table_remove(struct fl_mm *mm, uint32_t i)
{
	fl_vma_set_file(mm->vmas[i], NULL, 0);
	put_spare(mm, mm->vmas[i]);
	mm->nr_vmas--;
	memmove(&mm->vmas[i], &mm->vmas[i + 1], (mm->nr_vmas - i) * sizeof(*mm->vmas));
}

struct fl_vma *fl_vma_insert(struct fl_mm *mm, uint64_t start, uint64_t end, uint64_t pgoff, uint32_t flags,
			     struct fl_uffd_ctx *ctx)
{
	struct fl_vma *vma = take_spare(mm);

	*vma = (struct fl_vma){ .start = start, .end = end, .pgoff = pgoff, .mm = mm };
	fl_list_init(&vma->by_file);
	fl_vma_set(vma, flags, ctx);
	table_insert(mm, fl_vma_index(mm, start), vma);
	return vma;
}

/* => file->lock held */
static void attach(struct fl_vma *vma, struct fl_file *file, uint64_t index)
{
	fl_file_get(file);
	vma->file = file;
	vma->index = index;
	fl_list_add_tail(&file->vmas, &vma->by_file);
}

void fl_vma_set_file(struct fl_vma *vma, struct fl_file *file, uint64_t index)
{
	struct fl_file *old = vma->file;

	if (old) {
		fl_mutex_lock(&old->lock);
		fl_list_del(&vma->by_file);
		vma->file = NULL;
		fl_mutex_unlock(&old->lock);
		fl_file_put(old);
	}
	if (!file)
		return;
	fl_mutex_lock(&file->lock);
	attach(vma, file, index);
	fl_mutex_unlock(&file->lock);
}

void fl_vma_split(struct fl_mm *mm, uint64_t addr)
{
	struct fl_vma *vma = fl_vma_lookup(mm, addr);
	struct fl_vma *upper;
	uint64_t end;

	if (!vma || vma->start == addr)
		return;
	if (addr & ~PMD_MASK) { /* a leaf lies inside one mapping */
		fl_mutex_lock(fl_pt_lock(mm, addr));
		fl_split_huge_pmd(mm, vma, addr, false);
		fl_mutex_unlock(fl_pt_lock(mm, addr));
	}
	end = vma->end;
	fl_vma_lock_file(vma); /* a truncation finds the whole of it, in one piece or in two */
	vma->end = addr;
	upper = fl_vma_insert(mm, addr, end, vma->pgoff + PAGES(addr - vma->start), vma->flags, vma->ctx);
	if (vma->file)
		attach(upper, vma->file, fl_vma_page_index(vma, addr));
	fl_vma_unlock_file(vma);
}

static bool can_merge(const struct fl_vma *a, const struct fl_vma *b)
{
	return a->end == b->start && a->flags == b->flags && a->ctx == b->ctx && fl_vma_continues(a, b) &&
	       a->pgoff + PAGES(a->end - a->start) == b->pgoff;
}

void fl_vma_merge(struct fl_mm *mm, uint64_t start, uint64_t end)
{
	uint32_t i = fl_vma_index(mm, start ? start - 1 : 0);

	while (i + 1 < mm->nr_vmas && mm->vmas[i]->end <= end) {
		if (can_merge(mm->vmas[i], mm->vmas[i + 1])) {
			fl_vma_lock_file(mm->vmas[i]);
			mm->vmas[i]->end = mm->vmas[i + 1]->end;
			fl_vma_unlock_file(mm->vmas[i]);
			table_remove(mm, i + 1);
		} else {
			i++;
		}
	}
}

void fl_vma_remove(struct fl_mm *mm, uint64_t start, uint64_t end)
{
	uint32_t i = fl_vma_index(mm, start);

	while (i < mm->nr_vmas && mm->vmas[i]->start < end)
		table_remove(mm, i);
}
