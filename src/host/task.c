/* SPDX-License-Identifier: MIT */
/* task.c - threads, processes, futexes and signals. */
#include "host/task.h"

#include "arch/sleep.h"
#include "arch/syscall.h"
#include "host/inject.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define SIGSET 8 /* bytes of a mask, as the host has it */

static struct timespec to_timespec(uint64_t ns)
{
	return (struct timespec){.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u)};
}

void fl_host_sleep(uint64_t ns)
{
	struct timespec left = to_timespec(ns);

	while (fl_sys(SYS_nanosleep, &left, &left) == -EINTR)
		;
}

void fl_host_yield(void)
{
	fl_sys(SYS_sched_yield, 0);
}

/* ---- threads and processes ---- */

int32_t fl_host_tid(void)
{
	return (int32_t)fl_sys(SYS_gettid, 0);
}

int32_t fl_host_pid(void)
{
	return (int32_t)fl_sys(SYS_getpid, 0);
}

bool fl_host_thread_exists(int32_t tid)
{
	return fl_sys(SYS_tkill, tid, 0) != -ESRCH;
}

/* PIDFD_SELF_THREAD and PIDFD_SELF_THREAD_GROUP: pidfd_open(2) */
#define SELF_FIRST (-10001)
#define SELF_LAST  (-10000)

/* The number behind "\nPid:" in what /proc says of the descriptor; -1: none. */
static long pid_in(const char *info)
{
	const char *line = strstr(info, "\nPid:");
	long pid = 0;

	if (!line)
		return -1;
	for (line += sizeof("\nPid:") - 1; *line == '\t' || *line == ' '; line++)
		;
	if (*line < '0' || *line > '9')
		return -1;
	while (*line >= '0' && *line <= '9')
		pid = pid * 10 + (*line++ - '0');
	return pid;
}

