/* SPDX-License-Identifier: MIT */
/*
 * pagemap-ways.c - every way to open and read /proc/self/pagemap, and to write clear_refs. Sizes, offsets and forms
 * of writing are as observed on Linux 6.18.
 */
#include "pagemap.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* ---- ways to open --------------------------------------------------------------------------------------------- */

/* What <bits/fcntl2.h> and <bits/unistd.h> call in fortified programs */
int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
int __openat_2(int dir, const char *path, int flags);
int __openat64_2(int dir, const char *path, int flags);
ssize_t __read_chk(int fd, void *buf, size_t len, size_t size);
ssize_t __pread_chk(int fd, void *buf, size_t len, off_t offset, size_t size);
ssize_t __pread64_chk(int fd, void *buf, size_t len, off64_t offset, size_t size);

static const char *const names[] = {
	"/proc/self/pagemap",
	"/proc/thread-self/pagemap",
	"/proc/%d/pagemap",
	"/proc/%d/task/%d/pagemap",
	"/proc/self/../self//./pagemap",
	"pagemap",
	"./pagemap",
};

static int by_openat2(const char *path, int flags)
{
	struct open_how how = {.flags = (unsigned)flags};
	return (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how));
}

static int dir_of(const char *path, const char **name)
{
	char dir[64];
	int fd;
	*name = strrchr(path, '/');
	if (!*name)
		return *name = path, AT_FDCWD;
	snprintf(dir, sizeof(dir), "%.*s", (int)(*name - path), path);
	fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	CHECK(fd >= 0);
	(*name)++;
	return fd;
}

/* Descriptors of the directory stay open. */
static int by_dir(const char *path, int flags)
{
	const char *name;
	int dir = dir_of(path, &name);
	return openat(dir, name, flags);
}

static int by_dir2(const char *path, int flags)
{
	struct open_how how = {.flags = (unsigned)flags};
	const char *name;
	int dir = dir_of(path, &name);
	return (int)syscall(SYS_openat2, dir, name, &how, sizeof(how));
}

static int by_dup(const char *path, int flags)
{
	return dup(open(path, flags));
}

static int by_dup2(const char *path, int flags)
{
	return dup2(open(path, flags), 700);
}

static int by_dup3(const char *path, int flags)
{
	return dup3(open(path, flags), 701, O_CLOEXEC);
}

static int by_fcntl(const char *path, int flags)
{
	return fcntl(open(path, flags), F_DUPFD, 702);
}

/* The number was another file's before, which libc closed by itself. */
static int by_reused(const char *path, int flags)
{
	FILE *f = fopen("/dev/null", "r");
	int fd = fileno(f);
	fclose(f);
	CHECK_INT(open(path, flags), fd);
	return fd;
}

static int by_stream(const char *path, int flags)
{
	return fileno(fopen(path, flags & O_WRONLY ? "w" : "r"));
}

static int by_stream64(const char *path, int flags)
{
	return fileno_unlocked(fopen64(path, flags & O_WRONLY ? "we" : "rbe"));
}

static int opener(const char *path, int flags, int way)
{
	switch (way) {
	case 0:
		return open(path, flags);
	case 1:
		return open64(path, flags);
	case 2:
		return openat(AT_FDCWD, path, flags);
	case 3:
		return openat64(AT_FDCWD, path, flags);
	case 4:
		return __open_2(path, flags);
	case 5:
		return __open64_2(path, flags);
	case 6:
		return __openat_2(AT_FDCWD, path, flags);
	case 7:
		return __openat64_2(AT_FDCWD, path, flags);
	case 8:
		return (int)syscall(SYS_openat, AT_FDCWD, path, flags);
	case 9:
		return by_openat2(path, flags);
	case 10:
		return by_dir(path, flags);
	case 11:
		return by_dir2(path, flags);
	case 12:
		return by_dup(path, flags);
	case 13:
		return by_dup2(path, flags);
	case 14:
		return by_dup3(path, flags);
	case 15:
		return by_fcntl(path, flags);
	case 16:
		return by_reused(path, flags);
	case 17:
		return by_stream(path, flags);
	case 18:
		return by_stream64(path, flags);
#ifdef SYS_open
	case 19:
		return (int)syscall(SYS_open, path, flags);
#endif
	default:
		return -2;
	}
}

