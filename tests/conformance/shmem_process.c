/* SPDX-License-Identifier: MIT */
/*
 * shmem_process.c - two processes on one file: what the other does to it is seen, what it registers is its own.
 *
 * Natively, if the other process removes a page that is shown, a load or store does not miss it (the host puts a new
 * page there), but everything that asks faultline does; the cases keep to that.
 */
#include <sys/wait.h>

#include "shmem.h"

#define PAIRS(fn, src)	    SHARED_KINDS_ON(fn, ON_LIBC, PROCESS, src)
#define PAIR_MEMFD(fn, src) CASE_ON(fn, ON_LIBC, PROCESS, src)

/* ---- the other process ---- */

static pid_t start(void (*fn)(struct shmem *s), struct shmem *s)
{
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (pid)
		return pid;
	alarm(CHILD_S);
	fn(s);
	_exit(0);
}

static void ends(pid_t pid)
{
	int status;

	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
}

static void in_child(void (*fn)(struct shmem *s), struct shmem *s)
{
	ends(start(fn, s));
}

/* Both processes must reach the step. */
static atomic_uint *steps;

static void share_steps(void)
{
	steps = mmap(NULL, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(steps != MAP_FAILED);
}

static void meet(unsigned step)
{
	atomic_fetch_add(&steps[step], 1);
	for (int ms = 0; atomic_load(&steps[step]) < 2; ms++) {
		CHECK(ms < 5000);
		pause_ms(1);
	}
}

/* ---- what the other process does to the file ---- */

static void stores_5_to_page_0(struct shmem *s)
{
	CHECK_EQ(poke(s->other, 5), 0);
	CHECK_EQ(peek(s->mem), 5);
}

static void stores_6_to_page_0(struct shmem *s)
{
	CHECK_EQ(poke(s->mem, 6), 0);
}

static void stores_7_to_page_1(struct shmem *s)
{
	CHECK_EQ(poke(there(s, 1), 7), 0);
}

PAIRS(shmem_process_adds, SEEN ": what it adds is in the cache; what it stores is seen where the page is mapped")
{
	struct shmem s = shmem(kind, 2, MISSING | MINOR, 0);
	struct touch t;

	in_child(stores_5_to_page_0, &s);
	faults(&t, &s, LOAD, 0, F_MINOR);
	CHECK_EQ(zero(s.u, s.mem, PAGE, 0, NULL), -EEXIST);
	CHECK_OK(go_on(s.u, s.mem, PAGE, 0, NULL));
	touch_ends_with(&t, 5);
	in_child(stores_6_to_page_0, &s);
	loads(&s, 0, 6);
	faults(&t, &s, LOAD, 1, 0);
	in_child(stores_7_to_page_1, &s);
	CHECK_OK(go_on(s.u, at(&s, 1), PAGE, 0, NULL));
	touch_ends_with(&t, 7);
}

static void sees_what_was_filled(struct shmem *s)
{
	for (unsigned i = 0; i < 3; i++) {
		CHECK(page_is(at(s, i), (uint8_t)(i + 1)));
		CHECK(page_is(there(s, i), (uint8_t)(i + 1)));
	}
}

PAIRS(shmem_process_sees_fills, SEEN)
{
	struct shmem s = shmem(kind, 3, MISSING, 0);

	fill(s.u, s.mem, 3, 1);
	in_child(sees_what_was_filled, &s);
}

static void drops_pages_0_and_1(struct shmem *s)
{
	drop(s, 0, 2);
}

PAIRS(shmem_process_takes_away_then_copy, SEEN ": the pages are missing, and can be filled again")
{
	struct shmem s = shmem(kind, 3, MISSING, 0);

	fill(s.u, s.mem, 3, 1);
	in_child(drops_pages_0_and_1, &s);
	fill(s.u, s.mem, 2, 8);
	CHECK_EQ(copy(s.u, at(&s, 2), source(1, 9), PAGE, 0, NULL), -EEXIST);
	for (unsigned i = 0; i < 3; i++) {
		loads(&s, i, (uint8_t)(i < 2 ? 8 + i : 3));
		CHECK_EQ(peek(there(&s, i)), i < 2 ? 8 + i : 3);
	}
}

PAIRS(shmem_process_takes_away_then_zeropage, SEEN)
{
	struct shmem s = shmem(kind, 2, MISSING, 0);

	fill(s.u, s.mem, 2, 1);
	in_child(drops_pages_0_and_1, &s);
	CHECK_OK(zero(s.u, s.mem, 2 * PAGE, 0, NULL));
	loads(&s, 0, 0);
	loads(&s, 1, 0);
}

PAIRS(shmem_process_takes_away_then_continue, SEEN ": there is nothing to go on with")
{
	struct shmem s = shmem(kind, 2, MINOR, 0);
	int64_t mapped;

	cached(&s, 0, 2, 1);
	CHECK_OK(go_on(s.u, s.mem, 2 * PAGE, 0, NULL));
	in_child(drops_pages_0_and_1, &s);
	CHECK_EQ(go_on(s.u, s.mem, PAGE, 0, &mapped), -EFAULT);
	CHECK_EQ(mapped, -EFAULT);
}

PAIRS(shmem_process_takes_away_protected, SEEN ": a store finds the page missing")
{
	struct shmem s = shmem(kind, 2, BOTH, 0);
	struct touch t;

	fill(s.u, s.mem, 2, 1);
	CHECK_OK(protect(s.u, s.mem, 2 * PAGE, SET));
	in_child(drops_pages_0_and_1, &s);
	faults(&t, &s, STORE, 0, WRITE);
	fill(s.u, s.mem, 1, 4);
	CHECK_OK(touch_end(&t));
	CHECK_EQ(peek(there(&s, 0)), 0xdd);
}

/* ---- its size ---- */

static void truncates_to_page_1(struct shmem *s)
{
	CHECK_OK(T->file_truncate(s->file, PAGE));
}

static void grows_to_3_pages(struct shmem *s)
{
	CHECK_OK(T->file_truncate(s->file, 3 * PAGE));
}

PAIR_MEMFD(shmem_process_truncates, SEEN ": behind the new end there is nothing to touch or to fill")
{
	struct shmem s = shmem(MEMFD, 3, MISSING, 0);

	fill(s.u, s.mem, 2, 1);
	in_child(truncates_to_page_1, &s);
	CHECK_EQ(peek(at(&s, 1)), -SIGBUS);
	CHECK_EQ(peek(at(&s, 2)), -SIGBUS);
	CHECK_EQ(copy(s.u, at(&s, 1), source(1, 5), PAGE, 0, NULL), -EFAULT);
	loads(&s, 0, 1);
	in_child(grows_to_3_pages, &s);
	expect_missing(s.u, at(&s, 2));
	fill(s.u, at(&s, 1), 1, 6);
	loads(&s, 1, 6);
}

PAIR_MEMFD(shmem_process_grows, SEEN ": what was behind the end is a hole")
{
	struct shmem s;

	s.file = file_of(1);
	s.mem = map_of(s.file, 0, 3, RW, MAP_SHARED);
	s.u = uffd(0);
	CHECK_OK(reg(s.u, s.mem, 3 * PAGE, MISSING));
	CHECK_EQ(peek(at(&s, 2)), -SIGBUS);
	in_child(grows_to_3_pages, &s);
	expect_missing(s.u, at(&s, 2));
	CHECK_EQ(file_byte(s.file, 2 * PAGE), 0);
}

/* ---- what it registers ---- */

static void stores_in_spite_of_it(struct shmem *s)
{
	CHECK_EQ(poke(at(s, 0), 7), 0);
	CHECK_EQ(poke(there(s, 1), 8), 0);
}

PAIRS(shmem_process_is_not_protected, SEEN ": the protection is of one process's mapping")
{
	struct shmem s = shmem(kind, 2, BOTH, 0);

	fill(s.u, s.mem, 2, 1);
	CHECK_OK(protect(s.u, s.mem, 2 * PAGE, SET));
	in_child(stores_in_spite_of_it, &s);
	loads(&s, 0, 7);
	loads(&s, 1, 8);
	expect_wp(s.u, at(&s, 0));
	expect_wp(s.u, at(&s, 1));
}

/* The other process waits for the same hole, by an object of its own. */
static void waits_for_page_0(struct shmem *s)
{
	struct shmem own = {uffd(0), s->mem, s->other, s->file};
	struct touch t;

	CHECK_OK(reg(own.u, own.mem, 2 * PAGE, MISSING));
	faults(&t, &own, LOAD, 0, 0);
	meet(0);
	meet(1); /* the other process has filled it */
	CHECK(touch_waits(&t));
	CHECK_EQ(copy(own.u, own.mem, source(1, 9), PAGE, 0, NULL), -EEXIST);
	CHECK_OK(wake(own.u, own.mem, PAGE));
	touch_ends_with(&t, 3);
	expect_missing(own.u, at(&own, 1));
	meet(2);
}

PAIRS(shmem_process_both_wait, SEEN ": each object has its own waiters, the page is one")
{
	struct shmem s = shmem(kind, 2, MISSING, 0);
	struct touch t;
	pid_t pid;

	share_steps();
	pid = start(waits_for_page_0, &s);
	faults(&t, &s, LOAD, 0, 0);
	meet(0);
	CHECK_EQ(T->poll(s.u, 0), 0); /* the other process's fault sends no message here */
	fill(s.u, s.mem, 1, 3);
	touch_ends_with(&t, 3);
	meet(1);
	meet(2);
	loads(&s, 1, 0); /* it was filled there */
	ends(pid);
	CHECK_OK(T->advise(s.mem, 2 * PAGE, MADV_DONTNEED));
	loads(&s, 0, 3);
	drop(&s, 0, 1);
	expect_missing(s.u, s.mem); /* the other process's end has changed nothing */
}
