/* SPDX-License-Identifier: MIT */
/* own.c - the table of the engine's own memory: blocks of slots, which are never given back, and the span of them. */
#include "host/own.h"

#include "arch/syscall.h"
#include "host/host.h"

#include <string.h>

#define PAGE  4096u
#define PIECE (2ull << 20)

/* Programs that choose addresses choose them below or above; the system gives out what is above. */
#define PLACE_LOW  0x200000000000ull
#define PLACE_SPAN 0x200000000000ull

struct range {
	uint64_t start, end; /* [a] start is 0: free; `end` is valid while it is not */
};

#define TAKEN 1u /* a start that is no address: a slot is being filled in */

struct block {
	struct block *next; /* [c] */
	struct range range[PAGE / sizeof(struct range) - 1];
	uint64_t unused;
};

static struct block first, *blocks = &first; /* [a] the newest block */
static struct range span = {UINT64_MAX, 0};  /* [a] of all slots so far */
static struct range image;		     /* [a] */
static uint64_t place;			     /* [a] the next one; 0: not chosen yet */

#define LOAD(x)	    __atomic_load_n(&(x), __ATOMIC_ACQUIRE)
#define STORE(x, v) __atomic_store_n(&(x), v, __ATOMIC_RELEASE)

/* ---- places ---- */

