/* SPDX-License-Identifier: MIT */
/*
 * in_place.c - memory that is registered for write-protection is the program's own mapping before, meanwhile and
 * after: what the system says of it does not change, and what has taken its place is left alone.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "huge.h"

#define OWN_MAPPING "the memory is the program's own"
#define SOFT	    "soft address spaces are in no /proc"
#define NR	    16u

/* Natively it can be switched off, to run all cases on memory of the pool. */
static void needs_in_place(void)
{
	const char *want = getenv("FAULTLINE_IN_PLACE");

	if (on_native() && want && strcmp(want, "off") == 0)
		skip("no memory stays in place");
}

/* ---- what /proc/self/smaps says of the mapping that a range is in ---- */

struct smaps {
	unsigned long start, end;
	char rights[8], flags[128];
	unsigned long rss, huge;
};

/* "um", "uw" and "ui" of VmFlags tell of the registration, which faultline's does not. "sd" is cleared by others. */
static void keep_flags(char *to, size_t size, char *flags)
{
	*to = '\0';
	for (char *f = strtok(flags, " \n"); f; f = strtok(NULL, " \n"))
		if (strcmp(f, "um") && strcmp(f, "uw") && strcmp(f, "ui") && strcmp(f, "sd") && strlen(to) + 4 < size)
			strcat(strcat(to, f), " ");
}

static struct smaps smaps(uint64_t addr)
{
	struct smaps s = {0}, at = {0};
	FILE *f = fopen("/proc/self/smaps", "re");
	char line[512];

	CHECK(f);
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx %7s", &at.start, &at.end, at.rights) == 3)
			continue;
		if (addr < at.start || addr >= at.end)
			continue;
		s.start = at.start;
		s.end = at.end;
		memcpy(s.rights, at.rights, sizeof(s.rights));
		if (sscanf(line, "Rss: %lu", &s.rss) == 1 || sscanf(line, "AnonHugePages: %lu", &s.huge) == 1)
			continue;
		if (strncmp(line, "VmFlags:", 8) == 0)
			keep_flags(s.flags, sizeof(s.flags), line + 8);
	}
	fclose(f);
	CHECK(s.end);
	return s;
}

static void alike(const struct smaps *before, uint64_t addr)
{
	struct smaps now = smaps(addr);

	CHECK_EQ(now.start, before->start);
	CHECK_EQ(now.end, before->end);
	CHECK_EQ(strcmp(now.rights, before->rights), 0);
	CHECK_EQ(now.rss, before->rss);
	CHECK_EQ(now.huge, before->huge);
	CHECK_EQ(strcmp(now.flags, before->flags), 0);
}

/* Before, meanwhile and after, with a round of protection in it. */
static void unchanged(uint64_t mem, uint64_t len)
{
	struct smaps before = smaps(mem);
	uffd_t u = uffd(0);

	needs_in_place();
	CHECK_OK(reg(u, mem, len, WP));
	alike(&before, mem);
	CHECK_OK(protect(u, mem, len, FL_UFFDIO_WRITEPROTECT_MODE_WP));
	CHECK_OK(protect(u, mem, len, 0));
	for (uint64_t a = mem; a < mem + len; a += PAGE)
		CHECK_EQ(poke(a, 1), 0);
	alike(&before, mem);
	CHECK_OK(unreg(u, mem, len));
	alike(&before, mem);
}

CASE_ON(place_smaps, ON_LIBC, SOFT, OWN_MAPPING)
{
	static const int advice[] = {MADV_NORMAL,     MADV_DONTDUMP, MADV_DONTFORK, MADV_WIPEONFORK,
				     MADV_NOHUGEPAGE, MADV_RANDOM,   MADV_MERGEABLE};

	for (unsigned i = 0; i < sizeof(advice) / sizeof(advice[0]); i++) {
		uint64_t mem = source(NR, 1);

		if (T->advise(mem, NR * PAGE, advice[i]) == 0)
			unchanged(mem, NR * PAGE);
	}
}

CASE_ON(place_smaps_locked, ON_LIBC, SOFT, OWN_MAPPING)
{
	uint64_t mem = source(NR, 1);

	if (mlock((void *)(uintptr_t)mem, NR * PAGE))
		skip("no memory may be locked");
	unchanged(mem, NR * PAGE);
}

