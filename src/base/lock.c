/* SPDX-License-Identifier: MIT */
/* lock.c - the futex side of lock.h. */
#include "base/lock.h"
#include "base/rank.h"
#include "host/task.h"

/*
 * Critical sections are short, so a moment's spinning often saves two context switches; more would waste an only CPU.
 */
#define SPINS 40

int fl_futex_wait(uint32_t *word, uint32_t val, uint64_t timeout_ns)
{
	return fl_host_futex_wait(word, val, timeout_ns);
}

int fl_futex_wake(uint32_t *word, int n)
{
	return fl_host_futex_wake(word, n);
}

void fl_mutex_init(struct fl_mutex *m, enum fl_rank rank)
{
	m->word = 0;
	m->rank = (uint8_t)rank;
}

static bool mutex_try(struct fl_mutex *m)
{
	uint32_t free = 0;

	return __atomic_compare_exchange_n(&m->word, &free, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

void fl_mutex_lock(struct fl_mutex *m)
{
	fl_yield_point(m);
	fl_rank_acquire(m, m->rank);
	for (int i = 0; i < SPINS; i++) {
		if (likely(mutex_try(m)))
			return;
		fl_cpu_relax();
	}
	while (__atomic_exchange_n(&m->word, 2, __ATOMIC_ACQUIRE) != 0)
		fl_futex_wait(&m->word, 2, 0);
}

void fl_mutex_unlock(struct fl_mutex *m)
{
	fl_rank_release(m, m->rank);
	if (__atomic_exchange_n(&m->word, 0, __ATOMIC_RELEASE) == 2)
		fl_futex_wake(&m->word, 1);
	fl_yield_point(m);
}

#define WRITER	 (1u << 31)
#define SLEEPERS (1u << 30)
#define READERS	 (SLEEPERS - 1)

void fl_rwlock_init(struct fl_rwlock *l, enum fl_rank rank)
{
	l->state = 0;
	l->writers_waiting = 0;
	l->rank = (uint8_t)rank;
}

/* Announce a sleeper and sleep until the state changes from `s`. */
static void rw_sleep(struct fl_rwlock *l, uint32_t s)
{
	if (!(s & SLEEPERS) &&
	    !__atomic_compare_exchange_n(&l->state, &s, s | SLEEPERS, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		return;
	fl_futex_wait(&l->state, s | SLEEPERS, 0);
}

void fl_read_lock(struct fl_rwlock *l)
{
	fl_yield_point(l);
	fl_rank_acquire(l, l->rank);
	for (unsigned spin = 0;; spin++) {
		uint32_t s = __atomic_load_n(&l->state, __ATOMIC_RELAXED);
		bool blocked = (s & WRITER) || __atomic_load_n(&l->writers_waiting, __ATOMIC_RELAXED);

		if (!blocked &&
		    __atomic_compare_exchange_n(&l->state, &s, s + 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
			return;
		if (spin < SPINS)
			fl_cpu_relax();
		else if (s & (WRITER | READERS)) /* a thread holds it, and wakes the sleepers when done */
			rw_sleep(l, s);
		else /* only a waiting writer, which is about to take it */
			fl_host_yield();
	}
}

static void rw_release(struct fl_rwlock *l, uint32_t old)
{
	if (!(old & SLEEPERS))
		return;
	__atomic_fetch_and(&l->state, ~SLEEPERS, __ATOMIC_RELAXED);
	fl_futex_wake(&l->state, INT32_MAX);
}

void fl_read_unlock(struct fl_rwlock *l)
{
	uint32_t old;

	fl_rank_release(l, l->rank);
	old = __atomic_fetch_sub(&l->state, 1, __ATOMIC_RELEASE);
	if ((old & READERS) == 1)
		rw_release(l, old);
	fl_yield_point(l);
}

void fl_write_lock(struct fl_rwlock *l)
{
	fl_yield_point(l);
	fl_rank_acquire(l, l->rank);
	__atomic_fetch_add(&l->writers_waiting, 1, __ATOMIC_RELAXED);
	for (unsigned spin = 0;; spin++) {
		uint32_t s = __atomic_load_n(&l->state, __ATOMIC_RELAXED);

		if (!(s & (WRITER | READERS))) {
			if (__atomic_compare_exchange_n(&l->state, &s, s | WRITER, false, __ATOMIC_ACQUIRE,
							__ATOMIC_RELAXED))
				break;
		} else if (spin < SPINS) {
			fl_cpu_relax();
		} else {
			rw_sleep(l, s);
		}
	}
	__atomic_fetch_sub(&l->writers_waiting, 1, __ATOMIC_RELAXED);
}

void fl_write_unlock(struct fl_rwlock *l)
{
	fl_rank_release(l, l->rank);
	fl_write_unlock_tried(l);
	fl_yield_point(l);
}

bool fl_write_trylock(struct fl_rwlock *l)
{
	uint32_t s = __atomic_load_n(&l->state, __ATOMIC_RELAXED);

	return !(s & (WRITER | READERS)) &&
	       __atomic_compare_exchange_n(&l->state, &s, s | WRITER, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

void fl_write_unlock_tried(struct fl_rwlock *l)
{
	rw_release(l, __atomic_fetch_and(&l->state, ~WRITER, __ATOMIC_RELEASE));
}

/* ---- pins ---- */

#define WAITED_FOR (1u << 31)

/*
 * Sequentially consistent, as fl_read_seqretry(): either the newcomer sees that it must not enter, or it is seen and
 * waited for.
 */
void fl_pins_get(struct fl_pins *u)
{
	fl_yield_point(u);
	__atomic_fetch_add(&u->word, 1, __ATOMIC_SEQ_CST);
}

void fl_pins_put(struct fl_pins *u)
{
	fl_yield_point(u);
	if (__atomic_fetch_sub(&u->word, 1, __ATOMIC_RELEASE) == (WAITED_FOR | 1))
		fl_futex_wake(&u->word, INT32_MAX);
}

void fl_pins_drain(struct fl_pins *u)
{
	for (unsigned spin = 0;; spin++) {
		uint32_t w = __atomic_load_n(&u->word, __ATOMIC_SEQ_CST);

		if (!(w & ~WAITED_FOR))
			break;
		if (spin < SPINS)
			fl_cpu_relax();
		else if ((w & WAITED_FOR) || __atomic_compare_exchange_n(&u->word, &w, w | WAITED_FOR, false,
									 __ATOMIC_RELAXED, __ATOMIC_RELAXED))
			fl_futex_wait(&u->word, w | WAITED_FOR, 0);
	}
	__atomic_fetch_and(&u->word, ~WAITED_FOR, __ATOMIC_ACQUIRE);
}

/* ---- sequence counts ---- */

uint32_t fl_read_seqbegin(const struct fl_seqcount *s)
{
	uint32_t seq = __atomic_load_n(&s->seq, __ATOMIC_ACQUIRE);

	for (int i = 0; (seq & 1) && i < SPINS; i++) {
		fl_cpu_relax();
		seq = __atomic_load_n(&s->seq, __ATOMIC_ACQUIRE);
	}
	return seq;
}
