/* SPDX-License-Identifier: MIT */
/* faultpoint.c - the state of every fault point: a countdown to the first failure, then a count of failures. */
#include "base/faultpoint.h"

#include <string.h>

static struct point {
	const char *name;
	uint64_t hits, failed;
	uint32_t after, times; /* `times` is 0 when disarmed, UINT32_MAX for good */
} points[FL_NR_FAULTPOINTS] = {
#define POINT(sym, text) [FL_FP_##sym] = { .name = text },
	FL_FAULTPOINTS(POINT)
#undef POINT
};

/* One more hit of an armed point: does this one fail? */
static bool point_fires(struct point *p)
{
	uint32_t n = __atomic_load_n(&p->after, __ATOMIC_RELAXED);

	while (n) /* still skipping */
		if (__atomic_compare_exchange_n(&p->after, &n, n - 1, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
			return false;
	n = __atomic_load_n(&p->times, __ATOMIC_RELAXED);
	while (n && n != UINT32_MAX)
		if (__atomic_compare_exchange_n(&p->times, &n, n - 1, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
			return true;
	return n != 0;
}

bool fl_fail(enum fl_faultpoint fp)
{
	struct point *p = &points[fp];

	__atomic_fetch_add(&p->hits, 1, __ATOMIC_RELAXED);
	if (likely(!__atomic_load_n(&p->times, __ATOMIC_RELAXED)) || !point_fires(p))
		return false;
	__atomic_fetch_add(&p->failed, 1, __ATOMIC_RELAXED);
	return true;
}

static struct point *find(const char *name)
{
	for (unsigned i = 0; i < FL_NR_FAULTPOINTS; i++)
		if (strcmp(points[i].name, name) == 0)
			return &points[i];
	return NULL;
}

int fl_fp_set(const char *name, uint32_t after, uint32_t times)
{
	struct point *p = find(name);

	if (!p)
		return -ENOENT;
	__atomic_store_n(&p->times, 0, __ATOMIC_RELAXED); /* no failure while the two change */
	__atomic_store_n(&p->after, after, __ATOMIC_RELAXED);
	__atomic_store_n(&p->times, times, __ATOMIC_RELAXED);
	return 0;
}

const char *fl_fp_name(unsigned index)
{
	return index < FL_NR_FAULTPOINTS ? points[index].name : NULL;
}

int fl_fp_count(const char *name, uint64_t *hits, uint64_t *failed)
{
	struct point *p = find(name);

	if (!p)
		return -ENOENT;
	if (hits)
		*hits = __atomic_load_n(&p->hits, __ATOMIC_RELAXED);
	if (failed)
		*failed = __atomic_load_n(&p->failed, __ATOMIC_RELAXED);
	return 0;
}
