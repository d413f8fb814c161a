/* SPDX-License-Identifier: MIT */
/*
 * data.c - memory that holds data when it is registered for missing faults: what is there stays, page by page and
 * across many 2 MiB, whether it is touched, filled beside, protected, dropped, inherited, given back or never used.
 */
#include "conformance.h"

#include <sys/wait.h>
#include <unistd.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

#define THERE "userfaultfd(2): a missing fault is for a page that is not there"
#define SEEN  "kernel 6.18, observed"
#define SET   FL_UFFDIO_WRITEPROTECT_MODE_WP
#define MB2   512u /* pages in 2 MiB */
#define SPAN  (3 * MB2 + 7)

static uint8_t value(unsigned page)
{
	return (uint8_t)(1 + page % 200);
}

/* Some pages at the borders of each 2 MiB, and none between. */
static bool has_data(unsigned page)
{
	return page % MB2 < 3 || page % MB2 > MB2 - 3 || page == SPAN - 1;
}

static uint64_t with_data(unsigned pages)
{
	uint64_t mem = map(pages);

	for (unsigned i = 0; i < pages; i++)
		if (pages < MB2 || has_data(i))
			CHECK_EQ(poke(mem + i * PAGE, value(i)), 0);
	return mem;
}

/* All of it holds data, or, if it is long, some pages do. Registered. */
static struct area data(unsigned pages, uint64_t mode)
{
	struct area a = {.u = uffd(FL_UFFD_FEATURE_PAGEFAULT_FLAG_WP), .mem = with_data(pages)};

	CHECK_OK(reg(a.u, a.mem, pages * PAGE, mode));
	return a;
}

static void all_there(uint64_t mem, unsigned pages)
{
	for (unsigned i = 0; i < pages; i++)
		if (pages < MB2 || has_data(i))
			CHECK_EQ(peek(mem + i * PAGE), value(i));
}

/* expect_wp(), which stores to it. */
static void expect_protected(struct area *a, unsigned page)
{
	CHECK_EQ(peek(a->mem + page * PAGE), value(page));
	expect_wp(a->u, a->mem + page * PAGE);
	CHECK_EQ(poke(a->mem + page * PAGE, value(page)), 0);
}

CASE(data_is_read_and_written, THERE)
{
	struct area a = data(SPAN, MISSING);

	all_there(a.mem, SPAN);
	for (unsigned i = 0; i < SPAN; i++)
		if (has_data(i))
			CHECK_EQ(poke(a.mem + i * PAGE, value(i + 1)), 0);
	CHECK(quiet(a.u));
	expect_missing(a.u, a.mem + 100 * PAGE);
	expect_missing(a.u, a.mem + (2 * MB2 + 100) * PAGE);
	for (unsigned i = 0; i < SPAN; i++)
		if (has_data(i))
			CHECK_EQ(peek(a.mem + i * PAGE), value(i + 1));
}

CASE(data_is_not_filled_over, "ioctl_userfaultfd(2) UFFDIO_COPY, EEXIST")
{
	struct area a = data(SPAN, MISSING);
	int64_t n;

	CHECK_EQ(copy(a.u, a.mem + MB2 * PAGE, source(1, 9), PAGE, 0, &n), -EEXIST);
	CHECK_EQ(n, -EEXIST);
	CHECK_EQ(zero(a.u, a.mem + PAGE, PAGE, 0, &n), -EEXIST);
	CHECK_EQ(copy(a.u, a.mem + 3 * PAGE, source(1, 9), PAGE, 0, &n), 0);
	CHECK_EQ(peek(a.mem + 3 * PAGE), 9);
	all_there(a.mem, SPAN);
}

/* From the holes of one 2 MiB into those of the next, up to the data. */
CASE(data_ends_a_fill, "ioctl_userfaultfd(2) UFFDIO_COPY: as many bytes as were copied")
{
	struct area a = data(SPAN, MISSING);
	int64_t n;

	CHECK_EQ(zero(a.u, a.mem + 10 * PAGE, (MB2 + 20) * PAGE, 0, &n), -EAGAIN);
	CHECK_EQ(n, (int64_t)((MB2 - 2 - 10) * PAGE));
	CHECK_EQ(peek(a.mem + (MB2 - 3) * PAGE), 0);
	all_there(a.mem, SPAN);
}

