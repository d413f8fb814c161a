/* SPDX-License-Identifier: MIT */
/*
 * odd-memory.c - private anonymous memory comes in many kinds, and each can be registered: .bss, the heap, a stack,
 * huge pages, locked memory, several mappings at once. Each is filled, registered, protected, written to, dropped and
 * refilled, unregistered, and then serves its purpose again.
 */
#include "stress.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif

static struct handler handler;

static void open_uffd(void)
{
	handler.fd = uffd_open(O_CLOEXEC, FEAT_WP);
	handler_start(&handler);
}

static void fill(uint8_t *p, int pages)
{
	for (int i = 0; i < pages; i++)
		stamp(p + i * PAGE, (uint64_t)i + 1);
}

static void check(uint8_t *p, int pages, const char *what)
{
	for (int i = 0; i < pages; i++)
		if (!stamped(p + i * PAGE, (uint64_t)i + 1))
			FAIL("%s: page %d has changed", what, i);
}

/* The life of a range that holds data. `drop` is the madvise(2) that empties pages of this kind. */
static void exercise_dropping(uint8_t *p, int pages, int drop)
{
	unsigned long missing = handler.missing, wp = handler.wp;
	fill(p, pages);
	uffd_register(handler.fd, p, (size_t)(pages * PAGE), MISSING | WP);
	check(p, pages, "registered");
	CHECK_INT(uffd_protect(handler.fd, p, (size_t)(pages * PAGE), true), 0);
	check(p, pages, "protected");
	CHECK_INT(handler.missing + handler.wp, missing + wp);
	for (int i = 0; i < pages; i++)
		poke(p + i * PAGE, peek(p + i * PAGE));
	CHECK_INT(handler.wp - wp, pages);
	check(p, pages, "written");
	CHECK_INT(madvise(p, (size_t)(pages / 2 * PAGE), drop), 0);
	for (int i = 0; i < pages / 2; i++)
		CHECK(stamped(p + i * PAGE, (uintptr_t)(p + i * PAGE)));
	CHECK_INT(handler.missing - missing, pages / 2);
	fill(p, pages);
	CHECK_INT(uffd_unregister(handler.fd, p, (size_t)(pages * PAGE)), 0);
	check(p, pages, "unregistered");
	CHECK_INT(handler.missing - missing, pages / 2);
	CHECK_INT(handler.wp - wp, pages);
}

static void exercise(uint8_t *p, int pages)
{
	exercise_dropping(p, pages, MADV_DONTNEED);
}

static uint8_t bss[40 * 4096] __attribute__((aligned(4096)));
static uint8_t after_bss[4096];

static void test_bss(void)
{
	open_uffd();
	after_bss[0] = 1;
	for (int i = 0; i < 5; i++)
		exercise(bss, 40);
	CHECK_INT(after_bss[0], 1);
}

/* The heap, small enough for brk. It must be able to grow and shrink afterwards. */
static void test_heap(void)
{
	void *blocks[64];
	open_uffd();
	for (int round = 0; round < 5; round++) {
		uint8_t *p = aligned_alloc(4096, 16 * 4096);
		CHECK(p);
		exercise(p, 16);
		for (int i = 0; i < 64; i++) {
			blocks[i] = malloc(60000);
			CHECK(blocks[i]);
			memset(blocks[i], i, 60000);
		}
		check(p, 16, "the heap has grown");
		for (int i = 0; i < 64; i++)
			free(blocks[i]);
		free(p);
	}
	void *top = sbrk(0);
	CHECK(sbrk(64 * 4096) == top && sbrk(0) == (uint8_t *)top + 64 * 4096);
	memset(top, 1, 64 * 4096);
	CHECK(sbrk(-64 * 4096) == (uint8_t *)top + 64 * 4096);
}

static __attribute__((noinline)) int dig(int n)
{
	volatile uint8_t hold[4096];
	hold[n % 4096] = (uint8_t)n;
	return n ? dig(n - 1) + hold[n % 4096] : 0;
}

/* A buffer on a stack that later grows past it. */
static __attribute__((noinline)) void on_stack(void)
{
	uint8_t room[33 * 4096];
	exercise((uint8_t *)PAGE_OF(room + 4095), 32);
	CHECK(dig(100) > 0);
	check((uint8_t *)PAGE_OF(room + 4095), 32, "the stack was used");
}

static void *stack_thread(void *arg)
{
	on_stack();
	return NULL;
}

static void test_stack(void)
{
	open_uffd();
	on_stack();
	CHECK(dig(1000) > 0);
	join(spawn(stack_thread, NULL));
	join(spawn(stack_thread, NULL));
}

/* Memory in huge pages: single pages of it can be protected and dropped. */
#define HUGE (2l << 20)

