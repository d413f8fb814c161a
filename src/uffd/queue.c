/* SPDX-License-Identifier: MIT */
/*
 * queue.c - waiting faults, waiting readers, and their wake-ups.
 *
 * Spinning. Where the faulting thread and the reader run on different CPUs, a sleep costs each side an
 * inter-processor wake-up, many times the work itself; on one CPU a spin only keeps the other from running. So each
 * side notes where it runs, and spins only when the other was last seen elsewhere.
 *
 * Progress:
 *   P1  a thread that waits in a fault holds no lock and no pin: only a reader may wait for it, for its message
 *   P2  a wake does not wait for the threads that it wakes, and releases WAKE_BATCH at most each time it has the lock
 *   P3  a waiter spins for SPIN_FAULT_NS at most, then sleeps, and looks every LOOK_NS whether the object has lost
 *       its last descriptor: then it goes on
 *   P4  a wait whose thread has died, or has left it by siglongjmp(), is taken out by the next one in its list, or
 *       its message by the next reader
 */
#include "uffd/space.h"
#include "uffd/uffd.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/inject.h"
#include "host/count.h"

#define SPIN_FAULT_NS 30000u
#define LOOK_NS	      (100u * 1000 * 1000) /* how often a waiter checks that there is still something to wait for */

static bool spin_pays(const uint32_t *other, uint32_t here)
{
	uint32_t cpu = __atomic_load_n(other, __ATOMIC_RELAXED);

	return cpu && cpu != here;
}

/* ---- the faulting thread ---- */

static bool woken(struct fl_wait *w)
{
	return __atomic_load_n(&w->state, __ATOMIC_ACQUIRE) == FL_WAIT_WOKEN;
}

/*
 * A thread may have left an earlier wait by siglongjmp() out of a signal handler: such a wait has this thread's id
 * and a stack frame that the thread has since gone back above. Or it died in the wait.
 * => lock of the space's objects held. Returns the abandoned wait, off its list
 */
static struct fl_wait *find_abandoned(struct fl_list *bucket, int32_t tid, uintptr_t frame)
{
	struct fl_list *pos, *tmp;

	fl_list_for_each_safe(pos, tmp, bucket) {
		struct fl_wait *w = fl_list_entry(pos, struct fl_wait, by_tid);

		if ((w->tid == tid && w->frame <= frame && frame - w->frame < 8u << 20) ||
		    (w->tid != tid && woken(w) && !fl_host_thread_exists(w->tid))) {
			fl_list_del(&w->by_tid);
			return w;
		}
	}
	return NULL;
}

/* => ctx->lock held; after every change of the list of pending messages */
static bool note_pending(struct fl_uffd_ctx *ctx)
{
	bool waiting = !fl_list_empty(&ctx->pending), any = waiting || ctx->has_again;

	if (waiting)
		__atomic_store_n(&ctx->pending_since, fl_list_entry(ctx->pending.next, struct fl_wait, link)->since,
				 __ATOMIC_RELAXED);
	__atomic_store_n(&ctx->has_pending, any, __ATOMIC_RELAXED);
	__atomic_store_n(&ctx->has_waiters, waiting || !fl_list_empty(&ctx->faulting), __ATOMIC_RELAXED);
	return any;
}

/*
 * Make readiness agree with the queue. A new message makes readable again what is readable: each is an edge for
 * epoll.
 * => ctx->lock held
 */
static void update_token(struct fl_uffd_ctx *ctx, bool fresh)
{
	bool readable = note_pending(ctx);

	if (readable && __atomic_load_n(&ctx->parked, __ATOMIC_SEQ_CST))
		return; /* a parked reader is about to take it, or updates the token when it leaves */
	if (readable == ctx->token && !(readable && fresh))
		return;
	ctx->token = readable;
	ctx->notify(ctx, readable);
}

static void dequeue(struct fl_wait *w)
{
	fl_mutex_lock(&w->ctx->lock);
	fl_list_del(&w->link);
	update_token(w->ctx, false);
	fl_mutex_unlock(&w->ctx->lock);
}

