/* SPDX-License-Identifier: MIT */
/*
 * efault.c - system calls whose memory lies on hidden pages. The host answers EFAULT where the kernel's userfaultfd
 * would have made the call wait for the page. So the page is made present as by an access of the program, and the
 * call repeated:
 *
 *   most calls ................................ calls.def: after an EFAULT
 *   that have done something by then .......... calls.def: before the call, too
 *   that stop in the middle of their memory ... here: they go on with the rest
 *
 * Where the object refuses faults of the kernel (UFFD_USER_MODE_ONLY, SIGBUS), nothing can be made present, and the
 * program sees what it would see there: EFAULT, or a short count.
 *
 * The arguments are the program's and may be bad pointers, NULL included: nothing behind one is looked at but by
 * fl_copy_user(), which then ends early.
 */
#include "preload/preload.h"

#include <aio.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <mqueue.h>
#include <stdarg.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/klog.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/sendfile.h>
#include <sys/shm.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/swap.h>
#include <sys/sysinfo.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/times.h>
#include <sys/timex.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>
#include <utime.h>

/* What a page that another thread makes present, or that is hidden for a moment, may cost: calls for nothing. */
#define MAX_IDLE 8

/* A signal set as the kernel has it is shorter than libc's. */
#define KERNEL_SIGSET 8

/* Counts that are int in libc; the host refuses negative ones itself. */
#define COUNT(n) ((n) > 0 ? (size_t)(n) : 0)

#define IN(p, n)  fl_in(p, n)
#define OUT(p, n) fl_out(p, n)
#define STR(s)	  fl_in_str(s)
#define ALL	  FL_ALL

bool fl_again(struct fl_retry *r, int present)
{
	bool again = present == FL_MADE_PRESENT || (present == FL_WAS_PRESENT && r->idle < MAX_IDLE);

	r->idle = present == FL_MADE_PRESENT ? 0 : r->idle + 1;
	if (!again)
		errno = EFAULT;
	return again;
}

/* ---- arguments ---- */

/* Not for a caller with a lock: this faults, and waits, as the kernel does. */
static bool peek(void *to, const void *from, size_t len)
{
	return fl_copy_user(to, from, len) == 0;
}

/* The longest string that the kernel takes: an argument of execve(2). */
#define STRING_MAX (32 * PAGE_SIZE)

/* A page of it must be present before the next part can be looked for. */
int fl_in_str(const char *s)
{
	int ret = FL_NOT_OURS;
	char buf[256];
	size_t n;

	if (!s || !fl_maybe_ours())
		return ret;
	for (size_t at = 0; at < STRING_MAX; at += n) {
		uint64_t addr = fl_addr(s) + at;

		if (!at || PAGE_ALIGNED(addr))
			ret = ALL(ret, fl_in(fl_ptr(addr), 1));
		n = fl_min(sizeof(buf), PAGE_SIZE - (addr & ~PAGE_MASK));
		if (!peek(buf, fl_ptr(addr), n) || memchr(buf, '\0', n))
			break;
	}
	return ret;
}

/* More than this no call transfers, whatever it is asked for. */
#define TRANSFER_MAX 0x7ffff000ul

static int in_or_out(const void *p, size_t len, bool write)
{
	return p ? (int)fl_native_fault_in(fl_addr(p), fl_min(len, TRANSFER_MAX), write) : FL_NOT_OURS;
}

/*
 * The first hidden page of a buffer. For reading, which can go on from there: of a large buffer it may need but a
 * little, and the kernel would not touch the rest.
 */
static int next_page(const void *p, size_t len, bool write)
{
	uint64_t at = fl_addr(p), end = at + fl_min(len, TRANSFER_MAX);
	int present = FL_NOT_OURS, ret = FL_NOT_OURS;

	for (; p && at < end; at = PAGE_ALIGN_DOWN(at) + PAGE_SIZE) {
		if (present == FL_MADE_PRESENT || present == FL_REFUSED)
			break;
		if (present == FL_NOT_OURS && !fl_native_touches(at, end))
			break;
		present = (int)fl_native_fault_in(at, 1, write);
		ret = ALL(ret, present);
	}
	return ret;
}

