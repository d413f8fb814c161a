/* SPDX-License-Identifier: MIT */
/* base.c - the allocator, fault points, locks, histogram buckets and lists. */
#include "unit.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/inject.h"
#include "base/list.h"
#include "base/lock.h"
#include "host/stats.h"

/* ---- alloc ---- */

static uint64_t account;

static bool all_bytes(const uint8_t *p, size_t n, uint8_t value)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] != value)
			return false;
	return true;
}

static const size_t sizes[] = {1,      8,    31,   32,	 33,   63,    64,      100,	      128,
			       1000,   4095, 4096, 4097, 8192, 65536, 1 << 19, (1 << 19) + 1, 1 << 20,
			       3 << 20};

static void test_alloc_aligned_zeroed_accounted(void **state)
{
	for (unsigned pass = 0; pass < 3; pass++) /* the second time the blocks are used ones */
		for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
			uint8_t *p = fl_alloc(&account, sizes[i], FL_FP_MM);

			assert_non_null(p);
			assert_true(all_bytes(p, sizes[i], 0));
			if (sizes[i] >= 4096)
				assert_int_equal((uintptr_t)p % 4096, 0);
			else if (sizes[i] >= 64)
				assert_int_equal((uintptr_t)p % 64, 0);
			assert_true(account >= sizes[i]);
			memset(p, 0xa5, sizes[i]);
			fl_free(&account, p, sizes[i]);
			assert_int_equal(account, 0);
		}
	fl_free(&account, NULL, 64);
	assert_int_equal(account, 0);
}

struct live {
	uint8_t *p;
	size_t size;
	uint8_t stamp;
};

/* What is allocated keeps its bytes; what is new is zero. */
static void test_alloc_random(void **state)
{
	static struct live live[300];
	uint64_t seed = 11;

	for (unsigned step = 0; step < 60000; step++) {
		struct live *l = &live[below(&seed, ARRAY_SIZE(live))];

		if (l->p) {
			assert_true(all_bytes(l->p, l->size, l->stamp));
			fl_free(&account, l->p, l->size);
			l->p = NULL;
			continue;
		}
		l->size = 1 + below(&seed, 1u << below(&seed, 15));
		l->stamp = (uint8_t)(1 + below(&seed, 255));
		l->p = fl_alloc(&account, l->size, FL_FP_MM);
		assert_non_null(l->p);
		assert_true(all_bytes(l->p, l->size, 0));
		memset(l->p, l->stamp, l->size);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(live); i++)
		if (live[i].p)
			fl_free(&account, live[i].p, live[i].size);
	assert_int_equal(account, 0);
}

static void test_alloc_fails_on_demand(void **state)
{
	assert_int_equal(fl_inject_set_point("alloc.mm", 0, 1), 0);
	assert_null(fl_alloc(&account, 64, FL_FP_MM));
	assert_int_equal(account, 0);
	void *p = fl_alloc(&account, 64, FL_FP_MM);
	assert_non_null(p);
	fl_free(&account, p, 64);
}

static void test_reserve(void **state)
{
	size_t size = (size_t)(sizeof(long) == 8 ? 64ull << 30 : 1ull << 30); /* only what is written costs */
	uint8_t *p = fl_reserve(size);

	assert_non_null(p);
	assert_int_equal(p[0] | p[size / 2] | p[size - 1], 0);
	p[size / 2] = 1;
	fl_unreserve(p, size);
}

/* ---- fault points ---- */

static unsigned failures(unsigned hits)
{
	unsigned n = 0;

	while (hits--)
		n += fl_fail(FL_FP_VMA);
	return n;
}

static void test_faultpoint_after_and_times(void **state)
{
	uint64_t hits, failed, hits2, failed2;

	assert_int_equal(fl_inject_count_of("alloc.vma", &hits, &failed), 0);
	assert_int_equal(failures(10), 0);
	assert_int_equal(fl_inject_set_point("alloc.vma", 3, 2), 0);
	assert_int_equal(failures(3), 0);
	assert_int_equal(failures(2), 2);
	assert_int_equal(failures(10), 0);
	assert_int_equal(fl_inject_set_point("alloc.vma", 1, UINT32_MAX), 0);
	assert_int_equal(failures(1), 0);
	assert_int_equal(failures(1000), 1000);
	assert_int_equal(fl_inject_set_point("alloc.vma", 5, 0), 0);
	assert_int_equal(failures(10), 0);
	assert_int_equal(fl_inject_count_of("alloc.vma", &hits2, &failed2), 0);
	assert_int_equal(hits2 - hits, 10 + 3 + 2 + 10 + 1 + 1000 + 10);
	assert_int_equal(failed2 - failed, 2 + 1000);
}

