/* SPDX-License-Identifier: MIT */
/*
 * zeropage.c - UFFDIO_ZEROPAGE.
 */
#include "conformance.h"

#define ZEROPAGE "ioctl_userfaultfd(2) UFFDIO_ZEROPAGE"

#define ZERO_FAILS(u, addr, len, mode, err, out)                                                                     \
	do {                                                                                                         \
		int64_t zeroed;                                                                                      \
		CHECK_EQ(zero(u, addr, len, mode, &zeroed), -(err));                                                 \
		CHECK_EQ(zeroed, out);                                                                               \
	} while (0)

#define ZERO_DONE(u, addr, len, mode)                                                                                \
	do {                                                                                                         \
		int64_t zeroed;                                                                                      \
		CHECK_OK(zero(u, addr, len, mode, &zeroed));                                                         \
		CHECK_EQ(zeroed, len);                                                                               \
	} while (0)

CASE(zeropage_one, ZEROPAGE)
{
	struct area a = area(1, MISSING, 0);

	ZERO_DONE(a.u, a.mem, PAGE, 0);
	CHECK(page_is(a.mem, 0));
	CHECK(quiet(a.u));
}

CASE(zeropage_many, ZEROPAGE)
{
	struct area a = area(100, MISSING, 0);

	ZERO_DONE(a.u, a.mem, 100 * PAGE, 0);
	for (unsigned i = 0; i < 100; i++)
		CHECK(page_is(a.mem + i * PAGE, 0));
}

CASE(zeropage_then_store, ZEROPAGE)
{
	struct area a = area(2, MISSING, 0);

	ZERO_DONE(a.u, a.mem, 2 * PAGE, 0);
	CHECK_EQ(poke(a.mem + 7, 1), 0);
	CHECK_EQ(peek(a.mem + 7), 1);
	CHECK_EQ(peek(a.mem + 8), 0);
	CHECK(page_is(a.mem + PAGE, 0));
	CHECK(quiet(a.u));
}

CASE(zeropage_releases_waiters, ZEROPAGE)
{
	struct area a = area(1, MISSING, 0);
	struct touch load, store;

	touch_start(&load, LOAD, a.mem + 1, 0xee);
	expect_fault(a.u, a.mem, 0);
	touch_start(&store, STORE, a.mem + 2, 5);
	expect_fault(a.u, a.mem, FL_UFFD_PAGEFAULT_FLAG_WRITE);
	ZERO_DONE(a.u, a.mem, PAGE, 0);
	touch_ends_with(&load, 0);
	CHECK_OK(touch_end(&store));
	CHECK_EQ(peek(a.mem + 2), 5);
}

CASE(zeropage_dontwake, ZEROPAGE ", MODE_DONTWAKE")
{
	struct area a = area(1, MISSING, 0);
	struct touch t;

	touch_start(&t, LOAD, a.mem, 0xee);
	expect_fault(a.u, a.mem, 0);
	ZERO_DONE(a.u, a.mem, PAGE, FL_UFFDIO_ZEROPAGE_MODE_DONTWAKE);
	CHECK(touch_waits(&t));
	CHECK_OK(wake(a.u, a.mem, PAGE));
	touch_ends_with(&t, 0);
}

CASE(zeropage_existing, "kernel 6.18, observed: EEXIST, `zeropage` = -EEXIST, the page keeps its contents")
{
	struct area a = area(1, MISSING, 0);

	fill(a.u, a.mem, 1, 6);
	ZERO_FAILS(a.u, a.mem, PAGE, 0, EEXIST, -EEXIST);
	CHECK(page_is(a.mem, 6));
}

CASE(zeropage_existing_zero_page, "kernel 6.18, observed: EEXIST")
{
	struct area a = area(1, MISSING, 0);

	ZERO_DONE(a.u, a.mem, PAGE, 0);
	ZERO_FAILS(a.u, a.mem, PAGE, 0, EEXIST, -EEXIST);
}

CASE(zeropage_middle_existing, ZEROPAGE ", EAGAIN: `zeropage` is what was zeroed")
{
	struct area a = area(4, MISSING, 0);

	fill(a.u, a.mem + 2 * PAGE, 1, 6);
	ZERO_FAILS(a.u, a.mem, 4 * PAGE, 0, EAGAIN, 2 * PAGE);
	CHECK_EQ(peek(a.mem), 0);
	CHECK_EQ(peek(a.mem + PAGE), 0);
	CHECK_EQ(peek(a.mem + 2 * PAGE), 6);
	CHECK(quiet(a.u));
	expect_missing(a.u, a.mem + 3 * PAGE);
}

