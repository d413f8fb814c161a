/* SPDX-License-Identifier: MIT */
/*
 * shmem.h - for the cases of shared memory: its pages are kept in a cache of their own and may be mapped more than
 * once, or cached and not mapped.
 *
 * "The cache" here means the pages tmpfs has of a file; a page that is not in it is a hole.
 */
#ifndef CONFORMANCE_SHMEM_H
#define CONFORMANCE_SHMEM_H

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "conformance.h"

#define SEEN	"kernel 6.18, observed"
#define MINOR	FL_UFFDIO_REGISTER_MODE_MINOR
#define BOTH	(MISSING | WP)
#define SET	FL_UFFDIO_WRITEPROTECT_MODE_WP
#define WRITE	FL_UFFD_PAGEFAULT_FLAG_WRITE
#define F_MINOR FL_UFFD_PAGEFAULT_FLAG_MINOR
#define TRAPPED (FL_UFFD_PAGEFAULT_FLAG_WP | FL_UFFD_PAGEFAULT_FLAG_WRITE)

#define W_CACHE		   (FL_PM_PRESENT | FL_PM_FILE) /* a page of the cache that has other mappings, too */
#define W_CACHE_OWN	   (W_CACHE | FL_PM_EXCLUSIVE)	/* one without other mappings */
#define W_CACHE_PROTECTED  (W_CACHE_OWN | FL_PM_UFFD_WP)
#define W_SHARED_PROTECTED (W_CACHE | FL_PM_UFFD_WP)

/* The kinds of memory. */
enum shmem_kind {
	MEMFD,	 /* a shared mapping of a memfd */
	SHARED,	 /* shared anonymous memory */
	PRIVATE, /* a private mapping of a memfd */
};

