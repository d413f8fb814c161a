/* SPDX-License-Identifier: MIT */
/*
 * waiting.c - a thread that waits for a fault is an ordinary sleeping thread: signals reach it, its stack may be
 * tiny, and what ends the wait early leaves nothing behind.
 */
#include "stress.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define PROMPT 30.0 /* seconds that "promptly" may take on a machine busy with other tests */

static uint8_t *range; /* 64 registered pages */
static struct handler handler;
static _Alignas(4096) uint8_t page[PAGE];

static void stage(bool with_handler)
{
	range = map_pages(64);
	handler.fd = uffd_open(O_CLOEXEC | O_NONBLOCK, FEAT_WP); /* a blocking object cannot be polled */
	uffd_register(handler.fd, range, 64 * PAGE, MISSING | WP);
	if (with_handler)
		handler_start(&handler);
}

static void touch(int i)
{
	uint8_t *p = range + i * PAGE;
	CHECK(stamped(p, (uintptr_t)p));
}

static void fill(int i)
{
	uint8_t *p = range + i * PAGE;
	stamp(page, (uintptr_t)p);
	CHECK_INT(uffd_copy(handler.fd, p, page, PAGE, 0), 0);
}

static void expect_fault(int i)
{
	struct uffd_msg msg;
	CHECK(uffd_next(handler.fd, &msg, 10000));
	CHECK_INT(msg.event, UFFD_EVENT_PAGEFAULT);
	CHECK_INT(msg.arg.pagefault.address, (uintptr_t)(range + i * PAGE));
}

static bool fault_waits(int ms)
{
	struct pollfd p = {.fd = handler.fd, .events = POLLIN};
	return poll(&p, 1, ms) == 1;
}

/* ---- signals while a thread waits --------------------------------------------------------------------------- */

static atomic_int handled;
static sigjmp_buf jump;
static atomic_int leave; /* the handler shall jump out of the wait */

static void noting_handler(int sig)
{
	handled++;
	if (leave)
		siglongjmp(jump, 1);
}

static void handle(int sig, int flags)
{
	struct sigaction sa = {.sa_handler = noting_handler, .sa_flags = flags};
	CHECK_INT(sigaction(sig, &sa, NULL), 0);
}

static void check_mask(const sigset_t *want, const char *what)
{
	sigset_t got;
	CHECK_INT(pthread_sigmask(SIG_BLOCK, NULL, &got), 0);
	same_set(&got, want, what);
}

static void *toucher(void *arg)
{
	sigset_t none;
	sigemptyset(&none);
	if (sigsetjmp(jump, 1) == 0) {
		touch(0);
		check_mask(&none, "after the wait");
		return NULL;
	}
	check_mask(&none, "after the jump");
	return toucher; /* left the wait */
}

/* The handler runs while the fault waits; then the thread faults again, which is a new message. */
static void interrupt(bool read_first, int rounds, int flags)
{
	stage(false);
	handle(SIGUSR1, flags);
	pthread_t t = spawn(toucher, NULL);
	CHECK(fault_waits(10000));
	for (int i = 1; i <= rounds; i++) {
		if (read_first)
			expect_fault(0);
		double start = now();
		CHECK_INT(pthread_kill(t, SIGUSR1), 0);
		CHECK(wait_for(&handled, i, PROMPT));
		if (i == 1)
			note("handler after %.1f ms", (now() - start) * 1e3);
		CHECK(fault_waits(10000));
	}
	expect_fault(0);
	fill(0);
	CHECK(join(t) == NULL);
	CHECK_INT(handled, rounds);
	CHECK(!fault_waits(50));
}

static void test_interrupt_read(void)
{
	interrupt(true, 20, 0);
}

static void test_interrupt_unread(void)
{
	interrupt(false, 1, 0);
}

static void test_interrupt_restart(void)
{
	interrupt(true, 5, SA_RESTART);
}

/* siglongjmp out of the handler: the fault is gone, read or not, and the page can be used later. */
static void abandon(bool read_first)
{
	stage(false);
	leave = 1;
	handle(SIGUSR1, 0);
	for (int i = 1; i <= 20; i++) {
		pthread_t t = spawn(toucher, NULL);
		CHECK(fault_waits(10000));
		if (read_first)
			expect_fault(0);
		CHECK_INT(pthread_kill(t, SIGUSR1), 0);
		CHECK(wait_for(&handled, i, PROMPT));
		CHECK(join(t) == toucher);
		CHECK(!fault_waits(0));
	}
	fill(0);
	touch(0);
	CHECK(!fault_waits(0));
}

static void test_abandon_read(void)
{
	abandon(true);
}

static void test_abandon_unread(void)
{
	abandon(false);
}

