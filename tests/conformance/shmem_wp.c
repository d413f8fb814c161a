/* SPDX-License-Identifier: MIT */
/*
 * shmem_wp.c - write-protection of shared memory. A page that is protected and not mapped has a marker, whatever
 * features were asked for.
 */
#include <sys/wait.h>
#include <unistd.h>

#include "shmem.h"

#define COPY_WP FL_UFFDIO_COPY_MODE_WP

static const uint64_t features[] = {0, FL_UFFD_FEATURE_WP_UNPOPULATED};

/* Registered, protected, and every page mapped: page i holds 1 + i. */
static struct shmem mapped_and_protected(enum shmem_kind kind, unsigned pages, uint64_t mode)
{
	struct shmem s = shmem(kind, pages, mode, 0);

	cached(&s, 0, pages, 1);
	CHECK_OK(go_on(s.u, s.mem, pages * PAGE, 0, NULL));
	CHECK_OK(protect(s.u, s.mem, pages * PAGE, SET));
	return s;
}

/* The same, of pages that a private mapping has copied. */
static struct shmem own_and_protected(unsigned pages, uint64_t mode)
{
	struct shmem s = shmem(PRIVATE, pages, mode, 0);

	cached(&s, 0, pages, 0x21);
	fill(s.u, s.mem, pages, 1);
	CHECK_OK(protect(s.u, s.mem, pages * PAGE, SET));
	return s;
}

/* A store to the page is trapped; un-protected, it goes through. */
static void trapped(const struct shmem *s, unsigned page)
{
	struct touch t;

	faults(&t, s, STORE, page, TRAPPED);
	CHECK(touch_waits(&t));
	CHECK_OK(protect(s->u, at(s, page), PAGE, 0));
	CHECK_OK(touch_end(&t));
	CHECK_EQ(peek(at(s, page)), 0xdd);
	CHECK(quiet(s->u));
}

/* A load of the page is missing, whatever its marker says: COPY resolves it. */
static void expect_missing_marker(const struct shmem *s, unsigned page)
{
	struct touch t;

	faults(&t, s, LOAD, page, 0);
	fill(s->u, at(s, page), 1, 7);
	touch_ends_with(&t, 7);
}

/* ---- pages that are mapped ---- */

EACH_KIND(shmem_wp_mapped, SEEN ": a page of the cache")
{
	for_each_mode_with(m, WP) {
		struct shmem s = mapped_and_protected(kind, 3, m);

		CHECK(words_are(s.mem, 3, W_CACHE_PROTECTED));
		loads(&s, 1, 2);
		trapped(&s, 1);
		CHECK_EQ(word(at(&s, 0)), W_CACHE_PROTECTED);
		CHECK_EQ(word(at(&s, 1)), kind == PRIVATE ? W_OWN : W_CACHE_OWN);
		CHECK_EQ(word(at(&s, 2)), W_CACHE_PROTECTED);
		CHECK_EQ(peek(there(&s, 1)), kind == PRIVATE ? 2 : 0xdd);
		CHECK_EQ(peek(at(&s, 1) + 1), 2);
	}
}

CASE(shmem_wp_private_copy, SEEN ": a page of the mapping's own")
{
	for_each_mode_with(m, WP) {
		struct shmem s = own_and_protected(2, m);

		CHECK(words_are(s.mem, 2, W_PROTECTED));
		trapped(&s, 0);
		CHECK_EQ(word(s.mem), W_OWN);
		CHECK_EQ(peek(s.other), 0x21);
	}
}

CASE(shmem_wp_private_zero_page, SEEN)
{
	struct shmem s = shmem(PRIVATE, 1, BOTH, 0);

	CHECK_OK(zero(s.u, s.mem, PAGE, 0, NULL));
	CHECK_OK(protect(s.u, s.mem, PAGE, SET));
	CHECK_EQ(word(s.mem), W_ZERO | FL_PM_UFFD_WP);
	trapped(&s, 0);
	CHECK_EQ(word(s.mem), W_OWN);
	CHECK_EQ(peek(s.other), 0);
}

