/* SPDX-License-Identifier: MIT */
/*
 * pgtable.h - page tables: the way from an address to its entry, tables and leaves made, split and collapsed. "=>"
 * states a precondition: locks held, signals blocked. Where it asks for mmap_lock, though not for writing, a pin on
 * the mapping is enough.
 */
#ifndef FL_MM_PGTABLE_H
#define FL_MM_PGTABLE_H

#include "mm/pte.h"

static inline unsigned fl_pt_index(uint64_t addr)
{
	return (unsigned)(addr >> PMD_SHIFT) % FL_PT_LOCKS;
}

static inline struct fl_mutex *fl_pt_lock(struct fl_mm *mm, uint64_t addr)
{
	return &mm->pt_lock[fl_pt_index(addr)];
}

/* The only reads of a PMD entry: whole, with or without the lock. => mmap_lock held */
static inline fl_pmd_t pmdp_get_lockless(const fl_pmd_t *p)
{
	return (fl_pmd_t){entry_read(&p->val)};
}

/* The same for an entry of the lowest level. */
static inline fl_pte_t ptep_get(const fl_pte_t *p)
{
	return (fl_pte_t){entry_read(&p->val)};
}

static inline void set_pte(fl_pte_t *p, fl_pte_t v)
{
	entry_write(&p->val, v.val);
}

/* The PMD entry of addr, or NULL if its table does not exist. => mmap_lock held */
fl_pmd_t *fl_pmd_offset(const struct fl_mm *mm, uint64_t addr);
/* The same, creating tables. NULL: no memory. => mmap_lock held */
fl_pmd_t *fl_pmd_alloc(struct fl_mm *mm, uint64_t addr);
/* The entry of addr; NULL if there is no table, or a leaf in its place. => mmap_lock held */
fl_pte_t *fl_pte_offset(const struct fl_mm *mm, uint64_t addr);
/* Make sure that addr has a table or a leaf. 0, -ENOMEM. => mmap_lock held, no page-table lock */
int fl_pte_alloc(struct fl_mm *mm, uint64_t addr);
/* What the tables say of a page, at either level. => mmap_lock held; page-table lock, or it may change at once */
fl_pte_t fl_pte_get(const struct fl_mm *mm, uint64_t addr);

/* An entry of either level, and the pages that it is for. `nr` is 0 where there is none. */
struct fl_slot {
	fl_pmd_t *pmdp; /* a leaf */
	fl_pte_t *ptep; /* or an entry of a table */
	uint64_t addr;	/* of its first page */
	unsigned nr;
};

/* => mmap_lock and page-table lock held, as for all below */
struct fl_slot fl_slot_at(const struct fl_mm *mm, uint64_t addr);

static inline fl_pte_t slot_get(const struct fl_slot *s)
{
	return s->pmdp ? pmd_pte(pmdp_get_lockless(s->pmdp)) : ptep_get(s->ptep);
}

static inline void slot_set(const struct fl_slot *s, fl_pte_t pte)
{
	if (s->pmdp)
		entry_write(&s->pmdp->val, pte_pmd(pte).val);
	else
		set_pte(s->ptep, pte);
}

/* A table for a leaf to deposit, allocated before the locks are taken. NULL: no memory */
uint64_t *fl_pgtable_spare(struct fl_mm *mm);
void fl_pgtable_spare_free(struct fl_mm *mm, uint64_t *table);
/*
 * Leaves. Their tables are deposited on a list that all addresses of one page-table lock share, so sole access to a
 * mapping does not stand in for the lock here; sole access to the whole space does. This is asserted.
 */

/* Put a leaf where nothing is; the table is deposited. false: another thread has put a table there. */
bool fl_pmd_set_leaf(struct fl_mm *mm, fl_pmd_t *pmdp, uint64_t addr, fl_pte_t pte, uint64_t *table);
/* Take a leaf out, and free its deposit. */
void fl_pmd_clear_leaf(struct fl_mm *mm, fl_pmd_t *pmdp, uint64_t addr);
/* The deposit, which is empty, takes the place of a leaf. */
void fl_pmd_to_table(struct fl_mm *mm, fl_pmd_t *pmdp, uint64_t addr);
/* A leaf becomes a table of 512 entries that say the same: it cannot fail. */
void fl_pmd_split(struct fl_mm *mm, fl_pmd_t *pmdp, uint64_t addr);
/* The entry of addr in a table, after a split if need be. NULL: neither table nor leaf */
fl_pte_t *fl_pte_split(struct fl_mm *mm, uint64_t addr);
/* A table becomes a leaf: `pte` is its first page's. => mmap_lock held for writing */
void fl_pmd_collapse(struct fl_mm *mm, uint64_t addr, fl_pte_t pte);

/* The first address >= addr that has a table or a leaf, or end. For walks over sparse ranges. => mmap_lock held */
uint64_t fl_pgtable_next(const struct fl_mm *mm, uint64_t addr, uint64_t end);
/*
 * Free the tables of [start, end) that hold no entries and that `unused` says no thread is about to use.
 * => mmap_lock held for writing
 */
void fl_pgtable_free(struct fl_mm *mm, uint64_t start, uint64_t end,
		     bool (*unused)(const struct fl_mm *mm, uint64_t start, uint64_t end));

/*
 * Visit what [start, end) has, 2 MiB at a time: [addr, next) is its part of them. The body takes the page-table lock.
 */
#define fl_for_each_pmd(mm, addr, next, start, end)                                                                  \
	for (uint64_t addr = fl_pgtable_next(mm, start, end), next;                                                  \
	     addr < (end) && (next = fl_min(PMD_ALIGN_DOWN(addr) + PMD_SIZE, end), true);                            \
	     addr = fl_pgtable_next(mm, next, end))

#endif
