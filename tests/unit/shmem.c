/* SPDX-License-Identifier: MIT */
/*
 * shmem.c - large folios in the page cache of soft address spaces, seen from inside: whatever a page's position in
 * its folio, it belongs to the file, is counted and found as such, and never becomes an anonymous page.
 */
#include "address.h"
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>

#include "base/inject.h"
#include "mm/file.h"
#include "mm/mm.h"
#include <faultline/testing.h>

#define PAGE  4096ull
#define HUGE  (512 * PAGE)
#define RW    (PROT_READ | PROT_WRITE)
#define MINOR FL_UFFDIO_REGISTER_MODE_MINOR
#define WP    FL_UFFDIO_REGISTER_MODE_WP

static const unsigned positions[] = {0, 1, 255, 510, 511}; /* the head, some tails, the last */

static struct fl_mm *mm;
static struct fl_shmem *shmem;
static struct fl_uffd *uffd;

static int begin(void **state)
{
	assert_int_equal(fl_mm_create(&mm, 32ull << 20), 0);
	assert_int_equal(fl_shmem_create(mm, 2 * HUGE, &shmem), 0);
	fl_shmem_huge(shmem, 1);
	assert_int_equal(fl_uffd_open(mm, O_NONBLOCK | FL_UFFD_SRC_HOST, &uffd), 0);
	assert_int_equal(fl_uffd_api(uffd, FL_UFFD_FEATURE_SIGBUS | FL_UFFD_FEATURE_MINOR_SHMEM, NULL), 0);
	return 0;
}

static int end(void **state)
{
	assert_int_equal(fl_mm_check(mm), 0);
	assert_int_equal(fl_uffd_close(uffd), 0);
	fl_shmem_close(shmem);
	assert_int_equal(fl_munmap(mm, 0x10000, (1ull << 47) - 0x20000), 0);
	for (uint64_t pfn = 0; pfn < mm->pool.nr_frames; pfn++) {
		const struct fl_folio *folio = fl_folio(mm, pfn);

		assert_int_equal(folio->refcount | folio->mapcount | folio->tail | folio->order, 0);
		assert_null(folio->mapping);
	}
	assert_int_equal(fl_mm_destroy(mm), 0);
	return 0;
}

static uint64_t mapping(int flags, uint64_t mode)
{
	uint64_t at;

	assert_true(fl_mmap_shmem(mm, 0, 2 * HUGE, RW, flags, shmem, 0, &at) == 0);
	if (mode)
		assert_int_equal(fl_uffd_register(uffd, at, 2 * HUGE, mode, NULL), 0);
	return at;
}

/* One byte into the first 2 MiB, which brings all of it into the cache. */
static void one_folio(void)
{
	assert_int_equal(fl_shmem_write(shmem, "x", 1, 77 * PAGE), 1);
	assert_int_equal(data_at(shmem, 0), 0);
	assert_int_equal(data_at(shmem, HUGE - PAGE), HUGE - PAGE);
	assert_int_equal(data_at(shmem, HUGE), -1);
	assert_int_equal(errno, ENXIO);
}

static uint64_t frame(uint64_t addr)
{
	fl_pte_t pte = fl_pte_get(mm, addr);

	assert_true(pte_present(pte));
	return pte_pfn(pte);
}

static uint64_t word(uint64_t addr)
{
	uint64_t word;

	assert_int_equal(fl_mm_pagemap(mm, addr, 1, &word), 0);
	return word & (FL_PM_PRESENT | FL_PM_SWAP | FL_PM_FILE | FL_PM_EXCLUSIVE | FL_PM_UFFD_WP);
}

static int go_on(uint64_t addr, uint64_t len)
{
	struct fl_uffdio_continue c = {.range = {addr, len}};

	return fl_uffd_ioctl(uffd, FL_UFFDIO_CONTINUE, &c) ? -errno : (int)(c.mapped / (int64_t)PAGE);
}

static uint8_t load(uint64_t addr)
{
	uint8_t byte = 0xee;

	assert_int_equal(fl_load(mm, addr, &byte, 1), 0);
	return byte;
}

