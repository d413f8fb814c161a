/* SPDX-License-Identifier: MIT */
/* shmem_minor.c - MODE_MINOR and UFFDIO_CONTINUE: pages that are in the cache and not mapped. */
#include "shmem.h"

#include <sys/wait.h>

#define MAN	 "ioctl_userfaultfd(2) UFFDIO_CONTINUE"
#define CONT_WP	 FL_UFFDIO_CONTINUE_MODE_WP
#define DONTWAKE FL_UFFDIO_CONTINUE_MODE_DONTWAKE

/* Registered, and every page in the cache: page i holds 1 + i. */
static struct shmem in_cache(enum shmem_kind kind, unsigned pages, uint64_t mode)
{
	struct shmem s = shmem(kind, pages, mode, 0);

	cached(&s, 0, pages, 1);
	return s;
}

static void cont_fails(const struct shmem *s, unsigned page, unsigned pages, uint64_t mode, int err, int64_t out)
{
	int64_t mapped;

	CHECK_EQ(go_on(s->u, at(s, page), pages * PAGE, mode, &mapped), -err);
	CHECK_EQ(mapped, out);
}

/* ---- accesses ---- */

EACH_KIND(shmem_minor_load, "userfaultfd(2), UFFD_PAGEFAULT_FLAG_MINOR")
{
	for_each_mode_with(m, MINOR) {
		struct shmem s = in_cache(kind, 2, m);
		struct touch t;

		faults(&t, &s, LOAD, 1, F_MINOR);
		CHECK(touch_waits(&t));
		CHECK_OK(go_on(s.u, at(&s, 1), PAGE, 0, NULL));
		touch_ends_with(&t, 2);
		CHECK(quiet(s.u));
		CHECK_EQ(word(at(&s, 0)), W_NONE);
	}
}

EACH_KIND(shmem_minor_store, SEEN ": WRITE and MINOR")
{
	for_each_mode_with(m, MINOR) {
		struct shmem s = in_cache(kind, 2, m);
		struct touch t;

		faults(&t, &s, STORE, 1, WRITE | F_MINOR);
		CHECK_OK(go_on(s.u, at(&s, 1), PAGE, 0, NULL));
		CHECK_OK(touch_end(&t));
		CHECK(quiet(s.u));
		CHECK_EQ(peek(at(&s, 1)), 0xdd);
		CHECK_EQ(peek(at(&s, 1) + 1), 2);
		CHECK_EQ(peek(there(&s, 1)), kind == PRIVATE ? 2 : 0xdd);
	}
}

EACH_KIND(shmem_minor_system_calls, SEEN ": as instructions")
{
	struct shmem s = in_cache(kind, 2, MINOR);
	struct touch t;

	faults(&t, &s, KERNEL_READ, 0, F_MINOR);
	CHECK_OK(go_on(s.u, at(&s, 0), PAGE, 0, NULL));
	touch_ends_with(&t, 1);
	faults(&t, &s, KERNEL_WRITE, 1, WRITE | F_MINOR);
	CHECK_OK(go_on(s.u, at(&s, 1), PAGE, 0, NULL));
	CHECK_OK(touch_end(&t));
	loads(&s, 1, 0xdd);
}

EACH_KIND(shmem_minor_hole, SEEN ": not without MODE_MISSING; zeros")
{
	static const uint64_t modes[] = {MINOR, MINOR | WP};

	for (unsigned i = 0; i < 2; i++) {
		struct shmem s = shmem(kind, 2, modes[i], 0);

		loads(&s, 0, 0);
		stores(&s, 1, 5);
		CHECK_EQ(peek(at(&s, 1) + 1), 0);
	}
}

