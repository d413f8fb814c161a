/* SPDX-License-Identifier: MIT */
/*
 * process.h - a second process: the child of a fork of the native backend. It has a copy of everything that the
 * engine and the host have for the first, at the same addresses, and runs on the coroutine of the forking thread, in
 * the middle of its wait for the child. Other threads see nothing of what it does, except where it copies what both
 * share, so only that is a point; the two swap places for it.
 */
#ifndef SIM_PROCESS_H
#define SIM_PROCESS_H

#include <stdbool.h>
#include <stddef.h>

/* At the beginning of a schedule. */
void process_reset(void);
/* fork(2): the child is as this process is now. */
void process_fork(void);
/* The running thread continues in the child, or comes back. */
void process_enter_child(void);
void process_leave_child(void);
bool process_in_child(void);
/* Is there one? */
bool process_has_child(void);
/* In the child: another thread of the parent may run here. */
void process_point(const void *on, const char *doing);

/* ---- what a process has: each at the same address in both ---- */

/* Calls fn for each part of it. The first parts say how large the others are. */
typedef void process_part_fn(void *at, size_t size, void *data);
void sim_memory_parts(process_part_fn *fn, void *data);	 /* alloc.c */
void host_parts(process_part_fn *fn, void *data);	 /* host.c */
void host_memory_parts(process_part_fn *fn, void *data); /* hostmem.c */
/* The direct map is of this process's pool again (hostmem.c). */
void host_memory_entered(void);

#endif
