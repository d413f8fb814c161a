/* SPDX-License-Identifier: MIT */
/*
 * lock.c - base/lock.h on the scheduler, and the rest of base/ that waits. Asserts ranks at every acquisition, and
 * that no thread sleeps with a lock held.
 */
#include "sim.h"

#include "base/signals.h"
#include "host/task.h"
#include "mm/mm.h"

#define WRITER (1u << 31)

/* The mapping as it was when the thread pinned it. */
static struct {
	const struct fl_vma *vma;
	uint64_t start, end;
	uint32_t flags;
	const void *ctx, *file;
} was[SIM_THREADS];

static void note_mapping(const struct fl_vma *vma)
{
	unsigned i = sim_number();

	was[i].vma = vma;
	was[i].start = vma->start;
	was[i].end = vma->end;
	was[i].flags = vma->flags;
	was[i].ctx = vma->ctx;
	was[i].file = vma->file;
}

static void check_mapping(const struct fl_vma *vma)
{
	unsigned i = sim_number();

	if (was[i].vma !=
	    vma) /* a thread with two pins has broken the lock order, and goes on so that we see the consequence */
		return;
	SIM_CHECK(fl_vma_lookup(vma->mm, vma->start) == vma && was[i].start == vma->start && was[i].end == vma->end &&
			  was[i].flags == vma->flags && was[i].ctx == vma->ctx && was[i].file == vma->file,
		  "a mapping has changed while a thread had it pinned");
}

void fl_rank_acquire(const void *lock, unsigned rank)
{
	if (rank == FL_RANK_VMA)
		note_mapping(lock);

	if (sim_ranks)
		fl_held_add(sim_held(), lock, rank);
	else
		sim_held()->lock[rank] = lock;
}

/* The point comes at the next acquisition, which may be later. */
void fl_rank_release(const void *lock, unsigned rank)
{
	if (rank == FL_RANK_VMA)
		check_mapping(lock);
	if (sim_ranks)
		fl_held_del(sim_held(), lock, rank);
	else
		sim_held()->lock[rank] = NULL;
	if (rank == FL_RANK_PT || rank == FL_RANK_MMAP || rank == FL_RANK_QUEUE || rank == FL_RANK_VMA)
		sim_changed();
}

static void released(const void *lock, unsigned rank)
{
	fl_rank_release(lock, rank);
	if (sim_releases)
		sim_point(SIM_RUN, lock, "after a release");
}

void fl_mutex_init(struct fl_mutex *m, enum fl_rank rank)
{
	*m = (struct fl_mutex){.rank = (uint8_t)rank};
}

void fl_mutex_lock(struct fl_mutex *m)
{
	sim_point(SIM_MUTEX, m, fl_rank_name(m->rank));
	fl_rank_acquire(m, m->rank);
	m->word = 1;
	sim_touch(m, true);
}

void fl_mutex_unlock(struct fl_mutex *m)
{
	SIM_CHECK(m->word == 1, "a mutex is released that is free");
	m->word = 0;
	sim_touch(m, true);
	released(m, m->rank);
}

void fl_rwlock_init(struct fl_rwlock *l, enum fl_rank rank)
{
	*l = (struct fl_rwlock){.rank = (uint8_t)rank};
}

static const char *doing(const struct fl_rwlock *l, const char *with_mmap_lock, const char *with_backends)
{
	return l->rank == FL_RANK_MMAP ? with_mmap_lock : with_backends;
}

void fl_read_lock(struct fl_rwlock *l)
{
	sim_point(SIM_READ, l, doing(l, "mmap_lock, to read", "cache_lock, to read"));
	fl_rank_acquire(l, l->rank);
	l->state++;
	sim_touch(l, false);
}

void fl_read_unlock(struct fl_rwlock *l)
{
	SIM_CHECK(l->state & ~WRITER, "a lock is released that has no reader");
	l->state--;
	sim_touch(l, false);
	released(l, l->rank);
}

/* A writer that has to wait announces itself first, and from then on keeps new readers out. */
void fl_write_lock(struct fl_rwlock *l)
{
	sim_point(SIM_RUN, l, doing(l, "mmap_lock, to write", "cache_lock, to write"));
	if (l->state) {
		l->writers_waiting++;
		sim_touch(l, true);
		sim_point(SIM_WRITE, l,
			  doing(l, "mmap_lock, to write, announced", "cache_lock, to write, announced"));
		l->writers_waiting--;
	}
	fl_rank_acquire(l, l->rank);
	l->state |= WRITER;
	sim_touch(l, true);
}

