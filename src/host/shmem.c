/* SPDX-License-Identifier: MIT */
/* shmem.c - shared anonymous memory of the engine's own: where it goes, what of it holds data, a copy for a child. */
#include "host/host.h"
#include "host/own.h"

#include "arch/syscall.h"

#include <string.h>
#include <sys/sysinfo.h>

#define PAGE   4096u
#define PIECE  (2ull << 20)
#define PAGES  (PIECE / PAGE)
#define SHARED (MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE)

#define TOP_LOW	 0x7e8000000000ull
#define TOP_HIGH 0x7f0000000000ull

#define MIN(a, b) ((a) < (b) ? (a) : (b))

/* ---- places ---- */

/* Is nothing mapped there? Without /proc, nobody knows, and the mapping itself will tell. */
static bool is_free(uint64_t addr, uint64_t len)
{
	uint64_t own = addr, stop;
	struct fl_host_map map;

	return !fl_own_next(&own, addr + len, &stop) &&
	       (fl_host_maps_next(addr, &map) != 1 || map.start >= addr + len);
}

/* Is it an address at all? Not every machine has 47 bits of them. */
static bool exists(uint64_t addr)
{
	int err = fl_host_map_beside(addr, PAGE);

	if (!err)
		fl_host_munmap(addr, PAGE);
	return !err;
}

/*
 * The host maps from the top of the address space down, and programs that choose places begin at the bottom, so it is
 * somewhere between: where a mapping of a program's is never put by chance. It is no fixed place either.
 */
long fl_host_free_range(uint64_t len)
{
	long seed = fl_host_map(PAGE, PROT_NONE);
	uint64_t unit = 1ull << (64 - __builtin_clzll(len - 1)), random;

	if (fl_host_failed(seed))
		return seed;
	fl_host_munmap((uint64_t)seed, PAGE);
	random = ((uint64_t)seed >> 12) * 0x9e3779b97f4a7c15ull >> 16;
	for (uint64_t i = 8; i < 32; i++) {
		uint64_t addr = (unit * i + random % unit) & ~(PIECE - 1);

		if (is_free(addr, len) && exists(addr + len - PAGE))
			return (long)addr;
	}
	/* a sanitizer that has all that is between has left this: some way below where the host begins */
	for (uint64_t addr = TOP_LOW; addr + len <= TOP_HIGH; addr += 1ull << 36)
		if (is_free(addr, len) && exists(addr + len - PAGE))
			return (long)addr;
	return -ENOMEM;
}

static int map_beside(uint64_t addr, uint64_t len)
{
	long ret = fl_host_mmap(addr, len, PROT_NONE, SHARED, -1, 0);

	if (fl_host_failed(ret))
		return (int)ret;
	if ((uint64_t)ret != addr) { /* before 4.17 */
		fl_host_munmap((uint64_t)ret, len);
		return -EEXIST;
	}
	fl_host_munlock(addr, len); /* without rights until here: mlockall() populates nothing of it */
	fl_host_dump(addr, len, false);
	return 0;
}

int fl_host_map_shared_beside(uint64_t addr, uint64_t len)
{
	return fl_fail(FL_FP_POOL) ? -ENOMEM : map_beside(addr, len);
}

/* Some hosts refuse it where the mapping may not be written to. */
int fl_host_remove(uint64_t start, uint64_t len)
{
	int err = fl_host_madvise(start, len, MADV_REMOVE);

	if (err != -EACCES || fl_host_mprotect(start, len, PROT_READ | PROT_WRITE))
		return err;
	err = fl_host_madvise(start, len, MADV_REMOVE);
	fl_host_mprotect(start, len, PROT_NONE);
	return err;
}

/* ---- data ---- */

/* mincore() does not count what is in swap. */
static bool swap_in_use(void)
{
	struct sysinfo info;

	return fl_sys(SYS_sysinfo, &info) || info.freeswap != info.totalswap;
}

static bool all_zero(const char *page)
{
	return !*page && memcmp(page, page + 1, PAGE - 1) == 0;
}

/* Pages that may be in swap are read. That makes zeros of those that were nowhere, which go again. */
static void look_into_swap(uint64_t at, unsigned nr, unsigned char *in)
{
	for (unsigned i = 0; i < nr; i++) {
		uint64_t addr = at + (uint64_t)i * PAGE;

		if (in[i] & 1)
			continue;
		in[i] = !all_zero((const char *)(uintptr_t)addr);
		if (!in[i])
			fl_host_remove(addr, PAGE);
	}
}

static int which_hold_data(uint64_t at, unsigned nr, unsigned char *in, bool swap)
{
	int err = fl_host_mincore(at, (uint64_t)nr * PAGE, in);

	if (!err && swap)
		look_into_swap(at, nr, in);
	return err;
}

int fl_host_data_next(uint64_t *start, uint64_t end, uint64_t *run_end)
{
	bool swap = swap_in_use(), found = false;
	unsigned char in[PAGES];

	for (uint64_t at = *start; at < end;) {
		unsigned nr = (unsigned)MIN((end - at) / PAGE, PAGES);

		if (which_hold_data(at, nr, in, swap))
			return 0;
		for (unsigned i = 0; i < nr; i++, at += PAGE) {
			if ((in[i] & 1) == found)
				continue;
			if (found) {
				*run_end = at;
				return 1;
			}
			found = true;
			*start = at;
		}
	}
	*run_end = end;
	return found;
}

/* ---- a copy for a child ---- */

static int copy_run(uint64_t from, uint64_t to, uint64_t len)
{
	if (fl_host_populate(to, len, true) == -ENOMEM)
		return -ENOMEM;
	memcpy((void *)(uintptr_t)to, (const void *)(uintptr_t)from, (size_t)len);
	return 0;
}

/* Whole pieces in one piece, which is faster by far; where the host has none, page by page. */
static int copy_data(uint64_t from, uint64_t to, uint64_t len)
{
	uint64_t end = from + len, run_end;
	int err = 0;

	for (uint64_t at = from; !err && at < end && fl_host_data_next(&at, end, &run_end); at = run_end)
		for (uint64_t a = at, next; !err && a < run_end; a = next) {
			next = MIN((a & ~(PIECE - 1)) + PIECE, run_end);
			if (next - a == PIECE) {
				*(char *)(uintptr_t)(to + (a - from)) = 0;
				fl_host_collapse(to + (a - from));
			}
			err = copy_run(a, to + (a - from), next - a);
		}
	return err;
}

int fl_host_unshare(uint64_t addr, uint64_t len)
{
	long to = fl_host_free_range(len);
	int err = fl_host_failed(to) ? (int)to : map_beside((uint64_t)to, len);

	if (!err)
		err = fl_host_mprotect((uint64_t)to, len, PROT_READ | PROT_WRITE);
	if (!err)
		err = fl_host_mprotect(addr, len, PROT_READ);
	if (!err)
		err = copy_data(addr, (uint64_t)to, len);
	if (!err)
		err = fl_host_mprotect((uint64_t)to, len, PROT_NONE);
	if (!err)
		err = fl_host_move_back((uint64_t)to, len, addr);
	return err;
}
