/* SPDX-License-Identifier: MIT */
/*
 * shmem_missing.c - MODE_MISSING of shared memory: which accesses send a message, what UFFDIO_COPY and
 * UFFDIO_ZEROPAGE put where, and what makes a hole again.
 */
#include <sys/syscall.h>

#include "shmem.h"

#define MAN "ioctl_userfaultfd(2)"

/* ---- accesses ---- */

EACH_KIND(shmem_missing_load, SEEN ": a load of a hole")
{
	for_each_mode_with(m, MISSING) {
		struct shmem s = shmem(kind, 3, m, 0);
		struct touch t;

		faults(&t, &s, LOAD, 1, 0);
		CHECK(touch_waits(&t));
		fill(s.u, at(&s, 1), 1, 7);
		touch_ends_with(&t, 7);
		CHECK(page_is(at(&s, 1), 7));
		CHECK(quiet(s.u));
	}
}

EACH_KIND(shmem_missing_store, SEEN ": a store to a hole")
{
	for_each_mode_with(m, MISSING) {
		struct shmem s = shmem(kind, 3, m, 0);
		struct touch t;

		faults(&t, &s, STORE, 1, WRITE);
		fill(s.u, at(&s, 1), 1, 7);
		CHECK_OK(touch_end(&t));
		CHECK_EQ(peek(at(&s, 1)), 0xdd);
		CHECK_EQ(peek(at(&s, 1) + 1), 7);
		CHECK(quiet(s.u));
	}
}

EACH_KIND(shmem_missing_system_calls, SEEN ": as instructions")
{
	for_each_mode_with(m, MISSING) {
		struct shmem s = shmem(kind, 2, m, 0);
		struct touch t;

		faults(&t, &s, KERNEL_READ, 0, 0);
		fill(s.u, at(&s, 0), 1, 7);
		touch_ends_with(&t, 7);
		faults(&t, &s, KERNEL_WRITE, 1, WRITE);
		fill(s.u, at(&s, 1), 1, 7);
		CHECK_OK(touch_end(&t));
		loads(&s, 1, 0xdd);
	}
}

EACH_KIND(shmem_missing_exact_address, "userfaultfd(2), UFFD_FEATURE_EXACT_ADDRESS")
{
	struct shmem s = shmem(kind, 1, MISSING | MINOR, FL_UFFD_FEATURE_EXACT_ADDRESS);
	struct touch t;

	touch_start(&t, LOAD, s.mem + 77, 0);
	expect_fault(s.u, s.mem + 77, 0);
	fill(s.u, s.mem, 1, 7);
	touch_ends_with(&t, 7);
	CHECK_OK(T->advise(s.mem, PAGE, MADV_DONTNEED));
	if (kind == PRIVATE)
		cached(&s, 0, 1, 7);
	touch_start(&t, STORE, s.mem + 78, 0);
	expect_fault(s.u, s.mem + 78, WRITE | F_MINOR);
}

EACH_KIND(shmem_missing_not_for_cached_pages, SEEN ": what is in the cache is mapped without a message")
{
	for_each_mode_with(m, MISSING) {
		if (m & MINOR)
			continue;
		struct shmem s = shmem(kind, 1, m, 0), r = shmem(kind, 1, m, 0);

		cached(&s, 0, 1, 7);
		loads(&s, 0, 7);
		cached(&r, 0, 1, 7);
		stores(&r, 0, 8);
		CHECK_EQ(peek(r.mem + 1), 7);
		CHECK_EQ(peek(r.other), kind == PRIVATE ? 7 : 8);
	}
}

FILE_KINDS(shmem_missing_not_after_pwrite, SEEN)
{
	struct shmem s = shmem(kind, 2, MISSING, 0);

	CHECK_EQ(T->file_write(s.file, PAGE + 3, "x", 1), 1);
	CHECK_EQ(peek(at(&s, 1) + 3), 'x');
	loads(&s, 1, 0);
	expect_missing(s.u, at(&s, 0));
}

FILE_KINDS(shmem_missing_after_pread, SEEN ": reading a hole of a file leaves it one")
{
	struct shmem s = shmem(kind, 1, MISSING, 0);

	CHECK_EQ(file_byte(s.file, 0), 0);
	CHECK_EQ(T->file_data(s.file, 0), -ENXIO);
	expect_missing(s.u, s.mem);
}

EACH_KIND(shmem_missing_not_after_a_load_elsewhere, SEEN ": a load of a hole where nothing is registered fills it")
{
	struct shmem s = shmem(kind, 1, MISSING, 0);

	CHECK_EQ(peek(s.other), 0);
	loads(&s, 0, 0);
}

