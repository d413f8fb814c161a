/* SPDX-License-Identifier: MIT */
/*
 * shmem_pagemap.c - the words of /proc/self/pagemap for shared memory: bit 61 says that a page is the cache's, bit 56
 * that no other mapping has it.
 */
#include <sys/wait.h>
#include <unistd.h>

#include "shmem.h"

#define RST "pagemap.rst"

/* What a store makes of a page: the cache's, or the mapping's own. */
static uint64_t stored(enum shmem_kind kind)
{
	return kind == PRIVATE ? W_OWN : W_CACHE_OWN;
}

EACH_KIND(shmem_pagemap_untouched, RST ": neither present nor swapped")
{
	for_each_mode(m) {
		struct shmem s = shmem(kind, 2, m, 0);

		cached(&s, 1, 1, 7);
		CHECK(words_are(s.mem, 2, W_NONE));
	}
}

EACH_KIND(shmem_pagemap_loaded_hole, SEEN ": a page of the cache, also where the mapping is private")
{
	static const uint64_t modes[] = {WP, MINOR, MINOR | WP};

	for (unsigned i = 0; i < 3; i++) {
		struct shmem s = shmem(kind, 1, modes[i], 0);

		CHECK_EQ(peek(s.mem), 0);
		CHECK_EQ(word(s.mem), W_CACHE_OWN);
		CHECK_EQ(word(s.other), W_NONE);
	}
}

EACH_KIND(shmem_pagemap_loaded, SEEN)
{
	struct shmem s = shmem(kind, 1, BOTH, 0);

	cached(&s, 0, 1, 7);
	CHECK_EQ(peek(s.mem), 7);
	CHECK_EQ(word(s.mem), W_CACHE_OWN);
}

EACH_KIND(shmem_pagemap_stored_hole, SEEN)
{
	struct shmem s = shmem(kind, 1, WP, 0);

	CHECK_EQ(poke(s.mem, 1), 0);
	CHECK_EQ(word(s.mem), stored(kind));
}

EACH_KIND(shmem_pagemap_stored, SEEN)
{
	struct shmem s = shmem(kind, 2, WP, 0);

	cached(&s, 0, 1, 7);
	CHECK_EQ(poke(at(&s, 0), 1), 0);
	CHECK_EQ(word(at(&s, 0)), stored(kind));
	CHECK_EQ(peek(at(&s, 1)), 0);
	CHECK_EQ(poke(at(&s, 1), 1), 0);
	CHECK_EQ(word(at(&s, 1)), stored(kind));
}

EACH_KIND(shmem_pagemap_system_calls, SEEN ": as a load, as a store")
{
	struct shmem s = shmem(kind, 2, WP, 0);
	uint8_t byte = 0;

	CHECK_OK(T->kernel_read(at(&s, 0), &byte, 1));
	CHECK_EQ(word(at(&s, 0)), W_CACHE_OWN);
	CHECK_OK(T->kernel_write(at(&s, 1), &byte, 1));
	CHECK_EQ(word(at(&s, 1)), stored(kind));
}

EACH_KIND(shmem_pagemap_copied, SEEN)
{
	for_each_mode(m) {
		struct shmem s = shmem(kind, 3, m, 0);

		fill(s.u, at(&s, 1), 1, 7);
		CHECK_EQ(word(at(&s, 0)), W_NONE);
		CHECK_EQ(word(at(&s, 1)), stored(kind));
		CHECK_EQ(word(at(&s, 2)), W_NONE);
	}
}

EACH_KIND(shmem_pagemap_zeroed, SEEN ": private: the zero page")
{
	for_each_mode(m) {
		struct shmem s = shmem(kind, 2, m, 0);

		CHECK_OK(zero(s.u, s.mem, 2 * PAGE, 0, NULL));
		CHECK(words_are(s.mem, 2, kind == PRIVATE ? W_ZERO : W_CACHE_OWN));
		CHECK_EQ(poke(s.mem, 1), 0);
		CHECK_EQ(word(s.mem), stored(kind));
	}
}

