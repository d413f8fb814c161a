/* SPDX-License-Identifier: MIT */
/*
 * pgtable.c - four levels of 512 entries. An upper entry is the address of the next table; it goes from 0 to a table
 * by compare-and-swap, so that faults need no lock on the way down, and back to 0 only under mmap_lock for writing,
 * when no mapping that the table could be for is pinned.
 *
 * In the lowest upper level, the PMD, an entry may also be a leaf. It comes and goes under the page-table lock: from
 * 0 and back; to the table that was deposited for it (fl_pmd_split, fl_pmd_to_table); from a table only under
 * mmap_lock for writing (fl_pmd_collapse). So a thread that holds mmap_lock or a pin on the mapping, and has read a
 * table's address, may use the table.
 */
#include "mm/pgtable.h"

#include "base/alloc.h"

#include <string.h>

#define PTRS PTRS_PER_TABLE

static unsigned index_at(uint64_t addr, unsigned shift)
{
	return (unsigned)(addr >> shift) % PTRS;
}

/* The table below an entry of the two topmost levels, which have no leaves. */
static uint64_t *table_of(const uint64_t *entry)
{
	return fl_ptr(entry_read(entry));
}

fl_pmd_t *fl_pmd_offset(const struct fl_mm *mm, uint64_t addr)
{
	uint64_t *table = mm->pgd;

	for (unsigned shift = 39; table && shift > PMD_SHIFT; shift -= 9)
		table = table_of(&table[index_at(addr, shift)]);
	return table ? (fl_pmd_t *)&table[index_at(addr, PMD_SHIFT)] : NULL;
}

fl_pte_t *fl_pte_offset(const struct fl_mm *mm, uint64_t addr)
{
	fl_pmd_t *pmdp = fl_pmd_offset(mm, addr);
	fl_pmd_t pmd = pmdp ? pmdp_get_lockless(pmdp) : (fl_pmd_t){0};

	return pmd_table(pmd) ? pmd_ptes(pmd) + index_at(addr, PAGE_SHIFT) : NULL;
}

fl_pte_t fl_pte_get(const struct fl_mm *mm, uint64_t addr)
{
	fl_pmd_t *pmdp = fl_pmd_offset(mm, addr);
	fl_pmd_t pmd = pmdp ? pmdp_get_lockless(pmdp) : (fl_pmd_t){0};

	if (pmd_none(pmd))
		return (fl_pte_t){0};
	if (pmd_leaf(pmd))
		return pmd_pte_at(pmd, index_at(addr, PAGE_SHIFT));
	return ptep_get(pmd_ptes(pmd) + index_at(addr, PAGE_SHIFT));
}

struct fl_slot fl_slot_at(const struct fl_mm *mm, uint64_t addr)
{
	fl_pmd_t *pmdp = fl_pmd_offset(mm, addr);
	fl_pmd_t pmd = pmdp ? pmdp_get_lockless(pmdp) : (fl_pmd_t){0};

	if (pmd_leaf(pmd))
		return (struct fl_slot){.pmdp = pmdp, .addr = PMD_ALIGN_DOWN(addr), .nr = PTRS};
	if (pmd_none(pmd))
		return (struct fl_slot){0};
	return (struct fl_slot){
		.ptep = pmd_ptes(pmd) + index_at(addr, PAGE_SHIFT), .addr = PAGE_ALIGN_DOWN(addr), .nr = 1};
}

/* ---- making tables ---- */

/* The table below an entry, made if need be. */
static uint64_t *table_alloc(struct fl_mm *mm, uint64_t *entry)
{
	uint64_t *table = table_of(entry);
	uint64_t was;

	if (likely(table))
		return table;
	table = fl_alloc(&mm->metadata, PAGE_SIZE, FL_FP_PGTABLE);
	if (!table)
		return NULL;
	fl_yield_point(entry);
	was = entry_cmpxchg(entry, 0, fl_addr(table));
	if (!was)
		return table;
	fl_free(&mm->metadata, table, PAGE_SIZE); /* another fault was faster */
	return fl_ptr(was);
}

fl_pmd_t *fl_pmd_alloc(struct fl_mm *mm, uint64_t addr)
{
	uint64_t *table = mm->pgd;

	for (unsigned shift = 39; table && shift > PMD_SHIFT; shift -= 9)
		table = table_alloc(mm, &table[index_at(addr, shift)]);
	return table ? (fl_pmd_t *)&table[index_at(addr, PMD_SHIFT)] : NULL;
}

int fl_pte_alloc(struct fl_mm *mm, uint64_t addr)
{
	fl_pmd_t *pmdp = fl_pmd_alloc(mm, addr);

	if (!pmdp)
		return -ENOMEM;
	return pmd_leaf(pmdp_get_lockless(pmdp)) || table_alloc(mm, &pmdp->val) ? 0 : -ENOMEM;
}

/* ---- leaves ---- */

static bool sole_access_to_space(const struct fl_mm *mm)
{
	return !entry_read(&mm->excl_start) && entry_read(&mm->excl_end) == UINT64_MAX;
}

/* The list is of all addresses that share the page-table lock: sole access to one mapping is not enough. */
static uint64_t **deposits(struct fl_mm *mm, uint64_t addr)
{
	FL_BUG_ON(!fl_mutex_is_locked(fl_pt_lock(mm, addr)) && !sole_access_to_space(mm));
	return &mm->deposit[fl_pt_index(addr)];
}