EACH_KIND(shmem_missing_store_after_load, SEEN)
{
	for_each_mode_with(m, MISSING) {
		struct shmem s = shmem(kind, 1, m, 0);

		expect_missing(s.u, s.mem);
		stores(&s, 0, 5);
		loads(&s, 0, 5);
		CHECK_EQ(peek(s.other), kind == PRIVATE ? 0 : 5);
	}
}

EACH_KIND(shmem_without_missing_no_message, SEEN ": MODE_WP or MODE_MINOR alone: a hole is filled with zeros")
{
	for_each_mode(m) {
		if (m & MISSING)
			continue;
		struct shmem s = shmem(kind, 2, m, 0);

		loads(&s, 0, 0);
		stores(&s, 1, 5);
		CHECK_EQ(peek(at(&s, 1) + 1), 0);
		CHECK_EQ(peek(there(&s, 1)), kind == PRIVATE ? 0 : 5);
	}
}

EACH_KIND(shmem_missing_sigbus, "userfaultfd(2), UFFD_FEATURE_SIGBUS")
{
	struct shmem s = shmem(kind, 2, MISSING, FL_UFFD_FEATURE_SIGBUS);
	uint8_t byte = 1;

	CHECK_EQ(peek(s.mem), -SIGBUS);
	CHECK_EQ(poke(s.mem, 1), -SIGBUS);
	CHECK_EQ(T->kernel_read(s.mem, &byte, 1), -EFAULT);
	CHECK_EQ(T->kernel_write(s.mem, &byte, 1), -EFAULT);
	cached(&s, 1, 1, 7);
	loads(&s, 1, 7);
}

/* ---- UFFDIO_COPY ---- */

SHARED_KINDS(shmem_copy_fills_the_cache, SEEN ": other mappings of the page see it")
{
	for_each_mode(m) {
		struct shmem s = shmem(kind, 3, m, 0);
		int64_t copied;

		CHECK_OK(copy(s.u, at(&s, 1), source(2, 7), 2 * PAGE, 0, &copied));
		CHECK_EQ(copied, 2 * PAGE);
		CHECK(page_is(there(&s, 1), 7));
		CHECK(page_is(there(&s, 2), 8));
		loads(&s, 1, 7);
		stores(&s, 1, 9);
		CHECK_EQ(peek(there(&s, 1)), 9);
	}
}

CASE(shmem_copy_fills_the_file, SEEN)
{
	for_each_mode(m) {
		struct shmem s = shmem(MEMFD, 3, m, 0);

		CHECK_EQ(T->file_data(s.file, 0), -ENXIO);
		fill(s.u, at(&s, 1), 1, 7);
		CHECK_EQ(file_byte(s.file, PAGE), 7);
		CHECK_EQ(T->file_data(s.file, 0), PAGE);
		CHECK_EQ(T->file_data(s.file, 2 * PAGE), -ENXIO);
	}
}

CASE(shmem_copy_private, SEEN ": a page of the mapping's own, the file keeps its hole")
{
	for_each_mode(m) {
		struct shmem s = shmem(PRIVATE, 2, m, 0);

		fill(s.u, s.mem, 1, 7);
		CHECK_EQ(T->file_data(s.file, 0), -ENXIO);
		CHECK_EQ(file_byte(s.file, 0), 0);
		CHECK_EQ(peek(s.other), 0);
		CHECK(page_is(s.mem, 7));
		stores(&s, 0, 8);
		CHECK_EQ(peek(s.other), 0);
	}
}

SHARED_KINDS(shmem_copy_over_cached, SEEN ": EEXIST, the page is still not mapped")
{
	for_each_mode(m) {
		struct shmem s = shmem(kind, 1, m, 0);
		int64_t copied;

		cached(&s, 0, 1, 5);
		CHECK_EQ(copy(s.u, s.mem, source(1, 7), PAGE, 0, &copied), -EEXIST);
		CHECK_EQ(copied, -EEXIST);
		CHECK_EQ(word(s.mem), W_NONE);
		CHECK(page_is(s.other, 5));
	}
}

CASE(shmem_copy_private_over_cached, SEEN ": it may have another page than the file's")
{
	for_each_mode(m) {
		struct shmem s = shmem(PRIVATE, 1, m, 0);

		cached(&s, 0, 1, 5);
		CHECK_OK(copy(s.u, s.mem, source(1, 7), PAGE, 0, NULL));
		CHECK(page_is(s.mem, 7));
		CHECK(page_is(s.other, 5));
	}
}

EACH_KIND(shmem_copy_over_mapped, SEEN ": EEXIST")
{
	for_each_mode(m) {
		struct shmem s = shmem(kind, 1, m, 0);
		int64_t copied;

		fill(s.u, s.mem, 1, 5);
		CHECK_EQ(copy(s.u, s.mem, source(1, 7), PAGE, 0, &copied), -EEXIST);
		CHECK_EQ(copied, -EEXIST);
		CHECK(page_is(s.mem, 5));
	}
}