static void test_faultpoint_names(void **state)
{
	unsigned n = 0;

	assert_int_equal(fl_inject_set_point("no.such.point", 0, 1), -ENOENT);
	assert_int_equal(fl_inject_count_of("no.such.point", NULL, NULL), -ENOENT);
	for (; fl_inject_point_name(n); n++) {
		assert_int_equal(fl_inject_count_of(fl_inject_point_name(n), NULL, NULL), 0);
		for (unsigned i = 0; i < n; i++)
			assert_string_not_equal(fl_inject_point_name(i), fl_inject_point_name(n));
	}
	assert_int_equal(n, FL_NR_INJECT_POINTS);
}

/* ---- locks ---- */

#define THREADS 4
#define ROUNDS	50000

static struct fl_mutex mutex;
static struct fl_rwlock rwlock;
static uint64_t counter, twin[2];
static int stop, torn, alone;

static void *count_up(void *arg)
{
	for (unsigned i = 0; i < ROUNDS; i++) {
		fl_mutex_lock(&mutex);
		counter++;
		fl_mutex_unlock(&mutex);
	}
	return NULL;
}

static void run_threads(void *(*fn)(void *), void *arg, unsigned nr, pthread_t *threads)
{
	for (unsigned i = 0; i < nr; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, fn, arg), 0);
}

static void join_threads(unsigned nr, pthread_t *threads)
{
	for (unsigned i = 0; i < nr; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
}

static void test_mutex(void **state)
{
	pthread_t threads[THREADS];

	fl_mutex_init(&mutex, FL_RANK_ALLOC);
	counter = 0;
	run_threads(count_up, NULL, THREADS, threads);
	join_threads(THREADS, threads);
	assert_int_equal(counter, THREADS * ROUNDS);
	assert_int_equal(mutex.word, 0);
}

static void *write_twins(void *arg)
{
	for (unsigned i = 0; i < ROUNDS / 5; i++) {
		fl_write_lock(&rwlock);
		twin[0]++;
		twin[1]++;
		fl_write_unlock(&rwlock);
	}
	return NULL;
}

static void *read_twins(void *arg)
{
	while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE)) {
		fl_read_lock(&rwlock);
		if (twin[0] != twin[1])
			__atomic_store_n(&torn, 1, __ATOMIC_RELAXED);
		fl_read_unlock(&rwlock);
	}
	return NULL;
}

static void test_rwlock(void **state)
{
	pthread_t readers[2], writers[3];

	fl_rwlock_init(&rwlock, FL_RANK_MMAP);
	stop = torn = 0;
	twin[0] = twin[1] = 0;
	run_threads(read_twins, NULL, ARRAY_SIZE(readers), readers);
	run_threads(write_twins, NULL, ARRAY_SIZE(writers), writers);
	join_threads(ARRAY_SIZE(writers), writers);
	__atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
	join_threads(ARRAY_SIZE(readers), readers);
	assert_int_equal(twin[0], 3 * (ROUNDS / 5));
	assert_int_equal(twin[1], twin[0]);
	assert_int_equal(torn, 0);
	assert_int_equal(rwlock.state, 0);
	assert_int_equal(rwlock.writers_waiting, 0);
}

static void pause_ms(long ms)
{
	struct timespec ts = {.tv_nsec = ms * 1000000};

	nanosleep(&ts, NULL);
}

/* Holds the lock nearly always: with two of them it is free only for a writer. */
static void *hog(void *arg)
{
	while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE)) {
		fl_read_lock(&rwlock);
		if (__atomic_load_n(&alone, __ATOMIC_RELAXED))
			__atomic_store_n(&torn, 1, __ATOMIC_RELAXED);
		pause_ms(2);
		fl_read_unlock(&rwlock);
	}
	return NULL;
}

