/* SPDX-License-Identifier: MIT */
/*
 * explore.c - which schedules are run: all with a bounded number of preemptions, depth first; then some at random.
 *
 * A preemption is a choice that takes the CPU from a thread that could continue. When the thread cannot, or is
 * polling, switching to another costs nothing. Bounds are tried from 0 up, so the first failure has the fewest
 * preemptions.
 *
 * Reduction: a choice is not explored twice from the same state with the same running thread and no more preemptions
 * left than the first time. States are told apart by the order of dependent steps (sched.c). So every state within
 * the bound is still reached. A schedule cut short for this reason has joined another.
 *
 * A failing fault point is no preemption: wherever there is one, failure is a choice, up to sim_failures times.
 */
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define DEPTH 4096u

struct choice {
	uint8_t able, used; /* preemptions before it */
	int8_t cur, chosen;
	bool failure; /* for a fault point: 0 or 1 */
};

static struct choice path[DEPTH];
static unsigned depth, at;
static unsigned bound;
static bool cut; /* the bound has cut something off */
static uint64_t rng;

bool sim_reduce = true;

/* ---- states seen ---- */

#define SEEN (1u << 22)

struct seen {
	uint64_t state;
	uint32_t turn;
	uint32_t used;
};

/* States, each with the fewest preemptions that reached it. */
struct states {
	struct seen *seen;
	uint32_t turn;
	unsigned nr;
};

static struct states on_the_way, at_the_end;

static void forget(struct states *s)
{
	size_t size = SEEN * sizeof(*s->seen);

	if (!s->seen) {
		s->seen = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (s->seen == MAP_FAILED)
			abort();
		madvise(s->seen, size, MADV_HUGEPAGE); /* every look is elsewhere */
	}
	s->turn++;
	s->nr = 0;
}

/* Was it reached before with at least as many preemptions left? Records it. A full table prunes nothing further. */
static bool seen_before(struct states *s, uint64_t state, unsigned used)
{
	struct seen *e = &s->seen[state % SEEN];

	while (e->turn == s->turn && e->state != state)
		e = e + 1 < s->seen + SEEN ? e + 1 : s->seen;
	if (e->turn == s->turn && e->used <= used)
		return true;
	if (e->turn != s->turn && s->nr > SEEN / 2)
		return false;
	s->nr += e->turn != s->turn;
	*e = (struct seen){state, s->turn, used};
	return false;
}

/* ---- choosing ---- */

static unsigned cost(const struct choice *c, int next)
{
	return !c->failure && c->cur >= 0 && c->cur != next;
}

static unsigned used_now(void)
{
	return at ? path[at - 1].used + cost(&path[at - 1], path[at - 1].chosen) : 0;
}

/* The order in which choices are tried: the running thread, then the others. */
static int first_choice(const struct choice *c)
{
	return c->cur >= 0 ? c->cur : __builtin_ctz(c->able);
}

static int next_choice(const struct choice *c)
{
	int i = c->chosen == c->cur ? 0 : c->chosen + 1;

	while (i < (int)SIM_THREADS && (i == c->cur || !(c->able & 1u << i)))
		i++;
	return i < (int)SIM_THREADS ? i : -1;
}

static bool single(unsigned able)
{
	return !(able & (able - 1));
}

static struct choice *add_choice(unsigned able, int cur, bool failure)
{
	struct choice *c = &path[at];
	unsigned used = used_now();

	FL_BUG_ON(at == DEPTH);
	*c = (struct choice){
		.able = (uint8_t)able,
		.cur = (int8_t)cur,
		.used = (uint8_t)fl_min(used, 255u),
		.failure = failure,
	};
	depth = ++at;
	return c;
}

static int choose_dfs(unsigned able, int cur, uint64_t state, bool failure)
{
	struct choice *c;

	if (single(able))
		return __builtin_ctz(able);
	if (at < depth) {
		c = &path[at++];
		FL_BUG_ON(c->able != able || c->cur != cur ||
			  c->failure != failure); /* the same choices make the same schedule */
		sim_look = at == depth;
		return c->chosen;
	}
	if (sim_reduce && seen_before(&on_the_way, state, used_now()))
		return -1;
	c = add_choice(able, cur, failure);
	c->chosen = (int8_t)first_choice(c);
	return c->chosen;
}

