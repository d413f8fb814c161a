/* SPDX-License-Identifier: MIT */
/*
 * threads-1000.c - a thousand threads that fault at once, on pages of their own and all on one page; reading and
 * writing, missing and write-protected. Every one completes, with the right data.
 */
#include "stress.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#define THREADS 1000

static uint8_t *range;
static struct handler handler;
static pthread_barrier_t at_once;
static atomic_int done;
static atomic_ulong sum;

struct job {
	int index;
	bool same, write;
};

static void *fault(void *arg)
{
	const struct job *j = arg;
	uint8_t *p = range + (j->same ? 0 : j->index) * PAGE;
	pthread_barrier_wait(&at_once);
	if (j->write)
		atomic_fetch_add((atomic_uint *)(void *)(p + 64), 1u << 8);
	CHECK(*(volatile uint64_t *)(void *)p == (uintptr_t)p * 0x9e3779b97f4a7c15ull);
	sum += (unsigned long)j->index;
	done++;
	return NULL;
}

static void start(pthread_t *t, struct job *jobs, bool same, bool write)
{
	done = 0;
	sum = 0;
	CHECK_INT(pthread_barrier_init(&at_once, NULL, THREADS), 0);
	for (int i = 0; i < THREADS; i++) {
		jobs[i] = (struct job){i, same, write};
		t[i] = spawn(fault, &jobs[i]);
	}
}

/* Nothing is resolved until all threads wait: each of them is a message of its own. */
static void collect_all(bool same)
{
	static uint8_t seen[THREADS];
	struct uffd_msg msg;
	for (int i = 0; i < THREADS; i++) {
		CHECK(uffd_next(handler.fd, &msg, 30000));
		long page = (long)(msg.arg.pagefault.address - (uintptr_t)range) / PAGE;
		CHECK(page >= 0 && page < THREADS && (!same || page == 0));
		CHECK_INT(seen[page]++, same ? i & 255 : 0);
	}
	CHECK(!uffd_next(handler.fd, &msg, 20));
	CHECK_INT(done, 0);
	for (int i = 0; i < THREADS; i++)
		seen[i] = 0;
}

static void resolve_all(bool same)
{
	static _Alignas(4096) uint8_t page[PAGE];
	for (int i = 0; i < (same ? 1 : THREADS); i++) {
		stamp(page, (uintptr_t)range + (uintptr_t)(i * PAGE));
		CHECK_INT(uffd_copy(handler.fd, range + i * PAGE, page, PAGE, UFFDIO_COPY_MODE_WP), 0);
	}
}

static void round_of(bool same, bool write, bool collect)
{
	static pthread_t t[THREADS];
	static struct job jobs[THREADS];
	double begin = now();
	start(t, jobs, same, write);
	if (collect) {
		collect_all(same);
		resolve_all(same);
	}
	if (collect && write) { /* now they all wait at the write protection */
		collect_all(same);
		CHECK_INT(uffd_protect(handler.fd, range, THREADS * PAGE, false), 0);
	}
	for (int i = 0; i < THREADS; i++)
		join(t[i]);
	CHECK_INT(sum, THREADS * (THREADS - 1) / 2);
	for (int i = 0; write && i < (same ? 1 : THREADS); i++) {
		uint64_t first = (uintptr_t)(range + i * PAGE) * 0x9e3779b97f4a7c15ull + 8;
		uint32_t want = (uint32_t)first + (same ? THREADS : 1) * 256u;
		CHECK_INT(*(uint32_t *)(void *)(range + i * PAGE + 64), want);
	}
	CHECK_INT(madvise(range, THREADS * PAGE, MADV_DONTNEED), 0);
	note("%s page, %s: %.2f s", same ? "same" : "own", write ? "write" : "read", now() - begin);
}

static void rounds(bool collect)
{
	range = map_pages(THREADS);
	handler.fd = uffd_open(O_CLOEXEC | O_NONBLOCK, FEAT_WP);
	handler.lenient = true;
	handler.copy_mode = UFFDIO_COPY_MODE_WP;
	uffd_register(handler.fd, range, THREADS * PAGE, MISSING | WP);
	if (!collect)
		handler_start(&handler);
	for (int i = 0; i < 4; i++)
		round_of(i & 1, i & 2, collect);
}

static void test_handler(void)
{
	rounds(false);
}

static void test_collect(void)
{
	rounds(true);
}

/* Closing the object releases all of them, on zero pages. */
static void *fault_zero(void *arg)
{
	CHECK_INT(peek(arg), 0);
	done++;
	return NULL;
}

static void test_close(void)
{
	static pthread_t t[THREADS];
	struct uffd_msg msg;
	range = map_pages(THREADS);
	int fd = uffd_open(O_CLOEXEC | O_NONBLOCK, 0);
	uffd_register(fd, range, THREADS * PAGE, MISSING);
	for (int i = 0; i < THREADS; i++)
		t[i] = spawn(fault_zero, range + i / 2 * PAGE);
	for (int i = 0; i < THREADS; i++)
		CHECK(uffd_next(fd, &msg, 30000));
	CHECK_INT(done, 0);
	CHECK_INT(close(fd), 0);
	for (int i = 0; i < THREADS; i++)
		join(t[i]);
}

static const struct test tests[] = {
	{"handler-thread", test_handler, 0},
	{"all-wait-first", test_collect, 0},
	{"close", test_close, 0},
	{NULL, NULL, 0},
};

int main(int argc, char **argv)
{
	return run_tests(argc, argv, tests);
}