static int vector(const struct iovec *iov, int n, bool write, bool all)
{
	struct iovec part;
	int ret;

	if (n <= 0 || n > IOV_MAX)
		return FL_NOT_OURS;
	ret = fl_in(iov, (size_t)n * sizeof(*iov));
	for (int i = 0; i < n && peek(&part, &iov[i], sizeof(part)) && (all || ret != FL_MADE_PRESENT); i++)
		ret = ALL(ret, (all ? in_or_out : next_page)(part.iov_base, part.iov_len, write));
	return ret;
}

int fl_iov(const struct iovec *iov, int n, bool write)
{
	return vector(iov, n, write, true);
}

int fl_iov_next(const struct iovec *iov, int n)
{
	return vector(iov, n, true, false);
}

/* All of a message but the data. */
static int msghdr_head(const struct msghdr *msg, bool write)
{
	struct msghdr m;
	int ret = in_or_out(msg, sizeof(*msg), write);

	if (!peek(&m, msg, sizeof(m)))
		return ret;
	return ALL(ret, in_or_out(m.msg_name, m.msg_namelen, write),
		   in_or_out(m.msg_control, m.msg_controllen, write));
}

int fl_msghdr(const struct msghdr *msg, bool write)
{
	struct msghdr m;
	int ret = msghdr_head(msg, write);

	if (!peek(&m, msg, sizeof(m)))
		return ret;
	return ALL(ret, fl_iov(m.msg_iov, (int)fl_min(m.msg_iovlen, INT_MAX), write));
}

/* The messages of recvmmsg(2) and sendmmsg(2): their heads get a length either way. */
static int mmsghdr(struct mmsghdr *msgs, unsigned n, bool write, bool data)
{
	int ret = FL_NOT_OURS;

	for (unsigned i = 0; i < n && i < IOV_MAX; i++) {
		struct msghdr *msg = &msgs[i].msg_hdr;

		ret = ALL(ret, fl_out(&msgs[i], sizeof(msgs[i])),
			  data ? fl_msghdr(msg, write) : msghdr_head(msg, write));
	}
	return ret;
}

/* A buffer whose length is itself in memory. */
static int sized(void *buf, socklen_t *len)
{
	int ret = fl_out(len, sizeof(*len));
	socklen_t n;

	if (!peek(&n, len, sizeof(n)))
		return ret;
	return ALL(ret, in_or_out(buf, n, true));
}

/* The end of the pipe says which way it goes. */
static int vmspliced(int fd, const struct iovec *iov, size_t n)
{
	int flags = (int)fl_sys(SYS_fcntl, fd, F_GETFL);

	return fl_iov(iov, (int)fl_min(n, (size_t)INT_MAX), flags >= 0 && (flags & O_ACCMODE) == O_RDONLY);
}

static int aio_data(struct aiocb *cb, bool write)
{
	struct aiocb c;
	int ret = fl_out(cb, sizeof(*cb));

	if (!peek(&c, cb, sizeof(c)))
		return ret;
	return ALL(ret, in_or_out(fl_ptr(fl_addr((const void *)c.aio_buf)), c.aio_nbytes, write));
}

/* ---- the table ---- */

#define FAILED_CALL   ((long)ret_ == -1 && errno == EFAULT)
#define FAILED_NUMBER (ret_ == EFAULT)
#define FAILED_NULLED (!ret_ && errno == EFAULT)

#define WRAP(ret, name, params, args, first, failed, faults)                                                         \
	FL_EXPORT ret name params;                                                                                   \
	ret name params                                                                                              \
	{                                                                                                            \
		struct fl_retry retry = {0};                                                                         \
		ret ret_;                                                                                            \
                                                                                                                     \
		if ((first) && unlikely(fl_maybe_ours()))                                                            \
			(void)(faults);                                                                              \
		do                                                                                                   \
			ret_ = FL_FIND(name) args;                                                                   \
		while (unlikely(failed) && fl_maybe_ours() && fl_again(&retry, (faults)));                           \
		return ret_;                                                                                         \
	}