EACH_KIND(shmem_wp_system_calls, SEEN ": as instructions")
{
	struct shmem s = mapped_and_protected(kind, 1, WP);
	struct touch t;

	touch_start(&t, KERNEL_READ, s.mem, 0);
	touch_ends_with(&t, 1);
	faults(&t, &s, KERNEL_WRITE, 0, TRAPPED);
	CHECK_OK(protect(s.u, s.mem, PAGE, 0));
	CHECK_OK(touch_end(&t));
	loads(&s, 0, 0xdd);
}

EACH_KIND(shmem_wp_unset, SEEN ": the store passes, private: to a copy")
{
	for_each_mode_with(m, WP) {
		struct shmem s = mapped_and_protected(kind, 2, m);

		CHECK_OK(protect(s.u, s.mem, PAGE, 0));
		CHECK_EQ(word(s.mem), W_CACHE_OWN);
		stores(&s, 0, 9);
		CHECK_EQ(word(s.mem), kind == PRIVATE ? W_OWN : W_CACHE_OWN);
		CHECK_EQ(word(at(&s, 1)), W_CACHE_PROTECTED);
		CHECK_EQ(peek(s.other), kind == PRIVATE ? 1 : 9);
	}
}

EACH_KIND(shmem_wp_not_registered_for_it, "ioctl_userfaultfd(2) UFFDIO_WRITEPROTECT, ENOENT")
{
	for_each_mode(m) {
		if (m & WP)
			continue;
		struct shmem s = shmem(kind, 2, m, 0);

		fill(s.u, s.mem, 1, 7);
		CHECK_EQ(protect(s.u, s.mem, 2 * PAGE, SET), -ENOENT);
		CHECK_EQ(word(s.mem), kind == PRIVATE ? W_OWN : W_CACHE_OWN);
		CHECK_EQ(word(at(&s, 1)), W_NONE);
	}
}

EACH_KIND(shmem_wp_sigbus, "userfaultfd(2), UFFD_FEATURE_SIGBUS")
{
	struct shmem s = shmem(kind, 2, WP, FL_UFFD_FEATURE_SIGBUS);

	fill(s.u, s.mem, 1, 7);
	CHECK_OK(protect(s.u, s.mem, 2 * PAGE, SET));
	CHECK_EQ(poke(at(&s, 0), 1), -SIGBUS);
	CHECK_EQ(poke(at(&s, 1), 1), -SIGBUS);
	loads(&s, 0, 7);
	loads(&s, 1, 0);
}

/* ---- other paths to the same page ---- */

SHARED_KINDS(shmem_wp_store_elsewhere,
	     SEEN ": a store through another mapping is not trapped, and changes no protection")
{
	struct shmem s = mapped_and_protected(kind, 1, WP);

	CHECK_EQ(poke(s.other, 9), 0);
	CHECK(quiet(s.u));
	CHECK_EQ(word(s.mem), W_SHARED_PROTECTED);
	CHECK_EQ(word(s.other), W_CACHE);
	loads(&s, 0, 9);
	trapped(&s, 0);
}

FILE_KINDS_UNCOPIED(shmem_wp_pwrite, SEEN ": is not trapped either")
{
	struct shmem s = mapped_and_protected(kind, 1, WP);

	CHECK_EQ(T->file_write(s.file, 0, "x", 1), 1);
	CHECK_EQ(word(s.mem), W_CACHE_PROTECTED);
	loads(&s, 0, 'x');
	trapped(&s, 0);
}

EACH_KIND(shmem_wp_is_of_a_mapping, SEEN ": each mapping has its own protection")
{
	struct shmem s = mapped_and_protected(kind, 2, WP);
	uffd_t second = uffd(0);

	CHECK_OK(reg(second, s.other, 2 * PAGE, WP));
	CHECK_OK(protect(second, s.other, PAGE, SET));
	CHECK_EQ(word(there(&s, 0)), W_MARKER);
	CHECK_EQ(word(there(&s, 1)), W_NONE);
	expect_wp(second, there(&s, 0));
	CHECK(quiet(s.u));
	CHECK_EQ(poke(there(&s, 1), 5), 0);
	CHECK(quiet(second));
	trapped(&s, 0);
}

