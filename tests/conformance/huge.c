/* SPDX-License-Identifier: MIT */
/*
 * huge.c - registered memory that a kernel backs with transparent huge pages. Whether it does is not checked: the
 * result must look the same.
 */
#include <sys/wait.h>
#include <unistd.h>

#include "huge.h"

#define SEEN "kernel 6.18, observed"

/* An aligned 2 MiB, populated, registered. */
static struct area huge(uint64_t mode)
{
	struct area a = {uffd(0), map_huge(1)};

	T->advise(a.mem - HUGE / 2, 2 * HUGE, MADV_HUGEPAGE); /* EINVAL where the kernel has none */
	populate(a.mem, 0, SMALL);
	CHECK_OK(reg(a.u, a.mem, HUGE, mode));
	return a;
}

static struct area huge_protected(uint64_t mode)
{
	struct area a = huge(mode);

	CHECK_OK(protect(a.u, a.mem, HUGE, SET));
	return a;
}

/* ---- protection ---- */

CASE(huge_words, SEEN ": each page is its own, protected or not")
{
	struct area a = huge(WP);

	CHECK(words_are(a.mem, SMALL, W_OWN));
	CHECK_OK(protect(a.u, a.mem, HUGE, SET));
	CHECK(words_are(a.mem, SMALL, W_PROTECTED));
	CHECK_OK(protect(a.u, a.mem, HUGE, 0));
	CHECK(words_are(a.mem, SMALL, W_OWN));
	CHECK(holds(a.mem, 0, SMALL));
}

CASE(huge_store_names_the_page, SEEN ": the message has the address of the page, not of the huge one")
{
	struct area a = huge_protected(WP);

	expect_wp(a.u, a.mem + 300 * PAGE + 77);
	expect_wp(a.u, a.mem + (SMALL - 1) * PAGE + 1);
	CHECK(quiet(a.u));
}

CASE(huge_one_page_resolved, SEEN ": the other 511 stay protected, and what they hold")
{
	struct area a = huge_protected(WP);

	expect_wp(a.u, a.mem + 5 * PAGE + 9);
	CHECK(protected_but(a.mem, 5, 6));
	CHECK(holds(a.mem, 0, SMALL));
	CHECK_EQ(poke(a.mem + 5 * PAGE, 1), 0);
	CHECK(quiet(a.u));
	expect_wp(a.u, a.mem + 4 * PAGE);
	expect_wp(a.u, a.mem + 6 * PAGE);
}

CASE(huge_every_page_alone, SEEN ": 512 stores, 512 messages")
{
	struct area a = huge_protected(BOTH);

	for (unsigned i = 0; i < SMALL; i++) {
		uint64_t page = a.mem + (i * 5 % SMALL) * PAGE; /* in another order */
		struct touch t;

		touch_start(&t, STORE, page + 1, 0xaa);
		expect_fault(a.u, page, TRAPPED);
		CHECK_OK(protect(a.u, page, PAGE, 0));
		CHECK_OK(touch_end(&t));
		CHECK_EQ(word(page), W_OWN);
	}
	CHECK(quiet(a.u));
	CHECK(words_are(a.mem, SMALL, W_OWN));
	CHECK(holds(a.mem, 0, SMALL));
}

CASE(huge_loads_pass, SEEN)
{
	struct area a = huge_protected(BOTH);

	CHECK(holds(a.mem, 0, SMALL));
	CHECK(quiet(a.u));
	CHECK(words_are(a.mem, SMALL, W_PROTECTED));
}

CASE(huge_protect_part, SEEN)
{
	struct area a = huge(WP);

	CHECK_OK(protect(a.u, a.mem + 10 * PAGE, 3 * PAGE, SET));
	CHECK(words_are(a.mem, 10, W_OWN));
	CHECK(words_are(a.mem + 10 * PAGE, 3, W_PROTECTED));
	CHECK(words_are(a.mem + 13 * PAGE, SMALL - 13, W_OWN));
	CHECK_EQ(poke(a.mem + 9 * PAGE + 1, 1), 0);
	CHECK_EQ(poke(a.mem + 13 * PAGE + 1, 1), 0);
	CHECK(quiet(a.u));
	expect_wp(a.u, a.mem + 12 * PAGE + 1);
	CHECK(holds(a.mem, 0, SMALL));
}

