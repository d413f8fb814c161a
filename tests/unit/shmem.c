/* SPDX-License-Identifier: MIT */
/*
 * shmem.c - large folios in the page cache of soft address spaces, looked at from inside: whatever the position of a
 * page in its folio, it is the file's, is counted and found as such, and never becomes an anonymous page.
 */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>

#include "mm/file.h"
#include "mm/mm.h"
#include <faultline/faultline.h>

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
	uint64_t at = fl_mmap_shmem(mm, 0, 2 * HUGE, RW, flags, shmem, 0);

	assert_true(at != FL_MAP_FAILED);
	if (mode)
		assert_int_equal(fl_uffd_register(uffd, at, 2 * HUGE, mode, NULL), 0);
	return at;
}

/* One byte into the first 2 MiB: all of it is in the cache then. */
static void one_folio(void)
{
	assert_int_equal(fl_shmem_write(shmem, "x", 1, 77 * PAGE), 1);
	assert_int_equal(fl_shmem_data(shmem, 0), 0);
	assert_int_equal(fl_shmem_data(shmem, HUGE - PAGE), HUGE - PAGE);
	assert_int_equal(fl_shmem_data(shmem, HUGE), -1);
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

/* Truncated in the middle of the folio: what is behind is found in both mappings, what is before stays. */
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

/* The head goes first: its tails do not forget whose they are. */
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

/* A private mapping reads the folio's page, and is alone with it; a store must make a copy all the same. */
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

/* What moves and swaps anonymous pages leaves these alone. */
static void not_for_swap_or_migration(void **state)
{
	uint64_t at;

	one_folio();
	at = mapping(MAP_PRIVATE, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(positions); i++) {
		uint64_t addr = at + positions[i] * PAGE, pfn;

		assert_int_equal(load(addr), 0);
		pfn = frame(addr);
		assert_int_equal(fl_madvise(mm, addr, PAGE, MADV_PAGEOUT), 0);
		assert_int_equal(fl_mm_migrate(mm, addr, PAGE), 0);
		assert_int_equal(frame(addr), pfn);
	}
}

/* COPY of a page where there is a large hole adds that page; where there is no room for a folio, holes are filled singly. */
static void no_larger_than_the_hole(void **state)
{
	static const char source[PAGE] = "a";
	uint64_t at = mapping(MAP_SHARED, FL_UFFDIO_REGISTER_MODE_MISSING), other = mapping(MAP_SHARED, 0);

	assert_int_equal(fl_uffd_copy(uffd, at + 5 * PAGE, (uintptr_t)source, PAGE, 0, NULL), 0);
	assert_int_equal(fl_shmem_data(shmem, 0), 5 * PAGE);
	assert_int_equal(load(other + 9 * PAGE), 0);
	assert_int_equal(fl_shmem_data(shmem, 6 * PAGE), 9 * PAGE);
	assert_int_equal(fl_shmem_truncate(shmem, 2 * HUGE - PAGE), 0);
	assert_int_equal(load(other + HUGE), 0);
	assert_int_equal(fl_shmem_data(shmem, HUGE + PAGE), -1);
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
	};

	return cmocka_run_group_tests_name("shmem", tests, NULL, NULL);
}