void fl_write_unlock(struct fl_rwlock *l)
{
	SIM_CHECK(l->state == WRITER, "a lock is released that has no writer");
	l->state = 0;
	sim_touch(l, true);
	released(l, l->rank);
}

/* For a lock that no other thread holds: not recorded, and does not wait. */
bool fl_write_trylock(struct fl_rwlock *l)
{
	sim_point(SIM_RUN, l, doing(l, "mmap_lock, tried", "cache_lock, tried"));
	sim_touch(l, true);
	if (l->state)
		return false;
	l->state = WRITER;
	return true;
}

void fl_write_unlock_tried(struct fl_rwlock *l)
{
	SIM_CHECK(l->state == WRITER, "a lock is released that has no writer");
	l->state = 0;
	sim_touch(l, true);
	sim_changed();
}

/* ---- pins ---- */

void fl_pins_get(struct fl_pins *u)
{
	sim_point(SIM_RUN, u, "enters");
	u->word++;
	sim_touch(u, false);
}

void fl_pins_put(struct fl_pins *u)
{
	SIM_CHECK(u->word, "a pin is dropped that was not taken");
	u->word--;
	sim_touch(u, false);
	if (sim_releases)
		sim_point(SIM_RUN, u, "has left");
}

void fl_pins_drain(struct fl_pins *u)
{
	sim_point(SIM_USERS, u, "waits until all have left");
	sim_touch(u, true);
}

uint32_t fl_read_seqbegin(const struct fl_seqcount *s)
{
	sim_yield_look(s);
	return s->seq;
}

/* Time stands still, so no wait times out: a lost wake-up shows as a deadlock instead of a delay. */
int fl_futex_wait(uint32_t *word, uint32_t val, uint64_t timeout_ns)
{
	SIM_CHECK(fl_held_none(sim_held()), "a thread sleeps with a lock held");
	sim_point(SIM_RUN, word, "futex_wait");
	sim_touch(word, true);
	if (__atomic_load_n(word, __ATOMIC_ACQUIRE) != val)
		return 0;
	sim_point(SIM_FUTEX, word, "asleep");
	sim_touch(word, true);
	return 0;
}

int fl_futex_wake(uint32_t *word, int n)
{
	sim_point(SIM_RUN, word, "futex_wake");
	sim_touch(word, true);
	return sim_wake(word, n);
}

void sim_yield_look(const void *what)
{
	sim_touch(what, false);
	sim_point(SIM_RUN, what, "a look without a lock");
	sim_touch(what, false);
}

void sim_yield_point(const void *what)
{
	sim_touch(what, true);
	sim_point(SIM_RUN, what, "a look without a lock");
	sim_touch(what, true);
}

/* ---- host/task.h: where the thread runs, and what is no part of any scenario ---- */

bool sim_cpus;

uint32_t fl_host_cpu(void)
{
	return sim_cpus ? sim_number() + 1 : 1;
}

int32_t fl_host_pid(void)
{
	return 1;
}

void fl_host_sleep(uint64_t ns)
{
	sim_fail("a thread sleeps");
}

uint64_t fl_host_sigmask(uint64_t set)
{
	return 0;
}

/* kept.c blocks them whether or not there is a backend. */
uint64_t fl_host_sigblock(uint64_t set)
{
	return 0;
}

/* ---- base/signals.h: no signals come, so no wait lets any in ---- */

bool fl_signals_enabled;
__thread uintptr_t fl_signals_frame;
bool fl_signals_handlers;
uint32_t fl_signals_active;
__thread uint64_t fl_signals_program;

void fl_signals_let_act(uint64_t blocked)
{
	sim_fail("a wait with signals");
}

int fl_signals_futex_wait(uint32_t *word, uint32_t val, uint64_t timeout_ns, uint64_t let_in)
{
	sim_fail("a wait with signals");
}

_Noreturn void fl_bug(const char *what, const char *file, int line)
{
	sim_fail(what);
}
