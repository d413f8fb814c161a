/* SPDX-License-Identifier: MIT */
/*
 * wp_unpopulated_touch.c - loads, stores and fills of a page that was protected before it was present. With
 * UFFD_FEATURE_WP_UNPOPULATED.
 */
#include "marker.h"

#define SEEN	"kernel 6.18, observed"
#define COPY_WP FL_UFFDIO_COPY_MODE_WP

/* ---- loads and stores, WP alone ---- */

CASE(marker_load, SEEN ": passes, zero, no message")
{
	struct area a = marked(2, WP);

	CHECK(page_is(a.mem, 0));
	CHECK(quiet(a.u));
}

CASE(marker_load_word, SEEN ": a page of zeros, protected; its neighbour is as it was")
{
	struct area a = marked(2, WP);

	CHECK_EQ(peek(a.mem), 0);
	CHECK_EQ(word(a.mem), W_LOADED | FL_PM_UFFD_WP);
	CHECK_EQ(word(a.mem + PAGE), W_MARKER);
}

CASE(marker_load_then_store, SEEN)
{
	struct area a = marked(1, WP);

	CHECK_EQ(peek(a.mem), 0);
	expect_wp(a.u, a.mem + 3);
	CHECK_EQ(word(a.mem), W_OWN);
	CHECK_EQ(peek(a.mem), 0);
}

CASE(marker_load_then_unset, SEEN)
{
	struct area a = marked(1, WP);

	CHECK_EQ(peek(a.mem), 0);
	CHECK_OK(protect(a.u, a.mem, PAGE, 0));
	CHECK_EQ(word(a.mem), W_LOADED);
	CHECK_EQ(poke(a.mem, 4), 0);
	CHECK(quiet(a.u));
	CHECK_EQ(word(a.mem), W_OWN);
}

CASE(marker_load_then_copy, SEEN ": EEXIST, it is there now")
{
	struct area a = marked(1, WP);

	CHECK_EQ(peek(a.mem), 0);
	CHECK_EQ(copy(a.u, a.mem, source(1, 9), PAGE, 0, NULL), -EEXIST);
	CHECK_EQ(zero(a.u, a.mem, PAGE, 0, NULL), -EEXIST);
	CHECK_EQ(word(a.mem), W_LOADED | FL_PM_UFFD_WP);
}

CASE(marker_load_of_many, SEEN)
{
	struct area a = marked(64, WP);

	for (unsigned i = 0; i < 64; i += 2)
		CHECK_EQ(peek(a.mem + i * PAGE), 0);
	for (unsigned i = 0; i < 64; i++)
		CHECK_EQ(word(a.mem + i * PAGE), i % 2 ? W_MARKER : W_LOADED | FL_PM_UFFD_WP);
	expect_wp(a.u, a.mem + 10 * PAGE);
	expect_wp(a.u, a.mem + 11 * PAGE);
}

CASE(marker_store, SEEN ": one message, WP and WRITE")
{
	struct area a = marked(1, WP);

	expect_wp(a.u, a.mem + 8);
	CHECK(quiet(a.u));
	CHECK_EQ(peek(a.mem), 0);
	CHECK_EQ(peek(a.mem + PAGE - 1), 0);
	CHECK_EQ(poke(a.mem, 4), 0);
	CHECK(quiet(a.u));
}

CASE(marker_store_word, SEEN ": while the store waits the page is there, zero and protected")
{
	struct area a = marked(1, WP);
	struct touch t;

	touch_start(&t, STORE, a.mem + 8, 3);
	expect_fault(a.u, a.mem, TRAPPED);
	CHECK_EQ(word(a.mem), W_PROTECTED);
	CHECK(page_is(a.mem, 0));
	CHECK_OK(protect(a.u, a.mem, PAGE, 0));
	CHECK_OK(touch_end(&t));
	CHECK_EQ(word(a.mem), W_OWN);
}

CASE(marker_store_waits_for_unset, SEEN ": COPY and ZEROPAGE are EEXIST and wake no thread")
{
	struct area a = marked(1, WP);
	struct touch t;

	touch_start(&t, STORE, a.mem, 3);
	expect_fault(a.u, a.mem, TRAPPED);
	CHECK_EQ(copy(a.u, a.mem, source(1, 9), PAGE, 0, NULL), -EEXIST);
	CHECK_EQ(copy(a.u, a.mem, source(1, 9), PAGE, COPY_WP, NULL), -EEXIST);
	CHECK_EQ(zero(a.u, a.mem, PAGE, 0, NULL), -EEXIST);
	CHECK(touch_waits(&t));
	CHECK_OK(protect(a.u, a.mem, PAGE, 0));
	CHECK_OK(touch_end(&t));
	CHECK_EQ(peek(a.mem + 1), 0);
}