EACH_KIND(shmem_copy_over_a_mapped_cache_page, SEEN ": EEXIST")
{
	struct shmem s = shmem(kind, 1, MISSING, 0);

	cached(&s, 0, 1, 5);
	loads(&s, 0, 5);
	CHECK_EQ(copy(s.u, s.mem, source(1, 7), PAGE, 0, NULL), -EEXIST);
	CHECK(page_is(s.mem, 5));
}

SHARED_KINDS(shmem_copy_until_cached, SEEN ": EAGAIN, `copy` is the part before")
{
	for_each_mode(m) {
		struct shmem s = shmem(kind, 4, m, 0);
		int64_t copied;

		cached(&s, 2, 1, 5);
		CHECK_EQ(copy(s.u, s.mem, source(4, 1), 4 * PAGE, 0, &copied), -EAGAIN);
		CHECK_EQ(copied, 2 * PAGE);
		CHECK(page_is(s.other, 1));
		CHECK(page_is(there(&s, 1), 2));
		CHECK(page_is(there(&s, 2), 5));
		CHECK_EQ(word(at(&s, 3)), W_NONE);
	}
}

CASE(shmem_copy_private_past_cached, SEEN)
{
	struct shmem s = shmem(PRIVATE, 4, MISSING, 0);

	cached(&s, 2, 1, 5);
	fill(s.u, s.mem, 4, 1);
	CHECK(page_is(at(&s, 2), 3));
	CHECK(page_is(there(&s, 2), 5));
}

EACH_KIND(shmem_copy_dontwake, MAN " UFFDIO_COPY_MODE_DONTWAKE")
{
	struct shmem s = shmem(kind, 1, MISSING, 0);
	struct touch t;

	faults(&t, &s, LOAD, 0, 0);
	CHECK_OK(copy(s.u, s.mem, source(1, 7), PAGE, FL_UFFDIO_COPY_MODE_DONTWAKE, NULL));
	CHECK(touch_waits(&t));
	CHECK_OK(wake(s.u, s.mem, PAGE));
	touch_ends_with(&t, 7);
}

EACH_KIND(shmem_copy_not_registered, MAN " UFFDIO_COPY, ENOENT")
{
	struct shmem s = shmem_map(kind, 1);

	CHECK_EQ(copy(uffd(0), s.mem, source(1, 7), PAGE, 0, NULL), -ENOENT);
	CHECK_EQ(peek(s.mem), 0);
}

EACH_KIND(shmem_copy_read_only, SEEN ": the rights of the mapping do not matter")
{
	static const int prots[] = {PROT_NONE, PROT_READ};

	for (unsigned p = 0; p < 2; p++) {
		struct shmem s = shmem(kind, 1, MISSING, 0);

		CHECK_OK(T->protect(s.mem, PAGE, prots[p]));
		fill(s.u, s.mem, 1, 7);
		CHECK_EQ(poke(s.mem, 1), -SIGSEGV);
		CHECK_OK(T->protect(s.mem, PAGE, RW));
		stores(&s, 0, 8);
		CHECK_EQ(peek(s.mem + 1), 7);
	}
}

/* ---- where the bytes come from ---- */

EACH_KIND(shmem_copy_from_the_same_file, SEEN ": through another mapping")
{
	struct shmem s = shmem(kind, 2, MISSING, 0);

	cached(&s, 0, 1, 7);
	CHECK_OK(copy(s.u, at(&s, 1), there(&s, 0), PAGE, 0, NULL));
	CHECK(page_is(at(&s, 1), 7));
}

EACH_KIND(shmem_copy_from_the_same_registration, SEEN ": a page of the cache that is not mapped yet")
{
	struct shmem s = shmem(kind, 2, MISSING, 0);

	cached(&s, 0, 1, 7);
	CHECK_OK(copy(s.u, at(&s, 1), at(&s, 0), PAGE, 0, NULL));
	CHECK(page_is(at(&s, 1), 7));
}

EACH_KIND(shmem_copy_from_its_own_page,
	  SEEN ": the other mapping's load of the hole fills it: EEXIST, private: zeros")
{
	struct shmem s = shmem(kind, 1, MISSING, 0);

	CHECK_EQ(copy(s.u, s.mem, s.other, PAGE, 0, NULL), kind == PRIVATE ? 0 : -EEXIST);
	CHECK(page_is(s.mem, 0));
}

EACH_KIND(shmem_copy_into_anonymous, SEEN ": shared memory as the source")
{
	struct area a = area(2, MISSING, 0);
	struct shmem s = shmem_map(kind, 2);

	cached(&s, 0, 2, 7);
	CHECK_OK(copy(a.u, a.mem, s.mem, 2 * PAGE, 0, NULL));
	CHECK(page_is(a.mem, 7));
	CHECK(page_is(a.mem + PAGE, 8));
}

