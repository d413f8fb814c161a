/* SPDX-License-Identifier: MIT */
/* protected.c - s4: what is write-protected is never writable, whatever happens to the page. */
#include "address.h"
#include "protect.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

/* Every state an entry can be in, then protected, at both levels. */
static void s4_whatever_it_was(void)
{
	uint64_t at, big, big_len = HUGE;

	open_object(0);
	at = filled(8);
	EXPECT_INT(fl_uffd_register(uffd, at, 8 * PAGE, WP, NULL), 0);
	EXPECT_INT(fl_mm_clear_soft_dirty(mm), 0); /* clean, dirty, read */
	EXPECT_INT(store(at + PAGE, pattern(1)), 0);
	EXPECT_INT(load(at + 2 * PAGE), pattern(2));
	EXPECT_INT(fl_sample_start(mm, at + 3 * PAGE, 2 * PAGE), 0); /* hinted, and touched since */
	EXPECT_INT(load(at + 4 * PAGE), pattern(4));
	EXPECT_INT(protect(at, 8 * PAGE, SET), 0);
	for (unsigned i = 0; i < 8; i++)
		is_protected(at + i * PAGE, pattern(i));
	big = leaf();
	EXPECT_INT(fl_sample_start(mm, big, big_len), 0);
	EXPECT(pte_hint(entry(big)));
	EXPECT_INT(protect(big, HUGE, SET), 0);
	EXPECT(fl_slot_at(mm, big).nr == SMALL && pte_hint(entry(big)));
	is_protected(big + 300 * PAGE, pattern(300));
}

static void s4_huge_page_split(void)
{
	uint64_t at;

	open_object(0);
	at = protected_leaf();
	is_protected(at, pattern(0));
	EXPECT_INT(protect(at + 100 * PAGE, PAGE, 0), 0);
	EXPECT_INT(fl_slot_at(mm, at).nr, 1);
	is_free(at + 100 * PAGE, pattern(100));
	for (unsigned i = 0; i < SMALL; i++)
		if (i != 100)
			is_protected(at + i * PAGE, pattern(i));
}

/* Split by each of the other calls that cut a leaf. */
static void s4_huge_page_cut(void)
{
	uint64_t at;

	open_object(0);
	at = protected_leaf();
	EXPECT_INT(fl_mprotect(mm, at + 10 * PAGE, PAGE, PROT_READ), 0);
	EXPECT_INT(fl_mprotect(mm, at + 10 * PAGE, PAGE, RW), 0);
	is_protected(at + 10 * PAGE, pattern(10));
	at = protected_leaf();
	EXPECT_INT(fl_madvise(mm, at + 20 * PAGE, PAGE, MADV_DONTNEED), 0);
	is_protected(at + 19 * PAGE, pattern(19));
	is_protected(at + 21 * PAGE, pattern(21));
	at = protected_leaf();
	EXPECT_INT(fl_munmap(mm, at + 30 * PAGE, PAGE), 0);
	is_protected(at + 29 * PAGE, pattern(29));
	is_protected(at + 31 * PAGE, pattern(31));
}

static void s4_migration(void)
{
	uint64_t at, big, frame;

	open_object(0);
	at = protected_pages(8);
	frame = pte_pfn(entry(at));
	EXPECT_INT(migrated(mm, at, 8 * PAGE), 8);
	EXPECT(pte_pfn(entry(at)) != frame);
	for (unsigned i = 0; i < 8; i++)
		is_protected(at + i * PAGE, pattern(i));
	big = protected_leaf();
	EXPECT_INT(migrated(mm, big, HUGE), SMALL);
	is_protected(big, pattern(0));
	is_protected(big + HUGE - PAGE, pattern(SMALL - 1));
}

/* Protected and un-protected while it is under migration. */
static void s4_protected_while_migrating(void)
{
	uint64_t at;
	fl_pte_t here;

	open_object(0);
	at = protected_pages(2);
	EXPECT_INT(protect(at, PAGE, 0), 0);
	for (unsigned i = 0; i < 2; i++) {
		fl_pte_t *ptep = fl_pte_offset(mm, at + i * PAGE);

		here = ptep_get(ptep);
		set_pte(ptep, mk_migration_pte(here));
		EXPECT_INT(i ? protect(at + PAGE, PAGE, 0) : protect(at, PAGE, SET), 0);
		EXPECT(pte_migration(ptep_get(ptep)) && pte_uffd_wp(ptep_get(ptep)) == !i);
		set_pte(ptep, pte_present_again(pte_pfn(here), ptep_get(ptep)));
	}
	is_protected(at, pattern(0));
	is_free(at + PAGE, pattern(1));
}

static void s4_swap(void)
{
	uint64_t at, big;

	open_object(0);
	at = protected_pages(8);
	EXPECT_INT(fl_madvise(mm, at, 8 * PAGE, MADV_PAGEOUT), 0);
	for (unsigned i = 0; i < 8; i++)
		EXPECT(pte_swap(entry(at + i * PAGE)) && pte_uffd_wp(entry(at + i * PAGE)));
	for (unsigned i = 0; i < 8; i += 2) /* by a store, and by a load */
		EXPECT_INT(store(at + i * PAGE, 99), SIGBUS);
	for (unsigned i = 0; i < 8; i++)
		is_protected(at + i * PAGE, pattern(i));
	big = protected_leaf();
	EXPECT_INT(fl_madvise(mm, big, HUGE, MADV_PAGEOUT), 0);
	is_protected(big, pattern(0));
	is_protected(big + HUGE - PAGE, pattern(SMALL - 1));
}