#define CALL(ret, name, params, args, faults)	WRAP(ret, name, params, args, false, FAILED_CALL, faults)
#define FIRST(ret, name, params, args, faults)	WRAP(ret, name, params, args, true, FAILED_CALL, faults)
#define NUMBER(ret, name, params, args, faults) WRAP(ret, name, params, args, false, FAILED_NUMBER, faults)
#define ERRNO(ret, name, params, args, faults)	WRAP(ret, name, params, args, true, FAILED_NUMBER, faults)
#define NULLED(ret, name, params, args, faults) WRAP(ret, name, params, args, false, FAILED_NULLED, faults)
#define ONCE(ret, name, params, args, faults)	WRAP(ret, name, params, args, true, false, faults)

/* Each is declared again: headers do not have those for old programs, and for programs built with checks. */
#include "preload/calls.def"

/* ---- calls that stop in the middle ---- */

/* The part of a vector that begins after its first `done` bytes. */
static bool part_at(const struct iovec *iov, int n, size_t done, struct iovec *part)
{
	for (int i = 0; i < n && peek(part, &iov[i], sizeof(*part)); i++) {
		if (done < part->iov_len) {
			part->iov_base = (char *)part->iov_base + done;
			part->iov_len -= done;
			return true;
		}
		done -= part->iov_len;
	}
	return false;
}

/* What comes after the first `done` bytes. */
static int rest(const struct iovec *iov, int n, size_t done, bool write)
{
	int ret = FL_NOT_OURS;
	struct iovec part;

	for (; part_at(iov, n, done, &part); done += part.iov_len)
		ret = ALL(ret, in_or_out(part.iov_base, part.iov_len, write));
	return ret;
}

static bool short_by_fault(const struct iovec *iov, int n, size_t done, bool write)
{
	struct iovec part;

	if (!fl_maybe_ours() || !part_at(iov, n, done, &part) ||
	    in_or_out(part.iov_base, 1, write) != FL_MADE_PRESENT)
		return false;
	rest(iov, n, done, write);
	return true;
}

typedef ssize_t transfer_fn(int fd, const struct iovec *iov, int n, off64_t offset, int flags);

static transfer_fn from_file, to_file, random_bytes, from_socket, to_socket;

/* Does reading take something that is lost if it cannot be stored, as a datagram is, or the count of an eventfd? */
static bool takes_once(int fd)
{
	struct stat st;
	int type = 0;
	socklen_t len = sizeof(type);

	if (fl_sys(SYS_fstat, fd, &st) || S_ISREG(st.st_mode) || S_ISFIFO(st.st_mode) || S_ISDIR(st.st_mode))
		return false;
	return !S_ISSOCK(st.st_mode) || fl_sys(SYS_getsockopt, fd, SOL_SOCKET, SO_TYPE, &type, &len) ||
	       type != SOCK_STREAM;
}

/* Can it keep the caller waiting? Nothing that has an offset does. */
static bool may_wait(transfer_fn *f, int fd, off64_t offset)
{
	struct stat st;

	if (f == from_socket || f == to_socket)
		return true;
	return offset == -1 && (fl_sys(SYS_fstat, fd, &st) || !S_ISREG(st.st_mode));
}

/*
 * What ended a transfer after `done` bytes? Into memory a copy stops exactly at the hidden page; from memory, and
 * through a socket, it takes or leaves a block at a time.
 */
static int end_of(transfer_fn *f, const struct iovec *iov, int n, size_t done, bool write)
{
	struct iovec part;

	if (f != from_file && f != random_bytes)
		return rest(iov, n, done, write);
	return part_at(iov, n, done, &part) ? in_or_out(part.iov_base, 1, write) : FL_NOT_OURS;
}

/*
 * Where the page is there now, the cause may have been that it was not: one more call finds out, unless it could
 * wait, for the cause may as well have been a signal.
 */
static bool worth_a_call(int end, bool waits)
{
	return end == FL_MADE_PRESENT || (end == FL_WAS_PRESENT && !waits);
}