/* ---- UFFDIO_ZEROPAGE ---- */

SHARED_KINDS(shmem_zero_fills_the_cache, SEEN ": a page of its own, for all mappings")
{
	for_each_mode(m) {
		struct shmem s = shmem(kind, 3, m, 0);
		int64_t zeroed;

		CHECK_OK(zero(s.u, at(&s, 1), 2 * PAGE, 0, &zeroed));
		CHECK_EQ(zeroed, 2 * PAGE);
		CHECK_EQ(word(at(&s, 1)), W_CACHE_OWN);
		CHECK(page_is(at(&s, 1), 0));
		stores(&s, 1, 5);
		CHECK_EQ(peek(there(&s, 1)), 5);
		if (s.file >= 0)
			CHECK_EQ(T->file_data(s.file, 0), PAGE);
	}
}

CASE(shmem_zero_private, SEEN ": the zero page, the file keeps its hole")
{
	for_each_mode(m) {
		struct shmem s = shmem(PRIVATE, 1, m, 0);

		CHECK_OK(zero(s.u, s.mem, PAGE, 0, NULL));
		CHECK_EQ(word(s.mem), W_ZERO);
		CHECK_EQ(T->file_data(s.file, 0), -ENXIO);
		stores(&s, 0, 5);
		CHECK_EQ(word(s.mem), W_OWN);
		CHECK_EQ(T->file_data(s.file, 0), -ENXIO);
	}
}

SHARED_KINDS(shmem_zero_over_cached, SEEN ": EEXIST, the page is still not mapped")
{
	for_each_mode(m) {
		struct shmem s = shmem(kind, 1, m, 0);
		int64_t zeroed;

		cached(&s, 0, 1, 5);
		CHECK_EQ(zero(s.u, s.mem, PAGE, 0, &zeroed), -EEXIST);
		CHECK_EQ(zeroed, -EEXIST);
		CHECK_EQ(word(s.mem), W_NONE);
		CHECK(page_is(s.other, 5));
	}
}

CASE(shmem_zero_private_over_cached, SEEN)
{
	for_each_mode(m) {
		struct shmem s = shmem(PRIVATE, 1, m, 0);

		cached(&s, 0, 1, 5);
		CHECK_OK(zero(s.u, s.mem, PAGE, 0, NULL));
		CHECK(page_is(s.mem, 0));
		CHECK(page_is(s.other, 5));
	}
}

EACH_KIND(shmem_zero_over_mapped, SEEN ": EEXIST")
{
	for_each_mode(m) {
		struct shmem s = shmem(kind, 1, m, 0);

		fill(s.u, s.mem, 1, 5);
		CHECK_EQ(zero(s.u, s.mem, PAGE, 0, NULL), -EEXIST);
		CHECK(page_is(s.mem, 5));
	}
}

SHARED_KINDS(shmem_zero_until_cached, SEEN ": EAGAIN, `zeropage` is the part before")
{
	struct shmem s = shmem(kind, 4, MISSING, 0);
	int64_t zeroed;

	cached(&s, 1, 1, 5);
	CHECK_EQ(zero(s.u, s.mem, 4 * PAGE, 0, &zeroed), -EAGAIN);
	CHECK_EQ(zeroed, PAGE);
	CHECK_EQ(word(at(&s, 2)), W_NONE);
	expect_missing(s.u, at(&s, 2));
}

/* ---- the end of the file ---- */

/* Two pages of a file under four of a mapping. */
static struct shmem short_file(enum shmem_kind kind, uint64_t mode)
{
	struct shmem s = {uffd(0), 0, 0, file_of(2)};

	s.mem = map_of(s.file, 0, 4, RW, kind == PRIVATE ? MAP_PRIVATE : MAP_SHARED);
	s.other = map_of(s.file, 0, 4, RW, MAP_SHARED);
	CHECK_OK(reg(s.u, s.mem, 4 * PAGE, mode));
	return s;
}

FILE_KINDS(shmem_end_access, "mmap(2), SIGBUS: beyond the end of the file; observed: without a message")
{
	for_each_mode(m) {
		struct shmem s = short_file(kind, m);
		uint8_t byte = 1;

		CHECK_EQ(peek(at(&s, 2)), -SIGBUS);
		CHECK_EQ(poke(at(&s, 3), 1), -SIGBUS);
		CHECK_EQ(T->kernel_read(at(&s, 2), &byte, 1), -EFAULT);
		CHECK_EQ(T->kernel_write(at(&s, 2), &byte, 1), -EFAULT);
		CHECK(quiet(s.u));
	}
}