EACH_KIND(shmem_minor_both, SEEN ": with MODE_MISSING each has its message")
{
	for_each_mode_with(m, MINOR) {
		struct shmem s = shmem(kind, 2, m | MISSING, 0);
		struct touch missing, minor;

		cached(&s, 1, 1, 7);
		faults(&missing, &s, STORE, 0, WRITE);
		faults(&minor, &s, STORE, 1, WRITE | F_MINOR);
		fill(s.u, at(&s, 0), 1, 5);
		CHECK_OK(touch_end(&missing));
		CHECK(touch_waits(&minor));
		CHECK_OK(go_on(s.u, at(&s, 1), PAGE, 0, NULL));
		CHECK_OK(touch_end(&minor));
	}
}

EACH_KIND(shmem_minor_after_a_load_elsewhere, SEEN ": the hole that it filled is in the cache")
{
	struct shmem s = shmem(kind, 1, MISSING | MINOR, 0);
	struct touch t;

	CHECK_EQ(peek(s.other), 0);
	faults(&t, &s, LOAD, 0, F_MINOR);
	CHECK_OK(go_on(s.u, s.mem, PAGE, 0, NULL));
	touch_ends_with(&t, 0);
}

FILE_KINDS(shmem_minor_after_pwrite, SEEN)
{
	struct shmem s = shmem(kind, 1, MISSING | MINOR, 0);
	struct touch t;

	CHECK_EQ(T->file_write(s.file, 0, "x", 1), 1);
	faults(&t, &s, LOAD, 0, F_MINOR);
	CHECK_OK(go_on(s.u, s.mem, PAGE, 0, NULL));
	touch_ends_with(&t, 'x');
}

SHARED_KINDS(shmem_minor_after_dontneed, SEEN ": what was filled is in the cache")
{
	for_each_mode_with(m, MINOR) {
		struct shmem s = shmem(kind, 1, m, 0);
		struct touch t;

		fill(s.u, s.mem, 1, 7);
		loads(&s, 0, 7);
		CHECK_OK(T->advise(s.mem, PAGE, MADV_DONTNEED));
		faults(&t, &s, LOAD, 0, F_MINOR);
		CHECK_OK(go_on(s.u, s.mem, PAGE, 0, NULL));
		touch_ends_with(&t, 7);
	}
}

CASE(shmem_minor_private_after_dontneed, SEEN ": the mapping's own page is gone, the file's faults")
{
	for_each_mode_with(m, MINOR) {
		struct shmem s = in_cache(PRIVATE, 1, m);
		struct touch t;

		CHECK_OK(go_on(s.u, s.mem, PAGE, 0, NULL));
		stores(&s, 0, 9);
		CHECK_OK(T->advise(s.mem, PAGE, MADV_DONTNEED));
		faults(&t, &s, LOAD, 0, F_MINOR);
		CHECK_OK(go_on(s.u, s.mem, PAGE, 0, NULL));
		touch_ends_with(&t, 1);
	}
}

EACH_KIND(shmem_minor_sigbus, "userfaultfd(2), UFFD_FEATURE_SIGBUS")
{
	struct shmem s = shmem(kind, 2, MINOR, FL_UFFD_FEATURE_SIGBUS);
	uint8_t byte = 1;

	cached(&s, 1, 1, 7);
	CHECK_EQ(peek(at(&s, 1)), -SIGBUS);
	CHECK_EQ(poke(at(&s, 1), 1), -SIGBUS);
	CHECK_EQ(T->kernel_read(at(&s, 1), &byte, 1), -EFAULT);
	loads(&s, 0, 0);
	CHECK_OK(go_on(s.u, at(&s, 1), PAGE, 0, NULL));
	loads(&s, 1, 7);
}

/* ---- UFFDIO_CONTINUE ---- */

EACH_KIND(shmem_continue_range, MAN)
{
	for_each_mode(m) {
		struct shmem s = in_cache(kind, 4, m);
		int64_t mapped;

		CHECK_OK(go_on(s.u, at(&s, 1), 3 * PAGE, 0, &mapped));
		CHECK_EQ(mapped, 3 * PAGE);
		CHECK_EQ(word(at(&s, 0)), W_NONE);
		CHECK(words_are(at(&s, 1), 3, W_CACHE_OWN));
		for (unsigned i = 1; i < 4; i++)
			loads(&s, i, (uint8_t)(1 + i));
	}
}

