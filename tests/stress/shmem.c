/* SPDX-License-Identifier: MIT */
/*
 * shmem.c - a memfd that is mapped twice, one mapping registered, while it is truncated, grown and punched, the mappings
 * are dropped and write-protected, 2 MiB become one folio and come apart again, and a handler answers missing, minor and
 * write-protect faults. A page holds what was stored last, or zeros if it was dropped since; behind the end there is
 * SIGBUS, and never anything else. soft-shmem.c is the same on soft address spaces.
 */
#include "stress.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGES	 640u
#define HUGE	 (512 * PAGE)
#define SIZE	 (PAGES * PAGE)
#define WRITERS	 3u /* the last one by the other mapping */
#define MINOR	 UFFDIO_REGISTER_MODE_MINOR
#define FEATURES (FEAT_WP | UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_MINOR_SHMEM)

static int file, uffd;
static char *base, *other;
static atomic_int stop, handled_all;
static atomic_ulong kept, dropped, behind, collapsed, answers[3];
static _Thread_local sigjmp_buf *back;

static void on_sigbus(int sig)
{
	siglongjmp(*back, 1);
}

/* False: SIGBUS, the file ends before. */
static bool load(volatile uint64_t *at, uint64_t *value)
{
	sigjmp_buf here;

	back = &here;
	if (sigsetjmp(here, 1)) {
		atomic_fetch_add(&behind, 1);
		return false;
	}
	*value = *at;
	return true;
}

static bool store(volatile uint64_t *at, uint64_t value)
{
	sigjmp_buf here;

	back = &here;
	if (sigsetjmp(here, 1)) {
		atomic_fetch_add(&behind, 1);
		return false;
	}
	*at = value;
	return true;
}

/* Each writer has pages of its own: what it finds there it stored itself, or it is zero. */
static void *writer(void *arg)
{
	uint64_t me = (uint64_t)(uintptr_t)arg, state = me + 1, last[PAGES] = {0}, got;

	for (uint64_t n = 1; !atomic_load(&stop); n++) {
		unsigned page = (unsigned)(rnd(&state) % (PAGES / WRITERS) * WRITERS + me);
		volatile uint64_t *at = (uint64_t *)((me == WRITERS - 1 ? other : base) + page * PAGE);

		if (load(at, &got)) {
			if (got && got != last[page])
				FAIL("page %u holds %llx, not %llx", page, (unsigned long long)got,
				     (unsigned long long)last[page]);
			atomic_fetch_add(got ? &kept : &dropped, 1);
			last[page] = got;
		} /* it is behind the end: a folio that reaches there may keep it for when the file grows */
		if (store(at, n << 8 | me))
			last[page] = n << 8 | me;
	}
	return NULL;
}

/* A page that went away meanwhile, or that another answer has mapped, is faulted on again: waking is enough. */
static void answer(const struct uffd_msg *msg)
{
	void *at = (void *)(uintptr_t)PAGE_OF(msg->arg.pagefault.address);
	uint64_t flags = msg->arg.pagefault.flags;
	struct uffdio_continue go = {.range = {(uintptr_t)at, PAGE}};
	int ret;

	CHECK_INT(msg->event, UFFD_EVENT_PAGEFAULT);
	if (flags & UFFD_PAGEFAULT_FLAG_WP)
		ret = uffd_protect(uffd, at, PAGE, false);
	else if (flags & UFFD_PAGEFAULT_FLAG_MINOR)
		ret = ioctl(uffd, UFFDIO_CONTINUE, &go);
	else
		ret = uffd_zero(uffd, at, PAGE);
	if (ret)
		CHECK_INT(uffd_wake(uffd, at, PAGE), 0);
	else
		atomic_fetch_add(&answers[(flags & UFFD_PAGEFAULT_FLAG_WP) ? 2 : !!(flags & UFFD_PAGEFAULT_FLAG_MINOR)], 1);
}

