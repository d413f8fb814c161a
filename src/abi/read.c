/* SPDX-License-Identifier: MIT */
/* read.c - read(2) on the object: messages. */
#include "abi/abi.h"

#include "base/inject.h"

#include <fcntl.h>

#define BATCH 8u /* messages taken at a time: kept small, for small stacks */

/* Take a batch of messages; if there are none, with `spin` wait for the first for a moment. */
static unsigned take(struct fl_uffd_ctx *ctx, struct fl_uffd_msg *msgs, unsigned nr, bool spin)
{
	uint64_t signals;
	unsigned n = 0;

	if (!spin && !fl_ctx_readable(ctx))
		return 0;
	signals = fl_signals_enter();
	if (!spin || fl_ctx_spin(ctx, FL_READER_SPIN_NS, true))
		n = fl_ctx_take(ctx, msgs, nr);
	fl_signals_leave(signals);
	return n;
}

/* Take what is there and fits. Bytes, or -EFAULT if not even the first batch could be stored. */
static int64_t read_some(struct fl_uffd_ctx *ctx, const struct fl_caller *caller, uint64_t buf, uint64_t len,
			 bool spin)
{
	struct fl_uffd_msg msgs[BATCH];
	uint64_t done = 0;

	while (len - done >= sizeof(msgs[0])) {
		uint64_t want = fl_min((len - done) / sizeof(msgs[0]), (uint64_t)BATCH);
		unsigned n = take(ctx, msgs, (unsigned)want, spin && !done);

		if (!n)
			break;
		if (caller->copy_out(ctx->mm, buf + done, msgs, n * sizeof(msgs[0])))
			return done ? (int64_t)done : -EFAULT;
		done += n * sizeof(msgs[0]);
		if (n < want)
			break;
	}
	return (int64_t)done;
}

int64_t fl_abi_read(struct fl_uffd_ctx *ctx, const struct fl_caller *caller, uint64_t buf, uint64_t len)
{
	if (!__atomic_load_n(&ctx->features, __ATOMIC_ACQUIRE) || len < sizeof(struct fl_uffd_msg))
		return -EINVAL;
	if (unlikely(fl_injected(FL_INJECT_READ))) /* before a message is taken: none is lost */
		return (__atomic_load_n(&ctx->flags, __ATOMIC_RELAXED) & O_NONBLOCK) ? -EAGAIN : -EINTR;
	for (;;) {
		bool block = !(__atomic_load_n(&ctx->flags, __ATOMIC_RELAXED) & O_NONBLOCK);
		int64_t n = read_some(ctx, caller, buf, len, block && fl_ctx_spin_pays(ctx));
		int err;

		if (n)
			return n;
		if (!block)
			return -EAGAIN;
		err = ctx->sleep(ctx, false, 0);
		if (err == -EINTR)
			return err;
		if (__atomic_load_n(&ctx->released, __ATOMIC_RELAXED))
			return -EBADF;
	}
}
