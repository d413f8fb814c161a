/* SPDX-License-Identifier: MIT */
/*
 * fd.c - descriptors. One that names a userfaultfd object behaves as the kernel's does; for every other the call is
 * libc's, repeated when a buffer was hidden (efault.c). Descriptors of the engine itself do not exist for the program.
 */
#include "preload/preload.h"

#include "base/alloc.h"

#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define DEVICE	"/dev/userfaultfd"
#define MAX_FDS 65536

/* Descriptors that stand for an open /dev/userfaultfd. */
static uint8_t device[MAX_FDS];
static uint32_t nr_devices;

static bool is_device(int fd)
{
	return __atomic_load_n(&nr_devices, __ATOMIC_RELAXED) && fd >= 0 && fd < MAX_FDS && device[fd];
}

static void set_device(int fd, bool on)
{
	if (fd < 0 || fd >= MAX_FDS || device[fd] == on)
		return;
	device[fd] = on;
	__atomic_fetch_add(&nr_devices, on ? 1u : ~0u, __ATOMIC_RELAXED);
}

/* ---- opening ---- */

int fl_do_userfaultfd(int flags)
{
	struct fl_uffd *object;
	int err = fl_abi_check_flags(flags);

	if (!err)
		err = fl_host_init();
	if (!err)
		err = fl_object_new(&fl_host.mm, flags, &object);
	return err ? err : object->fd;
}

/* Anything that opens can stand for the device; what it is shows in no call that a program would make on it. */
static int open_device(int flags)
{
	int fd = (int)fl_sys(SYS_openat, AT_FDCWD, "/dev/null", O_RDWR | (flags & O_CLOEXEC), 0);

	if (fd >= 0)
		set_device(fd, true);
	return (int)fl_ret(fd);
}

static mode_t mode_of(int flags, va_list ap)
{
	return (flags & (O_CREAT | O_TMPFILE)) ? va_arg(ap, mode_t) : 0;
}

/* A bad pointer must reach libc, which says EFAULT. */
static bool names_device(const char *path)
{
	char copy[sizeof(DEVICE)] = { 0 };

	if (!path)
		return false;
	if (__atomic_load_n(&fl_host.ready, __ATOMIC_ACQUIRE))
		fl_copy_user(copy, path, sizeof(copy));
	else
		strncpy(copy, path, sizeof(copy) - 1);
	copy[sizeof(copy) - 1] = '\0';
	return strcmp(copy, DEVICE) == 0;
}

/* The path is looked at before libc's own function is: a hidden one faults in user mode here, which resolves it. */
#define OPEN(name, params, path, call)                                                                                 \
	FL_EXPORT int name params                                                                                      \
	{                                                                                                              \
		mode_t mode;                                                                                           \
		va_list ap;                                                                                            \
                                                                                                                       \
		va_start(ap, flags);                                                                                   \
		mode = mode_of(flags, ap);                                                                             \
		va_end(ap);                                                                                            \
		if (fl_in_str(path) >= 0 && names_device(path))                                                 \
			return open_device(flags);                                                                     \
		return FL_RETRY(int, fl_real()->call, fl_in_str(path));                                                \
	}

OPEN(open, (const char *path, int flags, ...), path, open(path, flags, mode))
OPEN(open64, (const char *path, int flags, ...), path, open64(path, flags, mode))
OPEN(openat, (int dir, const char *path, int flags, ...), path, openat(dir, path, flags, mode))
OPEN(openat64, (int dir, const char *path, int flags, ...), path, openat64(dir, path, flags, mode))

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
	struct fl_retry retry = { 0 };
	FILE *f;

	if (fl_in_str(path) >= 0 && names_device(path)) {
		int fd = open_device(O_CLOEXEC);

		return fd < 0 ? NULL : fdopen(fd, mode);
	}
	do
		f = real(path, mode);
	while (!f && errno == EFAULT && fl_maybe_ours() && fl_again(&retry, fl_max(fl_in_str(path), fl_in_str(mode))));
	return f;
}

FL_EXPORT FILE *fopen(const char *restrict path, const char *restrict mode)
{
	return stream_open(fl_real()->fopen, path, mode);
}

FL_EXPORT FILE *fopen64(const char *restrict path, const char *restrict mode)
{
	return stream_open(fl_real()->fopen64, path, mode);
}

/* ---- closing and copying ---- */