static void test_huge(void)
{
	int pages = (int)(4 * HUGE / PAGE);
	uint8_t *raw = map_pages((size_t)pages + 512);
	uint8_t *p = (uint8_t *)(((uintptr_t)raw + HUGE - 1) & ~(uintptr_t)(HUGE - 1));
	open_uffd();
	CHECK_INT(madvise(p, 4 * HUGE, MADV_HUGEPAGE), 0);
	exercise(p, pages);
	uffd_register(handler.fd, p, 4 * HUGE, WP);
	for (int i = 0; i < 200; i++) {
		uint8_t *at = p + (i * 97) % pages * PAGE;
		unsigned long wp = handler.wp;
		CHECK_INT(uffd_protect(handler.fd, at, PAGE, true), 0);
		poke(at + PAGE, peek(at + PAGE)); /* its neighbour is not protected */
		CHECK_INT(handler.wp, wp);
		poke(at, peek(at));
		CHECK_INT(handler.wp, wp + 1);
	}
	check(p, pages, "single pages");
}

/* Locked in three ways: mlock, MAP_LOCKED, mlockall for the future. Locked memory can still be dropped by force. */
static void test_locked(void)
{
	uint8_t *p = map_pages(16);
	open_uffd();
	CHECK_INT(mlock(p, 16 * PAGE), 0);
	exercise_dropping(p, 16, MADV_DONTNEED_LOCKED);
	uffd_register(handler.fd, p, 16 * PAGE, MISSING | WP);
	CHECK_ERR(madvise(p, 16 * PAGE, MADV_DONTNEED), EINVAL);
	CHECK_INT(munlock(p, 16 * PAGE), 0);
	CHECK_INT(madvise(p, 16 * PAGE, MADV_DONTNEED), 0);
	CHECK(stamped(p, (uintptr_t)p));
	p = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1, 0);
	CHECK(p != MAP_FAILED);
	exercise_dropping(p, 16, MADV_DONTNEED_LOCKED);
	CHECK_INT(mlockall(MCL_FUTURE), 0);
	p = map_pages(16);
	exercise_dropping(p, 16, MADV_DONTNEED_LOCKED);
	CHECK_INT(munlockall(), 0);
	exercise(p, 16);
}

/* mmap flags that change nothing here */
static void test_flags(void)
{
	static const int flags[] = {0, MAP_NORESERVE, MAP_POPULATE, MAP_STACK, MAP_32BIT};
	open_uffd();
	for (size_t i = 0; i < sizeof(flags) / sizeof(*flags); i++) {
		for (int exec = 0; exec < 2; exec++) {
			int prot = PROT_READ | PROT_WRITE | (exec ? PROT_EXEC : 0);
			uint8_t *p = mmap(NULL, 16 * PAGE, prot, MAP_PRIVATE | MAP_ANONYMOUS | flags[i], -1, 0);
			CHECK(p != MAP_FAILED);
			exercise(p, 16);
			CHECK_INT(munmap(p, 16 * PAGE), 0);
		}
	}
}

/* One REGISTER over mappings with different rights, which change afterwards. */
static void test_many_mappings(void)
{
	uint8_t *p = map_pages(40);
	open_uffd();
	fill(p, 40);
	CHECK_INT(mprotect(p + 8 * PAGE, 8 * PAGE, PROT_READ), 0);
	CHECK_INT(mprotect(p + 16 * PAGE, 8 * PAGE, PROT_NONE), 0);
	CHECK_INT(mprotect(p + 24 * PAGE, 8 * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC), 0);
	CHECK_INT(madvise(p + 32 * PAGE, 8 * PAGE, MADV_DONTFORK), 0);
	uffd_register(handler.fd, p, 40 * PAGE, MISSING | WP);
	check(p, 16, "registered");
	CHECK_INT(mprotect(p, 40 * PAGE, PROT_READ | PROT_WRITE), 0);
	check(p, 40, "one mapping again");
	CHECK_INT(uffd_protect(handler.fd, p, 40 * PAGE, true), 0);
	fill(p, 40);
	CHECK_INT(handler.wp, 40);
	CHECK_INT(uffd_unregister(handler.fd, p, 40 * PAGE), 0);
	check(p, 40, "unregistered");
	CHECK_INT(handler.missing, 0);
}

/* Rights that a range did not have when it was registered: read-only and forbidden memory is filled all the same. */
static void test_filled_while_forbidden(void)
{
	static _Alignas(4096) uint8_t page[PAGE];
	uint8_t *p = map_pages(2);
	open_uffd();
	CHECK_INT(mprotect(p, PAGE, PROT_READ), 0);
	CHECK_INT(mprotect(p + PAGE, PAGE, PROT_NONE), 0);
	uffd_register(handler.fd, p, 2 * PAGE, MISSING);
	for (int i = 0; i < 2; i++) {
		stamp(page, (uint64_t)i + 1);
		CHECK_INT(uffd_copy(handler.fd, p + i * PAGE, page, PAGE, 0), 0);
	}
	CHECK_INT(mprotect(p, 2 * PAGE, PROT_READ | PROT_WRITE), 0);
	check(p, 2, "filled while forbidden");
	CHECK_INT(handler.missing, 0);
}

static const struct test tests[] = {
	{"bss", test_bss, 0},
	{"heap", test_heap, 0},
	{"stack", test_stack, 0},
	{"huge-pages", test_huge, 0},
	{"locked", test_locked, 0},
	{"map-flags", test_flags, 0},
	{"many-mappings", test_many_mappings, 0},
	{"filled-while-forbidden", test_filled_while_forbidden, 0},
	{NULL, NULL, 0},
};

int main(int argc, char **argv)
{
	return run_tests(argc, argv, tests);
}
