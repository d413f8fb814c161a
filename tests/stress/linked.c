/* SPDX-License-Identifier: MIT */
/* linked.c - see linked.h: what src/preload does for these calls, except for hidden buffers. */
#include "lib/lib.h"
#include "native/native.h"

#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LINKED_NAMES_ONLY
#include "linked.h"

static long result(int64_t ret)
{
	if (!fl_host_failed((long)ret))
		return (long)ret;
	errno = (int)-ret;
	return -1;
}

/* ---- descriptors ---- */

long linked_syscall(long nr, int flags)
{
	struct fl_uffd *object;
	int err = nr == SYS_userfaultfd ? fl_native_init() : -ENOSYS;

	if (!err)
		err = fl_object_new(&fl_native.mm, &fl_native_caller, flags, &object);
	return result(err ? err : object->fd);
}

int linked_ioctl(int fd, unsigned long request, void *arg)
{
	struct fl_uffd *object = fl_object_get(fd);
	int ret;

	if (!object)
		return ioctl(fd, request, arg);
	ret = fl_uffd_ioctl(object, request, arg);
	fl_object_put(object);
	return ret;
}

ssize_t linked_read(int fd, void *buf, size_t len)
{
	struct fl_uffd *object = fl_object_get(fd);
	ssize_t ret;

	if (!object)
		return read(fd, buf, len);
	ret = fl_uffd_read(object, buf, len);
	fl_object_put(object);
	return ret;
}

/* Among several descriptors an object is represented by its socket. */
int linked_poll(struct pollfd *fds, nfds_t n, int timeout)
{
	struct fl_uffd *object = n == 1 ? fl_object_get(fds->fd) : NULL;
	int ret;

	if (!object)
		return poll(fds, n, timeout);
	ret = fl_uffd_poll(object, timeout);
	fds->revents = (short)(ret > 0 ? ret : 0);
	fl_object_put(object);
	return ret > 0 ? 1 : ret;
}

int linked_fcntl(int fd, int cmd, ...)
{
	struct fl_uffd *object = fl_object_get(fd);
	va_list ap;
	long arg;
	int ret;

	va_start(ap, cmd);
	arg = cmd == F_SETFL ? va_arg(ap, int) : 0;
	va_end(ap);
	if (!object || (cmd != F_GETFL && cmd != F_SETFL))
		abort();
	ret = cmd == F_GETFL ? (int)(object->ctx->flags & O_NONBLOCK)
			     : fl_uffd_set_nonblock(object, (arg & O_NONBLOCK) != 0);
	fl_object_put(object);
	return ret;
}

int linked_close(int fd)
{
	struct fl_uffd *closing = fl_object_closing(fd);
	int ret = close(fd);

	fl_object_closed(closing);
	return ret;
}

/* ---- memory and mapped files ---- */

void *linked_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
	return (void *)result(fl_native_mmap(fl_addr(addr), len, prot, flags, fd, (uint64_t)offset));
}

int linked_munmap(void *addr, size_t len)
{
	return (int)result(fl_native_munmap(fl_addr(addr), len));
}

void *linked_mremap(void *addr, size_t old_len, size_t new_len, int flags, void *new_addr)
{
	return (void *)result(fl_native_mremap(fl_addr(addr), old_len, new_len, flags, fl_addr(new_addr)));
}

int linked_mprotect(void *addr, size_t len, int prot)
{
	return (int)result(fl_native_mprotect(fl_addr(addr), len, prot));
}

int linked_madvise(void *addr, size_t len, int advice)
{
	return (int)result(fl_native_madvise(fl_addr(addr), len, advice));
}

int linked_ftruncate(int fd, off_t size)
{
	return fl_file_any() ? (int)result(fl_native_ftruncate(fd, (uint64_t)size)) : ftruncate(fd, size);
}

int linked_fallocate(int fd, int mode, off_t offset, off_t len)
{
	if (!fl_file_any())
		return fallocate(fd, mode, offset, len);
	return (int)result(fl_native_fallocate(fd, mode, (uint64_t)offset, (uint64_t)len));
}

/* ---- processes and signals ---- */

pid_t linked_fork(void)
{
	int err = fl_native_fork_prepare();
	pid_t pid = err ? -1 : fork();

	if (pid == 0)
		fl_native_fork_child();
	else if (!err)
		fl_native_fork_parent(pid);
	else
		errno = -err;
	return pid;
}

/* The engine's handler is put back, and calls the program's. */
int linked_sigaction(int sig, const struct sigaction *act, struct sigaction *old)
{
	int ret = sigaction(sig, act, old);

	if (!ret && act && sig == SIGSEGV && __atomic_load_n(&fl_native.ready, __ATOMIC_ACQUIRE))
		ret = (int)result(fl_fault_entry_install());
	return ret;
}
