/* SPDX-License-Identifier: MIT */
/*
 * vma.c - the table of mappings: a sorted array, found in by bisection. A process registers few ranges, so the
 * copying of pointers at an insertion is cheaper than a tree's indirections in every fault.
 *
 * Nothing here fails once fl_vma_reserve() has succeeded: operations first reserve, then change.
 *
 * Faults look into the table without a lock (mmap_lock.c). So it changes between fl_write_seqbegin() and
 * fl_write_seqend(), by whole stores; and neither mappings nor tables are given back while the address space lives:
 * who looks at one that is no more finds something that was one. A mapping is complete before it is in the table.
 */
#include "mm/file.h"
#include "mm/mm.h"

#include "base/alloc.h"

#include <string.h>

/*
 * Does somebody want to be asked before a page may be written? Copy-on-write, for all private memory; a write-protect
 * registration; soft-dirty, once it is tracked.
 */
static bool notes_writes(uint32_t flags)
{
	return !(flags & VM_SHARED) || (flags & VM_UFFD_WP) || !(flags & VM_SOFTDIRTY);
}

uint32_t fl_vm_page_prot(uint32_t flags)
{
	uint32_t prot = flags & VM_ACCESS;

	if (prot & VM_WRITE)
		prot |= VM_READ; /* x86 has no write-only pages */
	return notes_writes(flags) ? prot & ~VM_WRITE : prot;
}

/* Sorted by address, with room for more. */
struct fl_vma_table {
	struct fl_vma_table *older;
	uint32_t cap;
	struct fl_vma *vmas[];
};

static void set(struct fl_vma *vma, uint32_t flags, struct fl_uffd_ctx *ctx)
{
	fl_vma_lock_file(vma); /* who fills a file's holes looks whether anybody waits for them */
	vma->flags = flags;
	vma->vm_page_prot = fl_vm_page_prot(flags);
	vma->ctx = (flags & VM_UFFD) ? ctx : NULL;
	fl_vma_unlock_file(vma);
}

void fl_vma_set(struct fl_vma *vma, uint32_t flags, struct fl_uffd_ctx *ctx)
{
	FL_BUG_ON(!fl_vma_excluded(vma));
	set(vma, flags, ctx);
}

uint32_t fl_vma_index(const struct fl_mm *mm, uint64_t addr)
{
	/* the number first: a table that is read afterwards has at least as many */
	uint32_t lo = 0, hi = __atomic_load_n(&mm->nr_vmas, __ATOMIC_ACQUIRE);
	struct fl_vma **vmas = __atomic_load_n(&mm->vmas, __ATOMIC_ACQUIRE);

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (entry_read(&__atomic_load_n(&vmas[mid], __ATOMIC_ACQUIRE)->end) <= addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

struct fl_vma *fl_find_vma(const struct fl_mm *mm, uint64_t addr)
{
	uint32_t i = fl_vma_index(mm, addr);

	if (i >= __atomic_load_n(&mm->nr_vmas, __ATOMIC_ACQUIRE))
		return NULL;
	return __atomic_load_n(&__atomic_load_n(&mm->vmas, __ATOMIC_ACQUIRE)[i], __ATOMIC_ACQUIRE);
}

struct fl_vma *fl_vma_lookup(const struct fl_mm *mm, uint64_t addr)
{
	struct fl_vma *vma = fl_find_vma(mm, addr);

	return vma && entry_read(&vma->start) <= addr ? vma : NULL;
}

static size_t table_size(uint32_t cap)
{
	return sizeof(struct fl_vma_table) + cap * sizeof(struct fl_vma *);
}

static int grow_table(struct fl_mm *mm, uint32_t need)
{
	uint32_t cap = mm->cap_vmas ? mm->cap_vmas : 32;
	struct fl_vma_table *table;

	while (cap < need)
		cap *= 2;
	if (cap == mm->cap_vmas)
		return 0;
	table = fl_alloc(&mm->metadata, table_size(cap), FL_FP_VMA_TABLE);
	if (!table)
		return -ENOMEM;
	/* also what is behind the last mapping: somebody may have read the number when it was greater */
	if (mm->vmas)
		memcpy(table->vmas, mm->vmas, mm->cap_vmas * sizeof(*table->vmas));
	table->cap = cap;
	table->older = mm->tables;
	mm->tables = table;
	mm->cap_vmas = cap;
	__atomic_store_n(&mm->vmas, table->vmas, __ATOMIC_RELEASE);
	return 0;
}

void fl_vma_free_tables(struct fl_mm *mm)
{
	struct fl_vma_table *table;

	while ((table = mm->tables)) {
		mm->tables = table->older;
		fl_free(&mm->metadata, table, table_size(table->cap));
	}
}

/* Spare mappings are chained by their ctx field. */
struct fl_vma *fl_vma_next_spare(const struct fl_vma *vma)
{
	return (struct fl_vma *)(void *)vma->ctx;
}

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
	mm->spare = fl_vma_next_spare(vma);
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
		fl_rwlock_init(&vma->cache_lock, FL_RANK_BACKEND);
		put_spare(mm, vma);
	}
	return 0;
}

