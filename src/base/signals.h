/* SPDX-License-Identifier: MIT */
/*
 * signals.h - keeping signals out while an engine lock is held. A handler of the program may touch memory that
 * faults, and the fault needs the locks. Where no fault can come by signal (soft address spaces only) this costs
 * nothing.
 */
#ifndef FL_BASE_SIGNALS_H
#define FL_BASE_SIGNALS_H

#include "base/types.h"
#include "host/task.h"

/* Set once by the native backend, before its first mapping exists. */
extern bool fl_signals_enabled;

/* Everything but the signal that the engine's own accesses to client memory raise. */
#define FL_SIGNALS_MASK (~(1ull << (SIGSEGV - 1)))

/*
 * Where the stack was when this thread's in-thread fault handler was called: below it signals are blocked already,
 * and blocking them again would cost two system calls a fault. The distance is checked, too, for two tasks may share
 * one TLS, but not a stack.
 */
extern __thread uintptr_t fl_signals_frame __attribute__((tls_model("initial-exec")));
#define FL_SIGNALS_NEAR	  65536
#define FL_SIGNALS_NESTED (1ull << (SIGKILL - 1)) /* an impossible mask */

static inline bool fl_signals_nested(void)
{
	uintptr_t here = (uintptr_t)__builtin_frame_address(0);

	return fl_signals_frame && here < fl_signals_frame && fl_signals_frame - here < FL_SIGNALS_NEAR;
}

/* Block signals; the result is for fl_signals_restore(). */
static inline uint64_t fl_signals_block(void)
{
	if (!fl_signals_enabled)
		return 0;
	return fl_signals_nested() ? FL_SIGNALS_NESTED : fl_host_sigmask(FL_SIGNALS_MASK);
}

static inline void fl_signals_restore(uint64_t saved)
{
	if (fl_signals_enabled && saved != FL_SIGNALS_NESTED)
		fl_host_sigmask(saved);
}

/*
 * The same for short sections that do not wait. As long as the program has no signal handler, none can interrupt
 * them, and nothing need be blocked, which saves two of the system calls of a fault. fl_signals_active counts the
 * threads inside; a thread that is about to install the first handler says so and waits for them.
 */
extern bool fl_signals_handlers; /* may there be one? true until known better */
extern uint32_t fl_signals_active;
#define FL_SIGNALS_FREE (1ull << (SIGSTOP - 1)) /* another impossible mask */

static inline uint64_t fl_signals_enter(void)
{
	if (fl_signals_enabled && !__atomic_load_n(&fl_signals_handlers, __ATOMIC_RELAXED)) {
		__atomic_fetch_add(&fl_signals_active, 1, __ATOMIC_SEQ_CST);
		if (!__atomic_load_n(&fl_signals_handlers, __ATOMIC_SEQ_CST))
			return FL_SIGNALS_FREE;
		__atomic_fetch_sub(&fl_signals_active, 1, __ATOMIC_RELEASE);
	}
	return fl_signals_block();
}

static inline void fl_signals_leave(uint64_t saved)
{
	if (saved == FL_SIGNALS_FREE)
		__atomic_fetch_sub(&fl_signals_active, 1, __ATOMIC_RELEASE);
	else
		fl_signals_restore(saved);
}

/* A handler is about to be installed. => not inside a section */
void fl_signals_expect_handlers(void);

/*
 * A wait with signals blocked must not outlive one that ends the process, nor keep one from stopping it: signals that
 * are pending, have their default action, and are not in `blocked`, the program's own mask, are let through. In a
 * wait on behalf of a system call that mask is fl_signals_program; otherwise fl_signals_program has all bits.
 */
extern __thread uint64_t fl_signals_program __attribute__((tls_model("initial-exec")));
void fl_signals_let_act(uint64_t blocked);

/*
 * fl_signals_block() and fl_signals_restore() around what a system call would wait for: memory that must be made
 * present. Below an in-thread handler the program's mask is not known here, and the outer wait's stays.
 */
static inline uint64_t fl_signals_block_for_wait(void)
{
	uint64_t saved = fl_signals_block();

	if (fl_signals_enabled && saved != FL_SIGNALS_NESTED)
		fl_signals_program = saved;
	return saved;
}

static inline void fl_signals_restore_after_wait(uint64_t saved)
{
	if (saved != FL_SIGNALS_NESTED)
		fl_signals_program = ~0ull;
	fl_signals_restore(saved);
}

/*
 * fl_futex_wait() with only the signals of `let_in` blocked. -EINTR: a handler has run, perhaps before the sleep
 * began. => signals blocked
 */
int fl_signals_futex_wait(uint32_t *word, uint32_t val, uint64_t timeout_ns, uint64_t let_in);

#endif
