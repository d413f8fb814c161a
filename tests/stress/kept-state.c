/* SPDX-License-Identifier: MIT */
/*
 * kept-state.c - what the system has noted of memory, and how it keeps it, is the program's: huge pages, swap, locks,
 * a NUMA policy, advice. It is looked at before memory is registered, while it is, and afterwards.
 */
#include "stress.h"

#include <fcntl.h>
#include <linux/mempolicy.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif

#define HUGE  (2l << 20)
#define LEN   (4 * HUGE)
#define PAGES (LEN / PAGE)

/* ---- /proc/self/smaps ---- */

struct state {
	long rss, huge, swap, locked; /* KiB */
	int mappings;
	char flags[160]; /* of the first mapping, as " ab cd " */
	bool differ;	 /* the others have other flags */
	int policy;
};

static int policy_of(const void *p)
{
	unsigned long nodes[16];
	int policy = -1;

	return syscall(SYS_get_mempolicy, &policy, nodes, sizeof(nodes) * 8, p, MPOL_F_ADDR) ? -1 : policy;
}

static void add_flags(struct state *s, const char *line)
{
	char flags[sizeof(s->flags)];

	snprintf(flags, sizeof(flags), " %.*s ", (int)strcspn(line, "\n"), line);
	if (!s->mappings++)
		memcpy(s->flags, flags, sizeof(flags));
	s->differ = s->differ || strcmp(s->flags, flags) != 0;
}

static struct state look(const uint8_t *p, size_t len)
{
	static const char *const names[] = {"Rss:", "AnonHugePages:", "Swap:", "Locked:"};
	struct state s = {.policy = policy_of(p)};
	long *const sums[] = {&s.rss, &s.huge, &s.swap, &s.locked};
	unsigned long from, to, start = 0, end = 0;
	FILE *f = fopen("/proc/self/smaps", "re");
	char line[512];

	CHECK(f);
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2) {
			start = from;
			end = to;
		}
		if (start >= (uintptr_t)p + len || end <= (uintptr_t)p)
			continue;
		for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
			if (!strncmp(line, names[i], strlen(names[i])))
				*sums[i] += atol(line + strlen(names[i]));
		if (!strncmp(line, "VmFlags:", 8))
			add_flags(&s, line + 8);
	}
	fclose(f);
	return s;
}

static bool has(const struct state *s, const char *flag)
{
	char text[8];

	snprintf(text, sizeof(text), " %s ", flag);
	return strstr(s->flags, text);
}

/* ---- memory, and its life ---- */

static int fd;

static uint8_t *memory(void)
{
	uint8_t *raw = map_pages(PAGES + HUGE / PAGE);
	uint8_t *p = (uint8_t *)(((uintptr_t)raw + HUGE - 1) & ~(uintptr_t)(HUGE - 1));

	if (p < raw + HUGE)
		CHECK_INT(munmap(p + LEN, (size_t)(raw + HUGE - p)), 0);
	if (p > raw)
		CHECK_INT(munmap(raw, (size_t)(p - raw)), 0);
	return p;
}

static void fill(uint8_t *p)
{
	for (long i = 0; i < PAGES; i++)
		stamp(p + i * PAGE, (uint64_t)i + 1);
}

static void check_filled(uint8_t *p, const char *when)
{
	for (long i = 0; i < PAGES; i++)
		if (!stamped(p + i * PAGE, (uint64_t)i + 1))
			FAIL("%s: page %ld has changed", when, i);
}

typedef void check_fn(uint8_t *p, const struct state *before, const char *when);

