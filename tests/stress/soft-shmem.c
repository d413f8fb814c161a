/* SPDX-License-Identifier: MIT */
/*
 * soft-shmem.c - a shared memory object that two soft address spaces map while it is truncated, grown and punched, its
 * mappings are dropped and write-protected, its pages become one large folio and come apart again, and a handler answers
 * missing, minor and write-protect faults of one of the two. A page holds what was stored last, or zeros if it was
 * dropped since; behind the end there is SIGBUS, and never anything else.
 */
#include "stress.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <faultline/faultline.h>

#define PAGES	 640u /* a large folio, and some */
#define SIZE	 ((uint64_t)PAGES * PAGE)
#define HUGE_PAGES 512u
#define WRITERS	 3u /* the last one in the other space, where nothing is registered */
#define MINOR	 FL_UFFDIO_REGISTER_MODE_MINOR
#define FEATURES (FEAT_WP | FL_UFFD_FEATURE_MISSING_SHMEM | FL_UFFD_FEATURE_MINOR_SHMEM)

static struct fl_mm *mm, *other;
static struct fl_shmem *shmem;
static struct fl_uffd *uffd;
static uint64_t base;
static double seconds = 6.0;
static atomic_int stop, handled_all, calm;
static atomic_ulong kept, dropped, behind, collapsed, answers[3];

static struct fl_mm *space_of(uint64_t writer)
{
	return writer == WRITERS - 1 ? other : mm;
}

/* 0, or SIGBUS where the file ends. */
static bool there(int sig)
{
	if (sig)
		CHECK_INT(sig, SIGBUS);
	atomic_fetch_add(&behind, sig != 0);
	return !sig;
}

/* Each writer has pages of its own: what it finds there it stored itself, or it is zero. */
static void *writer(void *arg)
{
	uint64_t me = (uint64_t)(uintptr_t)arg, state = me + 1, last[PAGES] = {0}, got;

	for (uint64_t n = 1; !atomic_load(&stop); n++) {
		unsigned page = (unsigned)(rnd(&state) % (PAGES / WRITERS) * WRITERS + me);
		uint64_t addr = base + page * PAGE, value = n << 8 | me;

		if (there(fl_load(space_of(me), addr, &got, sizeof(got)))) {
			if (got && got != last[page])
				FAIL("page %u holds %llx, not %llx", page, (unsigned long long)got,
				     (unsigned long long)last[page]);
			atomic_fetch_add(got ? &kept : &dropped, 1);
			last[page] = got;
		} /* it is behind the end: a folio that reaches there may keep it for when the file grows, as the kernel's */
		if (there(fl_store(space_of(me), addr, &value, sizeof(value))))
			last[page] = value;
	}
	return NULL;
}

/* A page that went away meanwhile, or that another answer has mapped, is faulted on again: waking is enough. */
static void answer(const struct uffd_msg *msg)
{
	uint64_t at = PAGE_OF(msg->arg.pagefault.address), flags = msg->arg.pagefault.flags;
	struct fl_uffdio_continue go = {.range = {at, PAGE}};
	int ret;

	if (flags & UFFD_PAGEFAULT_FLAG_WP)
		ret = fl_uffd_writeprotect(uffd, at, PAGE, 0);
	else if (flags & FL_UFFD_PAGEFAULT_FLAG_MINOR)
		ret = fl_uffd_ioctl(uffd, FL_UFFDIO_CONTINUE, &go);
	else
		ret = fl_uffd_zeropage(uffd, at, PAGE, 0, NULL);
	if (ret)
		CHECK_INT(fl_uffd_wake(uffd, at, PAGE), 0);
	else
		atomic_fetch_add(&answers[(flags & UFFD_PAGEFAULT_FLAG_WP) ? 2 : !!(flags & FL_UFFD_PAGEFAULT_FLAG_MINOR)], 1);
}

static void *handler(void *arg)
{
	struct uffd_msg msg;

	while (!atomic_load(&handled_all))
		if (fl_uffd_poll(uffd, 20) == POLLIN && fl_uffd_read(uffd, &msg, sizeof(msg)) == sizeof(msg))
			answer(&msg);
	return NULL;
}

/* Pages go, but in one of four collapses not before it is done: however slow the machine is, there are large folios. */
static void wait_for_calm_to_end(void)
{
	while (atomic_load(&calm) && !atomic_load(&stop))
		sleep_ms(1);
}

static void *truncater(void *arg)
{
	uint64_t state = 3;

	while (!atomic_load(&stop)) {
		wait_for_calm_to_end();
		CHECK_INT(fl_shmem_truncate(shmem, rnd(&state) % PAGES * PAGE), 0);
		CHECK_INT(fl_shmem_truncate(shmem, SIZE), 0);
		sleep_ms(1);
	}
	return NULL;
}

