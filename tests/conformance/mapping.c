/* SPDX-License-Identifier: MIT */
/*
 * mapping.c - munmap, mmap, mprotect and madvise on registered memory.
 */
#include "conformance.h"

#define SEEN  "kernel 6.18, observed"
#define FIXED (MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED)

CASE(munmap_whole, "munmap(2)")
{
	struct area a = area(2, MISSING, 0);

	CHECK_OK(T->unmap(a.mem, 2 * PAGE));
	CHECK_EQ(peek(a.mem), -SIGSEGV);
	CHECK_EQ(poke(a.mem + PAGE, 1), -SIGSEGV);
	CHECK_EQ(copy(a.u, a.mem, source(1, 1), PAGE, 0, NULL), -ENOENT);
}

CASE(munmap_part, "munmap(2)")
{
	struct area a = area(3, MISSING, 0);

	fill(a.u, a.mem + PAGE, 1, 1);
	CHECK_OK(T->unmap(a.mem + PAGE, PAGE));
	CHECK_EQ(peek(a.mem + PAGE), -SIGSEGV);
	expect_missing(a.u, a.mem);
	expect_missing(a.u, a.mem + 2 * PAGE);
}

CASE(munmap_more_than_registered, "munmap(2)")
{
	uint64_t mem = map(3);
	uffd_t u = uffd(0);

	CHECK_OK(reg(u, mem + PAGE, PAGE, MISSING));
	expect_missing(u, mem + PAGE);
	CHECK_OK(T->unmap(mem, 3 * PAGE));
	CHECK_EQ(peek(mem + PAGE), -SIGSEGV);
	CHECK_EQ(zero(u, mem + PAGE, PAGE, 0, NULL), -ENOENT);
}

CASE(munmap_then_map_anew, SEEN ": the new mapping is not registered")
{
	struct area a = area(1, MISSING, 0);

	CHECK_OK(T->unmap(a.mem, PAGE));
	CHECK_EQ(T->map(a.mem, PAGE, RW, FIXED), a.mem);
	CHECK_EQ(peek(a.mem), 0);
	CHECK(quiet(a.u));
	CHECK_OK(reg(a.u, a.mem, PAGE, MISSING));
	CHECK_EQ(poke(a.mem, 1), 0);
}

CASE(munmap_bad_ranges, "munmap(2), EINVAL")
{
	struct area a = area(2, MISSING, 0);

	CHECK_EQ(T->unmap(a.mem + 1, PAGE), -EINVAL);
	CHECK_EQ(T->unmap(a.mem, 0), -EINVAL);
	expect_missing(a.u, a.mem);
}

CASE(munmap_while_waiting, SEEN ": munmap wakes no thread; woken, the access has no mapping")
{
	struct area a = area(1, MISSING, 0);
	struct touch t;

	touch_start(&t, LOAD, a.mem, 0);
	expect_fault(a.u, a.mem, 0);
	CHECK_OK(T->unmap(a.mem, PAGE));
	CHECK(touch_waits(&t));
	CHECK_OK(wake(a.u, a.mem, PAGE));
	CHECK_EQ(touch_end(&t), SIGSEGV);
}

CASE(munmap_while_waiting_unread, SEEN ": the message stays")
{
	struct area a = area(1, MISSING, 0);
	struct touch t;

	touch_start(&t, LOAD, a.mem, 0);
	CHECK_EQ(T->poll(a.u, 5000), POLLIN);
	CHECK_OK(T->unmap(a.mem, PAGE));
	expect_fault(a.u, a.mem, 0);
	CHECK_EQ(copy(a.u, a.mem, source(1, 1), PAGE, 0, NULL), -ENOENT);
	CHECK(touch_waits(&t));
	CHECK_OK(T->close(a.u));
	CHECK_EQ(touch_end(&t), SIGSEGV);
}

CASE(munmap_while_waiting_kernel_access, SEEN ": EFAULT")
{
	struct area a = area(1, MISSING, 0);
	struct touch t;

	touch_start(&t, KERNEL_WRITE, a.mem, 1);
	expect_fault(a.u, a.mem, FL_UFFD_PAGEFAULT_FLAG_WRITE);
	CHECK_OK(T->unmap(a.mem, PAGE));
	CHECK_OK(wake(a.u, a.mem, PAGE));
	CHECK_EQ(touch_end(&t), -EFAULT);
}

