/* SPDX-License-Identifier: MIT */
/* probe.c - what the host can do, found by trying. */
#include "probe.h"

#include "arch/context.h"
#include "arch/syscall.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <faultline/uapi.h>

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE  103
#endif

/* ---- the kernel's object ---- */

/* A system call that no preloaded library can answer: the result, or -errno. */
static long raw_syscall(long nr, long a, long b, long c, long d)
{
	return fl_sys(nr, a, b, c, d);
}

static int raw_close(long fd)
{
	if (fd < 0)
		return (int)fd;
	raw_syscall(SYS_close, fd, 0, 0, 0);
	return 0;
}

static long open_object(bool user_mode_only)
{
	return raw_syscall(SYS_userfaultfd, O_CLOEXEC | (user_mode_only ? FL_UFFD_USER_MODE_ONLY : 0), 0, 0, 0);
}

static long open_object_by_device(void)
{
	long fd = raw_syscall(SYS_openat, AT_FDCWD, (long)"/dev/userfaultfd", O_RDWR | O_CLOEXEC, 0);

	if (fd < 0)
		return fd;
	long object = raw_syscall(SYS_ioctl, fd, (long)FL_USERFAULTFD_IOC_NEW, O_CLOEXEC, 0);
	raw_close(fd);
	return object;
}

int probe_userfaultfd(bool user_mode_only)
{
	return raw_close(open_object(user_mode_only));
}

int probe_device(void)
{
	return raw_close(open_object_by_device());
}

int probe_features(uint64_t *features)
{
	struct fl_uffdio_api api = {.api = FL_UFFD_API};
	long fd = open_object(true);

	if (fd < 0)
		fd = open_object_by_device();
	if (fd < 0)
		return (int)fd;
	long err = raw_syscall(SYS_ioctl, fd, (long)FL_UFFDIO_API, (long)&api, 0);
	raw_close(fd);
	*features = api.features;
	return (int)err;
}

/* ---- accesses that may fault ---- */

/* For a moment this process's SIGSEGV handler is replaced; there is only one thread. */
static sigjmp_buf after_fault;
static volatile sig_atomic_t fault_was_write; /* 1, 0, or -1: the host does not say */

static void on_fault(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)info;
	fault_was_write = fl_context_write(context);
	siglongjmp(after_fault, 1);
}

/* Read a byte, or write it back: true if that succeeded, false if it raised a signal. */
static bool touch(volatile char *p, bool write)
{
	struct sigaction sa = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO}, old_segv, old_bus;
	bool good = false;

	sigaction(SIGSEGV, &sa, &old_segv);
	sigaction(SIGBUS, &sa, &old_bus);
	if (sigsetjmp(after_fault, 1) == 0) {
		char c = *p;

		if (write)
			*p = c;
		good = true;
	}
	sigaction(SIGSEGV, &old_segv, NULL);
	sigaction(SIGBUS, &old_bus, NULL);
	return good;
}

int probe_error_code(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *p = mmap(NULL, page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	bool tells;

	if (p == MAP_FAILED)
		return -errno;
	tells = !touch(p, false) && fault_was_write == 0;
	if (mprotect(p, page, PROT_READ))
		tells = false;
	tells = tells && !touch(p, true) && fault_was_write == 1;
	munmap(p, page);
	return tells ? 0 : -ENODATA;
}

/* Three pages, the middle one hidden: it must fault, its neighbours must not, and it must come back. */
static int try_guard(char *p, size_t page)
{
	memset(p, 'x', 3 * page);
	if (madvise(p + page, page, MADV_GUARD_INSTALL))
		return -errno;
	if (touch(p + page, false) || touch(p + page, true) || !touch(p, true) || !touch(p + 2 * page, true))
		return -ENODATA;
	if (madvise(p + page, page, MADV_GUARD_REMOVE))
		return -errno;
	return touch(p + page, true) && p[0] == 'x' && p[2 * page] == 'x' ? 0 : -ENODATA;
}

int probe_guard(bool shared)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	int fd = -1, err;

	if (shared) {
		fd = memfd_create("faultline-probe", MFD_CLOEXEC);
		if (fd < 0)
			return -errno;
		if (ftruncate(fd, (off_t)(3 * page))) {
			err = -errno;
			close(fd);
			return err;
		}
	}
	char *p = mmap(NULL, 3 * page, PROT_READ | PROT_WRITE, shared ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS, fd,
		       0);
	err = p == MAP_FAILED ? -errno : try_guard(p, page);
	if (p != MAP_FAILED)
		munmap(p, 3 * page);
	if (fd >= 0)
		close(fd);
	return err;
}

int probe_memfd(void)
{
	int fd = memfd_create("faultline-probe", MFD_CLOEXEC);

	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}
