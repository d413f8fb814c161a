/* SPDX-License-Identifier: MIT */
/*
 * protect.h - the rights of entries that exist: how they change, and when an entry may become writable.
 * "=>" states a precondition: locks held, signals blocked.
 */
#ifndef FL_MM_PROTECT_H
#define FL_MM_PROTECT_H

#include "mm/pte.h"
#include "mm/types.h"

/*
 * May a present entry that is not writable become so unnoticed? The mapping allows writing, neither a write-protect
 * fault nor a hint is set there, and soft-dirty need not note the store; and a private page is this entry's alone, a
 * shared one is dirty already. `nr`: 512 for a leaf.
 */
bool fl_can_change_pte_writable(const struct fl_mm *mm, const struct fl_vma *vma, fl_pte_t pte, unsigned nr);
/* The entry, writable if it may be. */
static inline fl_pte_t fl_pte_upgrade(const struct fl_mm *mm, const struct fl_vma *vma, fl_pte_t pte, unsigned nr)
{
	return fl_can_change_pte_writable(mm, vma, pte, nr) ? pte_mkwrite(pte) : pte;
}

#define MM_CP_UFFD_WP		  0x1u	/* set uffd-wp */
#define MM_CP_UFFD_WP_RESOLVE	  0x2u	/* clear uffd-wp */
#define MM_CP_UFFD_WP_MARKERS	  0x4u	/* with the first: also where no page is, by markers */
#define MM_CP_TRY_CHANGE_WRITABLE 0x8u	/* what may be writable becomes so now; otherwise at the next store */
#define MM_CP_PROT_NUMA		  0x10u /* set the hint: all rights go */
#define MM_CP_CLEAR_SOFT_DIRTY	  0x20u

/*
 * Bring the entries of a range of one mapping in line with vma->vm_page_prot and the flags, and tell the backend.
 * Returns the number of pages changed; -ENOMEM, with what comes before the failure changed, if a page table for
 * markers cannot be had: the same call succeeds later. => mmap_lock held (for writing if vm_page_prot changed);
 * page-table locks not held
 */
int64_t fl_change_protection(struct fl_mm *mm, struct fl_vma *vma, uint64_t start, uint64_t end, uint32_t cp_flags);
/*
 * Register with `uffd_flags` of VM_UFFD, for ctx; 0, NULL: unregister. Where the mapping is no longer registered for
 * write-protection, entries lose it, and the right to write comes back to those that may have it.
 * => mmap_lock held for writing
 */
void fl_vma_set_uffd(struct fl_mm *mm, struct fl_vma *vma, uint32_t uffd_flags, struct fl_uffd_ctx *ctx);

#endif
