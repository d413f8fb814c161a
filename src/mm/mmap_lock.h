/* SPDX-License-Identifier: MIT */
/*
 * mmap_lock.h - who may change mappings, and how a fault pins the one that it is in (mmap_lock.c has the theory).
 * "=>" states a precondition: locks held, signals blocked.
 */
#ifndef FL_MM_MMAP_LOCK_H
#define FL_MM_MMAP_LOCK_H

#include "mm/types.h"

/* Keep mappings and page tables from being changed. => no lock held, signals blocked, as for all that takes locks */
static inline void fl_mmap_read_lock(struct fl_mm *mm)
{
	fl_read_lock(&mm->mmap_lock);
}

static inline void fl_mmap_read_unlock(struct fl_mm *mm)
{
	fl_read_unlock(&mm->mmap_lock);
}

/*
 * To change mappings. The caller has sole access to those that have a part of [start, end), and may change no others:
 * neither their fields, nor their entries except under the page-table locks, nor the tables that they share. Faults
 * in those go on.
 */
void fl_mmap_write_lock_range(struct fl_mm *mm, uint64_t start, uint64_t end);
/* The same for all of them. */
static inline void fl_mmap_write_lock(struct fl_mm *mm)
{
	fl_mmap_write_lock_range(mm, 0, UINT64_MAX);
}
/* Extend the declared range to include [start, end), and what lies between. => mmap_lock held for writing */
void fl_mmap_exclude(struct fl_mm *mm, uint64_t start, uint64_t end);
void fl_mmap_write_unlock(struct fl_mm *mm);
/* Does the mapping lie in the declared range, at least in part? => mmap_lock held for writing */
bool fl_vma_excluded(const struct fl_vma *vma);
/* Does the caller, who has pinned the mapping or may have, hold mmap_lock for writing, with no other pin on it? */
bool fl_vma_sole_pin(const struct fl_vma *vma);
/* In a forked child, where a thread of the parent held it for writing: no lock is held, nothing is pinned. */
void fl_mmap_lock_after_fork(struct fl_mm *mm);

/*
 * Pin the mapping that contains addr: until it is unpinned, it and its tables stay as they are; its neighbours need
 * not. NULL: there is none. => no lock held; the pin ranks as one
 */
struct fl_vma *fl_vma_pin(struct fl_mm *mm, uint64_t addr);
/* The same. => mmap_lock held for reading */
struct fl_vma *fl_vma_pin_locked(struct fl_mm *mm, uint64_t addr);
void fl_vma_unpin(struct fl_vma *vma);
/*
 * Pin the first mapping that ends above addr, without waiting: for a caller that holds locks already. NULL: there is
 * none, or it is about to be changed. It is unpinned by fl_vma_put().
 */
struct fl_vma *fl_vma_trypin(struct fl_mm *mm, uint64_t addr);
void fl_vma_put(struct fl_vma *vma);

#endif
