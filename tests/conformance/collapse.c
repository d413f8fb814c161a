/* SPDX-License-Identifier: MIT */
/*
 * collapse.c - madvise(MADV_COLLAPSE) on registered memory: what it answers, and that it hides or fills nothing.
 */
#include "huge.h"

#define SEEN "kernel 6.18, observed"

/* 2 MiB in which the pages [from, to) are present, as small pages. */
static uint64_t small(unsigned from, unsigned to)
{
	uint64_t mem = map_huge(1);

	T->advise(mem - HUGE / 2, 2 * HUGE, MADV_NOHUGEPAGE);
	populate(mem, from, to);
	T->advise(mem - HUGE / 2, 2 * HUGE, MADV_HUGEPAGE);
	return mem;
}

/*
 * Before Linux 6.1 there is no MADV_COLLAPSE, and a kernel may have no huge pages, or none free. Memory that is not
 * registered is the kernel's own natively, too.
 */
static void needs_collapse(bool of_kernel)
{
	if (of_kernel && collapse(small(0, SMALL), HUGE))
		skip("this kernel does not collapse pages");
}

static struct area collapsing(unsigned from, unsigned to, uint64_t mode)
{
	struct area a;

	needs_collapse(on_kernel());
	a = (struct area){uffd(0), small(from, to)};
	CHECK_OK(reg(a.u, a.mem, HUGE, mode));
	return a;
}

static const uint64_t modes[] = {MISSING, WP, BOTH};
#define MODES 3

/* ---- not registered ---- */

CASE(collapse_plain, "madvise(2), MADV_COLLAPSE")
{
	uint64_t mem;

	needs_collapse(T == &target_libc);
	mem = small(0, SMALL);
	CHECK_OK(collapse(mem, HUGE));
	CHECK(words_are(mem, SMALL, W_OWN));
	CHECK(holds(mem, 0, SMALL));
}

CASE(collapse_plain_fills, "madvise(2), MADV_COLLAPSE: pages that are not there are zero")
{
	uint64_t mem;

	needs_collapse(T == &target_libc);
	mem = small(0, 100);
	CHECK_OK(collapse(mem, HUGE));
	CHECK(words_are(mem, SMALL, W_OWN));
	CHECK(holds(mem, 0, 100));
	CHECK_EQ(peek(mem + 100 * PAGE), 0);
	CHECK_EQ(peek(mem + HUGE - 1), 0);
}

CASE(collapse_plain_empty, SEEN ": EINVAL, nothing is there")
{
	uint64_t mem;

	needs_collapse(T == &target_libc);
	mem = small(0, 0);
	CHECK_EQ(collapse(mem, HUGE), -EINVAL);
	CHECK(words_are(mem, SMALL, W_NONE));
}

/* ---- registered ---- */

CASE(collapse_registered, SEEN ": all pages are there, none protected: 0")
{
	for (unsigned m = 0; m < MODES; m++) {
		struct area a = collapsing(0, SMALL, modes[m]);

		CHECK_OK(collapse(a.mem, HUGE));
		CHECK(words_are(a.mem, SMALL, W_OWN));
		CHECK(holds(a.mem, 0, SMALL));
	}
}

CASE(collapse_then_protect, SEEN)
{
	struct area a = collapsing(0, SMALL, WP);

	CHECK_OK(collapse(a.mem, HUGE));
	CHECK_OK(protect(a.u, a.mem, HUGE, SET));
	expect_wp(a.u, a.mem + 7 * PAGE + 1);
	CHECK(protected_but(a.mem, 7, 8));
	CHECK(holds(a.mem, 0, SMALL));
}

CASE(collapse_then_dontneed, SEEN)
{
	struct area a = collapsing(0, SMALL, MISSING);

	CHECK_OK(collapse(a.mem, HUGE));
	CHECK_OK(T->advise(a.mem + 7 * PAGE, PAGE, MADV_DONTNEED));
	expect_missing(a.u, a.mem + 7 * PAGE);
	CHECK(holds(a.mem, 0, 7));
	CHECK(holds(a.mem, 8, SMALL));
}

CASE(collapse_missing_page, SEEN ": EBUSY, a page that is not there is not filled behind the handler's back")
{
	for (unsigned m = 0; m < MODES; m++) {
		struct area a = collapsing(0, SMALL - 1, modes[m]);

		CHECK_EQ(collapse(a.mem, HUGE), -EBUSY);
		CHECK(words_are(a.mem, SMALL - 1, W_OWN));
		CHECK_EQ(word(a.mem + HUGE - PAGE), W_NONE);
		CHECK(holds(a.mem, 0, SMALL - 1));
	}
}

