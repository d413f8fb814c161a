/* SPDX-License-Identifier: MIT */
/*
 * guard.h - guard markers of the program's, MADV_GUARD_INSTALL: an access to such a page is SIGSEGV. They are of the
 * place: pages that are dropped leave them; a COPY takes their place. "=>" states a precondition.
 */
#ifndef FL_MM_GUARD_H
#define FL_MM_GUARD_H

#include "mm/types.h"

/* Pages that are there are dropped. 0, -ENOMEM. => mmap_lock held for writing, the mapping excluded */
int fl_guard_install(struct fl_mm *mm, struct fl_vma *vma, uint64_t start, uint64_t end);
/* The markers alone, where there may be no mapping yet and is no page. 0, -ENOMEM: some are set. => as above */
int fl_guard_set(struct fl_mm *mm, uint64_t start, uint64_t end);
void fl_guard_remove(struct fl_mm *mm, uint64_t start, uint64_t end);
/* The next run of them in [*start, end). => as above */
bool fl_guard_next(struct fl_mm *mm, uint64_t *start, uint64_t end, uint64_t *run_end);

#endif
