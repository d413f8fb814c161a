/* SPDX-License-Identifier: MIT */
/*
 * track.c - write-protection over 1 GiB: arming it and dropping it, each in one call, with page tables of 4 KiB
 * entries or of 2 MiB ones; and a round of dirty tracking: arm, store to 1 % of the pages at random, collect from
 * /proc/self/pagemap which were stored to.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "abi.h"
#include "uffdbench.h"

#define TRACKED	    (1024 * MIB(1))
#define NR_PAGES    (TRACKED / PAGE)
#define DIRTY	    (NR_PAGES / 100)
#define WORDS	    8192 /* of pagemap, a read */
#define PM_UFFD_WP  (1ull << 57)
#define HUGE_PAGE   MIB(2)
#define SOME	    (64 * PAGE) /* between batches, one page in this many is stored to */
#define MAX_BATCHES 4u		/* they are long */

static int object;

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	uintptr_t page = (uintptr_t)info->si_addr & ~(uintptr_t)(PAGE - 1);

	faults_seen++;
	abi_writeprotect(object, (char *)page, PAGE, false);
}

/* Registered memory that holds data. Huge: as huge as the system makes it on request. */
static char *tracked_memory(bool huge)
{
	char *p = mmap(NULL, TRACKED + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		       -1, 0);

	if (p == MAP_FAILED)
		die("mmap of %zu bytes: %s", (size_t)TRACKED, strerror(errno));
	p += -(uintptr_t)p & (HUGE_PAGE - 1);
	if (madvise(p, TRACKED, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE) && errno != EINVAL)
		die("madvise: %s", strerror(errno));
	for (size_t at = 0; at < TRACKED; at += PAGE)
		touch(p + at, true);
	object = abi_open(UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_SIGBUS);
	abi_register(object, p, TRACKED, UFFDIO_REGISTER_MODE_WP);
	return p;
}

/*
 * Not huge: one page of every 2 MiB differs from the rest for a moment, so that both sides have entries of 4 KiB.
 * Some pages are written to, so that there are rights to take away.
 */
static void between(char *base, bool huge)
{
	for (size_t at = 0; !huge && at < TRACKED; at += HUGE_PAGE)
		abi_writeprotect(object, base + at, PAGE, false);
	abi_writeprotect(object, base, TRACKED, false);
	for (size_t at = 0; at < TRACKED; at += SOME)
		touch(base + at, true);
}

void measure_arm_1g(const struct run *run, struct series *out)
{
	bool huge = run->row->chunk == HUGE_PAGE, drop = !run->row->wp;
	unsigned batches = run->batches < MAX_BATCHES ? run->batches : MAX_BATCHES;
	char *base;

	pin_to_cpu(0);
	base = tracked_memory(huge);
	for (unsigned batch = 0; batch <= batches; batch++) {
		uint64_t start, armed, dropped;

		abi_writeprotect(object, base, TRACKED, true);
		between(base, huge);
		start = now_ns();
		abi_writeprotect(object, base, TRACKED, true);
		armed = now_ns();
		abi_writeprotect(object, base, TRACKED, false);
		dropped = now_ns();
		if (batch) /* the first batch has put the tables into the state the others find */
			series_add(out, drop ? dropped - armed : armed - start, NR_PAGES);
	}
}

/* The pages that are no longer protected. */
static size_t collect(int pagemap, const char *base)
{
	static uint64_t words[WORDS];
	size_t dirty = 0;

	for (size_t page = 0; page < NR_PAGES; page += WORDS) {
		ssize_t n = pread(pagemap, words, sizeof(words),
				  (off_t)(((uintptr_t)base / PAGE + page) * sizeof(*words)));

		if (n != sizeof(words))
			die("pagemap: %s", n < 0 ? strerror(errno) : "too short");
		for (size_t i = 0; i < WORDS; i++)
			dirty += !(words[i] & PM_UFFD_WP);
	}
	return dirty;
}

void measure_dirty_round(const struct run *run, struct series *out)
{
	struct sigaction action = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO};
	unsigned batches = run->batches < MAX_BATCHES ? run->batches : MAX_BATCHES;
	int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t state = 88172645463325252u;
	char *base;

	pin_to_cpu(0);
	if (pagemap < 0 || sigaction(SIGBUS, &action, NULL))
		die("pagemap, sigaction: %s", strerror(errno));
	base = tracked_memory(false);
	for (unsigned batch = 0; batch <= batches; batch++) {
		uint64_t before = faults_seen, start = now_ns();
		size_t dirty;

		abi_writeprotect(object, base, TRACKED, true);
		for (size_t i = 0; i < DIRTY; i++)
			touch(base + random_next(&state) % NR_PAGES * PAGE, true);
		dirty = collect(pagemap, base);
		if (batch)
			series_add(out, now_ns() - start, 1000);
		if (dirty != faults_seen - before)
			die("%zu pages are dirty, and %llu were stored to", dirty,
			    (unsigned long long)(faults_seen - before));
	}
}
