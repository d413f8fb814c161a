/* SPDX-License-Identifier: MIT */
/*
 * target_libc.c - the running system as target: libc's own functions, nothing of faultline. The same code meets the
 * kernel, or faultline's preloaded library when the runner was started by `faultline run`.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "target.h"

static _Thread_local struct {
	sigjmp_buf env;
	volatile sig_atomic_t armed;
	struct caught last;
} trap;

static void *ptr(uint64_t addr)
{
	return (void *)(uintptr_t)addr;
}

static int result(long r)
{
	return r < 0 ? -errno : (int)r;
}

/* A fault outside an armed access is the suite's own: let it kill the case. */
static void on_fault(int sig, siginfo_t *info, void *context)
{
	if (!trap.armed) {
		signal(sig, SIG_DFL);
		return;
	}
	trap.last = (struct caught){sig, info->si_code, (uint64_t)(uintptr_t)info->si_addr};
	siglongjmp(trap.env, sig);
}

struct caught libc_caught(void)
{
	return trap.last;
}

static void libc_start(void)
{
	struct sigaction sa = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};

	sigemptyset(&sa.sa_mask);
	if (sigaction(SIGSEGV, &sa, NULL) || sigaction(SIGBUS, &sa, NULL))
		abort();
}

static int libc_finish(void)
{
	return 0;
}

static int64_t libc_map(uint64_t addr, uint64_t len, int prot, int flags)
{
	void *p = mmap(ptr(addr), len, prot, flags, -1, 0);

	return p == MAP_FAILED ? -errno : (int64_t)(intptr_t)p;
}

static int libc_unmap(uint64_t addr, uint64_t len)
{
	return result(munmap(ptr(addr), len));
}

static int libc_protect(uint64_t addr, uint64_t len, int prot)
{
	return result(mprotect(ptr(addr), len, prot));
}

static int64_t libc_remap(uint64_t addr, uint64_t old_len, uint64_t new_len, int flags, uint64_t new_addr)
{
	void *p = mremap(ptr(addr), old_len, new_len, flags, ptr(new_addr));

	return p == MAP_FAILED ? -errno : (int64_t)(intptr_t)p;
}

static int libc_advise(uint64_t addr, uint64_t len, int advice)
{
	return result(madvise(ptr(addr), len, advice));
}

static int64_t libc_file(uint64_t len)
{
	int fd = memfd_create("conformance", MFD_CLOEXEC), r;

	if (fd < 0)
		return -errno;
	r = result(ftruncate(fd, (off_t)len));
	if (r)
		close(fd);
	return r ? r : fd;
}

static int libc_file_close(int64_t file)
{
	return result(close((int)file));
}

static int64_t libc_map_file(uint64_t addr, uint64_t len, int prot, int flags, int64_t file, uint64_t offset)
{
	void *p = mmap(ptr(addr), len, prot, flags, (int)file, (off_t)offset);

	return p == MAP_FAILED ? -errno : (int64_t)(intptr_t)p;
}

static int64_t libc_file_read(int64_t file, uint64_t offset, void *buf, size_t len)
{
	return result(pread((int)file, buf, len, (off_t)offset));
}

static int64_t libc_file_write(int64_t file, uint64_t offset, const void *buf, size_t len)
{
	return result(pwrite((int)file, buf, len, (off_t)offset));
}

static int libc_file_truncate(int64_t file, uint64_t len)
{
	return result(ftruncate((int)file, (off_t)len));
}

static int libc_file_punch(int64_t file, uint64_t offset, uint64_t len)
{
	return result(fallocate((int)file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)len));
}

static int64_t libc_file_data(int64_t file, uint64_t offset)
{
	off_t at = lseek((int)file, (off_t)offset, SEEK_DATA);

	return at < 0 ? -errno : at;
}

/*
 * Byte by byte, in order, as volatile accesses: the fault must come from the program's own instruction, on exactly
 * the byte that a case means, not from inside libc or a sanitizer.
 */
