/* SPDX-License-Identifier: MIT */
/* fork.h - a copy of an address space. "=>" states a precondition: locks held, signals blocked. */
#ifndef FL_MM_FORK_H
#define FL_MM_FORK_H

#include "mm/types.h"

/*
 * The mappings and pages of `parent` for an empty `child` whose frames are of the same pool, shared until written to.
 * -ENOMEM: the child has a part of them. => no lock held; no other thread knows the child
 */
int fl_mm_copy(struct fl_mm *child, struct fl_mm *parent);

#endif
