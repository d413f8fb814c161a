/* SPDX-License-Identifier: MIT */
/*
 * wp.c - UFFDIO_WRITEPROTECT, its faults, and its arguments.
 */
#include "conformance.h"

#define WRITEPROTECT "ioctl_userfaultfd(2) UFFDIO_WRITEPROTECT"
#define USERFAULTFD  "userfaultfd(2), write-protect mode"
#define SET	     FL_UFFDIO_WRITEPROTECT_MODE_WP
#define DONTWAKE     FL_UFFDIO_WRITEPROTECT_MODE_DONTWAKE
#define WP_FAULT     (FL_UFFD_PAGEFAULT_FLAG_WP | FL_UFFD_PAGEFAULT_FLAG_WRITE)

/* Registered, protected pages; page i holds first + i. */
static struct area protected(unsigned pages, uint64_t mode, uint8_t first)
{
	struct area a = {uffd(0), source(pages, first)};

	CHECK_OK(reg(a.u, a.mem, pages * PAGE, mode));
	CHECK_OK(protect(a.u, a.mem, pages * PAGE, SET));
	return a;
}

CASE(wp_store_is_trapped, USERFAULTFD)
{
	struct area a = protected(1, WP, 4);

	expect_wp(a.u, a.mem + 9);
	CHECK_EQ(peek(a.mem), 4);
}

CASE(wp_load_passes, USERFAULTFD)
{
	struct area a = protected(2, WP, 4);

	CHECK(page_is(a.mem, 4));
	CHECK(page_is(a.mem + PAGE, 5));
	CHECK(quiet(a.u));
}

CASE(wp_resolved_once, USERFAULTFD)
{
	struct area a = protected(1, WP, 4);

	expect_wp(a.u, a.mem);
	CHECK_EQ(poke(a.mem, 1), 0);
	CHECK_EQ(poke(a.mem + 100, 2), 0);
	CHECK(quiet(a.u));
}

CASE(wp_each_page_alone, USERFAULTFD)
{
	struct area a = protected(3, WP, 4);

	expect_wp(a.u, a.mem + PAGE);
	expect_wp(a.u, a.mem);
	expect_wp(a.u, a.mem + 2 * PAGE);
}

CASE(wp_twice, WRITEPROTECT)
{
	struct area a = protected(1, WP, 4);

	CHECK_OK(protect(a.u, a.mem, PAGE, SET));
	expect_wp(a.u, a.mem);
	CHECK_EQ(poke(a.mem, 1), 0);
}

CASE(wp_again_after_resolve, WRITEPROTECT)
{
	struct area a = protected(1, WP, 4);

	for (unsigned i = 0; i < 5; i++) {
		expect_wp(a.u, a.mem);
		CHECK_OK(protect(a.u, a.mem, PAGE, SET));
	}
}

CASE(wp_partial_resolve, WRITEPROTECT)
{
	struct area a = protected(3, WP, 4);

	CHECK_OK(protect(a.u, a.mem + PAGE, PAGE, 0));
	CHECK_EQ(poke(a.mem + PAGE, 1), 0);
	CHECK(quiet(a.u));
	expect_wp(a.u, a.mem);
	expect_wp(a.u, a.mem + 2 * PAGE);
}

CASE(wp_resolve_unprotected, WRITEPROTECT)
{
	struct area a = {uffd(0), source(1, 1)};

	CHECK_OK(reg(a.u, a.mem, PAGE, WP));
	CHECK_OK(protect(a.u, a.mem, PAGE, 0));
	CHECK_EQ(poke(a.mem, 2), 0);
	CHECK_OK(protect(a.u, a.mem, PAGE, SET));
	expect_wp(a.u, a.mem);
}

CASE(wp_resolve_dontwake, WRITEPROTECT ", MODE_DONTWAKE")
{
	struct area a = protected(1, WP, 4);
	struct touch t;

	touch_start(&t, STORE, a.mem, 7);
	expect_fault(a.u, a.mem, WP_FAULT);
	CHECK_OK(protect(a.u, a.mem, PAGE, DONTWAKE));
	CHECK(touch_waits(&t));
	CHECK_EQ(poke(a.mem + 1, 8), 0);
	CHECK_OK(wake(a.u, a.mem, PAGE));
	CHECK_OK(touch_end(&t));
	CHECK_EQ(peek(a.mem), 7);
}

CASE(wp_wake_without_resolve, "kernel 6.18, observed: the store is trapped again")
{
	struct area a = protected(1, WP, 4);
	struct touch t;

	touch_start(&t, STORE, a.mem, 7);
	expect_fault(a.u, a.mem, WP_FAULT);
	CHECK_OK(wake(a.u, a.mem, PAGE));
	expect_fault(a.u, a.mem, WP_FAULT);
	CHECK_OK(protect(a.u, a.mem, PAGE, 0));
	CHECK_OK(touch_end(&t));
}

