/* SPDX-License-Identifier: MIT */
/*
 * signals.c - sleeping with signals let in. A signal that is handled after the mask has changed and before the sleep
 * has begun does not interrupt the sleep, and futex(2) cannot do both in one step as ppoll(2) does. So we look for
 * the traces of a handler: the host puts its frame below our stack pointer, and the last word of the frame is always
 * written. Where that is not known, such a signal is handled in time, but the sleep goes on.
 */
#include "base/signals.h"

#include "base/lock.h"

#include <errno.h>
#include <linux/futex.h>
#include <time.h>

bool fl_signals_enabled;
__thread uintptr_t fl_signals_frame;
bool fl_signals_handlers = true;
uint32_t fl_signals_active;

/* A section takes microseconds. One whose thread was killed inside is never left: it is not waited for long. */
#define PATIENCE 10000

void fl_signals_expect_handlers(void)
{
	if (__atomic_exchange_n(&fl_signals_handlers, true, __ATOMIC_SEQ_CST))
		return;
	for (int i = 0; i < PATIENCE && __atomic_load_n(&fl_signals_active, __ATOMIC_SEQ_CST); i++)
		fl_sys(SYS_sched_yield, 0);
}

__thread uint64_t fl_signals_program = ~0ull;

void fl_signals_let_act(uint64_t blocked)
{
	const uint64_t harmless =
		1ull << (SIGCHLD - 1) | 1ull << (SIGURG - 1) | 1ull << (SIGWINCH - 1) | 1ull << (SIGCONT - 1);
	uint64_t pending = 0;
	long action[4]; /* what rt_sigaction(2) writes; the handler first */

	if (!fl_signals_enabled)
		return;
	fl_sys(SYS_rt_sigpending, &pending, sizeof(pending));
	for (pending &= ~harmless & ~blocked; pending; pending &= pending - 1) {
		int sig = __builtin_ctzll(pending) + 1;

		if (fl_sys(SYS_rt_sigaction, sig, NULL, action, 8) == 0 && action[0] == 0 /* SIG_DFL */)
			fl_sys(SYS_rt_sigprocmask, SIG_UNBLOCK, &(uint64_t){1ull << (sig - 1)}, NULL, 8);
	}
}

#if defined(__x86_64__)
struct sleep {
	uint64_t let_in, keep_out; /* masks */
	uint32_t *word;
	uint64_t val;
	const struct timespec *timeout;
};

/*
 * The frame ends 128 bytes below the stack pointer (the red zone), less up to 63 for its alignment, with the 4 bytes
 * that close the floating-point state. (A CPU without XSAVE has no such bytes.) From the first store to the last
 * comparison the stack is nobody else's: no calls, nothing pushed.
 */
long fl_signals_sleep(const struct sleep *s) __attribute__((visibility("hidden")));
#define SIGMASK(field)                                                                                               \
	"	movl $2, %edi\n" /* SIG_SETMASK */                                                                   \
	"	leaq " #field "(%r9), %rsi\n"                                                                        \
	"	xorl %edx, %edx\n"                                                                                         \
	"	movl $8, %r10d\n"                                                                                          \
	"	movl $14, %eax\n"                                                                                          \
	"	syscall\n"
#define TRACES(instruction)                                                                                          \
	".set at, 136\n"                                                                                             \
	".rept 9\n" instruction ".set at, at + 8\n.endr\n"
__asm__(".text\n.p2align 4\n.globl fl_signals_sleep\n.hidden fl_signals_sleep\n.type fl_signals_sleep, @function\n"
	"fl_signals_sleep:\n"
	"	movq %rdi, %r9\n" TRACES("movq $0x5ca1ab1e, -at(%rsp)\n") SIGMASK(0) "	movq $-4, %r8\n" /* -EINTR */
	TRACES("cmpq $0x5ca1ab1e, -at(%rsp)\njne 1f\n") "	movq 16(%r9), %rdi\n"
							"	movl $128, %esi\n" /* FUTEX_WAIT_PRIVATE */
							"	movl 24(%r9), %edx\n"
							"	movq 32(%r9), %r10\n"
							"	movl $202, %eax\n"
							"	syscall\n"
							"	movq %rax, %r8\n"
							"1:\n" SIGMASK(8) "	movq $-4, %rax\n" TRACES(
								"cmpq $0x5ca1ab1e, -at(%rsp)\njne 2f\n") "	movq "
													 "%r8, %rax\n"
													 "2:	ret\n"
													 ".size "
													 "fl_signals_"
													 "sleep, . - "
													 "fl_signals_"
													 "sleep\n");

int fl_signals_futex_wait(uint32_t *word, uint32_t val, uint64_t timeout_ns, uint64_t let_in)
{
	struct timespec ts = {
		.tv_sec = (time_t)(timeout_ns / 1000000000u),
		.tv_nsec = (long)(timeout_ns % 1000000000u),
	};
	struct sleep s = {let_in & FL_SIGNALS_MASK, FL_SIGNALS_MASK, word, val, timeout_ns ? &ts : NULL};
	long ret = fl_signals_sleep(&s);

	return ret == -EAGAIN ? 0 : (int)ret;
}
#else
int fl_signals_futex_wait(uint32_t *word, uint32_t val, uint64_t timeout_ns, uint64_t let_in)
{
	int ret;

	fl_sigmask(let_in & FL_SIGNALS_MASK);
	ret = fl_futex_wait(word, val, timeout_ns);
	fl_sigmask(FL_SIGNALS_MASK);
	return ret;
}
#endif
