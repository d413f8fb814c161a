/* SPDX-License-Identifier: MIT */
/*
 * lock.h - mutexes and reader-writer locks on futexes. They need no thread-local storage (two tasks may share one)
 * and no allocation, and may be taken in the fault path: a thread that holds one has signals blocked and touches no
 * client memory.
 *
 * Every lock has a rank; locks are taken in rising order of rank, which base/rank.h asserts. mm/mm.h has the theory
 * of the order.
 */
#ifndef FL_BASE_LOCK_H
#define FL_BASE_LOCK_H

#include "base/types.h"
#include "base/yield.h"

enum fl_rank {
	FL_RANK_MMAP,	 /* fl_mm.mmap_lock */
	FL_RANK_VMA,	 /* fl_vma.pins: fl_vma_pin() */
	FL_RANK_FILE,	 /* fl_file.lock */
	FL_RANK_PT,	 /* fl_mm.pt_lock[] */
	FL_RANK_UFFDS,	 /* fl_uffd_space.lock */
	FL_RANK_QUEUE,	 /* fl_uffd_ctx.lock */
	FL_RANK_BACKEND, /* the backend's own; fl_vma.cache_lock */
	FL_RANK_RECORDS, /* native: fl_chunk_set_up() */
	FL_RANK_KEPT,	 /* native/kept.c */
	FL_RANK_ALLOC,	 /* base/alloc.c */
	FL_NR_RANKS
};

struct fl_mutex {
	uint32_t word; /* 0 free, 1 held, 2 held and there are sleepers */
	uint8_t rank;
};

/*
 * Readers share, a writer excludes all. A waiting writer keeps new readers out, so a reader must not take it twice.
 * The state: bit 31 a writer holds it; bit 30 there are sleepers; bit 29 a writer waits; below, the number of
 * readers.
 */
struct fl_rwlock {
	uint32_t state;
	uint32_t writers_waiting;
	uint8_t rank;
};

void fl_mutex_init(struct fl_mutex *m, enum fl_rank rank);
void fl_mutex_lock(struct fl_mutex *m);
void fl_mutex_unlock(struct fl_mutex *m);
/* By any thread: for assertions. */
static inline bool fl_mutex_is_locked(const struct fl_mutex *m)
{
	return __atomic_load_n(&m->word, __ATOMIC_RELAXED) != 0;
}

void fl_rwlock_init(struct fl_rwlock *l, enum fl_rank rank);
void fl_read_lock(struct fl_rwlock *l);
void fl_read_unlock(struct fl_rwlock *l);
void fl_write_lock(struct fl_rwlock *l);
void fl_write_unlock(struct fl_rwlock *l);
/*
 * Only if it is free. It never waits, so no order of locks applies, and none is recorded; unlock with the second
 * function.
 */
bool fl_write_trylock(struct fl_rwlock *l);
void fl_write_unlock_tried(struct fl_rwlock *l);

/*
 * A count of current users. To get exclusive access, first stop new users from entering, then wait for the count to
 * drain. One waiter at a time.
 */
struct fl_pins {
	uint32_t word; /* how many; bit 31: a thread waits for the last one */
};

void fl_pins_get(struct fl_pins *u);
/* The memory may be freed as soon as the count allows it. */
void fl_pins_put(struct fl_pins *u);
void fl_pins_drain(struct fl_pins *u);

/*
 * Data that are read without a lock, and again if they have changed meanwhile. A reader must tolerate any mixture
 * until then, and reads by entry_read() or with acquire; a writer has a lock against other writers.
 */
struct fl_seqcount {
	uint32_t seq; /* odd while they change */
};

/* Waits a moment while they change; odd: they still do. */
uint32_t fl_read_seqbegin(const struct fl_seqcount *s);

/* Have they changed, or are they changing? A writer that begins later sees what this thread has written before. */
static inline bool fl_read_seqretry(const struct fl_seqcount *s, uint32_t seq)
{
	fl_yield_look(s);
	return (seq & 1) || __atomic_load_n(&s->seq, __ATOMIC_SEQ_CST) != seq;
}

static inline void fl_write_seqbegin(struct fl_seqcount *s)
{
	fl_yield_point(s);
	__atomic_fetch_add(&s->seq, 1, __ATOMIC_SEQ_CST);
}

/* Begin and end in one step, for writes that a reader may see half of, because it will retry. */
static inline void fl_write_seqchange(struct fl_seqcount *s)
{
	fl_yield_point(s);
	__atomic_fetch_add(&s->seq, 2, __ATOMIC_SEQ_CST);
}

static inline void fl_write_seqend(struct fl_seqcount *s)
{
	fl_yield_point(s);
	__atomic_fetch_add(&s->seq, 1, __ATOMIC_SEQ_CST);
}

/*
 * Sleep while *word == val, until fl_futex_wake(word), a signal's handler has run, or timeout_ns has passed (0:
 * never).
 * 0: look again; -EINTR, -ETIMEDOUT.
 */
int fl_futex_wait(uint32_t *word, uint32_t val, uint64_t timeout_ns);
/* Wake up to n sleepers. The word may be freed already: nothing is read from it. Returns how many were woken. */
int fl_futex_wake(uint32_t *word, int n);

#endif
