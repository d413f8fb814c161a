/* SPDX-License-Identifier: MIT */
/* shmem_piece.c - shared memory mapped by one leaf of 2 MiB: how a part of it changes, and where it shows. */
#include "shmem_huge.h"

#include <stdlib.h>

/* ---- a part of it changes ---- */

EACH_KIND_UNCOPIED(shmem_piece_two_mappings, SEEN ": exclusive is what one mapping has")
{
	struct shmem s = piece(kind, MISSING);

	CHECK_EQ(peek(there(&s, 3)), mark(3));
	CHECK(words_are(s.mem, SMALL, W_CACHE));
	CHECK(words_are(s.other, SMALL, W_CACHE));
	CHECK_OK(T->advise(s.other, HUGE, MADV_DONTNEED));
	CHECK(words_are(s.mem, SMALL, W_CACHE_OWN));
	CHECK(nothing_mapped(s.other));
}

SHARED_KINDS(shmem_piece_stores, SEEN ": they are seen by all, and nothing comes apart")
{
	for_each_mode(m) {
		struct shmem s = piece(kind, m);

		for_each_position(i) {
			stores(&s, i, 200);
			CHECK_EQ(peek(there(&s, i)), 200);
			CHECK_EQ(poke(there(&s, i), 201), 0);
			loads(&s, i, 201);
		}
		CHECK(words_are(s.mem, SMALL, W_CACHE));
	}
}

FILE_KINDS_UNCOPIED(shmem_piece_of_the_file, SEEN ": read(2) and write(2) see and change it")
{
	struct shmem s = piece(kind, MISSING);

	for_each_position(i) {
		CHECK_EQ(file_byte(s.file, i * PAGE), mark(i));
		CHECK_EQ(T->file_write(s.file, i * PAGE, "\311", 1), 1);
		loads(&s, i, 201);
	}
	CHECK(words_are(s.mem, SMALL, W_CACHE_OWN));
}

CASE(shmem_piece_private_store, SEEN ": a copy of the page, and the rest is not mapped")
{
	static const uint64_t modes[] = {0, MISSING, WP, BOTH};

	for_each_of(m, modes) {
		for_each_position(i) {
			struct shmem s = piece(PRIVATE, m);

			CHECK_EQ(poke(at(&s, i) + 1, 99), 0);
			CHECK(words_are(s.mem, i, W_NONE));
			CHECK_EQ(word(at(&s, i)), W_OWN);
			CHECK(words_are(at(&s, i + 1), SMALL - 1 - i, W_NONE));
			CHECK_EQ(peek(at(&s, i)), mark(i));
			CHECK_EQ(peek(at(&s, i) + 1), 99);
			CHECK_EQ(peek(there(&s, i) + 1), 0);
			CHECK(intact(&s));
			CHECK_EQ(collapse(s.mem, HUGE), -EINVAL);
			CHECK_EQ(word(at(&s, i)), W_OWN);
			CHECK(s.u < 0 || quiet(s.u));
		}
	}
}

CASE(shmem_piece_private_store_minor, SEEN ": a minor fault, since it is not mapped then")
{
	struct shmem s = piece(PRIVATE, MINOR);
	struct touch t;

	faults(&t, &s, STORE, 5, F_MINOR | WRITE);
	CHECK(nothing_mapped(s.mem));
	CHECK_OK(go_on(s.u, at(&s, 5), PAGE, 0, NULL));
	CHECK_OK(touch_end(&t));
	CHECK_EQ(word(at(&s, 5)), W_OWN);
	CHECK(intact(&s));
}

EACH_KIND(shmem_piece_exists, SEEN ": EEXIST for CONTINUE and COPY")
{
	struct shmem s = piece(kind, MINOR | MISSING);

	for_each_position(i) {
		CHECK_EQ(go_on(s.u, at(&s, i), PAGE, 0, NULL), -EEXIST);
		CHECK_EQ(copy(s.u, at(&s, i), source(1, 9), PAGE, 0, NULL), -EEXIST);
	}
	CHECK_EQ(go_on(s.u, s.mem, HUGE, 0, NULL), -EEXIST);
	CHECK(words_are(s.mem, SMALL, W_CACHE_OWN));
	CHECK(holds(s.mem, 0, SMALL));
}