CASE(zeropage_partial_wakes_what_it_filled, "kernel 6.18, observed")
{
	struct area a = area(2, MISSING, 0);
	struct touch t;

	fill(a.u, a.mem + PAGE, 1, 1);
	touch_start(&t, LOAD, a.mem, 0xee);
	expect_fault(a.u, a.mem, 0);
	ZERO_FAILS(a.u, a.mem, 2 * PAGE, 0, EAGAIN, PAGE);
	touch_ends_with(&t, 0);
}

CASE(zeropage_bad_ranges, ZEROPAGE ", EINVAL; `zeropage` is not written")
{
	struct area a = area(2, MISSING, 0);

	ZERO_FAILS(a.u, a.mem, 0, 0, EINVAL, UNTOUCHED);
	ZERO_FAILS(a.u, a.mem + 1, PAGE, 0, EINVAL, UNTOUCHED);
	ZERO_FAILS(a.u, a.mem, PAGE + 1, 0, EINVAL, UNTOUCHED);
	ZERO_FAILS(a.u, a.mem, -a.mem, 0, EINVAL, UNTOUCHED);
	ZERO_FAILS(a.u, a.mem, -PAGE, 0, EINVAL, UNTOUCHED);
	ZERO_FAILS(a.u, 1ull << 57, PAGE, 0, EINVAL, UNTOUCHED);
	expect_missing(a.u, a.mem);
}

CASE(zeropage_unknown_mode, ZEROPAGE ", EINVAL: invalid bit in mode")
{
	struct area a = area(1, MISSING | WP, 0);

	ZERO_FAILS(a.u, a.mem, PAGE, 1 << 1, EINVAL, UNTOUCHED);
	ZERO_FAILS(a.u, a.mem, PAGE, 1ull << 63, EINVAL, UNTOUCHED);
	expect_missing(a.u, a.mem);
}

CASE(zeropage_unmapped, "kernel 6.18, observed: ENOENT")
{
	struct area a = area(1, MISSING, 0);

	ZERO_FAILS(a.u, a.mem + PAGE, PAGE, 0, ENOENT, -ENOENT);
	ZERO_FAILS(a.u, 0, PAGE, 0, ENOENT, -ENOENT);
}

CASE(zeropage_unregistered, "kernel 6.18, observed: ENOENT")
{
	ZERO_FAILS(uffd(0), map(1), PAGE, 0, ENOENT, -ENOENT);
}

CASE(zeropage_out_of_the_registration, "kernel 6.18, observed: nothing is zeroed")
{
	uint64_t mem = map(3);
	uffd_t u = uffd(0);

	CHECK_OK(reg(u, mem, 2 * PAGE, MISSING));
	ZERO_FAILS(u, mem, 3 * PAGE, 0, ENOENT, -ENOENT);
	expect_missing(u, mem);
}

CASE(zeropage_over_two_mappings, "kernel 6.18, observed: a ZEROPAGE is of one mapping")
{
	struct area a = area(2, MISSING, 0);

	CHECK_OK(T->protect(a.mem + PAGE, PAGE, PROT_READ));
	ZERO_FAILS(a.u, a.mem, 2 * PAGE, 0, ENOENT, -ENOENT);
	expect_missing(a.u, a.mem);
}

CASE(zeropage_read_only, "kernel 6.18, observed: the mapping's rights do not matter")
{
	uint64_t mem = map_prot(1, PROT_READ);
	uffd_t u = uffd(0);

	CHECK_OK(reg(u, mem, PAGE, MISSING));
	ZERO_DONE(u, mem, PAGE, 0);
	CHECK_EQ(peek(mem), 0);
	CHECK_EQ(poke(mem, 1), -SIGSEGV);
}

CASE(zeropage_wp_only, "kernel 6.18, observed: any registration will do")
{
	struct area a = area(1, WP, 0);

	ZERO_DONE(a.u, a.mem, PAGE, 0);
	ZERO_FAILS(a.u, a.mem, PAGE, 0, EEXIST, -EEXIST);
	CHECK_EQ(poke(a.mem, 1), 0);
}

CASE(zeropage_then_protect, ZEROPAGE)
{
	struct area a = area(1, MISSING | WP, 0);

	ZERO_DONE(a.u, a.mem, PAGE, 0);
	CHECK_OK(protect(a.u, a.mem, PAGE, FL_UFFDIO_WRITEPROTECT_MODE_WP));
	CHECK_EQ(peek(a.mem), 0);
	CHECK(quiet(a.u));
	expect_wp(a.u, a.mem + 3);
	CHECK_EQ(peek(a.mem + 2), 0);
}

CASE(zeropage_again_after_dontneed, ZEROPAGE)
{
	struct area a = area(1, MISSING, 0);

	fill(a.u, a.mem, 1, 6);
	CHECK_OK(T->advise(a.mem, PAGE, MADV_DONTNEED));
	ZERO_DONE(a.u, a.mem, PAGE, 0);
	CHECK(page_is(a.mem, 0));
}
