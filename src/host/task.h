/* SPDX-License-Identifier: MIT */
/*
 * task.h - the operating system's time, threads, processes and signals. What host.h says of every function holds
 * here, too: -errno, async-signal-safe, no lock, and not seen by code that interposes libc.
 */
#ifndef FL_HOST_TASK_H
#define FL_HOST_TASK_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- time and place ---- */

/* Nanoseconds, monotonic. By the vDSO where there is one: no system call. */
uint64_t fl_host_now_ns(void);
/*
 * The CPU that the thread runs on, plus one; 0: not known. It does not use thread-local storage: two tasks may share
 * it.
 */
uint32_t fl_host_cpu(void);
/* Not interrupted by signals. */
void fl_host_sleep(uint64_t ns);
void fl_host_yield(void);

/* ---- threads and processes ---- */

int32_t fl_host_tid(void);
int32_t fl_host_pid(void);
/*
 * Is there such a thread in the process's namespace? True also for another process's, if the number was used again.
 */
bool fl_host_thread_exists(int32_t tid);
/* Does the pidfd, or a number that stands for one, name this process? False also if it cannot be found out. */
bool fl_host_pidfd_self(int pidfd);
/* A descriptor of what `fd` names in the table of a process's first thread or, `thread`, of any thread. */
int fl_host_fd_fetch(int32_t task, bool thread, int fd);
_Noreturn void fl_host_exit(int status);
/* Text to stderr. */
void fl_host_say(const char *text, size_t len);
/* A pipe, close-on-exec: for a fork. [FORK] */
int fl_host_pipe(int pipe[2]);
/*
 * Where a parent waits for its child of fork(): until the child passes, or is dead. A pipe, or if there is no
 * descriptor left, a word in memory that both share; then the parent must know the child.
 */
struct fl_host_gate {
	int pipe[2];
	uint32_t *word;
};
/* -ENOMEM, -EMFILE, -ENFILE. [FORK] */
int fl_host_gate_open(struct fl_host_gate *gate);
/* In the parent; `pid` is the child's, or negative: there is none. False: it is dead, or never was. Closes it. */
bool fl_host_gate_wait(struct fl_host_gate *gate, int32_t pid);
/* In the child, which passes and closes it. */
void fl_host_gate_pass(struct fl_host_gate *gate);
/* There will be no child. */
void fl_host_gate_close(struct fl_host_gate *gate);

/*
 * Sleep while *word == val, until woken, a signal's handler has run, or timeout_ns has passed (0: never). 0: look
 * again;
 * -EINTR, -ETIMEDOUT. The word is private to the process.
 */
int fl_host_futex_wait(uint32_t *word, uint32_t val, uint64_t timeout_ns);
/*
 * The same with only the signals of `let_in` blocked. -EINTR also for a handler that ran before the sleep began,
 * where the machine's part can tell (src/arch). => the signals of `keep_out` are blocked
 */
int fl_host_futex_wait_signals(uint32_t *word, uint32_t val, uint64_t timeout_ns, uint64_t let_in, uint64_t keep_out);
/* Wake up to n sleepers; returns how many there were. Nothing is read from the word, which may be gone. */
int fl_host_futex_wake(uint32_t *word, int n);

/* ---- signals ---- */

/* A signal action as rt_sigaction(2) has it. */
struct fl_ksigaction {
	void (*handler)(int);
	unsigned long flags;
	void (*restorer)(void);
	uint64_t mask;
};

/* Set the thread's mask of blocked signals; returns the old one. */
uint64_t fl_host_sigmask(uint64_t set);
/* Block, or unblock, these besides; the old mask. */
uint64_t fl_host_sigblock(uint64_t set);
void fl_host_sigunblock(uint64_t set);
/* Those that wait until they are no longer blocked. */
uint64_t fl_host_sigpending(void);
/* Either may be NULL. -EINVAL: no such signal. */
int fl_host_sigaction(int sig, const struct fl_ksigaction *act, struct fl_ksigaction *old);
int fl_host_sigaltstack(const stack_t *ss, stack_t *old);
/* Send it to this thread; with what comes with it, to this thread or to the process. */
void fl_host_raise(int sig);
void fl_host_sigqueue_thread(int sig, siginfo_t *info);
void fl_host_sigqueue_process(int sig, siginfo_t *info);

#endif