EACH_KIND(shmem_pagemap_continued, SEEN)
{
	for_each_mode(m) {
		struct shmem s = shmem(kind, 1, m, 0);

		cached(&s, 0, 1, 7);
		CHECK_OK(go_on(s.u, s.mem, PAGE, 0, NULL));
		CHECK_EQ(word(s.mem), W_CACHE_OWN);
	}
}

EACH_KIND_UNCOPIED(shmem_pagemap_mapped_twice, SEEN ": not exclusive while another mapping has it, too")
{
	struct shmem s = shmem(kind, 1, WP, 0);

	cached(&s, 0, 1, 7);
	CHECK_EQ(peek(s.mem), 7);
	CHECK_EQ(word(s.mem), W_CACHE_OWN);
	CHECK_EQ(peek(s.other), 7);
	CHECK_EQ(word(s.mem), W_CACHE);
	CHECK_EQ(word(s.other), W_CACHE);
	CHECK_OK(T->advise(s.other, PAGE, MADV_DONTNEED));
	CHECK_EQ(word(s.mem), W_CACHE_OWN);
	CHECK_EQ(word(s.other), W_NONE);
}

EACH_KIND_UNCOPIED(shmem_pagemap_other_unmapped, SEEN ": exclusive again")
{
	struct shmem s = shmem(kind, 1, MINOR, 0);

	CHECK_EQ(poke(s.other, 7), 0);
	CHECK_OK(go_on(s.u, s.mem, PAGE, 0, NULL));
	CHECK_EQ(word(s.mem), W_CACHE);
	CHECK_OK(T->unmap(s.other, PAGE));
	CHECK_EQ(word(s.mem), W_CACHE_OWN);
}

CASE(shmem_pagemap_private_copy, SEEN ": who copies leaves the page to the others")
{
	struct shmem s = shmem(PRIVATE, 1, WP, 0);

	cached(&s, 0, 1, 7);
	CHECK_EQ(peek(s.mem), 7);
	CHECK_EQ(peek(s.other), 7);
	CHECK_EQ(poke(s.mem, 8), 0);
	CHECK_EQ(word(s.mem), W_OWN);
	CHECK_EQ(word(s.other), W_CACHE_OWN);
}

FILE_KINDS(shmem_pagemap_pread, SEEN ": reading and writing the file maps nothing")
{
	struct shmem s = shmem(kind, 1, WP, 0);

	CHECK_EQ(T->file_write(s.file, 0, "x", 1), 1);
	CHECK_EQ(file_byte(s.file, 0), 'x');
	CHECK_EQ(word(s.mem), W_NONE);
	CHECK_EQ(word(s.other), W_NONE);
}

EACH_KIND(shmem_pagemap_dontneed, SEEN)
{
	static const uint64_t modes[] = {MISSING, MINOR, MISSING | MINOR};

	for (unsigned i = 0; i < 3; i++) {
		struct shmem s = shmem(kind, 1, modes[i], 0);

		fill(s.u, s.mem, 1, 7);
		CHECK_OK(T->advise(s.mem, PAGE, MADV_DONTNEED));
		CHECK_EQ(word(s.mem), W_NONE);
	}
}

EACH_KIND(shmem_pagemap_protected, SEEN ": bit 57, and without a page bit 62")
{
	for_each_mode_with(m, WP) {
		struct shmem s = shmem(kind, 4, m, 0);

		fill(s.u, at(&s, 0), 1, 7);
		cached(&s, 1, 2, 8);
		CHECK_OK(go_on(s.u, at(&s, 1), PAGE, 0, NULL));
		CHECK_OK(protect(s.u, s.mem, 4 * PAGE, SET));
		CHECK_EQ(word(at(&s, 0)), stored(kind) | FL_PM_UFFD_WP);
		CHECK_EQ(word(at(&s, 1)), W_CACHE_PROTECTED);
		CHECK_EQ(word(at(&s, 2)), W_MARKER);
		CHECK_EQ(word(at(&s, 3)), W_MARKER);
		CHECK_OK(protect(s.u, s.mem, 4 * PAGE, 0));
		CHECK_EQ(word(at(&s, 0)), stored(kind));
		CHECK_EQ(word(at(&s, 1)), W_CACHE_OWN);
		CHECK_EQ(word(at(&s, 2)), W_NONE);
		CHECK_EQ(word(at(&s, 3)), W_NONE);
	}
}

