/* SPDX-License-Identifier: MIT */
/*
 * alloc.c - power-of-two size classes, each with a list of free blocks, carved out of 1 MiB chunks of anonymous
 * memory. Blocks above half a chunk are mappings of their own. Chunks are never given back: page tables and mappings
 * come and go in similar numbers, and an engine that needed the memory once will need it again.
 */
#include "base/alloc.h"
#include "base/lock.h"
#include "host/host.h"
#include "host/own.h"

#include <string.h>

#define CHUNK	  (1u << 20)
#define MIN_SHIFT 5
#define MAX_SHIFT 19

struct block {
	struct block *next;
};

static struct {
	struct fl_mutex lock;
	struct block *free[MAX_SHIFT + 1]; /* by shift */
	char *chunk;			   /* the rest of the newest chunk */
	size_t left;
} heap = {.lock = {.rank = FL_RANK_ALLOC}};

void *fl_reserve(size_t size)
{
	long p = fl_own_map(size, PROT_READ | PROT_WRITE);

	return fl_host_failed(p) ? NULL : (void *)p;
}

void fl_unreserve(void *ptr, size_t size)
{
	fl_own_unmap(fl_addr(ptr), size);
}

static unsigned size_shift(size_t size)
{
	unsigned shift = MIN_SHIFT;

	while ((size_t)1 << shift < size)
		shift++;
	return shift;
}

/*
 * Carve one block off the chunk. Blocks keep their natural alignment: the gap before it goes to the lists of the
 * smaller sizes. => heap.lock held
 */
static void *carve(unsigned shift)
{
	size_t size = (size_t)1 << shift;

	while (heap.left && ((uintptr_t)heap.chunk & (size - 1) || heap.left < size)) {
		unsigned s = (unsigned)__builtin_ctzll((uintptr_t)heap.chunk | ((uint64_t)1 << (MAX_SHIFT + 1)));
		struct block *b = (struct block *)(void *)heap.chunk;

		while ((size_t)1 << s > heap.left || s > MAX_SHIFT)
			s--;
		b->next = heap.free[s];
		heap.free[s] = b;
		heap.chunk += (size_t)1 << s;
		heap.left -= (size_t)1 << s;
	}
	if (!heap.left) {
		void *chunk = fl_reserve(CHUNK);

		if (!chunk)
			return NULL;
		heap.chunk = chunk;
		heap.left = CHUNK;
		if ((uintptr_t)chunk & (size - 1))
			return carve(shift);
	}
	void *p = heap.chunk;

	heap.chunk += size;
	heap.left -= size;
	return p;
}

static void *heap_take(unsigned shift)
{
	struct block *b;

	fl_mutex_lock(&heap.lock);
	b = heap.free[shift];
	if (b) {
		heap.free[shift] = b->next;
		fl_mutex_unlock(&heap.lock);
		return memset(b, 0, (size_t)1 << shift);
	}
	b = carve(shift); /* fresh from the host: zero */
	fl_mutex_unlock(&heap.lock);
	return b;
}

void *fl_alloc(uint64_t *account, size_t size, enum fl_inject_point fp)
{
	unsigned shift = size_shift(size);
	void *p = NULL;

	if (!fl_fail(fp))
		p = shift > MAX_SHIFT ? fl_reserve(size) : heap_take(shift);
	if (p)
		__atomic_fetch_add(account, shift > MAX_SHIFT ? size : (size_t)1 << shift, __ATOMIC_RELAXED);
	return p;
}

void fl_free(uint64_t *account, void *ptr, size_t size)
{
	unsigned shift = size_shift(size);
	struct block *b = ptr;

	if (!ptr)
		return;
	__atomic_fetch_sub(account, shift > MAX_SHIFT ? size : (size_t)1 << shift, __ATOMIC_RELAXED);
	if (shift > MAX_SHIFT) {
		fl_unreserve(ptr, size);
		return;
	}
	fl_mutex_lock(&heap.lock);
	b->next = heap.free[shift];
	heap.free[shift] = b;
	fl_mutex_unlock(&heap.lock);
}

void fl_alloc_fork_prepare(void)
{
	fl_mutex_lock(&heap.lock);
}

void fl_alloc_fork_done(void)
{
	fl_mutex_unlock(&heap.lock);
}
