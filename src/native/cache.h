/* SPDX-License-Identifier: MIT */
/* cache.h - the host's page tables as a cache of rights. "=>" states a precondition. */
#ifndef FL_NATIVE_CACHE_H
#define FL_NATIVE_CACHE_H

#include "mm/mm.h"

/* The host's rights for all that a mapping's flags allow, and back. */
int fl_access_prot(uint32_t flags);
static inline uint32_t fl_prot_access(int prot)
{
	return ((prot & PROT_READ) ? VM_READ : 0) | ((prot & PROT_WRITE) ? VM_WRITE : 0) |
	       ((prot & PROT_EXEC) ? VM_EXEC : 0);
}

void fl_native_grant(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr, uint64_t nr, enum fl_right right);
void fl_native_invalidate(struct fl_mm *mm, struct fl_vma *vma, uint64_t start, uint64_t end, enum fl_right max);
bool fl_native_caches(const struct fl_vma *vma, uint64_t addr, enum fl_right right);
/*
 * The mapping's host pages become hidden, with the rights that its flags have now, whatever was there before. A chunk
 * that is not in use needs nothing: it has no rights. -ENOMEM. => mmap_lock held for writing
 */
int fl_native_conform(struct fl_mm *mm, struct fl_vma *vma);
/* Undo it, or what it did before it failed: nothing is hidden. => as above */
void fl_cache_unhide(struct fl_vma *vma);
/*
 * Memory in place. The program's mprotect() of a part, before the flags change: 0, -ENOMEM, or what the host says;
 * all that it allows comes back, where the host still has what was made of it: 0, -ENOMEM. => mmap_lock held for
 * writing
 */
int fl_cache_protect(struct fl_mm *mm, struct fl_vma *vma, uint64_t start, uint64_t end, uint32_t access);
int fl_cache_restore(struct fl_vma *vma);
/* Forget what is cached for pages whose host mapping is about to be replaced or removed. */
void fl_cache_forget(uint64_t pfn, uint64_t nr);
/*
 * Give host mappings back: the program's own call found the table full. Returns whether any were. => mmap_lock held
 */
bool fl_cache_shrink(struct fl_mm *mm);
/*
 * Does the program reach the page for writing? Then the engine's write fault on its host page table is cheaper than
 * the read fault that the program is about to take: the host maps one page for it, not the pages around. => no lock
 * held
 */
bool fl_cache_writable(struct fl_mm *mm, uint64_t addr);
/* How many mappings the host lets the cache have. */
void fl_cache_set_budget(void);
/*
 * Take the write right off / back on the host mapping of everything shown, entries untouched. Around fork(). -ENOMEM:
 * not everything stands still, for which the host had no room.
 */
int fl_cache_freeze(struct fl_mm *mm, bool frozen);

#endif
