/* SPDX-License-Identifier: MIT */
/*
 * shmem_huge.c - madvise(MADV_COLLAPSE) of shared memory: 512 pages of the cache become one, and are mapped in one
 * piece. What it answers and takes out of whose mapping, what faults see of it, and how a part of it changes.
 */
#include "huge.h"
#include "shmem.h"

static const uint64_t not_protecting[] = {0, MISSING, MINOR, MISSING | MINOR};
static const uint64_t protecting[] = {WP, BOTH, WP | MINOR, BOTH | MINOR};
#define for_each_of(m, modes) for (uint64_t m, m##_ = 0; m##_ < 4 && (m = modes[m##_], true); m##_++)
/* The first page, one in the middle, the last. */
#define for_each_position(i)  for (unsigned i = 0; i < SMALL; i += i ? 256 : 255)

/* Like shmem_map(), of `count` aligned 2 MiB, from page `first` of the file on. */
static struct shmem huge_map_from(enum shmem_kind kind, unsigned count, unsigned first)
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

/* The cache has the pages [from, to), small ones, and nobody maps them. */
static void has(const struct shmem *s, unsigned from, unsigned to)
{
	populate(s->other, from, to);
	CHECK_OK(T->advise(there(s, from), (to - from) * PAGE, MADV_DONTNEED));
}

static struct shmem huge_map(enum shmem_kind kind, unsigned count)
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

static void watch(struct shmem *s, uint64_t addr, uint64_t len, uint64_t mode)
{
	if (!mode)
		return;
	if (s->u < 0)
		s->u = uffd(0);
	CHECK_OK(reg(s->u, addr, len, mode));
}

/* 2 MiB of which the cache has [from, to), registered. */
static struct shmem some(enum shmem_kind kind, unsigned from, unsigned to, uint64_t mode)
{
	struct shmem s = huge_map(kind, 1);

	has(&s, from, to);
	watch(&s, s.mem, HUGE, mode);
	return s;
}

/* 2 MiB that are one piece, registered then. */
static struct shmem piece(enum shmem_kind kind, uint64_t mode)
{
	struct shmem s = some(kind, 0, SMALL, 0);

	CHECK_OK(collapse(s.mem, HUGE));
	watch(&s, s.mem, HUGE, mode);
	CHECK(words_are(s.mem, SMALL, W_CACHE_OWN));
	return s;
}

/* All of it, as the file has it, by a mapping that is told of no fault. */
static bool intact(const struct shmem *s)
{
	return holds(s->other, 0, SMALL);
}

static bool nothing_mapped(uint64_t mem)
{
	return words_are(mem, SMALL, W_NONE);
}

/* What a load that sends no message finds mapped then, all at once. */
static bool comes_at_once(uint64_t mem, unsigned page)
{
	return peek(mem + page * PAGE) == mark(page) && words_are(mem, SMALL, W_CACHE_OWN);
}

/* ---- what it answers, and what is there then ---- */

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

EACH_KIND(shmem_collapse_hole, SEEN ": zeros are put there, unless somebody waits for missing pages")
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

EACH_KIND(shmem_collapse_hole_missing_elsewhere, SEEN ": whoever has the file mapped and waits for its pages")
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
	CHECK_EQ(word(at(&s, 9)), W_CACHE); /* page by page, since there is a table */
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

/* ---- where it may be ---- */

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

/* What it says of the mapping at addr, in kB; -1: it is not there. */
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
			sscanf(line + strlen(field), ": %ld kB", &kb);
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
