/* SPDX-License-Identifier: MIT */
/*
 * irq.h - keeping signals out while an engine lock is held. A handler of the program may touch memory that faults, and
 * the fault needs the locks. Where no fault can come by signal (soft address spaces only) this costs nothing.
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

/* Block signals; the result is for fl_irq_restore(). */
static inline uint64_t fl_irq_save(void)
{
	return fl_irq_enabled ? fl_sigmask(FL_IRQ_MASK) : 0;
}

static inline void fl_irq_restore(uint64_t saved)
{
	if (fl_irq_enabled)
		fl_sigmask(saved);
}

#endif