FILE_KINDS(shmem_end_copy, SEEN ": EFAULT beyond the end of the file")
{
	for_each_mode(m) {
		struct shmem s = short_file(kind, m);
		int64_t copied;

		CHECK_EQ(copy(s.u, at(&s, 2), source(1, 7), PAGE, 0, &copied), -EFAULT);
		CHECK_EQ(copied, -EFAULT);
		CHECK_EQ(word(at(&s, 2)), W_NONE);
	}
}

FILE_KINDS(shmem_end_copy_across, SEEN ": EAGAIN, `copy` is what was before the end")
{
	for_each_mode(m) {
		struct shmem s = short_file(kind, m);
		int64_t copied;

		CHECK_EQ(copy(s.u, at(&s, 1), source(3, 7), 3 * PAGE, 0, &copied), -EAGAIN);
		CHECK_EQ(copied, PAGE);
		CHECK(page_is(at(&s, 1), 7));
	}
}

FILE_KINDS(shmem_end_zero, SEEN ": EFAULT beyond the end of the file, EAGAIN across it")
{
	for_each_mode(m) {
		struct shmem s = short_file(kind, m);
		int64_t zeroed;

		CHECK_EQ(zero(s.u, at(&s, 2), PAGE, 0, &zeroed), -EFAULT);
		CHECK_EQ(zeroed, -EFAULT);
		CHECK_EQ(zero(s.u, at(&s, 0), 3 * PAGE, 0, &zeroed), -EAGAIN);
		CHECK_EQ(zeroed, 2 * PAGE);
		CHECK(page_is(at(&s, 1), 0));
	}
}

FILE_KINDS(shmem_end_grows, SEEN ": what is added are holes")
{
	for_each_mode_with(m, MISSING) {
		struct shmem s = short_file(kind, m);

		CHECK_EQ(peek(at(&s, 2)), -SIGBUS);
		CHECK_OK(T->file_truncate(s.file, 4 * PAGE));
		expect_missing(s.u, at(&s, 2));
		fill(s.u, at(&s, 3), 1, 7);
		loads(&s, 3, 7);
	}
}

FILE_KINDS(shmem_end_inside_of_a_page, SEEN ": a page that the file ends in is copied whole")
{
	int64_t file = T->file(PAGE + 100);
	uint64_t mem;
	uffd_t u = uffd(0);

	CHECK(file >= 0);
	mem = map_of(file, 0, 2, RW, kind == PRIVATE ? MAP_PRIVATE : MAP_SHARED);
	CHECK_OK(reg(u, mem, 2 * PAGE, MISSING));
	fill(u, mem, 2, 7);
	CHECK(page_is(mem + PAGE, 8));
	CHECK_EQ(file_byte(file, PAGE + 99), kind == PRIVATE ? 0 : 8);
	CHECK_EQ(file_byte(file, PAGE + 100), -ENODATA);
}

/* ---- holes again ---- */

SHARED_KINDS(shmem_dontneed, SEEN ": the page stays in the cache, and is mapped again without a message")
{
	static const uint64_t modes[] = {MISSING, WP, BOTH};

	for (unsigned i = 0; i < 3; i++) {
		struct shmem s = shmem(kind, 1, modes[i], 0);

		fill(s.u, s.mem, 1, 7);
		CHECK_OK(T->advise(s.mem, PAGE, MADV_DONTNEED));
		CHECK_EQ(word(s.mem), W_NONE);
		loads(&s, 0, 7);
		CHECK_OK(T->advise(s.mem, PAGE, MADV_DONTNEED));
		stores(&s, 0, 8);
		CHECK_EQ(peek(s.mem + 1), 7);
	}
}

CASE(shmem_dontneed_private, SEEN ": the mapping's own page is gone, the file's shows, or its hole faults")
{
	struct shmem s = shmem(PRIVATE, 3, MISSING, 0);

	fill(s.u, s.mem, 2, 7);
	cached(&s, 1, 1, 5);
	CHECK_EQ(peek(at(&s, 1)), 8);
	CHECK_OK(T->advise(s.mem, 2 * PAGE, MADV_DONTNEED));
	CHECK(words_are(s.mem, 2, W_NONE));
	expect_missing(s.u, at(&s, 0));
	loads(&s, 1, 5);
}

SHARED_KINDS(shmem_remove, "madvise(2), MADV_REMOVE; observed: a hole in every mapping")
{
	for_each_mode(m) {
		struct shmem s = shmem(kind, 4, m, 0);

		fill(s.u, s.mem, 4, 7);
		CHECK_EQ(peek(there(&s, 1)), 8);
		CHECK_OK(T->advise(at(&s, 1), 2 * PAGE, MADV_REMOVE));
		CHECK_EQ(word(at(&s, 1)), W_NONE);
		CHECK_EQ(word(there(&s, 1)), W_NONE);
		if (m & MISSING)
			expect_missing(s.u, at(&s, 1));
		else
			loads(&s, 1, 0);
		CHECK_EQ(peek(there(&s, 2)), 0);
		loads(&s, 0, 7);
		loads(&s, 3, 10);
	}
}