EACH_KIND(shmem_continue_then_store, SEEN ": to the cache, or to a copy of the mapping's own")
{
	for_each_mode_with(m, MINOR) {
		struct shmem s = in_cache(kind, 1, m);

		CHECK_OK(go_on(s.u, s.mem, PAGE, 0, NULL));
		stores(&s, 0, 9);
		CHECK_EQ(peek(s.mem + 1), 1);
		CHECK_EQ(word(s.mem), kind == PRIVATE ? W_OWN : W_CACHE_OWN);
		CHECK_EQ(peek(s.other), kind == PRIVATE ? 1 : 9);
	}
}

EACH_KIND_UNCOPIED(shmem_continue_maps_what_is_there_now, SEEN ": what was written after the message is seen")
{
	struct shmem s = in_cache(kind, 1, MINOR);
	struct touch t;

	faults(&t, &s, LOAD, 0, F_MINOR);
	CHECK_EQ(poke(s.other, 0x55), 0);
	CHECK_OK(go_on(s.u, s.mem, PAGE, 0, NULL));
	touch_ends_with(&t, 0x55);
	CHECK_EQ(poke(s.other, 0x66), 0);
	loads(&s, 0, 0x66);
}

EACH_KIND(shmem_continue_any_mode, SEEN ": MODE_MINOR is not needed for it")
{
	static const uint64_t modes[] = {MISSING, WP, BOTH};

	for (unsigned i = 0; i < 3; i++) {
		struct shmem s = in_cache(kind, 1, modes[i]);
		int64_t mapped;

		CHECK_OK(go_on(s.u, s.mem, PAGE, 0, &mapped));
		CHECK_EQ(mapped, PAGE);
		loads(&s, 0, 1);
	}
}

EACH_KIND(shmem_continue_by_another_object, SEEN ": as UFFDIO_COPY")
{
	struct shmem s = in_cache(kind, 1, MINOR);

	CHECK_OK(go_on(uffd(0), s.mem, PAGE, 0, NULL));
	loads(&s, 0, 1);
}

EACH_KIND(shmem_continue_mapped, MAN ", EEXIST")
{
	for_each_mode(m) {
		struct shmem s = in_cache(kind, 1, m);

		CHECK_OK(go_on(s.u, s.mem, PAGE, 0, NULL));
		cont_fails(&s, 0, 1, 0, EEXIST, -EEXIST);
		loads(&s, 0, 1);
	}
}

CASE(shmem_continue_private_copy, SEEN ": EEXIST, the mapping has a page of its own")
{
	struct shmem s = in_cache(PRIVATE, 1, MINOR);

	fill(s.u, s.mem, 1, 9);
	cont_fails(&s, 0, 1, 0, EEXIST, -EEXIST);
	loads(&s, 0, 9);
}

EACH_KIND(shmem_continue_hole, SEEN ": EFAULT, it stays a hole")
{
	for_each_mode(m) {
		struct shmem s = shmem(kind, 1, m, 0);

		cont_fails(&s, 0, 1, 0, EFAULT, -EFAULT);
		CHECK_EQ(word(s.mem), W_NONE);
		if (m & MISSING)
			expect_missing(s.u, s.mem);
	}
}

EACH_KIND(shmem_continue_until_a_hole, SEEN ": EAGAIN, `mapped` is the part before")
{
	for_each_mode_with(m, MINOR) {
		struct shmem s = shmem(kind, 4, m, 0);

		cached(&s, 0, 2, 7);
		cached(&s, 3, 1, 7);
		cont_fails(&s, 0, 4, 0, EAGAIN, 2 * PAGE);
		CHECK(words_are(s.mem, 2, W_CACHE_OWN));
		CHECK(words_are(at(&s, 2), 2, W_NONE));
	}
}

