/* SPDX-License-Identifier: MIT */
/*
 * remap.c - mremap on registered memory, without EVENT_REMAP.
 */
#include "conformance.h"

#define SEEN "kernel 6.18, observed"
#define SET  FL_UFFDIO_WRITEPROTECT_MODE_WP

static uint64_t moved(struct area *a, unsigned pages, unsigned new_pages)
{
	uint64_t to = map(new_pages);

	CHECK_EQ(T->remap(a->mem, pages * PAGE, new_pages * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to), to);
	return to;
}

CASE(mremap_grow_in_place, SEEN ": the new part belongs to the registration")
{
	struct area a = area(2, MISSING, 0);

	fill(a.u, a.mem, 1, 1);
	CHECK_EQ(T->remap(a.mem, 2 * PAGE, 4 * PAGE, 0, 0), a.mem);
	CHECK_EQ(peek(a.mem), 1);
	expect_missing(a.u, a.mem + PAGE);
	expect_missing(a.u, a.mem + 2 * PAGE);
	expect_missing(a.u, a.mem + 3 * PAGE);
}

CASE(mremap_grow_is_one_mapping, SEEN)
{
	struct area a = area(2, MISSING, 0);

	CHECK_EQ(T->remap(a.mem, 2 * PAGE, 4 * PAGE, 0, 0), a.mem);
	CHECK_OK(copy(a.u, a.mem, source(4, 1), 4 * PAGE, 0, NULL));
	CHECK(page_is(a.mem + 3 * PAGE, 4));
}

CASE(mremap_grow_no_room, "mremap(2), ENOMEM")
{
	uint64_t mem = map(2);
	uffd_t u = uffd(0);

	CHECK_OK(reg(u, mem, PAGE, MISSING));
	CHECK_EQ(T->remap(mem, PAGE, 2 * PAGE, 0, 0), -ENOMEM);
	expect_missing(u, mem);
}

CASE(mremap_grow_by_moving, SEEN ": moved, it is no longer registered")
{
	uint64_t mem = map(2);
	uffd_t u = uffd(0);
	int64_t to;

	CHECK_OK(reg(u, mem, PAGE, MISSING));
	fill(u, mem, 1, 1);
	to = T->remap(mem, PAGE, 4 * PAGE, MREMAP_MAYMOVE, 0);
	CHECK(to > 0 && (uint64_t)to != mem);
	CHECK_EQ(peek((uint64_t)to), 1);
	CHECK_EQ(peek((uint64_t)to + 3 * PAGE), 0);
	CHECK_EQ(peek(mem), -SIGSEGV);
	CHECK(quiet(u));
}

CASE(mremap_shrink, SEEN)
{
	struct area a = area(3, MISSING, 0);

	fill(a.u, a.mem, 1, 1);
	CHECK_EQ(T->remap(a.mem, 3 * PAGE, 2 * PAGE, 0, 0), a.mem);
	CHECK_EQ(peek(a.mem + 2 * PAGE), -SIGSEGV);
	CHECK_EQ(peek(a.mem), 1);
	expect_missing(a.u, a.mem + PAGE);
}

CASE(mremap_move_contents, "mremap(2)")
{
	struct area a = area(3, MISSING, 0);
	uint64_t to;

	fill(a.u, a.mem, 2, 1);
	to = moved(&a, 3, 3);
	CHECK(page_is(to, 1));
	CHECK(page_is(to + PAGE, 2));
	CHECK_EQ(peek(a.mem), -SIGSEGV);
}

CASE(mremap_move_loses_registration, SEEN ": without EVENT_REMAP what is moved is no longer registered")
{
	struct area a = area(2, MISSING, 0);
	uint64_t to;

	fill(a.u, a.mem, 1, 1);
	to = moved(&a, 2, 2);
	CHECK_EQ(peek(to), 1);
	CHECK_EQ(peek(to + PAGE), 0);
	CHECK_EQ(poke(to, 2), 0);
	CHECK(quiet(a.u));
	CHECK_EQ(copy(a.u, to + PAGE, source(1, 1), PAGE, 0, NULL), -ENOENT);
}

CASE(mremap_move_and_grow, SEEN)
{
	struct area a = area(2, MISSING, 0);
	uint64_t to;

	fill(a.u, a.mem, 1, 1);
	to = moved(&a, 2, 4);
	CHECK_EQ(peek(to), 1);
	for (unsigned i = 1; i < 4; i++)
		CHECK_EQ(peek(to + i * PAGE), 0);
	CHECK(quiet(a.u));
}

CASE(mremap_move_part, SEEN)
{
	struct area a = area(3, MISSING, 0);
	uint64_t to = map(1);

	fill(a.u, a.mem + PAGE, 1, 5);
	CHECK_EQ(T->remap(a.mem + PAGE, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to), to);
	CHECK_EQ(peek(to), 5);
	CHECK_EQ(peek(a.mem + PAGE), -SIGSEGV);
	expect_missing(a.u, a.mem);
	expect_missing(a.u, a.mem + 2 * PAGE);
}

CASE(mremap_move_drops_write_protection, SEEN)
{
	struct area a = {uffd(0), source(1, 3)};
	uint64_t to;

	CHECK_OK(reg(a.u, a.mem, PAGE, WP));
	CHECK_OK(protect(a.u, a.mem, PAGE, SET));
	to = moved(&a, 1, 1);
	CHECK_EQ(peek(to), 3);
	CHECK_EQ(poke(to, 4), 0);
	CHECK(quiet(a.u));
	CHECK_OK(reg(a.u, to, PAGE, WP));
	CHECK_EQ(poke(to, 5), 0);
}

