/* SPDX-License-Identifier: MIT */
/*
 * working-set.c - which pages of a large table does a program use? A thread looks things up in a table of which a
 * small part is hot; the main thread samples it: every look takes the rights to all pages away, and says which were
 * touched since the last one. At the end it says what the sampling has cost. Cache sizing, tiering, and "what can be
 * swapped out?" tools work this way.
 *
 *     working-set [LOOKS [MS]]      default: 10 looks, 100 ms between them
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include <faultline/faultline.h>

#define PAGE  4096u
#define PAGES 4096u
#define HOT   (PAGES / 16)

static atomic_bool done;

static _Noreturn void fail(const char *what)
{
	fprintf(stderr, "working-set: %s: %s\n", what, strerror(errno));
	exit(EXIT_FAILURE);
}

/* Nearly all lookups are in the hot part, which moves on slowly. */
static void *look_things_up(void *table)
{
	unsigned long sum = 0, seed = 1, n = 0;

	for (; !atomic_load_explicit(&done, memory_order_relaxed); n++) {
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		unsigned long at = seed >> 33, first = n >> 20;
		unsigned long page = at % 65536 ? first + at / 65536 % HOT : at / 65536;

		sum += ((volatile unsigned char *)table)[page % PAGES * PAGE];
	}
	return (void *)(sum | 1);
}

static unsigned argument(int argc, char **argv, int i, unsigned otherwise)
{
	unsigned long n = i < argc ? strtoul(argv[i], NULL, 10) : otherwise;

	if (n < 1 || n > 100000) {
		fprintf(stderr, "usage: working-set [LOOKS [MS]]\n");
		exit(2);
	}
	return (unsigned)n;
}

int main(int argc, char **argv)
{
	unsigned looks = argument(argc, argv, 1, 10), ms = argument(argc, argv, 2, 100);
	struct fl_sample_cost cost;
	struct fl_mm *mm;
	pthread_t thread;
	uint64_t table;

	if (fl_mm_process(&mm))
		fail("the process's address space");
	if (fl_mmap(mm, 0, (uint64_t)PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, &table))
		fail("mmap");
	memset((void *)(uintptr_t)table, 1, (size_t)PAGES * PAGE);
	if ((errno = pthread_create(&thread, NULL, look_things_up, (void *)(uintptr_t)table)))
		fail("pthread_create");
	if (fl_sample_start(mm, table, (uint64_t)PAGES * PAGE))
		fail("fl_sample_start");
	for (unsigned i = 0; i < looks; i++) {
		nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000l}, NULL);
		uint64_t touched;

		if (fl_sample_look(mm, table, (uint64_t)PAGES * PAGE, NULL, &touched))
			fail("fl_sample_look");
		printf("%5llu of %u pages\n", (unsigned long long)touched, PAGES);
	}
	fl_sample_get_cost(mm, &cost);
	fl_sample_stop(mm, table, (uint64_t)PAGES * PAGE);
	atomic_store(&done, 1);
	pthread_join(thread, NULL);
	printf("%llu faults, %.1f %% of a thread's time\n", (unsigned long long)cost.faults,
	       100 * (double)cost.fault_ns / (double)cost.elapsed_ns);
	return 0;
}
