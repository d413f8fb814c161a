/* SPDX-License-Identifier: MIT */
/* writable.c - s3: un-protecting asks what may be writable. */
#include "protect.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

static enum fl_fault_action unprotect_page(struct fl_uffd *u, const struct fl_uffd_msg *msg, void *arg)
{
	++*(unsigned *)arg;
	EXPECT(msg->arg.pagefault.flags & FL_UFFD_PAGEFAULT_FLAG_WP);
	return fl_uffd_writeprotect(u, msg->arg.pagefault.address / PAGE * PAGE, PAGE, 0) ? FL_FAULT_SIGBUS
											  : FL_FAULT_RETRY;
}

/* One store, one message, and no further fault: the page is writable once the handler has un-protected it. */
static void s3_writable_at_once(void)
{
	unsigned messages = 0;
	uint64_t at, before;

	EXPECT_INT(fl_uffd_open(mm, O_CLOEXEC | O_NONBLOCK | FL_UFFD_SRC_HOST, &uffd), 0);
	EXPECT_INT(fl_uffd_api(uffd, 0, NULL), 0);
	EXPECT_INT(fl_uffd_set_handler(uffd, unprotect_page, &messages), 0);
	at = protected_pages(64);
	for (unsigned i = 0; i < 64; i++)
		EXPECT_INT(load(at + i * PAGE), pattern(i));
	before = second_faults();
	for (unsigned i = 0; i < 64; i += 3) {
		EXPECT_INT(store(at + i * PAGE, 5), 0);
		EXPECT(pte_write(entry(at + i * PAGE)));
	}
	EXPECT_INT(messages, 22);
	EXPECT_INT(second_faults() - before, 0);
	EXPECT_INT(fl_mm_check(mm), 0);
}

/* The entries are writable when the ioctl returns, for as many pages as may be. */
static void s3_writable_entries(void)
{
	uint64_t at, big;

	open_object(0);
	at = protected_pages(SMALL + 3);
	EXPECT_INT(protect(at, (SMALL + 3) * PAGE, 0), 0);
	for (unsigned i = 0; i < SMALL + 3; i++)
		EXPECT(pte_write(entry(at + i * PAGE)));
	big = protected_leaf();
	EXPECT_INT(protect(big, HUGE, 0), 0);
	EXPECT(fl_slot_at(mm, big).nr == SMALL && pte_write(entry(big)));
	EXPECT_INT(fl_mm_check(mm), 0);
}

/* A page that the program may not write, or that another thread waits for, is not. */
static void s3_not_beyond_the_mapping(void)
{
	uint64_t at;

	open_object(0);
	at = protected_pages(4);
	EXPECT_INT(fl_mprotect(mm, at, 2 * PAGE, PROT_READ), 0);
	EXPECT_INT(protect(at, 4 * PAGE, 0), 0);
	EXPECT(!pte_write(entry(at)) && pte_write(entry(at + 2 * PAGE)));
	EXPECT_INT(store(at, 1), SIGSEGV);
	EXPECT_INT(fl_mm_check(mm), 0);
}

/* Soft-dirty needs to see the next store; after it the page is writable. */
static void s3_soft_dirty_is_asked(void)
{
	uint64_t at;

	open_object(0);
	at = protected_pages(4);
	EXPECT_INT(fl_mm_clear_soft_dirty(mm), 0);
	EXPECT_INT(protect(at, 4 * PAGE, 0), 0);
	EXPECT(!pte_write(entry(at)) && !pte_soft_dirty(entry(at)));
	EXPECT_INT(store(at, 1), 0);
	EXPECT(pte_write(entry(at)) && pte_soft_dirty(entry(at)));
	EXPECT_INT(protect(at, 4 * PAGE, SET), 0);
	EXPECT_INT(protect(at, 4 * PAGE, 0), 0);
	EXPECT(pte_write(entry(at)) && !pte_write(entry(at + PAGE))); /* one is dirty, the other still clean */
	EXPECT_INT(fl_uffd_unregister(uffd, at, 4 * PAGE), 0);
	EXPECT(pte_write(entry(at)) && !pte_write(entry(at + PAGE)));
	EXPECT_INT(store(at + PAGE, 1), 0);
	EXPECT(pte_soft_dirty(entry(at + PAGE)) && !pte_soft_dirty(entry(at + 2 * PAGE)));
	EXPECT_INT(fl_mm_check(mm), 0);
}