static void wait_free(struct fl_wait *w)
{
	struct fl_uffd_ctx *ctx = w->ctx;

	if (!woken(w)) /* the waker has taken it off the queue and is done with it */
		dequeue(w);
	fl_free(&ctx->mm->metadata, w, sizeof(*w));
	fl_ctx_put(ctx);
}

static void wait_enter(struct fl_mm *mm, struct fl_wait *w)
{
	struct fl_list *bucket = fl_uffd_waits(mm, w->tid);
	struct fl_wait *old;

	fl_uffd_space_lock(mm);
	old = find_abandoned(bucket, w->tid, w->frame);
	fl_list_add_tail(bucket, &w->by_tid);
	fl_uffd_space_unlock(mm);
	if (old)
		wait_free(old);
}

static void wait_leave(struct fl_mm *mm, struct fl_wait *w)
{
	fl_uffd_space_lock(mm);
	fl_list_del(&w->by_tid);
	fl_uffd_space_unlock(mm);
	wait_free(w);
}

static struct fl_uffd_msg make_msg(const struct fl_vmf *vmf, uint32_t features)
{
	struct fl_uffd_msg msg = {.event = FL_UFFD_EVENT_PAGEFAULT};

	if (vmf->flags & FAULT_WRITE)
		msg.arg.pagefault.flags |= FL_UFFD_PAGEFAULT_FLAG_WRITE;
	if (vmf->why == FL_WHY_WP)
		msg.arg.pagefault.flags |= FL_UFFD_PAGEFAULT_FLAG_WP;
	if (vmf->why == FL_WHY_MINOR)
		msg.arg.pagefault.flags |= FL_UFFD_PAGEFAULT_FLAG_MINOR;
	msg.arg.pagefault.address =
		(features & FL_UFFD_FEATURE_EXACT_ADDRESS) ? vmf->addr : fl_unit_of(vmf->vma->kind, vmf->addr);
	if (features & FL_UFFD_FEATURE_THREAD_ID)
		msg.arg.pagefault.feat.ptid = (uint32_t)fl_host_tid();
	return msg;
}

/* Queue the wait. The object is not closed: otherwise no mapping would have it. => page-table lock held */
static void enqueue(struct fl_wait *w)
{
	struct fl_uffd_ctx *ctx = w->ctx;

	fl_mutex_lock(&ctx->lock);
	fl_list_add_tail(&ctx->pending, &w->link);
	note_pending(ctx);
	__atomic_fetch_add(&ctx->seq, 1, __ATOMIC_RELEASE);
	fl_mutex_unlock(&ctx->lock);
}

/*
 * Tell the readers. A sleeping read() that is woken takes the message; a sleeping poll() of this object alone looks
 * at the queue. Only for others must the descriptor itself become readable. => no lock held: a reader that runs at
 * once on this CPU finds them free
 */
static void announce(struct fl_uffd_ctx *ctx)
{
	bool pollers;

	fl_yield_point(&ctx->sleepers);
	__atomic_thread_fence(
		__ATOMIC_SEQ_CST); /* the message first, then the look: fl_ctx_sleep() does the reverse */
	pollers = __atomic_load_n(&ctx->pollers, __ATOMIC_RELAXED);
	if (pollers && fl_futex_wake(&ctx->seq, INT32_MAX) > 0 && !__atomic_load_n(&ctx->watched, __ATOMIC_RELAXED))
		return;
	if (!pollers && __atomic_load_n(&ctx->sleepers, __ATOMIC_RELAXED) && fl_futex_wake(&ctx->seq, 1) == 1)
		return;
	fl_mutex_lock(&ctx->lock);
	update_token(ctx, true);
	fl_mutex_unlock(&ctx->lock);
}

