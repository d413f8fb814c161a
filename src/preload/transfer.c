/* SPDX-License-Identifier: MIT */
/*
 * transfer.c - calls that may stop in the middle of their memory. If a hidden page was the cause of a short count,
 * they go on with the rest.
 */
#include "preload/preload.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

/* The part of a vector behind its first `done` bytes, up to the end of a buffer. */
static bool part_at(const struct iovec *iov, int n, size_t done, struct iovec *part)
{
	for (int i = 0; i < n && fl_peek(part, &iov[i], sizeof(*part)); i++) {
		if (done < part->iov_len) {
			part->iov_base = (char *)part->iov_base + done;
			part->iov_len -= done;
			return true;
		}
		done -= part->iov_len;
	}
	return false;
}

/* All that comes behind the first `done` bytes. */
static int rest(const struct iovec *iov, int n, size_t done, bool write)
{
	int ret = FL_NOT_OURS;
	struct iovec part;

	for (; part_at(iov, n, done, &part); done += part.iov_len)
		ret = FL_ALL(ret, fl_buffer(part.iov_base, part.iov_len, write));
	return ret;
}

static bool short_by_fault(const struct iovec *iov, int n, size_t done, bool write)
{
	struct iovec part;

	if (!fl_maybe_ours() || !part_at(iov, n, done, &part) ||
	    fl_buffer(part.iov_base, 1, write) != FL_MADE_PRESENT)
		return false;
	rest(iov, n, done, write);
	return true;
}

typedef ssize_t transfer_fn(int fd, const struct iovec *iov, int n, off64_t offset, int flags);

static transfer_fn from_file, to_file, random_bytes, from_socket, to_socket;

bool fl_takes_once(int fd)
{
	struct fl_host_file st;

	if (fl_host_fstat(fd, &st) || S_ISREG(st.mode) || S_ISFIFO(st.mode) || S_ISDIR(st.mode))
		return false;
	return !S_ISSOCK(st.mode) || hostcall_socket_type(fd) != SOCK_STREAM;
}

void fl_before_read(int fd, void *buf, size_t len)
{
	if (unlikely(fl_maybe_ours()) && fl_native_touches(fl_addr(buf), fl_addr(buf) + len) && fl_takes_once(fd))
		fl_out(buf, len);
}

/* May the transfer wait? Not if it has an offset. */
static bool may_wait(transfer_fn *f, int fd, off64_t offset)
{
	struct fl_host_file st;

	if (f == from_socket || f == to_socket)
		return true;
	return offset == -1 && (fl_host_fstat(fd, &st) || !S_ISREG(st.mode));
}

/*
 * What ended a transfer after `done` bytes? A copy into memory stops exactly at the hidden page; one from memory, or
 * through a socket, does whole blocks.
 */
static int end_of(transfer_fn *f, const struct iovec *iov, int n, size_t done, bool write)
{
	struct iovec part;

	if (f != from_file && f != random_bytes)
		return rest(iov, n, done, write);
	return part_at(iov, n, done, &part) ? fl_buffer(part.iov_base, 1, write) : FL_NOT_OURS;
}

/*
 * A page that is present now may have been hidden then: one more call finds out. Not if it could wait: then the cause
 * may as well have been a signal.
 */
static bool worth_a_call(int end, bool waits)
{
	return end == FL_MADE_PRESENT || (end == FL_WAS_PRESENT && !waits);
}

/*
 * Go on with a transfer that has done less than it was asked to, one part of the vector at a time, as long as a
 * hidden page was the cause.
 */
