/* SPDX-License-Identifier: MIT */
/* migrate.h - pages move to other frames. "=>" states a precondition: locks held, signals blocked. */
#ifndef FL_MM_MIGRATE_H
#define FL_MM_MIGRATE_H

#include "mm/types.h"

/*
 * Move the pages of a range of one mapping to other frames, through migration entries. Returns how many were moved,
 * -ENOMEM, or -EOPNOTSUPP for a backend whose pages have homes. => mmap_lock held for reading, no page-table lock
 */
int64_t fl_migrate_range(struct fl_mm *mm, struct fl_vma *vma, uint64_t start, uint64_t end);
/* A migration entry was found: wait until some migration has ended. => no lock held */
void fl_migration_wait(struct fl_mm *mm, uint32_t seen);

#endif