static void wait_spin(struct fl_wait *w)
{
	uint32_t here = fl_host_cpu();

	__atomic_store_n(&w->ctx->fault_cpu, here, __ATOMIC_RELAXED);
	if (!spin_pays(&w->ctx->reader_cpu, here))
		return;
	while (!woken(w) && fl_now_ns() - w->since < SPIN_FAULT_NS)
		for (int i = 0; i < 16 && !woken(w); i++)
			fl_cpu_relax();
}

/*
 * Sleep until woken, or a signal's handler has run, or the object has lost its last descriptor elsewhere. If the
 * program has handlers, its signals are let in; if it has none they stay out, which is cheaper, and a check from time
 * to time finds those that end or stop the process. (With a limit a handled signal ends the sleep, also under
 * SA_RESTART.)
 */
static int wait_asleep(struct fl_wait *w, const uint64_t *sigmask)
{
	int err = 0;

	while (!woken(w) && err != -EINTR) {
		if (sigmask && __atomic_load_n(&fl_signals_handlers, __ATOMIC_RELAXED))
			err = fl_signals_futex_wait(&w->state, FL_WAIT_ASLEEP, LOOK_NS, *sigmask);
		else
			err = fl_futex_wait(&w->state, FL_WAIT_ASLEEP, LOOK_NS);
		if (err == -ETIMEDOUT && w->ctx->orphaned(w->ctx))
			break;
		if (err == -ETIMEDOUT && sigmask)
			fl_signals_let_act(*sigmask & fl_signals_program);
	}
	return err;
}

static void wait_for(struct fl_wait *w, const uint64_t *sigmask)
{
	uint32_t spinning = FL_WAIT_SPINNING;
	int err;

	wait_spin(w);
	fl_yield_point(&w->state); /* it may have been woken by now */
	if (!__atomic_compare_exchange_n(&w->state, &spinning, FL_WAIT_ASLEEP, false, __ATOMIC_ACQ_REL,
					 __ATOMIC_ACQUIRE))
		return; /* woken */
	err = wait_asleep(w, sigmask);
	if (err == -ETIMEDOUT && !woken(w))
		fl_ctx_release(w->ctx);
}

/* => locks of fl_ctx_fault() held, dropped here */
static enum fl_answer call_inthread(struct fl_vmf *vmf, struct fl_uffd_ctx *ctx, const struct fl_inthread *inthread,
				    const struct fl_uffd_msg *msg)
{
	uintptr_t outer = fl_signals_frame;
	enum fl_answer ret;

	fl_vmf_unlock(vmf);
	fl_count(faults_inthread, 1);
	fl_signals_frame = (uintptr_t)__builtin_frame_address(0);
	ret = inthread->call(inthread, msg);
	fl_signals_frame = outer;
	fl_ctx_put_inthread(ctx);
	vmf->delivered = true;
	return ret;
}

/* Queue the fault and sleep. => locks of fl_ctx_fault() held, dropped here */
static enum fl_answer deliver(struct fl_vmf *vmf, struct fl_uffd_ctx *ctx, const struct fl_uffd_msg *msg)
{
	struct fl_wait *w = fl_alloc(&ctx->mm->metadata, sizeof(*w), FL_FP_WAIT);

	if (!w) { /* no memory even for this: let others run, and fault again */
		fl_vmf_unlock(vmf);
		fl_host_yield();
		return FL_ANSWER_RETRY;
	}
	fl_ctx_get(ctx);
	fl_list_init(&w->link);
	w->ctx = ctx;
	w->kind = FL_WAIT_PAGE;
	w->msg = *msg;
	w->page = fl_unit_of(vmf->vma->kind, vmf->addr);
	w->since = fl_now_ns();
	w->frame = (uintptr_t)__builtin_frame_address(0);
	w->tid = fl_host_tid();
	enqueue(w);
	fl_vmf_unlock(vmf);
	wait_enter(ctx->mm, w);
	announce(ctx);
	wait_for(w, vmf->sigmask);
	if (woken(w)) {
		fl_inject_wake_delay();
		fl_stats_latency(fl_now_ns() - w->since);
	}
	wait_leave(vmf->mm, w);
	vmf->delivered = true;
	return FL_ANSWER_RETRY;
}