CASE(shmem_remove_private, SEEN ": EACCES, not for private mappings; nothing is changed")
{
	for_each_mode(m) {
		struct shmem s = shmem(PRIVATE, 2, m, 0);

		cached(&s, 0, 2, 5);
		CHECK_OK(go_on(s.u, s.mem, PAGE, 0, NULL));
		CHECK_EQ(T->advise(s.mem, 2 * PAGE, MADV_REMOVE), -EACCES);
		loads(&s, 0, 5);
		CHECK_EQ(peek(there(&s, 1)), 6);
	}
}

SHARED_KINDS(shmem_remove_elsewhere, SEEN ": through the mapping that is not registered")
{
	for_each_mode_with(m, MISSING) {
		struct shmem s = shmem(kind, 2, m, 0);
		struct touch t;

		fill(s.u, s.mem, 2, 7);
		CHECK_OK(T->advise(s.other, PAGE, MADV_REMOVE));
		CHECK_EQ(word(s.mem), W_NONE);
		faults(&t, &s, STORE, 0, WRITE);
		fill(s.u, s.mem, 1, 9);
		CHECK_OK(touch_end(&t));
		loads(&s, 1, 8);
	}
}

SHARED_KINDS(shmem_remove_a_hole, SEEN)
{
	struct shmem s = shmem(kind, 1, MISSING, 0);

	CHECK_OK(T->advise(s.mem, PAGE, MADV_REMOVE));
	expect_missing(s.u, s.mem);
}

CASE(shmem_punch, "fallocate(2), FALLOC_FL_PUNCH_HOLE; observed: missing again")
{
	for_each_mode(m) {
		struct shmem s = shmem(MEMFD, 4, m, 0);

		fill(s.u, s.mem, 4, 7);
		CHECK_OK(T->file_punch(s.file, PAGE, 2 * PAGE));
		CHECK(words_are(at(&s, 1), 2, W_NONE));
		CHECK_EQ(T->file_data(s.file, PAGE), 3 * PAGE);
		if (m & MISSING)
			expect_missing(s.u, at(&s, 1));
		else
			loads(&s, 1, 0);
		fill(s.u, at(&s, 2), 1, 5);
		CHECK_EQ(file_byte(s.file, 2 * PAGE), 5);
		loads(&s, 3, 10);
	}
}

CASE(shmem_punch_private, SEEN ": the file's pages go, the mapping's own stay")
{
	for_each_mode(m) {
		struct shmem s = shmem(PRIVATE, 3, m, 0);

		cached(&s, 0, 2, 5);
		CHECK_OK(go_on(s.u, s.mem, 2 * PAGE, 0, NULL));
		stores(&s, 0, 9);
		fill(s.u, at(&s, 2), 1, 8);
		CHECK_OK(T->file_punch(s.file, 0, 3 * PAGE));
		CHECK_EQ(word(at(&s, 0)), W_OWN);
		CHECK_EQ(word(at(&s, 1)), W_NONE);
		CHECK_EQ(peek(s.mem + 1), 5);
		loads(&s, 0, 9);
		loads(&s, 2, 8);
		if (m & MISSING)
			expect_missing(s.u, at(&s, 1));
		else
			loads(&s, 1, 0);
	}
}

CASE(shmem_punch_inside_of_pages, "fallocate(2): whole pages go, parts of pages become zeros")
{
	struct shmem s = shmem(MEMFD, 4, MISSING, 0);

	fill(s.u, s.mem, 4, 7);
	CHECK_OK(T->file_punch(s.file, 100, 2 * PAGE));
	CHECK_EQ(peek(s.mem + 99), 7);
	CHECK_EQ(peek(s.mem + 100), 0);
	CHECK_EQ(peek(at(&s, 2) + 99), 0);
	CHECK_EQ(peek(at(&s, 2) + 100), 9);
	CHECK(quiet(s.u));
	expect_missing(s.u, at(&s, 1));
}

FILE_KINDS(shmem_truncate, SEEN ": SIGBUS without a message, also where a private mapping had pages of its own")
{
	for_each_mode(m) {
		struct shmem s = shmem(kind, 4, m, 0);

		fill(s.u, s.mem, 4, 7);
		CHECK_OK(T->file_truncate(s.file, 2 * PAGE));
		CHECK(words_are(at(&s, 2), 2, W_NONE));
		CHECK_EQ(peek(at(&s, 2)), -SIGBUS);
		CHECK_EQ(poke(at(&s, 3), 1), -SIGBUS);
		CHECK(quiet(s.u));
		loads(&s, 1, 8);
	}
}

