/* SPDX-License-Identifier: MIT */
/*
 * shmem_missing.c - MODE_MISSING of shared memory: which accesses send a message, and what UFFDIO_COPY and
 * UFFDIO_ZEROPAGE put where. What makes holes is in shmem_hole.c.
 */
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
