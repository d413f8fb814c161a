/* SPDX-License-Identifier: MIT */
/*
 * signal.c - the program's view of SIGSEGV, whose handler at the host is the engine's: native/sigview.h. The
 * program's handler is remembered there; its masks are translated on their way to the host and back, and never
 * remembered.
 */
#include "preload/preload.h"

#include <pthread.h>
#include <setjmp.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>

#define KSIGSET	    8		 /* bytes of the host's set */
#define LIBC_OWN    (3ull << 31) /* signals 32 and 33, which libc lets no program block */
#define SA_RESTORER 0x04000000ul

static uint64_t set_get(const sigset_t *set)
{
	uint64_t bits;

	memcpy(&bits, set, sizeof(bits));
	return bits;
}

static void set_put(sigset_t *set, uint64_t bits)
{
	memcpy(set, &bits, sizeof(bits));
}

static const sigset_t *to_host(uint64_t bits, sigset_t *copy)
{
	sigemptyset(copy);
	set_put(copy, fl_mask_to_host(bits));
	return copy;
}

const sigset_t *fl_native_mask(const sigset_t *set, sigset_t *copy)
{
	return set ? to_host(set_get(set), copy) : NULL;
}

/* The same for a set that the kernel reads. NULL: a bad pointer, and errno is EFAULT. */
static const sigset_t *set_in(const sigset_t *set, sigset_t *copy)
{
	uint64_t bits;

	if (!fl_copy_user(&bits, set, sizeof(bits)))
		return to_host(bits, copy);
	errno = EFAULT;
	return NULL;
}

/* After an exec the mask is still in the program's form: SIGSEGV may be blocked. */
void fl_signal_init(void)
{
	bool handlers = false;
	struct fl_ksigaction act;
	uint64_t mask;

	for (int sig = 1; sig <= 64; sig++) /* constructors of other libraries may have run before */
		if (fl_host_sigaction(sig, NULL, &act) == 0 && act.handler != SIG_DFL && act.handler != SIG_IGN)
			handlers = true;
	fl_signals_handlers = handlers;
	if (handlers)
		fl_find_all();
	fl_sigview_shadowed = true;
	fl_fault_entry_install();
	mask = fl_host_sigblock(0);
	if (fl_mask_to_host(mask) != mask)
		fl_host_sigmask(fl_mask_to_host(mask));
}

uint64_t fl_signal_exec_begin(void)
{
	uint64_t mask = fl_host_sigblock(0);

	if (mask & FL_SIGBIT(FL_SHADOW))
		fl_host_sigmask(fl_mask_from_host(mask));
	return mask;
}

void fl_signal_exec_end(uint64_t mask)
{
	if (mask & FL_SIGBIT(FL_SHADOW))
		fl_host_sigmask(mask);
}

/* ---- leaving a handler by a jump: libc restores the mask it saved ---- */

_Noreturn static void jump(void (*real)(struct __jmp_buf_tag *, int), struct __jmp_buf_tag *env, int value)
{
	if (__atomic_load_n(&fl_native.ready, __ATOMIC_ACQUIRE)) {
		uint64_t signals = fl_signals_block();

		fl_ctx_abandon(&fl_native.mm);
		fl_signals_restore(signals);
	}
	real(env, value);
	__builtin_unreachable();
}

#define JUMP(name)                                                                                                   \
	FL_EXPORT void name(struct __jmp_buf_tag env[1], int value)                                                  \
	{                                                                                                            \
		jump(FL_FIND(name), env, value);                                                                     \
	}

FL_EXPORT void __longjmp_chk(struct __jmp_buf_tag env[1], int value) __attribute__((noreturn));
JUMP(longjmp)
JUMP(_longjmp)
JUMP(siglongjmp)
JUMP(__longjmp_chk)

/* ---- masks ---- */

/*
 * Store what was before the change. The host does not store it: a call that fails because the page is hidden has made
 * its change by then, and a repetition would tell of that.
 */
static long tell(long ret, void *old, const void *was, size_t len)
{
	if (!ret && old && fl_copy_user(old, was, len))
		ret = -EFAULT;
	return fl_ret(ret);
}

