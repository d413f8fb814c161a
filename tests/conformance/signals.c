/* SPDX-License-Identifier: MIT */
/* signals.c - signals that arrive in a thread waiting in a fault; the program's own handlers, masks and stacks. */
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "conformance.h"

/* <signal.h> has only one of its two forms. */
int __sigpause(int arg, int is_sig);

#define SEEN		   "kernel 6.18, observed"
#define CASE_LIBC(fn, src) CASE_ON(fn, ON_LIBC, PROCESS, src)

static void handle(int sig, void (*handler)(int, siginfo_t *, void *), int flags)
{
	struct sigaction sa = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | flags};

	sigemptyset(&sa.sa_mask);
	CHECK_OK(sigaction(sig, &sa, NULL));
}

static atomic_int handled;

static void count(int sig, siginfo_t *info, void *context)
{
	atomic_fetch_add(&handled, 1);
}

static bool handled_soon(int n)
{
	for (int i = 0; i < 2000 && atomic_load(&handled) < n; i++)
		pause_ms(1);
	return atomic_load(&handled) == n;
}

CASE_LIBC(signal_runs_while_waiting, SEEN ": the handler runs at once, then the access faults again")
{
	struct area a = area(1, MISSING, 0);
	struct touch t;

	handle(SIGUSR1, count, 0);
	touch_start(&t, LOAD, a.mem, 0);
	expect_fault(a.u, a.mem, 0);
	CHECK_OK(pthread_kill(t.thread, SIGUSR1));
	CHECK(handled_soon(1));
	expect_fault(a.u, a.mem, 0);
	CHECK(touch_waits(&t));
	fill(a.u, a.mem, 1, 5);
	touch_ends_with(&t, 5);
	CHECK(quiet(a.u));
}

CASE_LIBC(signal_before_read, SEEN ": one message, not two, when the first was not read")
{
	struct area a = area(1, MISSING, 0);
	struct touch t;

	handle(SIGUSR1, count, 0);
	touch_start(&t, LOAD, a.mem, 0);
	CHECK_EQ(T->poll(a.u, 5000), POLLIN);
	CHECK_OK(pthread_kill(t.thread, SIGUSR1));
	CHECK(handled_soon(1));
	pause_ms(20);
	expect_fault(a.u, a.mem, 0);
	CHECK(quiet(a.u));
}

CASE_LIBC(signal_while_a_store_is_trapped, SEEN)
{
	struct area a = {uffd(0), source(1, 1)};
	struct touch t;

	handle(SIGUSR1, count, 0);
	CHECK_OK(reg(a.u, a.mem, PAGE, WP));
	CHECK_OK(protect(a.u, a.mem, PAGE, FL_UFFDIO_WRITEPROTECT_MODE_WP));
	touch_start(&t, STORE, a.mem, 9);
	expect_fault(a.u, a.mem, FL_UFFD_PAGEFAULT_FLAG_WP | FL_UFFD_PAGEFAULT_FLAG_WRITE);
	CHECK_OK(pthread_kill(t.thread, SIGUSR1));
	CHECK(handled_soon(1));
	CHECK_EQ(peek(a.mem), 1);
	expect_wp(a.u, a.mem + 1);
	CHECK_OK(touch_end(&t));
	CHECK_EQ(peek(a.mem), 9);
}

static sigjmp_buf out;

static void jump_out(int sig, siginfo_t *info, void *context)
{
	siglongjmp(out, 1);
}

static void *leaves_by_jump(void *arg)
{
	volatile uint8_t *p = arg;

	if (!sigsetjmp(out, 1))
		return (void *)(uintptr_t)(1 + *p);
	return NULL;
}

CASE_LIBC(signal_jumps_out_of_the_wait, SEEN ": siglongjmp leaves the fault, its message goes")
{
	struct area a = area(1, MISSING, 0);
	pthread_t thread;
	void *ret;

	handle(SIGUSR1, jump_out, 0);
	CHECK_OK(pthread_create(&thread, NULL, leaves_by_jump, (void *)(uintptr_t)a.mem));
	CHECK_EQ(T->poll(a.u, 5000), POLLIN);
	CHECK_OK(pthread_kill(thread, SIGUSR1));
	CHECK_OK(pthread_join(thread, &ret));
	CHECK(!ret);
	CHECK(quiet(a.u));
	expect_missing(a.u, a.mem);
}

