/* SPDX-License-Identifier: MIT */
/*
 * shmem_huge.c - madvise(MADV_COLLAPSE) of shared memory: 512 pages of the cache become one large folio, mapped by
 * one leaf. What it returns, which mappings lose pages, and what faults see of it.
 */
#include "shmem_huge.h"

/* ---- what it returns, and what is present then ---- */

EACH_KIND(shmem_collapse, SEEN ": all of it is mapped, also what was not, whatever is registered but WP")
{
	for_each_of(m, not_protecting) {
		struct shmem s = some(kind, 0, SMALL, m);

		CHECK_OK(collapse(s.mem, HUGE));
		CHECK(words_are(s.mem, SMALL, W_CACHE_OWN));
		CHECK(holds(s.mem, 0, SMALL));
		CHECK(intact(&s));
	}
}

EACH_KIND(shmem_collapse_mapped, SEEN)
{
	for_each_of(m, not_protecting) {
		struct shmem s = some(kind, 0, SMALL, 0);

		CHECK(holds(s.mem, 0, SMALL));
		watch(&s, s.mem, HUGE, m);
		CHECK_OK(collapse(s.mem, HUGE));
		CHECK(words_are(s.mem, SMALL, W_CACHE_OWN));
		CHECK(holds(s.mem, 0, SMALL));
	}
}

EACH_KIND(shmem_collapse_takes_from_others, SEEN ": who else maps it has to fault for it again")
{
	struct shmem s = some(kind, 0, SMALL, 0);

	CHECK(intact(&s));
	CHECK_OK(collapse(s.mem, HUGE));
	CHECK(words_are(s.mem, SMALL, W_CACHE_OWN));
	CHECK(nothing_mapped(s.other));
	CHECK(intact(&s));
	CHECK(words_are(s.mem, SMALL, W_CACHE));
}

EACH_KIND(shmem_collapse_again, SEEN)
{
	struct shmem s = piece(kind, BOTH | MINOR);

	CHECK_OK(collapse(s.mem, HUGE));
	CHECK(words_are(s.mem, SMALL, W_CACHE_OWN));
	CHECK(holds(s.mem, 0, SMALL));
}

EACH_KIND(shmem_collapse_hole, SEEN ": zeros are put there, unless missing pages are waited for")
{
	static const uint64_t modes[] = {0, MINOR};

	for (unsigned m = 0; m < 2; m++) {
		struct shmem s = some(kind, 0, 300, modes[m]);

		CHECK_OK(collapse(s.mem, HUGE));
		CHECK(words_are(s.mem, SMALL, W_CACHE_OWN));
		CHECK(holds(s.mem, 0, 300));
		CHECK_EQ(peek(at(&s, 300)), 0);
		CHECK_EQ(peek(at(&s, SMALL - 1)), 0);
		if (s.file >= 0)
			CHECK_EQ(T->file_data(s.file, 300 * PAGE), 300 * PAGE);
	}
}

EACH_KIND(shmem_collapse_one_page, SEEN)
{
	struct shmem s = some(kind, 77, 78, 0);

	CHECK_OK(collapse(s.mem, HUGE));
	CHECK(words_are(s.mem, SMALL, W_CACHE_OWN));
	CHECK(holds(s.mem, 77, 78));
	CHECK_EQ(peek(s.mem), 0);
}

EACH_KIND(shmem_collapse_hole_missing, SEEN ": EBUSY, and all that is mapped of it goes")
{
	static const uint64_t modes[] = {MISSING, BOTH, MISSING | MINOR, BOTH | MINOR};

	for_each_of(m, modes) {
		struct shmem s = some(kind, 0, SMALL - 1, 0);
		struct touch t;

		CHECK(holds(s.mem, 0, SMALL - 1));
		watch(&s, s.mem, HUGE, m);
		CHECK_EQ(collapse(s.mem, HUGE), -EBUSY);
		CHECK(nothing_mapped(s.mem));
		faults(&t, &s, LOAD, SMALL - 1, 0);
		CHECK_OK(zero(s.u, at(&s, SMALL - 1), PAGE, 0, NULL));
		touch_ends_with(&t, 0);
		CHECK(holds(s.other, 0, SMALL - 1));
	}
}