enum fl_answer fl_ctx_fault(struct fl_vmf *vmf)
{
	struct fl_uffd_ctx *ctx = vmf->vma->ctx;
	uint32_t features = __atomic_load_n(&ctx->features, __ATOMIC_RELAXED);
	uint32_t flags = __atomic_load_n(&ctx->flags, __ATOMIC_RELAXED);
	const struct fl_inthread *inthread;
	struct fl_uffd_msg msg = make_msg(vmf, features);

	if ((features & FL_UFFD_FEATURE_SIGBUS) ||
	    ((flags & FL_UFFD_USER_MODE_ONLY) && (vmf->flags & FAULT_KERNEL))) {
		fl_vmf_unlock(vmf);
		fl_count(faults_sigbus, 1);
		return FL_ANSWER_SIGBUS;
	}
	inthread = (vmf->flags & FAULT_NO_HANDLER) ? NULL : fl_ctx_get_inthread(ctx);
	if (inthread)
		return call_inthread(vmf, ctx, inthread, &msg);
	if (vmf->why == FL_WHY_WP)
		fl_count(faults_wp, 1);
	else if (vmf->why == FL_WHY_MINOR)
		fl_count(faults_minor, 1);
	else
		fl_count(faults_missing, 1);
	return deliver(vmf, ctx, &msg);
}

/* ---- waking ---- */

bool fl_ctx_waiters(struct fl_uffd_ctx *ctx)
{
	fl_yield_point(&ctx->has_waiters);
	return __atomic_load_n(&ctx->has_waiters, __ATOMIC_RELAXED);
}

#define WAKE_BATCH 64u

struct wakeup {
	uint32_t *words[WAKE_BATCH]; /* futexes of sleeping waiters */
	unsigned nr, woken;
};

/* Does a wake of [start, end) let the thread continue? */
static bool wakes(const struct fl_wait *w, uint64_t start, uint64_t end)
{
	return w->kind == FL_WAIT_PAGE && w->page >= start && w->page < end;
}

/* Wake the waiters of the range on a list, until the batch is full. The futex calls come later, with no lock held. */
static void wake_list(struct fl_list *list, uint64_t start, uint64_t end, struct wakeup *wakeup)
{
	struct fl_list *pos, *tmp;

	fl_list_for_each_safe(pos, tmp, list) {
		struct fl_wait *w = fl_list_entry(pos, struct fl_wait, link);
		uint32_t *state = &w->state;

		if (!wakes(w, start, end))
			continue;
		if (wakeup->nr == WAKE_BATCH)
			break;
		fl_list_del(&w->link);
		wakeup->woken++;
		/* from here on the waiter may free it */
		if (__atomic_exchange_n(state, FL_WAIT_WOKEN, __ATOMIC_ACQ_REL) == FL_WAIT_ASLEEP)
			wakeup->words[wakeup->nr++] = state;
		fl_yield_point(state);
	}
}

static unsigned wake_batch(struct fl_uffd_ctx *ctx, uint64_t start, uint64_t end, bool *more)
{
	struct wakeup wakeup;

	wakeup.nr = wakeup.woken = 0;
	fl_mutex_lock(&ctx->lock);
	wake_list(&ctx->faulting, start, end, &wakeup);
	wake_list(&ctx->pending, start, end, &wakeup);
	update_token(ctx, false);
	fl_mutex_unlock(&ctx->lock);
	for (unsigned i = 0; i < wakeup.nr; i++)
		fl_futex_wake(wakeup.words[i], 1); /* nothing is read from the word, which may be gone */
	*more = wakeup.nr == WAKE_BATCH;
	return wakeup.woken;
}

unsigned fl_ctx_wake(struct fl_uffd_ctx *ctx, uint64_t start, uint64_t end)
{
	unsigned total = 0;
	bool more;

	do
		total += wake_batch(ctx, start, end, &more);
	while (more);
	if (total)
		fl_count(wakes, total);
	return total;
}

