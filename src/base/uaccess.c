/* SPDX-License-Identifier: MIT */
/*
 * uaccess.c - copies from and to client memory that may fault. The mark of "page faults disabled" is the program
 * counter itself: the fault entry finds it inside one of a few short routines and goes on at their end. No per-thread
 * state, so two tasks that share one TLS cannot confuse it, and there is nothing to unwind.
 */
#include "base/uaccess.h"

#include <string.h>

#if defined(__x86_64__) || defined(__aarch64__)
/* A routine and the label at which it goes on after a fault. */
#define ROUTINE(name, body, after)                                                                                   \
	__asm__(".text\n.p2align 4\n"                                                                                \
		".globl " #name "\n.hidden " #name "\n.globl " #name "_end\n.hidden " #name "_end\n"                 \
		".type " #name ", %function\n" #name ":\n" body #name "_end:\n" after "	ret\n"                       \
		".size " #name ", . - " #name "\n")

/* Copying leaves what is left to copy in the count register; touching, 1 in it until it is done. */
#if defined(__x86_64__)
#define COPY_BODY  "	movq %rdx, %rcx\n	rep movsb\n"
#define TOUCH_BODY "	movl $1, %ecx\n	lock orb $0, (%rdi)\n	xorl %ecx, %ecx\n"
#define AFTER	   "	movq %rcx, %rax\n"
#elif defined(__aarch64__)
#define COPY_BODY                                                                                                    \
	"1:	cbz x2, 3f\n"                                                                                            \
	"	ldrb w3, [x1], #1\n"                                                                                       \
	"	strb w3, [x0], #1\n"                                                                                       \
	"	sub x2, x2, #1\n"                                                                                          \
	"	b 1b\n"                                                                                                    \
	"3:\n"
#define TOUCH_BODY                                                                                                   \
	"	mov x2, #1\n"                                                                                              \
	"1:	ldxrb w3, [x0]\n"                                                                                        \
	"	stxrb w4, w3, [x0]\n"                                                                                      \
	"	cbnz w4, 1b\n"                                                                                             \
	"	mov x2, #0\n"
#define AFTER "	mov x0, x2\n"
#endif

ROUTINE(fl_copy_nofault, COPY_BODY, AFTER);
ROUTINE(fl_copy_user, COPY_BODY, AFTER);
ROUTINE(fl_touch_user, TOUCH_BODY, AFTER);
ROUTINE(fl_touch_nofault, TOUCH_BODY, AFTER);

extern const char fl_copy_nofault_end[], fl_copy_user_end[], fl_touch_user_end[], fl_touch_nofault_end[];

static uintptr_t fixup(uintptr_t pc, uintptr_t start, uintptr_t end)
{
	return pc >= start && pc < end ? end : 0;
}

uintptr_t fl_uaccess_nofault_fixup(uintptr_t pc)
{
	uintptr_t end = fixup(pc, (uintptr_t)fl_copy_nofault, (uintptr_t)fl_copy_nofault_end);

	return end ? end : fixup(pc, (uintptr_t)fl_touch_nofault, (uintptr_t)fl_touch_nofault_end);
}

uintptr_t fl_uaccess_user_fixup(uintptr_t pc)
{
	uintptr_t end = fixup(pc, (uintptr_t)fl_copy_user, (uintptr_t)fl_copy_user_end);

	return end ? end : fixup(pc, (uintptr_t)fl_touch_user, (uintptr_t)fl_touch_user_end);
}
#else
/* No native backend, so no fault entry. */
size_t fl_copy_nofault(void *dst, const void *src, size_t len)
{
	memcpy(dst, src, len);
	return 0;
}

size_t fl_copy_user(void *dst, const void *src, size_t len)
{
	return fl_copy_nofault(dst, src, len);
}

size_t fl_touch_nofault(void *addr)
{
	__atomic_fetch_or((char *)addr, 0, __ATOMIC_RELAXED);
	return 0;
}

size_t fl_touch_user(void *addr)
{
	return fl_touch_nofault(addr);
}
#endif

uint64_t fl_probe_nofault(uint64_t addr, uint64_t len)
{
	uint64_t done = 0;
	char byte;

	while (done < len) {
		if (fl_copy_nofault(&byte, fl_ptr(addr + done), 1))
			break;
		done = fl_min(PAGE_ALIGN_DOWN(addr + done) + PAGE_SIZE - addr, len);
	}
	return done;
}
