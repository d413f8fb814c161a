/* SPDX-License-Identifier: MIT */
/*
 * masks.c - the signal mask is what the program set, whatever it blocks: faults are resolved all the same, in signal
 * handlers, too.
 */
#include "stress.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

static uint8_t *range; /* 64 registered pages */
static struct handler handler;
static sigjmp_buf jump;
static atomic_int handled;

static void stage(void)
{
	range = map_pages(64);
	handler.fd = uffd_open(O_CLOEXEC, FEAT_WP);
	uffd_register(handler.fd, range, 64 * PAGE, MISSING | WP);
	handler_start(&handler);
}

static void touch(int i)
{
	uint8_t *p = range + i * PAGE;
	CHECK(stamped(p, (uintptr_t)p));
}

typedef int setmask(int how, const sigset_t *set, sigset_t *old);

static void check_mask(setmask *fn, const sigset_t *want, const char *what)
{
	sigset_t got;
	CHECK_INT(fn(SIG_BLOCK, NULL, &got), 0);
	same_set(&got, want, what);
}

static void mask_with(setmask *fn)
{
	sigset_t all, none, some, old, want;
	sigfillset(&all);
	sigemptyset(&none);
	sigemptyset(&some);
	sigaddset(&some, SIGSEGV);
	sigaddset(&some, SIGBUS);
	stage();
	CHECK_INT(fn(SIG_BLOCK, &all, &old), 0);
	same_set(&old, &none, "before");
	touch(0);
	check_mask(fn, &all, "all blocked");
	CHECK_INT(fn(SIG_UNBLOCK, &some, &old), 0);
	same_set(&old, &all, "old of unblock");
	touch(1);
	want = all;
	sigdelset(&want, SIGSEGV);
	sigdelset(&want, SIGBUS);
	check_mask(fn, &want, "all but two");
	CHECK_INT(fn(SIG_SETMASK, &some, &old), 0);
	same_set(&old, &want, "old of setmask");
	touch(2);
	check_mask(fn, &some, "two");
	CHECK_INT(fn(SIG_BLOCK, &none, &old), 0);
	same_set(&old, &some, "old of an empty block");
	CHECK_INT(fn(SIG_SETMASK, &none, NULL), 0);
	touch(3);
	check_mask(fn, &none, "none");
	CHECK_ERR(sigprocmask(12345, &all, NULL), EINVAL);
	CHECK_INT(pthread_sigmask(12345, &all, NULL), EINVAL);
	check_mask(fn, &none, "after a refusal");
}

static int raw_mask(int how, const sigset_t *set, sigset_t *old)
{
	if (old)
		sigemptyset(old);
	return (int)syscall(SYS_rt_sigprocmask, how, set, old, 8);
}

static void test_sigprocmask(void)
{
	mask_with(sigprocmask);
}

static void test_pthread_sigmask(void)
{
	mask_with(pthread_sigmask);
}

static void test_raw_sigprocmask(void)
{
	mask_with(raw_mask);
}

/* A thread starts with its creator's mask, and may fault at once. */
static void *inherited(void *arg)
{
	check_mask(pthread_sigmask, arg, "inherited");
	touch(4);
	poke(range + 4 * PAGE, peek(range + 4 * PAGE));
	check_mask(pthread_sigmask, arg, "inherited, after a fault");
	return NULL;
}

static void test_inherited(void)
{
	sigset_t all, none;
	pthread_attr_t attr;
	pthread_t t;
	sigfillset(&all);
	sigemptyset(&none);
	stage();
	CHECK_INT(pthread_sigmask(SIG_SETMASK, &all, NULL), 0);
	join(spawn(inherited, &all));
	CHECK_INT(pthread_sigmask(SIG_SETMASK, &none, NULL), 0);
	CHECK_INT(madvise(range, 64 * PAGE, MADV_DONTNEED), 0);
	CHECK_INT(pthread_attr_init(&attr), 0);
	CHECK_INT(pthread_attr_setsigmask_np(&attr, &all), 0);
	CHECK_INT(pthread_create(&t, &attr, inherited, &all), 0);
	join(t);
}