EACH_KIND(shmem_piece_dontneed, SEEN ": dropping a page drops all, and they come back at once")
{
	static const uint64_t modes[] = {0, MISSING, WP, BOTH};

	for_each_of(m, modes) {
		struct shmem s = piece(kind, m);

		CHECK_OK(T->advise(at(&s, 7), PAGE, MADV_DONTNEED));
		CHECK(nothing_mapped(s.mem));
		CHECK(comes_at_once(s.mem, 7));
		CHECK_OK(T->advise(s.mem, HUGE, MADV_DONTNEED));
		CHECK(nothing_mapped(s.mem));
		CHECK(comes_at_once(s.mem, SMALL - 1));
		CHECK(s.u < 0 || quiet(s.u));
		CHECK(holds(s.mem, 0, SMALL));
	}
}

EACH_KIND(shmem_piece_minor, SEEN ": by the page, the first, one in the middle and the last")
{
	struct shmem s = piece(kind, MINOR);
	int64_t mapped;

	CHECK_OK(T->advise(at(&s, 7), PAGE, MADV_DONTNEED));
	CHECK(nothing_mapped(s.mem));
	for_each_position(i) {
		struct touch t;

		faults(&t, &s, LOAD, i, F_MINOR);
		CHECK_OK(go_on(s.u, at(&s, i), PAGE, 0, NULL));
		touch_ends_with(&t, mark(i));
		CHECK_EQ(word(at(&s, i)), W_CACHE_OWN);
		CHECK_EQ(go_on(s.u, at(&s, i), PAGE, 0, NULL), -EEXIST);
	}
	CHECK(words_are(at(&s, 1), 254, W_NONE));
	CHECK(words_are(at(&s, 256), 255, W_NONE));
	CHECK_OK(T->advise(s.mem, HUGE, MADV_DONTNEED));
	CHECK_OK(go_on(s.u, s.mem, HUGE, 0, &mapped));
	CHECK_EQ(mapped, HUGE);
	CHECK(words_are(s.mem, SMALL, W_CACHE_OWN));
	CHECK(holds(s.mem, 0, SMALL));
}

EACH_KIND(shmem_piece_hole, SEEN ": the page is missing, all others are not mapped, and keep what they hold")
{
	for_each_position(i) {
		struct shmem s = piece(kind, MISSING);
		struct touch t;

		CHECK_EQ(peek(s.other), mark(0));
		drop(&s, i, 1);
		CHECK(nothing_mapped(s.mem));
		CHECK(nothing_mapped(s.other));
		faults(&t, &s, LOAD, i, 0);
		fill(s.u, at(&s, i), 1, mark(i));
		touch_ends_with(&t, mark(i));
		for (unsigned j = 0; j < SMALL; j++)
			loads(&s, j, mark(j));
		CHECK_EQ(collapse(s.mem, HUGE), kind == PRIVATE ? -EBUSY : 0); /* a private page is not the file's */
	}
}

EACH_KIND(shmem_piece_all_holes, SEEN)
{
	struct shmem s = piece(kind, MISSING);
	struct touch t;

	drop(&s, 0, SMALL);
	CHECK(nothing_mapped(s.mem));
	faults(&t, &s, LOAD, 300, 0);
	CHECK_OK(zero(s.u, at(&s, 300), PAGE, 0, NULL));
	touch_ends_with(&t, 0);
	CHECK_EQ(peek(there(&s, 7)), 0);
}

FILE_KINDS(shmem_piece_truncated, SEEN)
{
	struct shmem s = piece(kind, MISSING);

	CHECK_OK(T->file_truncate(s.file, 256 * PAGE + 5));
	CHECK(nothing_mapped(s.mem));
	CHECK(nothing_mapped(s.other));
	loads(&s, 256, mark(256));
	CHECK_EQ(peek(at(&s, 256) + PAGE - 1), 0);
	CHECK_EQ(peek(at(&s, 257)), -SIGBUS);
	for (unsigned j = 0; j < 256; j++)
		loads(&s, j, mark(j));
	CHECK_OK(T->file_truncate(s.file, HUGE));
	CHECK_EQ(peek(there(&s, 257)), 0);
}

EACH_KIND(shmem_piece_protect_part, SEEN ": it is a marker, as of a page that is not mapped, and no other is mapped")
{
	for_each_position(i) {
		struct shmem s = piece(kind, WP);

		CHECK_OK(protect(s.u, at(&s, i), PAGE, SET));
		CHECK(words_are(s.mem, i, W_NONE));
		CHECK_EQ(word(at(&s, i)), W_MARKER);
		CHECK(words_are(at(&s, i + 1), SMALL - 1 - i, W_NONE));
		expect_wp(s.u, at(&s, i) + 1);
		for (unsigned j = 0; j < SMALL; j++)
			loads(&s, j, mark(j));
		CHECK_EQ(poke(at(&s, i ^ 1) + 1, 1), 0);
		CHECK(quiet(s.u));
		CHECK_EQ(word(at(&s, i)), kind == PRIVATE ? W_OWN : W_CACHE_OWN);
	}
}

