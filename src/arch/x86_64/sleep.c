/* SPDX-License-Identifier: MIT */
/*
 * x86_64/sleep.c - sleeping with signals let in. The traces of a handler: the host puts its frame below our stack
 * pointer, and the last word of the frame is always written.
 */
#include "arch/sleep.h"

struct sleep {
	uint64_t let_in, keep_out; /* masks */
	uint32_t *word;
	uint64_t val;
	const struct timespec *timeout;
};

/*
 * The frame ends 128 bytes below the stack pointer (the red zone), less up to 63 for its alignment, with the 4 bytes
 * that close the floating-point state. (A CPU without XSAVE has no such bytes.) From the first store to the last
 * comparison nothing else uses the stack: no calls, nothing pushed.
 */
long fl_x86_64_sleep(const struct sleep *s) __attribute__((visibility("hidden")));
/* clang-format off */
#define SIGMASK(field)                                                          \
	"	movl $2, %edi\n" /* SIG_SETMASK */                              \
	"	leaq " #field "(%r9), %rsi\n"                                   \
	"	xorl %edx, %edx\n"                                              \
	"	movl $8, %r10d\n"                                               \
	"	movl $14, %eax\n" /* rt_sigprocmask */                          \
	"	syscall\n"
#define TRACES(instruction)                                                     \
	".set at, 136\n"                                                        \
	".rept 9\n" instruction ".set at, at + 8\n.endr\n"
__asm__(".text\n.p2align 4\n.globl fl_x86_64_sleep\n.hidden fl_x86_64_sleep\n.type fl_x86_64_sleep, @function\n"
	"fl_x86_64_sleep:\n"
	"	movq %rdi, %r9\n"
	TRACES("movq $0x5ca1ab1e, -at(%rsp)\n")
	SIGMASK(0)
	"	movq $-4, %r8\n" /* -EINTR */
	TRACES("cmpq $0x5ca1ab1e, -at(%rsp)\njne 1f\n")
	"	movq 16(%r9), %rdi\n"
	"	movl $128, %esi\n" /* FUTEX_WAIT_PRIVATE */
	"	movl 24(%r9), %edx\n"
	"	movq 32(%r9), %r10\n"
	"	movl $202, %eax\n" /* futex */
	"	syscall\n"
	"	movq %rax, %r8\n"
	"1:\n"
	SIGMASK(8)
	"	movq $-4, %rax\n"
	TRACES("cmpq $0x5ca1ab1e, -at(%rsp)\njne 2f\n")
	"	movq %r8, %rax\n"
	"2:	ret\n"
	".size fl_x86_64_sleep, . - fl_x86_64_sleep\n");
/* clang-format on */

long fl_arch_sleep(uint32_t *word, uint32_t val, const struct timespec *timeout, uint64_t let_in, uint64_t keep_out)
{
	struct sleep s = {let_in, keep_out, word, val, timeout};

	return fl_x86_64_sleep(&s);
}