CASE(huge_unprotect_part, SEEN)
{
	struct area a = huge_protected(WP);

	CHECK_OK(protect(a.u, a.mem + 100 * PAGE, 50 * PAGE, 0));
	CHECK(protected_but(a.mem, 100, 150));
	CHECK(holds(a.mem, 0, SMALL));
}

CASE(huge_unprotect_all, SEEN ": every store passes, no message")
{
	struct area a = huge_protected(WP);

	expect_wp(a.u, a.mem + 7 * PAGE + 1);
	CHECK_OK(protect(a.u, a.mem, HUGE, 0));
	CHECK(words_are(a.mem, SMALL, W_OWN));
	for (unsigned i = 0; i < SMALL; i++)
		CHECK_EQ(poke(a.mem + i * PAGE + 1, 1), 0);
	CHECK(quiet(a.u));
	CHECK(holds(a.mem, 0, SMALL));
}

CASE(huge_protect_across_the_edge, SEEN ": half of one and half of the next")
{
	struct area a = {uffd(0), map_huge(2)};

	T->advise(a.mem - HUGE / 2, 3 * HUGE, MADV_HUGEPAGE);
	populate(a.mem, 0, 2 * SMALL);
	CHECK_OK(reg(a.u, a.mem, 2 * HUGE, WP));
	CHECK_OK(protect(a.u, a.mem + HUGE / 2, HUGE, SET));
	CHECK(words_are(a.mem, SMALL / 2, W_OWN));
	CHECK(words_are(a.mem + HUGE / 2, SMALL, W_PROTECTED));
	CHECK(words_are(a.mem + HUGE + HUGE / 2, SMALL / 2, W_OWN));
	CHECK(holds(a.mem, 0, 2 * SMALL));
}

CASE(huge_kernel_write, SEEN ": a system call that writes is trapped")
{
	struct area a = huge_protected(WP);
	struct touch t;

	touch_start(&t, KERNEL_WRITE, a.mem + 9 * PAGE + 4, 7);
	expect_fault(a.u, a.mem + 9 * PAGE, TRAPPED);
	CHECK_OK(protect(a.u, a.mem + 9 * PAGE, PAGE, 0));
	CHECK_OK(touch_end(&t));
	CHECK_EQ(peek(a.mem + 9 * PAGE + 4), 7);
	CHECK(protected_but(a.mem, 9, 10));
}

CASE(huge_zero_pages, SEEN ": pages that were only loaded can be protected, each alone")
{
	struct area a = {uffd(0), map_huge(1)};

	T->advise(a.mem - HUGE / 2, 2 * HUGE, MADV_HUGEPAGE);
	for (unsigned i = 0; i < SMALL; i++)
		CHECK_EQ(peek(a.mem + i * PAGE), 0);
	CHECK_OK(reg(a.u, a.mem, HUGE, WP));
	CHECK_OK(protect(a.u, a.mem, HUGE, SET));
	expect_wp(a.u, a.mem + 9 * PAGE + 1);
	CHECK_EQ(peek(a.mem + 9 * PAGE), 0);
	CHECK_EQ(word(a.mem + 9 * PAGE), W_OWN);
	for (unsigned i = 0; i < SMALL; i++) /* bit 61 is set on a huge zero page */
		CHECK_EQ(word(a.mem + i * PAGE) & (FL_PM_PRESENT | FL_PM_UFFD_WP),
			 i == 9 ? FL_PM_PRESENT : FL_PM_PRESENT | FL_PM_UFFD_WP);
}

/* ---- missing pages ---- */

CASE(huge_copy_exists, "ioctl_userfaultfd(2) UFFDIO_COPY, UFFDIO_ZEROPAGE, EEXIST")
{
	struct area a = huge(BOTH);

	CHECK_EQ(copy(a.u, a.mem + 7 * PAGE, source(1, 9), PAGE, 0, NULL), -EEXIST);
	CHECK_EQ(zero(a.u, a.mem + 7 * PAGE, PAGE, 0, NULL), -EEXIST);
	CHECK_OK(protect(a.u, a.mem, HUGE, SET));
	CHECK_EQ(copy(a.u, a.mem + 8 * PAGE, source(1, 9), PAGE, 0, NULL), -EEXIST);
	CHECK_EQ(zero(a.u, a.mem + 8 * PAGE, PAGE, 0, NULL), -EEXIST);
	CHECK(words_are(a.mem, SMALL, W_PROTECTED));
	CHECK(holds(a.mem, 0, SMALL));
}