CASE_ON(place_huge, ON_LIBC, SOFT, OWN_MAPPING)
{
	uint64_t mem = map_huge(2);

	T->advise(mem, 2 * HUGE, MADV_HUGEPAGE);
	for (uint64_t a = mem; a < mem + 2 * HUGE; a += PAGE)
		CHECK_EQ(poke(a, 1), 0);
	unchanged(mem, 2 * HUGE);
}

/* A part of one mapping, as of a heap. */
CASE_ON(place_part, ON_LIBC, SOFT, OWN_MAPPING)
{
	uint64_t mem = source(NR, 1);
	struct smaps before = smaps(mem);
	uffd_t u = uffd(0);

	needs_in_place();
	CHECK_OK(reg(u, mem + 4 * PAGE, 4 * PAGE, WP));
	CHECK_OK(protect(u, mem + 5 * PAGE, PAGE, FL_UFFDIO_WRITEPROTECT_MODE_WP));
	expect_wp(u, mem + 5 * PAGE);
	CHECK_OK(unreg(u, mem + 4 * PAGE, 4 * PAGE));
	alike(&before, mem);
}

/* ---- its place is taken, by calls that no library sees ---- */

static long raw_mmap(uint64_t addr, int prot)
{
	return ask_kernel(SYS_mmap, (long)addr, PAGE, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED);
}

/* Page 1 of 3, all protected, is another mapping; then the object goes. */
static void replaced(int prot, bool closes)
{
	struct area a = {uffd(0), source(3, 1)};
	struct smaps there;

	needs_in_place();
	CHECK_OK(reg(a.u, a.mem, 3 * PAGE, WP));
	CHECK_OK(protect(a.u, a.mem, 3 * PAGE, FL_UFFDIO_WRITEPROTECT_MODE_WP));
	CHECK_EQ(raw_mmap(a.mem + PAGE, prot), a.mem + PAGE);
	there = smaps(a.mem + PAGE);
	CHECK_OK(closes ? T->close(a.u) : unreg(a.u, a.mem, 3 * PAGE));
	CHECK_EQ(strcmp(smaps(a.mem + PAGE).rights, there.rights), 0);
	CHECK_EQ(poke(a.mem, 9), 0);
	CHECK_EQ(poke(a.mem + 2 * PAGE, 9), 0);
	CHECK_EQ(peek(a.mem + 2 * PAGE + 1), 3);
}

CASE_ON(place_taken, ON_LIBC, SOFT, "another mapping's rights are its own")
{
	static const int rights[] = {PROT_NONE, PROT_READ | PROT_EXEC, RW | PROT_EXEC};

	for (unsigned i = 0; i < 3; i++)
		for (int closes = 0; closes < 2; closes++)
			replaced(rights[i], closes);
}

CASE_ON(place_gone, ON_LIBC, SOFT, "what is unmapped stays so")
{
	for (int closes = 0; closes < 2; closes++) {
		struct area a = {uffd(0), source(3, 1)};

		needs_in_place();
		CHECK_OK(reg(a.u, a.mem, 3 * PAGE, WP));
		CHECK_OK(protect(a.u, a.mem, 3 * PAGE, FL_UFFDIO_WRITEPROTECT_MODE_WP));
		CHECK_OK((int)ask_kernel(SYS_munmap, (long)(a.mem + PAGE), PAGE, 0, 0));
		CHECK_OK(closes ? T->close(a.u) : 0);
		if (!closes)
			unreg(a.u, a.mem, 3 * PAGE);
		CHECK_EQ(peek(a.mem + PAGE), -SIGSEGV);
		CHECK_EQ(poke(a.mem, 9), 0);
		CHECK_EQ(poke(a.mem + 2 * PAGE, 9), 0);
	}
}

/* ---- fork ---- */

CASE_ON(place_fork, ON_LIBC, SOFT, "fork(2): the child's memory is its own, and not registered")
{
	struct area a = {uffd(0), source(2, 1)};
	int status;
	pid_t pid;

	CHECK_OK(reg(a.u, a.mem, 2 * PAGE, WP));
	CHECK_OK(protect(a.u, a.mem, 2 * PAGE, FL_UFFDIO_WRITEPROTECT_MODE_WP));
	pid = fork();
	CHECK(pid >= 0);
	if (!pid)
		_exit(poke(a.mem, 9) == 0 && peek(a.mem) == 9 && peek(a.mem + PAGE) == 2 ? 0 : 1);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	CHECK_EQ(peek(a.mem), 1);
	expect_wp(a.u, a.mem);
	expect_wp(a.u, a.mem + PAGE);
}
