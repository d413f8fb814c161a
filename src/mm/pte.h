/* SPDX-License-Identifier: MIT */
/*
 * pte.h - what a page-table entry can be, in named constructors and predicates. Only this header knows the bits.
 *
 *   none       0
 *   present    frame << 12 | flags                      grants rights, unless it has the hint
 *   swap       slot << 12  | SWAP | kept flags          the contents are in a slot of the swap area
 *   migration  frame << 12 | MIGRATION | kept flags     the contents are on their way to another frame
 *   marker     MARKER | UFFD_WP                         no page; the next one there will be write-protected
 *              MARKER | GUARD                           no page, by the program's advice: an access is SIGSEGV
 *
 * Kept flags are uffd-wp, soft-dirty and dirty: they stand at the same place in each kind, and come back with the
 * page. A migration entry also keeps what the access sampler has set and noted: the page has not been away. A leaf
 * among the PMD entries is a present entry with one bit more, for 512 consecutive frames: the functions here serve
 * both. So what holds for one level holds for the other.
 *
 * An entry with uffd-wp is never writable: pte_mkuffd_wp() clears the write bit, pte_mkwrite() refuses to set it. An
 * entry with the hint grants nothing, and is never writable either: the hint can take rights, not give them.
 */
#ifndef FL_MM_PTE_H
#define FL_MM_PTE_H

#include "mm/types.h"

#define PTE_PRESENT    (1ull << 0)
#define PTE_WRITE      (1ull << 1)
#define PTE_KIND       (3ull << 2) /* of an entry that is not present */
#define PTE_SWAP       (1ull << 2)
#define PTE_MIGRATION  (2ull << 2)
#define PTE_MARKER     (3ull << 2)
#define PTE_HINT       (1ull << 4)
#define PTE_YOUNG      (1ull << 5)
#define PTE_DIRTY      (1ull << 6)
#define PTE_LEAF       (1ull << 7) /* among PMD entries */
#define PTE_ZERO       (1ull << 8) /* zero-filled, and no write was requested */
#define PTE_UNASKED    (1ull << 9) /* a leaf that the program has not asked for: it must not show */
#define PTE_UFFD_WP    (1ull << 10)
#define PTE_SOFT_DIRTY (1ull << 11)
#define PTE_GUARD      (1ull << 12) /* of a marker */
#define PTE_PFN	       0x000ffffffffff000ull
#define PTE_KEPT       (PTE_UFFD_WP | PTE_SOFT_DIRTY | PTE_DIRTY)
#define PTE_SAMPLER    (PTE_HINT | PTE_YOUNG)

#define PTRS_PER_TABLE 512u

/* ---- what it is ---- */

static inline bool pte_none(fl_pte_t p)
{
	return p.val == 0;
}

static inline bool pte_present(fl_pte_t p)
{
	return p.val & PTE_PRESENT;
}

static inline bool pte_is(fl_pte_t p, uint64_t kind)
{
	return !pte_present(p) && (p.val & PTE_KIND) == kind;
}

static inline bool pte_swap(fl_pte_t p)
{
	return pte_is(p, PTE_SWAP);
}

static inline bool pte_migration(fl_pte_t p)
{
	return pte_is(p, PTE_MIGRATION);
}

static inline bool pte_marker(fl_pte_t p)
{
	return pte_is(p, PTE_MARKER);
}

static inline bool pte_guard(fl_pte_t p)
{
	return pte_marker(p) && (p.val & PTE_GUARD);
}

/* No page behind it: none, or a marker for the next page. */
static inline bool pte_no_page(fl_pte_t p)
{
	return pte_none(p) || pte_marker(p);
}

static inline bool pte_write(fl_pte_t p)
{
	return (p.val & (PTE_PRESENT | PTE_WRITE)) == (PTE_PRESENT | PTE_WRITE);
}

static inline bool pte_uffd_wp(fl_pte_t p)
{
	return p.val & PTE_UFFD_WP;
}

static inline bool pte_soft_dirty(fl_pte_t p)
{
	return p.val & PTE_SOFT_DIRTY;
}

static inline bool pte_dirty(fl_pte_t p)
{
	return p.val & PTE_DIRTY;
}

static inline bool pte_young(fl_pte_t p)
{
	return p.val & PTE_YOUNG;
}

static inline bool pte_hint(fl_pte_t p)
{
	return pte_present(p) && (p.val & PTE_HINT);
}

/* The frame, or of a swap entry the slot. */
static inline uint64_t pte_pfn(fl_pte_t p)
{
	return (p.val & PTE_PFN) >> PAGE_SHIFT;
}

/* ---- one made from another ---- */

static inline fl_pte_t pte_wrprotect(fl_pte_t p)
{
	return (fl_pte_t){p.val & ~PTE_WRITE};
}

static inline fl_pte_t pte_mkuffd_wp(fl_pte_t p)
{
	return pte_wrprotect((fl_pte_t){p.val | PTE_UFFD_WP});
}

static inline fl_pte_t pte_clear_uffd_wp(fl_pte_t p)
{
	return (fl_pte_t){p.val & ~PTE_UFFD_WP};
}

