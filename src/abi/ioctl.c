/* SPDX-License-Identifier: MIT */
/*
 * ioctl.c - a function for each ioctl, and one for the three that fill. Source of the behaviour:
 * ioctl_userfaultfd(2); where that is silent, Linux 6.18 as observed by the conformance cases.
 */
#include "abi/abi.h"

#include "base/inject.h"

#include <fcntl.h>

struct call {
	struct fl_uffd_ctx *ctx;
	const struct fl_caller *caller;
	uint64_t arg;
};

/* The structures' last field is output only: `len` says how much of them is read. */
static int get_arg(const struct call *c, void *buf, size_t len)
{
	return c->caller->copy_in(c->ctx->mm, buf, c->arg, len);
}

static int put_arg(const struct call *c, size_t offset, const void *buf, size_t len)
{
	return c->caller->copy_out(c->ctx->mm, c->arg + offset, buf, len);
}

static int check_range(const struct fl_uffdio_range *r)
{
	if (!PAGE_ALIGNED(r->start) || !PAGE_ALIGNED(r->len) || !r->len)
		return -EINVAL;
	if (r->start >= TASK_SIZE || r->len > TASK_SIZE - r->start)
		return -EINVAL;
	return 0;
}

static uint64_t range_end(const struct fl_uffdio_range *r)
{
	return r->start + r->len;
}

/*
 * Does injection make the operation fail? Asked once the call is known to be valid and before anything changes. 0,
 * -errno
 */
static int injected(enum fl_inject_point point)
{
	return -(int)fl_injected(point);
}

/* ---- UFFDIO_API ---- */

static int api(struct call *c)
{
	struct fl_uffdio_api a;
	uint32_t before = 0, enabled;
	int err = get_arg(c, &a, sizeof(a));

	if (err)
		return err;
	enabled = (uint32_t)a.features | FL_UFFD_INITIALIZED;
	if (a.api != FL_UFFD_API || (a.features & ~FL_FEATURES) || injected(FL_INJECT_API) ||
	    !__atomic_compare_exchange_n(&c->ctx->features, &before, enabled, false, __ATOMIC_RELEASE,
					 __ATOMIC_RELAXED)) {
		a = (struct fl_uffdio_api){0};
		err = put_arg(c, 0, &a, sizeof(a));
		return err ? err : -EINVAL;
	}
	a.features = FL_FEATURES;
	a.ioctls =
		FL_IOCTL_BIT(FL_UFFDIO_API) | FL_IOCTL_BIT(FL_UFFDIO_REGISTER) | FL_IOCTL_BIT(FL_UFFDIO_UNREGISTER);
	err = put_arg(c, 0, &a, sizeof(a));
	if (err) /* the caller never learned of it */
		__atomic_store_n(&c->ctx->features, 0, __ATOMIC_RELEASE);
	return err;
}

/* ---- ranges ---- */

static int do_register(struct call *c)
{
	struct fl_uffdio_register r;
	uint32_t vm_flags = 0;
	uint64_t ioctls, signals;
	int err = get_arg(c, &r, offsetof(struct fl_uffdio_register, ioctls));

	if (err)
		return err;
	if (!r.mode || (r.mode & ~(FL_UFFDIO_REGISTER_MODE_MISSING | FL_UFFDIO_REGISTER_MODE_WP |
				   FL_UFFDIO_REGISTER_MODE_MINOR)))
		return -EINVAL;
	if (r.mode & FL_UFFDIO_REGISTER_MODE_MISSING)
		vm_flags |= VM_UFFD_MISSING;
	if (r.mode & FL_UFFDIO_REGISTER_MODE_WP)
		vm_flags |= VM_UFFD_WP;
	if (r.mode & FL_UFFDIO_REGISTER_MODE_MINOR)
		vm_flags |= VM_UFFD_MINOR;
	err = check_range(&r.range);
	if (!err)
		err = injected(FL_INJECT_REGISTER);
	if (err)
		return err;
	signals = fl_signals_block();
	err = fl_ctx_register(c->ctx, r.range.start, range_end(&r.range), vm_flags);
	fl_signals_restore(signals);
	if (err)
		return err;
	ioctls = FL_IOCTL_BIT(FL_UFFDIO_WAKE) | FL_IOCTL_BIT(FL_UFFDIO_COPY) | FL_IOCTL_BIT(FL_UFFDIO_ZEROPAGE);
	if (vm_flags & VM_UFFD_WP)
		ioctls |= FL_IOCTL_BIT(FL_UFFDIO_WRITEPROTECT);
	if (vm_flags & VM_UFFD_MINOR)
		ioctls |= FL_IOCTL_BIT(FL_UFFDIO_CONTINUE);
	return put_arg(c, offsetof(struct fl_uffdio_register, ioctls), &ioctls, sizeof(ioctls));
}