static ssize_t go_on(transfer_fn *f, int fd, const struct iovec *iov, int n, off64_t offset, int flags, ssize_t done,
		     bool write)
{
	struct iovec part;
	bool whole = false, waits;
	ssize_t ret;

	if (likely(done <= 0 || !fl_maybe_ours()) || !part_at(iov, n, (size_t)done, &part))
		return done;
	waits = may_wait(f, fd, offset);
	if (f == from_file && waits) {
		if (fl_takes_once(fd))
			return done;
		flags |= RWF_NOWAIT; /* a stream: only what is there already */
	}
	while (part_at(iov, n, (size_t)done, &part) &&
	       (whole || worth_a_call(end_of(f, iov, n, (size_t)done, write), waits))) {
		ret = FL_RETRY(ssize_t, f(fd, &part, 1, offset == -1 ? -1 : offset + done, flags),
			       (write ? fl_next_page : fl_buffer)(part.iov_base, part.iov_len, write));
		if (ret <= 0)
			break;
		whole = (size_t)ret == part.iov_len;
		done += ret;
	}
	return done;
}

#define VEC(buf, len) (&(struct iovec){fl_ptr(fl_addr(buf)), len}), 1
#define IOVEC	      iov, n

/*
 * The first call is the program's own, the rest are `f`. `vector` stands for two arguments: iov, n. `at` is the
 * offset for the files of procfs.c.
 */
#define TRANSFER(at, name, params, args, faults, f, fd, vector, offset, flags, write)                                \
	FL_EXPORT ssize_t name params;                                                                               \
	ssize_t name params                                                                                          \
	{                                                                                                            \
		ssize_t done;                                                                                        \
                                                                                                                     \
		if ((f) == to_socket && fl_no_socket(fd))                                                            \
			return -1;                                                                                   \
		if (FL_SPECIAL(&done, fd, vector, at, flags, !(write)))                                              \
			return done;                                                                                 \
		done = FL_RETRY(ssize_t, FL_FIND(name) args, faults);                                                \
		return go_on(f, fd, vector, offset, flags, done, write);                                             \
	}

/* An offset that the host refuses. Only preadv2() and pwritev2() take -1, for the file's position. */
#define NOWHERE	    (-2)
#define OFFSET(off) ((off) == -1 ? NOWHERE : (off))

#define FILE_TRANSFERS(off_type, r, w, rv, wv, rv2, wv2)                                                             \
	TRANSFER(OFFSET(off), r, (int fd, void *buf, size_t len, off_type off), (fd, buf, len, off),                 \
		 fl_next_page(buf, len, true), from_file, fd, VEC(buf, len), off, 0, true)                           \
	TRANSFER(OFFSET(off), w, (int fd, const void *buf, size_t len, off_type off), (fd, buf, len, off),           \
		 fl_in(buf, len), to_file, fd, VEC(buf, len), off, 0, false)                                         \
	TRANSFER(OFFSET(off), rv, (int fd, const struct iovec *iov, int n, off_type off), (fd, iov, n, off),         \
		 fl_iov_next(iov, n), from_file, fd, IOVEC, off, 0, true)                                            \
	TRANSFER(OFFSET(off), wv, (int fd, const struct iovec *iov, int n, off_type off), (fd, iov, n, off),         \
		 fl_iov(iov, n, false), to_file, fd, IOVEC, off, 0, false)                                           \
	TRANSFER(off, rv2, (int fd, const struct iovec *iov, int n, off_type off, int flags),                        \
		 (fd, iov, n, off, flags), fl_iov_next(iov, n), from_file, fd, IOVEC, off, flags, true)              \
	TRANSFER(off, wv2, (int fd, const struct iovec *iov, int n, off_type off, int flags),                        \
		 (fd, iov, n, off, flags), fl_iov(iov, n, false), to_file, fd, IOVEC, off, flags, false)

FILE_TRANSFERS(off_t, pread, pwrite, preadv, pwritev, preadv2, pwritev2)
FILE_TRANSFERS(off64_t, pread64, pwrite64, preadv64, pwritev64, preadv64v2, pwritev64v2)
TRANSFER(NOWHERE, getrandom, (void *buf, size_t len, unsigned flags), (buf, len, flags), fl_next_page(buf, len, true),
	 random_bytes, -1, VEC(buf, len), 0, (int)flags, true)
