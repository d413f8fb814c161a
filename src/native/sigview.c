/* SPDX-License-Identifier: MIT */
/*
 * sigview.c - the virtual SIGSEGV: what the program believes about a signal whose handler is the engine's. A SIGSEGV
 * that is the program's own calls its handler as the host would have: with its mask, its flags, the context of the
 * access, on the stack that it asked for. A SIGSEGV that is *sent* to a thread which has it "blocked" is sent on as
 * FL_SHADOW, which the host keeps pending: sigview.h.
 */
#include "native/sigview.h"

#include "arch/frame.h"
#include "base/signals.h"
#include "base/yield.h"
#include "host/count.h"

#include <string.h>

#define SIGBIT(sig) FL_SIGBIT(sig)
#define RELAYED	    0x5e600000 /* in si_errno of FL_SHADOW: this is a SIGSEGV. The low byte is -si_code */

bool fl_sigview_shadowed;

/* The program's actions for SIGSEGV and FL_SHADOW. Written under the sequence count, read by retrying. */
static struct {
	uint32_t seq;
	struct fl_ksigaction act;
} apps[2];

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

void fl_sigview_action(int sig, const struct fl_ksigaction *act, struct fl_ksigaction *old)
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
	signals = fl_host_sigmask(FL_SIGNALS_MASK);
	while (__atomic_fetch_or(seq, 1, __ATOMIC_ACQUIRE) & 1)
		fl_cpu_relax();
	apps[sig == FL_SHADOW].act = copy;
	__atomic_fetch_add(seq, 1, __ATOMIC_RELEASE);
	fl_host_sigmask(signals);
}

void fl_sigview_after_fork(void)
{
	for (unsigned i = 0; i < ARRAY_SIZE(apps); i++)
		apps[i].seq &= ~1u; /* a thread that is not here may have been writing */
}

/* Let the host do what it does to a process without a handler: the access runs again, and ends it. */
static void die_of(int sig, ucontext_t *uc, const siginfo_t *info)
{
	struct fl_ksigaction dfl = {0};

	fl_host_sigaction(sig, &dfl, NULL);
	*fl_context_mask(uc) &= ~SIGBIT(sig);
	if (info->si_code <= 0) /* sent, not caused: it will not come again by itself */
		fl_host_raise(sig);
}

static bool believed_blocked(uint64_t host_mask)
{
	return fl_sigview_shadowed && (host_mask & SIGBIT(FL_SHADOW));
}

/* To the thread or to the process, as it was sent: another thread may not have blocked it. */
static void relay(const siginfo_t *info)
{
	siginfo_t copy = *info;

	copy.si_errno = RELAYED - info->si_code;
	copy.si_code = SI_QUEUE;
	if (info->si_code == SI_TKILL)
		fl_host_sigqueue_thread(FL_SHADOW, &copy);
	else
		fl_host_sigqueue_process(FL_SHADOW, &copy);
}

bool fl_sigview_relayed(siginfo_t *info)
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

/* Is this an alternate stack that the host, had it called the program's handler, would not have used? */
static bool wrong_stack(const ucontext_t *uc, uint64_t sp, uint64_t flags)
{
	const struct fl_own_stack *own = fl_own_stack(&uc->uc_stack);

	if (!on_alternate_stack(uc, fl_addr(__builtin_frame_address(0))) || on_alternate_stack(uc, sp))
		return false;
	return !(flags & SA_ONSTACK) || (own && (own->program.ss_flags & SS_DISABLE));
}

static void call(int sig, siginfo_t *info, ucontext_t *uc, const struct fl_ksigaction *act, uint64_t mask)
{
	fl_host_sigmask(mask);
	*fl_context_mask(uc) = fl_mask_from_host(*fl_context_mask(uc));
	if (act->flags & SA_SIGINFO)
		((void (*)(int, siginfo_t *, void *))(void *)act->handler)(sig, info, uc);
	else
		act->handler(sig);
	*fl_context_mask(uc) = fl_mask_to_host(*fl_context_mask(uc)); /* the handler may have changed it */
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
	if (act.handler == SIG_DFL || act.handler == SIG_IGN || (!sent && believed_blocked(*fl_context_mask(uc)))) {
		die_of(sig, uc, info);
		return;
	}
	if (act.flags & SA_RESETHAND)
		fl_sigview_action(sig, &dfl, NULL);
	mask = act.mask | ((act.flags & SA_NODEFER) ? 0 : SIGBIT(sig));
	mask = (*fl_context_mask(uc) | fl_mask_to_host(mask)) & FL_SIGNALS_MASK;
	if (sig == FL_SHADOW &&
	    !(act.flags & SA_NODEFER)) /* or its handler could be interrupted by itself, without end */
		mask |= SIGBIT(FL_SHADOW);
	if (!fl_pushes_frames || !wrong_stack(uc, fl_context_sp(uc), act.flags))
		call(sig, info, uc, &act, mask);
	else if (!fl_push_frame(sig, info, uc, act.handler, mask))
		die_of(SIGSEGV, uc, info);
}

void fl_sigview_raise_sigbus(ucontext_t *uc, void *addr)
{
	siginfo_t info;
	struct fl_ksigaction act;

	memset(&info, 0, sizeof(info));
	info.si_signo = SIGBUS;
	info.si_code = BUS_ADRERR;
	info.si_addr = addr;
	fl_host_sigaction(SIGBUS, NULL, &act);
	if (act.handler == SIG_IGN || (*fl_context_mask(uc) & SIGBIT(SIGBUS))) {
		struct fl_ksigaction dfl = {0};

		fl_host_sigaction(SIGBUS, &dfl, NULL);
		*fl_context_mask(uc) &= ~SIGBIT(SIGBUS);
	}
	fl_host_sigqueue_thread(SIGBUS, &info);
}

void fl_sigview_caused(siginfo_t *info, ucontext_t *uc)
{
	chain(SIGSEGV, info, uc);
}

void fl_sigview_kill(const siginfo_t *info, ucontext_t *uc)
{
	die_of(SIGSEGV, uc, info);
}

void fl_sigview_sent(int sig, siginfo_t *info, ucontext_t *uc)
{
	if (fl_sigview_relayed(info))
		chain(SIGSEGV, info, uc);
	else if (sig == SIGSEGV && believed_blocked(*fl_context_mask(uc)))
		relay(info);
	else
		chain(sig, info, uc);
}

/* ---- the host's handler ---- */

static int install(int sig, void (*entry)(int, siginfo_t *, void *))
{
	struct fl_ksigaction act = {
		.handler = (void (*)(int))(void *)entry,
		/* SA_NODEFER: copies inside the handler may fault, too */
		.flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER | SA_RESTART | fl_sigreturn_flag,
		.restorer = fl_sigreturn_restorer,
		.mask = FL_SIGNALS_MASK,
	};
	struct fl_ksigaction old;
	int ret = fl_host_sigaction(sig, &act, &old);

	if (!ret && old.handler != act.handler)
		fl_sigview_action(sig, &old, NULL);
	return ret;
}

int fl_sigview_install(void (*entry)(int sig, siginfo_t *info, void *context))
{
	int ret = install(SIGSEGV, entry);

	return ret || !fl_sigview_shadowed ? ret : install(FL_SHADOW, entry);
}
