/* SPDX-License-Identifier: MIT */
/*
 * soft-leaf.c - huge pages of a soft address space while everything happens to them at once: they are dropped, split,
 * collapsed, swapped out, moved, write-protected, forked and cleared of soft-dirty, while threads load and store. A
 * page holds what was stored last; a store makes it soft-dirty; what is write-protected, or in a forked space, does
 * not change.
 */
#include "address.h"
#include "stress.h"

#include <fcntl.h>
#include <sys/mman.h>

#include <faultline/testing.h>

#define HUGE	((uint64_t)2 << 20)
#define PAGES	512u
#define WRITERS 2u
#define SECONDS 4.0

static struct fl_mm *mm;
static struct fl_uffd *uffd;
static uint64_t dropped, kept; /* 2 MiB each: pages go away in one, and are write-protected in the other */
static atomic_int stop;
static atomic_uint clears; /* odd: a thread is clearing */
static atomic_ulong noticed, still;

static uint64_t load(struct fl_mm *space, uint64_t addr)
{
	uint64_t v = 0;

	CHECK_INT(fl_load(space, addr, &v, sizeof(v)), 0);
	return v;
}

static void store(struct fl_mm *space, uint64_t addr, uint64_t v)
{
	CHECK_INT(fl_store(space, addr, &v, sizeof(v)), 0);
}

/* If no thread was clearing meanwhile, the last store is noted, unless the page was dropped since. */
static void check_soft_dirty(uint64_t addr, uint64_t stored, unsigned before)
{
	uint64_t word;

	CHECK_INT(fl_mm_pagemap(mm, addr, 1, &word), 0);
	if ((before & 1) || atomic_load(&clears) != before || load(mm, addr) != stored)
		return;
	CHECK(word & FL_PM_SOFT_DIRTY);
	atomic_fetch_add(&noticed, 1);
}

static void *writer(void *arg)
{
	static uint64_t last[WRITERS][2][PAGES]; /* each has pages of its own */
	uint64_t me = (uint64_t)(uintptr_t)arg, state = me + 1;

	for (uint64_t n = 1; !atomic_load(&stop); n++) {
		unsigned keep = rnd(&state) & 1, page = (unsigned)(rnd(&state) % (PAGES / WRITERS) * WRITERS + me);
		uint64_t addr = (keep ? kept : dropped) + page * PAGE, *want = &last[me][keep][page], got;
		unsigned before;

		got = load(mm, addr);
		if (!keep && !got)
			*want = 0;
		if (got != *want)
			FAIL("page %u of %d holds %llx, not %llx", page, keep, (unsigned long long)got,
			     (unsigned long long)*want);
		before = atomic_load(&clears);
		*want = n << 8 | me;
		store(mm, addr, *want);
		check_soft_dirty(addr, *want, before);
	}
	return NULL;
}

/* What is protected does not change. */
static void *protector(void *arg)
{
	uint64_t state = 77;

	while (!atomic_load(&stop)) {
		bool all = rnd(&state) % 4 == 0;
		uint64_t page = all ? 0 : rnd(&state) % PAGES, n = all ? PAGES : 1 + rnd(&state) % (PAGES - page);
		uint64_t addr = kept + page * PAGE, at = addr + rnd(&state) % n * PAGE, was;

		CHECK_INT(fl_uffd_writeprotect(uffd, addr, n * PAGE, UFFDIO_WRITEPROTECT_MODE_WP), 0);
		was = load(mm, at);
		for (unsigned i = 0; i < 50; i++)
			CHECK(load(mm, at) == was);
		atomic_fetch_add(&still, 1);
		CHECK_INT(fl_uffd_writeprotect(uffd, addr, n * PAGE, 0), 0);
	}
	return NULL;
}

static void *dropper(void *arg)
{
	uint64_t state = 5;

	while (!atomic_load(&stop)) {
		uint64_t page = rnd(&state) % PAGES;
		bool all = rnd(&state) & 1;

		CHECK_INT(fl_madvise(mm, all ? dropped : dropped + page * PAGE, all ? HUGE : PAGE, MADV_DONTNEED), 0);
	}
	return NULL;
}

