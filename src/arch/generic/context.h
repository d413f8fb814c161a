/* SPDX-License-Identifier: MIT */
/* generic/context.h - nothing is known. */
#ifndef FL_ARCH_GENERIC_CONTEXT_H
#define FL_ARCH_GENERIC_CONTEXT_H

static inline int fl_context_write(const ucontext_t *uc)
{
	return -1;
}

static inline bool fl_context_exec(const ucontext_t *uc)
{
	return false;
}

static inline bool fl_context_fault(const ucontext_t *uc)
{
	return false;
}

#endif
