/* SPDX-License-Identifier: MIT */
/*
 * unprivileged.h - for tests that run as in a container: without the rights by which a process may open what it has
 * mapped (proc_pid_map_files(5)), whatever user runs them.
 */
#ifndef TESTS_UNPRIVILEGED_H
#define TESTS_UNPRIVILEGED_H

#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

static inline void give_up(struct __user_cap_data_struct sets[2], unsigned cap)
{
	sets[cap / 32].effective &= ~(1u << cap % 32);
	sets[cap / 32].permitted &= ~(1u << cap % 32);
	sets[cap / 32].inheritable &= ~(1u << cap % 32);
}

/* Returns 0, or -1 with errno set. Lasts until the next exec. */
static inline int be_unprivileged(void)
{
	struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct sets[2];

	if (syscall(SYS_capget, &head, sets))
		return -1;
	give_up(sets, CAP_SYS_ADMIN);
	give_up(sets, CAP_CHECKPOINT_RESTORE);
	return (int)syscall(SYS_capset, &head, sets);
}

#endif
