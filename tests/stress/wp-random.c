/* SPDX-License-Identifier: MIT */
/*
 * wp-random.c - write-protect faults at random over memory so large, or so thinly filled, that a host mapping for
 * every page would exceed vm.max_map_count. Everything works, every byte is right.
 */
#include "stress.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define WRITERS 4

static struct handler handler;
static uint8_t *range;

/* A permutation of 0..n-1, n a power of two: each writer visits its share of the pages once. */
static uint64_t shuffle(uint64_t i, uint64_t n)
{
	return (i * 0x9e3779b1ull + 0x1234567) & (n - 1);
}

static int max_map_count(void)
{
	char text[32] = "";
	int fd = open("/proc/sys/vm/max_map_count", O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0);
	close(fd);
	return atoi(text);
}

static void report(const char *what, double begin, uint64_t pages)
{
	double took = now() - begin;
	int mappings = lines_in("/proc/self/maps");
	note("%s: %.2f s, %.1f us a page; %d mappings of %d", what, took, took * 1e6 / (double)pages, mappings,
	     max_map_count());
	CHECK(mappings < max_map_count());
}

/* ---- 64 MiB, all of it write-protected ---------------------------------------------------------------------- */

#define DENSE (64ul * 1024 * 1024 / 4096)

static void *dense_writer(void *arg)
{
	for (uint64_t i = (uintptr_t)arg; i < DENSE; i += WRITERS) {
		uint8_t *p = range + shuffle(i, DENSE) * (uint64_t)PAGE;
		poke(p + 100, (uint8_t)(i + 1));
		CHECK_INT(peek(p + 100), (uint8_t)(i + 1));
	}
	return NULL;
}

static void check_dense(void)
{
	uint8_t want[PAGE];
	for (uint64_t i = 0; i < DENSE; i++) {
		uint64_t page = shuffle(i, DENSE);
		stamp(want, page);
		want[100] = (uint8_t)(i + 1);
		CHECK(memcmp(range + page * (uint64_t)PAGE, want, PAGE) == 0);
	}
}

static void test_dense(void)
{
	pthread_t t[WRITERS];
	int limit = max_map_count();
	range = map_pages(DENSE);
	for (uint64_t i = 0; i < DENSE; i++)
		stamp(range + i * (uint64_t)PAGE, i);
	handler.fd = uffd_open(O_CLOEXEC, FEAT_WP);
	uffd_register(handler.fd, range, DENSE * (uint64_t)PAGE, WP);
	handler_start(&handler);
	for (int round = 1; round <= 2; round++) {
		CHECK_INT(uffd_protect(handler.fd, range, DENSE * (uint64_t)PAGE, true), 0);
		double begin = now();
		for (uintptr_t i = 0; i < WRITERS; i++)
			t[i] = spawn(dense_writer, (void *)i);
		for (int i = 0; i < WRITERS; i++)
			join(t[i]);
		report("64 MiB", begin, DENSE);
		CHECK_INT(handler.wp, (uint64_t)round * DENSE);
	}
	check_dense();
	CHECK_INT(handler.missing, 0);
	CHECK_INT(max_map_count(), limit);
}

/* One handler call un-protects every other page: holes and islands, then every page is read and written. */
static void test_stripes(void)
{
	range = map_pages(DENSE);
	for (uint64_t i = 0; i < DENSE; i++)
		stamp(range + i * (uint64_t)PAGE, i);
	handler.fd = uffd_open(O_CLOEXEC, FEAT_WP);
	uffd_register(handler.fd, range, DENSE * (uint64_t)PAGE, WP);
	handler_start(&handler);
	double begin = now();
	for (uint64_t i = 0; i < DENSE; i += 2)
		CHECK_INT(uffd_protect(handler.fd, range + i * (uint64_t)PAGE, PAGE, true), 0);
	for (uint64_t i = 0; i < DENSE; i++)
		poke(range + i * (uint64_t)PAGE, peek(range + i * (uint64_t)PAGE));
	report("stripes", begin, DENSE);
	CHECK_INT(handler.wp, DENSE / 2);
	for (uint64_t i = 0; i < DENSE; i++)
		CHECK(stamped(range + i * (uint64_t)PAGE, i));
}

/* ---- 16 GiB, thinly filled ---------------------------------------------------------------------------------- */

#define SPARSE	  (16ul * 1024 * 1024 * 1024 / 4096)
#define SCATTERED 80000ul /* more islands than the kernel allows mappings */

static uint8_t *island(uint64_t i)
{
	return range + shuffle(i, SPARSE) * (uint64_t)PAGE;
}

static void *sparse_writer(void *arg)
{
	for (uint64_t i = (uintptr_t)arg; i < SCATTERED; i += WRITERS)
		poke(island(i) + 200, (uint8_t)(i + 1));
	return NULL;
}

static void test_sparse(void)
{
	static _Alignas(4096) uint8_t page[PAGE];
	pthread_t t[WRITERS];
	range = map_pages(SPARSE);
	handler.fd = uffd_open(O_CLOEXEC, FEAT_WP);
	uffd_register(handler.fd, range, SPARSE * (uint64_t)PAGE, MISSING | WP);
	handler_start(&handler);
	double begin = now();
	for (uint64_t i = 0; i < SCATTERED; i++) {
		stamp(page, i);
		CHECK_INT(uffd_copy(handler.fd, island(i), page, PAGE, UFFDIO_COPY_MODE_WP), 0);
	}
	report("16 GiB, filled write-protected", begin, SCATTERED);
	begin = now();
	for (uintptr_t i = 0; i < WRITERS; i++)
		t[i] = spawn(sparse_writer, (void *)i);
	for (int i = 0; i < WRITERS; i++)
		join(t[i]);
	report("16 GiB, written", begin, SCATTERED);
	CHECK_INT(handler.missing, 0);
	CHECK_INT(handler.wp, SCATTERED);
	for (uint64_t i = 0; i < SCATTERED; i++) {
		stamp(page, i);
		page[200] = (uint8_t)(i + 1);
		CHECK(memcmp(island(i), page, PAGE) == 0);
	}
	begin = now();
	CHECK_INT(uffd_unregister(handler.fd, range, SPARSE * (uint64_t)PAGE), 0);
	report("16 GiB, unregistered", begin, SCATTERED);
	for (uint64_t i = 0; i < SCATTERED; i += 7)
		CHECK_INT(peek(island(i) + 200), (uint8_t)(i + 1));
	CHECK_INT(munmap(range, SPARSE * (uint64_t)PAGE), 0);
}

static const struct test tests[] = {
	{"dense", test_dense, 120},
	{"stripes", test_stripes, 0},
	{"sparse", test_sparse, 180},
	{NULL, NULL, 0},
};

int main(int argc, char **argv)
{
	return run_tests(argc, argv, tests);
}
