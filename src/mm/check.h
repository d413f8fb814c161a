/* SPDX-License-Identifier: MIT */
/* check.h - the checker of the invariants that mm.h states. "=>" states a precondition. */
#ifndef FL_MM_CHECK_H
#define FL_MM_CHECK_H

#include "mm/types.h"

/* Number of violations; `say` gets a line for each. => no lock held */
int fl_mm_verify(struct fl_mm *mm, void (*say)(const char *invariant, uint64_t addr));

#endif