/* ---- markers ---- */

EACH_KIND(shmem_marker_word,
	  SEEN ": of holes and of pages in the cache, with and without UFFD_FEATURE_WP_UNPOPULATED")
{
	for (unsigned f = 0; f < 2; f++)
		for_each_mode_with(m, WP) {
			struct shmem s = shmem(kind, 4, m, features[f]);

			cached(&s, 1, 2, 7);
			CHECK_OK(protect(s.u, s.mem, 3 * PAGE, SET));
			CHECK(words_are(s.mem, 3, W_MARKER));
			CHECK_EQ(word(at(&s, 3)), W_NONE);
		}
}

EACH_KIND(shmem_marker_unset, SEEN ": not there, as before")
{
	for_each_mode_with(m, WP) {
		struct shmem s = shmem(kind, 2, m, 0);

		cached(&s, 1, 1, 7);
		CHECK_OK(protect(s.u, s.mem, 2 * PAGE, SET));
		CHECK_OK(protect(s.u, s.mem, 2 * PAGE, 0));
		CHECK(words_are(s.mem, 2, W_NONE));
	}
}

EACH_KIND(shmem_marker_unset_then_store, SEEN)
{
	struct shmem s = shmem(kind, 2, WP, 0);

	cached(&s, 1, 1, 7);
	CHECK_OK(protect(s.u, s.mem, 2 * PAGE, SET));
	CHECK_OK(protect(s.u, s.mem, 2 * PAGE, 0));
	stores(&s, 0, 5);
	stores(&s, 1, 5);
	CHECK_EQ(peek(at(&s, 1) + 1), 7);
}

EACH_KIND(shmem_marker_load, SEEN ": the page comes, and is protected")
{
	struct shmem s = shmem(kind, 2, WP, 0);

	cached(&s, 1, 1, 7);
	CHECK_OK(protect(s.u, s.mem, 2 * PAGE, SET));
	loads(&s, 0, 0);
	loads(&s, 1, 7);
	CHECK(words_are(s.mem, 2, W_CACHE_PROTECTED));
	trapped(&s, 0);
	trapped(&s, 1);
}

EACH_KIND(shmem_marker_store, SEEN ": the page comes, and the store is trapped")
{
	struct shmem s = shmem(kind, 2, WP, 0);

	cached(&s, 1, 1, 7);
	CHECK_OK(protect(s.u, s.mem, 2 * PAGE, SET));
	for (unsigned i = 0; i < 2; i++) {
		struct touch t;

		faults(&t, &s, STORE, i, TRAPPED);
		CHECK_EQ(word(at(&s, i)), kind == PRIVATE ? W_PROTECTED : W_CACHE_PROTECTED);
		CHECK_OK(protect(s.u, at(&s, i), PAGE, 0));
		CHECK_OK(touch_end(&t));
		CHECK_EQ(peek(at(&s, i) + 1), i ? 7 : 0);
	}
	CHECK_EQ(peek(there(&s, 1)), kind == PRIVATE ? 7 : 0xdd);
}

EACH_KIND(shmem_marker_minor_hole, SEEN ": MODE_MINOR means the cache, a hole comes by itself")
{
	struct shmem s = shmem(kind, 2, WP | MINOR, 0);

	CHECK_OK(protect(s.u, s.mem, 2 * PAGE, SET));
	loads(&s, 0, 0);
	CHECK_EQ(word(s.mem), W_CACHE_PROTECTED);
	trapped(&s, 0);
	trapped(&s, 1);
}

