/* SPDX-License-Identifier: MIT */
/* wp_life.c - what write protection survives: changes of the mapping and of the page under it. */
#include "conformance.h"

#define RST	 "userfaultfd.rst, write protect notifications"
#define SET	 FL_UFFDIO_WRITEPROTECT_MODE_WP
#define WP_FAULT (FL_UFFD_PAGEFAULT_FLAG_WP | FL_UFFD_PAGEFAULT_FLAG_WRITE)

static struct area protected(unsigned pages, uint64_t mode)
{
	struct area a = {uffd(0), source(pages, 1)};

	CHECK_OK(reg(a.u, a.mem, pages * PAGE, mode));
	CHECK_OK(protect(a.u, a.mem, pages * PAGE, SET));
	return a;
}

CASE(wp_after_mprotect_and_back, RST)
{
	struct area a = protected(1, WP);

	CHECK_OK(T->protect(a.mem, PAGE, PROT_READ));
	CHECK_OK(T->protect(a.mem, PAGE, RW));
	expect_wp(a.u, a.mem);
}

CASE(wp_after_mprotect_none_and_back, RST)
{
	struct area a = protected(1, WP);

	CHECK_OK(T->protect(a.mem, PAGE, PROT_NONE));
	CHECK_EQ(peek(a.mem), -SIGSEGV);
	CHECK_OK(T->protect(a.mem, PAGE, RW));
	CHECK_EQ(peek(a.mem), 1);
	expect_wp(a.u, a.mem);
}

CASE(wp_on_read_only_mapping, "kernel 6.18, observed: the mapping's rights come first")
{
	struct area a = protected(1, WP);

	CHECK_OK(T->protect(a.mem, PAGE, PROT_READ));
	CHECK_EQ(poke(a.mem, 2), -SIGSEGV);
	CHECK(quiet(a.u));
}

CASE(wp_set_while_read_only, "kernel 6.18, observed")
{
	struct area a = {uffd(0), source(1, 1)};

	CHECK_OK(reg(a.u, a.mem, PAGE, WP));
	CHECK_OK(T->protect(a.mem, PAGE, PROT_READ));
	CHECK_OK(protect(a.u, a.mem, PAGE, SET));
	CHECK_OK(T->protect(a.mem, PAGE, RW));
	expect_wp(a.u, a.mem);
}

CASE(wp_resolve_while_read_only, "kernel 6.18, observed: resolving gives no right that the mapping does not give")
{
	struct area a = protected(1, WP);

	CHECK_OK(T->protect(a.mem, PAGE, PROT_READ));
	CHECK_OK(protect(a.u, a.mem, PAGE, 0));
	CHECK_EQ(poke(a.mem, 2), -SIGSEGV);
	CHECK_OK(T->protect(a.mem, PAGE, RW));
	CHECK_EQ(poke(a.mem, 2), 0);
	CHECK(quiet(a.u));
}

CASE(wp_mprotect_releases_waiter, "kernel 6.18, observed: mprotect wakes no thread; woken, the store has no right")
{
	struct area a = protected(1, WP);
	struct touch t;

	touch_start(&t, STORE, a.mem, 2);
	expect_fault(a.u, a.mem, WP_FAULT);
	CHECK_OK(T->protect(a.mem, PAGE, PROT_READ));
	CHECK(touch_waits(&t));
	CHECK_OK(protect(a.u, a.mem, PAGE, 0));
	CHECK_EQ(touch_end(&t), SIGSEGV);
}

CASE(wp_dropped_by_dontneed, "kernel 6.18, observed: the page is gone, and its protection with it")
{
	struct area a = protected(1, WP);

	CHECK_OK(T->advise(a.mem, PAGE, MADV_DONTNEED));
	CHECK_EQ(poke(a.mem, 2), 0);
	CHECK(quiet(a.u));
}

CASE(wp_dontneed_then_missing, "kernel 6.18, observed")
{
	struct area a = protected(1, MISSING | WP);
	struct touch t;

	CHECK_OK(T->advise(a.mem, PAGE, MADV_DONTNEED));
	touch_start(&t, STORE, a.mem, 2);
	expect_fault(a.u, a.mem, FL_UFFD_PAGEFAULT_FLAG_WRITE);
	fill(a.u, a.mem, 1, 3);
	CHECK_OK(touch_end(&t));
	CHECK(quiet(a.u));
}

CASE(wp_dontneed_while_waiting, "kernel 6.18, observed: DONTNEED wakes no thread; woken, the store finds no page")
{
	struct area a = protected(1, WP);
	struct touch t;

	touch_start(&t, STORE, a.mem + 1, 2);
	expect_fault(a.u, a.mem, WP_FAULT);
	CHECK_OK(T->advise(a.mem, PAGE, MADV_DONTNEED));
	CHECK(touch_waits(&t));
	CHECK_OK(wake(a.u, a.mem, PAGE));
	CHECK_OK(touch_end(&t));
	CHECK_EQ(peek(a.mem), 0);
	CHECK_EQ(peek(a.mem + 1), 2);
}

CASE(wp_zeropage_over_protected, "kernel 6.18, observed: EEXIST")
{
	struct area a = protected(1, WP);

	CHECK_EQ(zero(a.u, a.mem, PAGE, 0, NULL), -EEXIST);
	CHECK_EQ(copy(a.u, a.mem, source(1, 9), PAGE, 0, NULL), -EEXIST);
	expect_wp(a.u, a.mem);
}

CASE(wp_split_by_munmap, "kernel 6.18, observed")
{
	struct area a = protected(3, WP);

	CHECK_OK(T->unmap(a.mem + PAGE, PAGE));
	expect_wp(a.u, a.mem);
	expect_wp(a.u, a.mem + 2 * PAGE);
}

CASE(wp_not_under_a_new_mapping, "kernel 6.18, observed")
{
	struct area a = protected(1, WP);

	CHECK_EQ(T->map(a.mem, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED), a.mem);
	CHECK_EQ(peek(a.mem), 0);
	CHECK_EQ(poke(a.mem, 2), 0);
	CHECK_EQ(protect(a.u, a.mem, PAGE, SET), -ENOENT);
}

CASE(wp_dropped_by_close, "userfaultfd(2): close unregisters")
{
	struct area a = protected(2, WP);

	expect_wp(a.u, a.mem + PAGE);
	CHECK_OK(protect(a.u, a.mem + PAGE, PAGE, SET));
	CHECK_OK(T->close(a.u));
	CHECK_EQ(poke(a.mem, 2), 0);
	CHECK_EQ(poke(a.mem + PAGE, 2), 0);
}

CASE(wp_kernel_write_is_trapped, RST)
{
	struct area a = protected(1, WP);
	struct touch t;

	touch_start(&t, KERNEL_WRITE, a.mem + 4, 7);
	expect_fault(a.u, a.mem, WP_FAULT);
	CHECK(touch_waits(&t));
	CHECK_OK(protect(a.u, a.mem, PAGE, 0));
	CHECK_OK(touch_end(&t));
	CHECK_EQ(peek(a.mem + 4), 7);
}

CASE(wp_kernel_read_passes, RST)
{
	struct area a = protected(1, WP);
	uint8_t byte;

	CHECK_OK(T->kernel_read(a.mem, &byte, 1));
	CHECK_EQ(byte, 1);
	CHECK(quiet(a.u));
}
