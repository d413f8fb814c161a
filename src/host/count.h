/* SPDX-License-Identifier: MIT */
/* count.h - counting into host/stats.h's struct. */
#ifndef FL_HOST_COUNT_H
#define FL_HOST_COUNT_H

#include <stdbool.h>

#include "host/stats.h"

extern struct fl_stats *fl_stats;

#define fl_count(field, n) ((void)__atomic_fetch_add(&fl_stats->field, (uint64_t)(n), __ATOMIC_RELAXED))

/* From now on count into `shared`, which has the magic and size of this version and is never unmapped. */
void fl_stats_use(struct fl_stats *shared);

/* A thread went on, `ns` nanoseconds after its fault was delivered. */
void fl_stats_latency(uint64_t ns);

#endif