/* Registered for write-protection, protected, and given back: none of this moves a page. */
static void life_wp(uint8_t *p, check_fn *check)
{
	struct state before = look(p, LEN);

	fd = uffd_open(O_CLOEXEC | O_NONBLOCK, FEAT_WP);
	uffd_register(fd, p, LEN, WP);
	check(p, &before, "registered");
	CHECK_INT(uffd_protect(fd, p, LEN, true), 0);
	check(p, &before, "protected");
	CHECK_INT(uffd_protect(fd, p, LEN, false), 0);
	check(p, &before, "not protected");
	CHECK_INT(uffd_unregister(fd, p, LEN), 0);
	check(p, &before, "unregistered");
	uffd_register(fd, p, LEN, WP);
	CHECK_INT(uffd_protect(fd, p, LEN, true), 0);
	close(fd);
	check(p, &before, "closed");
}

/* Registered for missing pages, of which it has none. */
static void life_missing(uint8_t *p, check_fn *check)
{
	struct state before = look(p, LEN);

	fd = uffd_open(O_CLOEXEC | O_NONBLOCK, 0);
	uffd_register(fd, p, LEN, MISSING);
	check(p, &before, "registered");
	CHECK_INT(uffd_unregister(fd, p, LEN), 0);
	check(p, &before, "unregistered");
	uffd_register(fd, p, LEN, MISSING);
	close(fd);
	check(p, &before, "closed");
}

/* The same, and pages are used, dropped and filled meanwhile. `drop` is the advice that does it. */
static void life_used(uint8_t *p, check_fn *check, int drop)
{
	static _Alignas(4096) uint8_t page[PAGE];
	struct state before = look(p, LEN);

	fd = uffd_open(O_CLOEXEC | O_NONBLOCK, FEAT_WP);
	uffd_register(fd, p, LEN, MISSING | WP);
	for (long i = 0; i < PAGES; i++)
		poke(p + i * PAGE, peek(p + i * PAGE));
	check(p, &before, "used");
	for (long i = 0; i < PAGES; i += HUGE / PAGE) {
		CHECK_INT(madvise(p + i * PAGE, PAGE, drop), 0);
		stamp(page, (uint64_t)i + 1);
		CHECK_INT(uffd_copy(fd, p + i * PAGE, page, PAGE, 0), 0);
	}
	check(p, &before, "filled");
	CHECK_INT(uffd_protect(fd, p, LEN, true), 0);
	check(p, &before, "protected");
	CHECK_INT(uffd_unregister(fd, p, LEN), 0);
	check(p, &before, "unregistered");
	for (long i = 0; i < PAGES; i++)
		poke(p + i * PAGE, peek(p + i * PAGE));
	check(p, &before, "used again");
	close(fd);
	check(p, &before, "closed");
}

/* ---- advice ---- */

static const struct advice {
	int advice;
	const char *flag; /* in VmFlags */
	bool anonymous;	  /* of private anonymous memory alone; or it is noted of pages, wherever they are kept */
} advice[] = {
	{MADV_DONTDUMP, "dd", false},	{MADV_DONTFORK, "dc", false},	{MADV_WIPEONFORK, "wf", true},
	{MADV_HUGEPAGE, "hg", true},	{MADV_NOHUGEPAGE, "nh", false}, {MADV_MERGEABLE, "mg", true},
	{MADV_SEQUENTIAL, "sr", false}, {MADV_RANDOM, "rr", false},
};
#define ADVICES (sizeof(advice) / sizeof(*advice))

/* In place, all that is noted of memory is as it was, but for rights and what registration itself notes. */
static void same_flags(uint8_t *p, const struct state *before, const char *when)
{
	static const char *const others[] = {"rd", "wr", "um", "uw", "sd", "gu"};
	struct state now = look(p, LEN), was = *before;

	for (int k = 0; k < 2; k++)
		for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++) {
			char *at = strstr(k ? was.flags : now.flags, others[i]);

			if (at)
				memmove(at, at + 3, strlen(at + 3) + 1);
		}
	if (now.differ || strcmp(now.flags, was.flags))
		FAIL("%s: the flags are%s, and were%s%s", when, now.flags, was.flags,
		     now.differ ? "; and not of all of it" : "");
	CHECK_INT(now.policy, was.policy);
	check_filled(p, when);
}

