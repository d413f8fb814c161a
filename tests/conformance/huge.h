/* SPDX-License-Identifier: MIT */
/*
 * huge.h - for the cases of transparent huge pages: memory that a kernel may back with one, and that looks the same
 * if it does not.
 */
#ifndef CONFORMANCE_HUGE_H
#define CONFORMANCE_HUGE_H

#include "conformance.h"

#define SMALL	      512u /* small pages in a huge one */
#define HUGE	      (SMALL * PAGE)
#define SET	      FL_UFFDIO_WRITEPROTECT_MODE_WP
#define BOTH	      (MISSING | WP)
#define MADV_COLLAPSE 25
#define TRAPPED	      (FL_UFFD_PAGEFAULT_FLAG_WP | FL_UFFD_PAGEFAULT_FLAG_WRITE)

/* `count` aligned huge pages in a mapping that extends half a huge page further at either end. */
static inline uint64_t map_huge(unsigned count)
{
	static uint64_t next = 0x310000000000;
	uint64_t at = next + HUGE / 2, len = (count + 1) * HUGE;

	CHECK_EQ(T->map(at, len, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE), at);
	next += (count + 3) * HUGE;
	return at + HUGE / 2;
}

/* EAGAIN says that the pages are in use for a moment, perhaps by the kernel itself on another CPU: madvise(2). */
static inline int collapse(uint64_t mem, uint64_t len)
{
	int r = -EAGAIN;

	for (unsigned i = 0; i < 1000 && r == -EAGAIN; i++) {
		if (i)
			pause_ms(1);
		r = T->advise(mem, len, MADV_COLLAPSE);
	}
	return r;
}

/* What page i holds in its first and last byte. */
static inline uint8_t mark(unsigned i)
{
	return (uint8_t)(1 + i % 250);
}

static inline void populate(uint64_t mem, unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++) {
		CHECK_EQ(poke(mem + i * PAGE, mark(i)), 0);
		CHECK_EQ(poke(mem + i * PAGE + PAGE - 1, mark(i)), 0);
	}
}

static inline bool holds(uint64_t mem, unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++)
		if (peek(mem + i * PAGE) != mark(i) || peek(mem + i * PAGE + PAGE - 1) != mark(i))
			return false;
	return true;
}

/* All of it is protected except [from, to). */
static inline bool protected_but(uint64_t mem, unsigned from, unsigned to)
{
	return words_are(mem, from, W_PROTECTED) && words_are(mem + from * PAGE, to - from, W_OWN) &&
	       words_are(mem + to * PAGE, SMALL - to, W_PROTECTED);
}

#endif
