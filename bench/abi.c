/* SPDX-License-Identifier: MIT */
/*
 * abi.c - see abi.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "abi.h"
#include "bench.h"

/* BENCH_OBJECT=kernel or faultline says whose object must be measured; the kernel's is no socket. */
static void expect_object(int fd)
{
	const char *want = getenv("BENCH_OBJECT");
	char path[64], name[64] = "";

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (!want || readlink(path, name, sizeof(name) - 1) < 0)
		return;
	if ((strcmp(want, "kernel") == 0) != (strcmp(name, "anon_inode:[userfaultfd]") == 0))
		die("%s is not the object of %s", name, want);
}

int abi_open(uint64_t features)
{
	struct uffdio_api api = {.api = UFFD_API, .features = features};
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);

	if (fd < 0 && errno == EPERM) /* unprivileged; no fault here comes from inside a system call */
		fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
	if (fd < 0)
		skip(EXIT_NO_UFFD, "userfaultfd: %s", strerror(errno));
	if (ioctl(fd, UFFDIO_API, &api))
		skip(EXIT_NO_UFFD, "UFFDIO_API with features %#llx: %s", (unsigned long long)features,
		     strerror(errno));
	expect_object(fd);
	return fd;
}

void abi_register(int fd, char *p, size_t len, uint64_t mode)
{
	struct uffdio_register reg = {.range = {.start = (uintptr_t)p, .len = len}, .mode = mode};

	if (ioctl(fd, UFFDIO_REGISTER, &reg))
		die("UFFDIO_REGISTER of %zu bytes: %s", len, strerror(errno));
}

void abi_copy(int fd, char *dst, const char *src, size_t len)
{
	struct uffdio_copy copy = {.dst = (uintptr_t)dst, .src = (uintptr_t)src, .len = len};

	if (ioctl(fd, UFFDIO_COPY, &copy))
		die("UFFDIO_COPY of %zu bytes: %s", len, strerror(errno));
	if (copy.copy != (int64_t)len)
		die("UFFDIO_COPY: %lld of %zu bytes", (long long)copy.copy, len);
}

void abi_zeropage(int fd, char *p, size_t len)
{
	struct uffdio_zeropage zero = {.range = {.start = (uintptr_t)p, .len = len}};

	if (ioctl(fd, UFFDIO_ZEROPAGE, &zero))
		die("UFFDIO_ZEROPAGE of %zu bytes: %s", len, strerror(errno));
	if (zero.zeropage != (int64_t)len)
		die("UFFDIO_ZEROPAGE: %lld of %zu bytes", (long long)zero.zeropage, len);
}

void abi_continue(int fd, char *p, size_t len)
{
	struct uffdio_continue go = {.range = {.start = (uintptr_t)p, .len = len}};

	if (ioctl(fd, UFFDIO_CONTINUE, &go))
		die("UFFDIO_CONTINUE of %zu bytes: %s", len, strerror(errno));
	if (go.mapped != (int64_t)len)
		die("UFFDIO_CONTINUE: %lld of %zu bytes", (long long)go.mapped, len);
}

void abi_writeprotect(int fd, char *p, size_t len, bool on)
{
	struct uffdio_writeprotect wp = {.range = {.start = (uintptr_t)p, .len = len},
					 .mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0};

	if (ioctl(fd, UFFDIO_WRITEPROTECT, &wp))
		die("UFFDIO_WRITEPROTECT of %zu bytes: %s", len, strerror(errno));
}

void abi_drop(char *p, size_t len)
{
	if (madvise(p, len, MADV_DONTNEED))
		die("madvise(MADV_DONTNEED) of %zu bytes: %s", len, strerror(errno));
}