static sigset_t all_signals(void)
{
	sigset_t set;

	sigfillset(&set);
	return set;
}

static void *waits_masked(void *arg)
{
	struct touch *t = arg;
	sigset_t all = all_signals(), was;

	CHECK_OK(pthread_sigmask(SIG_SETMASK, &all, NULL));
	t->ret = peek(t->addr);
	CHECK_OK(pthread_sigmask(SIG_SETMASK, NULL, &was));
	CHECK_EQ(sigismember(&was, SIGUSR1), 1);
	CHECK_EQ(sigismember(&was, SIGSEGV), 1);
	CHECK_EQ(sigismember(&was, SIGBUS), 1);
	atomic_store(&t->done, true);
	return NULL;
}

CASE_LIBC(fault_with_all_signals_blocked, "userfaultfd(2): a fault needs no signal")
{
	struct area a = area(1, MISSING, 0);
	struct touch t = {.addr = a.mem};

	handle(SIGUSR1, count, 0);
	CHECK_OK(pthread_create(&t.thread, NULL, waits_masked, &t));
	expect_fault(a.u, a.mem, 0);
	CHECK_OK(pthread_kill(t.thread, SIGUSR1));
	pause_ms(25);
	CHECK_EQ(atomic_load(&handled), 0);
	CHECK(quiet(a.u));
	fill(a.u, a.mem, 1, 5);
	CHECK_EQ(touch_end(&t), 5);
	CHECK_EQ(atomic_load(&handled), 0);
}

/* ---- faults inside handlers ---- */

static struct area inside;

static void touches(int sig, siginfo_t *info, void *context)
{
	if (*(volatile uint8_t *)(uintptr_t)(inside.mem + PAGE) == 6)
		atomic_fetch_add(&handled, 1);
}

CASE_LIBC(fault_inside_a_handler, SEEN)
{
	struct touch t;

	inside = area(2, MISSING, 0);
	handle(SIGUSR1, touches, 0);
	touch_start(&t, LOAD, inside.mem, 0);
	expect_fault(inside.u, inside.mem, 0);
	CHECK_OK(pthread_kill(t.thread, SIGUSR1));
	expect_fault(inside.u, inside.mem + PAGE, 0);
	fill(inside.u, inside.mem, 1, 5);
	CHECK(touch_waits(&t));
	fill(inside.u, inside.mem + PAGE, 1, 6);
	touch_ends_with(&t, 5);
	CHECK_EQ(atomic_load(&handled), 1);
}

/* ---- the program's own SIGSEGV and SIGBUS ---- */

static struct seen {
	int sig, code, usr1_blocked, own_blocked, on_stack;
	uint64_t addr;
	uintptr_t sp;
} seen;
static char stack[64 << 10];
static sigjmp_buf back;

static void look(int sig, siginfo_t *info, void *context)
{
	sigset_t now;
	char here;

	sigprocmask(SIG_SETMASK, NULL, &now);
	seen = (struct seen){.sig = sig,
			     .code = info->si_code,
			     .usr1_blocked = sigismember(&now, SIGUSR1),
			     .own_blocked = sigismember(&now, sig),
			     .on_stack = &here >= stack && &here < stack + sizeof(stack),
			     .addr = (uint64_t)(uintptr_t)info->si_addr,
			     .sp = (uintptr_t)&here};
	siglongjmp(back, 1);
}

static void raise_at(uint64_t addr)
{
	memset(&seen, 0, sizeof(seen));
	if (!sigsetjmp(back, 1))
		*(volatile uint8_t *)(uintptr_t)addr = 1;
}