static uint8_t *advised(const struct advice *a)
{
	uint8_t *p = memory();

	fill(p);
	if (madvise(p, LEN, a->advice)) {
		note("this kernel does not know advice %d", a->advice);
		return NULL;
	}
	return p;
}

static void test_advice_wp(void)
{
	uint8_t *p;

	for (size_t i = 0; i < ADVICES; i++)
		if ((p = advised(&advice[i])))
			life_wp(p, same_flags);
}

static void test_advice_missing(void)
{
	uint8_t *p;

	for (size_t i = 0; i < ADVICES; i++)
		if ((p = advised(&advice[i])))
			life_missing(p, same_flags);
}

static const struct advice *given;

/* What can be seen of memory that the library keeps elsewhere. */
static void shows_advice(uint8_t *p, const struct state *before, const char *when)
{
	struct state now = look(p, LEN);

	if (now.differ ? !has(&now, given->flag) : has(before, given->flag) != has(&now, given->flag))
		FAIL("%s: the flags are%s, and were%s", when, now.flags, before->flags);
	check_filled(p, when);
}

static void test_advice_used(void)
{
	uint8_t *p;

	for (size_t i = 0; i < ADVICES; i++)
		if (!advice[i].anonymous && strcmp(advice[i].flag, "dc") && (p = advised(&advice[i]))) {
			given = &advice[i];
			life_used(p, shows_advice, MADV_DONTNEED);
		}
}

/* Given while it is registered, in each of its states, and taken back afterwards. */
static void test_advice_later(void)
{
	struct state now;

	for (size_t i = 0; i < ADVICES; i++)
		for (int used = 0; used < (advice[i].anonymous || !strcmp(advice[i].flag, "dc") ? 1 : 2); used++)
			for (uint64_t mode = MISSING; mode <= WP; mode++) {
				uint8_t *p = memory();

				fill(p);
				fd = uffd_open(O_CLOEXEC | O_NONBLOCK, FEAT_WP);
				uffd_register(fd, p, LEN, mode);
				for (long k = 0; used && k < PAGES; k++)
					poke(p + k * PAGE, peek(p + k * PAGE));
				if (madvise(p, LEN, advice[i].advice))
					continue;
				now = look(p, LEN);
				if (now.differ || !has(&now, advice[i].flag))
					FAIL("advice %d, mode %d, used %d: the flags are%s", advice[i].advice,
					     (int)mode, used, now.flags);
				CHECK_INT(uffd_unregister(fd, p, LEN), 0);
				now = look(p, LEN);
				if (now.differ || !has(&now, advice[i].flag))
					FAIL("advice %d, mode %d, used %d, unregistered: the flags are%s",
					     advice[i].advice, (int)mode, used, now.flags);
				check_filled(p, "unregistered");
				close(fd);
				CHECK_INT(munmap(p, LEN), 0);
			}
}

/* Forks, with the parent's advice of three kinds of memory, registered or not any more. */
static void *range[3];

static void child_has_dump_and_policy(void *p)
{
	struct state s = look(p, LEN);

	CHECK(has(&s, "dd"));
	CHECK_INT(s.policy, MPOL_BIND);
}

static void test_kept_in_child(void)
{
	for (int used = 0; used < 2; used++) {
		uint8_t *p = memory();
		unsigned long node = 1;

		if (syscall(SYS_mbind, p, LEN, MPOL_BIND, &node, sizeof(node) * 8, 0))
			skip("no NUMA policies here");
		CHECK_INT(madvise(p, LEN, MADV_DONTDUMP), 0);
		if (used)
			fill(p);
		fd = uffd_open(O_CLOEXEC | O_NONBLOCK, FEAT_WP);
		uffd_register(fd, p, LEN, MISSING);
		CHECK_INT(in_child(child_has_dump_and_policy, p), 0);
		CHECK_INT(uffd_unregister(fd, p, LEN), 0);
		CHECK_INT(in_child(child_has_dump_and_policy, p), 0);
		close(fd);
	}
}

