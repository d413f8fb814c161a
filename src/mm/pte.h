/* SPDX-License-Identifier: MIT */
/*
 * pte.h - what a page-table entry can be, in named constructors and predicates. Nobody else knows the bits.
 *
 *   none      0
 *   present   pfn << 12 | flags
 *
 * An entry with uffd-wp is never writable: pte_mkuffd_wp() takes the write bit away, pte_mkwrite() refuses to set it.
 */
#ifndef FL_MM_PTE_H
#define FL_MM_PTE_H

#include "mm/mm_types.h"

#define PTE_PRESENT (1ull << 0)
#define PTE_WRITE   (1ull << 1)
#define PTE_YOUNG   (1ull << 5)
#define PTE_DIRTY   (1ull << 6)
#define PTE_UFFD_WP (1ull << 10)
#define PTE_PFN	    0x000ffffffffff000ull

static inline bool pte_none(fl_pte_t p)
{
	return p.val == 0;
}

static inline bool pte_present(fl_pte_t p)
{
	return p.val & PTE_PRESENT;
}

static inline bool pte_write(fl_pte_t p)
{
	return p.val & PTE_WRITE;
}

static inline bool pte_uffd_wp(fl_pte_t p)
{
	return p.val & PTE_UFFD_WP;
}

static inline uint64_t pte_pfn(fl_pte_t p)
{
	return (p.val & PTE_PFN) >> PAGE_SHIFT;
}

static inline fl_pte_t pte_mkwrite(fl_pte_t p)
{
	return pte_uffd_wp(p) ? p : (fl_pte_t){ p.val | PTE_WRITE };
}

static inline fl_pte_t pte_wrprotect(fl_pte_t p)
{
	return (fl_pte_t){ p.val & ~PTE_WRITE };
}

static inline fl_pte_t pte_mkuffd_wp(fl_pte_t p)
{
	return pte_wrprotect((fl_pte_t){ p.val | PTE_UFFD_WP });
}

static inline fl_pte_t pte_clear_uffd_wp(fl_pte_t p)
{
	return (fl_pte_t){ p.val & ~PTE_UFFD_WP };
}

static inline fl_pte_t pte_mkyoung(fl_pte_t p)
{
	return (fl_pte_t){ p.val | PTE_YOUNG };
}

static inline fl_pte_t pte_mkdirty(fl_pte_t p)
{
	return (fl_pte_t){ p.val | PTE_DIRTY };
}

/* A present entry for a frame of a mapping; writable when the mapping's vm_page_prot allows it. */
static inline fl_pte_t mk_pte(uint64_t pfn, const struct fl_vma *vma)
{
	fl_pte_t p = { pfn << PAGE_SHIFT | PTE_PRESENT };

	return (vma->vm_page_prot & VM_WRITE) ? pte_mkwrite(p) : p;
}

#endif