/* A forked space has what was there at one moment, and its stores are its own. */
static void child(uint64_t *state)
{
	uint64_t at[8], was[8];
	struct fl_mm *space;

	CHECK_INT(fl_mm_fork(mm, &space), 0);
	for (unsigned i = 0; i < 8; i++) {
		at[i] = (i & 1 ? kept : dropped) + rnd(state) % PAGES * PAGE;
		was[i] = load(space, at[i]);
	}
	for (unsigned i = 0; i < 8; i++)
		CHECK(load(space, at[i]) == was[i]);
	for (unsigned i = 0; i < 8; i++)
		store(space, at[i], ~0ull);
	CHECK_INT(fl_mm_check(space), 0);
	CHECK_INT(fl_mm_destroy(space), 0);
}

/* What a kernel does behind a program's back. Each may find that it cannot. */
static void *mover(void *arg)
{
	uint64_t state = 11;

	while (!atomic_load(&stop)) {
		uint64_t base = rnd(&state) & 1 ? kept : dropped, page = rnd(&state) % (PAGES - 8);

		switch (rnd(&state) % 5) {
		case 0:
			fl_madvise(mm, base, HUGE, 25 /* MADV_COLLAPSE */);
			break;
		case 1:
			CHECK_INT(fl_madvise(mm, base + page * PAGE, 8 * PAGE, MADV_PAGEOUT), 0);
			break;
		case 2:
			CHECK(migrated(mm, base + page * PAGE, 8 * PAGE) >= 0);
			break;
		case 3:
			child(&state);
			break;
		default:
			atomic_fetch_add(&clears, 1);
			CHECK_INT(fl_mm_clear_soft_dirty(mm), 0);
			atomic_fetch_add(&clears, 1);
		}
	}
	return NULL;
}

static void test_leaf(void)
{
	pthread_t threads[WRITERS + 3];
	double began = now();
	uint64_t at;

	CHECK_INT(fl_mm_create(&mm, 64ull << 20), 0);
	CHECK_INT(fl_uffd_open(mm, O_NONBLOCK, &uffd), 0);
	CHECK_INT(fl_uffd_api(uffd, FEAT_WP | FL_UFFD_FEATURE_WP_UNPOPULATED, NULL), 0);
	CHECK(fl_mmap(mm, 0, 3 * HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, &at) == 0);
	dropped = (at + HUGE - 1) & ~(HUGE - 1);
	kept = dropped + HUGE;
	CHECK_INT(fl_madvise(mm, at, 3 * HUGE, MADV_HUGEPAGE), 0);
	CHECK_INT(fl_uffd_register(uffd, kept, HUGE, WP, NULL), 0);
	for (unsigned i = 0; i < WRITERS; i++)
		threads[i] = spawn(writer, (void *)(uintptr_t)i);
	threads[WRITERS] = spawn(protector, NULL);
	threads[WRITERS + 1] = spawn(dropper, NULL);
	threads[WRITERS + 2] = spawn(mover, NULL);
	while (goes_on(began, SECONDS, atomic_load(&noticed) && atomic_load(&still))) {
		sleep_ms(100);
		CHECK_INT(fl_mm_check(mm), 0);
	}
	atomic_store(&stop, 1);
	for (unsigned i = 0; i < WRITERS + 3; i++)
		join(threads[i]);
	note("%lu stores were noted, %lu times memory stood still", atomic_load(&noticed), atomic_load(&still));
	CHECK(atomic_load(&noticed) && atomic_load(&still));
	CHECK_INT(fl_mm_check(mm), 0);
	CHECK_INT(fl_uffd_close(uffd), 0);
	CHECK_INT(fl_mm_destroy(mm), 0);
}

static const struct test tests[] = {
	{"soft-leaf", test_leaf, 120},
	{NULL, NULL, 0},
};

int main(int argc, char **argv)
{
	return run_cases(argc, argv, tests);
}
