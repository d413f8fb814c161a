/* SPDX-License-Identifier: MIT */
/*
 * space.h - this layer's part of an address space: its objects, and the threads that wait in faults of it.
 * "=>" states a precondition: locks held, signals blocked.
 */
#ifndef FL_UFFD_SPACE_H
#define FL_UFFD_SPACE_H

#include "mm/types.h"

struct fl_uffd_space {
	struct fl_mutex lock;	  /* rank UFFDS: for both lists */
	struct fl_list objects;	  /* struct fl_uffd_ctx, by_mm */
	struct fl_list waits[64]; /* struct fl_wait, by_tid: in the list of its thread's id */
};

_Static_assert(sizeof(struct fl_uffd_space) <= sizeof((struct fl_mm){0}.uffd), "fl_mm has too little room for it");

static inline struct fl_uffd_space *fl_uffd_space(struct fl_mm *mm)
{
	return (struct fl_uffd_space *)(void *)mm->uffd;
}

static inline struct fl_list *fl_uffd_waits(struct fl_mm *mm, int32_t tid)
{
	return &fl_uffd_space(mm)->waits[(uint32_t)tid % ARRAY_SIZE(fl_uffd_space(mm)->waits)];
}

void fl_uffd_space_init(struct fl_mm *mm);
/* => signals blocked; dropped by fl_uffd_space_unlock() */
void fl_uffd_space_lock(struct fl_mm *mm);
void fl_uffd_space_unlock(struct fl_mm *mm);

#endif
