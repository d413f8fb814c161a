/* SPDX-License-Identifier: MIT */
/* generic/sleep.c - sleeping with signals let in, step by step. */
#include "arch/sleep.h"
#include "arch/syscall.h"

#include <linux/futex.h>
#include <signal.h>

static void set_mask(uint64_t set)
{
	fl_sys(SYS_rt_sigprocmask, SIG_SETMASK, &set, 0, sizeof(set));
}

long fl_arch_sleep(uint32_t *word, uint32_t val, const struct timespec *timeout, uint64_t let_in, uint64_t keep_out)
{
	long ret;

	set_mask(let_in);
	ret = fl_sys(SYS_futex, word, FUTEX_WAIT_PRIVATE, val, timeout, 0, 0);
	set_mask(keep_out);
	return ret;
}