EACH_KIND(shmem_continue_until_mapped, SEEN ": EAGAIN")
{
	struct shmem s = in_cache(kind, 3, MINOR);

	CHECK_OK(go_on(s.u, at(&s, 1), PAGE, 0, NULL));
	cont_fails(&s, 0, 3, 0, EAGAIN, PAGE);
	cont_fails(&s, 1, 2, 0, EEXIST, -EEXIST);
	CHECK_EQ(word(at(&s, 2)), W_NONE);
}

FILE_KINDS(shmem_continue_beyond_the_end, SEEN ": EINVAL beyond the end of the file, EAGAIN across it")
{
	for_each_mode(m) {
		struct shmem s = in_cache(kind, 3, m);

		CHECK_OK(T->file_truncate(s.file, PAGE));
		cont_fails(&s, 1, 1, 0, EINVAL, -EINVAL);
		cont_fails(&s, 0, 2, 0, EAGAIN, PAGE);
		loads(&s, 0, 1);
	}
}

EACH_KIND(shmem_continue_modes, MAN ", EINVAL: an invalid bit; nothing is written to `mapped`")
{
	struct shmem s = in_cache(kind, 1, MINOR | WP);

	cont_fails(&s, 0, 1, 4, EINVAL, UNTOUCHED);
	cont_fails(&s, 0, 1, 1ull << 63, EINVAL, UNTOUCHED);
	CHECK_EQ(word(s.mem), W_NONE);
}

EACH_KIND(shmem_continue_bad_range, MAN ", EINVAL")
{
	struct shmem s = in_cache(kind, 2, MINOR);

	CHECK_EQ(go_on(s.u, s.mem, 0, 0, NULL), -EINVAL);
	CHECK_EQ(go_on(s.u, s.mem + 1, PAGE, 0, NULL), -EINVAL);
	CHECK_EQ(go_on(s.u, s.mem, PAGE + 1, 0, NULL), -EINVAL);
	CHECK_EQ(go_on(s.u, s.mem, -PAGE, 0, NULL), -EINVAL);
	CHECK(words_are(s.mem, 2, W_NONE));
}

EACH_KIND(shmem_continue_not_registered, SEEN ": ENOENT")
{
	struct shmem s = shmem_map(kind, 1);

	s.u = uffd(0);
	cached(&s, 0, 1, 7);
	cont_fails(&s, 0, 1, 0, ENOENT, -ENOENT);
	CHECK_EQ(word(s.mem), W_NONE);
}

EACH_KIND(shmem_continue_ends_unmapped, SEEN ": ENOENT, none of the range is done")
{
	struct shmem s = in_cache(kind, 2, MINOR);

	CHECK_OK(T->unmap(at(&s, 1), PAGE));
	cont_fails(&s, 0, 2, 0, ENOENT, -ENOENT);
	cont_fails(&s, 1, 1, 0, ENOENT, -ENOENT);
	CHECK_EQ(word(s.mem), W_NONE);
}

CASE(shmem_continue_anonymous, SEEN ": EINVAL, private anonymous memory has no cache")
{
	static const uint64_t modes[] = {MISSING, WP, BOTH};

	for (unsigned i = 0; i < 3; i++) {
		struct area a = area(1, modes[i], 0);
		int64_t mapped;

		CHECK_EQ(go_on(a.u, a.mem, PAGE, 0, &mapped), -EINVAL);
		CHECK_EQ(mapped, -EINVAL);
		CHECK_EQ(word(a.mem), W_NONE);
	}
}

EACH_KIND(shmem_continue_read_only, SEEN ": the rights of the mapping do not matter")
{
	static const int prots[] = {PROT_NONE, PROT_READ};

	for (unsigned p = 0; p < 2; p++) {
		struct shmem s = in_cache(kind, 1, MINOR);

		CHECK_OK(T->protect(s.mem, PAGE, prots[p]));
		CHECK_OK(go_on(s.u, s.mem, PAGE, 0, NULL));
		CHECK_EQ(poke(s.mem, 1), -SIGSEGV);
		CHECK_OK(T->protect(s.mem, PAGE, RW));
		stores(&s, 0, 8);
		CHECK_EQ(peek(s.other), kind == PRIVATE ? 1 : 8);
	}
}