CASE(huge_missing_is_by_the_page, SEEN ": MADV_HUGEPAGE fills no page that is not asked for")
{
	struct area a = {uffd(0), map_huge(1)};

	T->advise(a.mem - HUGE / 2, 2 * HUGE, MADV_HUGEPAGE);
	CHECK_OK(reg(a.u, a.mem, HUGE, MISSING));
	expect_missing(a.u, a.mem + 3 * PAGE);
	fill(a.u, a.mem + 4 * PAGE, 1, 9);
	CHECK(words_are(a.mem, 3, W_NONE));
	CHECK_EQ(word(a.mem + 3 * PAGE), W_ZERO);
	CHECK_EQ(word(a.mem + 4 * PAGE), W_OWN);
	CHECK(words_are(a.mem + 5 * PAGE, SMALL - 5, W_NONE));
	expect_missing(a.u, a.mem + 5 * PAGE);
}

CASE(huge_unpopulated, SEEN ": UFFD_FEATURE_WP_UNPOPULATED, and a load makes one page")
{
	struct area a = {uffd(FL_UFFD_FEATURE_WP_UNPOPULATED), map_huge(1)};

	T->advise(a.mem - HUGE / 2, 2 * HUGE, MADV_HUGEPAGE);
	CHECK_OK(reg(a.u, a.mem, HUGE, WP));
	CHECK_OK(protect(a.u, a.mem, HUGE, SET));
	CHECK(words_are(a.mem, SMALL, W_MARKER));
	CHECK_EQ(peek(a.mem + 9 * PAGE), 0);
	expect_wp(a.u, a.mem + 19 * PAGE);
	CHECK_EQ(word(a.mem + 9 * PAGE), W_LOADED | FL_PM_UFFD_WP);
	CHECK_EQ(word(a.mem + 19 * PAGE), W_OWN);
	if (on_native()) /* the host, which knows of no marker, may have loaded all of it */
		return;
	CHECK(words_are(a.mem, 9, W_MARKER));
	CHECK(words_are(a.mem + 10 * PAGE, 9, W_MARKER));
	CHECK(words_are(a.mem + 20 * PAGE, SMALL - 20, W_MARKER));
}

CASE(huge_dontneed_page, SEEN ": that page is zero, not protected; the others as they were")
{
	struct area a = huge_protected(WP);

	CHECK_OK(T->advise(a.mem + 10 * PAGE, PAGE, MADV_DONTNEED));
	CHECK_EQ(word(a.mem + 10 * PAGE), W_NONE);
	CHECK(words_are(a.mem, 10, W_PROTECTED));
	CHECK(words_are(a.mem + 11 * PAGE, SMALL - 11, W_PROTECTED));
	CHECK_EQ(peek(a.mem + 10 * PAGE), 0);
	CHECK_EQ(poke(a.mem + 10 * PAGE, 1), 0);
	CHECK(quiet(a.u));
	CHECK(holds(a.mem, 0, 10));
	CHECK(holds(a.mem, 11, SMALL));
}

CASE(huge_dontneed_page_missing, SEEN)
{
	struct area a = huge(MISSING);

	CHECK_OK(T->advise(a.mem + 10 * PAGE, PAGE, MADV_DONTNEED));
	expect_missing(a.u, a.mem + 10 * PAGE);
	CHECK(holds(a.mem, 0, 10));
	CHECK(holds(a.mem, 11, SMALL));
}

CASE(huge_dontneed_all, SEEN)
{
	struct area a = huge_protected(BOTH);

	CHECK_OK(T->advise(a.mem, HUGE, MADV_DONTNEED));
	CHECK(words_are(a.mem, SMALL, W_NONE));
	expect_missing(a.u, a.mem);
	expect_missing(a.u, a.mem + (SMALL - 1) * PAGE);
}

/* ---- changes of the mapping ---- */

