/* SPDX-License-Identifier: MIT */
/*
 * sim.h - the engine under a scheduler that owns every lock, wait, wake and yield point.
 *
 * Everything in base/ that can wait or wake has another body here: lock.c, and the headers in instead/. The rest of
 * the engine is compiled as it is. Threads are coroutines; one runs until it comes to a *point*: it is about to take
 * a lock, to sleep, to wake, or to look at something shared without a lock (fl_yield_point). There the scheduler
 * chooses which thread runs next. A schedule is the list of these choices where there was more than one, and the same
 * list makes the same schedule.
 *
 * Releasing a lock need not be a point: whatever another thread could do between it and the next point, it can as
 * well do at the next point. That, and the explorer's reduction, holds as long as shared data is behind locks or
 * named by a yield point. With two threads releases are points all the same, so that work done after its lock was
 * dropped is seen. Memory is sequentially consistent: reordering by a CPU or compiler is not explored.
 *
 * If failures are asked for (sim_failures), whether a fault point fails is a choice, too, and part of the schedule.
 */
#ifndef SIM_H
#define SIM_H

#include "base/rank.h"
#include "base/yield.h" /* and sim_relax(), sim_yield_point(), sim_yield_look() */

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

/* A point: returns when the thread is chosen and what it wants is available. `doing` is for the trace. */
void sim_point(enum sim_want want, const void *on, const char *doing);
/*
 * The running thread has looked at or changed something shared. Two threads' steps commute if neither has changed
 * what the other touched.
 */
void sim_touch(const void *what, bool change);
/* Addresses inside one block of memory are the same thing, if the block is small (alloc.c). */
const void *sim_thing(const void *what);
/* Wake up to `nr` threads that sleep on the word, the longest sleeper first. */
int sim_wake(const uint32_t *word, int nr);
/*
 * The running thread goes on in another process (process.h), where it holds nothing and nothing it does is a point.
 */
void sim_away(bool away);
/* Has a fault point failed in the running thread since the last call? */
bool sim_failed(void);
/* The running thread's number, from 0 up. */
unsigned sim_number(void);
/* Each thread runs on a CPU of its own, so spinning may pay. Until the end of the schedule. */
extern bool sim_cpus;
/* What the running thread holds; outside of threads, what setup and teardown hold. */
struct fl_held *sim_held(void);
/* Something the checker looks at has changed (it need not run again before that). */
void sim_changed(void);

/* The schedule has shown a bug and ends here. */
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
	/* At the end, when all threads have ended; it looks at the world (world.h). */
	void (*check)(void);
};

enum sim_outcome { SIM_ENDED, SIM_FAILED, SIM_JOINED };

struct sim_run {
	enum sim_outcome outcome;
	const char *what; /* SIM_FAILED */
	unsigned points;
	uint64_t state; /* at the end; differs if two dependent steps came in another order */
	bool stuck;	/* SIM_FAILED: no thread could run, or the schedule did not end */
};

/*
 * Which thread runs next? `cur` is the one that ran last and could continue, or -1. A result below 0 ends the
 * schedule. With `failure` the choice is whether a fault point fails, 0 or 1.
 */
typedef int sim_choose_fn(unsigned able, int cur, uint64_t state, bool failure);
/* One schedule from start to end. `look`: run the checker at points while it is set. */
struct sim_run sim_run(const struct sim_scenario *scenario, sim_choose_fn *choose);
extern bool sim_look, sim_trace, sim_ranks;
extern bool sim_releases;     /* releases of locks are points, too */
extern unsigned sim_failures; /* how many fault points may fail in a schedule */
/* After a schedule that got stuck: what each thread waits for and holds. */
void sim_print_threads(void);

/* ---- what the threads work on (world.c) ---- */

void world_begin(void);
/* Frees what was allocated ahead: if allocations are to fail, some must take place. */
void world_starve(void);
/* Checks the invariants of each space in which no mapping is pinned. */
void world_verify(void);
/* Takes everything down; fails if something is left. */
void world_end(void);
/* A name for a thing. */
const char *world_name(const void *what);

/* ---- memory (alloc.c): from one arena, never used twice in a schedule ---- */

void sim_memory_reset(void);
/* Nothing is left, and nothing was written to after its free. Returns NULL, or what is wrong. */
const char *sim_memory_check(void);

/* ---- the explorer (explore.c) ---- */

struct sim_result {
	struct sim_run last; /* the failing run, if one failed */
	uint64_t ended, joined, at_random;
	uint64_t ends; /* different end states */
	unsigned bound;
	bool all;   /* of the schedules within the bound */
	bool total; /* no schedule has more preemptions: these are all */
	unsigned longest;
};

/* Every schedule with at most `bound` preemptions, fewest first, then `random` more from `seed` on. */
struct sim_result sim_explore(const struct sim_scenario *s, unsigned bound, uint64_t limit, uint64_t random,
			      uint64_t seed);
extern bool sim_reduce; /* skip what was seen in another order */
/* The choices of the last schedule, comma-separated. */
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
	} where; /* backends with the host's tables: world.h */
};

extern const struct sim_group *const sim_groups[];
extern const unsigned sim_nr_groups;
unsigned sim_nr_threads(const struct sim_scenario *s);

#endif
