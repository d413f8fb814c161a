/* SPDX-License-Identifier: MIT */
/* inject.c - the state of every point: its rules, which are countdowns to a failure, and how often it was passed. */
#include "host/inject.h"

#include "host/count.h"

struct rule {
	uint32_t after, times; /* [a] times 0: it does not fire */
	uint32_t value;	       /* [a] */
};

/* A point's rules are only ever that point's: a thread in the middle of them finds none of another point. */
static struct point {
	uint64_t hits, fired; /* [a] */
	struct rule rules[FL_INJECT_SPECS];
} points[FL_NR_INJECT_POINTS];

uint8_t fl_inject_armed[FL_NR_INJECT_POINTS];

/* One more hit: does this one fire? */
static bool fires(struct rule *r)
{
	uint32_t n;

	if (!__atomic_load_n(&r->times, __ATOMIC_ACQUIRE))
		return false;
	n = __atomic_load_n(&r->after, __ATOMIC_RELAXED);
	while (n) /* still skipping */
		if (__atomic_compare_exchange_n(&r->after, &n, n - 1, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
			return false;
	n = __atomic_load_n(&r->times, __ATOMIC_RELAXED);
	while (n && n != FL_INJECT_FOR_ALL)
		if (__atomic_compare_exchange_n(&r->times, &n, n - 1, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
			return true;
	return n != 0;
}

uint32_t fl_inject_hit(enum fl_inject_point point)
{
	struct point *p = &points[point];

	__atomic_fetch_add(&p->hits, 1, __ATOMIC_RELAXED);
	if (!__atomic_load_n(&fl_inject_armed[point], __ATOMIC_ACQUIRE))
		return 0;
	for (unsigned i = 0; i < FL_INJECT_SPECS; i++) {
		if (!fires(&p->rules[i]))
			continue;
		__atomic_fetch_add(&p->fired, 1, __ATOMIC_RELAXED);
		fl_count(injected, 1);
		return __atomic_load_n(&p->rules[i].value, __ATOMIC_RELAXED);
	}
	return 0;
}

/* It does not fire while the rest changes. */
static void set_rule(struct rule *r, uint32_t value, uint32_t after, uint32_t times)
{
	__atomic_store_n(&r->times, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&r->value, value, __ATOMIC_RELAXED);
	__atomic_store_n(&r->after, after, __ATOMIC_RELAXED);
	__atomic_store_n(&r->times, times, __ATOMIC_RELEASE);
}

void fl_inject_arm(enum fl_inject_point point, unsigned nr, uint32_t value, uint32_t after, uint32_t times)
{
	set_rule(&points[point].rules[nr], value, after, times);
	__atomic_store_n(&fl_inject_armed[point], 1, __ATOMIC_RELEASE);
}

void fl_inject_disarm(enum fl_inject_point point)
{
	for (unsigned i = 0; i < FL_INJECT_SPECS; i++)
		set_rule(&points[point].rules[i], 0, 0, 0);
	__atomic_store_n(&fl_inject_armed[point], 0, __ATOMIC_RELAXED);
}

void fl_inject_counts(enum fl_inject_point point, uint64_t *hits, uint64_t *fired)
{
	if (hits)
		*hits = __atomic_load_n(&points[point].hits, __ATOMIC_RELAXED);
	if (fired)
		*fired = __atomic_load_n(&points[point].fired, __ATOMIC_RELAXED);
}