static void child_looks(void *arg)
{
	uint8_t *kept = range[0], *wiped = range[1];
	unsigned char in[PAGES];

	check_filled(kept, "the child's");
	for (long i = 0; i < LEN; i += 512)
		CHECK_INT(wiped[i], 0);
	CHECK_ERR(mincore(range[2], LEN, in), ENOMEM);
}

static void test_advice_on_fork(void)
{
	static const uint64_t modes[] = {WP, MISSING, MISSING | WP};

	for (size_t i = 0; i < sizeof(modes) / sizeof(*modes); i++)
		for (int later = 0; later < 2; later++) {
			fd = uffd_open(O_CLOEXEC | O_NONBLOCK, FEAT_WP);
			for (int k = 0; k < 3; k++) {
				int a = k == 1 ? MADV_WIPEONFORK : k == 2 ? MADV_DONTFORK : MADV_NORMAL;

				range[k] = memory();
				fill(range[k]);
				CHECK_INT(later ? 0 : madvise(range[k], LEN, a), 0);
				uffd_register(fd, range[k], LEN, modes[i]);
				CHECK_INT(later ? madvise(range[k], LEN, a) : 0, 0);
			}
			CHECK_INT(in_child(child_looks, NULL), 0);
			for (int k = 0; k < 3; k++) {
				check_filled(range[k], "the parent's");
				CHECK_INT(uffd_unregister(fd, range[k], LEN), 0);
			}
			CHECK_INT(in_child(child_looks, NULL), 0);
			for (int k = 0; k < 3; k++)
				CHECK_INT(munmap(range[k], LEN), 0);
			close(fd);
		}
}

/* ---- how it is kept ---- */

/* As large as it was, and no page was copied. */
static void same_size(uint8_t *p, const struct state *before, const char *when)
{
	struct state now = look(p, LEN);

	if (now.rss != before->rss || now.huge != before->huge || now.swap != before->swap ||
	    now.locked != before->locked)
		FAIL("%s: Rss %ld, AnonHugePages %ld, Swap %ld, Locked %ld KiB, and were %ld, %ld, %ld, %ld", when,
		     now.rss, now.huge, now.swap, now.locked, before->rss, before->huge, before->swap,
		     before->locked);
}

static uint8_t *half_memory(void)
{
	uint8_t *p = memory();

	CHECK_INT(madvise(p, LEN, MADV_NOHUGEPAGE), 0);
	for (long i = 0; i < PAGES; i += 2)
		stamp(p + i * PAGE, (uint64_t)i + 1);
	CHECK_INT(look(p, LEN).rss, LEN / 2 >> 10);
	return p;
}

static void test_resident_wp(void)
{
	life_wp(half_memory(), same_size);
}

static void test_resident_missing(void)
{
	life_missing(half_memory(), same_size);
}

static uint8_t *huge_memory(void)
{
	uint8_t *p = memory();

	CHECK_INT(madvise(p, LEN, MADV_HUGEPAGE), 0);
	fill(p);
	if (look(p, LEN).huge < LEN >> 10)
		skip("the system gives no huge pages");
	return p;
}

static void test_huge_pages_wp(void)
{
	life_wp(huge_memory(), same_size);
}

static void test_huge_pages_missing(void)
{
	life_missing(huge_memory(), same_size);
}

static uint8_t *locked_memory(void)
{
	uint8_t *p = memory();

	fill(p);
	CHECK_INT(mlock(p, LEN), 0);
	CHECK_INT(look(p, LEN).locked, LEN >> 10);
	return p;
}

static void test_locked_wp(void)
{
	life_wp(locked_memory(), same_size);
	life_wp(locked_memory(), same_flags);
}

