/* SPDX-License-Identifier: MIT */
/*
 * pagemap.c - what /proc/self/pagemap says: of registered memory, what Documentation/admin-guide/mm/pagemap.rst says
 * it does; of other memory, what the system's own file says, which is read past libc.
 */
#include "pagemap.h"

#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static struct handler handler;

/* ---- memory to look at ---------------------------------------------------------------------------------------- */

uint8_t *base, *range;

uint8_t *at(int i)
{
	return range + i * PAGE;
}

static void fill(int page, int n, uint64_t mode)
{
	static _Alignas(4096) uint8_t data[PAGE];
	for (int i = page; i < page + n; i++) {
		stamp(data, (uint64_t)i);
		CHECK_INT(uffd_copy(handler.fd, at(i), data, PAGE, mode), 0);
	}
}

static void map_all(void)
{
	base = map_pages(ALL);
	range = base + BESIDE * PAGE;
	for (int i = 0; i < BESIDE; i += 2) {
		poke(base + i * PAGE, 1);
		poke(at(PAGES + i), 1);
	}
	handler.fd = uffd_open(O_CLOEXEC | O_NONBLOCK, FEAT_WP);
}

void stage(void)
{
	map_all();
	uffd_register(handler.fd, range, PAGES * PAGE, MISSING | WP);
	fill(0, WPED, UFFDIO_COPY_MODE_WP);
	fill(WPED, FILLED - WPED, 0);
}

uint64_t staged(int i)
{
	return i >= 0 && i < WPED ? HERE | UFFD_WP : i >= 0 && i < FILLED ? HERE : 0;
}

/* ---- words ---------------------------------------------------------------------------------------------------- */

off_t offset_of(const void *p)
{
	return (off_t)((uintptr_t)p / PAGE * 8);
}

int open_pagemap(void)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0);
	return fd;
}

uint64_t word_by(int fd, const void *p)
{
	uint64_t word;
	CHECK_INT(pread(fd, &word, sizeof(word), offset_of(p)), sizeof(word));
	return word;
}

uint64_t word(const void *p)
{
	int fd = open_pagemap();
	uint64_t w = word_by(fd, p);
	close(fd);
	return w;
}

uint64_t raw_word(const void *p)
{
	uint64_t word = 0;
	long fd = raw(SYS_openat, AT_FDCWD, (long)"/proc/self/pagemap", O_RDONLY, 0, 0, 0);
	CHECK(fd >= 0);
	CHECK_INT(raw(SYS_pread64, fd, (long)&word, sizeof(word), offset_of(p), 0, 0), sizeof(word));
	raw(SYS_close, fd, 0, 0, 0, 0, 0);
	return word;
}

void is(int line, const char *what, int page, uint64_t got, uint64_t want)
{
	if ((got & BITS) != want)
		die(__FILE__, line, "%s, page %d: %#llx, not %#llx", what, page, (unsigned long long)(got & BITS),
		    (unsigned long long)want);
}
#define IS(what, page, want) is(__LINE__, what, page, word(at(page)), want)

void check_fd(const char *what, int way, int fd)
{
	if (fd < 0)
		FAIL("%s: way %d: errno %d", what, way, errno);
	for (int i = -BESIDE; i < PAGES + BESIDE; i++) {
		uint64_t got = word_by(fd, at(i));
		if (i >= 0 && i < PAGES ? (got & BITS) != staged(i) : got != raw_word(at(i)))
			FAIL("%s: way %d: page %d is %#llx", what, way, i, (unsigned long long)got);
	}
}

/* ---- what the words say --------------------------------------------------------------------------------------- */

static void beside(const char *when)
{
	for (int i = -BESIDE; i < PAGES + BESIDE; i++) {
		if (i == 0)
			i = PAGES;
		if (word(at(i)) != raw_word(at(i)))
			FAIL("%s: page %d beside it: %#llx, not %#llx", when, i, (unsigned long long)word(at(i)),
			     (unsigned long long)raw_word(at(i)));
		IS(when, i, i % 2 == 0 ? HERE : 0);
	}
}

