/* SPDX-License-Identifier: MIT */
/*
 * faults.c - page faults that user space resolves: missing pages filled by UFFDIO_COPY of 4 KiB, protected ones by
 * UFFDIO_WRITEPROTECT; by a thread that reads the descriptor, or by the faulting thread itself in its SIGBUS handler
 * (UFFD_FEATURE_SIGBUS).
 */
#include <errno.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "abi.h"
#include "uffdbench.h"

#define RANGE	MIB(64)
#define MSGS	16 /* that one read takes */
#define ANY_CPU UINT32_MAX

/* What resolves faults; one per process, where the SIGBUS handler finds it. */
static struct {
	int fd;
	bool wp;
	unsigned cpu;
	const char *source; /* a page */
	pthread_barrier_t ready;
} handler;

static void resolve(uint64_t address)
{
	char *page = (char *)(address & ~(uint64_t)(PAGE - 1));

	faults_seen++;
	if (handler.wp)
		abi_writeprotect(handler.fd, page, PAGE, false);
	else
		abi_copy(handler.fd, page, handler.source, PAGE);
}

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	resolve((uintptr_t)info->si_addr);
}

static void *serve(void *arg)
{
	struct uffd_msg msg[MSGS];

	if (handler.cpu != ANY_CPU)
		pin_to_cpu(handler.cpu);
	pthread_barrier_wait(&handler.ready);
	for (;;) {
		ssize_t n = read(handler.fd, msg, sizeof(msg));

		if (n < (ssize_t)sizeof(*msg))
			die("read of the descriptor: %s", n < 0 ? strerror(errno) : "too short");
		for (size_t i = 0; i < (size_t)n / sizeof(*msg); i++) {
			if (msg[i].event != UFFD_EVENT_PAGEFAULT)
				die("event %#x is not a page fault", msg[i].event);
			resolve(msg[i].arg.pagefault.address);
		}
	}
	return arg;
}

static void spawn(pthread_t *thread, void *(*fn)(void *), void *arg)
{
	int err = pthread_create(thread, NULL, fn, arg);

	if (err)
		die("pthread_create: %s", strerror(err));
}

static void start_handler(const struct row *row, unsigned cpu)
{
	uint64_t features = row->wp ? UFFD_FEATURE_PAGEFAULT_FLAG_WP : 0;
	struct sigaction action = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO};
	unsigned handlers = row->handlers ? row->handlers : 1;
	char *source = map_pages(PAGE);
	pthread_t thread;

	write_pattern(source, PAGE);
	handler.source = source;
	handler.wp = row->wp;
	handler.cpu = cpu;
	if (row->answer == IN_THREAD) {
		handler.fd = abi_open(features | UFFD_FEATURE_SIGBUS);
		if (sigaction(SIGBUS, &action, NULL))
			die("sigaction: %s", strerror(errno));
		return;
	}
	handler.fd = abi_open(features);
	pthread_barrier_init(&handler.ready, NULL, handlers + 1);
	for (unsigned i = 0; i < handlers; i++)
		spawn(&thread, serve, NULL);
	pthread_barrier_wait(&handler.ready);
}

static void take_rights(const struct fault_loop *loop)
{
	if (handler.wp)
		abi_writeprotect(loop->fd, loop->base, loop->len, true);
	else
		abi_drop(loop->base, loop->len);
}

void measure_fault(const struct run *run, struct series *out)
{
	const struct row *row = run->row;
	struct fault_loop loop = {.base = map_pages(RANGE), .len = RANGE, .prepare = take_rights};

	pin_to_cpu(0);
	start_handler(row, row->answer == OTHER_CORE ? 1 : 0);
	if (row->wp)
		write_pattern(loop.base, loop.len);
	loop.fd = handler.fd;
	abi_register(loop.fd, loop.base, loop.len, row->wp ? UFFDIO_REGISTER_MODE_WP : UFFDIO_REGISTER_MODE_MISSING);
	measure_faults(run, &loop, out);
}