FILE_KINDS(shmem_truncate_and_grow, SEEN ": holes")
{
	for_each_mode(m) {
		struct shmem s = shmem(kind, 4, m, 0);

		fill(s.u, s.mem, 4, 7);
		CHECK_OK(T->file_truncate(s.file, PAGE));
		CHECK_OK(T->file_truncate(s.file, 4 * PAGE));
		CHECK(words_are(at(&s, 1), 3, W_NONE));
		if (m & MISSING)
			expect_missing(s.u, at(&s, 1));
		else
			loads(&s, 1, 0);
		fill(s.u, at(&s, 2), 1, 4);
		loads(&s, 2, 4);
	}
}

/* The ways to it that name the file by a path. What they leave: page 0, or nothing at all, of four. */
enum { BY_PATH, BY_OPEN, BY_STREAM, BY_OPENAT2, WAYS };

static void truncate_by(unsigned way, int64_t file)
{
	struct {
		uint64_t flags, mode, resolve;
	} how = {O_RDWR | O_TRUNC, 0, 0};
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", (int)file);
	if (way == BY_PATH)
		CHECK_OK(truncate(path, 0));
	else if (way == BY_OPEN)
		CHECK(open(path, O_RDWR | O_TRUNC) >= 0);
	else if (way == BY_STREAM)
		CHECK(fopen(path, "w"));
	else
		CHECK(syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how)) >= 0);
}

CASE_ON(shmem_truncate_by_name, ON_LIBC, DESCRIPTOR, SEEN)
{
	for (unsigned way = 0; way < WAYS; way++) {
		struct shmem s = shmem(MEMFD, 4, MISSING, 0);

		fill(s.u, s.mem, 4, 1);
		truncate_by(way, s.file);
		CHECK_EQ(peek(at(&s, 0)), -SIGBUS);
		CHECK_OK(T->file_truncate(s.file, 4 * PAGE));
		expect_missing(s.u, at(&s, 0));
		fill(s.u, at(&s, 1), 3, 5);
		loads(&s, 3, 7);
	}
}

CASE_ON(shmem_opened_by_name, ON_LIBC, DESCRIPTOR, SEEN ": nothing goes")
{
	struct shmem s = shmem(MEMFD, 2, MISSING | MINOR, 0);
	char path[32];

	fill(s.u, s.mem, 2, 1);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", (int)s.file);
	CHECK(open(path, O_RDWR) >= 0);
	CHECK(fopen(path, "r+"));
	CHECK_EQ(truncate("/nowhere", 0), -1);
	loads(&s, 0, 1);
	loads(&s, 1, 2);
}

CASE(shmem_truncate_inside_of_a_page, "truncate(2): what is cut off reads as zeros")
{
	struct shmem s = shmem(MEMFD, 2, MISSING, 0);

	fill(s.u, s.mem, 2, 7);
	CHECK_OK(T->file_truncate(s.file, 100));
	CHECK_EQ(peek(s.mem + 99), 7);
	CHECK_EQ(peek(s.mem + 100), 0);
	CHECK_EQ(peek(at(&s, 1)), -SIGBUS);
}

EACH_KIND(shmem_unmap_and_map_again, SEEN ": the cache outlives the mapping")
{
	struct shmem s = shmem(kind, 2, MISSING, 0);
	uint64_t to = s.other;

	fill(s.u, s.mem, 1, 7);
	CHECK_OK(T->unmap(s.mem, 2 * PAGE));
	CHECK_OK(reg(s.u, to, 2 * PAGE, MISSING));
	if (kind != PRIVATE)
		CHECK_EQ(peek(to), 7);
	CHECK(quiet(s.u));
	expect_missing(s.u, to + PAGE);
}

/* ---- waiters ---- */

EACH_KIND(shmem_waiter_filled_elsewhere, SEEN ": it waits until it is woken, and sees the other's page")
{
	for_each_mode_with(m, MISSING) {
		if (m & MINOR)
			continue;
		struct shmem s = shmem(kind, 1, m, 0);
		struct touch t;

		faults(&t, &s, LOAD, 0, 0);
		CHECK_EQ(poke(s.other, 9), 0);
		CHECK(touch_waits(&t));
		CHECK_OK(wake(s.u, s.mem, PAGE));
		touch_ends_with(&t, 9);
		CHECK(quiet(s.u));
	}
}

