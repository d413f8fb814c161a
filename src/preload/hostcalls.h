/* SPDX-License-Identifier: MIT */
/*
 * hostcalls.h - system calls made only on behalf of the program. The engine does not use them, so host/host.h has no
 * name for them, and they go to the host by number. The result is -errno on failure; errno is not touched. In
 * preload, numbers of system calls stand here and in syscalls.def only.
 */
#ifndef FL_PRELOAD_HOSTCALLS_H
#define FL_PRELOAD_HOSTCALLS_H

#include "host/host.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define FL_HOSTCALL(name, a, b, c, d, e, f)                                                                          \
	fl_host_call(SYS_##name, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

/* ---- descriptors ---- */

static inline int hostcall_close_range(unsigned first, unsigned last, int flags)
{
	return (int)FL_HOSTCALL(close_range, first, last, flags, 0, 0, 0);
}

/* FIOCLEX and FIONCLEX, which have no argument */
static inline int hostcall_ioctl_cloexec(int fd, unsigned long request)
{
	return (int)FL_HOSTCALL(ioctl, fd, request, 0, 0, 0, 0);
}

/* O_RDONLY, O_WRONLY or O_RDWR; -errno */
static inline int hostcall_access_mode(int fd)
{
	int flags = (int)FL_HOSTCALL(fcntl, fd, F_GETFL, 0, 0, 0, 0);

	return flags < 0 ? flags : flags & O_ACCMODE;
}

/* SOCK_STREAM and the like; -errno */
static inline int hostcall_socket_type(int fd)
{
	int type = 0;
	socklen_t len = sizeof(type);
	int err = (int)FL_HOSTCALL(getsockopt, fd, SOL_SOCKET, SO_TYPE, &type, &len, 0);

	return err ? err : type;
}

/* ---- files ---- */

static inline int hostcall_openat2(int dir, const char *path, const void *how, size_t size)
{
	return (int)FL_HOSTCALL(openat2, dir, path, how, size, 0, 0);
}

static inline long hostcall_readlink(const char *path, char *link, size_t size)
{
	return FL_HOSTCALL(readlinkat, AT_FDCWD, path, link, size, 0, 0);
}

static inline bool hostcall_exists(const char *path)
{
	return FL_HOSTCALL(faccessat, AT_FDCWD, path, F_OK, 0, 0, 0) == 0;
}

static inline int64_t hostcall_lseek(int fd, int64_t offset, int whence)
{
	return FL_HOSTCALL(lseek, fd, offset, whence, 0, 0, 0);
}

static inline long hostcall_preadv2(int fd, const struct iovec *iov, uint64_t offset, int flags)
{
	return FL_HOSTCALL(preadv2, fd, iov, 1, offset, 0, flags);
}

static inline long hostcall_pwritev2(int fd, const struct iovec *iov, uint64_t offset, int flags)
{
	return FL_HOSTCALL(pwritev2, fd, iov, 1, offset, 0, flags);
}

static inline long hostcall_write(int fd, const void *buf, size_t len)
{
	return FL_HOSTCALL(write, fd, buf, len, 0, 0, 0);
}

static inline long hostcall_getrandom(void *buf, size_t len, int flags)
{
	return FL_HOSTCALL(getrandom, buf, len, flags, 0, 0, 0);
}

/* ---- memory ---- */

static inline long hostcall_advise_process(int pidfd, const struct iovec *iov, size_t n, int advice, unsigned flags)
{
	return FL_HOSTCALL(process_madvise, pidfd, iov, n, advice, flags, 0);
}

/* ---- signals ---- */

static inline int hostcall_sigprocmask(int how, const uint64_t *set, uint64_t *old)
{
	return (int)FL_HOSTCALL(rt_sigprocmask, how, set, old, sizeof(*set), 0, 0);
}

#endif