static void test_locked_missing(void)
{
	life_missing(locked_memory(), same_size);
	life_missing(locked_memory(), same_flags);
}

/* Locked while it is registered. */
static void test_locked_later(void)
{
	for (uint64_t mode = MISSING; mode <= WP; mode++) {
		uint8_t *p = memory();

		fill(p);
		fd = uffd_open(O_CLOEXEC | O_NONBLOCK, FEAT_WP);
		uffd_register(fd, p, LEN, mode);
		CHECK_INT(mlock(p, LEN), 0);
		CHECK_ERR(madvise(p, PAGE, MADV_DONTNEED), EINVAL);
		CHECK_INT(uffd_unregister(fd, p, LEN), 0);
		CHECK_ERR(madvise(p, PAGE, MADV_DONTNEED), EINVAL);
		check_filled(p, "unregistered");
		CHECK_INT(munlock(p, LEN), 0);
		CHECK_INT(madvise(p, PAGE, MADV_DONTNEED), 0);
		close(fd);
	}
}

static long status_kb(const char *name)
{
	FILE *f = fopen("/proc/self/status", "re");
	char line[256];
	long kb = -1;

	CHECK(f);
	while (fgets(line, sizeof(line), f))
		if (!strncmp(line, name, strlen(name)))
			kb = atol(line + strlen(name));
	fclose(f);
	return kb;
}

/* What is locked cannot go to swap, also where its mapping does not say so. */
static void test_locked_used(void)
{
	uint8_t *p = memory();
	long locked = status_kb("VmLck:");
	struct state s;

	fill(p);
	CHECK_INT(mlock(p, LEN), 0);
	fd = uffd_open(O_CLOEXEC | O_NONBLOCK, FEAT_WP);
	uffd_register(fd, p, LEN, MISSING | WP);
	for (long i = 0; i < PAGES; i++)
		poke(p + i * PAGE, peek(p + i * PAGE));
	if (status_kb("VmLck:") - locked < LEN >> 10)
		FAIL("%ld KiB are locked", status_kb("VmLck:") - locked);
	s = look(p, LEN);
	madvise(p, LEN, MADV_PAGEOUT);
	CHECK_INT(look(p, LEN).rss, s.rss);
	CHECK_INT(uffd_unregister(fd, p, LEN), 0);
	if (status_kb("VmLck:") - locked < LEN >> 10)
		FAIL("unregistered: %ld KiB are locked", status_kb("VmLck:") - locked);
	CHECK_INT(munlock(p, LEN), 0);
	CHECK_INT(status_kb("VmLck:"), locked);
	check_filled(p, "unlocked");
}

static void child_drops(void *p)
{
	CHECK_INT(madvise(p, LEN, MADV_DONTNEED), 0);
	CHECK_INT(peek(p), 0);
}

/* A child does not inherit locks, mlock(2). */
static void test_locked_in_child(void)
{
	for (uint64_t mode = MISSING; mode <= WP; mode++) {
		uint8_t *p = locked_memory();

		fd = uffd_open(O_CLOEXEC | O_NONBLOCK, FEAT_WP);
		uffd_register(fd, p, LEN, mode);
		CHECK_INT(in_child(child_drops, p), 0);
		CHECK_INT(madvise(p, LEN, MADV_DONTNEED_LOCKED), 0);
		fill(mode == WP ? p : memory());
		CHECK_INT(in_child(child_drops, p), 0);
		CHECK_INT(uffd_unregister(fd, p, LEN), 0);
		CHECK_INT(in_child(child_drops, p), 0);
		CHECK_ERR(madvise(p, LEN, MADV_DONTNEED), EINVAL);
		close(fd);
	}
}

static void same_policy(uint8_t *p, const struct state *before, const char *when)
{
	for (long i = 0; i < PAGES; i += PAGES / 8)
		if (policy_of(p + i * PAGE) != before->policy)
			FAIL("%s: the policy of page %ld is %d, and was %d", when, i, policy_of(p + i * PAGE),
			     before->policy);
}

