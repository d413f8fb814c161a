/* SPDX-License-Identifier: MIT */
/*
 * proc.c - the process's own files under /proc that the host is asked through. They are opened while the process may:
 * after chroot(2), setuid(2) or prctl(PR_SET_DUMPABLE) it may not. A held descriptor is used only while it is known
 * to be what was opened here, as the program may close it, and in the process that opened it: in a forked child it
 * tells of the parent's memory.
 */
#include "host/proc.h"

#include "arch/syscall.h"
#include "host/host.h"
#include "host/task.h"

static const char *const paths[] = {
	[FL_PROC_MAPS] = "/proc/self/maps",
	[FL_PROC_PAGEMAP] = "/proc/self/pagemap",
};

/* [a] `fd` is stored last; 0: none is held. */
static struct held {
	int fd;
	int32_t pid;
	uint64_t dev, inode;
} held[FL_NR_PROC];

/* The descriptor, if it is still what was opened. -1: it is not. */
static int checked(const struct held *h)
{
	int fd = __atomic_load_n(&h->fd, __ATOMIC_ACQUIRE);
	struct fl_host_file file;

	return fd && fl_host_pid() == h->pid && fl_host_fstat(fd, &file) == 0 && file.inode == h->inode &&
			       file.dev == h->dev
		       ? fd
		       : -1;
}

static void hold(struct held *h, const char *path)
{
	struct fl_host_file file;
	int fd;

	if (checked(h) >= 0)
		return;
	fd = fl_host_open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	fd = fl_host_fd_move_high(fd, true);
	if (fl_host_fstat(fd, &file)) {
		fl_host_close(fd);
		return;
	}
	h->pid = fl_host_pid();
	h->dev = file.dev;
	h->inode = file.inode;
	__atomic_store_n(&h->fd, fd, __ATOMIC_RELEASE);
}

/* Of several threads that come here at once, one is enough. */
void fl_host_proc_hold(void)
{
	static bool busy;

	if (__atomic_exchange_n(&busy, true, __ATOMIC_ACQUIRE))
		return;
	for (unsigned i = 0; i < FL_NR_PROC; i++)
		hold(&held[i], paths[i]);
	__atomic_store_n(&busy, false, __ATOMIC_RELEASE);
}

bool fl_host_proc_is(int fd)
{
	bool is = false;

	for (unsigned i = 0; i < FL_NR_PROC; i++)
		is = is || (fd > 0 && __atomic_load_n(&held[i].fd, __ATOMIC_RELAXED) == fd);
	return is;
}

int fl_host_proc_next(int from)
{
	int best = -1;

	for (unsigned i = 0; i < FL_NR_PROC; i++) {
		int fd = __atomic_load_n(&held[i].fd, __ATOMIC_RELAXED);

		if (fd > 0 && fd >= from && (best < 0 || fd < best))
			best = fd;
	}
	return best;
}

void fl_host_proc_after_fork(void)
{
	for (unsigned i = 0; i < FL_NR_PROC; i++) {
		struct held *h = &held[i];
		struct fl_host_file file;

		if (!h->fd)
			continue;
		if (fl_host_fstat(h->fd, &file) == 0 && file.inode == h->inode && file.dev == h->dev)
			fl_host_close(h->fd);
		h->fd = 0;
		hold(h, paths[i]);
	}
}

int fl_host_proc_open(enum fl_proc what)
{
	int fd = checked(&held[what]);

	if (fd >= 0)
		return fd;
	fd = fl_host_open(paths[what], O_RDONLY | O_CLOEXEC);
	for (unsigned i = 0; i < FL_NR_PROC && fd >= 0; i++)
		if (held[i].fd == fd) /* the program has closed that one */
			__atomic_store_n(&held[i].fd, 0, __ATOMIC_RELAXED);
	return fd;
}

void fl_host_proc_close(int fd)
{
	if (!fl_host_proc_is(fd))
		fl_host_close(fd);
}
