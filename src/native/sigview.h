/* SPDX-License-Identifier: MIT */
/*
 * sigview.h - the virtual SIGSEGV. At the host the handler of SIGSEGV is the engine's, always installed and never
 * blocked: a blocked SIGSEGV at a hidden page kills. What the program sees is a view: its own action, remembered here
 * and called as the host would have called it; its own masks; its own alternate stack.
 *
 *   fault_entry.c .. passes on what is no fault on registered memory: _caused, _sent, _raise_sigbus
 *   preload ........ translates the program's calls: _action, fl_mask_*, _relayed, fl_own_stack()
 *
 * => a precondition: locks held, signals blocked. None of these takes a lock.
 */
#ifndef FL_NATIVE_SIGVIEW_H
#define FL_NATIVE_SIGVIEW_H

#include "arch/context.h"
#include "base/types.h"
#include "host/own.h"
#include "host/task.h"

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

/* ---- masks ---- */

/*
 * In the program's form a mask says what the program believes. In the host's form SIGSEGV is never blocked, and the
 * bit of FL_SHADOW, a signal that Linux never raises, says whether the program has it blocked. FL_SHADOW then has no
 * bit of its own left, and counts as blocked when SIGXFSZ is. The host keeps the mask, so handlers, jumps, contexts,
 * new threads and new processes inherit the wish without our help.
 *
 * Masks are translated only where fl_sigview_shadowed is set. => set before fl_fault_entry_install()
 */
#define FL_SHADOW      SIGSTKFLT
#define FL_SIGBIT(sig) (1ull << ((sig)-1))
extern bool fl_sigview_shadowed;

static inline uint64_t fl_mask_to_host(uint64_t mask)
{
	uint64_t shadow = fl_sigview_shadowed ? FL_SIGBIT(FL_SHADOW) : 0;

	return (mask & ~shadow & ~FL_SIGBIT(SIGSEGV)) | ((mask & FL_SIGBIT(SIGSEGV)) ? shadow : 0);
}

static inline uint64_t fl_mask_from_host(uint64_t mask)
{
	if (!fl_sigview_shadowed)
		return mask;
	return (mask & ~FL_SIGBIT(FL_SHADOW)) | ((mask & FL_SIGBIT(FL_SHADOW)) ? FL_SIGBIT(SIGSEGV) : 0) |
	       ((mask & FL_SIGBIT(SIGXFSZ)) ? FL_SIGBIT(FL_SHADOW) : 0);
}

/* ---- actions ---- */

/* sigaction(2) for SIGSEGV or FL_SHADOW as the program sees it. Either pointer may be NULL. */
void fl_sigview_action(int sig, const struct fl_ksigaction *act, struct fl_ksigaction *old);
/* Is this FL_SHADOW a SIGSEGV that was sent while the program had it blocked? Then turn it back into one. */
bool fl_sigview_relayed(siginfo_t *info);
/* In a forked child, which has this thread only. */
void fl_sigview_after_fork(void);

/* ---- for the handler ---- */

/*
 * Make `entry` the host's handler of SIGSEGV, and of FL_SHADOW where masks are translated. What was installed before
 * becomes the program's action. May be called again. 0 or -errno
 */
int fl_sigview_install(void (*entry)(int sig, siginfo_t *info, void *context));
/*
 * The host raised SIGSEGV for an access that is the program's own: call its handler. => called by `entry`, as below
 */
void fl_sigview_caused(siginfo_t *info, ucontext_t *uc);
/* The same, where the program cannot help it: the access ends it. => as above */
void fl_sigview_kill(const siginfo_t *info, ucontext_t *uc);
/* The signal was sent, not caused: pass it on, or keep it pending while the program has it blocked. */
void fl_sigview_sent(int sig, siginfo_t *info, ucontext_t *uc);
/*
 * SIGBUS for the access at `addr`. It is queued to this thread while the signal is blocked, so it arrives when
 * `entry` returns: at the faulting instruction, with the mask and on the stack that the program's sigaction() asked
 * for. Blocked or ignored, it kills.
 */
void fl_sigview_raise_sigbus(ucontext_t *uc, void *addr);

/* ---- alternate stacks ---- */

/*
 * An alternate stack of the engine's, for a thread whose own stack, or the program's alternate one, is too small for
 * the handler or may itself be hidden. At its base is what the program believes. It is known by its size, and by its
 * place, where the program has nothing.
 */
#define FL_OWN_STACK_SIZE (64u * 1024 - 16)

struct fl_own_stack {
	struct fl_own_stack *next; /* once its thread has ended, or is about to */
	stack_t program;
	int32_t tid; /* the thread that uses it */
	bool always; /* also while the program has none */
};

static inline struct fl_own_stack *fl_own_stack(const stack_t *ss)
{
	uint64_t start = (uintptr_t)ss->ss_sp, stop;

	if ((ss->ss_flags & SS_DISABLE) || ss->ss_size != FL_OWN_STACK_SIZE)
		return NULL;
	return fl_own_next(&start, start + 1, &stop) ? ss->ss_sp : NULL;
}

#endif