static void deposit(struct fl_mm *mm, uint64_t addr, uint64_t *table)
{
	uint64_t **list = deposits(mm, addr);

	table[0] = fl_addr(*list);
	*list = table;
}

static uint64_t *withdraw(struct fl_mm *mm, uint64_t addr)
{
	uint64_t **list = deposits(mm, addr), *table = *list;

	FL_BUG_ON(!table); /* each leaf has deposited one */
	*list = fl_ptr(table[0]);
	table[0] = 0;
	return table;
}

uint64_t *fl_pgtable_spare(struct fl_mm *mm)
{
	return fl_alloc(&mm->metadata, PAGE_SIZE, FL_FP_PGTABLE);
}

void fl_pgtable_spare_free(struct fl_mm *mm, uint64_t *table)
{
	fl_free(&mm->metadata, table, PAGE_SIZE);
}

bool fl_pmd_set_leaf(struct fl_mm *mm, fl_pmd_t *pmdp, uint64_t addr, fl_pte_t pte, uint64_t *table)
{
	if (entry_cmpxchg(&pmdp->val, 0, pte_pmd(pte).val))
		return false; /* the lock keeps out other leaves, but not a table */
	deposit(mm, addr, table);
	return true;
}

void fl_pmd_clear_leaf(struct fl_mm *mm, fl_pmd_t *pmdp, uint64_t addr)
{
	entry_write(&pmdp->val, 0);
	fl_free(&mm->metadata, withdraw(mm, addr), PAGE_SIZE);
}

void fl_pmd_to_table(struct fl_mm *mm, fl_pmd_t *pmdp, uint64_t addr)
{
	entry_write(&pmdp->val, fl_addr(withdraw(mm, addr)));
}

void fl_pmd_split(struct fl_mm *mm, fl_pmd_t *pmdp, uint64_t addr)
{
	fl_pmd_t leaf = pmdp_get_lockless(pmdp);
	uint64_t *table = withdraw(mm, addr);

	for (unsigned i = 0; i < PTRS; i++)
		table[i] = pmd_pte_at(leaf, i).val;
	entry_write(&pmdp->val, fl_addr(table)); /* after its entries: a reader of the one reads the others */
}

fl_pte_t *fl_pte_split(struct fl_mm *mm, uint64_t addr)
{
	fl_pmd_t *pmdp = fl_pmd_offset(mm, addr);

	if (pmdp && pmd_leaf(pmdp_get_lockless(pmdp)))
		fl_pmd_split(mm, pmdp, addr);
	return fl_pte_offset(mm, addr);
}

void fl_pmd_collapse(struct fl_mm *mm, uint64_t addr, fl_pte_t pte)
{
	fl_pmd_t *pmdp = fl_pmd_offset(mm, addr);
	uint64_t *table = fl_ptr(pmdp->val);

	entry_write(&pmdp->val, pte_pmd(pte).val);
	memset(table, 0, PAGE_SIZE);
	deposit(mm, addr, table);
}

/* ---- walking and freeing ---- */

/* The first entry in use from `*i` on and before `to`, and its index; 0 and `to` if there is none. */
static uint64_t first_used(const uint64_t *table, unsigned *i, unsigned to)
{
	uint64_t entry = 0;

	while (*i < to && !(entry = entry_read(&table[*i])))
		++*i;
	return entry;
}

uint64_t fl_pgtable_next(const struct fl_mm *mm, uint64_t addr, uint64_t end)
{
	const uint64_t *table = mm->pgd;
	unsigned shift = 39;

	while (addr < end) { /* down where there is a table, else along this one, or from the top behind it */
		unsigned at = index_at(addr, shift), i = at;
		uint64_t entry = first_used(table, &i, (unsigned)fl_min(PTRS, at + 1 + ((end - 1 - addr) >> shift)));

		if (i != at)
			addr = ((addr >> shift) - at + i) << shift;
		if (entry && shift == PMD_SHIFT)
			return addr;
		table = entry ? fl_ptr(entry) : mm->pgd;
		shift = entry ? shift - 9 : 39;
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
static void free_level(struct fl_mm *mm, uint64_t *table, unsigned shift, uint64_t base, uint64_t start, uint64_t end,
		       bool (*unused)(const struct fl_mm *mm, uint64_t start, uint64_t end))
{
	for (unsigned i = start > base ? (unsigned)((start - base) >> shift) : 0; i < PTRS; i++) {
		uint64_t lo = base + ((uint64_t)i << shift), hi = lo + (1ull << shift);
		uint64_t entry = entry_read(&table[i]), *below = fl_ptr(entry); /* neighbours may be adding tables */

		if (lo >= end)
			break;
		if (!entry || pmd_leaf((fl_pmd_t){entry}))
			continue;
		if (shift > PMD_SHIFT)
			free_level(mm, below, shift - 9, lo, start, end, unused);
		/* in this order: a fault that is in progress there sets entries */
		if (unused(mm, lo, hi) && table_empty(below)) {
			entry_write(&table[i], 0);
			fl_free(&mm->metadata, below, PAGE_SIZE);
		}
	}
}

void fl_pgtable_free(struct fl_mm *mm, uint64_t start, uint64_t end,
		     bool (*unused)(const struct fl_mm *mm, uint64_t start, uint64_t end))
{
	free_level(mm, mm->pgd, 39, 0, start, end, unused);
}
