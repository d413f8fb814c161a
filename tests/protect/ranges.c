/* SPDX-License-Identifier: MIT */
/* ranges.c - ranges that come and go: what remains of their mappings. */
#include "address.h"
#include "protect.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>

/*
 * Memory that was registered once is registered again, beside memory that is registered, and that fails: it is
 * unchanged. `point` fails from each of its hits on.
 */
static void registered_again_fails(const char *point)
{
	uint64_t at, base, again, before, after = 1;
	int ret;

	at = map_pages(4 * SMALL);
	base = (at + HUGE - 1) & ~(HUGE - 1);
	again = base + HUGE / 2;
	for (unsigned i = 0; i < SMALL; i++)
		EXPECT_INT(store(base + i * PAGE, pattern(i)), 0);
	EXPECT_INT(fl_uffd_register(uffd, base, 2 * HUGE, WP, NULL), 0);
	EXPECT_INT(fl_uffd_unregister(uffd, again, HUGE + HUGE / 2), 0);
	for (unsigned i = 0; i < SMALL / 2; i++)
		EXPECT_INT(load(base + i * PAGE), pattern(i));
	EXPECT_INT(store(base + HUGE + PAGE, 9), 0); /* where there is no page table yet */
	for (uint32_t n = 0; after; n++) {
		EXPECT_INT(fl_inject_count_of(point, NULL, &before), 0);
		EXPECT_INT(fl_inject_set_point(point, n, UINT32_MAX), 0);
		ret = fl_uffd_register(uffd, again, HUGE + HUGE / 2, WP, NULL);
		EXPECT_INT(fl_inject_set_point(point, 0, 0), 0);
		EXPECT_INT(fl_inject_count_of(point, NULL, &after), 0);
		after -= before;
		EXPECT_INT(ret, after ? -1 : 0);
		EXPECT_INT(load(again), pattern(SMALL / 2));
		EXPECT_INT(store(again + PAGE, (uint8_t)n), 0);
		EXPECT_INT(load(again + PAGE), (uint8_t)n);
		EXPECT_INT(load(base + HUGE + PAGE), 9);
		EXPECT_INT(fl_mm_check(mm), 0);
	}
}

static void range_registered_again_fails(void)
{
	open_object(0);
	registered_again_fails("alloc.pgtable");
	registered_again_fails("host.mprotect");
	registered_again_fails("host.guard");
}

/* A range that grows in place may get the next frames: it is one mapping. */
static void range_grows(void)
{
	uint64_t at, base;

	open_object(0);
	at = map_pages(4 * SMALL);
	base = (at + HUGE - 1) & ~(HUGE - 1);
	EXPECT_INT(fl_munmap(mm, base + HUGE, HUGE), 0);
	EXPECT_INT(fl_uffd_register(uffd, base, HUGE, WP, NULL), 0);
	EXPECT_INT(store(base, 1), 0);
	EXPECT_INT(remap_addr(mm, base, HUGE, HUGE + HUGE / 2, 0, 0), base);
	EXPECT_INT(store(base + HUGE, 2), 0);
	EXPECT_INT(fl_mm_check(mm), 0);
}

/*
 * The host has no room while pages are protected, run by run: making room forgets the very pages being protected.
 * Afterwards none of them is reached without a fault: memory dropped then reads as zeros.
 */
static void range_protected_without_room(void)
{
	open_object(0);
	for (uint32_t times = 1; times < 8; times++) {
		uint64_t at = filled(16);

		EXPECT_INT(fl_uffd_register(uffd, at, 16 * PAGE, WP, NULL), 0);
		for (unsigned i = 0; i < 16; i++)
			EXPECT_INT(store(at + i * PAGE, pattern(i)), 0);
		for (unsigned i = 2; i < 16; i += 3)
			EXPECT_INT(fl_madvise(mm, at + i * PAGE, PAGE, MADV_DONTNEED), 0);
		EXPECT_INT(fl_inject_set_point("host.mprotect", 0, times), 0);
		EXPECT_INT(protect(at, 16 * PAGE, SET), 0);
		EXPECT_INT(fl_inject_set_point("host.mprotect", 0, 0), 0);
		EXPECT_INT(fl_madvise(mm, at, 16 * PAGE, MADV_DONTNEED), 0);
		for (unsigned i = 0; i < 16; i++)
			EXPECT_INT(load(at + i * PAGE), 0);
		EXPECT_INT(fl_munmap(mm, at, 16 * PAGE), 0);
	}
}

/*
 * What only the engine tells apart, because it is watched or new, is one mapping to the program: it can be moved, and
 * grow.
 */
static void range_is_one_mapping(void)
{
	uint64_t at, to;

	at = map_pages(16);
	EXPECT_INT(fl_munmap(mm, at + 4 * PAGE, 12 * PAGE), 0);
	for (unsigned i = 0; i < 4; i++)
		EXPECT_INT(store(at + i * PAGE, pattern(i)), 0);
	EXPECT_INT(fl_sample_start(mm, at, 2 * PAGE), 0);
	EXPECT_INT(remap_addr(mm, at, 4 * PAGE, 6 * PAGE, 0, 0), at);
	EXPECT_INT(fl_mm_clear_soft_dirty(mm), 0);
	EXPECT_INT(remap_addr(mm, at, 6 * PAGE, 8 * PAGE, 0, 0), at);
	EXPECT_INT(store(at + 7 * PAGE, 7), 0);
	EXPECT_INT(fl_mm_check(mm), 0);
	to = map_pages(8);
	EXPECT_INT(remap_addr(mm, at, 8 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to), to);
	for (unsigned i = 0; i < 4; i++)
		EXPECT_INT(load(to + i * PAGE), pattern(i));
	EXPECT_INT(store(to + PAGE, 1), 0);
	EXPECT_INT(load(to + 7 * PAGE), 7);
}