EACH_KIND(shmem_marker_missing, SEEN ": a hole is missing before it is protected; a COPY without MODE_WP ends both")
{
	for_each_mode_with(m, WP) {
		struct shmem s = shmem(kind, 2, m | MISSING, 0);
		struct touch t;

		CHECK_OK(protect(s.u, s.mem, 2 * PAGE, SET));
		faults(&t, &s, LOAD, 0, 0);
		fill(s.u, at(&s, 0), 1, 7);
		touch_ends_with(&t, 7);
		stores(&s, 0, 8);
		faults(&t, &s, STORE, 1, WRITE);
		fill(s.u, at(&s, 1), 1, 7);
		CHECK_OK(touch_end(&t));
		CHECK(quiet(s.u));
	}
}

EACH_KIND(shmem_marker_missing_in_cache, SEEN ": what is in the cache is not missing")
{
	struct shmem s = shmem(kind, 2, BOTH, 0);

	cached(&s, 0, 2, 7);
	CHECK_OK(protect(s.u, s.mem, 2 * PAGE, SET));
	loads(&s, 0, 7);
	CHECK_EQ(word(s.mem), W_CACHE_PROTECTED);
	trapped(&s, 0);
	trapped(&s, 1);
}

EACH_KIND(shmem_marker_unset_wakes, SEEN ": the waiter faults again, and is missing still")
{
	struct shmem s = shmem(kind, 1, BOTH, 0);
	struct touch t;

	CHECK_OK(protect(s.u, s.mem, PAGE, SET));
	faults(&t, &s, STORE, 0, WRITE);
	CHECK_OK(protect(s.u, s.mem, PAGE, 0));
	expect_fault(s.u, s.mem, WRITE);
	CHECK_EQ(word(s.mem), W_NONE);
	fill(s.u, s.mem, 1, 7);
	CHECK_OK(touch_end(&t));
}

FILE_KINDS(shmem_marker_beyond_the_end, SEEN ": a marker, too; SIGBUS comes first")
{
	for_each_mode_with(m, WP) {
		struct shmem s = shmem(kind, 2, m, 0);

		CHECK_OK(T->file_truncate(s.file, PAGE));
		CHECK_OK(protect(s.u, s.mem, 2 * PAGE, SET));
		CHECK_EQ(word(at(&s, 1)), W_MARKER);
		CHECK_EQ(peek(at(&s, 1)), -SIGBUS);
		CHECK_EQ(poke(at(&s, 1), 1), -SIGBUS);
		CHECK(quiet(s.u));
		CHECK_EQ(word(at(&s, 1)), W_MARKER);
		CHECK_OK(T->file_truncate(s.file, 2 * PAGE));
		if (m & MISSING)
			expect_missing_marker(&s, 1);
		else
			trapped(&s, 1);
	}
}

/* ---- fills ---- */

EACH_KIND(shmem_copy_wp, "ioctl_userfaultfd(2), UFFDIO_COPY_MODE_WP")
{
	for_each_mode_with(m, WP) {
		struct shmem s = shmem(kind, 1, m, 0);

		CHECK_OK(copy(s.u, s.mem, source(1, 7), PAGE, COPY_WP, NULL));
		CHECK_EQ(word(s.mem), kind == PRIVATE ? W_PROTECTED : W_CACHE_PROTECTED);
		trapped(&s, 0);
		CHECK_EQ(peek(s.other), kind == PRIVATE ? 0 : 0xdd);
	}
}

EACH_KIND(shmem_copy_wp_not_registered, SEEN ": EINVAL without MODE_WP")
{
	for_each_mode(m) {
		if (m & WP)
			continue;
		struct shmem s = shmem(kind, 1, m, 0);
		int64_t copied;

		CHECK_EQ(copy(s.u, s.mem, source(1, 7), PAGE, COPY_WP, &copied), -EINVAL);
		CHECK_EQ(copied, -EINVAL);
		CHECK_EQ(word(s.mem), W_NONE);
	}
}

