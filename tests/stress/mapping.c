/* SPDX-License-Identifier: MIT */
/*
 * mapping.c - every call that changes mappings, on a registered range and across its borders. mapping.def records
 * what the kernel does, a line for every call and window; each line is computed anew and compared.
 *
 * The area has 12 pages: 0-1 data, not registered; 2-3 data; 4-5 data, write-protected; 6-9 missing; 10-11 data, not
 * registered. Around it and in the target of mremap lies PROT_NONE. A line reads
 *
 *   call first-end: result errno missing/wp faults of the call itself | state of the area | state of the target
 *
 * where a page's state is two letters, from a read and a write: d its data, z zero, f a missing fault and the
 * handler's data, h the handler's data without a fault; then . written quietly, p a write-protect fault, f a missing
 * fault; m, a and b are SEGV_MAPERR, SEGV_ACCERR and SIGBUS. In mapping.def F and P stand for pages which the kernel
 * may or may not have dropped (MADV_FREE), * for any rest of the line (where kernels differ among themselves).
 *
 * `STRESS_PRINT=1 stress-mapping table` on a kernel prints the lines for mapping.def.
 */
#include "stress.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

#define PAGES	 12
#define RESERVED 64

static uint8_t *reserved, *area, *target;
static struct handler handler;

static void stage(void)
{
	handler.fd = uffd_open(O_CLOEXEC, FEAT_WP);
	handler.lenient = true;
	handler_start(&handler);
	reserved = mmap(NULL, RESERVED * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(reserved != MAP_FAILED);
	area = reserved + 16 * PAGE;
	target = reserved + 40 * PAGE;
	CHECK_INT(mprotect(area, PAGES * PAGE, PROT_READ | PROT_WRITE), 0);
	for (int i = 0; i < PAGES; i++)
		if (i < 6 || i > 9)
			stamp(area + i * PAGE, (uint64_t)i);
	uffd_register(handler.fd, area + 2 * PAGE, 8 * PAGE, MISSING | WP);
	CHECK_INT(uffd_protect(handler.fd, area + 4 * PAGE, 2 * PAGE, true), 0);
}

/* ---- the calls ---------------------------------------------------------------------------------------------- */

#define RW (PROT_READ | PROT_WRITE)

/* An address as its page in the reserve */
static long place(void *p)
{
	return p == MAP_FAILED ? -1 : ((uint8_t *)p - reserved) / PAGE;
}

static long call_munmap(uint8_t *p, size_t n, int arg)
{
	return munmap(p, n);
}

static long call_mprotect(uint8_t *p, size_t n, int arg)
{
	return mprotect(p, n, arg);
}

static long call_mprotect_back(uint8_t *p, size_t n, int arg)
{
	return mprotect(p, n, arg) ? -1 : mprotect(p, n, RW);
}

static long call_mmap(uint8_t *p, size_t n, int arg)
{
	return place(mmap(p, n, arg, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
}

static long call_mmap_noreplace(uint8_t *p, size_t n, int arg)
{
	return place(mmap(p, n, arg, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0));
}

static long call_mmap_shared(uint8_t *p, size_t n, int arg)
{
	return place(mmap(p, n, arg, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
}

static long call_mremap(uint8_t *p, size_t n, int arg)
{
	return place(mremap(p, n, n, MREMAP_MAYMOVE | MREMAP_FIXED | arg, target));
}

static long call_mremap_grow(uint8_t *p, size_t n, int arg)
{
	return place(mremap(p, n, n + 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, target));
}

static long call_mremap_shrink(uint8_t *p, size_t n, int arg)
{
	return place(mremap(p, n, PAGE, arg));
}

static long call_mremap_in_place(uint8_t *p, size_t n, int arg)
{
	if (p + n == area + PAGES * PAGE)
		CHECK_INT(munmap(p + n, 2 * PAGE), 0);
	return place(mremap(p, n, n + 2 * PAGE, 0));
}

static long call_madvise(uint8_t *p, size_t n, int arg)
{
	return madvise(p, n, arg);
}

static long call_mlock(uint8_t *p, size_t n, int arg)
{
	return mlock(p, n);
}

static long call_mlock2(uint8_t *p, size_t n, int arg)
{
	return mlock2(p, n, (unsigned)arg);
}

static long call_munlock(uint8_t *p, size_t n, int arg)
{
	return munlock(p, n);
}

static long call_mlock_and_back(uint8_t *p, size_t n, int arg)
{
	return mlock(p, n) ? -1 : munlock(p, n);
}

static long call_mlock_dontneed(uint8_t *p, size_t n, int arg)
{
	return mlock(p, n) ? -1 : madvise(p, n, MADV_DONTNEED);
}

static long call_mlock_protect(uint8_t *p, size_t n, int arg)
{
	if (mlock(area, PAGES * PAGE))
		return -1;
	int err = uffd_protect(handler.fd, area + 2 * PAGE, 8 * PAGE, true);
	errno = -err;
	return err ? -1 : 0;
}

static long call_mlockall(uint8_t *p, size_t n, int arg)
{
	return mlockall(arg) ? -1 : munlockall();
}

static long call_mincore(uint8_t *p, size_t n, int arg)
{
	uint8_t vec[PAGES];
	long bits = 0;
	if (mincore(p, n, vec))
		return -1;
	for (size_t i = 0; i < n / (size_t)PAGE; i++)
		bits |= (long)(vec[i] & 1) << i;
	return bits;
}

static long call_msync(uint8_t *p, size_t n, int arg)
{
	return msync(p, n, arg);
}

static long call_register(uint8_t *p, size_t n, int arg)
{
	struct uffdio_register r = {.range = {(uintptr_t)p, n}, .mode = (unsigned)arg};
	return ioctl(handler.fd, UFFDIO_REGISTER, &r);
}

static long call_unregister(uint8_t *p, size_t n, int arg)
{
	struct uffdio_range r = {(uintptr_t)p, n};
	return ioctl(handler.fd, UFFDIO_UNREGISTER, &r);
}

static const struct call {
	const char *name;
	long (*fn)(uint8_t *p, size_t n, int arg);
	int arg;
} calls[] = {
	{"munmap", call_munmap, 0},
	{"mprotect(NONE)", call_mprotect, PROT_NONE},
	{"mprotect(READ)", call_mprotect, PROT_READ},
	{"mprotect(READ|WRITE)", call_mprotect, RW},
	{"mprotect(READ|WRITE|EXEC)", call_mprotect, RW | PROT_EXEC},
	{"mprotect(NONE), back", call_mprotect_back, PROT_NONE},
	{"mprotect(READ), back", call_mprotect_back, PROT_READ},
	{"mmap(FIXED)", call_mmap, RW},
	{"mmap(FIXED, READ)", call_mmap, PROT_READ},
	{"mmap(FIXED, NONE)", call_mmap, PROT_NONE},
	{"mmap(FIXED, SHARED)", call_mmap_shared, RW},
	{"mmap(FIXED_NOREPLACE)", call_mmap_noreplace, RW},
	{"mremap(move)", call_mremap, 0},
	{"mremap(DONTUNMAP)", call_mremap, MREMAP_DONTUNMAP},
	{"mremap(move, grow)", call_mremap_grow, 0},
	{"mremap(shrink)", call_mremap_shrink, 0},
	{"mremap(shrink, MAYMOVE)", call_mremap_shrink, MREMAP_MAYMOVE},
	{"mremap(grow in place)", call_mremap_in_place, 0},
	{"madvise(DONTNEED)", call_madvise, MADV_DONTNEED},
	{"madvise(FREE)", call_madvise, MADV_FREE},
	{"madvise(NORMAL)", call_madvise, MADV_NORMAL},
	{"madvise(RANDOM)", call_madvise, MADV_RANDOM},
	{"madvise(SEQUENTIAL)", call_madvise, MADV_SEQUENTIAL},
	{"madvise(WILLNEED)", call_madvise, MADV_WILLNEED},
	{"madvise(HUGEPAGE)", call_madvise, MADV_HUGEPAGE},
	{"madvise(NOHUGEPAGE)", call_madvise, MADV_NOHUGEPAGE},
	{"madvise(COLLAPSE)", call_madvise, MADV_COLLAPSE},
	{"madvise(MERGEABLE)", call_madvise, MADV_MERGEABLE},
	{"madvise(UNMERGEABLE)", call_madvise, MADV_UNMERGEABLE},
	{"madvise(DONTFORK)", call_madvise, MADV_DONTFORK},
	{"madvise(DOFORK)", call_madvise, MADV_DOFORK},
	{"madvise(WIPEONFORK)", call_madvise, MADV_WIPEONFORK},
	{"madvise(KEEPONFORK)", call_madvise, MADV_KEEPONFORK},
	{"madvise(DONTDUMP)", call_madvise, MADV_DONTDUMP},
	{"madvise(DODUMP)", call_madvise, MADV_DODUMP},
	{"madvise(COLD)", call_madvise, MADV_COLD},
	{"madvise(PAGEOUT)", call_madvise, MADV_PAGEOUT},
	{"madvise(POPULATE_READ)", call_madvise, MADV_POPULATE_READ},
	{"madvise(POPULATE_WRITE)", call_madvise, MADV_POPULATE_WRITE},
	{"madvise(REMOVE)", call_madvise, MADV_REMOVE},
	{"madvise(4711)", call_madvise, 4711},
	{"mlock", call_mlock, 0},
	{"mlock2(ONFAULT)", call_mlock2, MLOCK_ONFAULT},
	{"munlock", call_munlock, 0},
	{"mlock, munlock", call_mlock_and_back, 0},
	{"mlock, DONTNEED", call_mlock_dontneed, 0},
	{"mlock, WRITEPROTECT", call_mlock_protect, 0},
	{"mlockall, munlockall", call_mlockall, MCL_CURRENT | MCL_ONFAULT},
	{"mincore", call_mincore, 0},
	{"msync(SYNC)", call_msync, MS_SYNC},
	{"msync(ASYNC)", call_msync, MS_ASYNC},
	{"msync(INVALIDATE)", call_msync, MS_INVALIDATE},
	{"register(MISSING)", call_register, UFFDIO_REGISTER_MODE_MISSING},
	{"register(WP)", call_register, UFFDIO_REGISTER_MODE_WP},
	{"unregister", call_unregister, 0},
};

static const struct window {
	int first, end;
} windows[] = {{2, 4}, {4, 8}, {1, 3}, {9, 11}, {0, 12}};

#define CALLS	(sizeof(calls) / sizeof(*calls))
#define WINDOWS (sizeof(windows) / sizeof(*windows))

static const char *const golden[] = {
#include "mapping.def"
};

/* ---- looking at a page -------------------------------------------------------------------------------------- */

static sigjmp_buf out;
static volatile char trouble;

static void on_trouble(int sig, siginfo_t *info, void *context)
{
	trouble = sig == SIGBUS ? 'b' : info->si_code == SEGV_MAPERR ? 'm' : info->si_code == SEGV_ACCERR ? 'a' : '!';
	siglongjmp(out, 1);
}

static char look(uint8_t *p)
{
	unsigned long missing = handler.missing;
	if (sigsetjmp(out, 1))
		return trouble;
	peek(p);
	if (handler.missing != missing)
		return stamped(p, (uintptr_t)p) ? 'f' : '!';
	if (*(uint64_t *)p == 0 && memcmp(p, p + 1, PAGE - 1) == 0)
		return 'z';
	if (stamped(p, (uintptr_t)p))
		return 'h';
	for (uint64_t i = 0; i < PAGES; i++)
		if (stamped(p, i))
			return (p - area) / PAGE == (long)i || p >= target ? 'd' : '?';
	return '?';
}

static char scratch(uint8_t *p)
{
	unsigned long missing = handler.missing, wp = handler.wp;
	if (sigsetjmp(out, 1))
		return trouble;
	poke(p + 9, 5);
	if (peek(p + 9) != 5)
		return '!';
	return handler.missing != missing ? 'f' : handler.wp != wp ? 'p' : '.';
}

static int describe(char *text, uint8_t *p)
{
	for (int i = 0; i < PAGES; i++) {
		*text++ = look(p + i * PAGE);
		*text++ = scratch(p + i * PAGE);
		*text++ = ' ';
	}
	return PAGES * 3;
}

static void run_line(char *text, size_t call, size_t window)
{
	const struct call *c = &calls[call];
	const struct window *w = &windows[window];
	struct sigaction sa = {.sa_sigaction = on_trouble, .sa_flags = SA_SIGINFO};
	stage();
	errno = 0;
	long r = c->fn(area + w->first * PAGE, (size_t)((w->end - w->first) * PAGE), c->arg);
	text += sprintf(text, "%s %d-%d: %ld %s %lu/%lu | ", c->name, w->first, w->end, r,
			r == -1 ? strerrorname_np(errno) : "ok", handler.missing, handler.wp);
	CHECK_INT(sigaction(SIGSEGV, &sa, NULL), 0);
	CHECK_INT(sigaction(SIGBUS, &sa, NULL), 0);
	text += describe(text, area);
	if (c->fn == call_mremap || c->fn == call_mremap_grow) {
		*text++ = '|';
		*text++ = ' ';
		text += describe(text, target);
	}
	text[-1] = '\0';
}

static bool matches(const char *got, const char *want)
{
	const char *states = strchr(want, '|');
	for (; *want && *got; want++, got++) {
		const char *any = want < states ? "" : *want == 'F' ? "dfz" : *want == 'P' ? "p." : "";
		if (want > states && *want == '*')
			return true;
		if (*want != *got && !strchr(any, *got))
			return false;
	}
	return *want == *got;
}

static void child_line(void *arg)
{
	size_t n = *(size_t *)arg;
	char text[300];
	run_line(text, n / WINDOWS, n % WINDOWS);
	if (getenv("STRESS_PRINT"))
		printf("\"%s\",\n", text), fflush(stdout);
	else if (n >= sizeof(golden) / sizeof(*golden))
		FAIL("no line for \"%s\"", text);
	else if (!matches(text, golden[n]))
		FAIL("is    %s\n# %*s should be %s", text, 6, "", golden[n]);
}

static void test_table(void)
{
	int failed = 0;
	for (size_t n = 0; n < CALLS * WINDOWS; n++) {
		int status = in_child(child_line, &n);
		if (status && !WIFEXITED(status))
			note("%s, window %zu: status %#x", calls[n / WINDOWS].name, n % WINDOWS, (unsigned)status);
		failed += status != 0;
	}
	note("%d of %zu lines differ", failed, CALLS * WINDOWS);
	CHECK_INT(failed, 0);
}

/* ---- ranges that come and go under writing threads ---------------------------------------------------------- */

#define BUSY 64
static atomic_ulong *counters; /* one at the start of each page, all threads add to it */
static atomic_int stop;

static void *adder(void *arg)
{
	unsigned long *mine = arg;
	uint64_t seed = (uintptr_t)arg;
	while (!stop) {
		int page = (int)(rnd(&seed) % BUSY);
		atomic_fetch_add((atomic_ulong *)(void *)((uint8_t *)counters + page * PAGE), 1);
		mine[page]++;
	}
	return NULL;
}

static void register_under_writers(uint64_t mode, bool protect)
{
	static unsigned long mine[4][BUSY];
	pthread_t t[4];
	int rounds = 0;
	counters = map_pages(BUSY);
	handler.fd = uffd_open(O_CLOEXEC, FEAT_WP);
	handler.lenient = true; /* unregistered while a fault is in progress */
	handler.fill = NULL;
	for (int i = 0; i < BUSY; i++)
		poke((uint8_t *)counters + i * PAGE + 8, 1);
	handler_start(&handler);
	for (int i = 0; i < 4; i++)
		t[i] = spawn(adder, mine[i]);
	for (double began = now(); goes_on(began, 1.5, rounds > 5); rounds++) {
		uffd_register(handler.fd, counters, BUSY * PAGE, mode);
		if (protect)
			CHECK_INT(uffd_protect(handler.fd, counters, BUSY * PAGE, true), 0);
		CHECK_INT(uffd_unregister(handler.fd, counters, BUSY * PAGE), 0);
	}
	stop = 1;
	for (int i = 0; i < 4; i++)
		join(t[i]);
	for (int p = 0; p < BUSY; p++) {
		unsigned long want = mine[0][p] + mine[1][p] + mine[2][p] + mine[3][p];
		CHECK_INT(*(unsigned long *)(void *)((uint8_t *)counters + p * PAGE), want);
	}
	CHECK_INT(handler.missing, 0);
	note("%d rounds, %lu write-protect faults", rounds, handler.wp);
	CHECK(rounds > 5);
}

static void test_register_missing(void)
{
	register_under_writers(MISSING, false);
}

static void test_register_wp(void)
{
	register_under_writers(MISSING | WP, true);
}

/* mprotect and mremap of a range that threads write to: no write is lost, no data goes astray. */
static void *writer_with_barrier(void *arg)
{
	uint8_t *p = arg;
	for (uint64_t n = 1; !stop; n++) {
		stamp(p, n);
		CHECK(stamped(p, n));
	}
	return NULL;
}

static void on_protect(int sig, siginfo_t *info, void *context)
{
	CHECK_INT(info->si_code, SEGV_ACCERR); /* the main thread restores the right soon */
}

static void test_mprotect_under_writers(void)
{
	struct sigaction sa = {.sa_sigaction = on_protect, .sa_flags = SA_SIGINFO};
	uint8_t *p = map_pages(8);
	pthread_t t[4];
	int rounds = 0;
	CHECK_INT(sigaction(SIGSEGV, &sa, NULL), 0);
	handler.fd = uffd_open(O_CLOEXEC, FEAT_WP);
	uffd_register(handler.fd, p, 8 * PAGE, MISSING | WP);
	handler_start(&handler);
	for (int i = 0; i < 4; i++)
		t[i] = spawn(writer_with_barrier, p + i * 2 * PAGE);
	for (double began = now(); goes_on(began, 1.0, handler.wp > 4); rounds++) {
		CHECK_INT(mprotect(p, 8 * PAGE, PROT_READ), 0);
		CHECK_INT(uffd_protect(handler.fd, p, 8 * PAGE, true), 0);
		CHECK_INT(mprotect(p, 8 * PAGE, PROT_NONE), 0);
		CHECK_INT(mprotect(p, 8 * PAGE, RW), 0);
		sleep_ms(1);
	}
	stop = 1;
	for (int i = 0; i < 4; i++)
		join(t[i]);
	note("%d rounds, %lu missing and %lu write-protect faults", rounds, handler.missing, handler.wp);
	CHECK_INT(handler.missing, 4);
	CHECK(handler.wp > 4);
}

static const struct test tests[] = {
	{"table", test_table, 120},
	{"register-under-writers", test_register_missing, 0},
	{"protect-under-writers", test_register_wp, 0},
	{"mprotect-under-writers", test_mprotect_under_writers, 0},
	{NULL, NULL, 0},
};

int main(int argc, char **argv)
{
	return run_tests(argc, argv, tests);
}
