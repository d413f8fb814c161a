/* SPDX-License-Identifier: MIT */
/* context.h - what a signal handler is told of the machine: the context of an access. */
#ifndef FL_ARCH_CONTEXT_H
#define FL_ARCH_CONTEXT_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/ucontext.h>

/*
 * Each machine has:
 *   uintptr_t *fl_context_pc(ucontext_t *uc) ........ the program counter, to be changed
 *   uint64_t fl_context_sp(const ucontext_t *uc) .... the stack pointer
 *   int fl_context_write(const ucontext_t *uc) ...... was the access a store? 1, 0; -1: the host does not say
 *   bool fl_context_exec(const ucontext_t *uc) ...... was it the fetch of an instruction? false: perhaps not
 *   bool fl_context_fault(const ucontext_t *uc) ..... may the signal be for a page fault?
 */
#if defined(__x86_64__)
#include "arch/x86_64/context.h"
#elif defined(__aarch64__)
#include "arch/aarch64/context.h"
#else
#include "arch/generic/context.h"
#endif

/* The mask that is restored when the handler returns. */
static inline uint64_t *fl_context_mask(ucontext_t *uc)
{
	return (uint64_t *)(void *)&uc->uc_sigmask;
}

/* Did the host raise the SIGSEGV for an access to a page? */
static inline bool fl_context_page_fault(const ucontext_t *uc, const siginfo_t *info)
{
	return fl_context_fault(uc) && (info->si_code == SEGV_MAPERR || info->si_code == SEGV_ACCERR);
}

#endif
