/* SPDX-License-Identifier: MIT */
/* protect.c - steps that the cases share, and the runner. */
#include "protect.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "host/count.h"

#define SECONDS 300

struct fl_mm *mm;
const struct world *world;
struct fl_uffd *uffd;

void failed(const char *file, int line, const char *fmt, ...)
{
	const char *base = strrchr(file, '/');
	va_list args;

	printf("# %s:%d: ", base ? base + 1 : file, line);
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	printf("\n");
	fflush(stdout);
	_exit(1);
}

/* ---- memory ---- */

int store(uint64_t addr, uint8_t byte)
{
	return world->access(addr, &byte, true);
}

/* The byte, or -signal. */
int load(uint64_t addr)
{
	uint8_t byte = 0;
	int sig = world->access(addr, &byte, false);

	return sig ? -sig : byte;
}

uint8_t pattern(uint64_t i)
{
	return (uint8_t)(1 + i * 7 % 251);
}

uint64_t map_pages(uint64_t pages)
{
	uint64_t at;

	EXPECT(fl_mmap(mm, 0, pages * PAGE, RW, ANON, &at) == 0);
	return at;
}

/* Pages that hold their pattern. */
uint64_t filled(uint64_t pages)
{
	uint64_t at = map_pages(pages);

	for (uint64_t i = 0; i < pages; i++)
		EXPECT_INT(store(at + i * PAGE, pattern(i)), 0);
	return at;
}

/* Aligned 2 MiB with unmapped memory around it, registered and mapped by one leaf. */
uint64_t leaf(void)
{
	uint64_t at = map_pages(3 * SMALL), base = (at + HUGE - 1) & ~(HUGE - 1);

	EXPECT_INT(fl_munmap(mm, base + HUGE, at + 3 * HUGE - base - HUGE), 0);
	if (base > at)
		EXPECT_INT(fl_munmap(mm, at, base - at), 0);
	for (uint64_t i = 0; i < SMALL; i++)
		EXPECT_INT(store(base + i * PAGE, pattern(i)), 0);
	EXPECT_INT(fl_uffd_register(uffd, base, HUGE, WP, NULL), 0);
	EXPECT_INT(fl_madvise(mm, base, HUGE, 25 /* MADV_COLLAPSE */), 0);
	EXPECT_INT(fl_slot_at(mm, base).nr, SMALL);
	return base;
}

void open_object(uint64_t features)
{
	EXPECT_INT(fl_uffd_open(mm, O_CLOEXEC | O_NONBLOCK | FL_UFFD_SRC_HOST, &uffd), 0);
	EXPECT_INT(fl_uffd_api(uffd, features | FL_UFFD_FEATURE_SIGBUS, NULL), 0);
}

int protect(uint64_t addr, uint64_t len, uint64_t mode)
{
	return fl_uffd_writeprotect(uffd, addr, len, mode) ? -errno : 0;
}

/* Registered for write-protection, filled, protected. */
uint64_t protected_pages(uint64_t pages)
{
	uint64_t at = filled(pages);

	EXPECT_INT(fl_uffd_register(uffd, at, pages * PAGE, WP, NULL), 0);
	EXPECT_INT(protect(at, pages * PAGE, SET), 0);
	return at;
}

uint64_t protected_leaf(void)
{
	uint64_t at = leaf();

	EXPECT_INT(protect(at, HUGE, SET), 0);
	EXPECT_INT(fl_slot_at(mm, at).nr, SMALL);
	return at;
}

/* ---- what entries say ---- */

fl_pte_t entry(uint64_t addr)
{
	return fl_pte_get(mm, addr);
}

/* The page is protected, by its entry and for a thread that stores to it, and holds what it held. */
void is_protected(uint64_t addr, int byte)
{
	EXPECT(pte_uffd_wp(entry(addr)) && !pte_write(entry(addr)));
	EXPECT_INT(store(addr, 99), SIGBUS);
	EXPECT_INT(load(addr), byte);
	EXPECT(pte_uffd_wp(entry(addr)) && !pte_write(entry(addr)));
	EXPECT_INT(fl_mm_check(mm), 0);
}

void is_free(uint64_t addr, int byte)
{
	EXPECT_INT(load(addr), byte);
	EXPECT(!pte_uffd_wp(entry(addr)));
	EXPECT_INT(store(addr, (uint8_t)byte), 0);
	EXPECT_INT(fl_mm_check(mm), 0);
}

/* How many faults had to grant a right that was not there at once. */
uint64_t second_faults(void)
{
	return fl_stats->faults_spurious + fl_stats->faults_write;
}

/* ---- running them ---- */

static const struct protect_case *const tables[] = {s1_cases, s3_cases, s4_cases, range_cases, sample_cases};

static bool run_case(int nr, const struct protect_case *c)
{
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		alarm(SECONDS);
		world->begin();
		c->run();
		EXPECT_INT(fl_mm_check(mm), 0);
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		status = -1;
	if (WIFSIGNALED(status))
		printf("# signal %d\n", WTERMSIG(status));
	printf("%sok %d - %s\n", status ? "not " : "", nr, c->name);
	return !status;
}

int protect_main(int argc, char **argv, const struct world *w)
{
	bool good = true;
	int nr = 0;

	world = w;
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(tables); i++)
		for (const struct protect_case *c = tables[i]; c->name; c++)
			if ((c->worlds & w->bit) && (argc < 2 || strstr(c->name, argv[1])))
				good &= run_case(++nr, c);
	printf("1..%d\n", nr);
	return !good || !nr;
}
