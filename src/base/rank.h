/* SPDX-License-Identifier: MIT */
/*
 * rank.h - the order of locks, asserted. Ranks rise: a thread that takes a lock holds none of its rank or of a higher
 * one. So two locks of one rank are never held at once either: not the mmap_locks of two address spaces, nor two
 * page-table locks, nor the queues of two objects; no order among equals could be kept. Shared and exclusive are the
 * same here: a reader that takes mmap_lock twice waits for a writer that waits for the reader.
 *
 * With -Dchecks=true, and in every test program that has the engine linked in, lock.c asserts it. A wait for a futex
 * and a use of client memory must hold no lock at all; that is asserted where all waits are seen, in tests/sim.
 *
 * A lock's holder is known by the kernel's thread id, for two tasks may share one TLS. Nothing is asserted of a
 * thread that finds no room among the current holders, nor when a forked child releases what its parent has taken.
 */
#ifndef FL_BASE_RANK_H
#define FL_BASE_RANK_H

#include "base/lock.h"

/* What one thread holds: at most one lock of each rank. */
struct fl_held {
	const void *lock[FL_NR_RANKS];
};

/* About to be taken; has been released. Abort with the two locks' names if that breaks the order. */
void fl_held_add(struct fl_held *held, const void *lock, unsigned rank);
void fl_held_del(struct fl_held *held, const void *lock, unsigned rank);
bool fl_held_none(const struct fl_held *held);
const char *fl_rank_name(unsigned rank);

#ifdef FL_CHECKS
/* The same for the running thread. Async-signal-safe. */
void fl_rank_acquire(const void *lock, unsigned rank);
void fl_rank_release(const void *lock, unsigned rank);
/* In a forked child: the other threads, and what they held, do not exist. */
void fl_rank_forget_all(void);
#else
static inline void fl_rank_acquire(const void *lock, unsigned rank)
{
}

static inline void fl_rank_release(const void *lock, unsigned rank)
{
}

static inline void fl_rank_forget_all(void)
{
}
#endif

#endif
