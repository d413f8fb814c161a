/* SPDX-License-Identifier: MIT */
/*
 * inject.c - what is to fail, and the countdowns to it. Specs of one point act in order: an operation that an earlier
 * one makes fail is no hit for the later ones, so each fires exactly as often as it says.
 */
#include "base/inject.h"

#include "base/signals.h"
#include "host/count.h"
#include "host/task.h"

#include <string.h>

static uint32_t setter; /* [a] the process in which a thread is changing the rules, or 0 */

void fl_inject_wake_delay(void)
{
	uint32_t ms = fl_injected(FL_INJECT_WAKE_DELAY);

	if (unlikely(ms))
		fl_host_sleep((uint64_t)ms * 1000000);
}

/* ---- setting ---- */

/*
 * One thread at a time. After fork() the word may name a thread of the parent, which does not exist in the child: a
 * mutex would be held for ever. If that thread was changing a point, the child may have half of its rule. The wait is
 * a sleep, for the other thread may have a lower priority.
 */
static uint64_t begin_to_set(void)
{
	uint64_t signals = fl_signals_block();
	uint32_t me = (uint32_t)fl_host_pid(), was = 0;

	while (!__atomic_compare_exchange_n(&setter, &was, me, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
		if (was == me) {
			fl_host_sleep(100000);
			was = 0;
		}
	return signals;
}

static void end_setting(uint64_t signals)
{
	__atomic_store_n(&setter, 0, __ATOMIC_RELEASE);
	fl_signals_restore(signals);
}

static void set_list(const char *list)
{
	uint8_t nr[FL_NR_INJECT_POINTS] = {0};
	struct fl_inject_spec s;
	char why[FL_INJECT_WHY];

	while (list && fl_inject_next(&list, &s, why)) {
		if (!nr[s.point])
			fl_inject_disarm(s.point);
		fl_inject_arm(s.point, nr[s.point]++, s.value, s.after, s.times);
	}
}

int fl_inject_set(const char *list)
{
	char why[FL_INJECT_WHY];
	uint64_t signals;

	if (list && !fl_inject_check(list, why))
		return -EINVAL;
	signals = begin_to_set();
	for (unsigned i = 0; !list && i < FL_NR_INJECT_POINTS; i++)
		fl_inject_disarm(i);
	set_list(list);
	end_setting(signals);
	return 0;
}

/* The point of that name, or FL_NR_INJECT_POINTS. */
static unsigned find(const char *name)
{
	unsigned point = 0;

	while (point < FL_NR_INJECT_POINTS && strcmp(fl_inject_point_name(point), name) != 0)
		point++;
	return point;
}

int fl_inject_set_point(const char *name, uint32_t after, uint32_t times)
{
	unsigned point = find(name);
	int err = fl_inject_point_errno(point, 0);
	uint64_t signals;

	if (point == FL_NR_INJECT_POINTS)
		return -ENOENT;
	signals = begin_to_set();
	fl_inject_disarm(point);
	if (times)
		fl_inject_arm(point, 0, err ? (uint32_t)err : 1, after, times);
	end_setting(signals);
	return 0;
}

int fl_inject_count_of(const char *name, uint64_t *hits, uint64_t *fired)
{
	unsigned point = find(name);

	if (point == FL_NR_INJECT_POINTS)
		return -ENOENT;
	fl_inject_counts(point, hits, fired);
	return 0;
}