EACH_KIND(shmem_collapse_hole_missing_elsewhere, SEEN ": also by a mapping elsewhere that waits for missing pages")
{
	struct shmem s = some(kind, 0, SMALL - 1, 0);

	watch(&s, s.mem, 10 * PAGE, MISSING); /* not the hole's own addresses */
	CHECK_EQ(collapse(s.other, HUGE), -EBUSY);
	CHECK(nothing_mapped(s.other));
	CHECK_OK(unreg(s.u, s.mem, 10 * PAGE));
	CHECK_OK(collapse(s.other, HUGE));
	CHECK(words_are(s.other, SMALL, W_CACHE_OWN));
}

EACH_KIND(shmem_collapse_nothing, SEEN ": EINVAL")
{
	for (uint64_t m = 0; m <= (BOTH | MINOR); m++) {
		struct shmem s = huge_map(kind, 1);

		watch(&s, s.mem, HUGE, m);
		CHECK_EQ(collapse(s.mem, HUGE), -EINVAL);
		CHECK(nothing_mapped(s.mem));
		if (s.file >= 0)
			CHECK_EQ(T->file_data(s.file, 0), -ENXIO);
	}
}

EACH_KIND(shmem_collapse_protecting, SEEN ": EINVAL where WP is registered, but the cache has one piece then")
{
	for_each_of(m, protecting) {
		struct shmem s = some(kind, 0, SMALL, 0);

		CHECK(holds(s.mem, 0, 256));
		watch(&s, s.mem, HUGE, m);
		CHECK_EQ(collapse(s.mem, HUGE), -EINVAL);
		CHECK(nothing_mapped(s.mem));
		CHECK(comes_at_once(s.other, 9));
		CHECK(intact(&s));
	}
}

EACH_KIND(shmem_collapse_protecting_hole, SEEN ": it is filled for nothing")
{
	struct shmem s = some(kind, 0, 300, WP);

	CHECK_EQ(collapse(s.mem, HUGE), -EINVAL);
	CHECK_EQ(peek(there(&s, 400)), 0);
	CHECK(words_are(s.other, SMALL, W_CACHE_OWN));
}

EACH_KIND(shmem_collapse_protected, SEEN ": the protection stays, the pages go")
{
	struct shmem s = some(kind, 0, SMALL, WP);

	CHECK(holds(s.mem, 0, 256));
	CHECK_OK(protect(s.u, at(&s, 10), 5 * PAGE, SET));
	CHECK_OK(protect(s.u, at(&s, 300), 5 * PAGE, SET));
	CHECK_EQ(collapse(s.mem, HUGE), -EINVAL);
	CHECK(words_are(s.mem, 10, W_NONE));
	CHECK(words_are(at(&s, 10), 5, W_MARKER));
	CHECK(words_are(at(&s, 15), 285, W_NONE));
	CHECK(words_are(at(&s, 300), 5, W_MARKER));
	CHECK(words_are(at(&s, 305), SMALL - 305, W_NONE));
	expect_wp(s.u, at(&s, 12) + 1);
	expect_wp(s.u, at(&s, 302) + 1);
	CHECK_EQ(poke(at(&s, 9) + 1, 1), 0);
	CHECK(quiet(s.u));
}

