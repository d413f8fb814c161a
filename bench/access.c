/* SPDX-License-Identifier: MIT */
/*
 * access.c - loads and stores on memory that user space has filled, as a multiple of the same on plain memory of the
 * same process. Both are of 4 KiB pages; the two take turns, and take turns at being first.
 */
#include <linux/userfaultfd.h>
#include <string.h>

#include "abi.h"
#include "uffdbench.h"

#define LEN    MIB(64)
#define SLICE  MIB(2)	     /* in order: of one pass */
#define PASSES (LEN / SLICE) /* of a batch */
#define RANDOM 32768	     /* at random, over all of the memory: accesses of one pass */
#define WORDS  (LEN / sizeof(uint64_t))

static volatile uint64_t sink; /* so that the sums are computed */

static void load_in_order(const uint64_t *p)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < SLICE / sizeof(*p); i++)
		sum += p[i];
	sink = sum;
}

static void store_in_order(volatile uint64_t *p)
{
	for (size_t i = 0; i < SLICE / sizeof(*p); i++)
		p[i] = i;
}

static void load_at_random(const uint64_t *p, uint64_t seed)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < RANDOM; i++)
		sum += p[random_next(&seed) % WORDS];
	sink = sum;
}

static void store_at_random(uint64_t *p, uint64_t seed)
{
	for (size_t i = 0; i < RANDOM; i++)
		p[random_next(&seed) % WORDS] = i;
}

/* One pass takes about a millisecond: a longer disturbance of the machine hits both sides alike. */
static uint64_t time_pass(const struct row *row, char *base, unsigned number)
{
	uint64_t *all = (uint64_t *)base, *slice = (uint64_t *)(base + number % PASSES * SLICE);
	uint64_t seed = number + 1, start = now_ns();

	if (row->random && row->store)
		store_at_random(all, seed);
	else if (row->random)
		load_at_random(all, seed);
	else if (row->store)
		store_in_order(slice);
	else
		load_in_order(slice);
	return now_ns() - start;
}

enum side { PLAIN, RESOLVED, SIDES };

/* Which side's turn it is: each pair of turns has both, and each side is first in every other pair. */
static enum side turn(unsigned number)
{
	return (number + number / SIDES) % SIDES;
}

/*
 * Memory with the same contents: copied by the program, and by UFFDIO_COPY. It is made slice by slice in turns,
 * because memory that the host provides late is a little faster or slower than what it provided early.
 */
static void make(char *base[SIDES])
{
	char *source = map_pages(SLICE);
	int fd = abi_open(0);

	write_pattern(source, SLICE);
	base[PLAIN] = map_pages(LEN);
	base[RESOLVED] = map_pages(LEN);
	abi_register(fd, base[RESOLVED], LEN, UFFDIO_REGISTER_MODE_MISSING);
	for (unsigned number = 0; number < SIDES * PASSES; number++) {
		size_t at = number / SIDES * SLICE;

		if (turn(number) == RESOLVED)
			abi_copy(fd, base[RESOLVED] + at, source, SLICE);
		else
			memcpy(base[PLAIN] + at, source, SLICE);
	}
	for (size_t at = 0; at < LEN; at += PAGE)
		for (unsigned side = 0; side < SIDES; side++)
			touch(base[side] + at, true);
}

void measure_access(const struct run *run, struct series *out)
{
	uint64_t ns[SIDES];
	char *base[SIDES];

	pin_to_cpu(0);
	make(base);
	for (unsigned number = 0; number < (run->batches + 1) * PASSES * SIDES; number++) {
		enum side side = turn(number);

		ns[side] = time_pass(run->row, base[side], number / SIDES);
		if (number % SIDES && number >= PASSES * SIDES)
			series_add_value(out, (double)ns[RESOLVED] / (double)ns[PLAIN]);
	}
}