EACH_KIND(shmem_copy_over_markers, SEEN ": protected only if it says so")
{
	for_each_mode_with(m, WP) {
		struct shmem s = shmem(kind, 2, m, 0);

		CHECK_OK(protect(s.u, s.mem, 2 * PAGE, SET));
		CHECK_OK(copy(s.u, at(&s, 0), source(1, 7), PAGE, 0, NULL));
		CHECK_OK(copy(s.u, at(&s, 1), source(1, 8), PAGE, COPY_WP, NULL));
		CHECK_EQ(word(at(&s, 0)), kind == PRIVATE ? W_OWN : W_CACHE_OWN);
		CHECK_EQ(word(at(&s, 1)), kind == PRIVATE ? W_PROTECTED : W_CACHE_PROTECTED);
		stores(&s, 0, 5);
		trapped(&s, 1);
	}
}

SHARED_KINDS(shmem_copy_over_a_cached_marker, SEEN ": EEXIST, the marker stays")
{
	struct shmem s = shmem(kind, 1, BOTH, 0);

	cached(&s, 0, 1, 5);
	CHECK_OK(protect(s.u, s.mem, PAGE, SET));
	CHECK_EQ(copy(s.u, s.mem, source(1, 7), PAGE, 0, NULL), -EEXIST);
	CHECK_EQ(word(s.mem), W_MARKER);
	trapped(&s, 0);
	CHECK_EQ(peek(s.mem + 1), 5);
}

SHARED_KINDS(shmem_zero_over_a_marker, SEEN ": 0, and not protected")
{
	for_each_mode_with(m, WP) {
		struct shmem s = shmem(kind, 1, m, 0);

		CHECK_OK(protect(s.u, s.mem, PAGE, SET));
		CHECK_OK(zero(s.u, s.mem, PAGE, 0, NULL));
		CHECK_EQ(word(s.mem), W_CACHE_OWN);
		stores(&s, 0, 5);
	}
}

CASE(shmem_zero_private_over_a_marker, SEEN ": EEXIST, as in private anonymous memory; the marker stays")
{
	for_each_mode_with(m, WP) {
		struct shmem s = shmem(PRIVATE, 1, m, 0);
		int64_t zeroed;

		CHECK_OK(protect(s.u, s.mem, PAGE, SET));
		CHECK_EQ(zero(s.u, s.mem, PAGE, 0, &zeroed), -EEXIST);
		CHECK_EQ(zeroed, -EEXIST);
		CHECK_EQ(word(s.mem), W_MARKER);
	}
}

/* ---- what protection survives ---- */

EACH_KIND(shmem_wp_dontneed, SEEN ": a marker takes the page's place")
{
	for_each_mode_with(m, WP) {
		struct shmem s = mapped_and_protected(kind, 3, m);
		struct touch t;

		CHECK_OK(T->advise(s.mem, 2 * PAGE, MADV_DONTNEED));
		CHECK(words_are(s.mem, 2, W_MARKER));
		CHECK_EQ(word(at(&s, 2)), W_CACHE_PROTECTED);
		if (m & MINOR) {
			faults(&t, &s, STORE, 1, WRITE | F_MINOR);
		} else {
			trapped(&s, 1);
			CHECK_EQ(peek(at(&s, 1) + 1), 2);
		}
	}
}

CASE(shmem_wp_dontneed_private_copy, SEEN ": a marker, and the file's page behind it")
{
	struct shmem s = own_and_protected(1, WP);

	CHECK_OK(T->advise(s.mem, PAGE, MADV_DONTNEED));
	CHECK_EQ(word(s.mem), W_MARKER);
	loads(&s, 0, 0x21);
	CHECK_EQ(word(s.mem), W_CACHE_PROTECTED);
	trapped(&s, 0);
}

EACH_KIND(shmem_marker_dontneed, SEEN ": it stays")
{
	for_each_mode_with(m, WP) {
		struct shmem s = shmem(kind, 2, m, 0);

		cached(&s, 1, 1, 7);
		CHECK_OK(protect(s.u, s.mem, 2 * PAGE, SET));
		CHECK_OK(T->advise(s.mem, 2 * PAGE, MADV_DONTNEED));
		CHECK(words_are(s.mem, 2, W_MARKER));
	}
}