EACH_KIND_UNCOPIED(shmem_pagemap_protected_and_mapped_twice, SEEN)
{
	struct shmem s = shmem(kind, 1, WP, 0);

	cached(&s, 0, 1, 7);
	CHECK_EQ(peek(s.mem), 7);
	CHECK_EQ(peek(s.other), 7);
	CHECK_OK(protect(s.u, s.mem, PAGE, SET));
	CHECK_EQ(word(s.mem), W_SHARED_PROTECTED);
	CHECK_EQ(word(s.other), W_CACHE);
}

EACH_KIND(shmem_pagemap_unmapped, RST)
{
	struct shmem s = shmem(kind, 2, WP, 0);

	fill(s.u, s.mem, 2, 7);
	CHECK_OK(protect(s.u, s.mem, 2 * PAGE, SET));
	CHECK_OK(T->unmap(s.mem, PAGE));
	CHECK_EQ(word(at(&s, 0)), W_NONE);
	CHECK_EQ(word(at(&s, 1)), stored(kind) | FL_PM_UFFD_WP);
}

EACH_KIND(shmem_pagemap_mprotect, SEEN ": the rights of the mapping do not show")
{
	static const int prots[] = {PROT_NONE, PROT_READ};

	for (unsigned p = 0; p < 2; p++) {
		struct shmem s = shmem(kind, 2, WP, 0);

		fill(s.u, s.mem, 1, 7);
		CHECK_OK(T->protect(s.mem, 2 * PAGE, prots[p]));
		CHECK_EQ(word(at(&s, 0)), stored(kind));
		CHECK_EQ(word(at(&s, 1)), W_NONE);
	}
}

EACH_KIND(shmem_pagemap_unregistered, SEEN ": all but bit 57 stays")
{
	for_each_mode_with(m, WP) {
		struct shmem s = shmem(kind, 3, m, 0);

		fill(s.u, s.mem, 2, 7);
		CHECK_OK(protect(s.u, at(&s, 1), 2 * PAGE, SET));
		CHECK_OK(unreg(s.u, s.mem, 3 * PAGE));
		CHECK(words_are(s.mem, 2, stored(kind)));
		CHECK_EQ(word(at(&s, 2)), W_NONE);
	}
}

EACH_KIND(shmem_pagemap_mremap, SEEN ": the words move with the pages")
{
	struct shmem s = shmem(kind, 3, MISSING, 0);
	uint64_t to = shmem_place(3);

	fill(s.u, s.mem, 1, 7);
	CHECK_OK(zero(s.u, at(&s, 1), PAGE, 0, NULL));
	CHECK_EQ(T->remap(s.mem, 3 * PAGE, 3 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to), to);
	CHECK_EQ(word(to), stored(kind));
	CHECK_EQ(word(to + PAGE), kind == PRIVATE ? W_ZERO : W_CACHE_OWN);
	CHECK_EQ(word(to + 2 * PAGE), W_NONE);
	CHECK(words_are(s.mem, 3, W_NONE));
}

/* ---- fork ---- */

static void maps_nothing_before_it_looks(const struct shmem *s)
{
	CHECK_EQ(word(s->mem), W_NONE);
	CHECK_EQ(peek(s->mem), 7);
	CHECK_EQ(word(s->mem), W_CACHE);
}

SHARED_KINDS_ON(shmem_pagemap_fork, ON_LIBC, PROCESS,
		SEEN ": a child has nothing mapped at first; then the page is both's while it lives")
{
	for_each_mode(m) {
		struct shmem s = shmem(kind, 1, m, 0);
		int status;
		pid_t pid;

		fill(s.u, s.mem, 1, 7);
		pid = fork();
		CHECK(pid >= 0);
		if (!pid) {
			alarm(CHILD_S);
			maps_nothing_before_it_looks(&s);
			_exit(0);
		}
		CHECK_EQ(waitpid(pid, &status, 0), pid);
		CHECK_EQ(status, 0);
		CHECK_EQ(word(s.mem), W_CACHE_OWN);
	}
}
