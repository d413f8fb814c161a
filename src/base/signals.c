/* SPDX-License-Identifier: MIT */
/* signals.c - keeping signals out, and sleeping with them let in. */
#include "base/signals.h"

bool fl_signals_enabled;
__thread uintptr_t fl_signals_frame;
bool fl_signals_handlers = true;
uint32_t fl_signals_active;

/* A section takes microseconds. A section whose thread was killed inside is never left, so the wait is short. */
#define PATIENCE 10000

void fl_signals_expect_handlers(void)
{
	if (__atomic_exchange_n(&fl_signals_handlers, true, __ATOMIC_SEQ_CST))
		return;
	for (int i = 0; i < PATIENCE && __atomic_load_n(&fl_signals_active, __ATOMIC_SEQ_CST); i++)
		fl_host_yield();
}

__thread uint64_t fl_signals_program = ~0ull;

void fl_signals_let_act(uint64_t blocked)
{
	const uint64_t harmless =
		1ull << (SIGCHLD - 1) | 1ull << (SIGURG - 1) | 1ull << (SIGWINCH - 1) | 1ull << (SIGCONT - 1);
	struct fl_ksigaction action;
	uint64_t pending;

	if (!fl_signals_enabled)
		return;
	pending = fl_host_sigpending() & ~harmless & ~blocked;
	for (; pending; pending &= pending - 1) {
		int sig = __builtin_ctzll(pending) + 1;

		if (fl_host_sigaction(sig, NULL, &action) == 0 && action.handler == SIG_DFL)
			fl_host_sigunblock(1ull << (sig - 1));
	}
}

int fl_signals_futex_wait(uint32_t *word, uint32_t val, uint64_t timeout_ns, uint64_t let_in)
{
	return fl_host_futex_wait_signals(word, val, timeout_ns, let_in & FL_SIGNALS_MASK, FL_SIGNALS_MASK);
}