CASE(map_fixed_over, SEEN ": what is mapped over a registered range is not registered")
{
	struct area a = area(3, MISSING, 0);

	fill(a.u, a.mem, 3, 1);
	CHECK_EQ(T->map(a.mem + PAGE, PAGE, RW, FIXED), a.mem + PAGE);
	CHECK_EQ(peek(a.mem + PAGE), 0);
	CHECK_EQ(poke(a.mem + PAGE, 9), 0);
	CHECK_EQ(peek(a.mem), 1);
	CHECK_EQ(peek(a.mem + 2 * PAGE), 3);
	CHECK(quiet(a.u));
	CHECK_EQ(copy(a.u, a.mem + PAGE, source(1, 1), PAGE, 0, NULL), -ENOENT);
}

CASE(map_fixed_noreplace_over, "mmap(2), EEXIST")
{
	struct area a = area(1, MISSING, 0);

	CHECK_EQ(T->map(a.mem, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE), -EEXIST);
	expect_missing(a.u, a.mem);
}

CASE(map_beside, SEEN ": an equal mapping beside a registered one is not registered")
{
	uint64_t mem = map(2);
	uffd_t u = uffd(0);

	CHECK_OK(T->unmap(mem + PAGE, PAGE));
	CHECK_OK(reg(u, mem, PAGE, MISSING));
	CHECK_EQ(T->map(mem + PAGE, PAGE, RW, FIXED), mem + PAGE);
	CHECK_EQ(peek(mem + PAGE), 0);
	expect_missing(u, mem);
}

/* ---- mprotect ---- */

CASE(mprotect_missing_page, "mprotect(2)")
{
	struct area a = area(1, MISSING, 0);

	CHECK_OK(T->protect(a.mem, PAGE, PROT_READ));
	CHECK_EQ(poke(a.mem, 1), -SIGSEGV);
	expect_missing(a.u, a.mem);
	CHECK_EQ(poke(a.mem, 1), -SIGSEGV);
	CHECK_OK(T->protect(a.mem, PAGE, RW));
	CHECK_EQ(poke(a.mem, 1), 0);
}

CASE(mprotect_present_page, "mprotect(2)")
{
	struct area a = area(1, MISSING, 0);

	fill(a.u, a.mem, 1, 5);
	CHECK_OK(T->protect(a.mem, PAGE, PROT_READ));
	CHECK_EQ(peek(a.mem), 5);
	CHECK_EQ(poke(a.mem, 1), -SIGSEGV);
	CHECK_OK(T->protect(a.mem, PAGE, PROT_NONE));
	CHECK_EQ(peek(a.mem), -SIGSEGV);
	CHECK_OK(T->protect(a.mem, PAGE, RW));
	CHECK_EQ(poke(a.mem, 1), 0);
	CHECK_EQ(peek(a.mem + 1), 5);
	CHECK(quiet(a.u));
}

CASE(mprotect_part_and_back, "mprotect(2)")
{
	struct area a = area(3, MISSING, 0);

	CHECK_OK(T->protect(a.mem + PAGE, PAGE, PROT_NONE));
	CHECK_EQ(peek(a.mem + PAGE), -SIGSEGV);
	expect_missing(a.u, a.mem);
	CHECK_OK(T->protect(a.mem + PAGE, PAGE, RW));
	CHECK_OK(copy(a.u, a.mem + PAGE, source(2, 1), 2 * PAGE, 0, NULL));
	CHECK(page_is(a.mem + 2 * PAGE, 2));
}

CASE(mprotect_kernel_access, "read(2), EFAULT")
{
	struct area a = area(1, MISSING, 0);
	uint8_t byte = 1;

	CHECK_OK(T->protect(a.mem, PAGE, PROT_NONE));
	CHECK_EQ(T->kernel_read(a.mem, &byte, 1), -EFAULT);
	CHECK_EQ(T->kernel_write(a.mem, &byte, 1), -EFAULT);
	CHECK_OK(T->protect(a.mem, PAGE, PROT_READ));
	CHECK_EQ(T->kernel_write(a.mem, &byte, 1), -EFAULT);
	CHECK(quiet(a.u));
}