CASE(data_of_one_page, THERE)
{
	uint64_t mem = with_data(5);
	uffd_t u = uffd(0);

	CHECK_OK(reg(u, mem + 2 * PAGE, PAGE, MISSING));
	all_there(mem, 5);
	CHECK_OK(T->advise(mem + 2 * PAGE, PAGE, MADV_DONTNEED));
	expect_missing(u, mem + 2 * PAGE);
	CHECK_OK(unreg(u, mem + 2 * PAGE, PAGE));
	CHECK_EQ(poke(mem + 2 * PAGE, value(2)), 0);
	all_there(mem, 5);
}

/* Two objects, and memory of neither, in the same 2 MiB. */
CASE(data_of_neighbours, THERE)
{
	uint64_t mem = with_data(9);
	uffd_t u = uffd(0), v = uffd(0);

	CHECK_OK(reg(u, mem + PAGE, 3 * PAGE, MISSING));
	CHECK_OK(reg(v, mem + 5 * PAGE, 3 * PAGE, MISSING));
	CHECK_EQ(peek(mem + 2 * PAGE), value(2));
	CHECK_OK(unreg(u, mem + PAGE, 3 * PAGE));
	all_there(mem, 9);
	CHECK_OK(T->advise(mem, 9 * PAGE, MADV_DONTNEED));
	expect_missing(v, mem + 6 * PAGE);
	CHECK_EQ(peek(mem + 2 * PAGE), 0);
}

CASE(data_comes_back_untouched, "ioctl_userfaultfd(2) UFFDIO_UNREGISTER")
{
	struct area a = data(SPAN, MISSING);

	CHECK_OK(unreg(a.u, a.mem, SPAN * PAGE));
	all_there(a.mem, SPAN);
	CHECK_EQ(peek(a.mem + 100 * PAGE), 0);
	CHECK_EQ(poke(a.mem + 200 * PAGE, 7), 0);
	CHECK_EQ(peek(a.mem + 200 * PAGE), 7);
}

CASE(data_comes_back_in_part, "ioctl_userfaultfd(2) UFFDIO_UNREGISTER")
{
	struct area a = data(SPAN, MISSING);

	CHECK_EQ(poke(a.mem + MB2 * PAGE, value(MB2)), 0);
	fill(a.u, a.mem + (2 * MB2 + 50) * PAGE, 2, 9);
	CHECK_OK(unreg(a.u, a.mem + PAGE, (MB2 + 1) * PAGE));
	all_there(a.mem, SPAN);
	expect_missing(a.u, a.mem + (2 * MB2 + 60) * PAGE);
	CHECK_OK(unreg(a.u, a.mem, SPAN * PAGE));
	all_there(a.mem, SPAN);
	CHECK_EQ(peek(a.mem + (2 * MB2 + 51) * PAGE), 10);
	CHECK_OK(reg(a.u, a.mem, SPAN * PAGE, MISSING));
	all_there(a.mem, SPAN);
	CHECK_EQ(peek(a.mem + (2 * MB2 + 51) * PAGE), 10);
}

CASE(data_after_close, "userfaultfd(2): closing unregisters")
{
	struct area a = data(SPAN, MISSING);

	CHECK_EQ(peek(a.mem), value(0));
	CHECK_OK(T->close(a.u));
	all_there(a.mem, SPAN);
	CHECK_EQ(peek(a.mem + 100 * PAGE), 0);
}

CASE(data_in_pagemap, "Documentation/admin-guide/mm/pagemap.rst")
{
	struct area a = data(SPAN, MISSING);

	CHECK(words_are(a.mem, 3, W_OWN));
	CHECK(words_are(a.mem + 100 * PAGE, 3, W_NONE));
	CHECK_EQ(peek(a.mem), value(0));
	CHECK(words_are(a.mem, 3, W_OWN));
	CHECK(words_are(a.mem + 3 * PAGE, 3, W_NONE));
	CHECK(words_are(a.mem + MB2 * PAGE, 3, W_OWN));
	CHECK_OK(unreg(a.u, a.mem, SPAN * PAGE));
	CHECK(words_are(a.mem + MB2 * PAGE, 3, W_OWN));
}

