/* SPDX-License-Identifier: MIT */
/*
 * sched.c - coroutines, points, and one schedule from start to end.
 *
 * The state reached so far is identified by a number that depends on the order of dependent steps only: each touch of
 * a thing mixes the thread's history with that of the thing, and the number is the sum over all touches and all
 * points. Two schedules with the same number have reached the same state.
 */
#include "sim.h"

#include "base/clock.h"
#include "base/inject.h"
#include "host/task.h"

#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <ucontext.h>

#define STACK	 (256u << 10)
#define TOO_LONG 3000u /* points in one schedule */

struct thread {
	const char *name;
	void (*body)(void);
	enum sim_want want;
	const void *on;
	const char *doing;
	bool ended, woken, relaxed, failed, away;
	uint64_t asleep_since; /* counted in sleeps */
	uint64_t now, hash;
	struct fl_held held, held_before;
	jmp_buf at, beginning;
};

static struct thread threads[SIM_THREADS];
static char stacks[SIM_THREADS][STACK] __attribute__((aligned(4096)));
static ucontext_t starting;
static jmp_buf end;

static const struct sim_scenario *scenario;
static sim_choose_fn *choose;
static struct sim_run run;
static struct thread *current; /* NULL: setting up, checking or taking down */
static struct fl_held outside;
static unsigned nr, nr_ended, failures;
static uint64_t sleeps, state;
static bool changed;
static char failure[256];

bool sim_look, sim_trace, sim_ranks = true, sim_releases;
unsigned sim_failures;

unsigned sim_nr_threads(const struct sim_scenario *s)
{
	unsigned n = 0;

	while (n < SIM_THREADS && s->threads[n].body)
		n++;
	return n;
}

/* ---- things touched ---- */

#define THINGS 8192u

static struct thing {
	const void *what;
	uint32_t schedule; /* the schedule that last touched it */
	uint64_t changed, looks;
} things[THINGS];
static uint32_t schedule;

static uint64_t mix(uint64_t a, uint64_t b)
{
	uint64_t x = (a ^ (b * 0x9e3779b97f4a7c15ull)) + 0x2545f4914f6cdd1dull;

	x ^= x >> 32;
	x *= 0xd6e8feb86659fd93ull;
	x ^= x >> 29;
	return x * 0xff51afd7ed558ccdull;
}

static struct thing *thing_of(const void *what)
{
	uint32_t i = (uint32_t)(mix(fl_addr(what), 0) >> 32) % THINGS;

	while (things[i].schedule == schedule && things[i].what != what)
		i = (i + 1) % THINGS;
	if (things[i].schedule != schedule)
		things[i] = (struct thing){.what = what, .schedule = schedule};
	return &things[i];
}

void sim_touch(const void *what, bool change)
{
	struct thing *t;

	if (!current)
		return;
	t = thing_of(sim_thing(what));
	current->hash = mix(mix(current->hash, t->changed), change ? t->looks + 1 : 0);
	if (change) {
		t->changed = current->hash;
		t->looks = 0;
	} else {
		t->looks += mix(current->hash, 1);
	}
	state += current->hash;
}

/* ---- the end ---- */

static _Noreturn void stop(enum sim_outcome outcome)
{
	run.outcome = outcome;
	current = NULL;
	_longjmp(end, 1);
}

static const char *name_of(const struct thread *t)
{
	return t ? t->name : "outside of threads";
}

_Noreturn void sim_fail(const char *what)
{
	snprintf(failure, sizeof(failure), "%s (%s)", what, name_of(current));
	run.what = failure;
	stop(SIM_FAILED);
}

static void on_crash(int sig)
{
	sim_fail("a pointer that leads nowhere was followed");
}

static void print_held(const struct thread *t)
{
	for (unsigned r = 0; r < FL_NR_RANKS; r++)
		if (t->held.lock[r])
			printf(", holds %s %s", fl_rank_name(r), world_name(t->held.lock[r]));
}

void sim_print_threads(void)
{
	for (unsigned i = 0; i < nr; i++) {
		const struct thread *t = &threads[i];

		printf("#   %-10s %s", t->name, t->ended ? "has ended" : "waits: ");
		if (!t->ended)
			printf("%s %s", t->doing, world_name(t->on));
		print_held(t);
		printf("\n");
	}
}

