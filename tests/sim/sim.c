/* SPDX-License-Identifier: MIT */
/*
 * sim.c - explore the scenarios and print how many schedules each has. Prints TAP.
 *
 *   sim [--scenario GLOB] [--backend GLOB] [--bound N] [--failures N] [--random N] [--seed N] [--limit N]
 *       [--no-reduction] [--no-ranks] [--list]
 *   sim --scenario NAME --replay 0,1,1,2 ...
 *   sim --both [--scenario GLOB] [--bound N]    with and without the reduction: do both reach the same end states?
 *
 * Without --bound: 3 preemptions with two threads, 2 with more, 1 with four on the host's tables. With --failures, up
 * to that many allocations or host calls of a schedule fail; the bound is then 2, or 1 with four threads or on the
 * host's tables. The host's tables get a twentieth of the random schedules. A name ends in the backend (world.h), as
 * in fault-copy/soft; --backend selects by that. A failure is printed with its schedule, every step of it, and the
 * command that replays it.
 */
#include "sim.h"
#include "world.h"

#include <fnmatch.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static struct options {
	const char *scenario, *backend, *replay;
	int bound; /* -1: depends on the number of threads */
	uint64_t limit, random, seed;
	bool list, both;
} options = {.scenario = "*", .backend = "*", .bound = -1, .limit = UINT64_MAX, .random = 500, .seed = 1};

static double seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Run the same schedule again, step by step. Does it fail again with the same message? */
static bool show_failure(const struct sim_scenario *s, const char *name, const char *what, const char *schedule)
{
	struct sim_run again;

	printf("# %s\n#   sim --scenario %s --replay %s%s", what, name, *schedule ? schedule : "0",
	       sim_ranks ? "" : " --no-ranks");
	if (sim_failures)
		printf(" --failures %u", sim_failures);
	printf("\n");
	sim_trace = true;
	again = sim_replay(s, schedule);
	sim_trace = false;
	if (again.stuck)
		sim_print_threads();
	return again.outcome == SIM_FAILED && strcmp(again.what, what) == 0;
}

static bool fails(const struct sim_scenario *s, const char *name, const struct sim_run *run)
{
	char what[256], *schedule = strdup(sim_schedule());

	if (!schedule)
		abort();
	snprintf(what, sizeof(what), "%s", run->what);
	if (!show_failure(s, name, what, schedule))
		printf("# the replay did not show it again\n");
	free(schedule);
	return true;
}

static unsigned usual_bound(unsigned threads)
{
	if (sim_failures && (world_backend->host || threads > 3))
		return 1;
	if (sim_failures)
		return 2;
	return threads == 2 ? 3 : threads > 3 && world_backend->host ? 1 : 2;
}

static bool explore(const struct sim_scenario *s, const char *name, unsigned number)
{
	unsigned threads = sim_nr_threads(s),
		 bound = options.bound >= 0 ? (unsigned)options.bound : usual_bound(threads);
	uint64_t random = world_backend->host ? options.random / 20 : options.random;
	double began = seconds();
	struct sim_result r = sim_explore(s, bound, options.limit, random, options.seed);
	bool failed = r.last.outcome == SIM_FAILED;
	double took = seconds() - began;

	printf("%sok %u - %s\n", failed || !r.all ? "not " : "", number, name);
	printf("# %-26s %u threads  %u preemptions  %8llu schedules  %8llu joined  %5llu at random  %4u points  %s  "
	       "%6.2f s\n",
	       name, threads, r.bound, (unsigned long long)r.ended, (unsigned long long)r.joined,
	       (unsigned long long)r.at_random, r.longest,
	       failed	 ? "FAILED"
	       : r.total ? "all there are  "
	       : r.all	 ? "all of the bound"
			 : "NOT ALL        ",
	       took);
	if (failed)
		fails(s, name, &r.last);
	fflush(stdout);
	return !failed && r.all;
}

static bool replay(const struct sim_scenario *s, const char *name, unsigned number)
{
	struct sim_run r;

	sim_trace = true;
	r = sim_replay(s, options.replay);
	sim_trace = false;
	if (r.stuck)
		sim_print_threads();
	printf("%sok %u - %s\n", r.outcome == SIM_FAILED ? "not " : "", number, name);
	if (r.outcome == SIM_FAILED)
		printf("# %s\n", r.what);
	return r.outcome != SIM_FAILED;
}