static void continue_maps_the_files_page(void **state)
{
	uint64_t at, other, head = 0;

	one_folio();
	at = mapping(MAP_SHARED, MINOR);
	other = mapping(MAP_SHARED, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(positions); i++) {
		uint64_t addr = at + positions[i] * PAGE, pfn;
		uint8_t byte = (uint8_t)(i + 1);

		assert_int_equal(fl_load(mm, addr, &byte, 1), SIGBUS); /* a minor fault */
		assert_int_equal(go_on(addr, PAGE), 1);
		assert_int_equal(go_on(addr, PAGE), -EEXIST);
		pfn = frame(addr);
		if (!i)
			head = pfn;
		assert_int_equal(pfn, head + positions[i]);
		assert_int_equal(fl_folio(mm, pfn)->tail, positions[i]);
		assert_ptr_equal(fl_page_mapping(mm, pfn), fl_folio(mm, head)->mapping);
		assert_non_null(fl_page_mapping(mm, pfn));
		assert_int_equal(fl_folio(mm, pfn)->mapcount, 1);
		assert_int_equal(word(addr), FL_PM_PRESENT | FL_PM_FILE | FL_PM_EXCLUSIVE);
		assert_int_equal(fl_store(mm, addr, &byte, 1), 0);
		assert_int_equal(load(other + positions[i] * PAGE), byte);
		assert_int_equal(fl_folio(mm, pfn)->mapcount, 2);
		assert_int_equal(word(addr), FL_PM_PRESENT | FL_PM_FILE);
		assert_int_equal(fl_madvise(mm, other, HUGE, MADV_DONTNEED), 0); /* it has mapped all of the folio */
	}
	assert_int_equal(fl_folio(mm, head)->order, 9);
}

/* Truncated in the middle of the folio: pages behind are found in both mappings, pages before stay. */
static void truncation_finds_each(void **state)
{
	uint64_t at, other;

	one_folio();
	at = mapping(MAP_SHARED, MINOR);
	other = mapping(MAP_SHARED, 0);
	assert_int_equal(go_on(at, HUGE), 512);
	for (unsigned i = 0; i < 512; i++) {
		uint8_t byte = (uint8_t)i;

		assert_int_equal(fl_store(mm, other + i * PAGE, &byte, 1), 0);
	}
	assert_int_equal(fl_shmem_truncate(shmem, 256 * PAGE + 1), 0);
	for (unsigned i = 0; i < 512; i++) {
		assert_int_equal(word(at + i * PAGE), i <= 256 ? FL_PM_PRESENT | FL_PM_FILE | FL_PM_EXCLUSIVE : 0);
		assert_int_equal(word(other + i * PAGE), 0); /* it was a leaf, and is found again */
	}
	for (unsigned i = 0; i < 512; i++) {
		uint8_t byte;

		if (i > 256)
			assert_int_equal(fl_load(mm, other + i * PAGE, &byte, 1), SIGBUS);
		else
			assert_int_equal(load(at + i * PAGE), (uint8_t)i);
	}
	assert_int_equal(fl_folio(mm, frame(at + 255 * PAGE))->tail, 0); /* split: its own folio, still the file's */
	assert_non_null(fl_page_mapping(mm, frame(at + 255 * PAGE)));
	assert_int_equal(fl_shmem_truncate(shmem, 0), 0);
	assert_int_equal(word(at) | word(other + 256 * PAGE), 0);
}

/* The head goes first: its tails still know their file. */
static void a_hole_at_the_head(void **state)
{
	uint64_t at;

	one_folio();
	at = mapping(MAP_SHARED, MINOR | FL_UFFDIO_REGISTER_MODE_MISSING);
	assert_int_equal(go_on(at, HUGE), 512);
	assert_int_equal(fl_shmem_punch(shmem, 0, PAGE), 0);
	assert_int_equal(word(at), 0);
	assert_int_equal(go_on(at, PAGE), -EFAULT);
	for (unsigned i = 1; i < 512; i++)
		assert_int_equal(word(at + i * PAGE), FL_PM_PRESENT | FL_PM_FILE | FL_PM_EXCLUSIVE);
	assert_int_equal(fl_uffd_zeropage(uffd, at, PAGE, 0, NULL), 0);
	assert_int_equal(word(at), FL_PM_PRESENT | FL_PM_FILE | FL_PM_EXCLUSIVE);
	assert_int_equal(load(at + 77 * PAGE), 'x');
}

