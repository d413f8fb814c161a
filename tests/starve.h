/* SPDX-License-Identifier: MIT */
/* starve.h - so that every reservation of mappings has to allocate, and can be made to fail. */
#ifndef STARVE_H
#define STARVE_H

#include "base/alloc.h"
#include "mm/mm.h"

/* Frees what was allocated ahead. => no mapping of the space is pinned */
static inline void starve(struct fl_mm *mm)
{
	while (mm->spare) {
		struct fl_vma *v = mm->spare;

		mm->spare = fl_vma_next_spare(v);
		fl_free(&mm->metadata, v, sizeof(*v));
	}
	mm->nr_spare = 0;
	mm->cap_vmas = mm->nr_vmas; /* as if it were full */
	if (mm->nr_vmas)
		return;
	fl_vma_table_free(mm);
	mm->vmas = NULL;
}

#endif