static void test_missing_and_present(void)
{
	map_all();
	poke(at(0), 1);
	beside("not registered");
	uffd_register(handler.fd, range, PAGES * PAGE, MISSING | WP);
	beside("registered");
	IS("had data", 0, HERE);
	IS("had none", 1, 0);
	fill(1, 2, 0);
	IS("filled", 1, HERE);
	IS("filled", 2, HERE);
	IS("not filled", 3, 0);
	poke(at(1), peek(at(2)));
	IS("written", 1, HERE);
	IS("read", 2, HERE);
	CHECK_INT(madvise(at(0), 2 * PAGE, MADV_DONTNEED), 0);
	IS("dropped", 0, 0);
	IS("dropped", 1, 0);
	IS("kept", 2, HERE);
	fill(0, 1, 0);
	IS("filled again", 0, HERE);
	CHECK_INT(mprotect(at(0), PAGE, PROT_NONE), 0);
	IS("forbidden", 0, HERE);
	CHECK_INT(munmap(at(1), 2 * PAGE), 0);
	IS("unmapped", 1, 0);
	IS("unmapped", 2, 0);
	IS("beside what was unmapped", 0, HERE);
	beside("at the end");
}

static void test_write_protected(void)
{
	map_all();
	uffd_register(handler.fd, range, PAGES * PAGE, MISSING | WP);
	fill(0, 4, 0);
	fill(4, 4, UFFDIO_COPY_MODE_WP);
	IS("copied", 0, HERE);
	IS("copied with WP", 4, HERE | UFFD_WP);
	CHECK_INT(uffd_protect(handler.fd, at(0), 2 * PAGE, true), 0);
	IS("protected", 0, HERE | UFFD_WP);
	IS("protected", 1, HERE | UFFD_WP);
	IS("its neighbour", 2, HERE);
	CHECK(stamped(at(0), 0) && stamped(at(4), 4));
	IS("protected and read", 0, HERE | UFFD_WP);
	IS("copied with WP and read", 4, HERE | UFFD_WP);
	CHECK_INT(uffd_protect(handler.fd, at(1), 4 * PAGE, false), 0);
	IS("not concerned", 0, HERE | UFFD_WP);
	IS("no longer protected", 1, HERE);
	IS("no longer protected", 4, HERE);
	IS("not concerned", 5, HERE | UFFD_WP);
	handler_start(&handler);
	poke(at(5), 1);
	IS("un-protected by the handler", 5, HERE);
	CHECK_INT(handler.wp, 1);
	CHECK_INT(uffd_protect(handler.fd, at(32), PAGE, true), 0);
	IS("protected where nothing is", 32, 0);
	beside("protected");
	handler_stop(&handler);
}

static void test_unregistered(void)
{
	stage();
	CHECK(stamped(at(0), 0));
	CHECK_INT(uffd_unregister(handler.fd, at(0), 8 * PAGE), 0);
	IS("unregistered, was protected and read", 0, HERE);
	IS("unregistered, was protected", 1, HERE);
	IS("unregistered", 6, HERE);
	IS("still registered", 8, HERE);
	CHECK_INT(uffd_unregister(handler.fd, at(8), (PAGES - 8) * PAGE), 0);
	for (int i = 0; i < PAGES; i++)
		IS("unregistered", i, i < FILLED ? HERE : 0);
	poke(at(1), 1);
	poke(at(20), 1);
	CHECK_INT(madvise(at(2), PAGE, MADV_DONTNEED), 0);
	IS("unregistered and written", 1, HERE);
	IS("unregistered and filled", 20, HERE);
	IS("unregistered and dropped", 2, 0);
	uffd_register(handler.fd, range, PAGES * PAGE, MISSING | WP);
	for (int i = 0; i < PAGES; i++)
		IS("registered again", i, i != 2 && (i < FILLED || i == 20) ? HERE : 0);
	close(handler.fd);
	for (int i = 0; i < PAGES; i++)
		IS("closed", i, i != 2 && (i < FILLED || i == 20) ? HERE : 0);
	beside("closed");
}