EACH_KIND(shmem_waiter_filled_elsewhere_minor, SEEN ": woken, it faults again, for the page that is there now")
{
	struct shmem s = shmem(kind, 1, MISSING | MINOR, 0);
	struct touch t;

	faults(&t, &s, LOAD, 0, 0);
	CHECK_EQ(poke(s.other, 9), 0);
	CHECK_OK(wake(s.u, s.mem, PAGE));
	expect_fault(s.u, s.mem, F_MINOR);
	CHECK_OK(go_on(s.u, s.mem, PAGE, 0, NULL));
	touch_ends_with(&t, 9);
}

SHARED_KINDS(shmem_waiter_eexist, SEEN ": EEXIST wakes nobody")
{
	struct shmem s = shmem(kind, 1, MISSING, 0);
	struct touch t;

	faults(&t, &s, LOAD, 0, 0);
	CHECK_EQ(poke(s.other, 9), 0);
	CHECK_EQ(copy(s.u, s.mem, source(1, 7), PAGE, 0, NULL), -EEXIST);
	CHECK(touch_waits(&t));
	CHECK_EQ(zero(s.u, s.mem, PAGE, 0, NULL), -EEXIST);
	CHECK(touch_waits(&t));
	CHECK_OK(wake(s.u, s.mem, PAGE));
	touch_ends_with(&t, 9);
}

CASE(shmem_waiter_private_filled_elsewhere, SEEN ": a COPY is what counts")
{
	struct shmem s = shmem(PRIVATE, 1, MISSING, 0);
	struct touch t;

	faults(&t, &s, LOAD, 0, 0);
	CHECK_EQ(poke(s.other, 9), 0);
	fill(s.u, s.mem, 1, 7);
	touch_ends_with(&t, 7);
}

SHARED_KINDS(shmem_waiters_of_two_mappings, SEEN ": a fill wakes those of its own mapping")
{
	struct shmem s = shmem(kind, 1, MISSING, 0);
	uffd_t second = uffd(0);
	struct touch here, elsewhere;

	CHECK_OK(reg(second, s.other, PAGE, MISSING));
	faults(&here, &s, LOAD, 0, 0);
	touch_start(&elsewhere, LOAD, s.other, 0);
	expect_fault(second, s.other, 0);
	fill(s.u, s.mem, 1, 7);
	touch_ends_with(&here, 7);
	CHECK(touch_waits(&elsewhere));
	CHECK_EQ(copy(second, s.other, source(1, 8), PAGE, 0, NULL), -EEXIST);
	CHECK(touch_waits(&elsewhere));
	CHECK_OK(wake(second, s.other, PAGE));
	touch_ends_with(&elsewhere, 7);
}

FILE_KINDS(shmem_waiter_truncated, SEEN ": it waits on; woken, it gets SIGBUS")
{
	for_each_mode_with(m, MISSING) {
		struct shmem s = shmem(kind, 2, m, 0);
		struct touch t;

		faults(&t, &s, LOAD, 1, 0);
		CHECK_OK(T->file_truncate(s.file, PAGE));
		CHECK(touch_waits(&t));
		CHECK_EQ(copy(s.u, at(&s, 1), source(1, 7), PAGE, 0, NULL), -EFAULT);
		CHECK(touch_waits(&t));
		CHECK_OK(wake(s.u, at(&s, 1), PAGE));
		CHECK_EQ(touch_end(&t), SIGBUS);
	}
}

EACH_KIND(shmem_waiter_punched, SEEN ": a hole that is made a hole: it waits on")
{
	for_each_mode_with(m, MISSING) {
		struct shmem s = shmem(kind, 1, m, 0);
		struct touch t;

		faults(&t, &s, LOAD, 0, 0);
		drop(&s, 0, 1);
		CHECK(touch_waits(&t));
		fill(s.u, s.mem, 1, 7);
		touch_ends_with(&t, 7);
	}
}

EACH_KIND(shmem_waiter_unmapped, SEEN ": it waits on; woken, it gets SIGSEGV")
{
	for_each_mode_with(m, MISSING) {
		struct shmem s = shmem(kind, 2, m, 0);
		struct touch t;

		faults(&t, &s, LOAD, 1, 0);
		CHECK_OK(T->unmap(at(&s, 1), PAGE));
		CHECK(touch_waits(&t));
		CHECK_OK(wake(s.u, at(&s, 1), PAGE));
		CHECK_EQ(touch_end(&t), SIGSEGV);
	}
}

EACH_KIND(shmem_waiter_closed, "userfaultfd(2): the last close unregisters all ranges")
{
	for_each_mode_with(m, MISSING) {
		struct shmem s = shmem(kind, 1, m, 0);
		struct touch t;

		faults(&t, &s, STORE, 0, WRITE);
		CHECK_OK(T->close(s.u));
		CHECK_OK(touch_end(&t));
		CHECK_EQ(peek(s.mem), 0xdd);
		CHECK_EQ(peek(s.other), kind == PRIVATE ? 0 : 0xdd);
	}
}