static void *handler(void *arg)
{
	struct uffd_msg msg;

	while (!atomic_load(&handled_all))
		if (uffd_next(uffd, &msg, 20))
			answer(&msg);
	return NULL;
}

static void *truncater(void *arg)
{
	uint64_t state = 3;

	while (!atomic_load(&stop)) {
		CHECK_INT(ftruncate(file, (off_t)(rnd(&state) % PAGES * PAGE)), 0);
		CHECK_INT(ftruncate(file, SIZE), 0);
		sleep_ms(1);
	}
	return NULL;
}

static void *puncher(void *arg)
{
	uint64_t state = 5;

	while (!atomic_load(&stop)) {
		size_t page = rnd(&state) % PAGES, n = 1 + rnd(&state) % (PAGES - page);

		switch (rnd(&state) % 4) {
		case 0:
			CHECK_INT(fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)page * PAGE,
					    (off_t)(1 + n % 4) * PAGE), 0);
			break;
		case 1:
			CHECK_INT(madvise(base + page * PAGE, PAGE, MADV_REMOVE), 0);
			break;
		case 2: /* only the mapping's pages: the file keeps them */
			CHECK_INT(madvise((rnd(&state) & 1 ? base : other) + page * PAGE, n * PAGE, MADV_DONTNEED), 0);
			break;
		default:
			CHECK_INT(uffd_protect(uffd, base + page * PAGE, n * PAGE, true), 0);
		}
	}
	return NULL;
}

/* Holes are filled first: where somebody waits for missing pages there must be none. */
static void *collapser(void *arg)
{
	uint64_t state = 7, got;

	while (!atomic_load(&stop)) {
		int ret;

		for (unsigned page = 0; page < HUGE / PAGE; page++)
			load((uint64_t *)(other + page * PAGE + PAGE / 2), &got); /* not what is stored to */
		ret = madvise(rnd(&state) % 4 ? other : base, HUGE, 25 /* MADV_COLLAPSE */);
		CHECK(!ret || errno == EAGAIN || errno == EBUSY || errno == EINVAL || errno == ENOMEM);
		atomic_fetch_add(&collapsed, !ret);
	}
	return NULL;
}

static void *aligned_map(uint64_t at)
{
	void *place = (void *)(uintptr_t)at;

	CHECK(mmap(place, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE, file, 0) == place);
	return place;
}

static void set_up(void)
{
	struct sigaction action = {.sa_handler = on_sigbus};

	CHECK_INT(sigaction(SIGBUS, &action, NULL), 0);
	file = memfd_create("shmem", MFD_CLOEXEC);
	CHECK(file >= 0);
	CHECK_INT(ftruncate(file, SIZE), 0);
	base = aligned_map(0x2a0000000000);
	other = aligned_map(0x2a0000800000);
	uffd = uffd_open(O_NONBLOCK, FEATURES);
	uffd_register(uffd, base, SIZE, MISSING | WP | MINOR);
}

static void test_shmem(void)
{
	static void *(*const disturb[])(void *) = {truncater, puncher, collapser};
	const char *asked = getenv("STRESS_SECONDS");
	pthread_t threads[WRITERS + 3], handle;

	set_up();
	handle = spawn(handler, NULL);
	for (unsigned i = 0; i < WRITERS; i++)
		threads[i] = spawn(writer, (void *)(uintptr_t)i);
	for (unsigned i = 0; i < 3; i++)
		threads[WRITERS + i] = spawn(disturb[i], NULL);
	sleep_ms(asked ? atoi(asked) * 1000 : 6000);
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
	CHECK(atomic_load(&answers[0]) && atomic_load(&answers[1]) && atomic_load(&answers[2]));
	close(uffd);
}

static const struct test tests[] = {
	{"shmem", test_shmem, 120},
	{NULL, NULL, 0},
};

int main(int argc, char **argv)
{
	return run_tests(argc, argv, tests);
}
