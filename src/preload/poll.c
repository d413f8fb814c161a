/* SPDX-License-Identifier: MIT */
/*
 * poll.c - waiting for descriptors, some of which name userfaultfd objects. An object is ready when its
 * queue is. A poll() of one object alone sleeps on the queue; among other descriptors, the object's socket stands for
 * it, and the queue is asked afterwards.
 */
#include "preload/preload.h"

#include "base/alloc.h"

#include <string.h>
#include <time.h>

#define POLL_STACK 64

static int64_t now_ns(void)
{
	return (int64_t)fl_host_now_ns();
}

/*
 * Look once at the objects among the descriptors and fill in their revents. Returns how many objects are ready.
 * `spin`: wait a moment for the first one.
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
			uint64_t signals = fl_signals_block();

			fl_ctx_spin(o->ctx, FL_READER_SPIN_NS, false);
			fl_signals_restore(signals);
			revents = fl_abi_poll(o->ctx);
			spin = false;
		}
		fds[i].revents = (short)(revents & (fds[i].events | POLLERR));
		ready += fds[i].revents != 0;
		fl_object_put(o);
	}
	return ready;
}

/* The host's view of the descriptors: an object's socket is polled for reading only. */
static void host_view(struct pollfd *host, const struct pollfd *fds, nfds_t n)
{
	for (nfds_t i = 0; i < n; i++) {
		struct fl_uffd *o = fl_object_get(fds[i].fd);

		host[i] = fds[i];
		host[i].revents = 0;
		if (!o)
			continue;
		host[i].events &= POLLIN;
		fl_object_put(o);
	}
}

/* Take the host's results for descriptors that are no objects. Returns how many are ready. */
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

/*
 * `timeout` in nanoseconds, negative: for ever. `size` bytes at `reserved`, of fl_reserve(), are given back if the
 * thread is cancelled.
 */
static int poll_objects(struct pollfd *fds, struct pollfd *host, nfds_t n, int64_t timeout, const sigset_t *mask,
			void *reserved, size_t size)
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
		struct timespec ts = {0};
		int64_t left = end - now_ns();

		ready = look(fds, n, first && timeout && n == 1);
		if (!ready && left > 0)
			ts = (struct timespec){left / 1000000000, left % 1000000000};
		host_view(host, fds, n);
		ret = fl_cancel_ppoll(host, n, !ready && timeout < 0 ? NULL : &ts, mask, reserved, size);
		if (ret < 0)
			return ready ? ready : ret;
		ready = look(fds, n, false) + merge_view(fds, host, n);
		if (ready || (timeout >= 0 && now_ns() >= end))
			return ready; /* otherwise another reader took the message */
	}
}

/* One object alone: sleep on the queue itself. */
static int poll_one(struct pollfd *p, int64_t timeout)
{
	struct fl_uffd *o = fl_object_get(p->fd);
	int64_t end = timeout < 0 ? INT64_MAX : now_ns() + timeout, left = timeout;
	int ready, err = 0;
	bool dead;

	if (!o) /* closed just now */
		return FL_FIND(poll)(p, 1, 0);
	fl_object_begin(o);
	ready = look(p, 1, timeout);
	while (!ready && left && err != -EINTR && !o->ctx->released) {
		left = timeout < 0 ? INT64_MAX / 2 : end - now_ns(); /* a sleep with a limit is never restarted */
		if (left <= 0)
			break;
		err = o->ctx->sleep(o->ctx, true, (uint64_t)left);
		ready = look(p, 1, false);
	}
	dead = o->ctx->released; /* a forked child sees its parent's object: nothing ever comes */
	fl_object_end(o);
	fl_object_put(o);
	if (!ready && dead && left && err != -EINTR)
		return FL_FIND(poll)(NULL, 0, timeout < 0 ? -1 : (int)((end - now_ns()) / 1000000));
	if (ready || err != -EINTR)
		return ready;
	errno = EINTR;
	return -1;
}