EACH_KIND(shmem_piece_protect_all, SEEN ": 512 markers")
{
	for_each_of(m, protecting) {
		struct shmem s = piece(kind, m);

		CHECK_OK(protect(s.u, s.mem, HUGE, SET));
		CHECK(words_are(s.mem, SMALL, W_MARKER));
		CHECK_OK(protect(s.u, s.mem, HUGE, 0));
		CHECK(nothing_mapped(s.mem));
		CHECK(intact(&s));
	}
}

EACH_KIND(shmem_piece_protected, SEEN)
{
	struct shmem s = piece(kind, BOTH);

	CHECK_OK(protect(s.u, s.mem, HUGE, SET));
	expect_wp(s.u, at(&s, 9) + 1);
	CHECK(words_are(s.mem, 9, W_MARKER));
	CHECK_EQ(word(at(&s, 9)), kind == PRIVATE ? W_OWN : W_CACHE_OWN);
	CHECK(words_are(at(&s, 10), SMALL - 10, W_MARKER));
	loads(&s, 20, mark(20));
	CHECK_EQ(word(at(&s, 20)), W_CACHE_PROTECTED);
	CHECK_EQ(collapse(s.mem, HUGE), -EINVAL);
	CHECK_EQ(word(at(&s, 20)), W_CACHE_PROTECTED);
}

EACH_KIND(shmem_piece_unprotect, SEEN ": all of it: nothing changes; a part: it is not mapped")
{
	struct shmem s = piece(kind, WP);

	CHECK_OK(protect(s.u, s.mem, HUGE, 0));
	CHECK(words_are(s.mem, SMALL, W_CACHE_OWN));
	CHECK_OK(protect(s.u, at(&s, 5), PAGE, 0));
	CHECK(nothing_mapped(s.mem));
	CHECK(holds(s.mem, 0, SMALL));
}

EACH_KIND(shmem_piece_register_part, SEEN ": it is not mapped any more")
{
	static const uint64_t modes[] = {MISSING, WP, MINOR};

	for (unsigned i = 0; i < 3; i++) {
		struct shmem s = piece(kind, 0);

		watch(&s, at(&s, 1), PAGE, modes[i]);
		CHECK(nothing_mapped(s.mem));
		CHECK(intact(&s));
	}
}

EACH_KIND(shmem_piece_unregister, SEEN)
{
	for_each_mode(m) {
		struct shmem s = piece(kind, m);

		CHECK_OK(unreg(s.u, s.mem, HUGE));
		CHECK(words_are(s.mem, SMALL, W_CACHE_OWN));
		CHECK(holds(s.mem, 0, SMALL));
	}
}

EACH_KIND(shmem_piece_mprotect, SEEN ": of all it stays one, of a part it is not mapped")
{
	struct shmem s = piece(kind, MISSING);

	CHECK_OK(T->protect(s.mem, HUGE, PROT_READ));
	CHECK(words_are(s.mem, SMALL, W_CACHE_OWN));
	CHECK_EQ(poke(at(&s, 5), 1), -SIGSEGV);
	CHECK_OK(T->protect(s.mem, HUGE, RW));
	CHECK(words_are(s.mem, SMALL, W_CACHE_OWN));
	CHECK_OK(T->protect(at(&s, 5), PAGE, PROT_READ));
	CHECK(nothing_mapped(s.mem));
	CHECK_EQ(poke(at(&s, 5), 1), -SIGSEGV);
	CHECK_OK(T->protect(s.mem, HUGE, RW));
	CHECK(nothing_mapped(s.mem));
	CHECK(comes_at_once(s.mem, 5));
	CHECK_EQ(poke(at(&s, 5) + 1, 1), 0);
}

EACH_KIND(shmem_piece_unmap_part, SEEN)
{
	struct shmem s = piece(kind, MISSING);

	CHECK_OK(T->unmap(at(&s, 5), PAGE));
	CHECK(nothing_mapped(s.mem));
	CHECK(holds(s.mem, 0, 5));
	CHECK_EQ(peek(at(&s, 5)), -SIGSEGV);
	CHECK(holds(s.mem, 6, SMALL));
	CHECK(intact(&s));
}

