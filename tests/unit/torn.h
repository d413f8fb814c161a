/* SPDX-License-Identifier: MIT */
/*
 * torn.h - what base/entry.h must not be: an entry as two 32-bit words, read and written one after the other. Each
 * half is an access of its own, so that no compiler merges the two. The pause between them makes likely what is
 * possible without it: that a thread on a single CPU is preempted just there.
 */
#ifndef TORN_H
#define TORN_H

#include "base/lock.h"

static inline uint32_t *half(const uint64_t *entry, unsigned i)
{
	return (uint32_t *)(uintptr_t)entry + i;
}

/* The bytes may be in either order: a half counts for what it is in the whole. */
static inline uint64_t join(uint32_t first, uint32_t second)
{
	union {
		uint32_t half[2];
		uint64_t whole;
	} u = {.half = {first, second}};

	return u.whole;
}

static inline uint64_t torn_read(const uint64_t *entry)
{
	uint32_t first = __atomic_load_n(half(entry, 0), __ATOMIC_RELAXED);

	fl_cpu_relax();
	return join(first, __atomic_load_n(half(entry, 1), __ATOMIC_RELAXED));
}

static inline void torn_write(uint64_t *entry, uint64_t val)
{
	const union {
		uint64_t whole;
		uint32_t half[2];
	} u = {.whole = val};

	__atomic_store_n(half(entry, 0), u.half[0], __ATOMIC_RELAXED);
	fl_cpu_relax();
	__atomic_store_n(half(entry, 1), u.half[1], __ATOMIC_RELAXED);
}

static inline uint64_t torn_cmpxchg(uint64_t *entry, uint64_t old, uint64_t val)
{
	uint64_t was = torn_read(entry);

	if (was == old)
		torn_write(entry, val);
	return was;
}

/* The protocol's functions, replaced. */
#ifdef TORN_READ
#define entry_read torn_read
#endif
#ifdef TORN_WRITE
#define entry_write   torn_write
#define entry_cmpxchg torn_cmpxchg
#endif

#endif