FL_EXPORT int close(int fd)
{
	struct fl_uffd *closing;
	int ret;

	if (likely(!__atomic_load_n(&fl_host.ready, __ATOMIC_RELAXED) && !nr_devices))
		return fl_real()->close(fd);
	if (fl_object_private_fd(fd)) {
		errno = EBADF;
		return -1;
	}
	closing = fl_object_closing(fd);
	set_device(fd, false);
	ret = fl_real()->close(fd);
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
	for (unsigned fd = first; fd <= high && fl_host.ready; fd++) {
		struct fl_uffd *o;

		if (fl_object_private_fd((int)fd)) {
			ret = host_close_range(from, fd - 1, flags);
			from = fd + 1;
		} else if (!(flags & (int)CLOSE_RANGE_CLOEXEC) && (o = fl_object_get((int)fd))) {
			fl_object_put(o);
			close((int)fd);
		}
		if (!(flags & (int)CLOSE_RANGE_CLOEXEC))
			set_device((int)fd, false);
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
		set_device(copy, is_device(fd));
	}
	return copy;
}

FL_EXPORT int dup(int fd)
{
	return copied(fd, fl_real()->dup(fd));
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
	return fl_real()->dup2(fd, copy);
}

static int real_dup3(int fd, int copy, int flags)
{
	return fl_real()->dup3(fd, copy, flags);
}

FL_EXPORT int dup2(int fd, int copy)
{
	return dup_onto(fd, copy, real_dup2, 0);
}

