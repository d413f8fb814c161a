/* SPDX-License-Identifier: MIT */
/*
 * segv.c - the fault entry. A SIGSEGV is, in this order:
 *
 *   inside fl_copy_nofault() ........ the copy ends early
 *   a fault on memory of ours ....... resolved, perhaps after a wait; the instruction runs again
 *   inside fl_copy_user() ........... the copy ends early: EFAULT
 *   to be answered with SIGBUS ...... the host delivers one to this thread, exactly here
 *   anything else ................... the program's own handler, called as the host would have
 *
 * The handler runs with all other signals blocked, on the alternate stack when the program gave one, and leaves errno alone. It may
 * nest: copies inside the engine fault too.
 */
#include "host/host.h"

#include "base/count.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ucontext.h>

#define KSIGSETSIZE	8
#define KSA_RESTORER	0x04000000ul
#define SIGBIT(sig)	(1ull << ((sig)-1))
#define TRAP_PAGE_FAULT 14
#define ERR_WRITE	2

/* What the program believes to be installed. Written under the sequence count, read by retrying. */
static struct {
	uint32_t seq;
	struct fl_ksigaction act;
} app;

#if defined(__x86_64__)
void fl_sigreturn(void) __attribute__((visibility("hidden")));
__asm__(".text\n.globl fl_sigreturn\n.hidden fl_sigreturn\n.type fl_sigreturn, @function\n"
	"	nop\n" /* unwinders look one byte before the return address */
	"fl_sigreturn:\n"
	"	movq $15, %rax\n"
	"	syscall\n"
	".size fl_sigreturn, . - fl_sigreturn\n");
#endif

long fl_host_sigaction(int sig, const struct fl_ksigaction *act, struct fl_ksigaction *old)
{
	return fl_sys(SYS_rt_sigaction, sig, act, old, KSIGSETSIZE);
}

/* ---- the machine's part ---- */

#if defined(__x86_64__)
static uintptr_t *context_pc(ucontext_t *uc)
{
	return (uintptr_t *)&uc->uc_mcontext.gregs[REG_RIP];
}

/* Is this a page fault, and was it a write? */
static bool context_fault(const ucontext_t *uc, const siginfo_t *info, bool *write)
{
	*write = uc->uc_mcontext.gregs[REG_ERR] & ERR_WRITE;
	return uc->uc_mcontext.gregs[REG_TRAPNO] == TRAP_PAGE_FAULT &&
	       (info->si_code == SEGV_MAPERR || info->si_code == SEGV_ACCERR);
}
#elif defined(__aarch64__)
static uintptr_t *context_pc(ucontext_t *uc)
{
	return (uintptr_t *)&uc->uc_mcontext.pc;
}

/* The exception syndrome stands in a record of the signal frame. */
static bool context_fault(const ucontext_t *uc, const siginfo_t *info, bool *write)
{
	const struct _aarch64_ctx *rec = (const void *)uc->uc_mcontext.__reserved;

	*write = false;
	while (rec->magic && rec->magic != ESR_MAGIC)
		rec = (const void *)((const char *)rec + rec->size);
	if (rec->magic == ESR_MAGIC)
		*write = ((const struct esr_context *)rec)->esr >> 6 & 1; /* WnR */
	return info->si_code == SEGV_MAPERR || info->si_code == SEGV_ACCERR;
}
#endif

static uint64_t *context_mask(ucontext_t *uc)
{
	return (uint64_t *)(void *)&uc->uc_sigmask;
}

/* ---- passing on ---- */

static struct fl_ksigaction app_action(void)
{
	struct fl_ksigaction act;
	uint32_t seq;

	do {
		seq = __atomic_load_n(&app.seq, __ATOMIC_ACQUIRE);
		act = app.act;
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
	} while (seq & 1 || seq != __atomic_load_n(&app.seq, __ATOMIC_RELAXED));
	return act;
}

void fl_segv_action(const struct fl_ksigaction *act, struct fl_ksigaction *old)
{
	if (old)
		*old = app_action();
	if (!act)
		return;
	while (__atomic_fetch_or(&app.seq, 1, __ATOMIC_ACQUIRE) & 1)
		fl_cpu_relax();
	app.act = *act;
	__atomic_fetch_add(&app.seq, 1, __ATOMIC_RELEASE);
}