/* A private mapping reads the folio's page as its only user; a store must make a copy all the same. */
static void private_mapping_copies(void **state)
{
	uint64_t at;

	one_folio();
	at = mapping(MAP_PRIVATE, WP);
	for (unsigned i = 0; i < ARRAY_SIZE(positions); i++) {
		uint64_t addr = at + positions[i] * PAGE, pfn;
		uint8_t byte = 0xee;

		assert_int_equal(load(addr), 0);
		pfn = frame(addr);
		assert_false(pte_write(fl_pte_get(mm, addr)));
		assert_int_equal(fl_uffd_writeprotect(uffd, addr, PAGE, FL_UFFDIO_WRITEPROTECT_MODE_WP), 0);
		assert_int_equal(fl_uffd_writeprotect(uffd, addr, PAGE, 0), 0);
		assert_false(pte_write(fl_pte_get(mm, addr)));
		assert_int_equal(fl_store(mm, addr, &byte, 1), 0);
		assert_true(frame(addr) != pfn);
		assert_int_equal(word(addr), FL_PM_PRESENT | FL_PM_EXCLUSIVE);
		assert_int_equal(fl_shmem_read(shmem, &byte, 1, positions[i] * PAGE), 1);
		assert_int_equal(byte, 0);
	}
}

/* Code that moves and swaps anonymous pages leaves these alone. */
static void not_for_swap_or_migration(void **state)
{
	uint64_t at;

	one_folio();
	at = mapping(MAP_PRIVATE, 0);
	assert_int_equal(fl_madvise(mm, at, 2 * HUGE, MADV_NOHUGEPAGE), 0); /* page by page */
	for (unsigned i = 0; i < ARRAY_SIZE(positions); i++) {
		uint64_t addr = at + positions[i] * PAGE, pfn;

		assert_int_equal(load(addr), 0);
		pfn = frame(addr);
		assert_int_equal(fl_madvise(mm, addr, PAGE, MADV_PAGEOUT), 0);
		assert_int_equal(migrated(mm, addr, PAGE), 0);
		assert_int_equal(frame(addr), pfn);
	}
}

/* COPY of a page in a large hole adds that page; where a folio does not fit, holes are filled one by one. */
static void no_larger_than_the_hole(void **state)
{
	static const char source[PAGE] = "a";
	uint64_t at = mapping(MAP_SHARED, FL_UFFDIO_REGISTER_MODE_MISSING), other = mapping(MAP_SHARED, 0);

	assert_int_equal(fl_uffd_copy(uffd, at + 5 * PAGE, (uintptr_t)source, PAGE, 0, NULL), 0);
	assert_int_equal(data_at(shmem, 0), 5 * PAGE);
	assert_int_equal(load(other + 9 * PAGE), 0);
	assert_int_equal(data_at(shmem, 6 * PAGE), 9 * PAGE);
	assert_int_equal(fl_shmem_truncate(shmem, 2 * HUGE - PAGE), 0);
	assert_int_equal(load(other + HUGE), 0);
	assert_int_equal(data_at(shmem, HUGE + PAGE), -1);
}

/* ---- one folio, mapped by one leaf ---- */

#define COLLAPSE 25 /* MADV_COLLAPSE */

static bool is_leaf(uint64_t addr)
{
	fl_pmd_t *pmdp = fl_pmd_offset(mm, addr);

	return pmdp && pmd_leaf(pmdp_get_lockless(pmdp));
}

/* Compares the word of each page of the 2 MiB. */
static void words_are(uint64_t addr, uint64_t want)
{
	for (unsigned i = 0; i < 512; i++)
		assert_int_equal(word(addr + i * PAGE), want);
}

/* The first 2 MiB, small pages, each holding its number. */
static void small_pages(void)
{
	fl_shmem_huge(shmem, 0);
	for (unsigned i = 0; i < 512; i++) {
		uint8_t byte = (uint8_t)(i + 1);

		assert_int_equal(fl_shmem_write(shmem, &byte, 1, i * PAGE), 1);
	}
}