CASE(wp_protect_wakes_nobody, "kernel 6.18, observed: setting protection wakes no thread")
{
	struct area a = protected(1, WP, 4);
	struct touch t;

	touch_start(&t, STORE, a.mem, 7);
	expect_fault(a.u, a.mem, WP_FAULT);
	CHECK_OK(protect(a.u, a.mem, PAGE, SET));
	CHECK(touch_waits(&t));
	CHECK(quiet(a.u));
}

CASE(wp_many_waiters, USERFAULTFD)
{
	struct area a = protected(1, WP, 4);
	struct touch t[8];

	for (unsigned i = 0; i < 8; i++) {
		touch_start(&t[i], STORE, a.mem + i, (uint8_t)(100 + i));
		expect_fault(a.u, a.mem, WP_FAULT);
	}
	CHECK_OK(protect(a.u, a.mem, PAGE, 0));
	for (unsigned i = 0; i < 8; i++) {
		CHECK_OK(touch_end(&t[i]));
		CHECK_EQ(peek(a.mem + i), 100 + i);
	}
	CHECK(quiet(a.u));
}

CASE(wp_resolve_whole_range, WRITEPROTECT)
{
	struct area a = protected(4, WP, 4);
	struct touch t[4];

	for (unsigned i = 0; i < 4; i++) {
		touch_start(&t[i], STORE, a.mem + i * PAGE, 9);
		expect_fault(a.u, a.mem + i * PAGE, WP_FAULT);
	}
	CHECK_OK(protect(a.u, a.mem, 4 * PAGE, 0));
	for (unsigned i = 0; i < 4; i++)
		CHECK_OK(touch_end(&t[i]));
}

CASE(wp_large_range, WRITEPROTECT)
{
	struct area a = {uffd(0), map(3000)};

	CHECK_OK(reg(a.u, a.mem, 3000 * PAGE, WP));
	for (unsigned i = 0; i < 3000; i += 3)
		CHECK_EQ(poke(a.mem + i * PAGE, 1), 0);
	CHECK_OK(protect(a.u, a.mem, 3000 * PAGE, SET));
	expect_wp(a.u, a.mem);
	expect_wp(a.u, a.mem + 1500 * PAGE);
	expect_wp(a.u, a.mem + 2997 * PAGE);
	CHECK_OK(protect(a.u, a.mem, 3000 * PAGE, 0));
	for (unsigned i = 0; i < 3000; i += 3)
		CHECK_EQ(poke(a.mem + i * PAGE, 2), 0);
	CHECK(quiet(a.u));
}

/* ---- missing pages ---- */

CASE(wp_unpopulated, "kernel 6.18, observed: protecting a page of anonymous memory that is not there does nothing")
{
	struct area a = area(2, WP, 0);

	CHECK_OK(protect(a.u, a.mem, 2 * PAGE, SET));
	CHECK_EQ(poke(a.mem, 1), 0);
	CHECK_EQ(peek(a.mem + PAGE), 0);
	CHECK_EQ(poke(a.mem + PAGE, 1), 0);
	CHECK(quiet(a.u));
}

CASE(wp_zero_page, "kernel 6.18, observed: a page that was only read is there, and can be protected")
{
	struct area a = area(1, WP, 0);

	CHECK_EQ(peek(a.mem), 0);
	CHECK_OK(protect(a.u, a.mem, PAGE, SET));
	expect_wp(a.u, a.mem);
}

CASE(wp_missing_page_then_filled, "kernel 6.18, observed: protecting a page before it is there does nothing")
{
	struct area a = area(1, MISSING | WP, 0);

	CHECK_OK(protect(a.u, a.mem, PAGE, SET));
	fill(a.u, a.mem, 1, 3);
	CHECK_EQ(poke(a.mem, 1), 0);
	CHECK(quiet(a.u));
}

CASE(wp_missing_waiter_is_not_protected, "kernel 6.18, observed")
{
	struct area a = area(1, MISSING | WP, 0);
	struct touch t;

	touch_start(&t, STORE, a.mem, 1);
	expect_fault(a.u, a.mem, FL_UFFD_PAGEFAULT_FLAG_WRITE);
	CHECK_OK(protect(a.u, a.mem, PAGE, SET));
	CHECK(touch_waits(&t));
	fill(a.u, a.mem, 1, 3);
	CHECK_OK(touch_end(&t));
	CHECK(quiet(a.u));
}

CASE(wp_resolve_wakes_missing_waiter, "kernel 6.18, observed: woken, it faults again")
{
	struct area a = area(1, MISSING | WP, 0);
	struct touch t;

	touch_start(&t, LOAD, a.mem, 0xee);
	expect_fault(a.u, a.mem, 0);
	CHECK_OK(protect(a.u, a.mem, PAGE, 0));
	expect_fault(a.u, a.mem, 0);
	fill(a.u, a.mem, 1, 3);
	touch_ends_with(&t, 3);
}