CASE(huge_mprotect_part, SEEN ": protection outlives it, and what the pages hold")
{
	struct area a = huge_protected(WP);

	CHECK_OK(T->protect(a.mem + 10 * PAGE, 5 * PAGE, PROT_NONE));
	CHECK_OK(T->protect(a.mem + 20 * PAGE, 5 * PAGE, PROT_READ));
	CHECK(words_are(a.mem, SMALL, W_PROTECTED));
	CHECK_EQ(peek(a.mem + 10 * PAGE), -SIGSEGV);
	CHECK_EQ(poke(a.mem + 20 * PAGE, 1), -SIGSEGV);
	CHECK_OK(T->protect(a.mem, HUGE, RW));
	CHECK(words_are(a.mem, SMALL, W_PROTECTED));
	CHECK(holds(a.mem, 0, SMALL));
	expect_wp(a.u, a.mem + 12 * PAGE + 1);
	expect_wp(a.u, a.mem + 22 * PAGE + 1);
}

CASE(huge_mprotect_part_unprotected, SEEN)
{
	struct area a = huge_protected(WP);

	CHECK_OK(T->protect(a.mem + 20 * PAGE, 5 * PAGE, PROT_READ));
	CHECK_OK(protect(a.u, a.mem, HUGE, 0));
	CHECK(words_are(a.mem, SMALL, W_OWN));
	CHECK_EQ(poke(a.mem + 20 * PAGE, 1), -SIGSEGV);
	CHECK_EQ(poke(a.mem + 25 * PAGE + 1, 1), 0);
	CHECK_OK(T->protect(a.mem, HUGE, RW));
	CHECK_EQ(poke(a.mem + 20 * PAGE + 1, 1), 0);
	CHECK(quiet(a.u));
	CHECK(holds(a.mem, 0, SMALL));
}

CASE(huge_unmap_part, SEEN)
{
	struct area a = huge_protected(WP);

	CHECK_OK(T->unmap(a.mem + 20 * PAGE, 2 * PAGE));
	CHECK_EQ(peek(a.mem + 20 * PAGE), -SIGSEGV);
	CHECK(words_are(a.mem, 20, W_PROTECTED));
	CHECK(words_are(a.mem + 20 * PAGE, 2, W_NONE));
	CHECK(words_are(a.mem + 22 * PAGE, SMALL - 22, W_PROTECTED));
	CHECK(holds(a.mem, 22, SMALL));
	expect_wp(a.u, a.mem + 22 * PAGE + 1);
}

#define MOVE (MREMAP_MAYMOVE | MREMAP_FIXED)

CASE(huge_mremap, SEEN ": without EVENT_REMAP what is moved is not protected")
{
	struct area a = huge_protected(WP);
	uint64_t to = map_huge(1);

	CHECK_EQ(T->remap(a.mem, HUGE, HUGE, MOVE, to), to);
	CHECK(words_are(to, SMALL, W_OWN));
	CHECK(holds(to, 0, SMALL));
	CHECK_EQ(poke(to + 1, 1), 0);
	CHECK_OK(reg(a.u, to, HUGE, WP));
	CHECK(words_are(to, SMALL, W_OWN));
	CHECK_EQ(poke(to + 7 * PAGE + 1, 1), 0);
	CHECK(quiet(a.u));
	CHECK_EQ(peek(a.mem), -SIGSEGV);
}

CASE(huge_mremap_part, SEEN)
{
	struct area a = huge_protected(WP);
	uint64_t to = map(4);

	CHECK_EQ(T->remap(a.mem + 8 * PAGE, 4 * PAGE, 4 * PAGE, MOVE, to), to);
	CHECK(words_are(to, 4, W_OWN));
	for (unsigned i = 0; i < 4; i++)
		CHECK_EQ(peek(to + i * PAGE), mark(8 + i));
	CHECK(words_are(a.mem, 8, W_PROTECTED));
	CHECK(words_are(a.mem + 12 * PAGE, SMALL - 12, W_PROTECTED));
	CHECK(holds(a.mem, 0, 8));
	CHECK(holds(a.mem, 12, SMALL));
	expect_wp(a.u, a.mem + 7 * PAGE + 1);
	expect_wp(a.u, a.mem + 12 * PAGE + 1);
}

CASE(huge_mremap_to_an_odd_place, SEEN ": to where no huge page can be")
{
	struct area a = huge(BOTH);
	uint64_t to = map_huge(2) + 3 * PAGE;

	CHECK_EQ(T->remap(a.mem, HUGE, HUGE, MOVE, to), to);
	CHECK(words_are(to, SMALL, W_OWN));
	CHECK(holds(to, 0, SMALL));
}