EACH_KIND_UNCOPIED(shmem_collapse_elsewhere_protected, SEEN ": collapsed through another mapping")
{
	struct shmem s = some(kind, 0, SMALL, WP);

	CHECK(holds(s.mem, 0, 256));
	CHECK_OK(protect(s.u, at(&s, 10), 5 * PAGE, SET));
	CHECK_OK(collapse(s.other, HUGE));
	CHECK(words_are(s.other, SMALL, W_CACHE_OWN));
	CHECK(words_are(s.mem, 10, W_NONE));
	CHECK(words_are(at(&s, 10), 5, W_MARKER));
	CHECK(words_are(at(&s, 15), SMALL - 15, W_NONE));
	expect_wp(s.u, at(&s, 12) + 1);
	CHECK_EQ(peek(at(&s, 9)), mark(9));
	CHECK_EQ(word(at(&s, 9)), W_CACHE); /* page by page, since there is a page table */
	CHECK_EQ(word(at(&s, 8)), W_NONE);
}

EACH_KIND(shmem_collapse_elsewhere, SEEN ": without WP it is mapped in one piece from then on")
{
	static const uint64_t modes[] = {0, MISSING};

	for (unsigned m = 0; m < 2; m++) {
		struct shmem s = some(kind, 0, SMALL, 0);

		CHECK(holds(s.mem, 0, SMALL));
		watch(&s, s.mem, HUGE, modes[m]);
		CHECK_OK(collapse(s.other, HUGE));
		CHECK(nothing_mapped(s.mem));
		CHECK_OK(T->advise(s.other, HUGE, MADV_DONTNEED));
		CHECK(comes_at_once(s.mem, 9));
	}
}

EACH_KIND_UNCOPIED(shmem_collapse_elsewhere_minor, SEEN ": a minor fault for each page")
{
	struct shmem s = some(kind, 0, SMALL, 0);
	struct touch t;

	CHECK(holds(s.mem, 0, SMALL));
	watch(&s, s.mem, HUGE, MINOR);
	CHECK_OK(collapse(s.other, HUGE));
	CHECK(nothing_mapped(s.mem));
	faults(&t, &s, LOAD, 9, F_MINOR);
	CHECK_OK(go_on(s.u, at(&s, 9), PAGE, 0, NULL));
	touch_ends_with(&t, mark(9));
	CHECK_EQ(word(at(&s, 9)), W_CACHE);
	CHECK_EQ(word(at(&s, 8)), W_NONE);
}

EACH_KIND(shmem_collapse_never_mapped, SEEN ": also where WP is registered, as long as it has no table")
{
	static const uint64_t modes[] = {0, MISSING, WP, BOTH};

	for_each_of(m, modes) {
		struct shmem s = some(kind, 0, SMALL, m);

		CHECK_OK(collapse(s.other, HUGE));
		CHECK_OK(T->advise(s.other, HUGE, MADV_DONTNEED));
		CHECK(comes_at_once(s.mem, 300));
		CHECK(s.u < 0 || quiet(s.u));
	}
}

EACH_KIND(shmem_collapse_continued, SEEN ": a piece of the cache that is mapped by the page")
{
	struct shmem s = piece(kind, MINOR);

	CHECK_OK(T->advise(s.mem, HUGE, MADV_DONTNEED));
	CHECK_OK(go_on(s.u, s.mem, 10 * PAGE, 0, NULL));
	CHECK(words_are(s.mem, 10, W_CACHE_OWN));
	CHECK(words_are(at(&s, 10), SMALL - 10, W_NONE));
	CHECK_OK(collapse(s.mem, HUGE));
	CHECK(words_are(s.mem, SMALL, W_CACHE_OWN));
}

EACH_KIND(shmem_collapse_continued_protecting, SEEN ": EINVAL, and nothing changes")
{
	struct shmem s = piece(kind, MINOR | WP);

	CHECK_OK(T->advise(s.mem, HUGE, MADV_DONTNEED));
	CHECK_OK(go_on(s.u, s.mem, 10 * PAGE, 0, NULL));
	CHECK_OK(protect(s.u, at(&s, 5), PAGE, SET));
	CHECK_OK(protect(s.u, at(&s, 20), PAGE, SET));
	CHECK_EQ(collapse(s.mem, HUGE), -EINVAL);
	CHECK(words_are(s.mem, 5, W_CACHE_OWN));
	CHECK_EQ(word(at(&s, 5)), W_CACHE_PROTECTED);
	CHECK(words_are(at(&s, 6), 4, W_CACHE_OWN));
	CHECK_EQ(word(at(&s, 20)), W_MARKER);
}