static int unregister(struct call *c)
{
	struct fl_uffdio_range r;
	int err = get_arg(c, &r, sizeof(r));
	uint64_t signals;

	if (!err)
		err = check_range(&r);
	if (!err)
		err = injected(FL_INJECT_UNREGISTER);
	if (err)
		return err;
	signals = fl_signals_block();
	err = fl_ctx_unregister(c->ctx, r.start, range_end(&r));
	fl_signals_restore(signals);
	return err;
}

/* Wake, without a system call if no thread waits. */
static void do_wake(struct call *c, uint64_t start, uint64_t end)
{
	uint64_t signals;

	if (!fl_ctx_waiters(c->ctx))
		return;
	signals = fl_signals_enter();
	fl_ctx_wake(c->ctx, start, end);
	fl_signals_leave(signals);
}

static int wake(struct call *c)
{
	struct fl_uffdio_range r;
	int err = get_arg(c, &r, sizeof(r));

	if (!err)
		err = check_range(&r);
	if (!err)
		err = injected(FL_INJECT_WAKE);
	if (!err)
		do_wake(c, r.start, range_end(&r));
	return err;
}

/* ---- fills ---- */

/* The same fields in three structures, as words: where they are, and what the call does with them. */
static const struct fill_call {
	enum fl_fill_kind kind;
	unsigned dst, len, mode, result; /* words; what comes before the result is read, and nothing after it */
	unsigned src;			 /* 0: there is no source */
	uint64_t dontwake, wp;		 /* the valid modes */
	enum fl_inject_point fails;
	int stops_short; /* an injection point, -1: none */
} fill_calls[] = {
#define WORD(type, field) (offsetof(struct type, field) / sizeof(uint64_t))
	[FL_FILL_COPY] = {FL_FILL_COPY, WORD(fl_uffdio_copy, dst), WORD(fl_uffdio_copy, len),
			  WORD(fl_uffdio_copy, mode), WORD(fl_uffdio_copy, copy), WORD(fl_uffdio_copy, src),
			  FL_UFFDIO_COPY_MODE_DONTWAKE, FL_UFFDIO_COPY_MODE_WP, FL_INJECT_COPY, FL_INJECT_COPY_SHORT},
	[FL_FILL_ZERO] = {FL_FILL_ZERO, WORD(fl_uffdio_zeropage, range.start), WORD(fl_uffdio_zeropage, range.len),
			  WORD(fl_uffdio_zeropage, mode), WORD(fl_uffdio_zeropage, zeropage), 0,
			  FL_UFFDIO_ZEROPAGE_MODE_DONTWAKE, 0, FL_INJECT_ZEROPAGE, FL_INJECT_ZEROPAGE_SHORT},
	[FL_FILL_CONTINUE] = {FL_FILL_CONTINUE, WORD(fl_uffdio_continue, range.start),
			      WORD(fl_uffdio_continue, range.len), WORD(fl_uffdio_continue, mode),
			      WORD(fl_uffdio_continue, mapped), 0, FL_UFFDIO_CONTINUE_MODE_DONTWAKE,
			      FL_UFFDIO_CONTINUE_MODE_WP, FL_INJECT_CONTINUE, -1},
#undef WORD
};

#define FILL_WORDS (sizeof(struct fl_uffdio_copy) / sizeof(uint64_t)) /* the longest */

static const struct fl_source *source_of(const struct call *c)
{
	return (__atomic_load_n(&c->ctx->flags, __ATOMIC_RELAXED) & FL_CTX_SRC_HOST) ? &fl_source_process
										     : c->caller->source;
}

/* The kernel is not interrupted while it waits for a source. */
static bool source_present(struct call *c, const struct fl_source *source, uint64_t addr)
{
	uint64_t signals = fl_signals_block_for_wait();
	int err = source->fault_in(c->ctx->mm, addr);

	fl_signals_restore_after_wait(signals);
	return !err;
}

/*
 * Fill as far as possible. A source that faults is made present with no lock held, and everything is looked up again.
 * Returns what the structure's result field gets: bytes, or -errno when there are none.
 */
static int64_t fill(struct call *c, const struct fl_fill *f, enum fl_wake wake)
{
	uint64_t done = 0, src_fault = 0, signals;
	int err;

	do {
		signals = fl_signals_enter();
		err = fl_ctx_fill(c->ctx, f, wake, &done, &src_fault);
		fl_signals_leave(signals);
	} while (err == -EFAULT && source_present(c, f->source, src_fault));
	if (err == -ENXIO) /* beyond the end of the file, or not in it: no source can help that */
		err = -EFAULT;
	return done ? (int64_t)done : err;
}