static void test_rwlock_writer_not_starved(void **state)
{
	pthread_t readers[6];

	fl_rwlock_init(&rwlock, FL_RANK_MMAP);
	stop = torn = 0;
	run_threads(hog, NULL, ARRAY_SIZE(readers), readers);
	alarm(60);
	for (unsigned i = 0; i < 50; i++) { /* hangs if readers can keep a writer out */
		fl_write_lock(&rwlock);
		__atomic_store_n(&alone, 1, __ATOMIC_RELAXED);
		pause_ms(1);
		__atomic_store_n(&alone, 0, __ATOMIC_RELAXED);
		fl_write_unlock(&rwlock);
	}
	alarm(0);
	__atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
	join_threads(ARRAY_SIZE(readers), readers);
	assert_int_equal(torn, 0);
	assert_int_equal(rwlock.state, 0);
}

/* Another reader comes and goes while this one is inside. */
static void test_rwlock_readers_share(void **state)
{
	pthread_t other;

	alarm(60);
	fl_rwlock_init(&rwlock, FL_RANK_MMAP);
	fl_read_lock(&rwlock);
	stop = 0;
	assert_int_equal(pthread_create(&other, NULL, read_twins, NULL), 0);
	pause_ms(5);
	__atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
	assert_int_equal(pthread_join(other, NULL), 0);
	alarm(0);
	fl_read_unlock(&rwlock);
	assert_int_equal(rwlock.state, 0);
}

static void test_futex(void **state)
{
	uint32_t word = 7;

	assert_int_equal(fl_futex_wait(&word, 8, 0), 0); /* it has another value already */
	assert_int_equal(fl_futex_wait(&word, 7, 1000000), -ETIMEDOUT);
	assert_int_equal(fl_futex_wake(&word, 10), 0);
}

/* ---- histogram ---- */

static void test_hist_round_trip(void **state)
{
	for (unsigned b = 0; b < FL_HIST_BUCKETS; b++) {
		assert_int_equal(fl_hist_bucket(fl_hist_value(b)), b);
		if (b)
			assert_true(fl_hist_value(b) > fl_hist_value(b - 1));
		if (b)
			assert_int_equal(fl_hist_bucket(fl_hist_value(b) - 1), b - 1);
	}
}

static void test_hist_error(void **state)
{
	uint64_t seed = 3;

	for (unsigned i = 0; i < 200000; i++) {
		uint64_t v = rnd(&seed) & ((1ull << (1 + below(&seed, 40))) - 1);
		uint64_t low = fl_hist_value(fl_hist_bucket(v));

		assert_true(low <= v && (v - low) * 8 <= v);
	}
	for (uint64_t v = 0; v < FL_HIST_SUB; v++)
		assert_int_equal(fl_hist_value(fl_hist_bucket(v)), v);
	assert_int_equal(fl_hist_bucket(UINT64_MAX), FL_HIST_BUCKETS - 1);
}

/* ---- list ---- */

struct item {
	int nr;
	struct fl_list link;
};

static void test_list(void **state)
{
	struct fl_list head, *pos, *tmp;
	struct item items[5];
	int want[] = {0, 2, 4}, n = 0;

	fl_list_init(&head);
	assert_true(fl_list_empty(&head));
	for (int i = 0; i < 5; i++) {
		items[i].nr = i;
		fl_list_add_tail(&head, &items[i].link);
	}
	fl_list_for_each_safe(pos, tmp, &head)
		if (fl_list_entry(pos, struct item, link)->nr % 2)
			fl_list_del(pos);
	fl_list_del(&items[1].link); /* twice is harmless */
	fl_list_for_each_safe(pos, tmp, &head)
		assert_int_equal(fl_list_entry(pos, struct item, link)->nr, want[n++]);
	assert_int_equal(n, 3);
	for (int i = 0; i < 5; i++)
		fl_list_del(&items[i].link);
	assert_true(fl_list_empty(&head));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_alloc_aligned_zeroed_accounted),
		cmocka_unit_test(test_alloc_random),
		cmocka_unit_test(test_alloc_fails_on_demand),
		cmocka_unit_test(test_reserve),
		cmocka_unit_test(test_faultpoint_after_and_times),
		cmocka_unit_test(test_faultpoint_names),
		cmocka_unit_test(test_mutex),
		cmocka_unit_test(test_rwlock),
		cmocka_unit_test(test_rwlock_writer_not_starved),
		cmocka_unit_test(test_rwlock_readers_share),
		cmocka_unit_test(test_futex),
		cmocka_unit_test(test_hist_round_trip),
		cmocka_unit_test(test_hist_error),
		cmocka_unit_test(test_list),
	};

	return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