EACH_KIND(shmem_continue_dontwake, MAN ", UFFDIO_CONTINUE_MODE_DONTWAKE")
{
	struct shmem s = in_cache(kind, 1, MINOR);
	struct touch t;

	faults(&t, &s, LOAD, 0, F_MINOR);
	CHECK_OK(go_on(s.u, s.mem, PAGE, DONTWAKE, NULL));
	CHECK(touch_waits(&t));
	CHECK_EQ(word(s.mem), W_CACHE_OWN);
	CHECK_OK(wake(s.u, s.mem, PAGE));
	touch_ends_with(&t, 1);
}

EACH_KIND(shmem_continue_wakes_all, SEEN)
{
	struct shmem s = in_cache(kind, 3, MINOR);
	struct touch t[6];

	for (unsigned i = 0; i < 6; i++)
		faults(&t[i], &s, LOAD, i / 2, F_MINOR);
	CHECK_OK(go_on(s.u, s.mem, 3 * PAGE, 0, NULL));
	for (unsigned i = 0; i < 6; i++)
		touch_ends_with(&t[i], (uint8_t)(1 + i / 2));
}

EACH_KIND(shmem_continue_wakes_what_it_did, SEEN ": a part of the range")
{
	struct shmem s = shmem(kind, 3, MISSING | MINOR, 0);
	struct touch t[3];

	cached(&s, 0, 1, 7);
	cached(&s, 2, 1, 9);
	faults(&t[0], &s, LOAD, 0, F_MINOR);
	faults(&t[1], &s, LOAD, 1, 0);
	faults(&t[2], &s, LOAD, 2, F_MINOR);
	cont_fails(&s, 0, 3, 0, EAGAIN, PAGE);
	touch_ends_with(&t[0], 7);
	CHECK(touch_waits(&t[1]));
	CHECK(touch_waits(&t[2]));
	CHECK_OK(go_on(s.u, at(&s, 2), PAGE, 0, NULL));
	touch_ends_with(&t[2], 9);
}

/* ---- with write-protection ---- */

EACH_KIND(shmem_continue_wp, "ioctl_userfaultfd(2), UFFDIO_CONTINUE_MODE_WP")
{
	for_each_mode_with(m, WP) {
		struct shmem s = in_cache(kind, 2, m);
		struct touch t;

		CHECK_OK(go_on(s.u, s.mem, 2 * PAGE, CONT_WP, NULL));
		CHECK(words_are(s.mem, 2, W_CACHE_PROTECTED));
		loads(&s, 0, 1);
		faults(&t, &s, STORE, 0, TRAPPED);
		CHECK_OK(protect(s.u, s.mem, PAGE, 0));
		CHECK_OK(touch_end(&t));
		CHECK_EQ(peek(s.other), kind == PRIVATE ? 1 : 0xdd);
		expect_wp(s.u, at(&s, 1));
	}
}

EACH_KIND(shmem_continue_wp_for_a_waiting_store, SEEN ": it is trapped next")
{
	struct shmem s = in_cache(kind, 1, MINOR | WP);
	struct touch t;

	faults(&t, &s, STORE, 0, WRITE | F_MINOR);
	CHECK_OK(go_on(s.u, s.mem, PAGE, CONT_WP, NULL));
	expect_fault(s.u, s.mem, TRAPPED);
	CHECK_OK(protect(s.u, s.mem, PAGE, 0));
	CHECK_OK(touch_end(&t));
}

EACH_KIND(shmem_continue_wp_not_registered, SEEN ": EINVAL without MODE_WP")
{
	for_each_mode(m) {
		if (m & WP)
			continue;
		struct shmem s = in_cache(kind, 1, m);

		cont_fails(&s, 0, 1, CONT_WP, EINVAL, -EINVAL);
		CHECK_EQ(word(s.mem), W_NONE);
	}
}

