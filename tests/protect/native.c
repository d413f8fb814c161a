/* SPDX-License-Identifier: MIT */
/* native.c - the cases on this process's own address space: loads and stores are its own, signals are caught here. */
#include "protect.h"

#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/lib.h"

static _Thread_local sigjmp_buf back;

static void caught(int sig)
{
	siglongjmp(back, sig);
}

static void native_begin(void)
{
	struct sigaction act = {.sa_handler = caught};

	sigaction(SIGBUS, &act, NULL);
	sigaction(SIGSEGV, &act, NULL); /* installed before faultline's, which chains to it */
	if (fl_mm_process(&mm))
		abort();
}

static int native_access(uint64_t addr, uint8_t *byte, bool write)
{
	volatile uint8_t *p = fl_ptr(addr);
	int sig = sigsetjmp(back, 1);

	if (sig)
		return sig;
	if (write)
		*p = *byte;
	else
		*byte = *p;
	return 0;
}

/* Forks as the preloaded library does. */
static int native_in_child(int (*fn)(uint64_t addr), uint64_t addr)
{
	int status;
	pid_t pid;

	if (fl_native_fork_prepare())
		return -1;
	pid = fork();
	if (pid == 0) {
		fl_native_fork_child();
		_exit(fn(addr));
	}
	fl_native_fork_parent(pid);
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static const struct world native = {"native", ON_NATIVE, native_begin, native_access, native_in_child};

int main(int argc, char **argv)
{
	return protect_main(argc, argv, &native);
}