/* ---- choosing ---- */

static bool can_run(const struct thread *t)
{
	const struct fl_rwlock *l = t->on;

	switch (t->want) {
	case SIM_MUTEX:
		return ((const struct fl_mutex *)t->on)->word == 0;
	case SIM_READ:
		return !(l->state >> 31) && !l->writers_waiting;
	case SIM_WRITE:
		return l->state == 0;
	case SIM_USERS:
		return ((const struct fl_pins *)t->on)->word == 0;
	case SIM_FUTEX:
		return t->woken;
	default:
		return true;
	}
}

static unsigned able(bool relaxed)
{
	unsigned mask = 0;

	for (unsigned i = 0; i < nr; i++)
		if (!threads[i].ended && can_run(&threads[i]) && (relaxed || !threads[i].relaxed))
			mask |= 1u << i;
	return mask;
}

static void look(void)
{
	struct thread *was = current;

	if (!sim_look || !changed)
		return;
	changed = false;
	current = NULL;
	world_verify();
	current = was;
}

static struct thread *next_thread(void)
{
	unsigned mask = able(false), relaxed = 0;
	int cur = -1, next;

	if (!mask)
		mask = able(true);
	if (!mask) {
		run.stuck = true;
		sim_fail("deadlock: no thread can run");
	}
	if (++run.points > TOO_LONG) {
		run.stuck = true;
		sim_fail("livelock: it does not come to an end");
	}
	look();
	for (unsigned i = 0; i < nr; i++)
		relaxed |= (unsigned)threads[i].relaxed << i;
	if (current && (mask & 1u << (current - threads)) && !current->relaxed)
		cur = (int)(current - threads);
	next = choose(mask, cur, mix(state, (uint64_t)(cur + 1) << 8 | relaxed), false);
	if (next < 0)
		stop(SIM_JOINED);
	for (unsigned i = 0; i < nr; i++)
		threads[i].relaxed &= i == (unsigned)next;
	if (sim_trace)
		printf("# %4u  %-10s %s %s\n", run.points, threads[next].name, threads[next].doing,
		       world_name(threads[next].on));
	return &threads[next];
}

/* Whatever the thread does, it has advanced. */
static void step(void)
{
	current->hash = mix(current->hash, 2);
	state += current->hash;
}

void sim_point(enum sim_want want, const void *on, const char *doing)
{
	struct thread *t = current;

	if (!t || t->away) {
		struct thread alone = {.want = want, .on = on};

		if (!can_run(&alone)) {
			current = NULL;
			sim_fail("no other thread runs, and it cannot continue");
		}
		return;
	}
	t->want = want;
	t->on = on;
	t->doing = doing;
	if (want == SIM_FUTEX) {
		t->woken = false;
		t->asleep_since = ++sleeps;
	}
	current = next_thread();
	if (current != t && !_setjmp(t->at))
		_longjmp(current->at, 1);
	step();
}

void sim_away(bool away)
{
	if (!current)
		return;
	current->away = away;
	if (away)
		current->held_before = current->held;
	if (away)
		memset(&current->held, 0, sizeof(current->held));
	else
		current->held = current->held_before;
}

void sim_relax(void)
{
	if (!current)
		return;
	current->relaxed = true;
	current->now += 20000;
	sim_point(SIM_RUN, NULL, "looks again");
}

int sim_wake(const uint32_t *word, int n)
{
	int done = 0;

	for (; done < n; done++) {
		struct thread *first = NULL;

		for (unsigned i = 0; i < nr; i++) {
			struct thread *t = &threads[i];

			if (!t->ended && t->want == SIM_FUTEX && t->on == word && !t->woken && t != current &&
			    (!first || t->asleep_since < first->asleep_since))
				first = t;
		}
		if (!first)
			break;
		first->woken = true;
	}
	return done;
}

/* ---- failures ---- */

bool sim_fails(enum fl_inject_point fp)
{
	int chosen;

	if (!current || !failures || fp == FL_FP_NONE)
		return false;
	chosen = choose(3, 0, mix(state, (uint64_t)fp << 16 | (uint64_t)(current - threads + 1) << 8), true);
	if (chosen < 0)
		stop(SIM_JOINED);
	current->hash = mix(current->hash, chosen ? 5 : 4); /* it has advanced, even if nothing is touched next */
	state += current->hash;
	if (!chosen)
		return false;
	if (sim_trace)
		printf("#       %-10s fails: %s\n", current->name, fl_inject_point_name(fp));
	failures--;
	current->failed = true;
	return true;
}

