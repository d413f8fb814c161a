/* SPDX-License-Identifier: MIT */
/*
 * inject.c - what is to fail, and the countdowns to it. Specs of one point stand behind one another: an operation
 * that an earlier one makes fail is no hit for the later ones, so each fires exactly as often as it says.
 */
#include "base/inject.h"

#include "base/signals.h"
#include "base/sys.h"
#include "host/count.h"

#include <string.h>
#include <time.h>

struct rule {
	struct fl_countdown countdown;
	uint32_t value; /* [a] */
};

/*
 * A point's slots are only ever that point's: a thread that is in the middle of them finds nothing that is not its.
 */
static struct rule rules[FL_NR_INJECT_POINTS][FL_INJECT_SPECS];
static uint64_t fired[FL_NR_INJECT_POINTS]; /* [a] */
static uint32_t setter;			    /* [a] the process in which a thread is changing the rules, or 0 */

uint32_t fl_inject_armed;

_Static_assert(FL_NR_INJECT_POINTS <= 32, "a bit of fl_inject_armed for every point");

uint32_t fl_inject_fire(enum fl_inject_point point)
{
	for (unsigned i = 0; i < FL_INJECT_SPECS; i++) {
		struct rule *r = &rules[point][i];

		if (!fl_countdown_fires(&r->countdown))
			continue;
		__atomic_fetch_add(&fired[point], 1, __ATOMIC_RELAXED);
		fl_count(injected, 1);
		return __atomic_load_n(&r->value, __ATOMIC_RELAXED);
	}
	return 0;
}

void fl_inject_wake_delay(void)
{
	uint32_t ms = fl_injected(FL_INJECT_WAKE_DELAY);
	struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

	while (unlikely(ms) && fl_sys(SYS_nanosleep, &left, &left) == -EINTR)
		;
}

/* ---- setting ---- */

/*
 * One thread at a time. A child of fork() finds the word as another thread of its parent's had it, who is not there:
 * a mutex would be held for ever. What that one has left half changed is a point of which the child may have half a
 * rule, as it may have a whole one. It is waited for asleep, for it may be of a lower priority.
 */
static void begin_to_set(void)
{
	uint32_t me = (uint32_t)fl_sys(SYS_getpid, 0), was = 0;

	while (!__atomic_compare_exchange_n(&setter, &was, me, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
		if (was == me) {
			fl_sys(SYS_nanosleep, &(struct timespec){.tv_nsec = 100000}, NULL);
			was = 0;
		}
}

static void end_setting(void)
{
	__atomic_store_n(&setter, 0, __ATOMIC_RELEASE);
}

/* => begin_to_set() */
static void disarm(unsigned point)
{
	if (point >= FL_NR_INJECT_POINTS) {
		fl_fp_set(fl_inject_point_name(point), 0, 0);
		return;
	}
	for (unsigned i = 0; i < FL_INJECT_SPECS; i++)
		fl_countdown_set(&rules[point][i].countdown, 0, 0);
	__atomic_fetch_and(&fl_inject_armed, ~(1u << point), __ATOMIC_RELAXED);
}

/* As the `nr`th spec of its point. => begin_to_set() */
static void arm(const struct fl_inject_spec *s, unsigned nr)
{
	struct rule *r;

	if (s->point >= FL_NR_INJECT_POINTS) {
		fl_fp_set(fl_inject_point_name(s->point), s->after, s->times);
		return;
	}
	r = &rules[s->point][nr];
	__atomic_store_n(&r->value, s->value, __ATOMIC_RELAXED);
	fl_countdown_set(&r->countdown, s->after, s->times);
	__atomic_fetch_or(&fl_inject_armed, 1u << s->point, __ATOMIC_RELEASE);
}

static void set_list(const char *list)
{
	uint8_t nr[FL_INJECT_ALL] = {0};
	struct fl_inject_spec s;
	char why[FL_INJECT_WHY];

	while (list && fl_inject_next(&list, &s, why)) {
		if (!nr[s.point])
			disarm(s.point);
		arm(&s, nr[s.point]++);
	}
}

int fl_inject_set(const char *list)
{
	char why[FL_INJECT_WHY];
	uint64_t signals;

	if (list && !fl_inject_check(list, why))
		return -EINVAL;
	signals = fl_signals_block();
	begin_to_set();
	for (unsigned i = 0; !list && i < FL_INJECT_ALL; i++)
		disarm(i);
	set_list(list);
	end_setting();
	fl_signals_restore(signals);
	return 0;
}

int fl_inject_fired(const char *name, uint64_t *n)
{
	for (unsigned i = 0; i < FL_NR_INJECT_POINTS; i++)
		if (strcmp(fl_inject_point_name(i), name) == 0) {
			*n = __atomic_load_n(&fired[i], __ATOMIC_RELAXED);
			return 0;
		}
	return fl_fp_count(name, NULL, n);
}