TRANSFER(NOWHERE, send, (int fd, const void *buf, size_t len, int flags), (fd, buf, len, flags), fl_in(buf, len),
	 to_socket, fd, VEC(buf, len), 0, flags, false)
TRANSFER(NOWHERE, sendto,
	 (int fd, const void *buf, size_t len, int flags, const struct sockaddr *addr, socklen_t addr_len),
	 (fd, buf, len, flags, addr, addr_len), FL_ALL(fl_in(buf, len), fl_in(addr, addr_len)), to_socket, fd,
	 VEC(buf, len), 0, flags, false)

static ssize_t from_file(int fd, const struct iovec *iov, int n, off64_t offset, int flags)
{
	return FL_FIND(preadv64v2)(fd, iov, n, offset, flags);
}

static ssize_t to_file(int fd, const struct iovec *iov, int n, off64_t offset, int flags)
{
	return FL_FIND(pwritev64v2)(fd, iov, n, offset, flags);
}

ssize_t fl_go_on(int fd, const struct iovec *iov, int n, ssize_t done, bool write)
{
	return go_on(write ? from_file : to_file, fd, iov, n, -1, 0, done, write);
}

static ssize_t random_bytes(int fd, const struct iovec *iov, int n, off64_t offset, int flags)
{
	return (ssize_t)fl_ret(hostcall_getrandom(iov->iov_base, iov->iov_len, flags));
}

ssize_t fl_getrandom(void *buf, size_t len, int flags)
{
	ssize_t done = FL_RETRY(ssize_t, random_bytes(-1, VEC(buf, len), 0, flags), fl_next_page(buf, len, true));

	return go_on(random_bytes, -1, VEC(buf, len), 0, flags, done, true);
}

static ssize_t to_socket(int fd, const struct iovec *iov, int n, off64_t offset, int flags)
{
	return FL_FIND(send)(fd, iov->iov_base, iov->iov_len, flags);
}

static ssize_t from_socket(int fd, const struct iovec *iov, int n, off64_t offset, int flags)
{
	return FL_FIND(recv)(fd, iov->iov_base, iov->iov_len, flags);
}

ssize_t fl_go_on_recv(int fd, void *buf, size_t len, int flags, ssize_t done)
{
	return go_on(from_socket, fd, VEC(buf, len), 0, flags, done, true);
}

/* Memory may be hidden on this side, and on the other if that is this process, too. To start again loses nothing. */
#define PROCESS_VM(name, write)                                                                                      \
	FL_EXPORT ssize_t name(pid_t pid, const struct iovec *iov, unsigned long n, const struct iovec *remote,      \
			       unsigned long nr, unsigned long flags)                                                \
	{                                                                                                            \
		int self = pid == fl_host_pid() ? (int)fl_min(nr, (unsigned long)INT_MAX) : 0;                       \
		int here = (int)fl_min(n, (unsigned long)INT_MAX);                                                   \
		ssize_t done;                                                                                        \
                                                                                                                     \
		do                                                                                                   \
			done = FL_RETRY(ssize_t, FL_FIND(name)(pid, iov, n, remote, nr, flags),                      \
					FL_ALL(fl_iov(iov, here, write), fl_iov(remote, self, !(write)),             \
					       fl_buffer(remote, nr * sizeof(*remote), false)));                     \
		while (done > 0 && unlikely(fl_maybe_ours()) &&                                                      \
		       (short_by_fault(iov, here, (size_t)done, write) ||                                            \
			short_by_fault(remote, self, (size_t)done, !(write))));                                      \
		return done;                                                                                         \
	}

PROCESS_VM(process_vm_readv, true)
PROCESS_VM(process_vm_writev, false)

FL_ALIAS(__pread64, pread64)
FL_ALIAS(__pwrite64, pwrite64)
FL_ALIAS(__send, send)
