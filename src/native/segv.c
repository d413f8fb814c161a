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
 * The handler runs with all other signals blocked, on the alternate stack when there is one, and leaves errno alone.
 * It may nest: copies inside the engine fault too.
 *
 * Blocking. The host must never have SIGSEGV blocked: a blocked one at a hidden page kills. Where the program's masks
 * pass through our hands (the preloaded library), its wish to block SIGSEGV is carried by the bit of another signal,
 * FL_SHADOW, in the very mask that the host keeps. So handlers, jumps, contexts, new threads and processes have the
 * wish right without our doing. A SIGSEGV that is *sent* to a thread which has it "blocked" is sent on as FL_SHADOW,
 * which the host keeps pending for us.
 */
#include "native/native.h"

#include "base/count.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ucontext.h>

#define KSIGSETSIZE	8
#define KSA_RESTORER	0x04000000ul
#define SIGBIT(sig)	FL_SIGBIT(sig)
#define RELAYED		0x5e600000 /* in si_errno of FL_SHADOW: this is a SIGSEGV. The low byte is -si_code */
#define TRAP_PAGE_FAULT 14
#define ERR_WRITE	2

bool fl_segv_shadowed;

/*
 * What the program believes to be installed for SIGSEGV and for FL_SHADOW. Written under the sequence count, read by
 * retrying.
 */
static struct {
	uint32_t seq;
	struct fl_ksigaction act;
} apps[2];

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

static struct fl_ksigaction app_action(int sig)
{
	struct fl_ksigaction act;
	uint32_t *seq = &apps[sig == FL_SHADOW].seq, before;

	do {
		before = __atomic_load_n(seq, __ATOMIC_ACQUIRE);
		act = apps[sig == FL_SHADOW].act;
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
	} while (before & 1 || before != __atomic_load_n(seq, __ATOMIC_RELAXED));
	return act;
}

void fl_segv_action(int sig, const struct fl_ksigaction *act, struct fl_ksigaction *old)
{
	struct fl_ksigaction copy; /* client memory may fault, and the fault reads the table */
	uint32_t *seq = &apps[sig == FL_SHADOW].seq;
	uint64_t signals;

	if (act)
		copy = *act;
	if (old)
		*old = app_action(sig);
	if (!act)
		return;
	signals = fl_sigmask(FL_SIGNALS_MASK);
	while (__atomic_fetch_or(seq, 1, __ATOMIC_ACQUIRE) & 1)
		fl_cpu_relax();
	apps[sig == FL_SHADOW].act = copy;
	__atomic_fetch_add(seq, 1, __ATOMIC_RELEASE);
	fl_sigmask(signals);
}

void fl_segv_after_fork(void)
{
	for (unsigned i = 0; i < ARRAY_SIZE(apps); i++)
		apps[i].seq &= ~1u; /* a thread that is not here may have been writing */
}

/* Let the host do what it does to a process without a handler: the access runs again, and ends it. */
static void die_of(int sig, ucontext_t *uc, const siginfo_t *info)
{
	struct fl_ksigaction dfl = {0};

	fl_host_sigaction(sig, &dfl, NULL);
	*context_mask(uc) &= ~SIGBIT(sig);
	if (info->si_code <= 0) /* sent, not caused: it will not come again by itself */
		fl_sys(SYS_tgkill, fl_sys(SYS_getpid, 0), fl_sys(SYS_gettid, 0), sig);
}

static bool believed_blocked(uint64_t host_mask)
{
	return fl_segv_shadowed && (host_mask & SIGBIT(FL_SHADOW));
}

/* To the thread or to the process, as it was sent: there may be a thread that has not blocked it. */
static void relay(const siginfo_t *info)
{
	long pid = fl_sys(SYS_getpid, 0);
	siginfo_t copy = *info;

	copy.si_errno = RELAYED - info->si_code;
	copy.si_code = SI_QUEUE;
	if (info->si_code == SI_TKILL)
		fl_sys(SYS_rt_tgsigqueueinfo, pid, fl_sys(SYS_gettid, 0), FL_SHADOW, &copy);
	else
		fl_sys(SYS_rt_sigqueueinfo, pid, FL_SHADOW, &copy);
}