long fl_do_sigprocmask(int how, const void *set, void *old)
{
	uint64_t bits, was = 0;
	long ret;

	if (set && !fl_peek(&bits, set, sizeof(bits)))
		return fl_ret(-EFAULT);
	if (set)
		bits = fl_mask_to_host(bits);
	ret = hostcall_sigprocmask(how, set ? &bits : NULL, &was);
	was = fl_mask_from_host(was);
	return tell(ret, old, &was, sizeof(was));
}

FL_EXPORT int sigprocmask(int how, const sigset_t *restrict set, sigset_t *restrict old)
{
	uint64_t bits = set ? set_get(set) & ~LIBC_OWN : 0;

	return (int)fl_do_sigprocmask(how, set ? &bits : NULL, old);
}

FL_EXPORT int pthread_sigmask(int how, const sigset_t *restrict set, sigset_t *restrict old)
{
	int saved = errno, err = sigprocmask(how, set, old) ? errno : 0;

	errno = saved;
	return err;
}

FL_EXPORT int sigsuspend(const sigset_t *set)
{
	sigset_t copy;

	return set_in(set, &copy) ? FL_FIND(sigsuspend)(&copy) : -1;
}

FL_EXPORT int pthread_attr_setsigmask_np(pthread_attr_t *attr, const sigset_t *set)
{
	sigset_t copy;

	return FL_FIND(pthread_attr_setsigmask_np)(attr, fl_native_mask(set, &copy));
}

FL_EXPORT int pthread_attr_getsigmask_np(const pthread_attr_t *attr, sigset_t *set)
{
	int ret = FL_FIND(pthread_attr_getsigmask_np)(attr, set);

	set_put(set, fl_mask_from_host(set_get(set)));
	return ret;
}

static int change_one(int how, int sig)
{
	sigset_t set;

	sigemptyset(&set);
	return sigaddset(&set, sig) ? -1 : sigprocmask(how, &set, NULL);
}

FL_EXPORT int sighold(int sig)
{
	return change_one(SIG_BLOCK, sig);
}

FL_EXPORT int sigrelse(int sig)
{
	return change_one(SIG_UNBLOCK, sig);
}

/* BSD's sets have 32 signals. */
static int change_bsd(int how, int mask)
{
	uint64_t bits = (unsigned)mask, old = 0;

	fl_do_sigprocmask(how, &bits, &old);
	return (int)old;
}

FL_EXPORT int sigblock(int mask)
{
	return change_bsd(SIG_BLOCK, mask);
}

FL_EXPORT int sigsetmask(int mask)
{
	return change_bsd(SIG_SETMASK, mask);
}

FL_EXPORT int siggetmask(void)
{
	return change_bsd(SIG_BLOCK, 0);
}

/* ---- pending signals ---- */

FL_EXPORT int sigpending(sigset_t *set)
{
	int ret = FL_RETRY(int, FL_FIND(sigpending)(set), fl_out(set, KSIGSET));

	if (!ret)
		set_put(set, fl_mask_from_host(set_get(set)));
	return ret;
}

/*
 * sigtimedwait(2). A SIGSEGV that is waited for comes to our handler first, which interrupts the call and makes it
 * pending as FL_SHADOW.
 */
static int wait_for(const sigset_t *set, siginfo_t *info, const struct timespec *ts)
{
	static const struct timespec now;
	siginfo_t got;
	sigset_t copy;
	int sig;

	if (!set_in(set, &copy))
		return -1;
	sig = FL_RETRY(int, FL_FIND(sigtimedwait)(&copy, &got, ts), fl_in(ts, sizeof(*ts)));
	if (sig < 0 && errno == EINTR && sigismember(&copy, FL_SHADOW)) {
		sig = FL_FIND(sigtimedwait)(&copy, &got, &now);
		if (sig < 0)
			errno = EINTR;
	}
	if (sig < 0)
		return sig;
	fl_sigview_relayed(&got);
	if (info && fl_copy_user(info, &got, sizeof(got))) {
		errno = EFAULT;
		return -1;
	}
	return got.si_signo;
}

FL_EXPORT int sigtimedwait(const sigset_t *restrict set, siginfo_t *restrict info, const struct timespec *restrict ts)
{
	return wait_for(set, info, ts);
}

