/* SPDX-License-Identifier: MIT */
/* stuck.c - accesses that nothing resolves: each ends in a signal, and none faults for ever. */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "conformance.h"

#define SEEN		   "kernel 6.18, observed"
#define CASE_LIBC(fn, src) CASE_ON(fn, ON_LIBC, PROCESS, src)

/* ---- instructions in memory that may not be executed ---- */

static sigjmp_buf out;
static siginfo_t told;

static void leave(int sig, siginfo_t *info, void *context)
{
	told = *info;
	siglongjmp(out, sig);
}

/* 0, or the signal that a call of what is at addr raised */
static int run_at(uint64_t addr)
{
	struct sigaction sa = {.sa_sigaction = leave, .sa_flags = SA_SIGINFO};
	int sig;

	CHECK_OK(sigaction(SIGSEGV, &sa, NULL));
	sig = sigsetjmp(out, 1);
	if (!sig)
		((void (*)(void))(uintptr_t)addr)();
	return sig;
}

CASE_LIBC(execute_present_memory, SEEN ": SIGSEGV, SEGV_ACCERR at the instruction")
{
	struct area a = area(1, MISSING, 0);

	fill(a.u, a.mem, 1, 0xc3);
	for (int i = 0; i < 10; i++) {
		CHECK_EQ(run_at(a.mem + 16), SIGSEGV);
		CHECK_EQ(told.si_code, SEGV_ACCERR);
		CHECK_EQ((uintptr_t)told.si_addr, a.mem + 16);
		CHECK_EQ(peek(a.mem), 0xc3);
	}
	CHECK(quiet(a.u));
}

static void *serves(void *arg)
{
	const struct area *a = arg;

	expect_fault(a->u, a->mem, 0);
	fill(a->u, a->mem, 1, 0xc3);
	return NULL;
}

CASE_LIBC(execute_missing_memory, SEEN ": a missing fault as of a load, then SIGSEGV")
{
	struct area a = area(1, MISSING, 0);
	pthread_t thread;

	CHECK_OK(pthread_create(&thread, NULL, serves, &a));
	CHECK_EQ(run_at(a.mem), SIGSEGV);
	CHECK_EQ(told.si_code, SEGV_ACCERR);
	CHECK_OK(pthread_join(thread, NULL));
	CHECK(quiet(a.u));
}

CASE_LIBC(execute_untouched_memory, SEEN ": SIGSEGV")
{
	struct area a = area(1, WP, 0);

	CHECK_EQ(run_at(a.mem), SIGSEGV);
	CHECK_EQ(told.si_code, SEGV_ACCERR);
	CHECK_EQ(peek(a.mem), 0);
}

CASE_LIBC(execute_unregistered_memory, SEEN)
{
	struct area a = area(1, MISSING, 0);

	fill(a.u, a.mem, 1, 0xc3);
	CHECK_OK(unreg(a.u, a.mem, PAGE));
	CHECK_EQ(run_at(a.mem), SIGSEGV);
	CHECK_EQ(peek(a.mem), 0xc3);
}

#ifdef __x86_64__
static void *runs(void *arg)
{
	((void (*)(void))arg)();
	return NULL;
}

CASE_LIBC(execute_memory_that_may_be, SEEN ": a missing fault of a load")
{
	struct area a = area(1, MISSING, 0);
	pthread_t thread;

	CHECK_OK(T->protect(a.mem, PAGE, PROT_READ | PROT_EXEC));
	CHECK_OK(pthread_create(&thread, NULL, runs, (void *)(uintptr_t)a.mem));
	expect_fault(a.u, a.mem, 0);
	fill(a.u, a.mem, 1, 0xc3); /* ret */
	CHECK_OK(pthread_join(thread, NULL));
	CHECK_OK(T->protect(a.mem, PAGE, RW));
	CHECK_EQ(run_at(a.mem), SIGSEGV);
}
#endif

/* ---- memory that is unmapped by an instruction of the program's own ---- */

