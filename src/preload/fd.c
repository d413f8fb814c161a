/* SPDX-License-Identifier: MIT */
/*
 * fd.c - descriptors. One that names a userfaultfd object behaves as the kernel's does; for every other the call is
 * libc's, repeated when a buffer was hidden (efault.c). Descriptors of the engine itself do not exist for the
 * program.
 */
#include "preload/preload.h"

#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEVICE	"/dev/userfaultfd"
#define MAX_FDS FL_MAX_FDS

uint8_t fl_fd_kinds[MAX_FDS];
uint32_t fl_nr_special;

static bool is_device(int fd)
{
	return fl_fd_kind(fd) == FL_FD_DEVICE;
}

/* The child of a vfork() shares this table, but not the descriptors. */
static int32_t fds_owner;

void fl_set_fd_kind(int fd, enum fl_fd_kind kind)
{
	uint8_t old;
	int32_t pid;

	if (fd < 0 || fd >= MAX_FDS || fl_fd_kinds[fd] == kind)
		return;
	pid = (int32_t)fl_sys(SYS_getpid, 0);
	if (!fds_owner)
		fds_owner = pid;
	if (fds_owner != pid && (kind < FL_FD_PAGEMAP || fl_fd_kinds[fd])) /* what is looked at again does no harm */
		return;
	old = __atomic_exchange_n(&fl_fd_kinds[fd], (uint8_t)kind, __ATOMIC_RELAXED);
	__atomic_fetch_add(&fl_nr_special, (uint32_t) !!kind - !!old, __ATOMIC_RELAXED);
}

/* ---- opening ---- */

int fl_do_userfaultfd(int flags)
{
	struct fl_uffd *object;
	int err = fl_abi_check_flags(flags);

	if (!err)
		err = fl_native_init();
	if (!err)
		err = fl_object_new(&fl_native.mm, &fl_native_caller, flags, &object);
	return err ? err : object->fd;
}

/* Anything that opens can stand for the device; what it is shows in no call that a program would make on it. */
static int open_device(int flags)
{
	int fd = (int)fl_sys(SYS_openat, AT_FDCWD, "/dev/null", O_RDWR | (flags & O_CLOEXEC), 0);

	if (fd >= 0)
		fl_set_fd_kind(fd, FL_FD_DEVICE);
	return (int)fl_ret(fd);
}

static mode_t mode_of(int flags, va_list ap)
{
	return (flags & (O_CREAT | O_TMPFILE)) ? va_arg(ap, mode_t) : 0;
}

/* A bad pointer must reach libc, which says EFAULT. */
static bool names_device(const char *path)
{
	char copy[sizeof(DEVICE)] = {0};

	if (!path)
		return false;
	if (__atomic_load_n(&fl_native.ready, __ATOMIC_ACQUIRE))
		fl_copy_user(copy, path, sizeof(copy));
	else
		strncpy(copy, path, sizeof(copy) - 1);
	copy[sizeof(copy) - 1] = '\0';
	return strcmp(copy, DEVICE) == 0;
}

/* The path is looked at before libc's own function is: a hidden one faults in user mode here, which resolves it. */
#define OPEN(name, params, args)                                                                                     \
	FL_EXPORT int name params                                                                                    \
	{                                                                                                            \
		mode_t mode;                                                                                         \
		va_list ap;                                                                                          \
                                                                                                                     \
		va_start(ap, flags);                                                                                 \
		mode = mode_of(flags, ap);                                                                           \
		va_end(ap);                                                                                          \
		if (fl_in_str(path) != FL_REFUSED && names_device(path))                                             \
			return open_device(flags);                                                                   \
		return fl_opened(path, FL_RETRY(int, FL_FIND(name) args, fl_in_str(path)), flags);                   \
	}

OPEN(open, (const char *path, int flags, ...), (path, flags, mode))
OPEN(open64, (const char *path, int flags, ...), (path, flags, mode))
OPEN(openat, (int dir, const char *path, int flags, ...), (dir, path, flags, mode))
OPEN(openat64, (int dir, const char *path, int flags, ...), (dir, path, flags, mode))