EACH_KIND(shmem_piece_moved, SEEN ": by whole 2 MiB it stays mapped, otherwise it is not")
{
	for (unsigned i = 0; i < 3; i++) {
		struct shmem s = piece(kind, i < 2 ? WP : 0);
		uint64_t to = huge_map_from(MEMFD, 2, 0).mem + (i ? PAGE : 0);

		CHECK_EQ(T->remap(s.mem, HUGE, HUGE, MREMAP_MAYMOVE | MREMAP_FIXED, to), to);
		CHECK(words_are(to, SMALL, i ? W_NONE : W_CACHE_OWN));
		CHECK(holds(to, 0, SMALL));
	}
}

EACH_KIND(shmem_piece_part_moved, SEEN)
{
	struct shmem s = piece(kind, 0);
	uint64_t to = huge_map_from(MEMFD, 1, 0).mem;

	CHECK_EQ(T->remap(at(&s, 8), 8 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to), to);
	CHECK(words_are(s.mem, SMALL, W_NONE));
	CHECK(words_are(to, 8, W_NONE));
	for (unsigned i = 0; i < 8; i++)
		CHECK_EQ(peek(to + i * PAGE), mark(8 + i));
	CHECK(intact(&s));
}

SHARED_KINDS(shmem_piece_mapped_once_more, SEEN ": mremap(2) with an old size of 0 maps nothing, the first load all")
{
	struct shmem s = piece(kind, 0);
	uint64_t to = huge_map_from(MEMFD, 1, 0).mem;

	CHECK_EQ(T->remap(s.mem, 0, HUGE, MREMAP_MAYMOVE | MREMAP_FIXED, to), to);
	CHECK(nothing_mapped(to));
	CHECK_EQ(peek(to + 5 * PAGE), mark(5));
	CHECK(words_are(to, SMALL, W_CACHE));
	CHECK(words_are(s.mem, SMALL, W_CACHE));
}

/* ---- /proc/self/smaps ---- */

/* What smaps says of the mapping at addr, in kB; -1: no such mapping. */
static long smaps(uint64_t addr, const char *field)
{
	FILE *file = fopen("/proc/self/smaps", "re");
	unsigned long start, end;
	bool inside = false;
	char line[512];
	long kb = -1;

	CHECK(file);
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			inside = start <= addr && addr < end;
		else if (inside && !strncmp(line, field, strlen(field)))
			kb = strtol(line + strlen(field) + 1, NULL, 10);
	}
	fclose(file);
	return kb;
}

static void mapped_by_pmd(enum shmem_kind kind, bool elsewhere)
{
	for_each_of(m, not_protecting) {
		struct shmem s = some(kind, 0, SMALL, m);

		CHECK_EQ(smaps(s.mem, "ShmemPmdMapped"), 0);
		CHECK_OK(collapse(elsewhere ? s.other : s.mem, HUGE));
		CHECK_EQ(smaps(elsewhere ? s.other : s.mem, "ShmemPmdMapped"), HUGE / 1024);
		if (m & MINOR)
			continue;
		CHECK_EQ(peek(s.mem), mark(0));
		CHECK_EQ(smaps(s.mem, "ShmemPmdMapped"), HUGE / 1024);
		CHECK_OK(T->advise(s.mem, PAGE, MADV_DONTNEED));
		CHECK_EQ(peek(at(&s, 9)), mark(9));
		CHECK_EQ(smaps(s.mem, "ShmemPmdMapped"), HUGE / 1024);
		CHECK(holds(s.mem, 0, SMALL));
	}
}

CASE_ON(shmem_smaps, ON_LIBC, PROCESS, SEEN ": ShmemPmdMapped")
{
	mapped_by_pmd(MEMFD, false);
}

CASE_ON(shmem_smaps_elsewhere, ON_LIBC, PROCESS, SEEN ": ShmemPmdMapped")
{
	mapped_by_pmd(MEMFD, true);
}

CASE_ON(shmem_smaps_unregistered, ON_LIBC, PROCESS, SEEN ": ShmemPmdMapped")
{
	for_each_mode(m) {
		struct shmem s = piece(MEMFD, m);

		CHECK_OK(unreg(s.u, s.mem, HUGE));
		CHECK_EQ(smaps(s.mem, "ShmemPmdMapped"), HUGE / 1024);
	}
}