static void unmap_unseen(uint64_t mode, bool registered)
{
	struct area a = area(3, mode, 0);
	struct caught c;

	for (unsigned i = 0; i < 3; i++) {
		if (mode == MISSING)
			fill(a.u, a.mem + i * PAGE, 1, 1);
		CHECK_OK(poke(a.mem + i * PAGE, 1));
	}
	if (!registered)
		CHECK_OK(unreg(a.u, a.mem, 3 * PAGE));
	CHECK_OK(ask_kernel(SYS_munmap, (long)(a.mem + PAGE), PAGE, 0, 0));
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(peek(a.mem + PAGE + 8), -SIGSEGV);
		c = libc_caught();
		CHECK_EQ(c.code, SEGV_MAPERR);
		CHECK_EQ(c.addr, a.mem + PAGE + 8);
		CHECK_EQ(poke(a.mem + PAGE, 2), -SIGSEGV);
	}
	CHECK_EQ(T->kernel_write(a.mem + PAGE, "x", 1), -EFAULT);
	CHECK_EQ(peek(a.mem), 1);
	CHECK_EQ(peek(a.mem + 2 * PAGE), 1);
	CHECK(quiet(a.u));
}

CASE_LIBC(unmapped_unseen, SEEN ": SIGSEGV, SEGV_MAPERR")
{
	unmap_unseen(MISSING, true);
}

CASE_LIBC(unmapped_unseen_protected, SEEN ": SIGSEGV, SEGV_MAPERR")
{
	unmap_unseen(WP, true);
}

CASE_LIBC(unmapped_unseen_released, SEEN ": SIGSEGV, SEGV_MAPERR")
{
	unmap_unseen(MISSING, false);
}

/* ---- accesses that do get on, however often they fault at the same instruction ---- */

static atomic_bool stop;

static void *protects(void *arg)
{
	const struct area *a = arg;

	while (!atomic_load(&stop)) {
		protect(a->u, a->mem, PAGE, FL_UFFDIO_WRITEPROTECT_MODE_WP);
		protect(a->u, a->mem, PAGE, 0);
	}
	return NULL;
}

CASE_LIBC(not_stuck_in_a_loop, "userfaultfd(2)")
{
	struct area a = area(1, WP, 0);
	volatile uint32_t *word = (void *)(uintptr_t)a.mem;
	pthread_t thread;

	CHECK_OK(pthread_create(&thread, NULL, protects, &a));
	for (uint32_t i = 0; i < 20000; i++)
		*word = i;
	atomic_store(&stop, true);
	CHECK_OK(pthread_join(thread, NULL));
	CHECK_EQ(*word, 19999);
}

/* ---- a sandbox that refuses what shows a page ---- */

#define REFUSE(nr) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM)

static void sandbox(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		REFUSE(SYS_mprotect),
		REFUSE(SYS_madvise),
		REFUSE(SYS_mmap),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = sizeof(filter) / sizeof(*filter), .filter = filter};

	CHECK_OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	CHECK_OK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0));
}

CASE_ON(refused_by_a_sandbox, ON_NATIVE, "the kernel needs no calls to show a page", "docs/divergence.md")
{
	char said[512] = "";
	int say[2], status;
	pid_t pid;

	CHECK_OK(pipe(say));
	pid = fork();
	if (!pid) {
		uint64_t mem = source(2, 1);
		struct area a = {uffd(0), mem};

		CHECK_OK(reg(a.u, mem, 2 * PAGE, WP));
		CHECK_OK(protect(a.u, mem, 2 * PAGE, FL_UFFDIO_WRITEPROTECT_MODE_WP));
		CHECK_EQ(dup2(say[1], 2), 2);
		sandbox();
		protect(a.u, mem, PAGE, 0);
		*(volatile char *)(uintptr_t)mem = 1;
		_exit(0);
	}
	close(say[1]);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return; /* it was shown all the same */
	CHECK(WIFSIGNALED(status));
	CHECK_EQ(WTERMSIG(status), SIGSEGV);
	CHECK(read(say[0], said, sizeof(said) - 1) > 0);
	CHECK(strncmp(said, "faultline: the host refuses an access", 37) == 0);
	CHECK(strchr(said, '\n') && !strchr(said, '\n')[1]);
}