static void hold_their_numbers(uint64_t addr)
{
	for (unsigned i = 0; i < 512; i++)
		assert_int_equal(load(addr + i * PAGE), (uint8_t)(i + 1));
}

static unsigned frames_in_use(void)
{
	unsigned n = 0;

	for (uint64_t pfn = 0; pfn < mm->pool.nr_frames; pfn++)
		n += fl_folio(mm, pfn)->refcount > 0;
	return n;
}

static uint64_t collapsed(int flags, uint64_t mode)
{
	uint64_t at = mapping(flags, mode);

	small_pages();
	assert_int_equal(fl_madvise(mm, at, HUGE, COLLAPSE), 0);
	assert_true(is_leaf(at));
	return at;
}

/* A fault finds the folio and maps all of it, whatever else maps it; each page is counted, and the head is asked. */
static void a_fault_maps_the_folio(void **state)
{
	uint64_t at, other, head;

	one_folio();
	at = mapping(MAP_SHARED, WP);
	other = mapping(MAP_SHARED, 0);
	assert_int_equal(load(at + 77 * PAGE), 'x');
	assert_true(is_leaf(at));
	words_are(at, FL_PM_PRESENT | FL_PM_FILE | FL_PM_EXCLUSIVE);
	assert_int_equal(load(other), 0);
	head = frame(at);
	assert_int_equal(fl_folio(mm, head)->order, 9);
	for (unsigned i = 0; i < 512; i++) {
		assert_int_equal(frame(at + i * PAGE), head + i);
		assert_int_equal(frame(other + i * PAGE), head + i);
		assert_int_equal(fl_folio(mm, head + i)->mapcount, 2);
		assert_int_equal(fl_folio(mm, head + i)->refcount, 3);
		assert_ptr_equal(fl_page_mapping(mm, head + i), fl_folio(mm, head)->mapping);
	}
	words_are(other, FL_PM_PRESENT | FL_PM_FILE);
}

/* With minor faults no page comes unasked, nor where the mapping is not aligned with the file. */
static void a_fault_maps_one_page(void **state)
{
	uint64_t at, odd;
	uint8_t byte;

	one_folio();
	at = mapping(MAP_SHARED, MINOR);
	assert_int_equal(fl_load(mm, at + 77 * PAGE, &byte, 1), SIGBUS);
	assert_int_equal(go_on(at + 77 * PAGE, PAGE), 1);
	assert_int_equal(load(at + 77 * PAGE), 'x');
	assert_int_equal(word(at + 76 * PAGE), 0);
	assert_true(fl_mmap_shmem(mm, 0, 2 * HUGE - PAGE, RW, MAP_SHARED, shmem, PAGE, &odd) == 0);
	assert_int_equal(load(odd + 76 * PAGE), 'x');
	assert_int_equal(word(odd + 75 * PAGE), 0);
	at = mapping(MAP_PRIVATE, 0);
	assert_int_equal(fl_store(mm, at, "y", 1), 0);
	assert_int_equal(word(at), FL_PM_PRESENT | FL_PM_EXCLUSIVE);
	assert_int_equal(word(at + PAGE), 0);
}

static void collapse_moves_all_pages(void **state)
{
	uint64_t at = mapping(MAP_SHARED, 0), other = mapping(MAP_SHARED, 0), before, was;
	struct fl_mm *child;

	small_pages();
	hold_their_numbers(at);
	hold_their_numbers(other);
	assert_int_equal(fl_mm_fork(mm, &child), 0);
	assert_int_equal(fl_store(child, other + 3 * PAGE, "\4", 1), 0);
	before = frames_in_use();
	was = frame(at);
	assert_int_equal(fl_madvise(mm, at, HUGE, COLLAPSE), 0);
	assert_true(is_leaf(at));
	assert_true(frame(at) != was);
	assert_int_equal(frames_in_use(), before);
	words_are(at, FL_PM_PRESENT | FL_PM_FILE | FL_PM_EXCLUSIVE);
	words_are(other, 0);
	hold_their_numbers(at);
	hold_their_numbers(other);
	assert_true(is_leaf(other)); /* its table is gone */
	assert_int_equal(fl_store(child, other + 511 * PAGE, "z", 1), 0);
	assert_int_equal(load(at + 511 * PAGE), 'z');
	assert_int_equal(fl_folio(mm, frame(at))->mapcount, 3);
	assert_int_equal(fl_mm_check(child), 0);
	assert_int_equal(fl_mm_destroy(child), 0);
	assert_int_equal(fl_folio(mm, frame(at))->mapcount, 2);
}