/* What the reduction leaves out must lead nowhere new. */
static bool compare(const struct sim_scenario *s, const char *name, unsigned number)
{
	unsigned bound = options.bound >= 0 ? (unsigned)options.bound : 2;
	struct sim_result with, without;

	sim_reduce = true;
	with = sim_explore(s, bound, options.limit, 0, 0);
	sim_reduce = false;
	without = sim_explore(s, bound, options.limit, 0, 0);
	printf("%sok %u - %s\n# %llu ends by %llu schedules; %llu ends by %llu\n",
	       with.ends == without.ends && with.all && without.all ? "" : "not ", number, name,
	       (unsigned long long)with.ends, (unsigned long long)with.ended, (unsigned long long)without.ends,
	       (unsigned long long)without.ended);
	fflush(stdout);
	return with.ends == without.ends && with.all && without.all;
}

typedef bool body_fn(const struct sim_scenario *s, const char *name, unsigned number);

/* What some expect holds only as long as nothing fails: what the host does not say is believed. */
static bool fit(const struct sim_scenario *s)
{
	static const char *const sure[] = {"unseen-*", "place-taken", "place-sample-stop", "take-call",
					   "call-unregister"};

	for (unsigned i = 0; sim_failures && i < ARRAY_SIZE(sure); i++)
		if (!fnmatch(sure[i], s->name, 0))
			return false;
	return true;
}

static bool on_backends(body_fn *body, const struct sim_scenario *s, enum sim_where where, unsigned *number)
{
	bool ok = true;
	char name[64];

	for (unsigned i = 0; world_next_backend(&i);) {
		snprintf(name, sizeof(name), "%s/%s", s->name, world_backend->name);
		if (where == (world_backend->host ? SIM_NOT_HOST : SIM_ONLY_HOST) || !fit(s) ||
		    fnmatch(options.backend, world_backend->name, 0) ||
		    (fnmatch(options.scenario, name, 0) && fnmatch(options.scenario, s->name, 0)))
			continue;
		++*number;
		ok = (!body || body(s, name, *number)) && ok;
	}
	return ok;
}

static bool each(body_fn *body, unsigned *number)
{
	bool ok = true;

	*number = 0;
	for (unsigned g = 0; g < sim_nr_groups; g++)
		for (unsigned i = 0; i < sim_groups[g]->nr; i++)
			ok = on_backends(body, &sim_groups[g]->scenarios[i], sim_groups[g]->where, number) && ok;
	return ok;
}

static bool print_name(const struct sim_scenario *s, const char *name, unsigned number)
{
	printf("%s\n", name);
	return true;
}

static void parse(int argc, char **argv)
{
	enum { SCENARIO, BACKEND, REPLAY, BOUND, RANDOM, SEED, LIMIT, FAILURES, NO_REDUCTION, NO_RANKS, LIST, BOTH };
	static const struct option longs[] = {
		{"scenario", 1, NULL, SCENARIO},
		{"backend", 1, NULL, BACKEND},
		{"replay", 1, NULL, REPLAY},
		{"bound", 1, NULL, BOUND},
		{"random", 1, NULL, RANDOM},
		{"seed", 1, NULL, SEED},
		{"limit", 1, NULL, LIMIT},
		{"failures", 1, NULL, FAILURES},
		{"no-reduction", 0, NULL, NO_REDUCTION},
		{"no-ranks", 0, NULL, NO_RANKS},
		{"list", 0, NULL, LIST},
		{"both", 0, NULL, BOTH},
		{0},
	};

	for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) >= 0;)
		switch (c) {
		case SCENARIO:
			options.scenario = optarg;
			break;
		case BACKEND:
			options.backend = optarg;
			break;
		case REPLAY:
			options.replay = optarg;
			break;
		case BOUND:
			options.bound = atoi(optarg);
			break;
		case RANDOM:
			options.random = strtoull(optarg, NULL, 0);
			break;
		case SEED:
			options.seed = strtoull(optarg, NULL, 0);
			break;
		case LIMIT:
			options.limit = strtoull(optarg, NULL, 0);
			break;
		case FAILURES:
			sim_failures = (unsigned)atoi(optarg);
			break;
		case NO_REDUCTION:
			sim_reduce = false;
			break;
		case NO_RANKS:
			sim_ranks = false;
			break;
		case LIST:
			options.list = true;
			break;
		case BOTH:
			options.both = true;
			break;
		default:
			exit(2);
		}
}

int main(int argc, char **argv)
{
	unsigned n;

	parse(argc, argv);
	if (options.list)
		return !each(print_name, &n);
	each(NULL, &n);
	if (!n) {
		fprintf(stderr, "sim: no scenario is called %s, on a backend %s\n", options.scenario,
			options.backend);
		return 2;
	}
	printf("1..%u\n", n);
	return each(options.replay ? replay : options.both ? compare : explore, &n) ? 0 : 1;
}
