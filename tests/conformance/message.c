/* SPDX-License-Identifier: MIT */
/* message.c - what a message contains, and which messages are sent. */
#include <string.h>

#include "conformance.h"

#define MSG   "userfaultfd(2), struct uffd_msg"
#define WRITE FL_UFFD_PAGEFAULT_FLAG_WRITE

CASE(message_load, MSG ": no flag")
{
	struct area a = area(1, MISSING, 0);
	struct touch t;

	touch_start(&t, LOAD, a.mem, 0);
	expect_fault(a.u, a.mem, 0);
}

CASE(message_store, MSG ": FLAG_WRITE")
{
	struct area a = area(1, MISSING, 0);
	struct touch t;

	touch_start(&t, STORE, a.mem, 0);
	expect_fault(a.u, a.mem, WRITE);
}

CASE(message_wp_store, MSG ": FLAG_WP with FLAG_WRITE")
{
	struct area a = {uffd(0), source(1, 1)};
	struct touch t;

	CHECK_OK(reg(a.u, a.mem, PAGE, MISSING | WP));
	CHECK_OK(protect(a.u, a.mem, PAGE, FL_UFFDIO_WRITEPROTECT_MODE_WP));
	touch_start(&t, STORE, a.mem + 77, 0);
	expect_fault(a.u, a.mem, WRITE | FL_UFFD_PAGEFAULT_FLAG_WP);
}

CASE(message_kernel_read, MSG)
{
	struct area a = area(1, MISSING, 0);
	struct touch t;

	touch_start(&t, KERNEL_READ, a.mem + 8, 0);
	expect_fault(a.u, a.mem, 0);
	fill(a.u, a.mem, 1, 3);
	CHECK_OK(touch_end(&t));
	CHECK_EQ(t.byte, 3);
}

CASE(message_kernel_write, MSG)
{
	struct area a = area(1, MISSING, 0);
	struct touch t;

	touch_start(&t, KERNEL_WRITE, a.mem + 8, 5);
	expect_fault(a.u, a.mem, WRITE);
	fill(a.u, a.mem, 1, 3);
	CHECK_OK(touch_end(&t));
	CHECK_EQ(peek(a.mem + 8), 5);
	CHECK_EQ(peek(a.mem + 9), 3);
}

CASE(message_address_is_of_the_page, "kernel 6.18, observed: without EXACT_ADDRESS the page's address")
{
	struct area a = area(2, MISSING, 0);
	struct touch t;

	touch_start(&t, LOAD, a.mem + PAGE + 0x123, 0);
	expect_fault(a.u, a.mem + PAGE, 0);
}

CASE(message_exact_address, "kernel 6.18, observed: EXACT_ADDRESS gives the byte's address")
{
	struct area a = area(2, MISSING, FL_UFFD_FEATURE_EXACT_ADDRESS);
	struct touch t;

	touch_start(&t, STORE, a.mem + PAGE + 0x123, 0);
	expect_fault(a.u, a.mem + PAGE + 0x123, WRITE);
}

CASE(message_exact_address_wp, "kernel 6.18, observed: EXACT_ADDRESS gives the byte's address")
{
	struct area a = {uffd(FL_UFFD_FEATURE_EXACT_ADDRESS), source(1, 1)};
	struct touch t;

	CHECK_OK(reg(a.u, a.mem, PAGE, WP));
	CHECK_OK(protect(a.u, a.mem, PAGE, FL_UFFDIO_WRITEPROTECT_MODE_WP));
	touch_start(&t, STORE, a.mem + 0xabc, 0);
	expect_fault(a.u, a.mem + 0xabc, WRITE | FL_UFFD_PAGEFAULT_FLAG_WP);
}

CASE(message_thread_id, "userfaultfd(2), UFFD_FEATURE_THREAD_ID")
{
	struct area a = area(2, MISSING, FL_UFFD_FEATURE_THREAD_ID);
	struct touch one, two;
	struct fl_uffd_msg msg;

	touch_start(&one, LOAD, a.mem, 0);
	msg = next_msg(a.u);
	CHECK(msg.arg.pagefault.feat.ptid != 0);
	CHECK_EQ(msg.arg.pagefault.feat.ptid, atomic_load(&one.tid));
	touch_start(&two, LOAD, a.mem + PAGE, 0);
	msg = next_msg(a.u);
	CHECK_EQ(msg.arg.pagefault.feat.ptid, atomic_load(&two.tid));
}

CASE(message_no_thread_id, "userfaultfd(2): by default thread id reporting is disabled")
{
	struct area a = area(1, MISSING, 0);
	struct touch t;

	touch_start(&t, LOAD, a.mem, 0);
	CHECK_EQ(next_msg(a.u).arg.pagefault.feat.ptid, 0);
}

