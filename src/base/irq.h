/* SPDX-License-Identifier: MIT */
/*
 * irq.h - keeping signals out while an engine lock is held. A handler of the program may touch memory that faults,
 * and the fault needs the locks. Where no fault can come by signal (soft address spaces only) this costs nothing.
 */
#ifndef FL_BASE_IRQ_H
#define FL_BASE_IRQ_H

#include "base/sys.h"
#include "base/types.h"

#include <signal.h>

/* Set once by the native backend, before its first mapping exists. */
extern bool fl_irq_enabled;

/* Everything but the signal that the engine's own accesses to client memory raise. */
#define FL_IRQ_MASK (~(1ull << (SIGSEGV - 1)))

static inline uint64_t fl_sigmask(uint64_t set)
{
	uint64_t old = 0;

	fl_sys(SYS_rt_sigprocmask, SIG_SETMASK, &set, &old, sizeof(old));
	return old;
}

/*
 * Where the stack stood when this thread's in-thread fault handler was called: below it signals are blocked already,
 * and blocking them again would cost two system calls a fault. The distance is looked at, too, for two tasks may
 * share one TLS, but not a stack.
 */
extern __thread uintptr_t fl_irq_frame __attribute__((tls_model("initial-exec")));
#define FL_IRQ_NEAR   65536
#define FL_IRQ_NESTED (1ull << (SIGKILL - 1)) /* a mask that cannot be */

static inline bool fl_irq_nested(void)
{
	uintptr_t here = (uintptr_t)__builtin_frame_address(0);

	return fl_irq_frame && here < fl_irq_frame && fl_irq_frame - here < FL_IRQ_NEAR;
}

/* Block signals; the result is for fl_irq_restore(). */
static inline uint64_t fl_irq_save(void)
{
	if (!fl_irq_enabled)
		return 0;
	return fl_irq_nested() ? FL_IRQ_NESTED : fl_sigmask(FL_IRQ_MASK);
}

static inline void fl_irq_restore(uint64_t saved)
{
	if (fl_irq_enabled && saved != FL_IRQ_NESTED)
		fl_sigmask(saved);
}

/*
 * The same for short sections that do not wait. As long as the program has no signal handler, none can interrupt
 * them, and nothing need be blocked, which saves two system calls of those that a fault costs. fl_irq_active counts
 * the threads inside; whoever is about to install the first handler says so and waits for them.
 */
extern bool fl_irq_handlers; /* may there be one? true until somebody knows better */
extern uint32_t fl_irq_active;
#define FL_IRQ_FREE (1ull << (SIGSTOP - 1)) /* another mask that cannot be */

static inline uint64_t fl_irq_enter(void)
{
	if (fl_irq_enabled && !__atomic_load_n(&fl_irq_handlers, __ATOMIC_RELAXED)) {
		__atomic_fetch_add(&fl_irq_active, 1, __ATOMIC_SEQ_CST);
		if (!__atomic_load_n(&fl_irq_handlers, __ATOMIC_SEQ_CST))
			return FL_IRQ_FREE;
		__atomic_fetch_sub(&fl_irq_active, 1, __ATOMIC_RELEASE);
	}
	return fl_irq_save();
}

static inline void fl_irq_leave(uint64_t saved)
{
	if (saved == FL_IRQ_FREE)
		__atomic_fetch_sub(&fl_irq_active, 1, __ATOMIC_RELEASE);
	else
		fl_irq_restore(saved);
}

/* A handler is about to be installed. => not inside a section */
void fl_irq_expect_handlers(void);

/*
 * A wait with signals blocked must not outlive one that ends the process, nor keep one that stops it: those that are
 * pending, have their default action, and are not in `blocked`, the program's own mask, are let act.
 * In a wait on behalf of a system call that mask is fl_irq_program; otherwise fl_irq_program has all bits.
 */
extern __thread uint64_t fl_irq_program __attribute__((tls_model("initial-exec")));
void fl_irq_let_act(uint64_t blocked);

/*
 * fl_irq_save() and fl_irq_restore() around what a system call would wait for: memory that has to be made present. Below an
 * in-thread handler the program's mask is not known here, and what an outer wait has said stays.
 */
static inline uint64_t fl_irq_save_for_wait(void)
{
	uint64_t saved = fl_irq_save();

	if (fl_irq_enabled && saved != FL_IRQ_NESTED)
		fl_irq_program = saved;
	return saved;
}

static inline void fl_irq_restore_after_wait(uint64_t saved)
{
	if (saved != FL_IRQ_NESTED)
		fl_irq_program = ~0ull;
	fl_irq_restore(saved);
}

/*
 * fl_futex_wait() with only the signals of `let_in` blocked. -EINTR: a handler has run, be it before the sleep began.
 * => signals blocked
 */
int fl_irq_futex_wait(uint32_t *word, uint32_t val, uint64_t timeout_ns, uint64_t let_in);

#endif
