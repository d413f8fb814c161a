/* SPDX-License-Identifier: MIT */
/* rounds.c - see rounds.h. */
#include "rounds.h"

#include <setjmp.h>
#include <time.h>
#include <unistd.h>

/* ---- accesses, which may end in a signal ---- */

static __thread sigjmp_buf *volatile escape;

static void on_fault(int sig)
{
	if (!escape)
		_exit(99);
	siglongjmp(*escape, sig);
}

/* Other threads store to the page meanwhile, on purpose. */
static uint64_t read_word(const void *p)
{
	return __atomic_load_n((const uint64_t *)p, __ATOMIC_RELAXED);
}

uint64_t load(const char *p)
{
	const uint64_t *w = (const void *)p;
	sigjmp_buf here;
	volatile uint64_t got;
	int sig = sigsetjmp(here, 1);

	if (sig) {
		escape = NULL;
		return sig == SIGBUS ? GOT_SIGBUS : GOT_SEGV;
	}
	escape = &here;
	got = read_word(&w[0]);
	if (read_word(&w[PAGE / 8 - 1]) != got && read_word(&w[0]) == got)
		FAIL("half of a page, which begins with %llx", (unsigned long long)got);
	escape = NULL;
	return got;
}

uint64_t store(char *p, uint64_t value)
{
	sigjmp_buf here;
	int sig = sigsetjmp(here, 1);

	if (sig) {
		escape = NULL;
		return sig == SIGBUS ? GOT_SIGBUS : GOT_SEGV;
	}
	escape = &here;
	__atomic_store_n((uint64_t *)(void *)p, value, __ATOMIC_RELAXED);
	escape = NULL;
	return 0;
}

uint64_t first_word(const char *p)
{
	return read_word(p);
}

void fill_page(char *p, uint64_t value)
{
	for (unsigned i = 0; i < PAGE / 8; i++)
		((uint64_t *)(void *)p)[i] = value;
}

/* ---- rounds ---- */

static const struct scenario *scenario;
static unsigned nr;
static pthread_barrier_t begin, end;
static atomic_int over;
static pthread_t threads[MAX_THREADS];
static atomic_ulong signals;

static void on_usr1(int sig)
{
	atomic_fetch_add(&signals, 1);
}

static void *member(void *arg)
{
	unsigned me = (unsigned)(uintptr_t)arg;
	uint64_t state = me + 1;

	for (;;) {
		pthread_barrier_wait(&begin);
		if (over)
			return NULL;
		for (uint64_t n = rnd(&state) % 8 ? rnd(&state) % 200 : rnd(&state) % 4000; n; n--)
			compiler_barrier();
		scenario->threads[me]();
		pthread_barrier_wait(&end);
	}
}

static void *pest(void *arg)
{
	for (unsigned i = 0; !over; i++) {
		struct sigaction sa = {.sa_handler = on_usr1, .sa_flags = i / 64 % 2 ? SA_RESTART : 0};
		struct timespec ts = {0, 50000};

		if (i % 64 == 0)
			sigaction(SIGUSR1, &sa, NULL);
		pthread_kill(threads[i % nr], SIGUSR1);
		nanosleep(&ts, NULL);
	}
	return NULL;
}

static unsigned rounds_until(double until)
{
	unsigned rounds = 0;

	for (over = 0; now() < until; rounds++) {
		scenario->setup();
		pthread_barrier_wait(&begin);
		pthread_barrier_wait(&end);
		scenario->check();
	}
	return rounds;
}

static double share_of_time(void)
{
	return stress_seconds(8) / 40 / 2; /* forty of them, with and without signals */
}

static void prepare(void)
{
	struct sigaction sa = {.sa_handler = on_fault}, usr1 = {.sa_handler = on_usr1, .sa_flags = SA_RESTART};

	CHECK_INT(sigaction(SIGSEGV, &sa, NULL) | sigaction(SIGBUS, &sa, NULL) | sigaction(SIGUSR1, &usr1, NULL), 0);
	scenario->begin();
	while (nr < MAX_THREADS && scenario->threads[nr])
		nr++;
	pthread_barrier_init(&begin, NULL, nr + 1);
	pthread_barrier_init(&end, NULL, nr + 1);
	for (unsigned i = 0; i < nr; i++)
		threads[i] = spawn(member, (void *)(uintptr_t)i);
}

void run_rounds(const struct scenario *s)
{
	unsigned quiet, disturbed;
	pthread_t nuisance;

	scenario = s;
	prepare();
	quiet = rounds_until(now() + share_of_time());
	nuisance = spawn(pest, NULL);
	disturbed = rounds_until(now() + share_of_time());
	over = 1;
	join(nuisance);
	pthread_barrier_wait(&begin);
	for (unsigned i = 0; i < nr; i++)
		join(threads[i]);
	note("%u rounds, %u with %lu signals", quiet, disturbed, atomic_load(&signals));
	CHECK(quiet && disturbed);
}
