/* SPDX-License-Identifier: MIT */
/*
 * signal.c - SIGSEGV is ours at the host, and the program's as far as it can see: its handler is remembered and chained to,
 * and its wish to block the signal is remembered and not carried out, for a blocked SIGSEGV at a hidden page would kill.
 */
#include "preload/preload.h"

#include <setjmp.h>
#include <string.h>

#define BIT(sig) (1ull << ((sig)-1))

/* What this thread believes of its mask. */
static __thread __attribute__((tls_model("initial-exec"))) bool segv_blocked;
/* Signals whose sa_mask has SIGSEGV, as the program believes. */
static uint64_t mask_has_segv;

const sigset_t *fl_host_mask(const sigset_t *set, sigset_t *copy)
{
	if (!set || !sigismember(set, SIGSEGV))
		return set;
	*copy = *set;
	sigdelset(copy, SIGSEGV);
	return copy;
}

static bool believe_blocked(bool blocked)
{
	bool was = segv_blocked;

	segv_blocked = blocked;
	return was;
}

void fl_signal_init(void)
{
	uint64_t set = BIT(SIGSEGV), old = 0;

	fl_segv_blocked = believe_blocked;

	fl_sys(SYS_rt_sigprocmask, SIG_UNBLOCK, &set, &old, sizeof(set));
	segv_blocked = old & BIT(SIGSEGV);
}

/* ---- leaving a handler by a jump ---- */

/* libc restores the mask that it saved, in which the host never had SIGSEGV. */
_Noreturn static void jump(const char *name, void **cache, struct __jmp_buf_tag *env, int value)
{
	void (*real)(struct __jmp_buf_tag *, int) = fl_preload_find(cache, name);

	if (__atomic_load_n(&fl_host.ready, __ATOMIC_ACQUIRE)) {
		uint64_t irq = fl_irq_save();

		fl_ctx_abandon(&fl_host.mm);
		fl_irq_restore(irq);
	}
	if (env->__mask_was_saved)
		segv_blocked = false;
	real(env, value);
	__builtin_unreachable();
}

#define JUMP(name)                                                                                                     \
	FL_EXPORT void name(struct __jmp_buf_tag env[1], int value)                                                     \
	{                                                                                                              \
		static void *cache;                                                                                    \
                                                                                                                       \
		jump(#name, &cache, env, value);                                                                       \
	}

FL_EXPORT void __longjmp_chk(struct __jmp_buf_tag env[1], int value) __attribute__((noreturn));
JUMP(longjmp)
JUMP(_longjmp)
JUMP(siglongjmp)
JUMP(__longjmp_chk)

/* ---- masks ---- */

static int change_mask(int (*real)(int, const sigset_t *, sigset_t *), int how, const sigset_t *set, sigset_t *old)
{
	bool was = segv_blocked;
	sigset_t copy;
	int ret = FL_RETRY(int, real(how, fl_host_mask(set, &copy), old), old ? fl_out(old, 8) : 0);

	if (ret)
		return ret;
	if (set && (how == SIG_SETMASK || sigismember(set, SIGSEGV)))
		segv_blocked = how == SIG_UNBLOCK ? false : how == SIG_BLOCK ? true : sigismember(set, SIGSEGV);
	if (old && was)
		sigaddset(old, SIGSEGV);
	return 0;
}

FL_EXPORT int sigprocmask(int how, const sigset_t *restrict set, sigset_t *restrict old)
{
	return change_mask(fl_real()->sigprocmask, how, set, old);
}

FL_EXPORT int pthread_sigmask(int how, const sigset_t *restrict set, sigset_t *restrict old)
{
	return change_mask(fl_real()->pthread_sigmask, how, set, old);
}

FL_EXPORT int sigsuspend(const sigset_t *set)
{
	sigset_t copy;

	return fl_real()->sigsuspend(fl_host_mask(set, &copy));
}

/* ---- actions ---- */

/* sigaction() on the remembered action of SIGSEGV. */
static void segv_action(const struct sigaction *act, struct sigaction *old)
{
	struct fl_ksigaction kact = { 0 }, kold;

	if (act) {
		kact.handler = act->sa_handler;
		kact.flags = (unsigned long)act->sa_flags;
		memcpy(&kact.mask, &act->sa_mask, sizeof(kact.mask));
	}
	fl_segv_action(act ? &kact : NULL, &kold);
	if (!old)
		return;
	memset(old, 0, sizeof(*old));
	old->sa_handler = kold.handler;
	old->sa_flags = (int)(kold.flags & ~0x04000000ul /* SA_RESTORER */);
	memcpy(&old->sa_mask, &kold.mask, sizeof(kold.mask));
}

static int host_action(int sig, const struct sigaction *act, struct sigaction *old)
{
	bool had = sig > 0 && sig <= 64 && (__atomic_load_n(&mask_has_segv, __ATOMIC_RELAXED) & BIT(sig));
	bool has = act && sigismember(&act->sa_mask, SIGSEGV);
	struct sigaction copy;
	int ret;

	if (has) {
		copy = *act;
		sigdelset(&copy.sa_mask, SIGSEGV);
	}
	ret = FL_RETRY(int, fl_real()->sigaction(sig, has ? &copy : act, old), old ? fl_out(old, sizeof(*old)) : 0);
	if (ret)
		return ret;
	if (act && has)
		__atomic_fetch_or(&mask_has_segv, BIT(sig), __ATOMIC_RELAXED);
	else if (act)
		__atomic_fetch_and(&mask_has_segv, ~BIT(sig), __ATOMIC_RELAXED);
	if (old && had)
		sigaddset(&old->sa_mask, SIGSEGV);
	return 0;
}

FL_EXPORT int sigaction(int sig, const struct sigaction *restrict act, struct sigaction *restrict old)
{
	if (sig != SIGSEGV || !__atomic_load_n(&fl_host.ready, __ATOMIC_ACQUIRE))
		return host_action(sig, act, old);
	segv_action(act, old);
	return 0;
}

static sighandler_t set_handler(int sig, sighandler_t handler, int flags)
{
	struct sigaction act = { .sa_handler = handler, .sa_flags = flags }, old;

	if (handler == SIG_ERR || sigaction(sig, &act, &old)) {
		errno = EINVAL;
		return SIG_ERR;
	}
	return old.sa_handler;
}

FL_EXPORT sighandler_t signal(int sig, sighandler_t handler)
{
	struct sigaction act = { .sa_handler = handler, .sa_flags = SA_RESTART }, old;

	if (handler == SIG_ERR) {
		errno = EINVAL;
		return SIG_ERR;
	}
	sigemptyset(&act.sa_mask);
	if (sig > 0 && sig <= 64) /* BSD semantics: the signal itself is blocked, as without SA_NODEFER */
		sigaddset(&act.sa_mask, sig);
	return sigaction(sig, &act, &old) ? SIG_ERR : old.sa_handler;
}

FL_EXPORT sighandler_t sysv_signal(int sig, sighandler_t handler)
{
	return set_handler(sig, handler, (int)(SA_RESETHAND | SA_NODEFER));
}

FL_EXPORT sighandler_t __sysv_signal(int sig, sighandler_t handler)
{
	return set_handler(sig, handler, (int)(SA_RESETHAND | SA_NODEFER));
}
