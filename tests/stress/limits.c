/* SPDX-License-Identifier: MIT */
/*
 * limits.c - userfaultfd needs no file, few descriptors, little address space and no locked memory beside the
 * program's own; and memory that a program has made read-only, or is done with, is not to be found a second time.
 */
#include "stress.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGES 1024
#define SIZE  (PAGES * (size_t)PAGE)
#define MIB   (1l << 20)

static struct handler handler;

static void limit(unsigned what, rlim_t soft)
{
	struct rlimit r;

	CHECK_INT(getrlimit(what, &r), 0);
	r.rlim_cur = soft;
	CHECK_INT(setrlimit(what, &r), 0);
}

/* A line of /proc/self/status, in bytes. */
static long status(const char *name)
{
	FILE *f = fopen("/proc/self/status", "r");
	char line[256];
	long kib = 0;

	CHECK(f);
	while (fgets(line, sizeof(line), f))
		if (strncmp(line, name, strlen(name)) == 0)
			kib = atol(line + strlen(name) + 1);
	fclose(f);
	return kib << 10;
}

static void begin(void)
{
	handler.fd = uffd_open(O_CLOEXEC, FEAT_WP);
	handler_start(&handler);
}

static void faults(uint8_t *p)
{
	unsigned long missing = handler.missing;

	for (int i = 0; i < PAGES; i++)
		CHECK(stamped(p + i * PAGE, (uintptr_t)(p + i * PAGE)));
	CHECK_INT(handler.missing - missing, PAGES);
}

/* Fresh memory, dropped memory, a fill of all of it, memory that was filled before. */
static void exercise(uint8_t *p)
{
	static uint8_t source[SIZE];

	faults(p);
	CHECK_INT(madvise(p, SIZE, MADV_DONTNEED), 0);
	faults(p);
	CHECK_INT(madvise(p, SIZE, MADV_DONTNEED), 0);
	memset(source, 7, SIZE);
	CHECK_INT(uffd_copy(handler.fd, p, source, SIZE, 0), 0);
	CHECK_INT(p[SIZE - 1], 7);
	CHECK_INT(madvise(p, SIZE, MADV_DONTNEED), 0);
	CHECK_INT(uffd_zero(handler.fd, p, SIZE), 0);
	CHECK_INT(p[SIZE / 2], 0);
	CHECK_INT(madvise(p, SIZE, MADV_DONTNEED), 0);
	CHECK_INT(uffd_unregister(handler.fd, p, SIZE), 0);
	p[PAGE] = 9;
	uffd_register(handler.fd, p, SIZE, MISSING | WP);
	CHECK_INT(p[PAGE], 9);
	CHECK_INT(madvise(p, PAGE * 2, MADV_DONTNEED), 0);
	faults(p);
	CHECK_INT(munmap(p, SIZE), 0);
}

static uint8_t *registered(void)
{
	uint8_t *p = map_pages(PAGES);

	uffd_register(handler.fd, p, SIZE, MISSING | WP);
	return p;
}

/* ---- files and descriptors ---- */

static void test_file_size(void)
{
	uint8_t *p;

	limit(RLIMIT_FSIZE, 0);
	begin();
	p = registered();
	limit(RLIMIT_FSIZE, 0);
	exercise(p);
	exercise(registered());
}

static void test_file_size_later(void)
{
	uint8_t *p;

	begin();
	p = registered();
	limit(RLIMIT_FSIZE, 0);
	exercise(p);
	exercise(registered());
}

