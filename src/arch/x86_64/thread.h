/* SPDX-License-Identifier: MIT */
/* x86_64/thread.h - the register that a thread finds its thread-local storage by, used without that storage. */
#ifndef FL_ARCH_X86_64_THREAD_H
#define FL_ARCH_X86_64_THREAD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/auxv.h>

/* May programs use the instructions? Since Linux 5.9, on CPUs since 2012. */
#define FL_HWCAP2_FSGSBASE 0x2u

static inline bool fl_thread_pointer_known(void)
{
	return getauxval(AT_HWCAP2) & FL_HWCAP2_FSGSBASE;
}

static inline uintptr_t fl_thread_pointer(void)
{
	uintptr_t tp;

	__asm__ volatile("rdfsbase %0" : "=r"(tp));
	return tp;
}

static inline void fl_set_thread_pointer(uintptr_t tp)
{
	__asm__ volatile("wrfsbase %0" : : "r"(tp) : "memory");
}

/* What the ABI and the C library keep at the pointer: itself, twice, and the values against overwritten stacks. */
#define FL_THREAD_HEAD 0x40u
static inline void fl_thread_head(uintptr_t *head, const uintptr_t *from)
{
	for (unsigned i = 0; i < FL_THREAD_HEAD / sizeof(*head); i++)
		head[i] = from[i];
	head[0] = head[2] = (uintptr_t)head;
}

#endif