CASE(shmem_collapse_private_copy, SEEN ": EINVAL; the cache has one piece all the same")
{
	for (uint64_t m = 0; m <= (BOTH | MINOR); m++) {
		struct shmem s = some(PRIVATE, 0, SMALL, 0);

		CHECK_EQ(poke(at(&s, 5), 99), 0);
		watch(&s, s.mem, HUGE, m);
		CHECK_EQ(collapse(s.mem, HUGE), -EINVAL);
		CHECK(words_are(s.mem, 5, W_NONE));
		CHECK_EQ(word(at(&s, 5)), W_OWN);
		CHECK(words_are(at(&s, 6), SMALL - 6, W_NONE));
		CHECK_EQ(peek(at(&s, 5)), 99);
		CHECK(comes_at_once(s.other, 9));
	}
}

/* ---- where it is possible ---- */

FILE_KINDS(shmem_collapse_misaligned, SEEN ": EINVAL, the file's 2 MiB are not the mapping's")
{
	struct shmem s = huge_map_from(kind, 2, 1);

	has(&s, 0, 2 * SMALL);
	CHECK_EQ(collapse(s.mem, HUGE), -EINVAL);
	watch(&s, s.mem, 2 * HUGE, MISSING);
	CHECK_EQ(collapse(s.mem, HUGE), -EINVAL);
	CHECK(nothing_mapped(s.mem));
}

EACH_KIND(shmem_collapse_borders, SEEN)
{
	struct shmem s = huge_map(kind, 2);

	has(&s, 0, 2 * SMALL);
	watch(&s, s.mem, 2 * HUGE, MISSING);
	CHECK_EQ(collapse(at(&s, 5), PAGE), -EINVAL);
	CHECK_OK(collapse(s.mem, PAGE));
	CHECK_OK(collapse(s.mem + HUGE / 2, HUGE));
	CHECK(words_are(s.mem, 2 * SMALL, W_NONE));
	CHECK_OK(collapse(s.mem, HUGE + HUGE / 2));
	CHECK(words_are(s.mem, SMALL, W_CACHE_OWN));
	CHECK(words_are(s.mem + HUGE, SMALL, W_NONE));
}

EACH_KIND(shmem_collapse_part_of_a_mapping, SEEN ": EINVAL, part of the 2 MiB is registered for something else")
{
	struct shmem s = some(kind, 0, SMALL, 0);

	watch(&s, s.mem, PAGE, MISSING);
	CHECK_EQ(collapse(s.mem, HUGE), -EINVAL);
	CHECK(nothing_mapped(s.mem));
}

EACH_KIND(shmem_collapse_refused, SEEN ": MADV_NOHUGEPAGE: EINVAL, nothing changes")
{
	struct shmem s = some(kind, 0, SMALL, MISSING);

	CHECK(holds(s.mem, 0, SMALL));
	CHECK_OK(T->advise(s.mem, HUGE, MADV_NOHUGEPAGE));
	CHECK_EQ(collapse(s.mem, HUGE), -EINVAL);
	CHECK(words_are(s.mem, SMALL, W_CACHE_OWN));
}

EACH_KIND(shmem_collapse_two, SEEN ": the first that cannot ends it")
{
	for (unsigned hole = 0; hole < 3; hole++) {
		struct shmem s = huge_map(kind, 2);
		unsigned done = hole < 2 ? hole : 2;

		has(&s, hole == 0 ? SMALL : 0, hole == 1 ? SMALL : 2 * SMALL);
		watch(&s, s.mem, 2 * HUGE, MISSING);
		CHECK_EQ(collapse(s.mem, 2 * HUGE), hole < 2 ? -EINVAL : 0);
		CHECK(words_are(s.mem, done * SMALL, W_CACHE_OWN));
		CHECK(words_are(s.mem + done * HUGE, (2 - done) * SMALL, W_NONE));
	}
}