/* ---- a thread beside them ---- */

static atomic_bool over, computing;

static void compute(uint64_t *state)
{
	for (unsigned i = 0; i < 1000; i++)
		random_next(state);
}

/* Maps, uses and unmaps memory elsewhere; with `fd`, also registers it. */
static void map_and_unmap(int fd)
{
	char *p = map_pages(KIB(256));

	write_pattern(p, KIB(16));
	if (fd >= 0)
		abi_register(fd, p, KIB(256), UFFDIO_REGISTER_MODE_MISSING);
	munmap(p, KIB(256));
}

static void *be_beside(void *arg)
{
	const struct row *row = arg;
	int fd = row->beside == REGISTERS ? abi_open(0) : -1;
	uint64_t state = 1;

	while (!over)
		if (computing)
			compute(&state);
		else
			map_and_unmap(fd);
	return NULL;
}

/* ---- many faulting threads -------------------------------------------------------------------------------- */

struct crowd {
	char *base;
	unsigned threads, pages, batches; /* pages: of each thread */
	pthread_barrier_t start, end;
};

struct member {
	pthread_t thread;
	struct crowd *crowd;
	unsigned index;
};

static void *fault_slice(void *arg)
{
	const struct member *me = arg;
	struct crowd *crowd = me->crowd;
	const char *slice = crowd->base + (size_t)me->index * crowd->pages * PAGE;

	for (unsigned batch = 0; batch <= crowd->batches; batch++) {
		pthread_barrier_wait(&crowd->start);
		for (unsigned i = 0; i < crowd->pages; i++)
			load_filled(slice + i * PAGE);
		pthread_barrier_wait(&crowd->end);
	}
	return NULL;
}

/* No thread is pinned to a CPU here: with more threads than CPUs the scheduler is part of what is measured. */
void measure_threads(const struct run *run, struct series *out)
{
	const struct row *row = run->row;
	size_t len = row->ops * PAGE;
	struct crowd crowd = {.base = map_pages(len),
			      .threads = row->threads,
			      .pages = row->ops / row->threads,
			      .batches = run->batches};
	struct member *members = calloc(row->threads, sizeof(*members));
	uint64_t alone = 0; /* the batch before this one */
	pthread_t beside;

	if (!members)
		die("out of memory");
	start_handler(row, ANY_CPU);
	abi_register(handler.fd, crowd.base, len, UFFDIO_REGISTER_MODE_MISSING);
	pthread_barrier_init(&crowd.start, NULL, row->threads + 1);
	pthread_barrier_init(&crowd.end, NULL, row->threads + 1);
	for (unsigned i = 0; i < row->threads; i++) {
		members[i].crowd = &crowd;
		members[i].index = i;
		spawn(&members[i].thread, fault_slice, &members[i]);
	}
	if (row->beside)
		spawn(&beside, be_beside, (void *)(uintptr_t)row);
	for (unsigned batch = 0; batch <= run->batches; batch++) {
		uint64_t took;

		abi_drop(crowd.base, len);
		computing = row->beside == COMPUTES || (row->slows && batch % 2);

		/* before the barrier: once it opens, this thread may be the last to get a CPU */
		uint64_t start = now_ns();
		pthread_barrier_wait(&crowd.start);
		pthread_barrier_wait(&crowd.end);
		took = now_ns() - start;
		if (batch && !row->slows)
			series_add(out, took, (size_t)crowd.pages * row->threads);
		else if (batch && batch % 2 == 0)
			series_add_value(out, (double)took / (double)alone);
		alone = took;
	}
	for (unsigned i = 0; i < row->threads; i++)
		pthread_join(members[i].thread, NULL);
	over = true;
	if (row->beside)
		pthread_join(beside, NULL);
	free(members);
	expect_faults((run->batches + 1) * (uint64_t)crowd.pages * row->threads);
}
