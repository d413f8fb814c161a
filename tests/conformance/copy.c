/* SPDX-License-Identifier: MIT */
/* copy.c - UFFDIO_COPY: what it fills, how far it gets, what it reports in `copy`. */
#include <string.h>

#include "conformance.h"

#define COPY	 "ioctl_userfaultfd(2) UFFDIO_COPY"
#define DONTWAKE FL_UFFDIO_COPY_MODE_DONTWAKE

/* The copy fails with `err` and `copy` holds `out`. */
#define COPY_FAILS(u, dst, src, len, mode, err, out)                                                                 \
	do {                                                                                                         \
		int64_t copied;                                                                                      \
		CHECK_EQ(copy(u, dst, src, len, mode, &copied), -(err));                                             \
		CHECK_EQ(copied, out);                                                                               \
	} while (0)

#define COPY_DONE(u, dst, src, len, mode)                                                                            \
	do {                                                                                                         \
		int64_t copied;                                                                                      \
		CHECK_OK(copy(u, dst, src, len, mode, &copied));                                                     \
		CHECK_EQ(copied, len);                                                                               \
	} while (0)

CASE(copy_one_page, COPY)
{
	struct area a = area(1, MISSING, 0);

	COPY_DONE(a.u, a.mem, source(1, 0x41), PAGE, 0);
	CHECK(page_is(a.mem, 0x41));
	CHECK_EQ(poke(a.mem, 1), 0);
	CHECK(quiet(a.u));
}

CASE(copy_many_pages, COPY)
{
	struct area a = area(200, MISSING, 0);

	COPY_DONE(a.u, a.mem, source(200, 1), 200 * PAGE, 0);
	for (unsigned i = 0; i < 200; i++)
		CHECK(page_is(a.mem + i * PAGE, (uint8_t)(1 + i)));
}

CASE(copy_more_than_a_table, COPY)
{
	struct area a = area(1100, MISSING, 0);
	uint64_t src = map(1100);

	for (unsigned i = 0; i < 1100; i += 100)
		CHECK_EQ(poke(src + i * PAGE, (uint8_t)(1 + i / 100)), 0);
	COPY_DONE(a.u, a.mem, src, 1100 * PAGE, 0);
	for (unsigned i = 0; i < 1100; i++)
		CHECK_EQ(peek(a.mem + i * PAGE), i % 100 ? 0 : 1 + i / 100);
}

CASE(copy_is_a_copy, COPY)
{
	struct area a = area(1, MISSING, 0);
	uint64_t src = source(1, 1);

	COPY_DONE(a.u, a.mem, src, PAGE, 0);
	CHECK_EQ(poke(src, 2), 0);
	CHECK_EQ(peek(a.mem), 1);
	CHECK_EQ(poke(a.mem + 1, 3), 0);
	CHECK_EQ(peek(src + 1), 1);
}

CASE(copy_releases_waiter, COPY)
{
	struct area a = area(1, MISSING, 0);
	struct touch t;

	touch_start(&t, LOAD, a.mem + 100, 0xee);
	expect_fault(a.u, a.mem, 0);
	COPY_DONE(a.u, a.mem, source(1, 7), PAGE, 0);
	touch_ends_with(&t, 7);
}

CASE(copy_releases_store, COPY)
{
	struct area a = area(1, MISSING, 0);
	struct touch t;

	touch_start(&t, STORE, a.mem + 100, 9);
	expect_fault(a.u, a.mem, FL_UFFD_PAGEFAULT_FLAG_WRITE);
	COPY_DONE(a.u, a.mem, source(1, 7), PAGE, 0);
	CHECK_OK(touch_end(&t));
	CHECK_EQ(peek(a.mem + 100), 9);
	CHECK_EQ(peek(a.mem + 99), 7);
	CHECK(quiet(a.u));
}