CASE(wp_missing_and_wp, USERFAULTFD ": both modes")
{
	struct area a = area(2, MISSING | WP, 0);

	expect_missing(a.u, a.mem);
	CHECK_EQ(poke(a.mem, 1), 0);
	CHECK_OK(protect(a.u, a.mem, 2 * PAGE, SET));
	expect_wp(a.u, a.mem);
	expect_missing(a.u, a.mem + PAGE);
	CHECK_EQ(poke(a.mem + PAGE, 1), 0);
	CHECK(quiet(a.u));
}

/* ---- arguments ---- */

CASE(wp_both_bits, WRITEPROTECT ", MODE_DONTWAKE only without MODE_WP")
{
	struct area a = {uffd(0), source(1, 1)};

	CHECK_OK(reg(a.u, a.mem, PAGE, WP));
	CHECK_EQ(protect(a.u, a.mem, PAGE, SET | DONTWAKE), -EINVAL);
	CHECK_EQ(poke(a.mem, 2), 0);
}

CASE(wp_unknown_mode, WRITEPROTECT ", EINVAL")
{
	struct area a = {uffd(0), source(1, 1)};

	CHECK_OK(reg(a.u, a.mem, PAGE, WP));
	CHECK_EQ(protect(a.u, a.mem, PAGE, SET | 1 << 2), -EINVAL);
	CHECK_EQ(protect(a.u, a.mem, PAGE, 1ull << 63), -EINVAL);
	CHECK_EQ(poke(a.mem, 2), 0);
}

CASE(wp_bad_ranges, WRITEPROTECT ", EINVAL")
{
	struct area a = {uffd(0), source(2, 1)};

	CHECK_OK(reg(a.u, a.mem, 2 * PAGE, WP));
	CHECK_EQ(protect(a.u, a.mem, 0, SET), -EINVAL);
	CHECK_EQ(protect(a.u, a.mem + 1, PAGE, SET), -EINVAL);
	CHECK_EQ(protect(a.u, a.mem, PAGE + 1, SET), -EINVAL);
	CHECK_EQ(protect(a.u, a.mem, -a.mem, SET), -EINVAL);
	CHECK_EQ(protect(a.u, 1ull << 57, PAGE, SET), -EINVAL);
	CHECK_EQ(poke(a.mem, 2), 0);
}

CASE(wp_unmapped, WRITEPROTECT ", ENOENT")
{
	struct area a = area(1, WP, 0);

	CHECK_EQ(protect(a.u, a.mem + PAGE, PAGE, SET), -ENOENT);
	CHECK_EQ(protect(a.u, 0, PAGE, SET), -ENOENT);
}

CASE(wp_unregistered, WRITEPROTECT ", ENOENT")
{
	CHECK_EQ(protect(uffd(0), source(1, 1), PAGE, SET), -ENOENT);
}

CASE(wp_registered_missing_only, WRITEPROTECT ", ENOENT")
{
	struct area a = area(1, MISSING, 0);

	fill(a.u, a.mem, 1, 1);
	CHECK_EQ(protect(a.u, a.mem, PAGE, SET), -ENOENT);
	CHECK_EQ(protect(a.u, a.mem, PAGE, 0), -ENOENT);
	CHECK_EQ(poke(a.mem, 2), 0);
}

CASE(wp_partly_registered, "kernel 6.18, observed: ENOENT; the part before is protected or not as here")
{
	struct area a = {uffd(0), source(2, 1)};

	CHECK_OK(reg(a.u, a.mem, PAGE, WP));
	CHECK_EQ(protect(a.u, a.mem, 2 * PAGE, SET), -ENOENT);
	expect_wp(a.u, a.mem);
	CHECK_EQ(poke(a.mem + PAGE, 3), 0);
}

CASE(wp_over_several_mappings, "kernel 6.18, observed")
{
	struct area a = {uffd(0), source(3, 1)};

	CHECK_OK(T->protect(a.mem + PAGE, PAGE, PROT_READ));
	CHECK_OK(reg(a.u, a.mem, 3 * PAGE, WP));
	CHECK_OK(protect(a.u, a.mem, 3 * PAGE, SET));
	expect_wp(a.u, a.mem);
	expect_wp(a.u, a.mem + 2 * PAGE);
	CHECK_EQ(poke(a.mem + PAGE, 1), -SIGSEGV);
}

CASE(wp_over_a_hole, "kernel 6.18, observed")
{
	struct area a = {uffd(0), source(3, 1)};

	CHECK_OK(reg(a.u, a.mem, 3 * PAGE, WP));
	CHECK_OK(T->unmap(a.mem + PAGE, PAGE));
	CHECK_OK(protect(a.u, a.mem, 3 * PAGE, SET));
	expect_wp(a.u, a.mem);
	expect_wp(a.u, a.mem + 2 * PAGE);
}

CASE(wp_by_other_object, "kernel 6.18, observed: the range is what counts, whose it is does not")
{
	struct area a = {uffd(0), source(1, 1)};

	CHECK_OK(reg(a.u, a.mem, PAGE, WP));
	CHECK_OK(protect(uffd(0), a.mem, PAGE, SET));
	expect_wp(a.u, a.mem);
}