CASE(message_rest_is_zero, MSG)
{
	struct area a = area(1, MISSING, 0);
	struct fl_uffd_msg msg, want;
	struct touch t;

	memset(&msg, 0xff, sizeof(msg));
	memset(&want, 0, sizeof(want));
	touch_start(&t, STORE, a.mem, 0);
	CHECK_EQ(T->poll(a.u, 5000), POLLIN);
	CHECK_EQ(T->read(a.u, &msg, sizeof(msg)), sizeof(msg));
	want.event = FL_UFFD_EVENT_PAGEFAULT;
	want.arg.pagefault.flags = WRITE;
	want.arg.pagefault.address = a.mem;
	CHECK_EQ(memcmp(&msg, &want, sizeof(msg)), 0);
}

CASE(message_load_over_two_pages, "kernel 6.18, observed: one fault after the other")
{
	struct area a = area(2, MISSING, 0);
	struct touch t;

	/* the first page is present: the fault is on the second, at its first byte */
	fill(a.u, a.mem, 1, 1);
	touch_start(&t, LOAD, a.mem + PAGE, 0);
	expect_fault(a.u, a.mem + PAGE, 0);
	CHECK(quiet(a.u));
}

CASE(message_in_order, MSG)
{
	struct area a = area(8, MISSING, 0);
	static const unsigned order[] = {5, 0, 7, 3, 1, 6, 2, 4};
	struct touch t[8];

	for (unsigned i = 0; i < 8; i++) {
		touch_start(&t[i], LOAD, a.mem + order[i] * PAGE, 0);
		CHECK(touch_waits(&t[i]));
	}
	for (unsigned i = 0; i < 8; i++)
		expect_fault(a.u, a.mem + order[i] * PAGE, 0);
	CHECK(quiet(a.u));
}

CASE(message_each_thread_has_one, "kernel 6.18, observed: one message a thread, also on one page")
{
	struct area a = area(1, MISSING, FL_UFFD_FEATURE_THREAD_ID);
	struct touch t[5];

	for (unsigned i = 0; i < 5; i++) {
		touch_start(&t[i], LOAD, a.mem + i, 0);
		CHECK(touch_waits(&t[i]));
	}
	for (unsigned i = 0; i < 5; i++)
		CHECK_EQ(next_msg(a.u).arg.pagefault.feat.ptid, atomic_load(&t[i].tid));
	CHECK(quiet(a.u));
}

CASE(message_gone_when_resolved, "kernel 6.18, observed: an unread message goes with its fault")
{
	struct area a = area(2, MISSING, 0);
	struct touch one, two;

	touch_start(&one, LOAD, a.mem, 0);
	CHECK(touch_waits(&one));
	touch_start(&two, LOAD, a.mem + PAGE, 0);
	CHECK(touch_waits(&two));
	fill(a.u, a.mem, 1, 4);
	touch_ends_with(&one, 4);
	expect_fault(a.u, a.mem + PAGE, 0);
	CHECK(quiet(a.u));
}

CASE(message_stays_when_filled_without_wake, "kernel 6.18, observed: DONTWAKE leaves the message, too")
{
	struct area a = area(1, MISSING, 0);
	struct touch t;

	touch_start(&t, LOAD, a.mem, 0);
	CHECK_EQ(T->poll(a.u, 5000), POLLIN);
	CHECK_OK(copy(a.u, a.mem, source(1, 4), PAGE, FL_UFFDIO_COPY_MODE_DONTWAKE, NULL));
	CHECK_EQ(T->poll(a.u, 0), POLLIN);
	expect_fault(a.u, a.mem, 0);
	CHECK_OK(wake(a.u, a.mem, PAGE));
	touch_ends_with(&t, 4);
}

CASE(message_to_the_right_object, MSG)
{
	struct area a = area(1, MISSING, 0), b = area(1, MISSING, 0);
	struct touch t;

	touch_start(&t, LOAD, b.mem, 0);
	expect_fault(b.u, b.mem, 0);
	CHECK(quiet(a.u));
}

CASE(message_none_for_present_pages, MSG)
{
	struct area a = area(16, MISSING | WP, 0);

	fill(a.u, a.mem, 16, 1);
	for (unsigned i = 0; i < 16; i++) {
		CHECK_EQ(peek(a.mem + i * PAGE), 1 + i);
		CHECK_EQ(poke(a.mem + i * PAGE, 0), 0);
	}
	CHECK(quiet(a.u));
}
