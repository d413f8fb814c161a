/* SPDX-License-Identifier: MIT */
/*
 * inject.h - failures on demand: what a spec can say about the points (host/inject.h), and who sets them.
 *
 * A spec is POINT[=ERRNO][,after=N][,times=N|all][,ms=N]; a list of them is joined by ';'.
 *
 * The table and the parser (inject_spec.c) keep no state: the `faultline` command has a copy of them, which checks a
 * spec before anything runs.
 */
#ifndef FL_BASE_INJECT_H
#define FL_BASE_INJECT_H

#include "base/types.h"
#include "host/inject.h"

#define FL_INJECT_MAX_MS 10000u
#define FL_INJECT_LENGTH 4096 /* of a list of specs, its terminator included: it goes through the environment */
#define FL_INJECT_WHY	 1024 /* enough for every complaint */

/* ---- points and specs (inject_spec.c): no state ---- */

struct fl_inject_spec {
	unsigned point;
	uint32_t value; /* an errno, or milliseconds; 1 where there is no choice */
	uint32_t after, times;
};

/* Name and explanation of a point, the ABI's first; NULL past the end. */
const char *fl_inject_point_name(unsigned point);
const char *fl_inject_point_text(unsigned point);
/* => a point */
enum fl_inject_kind fl_inject_point_kind(unsigned point);
/* The `i`th errno that may be chosen for it, 0 past the last, and an errno's name, NULL if no point has it. */
int fl_inject_point_errno(unsigned point, unsigned i);
const char *fl_inject_errno_name(int err);

/*
 * Take a spec from the list at *at, and move *at past it; at the end of the list *at becomes NULL.
 * False: `why` has one line that says what is wrong and what would be right.
 */
bool fl_inject_next(const char **at, struct fl_inject_spec *spec, char why[FL_INJECT_WHY]);
/* Is the whole list good? */
bool fl_inject_check(const char *list, char why[FL_INJECT_WHY]);

/* ---- state (inject.c) ---- */

/*
 * From now on act as the list says, and forget earlier specs of the points that it names. NULL: forget all. -EINVAL:
 * a bad list, and nothing has changed. => no lock held
 */
int fl_inject_set(const char *list);
/* The same for one point, without a spec: `times` 0 disarms it. -ENOENT: no such point. => no lock held */
int fl_inject_set_point(const char *name, uint32_t after, uint32_t times);
/*
 * How often the point was passed and how often it fired since the process started; either may be NULL. A point of the
 * ABI counts while a spec names it. -ENOENT: no such point.
 */
int fl_inject_count_of(const char *name, uint64_t *hits, uint64_t *fired);

/*
 * A woken thread is about to continue: later, perhaps. The woken thread sleeps, not the waker: that is what a program
 * meets when the scheduler is late, and the waker has gone on meanwhile. => no lock held
 */
void fl_inject_wake_delay(void);

#endif
