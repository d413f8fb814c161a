/* SPDX-License-Identifier: MIT */
/*
 * sim.h - the engine under a scheduler that owns every lock, wait, wake and yield point.
 *
 * Everything from base/ that can wait or wake has another body here: lock.c, and the headers in instead/. The rest of
 * the engine is compiled as it is. Threads are coroutines; one runs until it comes to a *point*: it is about to take
 * a lock, to sleep, to wake, or to look at something that threads share without a lock (fl_yield_point). There the
 * scheduler chooses who goes on. A schedule is the list of these choices where there was one, and the same list makes
 * the same schedule.
 *
 * Releasing a lock need be no point: what another thread could do between it and the next point, it could do as well
 * at the next point. That, and what the explorer leaves out, holds as long as what threads share is behind locks or
 * named by a yield point; with two threads releases are points all the same, so that what is done behind a lock too
 * late is seen. Memory is sequentially consistent: what a CPU or a compiler may reorder is not explored.
 *
 * If failures are asked for (sim_failures), whether a fault point fails is a choice, too, and a part of the schedule.
 */
#ifndef SIM_H
#define SIM_H

#include "base/rank.h"

#define SIM_THREADS 4u

/* ---- the scheduler (sched.c) ---- */

/* What a thread waits for at a point. */
enum sim_want {
	SIM_RUN, /* nothing */
	SIM_MUTEX,
	SIM_READ,
	SIM_WRITE,
	SIM_USERS,
	SIM_FUTEX,
};

/* A point: returns when the thread is chosen and what it wants can be had. `doing` is for the trace. */
void sim_point(enum sim_want want, const void *on, const char *doing);
/*
 * The running thread has looked at something that threads share, or has changed it: steps of two threads can be
 * exchanged if neither has changed what the other has touched.
 */
void sim_touch(const void *what, bool change);
/* The same inside of a block of memory is the same thing, if the block is small (alloc.c). */
const void *sim_thing(const void *what);
/* Wake up to `nr` of those that sleep on the word, who has slept longest first. */
int sim_wake(const uint32_t *word, int nr);
/* Goes on only when another thread has run, if one can. */
void sim_relax(void);
/* Has a fault point failed in the running thread since it last asked? */
bool sim_failed(void);
/* The running thread's number, from 0 up. */
unsigned sim_number(void);
/* Each thread runs on a CPU of its own: waiting by looking again may pay. Until the end of the schedule. */
extern bool sim_cpus;
/* What the running thread holds; outside of threads, what setting up and taking down hold. */
struct fl_held *sim_held(void);
/* Something is looked at, or changed, that threads share without a lock (instead/base/yield.h). */
void sim_yield_point(const void *what);
void sim_yield_look(const void *what);
/* Something that was checked has changed (the checker need not look again before). */
void sim_changed(void);

/* The schedule has shown a bug: it ends here. */
_Noreturn void sim_fail(const char *what);
#define SIM_CHECK(cond, what)                                                                                        \
	do {                                                                                                         \
		if (!(cond))                                                                                         \
			sim_fail(what);                                                                              \
	} while (0)

struct sim_scenario {
	const char *name;
	void (*setup)(void);
	struct {
		const char *name;
		void (*body)(void);
	} threads[SIM_THREADS];
	/* At the end, when all threads have ended; what it looks at is of the world (world.h). */
	void (*check)(void);
};

enum sim_outcome { SIM_ENDED, SIM_FAILED, SIM_JOINED };

struct sim_run {
	enum sim_outcome outcome;
	const char *what; /* SIM_FAILED */
	unsigned points;
	uint64_t state; /* at the end: different if two steps that depend on each other came in another order */
	bool stuck;	/* SIM_FAILED: nobody could run, or it did not come to an end */
};

/*
 * Who is next? `cur`: who has run until now and could go on, or -1. Below 0: the schedule need not go on. `failure`:
 * it is no thread that is chosen, but whether a fault point fails, 0 or 1.
 */
typedef int sim_choose_fn(unsigned able, int cur, uint64_t state, bool failure);
/* One schedule, from the beginning to the end. `look`: run the checker at points, as long as it is set. */
struct sim_run sim_run(const struct sim_scenario *scenario, sim_choose_fn *choose);
extern bool sim_look, sim_trace, sim_ranks;
extern bool sim_releases;     /* releases of locks are points, too */
extern unsigned sim_failures; /* how many fault points may fail in a schedule */
/* After a schedule that got stuck: who waits for what, and holds what. */
void sim_print_threads(void);

/* ---- what the threads are at work on (world.c) ---- */

void world_begin(void);
/* What was allocated ahead goes: if allocations are to fail, there must be some. */
void world_starve(void);
/* The invariants of each space where nobody is at work now. */
void world_verify(void);
/* Take everything down; fails if something is left. */
void world_end(void);
/* What a thing is called. */
const char *world_name(const void *what);
/* A system call that is none of the scheduler's. */
long world_sys(long nr, long addr, long len, long how);

/* ---- memory (alloc.c): from one arena, never used twice in a schedule ---- */

void sim_memory_reset(void);
/* Nothing is left, and nothing was written to after it was given back. NULL, or what is wrong */
const char *sim_memory_check(void);

/* ---- the explorer (explore.c) ---- */

struct sim_result {
	struct sim_run last; /* the one that failed, if one did */
	uint64_t ended, joined, at_random;
	uint64_t ends; /* different states that they came to */
	unsigned bound;
	bool all;   /* of those within the bound */
	bool total; /* no schedule has more preemptions: all there are */
	unsigned longest;
};

/* Every schedule with at most `bound` preemptions, fewest first, then `random` more, from `seed` on. */
struct sim_result sim_explore(const struct sim_scenario *s, unsigned bound, uint64_t limit, uint64_t random,
			      uint64_t seed);
extern bool sim_reduce; /* leave out what has been seen in another order */
/* The choices of the last schedule, as a list with commas. */
const char *sim_schedule(void);
struct sim_run sim_replay(const struct sim_scenario *s, const char *list);

/* ---- scenarios (scenarios.h) ---- */

struct sim_group {
	const struct sim_scenario *scenarios;
	unsigned nr;
	enum sim_where {
		SIM_ANYWHERE,
		SIM_NOT_HOST,
		SIM_ONLY_HOST
	} where; /* on backends with the host's tables: world.h */
};

extern const struct sim_group *const sim_groups[];
extern const unsigned sim_nr_groups;
unsigned sim_nr_threads(const struct sim_scenario *s);

#endif