bool sim_failed(void)
{
	bool failed = current && current->failed;

	if (failed)
		current->failed = false;
	return failed;
}

/* ---- called by the engine ---- */

unsigned sim_number(void)
{
	return current ? (unsigned)(current - threads) : 0;
}

struct fl_held *sim_held(void)
{
	return current ? &current->held : &outside;
}

void sim_changed(void)
{
	changed = true;
}

uint64_t sim_now_ns(void)
{
	return 1000000000u + (current ? current->now : 0);
}

/* ---- host/task.h: the threads that are explored ---- */

int32_t fl_host_tid(void)
{
	return current ? (int32_t)(current - threads) + 1 : 100;
}

bool fl_host_thread_exists(int32_t tid)
{
	return true;
}

void fl_host_yield(void)
{
	sim_relax();
}

/* ---- coroutines ---- */

/* Each thread starts here once; a new schedule jumps back to this point. */
static void trampoline(void)
{
	struct thread *t = current;

	if (!_setjmp(t->beginning))
		setcontext(&starting);
	t = current;
	step();
	t->body();
	SIM_CHECK(fl_held_none(&t->held), "a thread ends with a lock held");
	t->ended = true;
	if (++nr_ended == nr)
		stop(SIM_ENDED);
	current = next_thread();
	_longjmp(current->at, 1);
}

static void make_coroutine(unsigned i)
{
	static volatile bool back;
	ucontext_t uc;

	getcontext(&uc);
	uc.uc_stack.ss_sp = stacks[i];
	uc.uc_stack.ss_size = STACK;
	uc.uc_link = NULL;
	makecontext(&uc, trampoline, 0);
	current = &threads[i];
	back = false;
	getcontext(&starting);
	if (!back) {
		back = true;
		setcontext(&uc);
	}
	current = NULL;
}

static void begin_process(void)
{
	static char stack[64 << 10];
	struct sigaction sa = {.sa_handler = on_crash, .sa_flags = SA_ONSTACK | SA_NODEFER};
	static bool done;

	if (done)
		return;
	done = true;
	sigaltstack(&(stack_t){.ss_sp = stack, .ss_size = sizeof(stack)}, NULL);
	sigaction(SIGSEGV, &sa, NULL);
	sigaction(SIGBUS, &sa, NULL);
	for (unsigned i = 0; i < SIM_THREADS; i++)
		make_coroutine(i);
}

static void begin(void)
{
	nr = sim_nr_threads(scenario);
	sim_releases = nr == 2;
	nr_ended = 0;
	failures = sim_failures;
	schedule++;
	state = sleeps = 0;
	changed = true;
	memset(&outside, 0, sizeof(outside));
	for (unsigned i = 0; i < nr; i++) {
		struct thread *t = &threads[i];

		t->name = scenario->threads[i].name;
		t->body = scenario->threads[i].body;
		t->want = SIM_RUN;
		t->on = NULL;
		t->doing = "begins";
		t->ended = t->woken = t->relaxed = t->failed = t->away = false;
		t->now = 0;
		t->hash = mix(i + 1, 3);
		memset(&t->held, 0, sizeof(t->held));
		memcpy(t->at, t->beginning, sizeof(t->at));
	}
}

static void take_down(void)
{
	const char *bad;

	world_verify();
	if (scenario->check)
		scenario->check();
	world_end();
	bad = sim_memory_check();
	if (bad)
		sim_fail(bad);
}

struct sim_run sim_run(const struct sim_scenario *s, sim_choose_fn *c)
{
	begin_process();
	scenario = s;
	choose = c;
	run = (struct sim_run){.outcome = SIM_ENDED};
	if (_setjmp(end))
		goto ended;
	begin();
	sim_memory_reset();
	world_begin();
	s->setup();
	if (sim_failures)
		world_starve();
	current = next_thread();
	_longjmp(current->at, 1);
ended:
	run.state = state;
	if (run.outcome == SIM_ENDED && !_setjmp(end))
		take_down();
	return run;
}