static int do_poll(struct pollfd *fds, nfds_t n, int64_t timeout, const sigset_t *mask)
{
	struct pollfd few[POLL_STACK], *host = few;
	size_t size = n > POLL_STACK ? n * sizeof(*host) : 0;
	int ret;

	if (n == 1 && !mask && (fds->events & POLLIN))
		return poll_one(fds, timeout);
	if (size)
		host = fl_reserve(size);
	if (!host) {
		errno = ENOMEM;
		return -1;
	}
	ret = poll_objects(fds, host, n, timeout, mask, host, size);
	if (size)
		fl_unreserve(host, size);
	return ret;
}

static bool any_object(const struct pollfd *fds, nfds_t n)
{
	for (nfds_t i = 0; fl_object_any() && i < n && i < FL_MAX_FDS; i++) {
		struct pollfd p;
		struct fl_uffd *o = fl_copy_user(&p, &fds[i], sizeof(p)) ? NULL : fl_object_get(p.fd);

		if (o) {
			fl_object_put(o);
			return true;
		}
	}
	return false;
}

/* Arguments are read on the kernel's behalf: EFAULT for memory that refuses it. */
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
	return FL_RETRY(int, FL_FIND(poll)(fds, n, timeout), fl_out(fds, n * sizeof(*fds)));
}

/* In nanoseconds; -1: for ever, -2: not a valid time. */
static int64_t timeout_of(const struct timespec *ts)
{
	if (!ts)
		return -1;
	if (ts->tv_sec < 0 || ts->tv_nsec < 0 || ts->tv_nsec >= 1000000000)
		return -2;
	return ts->tv_sec > INT32_MAX ? -1 : ts->tv_sec * 1000000000ll + ts->tv_nsec;
}

FL_EXPORT int ppoll(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask)
{
	sigset_t copy;
	int64_t limit;

	if (fl_maybe_ours() && (refused(fl_out(fds, n * sizeof(*fds))) || refused(fl_in(mask, sizeof(uint64_t)))))
		return -1;
	mask = fl_native_mask(mask, &copy);
	if (fl_object_any() && any_object(fds, n) && (limit = timeout_of(timeout)) > -2)
		return do_poll(fds, n, limit, mask);
	return FL_RETRY(int, FL_FIND(ppoll)(fds, n, timeout, mask),
			FL_ALL(fl_out(fds, n * sizeof(*fds)), fl_in(timeout, sizeof(*timeout))));
}

FL_EXPORT int __poll_chk(struct pollfd *fds, nfds_t n, int timeout, size_t size);
int __poll_chk(struct pollfd *fds, nfds_t n, int timeout, size_t size)
{
	if (size / sizeof(*fds) < n)
		__chk_fail();
	return poll(fds, n, timeout);
}