static uint8_t *bound_memory(void)
{
	unsigned long node = 1;
	uint8_t *p = memory();

	if (syscall(SYS_mbind, p, LEN, MPOL_BIND, &node, sizeof(node) * 8, 0))
		skip("no NUMA policies here");
	fill(p);
	CHECK_INT(policy_of(p), MPOL_BIND);
	return p;
}

static void test_policy(void)
{
	life_wp(bound_memory(), same_policy);
	life_missing(bound_memory(), same_policy);
	life_used(bound_memory(), same_policy, MADV_DONTNEED);
}

/* The same place, used by the library for something else, has not inherited it. */
static void test_policy_forgotten(void)
{
	for (int i = 0; i < 3; i++) {
		uint8_t *p = bound_memory();

		life_used(p, same_policy, MADV_DONTNEED);
		CHECK_INT(munmap(p, LEN), 0);
		p = memory();
		fill(p);
		CHECK_INT(policy_of(p), MPOL_DEFAULT);
		life_used(p, same_policy, MADV_DONTNEED);
		CHECK_INT(munmap(p, LEN), 0);
	}
}

/* ---- what needs root ---- */

/* A child that undoes it when this process has ended, however it ends. */
static void undo_at_end(void (*undo)(const char *name), const char *name)
{
	int pipe_fds[2];
	char c;
	pid_t pid;

	CHECK_INT(pipe(pipe_fds), 0);
	pid = fork();
	CHECK(pid >= 0);
	if (pid) {
		close(pipe_fds[0]);
		return;
	}
	setsid();
	signal(SIGTERM, SIG_IGN);
	close(pipe_fds[1]);
	for (int i = 0; i < 3; i++)
		close(i);
	while (read(pipe_fds[0], &c, 1) > 0)
		;
	undo(name);
	_exit(0);
}

static void remove_swap(const char *name)
{
	swapoff(name);
	unlink(name);
}

#define SWAP_PAGES (2 * PAGES)

/* The header of a swap area, mkswap(8): a version, the last page, a signature at the end of the first page. */
static const char *make_swap(void)
{
	static char name[] = "/var/tmp/kept-state-XXXXXX";
	static uint32_t header[PAGE / sizeof(uint32_t)];
	static char zeros[64 * 4096];
	int file = mkstemp(name);

	if (file < 0)
		skip("no file can be made in /var/tmp");
	for (long at = 0; at < SWAP_PAGES * PAGE; at += (long)sizeof(zeros))
		CHECK_INT(write(file, zeros, sizeof(zeros)), sizeof(zeros));
	header[256] = 1;
	header[257] = SWAP_PAGES - 1;
	memcpy((char *)header + PAGE - 10, "SWAPSPACE2", 10);
	CHECK_INT(pwrite(file, header, sizeof(header), 0), sizeof(header));
	fsync(file);
	close(file);
	undo_at_end(remove_swap, name);
	return name;
}

static void swapped_out(uint8_t *p, const struct state *before, const char *when)
{
	struct state now = look(p, LEN);

	if (now.swap < before->swap * 9 / 10)
		FAIL("%s: %ld KiB are in swap, and were %ld", when, now.swap, before->swap);
}

static uint8_t *swapped_memory(void)
{
	uint8_t *p = memory();

	CHECK_INT(madvise(p, LEN, MADV_NOHUGEPAGE), 0);
	fill(p);
	CHECK_INT(madvise(p, LEN, MADV_PAGEOUT), 0);
	if (look(p, LEN).swap < LEN / 2 >> 10)
		skip("nothing goes to swap here");
	return p;
}