CASE(marker_store_each_page_alone, SEEN)
{
	struct area a = marked(3, WP);

	expect_wp(a.u, a.mem + PAGE);
	CHECK_EQ(word(a.mem), W_MARKER);
	CHECK_EQ(word(a.mem + 2 * PAGE), W_MARKER);
	expect_wp(a.u, a.mem);
	expect_wp(a.u, a.mem + 2 * PAGE);
}

CASE(marker_store_then_protect_again, SEEN)
{
	struct area a = marked(1, WP);

	for (unsigned i = 0; i < 3; i++) {
		expect_wp(a.u, a.mem);
		CHECK_OK(protect(a.u, a.mem, PAGE, SET));
		CHECK_EQ(word(a.mem), W_PROTECTED);
	}
}

CASE(marker_store_dontwake, "ioctl_userfaultfd(2) UFFDIO_WRITEPROTECT, MODE_DONTWAKE")
{
	struct area a = marked(1, WP);
	struct touch t;

	touch_start(&t, STORE, a.mem, 7);
	expect_fault(a.u, a.mem, TRAPPED);
	CHECK_OK(protect(a.u, a.mem, PAGE, FL_UFFDIO_WRITEPROTECT_MODE_DONTWAKE));
	CHECK(touch_waits(&t));
	CHECK_OK(wake(a.u, a.mem, PAGE));
	CHECK_OK(touch_end(&t));
	CHECK_EQ(peek(a.mem), 7);
}

CASE(marker_many_stores_wait, SEEN)
{
	struct area a = marked(4, WP);
	struct touch t[4];

	for (unsigned i = 0; i < 4; i++) {
		touch_start(&t[i], STORE, a.mem + i * PAGE, (uint8_t)(1 + i));
		expect_fault(a.u, a.mem + i * PAGE, TRAPPED);
	}
	CHECK_OK(protect(a.u, a.mem, 4 * PAGE, 0));
	for (unsigned i = 0; i < 4; i++) {
		CHECK_OK(touch_end(&t[i]));
		CHECK_EQ(peek(a.mem + i * PAGE), 1 + i);
	}
	CHECK(quiet(a.u));
}

CASE(marker_sigbus_store, SEEN ": UFFD_FEATURE_SIGBUS, the store is a SIGBUS, a load passes")
{
	struct area a = area(2, WP, FEATURE | FL_UFFD_FEATURE_SIGBUS);

	CHECK_OK(protect(a.u, a.mem, 2 * PAGE, SET));
	CHECK_EQ(peek(a.mem), 0);
	CHECK_EQ(poke(a.mem, 1), -SIGBUS);
	CHECK_EQ(poke(a.mem + PAGE, 1), -SIGBUS);
	CHECK_OK(protect(a.u, a.mem, 2 * PAGE, 0));
	CHECK_EQ(poke(a.mem + PAGE, 1), 0);
}

CASE(marker_kernel_read, SEEN ": a system call that reads it finds zero")
{
	struct area a = marked(1, WP);
	uint8_t byte = 0xee;

	CHECK_OK(T->kernel_read(a.mem, &byte, 1));
	CHECK_EQ(byte, 0);
	CHECK(quiet(a.u));
	CHECK_EQ(word(a.mem), W_LOADED | FL_PM_UFFD_WP);
}

CASE(marker_kernel_write, SEEN ": a system call that writes it is trapped")
{
	struct area a = marked(1, WP);
	struct touch t;

	touch_start(&t, KERNEL_WRITE, a.mem + 4, 7);
	expect_fault(a.u, a.mem, TRAPPED);
	CHECK(touch_waits(&t));
	CHECK_OK(protect(a.u, a.mem, PAGE, 0));
	CHECK_OK(touch_end(&t));
	CHECK_EQ(peek(a.mem), 0);
	CHECK_EQ(peek(a.mem + 4), 7);
}

/* ---- loads and stores, MISSING and WP: the page is missing first ---- */

CASE(marker_missing_load, SEEN ": a message of a missing page; the marker stays")
{
	struct area a = marked(1, BOTH);
	struct touch t;

	touch_start(&t, LOAD, a.mem, 0xee);
	expect_fault(a.u, a.mem, 0);
	CHECK_EQ(word(a.mem), W_MARKER);
	CHECK_OK(copy(a.u, a.mem, source(1, 9), PAGE, 0, NULL));
	touch_ends_with(&t, 9);
}