/* Another thread reads a page without having it mapped: it stays where it is. */
static void collapse_leaves_what_is_used(void **state)
{
	uint64_t at = mapping(MAP_SHARED, 0), pfn;

	small_pages();
	hold_their_numbers(at);
	pfn = frame(at + 300 * PAGE);
	assert_true(fl_folio_try_get(fl_folio(mm, pfn)));
	assert_int_equal(fl_madvise(mm, at, HUGE, COLLAPSE), -1);
	assert_int_equal(errno, EAGAIN);
	hold_their_numbers(at);
	assert_int_equal(frame(at + 300 * PAGE), pfn);
	fl_folio_put(mm, pfn);
	assert_int_equal(fl_madvise(mm, at, HUGE, COLLAPSE), 0);
	hold_their_numbers(at);
}

static void collapse_fails_for_want_of_memory(void **state)
{
	static const char *const points[] = {"alloc.frame", "alloc.pgtable"};
	uint64_t at = mapping(MAP_SHARED, 0);

	small_pages();
	for (unsigned i = 0; i < ARRAY_SIZE(points); i++) {
		assert_int_equal(fl_inject_set_point(points[i], 0, UINT32_MAX), 0);
		assert_int_equal(fl_madvise(mm, at, HUGE, COLLAPSE), -1);
		assert_int_equal(errno, ENOMEM);
		assert_int_equal(fl_inject_set_point(points[i], 0, 0), 0);
		words_are(at, 0);
	}
	hold_their_numbers(at); /* which maps it: the second attempt made the folio */
	assert_true(is_leaf(at));
	assert_int_equal(fl_madvise(mm, at, HUGE, MADV_DONTNEED), 0);
	assert_int_equal(fl_inject_set_point("alloc.pgtable", 0, 1), 0);
	assert_int_equal(load(at + 5 * PAGE), 6); /* without a table to deposit there is no leaf */
	assert_false(is_leaf(at));
	assert_int_equal(fl_inject_set_point("alloc.pgtable", 0, 0), 0);
}

/* The hole is filled, unless an object is to be told of it. */
static void collapse_fills_no_hole_that_is_waited_for(void **state)
{
	uint64_t at = mapping(MAP_SHARED, 0), other = mapping(MAP_SHARED, FL_UFFDIO_REGISTER_MODE_MISSING);
	uint8_t byte;

	small_pages();
	assert_int_equal(fl_shmem_punch(shmem, 9 * PAGE, PAGE), 0);
	assert_int_equal(fl_madvise(mm, at, HUGE, COLLAPSE), -1);
	assert_int_equal(errno, EBUSY);
	assert_int_equal(fl_load(mm, other + 9 * PAGE, &byte, 1), SIGBUS);
	assert_int_equal(fl_uffd_unregister(uffd, other, 2 * HUGE), 0);
	assert_int_equal(fl_madvise(mm, at, HUGE, COLLAPSE), 0);
	assert_int_equal(load(at + 9 * PAGE), 0);
	assert_int_equal(load(at + 8 * PAGE), 9);
}