CASE(copy_releases_only_its_range, COPY)
{
	struct area a = area(2, MISSING, 0);
	struct touch t;

	touch_start(&t, LOAD, a.mem + PAGE, 0xee);
	expect_fault(a.u, a.mem + PAGE, 0);
	fill(a.u, a.mem, 1, 1);
	CHECK(touch_waits(&t));
	fill(a.u, a.mem + PAGE, 1, 2);
	touch_ends_with(&t, 2);
}

CASE(copy_dontwake, COPY ", MODE_DONTWAKE")
{
	struct area a = area(1, MISSING, 0);
	struct touch t;

	touch_start(&t, LOAD, a.mem, 0xee);
	expect_fault(a.u, a.mem, 0);
	COPY_DONE(a.u, a.mem, source(1, 7), PAGE, DONTWAKE);
	CHECK(touch_waits(&t));
	CHECK_EQ(peek(a.mem), 7);
	CHECK_OK(wake(a.u, a.mem, PAGE));
	touch_ends_with(&t, 7);
}

/* ---- present pages ---- */

CASE(copy_existing, "kernel 6.18, observed: EEXIST, `copy` = -EEXIST, the page keeps its contents")
{
	struct area a = area(1, MISSING, 0);

	fill(a.u, a.mem, 1, 1);
	COPY_FAILS(a.u, a.mem, source(1, 9), PAGE, 0, EEXIST, -EEXIST);
	CHECK(page_is(a.mem, 1));
}

CASE(copy_first_existing, "kernel 6.18, observed: it stops at the first page that exists")
{
	struct area a = area(3, MISSING, 0);

	fill(a.u, a.mem, 1, 1);
	COPY_FAILS(a.u, a.mem, source(3, 9), 3 * PAGE, 0, EEXIST, -EEXIST);
	expect_missing(a.u, a.mem + PAGE);
}

CASE(copy_middle_existing, COPY ", EAGAIN: `copy` is what was copied")
{
	struct area a = area(4, MISSING, 0);

	fill(a.u, a.mem + 2 * PAGE, 1, 1);
	COPY_FAILS(a.u, a.mem, source(4, 9), 4 * PAGE, 0, EAGAIN, 2 * PAGE);
	CHECK(page_is(a.mem, 9));
	CHECK(page_is(a.mem + PAGE, 10));
	CHECK(page_is(a.mem + 2 * PAGE, 1));
	expect_missing(a.u, a.mem + 3 * PAGE);
}

CASE(copy_partial_goes_on, COPY ", EAGAIN")
{
	struct area a = area(3, MISSING, 0);
	uint64_t src = source(3, 9);

	fill(a.u, a.mem + PAGE, 1, 1);
	COPY_FAILS(a.u, a.mem, src, 3 * PAGE, 0, EAGAIN, PAGE);
	COPY_FAILS(a.u, a.mem + PAGE, src + PAGE, 2 * PAGE, 0, EEXIST, -EEXIST);
	COPY_DONE(a.u, a.mem + 2 * PAGE, src + 2 * PAGE, PAGE, 0);
}

CASE(copy_existing_zero_page, "kernel 6.18, observed: a page of ZEROPAGE exists")
{
	struct area a = area(1, MISSING, 0);

	CHECK_OK(zero(a.u, a.mem, PAGE, 0, NULL));
	COPY_FAILS(a.u, a.mem, source(1, 9), PAGE, 0, EEXIST, -EEXIST);
	CHECK_EQ(peek(a.mem), 0);
}

CASE(copy_partial_wakes_what_it_filled, "kernel 6.18, observed")
{
	struct area a = area(2, MISSING, 0);
	struct touch t;

	fill(a.u, a.mem + PAGE, 1, 1);
	touch_start(&t, LOAD, a.mem, 0xee);
	expect_fault(a.u, a.mem, 0);
	COPY_FAILS(a.u, a.mem, source(2, 9), 2 * PAGE, 0, EAGAIN, PAGE);
	touch_ends_with(&t, 9);
}