static void look_with(int sig, int flags, bool mask)
{
	struct sigaction sa = {.sa_sigaction = look, .sa_flags = SA_SIGINFO | flags};

	sigemptyset(&sa.sa_mask);
	if (mask)
		sigaddset(&sa.sa_mask, SIGUSR1);
	CHECK_OK(sigaction(sig, &sa, NULL));
}

/*
 * The same handler for a fault outside registered memory, one on registered memory without the right, and a SIGBUS.
 */
CASE_LIBC(handler_info, "sigaction(2)")
{
	struct area a = area(1, MISSING, 0), b = area(1, MISSING, FL_UFFD_FEATURE_SIGBUS);
	uint64_t read_only = map_prot(1, PROT_READ);

	look_with(SIGSEGV, 0, false);
	look_with(SIGBUS, 0, false);
	raise_at(read_only + 5);
	CHECK_EQ(seen.sig, SIGSEGV);
	CHECK_EQ(seen.code, SEGV_ACCERR);
	CHECK_EQ(seen.addr, read_only + 5);
	raise_at(8);
	CHECK_EQ(seen.code, SEGV_MAPERR);
	CHECK_EQ(seen.addr, 8);
	CHECK_OK(T->protect(a.mem, PAGE, PROT_READ));
	raise_at(a.mem + 6);
	CHECK_EQ(seen.sig, SIGSEGV);
	CHECK_EQ(seen.code, SEGV_ACCERR);
	CHECK_EQ(seen.addr, a.mem + 6);
	raise_at(b.mem + 7);
	CHECK_EQ(seen.sig, SIGBUS);
	CHECK_EQ(seen.code, BUS_ADRERR);
	CHECK_EQ(seen.addr, b.mem + 7);
}

CASE_LIBC(handler_mask, "sigaction(2): sa_mask, and the signal itself, are blocked")
{
	struct area b = area(1, MISSING, FL_UFFD_FEATURE_SIGBUS);
	static const int signals[] = {SIGSEGV, SIGBUS};

	for (unsigned i = 0; i < 2; i++) {
		uint64_t at = signals[i] == SIGBUS ? b.mem : 8;

		look_with(signals[i], 0, true);
		raise_at(at);
		CHECK_EQ(seen.usr1_blocked, 1);
		CHECK_EQ(seen.own_blocked, 1);
		look_with(signals[i], SA_NODEFER, false);
		raise_at(at);
		CHECK_EQ(seen.usr1_blocked, 0);
		CHECK_EQ(seen.own_blocked, 0);
	}
}

CASE_LIBC(handler_stack, "sigaltstack(2), SA_ONSTACK")
{
	struct area b = area(1, MISSING, FL_UFFD_FEATURE_SIGBUS);
	stack_t alt = {.ss_sp = stack, .ss_size = sizeof(stack)};
	static const int signals[] = {SIGSEGV, SIGBUS};

	CHECK_OK(sigaltstack(&alt, NULL));
	for (unsigned i = 0; i < 2; i++) {
		uint64_t at = signals[i] == SIGBUS ? b.mem : 8;

		look_with(signals[i], SA_ONSTACK, false);
		raise_at(at);
		CHECK_EQ(seen.sig, signals[i]);
		CHECK_EQ(seen.on_stack, 1);
		look_with(signals[i], 0, false);
		raise_at(at);
		CHECK_EQ(seen.on_stack, 0);
	}
}

CASE_LIBC(handler_reset, "sigaction(2), SA_RESETHAND")
{
	struct sigaction now;

	look_with(SIGSEGV, (int)SA_RESETHAND, false);
	raise_at(8);
	CHECK_EQ(seen.sig, SIGSEGV);
	CHECK_OK(sigaction(SIGSEGV, NULL, &now));
	CHECK(now.sa_handler == SIG_DFL);
}

