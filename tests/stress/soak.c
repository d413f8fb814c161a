/* SPDX-License-Identifier: MIT */
/*
 * soak.c - the soak on the process's own memory.
 */
#include "soak.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

static int fd;

static int native_load(uint64_t addr, uint64_t *words, size_t n)
{
	const uint64_t *p = (const uint64_t *)addr;
	for (size_t i = 0; i < n; i++)
		words[i] = __atomic_load_n(&p[i], __ATOMIC_RELAXED);
	return 0;
}

static int native_store(uint64_t addr, const uint64_t *words, size_t n)
{
	uint64_t *p = (uint64_t *)addr;
	for (size_t i = 0; i < n; i++)
		__atomic_store_n(&p[i], words[i], __ATOMIC_RELAXED);
	return 0;
}

static int native_dontneed(uint64_t addr, uint64_t len)
{
	return madvise((void *)addr, len, MADV_DONTNEED) ? -errno : 0;
}

static int native_ioctl(unsigned long cmd, void *arg)
{
	return ioctl(fd, cmd, arg) ? -errno : 0;
}

static bool native_next(struct uffd_msg *msg, int ms)
{
	return uffd_next(fd, msg, ms); /* another handler may have taken it */
}

static void run(bool unregister)
{
	struct space s = {(uintptr_t)map_pages(SOAK_PAGES),
			  native_load,
			  native_store,
			  native_dontneed,
			  native_ioctl,
			  native_next};
	fd = uffd_open(O_CLOEXEC | O_NONBLOCK, FEAT_WP);
	soak(&s, unregister);
	CHECK_INT(close(fd), 0);
	CHECK_INT(munmap((void *)s.base, SOAK_PAGES * PAGE), 0);
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
	{"soak", test_soak, 0},
	{"soak-unregister", test_soak_unregister, 0},
	{NULL, NULL, 0},
};

int main(int argc, char **argv)
{
	return run_tests(argc, argv, tests);
}
