/* SPDX-License-Identifier: MIT */
/* failures.c - s1: what fails says so, and needs no more memory than necessary. */
#include "protect.h"

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* The number of pages, from the first on, that are protected before the first that is not. */
static uint64_t protected_prefix(uint64_t at, uint64_t pages)
{
	uint64_t n = 0;

	while (n < pages && pte_uffd_wp(entry(at + n * PAGE)))
		n++;
	for (uint64_t i = n; i < pages; i++)
		EXPECT(!pte_uffd_wp(entry(at + i * PAGE)));
	return n;
}

/*
 * Each page-table allocation of the call fails in turn, once or from then on: ENOMEM, nothing on stderr, and
 * protected is what comes before, up to a page-table boundary. With memory the same call succeeds.
 */
static void each_table_fails(uint64_t pages, uint32_t times, uint32_t stride)
{
	int err_file = memfd_create("stderr", 0), saved = dup(2);
	uint32_t n = 0;
	struct stat st;

	dup2(err_file, 2);
	for (;; n += n < 8 ? 1 : stride) {
		uint64_t at = map_pages(pages), done, failures = 0, before;
		int ret;

		EXPECT_INT(fl_uffd_register(uffd, at, pages * PAGE, WP, NULL), 0);
		before = mm->metadata;
		EXPECT_INT(fl_inject_count_of("alloc.pgtable", NULL, &failures), 0);
		EXPECT_INT(fl_inject_set_point("alloc.pgtable", n, times), 0);
		ret = protect(at, pages * PAGE, SET);
		EXPECT_INT(fl_inject_set_point("alloc.pgtable", 0, 0), 0);
		EXPECT_INT(fl_inject_count_of("alloc.pgtable", NULL, &done), 0);
		if (done == failures) { /* all allocations succeeded */
			EXPECT_INT(ret, 0);
			EXPECT(n >= pages / SMALL);
			break;
		}
		EXPECT_INT(ret, -ENOMEM);
		EXPECT_INT(fl_mm_check(mm), 0);
		done = protected_prefix(at, pages);
		EXPECT(done < pages && (!done || (at + done * PAGE) % HUGE == 0));
		EXPECT_INT(protect(at, pages * PAGE, SET), 0);
		EXPECT_INT(protected_prefix(at, pages), pages);
		EXPECT_INT(store(at + (pages - 1) * PAGE, 1), SIGBUS);
		EXPECT_INT(protect(at, pages * PAGE, 0), 0);
		EXPECT_INT(protected_prefix(at, pages), 0);
		EXPECT_INT(fl_munmap(mm, at, pages * PAGE), 0);
		EXPECT(mm->metadata <= before); /* nothing has leaked */
	}
	EXPECT_INT(fstat(err_file, &st), 0);
	dup2(saved, 2);
	EXPECT_INT(st.st_size, 0);
}

static void s1_enomem_of_one_page(void)
{
	open_object(MARKERS);
	each_table_fails(1, 1, 1);
	each_table_fails(1, UINT32_MAX, 1);
}

static void s1_enomem_of_2_mib_and_a_page(void)
{
	open_object(MARKERS);
	each_table_fails(SMALL + 1, 1, 1);
	each_table_fails(SMALL + 1, UINT32_MAX, 1);
}

static void s1_enomem_of_1_gib(void)
{
	open_object(MARKERS);
	each_table_fails(512 * SMALL, 1, 101);
	each_table_fails(512 * SMALL, UINT32_MAX, 101);
}

/* Present pages are protected as far as the call got; the others are unchanged. */
static void s1_populated_pages_before_and_after(void)
{
	uint64_t at, base;

	open_object(MARKERS);
	at = map_pages(4 * SMALL);
	base = (at + HUGE - 1) & ~(HUGE - 1);
	EXPECT_INT(store(base, 1), 0);
	EXPECT_INT(store(base + 2 * HUGE + PAGE, 2), 0);
	EXPECT_INT(fl_uffd_register(uffd, base, 3 * HUGE, WP, NULL), 0);
	EXPECT_INT(fl_inject_set_point("alloc.pgtable", 0, 1), 0); /* the table of the second 2 MiB */
	EXPECT_INT(protect(base, 3 * HUGE, SET), -ENOMEM);
	is_protected(base, 1);
	EXPECT(pte_marker(entry(base + HUGE - PAGE)));
	EXPECT(pte_none(entry(base + HUGE)));
	is_free(base + 2 * HUGE + PAGE, 2);
	EXPECT_INT(protect(base, 3 * HUGE, SET), 0);
	is_protected(base + 2 * HUGE + PAGE, 2);
}

/* What needs no memory does not fail for lack of it: splitting a leaf, un-protecting, dropping. */
static void s1_no_memory_where_none_is_needed(void)
{
	uint64_t at;

	open_object(MARKERS);
	at = leaf();
	EXPECT_INT(fl_inject_set_point("alloc.pgtable", 0, UINT32_MAX), 0);
	EXPECT_INT(protect(at + 5 * PAGE, PAGE, SET), 0);
	EXPECT_INT(fl_slot_at(mm, at).nr, 1);
	is_protected(at + 5 * PAGE, pattern(5));
	EXPECT_INT(fl_madvise(mm, at + 7 * PAGE, PAGE, MADV_DONTNEED), 0);
	EXPECT_INT(protect(at, HUGE, 0), 0);
	EXPECT_INT(load(at + 5 * PAGE), pattern(5));
	EXPECT_INT(load(at + 7 * PAGE), 0);
}

const struct protect_case s1_cases[] = {
	CASE(s1_enomem_of_one_page, ON_BOTH),
	CASE(s1_enomem_of_2_mib_and_a_page, ON_BOTH),
	CASE(s1_enomem_of_1_gib, ON_BOTH),
	CASE(s1_populated_pages_before_and_after, ON_BOTH),
	CASE(s1_no_memory_where_none_is_needed, ON_BOTH),
	{0},
};