/* Truncation and punching find leaves by their file, in all spaces, and nothing of them is left. */
static void truncation_finds_leaves(void **state)
{
	for (unsigned hole = 0; hole < 2; hole++)
		for (unsigned i = 0; i < ARRAY_SIZE(positions); i++) {
			uint64_t at = collapsed(MAP_SHARED, 0), other = mapping(MAP_SHARED, 0), head = frame(at), w;
			struct fl_mm *child;
			uint8_t byte;

			assert_int_equal(load(other), 1);
			assert_int_equal(fl_mm_fork(mm, &child), 0);
			assert_int_equal(fl_load(child, at, &byte, 1), 0);
			assert_int_equal(fl_folio(mm, head + 511)->mapcount, 3);
			if (hole)
				assert_int_equal(fl_shmem_punch(shmem, positions[i] * PAGE, PAGE), 0);
			else
				assert_int_equal(fl_shmem_truncate(shmem, positions[i] * PAGE), 0);
			words_are(at, 0);
			words_are(other, 0);
			assert_int_equal(fl_mm_pagemap(child, at + 511 * PAGE, 1, &w), 0);
			assert_int_equal(w & FL_PM_PRESENT, 0);
			for (unsigned j = 0; j < 512; j++)
				assert_int_equal(fl_folio(mm, head + j)->mapcount, 0);
			assert_int_equal(fl_folio(mm, head + positions[i])->refcount, 0);
			for (unsigned j = 0; j < positions[i]; j++)
				assert_int_equal(load(at + j * PAGE), (uint8_t)(j + 1));
			assert_int_equal(fl_mm_check(child), 0);
			assert_int_equal(fl_mm_destroy(child), 0);
			assert_int_equal(fl_munmap(mm, at, 2 * HUGE), 0);
			assert_int_equal(fl_munmap(mm, other, 2 * HUGE), 0);
			assert_int_equal(fl_shmem_truncate(shmem, 0), 0);
			assert_int_equal(fl_shmem_truncate(shmem, 2 * HUGE), 0);
		}
}

static void drop_part(uint64_t addr)
{
	assert_int_equal(fl_madvise(mm, addr, PAGE, MADV_DONTNEED), 0);
}

static void protect_part(uint64_t addr)
{
	assert_int_equal(fl_uffd_writeprotect(uffd, addr, PAGE, FL_UFFDIO_WRITEPROTECT_MODE_WP), 0);
}

static void unprotect_part(uint64_t addr)
{
	assert_int_equal(fl_uffd_writeprotect(uffd, addr, PAGE, 0), 0);
}

static void mprotect_part(uint64_t addr)
{
	assert_int_equal(fl_mprotect(mm, addr, PAGE, PROT_READ), 0);
}

static void unmap_part(uint64_t addr)
{
	assert_int_equal(fl_munmap(mm, addr, PAGE), 0);
}

/* Changing a part drops the leaf; its pages, no longer mapped, are in the cache as before. */
static void a_part_takes_all(void **state)
{
	static void (*const change[])(uint64_t addr) = {drop_part, protect_part, unprotect_part, mprotect_part,
							unmap_part};
	static const int kinds[] = {MAP_SHARED, MAP_PRIVATE};

	for (unsigned c = 0; c < ARRAY_SIZE(change) * 2; c++) {
		uint64_t at = collapsed(kinds[c % 2], 0), head = frame(at), addr = at + positions[c % 5] * PAGE;

		assert_int_equal(fl_uffd_register(uffd, at, 2 * HUGE, WP, NULL), 0);
		change[c / 2](addr);
		assert_false(is_leaf(at));
		for (unsigned i = 0; i < 512; i++) {
			uint64_t want = change[c / 2] == protect_part && at + i * PAGE == addr
						? FL_PM_SWAP | FL_PM_UFFD_WP
						: 0;

			assert_int_equal(word(at + i * PAGE), want);
			assert_int_equal(fl_folio(mm, head + i)->mapcount, 0);
			assert_int_equal(fl_folio(mm, head + i)->refcount, 1);
		}
		assert_int_equal(fl_folio(mm, head)->order, 9);
		assert_int_equal(fl_munmap(mm, at, 2 * HUGE), 0);
	}
}

/* Protecting the whole drops it, too: it becomes 512 markers. */
static void no_leaf_is_protected(void **state)
{
	uint64_t at = collapsed(MAP_SHARED, 0);

	assert_int_equal(fl_uffd_register(uffd, at, 2 * HUGE, WP, NULL), 0);
	assert_int_equal(fl_uffd_writeprotect(uffd, at, HUGE, FL_UFFDIO_WRITEPROTECT_MODE_WP), 0);
	assert_int_equal(fl_mm_check(mm), 0);
	words_are(at, FL_PM_SWAP | FL_PM_UFFD_WP);
}