/* The next schedule in order: changes the last choice. false: there is none. */
static bool backtrack(void)
{
	for (; depth; depth--) {
		struct choice *c = &path[depth - 1];
		int next = next_choice(c);

		if (next >= 0 && c->used + cost(c, next) > bound) {
			cut = true;
			continue;
		}
		if (next < 0)
			continue;
		c->chosen = (int8_t)next;
		return true;
	}
	return false;
}

static uint64_t below(uint64_t n)
{
	rng ^= rng >> 12;
	rng ^= rng << 25;
	rng ^= rng >> 27;
	return (rng * 0x2545f4914f6cdd1dull >> 16) % n;
}

/*
 * Keeps the running thread in three of four cases: a schedule of nothing but switches comes nowhere near rare states.
 * One fault point in ten fails.
 */
static int choose_random(unsigned able, int cur, uint64_t state, bool failure)
{
	struct choice *c;
	unsigned skip;

	if (single(able))
		return __builtin_ctz(able);
	c = add_choice(able, cur, failure);
	if (cur >= 0 && below(failure ? 10 : 4)) {
		c->chosen = (int8_t)cur;
		return cur;
	}
	if (failure)
		able &= ~1u;
	skip = (unsigned)below((unsigned)__builtin_popcount(able));
	for (; skip; skip--)
		able &= able - 1;
	c->chosen = (int8_t)__builtin_ctz(able);
	return c->chosen;
}

static const char *wanted;

static int choose_listed(unsigned able, int cur, uint64_t state, bool failure)
{
	struct choice *c;
	char *rest;

	if (single(able))
		return __builtin_ctz(able);
	c = add_choice(able, cur, failure);
	c->chosen = (int8_t)first_choice(c);
	if (*wanted) {
		c->chosen = (int8_t)strtol(wanted, &rest, 10);
		SIM_CHECK(rest != wanted && c->chosen >= 0 && (able & 1u << c->chosen),
			  "the list does not fit: that thread cannot run here");
		wanted = *rest ? rest + 1 : rest;
	}
	return c->chosen;
}

/* ---- exploring ---- */

static struct sim_run one(const struct sim_scenario *s, sim_choose_fn *choose)
{
	struct sim_run r;

	at = 0;
	sim_look = choose != choose_dfs || !depth;
	if (choose != choose_dfs)
		depth = 0;
	r = sim_run(s, choose);
	return r;
}

/* All schedules within the bound. false: one has failed, or the limit was reached. */
static bool explore_bound(const struct sim_scenario *s, struct sim_result *res, uint64_t limit)
{
	uint64_t runs = 0;

	forget(&on_the_way);
	forget(&at_the_end);
	depth = 0;
	cut = false;
	res->ended = res->joined = res->ends = 0;
	do {
		if (runs++ == limit)
			return false;
		res->last = one(s, choose_dfs);
		res->longest = fl_max(res->longest, res->last.points);
		if (res->last.outcome == SIM_FAILED)
			return false;
		res->ended += res->last.outcome == SIM_ENDED;
		res->ends += res->last.outcome == SIM_ENDED && !seen_before(&at_the_end, res->last.state, 0);
		res->joined += res->last.outcome == SIM_JOINED;
	} while (backtrack());
	return true;
}

struct sim_result sim_explore(const struct sim_scenario *s, unsigned most, uint64_t limit, uint64_t random,
			      uint64_t seed)
{
	struct sim_result res = {0};

	for (bound = 0; bound <= most && !res.total; bound++) {
		res.bound = bound;
		res.all = explore_bound(s, &res, limit);
		res.total = res.all && !cut;
		if (!res.all)
			return res;
	}
	rng = seed * 2 + 1;
	for (; res.at_random < random && !res.total; res.at_random++) {
		res.last = one(s, choose_random);
		if (res.last.outcome == SIM_FAILED)
			break;
	}
	return res;
}

const char *sim_schedule(void)
{
	static char list[DEPTH * 2 + 1];
	size_t n = 0;

	for (unsigned i = 0; i < at; i++) {
		list[n++] = (char)('0' + path[i].chosen);
		list[n++] = ',';
	}
	list[n ? n - 1 : 0] = '\0';
	return list;
}

struct sim_run sim_replay(const struct sim_scenario *s, const char *list)
{
	wanted = list;
	return one(s, choose_listed);
}