bool fl_segv_relayed(siginfo_t *info)
{
	if (info->si_signo != FL_SHADOW || (info->si_errno & ~0xff) != RELAYED)
		return false;
	info->si_signo = SIGSEGV;
	info->si_code = RELAYED - info->si_errno;
	info->si_errno = 0;
	return true;
}

static bool on_alternate_stack(const ucontext_t *uc, uint64_t sp)
{
	uint64_t base = fl_addr(uc->uc_stack.ss_sp);

	return !(uc->uc_stack.ss_flags & SS_DISABLE) && sp >= base && sp < base + uc->uc_stack.ss_size;
}

/* Are we on an alternate stack that the host, had it called the program's handler, would not have used? */
static bool wrong_stack(const ucontext_t *uc, uint64_t sp, uint64_t flags)
{
	const struct fl_own_stack *own = fl_own_stack(&uc->uc_stack);

	if (!on_alternate_stack(uc, fl_addr(__builtin_frame_address(0))) || on_alternate_stack(uc, sp))
		return false;
	return !(flags & SA_ONSTACK) || (own && (own->program.ss_flags & SS_DISABLE));
}

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

/*
 * Build the frame where the host would have built it, below what the thread was doing, and make our own return go
 * there:
 * to the handler, and from it through rt_sigreturn() to the thread. false: there is no stack.
 */
