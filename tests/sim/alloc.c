/* SPDX-License-Identifier: MIT */
/*
 * alloc.c - base/alloc.h from one arena, empty at the start of each schedule. Freed memory is filled with POISON and
 * never reused, so a use after free shows: a pointer read from it leads nowhere, and a write to it is seen at the
 * end. No lock is taken: the allocator's is innermost, and its order does not matter.
 */
#include "sim.h"

#include "base/alloc.h"

#include "process.h"

#include <string.h>

#define ARENA	(4u << 20)
#define RESERVE (64u << 20)
#define LARGE	(256u << 10)
#define BLOCKS	4096u
#define POISON	0xfd
#define SMALL	512u /* up to this size a block is one thing */

struct block {
	char *start;
	size_t size;
	bool live;
};

static char reserve[RESERVE] __attribute__((aligned(4096)));
static size_t reserved;
static char arena[ARENA] __attribute__((aligned(4096)));
static size_t used, most; /* most: in this schedule; another process may have had more */
static struct block blocks[BLOCKS];
static unsigned nr_blocks;

void sim_memory_reset(void)
{
	memset(arena, 0, most);
	used = most = reserved = nr_blocks = 0;
}

static void *take(size_t size)
{
	size_t align = size >= 4096 ? 4096 : 64, at = (used + align - 1) & ~(align - 1);

	FL_BUG_ON(at + size > ARENA || nr_blocks == BLOCKS);
	used = at + size;
	most = fl_max(most, used);
	blocks[nr_blocks++] = (struct block){arena + at, size, true};
	return arena + at;
}

/* The block that contains the address, by bisection; NULL if there is none. */
static struct block *block_of(const void *ptr)
{
	unsigned lo = 0, hi = nr_blocks;

	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;

		if (blocks[mid].start + blocks[mid].size <= (const char *)ptr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < nr_blocks && blocks[lo].start <= (const char *)ptr ? &blocks[lo] : NULL;
}

static void give(void *ptr, size_t size)
{
	struct block *b = block_of(ptr);

	SIM_CHECK(b && b->start == ptr && b->size == size, "memory is freed that was not allocated so");
	SIM_CHECK(b->live, "memory is freed twice");
	b->live = false;
	memset(ptr, POISON, size);
}

void *fl_alloc(uint64_t *account, size_t size, enum fl_inject_point fp)
{
	if (fl_fail(fp))
		return NULL;
	__atomic_fetch_add(account, size, __ATOMIC_RELAXED);
	return take(size);
}

void fl_free(uint64_t *account, void *ptr, size_t size)
{
	if (!ptr)
		return;
	__atomic_fetch_sub(account, size, __ATOMIC_RELAXED);
	give(ptr, size);
}

/* The arrays of the native pool are not cleared between schedules: native_world.c clears what was used. */
void *fl_reserve(size_t size)
{
	char *at = reserve + reserved;

	if (size < LARGE)
		return take(size);
	FL_BUG_ON(reserved + size > RESERVE);
	reserved += (size + 4095) & ~4095ul;
	return at;
}

void fl_unreserve(void *ptr, size_t size)
{
	if (size < LARGE)
		give(ptr, size);
}

const void *sim_thing(const void *what)
{
	const struct block *b = block_of(what);

	return b && b->size <= SMALL ? b->start : what;
}

void sim_memory_parts(process_part_fn *fn, void *data)
{
	fn(&used, sizeof(used), data);
	fn(&nr_blocks, sizeof(nr_blocks), data);
	fn(arena, used, data);
	fn(blocks, nr_blocks * sizeof(blocks[0]), data);
}

/* No lock is taken, so none need be held around a fork. */
void fl_alloc_fork_prepare(void)
{
}

void fl_alloc_fork_done(void)
{
}

static bool all_poison(const struct block *b)
{
	return b->start[0] == (char)POISON && memcmp(b->start, b->start + 1, b->size - 1) == 0;
}

const char *sim_memory_check(void)
{
	for (unsigned i = 0; i < nr_blocks; i++) {
		if (blocks[i].live)
			return "memory was not freed";
		if (!all_poison(&blocks[i]))
			return "memory was written to after it was freed";
	}
	return NULL;
}
