/* SPDX-License-Identifier: MIT */
/*
 * sigbus.c - UFFD_FEATURE_SIGBUS: a fault is a SIGBUS of the program, which jumps out of its handler, fills the page
 * there, or dies.
 */
#include "stress.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>

static uint8_t *range;
static int fd;
static sigjmp_buf out;

static struct seen {
	int count, sig, code;
	void *addr;
	bool write;
} seen;

static void info_handler(int sig, siginfo_t *info, void *context)
{
	const ucontext_t *uc = context;
	seen.count++;
	seen.sig = sig;
	seen.code = info->si_code;
	seen.addr = info->si_addr;
	seen.write = uc->uc_mcontext.gregs[REG_ERR] & 2;
	siglongjmp(out, 1);
}

static void stage(const struct sigaction *sa)
{
	range = map_pages(16);
	fd = uffd_open(O_CLOEXEC, UFFD_FEATURE_SIGBUS | FEAT_WP);
	uffd_register(fd, range, 16 * PAGE, MISSING | WP);
	if (sa)
		CHECK_INT(sigaction(SIGBUS, sa, NULL), 0);
}

static void test_longjmp(void)
{
	struct sigaction sa = {.sa_sigaction = info_handler, .sa_flags = SA_SIGINFO};
	stage(&sa);
	for (volatile int i = 1; i <= 10000; i++) {
		uint8_t *p = range + i % 16 * PAGE + i % 4096;
		if (sigsetjmp(out, 1) == 0) {
			if (i & 1)
				peek(p);
			else
				poke(p, 1);
			FAIL("went on");
		}
		CHECK_INT(seen.count, i);
		CHECK_INT(seen.sig, SIGBUS);
		CHECK_INT(seen.code, BUS_ADRERR);
		CHECK(seen.addr == p);
	}
	/* nothing of it is left: the pages can be filled and used */
	for (int i = 0; i < 16; i++)
		CHECK_INT(uffd_zero(fd, range + i * PAGE, PAGE), 0);
	for (int i = 0; i < 16; i++)
		poke(range + i * PAGE, 1);
	CHECK_INT(seen.count, 10000);
}

/* A write-protected page raises SIGBUS as well. */
static void test_wp(void)
{
	struct sigaction sa = {.sa_sigaction = info_handler, .sa_flags = SA_SIGINFO};
	stage(&sa);
	CHECK_INT(uffd_zero(fd, range, PAGE), 0);
	for (int i = 1; i <= 100; i++) {
		CHECK_INT(uffd_protect(fd, range, PAGE, true), 0);
		CHECK_INT(peek(range), i - 1);
		if (sigsetjmp(out, 1) == 0)
			poke(range, 255);
		CHECK_INT(seen.count, i);
		CHECK(seen.code == BUS_ADRERR && seen.addr == range && seen.write);
		CHECK_INT(uffd_protect(fd, range, PAGE, false), 0);
		poke(range, (uint8_t)i);
	}
}

static void filling_handler(int sig, siginfo_t *info, void *context)
{
	static _Alignas(PAGE) uint8_t page[PAGE];
	uint8_t *at = (uint8_t *)PAGE_OF(info->si_addr);
	seen.count++;
	stamp(page, (uintptr_t)at);
	CHECK_INT(uffd_copy(fd, at, page, PAGE, 0), 0);
}

/* The handler itself fills the page and returns: the access is repeated. */
static void test_fill(void)
{
	struct sigaction sa = {.sa_sigaction = filling_handler, .sa_flags = SA_SIGINFO};
	stage(&sa);
	for (int i = 0; i < 16 * 100; i++) {
		uint8_t *p = range + i % 16 * PAGE;
		CHECK(stamped(p, (uintptr_t)p));
		CHECK_INT(seen.count, i + 1);
		CHECK_INT(madvise(p, PAGE, MADV_DONTNEED), 0);
	}
}

/* ---- the ways to die ------------------------------------------------------------------------------------------ */

static void die_default(void *arg)
{
	stage(NULL);
	peek(range);
}

static void die_ignored(void *arg)
{
	stage(NULL);
	signal(SIGBUS, SIG_IGN);
	peek(range);
}

static void abort_handler(int sig)
{
	abort();
}

static void die_blocked(void *arg)
{
	sigset_t bus;
	stage(NULL);
	signal(SIGBUS, abort_handler);
	sigemptyset(&bus);
	sigaddset(&bus, SIGBUS);
	sigprocmask(SIG_BLOCK, &bus, NULL);
	peek(range);
}

static void test_deaths(void)
{
	static void (*const deaths[])(void *) = {die_default, die_ignored, die_blocked};
	for (size_t i = 0; i < sizeof(deaths) / sizeof(*deaths); i++) {
		int status = in_child(deaths[i], NULL);
		if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGBUS)
			FAIL("death %zu: status %#x", i, (unsigned)status);
	}
}

static const struct test tests[] = {
	{"longjmp", test_longjmp, 0},
	{"write-protect", test_wp, 0},
	{"fill", test_fill, 0},
	{"ways-to-die", test_deaths, 0},
	{NULL, NULL, 0},
};

int main(int argc, char **argv)
{
	return run_tests(argc, argv, tests);
}
