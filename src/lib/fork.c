/* SPDX-License-Identifier: MIT */
/*
 * fork.c - around fork(): the objects' part and the native backend's, in their order.
 */
#include "lib/lib.h"

#include "host/count.h"
#include "host/proc.h"
#include "native/native.h"

/* This thread has prepared: it holds every lock. The child's one thread inherits that. */
static __thread __attribute__((tls_model("initial-exec"))) bool forking;

int fl_native_fork_check(void)
{
	int pipe[2];
	int err;

	if (!__atomic_load_n(&fl_native.ready, __ATOMIC_ACQUIRE))
		return 0;
	err = fl_host_pipe(pipe);
	if (!err) {
		fl_host_close(pipe[0]);
		fl_host_close(pipe[1]);
	}
	return err;
}

int fl_native_fork_prepare(void)
{
	int err;

	if (!__atomic_load_n(&fl_native.ready, __ATOMIC_ACQUIRE))
		return 0;
	fl_object_before_fork();
	forking = true; /* its page may be registered: not while that stands still */
	err = fl_fork_prepare();
	if (err)
		forking = false;
	return err;
}

bool fl_native_fork_parent(int32_t pid)
{
	bool served;

	if (!forking)
		return true;
	served = fl_fork_parent(pid);
	forking = false;
	return served;
}

void fl_native_fork_child(void)
{
	static const char sorry[] = "faultline: a forked child ends: no descriptors left to copy its memory\n";

	fl_host_proc_after_fork();
	fl_kept_after_fork();
	if (forking) {
		fl_signals_active = 0; /* the threads that were inside are not here */
		fl_object_after_fork();
		fl_fork_child();
		forking = false;
	} else if (__atomic_load_n(&fl_native.ready, __ATOMIC_ACQUIRE)) {
		fl_host_say(sorry, sizeof(sorry) - 1);
		fl_host_exit(137); /* it would write into its parent's memory */
	}
	fl_count(processes, 1);
}