CASE(mprotect_while_waiting, SEEN ": mprotect wakes no thread; woken, the access has no right")
{
	struct area a = area(1, MISSING, 0);
	struct touch t;

	touch_start(&t, STORE, a.mem, 1);
	expect_fault(a.u, a.mem, FL_UFFD_PAGEFAULT_FLAG_WRITE);
	CHECK_OK(T->protect(a.mem, PAGE, PROT_NONE));
	CHECK(touch_waits(&t));
	fill(a.u, a.mem, 1, 5);
	CHECK_EQ(touch_end(&t), SIGSEGV);
	CHECK_OK(T->protect(a.mem, PAGE, RW));
	CHECK(page_is(a.mem, 5));
}

CASE(mprotect_over_the_border, "mprotect(2)")
{
	uint64_t mem = source(2, 1);
	uffd_t u = uffd(0);

	CHECK_OK(reg(u, mem, PAGE, MISSING));
	CHECK_OK(T->protect(mem, 2 * PAGE, PROT_READ));
	CHECK_EQ(poke(mem, 1), -SIGSEGV);
	CHECK_EQ(poke(mem + PAGE, 1), -SIGSEGV);
	CHECK_EQ(peek(mem), 1);
	CHECK_EQ(peek(mem + PAGE), 2);
	CHECK_OK(T->advise(mem, PAGE, MADV_DONTNEED));
	expect_missing(u, mem);
}

CASE(mprotect_hole, "mprotect(2), ENOMEM")
{
	struct area a = area(3, MISSING, 0);

	CHECK_OK(T->unmap(a.mem + PAGE, PAGE));
	CHECK_EQ(T->protect(a.mem, 3 * PAGE, PROT_READ), -ENOMEM);
	expect_missing(a.u, a.mem);
	CHECK_EQ(poke(a.mem, 1), -SIGSEGV); /* the part before the hole was changed */
}

/* ---- madvise ---- */

CASE(dontneed_makes_missing, "madvise(2), MADV_DONTNEED")
{
	struct area a = area(2, MISSING, 0);

	fill(a.u, a.mem, 2, 5);
	CHECK_OK(T->advise(a.mem, PAGE, MADV_DONTNEED));
	expect_missing(a.u, a.mem);
	CHECK(page_is(a.mem + PAGE, 6));
}

CASE(dontneed_missing_page, "madvise(2), MADV_DONTNEED")
{
	struct area a = area(1, MISSING, 0);

	CHECK_OK(T->advise(a.mem, PAGE, MADV_DONTNEED));
	expect_missing(a.u, a.mem);
}

CASE(dontneed_then_copy, "madvise(2), MADV_DONTNEED")
{
	struct area a = area(1, MISSING, 0);

	for (uint8_t i = 1; i < 10; i++) {
		fill(a.u, a.mem, 1, i);
		CHECK(page_is(a.mem, i));
		CHECK_OK(T->advise(a.mem, PAGE, MADV_DONTNEED));
	}
	expect_missing(a.u, a.mem);
}

CASE(dontneed_after_unregister, "madvise(2), MADV_DONTNEED: a zero page")
{
	struct area a = area(2, MISSING, 0);

	fill(a.u, a.mem, 2, 5);
	CHECK_OK(unreg(a.u, a.mem, 2 * PAGE));
	CHECK_OK(T->advise(a.mem, PAGE, MADV_DONTNEED));
	CHECK(page_is(a.mem, 0));
	CHECK(page_is(a.mem + PAGE, 6));
}

CASE(dontneed_over_the_border, "madvise(2), MADV_DONTNEED")
{
	uint64_t mem = source(2, 1);
	uffd_t u = uffd(0);

	CHECK_OK(reg(u, mem, PAGE, MISSING));
	CHECK_OK(T->advise(mem, 2 * PAGE, MADV_DONTNEED));
	CHECK_EQ(peek(mem + PAGE), 0);
	expect_missing(u, mem);
}

CASE(dontneed_while_waiting, SEEN ": DONTNEED wakes no thread")
{
	struct area a = area(1, MISSING, 0);
	struct touch t;

	touch_start(&t, LOAD, a.mem, 0);
	expect_fault(a.u, a.mem, 0);
	CHECK_OK(T->advise(a.mem, PAGE, MADV_DONTNEED));
	CHECK(touch_waits(&t));
	fill(a.u, a.mem, 1, 5);
	touch_ends_with(&t, 5);
}