CASE(data_that_was_only_read, SEEN)
{
	struct area a = {.u = uffd(0), .mem = map(3)};
	int64_t n;

	CHECK_EQ(peek(a.mem), 0);
	CHECK_EQ(poke(a.mem + 2 * PAGE, 3), 0);
	CHECK_OK(reg(a.u, a.mem, 3 * PAGE, MISSING));
	CHECK(words_are(a.mem, 1, w_loaded_before()));
	CHECK_EQ(zero(a.u, a.mem, PAGE, 0, &n), -EEXIST);
	CHECK_EQ(peek(a.mem), 0);
	CHECK_EQ(poke(a.mem, 4), 0);
	expect_missing(a.u, a.mem + PAGE);
}

CASE(data_dropped_is_missing, "madvise(2) MADV_DONTNEED; userfaultfd(2)")
{
	struct area a = data(SPAN, MISSING);

	CHECK_OK(T->advise(a.mem + PAGE, 2 * PAGE, MADV_DONTNEED));
	CHECK_OK(T->advise(a.mem + MB2 * PAGE, MB2 * PAGE, MADV_DONTNEED));
	CHECK(words_are(a.mem + PAGE, 2, W_NONE));
	CHECK_EQ(peek(a.mem), value(0));
	expect_missing(a.u, a.mem + PAGE);
	expect_missing(a.u, a.mem + MB2 * PAGE);
	CHECK_OK(T->advise(a.mem, PAGE, MADV_DONTNEED));
	expect_missing(a.u, a.mem);
	CHECK_EQ(peek(a.mem + 2 * MB2 * PAGE), value(2 * MB2));
}

CASE(data_dropped_comes_back_empty, "madvise(2) MADV_DONTNEED")
{
	struct area a = data(SPAN, MISSING);

	CHECK_OK(T->advise(a.mem, MB2 * PAGE, MADV_DONTNEED));
	CHECK_OK(unreg(a.u, a.mem, SPAN * PAGE));
	CHECK_EQ(peek(a.mem), 0);
	CHECK_EQ(peek(a.mem + MB2 * PAGE), value(MB2));
}

/* Every page is there, so that nothing could be missing; and then some are dropped. */
CASE(data_everywhere_dropped, "madvise(2) MADV_DONTNEED; userfaultfd(2)")
{
	uint64_t mem = map(3 * MB2);
	uffd_t u = uffd(0);

	for (unsigned i = 0; i < 3 * MB2; i++)
		CHECK_EQ(poke(mem + i * PAGE, value(i)), 0);
	CHECK_OK(reg(u, mem, 3 * MB2 * PAGE, MISSING));
	CHECK_EQ(peek(mem + MB2 * PAGE), value(MB2));
	CHECK_OK(T->advise(mem + (MB2 + 5) * PAGE, MB2 * PAGE, MADV_DONTNEED));
	expect_missing(u, mem + (MB2 + 5) * PAGE);
	expect_missing(u, mem + (2 * MB2 + 4) * PAGE);
	CHECK_EQ(peek(mem + (MB2 + 4) * PAGE), value(MB2 + 4));
	CHECK_EQ(peek(mem + (2 * MB2 + 5) * PAGE), value(2 * MB2 + 5));
	CHECK_OK(unreg(u, mem, 3 * MB2 * PAGE));
	for (unsigned i = 0; i < 3 * MB2; i++)
		if (i < MB2 + 5 || i >= 2 * MB2 + 5)
			CHECK_EQ(peek(mem + i * PAGE), value(i));
}

CASE(data_write_protected, "userfaultfd(2): both modes")
{
	struct area a = data(SPAN, MISSING | WP);

	CHECK_OK(protect(a.u, a.mem, SPAN * PAGE, SET));
	CHECK(words_are(a.mem, 3, W_PROTECTED));
	CHECK(words_are(a.mem + 3 * PAGE, 1, W_NONE));
	all_there(a.mem, SPAN);
	expect_protected(&a, 1);
	expect_missing(a.u, a.mem + 3 * PAGE);
	expect_protected(&a, 2 * MB2 + 1);
	CHECK_OK(protect(a.u, a.mem, SPAN * PAGE, 0));
	CHECK_EQ(poke(a.mem + MB2 * PAGE, value(MB2)), 0);
	CHECK(quiet(a.u));
	all_there(a.mem, SPAN);
}

/* A few pages are un-protected at once, and must not become writable before their neighbours are known. */
CASE(data_unprotected_beside_a_hole, "userfaultfd(2): both modes")
{
	struct area a = data(SPAN, MISSING | WP);

	CHECK_OK(protect(a.u, a.mem, 2 * PAGE, SET));
	CHECK_OK(protect(a.u, a.mem, 2 * PAGE, 0));
	expect_missing(a.u, a.mem + 3 * PAGE);
	CHECK_EQ(poke(a.mem, value(0)), 0);
	all_there(a.mem, SPAN);
}

