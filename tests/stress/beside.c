/* SPDX-License-Identifier: MIT */
/*
 * beside.c - several mappings at a time, each with threads of its own: more protected pages among others than the
 * host has room to show, while another thread maps, registers, splits, merges and unmaps memory. Everything works,
 * every byte is right.
 */
#include "stress.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#define MAPPINGS 4
#define PAGES	 12288ul /* of each; every other one is protected */
#define ROUNDS	 2

static struct handler handler;
static uint8_t *mappings[MAPPINGS];
static atomic_int stop;

static uint8_t *page_at(unsigned mapping, uint64_t i)
{
	return mappings[mapping] + i * (uint64_t)PAGE;
}

static void protect_every_other(unsigned mapping)
{
	for (uint64_t i = 1; i < PAGES; i += 2)
		CHECK_INT(uffd_protect(handler.fd, page_at(mapping, i), PAGE, true), 0);
}

static void store_everywhere(unsigned mapping, uint8_t value)
{
	for (uint64_t i = 0; i < PAGES; i++)
		poke(page_at(mapping, i) + 100, value);
}

static void check_everywhere(unsigned mapping, uint8_t value)
{
	for (uint64_t i = 0; i < PAGES; i++) {
		uint8_t want[PAGE];

		stamp(want, (uint64_t)page_at(mapping, i));
		want[100] = value;
		CHECK(memcmp(page_at(mapping, i), want, PAGE) == 0);
	}
}

static void *work(void *arg)
{
	unsigned mapping = (unsigned)(uintptr_t)arg;

	for (uint64_t i = 0; i < PAGES; i++)
		CHECK(stamped(page_at(mapping, i), (uint64_t)page_at(mapping, i)));
	for (uint8_t round = 1; round <= ROUNDS; round++) {
		protect_every_other(mapping);
		if (round > 1)
			check_everywhere(mapping, round - 1);
		store_everywhere(mapping, round);
		check_everywhere(mapping, round);
	}
	return NULL;
}

/* 64 pages, which may share 2 MiB with a neighbour's. */
static void map_once(uint64_t *seed)
{
	uint8_t *p = map_pages(64);
	size_t cut = 1 + rnd(seed) % 62;

	memset(p, 7, 8 * PAGE);
	uffd_register(handler.fd, p, 64 * PAGE, MISSING | WP);
	CHECK_INT(peek(p + 5 * PAGE), 7);
	CHECK_INT(uffd_protect(handler.fd, p, 8 * PAGE, true), 0);
	CHECK_INT(mprotect(p, cut * PAGE, PROT_READ), 0);
	CHECK_INT(mprotect(p, cut * PAGE, PROT_READ | PROT_WRITE), 0);
	poke(p + 3 * PAGE, 9);
	CHECK_INT(peek(p + 3 * PAGE), 9);
	CHECK(stamped(p + 60 * PAGE, (uint64_t)p + 60 * PAGE));
	CHECK_INT(uffd_unregister(handler.fd, p, cut * PAGE), 0);
	CHECK_INT(peek(p + 3 * PAGE), 9);
	CHECK_INT(munmap(p, cut * PAGE), 0);
	CHECK_INT(munmap(p + cut * PAGE, (64 - cut) * PAGE), 0);
}

static void *map_beside(void *arg)
{
	uint64_t seed = 1;

	while (!stop) {
		map_once(&seed);
		sleep_ms(1);
	}
	return NULL;
}

static void run(bool beside)
{
	pthread_t workers[MAPPINGS], mapper = 0;

	handler.fd = uffd_open(O_CLOEXEC, FEAT_WP);
	for (unsigned i = 0; i < MAPPINGS; i++) {
		mappings[i] = map_pages(PAGES);
		uffd_register(handler.fd, mappings[i], PAGES * (size_t)PAGE, MISSING | WP);
	}
	handler_start(&handler);
	if (beside)
		mapper = spawn(map_beside, NULL);
	for (unsigned i = 0; i < MAPPINGS; i++)
		workers[i] = spawn(work, (void *)(uintptr_t)i);
	for (unsigned i = 0; i < MAPPINGS; i++)
		join(workers[i]);
	stop = 1;
	if (beside)
		join(mapper);
	handler_stop(&handler);
}

static void test_alone(void)
{
	run(false);
}

static void test_beside(void)
{
	run(true);
}

static const struct test tests[] = {
	{"four mappings with more borders than the host has room for", test_alone, 120},
	{"the same, and a thread that maps, registers, cuts and unmaps beside", test_beside, 120},
	{0},
};

int main(int argc, char **argv)
{
	return run_tests(argc, argv, tests);
}