EACH_KIND(shmem_wp_other_advice, SEEN ": MADV_COLD leaves it; MADV_FREE is EINVAL")
{
	struct shmem s = mapped_and_protected(kind, 2, WP);

	CHECK_OK(T->advise(s.mem, 2 * PAGE, MADV_COLD));
	CHECK_EQ(T->advise(s.mem, 2 * PAGE, MADV_FREE), -EINVAL);
	CHECK(words_are(s.mem, 2, W_CACHE_PROTECTED));
	trapped(&s, 0);
}

EACH_KIND(shmem_wp_dropped_from_the_cache, SEEN ": MADV_REMOVE and punching leave markers")
{
	for_each_mode_with(m, WP) {
		struct shmem s = mapped_and_protected(kind, 4, m);

		if (kind == PRIVATE)
			drop(&s, 1, 2);
		else
			CHECK_OK(T->advise(at(&s, 1), 2 * PAGE, MADV_REMOVE));
		CHECK(words_are(at(&s, 1), 2, W_MARKER));
		CHECK_EQ(word(at(&s, 0)), W_CACHE_PROTECTED);
		CHECK_EQ(word(at(&s, 3)), W_CACHE_PROTECTED);
		if (m & MISSING)
			expect_missing_marker(&s, 1);
		else
			trapped(&s, 1);
	}
}

SHARED_KINDS(shmem_wp_dropped_elsewhere, SEEN ": by a file, or through another mapping")
{
	struct shmem s = mapped_and_protected(kind, 2, WP);

	drop(&s, 0, 1);
	CHECK_EQ(word(at(&s, 0)), W_MARKER);
	CHECK_EQ(word(at(&s, 1)), W_CACHE_PROTECTED);
	trapped(&s, 0);
	CHECK_EQ(peek(s.mem + 1), 0);
}

CASE(shmem_wp_private_copy_punched, SEEN ": the mapping's own page stays, and its protection")
{
	struct shmem s = own_and_protected(1, WP);

	CHECK_OK(T->file_punch(s.file, 0, PAGE));
	CHECK_EQ(word(s.mem), W_PROTECTED);
	loads(&s, 0, 1);
	trapped(&s, 0);
}

FILE_KINDS(shmem_wp_truncated, SEEN ": markers, also when the file has grown again")
{
	for_each_mode_with(m, WP) {
		struct shmem s = mapped_and_protected(kind, 3, m);

		CHECK_OK(T->file_truncate(s.file, PAGE));
		CHECK(words_are(at(&s, 1), 2, W_MARKER));
		CHECK_EQ(poke(at(&s, 1), 1), -SIGBUS);
		CHECK_OK(T->file_truncate(s.file, 3 * PAGE));
		CHECK(words_are(at(&s, 1), 2, W_MARKER));
		CHECK_EQ(word(at(&s, 0)), W_CACHE_PROTECTED);
		if (m & MISSING)
			expect_missing_marker(&s, 1);
		else
			trapped(&s, 1);
	}
}

CASE(shmem_wp_private_copy_truncated, SEEN ": a marker")
{
	struct shmem s = own_and_protected(2, WP);

	CHECK_OK(T->file_truncate(s.file, PAGE));
	CHECK_EQ(word(at(&s, 0)), W_PROTECTED);
	CHECK_EQ(word(at(&s, 1)), W_MARKER);
}

EACH_KIND(shmem_wp_mprotect, SEEN ": mprotect and back leaves it")
{
	static const int prots[] = {PROT_NONE, PROT_READ};

	for (unsigned p = 0; p < 2; p++) {
		struct shmem s = mapped_and_protected(kind, 3, WP);

		CHECK_OK(T->advise(at(&s, 1), PAGE, MADV_DONTNEED));
		CHECK_OK(T->protect(s.mem, 3 * PAGE, prots[p]));
		CHECK_EQ(poke(s.mem, 1), -SIGSEGV);
		CHECK_EQ(word(at(&s, 0)), W_CACHE_PROTECTED);
		CHECK_EQ(word(at(&s, 1)), W_MARKER);
		CHECK_OK(T->protect(s.mem, 3 * PAGE, RW));
		CHECK_EQ(word(at(&s, 0)), W_CACHE_PROTECTED);
		CHECK_EQ(word(at(&s, 1)), W_MARKER);
		trapped(&s, 0);
		trapped(&s, 1);
	}
}