/* Registered for one, then for both: what is protected stays so. */
CASE(data_protected_then_both, SEEN)
{
	struct area a = data(SPAN, WP);

	CHECK_OK(protect(a.u, a.mem, PAGE, SET));
	CHECK_OK(reg(a.u, a.mem, SPAN * PAGE, MISSING | WP));
	CHECK(words_are(a.mem, 1, W_PROTECTED));
	expect_missing(a.u, a.mem + 3 * PAGE);
	expect_protected(&a, 0);
	all_there(a.mem, SPAN);
}

CASE(data_both_then_protected, SEEN)
{
	struct area a = data(SPAN, MISSING);

	CHECK_EQ(peek(a.mem), value(0));
	CHECK_OK(reg(a.u, a.mem, SPAN * PAGE, WP));
	CHECK_EQ(peek(a.mem + 3 * PAGE), 0);
	CHECK_EQ(peek(a.mem + (MB2 + 3) * PAGE), 0);
	CHECK_OK(protect(a.u, a.mem, SPAN * PAGE, SET));
	expect_protected(&a, MB2);
	all_there(a.mem, SPAN);
}

/* A fill is for any registration. */
CASE(data_filled_beside_protected, "ioctl_userfaultfd(2) UFFDIO_COPY")
{
	struct area a = data(SPAN, WP);
	int64_t n;

	CHECK_OK(protect(a.u, a.mem + PAGE, PAGE, SET));
	CHECK_OK(copy(a.u, a.mem + 3 * PAGE, source(2, 50), 2 * PAGE, 0, &n));
	CHECK_EQ(copy(a.u, a.mem + PAGE, source(1, 50), PAGE, 0, &n), -EEXIST);
	CHECK_OK(copy(a.u, a.mem + (MB2 + 9) * PAGE, source(1, 60), PAGE, FL_UFFDIO_COPY_MODE_WP, &n));
	CHECK_EQ(peek(a.mem + 4 * PAGE), 51);
	CHECK(words_are(a.mem + PAGE, 1, W_PROTECTED));
	expect_protected(&a, 1);
	expect_wp(a.u, a.mem + (MB2 + 9) * PAGE);
	CHECK_EQ(poke(a.mem + 7 * PAGE, 1), 0);
	CHECK_EQ(peek(a.mem + 8 * PAGE), 0);
	CHECK(quiet(a.u));
	all_there(a.mem, SPAN);
}

CASE(data_read_only, "mprotect(2)")
{
	struct area a = data(SPAN, MISSING);

	CHECK_OK(T->protect(a.mem + PAGE, MB2 * PAGE, PROT_READ));
	CHECK_EQ(poke(a.mem + PAGE, 1), -SIGSEGV);
	CHECK_EQ(peek(a.mem + PAGE), value(1));
	CHECK_EQ(poke(a.mem, value(0)), 0);
	expect_missing(a.u, a.mem + 3 * PAGE);
	CHECK_OK(unreg(a.u, a.mem, SPAN * PAGE));
	CHECK_EQ(poke(a.mem + MB2 * PAGE, 1), -SIGSEGV);
	CHECK_EQ(poke(a.mem + (MB2 + 1) * PAGE, value(MB2 + 1)), 0);
	CHECK_EQ(poke(a.mem + 2 * MB2 * PAGE, value(2 * MB2)), 0);
	all_there(a.mem, SPAN);
}

CASE(data_registered_without_rights, "mprotect(2)")
{
	uint64_t mem = with_data(SPAN);
	uffd_t u = uffd(0);

	CHECK_OK(T->protect(mem, SPAN * PAGE, PROT_NONE));
	CHECK_OK(reg(u, mem, SPAN * PAGE, MISSING));
	CHECK_EQ(peek(mem), -SIGSEGV);
	CHECK_OK(T->protect(mem, MB2 * PAGE, RW));
	CHECK_EQ(peek(mem), value(0));
	CHECK_EQ(peek(mem + MB2 * PAGE), -SIGSEGV);
	CHECK_OK(unreg(u, mem, SPAN * PAGE));
	CHECK_EQ(peek(mem + MB2 * PAGE), -SIGSEGV);
	CHECK_OK(T->protect(mem, SPAN * PAGE, RW));
	all_there(mem, SPAN);
}