/* siglongjmp and setcontext restore the mask that was in force. */
static void test_jumps(void)
{
	sigset_t all, none;
	ucontext_t here;
	volatile int round = 0;
	sigfillset(&all);
	sigemptyset(&none);
	stage();
	CHECK_INT(sigprocmask(SIG_SETMASK, &all, NULL), 0);
	if (sigsetjmp(jump, 1) == 0) {
		touch(0);
		CHECK_INT(sigprocmask(SIG_SETMASK, &none, NULL), 0);
		siglongjmp(jump, 1);
	}
	check_mask(sigprocmask, &all, "siglongjmp to all blocked");
	touch(1);
	CHECK_INT(sigprocmask(SIG_SETMASK, &none, NULL), 0);
	if (sigsetjmp(jump, 1) == 0) {
		CHECK_INT(sigprocmask(SIG_SETMASK, &all, NULL), 0);
		touch(2);
		siglongjmp(jump, 1);
	}
	check_mask(sigprocmask, &none, "siglongjmp to none blocked");
	touch(3);
	CHECK_INT(sigprocmask(SIG_SETMASK, &all, NULL), 0);
	CHECK_INT(getcontext(&here), 0);
	if (round++ == 0) {
		CHECK_INT(sigprocmask(SIG_SETMASK, &none, NULL), 0);
		setcontext(&here);
	}
	check_mask(sigprocmask, &all, "setcontext to all blocked");
	touch(4);
}

/* A process that was started with every signal blocked. */
static void test_exec_blocked(void)
{
	sigset_t all;
	sigfillset(&all);
	if (!getenv("STRESS_BLOCKED")) {
		sigprocmask(SIG_SETMASK, &all, NULL);
		setenv("STRESS_BLOCKED", "1", 1);
		execl("/proc/self/exe", "masks", "exec-all-blocked", (char *)NULL);
		FAIL("exec: %s", strerror(errno));
	}
	check_mask(sigprocmask, &all, "at the start");
	stage();
	touch(0);
	join(spawn(inherited, &all));
	check_mask(sigprocmask, &all, "in the end");
}

/* ---- faults inside a handler -------------------------------------------------------------------------------- */

static sigset_t in_handler;

static void faulting_handler(int sig)
{
	pthread_sigmask(SIG_BLOCK, NULL, &in_handler);
	for (int i = 0; i < 8; i++)
		touch(8 + i);
	poke(range + 8 * PAGE, peek(range + 8 * PAGE));
	handled++;
}

static void test_in_handler(void)
{
	struct sigaction sa = {.sa_handler = faulting_handler}, old;
	sigset_t all, none;
	sigfillset(&all);
	sigemptyset(&none);
	sa.sa_mask = all;
	stage();
	CHECK_INT(sigaction(SIGUSR1, &sa, NULL), 0);
	CHECK_INT(sigaction(SIGUSR1, NULL, &old), 0);
	same_set(&old.sa_mask, &all, "sa_mask");
	for (int i = 1; i <= 50; i++) {
		CHECK_INT(raise(SIGUSR1), 0);
		CHECK_INT(handled, i);
		same_set(&in_handler, &all, "in the handler");
		check_mask(sigprocmask, &none, "after the handler");
		CHECK_INT(madvise(range, 64 * PAGE, MADV_DONTNEED), 0);
	}
	CHECK_INT(handler.missing, 50 * 8);
}

static const struct test tests[] = {
	{"sigprocmask", test_sigprocmask, 0},
	{"pthread_sigmask", test_pthread_sigmask, 0},
	{"raw-sigprocmask", test_raw_sigprocmask, 0},
	{"inherited-mask", test_inherited, 0},
	{"mask-jumps", test_jumps, 0},
	{"exec-all-blocked", test_exec_blocked, 0},
	{"fault-in-handler", test_in_handler, 0},
	{NULL, NULL, 0},
};

int main(int argc, char **argv)
{
	return run_tests(argc, argv, tests);
}
