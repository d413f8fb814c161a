/* SPDX-License-Identifier: MIT */
/*
 * proc.h - the process's own /proc/self/maps and pagemap, held open. As for all of src/host: no lock is taken, errno
 * is not touched, -errno is returned.
 */
#ifndef FL_HOST_PROC_H
#define FL_HOST_PROC_H

#include <stdbool.h>

enum fl_proc { FL_PROC_MAPS, FL_PROC_PAGEMAP, FL_NR_PROC };

/* Open them, if they are not, to be asked also when the process may not any more. What cannot be is not held. */
void fl_host_proc_hold(void);
/* Is it one of the held descriptors? */
bool fl_host_proc_is(int fd);
/* The lowest of them that is `from` or above; -1: none */
int fl_host_proc_next(int from);
/* In a forked child: what was held is the parent's. */
void fl_host_proc_after_fork(void);
/* A descriptor to ask, at any position: to be read with an offset. Put back with fl_host_proc_close(). */
int fl_host_proc_open(enum fl_proc what);
void fl_host_proc_close(int fd);

#endif
