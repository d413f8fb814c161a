/* SPDX-License-Identifier: MIT */
/* right.h - what a mapping allows, and what its entries grant. */
#ifndef FL_MM_RIGHT_H
#define FL_MM_RIGHT_H

#include "mm/mmu.h"
#include "mm/pte.h"

/* What the program may do there, of VM_ACCESS: x86 has no write-only pages. */
static inline uint32_t fl_vma_access(const struct fl_vma *vma)
{
	return (vma->flags & VM_ACCESS) | ((vma->flags & VM_WRITE) ? VM_READ : 0);
}

/* Must stores to clean pages be noticed, for soft-dirty? Only once the program has cleared it. */
static inline bool fl_vma_tracked(const struct fl_vma *vma)
{
	return !(vma->flags & VM_SOFTDIRTY);
}

/*
 * Is it memory in place that the program must not reach, since a page may be missing? What its entries say comes true
 * when the memory is taken over: fl_take_over().
 */
static inline bool fl_vma_hidden(const struct fl_vma *vma)
{
	const uint32_t mask = VM_IN_PLACE | VM_UFFD_MISSING | VM_WHOLE;

	return (vma->flags & mask) == (VM_IN_PLACE | VM_UFFD_MISSING);
}

/*
 * The right to pages without an entry: none, but of memory in place, of which the host has the pages, what the
 * mapping allows, unless missing pages are to be told of or stores to be noted.
 */
static inline enum fl_right fl_absent_right(const struct fl_vma *vma)
{
	if (!(vma->flags & VM_IN_PLACE) || fl_vma_hidden(vma) || !fl_vma_access(vma))
		return FL_RIGHT_NONE;
	return (vma->flags & VM_WRITE) && !fl_vma_tracked(vma) ? FL_RIGHT_WRITE : FL_RIGHT_READ;
}

/* The right that an entry grants. */
static inline enum fl_right pte_right(fl_pte_t p, const struct fl_vma *vma)
{
	if (fl_vma_hidden(vma))
		return FL_RIGHT_NONE;
	if (pte_none(p))
		return fl_absent_right(vma);
	if (pte_guard(p))
		return FL_RIGHT_NONE;
	if (pte_marker(p))
		return fl_min(fl_absent_right(vma), FL_RIGHT_READ);
	if (!pte_present(p) || pte_hint(p) || !fl_vma_access(vma))
		return FL_RIGHT_NONE;
	return pte_write(p) ? FL_RIGHT_WRITE : FL_RIGHT_READ;
}

#endif