CASE(copy_existing_wakes_nobody, "kernel 6.18, observed: EEXIST wakes no thread")
{
	struct area a = area(1, MISSING, 0);
	struct touch t;

	touch_start(&t, LOAD, a.mem, 0xee);
	expect_fault(a.u, a.mem, 0);
	COPY_DONE(a.u, a.mem, source(1, 7), PAGE, DONTWAKE);
	COPY_FAILS(a.u, a.mem, source(1, 9), PAGE, 0, EEXIST, -EEXIST);
	CHECK(touch_waits(&t));
	CHECK_OK(wake(a.u, a.mem, PAGE));
	touch_ends_with(&t, 7);
}

/* ---- arguments ---- */

CASE(copy_misaligned_destination, COPY ", EINVAL; `copy` is not written")
{
	struct area a = area(2, MISSING, 0);

	COPY_FAILS(a.u, a.mem + 1, source(1, 1), PAGE, 0, EINVAL, UNTOUCHED);
	expect_missing(a.u, a.mem);
}

CASE(copy_misaligned_length, COPY ", EINVAL; `copy` is not written")
{
	struct area a = area(2, MISSING, 0);

	COPY_FAILS(a.u, a.mem, source(2, 1), PAGE + 1, 0, EINVAL, UNTOUCHED);
	COPY_FAILS(a.u, a.mem, source(2, 1), PAGE - 1, 0, EINVAL, UNTOUCHED);
	expect_missing(a.u, a.mem);
}

CASE(copy_misaligned_source, "kernel 6.18, observed: the source may have any alignment")
{
	struct area a = area(2, MISSING, 0);

	COPY_DONE(a.u, a.mem, source(3, 1) + PAGE - 3, 2 * PAGE, 0);
	CHECK_EQ(peek(a.mem), 1);
	CHECK_EQ(peek(a.mem + 2), 1);
	CHECK_EQ(peek(a.mem + 3), 2);
	CHECK_EQ(peek(a.mem + PAGE + 2), 2);
	CHECK_EQ(peek(a.mem + PAGE + 3), 3);
}

CASE(copy_zero_length, COPY ", EINVAL")
{
	struct area a = area(1, MISSING, 0);

	COPY_FAILS(a.u, a.mem, source(1, 1), 0, 0, EINVAL, UNTOUCHED);
}

CASE(copy_destination_wraps, COPY ", EINVAL: invalid range")
{
	struct area a = area(1, MISSING, 0);

	COPY_FAILS(a.u, a.mem, source(1, 1), -a.mem, 0, EINVAL, UNTOUCHED);
	COPY_FAILS(a.u, a.mem, source(1, 1), -PAGE, 0, EINVAL, UNTOUCHED);
	COPY_FAILS(a.u, 1ull << 57, source(1, 1), PAGE, 0, EINVAL, UNTOUCHED);
	COPY_FAILS(a.u, -PAGE, source(1, 1), PAGE, 0, EINVAL, UNTOUCHED);
}

CASE(copy_source_wraps, COPY ", EINVAL: invalid range")
{
	struct area a = area(2, MISSING, 0);

	COPY_FAILS(a.u, a.mem, -PAGE, 2 * PAGE, 0, EINVAL, UNTOUCHED);
	expect_missing(a.u, a.mem);
}

CASE(copy_unknown_mode, COPY ", EINVAL: invalid bit in mode")
{
	struct area a = area(1, MISSING | WP, 0);

	COPY_FAILS(a.u, a.mem, source(1, 1), PAGE, 1 << 2, EINVAL, UNTOUCHED);
	COPY_FAILS(a.u, a.mem, source(1, 1), PAGE, 1ull << 63, EINVAL, UNTOUCHED);
	expect_missing(a.u, a.mem);
}

CASE(copy_to_page_zero, "kernel 6.18, observed: an address like any that is not mapped")
{
	COPY_FAILS(uffd(0), 0, source(1, 1), PAGE, 0, ENOENT, -ENOENT);
}

