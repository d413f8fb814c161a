/* SPDX-License-Identifier: MIT */
/* sample.h - the access sampler. "=>" states a precondition: locks held, signals blocked. */
#ifndef FL_MM_SAMPLE_H
#define FL_MM_SAMPLE_H

#include "mm/types.h"

/* Watch [start, end), until it is stopped: pages there lose all rights until they are touched. => no lock held */
int fl_sample_range(struct fl_mm *mm, uint64_t start, uint64_t end, bool on);
/*
 * Which pages of [start, end) were touched since the last look: vec[i] is 1 or 0. Looking arms them again.
 * -EINVAL: not all of it is watched. => no lock held
 */
int64_t fl_sample_collect(struct fl_mm *mm, uint64_t start, uint64_t end, uint8_t *vec);

#endif