EACH_KIND(shmem_wp_while_closed, SEEN ": PROT_NONE does not matter to UFFDIO_WRITEPROTECT")
{
	struct shmem s = mapped_and_protected(kind, 2, WP);

	CHECK_OK(T->protect(s.mem, 2 * PAGE, PROT_NONE));
	CHECK_OK(protect(s.u, s.mem, PAGE, 0));
	CHECK_EQ(word(at(&s, 0)), W_CACHE_OWN);
	CHECK_OK(T->protect(s.mem, 2 * PAGE, RW));
	stores(&s, 0, 5);
	trapped(&s, 1);
}

EACH_KIND(shmem_wp_unregister, SEEN ": gone, pages stay mapped, markers go")
{
	for_each_mode_with(m, WP) {
		struct shmem s = mapped_and_protected(kind, 3, m);

		CHECK_OK(T->advise(at(&s, 1), PAGE, MADV_DONTNEED));
		CHECK_OK(unreg(s.u, s.mem, 2 * PAGE));
		CHECK_EQ(word(at(&s, 0)), W_CACHE_OWN);
		CHECK_EQ(word(at(&s, 1)), W_NONE);
		CHECK_EQ(word(at(&s, 2)), W_CACHE_PROTECTED);
		stores(&s, 0, 5);
		stores(&s, 1, 5);
		trapped(&s, 2);
	}
}

EACH_KIND(shmem_wp_close, "userfaultfd(2): the last close unregisters all ranges")
{
	struct shmem s = mapped_and_protected(kind, 2, WP);

	CHECK_OK(T->advise(at(&s, 1), PAGE, MADV_DONTNEED));
	CHECK_OK(T->close(s.u));
	CHECK_EQ(word(at(&s, 0)), W_CACHE_OWN);
	CHECK_EQ(word(at(&s, 1)), W_NONE);
	CHECK_EQ(poke(at(&s, 0), 5), 0);
	CHECK_EQ(poke(at(&s, 1), 5), 0);
}

CASE(shmem_wp_private_copy_unregister, SEEN)
{
	struct shmem s = own_and_protected(1, WP);

	CHECK_OK(unreg(s.u, s.mem, PAGE));
	CHECK_EQ(word(s.mem), W_OWN);
	stores(&s, 0, 5);
}

EACH_KIND(shmem_wp_register_again, SEEN ": another mode that has MODE_WP changes nothing")
{
	struct shmem s = mapped_and_protected(kind, 2, WP);

	CHECK_OK(T->advise(at(&s, 1), PAGE, MADV_DONTNEED));
	CHECK_OK(reg(s.u, s.mem, 2 * PAGE, BOTH));
	CHECK_EQ(word(at(&s, 0)), W_CACHE_PROTECTED);
	CHECK_EQ(word(at(&s, 1)), W_MARKER);
	trapped(&s, 0);
	trapped(&s, 1);
}

#define MOVE (MREMAP_MAYMOVE | MREMAP_FIXED)

EACH_KIND(shmem_wp_mremap, SEEN ": what is moved is not protected, without EVENT_REMAP")
{
	for_each_mode_with(m, WP) {
		struct shmem s = mapped_and_protected(kind, 2, m);
		uint64_t to = shmem_place(2);

		CHECK_OK(T->advise(at(&s, 1), PAGE, MADV_DONTNEED));
		CHECK_EQ(T->remap(s.mem, 2 * PAGE, 2 * PAGE, MOVE, to), to);
		CHECK_EQ(word(to), W_CACHE_OWN);
		CHECK_EQ(word(to + PAGE), W_NONE);
		CHECK_EQ(poke(to, 5), 0);
		CHECK_EQ(poke(to + PAGE, 5), 0);
		CHECK(quiet(s.u));
	}
}