/*
 * A transfer that has done less than it was asked to. If a hidden page was the cause, it goes on, a part of the
 * vector at a time, until the end of either.
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
		if (takes_once(fd))
			return done;
		flags |= RWF_NOWAIT; /* a stream: only what there is already */
	}
	while (part_at(iov, n, (size_t)done, &part) &&
	       (whole || worth_a_call(end_of(f, iov, n, (size_t)done, write), waits))) {
		ret = FL_RETRY(ssize_t, f(fd, &part, 1, offset == -1 ? -1 : offset + done, flags),
			       (write ? next_page : in_or_out)(part.iov_base, part.iov_len, write));
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
 * The first call is the program's own, the rest are `f`. `vector` is two arguments: iov, n. `at` is where a file of
 * pagemap.c is read or written.
 */
#define TRANSFER(at, name, params, args, faults, f, fd, vector, offset, flags, write)                                \
	FL_EXPORT ssize_t name params;                                                                               \
	ssize_t name params                                                                                          \
	{                                                                                                            \
		ssize_t done;                                                                                        \
                                                                                                                     \
		if (FL_SPECIAL(&done, fd, vector, at, flags, !(write)))                                              \
			return done;                                                                                 \
		done = FL_RETRY(ssize_t, FL_FIND(name) args, faults);                                                \
		return go_on(f, fd, vector, offset, flags, done, write);                                             \
	}

/* An offset that the host refuses. Only the newest calls take -1 for the file's position. */
#define NOWHERE	    (-2)
#define OFFSET(off) ((off) == -1 ? NOWHERE : (off))

#define FILE_TRANSFERS(off_type, r, w, rv, wv, rv2, wv2)                                                             \
	TRANSFER(OFFSET(off), r, (int fd, void *buf, size_t len, off_type off), (fd, buf, len, off),                 \
		 next_page(buf, len, true), from_file, fd, VEC(buf, len), off, 0, true)                              \
	TRANSFER(OFFSET(off), w, (int fd, const void *buf, size_t len, off_type off), (fd, buf, len, off),           \
		 IN(buf, len), to_file, fd, VEC(buf, len), off, 0, false)                                            \
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
TRANSFER(NOWHERE, getrandom, (void *buf, size_t len, unsigned flags), (buf, len, flags), next_page(buf, len, true),
	 random_bytes, -1, VEC(buf, len), 0, (int)flags, true)
TRANSFER(NOWHERE, send, (int fd, const void *buf, size_t len, int flags), (fd, buf, len, flags), IN(buf, len),
	 to_socket, fd, VEC(buf, len), 0, flags, false)
TRANSFER(NOWHERE, sendto,
	 (int fd, const void *buf, size_t len, int flags, const struct sockaddr *addr, socklen_t addr_len),
	 (fd, buf, len, flags, addr, addr_len), ALL(IN(buf, len), IN(addr, addr_len)), to_socket, fd, VEC(buf, len),
	 0, flags, false)

static ssize_t from_file(int fd, const struct iovec *iov, int n, off64_t offset, int flags)
{
	return FL_FIND(preadv64v2)(fd, iov, n, offset, flags);
}

static ssize_t to_file(int fd, const struct iovec *iov, int n, off64_t offset, int flags)
{
	return FL_FIND(pwritev64v2)(fd, iov, n, offset, flags);
}

/* For read() and write(): the file has the position. */
ssize_t fl_go_on(int fd, const struct iovec *iov, int n, ssize_t done, bool write)
{
	return go_on(write ? from_file : to_file, fd, iov, n, -1, 0, done, write);
}

static ssize_t random_bytes(int fd, const struct iovec *iov, int n, off64_t offset, int flags)
{
	return (ssize_t)fl_ret(fl_sys(SYS_getrandom, iov->iov_base, iov->iov_len, flags));
}

static ssize_t to_socket(int fd, const struct iovec *iov, int n, off64_t offset, int flags)
{
	return FL_FIND(send)(fd, iov->iov_base, iov->iov_len, flags);
}

static ssize_t from_socket(int fd, const struct iovec *iov, int n, off64_t offset, int flags)
{
	return FL_FIND(recv)(fd, iov->iov_base, iov->iov_len, flags);
}

/* What <bits/unistd.h> calls in fortified programs; the C library's way to end one. */
_Noreturn void __chk_fail(void);
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

/* Either side may be hidden, the other one if it is this process, too. Nothing is lost by starting again. */
#define PROCESS_VM(name, write)                                                                                      \
	FL_EXPORT ssize_t name(pid_t pid, const struct iovec *iov, unsigned long n, const struct iovec *remote,      \
			       unsigned long nr, unsigned long flags)                                                \
	{                                                                                                            \
		int self = pid == getpid() ? (int)fl_min(nr, (unsigned long)INT_MAX) : 0;                            \
		int here = (int)fl_min(n, (unsigned long)INT_MAX);                                                   \
		ssize_t done;                                                                                        \
                                                                                                                     \
		do                                                                                                   \
			done = FL_RETRY(ssize_t, FL_FIND(name)(pid, iov, n, remote, nr, flags),                      \
					ALL(fl_iov(iov, here, write), fl_iov(remote, self, !(write)),                \
					    in_or_out(remote, nr * sizeof(*remote), false)));                        \
		while (done > 0 && unlikely(fl_maybe_ours()) &&                                                      \
		       (short_by_fault(iov, here, (size_t)done, write) ||                                            \
			short_by_fault(remote, self, (size_t)done, !(write))));                                      \
		return done;                                                                                         \
	}

PROCESS_VM(process_vm_readv, true)
PROCESS_VM(process_vm_writev, false)

/* ---- receiving ---- */

void fl_before_read(int fd, void *buf, size_t len)
{
	if (unlikely(fl_maybe_ours()) && fl_native_touches(fl_addr(buf), fl_addr(buf) + len) && takes_once(fd))
		fl_out(buf, len);
}

static void before_recv(int fd, void *buf, size_t len, int flags, struct sockaddr *addr, socklen_t *addr_len)
{
	if ((flags & MSG_PEEK) || likely(!fl_maybe_ours()))
		return;
	if (addr)
		sized(addr, addr_len);
	fl_before_read(fd, buf, len);
}

/* From a stream less may come than was asked for, unless the program says otherwise. */
static ssize_t after_recv(int fd, void *buf, size_t len, int flags, ssize_t done)
{
	if (likely(!(flags & MSG_WAITALL)) || (flags & MSG_PEEK) || !fl_maybe_ours() || takes_once(fd))
		return done;
	return go_on(from_socket, fd, VEC(buf, len), 0, flags, done, true);
}

#define RECV(name, params, args, addr, addr_len, faults)                                                             \
	FL_EXPORT ssize_t name params;                                                                               \
	ssize_t name params                                                                                          \
	{                                                                                                            \
		before_recv(fd, buf, len, flags, addr, addr_len);                                                    \
		return after_recv(fd, buf, len, flags, FL_RETRY(ssize_t, FL_FIND(name) args, faults));               \
	}

RECV(recv, (int fd, void *buf, size_t len, int flags), (fd, buf, len, flags), NULL, NULL, next_page(buf, len, true))
RECV(__recv_chk, (int fd, void *buf, size_t len, size_t size, int flags), (fd, buf, len, size, flags), NULL, NULL,
     next_page(buf, len, true))
RECV(recvfrom,
     (int fd, void *restrict buf, size_t len, int flags, struct sockaddr *restrict addr,
      socklen_t *restrict addr_len),
     (fd, buf, len, flags, addr, addr_len), addr, addr_len, ALL(next_page(buf, len, true), sized(addr, addr_len)))
RECV(__recvfrom_chk,
     (int fd, void *restrict buf, size_t len, size_t size, int flags, struct sockaddr *restrict addr,
      socklen_t *restrict addr_len),
     (fd, buf, len, size, flags, addr, addr_len), addr, addr_len,
     ALL(next_page(buf, len, true), sized(addr, addr_len)))

FL_EXPORT ssize_t recvmsg(int fd, struct msghdr *msg, int flags)
{
	ssize_t ret;

	if (unlikely(fl_maybe_ours()) && !(flags & MSG_PEEK))
		(void)(takes_once(fd) ? fl_msghdr(msg, true) : msghdr_head(msg, true));
	ret = FL_RETRY(ssize_t, FL_FIND(recvmsg)(fd, msg, flags), fl_msghdr(msg, true));
	if (ret >= 0)
		fl_received(msg);
	return ret;
}

FL_EXPORT int recvmmsg(int fd, struct mmsghdr *msgs, unsigned n, int flags, struct timespec *timeout)
{
	int ret;

	if (unlikely(fl_maybe_ours()))
		(void)ALL(mmsghdr(msgs, n, true, takes_once(fd)), OUT(timeout, sizeof(*timeout)));
	ret = FL_RETRY(int, FL_FIND(recvmmsg)(fd, msgs, n, flags, timeout),
		       ALL(mmsghdr(msgs, n, true, true), OUT(timeout, sizeof(*timeout))));
	for (int i = 0; i < ret; i++)
		fl_received(&msgs[i].msg_hdr);
	return ret;
}

FL_EXPORT int sendmmsg(int fd, struct mmsghdr *msgs, unsigned n, int flags)
{
	if (unlikely(fl_maybe_ours())) /* where a length cannot be stored, the message is sent already */
		(void)mmsghdr(msgs, n, false, false);
	return FL_RETRY(int, FL_FIND(sendmmsg)(fd, msgs, n, flags), mmsghdr(msgs, n, false, true));
}

/* ---- streams: libc transfers large blocks straight from and to the program's memory ---- */

typedef size_t stream_fn(void *buf, size_t size, size_t n, FILE *stream);

/* In bytes, so that what is done is known when it ends in the middle of a member. Only after EFAULT it goes on. */
static size_t stream_transfer(stream_fn *f, void *buf, size_t size, size_t n, FILE *stream, bool write)
{
	struct fl_retry retry = {0};
	size_t done = 0, total = size * n;
	int saved = errno;

	if (likely(!fl_maybe_ours()) || !total)
		return f(buf, size, n, stream);
	for (;;) {
		errno = 0;
		done += f((char *)buf + done, 1, total - done, stream);
		if (done == total || errno != EFAULT || !ferror_unlocked(stream) ||
		    !fl_again(&retry, (write ? next_page : in_or_out)((char *)buf + done, total - done, write)))
			break;
		clearerr_unlocked(stream);
	}
	if (!errno)
		errno = saved;
	return done == total ? n : done / size;
}

/* <bits/stdio.h> may have macros of these names. */
#undef fread_unlocked
#undef fwrite_unlocked

#define STREAM(name, qualifier, write)                                                                               \
	FL_EXPORT size_t name(qualifier void *restrict buf, size_t size, size_t n, FILE *restrict stream)            \
	{                                                                                                            \
		return stream_transfer((stream_fn *)(void *)FL_FIND(name), fl_ptr(fl_addr(buf)), size, n, stream,    \
				       write);                                                                       \
	}

STREAM(fread, , true)
STREAM(fread_unlocked, , true)
STREAM(fwrite, const, false)
STREAM(fwrite_unlocked, const, false)

/* What <bits/stdio2.h> calls in fortified programs. */
#define FREAD_CHK(name, plain)                                                                                       \
	FL_EXPORT size_t name(void *restrict buf, size_t room, size_t size, size_t n, FILE *restrict stream);        \
	size_t name(void *restrict buf, size_t room, size_t size, size_t n, FILE *restrict stream)                   \
	{                                                                                                            \
		if (size && n > room / size)                                                                         \
			__chk_fail();                                                                                \
		return plain(buf, size, n, stream);                                                                  \
	}

FREAD_CHK(__fread_chk, fread)
FREAD_CHK(__fread_unlocked_chk, fread_unlocked)

/* ---- prctl(2): arguments are what the option says ---- */

static int prctl_arg(unsigned long arg, size_t len)
{
	int present = fl_out(fl_ptr(arg), len);

	return present == FL_MADE_PRESENT ? present : ALL(present, fl_in(fl_ptr(arg), len));
}

static int prctl_args(int option, const unsigned long *a)
{
	if (option == PR_SET_NAME)
		return fl_in_str(fl_ptr(a[0]));
	return ALL(prctl_arg(a[0], option == PR_GET_NAME ? 16 : sizeof(int)), prctl_arg(a[1], sizeof(int)),
		   prctl_arg(a[2], sizeof(int)), prctl_arg(a[3], sizeof(int)));
}

FL_EXPORT int prctl(int option, ...)
{
	unsigned long a[4];
	va_list ap;

	va_start(ap, option);
	for (int i = 0; i < 4; i++)
		a[i] = va_arg(ap, unsigned long);
	va_end(ap);
	return FL_RETRY(int, FL_FIND(prctl)(option, a[0], a[1], a[2], a[3]), prctl_args(option, a));
}
