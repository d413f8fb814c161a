/* SPDX-License-Identifier: MIT */
/* x86_64/frame.c - building a signal frame. */
#include "arch/frame.h"

#include "arch/context.h"
#include "arch/uaccess.h"

#include <stddef.h>
#include <string.h>

void fl_sigreturn(void) __attribute__((visibility("hidden")));
__asm__(".text\n.globl fl_sigreturn\n.hidden fl_sigreturn\n.type fl_sigreturn, @function\n"
	"	nop\n" /* unwinders look one byte before the return address */
	"fl_sigreturn:\n"
	"	movq $15, %rax\n"
	"	syscall\n"
	".size fl_sigreturn, . - fl_sigreturn\n");

const bool fl_pushes_frames = true;
void (*const fl_sigreturn_restorer)(void) = fl_sigreturn;
const unsigned long fl_sigreturn_flag = 0x04000000; /* SA_RESTORER */

/*
 * What rt_sigreturn(2) finds at the stack pointer; the machine-independent part of a ucontext_t ends with the mask.
 */
struct frame {
	void (*restorer)(void);
	char uc[304];
	siginfo_t info;
};

/* The floating-point state of a signal frame says its own size (XSAVE, magic number first), or is an FXSAVE area. */
static size_t fp_size(const char *fp)
{
	uint32_t magic, size;

	memcpy(&magic, fp + 464, sizeof(magic));
	memcpy(&size, fp + 468, sizeof(size));
	return magic == 0x46505853u ? size : 512;
}

bool fl_push_frame(int sig, siginfo_t *info, ucontext_t *uc, void (*handler)(int), uint64_t mask)
{
	greg_t *regs = uc->uc_mcontext.gregs;
	const char *fp = (const char *)uc->uc_mcontext.fpregs;
	uint64_t sp = (uint64_t)regs[REG_RSP], size = fp_size(fp), at;
	struct frame frame;

	sp = (sp - 128 - size) & ~63ull; /* 128: the red zone */
	at = ((sp - sizeof(frame)) & ~15ull) - 8;
	frame.restorer = fl_sigreturn;
	frame.info = *info;
	memcpy(frame.uc, uc, sizeof(frame.uc));
	memcpy(frame.uc + offsetof(ucontext_t, uc_mcontext.fpregs), &sp, sizeof(sp));
	if (fl_copy_user((void *)sp, fp, size) || fl_copy_user((void *)at, &frame, sizeof(frame)))
		return false;
	regs[REG_RIP] = (greg_t)(uintptr_t)handler;
	regs[REG_RSP] = (greg_t)at;
	regs[REG_RDI] = sig;
	regs[REG_RSI] = (greg_t)(at + offsetof(struct frame, info));
	regs[REG_RDX] = (greg_t)(at + offsetof(struct frame, uc));
	regs[REG_RAX] = 0;
	regs[REG_EFL] &= ~0x500; /* direction and trap flags */
	*fl_context_mask(uc) = mask;
	return true;
}
