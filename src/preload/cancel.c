/* SPDX-License-Identifier: MIT */
/*
 * cancel.c - cancellation points (pthreads(7)) that do more than call libc's function. Where the call is libc's, it
 * is a cancellation point by itself, and what the wrapper holds meanwhile must be let go when it does not return.
 * Where the engine sleeps in its place, the thread may be cancelled while it sleeps, and nowhere else.
 */
#include "preload/preload.h"

#include "base/alloc.h"

#include <pthread.h>
#include <unistd.h>

void fl_cancel_point(void)
{
	if (unlikely(fl_object_any()))
		pthread_testcancel();
}

/* ---- sleeping on an object ---- */

struct sleep {
	struct fl_uffd_ctx *ctx;
	bool poll;
};

static void sleep_cancelled(void *arg)
{
	const struct sleep *s = arg;

	fl_object_sleep_left(s->ctx, s->poll);
}

static int cancellable_sleep(struct fl_uffd_ctx *ctx, bool poll, uint64_t timeout_ns)
{
	struct sleep s = {ctx, poll};
	uint32_t seq = fl_ctx_sleep_begin(ctx, poll);
	int type, ret;

	pthread_cleanup_push(sleep_cancelled, &s);
	FL_FIND(pthread_setcanceltype)(PTHREAD_CANCEL_ASYNCHRONOUS, &type);
	ret = fl_ctx_sleep_on(ctx, seq, timeout_ns);
	FL_FIND(pthread_setcanceltype)(type, NULL);
	pthread_cleanup_pop(0);
	fl_ctx_sleep_end(ctx, poll);
	return ret;
}

void fl_cancel_init(void)
{
	fl_object_sleep = cancellable_sleep;
}

/* ---- calls of libc with something in hand ---- */

struct reserved {
	void *at;
	size_t size;
};

static void give_back(void *arg)
{
	const struct reserved *r = arg;

	fl_unreserve(r->at, r->size);
}

int fl_cancel_ppoll(struct pollfd *fds, nfds_t n, const struct timespec *ts, const sigset_t *mask, void *reserved,
		    size_t size)
{
	struct reserved r = {reserved, size};
	int ret;

	if (!size)
		return FL_FIND(ppoll)(fds, n, ts, mask);
	pthread_cleanup_push(give_back, &r);
	ret = FL_FIND(ppoll)(fds, n, ts, mask);
	pthread_cleanup_pop(0);
	return ret;
}

/* libc's close() may end the thread, but then it has closed nothing. */
int fl_cancel_close(int fd)
{
	int state, ret;

	FL_FIND(pthread_setcancelstate)(PTHREAD_CANCEL_DISABLE, &state);
	ret = FL_FIND(close)(fd);
	FL_FIND(pthread_setcancelstate)(state, NULL);
	return ret;
}