CASE(marker_missing_load_copy_protected, SEEN)
{
	struct area a = marked(1, BOTH);
	struct touch t;

	touch_start(&t, LOAD, a.mem, 0xee);
	expect_fault(a.u, a.mem, 0);
	CHECK_OK(copy(a.u, a.mem, source(1, 9), PAGE, COPY_WP, NULL));
	touch_ends_with(&t, 9);
	CHECK_EQ(word(a.mem), W_PROTECTED);
	expect_wp(a.u, a.mem);
}

CASE(marker_missing_load_zeropage, SEEN ": EEXIST, and it waits on")
{
	struct area a = marked(1, BOTH);
	struct touch t;

	touch_start(&t, LOAD, a.mem, 0xee);
	expect_fault(a.u, a.mem, 0);
	CHECK_EQ(zero(a.u, a.mem, PAGE, 0, NULL), -EEXIST);
	CHECK(touch_waits(&t));
	CHECK_EQ(word(a.mem), W_MARKER);
	CHECK_OK(copy(a.u, a.mem, source(1, 9), PAGE, 0, NULL));
	touch_ends_with(&t, 9);
}

CASE(marker_missing_load_unset, SEEN ": woken, it finds a missing page; that a ZEROPAGE fills")
{
	struct area a = marked(1, BOTH);
	struct touch t;

	touch_start(&t, LOAD, a.mem, 0xee);
	expect_fault(a.u, a.mem, 0);
	CHECK_OK(protect(a.u, a.mem, PAGE, 0));
	expect_fault(a.u, a.mem, 0);
	CHECK_EQ(word(a.mem), W_NONE);
	CHECK_OK(zero(a.u, a.mem, PAGE, 0, NULL));
	touch_ends_with(&t, 0);
	CHECK_EQ(word(a.mem), W_ZERO);
}

CASE(marker_missing_store, SEEN ": the message of a missing page, WRITE without WP; the marker stays")
{
	struct area a = marked(1, BOTH);
	struct touch t;

	touch_start(&t, STORE, a.mem + 8, 3);
	expect_fault(a.u, a.mem, WRITE);
	CHECK_EQ(word(a.mem), W_MARKER);
	CHECK_OK(copy(a.u, a.mem, source(1, 9), PAGE, 0, NULL));
	CHECK_OK(touch_end(&t));
	CHECK_EQ(word(a.mem), W_OWN);
	CHECK_EQ(peek(a.mem), 9);
	CHECK_EQ(peek(a.mem + 8), 3);
	CHECK(quiet(a.u));
}

CASE(marker_missing_store_copy_protected, SEEN ": a second message then, WP and WRITE")
{
	struct area a = marked(1, BOTH);
	struct touch t;

	touch_start(&t, STORE, a.mem + 8, 3);
	expect_fault(a.u, a.mem, WRITE);
	CHECK_OK(copy(a.u, a.mem, source(1, 9), PAGE, COPY_WP, NULL));
	expect_fault(a.u, a.mem, TRAPPED);
	CHECK_EQ(word(a.mem), W_PROTECTED);
	CHECK_OK(protect(a.u, a.mem, PAGE, 0));
	CHECK_OK(touch_end(&t));
	CHECK_EQ(peek(a.mem + 8), 3);
}

CASE(marker_missing_store_zeropage, SEEN ": EEXIST until it is un-protected")
{
	struct area a = marked(1, BOTH);
	struct touch t;

	touch_start(&t, STORE, a.mem, 3);
	expect_fault(a.u, a.mem, WRITE);
	CHECK_EQ(zero(a.u, a.mem, PAGE, 0, NULL), -EEXIST);
	CHECK(touch_waits(&t));
	CHECK_OK(protect(a.u, a.mem, PAGE, 0));
	expect_fault(a.u, a.mem, WRITE);
	CHECK_OK(zero(a.u, a.mem, PAGE, 0, NULL));
	CHECK_OK(touch_end(&t));
	CHECK_EQ(word(a.mem), W_OWN);
}

CASE(marker_missing_waiter_then_protect, SEEN ": setting protection wakes no thread")
{
	struct area a = area(1, BOTH, FEATURE);
	struct touch t;

	touch_start(&t, STORE, a.mem, 3);
	expect_fault(a.u, a.mem, WRITE);
	CHECK_OK(protect(a.u, a.mem, PAGE, SET));
	CHECK(touch_waits(&t));
	CHECK_EQ(word(a.mem), W_MARKER);
	CHECK_OK(copy(a.u, a.mem, source(1, 9), PAGE, 0, NULL));
	CHECK_OK(touch_end(&t));
	CHECK(quiet(a.u));
}

CASE(marker_missing_kernel_read, SEEN)
{
	struct area a = marked(1, BOTH);
	struct touch t;

	touch_start(&t, KERNEL_READ, a.mem, 0xee);
	expect_fault(a.u, a.mem, 0);
	CHECK_OK(copy(a.u, a.mem, source(1, 9), PAGE, COPY_WP, NULL));
	touch_ends_with(&t, 9);
	CHECK_EQ(word(a.mem), W_PROTECTED);
}