EACH_KIND(shmem_continue_then_protect, SEEN)
{
	struct shmem s = in_cache(kind, 2, MINOR | WP);

	CHECK_OK(go_on(s.u, s.mem, 2 * PAGE, 0, NULL));
	CHECK_OK(protect(s.u, s.mem, 2 * PAGE, SET));
	CHECK(words_are(s.mem, 2, W_CACHE_PROTECTED));
	expect_wp(s.u, s.mem);
	loads(&s, 1, 2);
}

EACH_KIND(shmem_continue_over_markers, SEEN ": protected only if it says so")
{
	for_each_mode_with(m, WP) {
		struct shmem s = in_cache(kind, 2, m);

		CHECK_OK(protect(s.u, s.mem, 2 * PAGE, SET));
		CHECK(words_are(s.mem, 2, W_MARKER));
		CHECK_OK(go_on(s.u, at(&s, 0), PAGE, 0, NULL));
		CHECK_OK(go_on(s.u, at(&s, 1), PAGE, CONT_WP, NULL));
		CHECK_EQ(word(at(&s, 0)), W_CACHE_OWN);
		CHECK_EQ(word(at(&s, 1)), W_CACHE_PROTECTED);
		stores(&s, 0, 5);
		expect_wp(s.u, at(&s, 1));
	}
}

EACH_KIND(shmem_minor_before_wp, SEEN ": a marker of a page in the cache is a minor fault first")
{
	static const uint64_t modes[] = {MINOR | WP, MINOR | BOTH};

	for (unsigned i = 0; i < 2; i++) {
		struct shmem s = in_cache(kind, 2, modes[i]);
		struct touch t;

		CHECK_OK(protect(s.u, s.mem, 2 * PAGE, SET));
		faults(&t, &s, LOAD, 0, F_MINOR);
		CHECK_OK(go_on(s.u, at(&s, 0), PAGE, 0, NULL));
		touch_ends_with(&t, 1);
		faults(&t, &s, STORE, 1, WRITE | F_MINOR);
		CHECK_OK(protect(s.u, at(&s, 1), PAGE, 0));
		expect_fault(s.u, at(&s, 1), WRITE | F_MINOR);
		CHECK_OK(go_on(s.u, at(&s, 1), PAGE, 0, NULL));
		CHECK_OK(touch_end(&t));
	}
}

/* ---- COPY and ZEROPAGE with MODE_MINOR ---- */

EACH_KIND(shmem_minor_copy_into_a_hole, SEEN)
{
	for_each_mode_with(m, MINOR) {
		struct shmem s = shmem(kind, 2, m, 0);

		fill(s.u, at(&s, 0), 1, 7);
		CHECK_OK(zero(s.u, at(&s, 1), PAGE, 0, NULL));
		loads(&s, 0, 7);
		loads(&s, 1, 0);
		CHECK_EQ(peek(there(&s, 0)), kind == PRIVATE ? 0 : 7);
	}
}

SHARED_KINDS(shmem_minor_copy_is_no_answer, SEEN ": EEXIST, and the waiter waits on")
{
	for_each_mode_with(m, MINOR) {
		struct shmem s = in_cache(kind, 1, m);
		struct touch t;

		faults(&t, &s, LOAD, 0, F_MINOR);
		CHECK_EQ(copy(s.u, s.mem, source(1, 7), PAGE, 0, NULL), -EEXIST);
		CHECK_EQ(zero(s.u, s.mem, PAGE, 0, NULL), -EEXIST);
		CHECK(touch_waits(&t));
		CHECK_OK(go_on(s.u, s.mem, PAGE, 0, NULL));
		touch_ends_with(&t, 1);
	}
}

CASE(shmem_minor_private_copy, SEEN ": a page of the mapping's own")
{
	for_each_mode_with(m, MINOR) {
		struct shmem s = in_cache(PRIVATE, 1, m);
		struct touch t;

		faults(&t, &s, LOAD, 0, F_MINOR);
		fill(s.u, s.mem, 1, 7);
		touch_ends_with(&t, 7);
		CHECK_EQ(word(s.mem), W_OWN);
		CHECK(page_is(s.other, 1));
	}
}

