/* SPDX-License-Identifier: MIT */
/*
 * leave.c - calls after which the process may no longer open its own /proc/self/maps and pagemap: it leaves the root
 * directory, the mount namespace, or the user that they belong to. They are opened before it does, but not once it
 * has entered a sandbox: there a call that the program does not make may end it.
 */
#include "preload/preload.h"

#include "host/proc.h"

#include <grp.h>
#include <sched.h>
#include <sys/fsuid.h>
#include <unistd.h>

void fl_before_leaving(void)
{
	if (!fl_sandboxed())
		fl_host_proc_hold();
}

#define LEAVE(name, params, args)                                                                                    \
	FL_EXPORT int name params                                                                                    \
	{                                                                                                            \
		fl_before_leaving();                                                                                 \
		return FL_FIND(name) args;                                                                           \
	}

LEAVE(setuid, (uid_t uid), (uid))
LEAVE(seteuid, (uid_t uid), (uid))
LEAVE(setreuid, (uid_t real, uid_t effective), (real, effective))
LEAVE(setresuid, (uid_t real, uid_t effective, uid_t saved), (real, effective, saved))
LEAVE(setfsuid, (uid_t uid), (uid))
LEAVE(setgid, (gid_t gid), (gid))
LEAVE(setegid, (gid_t gid), (gid))
LEAVE(setregid, (gid_t real, gid_t effective), (real, effective))
LEAVE(setresgid, (gid_t real, gid_t effective, gid_t saved), (real, effective, saved))
LEAVE(setfsgid, (gid_t gid), (gid))
LEAVE(setns, (int fd, int type), (fd, type))

FL_EXPORT int unshare(int flags)
{
	fl_before_leaving();
	if (flags & CLONE_FILES)
		fl_reach_own_table();
	return FL_FIND(unshare)(flags);
}

FL_EXPORT int chroot(const char *path)
{
	fl_before_leaving();
	return FL_RETRY(int, FL_FIND(chroot)(path), fl_in_str(path));
}
