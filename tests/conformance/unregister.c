/* SPDX-License-Identifier: MIT */
/*
 * unregister.c - UFFDIO_UNREGISTER and UFFDIO_WAKE.
 */
#include "conformance.h"

#define UNREGISTER "ioctl_userfaultfd(2) UFFDIO_UNREGISTER"
#define WAKE	   "ioctl_userfaultfd(2) UFFDIO_WAKE"

CASE(unregister_whole, UNREGISTER)
{
	struct area a = area(2, MISSING, 0);

	CHECK_OK(unreg(a.u, a.mem, 2 * PAGE));
	CHECK_EQ(peek(a.mem), 0);
	CHECK_EQ(poke(a.mem + PAGE, 1), 0);
	CHECK(quiet(a.u));
}

CASE(unregister_middle, UNREGISTER)
{
	struct area a = area(3, MISSING, 0);

	CHECK_OK(unreg(a.u, a.mem + PAGE, PAGE));
	CHECK_EQ(peek(a.mem + PAGE), 0);
	CHECK(quiet(a.u));
	expect_missing(a.u, a.mem);
	expect_missing(a.u, a.mem + 2 * PAGE);
}

CASE(unregister_head_and_tail, UNREGISTER)
{
	struct area a = area(4, MISSING, 0);

	CHECK_OK(unreg(a.u, a.mem, PAGE));
	CHECK_OK(unreg(a.u, a.mem + 3 * PAGE, PAGE));
	CHECK_EQ(peek(a.mem), 0);
	CHECK_EQ(peek(a.mem + 3 * PAGE), 0);
	CHECK(quiet(a.u));
	expect_missing(a.u, a.mem + PAGE);
	expect_missing(a.u, a.mem + 2 * PAGE);
}

CASE(unregister_keeps_contents, UNREGISTER)
{
	struct area a = area(2, MISSING, 0);

	fill(a.u, a.mem, 2, 3);
	CHECK_OK(unreg(a.u, a.mem, 2 * PAGE));
	CHECK(page_is(a.mem, 3));
	CHECK(page_is(a.mem + PAGE, 4));
	CHECK_EQ(poke(a.mem, 5), 0);
	CHECK_EQ(peek(a.mem), 5);
}

CASE(unregister_not_registered, "kernel 6.18, observed: memory that is not registered is passed over")
{
	struct area a = area(1, MISSING, 0);

	CHECK_OK(unreg(a.u, map(2), 2 * PAGE));
	expect_missing(a.u, a.mem);
}

CASE(unregister_twice, "kernel 6.18, observed")
{
	struct area a = area(2, MISSING, 0);

	CHECK_OK(unreg(a.u, a.mem, PAGE));
	CHECK_OK(unreg(a.u, a.mem, PAGE));
	CHECK_EQ(peek(a.mem), 0);
	expect_missing(a.u, a.mem + PAGE);
}

CASE(unregister_more_than_registered, "kernel 6.18, observed")
{
	uint64_t mem = map(4);
	uffd_t u = uffd(0);

	CHECK_OK(reg(u, mem + PAGE, 2 * PAGE, MISSING));
	expect_missing(u, mem + 2 * PAGE);
	CHECK_OK(unreg(u, mem, 4 * PAGE));
	CHECK_EQ(peek(mem + PAGE), 0);
	CHECK(quiet(u));
}

CASE(unregister_over_a_hole, "kernel 6.18, observed: holes are passed over")
{
	struct area a = area(4, MISSING, 0);

	CHECK_OK(T->unmap(a.mem + PAGE, PAGE));
	CHECK_OK(unreg(a.u, a.mem, 3 * PAGE));
	CHECK_EQ(peek(a.mem), 0);
	CHECK_EQ(peek(a.mem + 2 * PAGE), 0);
	CHECK(quiet(a.u));
	expect_missing(a.u, a.mem + 3 * PAGE);
}

CASE(unregister_unmapped, UNREGISTER ", EINVAL: no mapping")
{
	uint64_t mem = map(3);
	uffd_t u = uffd(0);

	CHECK_OK(T->unmap(mem, 3 * PAGE));
	CHECK_EQ(unreg(u, mem + PAGE, PAGE), -EINVAL);
}

CASE(unregister_bad_ranges, UNREGISTER ", EINVAL")
{
	struct area a = area(2, MISSING, 0);

	CHECK_EQ(unreg(a.u, a.mem, 0), -EINVAL);
	CHECK_EQ(unreg(a.u, a.mem + 1, PAGE), -EINVAL);
	CHECK_EQ(unreg(a.u, a.mem, PAGE + 1), -EINVAL);
	CHECK_EQ(unreg(a.u, a.mem, -a.mem), -EINVAL);
	CHECK_EQ(unreg(a.u, 1ull << 57, PAGE), -EINVAL);
	CHECK_EQ(unreg(a.u, 0, PAGE), -EINVAL);
	expect_missing(a.u, a.mem);
}