CASE(marker_missing_kernel_write, SEEN)
{
	struct area a = marked(1, BOTH);
	struct touch t;

	touch_start(&t, KERNEL_WRITE, a.mem, 3);
	expect_fault(a.u, a.mem, WRITE);
	CHECK_OK(copy(a.u, a.mem, source(1, 9), PAGE, 0, NULL));
	CHECK_OK(touch_end(&t));
	CHECK_EQ(peek(a.mem), 3);
}

/* ---- COPY and ZEROPAGE ---- */

CASE(marker_copy, SEEN ": the page is not protected")
{
	for (const uint64_t *m = modes; m < modes + 2; m++) {
		struct area a = marked(2, *m);
		int64_t copied;

		CHECK_OK(copy(a.u, a.mem, source(1, 9), PAGE, 0, &copied));
		CHECK_EQ(copied, PAGE);
		CHECK_EQ(word(a.mem), W_OWN);
		CHECK_EQ(word(a.mem + PAGE), W_MARKER);
		CHECK_EQ(poke(a.mem, 1), 0);
		CHECK(quiet(a.u));
		CHECK_EQ(peek(a.mem + 1), 9);
	}
}

CASE(marker_copy_protected, "ioctl_userfaultfd(2) UFFDIO_COPY, MODE_WP")
{
	for (const uint64_t *m = modes; m < modes + 2; m++) {
		struct area a = marked(2, *m);

		CHECK_OK(copy(a.u, a.mem, source(1, 9), PAGE, COPY_WP, NULL));
		CHECK_EQ(word(a.mem), W_PROTECTED);
		CHECK(page_is(a.mem, 9));
		expect_wp(a.u, a.mem + 1);
		CHECK_EQ(peek(a.mem), 9);
	}
}

CASE(marker_copy_of_many, SEEN)
{
	for (const uint64_t *m = modes; m < modes + 2; m++) {
		struct area a = marked(6, *m);

		CHECK_OK(copy(a.u, a.mem + PAGE, source(4, 3), 4 * PAGE, 0, NULL));
		CHECK_EQ(word(a.mem), W_MARKER);
		CHECK(words_are(a.mem + PAGE, 4, W_OWN));
		CHECK_EQ(word(a.mem + 5 * PAGE), W_MARKER);
		CHECK(page_is(a.mem + 4 * PAGE, 6));
	}
}

CASE(marker_copy_up_to_a_page, SEEN ": EAGAIN with what was copied, then EEXIST")
{
	struct area a = marked_but_one(3, WP);
	int64_t copied;

	CHECK_EQ(copy(a.u, a.mem, source(3, 3), 3 * PAGE, 0, &copied), -EAGAIN);
	CHECK_EQ(copied, PAGE);
	CHECK_EQ(word(a.mem), W_OWN);
	CHECK_EQ(word(a.mem + PAGE), W_PROTECTED);
	CHECK_EQ(word(a.mem + 2 * PAGE), W_MARKER);
}

CASE(marker_zeropage, SEEN ": EEXIST, the marker stays")
{
	for (const uint64_t *m = modes; m < modes + 2; m++) {
		struct area a = marked(1, *m);
		int64_t zeroed;

		CHECK_EQ(zero(a.u, a.mem, PAGE, 0, &zeroed), -EEXIST);
		CHECK_EQ(zeroed, -EEXIST);
		CHECK_EQ(word(a.mem), W_MARKER);
	}
}

CASE(marker_zeropage_up_to_one, SEEN)
{
	for (const uint64_t *m = modes; m < modes + 2; m++) {
		struct area a = area(3, *m, FEATURE);
		int64_t zeroed;

		CHECK_OK(protect(a.u, a.mem + 2 * PAGE, PAGE, SET));
		CHECK_EQ(zero(a.u, a.mem, 3 * PAGE, 0, &zeroed), -EAGAIN);
		CHECK_EQ(zeroed, 2 * PAGE);
		CHECK(words_are(a.mem, 2, W_ZERO));
		CHECK_EQ(word(a.mem + 2 * PAGE), W_MARKER);
	}
}

CASE(marker_zeropage_after_unset, SEEN)
{
	for (const uint64_t *m = modes; m < modes + 2; m++) {
		struct area a = marked(1, *m);

		CHECK_OK(protect(a.u, a.mem, PAGE, 0));
		CHECK_OK(zero(a.u, a.mem, PAGE, 0, NULL));
		CHECK_EQ(word(a.mem), W_ZERO);
	}
}