CASE_LIBC(handler_as_set, "sigaction(2): the old action is what the program set")
{
	struct sigaction old;

	look_with(SIGSEGV, SA_ONSTACK, true);
	CHECK_OK(sigaction(SIGSEGV, NULL, &old));
	CHECK(old.sa_sigaction == look);
	CHECK_EQ(old.sa_flags & (SA_SIGINFO | SA_ONSTACK | SA_NODEFER | SA_RESTART), SA_SIGINFO | SA_ONSTACK);
	CHECK_EQ(sigismember(&old.sa_mask, SIGUSR1), 1);
	CHECK_EQ(sigismember(&old.sa_mask, SIGUSR2), 0);
	CHECK(signal(SIGSEGV, SIG_IGN) != SIG_ERR);
	CHECK(signal(SIGSEGV, SIG_DFL) == SIG_IGN);
}

CASE_LIBC(handler_set_does_not_stop_faults, "userfaultfd(2): a fault is no signal")
{
	struct area a = area(3, MISSING, 0);

	signal(SIGSEGV, SIG_IGN);
	expect_missing(a.u, a.mem);
	signal(SIGSEGV, SIG_DFL);
	expect_missing(a.u, a.mem + PAGE);
	look_with(SIGSEGV, 0, false);
	expect_missing(a.u, a.mem + 2 * PAGE);
	CHECK_EQ(seen.sig, 0);
}

CASE_LIBC(handler_sent_signal, "sigaction(2): a SIGSEGV that was sent, not raised by an access")
{
	look_with(SIGSEGV, 0, false);
	memset(&seen, 0, sizeof(seen));
	if (!sigsetjmp(back, 1))
		CHECK_OK(kill(getpid(), SIGSEGV));
	CHECK_EQ(seen.sig, SIGSEGV);
	CHECK_EQ(seen.code, SI_USER);
}

/* ---- calls on the object, interrupted by a signal ---- */

struct call {
	uffd_t u;
	bool poll;
	ssize_t ret;
	pthread_t thread;
};

static void *call_run(void *arg)
{
	struct fl_uffd_msg msg;
	struct call *c = arg;

	c->ret = c->poll ? T->poll(c->u, 5000) : T->read(c->u, &msg, sizeof(msg));
	return NULL;
}

static ssize_t interrupted(struct area *a, bool poll, int flags)
{
	struct call c = {.u = a->u, .poll = poll};
	struct touch t;

	handle(SIGUSR1, count, flags);
	CHECK_OK(pthread_create(&c.thread, NULL, call_run, &c));
	pause_ms(50);
	CHECK_OK(pthread_kill(c.thread, SIGUSR1));
	CHECK(handled_soon(1));
	pause_ms(300); /* for a thread that the signal ends to get there, on a busy machine */
	touch_start(&t, LOAD, a->mem, 0);
	CHECK_OK(pthread_join(c.thread, NULL));
	return c.ret;
}

CASE_LIBC(signal_interrupts_read, "read(2), EINTR")
{
	struct area a = area(1, MISSING, 0);

	CHECK_OK(T->nonblock(a.u, 0));
	CHECK_EQ(interrupted(&a, false, 0), -EINTR);
}

CASE_LIBC(signal_restarts_read, "signal(7), SA_RESTART: " SEEN)
{
	struct area a = area(1, MISSING, 0);

	CHECK_OK(T->nonblock(a.u, 0));
	CHECK_EQ(interrupted(&a, false, SA_RESTART), sizeof(struct fl_uffd_msg));
}

CASE_LIBC(signal_interrupts_poll, "poll(2), EINTR")
{
	struct area a = area(1, MISSING, 0);

	CHECK_EQ(interrupted(&a, true, SA_RESTART), -EINTR);
}

CASE_LIBC(signal_does_not_end_a_system_call, SEEN ": a system call waits on in its fault, the signal comes after it")
{
	struct area a = area(1, MISSING, 0);
	struct touch t;

	handle(SIGUSR1, count, 0);
	touch_start(&t, KERNEL_READ, a.mem, 0);
	expect_fault(a.u, a.mem, 0);
	CHECK_OK(pthread_kill(t.thread, SIGUSR1));
	pause_ms(25);
	/* the kernel faults repeatedly here, so the number of messages is not checked */
	CHECK_EQ(atomic_load(&handled), 0);
	CHECK(!atomic_load(&t.done));
	fill(a.u, a.mem, 1, 5);
	touch_ends_with(&t, 5);
	CHECK_EQ(atomic_load(&handled), 1);
}