CASE(data_unmapped_in_part, "munmap(2)")
{
	struct area a = data(SPAN, MISSING);

	CHECK_OK(T->unmap(a.mem + 2 * PAGE, (MB2 - 2) * PAGE));
	CHECK_EQ(peek(a.mem + 2 * PAGE), -SIGSEGV);
	CHECK_EQ(peek(a.mem + PAGE), value(1));
	CHECK_EQ(peek(a.mem + MB2 * PAGE), value(MB2));
	CHECK_OK(T->unmap(a.mem + (MB2 + 1) * PAGE, PAGE));
	CHECK_EQ(T->map(a.mem + (MB2 + 1) * PAGE, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED),
		 (int64_t)(a.mem + (MB2 + 1) * PAGE));
	CHECK_EQ(peek(a.mem + (MB2 + 1) * PAGE), 0);
	CHECK_EQ(peek(a.mem + (MB2 + 2) * PAGE), value(MB2 + 2));
	CHECK_EQ(peek(a.mem + 2 * MB2 * PAGE), value(2 * MB2));
}

static uint64_t moved(struct area *a, int flags)
{
	uint64_t to = map(SPAN);
	int64_t ret;

	ret = T->remap(a->mem, SPAN * PAGE, SPAN * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED | flags, to);
	CHECK_EQ(ret, (int64_t)to);
	return to;
}

CASE(data_moved, "mremap(2); without EVENT_REMAP no registration follows")
{
	struct area a = data(SPAN, MISSING);
	uint64_t to = moved(&a, 0);

	all_there(to, SPAN);
	CHECK_EQ(peek(to + 100 * PAGE), 0);
	CHECK_EQ(peek(a.mem), -SIGSEGV);
	CHECK(quiet(a.u));
}

CASE(data_moved_half_touched, "mremap(2)")
{
	struct area a = data(SPAN, MISSING);
	uint64_t to;

	CHECK_EQ(poke(a.mem + MB2 * PAGE, value(MB2)), 0);
	to = moved(&a, 0);
	all_there(to, SPAN);
	CHECK_EQ(peek(to + (MB2 + 100) * PAGE), 0);
	CHECK(quiet(a.u));
}

CASE(data_moved_and_left_mapped, "mremap(2) MREMAP_DONTUNMAP")
{
	struct area a = data(SPAN, MISSING);
	uint64_t to = moved(&a, MREMAP_DONTUNMAP);

	all_there(to, SPAN);
	expect_missing(a.u, a.mem);
}

CASE(data_collapsed, "madvise(2) MADV_COLLAPSE: EBUSY where pages are missing in registered memory")
{
	uint64_t mem = map(4 * MB2), piece = (mem + MB2 * PAGE - 1) & ~(MB2 * PAGE - 1);
	uffd_t u = uffd(0);
	int ret;

	for (unsigned i = 0; i < 2 * MB2; i++)
		CHECK_EQ(poke(piece + i * PAGE, value(i)), 0);
	CHECK_OK(T->advise(piece + 9 * PAGE, PAGE, MADV_DONTNEED));
	CHECK_OK(reg(u, mem, 4 * MB2 * PAGE, MISSING));
	ret = T->advise(piece, MB2 * PAGE, MADV_COLLAPSE);
	if (ret == -EINVAL)
		skip("no MADV_COLLAPSE");
	CHECK_EQ(ret, -EBUSY);
	CHECK_OK(T->advise(piece + MB2 * PAGE, MB2 * PAGE, MADV_COLLAPSE));
	CHECK_EQ(peek(piece + (MB2 + 9) * PAGE), value(MB2 + 9));
	CHECK_EQ(peek(piece + 8 * PAGE), value(8));
	expect_missing(u, piece + 9 * PAGE);
}

CASE(data_as_a_source, "ioctl_userfaultfd(2) UFFDIO_COPY")
{
	struct area a = data(SPAN, MISSING);
	int64_t n;

	CHECK_OK(copy(a.u, a.mem + 10 * PAGE, a.mem + 2 * MB2 * PAGE, PAGE, 0, &n));
	CHECK_EQ(peek(a.mem + 10 * PAGE), value(2 * MB2));
	all_there(a.mem, SPAN);
}