CASE(collapse_missing_pages, SEEN ": EBUSY")
{
	for (unsigned m = 0; m < MODES; m++) {
		struct area a = collapsing(100, 200, modes[m]);

		CHECK_EQ(collapse(a.mem, HUGE), -EBUSY);
		CHECK(words_are(a.mem, 100, W_NONE));
		CHECK(words_are(a.mem + 100 * PAGE, 100, W_OWN));
		CHECK(words_are(a.mem + 200 * PAGE, SMALL - 200, W_NONE));
		CHECK(holds(a.mem, 100, 200));
	}
}

CASE(collapse_missing_pages_stay_missing, SEEN)
{
	struct area a = collapsing(100, 200, MISSING);

	CHECK_EQ(collapse(a.mem, HUGE), -EBUSY);
	expect_missing(a.u, a.mem);
	expect_missing(a.u, a.mem + 99 * PAGE);
	expect_missing(a.u, a.mem + 200 * PAGE);
}

CASE(collapse_zero_page, SEEN ": EBUSY, the zero page counts as one that is not there")
{
	for (unsigned m = 0; m < MODES; m++) {
		struct area a = collapsing(0, SMALL - 1, modes[m]);

		CHECK_OK(zero(a.u, a.mem + HUGE - PAGE, PAGE, 0, NULL));
		CHECK_EQ(collapse(a.mem, HUGE), -EBUSY);
		CHECK_EQ(word(a.mem + HUGE - PAGE), W_ZERO);
	}
}

CASE(collapse_empty, SEEN ": EINVAL, nothing was ever there")
{
	for (unsigned m = 0; m < MODES; m++) {
		struct area a = collapsing(0, 0, modes[m]);

		CHECK_EQ(collapse(a.mem, HUGE), -EINVAL);
		CHECK(words_are(a.mem, SMALL, W_NONE));
	}
}

CASE(collapse_filled_by_copy, SEEN)
{
	struct area a = collapsing(0, 0, BOTH);

	fill(a.u, a.mem, SMALL, 1);
	CHECK_OK(collapse(a.mem, HUGE));
	CHECK(words_are(a.mem, SMALL, W_OWN));
	for (unsigned i = 0; i < SMALL; i++)
		CHECK_EQ(peek(a.mem + i * PAGE), (uint8_t)(1 + i));
}

/* ---- protected ---- */

CASE(collapse_protected, SEEN ": EINVAL, protection stays")
{
	for (unsigned m = 1; m < MODES; m++) {
		struct area a = collapsing(0, SMALL, modes[m]);

		CHECK_OK(protect(a.u, a.mem, HUGE, SET));
		CHECK_EQ(collapse(a.mem, HUGE), -EINVAL);
		CHECK(words_are(a.mem, SMALL, W_PROTECTED));
		CHECK(holds(a.mem, 0, SMALL));
		expect_wp(a.u, a.mem + 300 * PAGE + 1);
	}
}

CASE(collapse_protected_page, SEEN ": EINVAL for one that is protected")
{
	for (unsigned m = 1; m < MODES; m++) {
		struct area a = collapsing(0, SMALL, modes[m]);

		CHECK_OK(protect(a.u, a.mem + 9 * PAGE, PAGE, SET));
		CHECK_EQ(collapse(a.mem, HUGE), -EINVAL);
		CHECK(words_are(a.mem, 9, W_OWN));
		CHECK_EQ(word(a.mem + 9 * PAGE), W_PROTECTED);
		CHECK(words_are(a.mem + 10 * PAGE, SMALL - 10, W_OWN));
		expect_wp(a.u, a.mem + 9 * PAGE + 1);
	}
}

CASE(collapse_after_unprotect, SEEN ": 0")
{
	for (unsigned m = 1; m < MODES; m++) {
		struct area a = collapsing(0, SMALL, modes[m]);

		CHECK_OK(protect(a.u, a.mem, HUGE, SET));
		CHECK_OK(protect(a.u, a.mem, HUGE, 0));
		CHECK_OK(collapse(a.mem, HUGE));
		CHECK(words_are(a.mem, SMALL, W_OWN));
		CHECK(holds(a.mem, 0, SMALL));
		CHECK_EQ(poke(a.mem + 1, 1), 0);
		CHECK(quiet(a.u));
	}
}

