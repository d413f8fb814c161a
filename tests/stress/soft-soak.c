/* SPDX-License-Identifier: MIT */
/*
 * soft-soak.c - the soak through faultline.h: on a soft address space or, as `process-soak`, natively in the
 * process's own. Both run under the thread sanitizer, which cannot see into a preloaded library.
 */
#include "soak.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>

#include <faultline/testing.h>

static struct fl_mm *mm;
static struct fl_uffd *uffd;

#ifdef OWN_SPACE
/* The threads race on purpose, so word by word. */
static int soft_load(uint64_t addr, uint64_t *words, size_t n)
{
	for (size_t i = 0; i < n; i++)
		words[i] = __atomic_load_n((uint64_t *)addr + i, __ATOMIC_RELAXED);
	return 0;
}

static int soft_store(uint64_t addr, const uint64_t *words, size_t n)
{
	for (size_t i = 0; i < n; i++)
		__atomic_store_n((uint64_t *)addr + i, words[i], __ATOMIC_RELAXED);
	return 0;
}
#else
static int soft_load(uint64_t addr, uint64_t *words, size_t n)
{
	return fl_load(mm, addr, words, n * sizeof(*words));
}

static int soft_store(uint64_t addr, const uint64_t *words, size_t n)
{
	return fl_store(mm, addr, words, n * sizeof(*words));
}
#endif

static int soft_dontneed(uint64_t addr, uint64_t len)
{
	return fl_madvise(mm, addr, len, MADV_DONTNEED) ? -errno : 0;
}

static int soft_ioctl(unsigned long cmd, void *arg)
{
	return fl_uffd_ioctl(uffd, cmd, arg) ? -errno : 0;
}

static bool soft_next(struct uffd_msg *msg, int ms)
{
	return fl_uffd_poll(uffd, ms) == POLLIN && fl_uffd_read(uffd, msg, sizeof(*msg)) == sizeof(*msg);
}

/* The process's own exists already, and stays. */
static void get_space(void)
{
#ifdef OWN_SPACE
	CHECK_INT(fl_mm_process(&mm), 0);
#else
	CHECK_INT(fl_mm_create(&mm, SOAK_PAGES * 4096ul * 4), 0);
#endif
}

static void run(bool unregister)
{
	struct space s = {0, soft_load, soft_store, soft_dontneed, soft_ioctl, soft_next};
	get_space();
	CHECK_INT(fl_uffd_open(mm, O_NONBLOCK | FL_UFFD_SRC_HOST, &uffd), 0);
	CHECK_INT(fl_uffd_api(uffd, FEAT_WP, NULL), 0);
	CHECK(fl_mmap(mm, 0, SOAK_PAGES * 4096ul, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, &s.base) == 0);
	soak(&s, unregister);
	CHECK_INT(fl_mm_check(mm), 0);
	CHECK_INT(fl_uffd_close(uffd), 0);
	CHECK_INT(fl_munmap(mm, s.base, SOAK_PAGES * 4096ul), 0);
#ifndef OWN_SPACE
	CHECK_INT(fl_mm_destroy(mm), 0);
#endif
}

static void test_soak(void)
{
	run(false);
}

static void test_soak_unregister(void)
{
	run(true);
}

static const struct test tests[] = {
	{"soft-soak", test_soak, 120},
	{"soft-soak-unregister", test_soak_unregister, 120},
	{NULL, NULL, 0},
};

int main(int argc, char **argv)
{
	return run_cases(argc, argv, tests);
}