/* ---- children ------------------------------------------------------------------------------------------------- */

static int inherited;

static int child_looks(void *arg)
{
	int fd = open_pagemap();
	uint64_t w, seen;
	poke(at(40), 1); /* nothing is registered here: it is filled with zeros */
	poke(at(0), 1);
	CHECK_INT(word_by(fd, at(40)) & BITS, HERE);
	CHECK_INT(word_by(fd, at(0)) & BITS, HERE);
	CHECK_INT(word_by(fd, at(41)) & BITS, 0);
	CHECK_INT(word_by(fd, at(5)) & (PRESENT | UFFD_WP), PRESENT);
	w = word_by(inherited, at(40)); /* it shows the parent, where that page has not been filled */
	CHECK_INT(w & PRESENT, 0);
	CHECK_INT(raw(SYS_pread64, inherited, (long)&seen, 8, offset_of(at(40)), 0, 0), 8);
	CHECK_INT(w & ALL_BITS, seen & ALL_BITS);
	CHECK(fcntl(inherited, F_GETFD) >= 0);
	return 0;
}

static void wait_ok(pid_t pid, const char *how)
{
	int status;
	if (pid == 0) {
		child_looks(NULL);
		_exit(0);
	}
	CHECK(pid > 0);
	CHECK_INT(waitpid(pid, &status, 0), pid);
	if (status)
		FAIL("%s: the child ends with %#x", how, status);
	check_fd(how, 0, inherited);
}

static void test_forked(void)
{
	static _Alignas(16) uint8_t stack[65536];
	stage();
	inherited = open_pagemap();
	check_fd("before", 0, inherited);
	wait_ok(fork(), "fork");
	wait_ok(_Fork(), "_Fork");
	wait_ok(clone(child_looks, stack + sizeof(stack), SIGCHLD, NULL), "clone");
#ifdef SYS_fork
	wait_ok((pid_t)syscall(SYS_fork), "SYS_fork");
#endif
	wait_ok((pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0), "SYS_clone");
}

static int vforked_looks(void *arg)
{
	int fd = open_pagemap(); /* a number that the parent will reuse */
	check_fd("vforked", 0, fd);
	close(inherited);
	return 0;
}

/* It shares the memory, so its file shows the same. It has descriptors of its own. */
static void test_vforked(void)
{
	static _Alignas(16) uint8_t stack[65536];
	int status, data[2];
	char c = 0;
	stage();
	inherited = open_pagemap();
	pid_t pid = clone(vforked_looks, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | SIGCHLD, NULL);
	CHECK(pid > 0);
	CHECK_INT(waitpid(pid, &status, 0), pid);
	CHECK_INT(status, 0);
	check_fd("after vfork", 0, inherited);
	CHECK_INT(pipe(data), 0);
	CHECK_INT(write(data[1], "x", 1), 1);
	CHECK_INT(read(data[0], &c, 1), 1);
	CHECK_INT(c, 'x');
}

/*
 * ---- PAGEMAP_SCAN (Linux 6.7): where it exists, it agrees with the words -----------------------------------------
 */

struct region {
	uint64_t start, end, categories;
};
struct scan {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages, inverted, mask, anyof_mask, return_mask;
};
#define SCAN	     _IOWR('f', 16, struct scan)
#define SCAN_PRESENT (1u << 3)

static long scan(int fd, uint8_t *start, int pages, struct region *regions, size_t n)
{
	struct scan arg = {
		.size = sizeof(arg),
		.start = (uintptr_t)start,
		.end = (uintptr_t)start + (uintptr_t)(pages * PAGE),
		.vec = (uintptr_t)regions,
		.vec_len = n,
		.mask = SCAN_PRESENT,
		.return_mask = SCAN_PRESENT,
	};
	return ioctl(fd, SCAN, &arg);
}

