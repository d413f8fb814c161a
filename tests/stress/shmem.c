/* SPDX-License-Identifier: MIT */
/* shmem.c - shared.h on a memfd, mapped twice by the process. */
#include "shared.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <setjmp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

static int file, uffd;
static char *maps[2];
static _Thread_local sigjmp_buf *back;

static void on_sigbus(int sig)
{
	siglongjmp(*back, 1);
}

static bool load(int mapping, uint64_t offset, uint64_t *value)
{
	const uint64_t *at = (const void *)(maps[mapping] + offset);
	sigjmp_buf here;

	back = &here;
	if (sigsetjmp(here, 1))
		return false;
	*value = __atomic_load_n(at, __ATOMIC_RELAXED);
	return true;
}

static bool store(int mapping, uint64_t offset, uint64_t value)
{
	uint64_t *at = (void *)(maps[mapping] + offset);
	sigjmp_buf here;

	back = &here;
	if (sigsetjmp(here, 1))
		return false;
	__atomic_store_n(at, value, __ATOMIC_RELAXED);
	return true;
}

static int resize(uint64_t size)
{
	return ftruncate(file, (off_t)size);
}

static int punch(uint64_t offset, uint64_t len)
{
	return fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)len);
}

static int advise(int mapping, uint64_t offset, uint64_t len, int advice)
{
	return madvise(maps[mapping] + offset, len, advice);
}

static int call(unsigned long cmd, void *arg)
{
	return ioctl(uffd, cmd, arg);
}

static bool next(struct uffd_msg *msg, int ms)
{
	return uffd_next(uffd, msg, ms);
}

/* At an address where 2 MiB can be mapped by one leaf. */
static void map_twice(void)
{
	const uint64_t align = 2 << 20, apart = 8 << 20;
	char *room = mmap(NULL, 2 * apart + align, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	CHECK(room != MAP_FAILED);
	for (int i = 0; i < 2; i++) {
		maps[i] = room + (-(uintptr_t)room & (align - 1)) + (uint64_t)i * apart;
		CHECK(mmap(maps[i], SHARED_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file, 0) == maps[i]);
	}
}

static void test_shmem(void)
{
	struct sigaction action = {.sa_handler = on_sigbus};
	struct shared shared = {0, load, store, resize, punch, advise, call, next, NULL};

	CHECK_INT(sigaction(SIGBUS, &action, NULL), 0);
	file = memfd_create("shmem", MFD_CLOEXEC);
	CHECK(file >= 0);
	CHECK_INT(ftruncate(file, (off_t)SHARED_SIZE), 0);
	map_twice();
	uffd = uffd_open(O_NONBLOCK, SHARED_FEATURES);
	uffd_register(uffd, maps[REGISTERED], SHARED_SIZE, SHARED_MODES);
	shared.base = (uintptr_t)maps[REGISTERED];
	shared_run(&shared); /* whether there are large folios is up to the host */
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
