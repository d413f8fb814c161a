/* SPDX-License-Identifier: MIT */
/* rank.c - what each thread holds, and what it may take. */
#include "base/rank.h"

#include "host/task.h"

#include <string.h>

const char *fl_rank_name(unsigned rank)
{
	static const char *const names[FL_NR_RANKS] = {
		[FL_RANK_MMAP] = "mmap_lock",
		[FL_RANK_VMA] = "a mapping",
		[FL_RANK_FILE] = "file->lock",
		[FL_RANK_PT] = "pt_lock",
		[FL_RANK_UFFDS] = "the lock of the objects",
		[FL_RANK_QUEUE] = "ctx->lock",
		[FL_RANK_BACKEND] = "the backend's lock",
		[FL_RANK_RECORDS] = "the lock of new records",
		[FL_RANK_KEPT] = "the lock of kept descriptors",
		[FL_RANK_ALLOC] = "the allocator's lock",
	};

	return names[rank];
}

static _Noreturn void complain(unsigned wanted, const char *how, unsigned held)
{
	const char *parts[] = {"lock order: ", fl_rank_name(wanted), how, fl_rank_name(held), " is held"};
	char what[120];
	size_t n = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(parts); i++)
		for (const char *p = parts[i]; *p && n < sizeof(what) - 1; p++)
			what[n++] = *p;
	what[n] = '\0';
	fl_bug(what, __FILE__, __LINE__);
}

void fl_held_add(struct fl_held *held, const void *lock, unsigned rank)
{
	FL_BUG_ON(rank >= FL_NR_RANKS);
	for (unsigned r = rank; r < FL_NR_RANKS; r++)
		if (held->lock[r])
			complain(rank, held->lock[r] == lock ? " is taken twice: " : " is taken while ", r);
	held->lock[rank] = lock;
}

void fl_held_del(struct fl_held *held, const void *lock, unsigned rank)
{
	if (held->lock[rank] != lock)
		fl_bug("lock order: a lock is released that is not held", __FILE__, __LINE__);
	held->lock[rank] = NULL;
}

bool fl_held_none(const struct fl_held *held)
{
	for (unsigned r = 0; r < FL_NR_RANKS; r++)
		if (held->lock[r])
			return false;
	return true;
}

#ifdef FL_CHECKS
/*
 * Threads that hold a lock now. A thread is at one of WINDOW places from where its id leads: all are looked at, so
 * that places can become free in any order. Only the thread itself changes its place.
 */
#define PLACES 4096u
#define WINDOW 64u

static struct place {
	int32_t tid; /* [a] 0: free */
	struct fl_held held;
} places[PLACES];

static struct place *place_of(int32_t tid)
{
	for (unsigned i = 0; i < WINDOW; i++) {
		struct place *p = &places[((uint32_t)tid + i) % PLACES];

		if (__atomic_load_n(&p->tid, __ATOMIC_RELAXED) == tid)
			return p;
	}
	return NULL;
}

/* NULL: none is free */
static struct place *take_place(int32_t tid)
{
	for (unsigned i = 0; i < WINDOW; i++) {
		struct place *p = &places[((uint32_t)tid + i) % PLACES];
		int32_t free = 0;

		if (__atomic_compare_exchange_n(&p->tid, &free, tid, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
			return p;
	}
	return NULL;
}

void fl_rank_acquire(const void *lock, unsigned rank)
{
	int32_t tid = fl_host_tid();
	struct place *p = place_of(tid);

	if (!p)
		p = take_place(tid);
	if (p)
		fl_held_add(&p->held, lock, rank);
}

void fl_rank_release(const void *lock, unsigned rank)
{
	struct place *p = place_of(fl_host_tid());

	if (!p)
		return;
	fl_held_del(&p->held, lock, rank);
	if (fl_held_none(&p->held))
		__atomic_store_n(&p->tid, 0, __ATOMIC_RELEASE);
}

void fl_rank_forget_all(void)
{
	memset(places, 0, sizeof(places));
}
#endif