CASE(data_for_system_calls, "userfaultfd(2): system calls fault, too")
{
	struct area a = data(SPAN, MISSING);
	uint8_t byte = 5;

	CHECK_EQ(T->kernel_write(a.mem + MB2 * PAGE, &byte, 1), 0);
	CHECK_EQ(peek(a.mem + MB2 * PAGE), 5);
	byte = 0;
	CHECK_EQ(T->kernel_read(a.mem + PAGE, &byte, 1), 0);
	CHECK_EQ(byte, value(1));
	CHECK_EQ(peek(a.mem + 2 * MB2 * PAGE), value(2 * MB2));
}

CASE(data_and_soft_dirty, "Documentation/admin-guide/mm/soft-dirty.rst")
{
	struct area a = data(SPAN, MISSING);

	if (T->clear_refs())
		skip("no soft-dirty");
	if (!soft_dirty(a.mem) && poke(a.mem, value(0)) == 0 && !soft_dirty(a.mem))
		skip("no soft-dirty");
	CHECK_OK(T->clear_refs());
	CHECK(!soft_dirty(a.mem) && !soft_dirty(a.mem + MB2 * PAGE));
	CHECK_EQ(peek(a.mem + MB2 * PAGE), value(MB2));
	CHECK(!soft_dirty(a.mem + MB2 * PAGE));
	CHECK_EQ(poke(a.mem + MB2 * PAGE, value(MB2)), 0);
	CHECK(soft_dirty(a.mem + MB2 * PAGE) && !soft_dirty(a.mem + (MB2 + 1) * PAGE));
	all_there(a.mem, SPAN);
}

/* ---- processes ---- */

static void in_child(void (*run)(struct area *), struct area *a)
{
	pid_t pid = fork();
	int status;

	CHECK(pid >= 0);
	if (!pid) {
		alarm(CHILD_S);
		run(a);
		_exit(0);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
}

static void sees_it(struct area *a)
{
	all_there(a->mem, SPAN);
	CHECK_EQ(peek(a->mem + 100 * PAGE), 0);
	CHECK_EQ(poke(a->mem, 77), 0);
	CHECK_EQ(poke(a->mem + (MB2 + 200) * PAGE, 77), 0);
	CHECK_EQ(peek(a->mem), 77);
}

CASE_ON(data_inherited, ON_LIBC, PROCESS, "userfaultfd(2): without EVENT_FORK the child's memory is its own")
{
	struct area a = data(SPAN, MISSING);

	in_child(sees_it, &a);
	all_there(a.mem, SPAN);
	expect_missing(a.u, a.mem + (MB2 + 200) * PAGE);
}

CASE_ON(data_inherited_half_touched, ON_LIBC, PROCESS, "as before")
{
	struct area a = data(SPAN, MISSING);

	CHECK_EQ(poke(a.mem + MB2 * PAGE, value(MB2)), 0);
	in_child(sees_it, &a);
	in_child(sees_it, &a);
	all_there(a.mem, SPAN);
	expect_missing(a.u, a.mem + 100 * PAGE);
	expect_missing(a.u, a.mem + (MB2 + 200) * PAGE);
	CHECK_OK(unreg(a.u, a.mem, SPAN * PAGE));
	in_child(sees_it, &a);
	all_there(a.mem, SPAN);
}

static void has_none(struct area *a)
{
	CHECK_EQ(peek(a->mem), -SIGSEGV);
	CHECK_EQ(peek(a->mem + MB2 * PAGE), 0);
	CHECK_EQ(peek(a->mem + 2 * MB2 * PAGE), value(2 * MB2));
}

CASE_ON(data_not_inherited, ON_LIBC, PROCESS, "madvise(2) MADV_DONTFORK, MADV_WIPEONFORK")
{
	struct area a = data(SPAN, MISSING);

	CHECK_OK(T->advise(a.mem, MB2 * PAGE, MADV_DONTFORK));
	CHECK_OK(T->advise(a.mem + MB2 * PAGE, MB2 * PAGE, MADV_WIPEONFORK));
	in_child(has_none, &a);
	CHECK_EQ(peek(a.mem + PAGE), value(1));
	in_child(has_none, &a);
	all_there(a.mem, SPAN);
	CHECK_OK(unreg(a.u, a.mem, SPAN * PAGE));
	in_child(has_none, &a);
	all_there(a.mem, SPAN);
}
