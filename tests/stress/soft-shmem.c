/* SPDX-License-Identifier: MIT */
/* soft-shmem.c - shared.h on a shared memory object that two soft address spaces map. */
#include "address.h"
#include "shared.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>

#include <faultline/testing.h>

static struct fl_mm *spaces[2];
static struct fl_shmem *shmem;
static struct fl_uffd *uffd;
static const uint64_t base = 0x100000000000;

/* 0, or SIGBUS where the file ends. */
static bool done(int sig)
{
	if (sig)
		CHECK_INT(sig, SIGBUS);
	return !sig;
}

static bool load(int mapping, uint64_t offset, uint64_t *value)
{
	return done(fl_load(spaces[mapping], base + offset, value, sizeof(*value)));
}

static bool store(int mapping, uint64_t offset, uint64_t value)
{
	return done(fl_store(spaces[mapping], base + offset, &value, sizeof(value)));
}

static int resize(uint64_t size)
{
	return fl_shmem_truncate(shmem, size);
}

static int punch(uint64_t offset, uint64_t len)
{
	return fl_shmem_punch(shmem, offset, len);
}

static int advise(int mapping, uint64_t offset, uint64_t len, int advice)
{
	return fl_madvise(spaces[mapping], base + offset, len, advice);
}

static int call(unsigned long cmd, void *arg)
{
	return fl_uffd_ioctl(uffd, cmd, arg);
}

static bool next(struct uffd_msg *msg, int ms)
{
	return fl_uffd_poll(uffd, ms) == POLLIN && fl_uffd_read(uffd, msg, sizeof(*msg)) == sizeof(*msg);
}

static void look(void)
{
	CHECK_INT(fl_mm_check(spaces[REGISTERED]), 0);
	CHECK_INT(fl_mm_check(spaces[OTHER]), 0);
}

static void set_up(void)
{
	struct fl_mm *mm;

	CHECK_INT(fl_mm_create(&mm, 8ull << 20), 0);
	CHECK_INT(fl_shmem_create(mm, SHARED_SIZE, &shmem), 0);
	fl_shmem_huge(shmem, 1);
	CHECK(map_shmem_addr(mm, base, SHARED_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, shmem, 0) ==
	      base);
	spaces[REGISTERED] = mm;
	CHECK_INT(fl_mm_fork(mm, &spaces[OTHER]), 0);
	CHECK_INT(fl_uffd_open(mm, O_NONBLOCK, &uffd), 0);
	CHECK_INT(fl_uffd_api(uffd, SHARED_FEATURES, NULL), 0);
	CHECK_INT(fl_uffd_register(uffd, base, SHARED_SIZE, SHARED_MODES, NULL), 0);
}

static void tear_down(void)
{
	uint64_t words[SHARED_PAGES];

	CHECK_INT(fl_shmem_truncate(shmem, 0), 0);
	CHECK_INT(fl_mm_pagemap(spaces[OTHER], base, SHARED_PAGES, words), 0);
	for (unsigned i = 0; i < SHARED_PAGES; i++)
		CHECK(!(words[i] & FL_PM_PRESENT));
	look();
	CHECK_INT(fl_uffd_close(uffd), 0);
	CHECK_INT(fl_mm_destroy(spaces[REGISTERED]), 0);
	fl_shmem_close(shmem);
	CHECK_INT(fl_mm_destroy(spaces[OTHER]), 0);
}

static void test_shmem(void)
{
	static const struct shared shared = {base, load, store, resize, punch, advise, call, next, look};

	set_up();
	CHECK(shared_run(&shared));
	tear_down();
}

static const struct test tests[] = {
	{"soft-shmem", test_shmem, 180},
	{NULL, NULL, 0},
};

int main(int argc, char **argv)
{
	return run_cases(argc, argv, tests);
}
