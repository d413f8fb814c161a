/* SPDX-License-Identifier: MIT */
/*
 * reach.c - an object's sockets, from a thread that may have another table of descriptors than the object's: made by
 * unshare(2), by CLOSE_RANGE_UNSHARE, or for a child that shares the memory alone. There a number says nothing; the
 * socket's identity does. What the thread does not have is fetched from the table that has it.
 */
#include "lib/lib.h"

#include "host/host.h"
#include "host/task.h"

#include <errno.h>

static bool own_tables; /* [a] never false again */

void fl_reach_own_table(void)
{
	__atomic_store_n(&own_tables, true, __ATOMIC_RELAXED);
}

bool fl_reach_by_number(void)
{
	return likely(!__atomic_load_n(&own_tables, __ATOMIC_RELAXED));
}

bool fl_reach_is(const struct fl_uffd *o, int fd, uint64_t inode)
{
	struct fl_host_file file;

	return fd >= 0 && fl_host_fstat(fd, &file) == 0 && file.inode == inode && file.dev == o->dev;
}

/* From the task's table: -EBADF: it is not there, or another error. */
static int fetch_from(const struct fl_uffd *o, int32_t task, bool thread, int fd, uint64_t inode)
{
	int got = fl_host_fd_fetch(task, thread, fd);

	if (got < 0 || fl_reach_is(o, got, inode))
		return got;
	fl_host_close(got);
	return -EBADF;
}

/*
 * From the process's first thread, or the one that has made the object, which the host may not know how to ask.
 * -EBADF: neither has it, or the latter is no more.
 */
static int fetch(const struct fl_uffd *o, int fd, uint64_t inode)
{
	int first = fetch_from(o, o->pid, false, fd, inode), maker;

	if (first >= 0 || o->tid == o->pid)
		return first;
	maker = fetch_from(o, o->tid, true, fd, inode);
	if (maker < 0 && first == -EBADF && !fl_host_thread_exists(o->tid))
		return -EBADF;
	return maker < 0 && first != -EBADF ? first : maker;
}

struct fl_reach fl_reach(const struct fl_uffd *o, int fd, uint64_t inode)
{
	struct fl_reach reach = {fd, false};

	if (fd < 0 || fl_reach_is(o, fd, inode))
		return reach;
	reach.fd = fetch(o, fd, inode);
	reach.fetched = reach.fd >= 0;
	if (reach.fetched && fl_host_pid() == o->pid)
		fl_reach_own_table(); /* made unseen */
	return reach;
}

void fl_reach_end(struct fl_reach reach)
{
	if (reach.fetched)
		fl_host_close(reach.fd);
}