uint64_t fl_own_place(uint64_t len)
{
	uint64_t random = 0, old = LOAD(place);

	if (sizeof(long) < sizeof(uint64_t))
		return 0;
	if (!old) {
		if (fl_sys(SYS_getrandom, &random, sizeof(random), 0) != sizeof(random))
			return 0;
		random = PLACE_LOW + random % (PLACE_SPAN / PIECE) * PIECE;
		if (__atomic_compare_exchange_n(&place, &old, random, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
			old = random;
	}
	return __atomic_fetch_add(&place, (len + PIECE - 1) & ~(PIECE - 1), __ATOMIC_ACQ_REL);
}

/* ---- the table ---- */

static void widen(uint64_t *bound, uint64_t value, bool up)
{
	uint64_t old = LOAD(*bound);

	while ((up ? old < value : old > value) &&
	       !__atomic_compare_exchange_n(bound, &old, value, true, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		;
}

static bool fill_slot(struct block *b, uint64_t start, uint64_t end)
{
	for (unsigned i = 0; i < sizeof(b->range) / sizeof(b->range[0]); i++) {
		struct range *r = &b->range[i];
		uint64_t none = 0;

		if (LOAD(r->start) ||
		    !__atomic_compare_exchange_n(&r->start, &none, TAKEN, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
			continue;
		STORE(r->end, end);
		STORE(r->start, start);
		return true;
	}
	return false;
}

static long map_zero(uint64_t at, uint64_t len, int prot, int how)
{
	int fd = fl_host_open("/dev/zero", O_RDWR | O_CLOEXEC);
	long p = fd < 0 ? fd : fl_host_mmap(at, len, prot, MAP_PRIVATE | MAP_NORESERVE | how, fd, 0);

	if (fd >= 0)
		fl_host_close(fd);
	return p;
}

static long map(uint64_t len, int prot)
{
	uint64_t at = fl_own_place(len);
	long p = at ? map_zero(at, len, prot, 0) : -ENOMEM; /* among the program's it need not look different */

	if (!fl_host_failed(p))
		return p;
	return fl_host_mmap(at, len, prot, MAP_PRIVATE | MAP_NORESERVE | MAP_ANONYMOUS, -1, 0);
}

int fl_own_map_beside(uint64_t addr, uint64_t len)
{
	long p = map_zero(addr, len, PROT_NONE, MAP_FIXED_NOREPLACE);

	if (!fl_host_failed(p) && (uint64_t)p == addr)
		return 0;
	if (!fl_host_failed(p)) /* the host does not know the flag */
		fl_host_munmap((uint64_t)p, len);
	return fl_host_map_beside(addr, len);
}

/* Without memory for another block it goes unnoticed. */
static void add(uint64_t start, uint64_t end)
{
	struct block *b, *old;
	long p;

	for (b = LOAD(blocks); b; b = b->next)
		if (fill_slot(b, start, end))
			return;
	p = map(PAGE, PROT_READ | PROT_WRITE);
	if (fl_host_failed(p))
		return;
	b = (struct block *)p;
	fill_slot(b, start, end);
	fill_slot(b, (uintptr_t)p, (uintptr_t)p + PAGE);
	old = LOAD(blocks);
	do
		b->next = old;
	while (!__atomic_compare_exchange_n(&blocks, &old, b, true, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
}

void fl_own_add(uint64_t start, uint64_t len)
{
	widen(&span.start, start, false);
	widen(&span.end, start + len, true);
	add(start, start + len);
}

/* A copy of the pages that have been used, moved to their place. If that fails, they stay as they are. */
static void cover(uint64_t start, uint64_t end)
{
	long p = map_zero(0, end - start, PROT_READ | PROT_WRITE, 0);
	unsigned char in[512];

	for (uint64_t at = start; at < end && !fl_host_failed(p); at += PAGE) {
		uint64_t i = (at - start) / PAGE % sizeof(in);

		if (!i && fl_host_mincore(at, end - at < sizeof(in) * PAGE ? end - at : sizeof(in) * PAGE, in))
			goto fail;
		if (in[i] & 1)
			memcpy((char *)p + (at - start), (const void *)(uintptr_t)at, PAGE);
	}
	if (fl_host_failed(p) || !fl_host_failed(fl_host_mremap((uint64_t)p, end - start, end - start,
								MREMAP_MAYMOVE | MREMAP_FIXED, start)))
		return;
fail:
	fl_host_munmap((uint64_t)p, end - start);
}

void fl_own_set_image(uint64_t start, uint64_t bss, uint64_t end)
{
	image.end = end;
	STORE(image.start, start);
	if (bss < end)
		cover(bss, end);
}

long fl_own_map(uint64_t len, int prot)
{
	long p;

	len = (len + PAGE - 1) & ~(uint64_t)(PAGE - 1);
	p = map(len, prot);
	if (!fl_host_failed(p))
		fl_own_add((uintptr_t)p, len); /* an address is not negative */
	return p;
}

/* It is free for others as soon as it is unmapped, so it leaves the table first. */
void fl_own_unmap(uint64_t start, uint64_t len)
{
	bool found = false;

	for (struct block *b = LOAD(blocks); b && !found; b = b->next)
		for (unsigned i = 0; i < sizeof(b->range) / sizeof(b->range[0]) && !found; i++) {
			found = LOAD(b->range[i].start) == start;
			if (found)
				STORE(b->range[i].start, 0);
		}
	fl_host_munmap(start, len);
}

/* ---- asking ---- */

/* Of the range's part of [at, end), if it begins below *start. */
static void look(const struct range *r, uint64_t at, uint64_t end, uint64_t *start, uint64_t *stop)
{
	uint64_t from = LOAD(r->start), to = LOAD(r->end);

	if (from <= TAKEN || from >= end || to <= at || LOAD(r->start) != from)
		return;
	from = from > at ? from : at;
	if (from >= *start)
		return;
	*start = from;
	*stop = to < end ? to : end;
}

bool fl_own_next(uint64_t *start, uint64_t end, uint64_t *stop)
{
	uint64_t at = *start, from = end;

	look(&image, at, end, &from, stop);
	if (at < LOAD(span.end) && end > LOAD(span.start))
		for (struct block *b = LOAD(blocks); b; b = b->next)
			for (unsigned i = 0; i < sizeof(b->range) / sizeof(b->range[0]); i++)
				look(&b->range[i], at, end, &from, stop);
	if (from == end)
		return false;
	*start = from;
	return true;
}