static void with_swap(void (*life)(uint8_t *p, check_fn *check))
{
	int swaps = open("/proc/swaps", O_RDONLY | O_CLOEXEC);
	uint8_t *p;

	/* one at a time: what is in the area of another run comes back when that is removed */
	CHECK(swaps >= 0 && !flock(swaps, LOCK_EX));
	if (geteuid() || swapon(make_swap(), 0))
		skip("no swap can be added here");
	p = swapped_memory();
	life(p, swapped_out);
	check_filled(p, "in the end");
}

static void test_swap_wp(void)
{
	with_swap(life_wp);
}

static void test_swap_missing(void)
{
	with_swap(life_missing);
}

static void remove_group(const char *name)
{
	for (int i = 0; rmdir(name) && errno == EBUSY && i < 500; i++)
		sleep_ms(10); /* the process that was in it is going */
}

static bool put(const char *dir, const char *file, const char *text)
{
	char path[256];
	int f;
	bool ok;

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	f = open(path, O_WRONLY | O_CLOEXEC);
	if (f < 0)
		return false;
	ok = write(f, text, strlen(text)) == (ssize_t)strlen(text);
	close(f);
	return ok;
}

static bool enter_group(const char *limit)
{
	static const char *const roots[] = {"/sys/fs/cgroup/memory", "/sys/fs/cgroup"};
	static char name[128];

	for (size_t i = 0; i < sizeof(roots) / sizeof(*roots); i++) {
		snprintf(name, sizeof(name), "%s/kept-state-%d", roots[i], (int)getpid());
		if (mkdir(name, 0755))
			continue;
		undo_at_end(remove_group, name);
		if ((put(name, "memory.limit_in_bytes", limit) || put(name, "memory.max", limit)) &&
		    put(name, "cgroup.procs", "0"))
			return true;
	}
	return false;
}

/* 200 MiB for write-protection in a group that may have 256: there is no room for a copy. */
static void test_small_group(void)
{
	size_t len = 200ul << 20;
	uint8_t *p;

	if (!enter_group("268435456"))
		skip("no memory cgroup can be made here");
	p = map_pages(len / PAGE);
	for (size_t at = 0; at < len; at += PAGE)
		p[at] = 1;
	fd = uffd_open(O_CLOEXEC | O_NONBLOCK, FEAT_WP);
	uffd_register(fd, p, len, WP);
	for (int round = 0; round < 2; round++) {
		CHECK_INT(uffd_protect(fd, p, len, true), 0);
		CHECK_INT(uffd_protect(fd, p, len, false), 0);
		for (size_t at = 0; at < len; at += PAGE)
			p[at]++;
	}
	CHECK_INT(uffd_unregister(fd, p, len), 0);
	for (size_t at = 0; at < len; at += PAGE)
		CHECK_INT(p[at], 3);
}

static const struct test tests[] = {
	{"advice-wp", test_advice_wp, 0},
	{"advice-missing", test_advice_missing, 0},
	{"advice-used", test_advice_used, 0},
	{"advice-later", test_advice_later, 0},
	{"advice-on-fork", test_advice_on_fork, 0},
	{"kept-in-child", test_kept_in_child, 0},
	{"resident-wp", test_resident_wp, 0},
	{"resident-missing", test_resident_missing, 0},
	{"huge-pages-wp", test_huge_pages_wp, 0},
	{"huge-pages-missing", test_huge_pages_missing, 0},
	{"locked-wp", test_locked_wp, 0},
	{"locked-missing", test_locked_missing, 0},
	{"locked-in-child", test_locked_in_child, 0},
	{"locked-later", test_locked_later, 0},
	{"locked-used", test_locked_used, 0},
	{"policy", test_policy, 0},
	{"policy-forgotten", test_policy_forgotten, 0},
	{"swap-wp", test_swap_wp, 0},
	{"swap-missing", test_swap_missing, 0},
	{"small-group", test_small_group, 0},
	{NULL, NULL, 0},
};

int main(int argc, char **argv)
{
	return run_tests(argc, argv, tests);
}
