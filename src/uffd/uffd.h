/* SPDX-License-Identifier: MIT */
/*
 * uffd.h - the userfaultfd object: registrations, waiting threads, and messages.
 *
 * A fault becomes a struct fl_wait. It is in `pending` until a reader takes its message, then in `faulting` until its
 * range is woken; the faulting thread allocates and frees it. The thread sleeps on the futex wait->state. A message
 * is readable if and only if `pending` is not empty; the descriptor's readiness follows that through `notify`, except
 * while a spinning reader has undertaken to look by itself ("parked"), or a sleeping one was woken.
 */
#ifndef FL_UFFD_UFFD_H
#define FL_UFFD_UFFD_H

#include "mm/mm.h"
#include <faultline/uapi.h>

/* What a queued message is about, and so what lets its thread continue. */
enum fl_wait_kind {
	FL_WAIT_PAGE, /* a fault: a wake of its page. (An event's would be that it is read, in take_one().) */
};

/* A waiter that only spins need not be woken by a system call. */
enum { FL_WAIT_SPINNING, FL_WAIT_ASLEEP, FL_WAIT_WOKEN };

struct fl_wait {
	struct fl_list link;   /* [q] in ctx->pending or ctx->faulting */
	struct fl_list by_tid; /* [u] in the space's waits[] */
	struct fl_uffd_ctx *ctx;
	enum fl_wait_kind kind;
	struct fl_uffd_msg msg; /* constant while queued */
	uint64_t page;		/* the faulting page, or its unit */
	uint64_t since;		/* nanoseconds, monotonic */
	uintptr_t frame;	/* the waiter's stack: tells an abandoned wait from an outer one */
	int32_t tid;
	uint32_t state; /* futex */
};

/* Makes the object's descriptor readable or unreadable. => ctx->lock held, signals blocked */
typedef void fl_notify_fn(struct fl_uffd_ctx *ctx, bool readable);
/* Are all other holders of the descriptor gone? Asked by a waiter now and then. => no lock held */
typedef bool fl_orphaned_fn(struct fl_uffd_ctx *ctx);
/* fl_ctx_sleep(), or what does more. => as there */
typedef int fl_sleep_fn(struct fl_uffd_ctx *ctx, bool poll, uint64_t timeout_ns);

/*
 * What is called in the faulting thread, and with what: the head of a larger thing of `size` bytes, which does not
 * change while a fault may have a pointer to it. => `call`: no lock held, signals blocked
 */
struct fl_inthread {
	enum fl_answer (*call)(const struct fl_inthread *self, const struct fl_uffd_msg *msg);
	size_t size;
	struct fl_inthread *next; /* [q] of those that were replaced */
};

/* Letters: [q] lock, [u] that of the space's objects, [m] mm->mmap_lock, [c] constant, [a] atomic */
struct fl_uffd_ctx {
	struct fl_mm *mm;     /* [c] */
	struct fl_list by_mm; /* [u] in the space's objects */
	struct fl_mutex lock;
	uint64_t refs; /* [a] the descriptor table's, and one for every call and wait in progress; FL_CTX_INTHREAD */
	uint32_t features;	  /* [a] with FL_UFFD_INITIALIZED once the handshake is done */
	uint32_t flags;		  /* [a] O_NONBLOCK, FL_UFFD_USER_MODE_ONLY, FL_CTX_SRC_HOST */
	bool released;		  /* [m][q] closed: no mapping has it, or gets it any more */
	bool token;		  /* [q] notify() was last called with true */
	struct fl_list pending;	  /* [q] */
	bool has_pending;	  /* [a] changed with the list, under the lock; may be read without it */
	struct fl_list faulting;  /* [q] */
	uint32_t parked;	  /* [a] spinning readers, which look by themselves */
	uint32_t seq;		  /* [q] futex of blocked readers, moved by every new message */
	bool watched;		  /* [a] the descriptor's own readiness matters while a poller sleeps */
	uint32_t pollers;	  /* [a] poll()s of this object alone that sleep on seq */
	uint64_t pending_since;	  /* [a] the oldest pending message's time */
	bool has_waiters;	  /* [a] the same for both lists */
	uint32_t sleepers;	  /* [a] readers that sleep on it */
	uint32_t reader_cpu;	  /* [a] where a reader, a faulting thread ran last: whether spinning can pay */
	uint32_t fault_cpu;	  /* [a] */
	bool has_again;		  /* [q] */
	struct fl_uffd_msg again; /* [q] to be read a second time, on demand; no thread waits for it */
	fl_notify_fn *notify;	  /* [c] */
	fl_orphaned_fn *orphaned;
	fl_sleep_fn *sleep;	      /* how a call on the descriptor sleeps */
	struct fl_inthread *inthread; /* [a] NULL: messages are queued */
	struct fl_inthread *replaced; /* [q] which a fault may still be using */
	void *owner;		      /* [c] whose the functions above are */
};

#define FL_UFFD_INITIALIZED (1u << 31)
#define FL_CTX_SRC_HOST	    (1u << 30) /* in flags: sources of fills are addresses of this process */

/* ---- life (ctx.c) ---- */

/* A new object with one reference. -ENOMEM. */
int fl_ctx_new(struct fl_mm *mm, uint32_t flags, struct fl_uffd_ctx **ctx);
/* Has the address space an object? */
bool fl_ctx_any(struct fl_mm *mm);
void fl_ctx_get(struct fl_uffd_ctx *ctx);
/*
 * A reference of a fault that is about to load `inthread`. Returns what it has to call until it drops the reference;
 * NULL: there is nothing, and it has none. => the fault's mapping pinned
 */