static bool push_frame(int sig, siginfo_t *info, ucontext_t *uc, const struct fl_ksigaction *act, uint64_t mask)
{
	greg_t *regs = uc->uc_mcontext.gregs;
	uint64_t sp = (uint64_t)regs[REG_RSP], fp = fl_addr(uc->uc_mcontext.fpregs), size, at;
	struct frame frame;

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

static uint64_t context_sp(const ucontext_t *uc)
{
	return (uint64_t)uc->uc_mcontext.gregs[REG_RSP];
}
#else
/* No frames are built here yet: the handler runs on the stack that we are on. */
static bool push_frame(int sig, siginfo_t *info, ucontext_t *uc, const struct fl_ksigaction *act, uint64_t mask)
{
	return false;
}

static uint64_t context_sp(const ucontext_t *uc)
{
	return fl_addr(__builtin_frame_address(0));
}
#endif

static void call(int sig, siginfo_t *info, ucontext_t *uc, const struct fl_ksigaction *act, uint64_t mask)
{
	fl_sigmask(mask);
	*context_mask(uc) = fl_mask_from_host(*context_mask(uc));
	if (act->flags & SA_SIGINFO)
		((void (*)(int, siginfo_t *, void *))(void *)act->handler)(sig, info, uc);
	else
		act->handler(sig);
	*context_mask(uc) = fl_mask_to_host(*context_mask(uc)); /* the handler may have changed it */
}

/* The program's handler, with its mask, its flags, and the context of the access. */
static void chain(int sig, siginfo_t *info, ucontext_t *uc)
{
	struct fl_ksigaction act = app_action(sig), dfl = {0};
	bool sent = info->si_code <= 0;
	uint64_t mask;

	fl_count(faults_foreign, 1);
	if (act.handler == SIG_IGN && sent)
		return;
	if (act.handler == SIG_DFL || act.handler == SIG_IGN || (!sent && believed_blocked(*context_mask(uc)))) {
		die_of(sig, uc, info);
		return;
	}
	if (act.flags & SA_RESETHAND)
		fl_segv_action(sig, &dfl, NULL);
	mask = act.mask | ((act.flags & SA_NODEFER) ? 0 : SIGBIT(sig));
	mask = (*context_mask(uc) | fl_mask_to_host(mask)) & FL_SIGNALS_MASK;
	if (sig == FL_SHADOW &&
	    !(act.flags & SA_NODEFER)) /* or its handler could be interrupted by itself, without end */
		mask |= SIGBIT(FL_SHADOW);
	if (!wrong_stack(uc, context_sp(uc), act.flags))
		call(sig, info, uc, &act, mask);
	else if (!push_frame(sig, info, uc, &act, mask))
		die_of(SIGSEGV, uc, info);
}

/*
 * SIGBUS for the access at `addr`: queued for this thread while the signal is blocked, it arrives when this handler
 * returns, at the very instruction, on the stack and with the mask that the program's sigaction() asked for. Blocked
 * or ignored it kills.
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
		struct fl_ksigaction dfl = {0};

		fl_host_sigaction(SIGBUS, &dfl, NULL);
		*context_mask(uc) &= ~SIGBIT(SIGBUS);
	}
	fl_sys(SYS_rt_tgsigqueueinfo, fl_sys(SYS_getpid, 0), fl_sys(SYS_gettid, 0), SIGBUS, &info);
}

/* ---- the entry ---- */

static enum fl_fault resolve(const siginfo_t *info, ucontext_t *uc, uint32_t flags)
{
	struct fl_vmf vmf = {
		.mm = &fl_native.mm,
		.addr = fl_addr(info->si_addr),
		.flags = flags,
		.sigmask = context_mask(uc),
	};
	enum fl_fault ret = FL_FOREIGN;

	if (__atomic_load_n(&fl_native.ready, __ATOMIC_ACQUIRE))
		ret = fl_handle_mm_fault(&vmf);
	if (ret == FL_DONE && vmf.delivered && !(flags & FAULT_WRITE) && fl_cache_writable(vmf.mm, vmf.addr))
		fl_touch_nofault(info->si_addr);
	return ret;
}

/* The host raised it, for something that the thread did. */
static void caused(siginfo_t *info, ucontext_t *uc)
{
	uintptr_t user_fixup = fl_uaccess_user_fixup(*context_pc(uc));
	enum fl_fault ret = FL_FOREIGN;
	bool write;

	if (context_fault(uc, info, &write))
		ret = resolve(info, uc, (write ? FAULT_WRITE : 0) | (user_fixup ? FAULT_KERNEL : 0));
	if (ret == FL_DONE)
		return;
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
	chain(SIGSEGV, info, uc);
}

/* Somebody sent it. */
static void sent(int sig, siginfo_t *info, ucontext_t *uc)
{
	if (fl_segv_relayed(info))
		chain(SIGSEGV, info, uc);
	else if (sig == SIGSEGV && believed_blocked(*context_mask(uc)))
		relay(info);
	else
		chain(sig, info, uc);
}

static void on_signal(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;
	uintptr_t fixup = fl_uaccess_nofault_fixup(*context_pc(uc));
	int saved = errno;

	if (info->si_code <= 0 || sig != SIGSEGV)
		sent(sig, info, uc);
	else if (fixup)
		*context_pc(uc) = fixup;
	else
		caused(info, uc);
	errno = saved;
}

static int install(int sig)
{
	struct fl_ksigaction act = {
		.handler = (void (*)(int))(void *)on_signal,
		/* SA_NODEFER: copies inside the handler may fault, too */
		.flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER | SA_RESTART,
		.mask = FL_SIGNALS_MASK,
	};
	struct fl_ksigaction old;
	long ret;

#if defined(__x86_64__)
	act.flags |= KSA_RESTORER;
	act.restorer = fl_sigreturn;
#endif
	ret = fl_host_sigaction(sig, &act, &old);
	if (!ret && old.handler != act.handler)
		fl_segv_action(sig, &old, NULL);
	return (int)ret;
}

int fl_segv_install(void)
{
	int ret = install(SIGSEGV);

	return ret || !fl_segv_shadowed ? ret : install(FL_SHADOW);
}