/* A private mapping's leaf is never written to, swapped out, moved, or given to a child. */
static void no_page_of_a_leaf_becomes_anonymous(void **state)
{
	uint64_t at = collapsed(MAP_PRIVATE, 0), head = frame(at), w;
	struct fl_mm *child;
	uint8_t byte = 0xee;

	assert_int_equal(fl_mprotect(mm, at, HUGE, PROT_READ), 0);
	assert_int_equal(fl_mprotect(mm, at, 2 * HUGE, RW), 0);
	assert_int_equal(fl_madvise(mm, at, HUGE, MADV_PAGEOUT), 0);
	assert_int_equal(migrated(mm, at, HUGE), 0);
	assert_true(is_leaf(at));
	assert_false(pte_write(fl_pte_get(mm, at)));
	assert_int_equal(fl_mm_fork(mm, &child), 0);
	assert_int_equal(fl_mm_pagemap(child, at, 1, &w), 0);
	assert_int_equal(w & FL_PM_PRESENT, 0);
	assert_int_equal(fl_mm_destroy(child), 0);
	assert_int_equal(fl_store(mm, at + 5 * PAGE, &byte, 1), 0);
	assert_true(frame(at + 5 * PAGE) - head >= 512);
	assert_int_equal(word(at + 5 * PAGE), FL_PM_PRESENT | FL_PM_EXCLUSIVE);
	assert_int_equal(fl_folio(mm, head + 5)->mapcount, 0);
	assert_int_equal(fl_shmem_read(shmem, &byte, 1, 5 * PAGE), 1);
	assert_int_equal(byte, 6);
	assert_int_equal(fl_madvise(mm, at, HUGE, COLLAPSE), -1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(load(at + 5 * PAGE), 0xee);
}

/*
 * A leaf may extend past the end of the file, is dropped by a truncation, and leaves nothing behind when the file
 * goes.
 */
static void collapse_behind_the_end(void **state)
{
	uint64_t at = mapping(MAP_SHARED, 0);

	small_pages();
	assert_int_equal(fl_shmem_truncate(shmem, 100 * PAGE), 0);
	assert_int_equal(fl_madvise(mm, at, HUGE, COLLAPSE), 0);
	assert_int_equal(load(at + 511 * PAGE), 0);
	assert_int_equal(data_at(shmem, 99 * PAGE), 99 * PAGE);
	assert_int_equal(data_at(shmem, 100 * PAGE), -1);
	assert_int_equal(fl_shmem_truncate(shmem, 99 * PAGE), 0);
	assert_int_equal(frames_in_use(), 99);
	assert_int_equal(fl_madvise(mm, at, HUGE, COLLAPSE), 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(continue_maps_the_files_page, begin, end),
		cmocka_unit_test_setup_teardown(truncation_finds_each, begin, end),
		cmocka_unit_test_setup_teardown(a_hole_at_the_head, begin, end),
		cmocka_unit_test_setup_teardown(private_mapping_copies, begin, end),
		cmocka_unit_test_setup_teardown(not_for_swap_or_migration, begin, end),
		cmocka_unit_test_setup_teardown(no_larger_than_the_hole, begin, end),
		cmocka_unit_test_setup_teardown(a_fault_maps_the_folio, begin, end),
		cmocka_unit_test_setup_teardown(a_fault_maps_one_page, begin, end),
		cmocka_unit_test_setup_teardown(collapse_moves_all_pages, begin, end),
		cmocka_unit_test_setup_teardown(collapse_leaves_what_is_used, begin, end),
		cmocka_unit_test_setup_teardown(collapse_fails_for_want_of_memory, begin, end),
		cmocka_unit_test_setup_teardown(collapse_fills_no_hole_that_is_waited_for, begin, end),
		cmocka_unit_test_setup_teardown(truncation_finds_leaves, begin, end),
		cmocka_unit_test_setup_teardown(a_part_takes_all, begin, end),
		cmocka_unit_test_setup_teardown(no_leaf_is_protected, begin, end),
		cmocka_unit_test_setup_teardown(no_page_of_a_leaf_becomes_anonymous, begin, end),
		cmocka_unit_test_setup_teardown(collapse_behind_the_end, begin, end),
	};

	return cmocka_run_group_tests_name("shmem", tests, NULL, NULL);
}
