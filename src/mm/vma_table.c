/* SPDX-License-Identifier: MIT */
/*
 * vma_table.c - the table of mappings: a sorted array, searched by bisection. A process registers few ranges, so
 * copying pointers at an insertion is cheaper than a tree's indirections in every fault.
 *
 * Nothing here fails once fl_vma_reserve() has succeeded: operations first reserve, then change.
 *
 * Faults look into the table without a lock (mmap_lock.c). So it changes between fl_write_seqbegin() and
 * fl_write_seqend(), by whole stores; and neither mappings nor tables are freed while the address space lives: a
 * reader of one that is no longer in use finds something that was one. A mapping is complete before it is in the
 * table.
 */
#include "mm/vma_table.h"

#include "base/alloc.h"

#include <string.h>

/* Sorted by address, with room for more. */
struct fl_vma_table {
	struct fl_vma_table *older;
	uint32_t cap;
	struct fl_vma *vmas[];
};

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
	/* also what is behind the last mapping: a reader may have read the number when it was greater */
	if (mm->vmas)
		memcpy(table->vmas, mm->vmas, mm->cap_vmas * sizeof(*table->vmas));
	table->cap = cap;
	table->older = mm->tables;
	mm->tables = table;
	mm->cap_vmas = cap;
	__atomic_store_n(&mm->vmas, table->vmas, __ATOMIC_RELEASE);
	return 0;
}

/* Spare mappings are chained by their ctx field. */
struct fl_vma *fl_vma_next_spare(const struct fl_vma *vma)
{
	return (struct fl_vma *)(void *)vma->ctx;
}

void fl_vma_put_spare(struct fl_mm *mm, struct fl_vma *vma)
{
	vma->ctx = (struct fl_uffd_ctx *)(void *)mm->spare;
	mm->spare = vma;
	mm->nr_spare++;
}

struct fl_vma *fl_vma_take_spare(struct fl_mm *mm)
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
		fl_vma_put_spare(mm, vma);
	}
	return 0;
}

void fl_vma_table_insert(struct fl_mm *mm, struct fl_vma *vma)
{
	uint32_t at = fl_vma_index(mm, vma->start);

	FL_BUG_ON(mm->nr_vmas == mm->cap_vmas);
	for (uint32_t i = mm->nr_vmas; i > at; i--)
		__atomic_store_n(&mm->vmas[i], mm->vmas[i - 1], __ATOMIC_RELEASE);
	__atomic_store_n(&mm->vmas[at], vma, __ATOMIC_RELEASE);
	__atomic_store_n(&mm->nr_vmas, mm->nr_vmas + 1, __ATOMIC_RELEASE);
}

void fl_vma_table_remove(struct fl_mm *mm, uint32_t at)
{
	for (uint32_t i = at; i + 1 < mm->nr_vmas; i++)
		__atomic_store_n(&mm->vmas[i], mm->vmas[i + 1], __ATOMIC_RELEASE);
	__atomic_store_n(&mm->nr_vmas, mm->nr_vmas - 1, __ATOMIC_RELEASE);
}

void fl_vma_table_free(struct fl_mm *mm)
{
	struct fl_vma_table *table;
	struct fl_vma *vma;

	while ((vma = mm->spare)) {
		mm->spare = fl_vma_next_spare(vma);
		fl_free(&mm->metadata, vma, sizeof(*vma));
	}
	while ((table = mm->tables)) {
		mm->tables = table->older;
		fl_free(&mm->metadata, table, table_size(table->cap));
	}
}
