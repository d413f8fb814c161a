/* SPDX-License-Identifier: MIT */
/*
 * bench.c - the harness: see bench.h. The first batch of a loop over faults is not counted: it brings code, page
 * tables and caches into the state in which the others find them.
 */
#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

#define DEFAULT_BATCHES 12

_Atomic uint64_t faults_seen;

static cpu_set_t allowed_cpus; /* when the program started */

static void complain(const char *fmt, va_list ap)
{
	char line[256];

	vsnprintf(line, sizeof(line), fmt, ap);
	dprintf(STDERR_FILENO, "%s: %s\n", program_invocation_short_name, line);
}

void die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	complain(fmt, ap);
	va_end(ap);
	_exit(EXIT_FAILURE);
}

void skip(int status, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	complain(fmt, ap);
	va_end(ap);
	_exit(status);
}

uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

void series_add_value(struct series *s, double value)
{
	if (s->n == s->cap) {
		s->cap = s->cap ? 2 * s->cap : 64;
		double *v = realloc(s->v, s->cap * sizeof(*v));

		if (!v)
			die("out of memory");
		s->v = v;
	}
	s->v[s->n++] = value;
}

void series_add(struct series *s, uint64_t ns, size_t ops)
{
	series_add_value(s, (double)ns / (double)ops);
}

void pin_to_cpu(unsigned index)
{
	cpu_set_t one;

	for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &allowed_cpus) || index--)
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		if (sched_setaffinity(0, sizeof(one), &one))
			die("sched_setaffinity: %s", strerror(errno));
		return;
	}
	skip(EXIT_NO_CPU, "the process may use too few CPUs for this row");
}

/* xorshift64: the same sequence in every run */
uint64_t random_next(uint64_t *state)
{
	uint64_t x = *state;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return *state = x;
}

char *map_pages(size_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		die("mmap of %zu bytes: %s", len, strerror(errno));
	/* EINVAL where the kernel has no huge pages, which is fine */
	if (madvise(p, len, MADV_NOHUGEPAGE) && errno != EINVAL)
		die("madvise(MADV_NOHUGEPAGE): %s", strerror(errno));
	return p;
}

void write_pattern(char *p, size_t len)
{
	uint64_t state = 1;

	for (size_t i = 0; i < len; i += sizeof(uint64_t)) {
		uint64_t word = random_next(&state) | 0x0101010101010101u;

		memcpy(p + i, &word, sizeof(word));
	}
}

/* The numbers of `count` pages, in order or shuffled. */
static uint32_t *page_order(size_t count, bool random)
{
	uint32_t *order = calloc(count, sizeof(*order));
	uint64_t state = 88172645463325252u;

	if (!order)
		die("out of memory");
	for (size_t i = 0; i < count; i++)
		order[i] = (uint32_t)i;
	for (size_t i = count; random && i > 1; i--) {
		size_t j = random_next(&state) % i;
		uint32_t t = order[i - 1];

		order[i - 1] = order[j];
		order[j] = t;
	}
	return order;
}

void expect_faults(uint64_t count)
{
	if (faults_seen != count)
		die("%llu faults were resolved, not %llu", (unsigned long long)faults_seen,
		    (unsigned long long)count);
}

void measure_faults(const struct run *run, const struct fault_loop *loop, struct series *out)
{
	uint32_t *order = page_order(loop->len / PAGE, run->row->random);
	unsigned ops = run->row->ops;

	for (unsigned batch = 0; batch <= run->batches; batch++) {
		loop->prepare(loop);

		uint64_t start = now_ns();
		for (unsigned i = 0; i < ops; i++) {
			char *p = loop->base + order[i] * PAGE;

			if (run->row->wp)
				touch(p, true);
			else
				load_filled(p);
		}
		if (batch)
			series_add(out, now_ns() - start, ops);
	}
	free(order);
	expect_faults((run->batches + 1) * (uint64_t)ops);
}

static int by_value(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static double quantile(const struct series *s, double q)
{
	double at = q * (double)(s->n - 1);
	size_t i = (size_t)at;
	double next = s->v[i + 1 < s->n ? i + 1 : i];

	return s->v[i] + (next - s->v[i]) * (at - (double)i);
}

static void report(const struct row *row, struct series *s, bool json)
{
	if (!s->n)
		die("%s: nothing was measured", row->name);
	qsort(s->v, s->n, sizeof(*s->v), by_value);
	printf(json ? "{\"row\": \"%s\", \"unit\": \"%s\", \"median\": %.4f, \"min\": %.4f, \"p25\": %.4f, "
		      "\"p75\": %.4f, \"max\": %.4f, \"batches\": %zu}\n"
		    : "%s: %s: median %.4g, min %.4g, quartiles %.4g to %.4g, max %.4g, of %zu batches\n",
	       row->name, row->unit, quantile(s, 0.5), s->v[0], quantile(s, 0.25), quantile(s, 0.75), s->v[s->n - 1],
	       s->n);
	if (fflush(stdout))
		die("standard output: %s", strerror(errno));
}

static _Noreturn void usage(const struct row *rows, size_t count)
{
	fprintf(stderr, "usage: %s ROW [--json] [--batches N] [-- COMMAND ...]\nrows:\n",
		program_invocation_short_name);
	for (size_t i = 0; i < count; i++)
		fprintf(stderr, "  %-28s %s\n", rows[i].name, rows[i].unit);
	exit(2);
}

static unsigned parse_count(const char *text)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*end || n < 1 || n > 10000)
		die("'%s' is not a number from 1 to 10000", text);
	return (unsigned)n;
}

static const struct row *find_row(const char *name, const struct row *rows, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (!strcmp(name, rows[i].name))
			return &rows[i];
	return NULL;
}

int bench_main(int argc, char **argv, const struct row *rows, size_t count)
{
	struct run run = {.batches = DEFAULT_BATCHES};
	struct series out = {0};
	bool json = false;

	for (int i = 1; i < argc && !run.argv; i++) {
		if (!strcmp(argv[i], "--json"))
			json = true;
		else if (!strcmp(argv[i], "--batches") && i + 1 < argc)
			run.batches = parse_count(argv[++i]);
		else if (!strcmp(argv[i], "--"))
			run.argv = argv + i + 1;
		else if (run.row || !(run.row = find_row(argv[i], rows, count)))
			usage(rows, count);
	}
	if (!run.row)
		usage(rows, count);
	if (sched_getaffinity(0, sizeof(allowed_cpus), &allowed_cpus))
		die("sched_getaffinity: %s", strerror(errno));
	run.row->measure(&run, &out);
	report(run.row, &out, json);
	return 0; /* ends the threads, too: a handler thread may still sit in read() */
}