/* One case for each kind, or for each shared kind. The body has the kind as its argument. */
#define SHARED_KINDS_ON(fn, targets, reason, src)                                                                    \
	static void fn(enum shmem_kind kind);                                                                        \
	CASE_ON(fn##_memfd, targets, reason, src)                                                                    \
	{                                                                                                            \
		fn(MEMFD);                                                                                           \
	}                                                                                                            \
	CASE_ON(fn##_anonymous, targets, reason, src)                                                                \
	{                                                                                                            \
		fn(SHARED);                                                                                          \
	}                                                                                                            \
	static void fn(enum shmem_kind kind)
#define EACH_KIND_ON(fn, targets, reason, src)                                                                       \
	static void fn(enum shmem_kind kind);                                                                        \
	CASE_ON(fn##_private, targets, reason, src)                                                                  \
	{                                                                                                            \
		fn(PRIVATE);                                                                                         \
	}                                                                                                            \
	SHARED_KINDS_ON(fn, targets, reason, src)
/* For cases of private mappings that do not see what is written to the file later: mmap(2) leaves it open. */
#define COPIED "natively, a private mapping has its own copy of the file's page from the first touch on"
#define EACH_KIND_UNCOPIED(fn, src)                                                                                  \
	static void fn(enum shmem_kind kind);                                                                        \
	CASE_ON(fn##_private, ON_KERNEL | ON_SOFT, COPIED, src)                                                      \
	{                                                                                                            \
		fn(PRIVATE);                                                                                         \
	}                                                                                                            \
	SHARED_KINDS_ON(fn, ON_ALL, "", src)
#define FILE_KINDS_UNCOPIED(fn, src) FILE_KINDS_ON(fn, ON_KERNEL | ON_SOFT, COPIED, src)
#define FILE_KINDS(fn, src)	     FILE_KINDS_ON(fn, ON_ALL, "", src)
#define FILE_KINDS_ON(fn, targets, reason, src)                                                                      \
	static void fn(enum shmem_kind kind);                                                                        \
	CASE(fn##_memfd, src)                                                                                        \
	{                                                                                                            \
		fn(MEMFD);                                                                                           \
	}                                                                                                            \
	CASE_ON(fn##_private, targets, reason, src)                                                                  \
	{                                                                                                            \
		fn(PRIVATE);                                                                                         \
	}                                                                                                            \
	static void fn(enum shmem_kind kind)
#define SHARED_KINDS(fn, src) SHARED_KINDS_ON(fn, ON_ALL, "", src)
#define EACH_KIND(fn, src)    EACH_KIND_ON(fn, ON_ALL, "", src)

/* Every combination of modes. */
#define for_each_mode(m) for (uint64_t m = 1; m <= (MISSING | WP | MINOR); m++)
#define for_each_mode_with(m, bit)                                                                                   \
	for_each_mode(m)                                                                                             \
		if (m & (bit))

/* Addresses with room around them, as from map(). */
static inline uint64_t shmem_place(unsigned pages)
{
	static uint64_t next = 0x280000000000;
	uint64_t at = next;

	next += (pages + 64) * PAGE;
	return at;
}

static inline int64_t file_of(unsigned pages)
{
	int64_t file = T->file(pages * PAGE);

	CHECK(file >= 0);
	return file;
}

static inline uint64_t map_of(int64_t file, unsigned first, unsigned pages, int prot, int flags)
{
	uint64_t at = shmem_place(pages);

	CHECK_EQ(T->map_file(at, pages * PAGE, prot, flags | MAP_FIXED_NOREPLACE, file, first * PAGE), at);
	return at;
}

/*
 * `mem` is registered; `other` is a second, shared mapping of the same pages, not registered. Shared anonymous memory
 * has no file: -1.
 */
struct shmem {
	uffd_t u;
	uint64_t mem, other;
	int64_t file;
};

static inline struct shmem shmem_map(enum shmem_kind kind, unsigned pages)
{
	struct shmem s = {-1, 0, 0, -1};

	if (kind == SHARED) {
		s.mem = shmem_place(pages);
		s.other = shmem_place(pages);
		CHECK_EQ(T->map(s.mem, pages * PAGE, RW, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE), s.mem);
		/* mremap(2): an old size of 0 maps the pages of a shared mapping a second time */
		CHECK_EQ(T->remap(s.mem, 0, pages * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, s.other), s.other);
		return s;
	}
	s.file = file_of(pages);
	s.mem = map_of(s.file, 0, pages, RW, kind == PRIVATE ? MAP_PRIVATE : MAP_SHARED);
	s.other = map_of(s.file, 0, pages, RW, MAP_SHARED);
	return s;
}

/* A fresh object, and `pages` of such memory, all holes, registered with it. */
static inline struct shmem shmem(enum shmem_kind kind, unsigned pages, uint64_t mode, uint64_t features)
{
	struct shmem s = shmem_map(kind, pages);

	s.u = uffd(features);
	CHECK_OK(reg(s.u, s.mem, pages * PAGE, mode));
	return s;
}

/* Page i of the cache holds first + i, and is mapped neither in `mem` nor in `other`. */
static inline void cached(struct shmem *s, unsigned page, unsigned pages, uint8_t first)
{
	uint64_t at = s->other + page * PAGE;
	uint8_t bytes[PAGE];

	for (unsigned i = 0; i < pages; i++) {
		memset(bytes, first + (int)i, PAGE);
		CHECK_OK(T->store(at + i * PAGE, bytes, PAGE));
	}
	CHECK_OK(T->advise(at, pages * PAGE, MADV_DONTNEED));
}

static inline uint64_t at(const struct shmem *s, unsigned page)
{
	return s->mem + page * PAGE;
}

static inline uint64_t there(const struct shmem *s, unsigned page)
{
	return s->other + page * PAGE;
}

/* The access of the page must send this message, and then waits. */
static inline void faults(struct touch *t, const struct shmem *s, enum kind access, unsigned page, uint64_t flags)
{
	touch_start(t, access, at(s, page), 0xdd);
	expect_fault(s->u, at(s, page), flags);
}

/* A load that sends no message. */
static inline void loads(const struct shmem *s, unsigned page, uint8_t byte)
{
	CHECK_EQ(peek(at(s, page)), byte);
	CHECK_EQ(T->poll(s->u, 0), 0);
}

static inline void stores(const struct shmem *s, unsigned page, uint8_t byte)
{
	CHECK_EQ(poke(at(s, page), byte), 0);
	CHECK_EQ(T->poll(s->u, 0), 0);
}

/* Removes the pages from the cache: fallocate(2) for a file, madvise(2) where there is none. */
static inline void drop(const struct shmem *s, unsigned page, unsigned pages)
{
	if (s->file >= 0)
		CHECK_OK(T->file_punch(s->file, page * PAGE, pages * PAGE));
	else
		CHECK_OK(T->advise(there(s, page), pages * PAGE, MADV_REMOVE));
}

static inline int file_byte(int64_t file, uint64_t offset)
{
	uint8_t byte;
	int64_t r = T->file_read(file, offset, &byte, 1);

	return r == 1 ? byte : r ? (int)r : -ENODATA;
}

static inline int go_on(uffd_t u, uint64_t addr, uint64_t len, uint64_t mode, int64_t *mapped)
{
	struct fl_uffdio_continue c = {{addr, len}, mode, UNTOUCHED};
	int ret = T->ioctl(u, FL_UFFDIO_CONTINUE, &c);

	if (mapped)
		*mapped = c.mapped;
	return ret;
}

#endif