/*
 * Does injection make the fill fail? For a process that has gone, which is what ESRCH and formerly ENOSPC mean, the
 * kernel (Linux 6.18) leaves the result field alone; otherwise that gets the errno, too. 0, -errno
 */
static int fill_injected(const struct call *c, enum fl_inject_point point, size_t field)
{
	int64_t err = injected(point);
	int fault = 0;

	if (unlikely(err && err != -ESRCH && err != -ENOSPC))
		fault = put_arg(c, field, &err, sizeof(err));
	return fault ? fault : (int)err;
}

/* The same as fill(), unless injection makes it stop short: halfway, or before its only page. */
static int64_t fill_short(struct call *c, struct fl_fill *f, enum fl_wake wake, int stops_short)
{
	if (unlikely(stops_short >= 0 && fl_injected((enum fl_inject_point)stops_short))) {
		f->len = PAGE_ALIGN_DOWN(f->len / 2);
		if (!f->len)
			return -EAGAIN;
	}
	return fill(c, f, wake);
}

static int do_fill(struct call *c, const struct fill_call *how)
{
	size_t field = how->result * sizeof(uint64_t);
	uint64_t a[FILL_WORDS] = {0}, mode;
	struct fl_uffdio_range r;
	struct fl_fill f;
	int64_t result;
	int err = get_arg(c, a, field);

	if (err)
		return err;
	r = (struct fl_uffdio_range){a[how->dst], a[how->len]};
	mode = a[how->mode];
	if (check_range(&r) || (mode & ~(how->dontwake | how->wp)))
		return -EINVAL;
	if (how->src && a[how->src] + r.len <= a[how->src])
		return -EINVAL;
	err = fill_injected(c, how->fails, field);
	if (err)
		return err;
	f = (struct fl_fill){
		.kind = how->kind,
		.dst = r.start,
		.len = r.len,
		.source = source_of(c),
		.src = how->src ? a[how->src] : 0,
		.wp = mode & how->wp,
	};
	result = fill_short(c, &f, (mode & how->dontwake) ? FL_WAKE_LATER : FL_WAKE_NOW, how->stops_short);
	err = put_arg(c, field, &result, sizeof(result));
	if (err)
		return err;
	if (result < 0)
		return (int)result;
	return (uint64_t)result == r.len ? 0 : -EAGAIN;
}

/* ---- write protection ---- */

static int writeprotect(struct call *c)
{
	struct fl_uffdio_writeprotect a;
	bool protect, dontwake;
	uint64_t signals;
	int err = get_arg(c, &a, sizeof(a));

	if (err)
		return err;
	protect = a.mode & FL_UFFDIO_WRITEPROTECT_MODE_WP;
	dontwake = a.mode & FL_UFFDIO_WRITEPROTECT_MODE_DONTWAKE;
	err = check_range(&a.range);
	if (err || (a.mode & ~(FL_UFFDIO_WRITEPROTECT_MODE_WP | FL_UFFDIO_WRITEPROTECT_MODE_DONTWAKE)) ||
	    (protect && dontwake))
		return -EINVAL;
	err = injected(FL_INJECT_WRITEPROTECT);
	if (err)
		return err;
	signals = fl_signals_enter();
	err = fl_ctx_writeprotect(c->ctx, a.range.start, range_end(&a.range), protect);
	if (!err && !protect)
		fl_ctx_resolved(c->ctx, a.range.start, range_end(&a.range), dontwake ? FL_WAKE_LATER : FL_WAKE_NOW);
	fl_signals_leave(signals);
	return err;
}

/* ---- dispatch ---- */

int fl_abi_ioctl(struct fl_uffd_ctx *ctx, const struct fl_caller *caller, unsigned long cmd, uint64_t arg)
{
	struct call c = {.ctx = ctx, .caller = caller, .arg = arg};

	if (cmd == FL_UFFDIO_API)
		return api(&c);
	if (!__atomic_load_n(&ctx->features, __ATOMIC_ACQUIRE))
		return -EINVAL;
	switch (cmd) {
	case FL_UFFDIO_REGISTER:
		return do_register(&c);
	case FL_UFFDIO_UNREGISTER:
		return unregister(&c);
	case FL_UFFDIO_WAKE:
		return wake(&c);
	case FL_UFFDIO_COPY:
		return do_fill(&c, &fill_calls[FL_FILL_COPY]);
	case FL_UFFDIO_ZEROPAGE:
		return do_fill(&c, &fill_calls[FL_FILL_ZERO]);
	case FL_UFFDIO_CONTINUE:
		return do_fill(&c, &fill_calls[FL_FILL_CONTINUE]);
	case FL_UFFDIO_WRITEPROTECT:
		return writeprotect(&c);
	default:
		return -EINVAL;
	}
}