/* Let the host do what it does to a process without a handler: the access runs again, and ends it. */
static void die_of(int sig, ucontext_t *uc, const siginfo_t *info)
{
	struct fl_ksigaction dfl = { 0 };

	fl_host_sigaction(sig, &dfl, NULL);
	*context_mask(uc) &= ~SIGBIT(sig);
	if (info->si_code <= 0) /* sent, not caused: it will not come again by itself */
		fl_sys(SYS_tgkill, fl_sys(SYS_getpid, 0), fl_sys(SYS_gettid, 0), sig);
}

static bool not_blocked(bool blocked)
{
	return false;
}

bool (*fl_segv_blocked)(bool blocked) = not_blocked;

#if defined(__x86_64__)
/* What rt_sigreturn(2) finds at the stack pointer; the machine-independent part of a ucontext_t ends with the mask. */
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

static bool on_alternate_stack(const ucontext_t *uc, uint64_t sp)
{
	uint64_t base = fl_addr(uc->uc_stack.ss_sp);

	return !(uc->uc_stack.ss_flags & SS_DISABLE) && sp >= base && sp < base + uc->uc_stack.ss_size;
}

/*
 * We run on the alternate stack, but the handler did not ask for it. Build the frame where the host would have built it, below what the
 * thread was doing, and make our own return go there: to the handler, and from it through rt_sigreturn() to the thread.
 */
static bool call_on_own_stack(int sig, siginfo_t *info, ucontext_t *uc, const struct fl_ksigaction *act, uint64_t mask)
{
	greg_t *regs = uc->uc_mcontext.gregs;
	uint64_t sp = (uint64_t)regs[REG_RSP], fp = fl_addr(uc->uc_mcontext.fpregs), size, at;
	struct frame frame;

	if (!on_alternate_stack(uc, fl_addr(&frame)) || on_alternate_stack(uc, sp))
		return false;
	size = fp_size(fl_ptr(fp));
	sp = (sp - 128 - size) & ~63ull; /* 128: the red zone */
	at = ((sp - sizeof(frame)) & ~15ull) - 8;
	frame.restorer = fl_sigreturn;
	frame.info = *info;
	memcpy(frame.uc, uc, sizeof(frame.uc));
	memcpy(frame.uc + offsetof(ucontext_t, uc_mcontext.fpregs), &sp, sizeof(sp));
	if (fl_copy_user(fl_ptr(sp), fl_ptr(fp), size) || fl_copy_user(fl_ptr(at), &frame, sizeof(frame)))
		return false;
	regs[REG_RIP] = (greg_t)fl_addr((void *)act->handler);
	regs[REG_RSP] = (greg_t)at;
	regs[REG_RDI] = sig;
	regs[REG_RSI] = (greg_t)(at + offsetof(struct frame, info));
	regs[REG_RDX] = (greg_t)(at + offsetof(struct frame, uc));
	regs[REG_RAX] = 0;
	regs[REG_EFL] &= ~0x500; /* direction and trap flags */
	*context_mask(uc) = mask;
	return true;
}
#else
static bool call_on_own_stack(int sig, siginfo_t *info, ucontext_t *uc, const struct fl_ksigaction *act, uint64_t mask)
{
	return false;
}
#endif