const struct fl_inthread *fl_ctx_get_inthread(struct fl_uffd_ctx *ctx);
void fl_ctx_put_inthread(struct fl_uffd_ctx *ctx);
/*
 * From now on call `inthread`, which was allocated on mm->metadata and becomes the object's, or nothing (NULL).
 * Faults in progress may still use the one before. => no lock held, signals blocked
 */
void fl_ctx_set_inthread(struct fl_uffd_ctx *ctx, struct fl_inthread *inthread);
/* The last reference frees it. => no lock held */
void fl_ctx_put(struct fl_uffd_ctx *ctx);
/*
 * The last descriptor is closed: unregister everything, wake all waiters. The references in use stay valid. => no
 * lock held, signals blocked
 */
void fl_ctx_release(struct fl_uffd_ctx *ctx);

/*
 * Release the objects of [start, end) whose last descriptor was closed unnoticed: by another process, or while a
 * poll() held it. => mmap_lock held for writing, signals blocked
 */
void fl_ctx_drop_orphans(struct fl_mm *mm, uint64_t start, uint64_t end);

/*
 * In a forked child, where only this thread exists: the objects are the parent's, their ranges no longer registered.
 */
void fl_ctx_forget_all(struct fl_mm *mm);

/* ---- ranges (register.c, writeprotect.c). All: => no lock held, signals blocked; range validated ---- */

/* -EINVAL: no mapping; -EBUSY: another object's; -ENOMEM */
int fl_ctx_register(struct fl_uffd_ctx *ctx, uint64_t start, uint64_t end, uint32_t uffd_flags);
int fl_ctx_unregister(struct fl_uffd_ctx *ctx, uint64_t start, uint64_t end);
/*
 * -ENOENT: no mapping, or one that is not registered for write-protection; those before it are changed. -ENOMEM: no
 * page table for markers; what comes before is changed, and the same call succeeds later. Wakes no thread.
 */
int fl_ctx_writeprotect(struct fl_uffd_ctx *ctx, uint64_t start, uint64_t end, bool protect);

/* ---- fills (fill.c) ---- */

/* When do the waiters of a resolved range continue? */
enum fl_wake { FL_WAKE_NOW, FL_WAKE_LATER /* the caller has it done by UFFDIO_WAKE */ };

/* fl_fill_range(), then a wake of what has been filled. => as there */
int fl_ctx_fill(struct fl_uffd_ctx *ctx, const struct fl_fill *fill, enum fl_wake wake, uint64_t *done,
		uint64_t *src_fault);

/* ---- queues (queue.c) ---- */

/* See fl_uffd_ops.fault. */
enum fl_answer fl_ctx_fault(struct fl_vmf *vmf);
/*
 * Does any thread wait? Checked without a lock: a thread that queued before the page-table lock was last taken is
 * seen.
 */
bool fl_ctx_waiters(struct fl_uffd_ctx *ctx);
/* Wake the waiters of [start, end). Returns how many. => signals blocked; ctx->lock not held */
unsigned fl_ctx_wake(struct fl_uffd_ctx *ctx, uint64_t start, uint64_t end);

/* A range has been filled or is no longer write-protected. => as for fl_ctx_wake() */
void fl_ctx_resolved(struct fl_uffd_ctx *ctx, uint64_t start, uint64_t end, enum fl_wake wake);

/* Take up to `nr` messages. Returns how many. => signals blocked */
unsigned fl_ctx_take(struct fl_uffd_ctx *ctx, struct fl_uffd_msg *msgs, unsigned nr);
/* Is there a message? Checked without a lock; then it is made sure that its sender lives. => no lock held */
bool fl_ctx_readable(struct fl_uffd_ctx *ctx);
bool fl_ctx_poll(struct fl_uffd_ctx *ctx);
/*
 * The thread leaves any waits it is in, by siglongjmp(): their messages go. If it does not leave one after all, its
 * access faults again. => signals blocked
 */
void fl_ctx_abandon(struct fl_mm *mm);
/*
 * A reader looks by itself for a while: spins, if that can pay, up to spin_ns, and returns whether it saw a message.
 * `takes`: the caller takes it at once, so no other reader need be told. => signals blocked
 */
bool fl_ctx_spin(struct fl_uffd_ctx *ctx, uint64_t spin_ns, bool takes);
/* Was the last fault on another CPU than this? Notes where the reader runs. */
bool fl_ctx_spin_pays(struct fl_uffd_ctx *ctx);
/*
 * Sleep until a message comes or the object is closed, or timeout_ns has passed (0: never). `poll`: the caller only
 * looks, and is woken beside others. 0: look again; -EINTR, -ETIMEDOUT. => no lock held, signals as the program has
 * them
 */
int fl_ctx_sleep(struct fl_uffd_ctx *ctx, bool poll, uint64_t timeout_ns);
/*
 * The same in steps, of which the second may be left without a return. Then _left() comes instead of _end(): the
 * message that woke the sleeper is told to another. => _left(): signals blocked
 */
uint32_t fl_ctx_sleep_begin(struct fl_uffd_ctx *ctx, bool poll);
int fl_ctx_sleep_on(struct fl_uffd_ctx *ctx, uint32_t seq, uint64_t timeout_ns);
void fl_ctx_sleep_end(struct fl_uffd_ctx *ctx, bool poll);
void fl_ctx_sleep_left(struct fl_uffd_ctx *ctx, bool poll);
/* From now on the descriptor itself may have observers that fl_ctx_sleep() does not know of. => no lock held */
void fl_ctx_watched(struct fl_uffd_ctx *ctx);

#endif
