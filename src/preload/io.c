/* SPDX-License-Identifier: MIT */
/*
 * io.c - ioctl, read, write and seek. On a descriptor of a userfaultfd object they are the object's; on any other the
 * call is libc's, repeated when a buffer was hidden.
 */
#include "preload/preload.h"

#include <fcntl.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* ---- ioctl ---- */

#define UFFD_TYPE 0xaa00 /* requests of userfaultfd and of /dev/userfaultfd */

static unsigned type_of(unsigned long request)
{
	return request & 0xff00;
}

static int set_cloexec(int fd, unsigned long request)
{
	return hostcall_ioctl_cloexec(fd, request);
}

static bool sets_cloexec(unsigned long request)
{
	return request == FIOCLEX || request == FIONCLEX;
}

static int device_ioctl(int fd, unsigned long request, uint64_t arg)
{
	if (sets_cloexec(request))
		return set_cloexec(fd, request);
	return request == FL_USERFAULTFD_IOC_NEW ? fl_do_userfaultfd((int)arg) : -EINVAL;
}

/* The host's own userfaultfd is not for this program. ESRCH is the kernel's answer when the memory is gone. */
static int foreign_ioctl(int fd)
{
	if (FL_FIND(fcntl)(fd, F_GETFD) < 0)
		return -EBADF;
	return fl_object_foreign(fd) ? -ESRCH : -ENOTTY;
}

/* False: libc's call will do. Otherwise *ret is the result or -errno. */
static bool our_ioctl(int fd, unsigned long request, uint64_t arg, int *ret)
{
	struct fl_uffd *o = fl_object_get(fd);

	if (o) { /* requests are 32 bits wide */
		*ret = sets_cloexec(request) ? set_cloexec(fd, request) : fl_object_ioctl(o, (uint32_t)request, arg);
		fl_object_put(o);
	} else if (fl_fd_kind(fd) == FL_FD_DEVICE)
		*ret = device_ioctl(fd, request, arg);
	else if ((uint32_t)request == FL_PAGEMAP_SCAN)
		return fl_pagemap_scan(fd, arg, ret);
	else if (type_of(request) == UFFD_TYPE)
		*ret = foreign_ioctl(fd);
	else
		return false;
	return true;
}

static size_t ioctl_size(unsigned long request)
{
	size_t size = _IOC_SIZE(request);

	return size ? size : 64; /* old requests do not tell */
}

FL_EXPORT int ioctl(int fd, unsigned long request, ...)
{
	va_list ap;
	uint64_t arg;
	int ret;

	va_start(ap, request);
	arg = (uint64_t)va_arg(ap, unsigned long);
	va_end(ap);
	if (unlikely(fl_object_any() || fl_nr_special || type_of(request) == UFFD_TYPE) &&
	    our_ioctl(fd, request, arg, &ret))
		return (int)fl_ret(ret);
	return FL_RETRY(int, FL_FIND(ioctl)(fd, request, arg), fl_in_or_out(fl_ptr(arg), ioctl_size(request)));
}

/* ---- reading and writing ---- */

FL_EXPORT ssize_t read(int fd, void *buf, size_t len)
{
	struct iovec iov = {buf, len};
	struct fl_uffd *o;
	ssize_t ret;

	fl_cancel_point();
	o = fl_object_get(fd);
	if (o) {
		ret = (ssize_t)fl_ret(fl_object_read(o, fl_addr(buf), len));
		fl_object_put(o);
		return ret;
	}
	if (FL_SPECIAL(&ret, fd, &iov, 1, -1, 0, false))
		return ret;
	fl_before_read(fd, buf, len);
	ret = FL_RETRY(ssize_t, FL_FIND(read)(fd, buf, len), fl_iov_next(&iov, 1));
	fl_signalfd_read(fd, &iov, 1, ret);
	return fl_go_on(fd, &iov, 1, ret, true);
}

/* A message may span parts of the vector. */
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
	struct fl_uffd *o;
	ssize_t ret;

	fl_cancel_point();
	o = fl_object_get(fd);
	if (o) {
		ret = object_readv(o, iov, n);
		fl_object_put(o);
		return ret;
	}
	if (FL_SPECIAL(&ret, fd, iov, n, -1, 0, false))
		return ret;
	ret = FL_RETRY(ssize_t, FL_FIND(readv)(fd, iov, n), fl_iov_next(iov, n));
	fl_signalfd_read(fd, iov, n, ret);
	return fl_go_on(fd, iov, n, ret, true);
}

static bool not_for_objects(int fd, int err)
{
	struct fl_uffd *o;

	fl_cancel_point();
	o = fl_object_get(fd);
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

/* ---- in fortified programs: <bits/unistd.h> ---- */

FL_EXPORT ssize_t __read_chk(int fd, void *buf, size_t len, size_t size);
ssize_t __read_chk(int fd, void *buf, size_t len, size_t size)
{
	if (len > size)
		__chk_fail();
	return read(fd, buf, len);
}

FL_EXPORT ssize_t __pread_chk(int fd, void *buf, size_t len, off_t offset, size_t size);
FL_EXPORT ssize_t __pread64_chk(int fd, void *buf, size_t len, off64_t offset, size_t size);

ssize_t __pread_chk(int fd, void *buf, size_t len, off_t offset, size_t size)
{
	return __pread64_chk(fd, buf, len, offset, size);
}

ssize_t __pread64_chk(int fd, void *buf, size_t len, off64_t offset, size_t size)
{
	if (len > size)
		__chk_fail();
	return pread64(fd, buf, len, offset);
}

/* ---- names that few programs use ---- */

FL_ALIAS(__read, read)
FL_ALIAS(__write, write)
FL_ALIAS(__lseek, lseek)