static void s4_protected_while_swapped_out(void)
{
	uint64_t at;

	open_object(0);
	at = protected_pages(2);
	EXPECT_INT(protect(at, PAGE, 0), 0);
	EXPECT_INT(fl_madvise(mm, at, 2 * PAGE, MADV_PAGEOUT), 0);
	EXPECT_INT(protect(at, PAGE, SET), 0);
	EXPECT_INT(protect(at + PAGE, PAGE, 0), 0);
	is_protected(at, pattern(0));
	is_free(at + PAGE, pattern(1));
}

static void s4_hint_recovery(void)
{
	uint64_t at, big;

	open_object(0);
	at = protected_pages(8);
	EXPECT_INT(fl_sample_start(mm, at, 8 * PAGE), 0);
	for (unsigned i = 0; i < 8; i++) {
		EXPECT(pte_hint(entry(at + i * PAGE)) && pte_uffd_wp(entry(at + i * PAGE)));
		if (i % 2)
			EXPECT_INT(store(at + i * PAGE, 99), SIGBUS); /* the first access is a store */
		is_protected(at + i * PAGE, pattern(i));
		EXPECT(!pte_hint(entry(at + i * PAGE)));
	}
	EXPECT_INT(protect(at, 8 * PAGE, 0), 0);
	is_free(at + 3 * PAGE, pattern(3));
	big = protected_leaf();
	EXPECT_INT(fl_sample_start(mm, big, HUGE), 0);
	EXPECT(fl_slot_at(mm, big).nr == SMALL && pte_hint(entry(big)));
	is_protected(big + 5 * PAGE, pattern(5));
	EXPECT(!pte_hint(entry(big + 5 * PAGE)));
}

static int child_is_free(uint64_t addr)
{
	for (unsigned i = 0; i < 4; i++) {
		if (load(addr + i * PAGE) != pattern(i) || pte_uffd_wp(entry(addr + i * PAGE)))
			return 1;
		if (store(addr + i * PAGE, 44))
			return 2;
	}
	return fl_mm_check(mm) ? 3 : 0;
}

static void s4_fork(void)
{
	uint64_t at, big;

	open_object(0);
	at = protected_pages(4);
	EXPECT_INT(world->in_child(child_is_free, at), 0);
	for (unsigned i = 0; i < 4; i++)
		is_protected(at + i * PAGE, pattern(i));
	big = protected_leaf();
	EXPECT_INT(world->in_child(child_is_free, big), 0);
	is_protected(big, pattern(0));
	is_protected(big + HUGE - PAGE, pattern(SMALL - 1));
}

/* What is moved is no longer registered; what stays is protected as before, and nothing in between is writable. */
static void s4_mremap(void)
{
	uint64_t at, big, to;

	open_object(0);
	at = protected_pages(8);
	to = map_pages(4);
	EXPECT_INT(remap_addr(mm, at + 2 * PAGE, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to), to);
	is_protected(at + PAGE, pattern(1));
	is_protected(at + 6 * PAGE, pattern(6));
	is_free(to, pattern(2));
	EXPECT_INT(fl_uffd_register(uffd, to, 4 * PAGE, WP, NULL), 0);
	is_free(to + PAGE, pattern(3));
	EXPECT_INT(protect(to, 4 * PAGE, SET), 0);
	is_protected(to + 2 * PAGE, pattern(4));
	big = protected_leaf();
	EXPECT_INT(remap_addr(mm, big + 8 * PAGE, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to), to);
	is_protected(big + 7 * PAGE, pattern(7));
	is_protected(big + 12 * PAGE, pattern(12));
	is_free(to + PAGE, pattern(9));
}

static void s4_mprotect_and_back(void)
{
	static const int prots[] = {PROT_NONE, PROT_READ, RW};
	uint64_t at[2];

	open_object(0);
	at[0] = protected_pages(2);
	at[1] = protected_leaf();
	for (unsigned k = 0; k < 2; k++)
		for (unsigned p = 0; p < 3; p++) {
			EXPECT_INT(fl_mprotect(mm, at[k], k ? HUGE : 2 * PAGE, prots[p]), 0);
			EXPECT(!pte_write(entry(at[k])) && pte_uffd_wp(entry(at[k])));
			EXPECT_INT(fl_mm_check(mm), 0);
		}
	is_protected(at[0], pattern(0));
	is_protected(at[1], pattern(0));
}

const struct protect_case s4_cases[] = {
	CASE(s4_whatever_it_was, ON_BOTH),
	CASE(s4_huge_page_split, ON_BOTH),
	CASE(s4_huge_page_cut, ON_BOTH),
	CASE(s4_migration, ON_SOFT), /* natively pages have homes, and the host swaps behind our back */
	CASE(s4_protected_while_migrating, ON_SOFT),
	CASE(s4_swap, ON_SOFT),
	CASE(s4_protected_while_swapped_out, ON_SOFT),
	CASE(s4_hint_recovery, ON_BOTH),
	CASE(s4_fork, ON_BOTH),
	CASE(s4_mremap, ON_BOTH),
	CASE(s4_mprotect_and_back, ON_BOTH),
	{0},
};
