/* SPDX-License-Identifier: MIT */
/*
 * pgtable.c - four levels of 512 entries. An upper entry is the address of the next table; it goes from 0 to a table
 * by compare-and-swap, so that faults need no lock on the way down, and back to 0 only under mmap_lock for writing.
 */
#include "mm/mm.h"

#include "base/alloc.h"

#define PTRS 512u

static unsigned index_at(uint64_t addr, unsigned shift)
{
	return (unsigned)(addr >> shift) % PTRS;
}

static uint64_t *table_of(uint64_t *entry)
{
	return fl_ptr(__atomic_load_n(entry, __ATOMIC_ACQUIRE));
}

fl_pte_t *fl_pte_offset(const struct fl_mm *mm, uint64_t addr)
{
	uint64_t *table = mm->pgd;

	for (unsigned shift = 39; shift >= PMD_SHIFT; shift -= 9) {
		table = table_of(&table[index_at(addr, shift)]);
		if (!table)
			return NULL;
	}
	return (fl_pte_t *)&table[index_at(addr, PAGE_SHIFT)];
}

/* The table below an entry, made if need be. */
static uint64_t *table_alloc(struct fl_mm *mm, uint64_t *entry)
{
	uint64_t *table = table_of(entry);
	uint64_t none = 0;

	if (likely(table))
		return table;
	table = fl_alloc(&mm->metadata, PAGE_SIZE, FL_FP_PGTABLE);
	if (!table)
		return NULL;
	if (__atomic_compare_exchange_n(entry, &none, fl_addr(table), false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		return table;
	fl_free(&mm->metadata, table, PAGE_SIZE); /* another fault was faster */
	return fl_ptr(none);
}

fl_pte_t *fl_pte_alloc(struct fl_mm *mm, uint64_t addr)
{
	uint64_t *table = mm->pgd;

	for (unsigned shift = 39; table && shift >= PMD_SHIFT; shift -= 9)
		table = table_alloc(mm, &table[index_at(addr, shift)]);
	return table ? (fl_pte_t *)&table[index_at(addr, PAGE_SHIFT)] : NULL;
}

uint64_t fl_pgtable_next(const struct fl_mm *mm, uint64_t addr, uint64_t end)
{
	while (addr < end) {
		uint64_t *table = mm->pgd;
		unsigned shift = 39;

		for (; shift >= PMD_SHIFT; shift -= 9) {
			table = table_of(&table[index_at(addr, shift)]);
			if (!table)
				break;
		}
		if (table)
			return addr;
		addr = ((addr >> shift) + 1) << shift; /* past the hole */
	}
	return end;
}

static bool table_empty(const uint64_t *table)
{
	for (unsigned i = 0; i < PTRS; i++)
		if (table[i])
			return false;
	return true;
}

/* Free what is empty below `table`, whose entries each cover 1 << shift bytes from `base`. */
static void free_level(struct fl_mm *mm, uint64_t *table, unsigned shift, uint64_t base, uint64_t start, uint64_t end)
{
	for (unsigned i = 0; i < PTRS; i++) {
		uint64_t lo = base + ((uint64_t)i << shift), hi = lo + (1ull << shift);
		uint64_t *below = fl_ptr(table[i]);

		if (!below || hi <= start || lo >= end)
			continue;
		if (shift > PMD_SHIFT)
			free_level(mm, below, shift - 9, lo, start, end);
		if (table_empty(below)) {
			table[i] = 0;
			fl_free(&mm->metadata, below, PAGE_SIZE);
		}
	}
}

void fl_free_pgtables(struct fl_mm *mm, uint64_t start, uint64_t end)
{
	free_level(mm, mm->pgd, 39, 0, start, end);
}