/* ---- waiters ---- */

EACH_KIND(shmem_minor_waiter_dropped, SEEN ": the page is gone: EFAULT; woken, the waiter meets a hole")
{
	for_each_mode_with(m, MINOR) {
		struct shmem s = in_cache(kind, 1, m);
		struct touch t;

		faults(&t, &s, LOAD, 0, F_MINOR);
		drop(&s, 0, 1);
		cont_fails(&s, 0, 1, 0, EFAULT, -EFAULT);
		CHECK(touch_waits(&t));
		CHECK_OK(wake(s.u, s.mem, PAGE));
		if (m & MISSING) {
			expect_fault(s.u, s.mem, 0);
			fill(s.u, s.mem, 1, 7);
		}
		touch_ends_with(&t, m & MISSING ? 7 : 0);
	}
}

EACH_KIND(shmem_minor_waiter_woken, SEEN ": a WAKE alone does not map the page: the same message again")
{
	struct shmem s = in_cache(kind, 1, MINOR);
	struct touch t;

	faults(&t, &s, STORE, 0, WRITE | F_MINOR);
	CHECK_OK(wake(s.u, s.mem, PAGE));
	expect_fault(s.u, s.mem, WRITE | F_MINOR);
	CHECK_OK(go_on(s.u, s.mem, PAGE, 0, NULL));
	CHECK_OK(touch_end(&t));
}

FILE_KINDS(shmem_minor_waiter_truncated, SEEN ": woken, it gets SIGBUS")
{
	struct shmem s = in_cache(kind, 2, MINOR);
	struct touch t;

	faults(&t, &s, LOAD, 1, F_MINOR);
	CHECK_OK(T->file_truncate(s.file, PAGE));
	CHECK(touch_waits(&t));
	cont_fails(&s, 1, 1, 0, EINVAL, -EINVAL);
	CHECK(touch_waits(&t));
	CHECK_OK(wake(s.u, at(&s, 1), PAGE));
	CHECK_EQ(touch_end(&t), SIGBUS);
}

EACH_KIND(shmem_minor_waiter_closed, "userfaultfd(2): the last close unregisters all ranges")
{
	struct shmem s = in_cache(kind, 1, MINOR);
	struct touch t;

	faults(&t, &s, LOAD, 0, F_MINOR);
	CHECK_OK(T->close(s.u));
	touch_ends_with(&t, 1);
}

SHARED_KINDS(shmem_minor_two_mappings, SEEN ": mapped in one is not mapped in the other")
{
	struct shmem s = in_cache(kind, 1, MINOR);
	uffd_t second = uffd(0);
	struct touch here, elsewhere;

	CHECK_OK(reg(second, s.other, PAGE, MINOR));
	faults(&here, &s, LOAD, 0, F_MINOR);
	CHECK_OK(go_on(s.u, s.mem, PAGE, 0, NULL));
	touch_ends_with(&here, 1);
	touch_start(&elsewhere, STORE, s.other, 9);
	expect_fault(second, s.other, WRITE | F_MINOR);
	CHECK_OK(go_on(second, s.other, PAGE, 0, NULL));
	CHECK_OK(touch_end(&elsewhere));
	loads(&s, 0, 9);
	CHECK_EQ(word(s.mem), W_CACHE);
}

EACH_KIND(shmem_minor_copy_source, SEEN ": the source of a UFFDIO_COPY faults as any access of a system call")
{
	struct shmem s = in_cache(kind, 1, MINOR);
	struct area a = area(1, MISSING, 0);

	CHECK_OK(go_on(s.u, s.mem, PAGE, 0, NULL));
	CHECK_OK(copy(a.u, a.mem, s.mem, PAGE, 0, NULL));
	CHECK(page_is(a.mem, 1));
	CHECK(quiet(s.u));
}

/* ---- two processes on one memory ---- */