static void *puncher(void *arg)
{
	uint64_t state = 5;

	while (!atomic_load(&stop)) {
		uint64_t page = rnd(&state) % PAGES, n = 1 + rnd(&state) % (PAGES - page);

		wait_for_calm_to_end();
		switch (rnd(&state) % 4) {
		case 0:
			CHECK_INT(fl_shmem_punch(shmem, page * PAGE, (1 + n % 4) * PAGE), 0);
			break;
		case 1:
			CHECK_INT(fl_madvise(mm, base + page * PAGE, PAGE, MADV_REMOVE), 0);
			break;
		case 2: /* only the mapping's pages: the file keeps them */
			CHECK_INT(fl_madvise(rnd(&state) & 1 ? mm : other, base + page * PAGE, n * PAGE, MADV_DONTNEED), 0);
			break;
		default:
			CHECK_INT(fl_uffd_writeprotect(uffd, base + page * PAGE, n * PAGE, UFFDIO_WRITEPROTECT_MODE_WP), 0);
		}
	}
	return NULL;
}

/* Holes are filled first: where somebody waits for missing pages there must be none. */
static void *collapser(void *arg)
{
	uint64_t state = 7, got;

	for (unsigned n = 0; !atomic_load(&stop); n++) {
		int ret;

		atomic_store(&calm, n % 4 == 0);
		for (unsigned page = 0; page < HUGE_PAGES; page++)
			there(fl_load(other, base + page * PAGE + PAGE / 2, &got, sizeof(got))); /* not what is stored to */
		ret = fl_madvise(rnd(&state) % 4 ? other : mm, base, HUGE_PAGES * PAGE, 25 /* MADV_COLLAPSE */);
		CHECK(!ret || errno == EAGAIN || errno == EBUSY || errno == EINVAL || errno == ENOMEM);
		atomic_fetch_add(&collapsed, !ret);
	}
	return NULL;
}

static void set_up(void)
{
	CHECK_INT(fl_mm_create(&mm, 8ull << 20), 0);
	CHECK_INT(fl_shmem_create(mm, SIZE, &shmem), 0);
	fl_shmem_huge(shmem, 1);
	base = 0x100000000000;
	CHECK(fl_mmap_shmem(mm, base, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, shmem, 0) == base);
	CHECK_INT(fl_mm_fork(mm, &other), 0);
	CHECK_INT(fl_uffd_open(mm, O_NONBLOCK, &uffd), 0);
	CHECK_INT(fl_uffd_api(uffd, FEATURES, NULL), 0);
	CHECK_INT(fl_uffd_register(uffd, base, SIZE, MISSING | WP | MINOR, NULL), 0);
}

static void tear_down(void)
{
	uint64_t words[PAGES];

	CHECK_INT(fl_shmem_truncate(shmem, 0), 0);
	CHECK_INT(fl_mm_pagemap(other, base, PAGES, words), 0);
	for (unsigned i = 0; i < PAGES; i++)
		CHECK(!(words[i] & FL_PM_PRESENT));
	CHECK_INT(fl_mm_check(mm), 0);
	CHECK_INT(fl_mm_check(other), 0);
	CHECK_INT(fl_uffd_close(uffd), 0);
	CHECK_INT(fl_mm_destroy(mm), 0);
	fl_shmem_close(shmem);
	CHECK_INT(fl_mm_destroy(other), 0);
}

static void test_shmem(void)
{
	static void *(*const disturb[])(void *) = {truncater, puncher, collapser};
	pthread_t threads[WRITERS + 3], handle;
	double end = now() + seconds;

	set_up();
	handle = spawn(handler, NULL);
	for (unsigned i = 0; i < WRITERS; i++)
		threads[i] = spawn(writer, (void *)(uintptr_t)i);
	for (unsigned i = 0; i < 3; i++)
		threads[WRITERS + i] = spawn(disturb[i], NULL);
	while (now() < end) {
		sleep_ms(100);
		CHECK_INT(fl_mm_check(mm), 0);
		CHECK_INT(fl_mm_check(other), 0);
	}
	atomic_store(&stop, 1);
	for (unsigned i = 0; i < WRITERS + 3; i++)
		join(threads[i]);
	atomic_store(&handled_all, 1);
	join(handle);
	note("%lu pages kept what was stored, %lu were dropped, %lu behind the end", atomic_load(&kept), atomic_load(&dropped),
	     atomic_load(&behind));
	note("%lu times one folio was made of 2 MiB", atomic_load(&collapsed));
	note("%lu missing, %lu minor, %lu write-protect faults", atomic_load(&answers[0]), atomic_load(&answers[1]),
	     atomic_load(&answers[2]));
	CHECK(atomic_load(&kept) && atomic_load(&dropped) && atomic_load(&behind));
	CHECK(atomic_load(&collapsed));
	CHECK(atomic_load(&answers[0]) && atomic_load(&answers[1]) && atomic_load(&answers[2]));
	tear_down();
}

static const struct test tests[] = {
	{"soft-shmem", test_shmem, 180},
	{NULL, NULL, 0},
};

int main(int argc, char **argv)
{
	const char *asked = getenv("STRESS_SECONDS");

	if (asked)
		seconds = atof(asked);
	return run_cases(argc, argv, tests);
}
