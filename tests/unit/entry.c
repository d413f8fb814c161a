/* SPDX-License-Identifier: MIT */
/*
 * entry.c - base/entry.h: one thread flips an entry between two values that differ in every byte, others read it
 * without a lock, and must never see a mixture.
 *
 * A test that sees nothing proves nothing. So this program is built twice more, without the protocol: with TORN_READ
 * the readers fetch the two halves one after the other, with TORN_WRITE the writer stores them so. Those must see a
 * mixture, on 32-bit and 64-bit machines.
 */
#include "unit.h"

#include <pthread.h>
#include <time.h>

#include "base/entry.h"
#include "torn.h"

#if defined(TORN_READ) || defined(TORN_WRITE)
#define TORN true
#else
#define TORN false
#endif

#define ONE   0x1122334455667788ull
#define OTHER (~ONE)

#define READERS	 2
#define BATCH	 1000u
#define SECOND	 1000u
#define PATIENCE (120 * SECOND)
#define FLIPS	 1000000u /* that a run without a mixture must have made */
#define CHANGES	 20u	  /* that each reader must have seen by then */

struct reader {
	pthread_t thread;
	uint64_t mixed;	  /* a value it saw that was never written; 0: none */
	uint32_t changes; /* [a] how often it saw another value than before */
};

static uint64_t entry FL_ENTRY_ALIGNED;
static struct reader readers[READERS];
static uint32_t stop, found, flips; /* [a] flips: in batches */

static bool stopped(void)
{
	return __atomic_load_n(&stop, __ATOMIC_RELAXED);
}

/* No thread yields: on one CPU everything depends on preemption between the halves. */
static void *look(void *arg)
{
	struct reader *r = arg;
	uint64_t last = ONE, val;
	uint32_t changes = 0;

	while (!stopped() && !r->mixed) {
		for (unsigned i = 0; i < BATCH; i++, last = val) {
			val = entry_read(&entry);
			changes += val != last;
			if (val != ONE && val != OTHER)
				r->mixed = val;
		}
		__atomic_store_n(&r->changes, changes, __ATOMIC_RELAXED);
	}
	if (r->mixed)
		__atomic_store_n(&found, 1, __ATOMIC_RELAXED);
	return NULL;
}

static void *flip_by_write(void *arg)
{
	for (uint64_t val = ONE; !stopped();) {
		for (unsigned i = 0; i < BATCH; i++, val = ~val)
			entry_write(&entry, val);
		__atomic_fetch_add(&flips, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void *flip_by_cmpxchg(void *arg)
{
	for (uint64_t val = ONE; !stopped();) {
		for (unsigned i = 0; i < BATCH; i++)
			val = ~entry_cmpxchg(&entry, val, ~val); /* it was `val`: there is no other writer */
		__atomic_fetch_add(&flips, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static unsigned now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (unsigned)ts.tv_sec * SECOND + (unsigned)ts.tv_nsec / 1000000;
}

/* Is this enough to say that there is no mixture? Where there must be one, never. */
static bool seen_enough(unsigned ms)
{
	bool enough = !TORN && ms >= SECOND && __atomic_load_n(&flips, __ATOMIC_RELAXED) >= FLIPS / BATCH;

	for (unsigned i = 0; i < READERS; i++)
		enough = enough && __atomic_load_n(&readers[i].changes, __ATOMIC_RELAXED) >= CHANGES;
	return enough;
}

static void run(void *(*flip)(void *))
{
	const struct timespec tick = {.tv_nsec = 10000000};
	unsigned start = now_ms();
	pthread_t writer;

	entry = ONE;
	stop = found = flips = 0;
	for (unsigned i = 0; i < READERS; i++) {
		readers[i] = (struct reader){0};
		assert_int_equal(pthread_create(&readers[i].thread, NULL, look, &readers[i]), 0);
	}
	assert_int_equal(pthread_create(&writer, NULL, flip, NULL), 0);
	while (!__atomic_load_n(&found, __ATOMIC_RELAXED) && !seen_enough(now_ms() - start) &&
	       now_ms() - start < PATIENCE)
		nanosleep(&tick, NULL);
	__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
	pthread_join(writer, NULL);
	for (unsigned i = 0; i < READERS; i++)
		pthread_join(readers[i].thread, NULL);
}

static void look_for_mixture(void *(*flip)(void *))
{
	run(flip);
	if (TORN) {
		if (!found)
			fail_msg("no mixture in %u ms and %u flips: this test would see nothing", PATIENCE,
				 flips * BATCH);
		return;
	}
	for (unsigned i = 0; i < READERS; i++)
		if (readers[i].mixed)
			fail_msg("read %016llx, which was never written", (unsigned long long)readers[i].mixed);
	assert_true(seen_enough(SECOND)); /* or this machine was too busy to say */
}

static void test_write(void **state)
{
	look_for_mixture(flip_by_write);
}

static void test_cmpxchg(void **state)
{
	look_for_mixture(flip_by_cmpxchg);
}

/* ---- what cannot be torn can still be wrong ---- */

static void test_values(void **state)
{
	const uint64_t lower = 1, upper = 1ull << 32;

	entry_write(&entry, ONE);
	assert_true(entry_read(&entry) == ONE);
	assert_true(entry_cmpxchg(&entry, ONE ^ upper, 0) == ONE); /* only one half is as expected */
	assert_true(entry_cmpxchg(&entry, ONE ^ lower, 0) == ONE);
	assert_true(entry_read(&entry) == ONE);
	assert_true(entry_cmpxchg(&entry, ONE, OTHER) == ONE);
	assert_true(entry_read(&entry) == OTHER);
	assert_true(entry_cmpxchg(&entry, OTHER, 0) == OTHER);
	assert_true(entry_read(&entry) == 0);
}

#define ADDITIONS 200000u
#define STEP	  0x60000001ull /* carries into the upper half all the time */

static void *add_up(void *arg)
{
	for (unsigned i = 0; i < ADDITIONS; i++) {
		uint64_t old = entry_read(&entry), was;

		while ((was = entry_cmpxchg(&entry, old, old + STEP)) != old)
			old = was;
	}
	return NULL;
}

/* Of several exchanges at the same time one succeeds, and the others are told that they did not. */
static void test_one_is_faster(void **state)
{
	pthread_t threads[3];

	entry = 0;
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, add_up, NULL), 0);
	for (unsigned i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	assert_true(entry == 3ull * ADDITIONS * STEP);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_write),
		cmocka_unit_test(test_cmpxchg),
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_one_is_faster),
	};
	const struct CMUnitTest torn[] = {tests[0], tests[1]};

	return TORN ? cmocka_run_group_tests_name("entry, torn", torn, NULL, NULL)
		    : cmocka_run_group_tests_name("entry", tests, NULL, NULL);
}