static inline fl_pte_t pte_mkyoung(fl_pte_t p)
{
	return (fl_pte_t){p.val | PTE_YOUNG};
}

static inline fl_pte_t pte_mkold(fl_pte_t p)
{
	return (fl_pte_t){p.val & ~PTE_YOUNG};
}

/* It is written to, so it is no longer a page of zeros. */
static inline fl_pte_t pte_mkwritten(fl_pte_t p)
{
	return (fl_pte_t){(p.val | PTE_DIRTY | PTE_SOFT_DIRTY) & ~PTE_ZERO};
}

static inline fl_pte_t pte_mkdirty(fl_pte_t p)
{
	return (fl_pte_t){p.val | PTE_DIRTY | PTE_SOFT_DIRTY};
}

static inline fl_pte_t pte_mkzero(fl_pte_t p)
{
	return (fl_pte_t){p.val | PTE_ZERO};
}

static inline bool pte_zero(fl_pte_t p)
{
	return p.val & PTE_ZERO;
}

static inline fl_pte_t pte_clear_soft_dirty(fl_pte_t p)
{
	return (fl_pte_t){p.val & ~PTE_SOFT_DIRTY};
}

static inline fl_pte_t pte_mkhint(fl_pte_t p)
{
	return pte_wrprotect((fl_pte_t){p.val | PTE_HINT});
}

static inline fl_pte_t pte_clear_hint(fl_pte_t p)
{
	return (fl_pte_t){p.val & ~PTE_HINT};
}

/* Stores that it lets through go unnoticed, so from now on it counts as dirty. */
static inline fl_pte_t pte_mkwrite(fl_pte_t p)
{
	return (p.val & (PTE_UFFD_WP | PTE_HINT)) ? p : pte_mkdirty((fl_pte_t){p.val | PTE_WRITE});
}

/* The same page in another frame. */
static inline fl_pte_t pte_set_pfn(fl_pte_t p, uint64_t pfn)
{
	return (fl_pte_t){(p.val & ~PTE_PFN) | pfn << PAGE_SHIFT};
}

/* A present entry for a frame, with the flags that a swap or migration entry has kept; it grants no writing. */
static inline fl_pte_t pte_present_again(uint64_t pfn, fl_pte_t p)
{
	return (fl_pte_t){pfn << PAGE_SHIFT | PTE_PRESENT | (p.val & (PTE_KEPT | PTE_SAMPLER))};
}

static inline fl_pte_t mk_swap_pte(uint64_t slot, fl_pte_t p)
{
	return (fl_pte_t){slot << PAGE_SHIFT | PTE_SWAP | (p.val & PTE_KEPT)};
}

static inline fl_pte_t mk_migration_pte(fl_pte_t p)
{
	return (fl_pte_t){(p.val & (PTE_PFN | PTE_KEPT | PTE_SAMPLER)) | PTE_MIGRATION};
}

static inline fl_pte_t pte_wp_marker(void)
{
	return (fl_pte_t){PTE_MARKER | PTE_UFFD_WP};
}

static inline fl_pte_t pte_guard_marker(void)
{
	return (fl_pte_t){PTE_MARKER | PTE_GUARD};
}

/* An existing entry with the rights of its mapping's vm_page_prot in place of its own. */
static inline fl_pte_t pte_set_prot(fl_pte_t p, const struct fl_vma *vma)
{
	return (vma->vm_page_prot & VM_WRITE) ? pte_mkwrite(p) : pte_wrprotect(p);
}

/* A present entry for a frame: what the mapping grants, which is all that is known of the page as yet. */
static inline fl_pte_t pte_make(uint64_t pfn, const struct fl_vma *vma)
{
	return pte_set_prot((fl_pte_t){pfn << PAGE_SHIFT | PTE_PRESENT}, vma);
}

/* ---- PMD entries ---- */

static inline bool pmd_none(fl_pmd_t d)
{
	return d.val == 0;
}

static inline bool pmd_leaf(fl_pmd_t d)
{
	return (d.val & (PTE_PRESENT | PTE_LEAF)) == (PTE_PRESENT | PTE_LEAF);
}

static inline bool pmd_table(fl_pmd_t d)
{
	return d.val && !pmd_leaf(d);
}

static inline fl_pte_t *pmd_ptes(fl_pmd_t d)
{
	return fl_ptr(d.val);
}

/* A leaf as the entry that it is, and back. */
static inline fl_pte_t pmd_pte(fl_pmd_t d)
{
	return (fl_pte_t){d.val & ~PTE_LEAF};
}

static inline bool pte_unasked(fl_pte_t p)
{
	return p.val & PTE_UNASKED;
}

static inline fl_pmd_t pte_pmd(fl_pte_t p)
{
	return (fl_pmd_t){p.val | PTE_LEAF};
}

/* The entry that a leaf is for the ith of its pages. */
static inline fl_pte_t pmd_pte_at(fl_pmd_t d, unsigned i)
{
	return (fl_pte_t){(d.val & ~(PTE_LEAF | PTE_UNASKED)) + ((uint64_t)i << PAGE_SHIFT)};
}

#endif