/* ---- a blocked SIGSEGV, to calls that take masks ---- */

static sigset_t only(int sig)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, sig);
	return set;
}

CASE_LIBC(segv_by_signalfd, "signalfd(2)")
{
	sigset_t set = only(SIGSEGV);
	struct signalfd_siginfo info[2];
	struct iovec iov = {info, sizeof(info)};
	int fd, copy;

	CHECK(uffd(0) >= 0); /* the backend is there */
	sigaddset(&set, SIGUSR1);
	CHECK_OK(pthread_sigmask(SIG_BLOCK, &set, NULL));
	fd = signalfd(-1, &set, SFD_NONBLOCK);
	CHECK(fd >= 0);
	copy = dup(fd);
	CHECK_OK(kill(getpid(), SIGSEGV));
	CHECK_EQ(poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 5000), 1);
	CHECK_EQ(read(fd, info, sizeof(info)), sizeof(info[0]));
	CHECK_EQ(info[0].ssi_signo, SIGSEGV);
	CHECK_EQ(info[0].ssi_code, SI_USER);
	CHECK_EQ(info[0].ssi_pid, getpid());
	CHECK_OK(pthread_kill(pthread_self(), SIGSEGV));
	CHECK_EQ(readv(copy, &iov, 1), sizeof(info[0]));
	CHECK_EQ(info[0].ssi_signo, SIGSEGV);
	CHECK_OK(kill(getpid(), SIGUSR1));
	CHECK_EQ(read(fd, info, sizeof(info)), sizeof(info[0]));
	CHECK_EQ(info[0].ssi_signo, SIGUSR1);
	set = only(SIGUSR1); /* the same descriptor, with another set */
	CHECK_EQ(signalfd(fd, &set, 0), fd);
	CHECK_OK(kill(getpid(), SIGSEGV));
	CHECK_EQ(read(fd, info, sizeof(info)), -1);
	CHECK_EQ(errno, EAGAIN);
	CHECK_OK(close(fd));
}

static void *serves_inside(void *arg)
{
	expect_fault(inside.u, inside.mem + PAGE, 0);
	fill(inside.u, inside.mem + PAGE, 1, 6);
	return NULL;
}

struct sized_mask {
	const sigset_t *set;
	size_t size;
};

