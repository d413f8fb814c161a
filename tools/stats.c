/* SPDX-License-Identifier: MIT */
/* stats.c - what happened, as text and as JSON. The counters and their texts come from host/stats.h. */
#include <inttypes.h>

#include "tool.h"

static const struct {
	const char *name, *text;
	size_t offset;
} counters[] = {
#define COUNTER(name, text) {#name, text, offsetof(struct fl_stats, name)},
	FL_STATS(COUNTER)
#undef COUNTER
};
#define COUNTERS (sizeof(counters) / sizeof(*counters))

static const struct {
	const char *name, *text;
	unsigned permille;
} percentiles[] = {
	{"p50", "p50", 500},
	{"p90", "p90", 900},
	{"p99", "p99", 990},
	{"p999", "p99.9", 999},
};
#define PERCENTILES (sizeof(percentiles) / sizeof(*percentiles))

/* Processes of the program may still be counting. */
static uint64_t load(const uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

static uint64_t counter(const struct fl_stats *s, size_t i)
{
	return load((const uint64_t *)((const char *)s + counters[i].offset));
}

static uint64_t samples(const struct fl_stats *s)
{
	uint64_t n = 0;

	for (unsigned b = 0; b < FL_HIST_BUCKETS; b++)
		n += load(&s->fault_ns[b]);
	return n;
}

/* The value that `permille` of the samples do not exceed: the middle of its bucket, which is an eighth wide. */
static uint64_t percentile(const struct fl_stats *s, uint64_t total, unsigned permille)
{
	uint64_t rank = total - total * (1000 - permille) / 1000, seen = 0;
	uint64_t max = load(&s->fault_ns_max);

	for (unsigned b = 0; b < FL_HIST_BUCKETS - 1; b++) {
		uint64_t middle = (fl_hist_value(b) + fl_hist_value(b + 1)) / 2;

		seen += load(&s->fault_ns[b]);
		if (seen >= rank)
			return middle < max ? middle : max;
	}
	return max;
}

static void print_text(FILE *out, const struct fl_stats *s)
{
	uint64_t total = samples(s);

	fprintf(out, "faultline: statistics\n");
	for (size_t i = 0; i < COUNTERS; i++)
		if (counter(s, i))
			fprintf(out, "%14" PRIu64 "  %s\n", counter(s, i), counters[i].text);
	if (!load(&s->objects))
		fprintf(out, "                the program made no userfaultfd object\n");
	if (!total)
		return;
	fprintf(out, "  fault latency in us:");
	for (size_t i = 0; i < PERCENTILES; i++)
		fprintf(out, "  %s %.1f", percentiles[i].text,
			(double)percentile(s, total, percentiles[i].permille) / 1e3);
	fprintf(out, "  max %.1f\n", (double)load(&s->fault_ns_max) / 1e3);
}

static void print_json(FILE *out, const struct fl_stats *s)
{
	uint64_t total = samples(s);

	fprintf(out, "{\n");
	for (size_t i = 0; i < COUNTERS; i++)
		fprintf(out, "  \"%s\": %" PRIu64 ",\n", counters[i].name, counter(s, i));
	fprintf(out, "  \"fault_ns\": {\"count\": %" PRIu64, total);
	for (size_t i = 0; total && i < PERCENTILES; i++)
		fprintf(out, ", \"%s\": %" PRIu64, percentiles[i].name,
			percentile(s, total, percentiles[i].permille));
	fprintf(out, ", \"max\": %" PRIu64 "}\n}\n", load(&s->fault_ns_max));
}

void print_stats(FILE *out, const struct fl_stats *stats, bool json)
{
	if (json)
		print_json(out, stats);
	else
		print_text(out, stats);
}