EACH_KIND(shmem_wp_mremap_dontunmap, SEEN ": gone at both places")
{
	struct shmem s = mapped_and_protected(kind, 2, WP);
	uint64_t to = shmem_place(2);

	CHECK_OK(T->advise(at(&s, 1), PAGE, MADV_DONTNEED));
	CHECK_EQ(T->remap(s.mem, 2 * PAGE, 2 * PAGE, MOVE | MREMAP_DONTUNMAP, to), to);
	CHECK_EQ(word(to), W_CACHE_OWN);
	CHECK_EQ(word(to + PAGE), W_NONE);
	CHECK(words_are(s.mem, 2, W_NONE));
	stores(&s, 0, 5);
	CHECK_EQ(peek(to), kind == PRIVATE ? 1 : 5);
}

SHARED_KINDS(shmem_wp_duplicate, "mremap(2): an old size of 0; observed: the duplicate is not protected")
{
	struct shmem s = mapped_and_protected(kind, 1, WP);
	uint64_t to = shmem_place(1);

	CHECK_EQ(T->remap(s.mem, 0, PAGE, MOVE, to), to);
	CHECK_EQ(word(to), W_NONE);
	CHECK_EQ(poke(to, 5), 0);
	CHECK_EQ(word(to), W_CACHE);
	CHECK_EQ(word(s.mem), W_SHARED_PROTECTED);
	trapped(&s, 0);
}

/* ---- fork ---- */

static pid_t child_of(void (*run)(const struct shmem *), const struct shmem *s)
{
	pid_t pid = fork();
	int status;

	CHECK(pid >= 0);
	if (!pid) {
		alarm(CHILD_S);
		run(s);
		_exit(0);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	return pid;
}

static void stores_freely(const struct shmem *s)
{
	CHECK(words_are(s->mem, 2, W_NONE));
	CHECK_EQ(peek(at(s, 0)), 1);
	CHECK_EQ(word(at(s, 0)), W_CACHE);
	CHECK_EQ(poke(at(s, 0), 9), 0);
	CHECK_EQ(poke(at(s, 1), 9), 0);
}

SHARED_KINDS_ON(shmem_wp_fork, ON_LIBC, PROCESS,
		SEEN ": the child's mapping is not protected, and has nothing mapped; the parent's is as before")
{
	struct shmem s = mapped_and_protected(kind, 2, WP);

	child_of(stores_freely, &s);
	CHECK(quiet(s.u));
	loads(&s, 0, 9);
	CHECK(words_are(s.mem, 2, W_CACHE_PROTECTED));
	trapped(&s, 0);
	trapped(&s, 1);
}

static void copies_freely(const struct shmem *s)
{
	CHECK(!(word(at(s, 0)) & FL_PM_UFFD_WP));
	CHECK_EQ(poke(at(s, 0), 9), 0);
	CHECK_EQ(poke(at(s, 1), 9), 0);
	CHECK_EQ(peek(at(s, 0) + 1), 1);
	CHECK_EQ(word(at(s, 0)), W_OWN);
}

CASE_ON(shmem_wp_fork_private, ON_LIBC, PROCESS, SEEN ": the child's pages are its own and not protected")
{
	struct shmem s = own_and_protected(2, WP);

	child_of(copies_freely, &s);
	CHECK(quiet(s.u));
	loads(&s, 0, 1);
	CHECK(words_are(s.mem, 2, W_PROTECTED));
	trapped(&s, 0);
	CHECK_EQ(peek(s.mem + 1), 1);
}

static void sees_the_file(const struct shmem *s)
{
	CHECK_EQ(peek(at(s, 0)), 0);
	CHECK_EQ(peek(at(s, 1)), 7);
}

EACH_KIND_ON(shmem_fork_missing, ON_LIBC, PROCESS,
	     SEEN ": the child's memory is not registered; its load fills the hole")
{
	for_each_mode(m) {
		struct shmem s = shmem(kind, 2, m, 0);

		cached(&s, 1, 1, 7);
		child_of(sees_the_file, &s);
		CHECK(quiet(s.u));
		if (!(m & MINOR))
			loads(&s, 0, 0);
	}
}
