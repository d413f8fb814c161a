/* SPDX-License-Identifier: MIT */
/* faultpoint.c - the state of every fault point: a countdown to the first failure, then a count of failures. */
#include "host/faultpoint.h"

#include "host/count.h"

#include <errno.h>
#include <string.h>

static struct point {
	const char *name;
	uint64_t hits, failed;
	struct fl_countdown countdown;
} points[FL_NR_FAULTPOINTS] = {
#define POINT(sym, point, text) [FL_FP_##sym] = {.name = point},
	FL_FAULTPOINTS(POINT)
#undef POINT
};

bool fl_countdown_fires(struct fl_countdown *c)
{
	uint32_t n;

	if (!fl_countdown_armed(c))
		return false;
	n = __atomic_load_n(&c->after, __ATOMIC_RELAXED);
	while (n) /* still skipping */
		if (__atomic_compare_exchange_n(&c->after, &n, n - 1, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
			return false;
	n = __atomic_load_n(&c->times, __ATOMIC_RELAXED);
	while (n && n != UINT32_MAX)
		if (__atomic_compare_exchange_n(&c->times, &n, n - 1, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
			return true;
	return n != 0;
}

void fl_countdown_set(struct fl_countdown *c, uint32_t after, uint32_t times)
{
	__atomic_store_n(&c->times, 0, __ATOMIC_RELAXED); /* it does not fire while the two change */
	__atomic_store_n(&c->after, after, __ATOMIC_RELAXED);
	__atomic_store_n(&c->times, times, __ATOMIC_RELEASE);
}

bool fl_fail(enum fl_faultpoint fp)
{
	struct point *p = &points[fp];

	__atomic_fetch_add(&p->hits, 1, __ATOMIC_RELAXED);
	if (!fl_countdown_armed(&p->countdown) || !fl_countdown_fires(&p->countdown))
		return false;
	__atomic_fetch_add(&p->failed, 1, __ATOMIC_RELAXED);
	fl_count(injected, 1);
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
	fl_countdown_set(&p->countdown, after, times);
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
