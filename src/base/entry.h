/* SPDX-License-Identifier: MIT */
/*
 * entry.h - the reads and writes of 64-bit entries of page tables, each of them whole: a reader gets a value that was
 * written, never half of one and half of another, also where a machine word has 32 bits.
 *
 * The protocol. An upper entry leads to the next table, and is read without a lock: a fault goes down four levels,
 * and locks for three of them would cost more than the walk. That is safe, because
 *
 *   - a table is filled before the entry that leads to it is set (release), and what the entry leads to is read
 *     after the entry (acquire): a thread that sees the entry sees the table behind it;
 *   - two faults that add a table at one place, or a table and something else, are decided by entry_cmpxchg();
 *   - a table is freed only where no reader can be on its way down: with mmap_lock held for writing;
 *   - every read and every write is whole.
 *
 * A 32-bit machine makes two accesses of a plain 64-bit one. A reader that comes between the two of a writer, or has
 * a writer between its own two, holds half of one table's address and half of another's, or of none's: it goes on
 * into memory that is no table, and sets entries there. Even if all tables are below 4 GiB, so that the upper halves
 * of their addresses agree, other entries have bits that count in both halves: frame numbers, and what an entry can
 * be instead of a table. An entry's lock does not help readers that take none.
 *
 * On i386 the compiler makes one 64-bit access of the FPU or of SSE of each read and write, and CMPXCHG8B of the
 * exchange. They are whole as long as the entry does not cross a cache line. The ABI there aligns uint64_t to 4 bytes
 * only: tables are aligned to pages, and an entry outside a table must be declared FL_ENTRY_ALIGNED. Where compilers
 * would have to call a library that locks, which a signal handler cannot use, this does not compile.
 *
 * tests/unit/entry.c has a thread that changes an entry and others that look for a mixture; the same program without
 * the protocol must find one.
 */
#ifndef FL_BASE_ENTRY_H
#define FL_BASE_ENTRY_H

#include "base/types.h"

#define FL_ENTRY_ALIGNED __attribute__((aligned(8)))

typedef uint64_t fl_entry_word FL_ENTRY_ALIGNED;

_Static_assert(__atomic_always_lock_free(sizeof(fl_entry_word), 0), "this machine has no whole access to 64 bits");

/* Wider than a machine word, an entry that crosses a cache line is torn silently. */
static inline void entry_check(const uint64_t *entry)
{
	if (sizeof(long) < sizeof(*entry))
		FL_BUG_ON(fl_addr(entry) % sizeof(*entry));
}

/* What the entry leads to may be read afterwards. */
static inline uint64_t entry_read(const uint64_t *entry)
{
	entry_check(entry);
	return __atomic_load_n((const fl_entry_word *)entry, __ATOMIC_ACQUIRE);
}

/* A thread that reads this sees what was written before. => no other writer: the entry's lock is held, say */
static inline void entry_write(uint64_t *entry, uint64_t val)
{
	entry_check(entry);
	__atomic_store_n((fl_entry_word *)entry, val, __ATOMIC_RELEASE);
}

/* Set the entry to `val` if it is `old`. Returns what it was: `old`, or another thread was faster. */
static inline uint64_t entry_cmpxchg(uint64_t *entry, uint64_t old, uint64_t val)
{
	fl_entry_word was = old;

	entry_check(entry);
	__atomic_compare_exchange_n((fl_entry_word *)entry, &was, val, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
	return was;
}

#endif