/* A blocked signal waits until the fault is resolved. */
static void *blocking_toucher(void *arg)
{
	sigset_t usr1, pending;
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &usr1, NULL);
	touch(0);
	CHECK_INT(handled, 0);
	sigpending(&pending);
	CHECK_INT(sigismember(&pending, SIGUSR1), 1);
	pthread_sigmask(SIG_UNBLOCK, &usr1, NULL);
	CHECK_INT(handled, 1);
	return NULL;
}

static void test_blocked_waits(void)
{
	stage(false);
	handle(SIGUSR1, 0);
	pthread_t t = spawn(blocking_toucher, NULL);
	expect_fault(0);
	CHECK_INT(pthread_kill(t, SIGUSR1), 0);
	sleep_ms(50);
	CHECK_INT(handled, 0);
	CHECK(!fault_waits(0));
	fill(0);
	join(t);
}

/* SIGALRM of the process goes to the only thread that may take it: the waiting one. */
static void *alarmed(void *arg)
{
	for (int i = 1; i <= 5; i++)
		CHECK(wait_for(&handled, i, PROMPT));
	fill(0);
	return NULL;
}

static void test_alarm(void)
{
	struct itimerval it = {.it_interval = {0, 20000}, .it_value = {0, 20000}}, off = {{0, 0}, {0, 0}};
	sigset_t alrm;
	stage(false);
	handle(SIGALRM, 0);
	sigemptyset(&alrm);
	sigaddset(&alrm, SIGALRM);
	pthread_sigmask(SIG_BLOCK, &alrm, NULL);
	pthread_t t = spawn(alarmed, NULL);
	pthread_sigmask(SIG_UNBLOCK, &alrm, NULL);
	CHECK_INT(setitimer(ITIMER_REAL, &it, NULL), 0);
	touch(0);
	CHECK_INT(setitimer(ITIMER_REAL, &off, NULL), 0);
	CHECK(handled >= 5);
	join(t);
}

/* An alarm is how a program gives up on a page: handler, siglongjmp, again and again. */
static void test_alarm_jump(void)
{
	stage(false);
	leave = 1;
	handle(SIGALRM, 0);
	for (volatile int i = 0; i < 50; i++) {
		struct itimerval it = {.it_value = {0, 1 + 97 * i}};
		if (sigsetjmp(jump, 1) == 0) {
			CHECK_INT(setitimer(ITIMER_REAL, &it, NULL), 0);
			peek(range);
			FAIL("went on");
		}
	}
	CHECK(!fault_waits(0));
	fill(0);
	touch(0);
}

/* Several threads fault under a storm of signals, some of them sent at the very moment of the fault. */
static atomic_int storm_over;

static void *storm_thread(void *arg)
{
	uint8_t *mine = arg;
	while (!storm_over) {
		CHECK(stamped(mine, (uintptr_t)mine));
		CHECK_INT(madvise(mine, PAGE, MADV_DONTNEED), 0);
	}
	return NULL;
}

static void test_storm(void)
{
	pthread_t t[4];
	uint64_t sent = 0;
	stage(true);
	handle(SIGUSR1, SA_RESTART);
	for (int i = 0; i < 4; i++)
		t[i] = spawn(storm_thread, range + i * PAGE);
	for (double end = now() + 1.0; now() < end; sched_yield())
		CHECK_INT(pthread_kill(t[sent++ % 4], SIGUSR1), 0);
	storm_over = 1;
	for (int i = 0; i < 4; i++)
		join(t[i]);
	CHECK(handled > 0);
	note("%llu signals sent, %d handled, %lu faults", (unsigned long long)sent, handled, handler.missing);
}

/*
 * A signal while a system call waits for a page: the kernel runs the handler only when the page has come, and keeps a
 * CPU busy until then. Whether it runs earlier is left open here; the call must complete in the end.
 */
static int pipe_fds[2];

static void *reader(void *arg)
{
	CHECK_INT(read(pipe_fds[0], range, 1), 1);
	CHECK_INT(peek(range), 'x');
	return NULL;
}

static void test_syscall_signal(void)
{
	stage(false);
	handle(SIGUSR1, 0);
	CHECK_INT(pipe(pipe_fds), 0);
	CHECK_INT(write(pipe_fds[1], "x", 1), 1);
	pthread_t t = spawn(reader, NULL);
	expect_fault(0);
	CHECK_INT(pthread_kill(t, SIGUSR1), 0);
	bool early = wait_for(&handled, 1, 0.1);
	note("the handler ran %s", early ? "at once" : "late");
	fill(0);
	join(t);
	CHECK_INT(handled, 1);
}

/* ---- tiny stacks -------------------------------------------------------------------------------------------- */

static void *tiny(void *arg)
{
	for (int i = 0; i < 64; i++)
		touch(i);
	poke(range, peek(range));
	return NULL;
}