static void *open_everywhere(void *arg)
{
	char path[64];
	for (size_t n = 0; n < sizeof(names) / sizeof(*names); n++) {
		snprintf(path, sizeof(path), names[n], getpid(), (int)syscall(SYS_gettid));
		for (int way = 0, fd; (fd = opener(path, O_RDONLY, way)) != -2; way++) {
			check_fd(path, way, fd);
			close(fd);
		}
	}
	return NULL;
}

void test_ways_to_open(void)
{
	stage();
	CHECK_INT(chdir("/proc/self"), 0);
	open_everywhere(NULL);
	join(spawn(open_everywhere, NULL));
}

static void *open_own(void *arg)
{
	*(int *)arg = open("/proc/thread-self/pagemap", O_RDONLY);
	return NULL;
}

/* A descriptor opened before there was anything to report, by a thread that has ended. */
void test_opened_early(void)
{
	int fd, early = open_pagemap();
	join(spawn(open_own, &fd));
	stage();
	check_fd("early", 0, early);
	check_fd("of a thread that has ended", 0, fd);
}

/* What is not the file: others of this name, other processes' files, and reused numbers. */
void test_not_the_file(void)
{
	char dir[] = "/tmp/fl-pagemap-XXXXXX", path[64], text[64] = "";
	int fd, data[2], n;
	stage();
	CHECK(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/pagemap", dir);
	fd = creat(path, 0600);
	CHECK_INT(write(fd, "a plain file", 12), 12);
	close(fd);
	fd = open(path, O_RDONLY);
	CHECK_INT(read(fd, text, sizeof(text)), 12);
	CHECK(strcmp(text, "a plain file") == 0);
	unlink(path);
	rmdir(dir);
	n = open_pagemap();
	CHECK_INT(raw(SYS_close, n, 0, 0, 0, 0, 0), 0); /* the library does not see it */
	CHECK_INT(pipe(data), 0);
	CHECK(data[0] == n || data[1] == n);
	CHECK_INT(write(data[1], "through a pipe", 15), 15);
	CHECK_INT(read(data[0], text, sizeof(text)), 15);
	CHECK(strcmp(text, "through a pipe") == 0);
	n = open_pagemap();
	close(n);
	CHECK_ERR(read(n, text, 8), EBADF);
	CHECK_ERR(pread(n, text, 8, offset_of(range)), EBADF);
	n = open_pagemap();
	CHECK_INT(close_range((unsigned)n, (unsigned)n, 0), 0);
	CHECK_ERR(pread(n, text, 8, offset_of(range)), EBADF);
	snprintf(path, sizeof(path), "/proc/%d/pagemap", getppid());
	fd = open(path, O_RDONLY);
	if (fd >= 0) { /* the parent has nothing there, or something else */
		uint64_t got = 0, want = 0;
		ssize_t len = pread(fd, &got, 8, offset_of(range));
		CHECK_INT(raw(SYS_pread64, fd, (long)&want, 8, offset_of(range), 0, 0), len);
		CHECK_INT(got, want);
	}
}

/* ---- ways to read --------------------------------------------------------------------------------------------- */

static struct iovec parts[3];
static uint64_t words[ALL];

static const struct iovec *cut(void)
{
	parts[0] = (struct iovec){words, 8};
	parts[1] = (struct iovec){words + 1, 0};
	parts[2] = (struct iovec){words + 1, (ALL - 1) * 8};
	return parts;
}

/* All of it in one call. The offset is the file's position, too. */
static ssize_t reader(int fd, off_t offset, int way)
{
	const size_t len = sizeof(words);
	switch (way) {
	case 0:
		return read(fd, words, len);
	case 1:
		return pread(fd, words, len, offset);
	case 2:
		return pread64(fd, words, len, offset);
	case 3:
		return readv(fd, cut(), 3);
	case 4:
		return preadv(fd, cut(), 3, offset);
	case 5:
		return preadv64(fd, cut(), 3, offset);
	case 6:
		return preadv2(fd, cut(), 3, offset, 0);
	case 7:
		return preadv2(fd, cut(), 3, -1, 0);
	case 8:
		return preadv64v2(fd, cut(), 3, offset, RWF_HIPRI);
	case 9:
		return __read_chk(fd, words, len, len);
	case 10:
		return __pread_chk(fd, words, len, offset, len);
	case 11:
		return __pread64_chk(fd, words, len, offset, len);
	case 12:
		return syscall(SYS_read, fd, words, len);
	case 13:
		return syscall(SYS_pread64, fd, words, len, offset);
	case 14:
		return syscall(SYS_readv, fd, cut(), 3);
	case 15:
		return syscall(SYS_preadv, fd, cut(), 3, offset, 0l);
	case 16:
		return syscall(SYS_preadv2, fd, cut(), 3, offset, 0l, 0);
	case 17:
		return syscall(SYS_preadv2, fd, cut(), 3, -1l, -1l, 0);
	default:
		return -2;
	}
}

static bool moves(int way)
{
	return way == 0 || way == 3 || way == 7 || way == 9 || way == 12 || way == 14 || way == 17;
}

static void check_words(const char *what, int way)
{
	for (int i = 0; i < ALL; i++) {
		bool ours = i >= BESIDE && i < BESIDE + PAGES;
		uint64_t want = ours ? word(base + i * PAGE) : raw_word(base + i * PAGE);
		if ((words[i] & ALL_BITS) != (want & ALL_BITS) || (ours && (want & BITS) != staged(i - BESIDE)))
			FAIL("%s %d: word %d is %#llx, not %#llx", what, way, i, (unsigned long long)words[i],
			     (unsigned long long)want);
	}
}

void test_ways_to_read(void)
{
	ssize_t n;
	stage();
	int fd = open_pagemap();
	off_t offset = offset_of(base);
	for (int way = 0;; way++) {
		memset(words, 0x55, sizeof(words));
		CHECK_INT(lseek(fd, offset, SEEK_SET), offset);
		n = reader(fd, offset, way);
		if (n == -2)
			break;
		if (n != sizeof(words))
			FAIL("way %d: %zd (errno %d)", way, n, errno);
		check_words("way", way);
		CHECK_INT(lseek(fd, 0, SEEK_CUR) - offset, moves(way) ? n : 0);
	}
	/* word by word, with an overlap of 3 */
	CHECK_INT(lseek(fd, offset, SEEK_SET), offset);
	for (int i = 0; i < ALL; i++)
		CHECK_INT(read(fd, words + i, 8), 8);
	check_words("words", 0);
	for (int i = 0; i < ALL; i += 3)
		CHECK_INT(pread(fd, words + i, 24, offset + i * 8), 24);
	check_words("threes", 0);
}

void test_streams(void)
{
	stage();
	for (int way = 0; way < 5; way++) {
		int fd = open_pagemap();
		FILE *f = way == 0   ? fopen("/proc/self/pagemap", "r")
			  : way == 1 ? fopen64("/proc/thread-self/pagemap", "rb")
				     : fdopen(dup(fd), "r");
		CHECK(f && fileno(f) >= 0);
		if (way == 3)
			CHECK_INT(setvbuf(f, NULL, _IONBF, 0), 0);
		CHECK_INT(fseeko(f, offset_of(base), SEEK_SET), 0);
		if (way == 4)
			for (int i = 0; i < ALL; i++)
				CHECK_INT(fread(words + i, 8, 1, f), 1);
		else
			CHECK_INT(fread(words, 8, ALL, f), ALL);
		check_words("stream", way);
		CHECK_INT(ftello(f) - offset_of(base), sizeof(words));
		CHECK_INT(fseeko(f, offset_of(range), SEEK_SET), 0);
		CHECK_INT(fread(words, 8, 1, f), 1);
		CHECK_INT(words[0] & BITS, staged(0));
		CHECK_INT(fseeko(f, 1l << 50, SEEK_SET), 0);
		CHECK_INT(fread(words, 8, 1, f), 0);
		CHECK(feof(f) && !ferror(f));
		fd = fileno(f);
		CHECK_INT(fclose(f), 0);
		CHECK_ERR(fcntl(fd, F_GETFD), EBADF);
	}
	CHECK(!fopen("/proc/self/no/pagemap", "r") && errno == ENOENT);
	CHECK(!fopen("/proc/self/pagemap", "?") && errno == EINVAL);
	FILE *f = fopen("/proc/self/pagemap", "re");
	CHECK_INT(fcntl(fileno(f), F_GETFD), FD_CLOEXEC);
}

/* ---- sizes, offsets, bad buffers ------------------------------------------------------------------------------ */

void test_offsets(void)
{
	uint64_t w[4];
	struct iovec odd[3] = {{w, 8}, {w + 1, 4}, {w + 2, 8}};
	volatile int n = -1; /* the compiler warns */
	stage();
	int fd = open_pagemap();
	off_t o = offset_of(range), end = offset_of((void *)(1l << 47));
	CHECK_ERR(pread(fd, w, 12, o), EINVAL);
	CHECK_ERR(pread(fd, w, 4, o), EINVAL);
	CHECK_ERR(pread(fd, w, 8, o + 4), EINVAL);
	CHECK_ERR(pread(fd, w, 0, o + 3), EINVAL);
	CHECK_ERR(pread(fd, words, sizeof(words) - 4, o), EINVAL);
	CHECK_ERR(pread(fd, words, sizeof(words) - 8, o + 4), EINVAL);
	CHECK_INT(lseek(fd, o, SEEK_SET), o);
	CHECK_ERR(pread(fd, w, 8, -1), EINVAL);
	CHECK_ERR(pread(fd, w, 8, -8), EINVAL);
	CHECK_ERR(preadv(fd, odd, 1, -1), EINVAL);
	CHECK_ERR(preadv2(fd, odd, 1, -8, 0), EINVAL);
	CHECK_INT(pread(fd, w, 0, o), 0);
	CHECK_INT(preadv(fd, odd, 3, o), 8);
	CHECK_ERR(preadv(fd, odd + 1, 2, o), EINVAL);
	CHECK_INT(preadv(fd, odd, 0, o), 0);
	CHECK_ERR(preadv(fd, odd, n, o), EINVAL);
	CHECK_ERR(preadv(fd, odd, 1026 + n, o), EINVAL);
	odd[1].iov_len = -8ul;
	CHECK_ERR(preadv(fd, odd, 3, o), EINVAL);
	CHECK_ERR(preadv2(fd, odd, 1, o, RWF_NOWAIT), EOPNOTSUPP);
	CHECK_INT(pread(fd, w, 32, end - 16), 8); /* the last page cannot be mapped */
	CHECK_INT(pread(fd, w, 32, end), 0);
	CHECK_INT(pread(fd, w, 32, 1l << 50), 0);
	CHECK_ERR(pread(fd, w, 31, end), EINVAL);
	CHECK_INT(lseek(fd, o + 3, SEEK_SET), o + 3);
	CHECK_ERR(read(fd, w, 8), EINVAL);
	CHECK_INT(lseek(fd, 0, SEEK_CUR), o + 3);
	CHECK_ERR(lseek(fd, 0, SEEK_END), EINVAL);
	CHECK_ERR(write(fd, w, 8), EBADF);
	CHECK_ERR(pwrite(fd, w, 8, 0), EBADF);
	/* more than exists: from registered memory to the end of the address space */
	uint64_t *all = mmap(NULL, 1ul << 21, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(all != MAP_FAILED);
	CHECK_INT(pread(fd, all, 1 << 21, o), 1 << 21);
	for (int i = 0; i < PAGES; i++)
		is(__LINE__, "a long read", i, all[i], staged(i));
}

void test_bad_buffers(void)
{
	uint8_t *p = map_pages(2), *q = map_pages(1);
	struct iovec v[2] = {{p, 8}, {p + PAGE, 8}};
	stage();
	CHECK_INT(munmap(p + PAGE, PAGE), 0);
	CHECK_INT(mprotect(q, PAGE, PROT_READ), 0);
	int fd = open_pagemap();
	off_t o = offset_of(range);
	CHECK_ERR(pread(fd, p + PAGE, 8, o), EFAULT);
	CHECK_ERR(pread(fd, p + PAGE - 16, 32, o), EFAULT);
	CHECK_ERR(pread(fd, q, 8, o), EFAULT);
	CHECK_ERR(pread(fd, base + (1l << 46), 8, o), EFAULT);
	CHECK_ERR(preadv(fd, (struct iovec *)(p + PAGE), 1, o), EFAULT);
	CHECK_INT(preadv(fd, v, 2, o), 8);
	CHECK_INT(lseek(fd, o, SEEK_SET), o);
	CHECK_ERR(read(fd, p + PAGE - 16, 32), EFAULT);
	CHECK_INT(lseek(fd, 0, SEEK_CUR), o);
	CHECK_INT(readv(fd, v, 2), 8);
	CHECK_INT(lseek(fd, 0, SEEK_CUR), o + 8);
	CHECK_INT(pread(fd, p + PAGE - 12, 8, o), 8); /* no alignment is required */
	uint64_t w;
	memcpy(&w, p + PAGE - 12, 8);
	CHECK_INT(w & BITS, staged(0));
}

/* ---- the buffer is registered memory itself ------------------------------------------------------------------- */

#define LONG_READ 2048 /* words; four pages of buffer */

static void zeros(struct handler *h, void *page, uint64_t addr)
{
	memset(page, 0, PAGE);
}

static void check_long(const uint8_t *buf, const char *what)
{
	uint64_t w;
	for (int i = 0; i < PAGES; i++) {
		memcpy(&w, buf + i * 8, 8);
		is(__LINE__, what, i, w, staged(i));
	}
}

void test_buffer_registered(void)
{
	stage();
	int fd = open_pagemap();
	struct handler h = {.fd = uffd_open(O_CLOEXEC, FEAT_WP), .fill = zeros};
	uint8_t *buf = map_pages(16);
	struct iovec v[2];
	uffd_register(h.fd, buf, 16 * PAGE, MISSING | WP);
	handler_start(&h);
	CHECK_INT(pread(fd, buf + 20, LONG_READ * 8, offset_of(range)), LONG_READ * 8);
	check_long(buf + 20, "missing");
	CHECK_INT(h.missing, 5);
	CHECK_INT(uffd_protect(h.fd, buf, 5 * PAGE, true), 0);
	memset(words, 0, sizeof(words));
	CHECK_INT(lseek(fd, offset_of(range), SEEK_SET), offset_of(range));
	CHECK_INT(read(fd, buf, LONG_READ * 8), LONG_READ * 8);
	check_long(buf, "write-protected");
	CHECK_INT(h.wp, 4);
	CHECK_INT(madvise(buf, 16 * PAGE, MADV_DONTNEED), 0);
	v[0] = (struct iovec){buf + PAGE - 8, 16};
	v[1] = (struct iovec){buf + 4 * PAGE, LONG_READ * 8 - 16};
	memcpy(buf + 15 * PAGE, v, sizeof(v)); /* the vector, too; its page is there */
	CHECK_INT(madvise(buf, 15 * PAGE, MADV_DONTNEED), 0);
	CHECK_INT(preadv(fd, (struct iovec *)(buf + 15 * PAGE), 2, offset_of(range)), LONG_READ * 8);
	memcpy(words, buf + PAGE - 8, 16);
	memcpy(words + 2, buf + 4 * PAGE, sizeof(words) - 16);
	check_long((uint8_t *)words, "a vector");
	/* the pages described are those of the buffer */
	CHECK_INT(madvise(buf, 16 * PAGE, MADV_DONTNEED), 0);
	CHECK_INT(pread(fd, buf, 16 * 8, offset_of(buf)), 16 * 8);
	CHECK_INT(pread(fd, buf, 16 * 8, offset_of(buf)), 16 * 8);
	for (int i = 0; i < 16; i++)
		is(__LINE__, "itself", i, ((uint64_t *)buf)[i], i == 0 ? HERE : 0);
	FILE *f = fdopen(dup(fd), "r");
	CHECK_INT(setvbuf(f, (char *)buf + 8 * PAGE, _IOFBF, PAGE), 0);
	CHECK_INT(fseeko(f, offset_of(range), SEEK_SET), 0);
	for (int i = 0; i < PAGES; i++)
		CHECK_INT(fread(buf + 4 * PAGE + i * 8, 8, 1, f), 1);
	check_long(buf + 4 * PAGE, "a stream");
	handler_stop(&h);
}

/* Where the object refuses faults of the kernel */
void test_buffer_refused(void)
{
	stage();
	int fd = open_pagemap(), fds[2];
	fds[0] = uffd_open(O_CLOEXEC | UFFD_USER_MODE_ONLY, 0);
	fds[1] = uffd_open(O_CLOEXEC, UFFD_FEATURE_SIGBUS);
	for (int i = 0; i < 2; i++) {
		uint8_t *buf = map_pages(2);
		poke(buf, 1);
		uffd_register(fds[i], buf, 2 * PAGE, MISSING);
		CHECK_INT(pread(fd, buf, 64, offset_of(range)), 64);
		CHECK_ERR(pread(fd, buf + PAGE, 64, offset_of(range)), EFAULT);
		CHECK_ERR(pread(fd, buf + PAGE - 8, 64, offset_of(range)), EFAULT);
		CHECK_ERR(pread(fd, buf + PAGE, 64, offset_of(base)), EFAULT);
		/* no registered memory here */
		CHECK_ERR(pread(fd, buf + PAGE, 64, 0), EFAULT);
	}
}

/* ---- clear_refs ----------------------------------------------------------------------------------------------- */

static const struct form {
	const char *text;
	int len, ret; /* or -errno */
} forms[] = {
	{"4", 1, 1},
	{"4\n", 2, 2},
	{" 4", 2, 2},
	{"4 ", 2, 2},
	{"  \n\t4", 5, 5},
	{"4\v\f", 3, 3},
	{"+4", 2, 2},
	{"04", 2, 2},
	{"4\0x", 3, 3},
	{"4 \0x", 4, 4},
	{"000000000004", 12, 12},
	{"           4", 12, 12},
	{"4            x", 14, 12},
	{"1", 1, 1},
	{"2\n", 2, 2},
	{"3", 1, 1},
	{"4x", 2, -EINVAL},
	{"x", 1, -EINVAL},
	{"", 0, -EINVAL},
	{"0", 1, -EINVAL},
	{"6", 1, -EINVAL},
	{"-4", 2, -EINVAL},
	{"44", 2, -EINVAL},
	{"0x4", 3, -EINVAL},
	{"4\n5", 3, -EINVAL},
	{"+ 4", 3, -EINVAL},
	{"0000000000004", 13, -EINVAL},
	{"            4", 13, -EINVAL},
	{"4294967300", 10, -ERANGE},
};

static int writer(int fd, const char *text, size_t len, int way)
{
	struct iovec v = {(void *)(uintptr_t)text, len};
	switch (way) {
	case 0:
		return (int)write(fd, text, len);
	case 1:
		return (int)pwrite(fd, text, len, 7);
	case 2:
		return (int)pwrite64(fd, text, len, 0);
	case 3:
		return (int)writev(fd, &v, 1);
	case 4:
		return (int)pwritev(fd, &v, 1, 7);
	case 5:
		return (int)pwritev64(fd, &v, 1, 0);
	case 6:
		return (int)pwritev2(fd, &v, 1, -1, 0);
	case 7:
		return (int)pwritev64v2(fd, &v, 1, 0, RWF_HIPRI);
	case 8:
		return (int)syscall(SYS_write, fd, text, len);
	case 9:
		return (int)syscall(SYS_pwrite64, fd, text, len, 0l);
	case 10:
		return (int)syscall(SYS_writev, fd, &v, 1);
	case 11:
		return (int)syscall(SYS_pwritev, fd, &v, 1, 0l, 0l);
	case 12:
		return (int)syscall(SYS_pwritev2, fd, &v, 1, -1l, -1l, 0);
	default:
		return -2;
	}
}

void test_clear_refs(void)
{
	stage();
	int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC), map = open_pagemap(), got;
	CHECK(fd >= 0);
	for (size_t i = 0; i < sizeof(forms) / sizeof(*forms); i++)
		for (int way = 0; way < 13; way++) {
			const struct form *f = &forms[i];
			if (!f->len && way > 2 && way != 8 && way != 9)
				continue; /* a vector of nothing does not reach the file */
			got = writer(fd, f->text, (size_t)f->len, way);
			got = got < 0 ? -errno : got;
			if (got != f->ret)
				FAIL("%.*s by way %d: %d, not %d", f->len, f->text, way, got, f->ret);
		}
	check_fd("cleared", 0, map);
	for (int i = WPED; i < FILLED; i++)
		CHECK(stamped(at(i), (uint64_t)i));
	uint8_t *p = map_pages(2);
	CHECK_INT(munmap(p + PAGE, PAGE), 0);
	memcpy(p + PAGE - 2, "4\n", 2);
	CHECK_INT(write(fd, p + PAGE - 2, 2), 2);
	CHECK_ERR(write(fd, p + PAGE - 2, 3), EFAULT);
	CHECK_ERR(write(fd, p + PAGE, 1), EFAULT);
	CHECK_ERR(pwrite(fd, "4", 1, -1), EINVAL);
	char text[] = "44\nx";
	struct iovec v[3] = {{text, 1}, {text + 1, 2}, {text + 3, 1}};
	CHECK_INT(writev(fd, v, 2), 3);
	CHECK_INT(writev(fd, v, 3), 3);
	CHECK_ERR(writev(fd, v + 2, 1), EINVAL);
	v[0].iov_base = text + 3;
	CHECK_ERR(writev(fd, v, 2), EINVAL);
	v[0].iov_len = 0;
	CHECK_ERR(writev(fd, v, 2), EINVAL); /* an empty part among others does */
	v[0] = (struct iovec){text, 1};
	v[1].iov_base = p + PAGE;
	CHECK_INT(writev(fd, v, 2), 1);
	CHECK_ERR(pwritev2(fd, v, 1, 0, RWF_NOWAIT), EOPNOTSUPP);
	CHECK_ERR(read(fd, p, 8), EBADF);
	close(fd);
	CHECK_ERR(write(fd, "4", 1), EBADF);
	fd = open("/proc/self/clear_refs", O_RDONLY);
	if (fd >= 0)
		CHECK_ERR(write(fd, "4", 1), EBADF);
}

/* The text is on a missing page. */
static void four(struct handler *h, void *page, uint64_t addr)
{
	memset(page, '4', 1);
	memset((char *)page + 1, '\n', PAGE - 1);
}

void test_clear_refs_ways(void)
{
	char path[64];
	stage();
	struct handler h = {.fd = uffd_open(O_CLOEXEC, 0), .fill = four};
	uint8_t *text = map_pages(1);
	uffd_register(h.fd, text, PAGE, MISSING);
	handler_start(&h);
	CHECK_INT(chdir("/proc/self"), 0);
	for (size_t n = 0; n < sizeof(names) / sizeof(*names); n++) {
		snprintf(path, sizeof(path), names[n], getpid(), getpid());
		memcpy(strstr(path, "pagemap"), "clear_refs", 11);
		for (int way = 0, fd; (fd = opener(path, O_WRONLY, way)) != -2; way++) {
			CHECK(fd >= 0);
			CHECK_INT(madvise(text, PAGE, MADV_DONTNEED), 0);
			unsigned long missing = h.missing;
			CHECK_INT(write(fd, text, 2), 2);
			CHECK_INT(h.missing, missing + 1);
			close(fd);
		}
	}
	FILE *f = fopen("/proc/self/clear_refs", "w");
	CHECK(f);
	CHECK(fprintf(f, "%d\n", 4) == 2 && fflush(f) == 0);
	CHECK(fprintf(f, "%d\n", 44) == 3 && fflush(f) == EOF && errno == EINVAL);
	fclose(f);
	handler_stop(&h);
}