CASE(dontneed_zero_page, "madvise(2), MADV_DONTNEED")
{
	struct area a = area(1, MISSING, 0);

	CHECK_OK(zero(a.u, a.mem, PAGE, 0, NULL));
	CHECK_OK(T->advise(a.mem, PAGE, MADV_DONTNEED));
	expect_missing(a.u, a.mem);
}

CASE(dontneed_bad_ranges, "madvise(2), EINVAL, ENOMEM")
{
	struct area a = area(3, MISSING, 0);

	fill(a.u, a.mem, 3, 5);
	CHECK_EQ(T->advise(a.mem + 1, PAGE, MADV_DONTNEED), -EINVAL);
	CHECK_EQ(T->advise(a.mem, PAGE, 12345), -EINVAL);
	CHECK_OK(T->unmap(a.mem + PAGE, PAGE));
	CHECK_EQ(T->advise(a.mem, 3 * PAGE, MADV_DONTNEED), -ENOMEM);
	expect_missing(a.u, a.mem);
	expect_missing(a.u, a.mem + 2 * PAGE);
}

CASE(free_keeps_or_drops, "madvise(2), MADV_FREE: the old contents, or zeroes, and a store ends it")
{
	struct area a = area(1, MISSING, 0);
	struct touch t;

	fill(a.u, a.mem, 1, 5);
	CHECK_OK(T->advise(a.mem, PAGE, MADV_FREE));
	touch_start(&t, STORE, a.mem, 7);
	if (touch_waits(&t)) /* the page was missing again at once */
		fill(a.u, a.mem, 1, 5);
	CHECK_OK(touch_end(&t));
	CHECK_EQ(peek(a.mem), 7);
	CHECK(peek(a.mem + 1) == 5 || peek(a.mem + 1) == 0);
}

CASE(free_missing_page, "madvise(2), MADV_FREE")
{
	struct area a = area(1, MISSING, 0);

	CHECK_OK(T->advise(a.mem, PAGE, MADV_FREE));
	expect_missing(a.u, a.mem);
}

CASE(hugepage_advice, "userfaultfd.rst: missing faults come page by page")
{
	uint64_t huge = 2ull << 20;
	struct area a = area(1536, MISSING, 0);
	uint64_t at = (a.mem + huge - 1) & ~(huge - 1);

	CHECK_OK(T->advise(a.mem, 1536 * PAGE, MADV_HUGEPAGE));
	expect_missing(a.u, at);
	expect_missing(a.u, at + PAGE);
	fill(a.u, at + 2 * PAGE, 1, 7);
	CHECK_EQ(peek(at + 2 * PAGE), 7);
	expect_missing(a.u, at + 3 * PAGE);
}

CASE(hugepage_present, "userfaultfd.rst: huge pages that are there are split where a page is protected")
{
	uint64_t mem = map(1536), huge = 2ull << 20, at = (mem + huge - 1) & ~(huge - 1);
	uffd_t u = uffd(0);

	CHECK_OK(T->advise(mem, 1536 * PAGE, MADV_HUGEPAGE));
	for (unsigned i = 0; i < 512; i++)
		CHECK_EQ(poke(at + i * PAGE, (uint8_t)i), 0);
	CHECK_OK(reg(u, mem, 1536 * PAGE, MISSING | WP));
	CHECK_OK(protect(u, at + 7 * PAGE, PAGE, FL_UFFDIO_WRITEPROTECT_MODE_WP));
	CHECK_EQ(poke(at + 8 * PAGE, 8), 0);
	expect_wp(u, at + 7 * PAGE + 1);
	CHECK_OK(T->advise(at + 9 * PAGE, PAGE, MADV_DONTNEED));
	expect_missing(u, at + 9 * PAGE);
	for (unsigned i = 10; i < 512; i++)
		CHECK_EQ(peek(at + i * PAGE), (uint8_t)i);
}

CASE(other_advice, "madvise(2): hints that change nothing that a program sees")
{
	static const int advice[] = {MADV_NORMAL, MADV_NOHUGEPAGE, MADV_COLD, MADV_DONTDUMP, MADV_DODUMP};
	struct area a = area(2, MISSING, 0);

	fill(a.u, a.mem, 1, 5);
	for (unsigned i = 0; i < sizeof(advice) / sizeof(advice[0]); i++)
		CHECK_OK(T->advise(a.mem, 2 * PAGE, advice[i]));
	CHECK(page_is(a.mem, 5));
	expect_missing(a.u, a.mem + PAGE);
}