/* The program's handler, with its mask, its flags, and the context of the access. */
static void chain(int sig, siginfo_t *info, ucontext_t *uc)
{
	struct fl_ksigaction act = app_action(), dfl = { 0 };
	bool sent = info->si_code <= 0, was_blocked;
	uint64_t mask;

	fl_count(faults_foreign, 1);
	if (act.handler == SIG_IGN && sent)
		return;
	if (act.handler == SIG_DFL || act.handler == SIG_IGN) {
		die_of(sig, uc, info);
		return;
	}
	if (act.flags & SA_RESETHAND)
		fl_segv_action(&dfl, NULL);
	mask = *context_mask(uc) | act.mask | ((act.flags & SA_NODEFER) ? 0 : SIGBIT(SIGSEGV));
	was_blocked = fl_segv_blocked(mask & SIGBIT(SIGSEGV));
	if (!(act.flags & SA_ONSTACK) && call_on_own_stack(sig, info, uc, &act, mask & FL_IRQ_MASK)) {
		fl_segv_blocked(was_blocked);
		return;
	}
	fl_sigmask(mask & FL_IRQ_MASK);
	if (act.flags & SA_SIGINFO)
		((void (*)(int, siginfo_t *, void *))(void *)act.handler)(sig, info, uc);
	else
		act.handler(sig);
	fl_segv_blocked(was_blocked);
}

/*
 * SIGBUS for the access at `addr`: queued for this thread while the signal is blocked, it arrives when this handler returns, at
 * the very instruction, on the stack and with the mask that the program's sigaction() asked for. Blocked or ignored it kills.
 */
static void raise_sigbus(ucontext_t *uc, void *addr)
{
	siginfo_t info;
	struct fl_ksigaction act;

	memset(&info, 0, sizeof(info));
	info.si_signo = SIGBUS;
	info.si_code = BUS_ADRERR;
	info.si_addr = addr;
	fl_host_sigaction(SIGBUS, NULL, &act);
	if (act.handler == SIG_IGN || (*context_mask(uc) & SIGBIT(SIGBUS))) {
		struct fl_ksigaction dfl = { 0 };

		fl_host_sigaction(SIGBUS, &dfl, NULL);
		*context_mask(uc) &= ~SIGBIT(SIGBUS);
	}
	fl_sys(SYS_rt_tgsigqueueinfo, fl_sys(SYS_getpid, 0), fl_sys(SYS_gettid, 0), SIGBUS, &info);
}

/* ---- the entry ---- */

static void handle_fault(int sig, siginfo_t *info, ucontext_t *uc, bool write)
{
	uintptr_t user_fixup = fl_uaccess_user_fixup(*context_pc(uc));
	struct fl_vmf vmf = {
		.mm = &fl_host.mm,
		.addr = fl_addr(info->si_addr),
		.flags = (write ? FAULT_WRITE : 0) | (user_fixup ? FAULT_KERNEL : 0),
		.sigmask = context_mask(uc),
	};
	enum fl_fault ret = fl_handle_mm_fault(&vmf);

	if (ret == FL_DONE) {
		if (vmf.delivered && !write && fl_cache_writable(vmf.mm, vmf.addr))
			fl_touch_nofault(info->si_addr);
		return;
	}
	if (user_fixup) {
		*context_pc(uc) = user_fixup;
		return;
	}
	if (ret == FL_SIGBUS) {
		raise_sigbus(uc, info->si_addr);
		return;
	}
	if (ret == FL_SEGV) /* the mapping is there, whatever the host hides it with */
		info->si_code = SEGV_ACCERR;
	chain(sig, info, uc);
}

static void on_segv(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;
	uintptr_t fixup = fl_uaccess_nofault_fixup(*context_pc(uc));
	int saved = errno;
	bool write;

	if (fixup)
		*context_pc(uc) = fixup;
	else if (context_fault(uc, info, &write))
		handle_fault(sig, info, uc, write);
	else if ((fixup = fl_uaccess_user_fixup(*context_pc(uc))))
		*context_pc(uc) = fixup; /* a non-canonical address */
	else
		chain(sig, info, uc);
	errno = saved;
}

int fl_segv_install(void)
{
	struct fl_ksigaction act = {
		.handler = (void (*)(int))(void *)on_segv,
		/* SA_NODEFER: copies inside the handler may fault, too */
		.flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER | SA_RESTART,
		.mask = FL_IRQ_MASK,
	};
	struct fl_ksigaction old;
	long ret;

#if defined(__x86_64__)
	act.flags |= KSA_RESTORER;
	act.restorer = fl_sigreturn;
#endif
	ret = fl_host_sigaction(SIGSEGV, &act, &old);
	if (!ret)
		fl_segv_action(&old, NULL);
	return (int)ret;
}