/* The questions, one by one, on a mapping of each kind. */
static void s3_questions(void)
{
	struct fl_vma vma = {.flags = VM_READ | VM_WRITE | VM_SOFTDIRTY};
	fl_pte_t pte;
	uint64_t at;

	open_object(0);
	at = protected_pages(1);
	EXPECT_INT(protect(at, PAGE, 0), 0);
	pte = (fl_pte_t){entry(at).val & ~(PTE_WRITE | PTE_DIRTY | PTE_SOFT_DIRTY)};
	EXPECT(fl_can_change_pte_writable(mm, &vma, pte, 1)); /* private and exclusive: clean or dirty */
	EXPECT(!fl_can_change_pte_writable(mm, &vma, pte_mkuffd_wp(pte), 1));
	EXPECT(!fl_can_change_pte_writable(mm, &vma, pte_mkhint(pte), 1));
	vma.flags = VM_READ | VM_SOFTDIRTY;
	EXPECT(!fl_can_change_pte_writable(mm, &vma, pte, 1));
	vma.flags = VM_READ | VM_WRITE; /* soft-dirty is tracked */
	EXPECT(!fl_can_change_pte_writable(mm, &vma, pte, 1));
	EXPECT(fl_can_change_pte_writable(mm, &vma, pte_mkdirty(pte), 1));
	vma.flags |= VM_SHARED | VM_SOFTDIRTY; /* shared: only when dirty already */
	EXPECT(!fl_can_change_pte_writable(mm, &vma, pte, 1));
	EXPECT(fl_can_change_pte_writable(mm, &vma, pte_mkdirty(pte), 1));
}

static int looks(uint64_t addr)
{
	return load(addr) == pattern(0) && load(addr + PAGE) == pattern(1) ? 0 : 1;
}

/* While a child shares the page, un-protecting does not make it writable; the store makes a copy. */
static void s3_shared_page_is_copied(void)
{
	struct fl_mm *parent = mm, *child;
	uint64_t at;

	open_object(0);
	at = protected_pages(2);
	EXPECT_INT(fl_mm_fork(mm, &child), 0);
	EXPECT_INT(protect(at, PAGE, 0), 0);
	EXPECT(!pte_write(entry(at)) && !pte_uffd_wp(entry(at)));
	EXPECT_INT(store(at, 77), 0);
	EXPECT(pte_write(entry(at)));
	mm = child;
	EXPECT_INT(looks(at), 0);
	EXPECT_INT(store(at + PAGE, 78), 0);
	EXPECT_INT(fl_mm_check(mm), 0);
	mm = parent;
	is_protected(at + PAGE, pattern(1));
	EXPECT_INT(fl_mm_destroy(child), 0);
	EXPECT_INT(protect(at + PAGE, PAGE, 0), 0); /* sole owner again */
	EXPECT(pte_write(entry(at + PAGE)));
	EXPECT_INT(fl_mm_check(mm), 0);
}

const struct protect_case s3_cases[] = {
	CASE(s3_writable_at_once, ON_BOTH),
	CASE(s3_writable_entries, ON_BOTH),
	CASE(s3_not_beyond_the_mapping, ON_BOTH),
	CASE(s3_soft_dirty_is_asked, ON_BOTH),
	CASE(s3_questions, ON_BOTH),
	CASE(s3_shared_page_is_copied, ON_SOFT), /* natively a child has copies from the start */
	{0},
};