CASE_ON(unregister_file, ON_LIBC, "soft address spaces map no files", UNREGISTER ", EINVAL: incompatible mapping")
{
	int fd = open("/proc/self/exe", O_RDONLY);
	void *p = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0);

	CHECK(p != MAP_FAILED);
	CHECK_EQ(unreg(uffd(0), (uint64_t)(uintptr_t)p, PAGE), -EINVAL);
}

CASE(unregister_other_objects_range, "kernel 6.18, observed")
{
	struct area a = area(1, MISSING, 0);
	uffd_t other = uffd(0);

	CHECK_EQ(unreg(other, a.mem, PAGE), -EINVAL);
	expect_missing(a.u, a.mem);
}

CASE(unregister_own_and_others, "kernel 6.18, observed: refused whole")
{
	uffd_t one = uffd(0), two = uffd(0);
	uint64_t mem = map(2);

	CHECK_OK(reg(one, mem, PAGE, MISSING));
	CHECK_OK(reg(two, mem + PAGE, PAGE, MISSING));
	CHECK_EQ(unreg(one, mem, 2 * PAGE), -EINVAL);
	expect_missing(one, mem);
	expect_missing(two, mem + PAGE);
}

CASE(unregister_releases_waiter, UNREGISTER)
{
	struct area a = area(1, MISSING, 0);
	struct touch t;

	touch_start(&t, LOAD, a.mem, 0xee);
	expect_fault(a.u, a.mem, 0);
	CHECK(touch_waits(&t));
	CHECK_OK(unreg(a.u, a.mem, PAGE));
	touch_ends_with(&t, 0);
}

CASE(unregister_releases_unread_waiter, UNREGISTER)
{
	struct area a = area(1, MISSING, 0);
	struct touch t;

	touch_start(&t, STORE, a.mem, 0x11);
	CHECK_EQ(T->poll(a.u, 5000), POLLIN);
	CHECK_OK(unreg(a.u, a.mem, PAGE));
	CHECK_OK(touch_end(&t));
	CHECK_EQ(peek(a.mem), 0x11);
	CHECK(quiet(a.u));
}

CASE(unregister_leaves_other_waiters, UNREGISTER)
{
	struct area a = area(2, MISSING, 0);
	struct touch t;

	touch_start(&t, LOAD, a.mem + PAGE, 0xee);
	expect_fault(a.u, a.mem + PAGE, 0);
	CHECK_OK(unreg(a.u, a.mem, PAGE));
	CHECK(touch_waits(&t));
	fill(a.u, a.mem + PAGE, 1, 6);
	touch_ends_with(&t, 6);
}

CASE(unregister_drops_write_protection, "userfaultfd.rst: write protection ends with the registration")
{
	struct area a = area(2, WP, 0);

	CHECK_EQ(poke(a.mem, 1), 0);
	CHECK_EQ(poke(a.mem + PAGE, 2), 0);
	CHECK_OK(protect(a.u, a.mem, 2 * PAGE, FL_UFFDIO_WRITEPROTECT_MODE_WP));
	CHECK_OK(unreg(a.u, a.mem, PAGE));
	CHECK_EQ(poke(a.mem, 3), 0);
	CHECK_EQ(peek(a.mem), 3);
	expect_wp(a.u, a.mem + PAGE);
}

CASE(unregister_does_not_bring_protection_back, "kernel 6.18, observed")
{
	struct area a = area(1, WP, 0);

	CHECK_EQ(poke(a.mem, 1), 0);
	CHECK_OK(protect(a.u, a.mem, PAGE, FL_UFFDIO_WRITEPROTECT_MODE_WP));
	CHECK_OK(unreg(a.u, a.mem, PAGE));
	CHECK_OK(reg(a.u, a.mem, PAGE, WP));
	CHECK_EQ(poke(a.mem, 2), 0);
	CHECK(quiet(a.u));
}

/* A store waiting on a protected page of a range with these modes. */
static void wp_waiter(struct area *a, uint64_t mode, struct touch *t)
{
	*a = area(1, WP, 0);
	CHECK_EQ(poke(a->mem, 1), 0);
	CHECK_OK(reg(a->u, a->mem, PAGE, mode));
	CHECK_OK(protect(a->u, a->mem, PAGE, FL_UFFDIO_WRITEPROTECT_MODE_WP));
	touch_start(t, STORE, a->mem, 2);
	expect_fault(a->u, a->mem, FL_UFFD_PAGEFAULT_FLAG_WP | FL_UFFD_PAGEFAULT_FLAG_WRITE);
}

CASE(unregister_releases_wp_waiter, UNREGISTER)
{
	struct area a;
	struct touch t;

	wp_waiter(&a, MISSING | WP, &t);
	CHECK_OK(unreg(a.u, a.mem, PAGE));
	CHECK_OK(touch_end(&t));
	CHECK_EQ(peek(a.mem), 2);
}

CASE(unregister_wp_only_wakes_nobody, "kernel 6.18, observed: without MODE_MISSING the waiter needs a WAKE")
{
	struct area a;
	struct touch t;

	wp_waiter(&a, WP, &t);
	CHECK_OK(unreg(a.u, a.mem, PAGE));
	CHECK(touch_waits(&t));
	CHECK_OK(wake(a.u, a.mem, PAGE));
	CHECK_OK(touch_end(&t));
	CHECK_EQ(peek(a.mem), 2);
}