/* => between fl_write_seqbegin() and fl_write_seqend(), as for the next */
static void table_insert(struct fl_mm *mm, struct fl_vma *vma)
{
	uint32_t at = fl_vma_index(mm, vma->start);

	FL_BUG_ON(mm->nr_vmas == mm->cap_vmas);
	for (uint32_t i = mm->nr_vmas; i > at; i--)
		__atomic_store_n(&mm->vmas[i], mm->vmas[i - 1], __ATOMIC_RELEASE);
	__atomic_store_n(&mm->vmas[at], vma, __ATOMIC_RELEASE);
	__atomic_store_n(&mm->nr_vmas, mm->nr_vmas + 1, __ATOMIC_RELEASE);
}

static void table_remove(struct fl_mm *mm, uint32_t at)
{
	for (uint32_t i = at; i + 1 < mm->nr_vmas; i++)
		__atomic_store_n(&mm->vmas[i], mm->vmas[i + 1], __ATOMIC_RELEASE);
	__atomic_store_n(&mm->nr_vmas, mm->nr_vmas - 1, __ATOMIC_RELEASE);
}

/* It is in no table any more. */
static void vma_free(struct fl_mm *mm, struct fl_vma *vma)
{
	fl_vma_set_file(vma, NULL, 0);
	put_spare(mm, vma);
}

/* Complete but for its file, and in no table yet. Whoever looks at the table from an earlier time may look at it. */
static struct fl_vma *vma_new(struct fl_mm *mm, uint64_t start, uint64_t end, uint64_t pgoff, uint32_t flags,
			      struct fl_uffd_ctx *ctx)
{
	struct fl_vma *vma = take_spare(mm);

	entry_write(&vma->start, start);
	entry_write(&vma->end, end);
	vma->pgoff = pgoff;
	vma->mm = mm;
	vma->file = NULL;
	vma->index = vma->unmapped = 0;
	fl_list_init(&vma->by_file);
	set(vma, flags, ctx);
	return vma;
}

struct fl_vma *fl_vma_insert(struct fl_mm *mm, uint64_t start, uint64_t end, uint64_t pgoff, uint32_t flags,
			     struct fl_uffd_ctx *ctx)
{
	struct fl_vma *vma = vma_new(mm, start, end, pgoff, flags, ctx);

	FL_BUG_ON(!fl_vma_excluded(vma));
	fl_write_seqbegin(&mm->vma_seq);
	table_insert(mm, vma);
	fl_write_seqend(&mm->vma_seq);
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

	if (!vma || vma->start == addr)
		return;
	FL_BUG_ON(!fl_vma_excluded(vma));
	if (addr & ~PMD_MASK) { /* a leaf lies inside one mapping */
		fl_mutex_lock(fl_pt_lock(mm, addr));
		fl_leaf_break(mm, vma, addr, false);
		fl_mutex_unlock(fl_pt_lock(mm, addr));
	}
	upper = vma_new(mm, addr, vma->end, vma->pgoff + PAGES(addr - vma->start), vma->flags, vma->ctx);
	fl_vma_lock_file(vma); /* a truncation finds the whole of it, in one piece or in two */
	if (vma->file)
		attach(upper, vma->file, fl_vma_page_index(vma, addr));
	fl_write_seqbegin(&mm->vma_seq);
	entry_write(&vma->end, addr);
	table_insert(mm, upper);
	fl_write_seqend(&mm->vma_seq);
	fl_vma_unlock_file(vma);
}

static bool can_merge(const struct fl_vma *a, const struct fl_vma *b)
{
	return a->end == b->start && a->flags == b->flags && a->ctx == b->ctx && fl_vma_continues(a, b) &&
	       a->pgoff + PAGES(a->end - a->start) == b->pgoff;
}

/* One of the two may lie outside of what is being changed, with faults at work in it. */
static void merge_at(struct fl_mm *mm, uint32_t i)
{
	struct fl_vma *vma = mm->vmas[i], *upper = mm->vmas[i + 1];

	fl_mmap_exclude(mm, vma->start, upper->end);
	fl_vma_lock_file(vma);
	fl_write_seqbegin(&mm->vma_seq);
	entry_write(&vma->end, upper->end);
	table_remove(mm, i + 1);
	fl_write_seqend(&mm->vma_seq);
	fl_vma_unlock_file(vma);
	vma_free(mm, upper);
}

void fl_vma_merge(struct fl_mm *mm, uint64_t start, uint64_t end)
{
	uint32_t i = fl_vma_index(mm, start ? start - 1 : 0);

	while (i + 1 < mm->nr_vmas && mm->vmas[i]->end <= end) {
		if (can_merge(mm->vmas[i], mm->vmas[i + 1]))
			merge_at(mm, i);
		else
			i++;
	}
}

void fl_vma_remove(struct fl_mm *mm, uint64_t start, uint64_t end)
{
	uint32_t i = fl_vma_index(mm, start);

	while (i < mm->nr_vmas && mm->vmas[i]->start < end) {
		struct fl_vma *vma = mm->vmas[i];

		FL_BUG_ON(!fl_vma_excluded(vma));
		fl_write_seqbegin(&mm->vma_seq);
		table_remove(mm, i);
		fl_write_seqend(&mm->vma_seq);
		vma_free(mm, vma);
	}
}