/* ---- the destination ---- */

CASE(copy_unmapped_destination, "kernel 6.18, observed: ENOENT")
{
	struct area a = area(1, MISSING, 0);

	COPY_FAILS(a.u, a.mem + PAGE, source(1, 1), PAGE, 0, ENOENT, -ENOENT);
}

CASE(copy_unregistered_destination, "kernel 6.18, observed: ENOENT")
{
	uint64_t mem = map(1);

	COPY_FAILS(uffd(0), mem, source(1, 1), PAGE, 0, ENOENT, -ENOENT);
	CHECK_EQ(peek(mem), 0);
}

CASE(copy_other_objects_destination, "kernel 6.18, observed: the range is what counts, whose it is does not")
{
	struct area a = area(1, MISSING, 0);

	COPY_DONE(uffd(0), a.mem, source(1, 1), PAGE, 0);
	CHECK(page_is(a.mem, 1));
}

CASE(copy_out_of_the_registration, "kernel 6.18, observed: nothing is copied")
{
	uint64_t mem = map(3);
	uffd_t u = uffd(0);

	CHECK_OK(reg(u, mem, 2 * PAGE, MISSING));
	COPY_FAILS(u, mem, source(3, 1), 3 * PAGE, 0, ENOENT, -ENOENT);
	expect_missing(u, mem);
}

CASE(copy_into_the_registration, "kernel 6.18, observed: nothing is copied")
{
	uint64_t mem = map(3);
	uffd_t u = uffd(0);

	CHECK_OK(reg(u, mem + PAGE, 2 * PAGE, MISSING));
	COPY_FAILS(u, mem, source(3, 1), 3 * PAGE, 0, ENOENT, -ENOENT);
	expect_missing(u, mem + PAGE);
}

CASE(copy_past_the_mapping, "kernel 6.18, observed: nothing is copied")
{
	struct area a = area(2, MISSING, 0);

	COPY_FAILS(a.u, a.mem, source(3, 1), 3 * PAGE, 0, ENOENT, -ENOENT);
	expect_missing(a.u, a.mem);
}

CASE(copy_over_two_mappings, "kernel 6.18, observed: a COPY is of one mapping")
{
	struct area a = area(2, MISSING, 0);

	CHECK_OK(T->protect(a.mem + PAGE, PAGE, PROT_READ));
	COPY_FAILS(a.u, a.mem, source(2, 1), 2 * PAGE, 0, ENOENT, -ENOENT);
	expect_missing(a.u, a.mem);
}

CASE(copy_over_merged_mappings, "kernel 6.18, observed: equal neighbours are one mapping")
{
	uint64_t mem = map(2);
	uffd_t u = uffd(0);

	CHECK_OK(reg(u, mem, PAGE, MISSING));
	CHECK_OK(reg(u, mem + PAGE, PAGE, MISSING));
	COPY_DONE(u, mem, source(2, 1), 2 * PAGE, 0);
	CHECK(page_is(mem + PAGE, 2));
}

CASE(copy_to_read_only, "kernel 6.18, observed: the mapping's rights do not matter to COPY")
{
	uint64_t mem = map_prot(1, PROT_READ);
	uffd_t u = uffd(0);

	CHECK_OK(reg(u, mem, PAGE, MISSING));
	COPY_DONE(u, mem, source(1, 6), PAGE, 0);
	CHECK(page_is(mem, 6));
	CHECK_EQ(poke(mem, 1), -SIGSEGV);
	CHECK_OK(T->protect(mem, PAGE, RW));
	CHECK_EQ(poke(mem, 1), 0);
}

CASE(copy_to_no_access, "kernel 6.18, observed: the mapping's rights do not matter to COPY")
{
	uint64_t mem = map_prot(1, PROT_NONE);
	uffd_t u = uffd(0);

	CHECK_OK(reg(u, mem, PAGE, MISSING));
	COPY_DONE(u, mem, source(1, 6), PAGE, 0);
	CHECK_EQ(peek(mem), -SIGSEGV);
	CHECK_OK(T->protect(mem, PAGE, RW));
	CHECK(page_is(mem, 6));
}

