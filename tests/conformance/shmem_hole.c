/* SPDX-License-Identifier: MIT */
/*
 * shmem_hole.c - what makes holes in shared memory, and where it ends: the end of the file, MADV_DONTNEED and
 * MADV_REMOVE, fallocate(2), truncation, and threads that wait for a page meanwhile.
 */
#include <sys/syscall.h>

#include "shmem.h"

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

/* Ways that name the file by a path. They leave page 0, or nothing, of four. */
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

SHARED_KINDS(shmem_waiter_eexist, SEEN ": EEXIST wakes no thread")
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