EACH_KIND(shmem_collapse_no_access, SEEN ": what may be done with it does not matter")
{
	static const int rights[] = {PROT_NONE, PROT_READ};

	for (unsigned i = 0; i < 2; i++) {
		struct shmem s = some(kind, 0, SMALL, MISSING);

		CHECK_OK(T->protect(s.mem, HUGE, rights[i]));
		CHECK_OK(collapse(s.mem, HUGE));
		CHECK(words_are(s.mem, SMALL, W_CACHE_OWN));
		CHECK_EQ(poke(at(&s, 3), 1), -SIGSEGV);
		CHECK_EQ(peek(at(&s, 3)), rights[i] ? mark(3) : -SIGSEGV);
		CHECK_OK(T->protect(s.mem, HUGE, RW));
		CHECK(holds(s.mem, 0, SMALL));
		CHECK_EQ(poke(at(&s, 3), 1), 0);
	}
}

FILE_KINDS(shmem_collapse_behind_the_end, SEEN ": it reaches behind the end of the file, and so does who maps it")
{
	struct shmem s = some(kind, 0, SMALL, 0);

	CHECK_OK(T->file_truncate(s.file, 100 * PAGE));
	watch(&s, s.mem, HUGE, MINOR);
	CHECK_OK(collapse(s.mem, HUGE));
	CHECK(words_are(s.mem, SMALL, W_CACHE_OWN));
	CHECK_EQ(peek(at(&s, 400)), 0);
	CHECK_OK(T->file_truncate(s.file, 50 * PAGE));
	CHECK(nothing_mapped(s.mem));
	CHECK_EQ(peek(at(&s, 50)), -SIGBUS);
	CHECK(holds(s.other, 0, 50));
	CHECK_OK(T->file_truncate(s.file, HUGE));
	CHECK_EQ(T->file_data(s.file, 50 * PAGE), -ENXIO);
	CHECK_EQ(peek(there(&s, 400)), 0);
}

FILE_KINDS(shmem_collapse_end_in_a_page, SEEN ": no page is missing")
{
	struct shmem s = some(kind, 0, SMALL, 0);

	CHECK_OK(T->file_truncate(s.file, HUGE - 10));
	watch(&s, s.mem, HUGE, MISSING);
	CHECK_OK(collapse(s.mem, HUGE));
	CHECK(words_are(s.mem, SMALL, W_CACHE_OWN));
	CHECK_EQ(peek(s.mem + HUGE - 1), 0);
	CHECK_OK(T->advise(at(&s, 7), PAGE, MADV_DONTNEED));
	CHECK(comes_at_once(s.mem, 7));
}

FILE_KINDS(shmem_collapse_end_missing, SEEN ": EBUSY, pages behind the end are missing, too")
{
	struct shmem s = some(kind, 0, SMALL, 0);

	CHECK_OK(T->file_truncate(s.file, 256 * PAGE));
	watch(&s, s.mem, HUGE, MISSING);
	CHECK_EQ(collapse(s.mem, HUGE), -EBUSY);
	CHECK(holds(s.mem, 0, 256));
	CHECK_EQ(peek(at(&s, 256)), -SIGBUS);
}

FILE_KINDS(shmem_collapse_wholly_behind_the_end, SEEN ": EINVAL")
{
	struct shmem s = huge_map(kind, 2);

	has(&s, 0, 2 * SMALL);
	CHECK_OK(T->file_truncate(s.file, HUGE));
	watch(&s, s.mem, 2 * HUGE, MINOR);
	CHECK_EQ(collapse(s.mem + HUGE, HUGE), -EINVAL);
	CHECK(words_are(s.mem, 2 * SMALL, W_NONE));
}