/* A move that fails after its target was unmapped leaves nothing there, least of all frames that others will get. */
static void range_moved_without_room(void)
{
	uint64_t at, to;

	open_object(0);
	at = filled(4);
	to = filled(4);
	EXPECT_INT(fl_uffd_register(uffd, at, 4 * PAGE, WP, NULL), 0);
	EXPECT_INT(fl_uffd_register(uffd, to, 4 * PAGE, WP, NULL), 0);
	EXPECT_INT(fl_uffd_unregister(uffd, to, 4 * PAGE), 0);
	EXPECT_INT(fl_inject_set_point("alloc.extent", 0, UINT32_MAX), 0);
	EXPECT_INT(remap_addr(mm, at, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to), -1);
	EXPECT_INT(errno, ENOMEM);
	EXPECT_INT(fl_inject_set_point("alloc.extent", 0, 0), 0);
	EXPECT_INT(load(at + PAGE), pattern(1));
	EXPECT_INT(load(to), -SIGSEGV);
}

static atomic_bool enough;

static void *look_all_the_time(void *at)
{
	while (!atomic_load(&enough))
		looked(mm, *(uint64_t *)at, 8 * PAGE, NULL);
	return NULL;
}

static void *protect_all_the_time(void *at)
{
	while (!atomic_load(&enough)) {
		EXPECT_INT(fl_mprotect(mm, *(uint64_t *)at + 7 * PAGE, PAGE, PROT_READ), 0);
		EXPECT_INT(fl_mprotect(mm, *(uint64_t *)at + 7 * PAGE, PAGE, RW), 0);
	}
	return NULL;
}

/* The words of pagemap, into memory that loses its rights meanwhile: they are not stored under a lock. */
static void range_told_of_into_itself(void)
{
	pthread_t threads[2];
	uint64_t at;

	at = filled(8);
	EXPECT_INT(fl_sample_start(mm, at, 8 * PAGE), 0);
	EXPECT_INT(pthread_create(&threads[0], NULL, look_all_the_time, &at), 0);
	EXPECT_INT(pthread_create(&threads[1], NULL, protect_all_the_time, &at), 0);
	for (unsigned i = 0; i < 5000; i++)
		EXPECT_INT(fl_mm_pagemap(mm, at, SMALL, fl_ptr(at + PAGE)), 0);
	atomic_store(&enough, true);
	for (unsigned i = 0; i < 2; i++)
		EXPECT_INT(pthread_join(threads[i], NULL), 0);
}

static int first_two(uint64_t addr)
{
	return load(addr) == 1 && load(addr + 3 * PAGE) == 2 ? 0 : 1;
}

/* Around a fork nothing may be written; the host has no room to take the right away, or to give it back. */
static void range_forked_without_room(void)
{
	uint64_t at, before, after = 1;

	open_object(0);
	at = map_pages(8);
	EXPECT_INT(fl_uffd_register(uffd, at, 8 * PAGE, WP, NULL), 0);
	for (uint32_t n = 0; after; n++) {
		EXPECT_INT(store(at, 1), 0);
		EXPECT_INT(store(at + 3 * PAGE, 2), 0);
		EXPECT_INT(fl_inject_count_of("host.mprotect", NULL, &before), 0);
		EXPECT_INT(fl_inject_set_point("host.mprotect", n, 1), 0);
		EXPECT_INT(world->in_child(first_two, at), 0);
		EXPECT_INT(fl_inject_set_point("host.mprotect", 0, 0), 0);
		EXPECT_INT(fl_inject_count_of("host.mprotect", NULL, &after), 0);
		after -= before;
		EXPECT_INT(fl_mm_check(mm), 0);
		for (unsigned i = 0; i < 8; i++)
			EXPECT_INT(store(at + i * PAGE, 1), 0);
	}
}

/* A leaf's page table is on a list shared with other addresses, so unregistering it takes the list's lock. */
static void range_of_a_leaf_unregistered(void)
{
	uint64_t at;

	open_object(0);
	at = leaf();
	EXPECT_INT(fl_uffd_unregister(uffd, at + 8 * PAGE, HUGE - 8 * PAGE), 0);
	EXPECT_INT(fl_uffd_unregister(uffd, at, 8 * PAGE), 0);
	for (unsigned i = 0; i < SMALL; i++)
		EXPECT_INT(load(at + i * PAGE), pattern(i));
	at = leaf();
	EXPECT_INT(fl_uffd_unregister(uffd, at, HUGE), 0);
	for (unsigned i = 0; i < SMALL; i++)
		EXPECT_INT(load(at + i * PAGE), pattern(i));
	EXPECT_INT(fl_mm_check(mm), 0);
}

const struct protect_case range_cases[] = {
	CASE(range_registered_again_fails, ON_NATIVE),
	CASE(range_grows, ON_BOTH),
	CASE(range_is_one_mapping, ON_BOTH),
	CASE(range_moved_without_room, ON_NATIVE),
	CASE(range_of_a_leaf_unregistered, ON_BOTH),
	CASE(range_told_of_into_itself, ON_NATIVE),
	CASE(range_protected_without_room, ON_NATIVE),
	CASE(range_forked_without_room, ON_NATIVE),
	{0},
};