CASE(mremap_move_then_register, SEEN)
{
	struct area a = area(2, MISSING, 0);
	uint64_t to;

	fill(a.u, a.mem, 1, 1);
	to = moved(&a, 2, 2);
	CHECK_OK(reg(a.u, to, 2 * PAGE, MISSING));
	CHECK_EQ(peek(to), 1);
	expect_missing(a.u, to + PAGE);
}

CASE(mremap_over_registered, SEEN ": what is moved over a registered range is not registered")
{
	struct area a = area(1, MISSING, 0);
	uint64_t from = source(1, 6);

	CHECK_EQ(T->remap(from, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, a.mem), a.mem);
	CHECK_EQ(peek(a.mem), 6);
	CHECK_OK(T->advise(a.mem, PAGE, MADV_DONTNEED));
	CHECK_EQ(peek(a.mem), 0);
	CHECK(quiet(a.u));
}

CASE(mremap_unregistered_beside, SEEN)
{
	uint64_t mem = source(2, 1), to = map(1);
	uffd_t u = uffd(0);

	CHECK_OK(reg(u, mem, PAGE, MISSING));
	CHECK_EQ(T->remap(mem + PAGE, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to), to);
	CHECK_EQ(peek(to), 2);
	CHECK_EQ(peek(mem), 1);
	CHECK_OK(T->advise(mem, PAGE, MADV_DONTNEED));
	expect_missing(u, mem);
}

CASE(mremap_while_waiting, SEEN ": mremap wakes no thread; woken, the access finds no mapping")
{
	struct area a = area(1, MISSING, 0);
	struct touch t;
	uint64_t to;

	touch_start(&t, LOAD, a.mem, 0);
	expect_fault(a.u, a.mem, 0);
	to = moved(&a, 1, 1);
	CHECK(touch_waits(&t));
	CHECK_EQ(peek(to), 0);
	CHECK_OK(wake(a.u, a.mem, PAGE));
	CHECK_EQ(touch_end(&t), SIGSEGV);
}

CASE(mremap_dontunmap, SEEN ": the old range stays registered, and empty")
{
	struct area a = area(2, MISSING, 0);
	uint64_t to = map(2);

	fill(a.u, a.mem, 2, 5);
	CHECK_EQ(T->remap(a.mem, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, to), to);
	CHECK_EQ(peek(to), 5);
	CHECK_EQ(poke(to + PAGE, 1), 0);
	expect_missing(a.u, a.mem);
	expect_missing(a.u, a.mem + PAGE);
}

CASE(mremap_bad, "mremap(2), EINVAL, EFAULT")
{
	struct area a = area(2, MISSING, 0);

	CHECK_EQ(T->remap(a.mem + 1, PAGE, PAGE, 0, 0), -EINVAL);
	CHECK_EQ(T->remap(a.mem, PAGE, 0, 0, 0), -EINVAL);
	CHECK_EQ(T->remap(a.mem, PAGE, PAGE, 1 << 9, 0), -EINVAL);
	CHECK_EQ(T->remap(a.mem, PAGE, PAGE, MREMAP_FIXED, a.mem + PAGE), -EINVAL);
	CHECK_EQ(T->remap(a.mem, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, a.mem + PAGE), -EINVAL);
	CHECK_EQ(T->remap(a.mem + 2 * PAGE, PAGE, 2 * PAGE, MREMAP_MAYMOVE, 0), -EFAULT);
	expect_missing(a.u, a.mem);
}

/*
 * Several mappings with gaps, moved by one call: Linux 6.17 and later. One that is registered ends it; those before
 * it have moved.
 */
CASE_ON(remap_many, ON_LIBC, "the soft target moves one mapping", "mremap(2); kernel 6.18, observed")
{
	uint64_t probe = map(6);

	CHECK_OK(T->unmap(probe + PAGE, PAGE));
	if (T->remap(probe, 3 * PAGE, 3 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, probe + 3 * PAGE) == -EFAULT)
		skip("this kernel moves one mapping at a time");
	for (unsigned bad = 0; bad <= 4; bad++) { /* the one that is registered; 3: none is; 4: all were once */
		uint64_t mem = map(12), to = mem + 6 * PAGE;
		uffd_t u = uffd(0);

		for (unsigned i = 0; i < 3; i++) {
			CHECK_OK(poke(mem + 2 * i * PAGE, (uint8_t)(i + 1)));
			CHECK_OK(T->unmap(mem + (2 * i + 1) * PAGE, PAGE));
			if (i == bad || bad == 4)
				CHECK_OK(reg(u, mem + 2 * i * PAGE, PAGE, MISSING));
			if (bad == 4)
				CHECK_OK(unreg(u, mem + 2 * i * PAGE, PAGE));
		}
		for (unsigned i = 0; i < 6; i++) /* what is between the targets stays */
			CHECK_OK(poke(to + i * PAGE, 9));
		CHECK_EQ(T->remap(mem, 6 * PAGE, 6 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to),
			 bad < 3 ? -EFAULT : (int64_t)to);
		for (unsigned i = 0; i < 3; i++) {
			CHECK_EQ(peek(to + 2 * i * PAGE), bad < 3 && i >= bad ? 9 : (int)i + 1);
			CHECK_EQ(peek(to + (2 * i + 1) * PAGE), 9);
			CHECK_EQ(peek(mem + 2 * i * PAGE), bad < 3 && i >= bad ? (int)i + 1 : -SIGSEGV);
		}
		CHECK_OK(T->close(u));
	}
}