/* Every number is taken. */
static void test_full_table(void)
{
	uint8_t *p;
	int fd;

	limit(RLIMIT_NOFILE, 64);
	begin();
	p = registered();
	while ((fd = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0)
		;
	exercise(p);
	exercise(registered());
}

/* Every number but the handler's, and those of standard streams, is closed, or becomes another file. */
static void others(int of_dev_null)
{
	for (int fd = 3; fd < 4096; fd++) {
		if (fd == handler.fd || fd == handler.stop || (of_dev_null >= 0 && fd == of_dev_null))
			continue;
		if (of_dev_null >= 0)
			dup3(of_dev_null, fd, O_CLOEXEC);
		else
			close(fd);
	}
}

static void test_closed(void)
{
	uint8_t *p;

	begin();
	p = registered();
	others(-1);
	exercise(p);
	exercise(registered());
}

static void test_taken(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	uint8_t *p;

	begin();
	p = registered();
	others(null);
	exercise(p);
	exercise(registered());
}

static void *in_own_table(void *p)
{
	CHECK_INT(unshare(CLONE_FILES), 0);
	others(-1);
	exercise(p);
	return NULL;
}

/* A thread with a table of its own, in which there is only the object. */
static void test_own_table(void)
{
	uint8_t *p, *q;

	begin();
	p = registered();
	q = registered();
	join(spawn(in_own_table, p));
	exercise(q);
}

/* ---- memory ---- */

static void test_locked_before(void)
{
	long before;
	uint8_t *p;

	if (mlockall(MCL_CURRENT | MCL_FUTURE))
		skip("memory cannot be locked");
	before = status("VmRSS:");
	begin();
	p = map_pages(PAGES);
	memset(p, 5, SIZE);
	uffd_register(handler.fd, p, SIZE, MISSING | WP);
	CHECK_INT(p[SIZE - 1], 5);
	CHECK(status("VmRSS:") - before < 64 * MIB);
	CHECK_INT(munlockall(), 0);
}

static void test_locked_later(void)
{
	long before;
	uint8_t *p;

	begin();
	p = registered();
	faults(p);
	before = status("VmRSS:");
	if (mlockall(MCL_CURRENT | MCL_FUTURE))
		skip("memory cannot be locked");
	CHECK_INT(p[SIZE - PAGE], p[SIZE - PAGE]);
	uffd_register(handler.fd, map_pages(PAGES), SIZE, MISSING | WP);
	CHECK(status("VmRSS:") - before < 96 * MIB);
	CHECK_INT(munlockall(), 0);
}

/* Limits that leave room for the program, and not for much else. */
static void test_address_space(void)
{
	limit(RLIMIT_AS, (rlim_t)(status("VmSize:") + 128 * MIB));
	begin();
	exercise(registered());
}

static void test_address_space_later(void)
{
	begin();
	limit(RLIMIT_AS, (rlim_t)(status("VmSize:") + 64 * MIB));
	exercise(registered());
	exercise(registered());
}

static void *idle(void *unused)
{
	return unused;
}

/* A thread that allocates nothing has no arena of malloc's, which takes 64 MiB of the program's addresses. */
static void test_thread(void)
{
	long before = status("VmPeak:");

	for (int i = 0; i < 8; i++)
		join(spawn(idle, NULL));
	CHECK(status("VmPeak:") - before < 32 * MIB);
}

static void test_data(void)
{
	limit(RLIMIT_DATA, (rlim_t)(status("VmData:") + 64 * MIB));
	begin();
	exercise(registered());
}

/* No room at all: it may fail, and then nothing has happened to the memory. */
static void test_no_room(void)
{
	size_t len = (size_t)(256 * MIB);
	uint8_t *p;
	struct uffdio_register r;

	begin();
	p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	CHECK(p != MAP_FAILED);
	memset(p, 3, SIZE);
	limit(RLIMIT_AS, (rlim_t)(status("VmSize:") + 8 * MIB));
	r = (struct uffdio_register){.range = {(uintptr_t)p, len}, .mode = MISSING | WP};
	if (ioctl(handler.fd, UFFDIO_REGISTER, &r))
		CHECK_INT(errno, ENOMEM);
	for (size_t i = 0; i < SIZE; i += PAGE)
		CHECK_INT(p[i], 3);
	p[0] = 4;
	CHECK_INT(p[0], 4);
}

/* ---- a small memory cgroup ---- */

static int write_text(const char *dir, const char *file, const char *text)
{
	char path[256];
	int fd;
	ssize_t n;

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	n = write(fd, text, strlen(text));
	close(fd);
	return n < 0 ? -1 : 0;
}

/* 400 MiB go through a window of 16, in a group of 100. */
static void through_a_window(void *dir)
{
	size_t window = (size_t)(16 * MIB), len = (size_t)(400 * MIB);
	uint8_t *p, *source;
	char pid[16];

	snprintf(pid, sizeof(pid), "%d", getpid());
	if (write_text(dir, "cgroup.procs", pid))
		_exit(77);
	handler.fd = uffd_open(O_CLOEXEC, FEAT_WP);
	p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	source = map_pages(window / PAGE);
	memset(source, 1, window);
	uffd_register(handler.fd, p, len, MISSING);
	for (size_t at = 0; at < len; at += window) {
		CHECK_INT(uffd_copy(handler.fd, p + at, source, window, 0), 0);
		for (size_t i = 0; i < window; i += PAGE)
			CHECK_INT(p[at + i], 1);
		CHECK_INT(madvise(p + at, window, MADV_DONTNEED), 0);
	}
}

static void test_cgroup(void)
{
	char dir[128];
	int st;

	snprintf(dir, sizeof(dir), "/sys/fs/cgroup/%sstress-limits.%d",
		 access("/sys/fs/cgroup/memory", F_OK) ? "" : "memory/", getpid());
	if (mkdir(dir, 0755))
		skip("no memory cgroup can be made");
	if (write_text(dir, "memory.limit_in_bytes", "104857600") && write_text(dir, "memory.max", "104857600")) {
		rmdir(dir);
		skip("no memory cgroup can be made");
	}
	st = in_child(through_a_window, dir);
	rmdir(dir);
	if (WIFEXITED(st) && WEXITSTATUS(st) == 77)
		skip("no memory cgroup can be entered");
	CHECK_INT(st, 0);
}

/* ---- not to be found a second time ---- */

#define NEEDLE "stress-limits-needle-0123456789"

static const char needle[] = NEEDLE;

/* Is it in a mapping other than [p, p + SIZE), or the program's own? Only pages that are there are read. */
static bool found_in(uint8_t *start, uint8_t *end, const uint8_t *p)
{
	/* what is looked for is in no constant, and in no buffer at the begin of a page */
	static _Alignas(64) char odd[1 + sizeof(needle)];
	char *want = odd + 1;

	memcpy(want, needle, sizeof(needle));
	want[0] = 'S';
	for (uint8_t *at = start; at < end; at += PAGE) {
		unsigned char in = 0;

		if ((at >= p && at < p + SIZE) || mincore(at, PAGE, &in) || !(in & 1))
			continue;
		if (memcmp(at, want, sizeof(needle)) == 0)
			return true;
	}
	return false;
}

static bool found_again(const uint8_t *p)
{
	struct {
		unsigned long start, end;
	} map[512];
	FILE *f = fopen("/proc/self/maps", "r");
	char line[512], rights[5];
	int n = 0;

	CHECK(f);
	while (n < 512 && fgets(line, sizeof(line), f))
		if (sscanf(line, "%lx-%lx %4s", &map[n].start, &map[n].end, rights) == 3 && rights[0] == 'r' &&
		    !strstr(line, "[v"))
			n++;
	fclose(f);
	for (int i = 0; i < n; i++)
		if (found_in((uint8_t *)map[i].start, (uint8_t *)map[i].end, p))
			return true;
	return false;
}

static void put_needle(uint8_t *p)
{
	memcpy(p, needle, sizeof(needle));
	p[0] = 'S';
}

static void test_unregistered(void)
{
	uint8_t *p;

	begin();
	p = registered();
	faults(p);
	put_needle(p + 8 * PAGE);
	CHECK_INT(uffd_unregister(handler.fd, p, SIZE), 0);
	CHECK(!found_again(p));
	CHECK_INT(p[8 * PAGE], 'S');
	CHECK_INT(mprotect(p, SIZE, PROT_READ | PROT_EXEC), 0);
	CHECK(!found_again(p));
}

static void test_read_only(void)
{
	static uint8_t source[PAGE];
	uint8_t *p;

	begin();
	p = registered();
	faults(p);
	put_needle(p + 8 * PAGE);
	CHECK_INT(mprotect(p, SIZE, PROT_READ), 0);
	CHECK(!found_again(p));
	CHECK_INT(p[8 * PAGE], 'S');
	CHECK_INT(mprotect(p, SIZE, PROT_NONE), 0);
	CHECK(!found_again(p));
	/* what it holds, and what is filled now, is there all the same */
	CHECK_INT(madvise(p, PAGE, MADV_DONTNEED), 0);
	put_needle(source);
	CHECK_INT(uffd_copy(handler.fd, p, source, PAGE, 0), 0);
	source[0] = 0;
	CHECK(!found_again(p));
	CHECK_INT(mprotect(p, SIZE, PROT_READ | PROT_WRITE), 0);
	CHECK(memcmp(p, p + 8 * PAGE, sizeof(needle)) == 0);
	CHECK(stamped(p + PAGE, (uintptr_t)(p + PAGE)));
	p[0] = 1;
	CHECK_INT(p[0], 1);
}

static void child_reads(void *p)
{
	uint8_t *at = p;

	CHECK_INT(at[8 * PAGE], 'S');
	CHECK(!found_again(at));
	CHECK_INT(mprotect(at, SIZE, PROT_READ | PROT_WRITE), 0);
	at[8 * PAGE] = 1;
}

/* The same in a child, which has a copy. */
static void test_read_only_child(void)
{
	uint8_t *p;

	begin();
	p = registered();
	faults(p);
	put_needle(p + 8 * PAGE);
	CHECK_INT(mprotect(p, SIZE, PROT_READ), 0);
	CHECK_INT(in_child(child_reads, p), 0);
	CHECK_INT(p[8 * PAGE], 'S');
}

static const struct test tests[] = {
	{"file-size", test_file_size, 0},
	{"file-size-later", test_file_size_later, 0},
	{"full-table", test_full_table, 0},
	{"closed", test_closed, 0},
	{"taken", test_taken, 0},
	{"own-table", test_own_table, 0},
	{"locked-before", test_locked_before, 0},
	{"locked-later", test_locked_later, 0},
	{"address-space", test_address_space, 0},
	{"address-space-later", test_address_space_later, 0},
	{"thread", test_thread, 0},
	{"data", test_data, 0},
	{"no-room", test_no_room, 0},
	{"cgroup", test_cgroup, 0},
	{"unregistered", test_unregistered, 0},
	{"read-only", test_read_only, 0},
	{"read-only-child", test_read_only_child, 0},
	{NULL, NULL, 0},
};

int main(int argc, char **argv)
{
	return run_tests(argc, argv, tests);
}