static void test_tiny_stack(void)
{
	pthread_attr_t attr;
	pthread_t t;
	stage(true);
	CHECK_INT(pthread_attr_init(&attr), 0);
	CHECK_INT(pthread_attr_setstacksize(&attr, 16384), 0);
	for (int i = 0; i < 20; i++) {
		CHECK_INT(pthread_create(&t, &attr, tiny, NULL), 0);
		join(t);
		CHECK_INT(madvise(range, 64 * PAGE, MADV_DONTNEED), 0);
	}
}

/* A handler on the smallest possible alternate stack, which faults there. */
static void small_handler(int sig)
{
	handled += peek(range + 20 * PAGE) == *(volatile uint8_t *)page;
}

static void test_tiny_altstack(void)
{
	size_t frame = (size_t)sysconf(_SC_MINSIGSTKSZ), size = (frame + 512 + 15) & ~(size_t)15;
	uint8_t *mem = map_pages(64);
	struct sigaction sa = {.sa_handler = small_handler, .sa_flags = SA_ONSTACK};
	stack_t ss = {.ss_sp = mem + PAGE, .ss_size = size}, old;
	CHECK_INT(mprotect(mem, PAGE, PROT_NONE), 0); /* nothing may use more than it was given */
	stage(true);
	stamp(page, (uintptr_t)(range + 20 * PAGE));
	CHECK_INT(sigaltstack(&ss, NULL), 0);
	CHECK_INT(sigaction(SIGUSR1, &sa, NULL), 0);
	for (int i = 1; i <= 20; i++) {
		CHECK_INT(raise(SIGUSR1), 0);
		CHECK_INT(handled, i);
		CHECK_INT(madvise(range, 64 * PAGE, MADV_DONTNEED), 0);
	}
	touch(1);
	CHECK_INT(sigaltstack(NULL, &old), 0);
	CHECK(old.ss_sp == ss.ss_sp && old.ss_size == ss.ss_size && old.ss_flags == 0);
	ss.ss_size = 100;
	CHECK_ERR(sigaltstack(&ss, NULL), ENOMEM);
	ss.ss_flags = 0x4000;
	CHECK_ERR(sigaltstack(&ss, NULL), EINVAL);
	CHECK_INT(handler.missing, 21);
}

/* SS_AUTODISARM: the kernel forgets the stack while the handler runs, and restores it afterwards. */
static stack_t disarmed;

static void disarm_handler(int sig)
{
	sigaltstack(NULL, &disarmed);
	touch(30 + handled++);
}

static void test_autodisarm(void)
{
	uint8_t *mem = map_pages(16);
	struct sigaction sa = {.sa_handler = disarm_handler, .sa_flags = SA_ONSTACK};
	stack_t ss = {.ss_sp = mem, .ss_size = 16 * PAGE, .ss_flags = (int)(1u << 31)}, old;
	stage(true);
	CHECK_INT(sigaltstack(&ss, NULL), 0);
	CHECK_INT(sigaction(SIGUSR1, &sa, NULL), 0);
	for (int i = 0; i < 3; i++) {
		CHECK_INT(raise(SIGUSR1), 0);
		CHECK_INT(disarmed.ss_flags, SS_DISABLE);
		CHECK_INT(sigaltstack(NULL, &old), 0);
		CHECK(old.ss_sp == mem && (unsigned)old.ss_flags == 1u << 31);
	}
	CHECK_INT(handled, 3);
}

/* A thread whose very stack is registered memory. */
static __attribute__((noinline)) uint64_t deep(int n)
{
	volatile uint64_t pad[64];
	pad[n & 63] = (uint64_t)n;
	uint64_t below = n ? deep(n - 1) : 0;
	return below + pad[n & 63];
}

static void *stack_walker(void *arg)
{
	return (void *)(uintptr_t)deep(300);
}

static void fill_zero(struct handler *h, void *to, uint64_t addr)
{
	memset(to, 0, PAGE);
}

static void test_stack_in_range(void)
{
	pthread_attr_t attr;
	pthread_t t;
	handler.fill = fill_zero;
	handler.lenient = true; /* libc frees the stack's memory behind the handler's back */
	stage(true);
	CHECK_INT(pthread_attr_init(&attr), 0);
	CHECK_INT(pthread_attr_setstack(&attr, range, 64 * PAGE), 0);
	CHECK_INT(pthread_create(&t, &attr, stack_walker, NULL), 0);
	CHECK_INT((uintptr_t)join(t), 300 * 301 / 2);
	CHECK(handler.missing > 30);
}

/* ---- a task that shares everything, even the TLS ------------------------------------------------------------ */

static int task_main(void *arg)
{
	int seconds = *(int *)arg;
	if (seconds)
		alarm((unsigned)seconds);
	peek(range);
	return 7;
}

