/* SPDX-License-Identifier: MIT */
/*
 * mapped-files.c - shared memory in a process without the right to reopen its mappings, as in a container: it can be
 * registered whether it has a descriptor or not, and what faultline holds open for that neither gets in the program's
 * way nor outlives the memory.
 */
#include "stress.h"
#include "unprivileged.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define RW	 (PROT_READ | PROT_WRITE)
#define MANY	 700 /* more than faultline has descriptors for */
#define MAPPERS	 4
#define ROUNDS	 300
#define FEATURES (FEAT_WP | UFFD_FEATURE_MISSING_SHMEM)

static int descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	CHECK(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static char *map_shared(size_t len, int fd)
{
	char *p = mmap(NULL, len, RW, fd < 0 ? MAP_SHARED | MAP_ANONYMOUS : MAP_SHARED, fd, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

static int memory_file(size_t len)
{
	int fd = memfd_create("test", MFD_CLOEXEC);

	CHECK(fd >= 0 && ftruncate(fd, (off_t)len) == 0);
	return fd;
}

/* It is registered, a fault in it is filled, and it is unregistered. */
static void use(char *p, size_t pages)
{
	struct handler h = {.fd = uffd_open(O_CLOEXEC, FEATURES)};

	uffd_register(h.fd, p, pages * PAGE, MISSING);
	handler_start(&h);
	for (size_t i = 0; i < pages; i++)
		CHECK(stamped(p + i * PAGE, (uint64_t)(p + i * PAGE)));
	handler_stop(&h);
	CHECK_INT(h.missing, pages);
	CHECK_INT(uffd_unregister(h.fd, p, pages * PAGE), 0);
	close(h.fd);
}

static void warm_up(void)
{
	char *p = map_pages(1);

	use(p, 1);
	munmap(p, PAGE);
}

/* ---- cases ---- */

static void anonymous(void)
{
	use(map_shared(4 * PAGE, -1), 4);
}

static void closed_descriptor(void)
{
	int fd = memory_file(4 * PAGE);
	char *p = map_shared(4 * PAGE, fd);

	close(fd);
	use(p, 4);
}

/* As a daemon does when it starts. */
static void all_closed(void)
{
	char *p = map_shared(2 * PAGE, -1), *q = map_shared(2 * PAGE, -1);

	for (int fd = 3; fd < 1024; fd++)
		close(fd);
	use(p, 2);
	CHECK_INT(close_range(3, ~0u, 0), 0);
	use(q, 2);
}

/* Past libc: the library does not learn that the number is another file's now. */
static void raw_dup2(int fd, int copy)
{
#ifdef __x86_64__
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"((long)SYS_dup2), "D"((long)fd), "S"((long)copy)
			 : "rcx", "r11", "memory");
	CHECK_INT(ret, copy);
#endif
}

static void closed_unseen(void)
{
	int fd = memory_file(2 * PAGE), other = memory_file(PAGE);
	char *p = map_shared(2 * PAGE, fd);

	for (int i = 900; i < 1000; i++)
		raw_dup2(other, i);
	use(p, 2);
}

/* Half by half, from either end, and the middle last. */
static void given_back(void)
{
	int before;
	char *p;

	warm_up();
	before = descriptors();
	for (unsigned order = 0; order < 6; order++) {
		unsigned first = order / 2, second = (first + 1 + order % 2) % 3;

		p = map_shared(3 * PAGE, -1);
		use(p, 3);
		CHECK_INT(munmap(p + first * PAGE, PAGE), 0);
		CHECK_INT(munmap(p + second * PAGE, PAGE), 0);
		CHECK_INT(munmap(p + (3 - first - second) * PAGE, PAGE), 0);
		CHECK_INT(descriptors(), before);
	}
}

/* By another mapping in its place, and after a move. */
static void replaced(void)
{
	int before;
	char *p, *q;

	warm_up();
	before = descriptors();
	p = map_shared(2 * PAGE, -1);
	CHECK(mmap(p, 2 * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == p);
	CHECK_INT(descriptors(), before);
	p = map_shared(2 * PAGE, -1);
	q = mremap(p, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, map_pages(2));
	CHECK(q != MAP_FAILED);
	use(q, 2);
	CHECK_INT(munmap(q, 2 * PAGE), 0);
	CHECK_INT(descriptors(), before);
}

/* Closing any descriptor of a file drops the process's locks on it: fcntl(2). */
static void record_locks(void)
{
	struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	int fd = memory_file(PAGE);
	char *p = map_shared(PAGE, fd);

	CHECK_INT(fcntl(fd, F_SETLK, &l), 0);
	use(p, 1);
	CHECK_INT(munmap(p, PAGE), 0);
	p = map_shared(PAGE, fd);
	use(map_shared(PAGE, -1), 1);
	CHECK_INT(munmap(p, PAGE), 0);
	if (fork() == 0) {
		CHECK_INT(fcntl(fd, F_GETLK, &l), 0);
		_exit(l.l_type == F_WRLCK && l.l_pid == getppid() ? 0 : 1);
	}
	int status;
	CHECK(wait(&status) > 0);
	CHECK_INT(status, 0);
}

static void in_the_child(void *p)
{
	use(p, 1);
	poke((char *)p + PAGE, 7);
}

static void forked(void)
{
	char *p = map_shared(2 * PAGE, -1);

	CHECK_INT(in_child(in_the_child, p), 0);
	CHECK(stamped(p, (uint64_t)p)); /* it is the same memory */
	CHECK_INT(peek(p + PAGE), 7);
}

/* Mapping memory does not count as writing a file, whatever backs it. */
static void file_size_limit(void)
{
	struct rlimit none = {0, 0};
	char *p;

	CHECK_INT(setrlimit(RLIMIT_FSIZE, &none), 0);
	p = map_shared(2 * PAGE, -1);
	memset(p, 1, 2 * PAGE);
}

static void many(void)
{
	struct rlimit files = {1024, 1024};
	static char *p[MANY];

	warm_up();
	CHECK_INT(setrlimit(RLIMIT_NOFILE, &files), 0);
	for (unsigned i = 0; i < MANY; i++) {
		p[i] = map_shared(PAGE, -1);
		poke(p[i], (uint8_t)i);
	}
	for (unsigned i = 0; i < 800; i++) /* the program's descriptors are its own */
		CHECK(dup(1) >= 0);
	for (unsigned i = 0; i < MANY; i++) {
		CHECK_INT(peek(p[i]), (uint8_t)i);
		CHECK_INT(munmap(p[i], PAGE), 0);
	}
	close(500);
	close(501);
	close(502);
	anonymous();
}

static void *mapper(void *arg)
{
	uint64_t seed = (uint64_t)arg;

	for (unsigned i = 0; i < ROUNDS; i++) {
		size_t len = (2 + rnd(&seed) % 8) * PAGE;
		int fd = rnd(&seed) % 2 ? memory_file(len) : -1;
		char *p = map_shared(len, fd), *q = map_shared(len, fd);

		if (fd >= 0)
			close(fd);
		munmap(p, PAGE);
		munmap(q + PAGE, len - PAGE);
		munmap(q, PAGE);
		munmap(p + PAGE, len - PAGE);
	}
	return NULL;
}

static void mappers(void)
{
	pthread_t threads[MAPPERS];
	int before;

	warm_up();
	before = descriptors();
	for (unsigned i = 0; i < MAPPERS; i++)
		threads[i] = spawn(mapper, (void *)(uintptr_t)(i + 1));
	for (unsigned i = 0; i < 20; i++) {
		char *p = map_shared(2 * PAGE, -1);

		use(p, 2);
		munmap(p, 2 * PAGE);
	}
	for (unsigned i = 0; i < MAPPERS; i++)
		join(threads[i]);
	CHECK_INT(descriptors(), before);
}

static const struct test tests[] = {
	{"shared anonymous memory", anonymous, 0},
	{"a memfd whose descriptor is closed", closed_descriptor, 0},
	{"all descriptors closed", all_closed, 0},
	{"descriptors closed behind its back", closed_unseen, 0},
	{"nothing is kept of what is unmapped", given_back, 0},
	{"nor of what is replaced or moved", replaced, 0},
	{"record locks of the program", record_locks, 0},
	{"in a forked child", forked, 0},
	{"no file may be written", file_size_limit, 0},
	{"more mappings than descriptors", many, 0},
	{"threads that map and unmap", mappers, 0},
	{NULL, NULL, 0},
};

int main(int argc, char **argv)
{
	CHECK_INT(be_unprivileged(), 0);
	return run_tests(argc, argv, tests);
}