void fl_ctx_resolved(struct fl_uffd_ctx *ctx, uint64_t start, uint64_t end, enum fl_wake wake)
{
	if (wake == FL_WAKE_NOW && fl_ctx_waiters(ctx))
		fl_ctx_wake(ctx, start, end);
}

void fl_ctx_abandon(struct fl_mm *mm)
{
	int32_t tid = fl_host_tid();
	struct fl_list *pos, *tmp, *bucket = fl_uffd_waits(mm, tid);

	if (__atomic_load_n(&bucket->next, __ATOMIC_RELAXED) == bucket)
		return;
	fl_uffd_space_lock(mm);
	fl_list_for_each_safe(pos, tmp, bucket) {
		struct fl_wait *w = fl_list_entry(pos, struct fl_wait, by_tid);

		if (w->tid != tid || woken(w))
			continue;
		dequeue(w);
		__atomic_store_n(&w->state, FL_WAIT_WOKEN, __ATOMIC_RELEASE);
	}
	fl_uffd_space_unlock(mm);
}

/* ---- readers ---- */

#define FRESH_NS 8000u	  /* a poll() need not ask about a thread that faulted this very moment */
#define DEAD_NS	 1000000u /* a wait this old may be a dead thread's; a younger one is not worth checking */

/*
 * The first message whose thread lives, or NULL; messages of threads that died waiting are dropped. => ctx->lock held
 */
static struct fl_wait *first_pending(struct fl_uffd_ctx *ctx, uint64_t min_age)
{
	while (!fl_list_empty(&ctx->pending)) {
		struct fl_wait *w = fl_list_entry(ctx->pending.next, struct fl_wait, link);

		if ((min_age && fl_now_ns() - w->since < min_age) || fl_host_thread_exists(w->tid))
			return w;
		fl_list_del(&w->link);
		__atomic_store_n(&w->state, FL_WAIT_WOKEN,
				 __ATOMIC_RELEASE); /* freed with the next wait of its bucket */
	}
	return NULL;
}

bool fl_ctx_poll(struct fl_uffd_ctx *ctx)
{
	uint64_t signals;
	bool ret;

	if (!fl_ctx_readable(ctx))
		return false;
	if (fl_now_ns() - __atomic_load_n(&ctx->pending_since, __ATOMIC_RELAXED) < FRESH_NS)
		return true;
	signals = fl_signals_enter();
	fl_mutex_lock(&ctx->lock);
	ret = first_pending(ctx, 0) || ctx->has_again;
	update_token(ctx, false);
	fl_mutex_unlock(&ctx->lock);
	fl_signals_leave(signals);
	return ret;
}

/*
 * One message. An injected second copy is read right after the first, whatever has become of its fault: as the
 * message of another thread that faulted on the page just before it was filled, and whose message was queued just
 * after. => ctx->lock held
 */
static bool take_one(struct fl_uffd_ctx *ctx, struct fl_uffd_msg *msg)
{
	struct fl_wait *w;

	if (unlikely(ctx->has_again)) {
		*msg = ctx->again;
		ctx->has_again = false;
		return true;
	}
	w = first_pending(ctx, DEAD_NS);
	if (!w)
		return false;
	*msg = w->msg;
	fl_list_del(&w->link);
	fl_list_add_tail(&ctx->faulting, &w->link);
	if (unlikely(fl_injected(FL_INJECT_MESSAGE_TWICE))) {
		ctx->again = *msg;
		ctx->has_again = true;
	}
	return true;
}

unsigned fl_ctx_take(struct fl_uffd_ctx *ctx, struct fl_uffd_msg *msgs, unsigned nr)
{
	unsigned n = 0;

	fl_mutex_lock(&ctx->lock);
	while (n < nr && take_one(ctx, &msgs[n]))
		n++;
	update_token(ctx, false);
	fl_mutex_unlock(&ctx->lock);
	__atomic_store_n(&ctx->reader_cpu, fl_host_cpu(), __ATOMIC_RELAXED);
	if (n)
		fl_count(messages, n);
	return n;
}