FL_EXPORT int __ppoll_chk(struct pollfd *fds, nfds_t n, const struct timespec *ts, const sigset_t *mask, size_t size);
int __ppoll_chk(struct pollfd *fds, nfds_t n, const struct timespec *ts, const sigset_t *mask, size_t size)
{
	if (size / sizeof(*fds) < n)
		__chk_fail();
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

static bool set_bad(const fd_set *set, int n)
{
	fd_set copy;

	return set && fl_copy_user(&copy, set, (size_t)fl_min(n + 7, FD_SETSIZE) / 8);
}

/* Bad pointers are for libc's own function to refuse. */
static bool sets_bad(int n, const struct sets *s)
{
	return n <= 0 || set_bad(s->r, n) || set_bad(s->w, n) || set_bad(s->e, n);
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

/* What the sets ask for, in poll()'s form. Returns how many descriptors. */
static nfds_t sets_to_fds(int n, const struct sets *s, struct pollfd *fds)
{
	nfds_t nfds = 0;

	for (int fd = 0; fd < n && fd < FD_SETSIZE; fd++) {
		short events = (short)((set_has(s->r, fd) ? POLLIN : 0) | (set_has(s->w, fd) ? POLLOUT : 0) |
				       (set_has(s->e, fd) ? POLLPRI : 0));

		if (events)
			fds[nfds++] = (struct pollfd){.fd = fd, .events = events};
	}
	return nfds;
}

/* The answer, back in the sets. Returns the number of bits, or -1. */
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
	ret = poll_objects(fds, fds + FD_SETSIZE, nfds, timeout, mask, fds, size);
	if (ret >= 0)
		ret = fds_to_sets(s, fds, nfds);
	fl_unreserve(fds, size);
	return ret;
}

static int sets_present(const struct sets *s)
{
	size_t size = sizeof(fd_set);

	return FL_ALL(fl_out(s->r, size), fl_out(s->w, size), fl_out(s->e, size));
}

static bool refused_sets(const struct sets *s)
{
	size_t size = sizeof(fd_set);

	return refused(fl_out(s->r, size)) || refused(fl_out(s->w, size)) || refused(fl_out(s->e, size));
}

/* Linux stores the time that is left. */
static int select_left(int n, const struct sets *s, int64_t timeout, struct timeval *tv)
{
	int64_t end = now_ns() + timeout;
	int ret = select_poll(n, s, timeout, NULL);

	if (tv) {
		int64_t left = fl_max(end - now_ns(), (int64_t)0);

		*tv = (struct timeval){left / 1000000000, left % 1000000000 / 1000};
	}
	return ret;
}

FL_EXPORT int select(int n, fd_set *r, fd_set *w, fd_set *e, struct timeval *tv)
{
	struct sets s = {r, w, e};
	int64_t timeout;

	if (fl_maybe_ours() && refused_sets(&s))
		return -1;
	if (fl_object_any() && !sets_bad(n, &s) && select_has_object(n, &s) &&
	    (timeout = timeout_of(tv ? &(struct timespec){tv->tv_sec, tv->tv_usec * 1000} : NULL)) > -2)
		return select_left(n, &s, timeout, tv);
	return FL_RETRY(int, FL_FIND(select)(n, r, w, e, tv), FL_ALL(sets_present(&s), fl_out(tv, sizeof(*tv))));
}

FL_EXPORT int pselect(int n, fd_set *r, fd_set *w, fd_set *e, const struct timespec *ts, const sigset_t *mask)
{
	struct sets s = {r, w, e};
	sigset_t copy;
	int64_t limit;

	if (fl_maybe_ours() && (refused_sets(&s) || refused(fl_in(mask, 8))))
		return -1;
	mask = fl_native_mask(mask, &copy);
	if (fl_object_any() && !sets_bad(n, &s) && select_has_object(n, &s) && (limit = timeout_of(ts)) > -2)
		return select_poll(n, &s, limit, mask);
	return FL_RETRY(int, FL_FIND(pselect)(n, r, w, e, ts, mask), sets_present(&s));
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
	return FL_RETRY(int, FL_FIND(epoll_ctl)(epfd, op, fd, event), fl_in(event, sizeof(*event)));
}

FL_EXPORT int epoll_wait(int epfd, struct epoll_event *events, int n, int timeout)
{
	return FL_RETRY(int, FL_FIND(epoll_wait)(epfd, events, n, timeout),
			fl_out(events, (size_t)fl_max(n, 0) * sizeof(*events)));
}

FL_EXPORT int epoll_pwait2(int epfd, struct epoll_event *events, int n, const struct timespec *ts,
			   const sigset_t *mask)
{
	sigset_t copy;

	if (fl_maybe_ours() && refused(fl_in(mask, sizeof(uint64_t))))
		return -1;
	mask = fl_native_mask(mask, &copy);
	return FL_RETRY(int, FL_FIND(epoll_pwait2)(epfd, events, n, ts, mask),
			FL_ALL(fl_out(events, (size_t)fl_max(n, 0) * sizeof(*events)), fl_in(ts, sizeof(*ts))));
}

FL_EXPORT int epoll_pwait(int epfd, struct epoll_event *events, int n, int timeout, const sigset_t *mask)
{
	sigset_t copy;

	mask = fl_native_mask(mask, &copy);
	return FL_RETRY(int, FL_FIND(epoll_pwait)(epfd, events, n, timeout, mask),
			fl_out(events, (size_t)fl_max(n, 0) * sizeof(*events)));
}

FL_ALIAS(__poll, poll)
FL_ALIAS(__select, select)