static pid_t task(int *seconds, uint8_t *stack)
{
	int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | SIGCHLD;
	pid_t pid = clone(task_main, stack + 16 * PAGE, flags, seconds);
	CHECK(pid > 0);
	return pid;
}

static void test_task(void)
{
	uint8_t *stack = map_pages(16);
	int status, seconds = 0;
	stage(false);
	for (int i = 0; i < 20; i++) { /* resolved */
		pid_t pid = task(&seconds, stack);
		expect_fault(0);
		fill(0);
		CHECK_INT(waitpid(pid, &status, 0), pid);
		CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
		touch(0);
		CHECK_INT(madvise(range, 64 * PAGE, MADV_DONTNEED), 0);
	}
	for (int i = 0; i < 20; i++) { /* killed, its message read or not */
		pid_t pid = task(&seconds, stack);
		if (i & 1)
			expect_fault(0);
		else
			CHECK(fault_waits(10000));
		/* killed between its message and its sleep, it would leave its locks behind */
		sleep_ms(1);
		CHECK_INT(kill(pid, i & 2 ? SIGKILL : SIGTERM), 0);
		CHECK_INT(waitpid(pid, &status, 0), pid);
		CHECK(WIFSIGNALED(status) && WTERMSIG(status) == (i & 2 ? SIGKILL : SIGTERM));
		CHECK(!fault_waits(0));
	}
	seconds = 1;
	pid_t pid = task(&seconds, stack);
	expect_fault(0);
	CHECK_INT(waitpid(pid, &status, 0), pid);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM);
	fill(0);
	touch(0);
}

/* Two tasks on one TLS fault at the same time; so does the thread that owns the TLS. */
static int pair_main(void *arg)
{
	for (int i = 0; i < 500; i++) {
		CHECK(stamped(arg, (uintptr_t)arg));
		CHECK_INT(syscall(SYS_madvise, arg, PAGE, MADV_DONTNEED), 0);
	}
	return 0;
}

static void test_shared_tls(void)
{
	int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | SIGCHLD, status;
	pid_t pid[2];
	stage(true);
	for (int i = 0; i < 2; i++) {
		uint8_t *stack = map_pages(16);
		pid[i] = clone(pair_main, stack + 16 * PAGE, flags, range + i * PAGE);
		CHECK(pid[i] > 0);
	}
	pair_main(range + 2 * PAGE);
	for (int i = 0; i < 2; i++) {
		CHECK_INT(waitpid(pid[i], &status, 0), pid[i]);
		CHECK_INT(status, 0);
	}
	CHECK_INT(handler.missing, 1500);
}

/* A thread that is cancelled, or a process that is killed, while it waits. */
static void *cancelled(void *arg)
{
	int old;
	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &old);
	peek(range);
	return NULL;
}

static void test_cancel(void)
{
	stage(false);
	for (int i = 0; i < 10; i++) {
		pthread_t t = spawn(cancelled, NULL);
		expect_fault(0);
		CHECK_INT(pthread_cancel(t), 0);
		CHECK(join(t) == PTHREAD_CANCELED);
		CHECK(!fault_waits(0));
	}
	fill(0);
	touch(0);
}

static void wait_forever(void *arg)
{
	stage(false);
	alarm(1);
	peek(range);
}

static void exit_while_waiting(void *arg)
{
	stage(false);
	spawn(cancelled, NULL);
	expect_fault(0);
	exit(3);
}

static void test_end_while_waiting(void)
{
	int status = in_child(wait_forever, NULL);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM);
	status = in_child(exit_while_waiting, NULL);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 3);
}

static const struct test tests[] = {
	{"interrupt-read", test_interrupt_read, 0},
	{"interrupt-unread", test_interrupt_unread, 0},
	{"interrupt-restart", test_interrupt_restart, 0},
	{"abandon-read", test_abandon_read, 0},
	{"abandon-unread", test_abandon_unread, 0},
	{"blocked-signal-waits", test_blocked_waits, 0},
	{"alarm", test_alarm, 0},
	{"alarm-jump", test_alarm_jump, 0},
	{"signal-storm", test_storm, 0},
	{"signal-in-system-call", test_syscall_signal, 0},
	{"tiny-stack", test_tiny_stack, 0},
	{"tiny-alternate-stack", test_tiny_altstack, 0},
	{"autodisarm", test_autodisarm, 0},
	{"stack-in-range", test_stack_in_range, 0},
	{"clone-task", test_task, 0},
	{"shared-tls", test_shared_tls, 0},
	{"cancel", test_cancel, 0},
	{"end-while-waiting", test_end_while_waiting, 0},
	{NULL, NULL, 0},
};

int main(int argc, char **argv)
{
	return run_tests(argc, argv, tests);
}
