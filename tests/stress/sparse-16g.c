/* SPDX-License-Identifier: MIT */
/*
 * sparse-16g.c - a huge range costs what is used of it: registering 16 GiB is quick; 1% of its pages are filled at
 * random by a handler thread and hold their contents; nothing else appears.
 */
#include "stress.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#define PAGES	(16ul * 1024 * 1024 * 1024 / 4096)
#define FILLED	(PAGES / 100)
#define BYTES	(PAGES * 4096ul)
#define READERS 4

static uint8_t *range;
static struct handler handler;

static uint8_t *chosen(uint64_t i)
{
	return range + ((i * 0x9e3779b1ull + 77) & (PAGES - 1)) * 4096ul;
}

static void *reader(void *arg)
{
	for (uint64_t i = (uintptr_t)arg; i < FILLED; i += READERS) {
		uint8_t *p = chosen(i);
		CHECK(*(volatile uint64_t *)(void *)p == (uintptr_t)p * 0x9e3779b97f4a7c15ull);
	}
	return NULL;
}

static void fill_one_percent(void)
{
	pthread_t t[READERS];
	double begin = now();
	for (uintptr_t i = 0; i < READERS; i++)
		t[i] = spawn(reader, (void *)i);
	for (int i = 0; i < READERS; i++)
		join(t[i]);
	note("%lu pages filled by the handler: %.2f s", FILLED, now() - begin);
	CHECK_INT(handler.missing, FILLED);
	for (uint64_t i = 0; i < FILLED; i++)
		CHECK(stamped(chosen(i), (uintptr_t)chosen(i)));
	CHECK_INT(handler.missing, FILLED);
}

static void test_sparse(void)
{
	struct rusage u;
	range = map_pages(PAGES);
	handler.fd = uffd_open(O_CLOEXEC, FEAT_WP);
	double begin = now();
	uffd_register(handler.fd, range, BYTES, MISSING | WP);
	double took = now() - begin;
	note("register 16 GiB: %.3f ms (goal: under 100)", took * 1e3);
	CHECK(took < 2.0);
	handler_start(&handler);
	fill_one_percent();
	getrusage(RUSAGE_SELF, &u);
	note("peak resident memory: %ld MiB for %lu MiB of data", u.ru_maxrss / 1024, FILLED * 4096 >> 20);
	begin = now();
	CHECK_INT(uffd_unregister(handler.fd, range, BYTES), 0);
	note("unregister: %.3f ms", (now() - begin) * 1e3);
	CHECK_INT(munmap(range, BYTES), 0);
}

/* Again and again: nothing piles up, the last time is as good as the first. */
static void test_again(void)
{
	handler.fd = uffd_open(O_CLOEXEC, FEAT_WP);
	handler_start(&handler);
	for (unsigned long i = 1; i <= 50; i++) {
		range = map_pages(PAGES);
		uffd_register(handler.fd, range, BYTES, MISSING | WP);
		for (uint64_t n = 0; n < 20; n++)
			CHECK(stamped(chosen(n), (uintptr_t)chosen(n)));
		CHECK_INT(handler.missing, i * 20);
		CHECK_INT(madvise(range, BYTES, MADV_DONTNEED), 0);
		CHECK(stamped(chosen(3), (uintptr_t)chosen(3)));
		handler.missing--;
		if (i & 1)
			CHECK_INT(uffd_unregister(handler.fd, range, BYTES), 0);
		CHECK_INT(munmap(range, BYTES), 0);
	}
}

static const struct test tests[] = {
	{"one-percent", test_sparse, 180},
	{"again", test_again, 0},
	{NULL, NULL, 0},
};

int main(int argc, char **argv)
{
	return run_tests(argc, argv, tests);
}
