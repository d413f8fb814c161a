/* SPDX-License-Identifier: MIT */
/*
 * fd.c - the life of descriptors: close, dup, fcntl. One that names a userfaultfd object behaves as the kernel's.
 * Descriptors of the engine itself do not exist for the program.
 */
#include "preload/preload.h"

#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <unistd.h>

#define MAX_FDS FL_MAX_FDS

uint8_t fl_fd_kinds[MAX_FDS];
uint32_t fl_nr_special;

/* The child of a vfork() shares this table, but not the descriptors. */
static int32_t fds_owner;

void fl_set_fd_kind(int fd, enum fl_fd_kind kind)
{
	uint8_t old;
	int32_t pid;

	if (fd < 0 || fd >= MAX_FDS || fl_fd_kinds[fd] == kind)
		return;
	pid = fl_host_pid();
	if (!fds_owner)
		fds_owner = pid;
	if (fds_owner != pid &&
	    (kind < FL_FD_SIGNALFD || fl_fd_kinds[fd])) /* a mark that is only a hint does no harm */
		return;
	old = __atomic_exchange_n(&fl_fd_kinds[fd], (uint8_t)kind, __ATOMIC_RELAXED);
	__atomic_fetch_add(&fl_nr_special, (uint32_t) !!kind - !!old, __ATOMIC_RELAXED);
}

/* ---- closing and copying ---- */

/* Do we have any descriptor? */
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
	fl_cancel_point();
	closing = fl_object_closing(fd);
	fl_set_fd_kind(fd, FL_FD_PLAIN);
	ret = fl_cancel_close(fd);
	fl_object_closed(closing);
	return ret;
}

static int host_close_range(unsigned first, unsigned last, int flags)
{
	return first > last ? 0 : hostcall_close_range(first, last, flags);
}

/* The lowest descriptor of [first, high] of which the library knows something; above `high`: there is none. */
static unsigned next_known(unsigned first, unsigned high)
{
	int object = first <= high ? fl_object_next_fd((int)first) : -1;
	unsigned end = object >= 0 ? fl_min(high + 1, (unsigned)object) : high + 1;

	for (unsigned fd = first; fl_nr_special && fd < end; fd++)
		if (fl_fd_kinds[fd])
			return fd;
	return end;
}

FL_EXPORT int close_range(unsigned first, unsigned last, int flags)
{
	unsigned from = first, high = fl_min(last, MAX_FDS - 1u);
	int ret = 0;

	if (first > last || (flags & ~(int)(CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC)))
		return (int)fl_ret(hostcall_close_range(first, last, flags));
	if (flags &
	    (int)CLOSE_RANGE_UNSHARE) { /* first, and nothing else: what is closed one by one is this thread's */
		fl_reach_own_table();
		ret = hostcall_close_range(UINT_MAX, UINT_MAX, (int)CLOSE_RANGE_UNSHARE);
		if (ret)
			return (int)fl_ret(ret);
		flags &= ~(int)CLOSE_RANGE_UNSHARE;
	}
	for (unsigned fd = next_known(first, high); fd <= high && any_ours(); fd = next_known(fd + 1, high)) {
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

/* To copy onto a descriptor closes it. */
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
	fds_owner = fl_host_pid();
	fl_pagemap_after_fork();
}

static int do_fcntl(int (*real)(int, int, ...), int fd, int cmd, uint64_t arg)
{
	struct fl_uffd *o = fl_object_get(fd);
	int ret;

	if (!o)
		ret = FL_RETRY(int, real(fd, cmd, arg), fl_in_or_out(fl_ptr(arg), sizeof(struct flock)));
	else if (cmd == F_GETFL)
		ret = (int)(o->ctx->flags & O_NONBLOCK); /* the access mode is O_RDONLY, as the kernel's is */
	else if (cmd == F_SETFL)
		ret = fl_object_set_nonblock(o, arg & O_NONBLOCK);
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

FL_ALIAS(__close, close)
FL_ALIAS(__dup2, dup2)
FL_ALIAS(__fcntl, fcntl)