bool fl_ctx_readable(struct fl_uffd_ctx *ctx)
{
	fl_yield_point(&ctx->has_pending);
	return __atomic_load_n(&ctx->has_pending, __ATOMIC_RELAXED);
}

bool fl_ctx_spin_pays(struct fl_uffd_ctx *ctx)
{
	uint32_t here = fl_host_cpu();

	__atomic_store_n(&ctx->reader_cpu, here, __ATOMIC_RELAXED);
	return spin_pays(&ctx->fault_cpu, here);
}

bool fl_ctx_spin(struct fl_uffd_ctx *ctx, uint64_t spin_ns, bool takes)
{
	uint64_t start = fl_now_ns();
	bool seen = fl_ctx_readable(ctx);

	if (seen || !fl_ctx_spin_pays(ctx))
		return seen;
	__atomic_fetch_add(&ctx->parked, 1, __ATOMIC_SEQ_CST);
	while (!fl_ctx_readable(ctx) && fl_now_ns() - start < spin_ns)
		for (int i = 0; i < 16 && !fl_ctx_readable(ctx); i++)
			fl_cpu_relax();
	__atomic_fetch_sub(&ctx->parked, 1, __ATOMIC_SEQ_CST);
	seen = fl_ctx_readable(ctx);
	if (seen && !takes) {
		fl_mutex_lock(&ctx->lock);
		update_token(ctx, false);
		fl_mutex_unlock(&ctx->lock);
	}
	return seen;
}

static uint32_t *sleepers(struct fl_uffd_ctx *ctx, bool poll)
{
	return poll ? &ctx->pollers : &ctx->sleepers;
}

uint32_t fl_ctx_sleep_begin(struct fl_uffd_ctx *ctx, bool poll)
{
	uint32_t seq = __atomic_load_n(&ctx->seq, __ATOMIC_ACQUIRE);

	fl_yield_point(sleepers(ctx, poll)); /* a message may come between the two looks, and its sender look here */
	__atomic_fetch_add(sleepers(ctx, poll), 1, __ATOMIC_SEQ_CST);
	return seq;
}

int fl_ctx_sleep_on(struct fl_uffd_ctx *ctx, uint32_t seq, uint64_t timeout_ns)
{
	if (fl_ctx_readable(ctx) || __atomic_load_n(&ctx->released, __ATOMIC_ACQUIRE))
		return 0;
	return fl_futex_wait(&ctx->seq, seq, timeout_ns);
}

void fl_ctx_sleep_end(struct fl_uffd_ctx *ctx, bool poll)
{
	__atomic_fetch_sub(sleepers(ctx, poll), 1, __ATOMIC_RELAXED);
}

void fl_ctx_sleep_left(struct fl_uffd_ctx *ctx, bool poll)
{
	fl_ctx_sleep_end(ctx, poll);
	if (fl_ctx_readable(ctx))
		announce(ctx);
}

/*
 * No lock, so no blocking of signals: a handler that leaves by siglongjmp() leaves nothing worse than a needless
 * wake-up behind.
 */
int fl_ctx_sleep(struct fl_uffd_ctx *ctx, bool poll, uint64_t timeout_ns)
{
	uint32_t seq = fl_ctx_sleep_begin(ctx, poll);
	int err = fl_ctx_sleep_on(ctx, seq, timeout_ns);

	fl_ctx_sleep_end(ctx, poll);
	return err;
}

void fl_ctx_watched(struct fl_uffd_ctx *ctx)
{
	uint64_t signals;

	if (__atomic_exchange_n(&ctx->watched, true, __ATOMIC_SEQ_CST))
		return;
	signals = fl_signals_block();
	fl_mutex_lock(&ctx->lock); /* what only a poller was told is new to the other readers */
	update_token(ctx, false);
	fl_mutex_unlock(&ctx->lock);
	fl_signals_restore(signals);
}
