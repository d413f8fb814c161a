/* SPDX-License-Identifier: MIT */
/*
 * native.c - the sweeps on this process's own address space. Loads and stores are the process's own; the signals that
 * faultline raises for them are caught here.
 */
#include "sweep.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "host/host.h"
#include "lib/lib.h"

static _Thread_local sigjmp_buf back;

static void caught(int sig)
{
	siglongjmp(back, sig);
}

static int native_birth(void)
{
	return fl_mm_process(&env.mm) ? -errno : 0;
}

static void native_begin(void)
{
	EXPECT_INT(native_birth(), 0);
}

static void native_end(void)
{
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

/* ---- fork: the library has no handler of its own, so what the preloaded one calls ---- */

static void to_fork(void)
{
	for (const struct op *o = common_ops; o->name; o++)
		if (strcmp(o->name, "WRITEPROTECT") == 0)
			o->prepare();
}

static int run_fork(void)
{
	int err = fl_process_fork_prepare(), status;
	pid_t pid;

	if (err)
		return err;
	pid = fork();
	if (pid == 0) {
		fl_process_fork_child();
		for (uint64_t i = 0; page_at(i) != FL_PFN_NONE; i++) {
			uint8_t byte = 0;

			if (native_access(page_at(i) + i % PAGE, &byte, false) || byte != pattern(i))
				_exit(1);
		}
		_exit(fl_mm_check(env.mm) ? 2 : 0);
	}
	fl_process_fork_parent();
	EXPECT(pid > 0 && waitpid(pid, &status, 0) == pid);
	EXPECT_INT(status, 0);
	return 0;
}

static void nothing(void)
{
}

static const struct op native_ops[] = {
	{"fork", to_fork, run_fork, nothing, 0},
	{0},
};

static const char *const native_points[] = {
	"alloc.vma",	"alloc.vma_table", "alloc.pgtable", "alloc.uffd", "alloc.wait", "alloc.frame",
	"alloc.file",	"alloc.extent",	   "host.pool",	    "host.fill",  "host.adopt", "host.maps",
	"host.mprotect", "host.guard",	   "host.socket",   "host.fork",  NULL,
};

static const struct world native = {
	.name = "native",
	.birth = native_birth,
	.begin = native_begin,
	.end = native_end,
	.access = native_access,
	.points = native_points,
	.own = native_ops,
};

int main(int argc, char **argv)
{
	struct sigaction act = {.sa_handler = caught};

	sigaction(SIGBUS, &act, NULL);
	sigaction(SIGSEGV, &act, NULL); /* before faultline's: it is chained */
	return sweep_main(argc, argv, &native);
}