__attribute__((noinline, no_sanitize("address", "undefined", "thread"))) static void
touch(volatile uint8_t *to, const volatile uint8_t *from, size_t len)
{
	trap.armed = 1;
	for (size_t i = 0; i < len; i++)
		to[i] = from[i];
}

static int libc_load(uint64_t addr, void *buf, size_t len)
{
	int sig = sigsetjmp(trap.env, 1);

	if (!sig)
		touch(buf, ptr(addr), len);
	trap.armed = 0;
	return sig;
}

static int libc_store(uint64_t addr, const void *buf, size_t len)
{
	int sig = sigsetjmp(trap.env, 1);

	if (!sig)
		touch(ptr(addr), buf, len);
	trap.armed = 0;
	return sig;
}

/* The system calls that touch a buffer are read and write on a pipe of their own, which never wait for the pipe. */
static int libc_kernel_read(uint64_t addr, void *buf, size_t len)
{
	int fd[2], r;

	if (pipe(fd))
		return -errno;
	r = result(write(fd[1], ptr(addr), len));
	if (r == (int)len)
		r = result(read(fd[0], buf, len));
	close(fd[0]);
	close(fd[1]);
	return r == (int)len ? 0 : r < 0 ? r : -EIO;
}

static int libc_kernel_write(uint64_t addr, const void *buf, size_t len)
{
	int fd[2], r;

	if (pipe(fd))
		return -errno;
	r = result(write(fd[1], buf, len));
	if (r == (int)len)
		r = result(read(fd[0], ptr(addr), len));
	close(fd[0]);
	close(fd[1]);
	return r == (int)len ? 0 : r < 0 ? r : -EIO;
}

static int libc_pagemap(uint64_t addr, uint64_t *word)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC), r = -errno;

	if (fd < 0)
		return r;
	r = result(pread(fd, word, sizeof(*word), (off_t)(addr / 4096 * sizeof(*word))));
	close(fd);
	return r == (int)sizeof(*word) ? 0 : r < 0 ? r : -EIO;
}

static int libc_clear_refs(void)
{
	int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC), r = -errno;

	if (fd < 0)
		return r;
	r = result(write(fd, "4", 1));
	close(fd);
	return r == 1 ? 0 : r < 0 ? r : -EIO;
}

static uffd_t libc_open(int flags)
{
	return result(syscall(SYS_userfaultfd, flags));
}

static int libc_close(uffd_t u)
{
	return result(close((int)u));
}

static int libc_ioctl(uffd_t u, unsigned long cmd, void *arg)
{
	return result(ioctl((int)u, cmd, arg));
}

static ssize_t libc_read(uffd_t u, void *buf, size_t len)
{
	return result(read((int)u, buf, len));
}

static int libc_poll(uffd_t u, int timeout_ms)
{
	struct pollfd p = {.fd = (int)u, .events = POLLIN};
	int r = result(poll(&p, 1, timeout_ms));

	return r > 0 ? p.revents : r;
}

static int libc_nonblock(uffd_t u, int on)
{
	int flags = fcntl((int)u, F_GETFL);

	return result(fcntl((int)u, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK));
}

const struct target target_libc = {
	.start = libc_start,
	.finish = libc_finish,
	.map = libc_map,
	.unmap = libc_unmap,
	.protect = libc_protect,
	.remap = libc_remap,
	.advise = libc_advise,
	.file = libc_file,
	.file_close = libc_file_close,
	.map_file = libc_map_file,
	.file_read = libc_file_read,
	.file_write = libc_file_write,
	.file_truncate = libc_file_truncate,
	.file_punch = libc_file_punch,
	.file_data = libc_file_data,
	.load = libc_load,
	.store = libc_store,
	.kernel_read = libc_kernel_read,
	.kernel_write = libc_kernel_write,
	.pagemap = libc_pagemap,
	.clear_refs = libc_clear_refs,
	.open = libc_open,
	.close = libc_close,
	.ioctl = libc_ioctl,
	.read = libc_read,
	.poll = libc_poll,
	.nonblock = libc_nonblock,
};