static void test_scan(void)
{
	struct region r[8];
	stage();
	int fd = open_pagemap();
	uint8_t *other = map_pages(4);
	poke(other + PAGE, 1);
	long n = scan(fd, other, 4, r, 8);
	if (n == -1 && errno == ENOTTY)
		skip("no PAGEMAP_SCAN");
	CHECK_INT(n, 1);
	CHECK(r[0].start == (uintptr_t)other + PAGE && r[0].end == (uintptr_t)other + 2 * PAGE);
	n = scan(fd, range, PAGES, r, 8);
	if (n == -1 && errno == ENOTTY)
		return; /* a program that may run on an older kernel then reads the words */
	CHECK_INT(n, 1);
	CHECK(r[0].start == (uintptr_t)range && r[0].end == (uintptr_t)at(FILLED));
}
/* ---- many at once --------------------------------------------------------------------------------------------- */

static atomic_int stop;

static void *reads(void *arg)
{
	uint64_t w[ALL];
	int fd = *(int *)arg;
	while (!stop) {
		for (int i = 0; i < 100; i++)
			CHECK_INT(pread(fd, w, sizeof(w), offset_of(base)), sizeof(w));
		CHECK_INT(w[BESIDE + FILLED - 1] & BITS, HERE);
		CHECK_INT(w[0] & BITS, HERE);
		lseek(fd, offset_of(base), SEEK_SET);
		CHECK(read(fd, w, sizeof(w)) >= 0); /* all of them change the position */
	}
	return NULL;
}

static void on_small_stack(void *(*fn)(void *), void *arg, pthread_t *t)
{
	pthread_attr_t attr;
	CHECK_INT(pthread_attr_init(&attr), 0);
	CHECK_INT(pthread_attr_setstacksize(&attr, 32768), 0);
	CHECK_INT(pthread_create(t, &attr, fn, arg), 0);
}

static void test_concurrent(void)
{
	pthread_t t[4];
	stage();
	int fd = open_pagemap(), clear = open("/proc/self/clear_refs", O_WRONLY);
	for (int i = 0; i < 4; i++)
		on_small_stack(reads, &fd, &t[i]);
	for (double end = now() + 1.0; now() < end;) {
		fill(20, 8, 0);
		CHECK_INT(uffd_protect(handler.fd, at(20), 8 * PAGE, true), 0);
		CHECK_INT(write(clear, "4", 1), 1);
		CHECK_INT(madvise(at(20), 8 * PAGE, MADV_DONTNEED), 0);
		CHECK_INT(uffd_unregister(handler.fd, at(32), 8 * PAGE), 0);
		poke(at(33), 1);
		uffd_register(handler.fd, at(32), 8 * PAGE, MISSING | WP);
		CHECK_INT(close(open_pagemap()), 0);
	}
	stop = 1;
	for (int i = 0; i < 4; i++)
		join(t[i]);
}

static const struct test tests[] = {
	{"missing-and-present", test_missing_and_present, 0},
	{"write-protected", test_write_protected, 0},
	{"unregistered", test_unregistered, 0},
	{"ways-to-open", test_ways_to_open, 0},
	{"opened-early", test_opened_early, 0},
	{"not-the-file", test_not_the_file, 0},
	{"ways-to-read", test_ways_to_read, 0},
	{"streams", test_streams, 0},
	{"offsets", test_offsets, 0},
	{"bad-buffers", test_bad_buffers, 0},
	{"buffer-registered", test_buffer_registered, 0},
	{"buffer-refused", test_buffer_refused, 0},
	{"forked", test_forked, 0},
	{"vforked", test_vforked, 0},
	{"clear-refs", test_clear_refs, 0},
	{"clear-refs-ways", test_clear_refs_ways, 0},
	{"scan", test_scan, 0},
	{"concurrent", test_concurrent, 0},
	{NULL, NULL, 0},
};

int main(int argc, char **argv)
{
	return run_tests(argc, argv, tests);
}