/* Calls that wait with a mask which blocks SIGSEGV, and let in SIGUSR1, whose handler touches a missing page. */
#define WAIT_CASE(name, call)                                                                                        \
	CASE_LIBC(fault_inside_##name, SEEN)                                                                         \
	{                                                                                                            \
		sigset_t usr1 = only(SIGUSR1), mask = only(SIGSEGV);                                                 \
		int epoll = epoll_create1(0);                                                                        \
		struct epoll_event event;                                                                            \
		pthread_t server;                                                                                    \
                                                                                                                     \
		inside = area(2, MISSING, 0);                                                                        \
		handle(SIGUSR1, touches, 0);                                                                         \
		CHECK_OK(pthread_create(&server, NULL, serves_inside, NULL));                                        \
		CHECK_OK(pthread_sigmask(SIG_BLOCK, &usr1, NULL));                                                   \
		CHECK_OK(pthread_kill(pthread_self(), SIGUSR1)); /* it comes when the call lets it in */             \
		errno = 0;                                                                                           \
		CHECK_EQ(call, -1);                                                                                  \
		CHECK_EQ(errno, EINTR);                                                                              \
		CHECK_OK(pthread_join(server, NULL));                                                                \
		CHECK_EQ(atomic_load(&handled), 1);                                                                  \
		CHECK_EQ(epoll_wait(epoll, &event, 1, 0), 0);                                                        \
		CHECK_EQ(sigismember(&mask, SIGSEGV), 1);                                                            \
	}

WAIT_CASE(sigsuspend, sigsuspend(&mask))
WAIT_CASE(ppoll, ppoll(NULL, 0, NULL, &mask))
WAIT_CASE(pselect, pselect(0, NULL, NULL, NULL, NULL, &mask))
WAIT_CASE(epoll_pwait, epoll_pwait(epoll, &event, 1, -1, &mask))
WAIT_CASE(epoll_pwait2, epoll_pwait2(epoll, &event, 1, NULL, &mask))
WAIT_CASE(bsd_sigpause, __sigpause((int)(1u << (SIGSEGV - 1)), 0))
WAIT_CASE(sigpause, __sigpause(SIGUSR1, 1))

#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
#define MASK_8 &mask, sizeof(uint64_t)
WAIT_CASE(sigsuspend_by_number, syscall(SYS_rt_sigsuspend, MASK_8))
WAIT_CASE(ppoll_by_number, syscall(SYS_ppoll, NULL, 0, NULL, MASK_8))
WAIT_CASE(epoll_pwait_by_number, syscall(SYS_epoll_pwait, epoll, &event, 1, -1, MASK_8))
WAIT_CASE(epoll_pwait2_by_number, syscall(SYS_epoll_pwait2, epoll, &event, 1, NULL, MASK_8))
WAIT_CASE(pselect_by_number, syscall(SYS_pselect6, 0, NULL, NULL, NULL, NULL, &(struct sized_mask){MASK_8}))

CASE_LIBC(sigignore_of_segv, "sigignore(3), siginterrupt(3)")
{
	struct sigaction now;
	struct area a = area(1, MISSING, 0);

	CHECK_OK(sigignore(SIGSEGV));
	CHECK_OK(sigaction(SIGSEGV, NULL, &now));
	CHECK(now.sa_handler == SIG_IGN);
	handle(SIGSEGV, count, 0);
	CHECK_OK(siginterrupt(SIGSEGV, 0));
	CHECK_OK(sigaction(SIGSEGV, NULL, &now));
	CHECK(now.sa_sigaction == count && (now.sa_flags & SA_RESTART));
	CHECK_OK(siginterrupt(SIGSEGV, 1));
	CHECK_OK(sigaction(SIGSEGV, NULL, &now));
	CHECK(now.sa_sigaction == count && !(now.sa_flags & SA_RESTART));
	expect_missing(a.u, a.mem); /* faults still come to the right place */
	CHECK_EQ(atomic_load(&handled), 0);
}

/* ---- alternate stacks of any size ---- */

CASE_LIBC(alternate_stack_of_any_size, "sigaltstack(2)")
{
	static char room[256 << 10] __attribute__((aligned(16)));
	struct area a = area(1, MISSING, 0);

	if (SANITIZED)
		skip("the sanitizer needs more stack");
	look_with(SIGSEGV, SA_ONSTACK, false);
	for (size_t size = 2048; size <= sizeof(room); size += size < 64000 ? 1013 : size < 66000 ? 1 : 16000) {
		stack_t ss = {.ss_sp = room + sizeof(room) - size, .ss_size = size}, old;
		uint8_t *bottom = ss.ss_sp;

		memset(bottom, 0x41, 64);
		if (sigaltstack(&ss, NULL)) { /* less than this machine takes */
			CHECK_EQ(errno, ENOMEM);
			continue;
		}
		CHECK_OK(sigaltstack(NULL, &old));
		CHECK(old.ss_sp == ss.ss_sp && old.ss_size == size && old.ss_flags == 0);
		if (size < 20000 || (size > 65600 && size < 200000))
			continue;
		raise_at(0x10);
		CHECK_EQ(seen.sig, SIGSEGV);
		CHECK(seen.sp >= (uintptr_t)ss.ss_sp && seen.sp < (uintptr_t)ss.ss_sp + size);
		CHECK(bottom[0] == 0x41 && bottom[63] == 0x41);
	}
	CHECK_OK(sigaltstack(&(stack_t){.ss_flags = SS_DISABLE}, NULL));
	expect_missing(a.u, a.mem);
}