FL_EXPORT int sigwaitinfo(const sigset_t *restrict set, siginfo_t *restrict info)
{
	return wait_for(set, info, NULL);
}

FL_EXPORT int sigwait(const sigset_t *restrict set, int *restrict sig)
{
	int saved = errno, ret, err;

	do
		ret = wait_for(set, NULL, NULL);
	while (ret < 0 && errno == EINTR);
	err = errno;
	errno = saved;
	if (ret < 0)
		return err;
	*sig = ret;
	return 0;
}

/* ---- signalfd(2): a SIGSEGV that is sent while it is blocked is pending as FL_SHADOW ---- */

FL_EXPORT int signalfd(int fd, const sigset_t *set, int flags)
{
	sigset_t copy;
	int ret;

	if (!set_in(set, &copy))
		return -1;
	ret = FL_FIND(signalfd)(fd, &copy, flags);
	if (ret >= 0 && sigismember(&copy, FL_SHADOW))
		fl_set_fd_kind(ret, FL_FD_SIGNALFD);
	return ret;
}

/* What was read is in memory by now. The layout tells it from what else a reused number may read. */
void fl_signalfd_read(int fd, const struct iovec *iov, int n, ssize_t done)
{
	struct signalfd_siginfo info;
	struct iovec part;
	siginfo_t was;

	if (likely(fl_fd_kind(fd) != FL_FD_SIGNALFD) || done <= 0)
		return;
	for (int i = 0; i < n && fl_peek(&part, &iov[i], sizeof(part)); i++)
		for (size_t at = 0; at + sizeof(info) <= part.iov_len && done > 0; at += sizeof(info)) {
			done -= (ssize_t)sizeof(info);
			if (!fl_peek(&info, (char *)part.iov_base + at, sizeof(info)))
				return;
			was.si_signo = (int)info.ssi_signo;
			was.si_errno = info.ssi_errno;
			if (!fl_sigview_relayed(&was))
				continue;
			info.ssi_signo = SIGSEGV;
			info.ssi_errno = 0;
			info.ssi_code = was.si_code;
			fl_copy_user((char *)part.iov_base + at, &info, sizeof(info));
		}
}

/* ---- actions ---- */

/* From the first handler on, the engine blocks signals in its critical sections. */
static void note_handler(sighandler_t handler)
{
	if (handler != SIG_DFL && handler != SIG_IGN) {
		fl_find_all();
		fl_signals_expect_handlers();
	}
}

static bool is_ours(int sig)
{
	return sig == SIGSEGV || sig == FL_SHADOW;
}

long fl_do_sigaction(int sig, const void *act, void *old)
{
	struct fl_ksigaction new, was = {0};
	long ret = 0;

	if (act && !fl_peek(&new, act, sizeof(new)))
		return fl_ret(-EFAULT);
	if (act)
		note_handler(new.handler);
	if (is_ours(sig)) {
		fl_sigview_action(sig, act ? &new : NULL, &was);
	} else {
		if (act)
			new.mask = fl_mask_to_host(new.mask);
		ret = fl_host_sigaction(sig, act ? &new : NULL, &was);
		was.mask = fl_mask_from_host(was.mask);
	}
	return tell(ret, old, &was, sizeof(was));
}

/* sigaction() on an action that sigview.c remembers. */
static void our_action(int sig, const struct sigaction *act, struct sigaction *old)
{
	struct fl_ksigaction kact = {0}, kold;

	if (act) {
		kact.handler = act->sa_handler;
		kact.flags = (unsigned long)act->sa_flags;
		kact.mask = set_get(&act->sa_mask);
	}
	fl_sigview_action(sig, act ? &kact : NULL, &kold);
	if (!old)
		return;
	memset(old, 0, sizeof(*old));
	old->sa_handler = kold.handler;
	old->sa_flags = (int)(kold.flags & ~SA_RESTORER);
	set_put(&old->sa_mask, kold.mask);
}

FL_EXPORT int sigaction(int sig, const struct sigaction *restrict act, struct sigaction *restrict old)
{
	struct sigaction copy;
	int ret;

	if (act)
		note_handler(act->sa_handler);
	if (is_ours(sig)) {
		our_action(sig, act, old);
		return 0;
	}
	if (act) {
		copy = *act;
		to_host(set_get(&act->sa_mask), &copy.sa_mask);
		act = &copy;
	}
	ret = FL_FIND(sigaction)(sig, act, old);
	if (!ret && old)
		set_put(&old->sa_mask, fl_mask_from_host(set_get(&old->sa_mask)));
	return ret;
}