CASE(huge_advice, SEEN ": MADV_HUGEPAGE and MADV_NOHUGEPAGE change nothing that is seen")
{
	static const int advices[] = {MADV_NOHUGEPAGE, MADV_HUGEPAGE, MADV_NOHUGEPAGE};
	struct area a = huge_protected(WP);

	for (unsigned i = 0; i < 3; i++) {
		T->advise(a.mem, HUGE, advices[i]);
		CHECK(words_are(a.mem, SMALL, W_PROTECTED));
		CHECK(holds(a.mem, 0, SMALL));
		expect_wp(a.u, a.mem + (9 + i) * PAGE + 1);
		CHECK_OK(protect(a.u, a.mem, HUGE, SET));
	}
}

CASE(huge_advice_in_part, SEEN)
{
	struct area a = huge_protected(WP);

	T->advise(a.mem + 10 * PAGE, 5 * PAGE, MADV_NOHUGEPAGE);
	CHECK(words_are(a.mem, SMALL, W_PROTECTED));
	expect_wp(a.u, a.mem + 9 * PAGE + 1);
	expect_wp(a.u, a.mem + 10 * PAGE + 1);
	CHECK(protected_but(a.mem, 9, 11));
}

/* ---- registration and fork ---- */

CASE(huge_unregister, SEEN)
{
	struct area a = huge_protected(WP);

	CHECK_OK(unreg(a.u, a.mem, HUGE));
	CHECK(words_are(a.mem, SMALL, W_OWN));
	for (unsigned i = 0; i < SMALL; i++)
		CHECK_EQ(poke(a.mem + i * PAGE + 1, 1), 0);
	CHECK(holds(a.mem, 0, SMALL));
}

CASE(huge_unregister_part, SEEN)
{
	struct area a = huge_protected(WP);

	CHECK_OK(unreg(a.u, a.mem + 5 * PAGE, PAGE));
	CHECK(protected_but(a.mem, 5, 6));
	CHECK_EQ(poke(a.mem + 5 * PAGE + 1, 1), 0);
	expect_wp(a.u, a.mem + 6 * PAGE + 1);
	CHECK(holds(a.mem, 0, SMALL));
}

CASE(huge_register_part, SEEN)
{
	struct area a = {uffd(0), map_huge(1)};

	T->advise(a.mem - HUGE / 2, 2 * HUGE, MADV_HUGEPAGE);
	populate(a.mem, 0, SMALL);
	CHECK_OK(reg(a.u, a.mem + 5 * PAGE, 3 * PAGE, BOTH));
	CHECK_OK(protect(a.u, a.mem + 5 * PAGE, 3 * PAGE, SET));
	CHECK(words_are(a.mem, 5, W_OWN));
	CHECK(words_are(a.mem + 5 * PAGE, 3, W_PROTECTED));
	CHECK(words_are(a.mem + 8 * PAGE, SMALL - 8, W_OWN));
	CHECK(holds(a.mem, 0, SMALL));
}

CASE(huge_close, SEEN)
{
	struct area a = huge_protected(BOTH);

	CHECK_OK(T->close(a.u));
	CHECK(words_are(a.mem, SMALL, W_OWN));
	CHECK_EQ(poke(a.mem + 1, 1), 0);
	CHECK(holds(a.mem, 0, SMALL));
}

static int child_checks(uint64_t mem)
{
	for (unsigned i = 0; i < SMALL; i++)
		if (word(mem + i * PAGE) & FL_PM_UFFD_WP)
			return 1;
	if (!holds(mem, 0, SMALL))
		return 2;
	for (unsigned i = 0; i < SMALL; i += 3)
		if (poke(mem + i * PAGE + 1, 1))
			return 3;
	return 0;
}

CASE_ON(huge_fork, ON_LIBC, PROCESS, SEEN ": the child's pages are not protected, the parent's are")
{
	struct area a = huge_protected(WP);
	pid_t pid = fork();
	int status;

	CHECK(pid >= 0);
	if (!pid) {
		alarm(CHILD_S);
		_exit(child_checks(a.mem));
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	CHECK(quiet(a.u));
	CHECK(words_are(a.mem, SMALL, W_PROTECTED));
	CHECK(holds(a.mem, 0, SMALL));
	CHECK_EQ(peek(a.mem + 1), 0);
	expect_wp(a.u, a.mem + 1);
	expect_wp(a.u, a.mem + 300 * PAGE + 1);
}
