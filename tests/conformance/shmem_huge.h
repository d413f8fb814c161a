/* SPDX-License-Identifier: MIT */
/*
 * shmem_huge.h - what the cases of large folios in shared memory have in common: mappings of 2 MiB, and how they
 * look.
 */
#ifndef SHMEM_HUGE_H
#define SHMEM_HUGE_H

#include "huge.h"
#include "shmem.h"

static const uint64_t not_protecting[] = {0, MISSING, MINOR, MISSING | MINOR};
static const uint64_t protecting[] = {WP, BOTH, WP | MINOR, BOTH | MINOR};
#define for_each_of(m, modes) for (uint64_t m, m##_ = 0; m##_ < 4 && (m = modes[m##_], true); m##_++)
/* The first page, one in the middle, the last. */
#define for_each_position(i)  for (unsigned i = 0; i < SMALL; i += i ? 256 : 255)

/* Like shmem_map(), of `count` aligned 2 MiB, from page `first` of the file on. */
static inline struct shmem huge_map_from(enum shmem_kind kind, unsigned count, unsigned first)
{
	static uint64_t next = 0x2a0000000000;
	struct shmem s = {-1, next, next + (count + 1) * HUGE, -1};
	uint64_t len = count * HUGE;
	int fixed = MAP_FIXED_NOREPLACE;

	next += 2 * (count + 1) * HUGE;
	if (kind == SHARED) {
		CHECK_EQ(T->map(s.mem, len, RW, MAP_SHARED | MAP_ANONYMOUS | fixed), s.mem);
		CHECK_EQ(T->remap(s.mem, 0, len, MREMAP_MAYMOVE | MREMAP_FIXED, s.other), s.other);
		return s;
	}
	s.file = file_of(count * SMALL + first);
	fixed |= kind == PRIVATE ? MAP_PRIVATE : MAP_SHARED;
	CHECK_EQ(T->map_file(s.mem, len, RW, fixed, s.file, first * PAGE), s.mem);
	CHECK_EQ(T->map_file(s.other, len, RW, MAP_SHARED | MAP_FIXED_NOREPLACE, s.file, first * PAGE), s.other);
	return s;
}

/* The cache has the pages [from, to) as small pages, not mapped. */
static inline void has(const struct shmem *s, unsigned from, unsigned to)
{
	populate(s->other, from, to);
	CHECK_OK(T->advise(there(s, from), (to - from) * PAGE, MADV_DONTNEED));
}

static inline struct shmem huge_map(enum shmem_kind kind, unsigned count)
{
	static bool asked;

	if (on_kernel() && !asked) {
		struct shmem s = huge_map_from(MEMFD, 1, 0);

		asked = true;
		has(&s, 0, SMALL);
		if (collapse(s.mem, HUGE)) /* before Linux 6.1 there is no MADV_COLLAPSE */
			skip("this kernel does not collapse shared memory");
	}
	return huge_map_from(kind, count, 0);
}

static inline void watch(struct shmem *s, uint64_t addr, uint64_t len, uint64_t mode)
{
	if (!mode)
		return;
	if (s->u < 0)
		s->u = uffd(0);
	CHECK_OK(reg(s->u, addr, len, mode));
}

/* 2 MiB of which the cache has [from, to), registered. */
static inline struct shmem some(enum shmem_kind kind, unsigned from, unsigned to, uint64_t mode)
{
	struct shmem s = huge_map(kind, 1);

	has(&s, from, to);
	watch(&s, s.mem, HUGE, mode);
	return s;
}

/* 2 MiB that are one large folio, registered afterwards. */
static inline struct shmem piece(enum shmem_kind kind, uint64_t mode)
{
	struct shmem s = some(kind, 0, SMALL, 0);

	CHECK_OK(collapse(s.mem, HUGE));
	watch(&s, s.mem, HUGE, mode);
	CHECK(words_are(s.mem, SMALL, W_CACHE_OWN));
	return s;
}

/* All of it, as the file has it, read through a mapping that sends no message. */
static inline bool intact(const struct shmem *s)
{
	return holds(s->other, 0, SMALL);
}

static inline bool nothing_mapped(uint64_t mem)
{
	return words_are(mem, SMALL, W_NONE);
}

/* What a load without a message maps, all at once. */
static inline bool comes_at_once(uint64_t mem, unsigned page)
{
	return peek(mem + page * PAGE) == mark(page) && words_are(mem, SMALL, W_CACHE_OWN);
}

#endif