static sighandler_t set_handler(int sig, sighandler_t handler, int flags)
{
	struct sigaction act = {.sa_handler = handler, .sa_flags = flags}, old;

	if (handler == SIG_ERR || sig < 1 || sig > 64) {
		errno = EINVAL;
		return SIG_ERR;
	}
	if (!(flags & SA_NODEFER))
		sigaddset(&act.sa_mask, sig);
	return sigaction(sig, &act, &old) ? SIG_ERR : old.sa_handler;
}

FL_EXPORT sighandler_t signal(int sig, sighandler_t handler)
{
	if (is_ours(sig))
		return set_handler(sig, handler, SA_RESTART);
	note_handler(handler);
	return FL_FIND(signal)(sig, handler); /* libc's knows what siginterrupt() has asked for */
}

/* System V's way: libc sets the handler itself. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
FL_EXPORT sighandler_t sigset(int sig, sighandler_t handler)
{
	if (is_ours(sig) && handler != SIG_HOLD)
		return set_handler(sig, handler, 0);
	note_handler(handler);
	return FL_FIND(sigset)(sig, handler);
}

FL_EXPORT int siginterrupt(int sig, int interrupt)
{
	struct sigaction act;

	if (!is_ours(sig))
		return FL_FIND(siginterrupt)(sig, interrupt);
	sigaction(sig, NULL, &act);
	act.sa_flags = interrupt ? act.sa_flags & ~SA_RESTART : act.sa_flags | SA_RESTART;
	return sigaction(sig, &act, NULL);
}
#pragma GCC diagnostic pop

FL_EXPORT sighandler_t ssignal(int sig, sighandler_t handler)
{
	return signal(sig, handler);
}

FL_EXPORT sighandler_t bsd_signal(int sig, sighandler_t handler);
sighandler_t bsd_signal(int sig, sighandler_t handler)
{
	return signal(sig, handler);
}

/* A thread that may be cancelled anywhere may be cancelled inside the engine. */
FL_EXPORT int pthread_setcanceltype(int type, int *old)
{
	if (type == PTHREAD_CANCEL_ASYNCHRONOUS) {
		fl_find_all();
		fl_signals_expect_handlers();
	}
	return FL_FIND(pthread_setcanceltype)(type, old);
}

FL_EXPORT sighandler_t sysv_signal(int sig, sighandler_t handler)
{
	return set_handler(sig, handler, (int)(SA_RESETHAND | SA_NODEFER));
}

FL_EXPORT sighandler_t __sysv_signal(int sig, sighandler_t handler)
{
	return set_handler(sig, handler, (int)(SA_RESETHAND | SA_NODEFER));
}

FL_EXPORT int sigignore(int sig)
{
	return set_handler(sig, SIG_IGN, 0) == SIG_ERR ? -1 : 0;
}

/* BSD's: a set of 32 signals. System V's: the one that is let in. <signal.h> gives the latter both names. */
FL_EXPORT int fl_bsd_sigpause(int mask) __asm__("sigpause");
int fl_bsd_sigpause(int mask)
{
	sigset_t set;

	sigemptyset(&set);
	set_put(&set, (unsigned)mask);
	return sigsuspend(&set);
}

FL_EXPORT int __xpg_sigpause(int sig);
int __xpg_sigpause(int sig)
{
	sigset_t set;

	if (sig < 1 || sig > 64) {
		errno = EINVAL;
		return -1;
	}
	sigprocmask(SIG_BLOCK, NULL, &set);
	set_put(&set, set_get(&set) & ~FL_SIGBIT(sig));
	return sigsuspend(&set);
}

FL_EXPORT int __sigpause(int arg, int is_sig);
int __sigpause(int arg, int is_sig)
{
	return is_sig ? __xpg_sigpause(arg) : fl_bsd_sigpause(arg);
}

FL_ALIAS(__sigaction, sigaction)
FL_ALIAS(__sigsuspend, sigsuspend)