FL_EXPORT int creat(const char *path, mode_t mode)
{
	return open(path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

FL_EXPORT int creat64(const char *path, mode_t mode)
{
	return open64(path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

/* What <bits/fcntl2.h> calls in fortified programs. */
FL_EXPORT int __open_2(const char *path, int flags);
FL_EXPORT int __open64_2(const char *path, int flags);
FL_EXPORT int __openat_2(int dir, const char *path, int flags);
FL_EXPORT int __openat64_2(int dir, const char *path, int flags);

int __open_2(const char *path, int flags)
{
	return open(path, flags);
}

int __open64_2(const char *path, int flags)
{
	return open64(path, flags);
}

int __openat_2(int dir, const char *path, int flags)
{
	return openat(dir, path, flags);
}

int __openat64_2(int dir, const char *path, int flags)
{
	return openat64(dir, path, flags);
}

static FILE *stream_open(FILE *(*real)(const char *, const char *), const char *path, const char *mode)
{
	struct fl_retry retry = {0};
	FILE *f;

	if (fl_in_str(path) != FL_REFUSED && names_device(path)) {
		int fd = open_device(O_CLOEXEC);

		return fd < 0 ? NULL : fdopen(fd, mode);
	}
	do
		f = real(path, mode);
	while (!f && errno == EFAULT && fl_maybe_ours() &&
	       fl_again(&retry, FL_ALL(fl_in_str(path), fl_in_str(mode))));
	return f ? fl_stream_opened(path, mode, f) : NULL;
}

FL_EXPORT FILE *fopen(const char *restrict path, const char *restrict mode)
{
	return stream_open(FL_FIND(fopen), path, mode);
}

FL_EXPORT FILE *fopen64(const char *restrict path, const char *restrict mode)
{
	return stream_open(FL_FIND(fopen64), path, mode);
}

/* ---- closing and copying ---- */

/* Has anything of ours a descriptor? */
static bool any_ours(void)
{
	return __atomic_load_n(&fl_native.ready, __ATOMIC_RELAXED) || fl_nr_special || fl_kept_any();
}

FL_EXPORT int close(int fd)
{
	struct fl_uffd *closing;
	int ret;

	if (likely(!any_ours()))
		return FL_FIND(close)(fd);
	if (fl_object_private_fd(fd)) {
		errno = EBADF;
		return -1;
	}
	closing = fl_object_closing(fd);
	fl_set_fd_kind(fd, FL_FD_PLAIN);
	ret = FL_FIND(close)(fd);
	fl_object_closed(closing);
	return ret;
}

static int host_close_range(unsigned first, unsigned last, int flags)
{
	return first > last ? 0 : (int)fl_sys(SYS_close_range, first, last, flags);
}

FL_EXPORT int close_range(unsigned first, unsigned last, int flags)
{
	unsigned from = first, high = fl_min(last, MAX_FDS - 1u);
	int ret = 0;

	if (first > last || (flags & ~(int)(CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC)))
		return (int)fl_ret(fl_sys(SYS_close_range, first, last, flags));
	for (unsigned fd = first; fd <= high && any_ours(); fd++) {
		struct fl_uffd *o;

		if (fl_object_private_fd((int)fd)) {
			ret = host_close_range(from, fd - 1, flags);
			from = fd + 1;
		} else if (!(flags & (int)CLOSE_RANGE_CLOEXEC) && (o = fl_object_get((int)fd))) {
			fl_object_put(o);
			close((int)fd);
		}
		if (!(flags & (int)CLOSE_RANGE_CLOEXEC))
			fl_set_fd_kind((int)fd, FL_FD_PLAIN);
	}
	if (!ret)
		ret = host_close_range(from, last, flags);
	return (int)fl_ret(ret);
}

FL_EXPORT void closefrom(int lowest)
{
	close_range((unsigned)fl_max(lowest, 0), UINT_MAX, 0);
}

static int copied(int fd, int copy)
{
	if (copy >= 0) {
		fl_object_dup(fd, copy);
		fl_set_fd_kind(copy, fl_fd_kind(fd));
	}
	return copy;
}

FL_EXPORT int dup(int fd)
{
	return copied(fd, FL_FIND(dup)(fd));
}

/* A copy onto a descriptor closes that. */
static int dup_onto(int fd, int copy, int (*real)(int, int, int), int flags)
{
	struct fl_uffd *closing = NULL, *o;
	int ret;

	if (fl_object_private_fd(copy) || fl_object_private_fd(fd)) {
		errno = EBADF;
		return -1;
	}
	o = fd == copy || fcntl(fd, F_GETFD) < 0 ? NULL : fl_object_get(copy);
	if (o) {
		closing = fl_object_closing(copy);
		fl_object_put(o);
	}
	ret = real(fd, copy, flags);
	fl_object_closed(closing);
	return ret < 0 || fd == copy ? ret : copied(fd, copy);
}

static int real_dup2(int fd, int copy, int flags)
{
	return FL_FIND(dup2)(fd, copy);
}

static int real_dup3(int fd, int copy, int flags)
{
	return FL_FIND(dup3)(fd, copy, flags);
}

FL_EXPORT int dup2(int fd, int copy)
{
	return dup_onto(fd, copy, real_dup2, 0);
}

FL_EXPORT int dup3(int fd, int copy, int flags)
{
	return dup_onto(fd, copy, real_dup3, flags);
}

void fl_fds_after_fork(void)
{
	fds_owner = (int32_t)fl_sys(SYS_getpid, 0);
	fl_pagemap_after_fork();
}

void fl_received(const struct msghdr *msg)
{
	if (likely(!fl_object_any() || !msg->msg_controllen))
		return;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR((struct msghdr *)fl_ptr(fl_addr(msg)), c)) {
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(fd), sizeof(fd));
			fl_object_received(fd);
		}
	}
}

static int do_fcntl(int (*real)(int, int, ...), int fd, int cmd, uint64_t arg)
{
	struct fl_uffd *o = fl_object_get(fd);
	int ret;

	if (!o)
		ret = FL_RETRY(int, real(fd, cmd, arg), fl_out(fl_ptr(arg), sizeof(struct flock)));
	else if (cmd == F_GETFL)
		ret = (int)(o->ctx->flags & O_NONBLOCK); /* access mode O_RDONLY, as the kernel's */
	else if (cmd == F_SETFL)
		ret = fl_uffd_set_nonblock(o, !!(arg & O_NONBLOCK));
	else
		ret = real(fd, cmd, arg);
	if (o)
		fl_object_put(o);
	return cmd == F_DUPFD || cmd == F_DUPFD_CLOEXEC ? copied(fd, ret) : ret;
}

#define FCNTL(name)                                                                                                  \
	FL_EXPORT int name(int fd, int cmd, ...)                                                                     \
	{                                                                                                            \
		uint64_t arg;                                                                                        \
		va_list ap;                                                                                          \
                                                                                                                     \
		va_start(ap, cmd);                                                                                   \
		arg = (uint64_t)va_arg(ap, long);                                                                    \
		va_end(ap);                                                                                          \
		return do_fcntl(FL_FIND(name), fd, cmd, arg);                                                        \
	}

FCNTL(fcntl)
FCNTL(fcntl64)

/* ---- ioctl ---- */

int fl_do_ioctl(int fd, unsigned long request, uint64_t arg, bool *ours)
{
	struct fl_uffd *o = fl_object_get(fd);
	int ret;

	if ((o || is_device(fd)) && (request == FIOCLEX || request == FIONCLEX)) {
		*ours = true;
		ret = (int)fl_sys(SYS_ioctl, fd, request, 0);
		if (o)
			fl_object_put(o);
		return ret;
	}
	if (!o && (uint32_t)request == FL_PAGEMAP_SCAN && fl_pagemap_scan(fd, arg, &ret)) {
		*ours = true;
		return ret;
	}
	*ours = o || is_device(fd);
	if (!*ours && (request & 0xff00) == 0xaa00) {
		*ours = true; /* the host's own userfaultfd is not for this program */
		if (FL_FIND(fcntl)(fd, F_GETFD) < 0)
			return -EBADF;
		return fl_object_foreign(fd) ? -ESRCH
					     : -ENOTTY; /* ESRCH: as from the kernel, when the memory is gone */
	}
	if (!o)
		return *ours && request == FL_USERFAULTFD_IOC_NEW ? fl_do_userfaultfd((int)arg) : -EINVAL;
	/* requests are 32 bits wide */
	ret = fl_object_ioctl(o, (uint32_t)request, arg);
	fl_object_put(o);
	return ret;
}

static size_t ioctl_size(unsigned long request)
{
	size_t size = _IOC_SIZE(request);

	return size ? size : 64; /* the old requests do not tell */
}

FL_EXPORT int ioctl(int fd, unsigned long request, ...)
{
	va_list ap;
	uint64_t arg;
	bool ours;
	int ret;

	va_start(ap, request);
	arg = (uint64_t)va_arg(ap, unsigned long);
	va_end(ap);
	if (unlikely(fl_object_any() || fl_nr_special || (request & 0xff00) == 0xaa00)) {
		ret = fl_do_ioctl(fd, request, arg, &ours);
		if (ours)
			return (int)fl_ret(ret);
	}
	return FL_RETRY(int, FL_FIND(ioctl)(fd, request, arg), fl_out(fl_ptr(arg), ioctl_size(request)));
}

/* ---- reading and writing ---- */

FL_EXPORT ssize_t read(int fd, void *buf, size_t len)
{
	struct iovec iov = {buf, len};
	struct fl_uffd *o = fl_object_get(fd);
	ssize_t ret;

	if (o) {
		ret = (ssize_t)fl_ret(fl_object_read(o, fl_addr(buf), len));
		fl_object_put(o);
		return ret;
	}
	if (FL_SPECIAL(&ret, fd, &iov, 1, -1, 0, false))
		return ret;
	fl_before_read(fd, buf, len);
	ret = FL_RETRY(ssize_t, FL_FIND(read)(fd, buf, len), fl_iov_next(&iov, 1));
	return fl_go_on(fd, &iov, 1, ret, true);
}

FL_EXPORT ssize_t __read_chk(int fd, void *buf, size_t len, size_t size);
ssize_t __read_chk(int fd, void *buf, size_t len, size_t size)
{
	if (len > size)
		abort();
	return read(fd, buf, len);
}

/* Messages may span the parts of a vector. */
static ssize_t object_readv(struct fl_uffd *o, const struct iovec *iov, int n)
{
	struct fl_uffd_msg msgs[8];
	struct iovec part;
	size_t total = 0;
	int64_t got, at = 0;

	for (int i = 0; i < n; i++) {
		if (fl_copy_user(&part, &iov[i], sizeof(part)))
			return (ssize_t)fl_ret(-EFAULT);
		total += part.iov_len;
	}
	got = fl_object_read(o, fl_addr(msgs), fl_min(total, sizeof(msgs)));
	for (int i = 0; at < got; i++) {
		size_t len =
			fl_copy_user(&part, &iov[i], sizeof(part)) ? 0 : fl_min(part.iov_len, (size_t)(got - at));

		if (!len && part.iov_len)
			return (ssize_t)fl_ret(-EFAULT);
		if (fl_copy_user(part.iov_base, (char *)msgs + at, len))
			return (ssize_t)fl_ret(-EFAULT);
		at += (int64_t)len;
	}
	return (ssize_t)fl_ret(got);
}

FL_EXPORT ssize_t readv(int fd, const struct iovec *iov, int n)
{
	struct fl_uffd *o = fl_object_get(fd);
	ssize_t ret;

	if (o) {
		ret = object_readv(o, iov, n);
		fl_object_put(o);
		return ret;
	}
	if (FL_SPECIAL(&ret, fd, iov, n, -1, 0, false))
		return ret;
	ret = FL_RETRY(ssize_t, FL_FIND(readv)(fd, iov, n), fl_iov_next(iov, n));
	return fl_go_on(fd, iov, n, ret, true);
}

static bool not_for_objects(int fd, int err)
{
	struct fl_uffd *o = fl_object_get(fd);

	if (!o)
		return false;
	fl_object_put(o);
	errno = err;
	return true;
}

FL_EXPORT ssize_t write(int fd, const void *buf, size_t len)
{
	const struct iovec iov = {fl_ptr(fl_addr(buf)), len};
	ssize_t ret;

	if (not_for_objects(fd, EBADF))
		return -1;
	if (FL_SPECIAL(&ret, fd, &iov, 1, -1, 0, true))
		return ret;
	ret = FL_RETRY(ssize_t, FL_FIND(write)(fd, buf, len), fl_in(buf, len));
	return fl_go_on(fd, &iov, 1, ret, false);
}

FL_EXPORT ssize_t writev(int fd, const struct iovec *iov, int n)
{
	ssize_t ret;

	if (not_for_objects(fd, EBADF))
		return -1;
	if (FL_SPECIAL(&ret, fd, iov, n, -1, 0, true))
		return ret;
	ret = FL_RETRY(ssize_t, FL_FIND(writev)(fd, iov, n), fl_iov(iov, n, false));
	return fl_go_on(fd, iov, n, ret, false);
}

FL_EXPORT off64_t lseek64(int fd, off64_t offset, int whence)
{
	struct fl_uffd *o = fl_object_get(fd);

	if (!o)
		return FL_FIND(lseek64)(fd, offset, whence);
	fl_object_put(o);
	return 0;
}

FL_EXPORT off_t lseek(int fd, off_t offset, int whence)
{
	return lseek64(fd, offset, whence);
}
