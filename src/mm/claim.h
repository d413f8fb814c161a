/* SPDX-License-Identifier: MIT */
/*
 * claim.h - the reasons to watch a range: a userfaultfd object (VM_UFFD), the access sampler (VM_SAMPLED), soft-dirty
 * (once it is tracked). The first claim takes memory over from the host, if there is a host; when none is left the
 * host may have it back. "=>" states a precondition: locks held, signals blocked.
 */
#ifndef FL_MM_CLAIM_H
#define FL_MM_CLAIM_H

#include "mm/vma.h"

/*
 * Does the mapping have no claim? Then nothing is asked of it that the host could not do alone, with the same memory.
 * (The host lacks the memory of a private mapping of a file while some of it is still to be copied.)
 */
static inline bool fl_vma_unclaimed(const struct fl_vma *vma)
{
	return !(vma->flags & (VM_UFFD | VM_SAMPLED)) && !fl_vma_tracked(vma) && vma->kind->host_serves;
}

/*
 * What the host does not have any longer is no mapping of the engine's either: before what the tables say of the
 * range is acted on. -ENOMEM: some is left. => mmap_lock held for writing
 */
int fl_claim_verify(struct fl_mm *mm, uint64_t start, uint64_t end);
/*
 * Is anything mapped in the range, and can all of it be claimed? What is gone is forgotten. 0, -EINVAL, -ENOMEM.
 * => mmap_lock held for writing
 */
int fl_claim_fits(struct fl_mm *mm, uint64_t start, uint64_t end);
/* Does the host have a mapping in [start, end), which is outside all of the engine's? => mmap_lock held */
bool fl_claim_hosts(struct fl_mm *mm, uint64_t start, uint64_t end);
/*
 * All of the range becomes memory that the engine watches, with two reserved for its borders; the caller then sets on
 * the mappings what for, which `claim` says already: flags of VM_UFFD, VM_SAMPLED, 0 for soft-dirty. What needs no
 * frames may stay in place (VM_IN_PLACE). `may`, if not NULL, is asked before anything changes. 0, -EINVAL, its
 * answer, -ENOMEM or what the backend returns, with nothing changed for the program. => mmap_lock held for writing
 */
int fl_claim_range(struct fl_mm *mm, uint64_t start, uint64_t end, uint32_t claim,
		   int (*may)(void *arg, uint64_t start, uint64_t end), void *arg);
/*
 * Bring the entries of [start, end), a part of one mapping, up to date with what is present: in place, the host knows
 * it. 0, -ENOMEM, or what the backend returns. => mapping pinned or mmap_lock held, page-table locks not held
 */
static inline int fl_claim_look(struct fl_mm *mm, struct fl_vma *vma, uint64_t start, uint64_t end)
{
	return (vma->flags & VM_IN_PLACE) ? mm->ops->claims->look(mm, vma, start, end) : 0;
}

/*
 * Claims on mappings of [start, end) have ended. The backend may take those that have none left, and those that are
 * alike merge. => mmap_lock held for writing; the borders were split
 */
void fl_unclaim(struct fl_mm *mm, uint64_t start, uint64_t end);
/*
 * Memory in place of [start, end), with what each mapping has of the same 2 MiB, gets frames, and what its pages hold
 * goes there; the mappings are no longer VM_IN_PLACE. 0, or -ENOMEM, with nothing changed for the program. => no lock
 * held, no mapping pinned, signals blocked
 */
int fl_take_over(struct fl_mm *mm, uint64_t start, uint64_t end);

#endif
