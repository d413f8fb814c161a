/* SPDX-License-Identifier: MIT */
/* stats.c - where the counters live: in the process, until memory that outlives it is provided. */
#include "host/count.h"

static struct fl_stats own = {.magic = FL_STATS_MAGIC, .size = sizeof(struct fl_stats)};

struct fl_stats *fl_stats = &own;

/* What was counted before, by constructors of other libraries, counts. */
void fl_stats_use(struct fl_stats *shared)
{
	struct fl_stats *old = __atomic_exchange_n(&fl_stats, shared, __ATOMIC_ACQ_REL);

#define ADD(name, text) __atomic_fetch_add(&shared->name, old->name, __ATOMIC_RELAXED);
	FL_STATS(ADD)
#undef ADD
}

void fl_stats_latency(uint64_t ns)
{
	uint64_t max = __atomic_load_n(&fl_stats->fault_ns_max, __ATOMIC_RELAXED);

	__atomic_fetch_add(&fl_stats->fault_ns[fl_hist_bucket(ns)], 1, __ATOMIC_RELAXED);
	while (ns > max && !__atomic_compare_exchange_n(&fl_stats->fault_ns_max, &max, ns, true, __ATOMIC_RELAXED,
							__ATOMIC_RELAXED))
		;
}
