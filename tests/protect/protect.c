/* SPDX-License-Identifier: MIT */
/*
 * protect.c - the cases. Their names begin with the row of the mission that they are for: s1 failures are reported,
 * s3 un-protecting asks what may be writable, s4 what is write-protected is never writable; range is what is left to
 * say of mappings; sample is the access sampler.
 */
#include "protect.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/count.h"

#define SECONDS 60
#define RW	(PROT_READ | PROT_WRITE)
#define ANON	(MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE)
#define WP	FL_UFFDIO_REGISTER_MODE_WP
#define SET	FL_UFFDIO_WRITEPROTECT_MODE_WP
#define MARKERS FL_UFFD_FEATURE_WP_UNPOPULATED
#define SMALL	512u /* pages of 2 MiB */

struct fl_mm *mm;
static const struct world *world;
static struct fl_uffd *uffd;

_Noreturn static void failed(int line, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void failed(int line, const char *fmt, ...)
{
	va_list args;

	printf("# protect.c:%d: ", line);
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	printf("\n");
	fflush(stdout);
	_exit(1);
}

#define EXPECT(cond) ((cond) ? (void)0 : failed(__LINE__, "not so: %s", #cond))
#define EXPECT_INT(got, want)                                                                                        \
	do {                                                                                                         \
		long long got_ = (long long)(got), want_ = (long long)(want);                                        \
		if (got_ != want_)                                                                                   \
			failed(__LINE__, "%s is %lld, not %lld", #got, got_, want_);                                 \
	} while (0)

/* ---- memory ---- */

static int store(uint64_t addr, uint8_t byte)
{
	return world->access(addr, &byte, true);
}

/* The byte, or -signal. */
static int load(uint64_t addr)
{
	uint8_t byte = 0;
	int sig = world->access(addr, &byte, false);

	return sig ? -sig : byte;
}

static uint8_t pattern(uint64_t i)
{
	return (uint8_t)(1 + i * 7 % 251);
}

static uint64_t map_pages(uint64_t pages)
{
	uint64_t at = fl_mmap(mm, 0, pages * PAGE, RW, ANON);

	EXPECT(at != FL_MAP_FAILED);
	return at;
}

/* Pages that hold their pattern. */
static uint64_t filled(uint64_t pages)
{
	uint64_t at = map_pages(pages);

	for (uint64_t i = 0; i < pages; i++)
		EXPECT_INT(store(at + i * PAGE, pattern(i)), 0);
	return at;
}

/* 2 MiB, aligned, with unmapped memory around it, that are registered and one leaf. */
static uint64_t leaf(void)
{
	uint64_t at = map_pages(3 * SMALL), base = (at + HUGE - 1) & ~(HUGE - 1);

	EXPECT_INT(fl_munmap(mm, base + HUGE, at + 3 * HUGE - base - HUGE), 0);
	if (base > at)
		EXPECT_INT(fl_munmap(mm, at, base - at), 0);
	for (uint64_t i = 0; i < SMALL; i++)
		EXPECT_INT(store(base + i * PAGE, pattern(i)), 0);
	EXPECT_INT(fl_uffd_register(uffd, base, HUGE, WP, NULL), 0);
	EXPECT_INT(fl_madvise(mm, base, HUGE, 25 /* MADV_COLLAPSE */), 0);
	EXPECT_INT(fl_slot_at(mm, base).nr, SMALL);
	return base;
}

static void open_object(uint64_t features)
{
	EXPECT_INT(fl_uffd_open(mm, O_CLOEXEC | O_NONBLOCK | FL_UFFD_SRC_HOST, &uffd), 0);
	EXPECT_INT(fl_uffd_api(uffd, features | FL_UFFD_FEATURE_SIGBUS, NULL), 0);
}

static int protect(uint64_t addr, uint64_t len, uint64_t mode)
{
	return fl_uffd_writeprotect(uffd, addr, len, mode) ? -errno : 0;
}

/* Registered for write-protection, filled, protected. */
static uint64_t protected_pages(uint64_t pages)
{
	uint64_t at = filled(pages);

	EXPECT_INT(fl_uffd_register(uffd, at, pages * PAGE, WP, NULL), 0);
	EXPECT_INT(protect(at, pages * PAGE, SET), 0);
	return at;
}

static uint64_t protected_leaf(void)
{
	uint64_t at = leaf();

	EXPECT_INT(protect(at, HUGE, SET), 0);
	EXPECT_INT(fl_slot_at(mm, at).nr, SMALL);
	return at;
}

/* ---- what entries say ---- */

static fl_pte_t entry(uint64_t addr)
{
	return fl_pte_get(mm, addr);
}

/* The page is protected: its entry, and whoever stores to it; and it holds what it held. */
static void is_protected(uint64_t addr, int byte)
{
	EXPECT(pte_uffd_wp(entry(addr)) && !pte_write(entry(addr)));
	EXPECT_INT(store(addr, 99), SIGBUS);
	EXPECT_INT(load(addr), byte);
	EXPECT(pte_uffd_wp(entry(addr)) && !pte_write(entry(addr)));
	EXPECT_INT(fl_mm_check(mm), 0);
}

static void is_free(uint64_t addr, int byte)
{
	EXPECT_INT(load(addr), byte);
	EXPECT(!pte_uffd_wp(entry(addr)));
	EXPECT_INT(store(addr, (uint8_t)byte), 0);
	EXPECT_INT(fl_mm_check(mm), 0);
}

/* How many faults had to give a right that was not there at once. */
static uint64_t second_faults(void)
{
	return fl_stats->faults_spurious + fl_stats->faults_write;
}

/* ---- s1: failures are reported ---- */

/* From the first page on protected, then not: how many are. */
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
 * Each allocation of a page table that the call makes fails in turn, once or from then on: ENOMEM, without a word on
 * stderr; protected is what came before, to a border of tables; with memory the same call succeeds.
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
		EXPECT_INT(fl_faultpoint_count("alloc.pgtable", NULL, &failures), 0);
		EXPECT_INT(fl_faultpoint_set("alloc.pgtable", n, times), 0);
		ret = protect(at, pages * PAGE, SET);
		EXPECT_INT(fl_faultpoint_set("alloc.pgtable", 0, 0), 0);
		EXPECT_INT(fl_faultpoint_count("alloc.pgtable", NULL, &done), 0);
		if (done == failures) { /* all of them had memory */
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

/* The pages that are there are protected as far as the call got; the others are as they were. */
static void s1_populated_pages_before_and_after(void)
{
	uint64_t at, base;

	open_object(MARKERS);
	at = map_pages(4 * SMALL);
	base = (at + HUGE - 1) & ~(HUGE - 1);
	EXPECT_INT(store(base, 1), 0);
	EXPECT_INT(store(base + 2 * HUGE + PAGE, 2), 0);
	EXPECT_INT(fl_uffd_register(uffd, base, 3 * HUGE, WP, NULL), 0);
	EXPECT_INT(fl_faultpoint_set("alloc.pgtable", 0, 1), 0); /* the table of the second 2 MiB */
	EXPECT_INT(protect(base, 3 * HUGE, SET), -ENOMEM);
	is_protected(base, 1);
	EXPECT(pte_marker(entry(base + HUGE - PAGE)));
	EXPECT(pte_none(entry(base + HUGE)));
	is_free(base + 2 * HUGE + PAGE, 2);
	EXPECT_INT(protect(base, 3 * HUGE, SET), 0);
	is_protected(base + 2 * HUGE + PAGE, 2);
}

/* What needs no memory does not fail for want of it: splitting a leaf, un-protecting, dropping. */
static void s1_no_memory_where_none_is_needed(void)
{
	uint64_t at;

	open_object(MARKERS);
	at = leaf();
	EXPECT_INT(fl_faultpoint_set("alloc.pgtable", 0, UINT32_MAX), 0);
	EXPECT_INT(protect(at + 5 * PAGE, PAGE, SET), 0);
	EXPECT_INT(fl_slot_at(mm, at).nr, 1);
	is_protected(at + 5 * PAGE, pattern(5));
	EXPECT_INT(fl_madvise(mm, at + 7 * PAGE, PAGE, MADV_DONTNEED), 0);
	EXPECT_INT(protect(at, HUGE, 0), 0);
	EXPECT_INT(load(at + 5 * PAGE), pattern(5));
	EXPECT_INT(load(at + 7 * PAGE), 0);
}

/* ---- s3: un-protecting asks what may be writable ---- */

static enum fl_fault_action unprotect_page(struct fl_uffd *u, const struct fl_uffd_msg *msg, void *arg)
{
	++*(unsigned *)arg;
	EXPECT(msg->arg.pagefault.flags & FL_UFFD_PAGEFAULT_FLAG_WP);
	return fl_uffd_writeprotect(u, msg->arg.pagefault.address / PAGE * PAGE, PAGE, 0) ? FL_FAULT_SIGBUS
											   : FL_FAULT_RETRY;
}

/* One store, one message, and no fault more: the page is writable when the handler has un-protected it. */
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

/* The entries are writable when the ioctl returns, for as many pages as it may be. */
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

/* A page that the program may not write, or that somebody waits for, is not. */
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

/* Soft-dirty wants to see the next store; after that one the page is writable. */
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
	EXPECT(pte_write(entry(at)) && !pte_write(entry(at + PAGE))); /* the one is dirty, the other still clean */
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

/* While a child has the page too, un-protecting does not make it writable; the store makes a copy. */
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
	EXPECT_INT(protect(at + PAGE, PAGE, 0), 0); /* alone with it again */
	EXPECT(pte_write(entry(at + PAGE)));
	EXPECT_INT(fl_mm_check(mm), 0);
}

/* ---- s4: what is write-protected is never writable ---- */

/* Each state that an entry can be in, and then protected: at both levels. */
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
	EXPECT_INT(fl_mm_migrate(mm, at, 8 * PAGE), 8);
	EXPECT(pte_pfn(entry(at)) != frame);
	for (unsigned i = 0; i < 8; i++)
		is_protected(at + i * PAGE, pattern(i));
	big = protected_leaf();
	EXPECT_INT(fl_mm_migrate(mm, big, HUGE), SMALL);
	is_protected(big, pattern(0));
	is_protected(big + HUGE - PAGE, pattern(SMALL - 1));
}

/* Protected, and un-protected, while it is on its way. */
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

/* What is moved is not registered any more; what stays is protected as before, and nothing in between is writable. */
static void s4_mremap(void)
{
	uint64_t at, big, to;

	open_object(0);
	at = protected_pages(8);
	to = map_pages(4);
	EXPECT_INT(fl_mremap(mm, at + 2 * PAGE, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to), to);
	is_protected(at + PAGE, pattern(1));
	is_protected(at + 6 * PAGE, pattern(6));
	is_free(to, pattern(2));
	EXPECT_INT(fl_uffd_register(uffd, to, 4 * PAGE, WP, NULL), 0);
	is_free(to + PAGE, pattern(3));
	EXPECT_INT(protect(to, 4 * PAGE, SET), 0);
	is_protected(to + 2 * PAGE, pattern(4));
	big = protected_leaf();
	EXPECT_INT(fl_mremap(mm, big + 8 * PAGE, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to), to);
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

/* ---- ranges that come and go ---- */

/*
 * Memory that was registered once, beside memory that is, is registered again, and that fails: it is as before.
 * `point` fails from each of its hits on.
 */
static void registered_again_fails(const char *point)
{
	uint64_t at, base, again, before, after = 1;
	int ret;

	at = map_pages(4 * SMALL);
	base = (at + HUGE - 1) & ~(HUGE - 1);
	again = base + HUGE / 2;
	for (unsigned i = 0; i < SMALL; i++)
		EXPECT_INT(store(base + i * PAGE, pattern(i)), 0);
	EXPECT_INT(fl_uffd_register(uffd, base, 2 * HUGE, WP, NULL), 0);
	EXPECT_INT(fl_uffd_unregister(uffd, again, HUGE + HUGE / 2), 0);
	for (unsigned i = 0; i < SMALL / 2; i++)
		EXPECT_INT(load(base + i * PAGE), pattern(i));
	EXPECT_INT(store(base + HUGE + PAGE, 9), 0); /* where there is no table yet */
	for (uint32_t n = 0; after; n++) {
		EXPECT_INT(fl_faultpoint_count(point, NULL, &before), 0);
		EXPECT_INT(fl_faultpoint_set(point, n, UINT32_MAX), 0);
		ret = fl_uffd_register(uffd, again, HUGE + HUGE / 2, WP, NULL);
		EXPECT_INT(fl_faultpoint_set(point, 0, 0), 0);
		EXPECT_INT(fl_faultpoint_count(point, NULL, &after), 0);
		after -= before;
		EXPECT_INT(ret, after ? -1 : 0);
		EXPECT_INT(load(again), pattern(SMALL / 2));
		EXPECT_INT(store(again + PAGE, (uint8_t)n), 0);
		EXPECT_INT(load(again + PAGE), (uint8_t)n);
		EXPECT_INT(load(base + HUGE + PAGE), 9);
		EXPECT_INT(fl_mm_check(mm), 0);
	}
}

static void range_registered_again_fails(void)
{
	open_object(0);
	registered_again_fails("alloc.pgtable");
	registered_again_fails("host.mprotect");
	registered_again_fails("host.guard");
}

/* What a range grows by in place may have the next frames: it is one mapping. */
static void range_grows(void)
{
	uint64_t at, base;

	open_object(0);
	at = map_pages(4 * SMALL);
	base = (at + HUGE - 1) & ~(HUGE - 1);
	EXPECT_INT(fl_munmap(mm, base + HUGE, HUGE), 0);
	EXPECT_INT(fl_uffd_register(uffd, base, HUGE, WP, NULL), 0);
	EXPECT_INT(store(base, 1), 0);
	EXPECT_INT(fl_mremap(mm, base, HUGE, HUGE + HUGE / 2, 0, 0), base);
	EXPECT_INT(store(base + HUGE, 2), 0);
	EXPECT_INT(fl_mm_check(mm), 0);
}

/*
 * The host has no room while pages are protected, run by run: what makes room forgets the very pages that are looked
 * at. None of them is reached afterwards but by a fault: memory that is dropped then is zeros.
 */
static void range_protected_without_room(void)
{
	open_object(0);
	for (uint32_t times = 1; times < 8; times++) {
		uint64_t at = filled(16);

		EXPECT_INT(fl_uffd_register(uffd, at, 16 * PAGE, WP, NULL), 0);
		for (unsigned i = 0; i < 16; i++)
			EXPECT_INT(store(at + i * PAGE, pattern(i)), 0);
		for (unsigned i = 2; i < 16; i += 3)
			EXPECT_INT(fl_madvise(mm, at + i * PAGE, PAGE, MADV_DONTNEED), 0);
		EXPECT_INT(fl_faultpoint_set("host.mprotect", 0, times), 0);
		EXPECT_INT(protect(at, 16 * PAGE, SET), 0);
		EXPECT_INT(fl_faultpoint_set("host.mprotect", 0, 0), 0);
		EXPECT_INT(fl_madvise(mm, at, 16 * PAGE, MADV_DONTNEED), 0);
		for (unsigned i = 0; i < 16; i++)
			EXPECT_INT(load(at + i * PAGE), 0);
		EXPECT_INT(fl_munmap(mm, at, 16 * PAGE), 0);
	}
}

/* What only we tell apart, for being watched or new, is one mapping to the program: it can be moved, and grow. */
static void range_is_one_mapping(void)
{
	uint64_t at, to;

	at = map_pages(16);
	EXPECT_INT(fl_munmap(mm, at + 4 * PAGE, 12 * PAGE), 0);
	for (unsigned i = 0; i < 4; i++)
		EXPECT_INT(store(at + i * PAGE, pattern(i)), 0);
	EXPECT_INT(fl_sample_start(mm, at, 2 * PAGE), 0);
	EXPECT_INT(fl_mremap(mm, at, 4 * PAGE, 6 * PAGE, 0, 0), at);
	EXPECT_INT(fl_mm_clear_soft_dirty(mm), 0);
	EXPECT_INT(fl_mremap(mm, at, 6 * PAGE, 8 * PAGE, 0, 0), at);
	EXPECT_INT(store(at + 7 * PAGE, 7), 0);
	EXPECT_INT(fl_mm_check(mm), 0);
	to = map_pages(8);
	EXPECT_INT(fl_mremap(mm, at, 8 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to), to);
	for (unsigned i = 0; i < 4; i++)
		EXPECT_INT(load(to + i * PAGE), pattern(i));
	EXPECT_INT(store(to + PAGE, 1), 0);
	EXPECT_INT(load(to + 7 * PAGE), 7);
}

/* A move that fails when its target is gone leaves nothing there, least of all frames that others will have. */
static void range_moved_without_room(void)
{
	uint64_t at, to;

	open_object(0);
	at = filled(4);
	to = filled(4);
	EXPECT_INT(fl_uffd_register(uffd, at, 4 * PAGE, WP, NULL), 0);
	EXPECT_INT(fl_uffd_register(uffd, to, 4 * PAGE, WP, NULL), 0);
	EXPECT_INT(fl_uffd_unregister(uffd, to, 4 * PAGE), 0);
	EXPECT_INT(fl_faultpoint_set("alloc.extent", 0, UINT32_MAX), 0);
	EXPECT_INT(fl_mremap(mm, at, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to), -1);
	EXPECT_INT(errno, ENOMEM);
	EXPECT_INT(fl_faultpoint_set("alloc.extent", 0, 0), 0);
	EXPECT_INT(load(at + PAGE), pattern(1));
	EXPECT_INT(load(to), -SIGSEGV);
}

static atomic_bool enough;

static void *look_all_the_time(void *at)
{
	while (!atomic_load(&enough))
		fl_sample_look(mm, *(uint64_t *)at, 8 * PAGE, NULL);
	return NULL;
}

static void *protect_all_the_time(void *at)
{
	while (!atomic_load(&enough)) {
		EXPECT_INT(fl_mprotect(mm, *(uint64_t *)at + 7 * PAGE, PAGE, PROT_READ), 0);
		EXPECT_INT(fl_mprotect(mm, *(uint64_t *)at + 7 * PAGE, PAGE, RW), 0);
	}
	return NULL;
}

/* The words of pagemap, into memory that loses its rights meanwhile: they are not stored under a lock. */
static void range_told_of_into_itself(void)
{
	pthread_t threads[2];
	uint64_t at;

	at = filled(8);
	EXPECT_INT(fl_sample_start(mm, at, 8 * PAGE), 0);
	EXPECT_INT(pthread_create(&threads[0], NULL, look_all_the_time, &at), 0);
	EXPECT_INT(pthread_create(&threads[1], NULL, protect_all_the_time, &at), 0);
	for (unsigned i = 0; i < 5000; i++)
		EXPECT_INT(fl_mm_pagemap(mm, at, SMALL, fl_ptr(at + PAGE)), 0);
	atomic_store(&enough, true);
	for (unsigned i = 0; i < 2; i++)
		EXPECT_INT(pthread_join(threads[i], NULL), 0);
}

static int first_two(uint64_t addr)
{
	return load(addr) == 1 && load(addr + 3 * PAGE) == 2 ? 0 : 1;
}

/* Around a fork nothing may be written; the host has no room to say so, or to take it back. */
static void range_forked_without_room(void)
{
	uint64_t at, before, after = 1;

	open_object(0);
	at = map_pages(8);
	EXPECT_INT(fl_uffd_register(uffd, at, 8 * PAGE, WP, NULL), 0);
	for (uint32_t n = 0; after; n++) {
		EXPECT_INT(store(at, 1), 0);
		EXPECT_INT(store(at + 3 * PAGE, 2), 0);
		EXPECT_INT(fl_faultpoint_count("host.mprotect", NULL, &before), 0);
		EXPECT_INT(fl_faultpoint_set("host.mprotect", n, 1), 0);
		EXPECT_INT(world->in_child(first_two, at), 0);
		EXPECT_INT(fl_faultpoint_set("host.mprotect", 0, 0), 0);
		EXPECT_INT(fl_faultpoint_count("host.mprotect", NULL, &after), 0);
		after -= before;
		EXPECT_INT(fl_mm_check(mm), 0);
		for (unsigned i = 0; i < 8; i++)
			EXPECT_INT(store(at + i * PAGE, 1), 0);
	}
}

/* ---- the access sampler ---- */

static void sample_tells_what_was_touched(void)
{
	struct fl_sample_cost cost;
	uint8_t vec[64];
	uint64_t at;

	at = filled(64);
	EXPECT_INT(fl_sample_start(mm, at, 64 * PAGE), 0);
	EXPECT_INT(fl_sample_look(mm, at, 64 * PAGE, vec), 0);
	EXPECT_INT(load(at + 3 * PAGE), pattern(3));
	EXPECT_INT(load(at + 3 * PAGE + 9), 0);
	EXPECT_INT(store(at + 5 * PAGE, 1), 0);
	EXPECT_INT(load(at + 60 * PAGE), pattern(60));
	EXPECT_INT(fl_sample_look(mm, at, 64 * PAGE, vec), 3);
	for (unsigned i = 0; i < 64; i++)
		EXPECT_INT(vec[i], i == 3 || i == 5 || i == 60);
	EXPECT_INT(fl_sample_look(mm, at, 64 * PAGE, NULL), 0);
	EXPECT_INT(load(at + 3 * PAGE), pattern(3));
	EXPECT_INT(fl_sample_look(mm, at, 64 * PAGE, NULL), 1);
	fl_sample_get_cost(mm, &cost);
	EXPECT_INT(cost.faults, 4);
	EXPECT(cost.fault_ns > 0 && cost.fault_ns < cost.elapsed_ns);
	EXPECT_INT(fl_mm_check(mm), 0);
}

/* Pages that come while the range is watched: by a fault touched, by a fill not before somebody touches them. */
static void sample_of_new_pages(void)
{
	static char page[PAGE];
	uint8_t vec[4];
	uint64_t at;

	open_object(0);
	at = map_pages(4);
	EXPECT_INT(fl_uffd_register(uffd, at, 4 * PAGE, WP, NULL), 0);
	EXPECT_INT(fl_sample_start(mm, at, 4 * PAGE), 0);
	EXPECT_INT(fl_uffd_copy(uffd, at, (uint64_t)(uintptr_t)page, PAGE, 0, NULL), 0);
	EXPECT_INT(fl_uffd_copy(uffd, at + PAGE, (uint64_t)(uintptr_t)page, PAGE, 0, NULL), 0);
	EXPECT_INT(load(at + PAGE), 0);
	EXPECT_INT(store(at + 2 * PAGE, 1), 0);
	EXPECT_INT(fl_sample_look(mm, at, 4 * PAGE, vec), 2);
	EXPECT(!vec[0] && vec[1] && vec[2] && !vec[3]);
	EXPECT_INT(fl_sample_look(mm, at, 4 * PAGE, vec), 0);
}

/* Of a huge page that the program asked for all is touched at once; of one that only happened to be possible, not. */
static void sample_of_huge_pages(void)
{
	uint8_t vec[SMALL];
	uint64_t at;

	open_object(0);
	at = leaf();
	EXPECT_INT(fl_sample_start(mm, at, HUGE), 0);
	EXPECT_INT(load(at + 7 * PAGE), pattern(7));
	EXPECT_INT(fl_sample_look(mm, at, HUGE, vec), SMALL);
	EXPECT_INT(fl_sample_look(mm, at, HUGE, vec), 0);
}

/* A page that is in another frame now is touched if it was before, and not if it was not. */
static void sample_of_moved_pages(void)
{
	uint8_t vec[2];
	uint64_t at;

	at = filled(2);
	EXPECT_INT(fl_sample_start(mm, at, 2 * PAGE), 0);
	EXPECT_INT(load(at), pattern(0));
	EXPECT_INT(fl_mm_migrate(mm, at, 2 * PAGE), 2);
	EXPECT_INT(fl_sample_look(mm, at, 2 * PAGE, vec), 1);
	EXPECT(vec[0] && !vec[1]);
	EXPECT_INT(fl_mm_migrate(mm, at, 2 * PAGE), 2);
	EXPECT_INT(load(at + PAGE), pattern(1));
	EXPECT_INT(fl_sample_look(mm, at, 2 * PAGE, vec), 1);
	EXPECT(!vec[0] && vec[1]);
}

static void sample_start_and_stop(void)
{
	uint64_t at;

	at = filled(8);
	EXPECT_INT(fl_sample_look(mm, at, PAGE, NULL), -1);
	EXPECT_INT(errno, EINVAL);
	EXPECT_INT(fl_sample_start(mm, at + 1, PAGE), -1);
	EXPECT_INT(errno, EINVAL);
	EXPECT_INT(fl_sample_start(mm, at, 4 * PAGE), 0);
	EXPECT_INT(fl_sample_look(mm, at, 5 * PAGE, NULL), -1);
	EXPECT_INT(fl_sample_look(mm, at, 4 * PAGE, NULL), 0);
	EXPECT_INT(fl_sample_stop(mm, at, 2 * PAGE), 0);
	EXPECT_INT(fl_sample_look(mm, at, 4 * PAGE, NULL), -1);
	EXPECT_INT(fl_sample_look(mm, at + 2 * PAGE, 2 * PAGE, NULL), 0);
	for (unsigned i = 0; i < 8; i++) {
		EXPECT_INT(load(at + i * PAGE), pattern(i));
		EXPECT_INT(store(at + i * PAGE, 1), 0);
	}
	EXPECT_INT(fl_sample_stop(mm, at, 8 * PAGE), 0);
	EXPECT_INT(fl_mm_check(mm), 0);
}

/* ---- running them ---- */

#define CASE(fn, worlds) {#fn, fn, worlds}
static const struct protect_case {
	const char *name;
	void (*run)(void);
	unsigned worlds;
} cases[] = {
	CASE(s1_enomem_of_one_page, ON_BOTH),
	CASE(s1_enomem_of_2_mib_and_a_page, ON_BOTH),
	CASE(s1_enomem_of_1_gib, ON_BOTH),
	CASE(s1_populated_pages_before_and_after, ON_BOTH),
	CASE(s1_no_memory_where_none_is_needed, ON_BOTH),
	CASE(s3_writable_at_once, ON_BOTH),
	CASE(s3_writable_entries, ON_BOTH),
	CASE(s3_not_beyond_the_mapping, ON_BOTH),
	CASE(s3_soft_dirty_is_asked, ON_BOTH),
	CASE(s3_questions, ON_BOTH),
	CASE(s3_shared_page_is_copied, ON_SOFT), /* natively a child has copies from the beginning */
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
	CASE(range_registered_again_fails, ON_NATIVE),
	CASE(range_grows, ON_BOTH),
	CASE(range_is_one_mapping, ON_BOTH),
	CASE(range_moved_without_room, ON_NATIVE),
	CASE(range_told_of_into_itself, ON_NATIVE),
	CASE(range_protected_without_room, ON_NATIVE),
	CASE(range_forked_without_room, ON_NATIVE),
	CASE(sample_tells_what_was_touched, ON_BOTH),
	CASE(sample_of_new_pages, ON_BOTH),
	CASE(sample_of_huge_pages, ON_BOTH),
	CASE(sample_of_moved_pages, ON_SOFT),
	CASE(sample_start_and_stop, ON_BOTH),
};

static bool run_case(int nr, const struct protect_case *c)
{
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		alarm(SECONDS);
		world->begin();
		c->run();
		EXPECT_INT(fl_mm_check(mm), 0);
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		status = -1;
	if (WIFSIGNALED(status))
		printf("# signal %d\n", WTERMSIG(status));
	printf("%sok %d - %s\n", status ? "not " : "", nr, c->name);
	return !status;
}

int protect_main(int argc, char **argv, const struct world *w)
{
	bool good = true;
	int nr = 0;

	world = w;
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++)
		if ((cases[i].worlds & w->bit) && (argc < 2 || strstr(cases[i].name, argv[1])))
			good &= run_case(++nr, &cases[i]);
	printf("1..%d\n", nr);
	return !good || !nr;
}