FL_EXPORT int dup3(int fd, int copy, int flags)
{
	return dup_onto(fd, copy, real_dup3, flags);
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

#define FCNTL(name)                                                                                                    \
	FL_EXPORT int name(int fd, int cmd, ...)                                                                       \
	{                                                                                                              \
		uint64_t arg;                                                                                          \
		va_list ap;                                                                                            \
                                                                                                                       \
		va_start(ap, cmd);                                                                                     \
		arg = (uint64_t)va_arg(ap, long);                                                                      \
		va_end(ap);                                                                                            \
		return do_fcntl(fl_real()->name, fd, cmd, arg);                                                        \
	}

FCNTL(fcntl)
FCNTL(fcntl64)

/* ---- ioctl ---- */

int fl_do_ioctl(int fd, unsigned long request, uint64_t arg, bool *ours)
{
	struct fl_uffd *o = fl_object_get(fd);
	int ret;

	*ours = o || is_device(fd);
	if (!*ours && (request & 0xff00) == 0xaa00) {
		*ours = true; /* the host's own userfaultfd is not for this program */
		if (fl_real()->fcntl(fd, F_GETFD) < 0)
			return -EBADF;
		return fl_object_foreign(fd) ? -ESRCH : -ENOTTY; /* ESRCH: as from the kernel, when the memory is gone */
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
	if (unlikely(fl_object_any() || nr_devices || (request & 0xff00) == 0xaa00)) {
		ret = fl_do_ioctl(fd, request, arg, &ours);
		if (ours)
			return (int)fl_ret(ret);
	}
	return FL_RETRY(int, fl_real()->ioctl(fd, request, arg), fl_out(fl_ptr(arg), ioctl_size(request)));
}

/* ---- reading and writing ---- */



FL_EXPORT ssize_t read(int fd, void *buf, size_t len)
{
	struct iovec iov = { buf, len };
	struct fl_uffd *o = fl_object_get(fd);
	ssize_t ret;

	if (o) {
		ret = (ssize_t)fl_ret(fl_object_read(o, fl_addr(buf), len));
		fl_object_put(o);
		return ret;
	}
	fl_before_read(fd, buf, len);
	ret = FL_RETRY(ssize_t, fl_real()->read(fd, buf, len), fl_iov_next(&iov, 1));
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
		size_t len = fl_copy_user(&part, &iov[i], sizeof(part)) ? 0 : fl_min(part.iov_len, (size_t)(got - at));

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
	ret = FL_RETRY(ssize_t, fl_real()->readv(fd, iov, n), fl_iov_next(iov, n));
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
	const struct iovec iov = { fl_ptr(fl_addr(buf)), len };
	ssize_t ret;

	if (not_for_objects(fd, EBADF))
		return -1;
	ret = FL_RETRY(ssize_t, fl_real()->write(fd, buf, len), fl_in(buf, len));
	return fl_go_on(fd, &iov, 1, ret, false);
}

FL_EXPORT ssize_t writev(int fd, const struct iovec *iov, int n)
{
	ssize_t ret;

	if (not_for_objects(fd, EBADF))
		return -1;
	ret = FL_RETRY(ssize_t, fl_real()->writev(fd, iov, n), fl_iov(iov, n, false));
	return fl_go_on(fd, iov, n, ret, false);
}

FL_EXPORT off64_t lseek64(int fd, off64_t offset, int whence)
{
	struct fl_uffd *o = fl_object_get(fd);

	if (!o)
		return fl_real()->lseek64(fd, offset, whence);
	fl_object_put(o);
	return 0;
}

FL_EXPORT off_t lseek(int fd, off_t offset, int whence)
{
	return lseek64(fd, offset, whence);
}

/* ---- readiness ---- */

#define POLL_STACK 64

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/*
 * One look at the objects among the descriptors. Fills in their revents; the others' are the host's to say. Returns how
 * many objects are ready. `spin`: wait a moment for the first.
 */
static int look(struct pollfd *fds, nfds_t n, bool spin)
{
	int ready = 0;

	for (nfds_t i = 0; i < n; i++) {
		struct fl_uffd *o = fl_object_get(fds[i].fd);
		int revents;

		if (!o)
			continue;
		revents = fl_abi_poll(o->ctx);
		if (!revents && spin && fl_ctx_spin_pays(o->ctx)) {
			uint64_t irq = fl_irq_save();

			fl_ctx_spin(o->ctx, FL_READER_SPIN_NS, false);
			fl_irq_restore(irq);
			revents = fl_abi_poll(o->ctx);
			spin = false;
		}
		fds[i].revents = (short)(revents & (fds[i].events | POLLERR));
		ready += fds[i].revents != 0;
		fl_object_put(o);
	}
	return ready;
}

/* The host's view of the descriptors: an object's socket is asked for reading only. Returns how many objects there are. */
static int host_view(struct pollfd *host, const struct pollfd *fds, nfds_t n)
{
	int objects = 0;

	for (nfds_t i = 0; i < n; i++) {
		struct fl_uffd *o = fl_object_get(fds[i].fd);

		host[i] = fds[i];
		host[i].revents = 0;
		if (!o)
			continue;
		objects++;
		host[i].events &= POLLIN;
		fl_object_put(o);
	}
	return objects;
}

/* Results of the host for what is no object. Returns how many are ready. */
static int merge_view(struct pollfd *fds, const struct pollfd *host, nfds_t n)
{
	int ready = 0;

	for (nfds_t i = 0; i < n; i++) {
		struct fl_uffd *o = fl_object_get(fds[i].fd);

		if (o) {
			fl_object_put(o);
			continue;
		}
		fds[i].revents = host[i].revents;
		ready += fds[i].revents != 0;
	}
	return ready;
}

/* timeout in nanoseconds, negative: for ever */
static int poll_objects(struct pollfd *fds, struct pollfd *host, nfds_t n, int64_t timeout, const sigset_t *mask)
{
	int64_t end = timeout < 0 ? INT64_MAX : now_ns() + timeout;
	int ready, ret;

	for (nfds_t i = 0; i < n; i++) {
		struct fl_uffd *o = fl_object_get(fds[i].fd);

		if (!o)
			continue;
		fl_ctx_watched(o->ctx);
		fl_object_put(o);
	}
	for (bool first = true;; first = false) {
		struct timespec ts = { 0 };
		int64_t left = end - now_ns();

		ready = look(fds, n, first && timeout && n == 1);
		if (!ready && left > 0)
			ts = (struct timespec){ left / 1000000000, left % 1000000000 };
		host_view(host, fds, n);
		ret = fl_real()->ppoll(host, n, !ready && timeout < 0 ? NULL : &ts, mask);
		if (ret < 0)
			return ready ? ready : ret;
		ready = look(fds, n, false) + merge_view(fds, host, n);
		if (ready || (timeout >= 0 && now_ns() >= end))
			return ready; /* otherwise another reader took the message */
	}
}

/* One object alone: the queue itself is looked at and slept on. */
static int poll_one(struct pollfd *p, int64_t timeout)
{
	struct fl_uffd *o = fl_object_get(p->fd);
	int64_t end = timeout < 0 ? INT64_MAX : now_ns() + timeout, left = timeout;
	int ready, err = 0;
	bool dead;

	if (!o) /* closed this moment */
		return fl_real()->poll(p, 1, 0);
	fl_object_begin(o);
	ready = look(p, 1, timeout);
	while (!ready && left && err != -EINTR && !o->ctx->released) {
		left = timeout < 0 ? INT64_MAX / 2 : end - now_ns(); /* with a limit the sleep is never restarted */
		if (left <= 0)
			break;
		err = fl_ctx_sleep(o->ctx, true, (uint64_t)left);
		ready = look(p, 1, false);
	}
	dead = o->ctx->released; /* a forked child's view of its parent's object: nothing ever comes */
	fl_object_end(o);
	fl_object_put(o);
	if (!ready && dead && left && err != -EINTR)
		return fl_real()->poll(NULL, 0, timeout < 0 ? -1 : (int)((end - now_ns()) / 1000000));
	if (ready || err != -EINTR)
		return ready;
	errno = EINTR;
	return -1;
}

static int do_poll(struct pollfd *fds, nfds_t n, int64_t timeout, const sigset_t *mask)
{
	struct pollfd few[POLL_STACK], *host = few;
	int ret;

	if (n == 1 && !mask && (fds->events & POLLIN))
		return poll_one(fds, timeout);
	if (n > POLL_STACK)
		host = fl_reserve(n * sizeof(*host));
	if (!host) {
		errno = ENOMEM;
		return -1;
	}
	ret = poll_objects(fds, host, n, timeout, mask);
	if (host != few)
		fl_unreserve(host, n * sizeof(*host));
	return ret;
}

static bool any_object(const struct pollfd *fds, nfds_t n)
{
	for (nfds_t i = 0; fl_object_any() && i < n && i < MAX_FDS; i++) {
		struct fl_uffd *o = fl_object_get(fds[i].fd);

		if (o) {
			fl_object_put(o);
			return true;
		}
	}
	return false;
}

/* Arguments are looked at on the kernel's behalf: what it may not have is EFAULT. */
static bool refused(int present)
{
	if (present != FL_REFUSED)
		return false;
	errno = EFAULT;
	return true;
}

FL_EXPORT int poll(struct pollfd *fds, nfds_t n, int timeout)
{
	if (fl_maybe_ours() && refused(fl_out(fds, n * sizeof(*fds))))
		return -1;
	if (fl_object_any() && any_object(fds, n))
		return do_poll(fds, n, timeout < 0 ? -1 : (int64_t)timeout * 1000000, NULL);
	return FL_RETRY(int, fl_real()->poll(fds, n, timeout), fl_out(fds, n * sizeof(*fds)));
}

FL_EXPORT int ppoll(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask)
{
	sigset_t copy;

	if (fl_maybe_ours() && (refused(fl_out(fds, n * sizeof(*fds))) || refused(fl_in(mask, sizeof(uint64_t)))))
		return -1;
	mask = fl_host_mask(mask, &copy);
	if (fl_object_any() && any_object(fds, n))
		return do_poll(fds, n, timeout ? timeout->tv_sec * 1000000000ll + timeout->tv_nsec : -1, mask);
	return FL_RETRY(int, fl_real()->ppoll(fds, n, timeout, mask),
			fl_max(fl_out(fds, n * sizeof(*fds)), fl_in(timeout, sizeof(*timeout))));
}

FL_EXPORT int __poll_chk(struct pollfd *fds, nfds_t n, int timeout, size_t size);
int __poll_chk(struct pollfd *fds, nfds_t n, int timeout, size_t size)
{
	if (size / sizeof(*fds) < n)
		abort();
	return poll(fds, n, timeout);
}

FL_EXPORT int __ppoll_chk(struct pollfd *fds, nfds_t n, const struct timespec *ts, const sigset_t *mask, size_t size);
int __ppoll_chk(struct pollfd *fds, nfds_t n, const struct timespec *ts, const sigset_t *mask, size_t size)
{
	if (size / sizeof(*fds) < n)
		abort();
	return ppoll(fds, n, ts, mask);
}

/* ---- select, in terms of poll ---- */

struct sets {
	fd_set *r, *w, *e;
};

static bool set_has(const fd_set *set, int fd)
{
	return set && FD_ISSET(fd, set);
}

static bool select_has_object(int n, const struct sets *s)
{
	for (int fd = 0; fl_object_any() && fd < n && fd < FD_SETSIZE; fd++) {
		struct fl_uffd *o;

		if (!set_has(s->r, fd) && !set_has(s->w, fd) && !set_has(s->e, fd))
			continue;
		o = fl_object_get(fd);
		if (o) {
			fl_object_put(o);
			return true;
		}
	}
	return false;
}

/* What the sets ask for, as poll() has it. Returns how many descriptors. */
static nfds_t sets_to_fds(int n, const struct sets *s, struct pollfd *fds)
{
	nfds_t nfds = 0;

	for (int fd = 0; fd < n && fd < FD_SETSIZE; fd++) {
		short events = (short)((set_has(s->r, fd) ? POLLIN : 0) | (set_has(s->w, fd) ? POLLOUT : 0) |
				       (set_has(s->e, fd) ? POLLPRI : 0));

		if (events)
			fds[nfds++] = (struct pollfd){ .fd = fd, .events = events };
	}
	return nfds;
}

/* And the answer. Returns the number of bits, or -1. */
static int fds_to_sets(const struct sets *s, const struct pollfd *fds, nfds_t nfds)
{
	int bits = 0;

	for (nfds_t i = 0; i < nfds; i++) {
		short re = fds[i].revents;

		if (re & POLLNVAL) {
			errno = EBADF;
			return -1;
		}
		if (set_has(s->r, fds[i].fd) && !(re & (POLLIN | POLLERR | POLLHUP)))
			FD_CLR(fds[i].fd, s->r);
		if (set_has(s->w, fds[i].fd) && !(re & (POLLOUT | POLLERR)))
			FD_CLR(fds[i].fd, s->w);
		if (set_has(s->e, fds[i].fd) && !(re & POLLPRI))
			FD_CLR(fds[i].fd, s->e);
		bits += set_has(s->r, fds[i].fd) + set_has(s->w, fds[i].fd) + set_has(s->e, fds[i].fd);
	}
	return bits;
}

static int select_poll(int n, const struct sets *s, int64_t timeout, const sigset_t *mask)
{
	const size_t size = 2 * FD_SETSIZE * sizeof(struct pollfd); /* too much for small stacks */
	struct pollfd *fds = fl_reserve(size);
	nfds_t nfds;
	int ret;

	if (!fds) {
		errno = ENOMEM;
		return -1;
	}
	nfds = sets_to_fds(n, s, fds);
	ret = poll_objects(fds, fds + FD_SETSIZE, nfds, timeout, mask);
	if (ret >= 0)
		ret = fds_to_sets(s, fds, nfds);
	fl_unreserve(fds, size);
	return ret;
}

static int sets_present(const struct sets *s)
{
	size_t size = sizeof(fd_set);

	return fl_max(fl_out(s->r, size), fl_max(fl_out(s->w, size), fl_out(s->e, size)));
}

static bool refused_sets(const struct sets *s)
{
	size_t size = sizeof(fd_set);

	return refused(fl_out(s->r, size)) || refused(fl_out(s->w, size)) || refused(fl_out(s->e, size));
}

FL_EXPORT int select(int n, fd_set *r, fd_set *w, fd_set *e, struct timeval *tv)
{
	struct sets s = { r, w, e };

	if (fl_maybe_ours() && refused_sets(&s))
		return -1;
	if (fl_object_any() && select_has_object(n, &s))
		return select_poll(n, &s, tv ? tv->tv_sec * 1000000000ll + tv->tv_usec * 1000ll : -1, NULL);
	return FL_RETRY(int, fl_real()->select(n, r, w, e, tv), fl_max(sets_present(&s), fl_out(tv, sizeof(*tv))));
}

FL_EXPORT int pselect(int n, fd_set *r, fd_set *w, fd_set *e, const struct timespec *ts, const sigset_t *mask)
{
	struct sets s = { r, w, e };
	sigset_t copy;

	if (fl_maybe_ours() && (refused_sets(&s) || refused(fl_in(mask, 8))))
		return -1;
	mask = fl_host_mask(mask, &copy);
	if (fl_object_any() && select_has_object(n, &s))
		return select_poll(n, &s, ts ? ts->tv_sec * 1000000000ll + ts->tv_nsec : -1, mask);
	return FL_RETRY(int, fl_real()->pselect(n, r, w, e, ts, mask), sets_present(&s));
}

/* An object's socket could be written to; the object cannot. */
FL_EXPORT int epoll_ctl(int epfd, int op, int fd, struct epoll_event *event)
{
	struct fl_uffd *o = fl_object_get(fd);
	struct epoll_event copy;

	if (o) {
		fl_ctx_watched(o->ctx);
		if (fl_copy_user(&copy, event, sizeof(copy)) == 0) {
			copy.events &= ~(uint32_t)EPOLLOUT;
			event = &copy;
		}
		fl_object_put(o);
	}
	return FL_RETRY(int, fl_real()->epoll_ctl(epfd, op, fd, event), fl_in(event, sizeof(*event)));
}

FL_EXPORT int epoll_wait(int epfd, struct epoll_event *events, int n, int timeout)
{
	return FL_RETRY(int, fl_real()->epoll_wait(epfd, events, n, timeout),
			fl_out(events, (size_t)fl_max(n, 0) * sizeof(*events)));
}

FL_EXPORT int epoll_pwait(int epfd, struct epoll_event *events, int n, int timeout, const sigset_t *mask)
{
	sigset_t copy;

	mask = fl_host_mask(mask, &copy);
	return FL_RETRY(int, fl_real()->epoll_pwait(epfd, events, n, timeout, mask),
			fl_out(events, (size_t)fl_max(n, 0) * sizeof(*events)));
}