/* ---- WAKE ---- */

CASE(wake_bad_ranges, WAKE ", EINVAL")
{
	struct area a = area(2, MISSING, 0);

	CHECK_EQ(wake(a.u, a.mem, 0), -EINVAL);
	CHECK_EQ(wake(a.u, a.mem + 1, PAGE), -EINVAL);
	CHECK_EQ(wake(a.u, a.mem, PAGE + 1), -EINVAL);
	CHECK_EQ(wake(a.u, a.mem, -a.mem), -EINVAL);
	CHECK_EQ(wake(a.u, 1ull << 57, PAGE), -EINVAL);
}

CASE(wake_nobody, WAKE)
{
	struct area a = area(2, MISSING, 0);

	CHECK_OK(wake(a.u, a.mem, 2 * PAGE));
}

CASE(wake_unmapped, "kernel 6.18, observed: WAKE looks at no mapping")
{
	uint64_t mem = map(3);
	uffd_t u = uffd(0);

	CHECK_OK(wake(u, mem, PAGE));
	CHECK_OK(T->unmap(mem, 3 * PAGE));
	CHECK_OK(wake(u, mem, 3 * PAGE));
}

CASE(wake_faults_again, "kernel 6.18, observed: woken without a page, the thread faults anew, with a message anew")
{
	struct area a = area(1, MISSING, 0);
	struct touch t;

	touch_start(&t, LOAD, a.mem, 0xee);
	expect_fault(a.u, a.mem, 0);
	CHECK_OK(wake(a.u, a.mem, PAGE));
	expect_fault(a.u, a.mem, 0);
	CHECK(touch_waits(&t));
	fill(a.u, a.mem, 1, 8);
	touch_ends_with(&t, 8);
	CHECK(quiet(a.u));
}

CASE(wake_before_read, "kernel 6.18, observed: one message, not two, when the first was not read")
{
	struct area a = area(1, MISSING, 0);
	struct touch t;

	touch_start(&t, LOAD, a.mem, 0xee);
	CHECK_EQ(T->poll(a.u, 5000), POLLIN);
	CHECK_OK(wake(a.u, a.mem, PAGE));
	expect_fault(a.u, a.mem, 0);
	CHECK(quiet(a.u));
	fill(a.u, a.mem, 1, 8);
	touch_ends_with(&t, 8);
}

CASE(wake_after_dontwake, WAKE ": used with DONTWAKE")
{
	struct area a = area(1, MISSING, 0);
	struct touch t;

	touch_start(&t, LOAD, a.mem, 0xee);
	expect_fault(a.u, a.mem, 0);
	CHECK_OK(copy(a.u, a.mem, source(1, 5), PAGE, FL_UFFDIO_COPY_MODE_DONTWAKE, NULL));
	CHECK(touch_waits(&t));
	CHECK_OK(wake(a.u, a.mem, PAGE));
	touch_ends_with(&t, 5);
	CHECK(quiet(a.u));
}

CASE(wake_other_range, WAKE)
{
	struct area a = area(2, MISSING, 0);
	struct touch t;

	touch_start(&t, LOAD, a.mem, 0xee);
	expect_fault(a.u, a.mem, 0);
	CHECK_OK(wake(a.u, a.mem + PAGE, PAGE));
	CHECK(touch_waits(&t));
	CHECK(quiet(a.u));
	fill(a.u, a.mem, 1, 5);
	touch_ends_with(&t, 5);
}

CASE(wake_by_other_object, "kernel 6.18, observed: an object wakes only its own waiters")
{
	struct area a = area(1, MISSING, 0);
	uffd_t other = uffd(0);
	struct touch t;

	touch_start(&t, LOAD, a.mem, 0xee);
	expect_fault(a.u, a.mem, 0);
	CHECK_OK(wake(other, a.mem, PAGE));
	CHECK(touch_waits(&t));
	CHECK(quiet(a.u));
}

CASE(wake_all_in_range, WAKE)
{
	struct area a = area(4, MISSING, 0);
	struct touch t[4];

	for (unsigned i = 0; i < 4; i++) {
		touch_start(&t[i], LOAD, a.mem + i * PAGE, 0xee);
		expect_fault(a.u, a.mem + i * PAGE, 0);
	}
	CHECK_OK(copy(a.u, a.mem, source(4, 1), 4 * PAGE, FL_UFFDIO_COPY_MODE_DONTWAKE, NULL));
	CHECK(touch_waits(&t[0]));
	CHECK_OK(wake(a.u, a.mem, 2 * PAGE));
	touch_ends_with(&t[0], 1);
	touch_ends_with(&t[1], 2);
	CHECK(touch_waits(&t[2]));
	CHECK_OK(wake(a.u, a.mem, 4 * PAGE));
	touch_ends_with(&t[2], 3);
	touch_ends_with(&t[3], 4);
}
