/* SPDX-License-Identifier: MIT */
/* x86_64/context.h - arch/context.h */
#ifndef FL_ARCH_X86_64_CONTEXT_H
#define FL_ARCH_X86_64_CONTEXT_H

static inline uintptr_t *fl_context_pc(ucontext_t *uc)
{
	return (uintptr_t *)&uc->uc_mcontext.gregs[REG_RIP];
}

static inline uint64_t fl_context_sp(const ucontext_t *uc)
{
	return (uint64_t)uc->uc_mcontext.gregs[REG_RSP];
}

/* The error code of a page fault: bit 1 a write, bit 2 user mode, which a code that was filled in has. */
static inline int fl_context_write(const ucontext_t *uc)
{
	unsigned long error = (unsigned long)uc->uc_mcontext.gregs[REG_ERR];

	return error & 6 ? (error & 2) != 0 : -1;
}

/* bit 4, where pages can be kept from being executed */
static inline bool fl_context_exec(const ucontext_t *uc)
{
	return uc->uc_mcontext.gregs[REG_ERR] & 16;
}

static inline bool fl_context_fault(const ucontext_t *uc)
{
	return uc->uc_mcontext.gregs[REG_TRAPNO] == 14;
}

#endif