bool fl_host_pidfd_self(int pidfd)
{
	char path[32] = "/proc/self/fdinfo/", digits[12], info[512];
	size_t end = strlen(path), nr = 0;
	long fd, n;

	if (pidfd >= SELF_FIRST && pidfd <= SELF_LAST)
		return true;
	if (pidfd < 0)
		return false;
	for (int left = pidfd; left || !nr; left /= 10)
		digits[nr++] = (char)('0' + left % 10);
	while (nr)
		path[end++] = digits[--nr];
	fd = fl_sys(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
	if (fd < 0)
		return false;
	n = fl_sys(SYS_read, fd, info, sizeof(info) - 1);
	fl_sys(SYS_close, fd);
	info[n > 0 ? n : 0] = '\0';
	return pid_in(info) == fl_host_pid();
}

_Noreturn void fl_host_exit(int status)
{
	for (;;)
		fl_sys(SYS_exit_group, status);
}

void fl_host_say(const char *text, size_t len)
{
	fl_sys(SYS_write, 2, text, len);
}

int fl_host_pipe(int pipe[2])
{
	return fl_fail(FL_FP_FORK) ? -ENOMEM : (int)fl_sys(SYS_pipe2, pipe, O_CLOEXEC);
}

#define GATE_PAGE 4096
#define LOOK_NS	  2000000u /* how often to see whether a child is alive */

int fl_host_gate_open(struct fl_host_gate *gate)
{
	int err = fl_host_pipe(gate->pipe);
	long p;

	gate->word = NULL;
	if (err != -EMFILE && err != -ENFILE)
		return err;
	p = fl_sys(SYS_mmap, 0, GATE_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (p < 0 && p > -GATE_PAGE)
		return err;
	gate->word = (uint32_t *)p;
	return 0;
}

void fl_host_gate_close(struct fl_host_gate *gate)
{
	if (gate->word) {
		fl_sys(SYS_munmap, gate->word, GATE_PAGE);
		return;
	}
	fl_sys(SYS_close, gate->pipe[0]);
	fl_sys(SYS_close, gate->pipe[1]);
}

/* A child that nobody waits for vanishes; another's, after CLONE_PARENT, cannot be looked at. */
static bool child_dead(int32_t pid)
{
	siginfo_t info = {0};
	long ret = fl_sys(SYS_waitid, P_PID, pid, &info, WEXITED | WNOHANG | WNOWAIT | __WALL, NULL);

	return ret == -ECHILD ? fl_sys(SYS_kill, pid, 0) == -ESRCH : ret == 0 && info.si_pid == pid;
}

static bool wait_at_word(uint32_t *word, int32_t pid)
{
	struct timespec look = to_timespec(LOOK_NS);

	while (pid > 0 && !__atomic_load_n(word, __ATOMIC_ACQUIRE)) {
		if (fl_sys(SYS_futex, word, FUTEX_WAIT, 0, &look, NULL, 0) == -ETIMEDOUT && child_dead(pid))
			break;
	}
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

/* A byte, or the end of the file, when all writers are gone. */
static bool wait_at_pipe(const int pipe[2])
{
	char byte;
	long n;

	fl_sys(SYS_close, pipe[1]);
	do
		n = fl_sys(SYS_read, pipe[0], &byte, 1);
	while (n == -EINTR);
	return n == 1;
}

bool fl_host_gate_wait(struct fl_host_gate *gate, int32_t pid)
{
	bool passed;

	if (gate->word) {
		passed = wait_at_word(gate->word, pid);
		fl_host_gate_close(gate);
		return passed;
	}
	passed = wait_at_pipe(gate->pipe);
	fl_sys(SYS_close, gate->pipe[0]);
	return passed;
}

void fl_host_gate_pass(struct fl_host_gate *gate)
{
	if (gate->word) {
		__atomic_store_n(gate->word, 1, __ATOMIC_RELEASE);
		fl_sys(SYS_futex, gate->word, FUTEX_WAKE, 1, NULL, NULL, 0);
	} else {
		fl_sys(SYS_write, gate->pipe[1], "", 1);
	}
	fl_host_gate_close(gate);
}

int fl_host_futex_wait(uint32_t *word, uint32_t val, uint64_t timeout_ns)
{
	struct timespec ts = to_timespec(timeout_ns);
	long ret = fl_sys(SYS_futex, word, FUTEX_WAIT_PRIVATE, val, timeout_ns ? &ts : NULL, NULL, 0);

	return ret == -EAGAIN ? 0 : (int)ret;
}

int fl_host_futex_wait_signals(uint32_t *word, uint32_t val, uint64_t timeout_ns, uint64_t let_in, uint64_t keep_out)
{
	struct timespec ts = to_timespec(timeout_ns);
	long ret = fl_arch_sleep(word, val, timeout_ns ? &ts : NULL, let_in, keep_out);

	return ret == -EAGAIN ? 0 : (int)ret;
}

int fl_host_futex_wake(uint32_t *word, int n)
{
	return (int)fl_sys(SYS_futex, word, FUTEX_WAKE_PRIVATE, n, NULL, NULL, 0);
}

/* ---- signals ---- */

static uint64_t sigprocmask_call(int how, uint64_t set)
{
	uint64_t old = 0;

	fl_sys(SYS_rt_sigprocmask, how, &set, &old, SIGSET);
	return old;
}

uint64_t fl_host_sigmask(uint64_t set)
{
	return sigprocmask_call(SIG_SETMASK, set);
}

uint64_t fl_host_sigblock(uint64_t set)
{
	return sigprocmask_call(SIG_BLOCK, set);
}

void fl_host_sigunblock(uint64_t set)
{
	sigprocmask_call(SIG_UNBLOCK, set);
}

uint64_t fl_host_sigpending(void)
{
	uint64_t pending = 0;

	fl_sys(SYS_rt_sigpending, &pending, SIGSET);
	return pending;
}

int fl_host_sigaction(int sig, const struct fl_ksigaction *act, struct fl_ksigaction *old)
{
	return (int)fl_sys(SYS_rt_sigaction, sig, act, old, SIGSET);
}

int fl_host_sigaltstack(const stack_t *ss, stack_t *old)
{
	return (int)fl_sys(SYS_sigaltstack, ss, old);
}

void fl_host_raise(int sig)
{
	fl_sys(SYS_tgkill, fl_host_pid(), fl_host_tid(), sig);
}

void fl_host_sigqueue_thread(int sig, siginfo_t *info)
{
	fl_sys(SYS_rt_tgsigqueueinfo, fl_host_pid(), fl_host_tid(), sig, info);
}

void fl_host_sigqueue_process(int sig, siginfo_t *info)
{
	fl_sys(SYS_rt_sigqueueinfo, fl_host_pid(), sig, info);
}

#define PIDFD_OF_THREAD O_EXCL /* PIDFD_THREAD, since Linux 6.9 */

int fl_host_fd_fetch(int32_t task, bool thread, int fd)
{
	int pidfd = (int)fl_sys(SYS_pidfd_open, task, thread ? PIDFD_OF_THREAD : 0), got;

	if (pidfd < 0)
		return pidfd;
	got = (int)fl_sys(SYS_pidfd_getfd, pidfd, fd, 0);
	fl_sys(SYS_close, pidfd);
	return got;
}