CASE(collapse_protected_before_missing, SEEN ": EINVAL, what comes first says")
{
	struct area a = collapsing(0, 500, WP);

	CHECK_OK(protect(a.u, a.mem + 5 * PAGE, PAGE, SET));
	CHECK_EQ(collapse(a.mem, HUGE), -EINVAL);
	CHECK_EQ(word(a.mem + 5 * PAGE), W_PROTECTED);
	CHECK(words_are(a.mem + 500 * PAGE, SMALL - 500, W_NONE));
}

CASE(collapse_missing_before_protected, SEEN ": EBUSY, what comes first says")
{
	struct area a = collapsing(1, SMALL, WP);

	CHECK_OK(protect(a.u, a.mem + 5 * PAGE, PAGE, SET));
	CHECK_EQ(collapse(a.mem, HUGE), -EBUSY);
	CHECK_EQ(word(a.mem), W_NONE);
	CHECK_EQ(word(a.mem + 5 * PAGE), W_PROTECTED);
}

CASE(collapse_unpopulated, SEEN ": EINVAL; UFFD_FEATURE_WP_UNPOPULATED")
{
	struct area a = {0, 0};

	needs_collapse(on_kernel());
	a = (struct area){uffd(FL_UFFD_FEATURE_WP_UNPOPULATED), small(0, 256)};
	CHECK_OK(reg(a.u, a.mem, HUGE, WP));
	CHECK_OK(protect(a.u, a.mem, HUGE, SET));
	CHECK_EQ(collapse(a.mem, HUGE), -EINVAL);
	CHECK(words_are(a.mem, 256, W_PROTECTED));
	CHECK(words_are(a.mem + 256 * PAGE, 256, W_MARKER));
}

CASE(collapse_unpopulated_first, SEEN ": EINVAL")
{
	struct area a = {0, 0};

	needs_collapse(on_kernel());
	a = (struct area){uffd(FL_UFFD_FEATURE_WP_UNPOPULATED), small(1, SMALL)};
	CHECK_OK(reg(a.u, a.mem, HUGE, WP));
	CHECK_OK(protect(a.u, a.mem, PAGE, SET));
	CHECK_EQ(collapse(a.mem, HUGE), -EINVAL);
	CHECK_EQ(word(a.mem), W_MARKER);
	CHECK(words_are(a.mem + PAGE, SMALL - 1, W_OWN));
}

/* ---- unregistered again ---- */

CASE(collapse_after_unregister, SEEN)
{
	struct area a = collapsing(0, SMALL, WP);

	CHECK_OK(protect(a.u, a.mem, HUGE, SET));
	CHECK_OK(unreg(a.u, a.mem, HUGE));
	CHECK_OK(collapse(a.mem, HUGE));
	CHECK(words_are(a.mem, SMALL, W_OWN));
	CHECK(holds(a.mem, 0, SMALL));
}

CASE(collapse_after_close_fills, SEEN)
{
	for (unsigned m = 0; m < MODES; m++) {
		struct area a = collapsing(0, 100, modes[m]);

		CHECK_OK(T->close(a.u));
		CHECK_OK(collapse(a.mem, HUGE));
		CHECK(words_are(a.mem, SMALL, W_OWN));
		CHECK(holds(a.mem, 0, 100));
		CHECK_EQ(peek(a.mem + 100 * PAGE), 0);
	}
}

/* ---- ranges ---- */

/* Two aligned 2 MiB, all pages present; the first `len` bytes are registered. */
static struct area two(uint64_t len, uint64_t mode)
{
	struct area a;

	needs_collapse(on_kernel());
	a = (struct area){uffd(0), map_huge(2)};
	T->advise(a.mem - HUGE / 2, 3 * HUGE, MADV_NOHUGEPAGE);
	populate(a.mem, 0, 2 * SMALL);
	T->advise(a.mem - HUGE / 2, 3 * HUGE, MADV_HUGEPAGE);
	CHECK_OK(reg(a.u, a.mem, len, mode));
	return a;
}

CASE(collapse_two, SEEN)
{
	struct area a = two(2 * HUGE, BOTH);

	CHECK_OK(collapse(a.mem, 2 * HUGE));
	CHECK(words_are(a.mem, 2 * SMALL, W_OWN));
	CHECK(holds(a.mem, 0, 2 * SMALL));
}