CASE(copy_to_wp_only, "kernel 6.18, observed: any registration will do")
{
	struct area a = area(1, WP, 0);

	COPY_DONE(a.u, a.mem, source(1, 6), PAGE, 0);
	CHECK(page_is(a.mem, 6));
	CHECK_EQ(poke(a.mem, 1), 0);
}

CASE(copy_after_unregister, "kernel 6.18, observed: ENOENT")
{
	struct area a = area(1, MISSING, 0);

	CHECK_OK(unreg(a.u, a.mem, PAGE));
	COPY_FAILS(a.u, a.mem, source(1, 1), PAGE, 0, ENOENT, -ENOENT);
}

/* ---- MODE_WP ---- */

CASE(copy_wp, COPY ", MODE_WP")
{
	struct area a = area(1, MISSING | WP, 0);

	COPY_DONE(a.u, a.mem, source(1, 6), PAGE, FL_UFFDIO_COPY_MODE_WP);
	CHECK(page_is(a.mem, 6));
	CHECK(quiet(a.u));
	expect_wp(a.u, a.mem + 5);
	CHECK_EQ(peek(a.mem), 6);
}

CASE(copy_wp_not_registered_wp, "kernel 6.18, observed: EINVAL, said in `copy` too")
{
	struct area a = area(1, MISSING, 0);

	COPY_FAILS(a.u, a.mem, source(1, 6), PAGE, FL_UFFDIO_COPY_MODE_WP, EINVAL, -EINVAL);
	expect_missing(a.u, a.mem);
}

CASE(copy_wp_to_wp_only, COPY ", MODE_WP")
{
	struct area a = area(1, WP, 0);

	COPY_DONE(a.u, a.mem, source(1, 6), PAGE, FL_UFFDIO_COPY_MODE_WP);
	CHECK(page_is(a.mem, 6));
	expect_wp(a.u, a.mem);
}

CASE(copy_wp_releases_store, COPY ", MODE_WP: the store that waits is trapped next")
{
	struct area a = area(1, MISSING | WP, 0);
	struct touch t;

	touch_start(&t, STORE, a.mem, 1);
	expect_fault(a.u, a.mem, FL_UFFD_PAGEFAULT_FLAG_WRITE);
	COPY_DONE(a.u, a.mem, source(1, 6), PAGE, FL_UFFDIO_COPY_MODE_WP);
	expect_fault(a.u, a.mem, FL_UFFD_PAGEFAULT_FLAG_WRITE | FL_UFFD_PAGEFAULT_FLAG_WP);
	CHECK_EQ(peek(a.mem), 6);
	CHECK_OK(protect(a.u, a.mem, PAGE, 0));
	CHECK_OK(touch_end(&t));
	CHECK_EQ(peek(a.mem), 1);
}

CASE(copy_wp_dontwake, COPY ", MODE_WP | MODE_DONTWAKE")
{
	struct area a = area(1, MISSING | WP, 0);
	struct touch t;

	touch_start(&t, LOAD, a.mem, 1);
	expect_fault(a.u, a.mem, 0);
	COPY_DONE(a.u, a.mem, source(1, 6), PAGE, FL_UFFDIO_COPY_MODE_WP | DONTWAKE);
	CHECK(touch_waits(&t));
	CHECK_OK(wake(a.u, a.mem, PAGE));
	touch_ends_with(&t, 6);
	expect_wp(a.u, a.mem);
}

CASE(copy_without_wp_is_writable, COPY)
{
	struct area a = area(1, MISSING | WP, 0);

	COPY_DONE(a.u, a.mem, source(1, 6), PAGE, 0);
	CHECK_EQ(poke(a.mem, 1), 0);
	CHECK(quiet(a.u));
}