CASE(collapse_two_second_protected, SEEN ": EINVAL")
{
	struct area a = two(2 * HUGE, WP);

	CHECK_OK(protect(a.u, a.mem + 600 * PAGE, PAGE, SET));
	CHECK_EQ(collapse(a.mem, 2 * HUGE), -EINVAL);
	CHECK_EQ(word(a.mem + 600 * PAGE), W_PROTECTED);
	CHECK(holds(a.mem, 0, 2 * SMALL));
}

CASE(collapse_two_second_missing, SEEN ": EBUSY")
{
	struct area a = two(2 * HUGE, MISSING);

	CHECK_OK(T->advise(a.mem + 600 * PAGE, PAGE, MADV_DONTNEED));
	CHECK_EQ(collapse(a.mem, 2 * HUGE), -EBUSY);
	CHECK(holds(a.mem, 0, 600));
	expect_missing(a.u, a.mem + 600 * PAGE);
}

CASE(collapse_two_second_unmapped, "madvise(2), ENOMEM")
{
	struct area a = two(2 * HUGE, WP);

	CHECK_OK(T->unmap(a.mem + HUGE, HUGE));
	CHECK_EQ(collapse(a.mem, 2 * HUGE), -ENOMEM);
	CHECK(words_are(a.mem, SMALL, W_OWN));
	CHECK(holds(a.mem, 0, SMALL));
}

CASE(collapse_inside_of_a_range, SEEN ": only whole aligned 2 MiB are meant; what is at the ends does not count")
{
	struct area a = two(2 * HUGE, WP);

	CHECK_OK(protect(a.u, a.mem + PAGE, PAGE, SET));
	CHECK_OK(collapse(a.mem + PAGE, 2 * HUGE - PAGE));
	CHECK_EQ(word(a.mem + PAGE), W_PROTECTED);
	CHECK_OK(collapse(a.mem + PAGE, HUGE - PAGE));
	CHECK(holds(a.mem, 0, 2 * SMALL));
}

CASE(collapse_registered_in_part, SEEN ": EINVAL, no 2 MiB is in one mapping")
{
	struct area a = two(8 * PAGE, MISSING);

	CHECK_EQ(collapse(a.mem, HUGE), -EINVAL);
	CHECK(holds(a.mem, 0, SMALL));
}

CASE(collapse_mprotected_in_part, SEEN ": EINVAL, no 2 MiB is in one mapping")
{
	struct area a = two(HUGE, MISSING);

	CHECK_OK(T->protect(a.mem + 8 * PAGE, PAGE, PROT_READ));
	CHECK_EQ(collapse(a.mem, HUGE), -EINVAL);
	CHECK(holds(a.mem, 0, SMALL));
}

CASE(collapse_unmapped_in_part, SEEN ": EINVAL, no 2 MiB is in one mapping")
{
	struct area a = two(HUGE, MISSING);

	CHECK_OK(T->unmap(a.mem + 8 * PAGE, PAGE));
	CHECK_EQ(collapse(a.mem, HUGE), -EINVAL);
	CHECK(holds(a.mem, 9, SMALL));
}

CASE(collapse_without_rights, SEEN ": PROT_NONE and PROT_READ do not matter")
{
	static const int prots[] = {PROT_NONE, PROT_READ};

	for (unsigned i = 0; i < 2; i++) {
		struct area a = collapsing(0, SMALL, WP);

		CHECK_OK(T->protect(a.mem, HUGE, prots[i]));
		CHECK_OK(collapse(a.mem, HUGE));
		CHECK_EQ(poke(a.mem, 1), -SIGSEGV);
		CHECK_OK(T->protect(a.mem, HUGE, RW));
		CHECK(holds(a.mem, 0, SMALL));
	}
}

CASE(collapse_nohugepage, "madvise(2), MADV_COLLAPSE, EINVAL: where MADV_NOHUGEPAGE was")
{
	struct area a = collapsing(0, SMALL, WP);

	CHECK_OK(T->advise(a.mem, HUGE, MADV_NOHUGEPAGE));
	CHECK_EQ(collapse(a.mem, HUGE), -EINVAL);
	CHECK(holds(a.mem, 0, SMALL));
}

CASE(collapse_arguments, SEEN ": EINVAL for what is not aligned")
{
	struct area a = collapsing(0, SMALL, WP);

	CHECK_EQ(collapse(a.mem + 1, HUGE), -EINVAL);
	CHECK_OK(collapse(a.mem, 0));
	CHECK(holds(a.mem, 0, SMALL));
}
