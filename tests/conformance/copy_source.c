/* SPDX-License-Identifier: MIT */
/*
 * copy_source.c - where the bytes of UFFDIO_COPY come from: sources that are missing, unreadable, or fault
 * themselves.
 */
#include "conformance.h"

#define COPY "ioctl_userfaultfd(2) UFFDIO_COPY"

static void copy_fails(struct area *a, uint64_t src, uint64_t len, int err, int64_t out)
{
	int64_t copied;

	CHECK_EQ(copy(a->u, a->mem, src, len, 0, &copied), -err);
	CHECK_EQ(copied, out);
}

CASE(source_unmapped, "kernel 6.18, observed: EFAULT, `copy` = -EFAULT")
{
	struct area a = area(1, MISSING, 0);
	uint64_t src = map(1);

	CHECK_OK(T->unmap(src, PAGE));
	copy_fails(&a, src, PAGE, EFAULT, -EFAULT);
	expect_missing(a.u, a.mem);
}

CASE(source_no_access, "kernel 6.18, observed: EFAULT")
{
	struct area a = area(1, MISSING, 0);

	copy_fails(&a, map_prot(1, PROT_NONE), PAGE, EFAULT, -EFAULT);
	expect_missing(a.u, a.mem);
}

CASE(source_null, "kernel 6.18, observed: EFAULT")
{
	struct area a = area(1, MISSING, 0);

	copy_fails(&a, 0, PAGE, EFAULT, -EFAULT);
}

CASE(source_read_only, COPY)
{
	struct area a = area(1, MISSING, 0);
	uint64_t src = source(1, 4);

	CHECK_OK(T->protect(src, PAGE, PROT_READ));
	CHECK_OK(copy(a.u, a.mem, src, PAGE, 0, NULL));
	CHECK(page_is(a.mem, 4));
}

CASE(source_ends_unmapped, "kernel 6.18, observed: EAGAIN, `copy` is the pages before")
{
	struct area a = area(3, MISSING, 0);
	uint64_t src = source(3, 4);

	CHECK_OK(T->unmap(src + 2 * PAGE, PAGE));
	copy_fails(&a, src, 3 * PAGE, EAGAIN, 2 * PAGE);
	CHECK(page_is(a.mem, 4));
	CHECK(page_is(a.mem + PAGE, 5));
	expect_missing(a.u, a.mem + 2 * PAGE);
}

CASE(source_ends_inside_a_page, "kernel 6.18, observed: a page is filled whole or not at all")
{
	struct area a = area(2, MISSING, 0);

	copy_fails(&a, source(2, 4) + 100, 2 * PAGE, EAGAIN, PAGE);
	CHECK_EQ(peek(a.mem), 4);
	CHECK_EQ(peek(a.mem + PAGE - 1), 5);
	expect_missing(a.u, a.mem + PAGE);
}

CASE(source_misaligned_ends_unmapped, "kernel 6.18, observed: EFAULT when the first page is not whole")
{
	struct area a = area(1, MISSING, 0);

	copy_fails(&a, source(1, 4) + 100, PAGE, EFAULT, -EFAULT);
	expect_missing(a.u, a.mem);
}

CASE(source_fault_wakes_nobody, "kernel 6.18, observed: EFAULT wakes no thread")
{
	struct area a = area(1, MISSING, 0);
	struct touch t;

	touch_start(&t, LOAD, a.mem, 0xee);
	expect_fault(a.u, a.mem, 0);
	copy_fails(&a, map_prot(1, PROT_NONE), PAGE, EFAULT, -EFAULT);
	CHECK(touch_waits(&t));
	CHECK(quiet(a.u));
	fill(a.u, a.mem, 1, 5);
	touch_ends_with(&t, 5);
}

CASE(source_untouched, COPY)
{
	struct area a = area(2, MISSING, 0);

	CHECK_OK(copy(a.u, a.mem, map(2), 2 * PAGE, 0, NULL));
	CHECK_EQ(zero(a.u, a.mem, PAGE, 0, NULL), -EEXIST);
	CHECK(page_is(a.mem, 0));
	CHECK(page_is(a.mem + PAGE, 0));
	CHECK_EQ(poke(a.mem, 1), 0);
}

CASE(source_over_two_mappings, COPY)
{
	struct area a = area(2, MISSING, 0);
	uint64_t src = source(2, 4);

	CHECK_OK(T->protect(src, PAGE, PROT_READ));
	CHECK_OK(copy(a.u, a.mem, src, 2 * PAGE, 0, NULL));
	CHECK(page_is(a.mem + PAGE, 5));
}

CASE(source_in_the_same_registration, COPY)
{
	struct area a = area(2, MISSING, 0);

	fill(a.u, a.mem, 1, 8);
	CHECK_OK(copy(a.u, a.mem + PAGE, a.mem, PAGE, 0, NULL));
	CHECK(page_is(a.mem + PAGE, 8));
}

CASE(source_overlaps_destination, "kernel 6.18, observed: page by page, each is the source of the next")
{
	struct area a = area(4, MISSING, 0);

	fill(a.u, a.mem, 1, 8);
	CHECK_OK(copy(a.u, a.mem + PAGE, a.mem, 3 * PAGE, 0, NULL));
	for (unsigned i = 0; i < 4; i++)
		CHECK(page_is(a.mem + i * PAGE, 8));
}

struct copier {
	uffd_t u;
	uint64_t dst, src;
	int64_t copied;
	int ret;
	atomic_bool done;
	pthread_t thread;
};

static void *copier_run(void *arg)
{
	struct copier *c = arg;

	c->ret = copy(c->u, c->dst, c->src, PAGE, 0, &c->copied);
	atomic_store(&c->done, true);
	return NULL;
}

static void copier_start(struct copier *c, uffd_t u, uint64_t dst, uint64_t src)
{
	*c = (struct copier){.u = u, .dst = dst, .src = src};
	CHECK_OK(pthread_create(&c->thread, NULL, copier_run, c));
}

CASE(source_missing_in_another_registration, "kernel 6.18, observed: the source faults like any memory")
{
	struct area a = area(1, MISSING, 0), b = area(1, MISSING, 0);
	struct copier c;

	copier_start(&c, a.u, a.mem, b.mem);
	expect_fault(b.u, b.mem, 0);
	CHECK(!atomic_load(&c.done));
	fill(b.u, b.mem, 1, 3);
	CHECK_OK(pthread_join(c.thread, NULL));
	CHECK_OK(c.ret);
	CHECK_EQ(c.copied, PAGE);
	CHECK(page_is(a.mem, 3));
}

CASE(source_missing_in_the_same_registration, "kernel 6.18, observed: no lock of the object is held meanwhile")
{
	struct area a = area(2, MISSING, 0);
	struct copier c;

	copier_start(&c, a.u, a.mem, a.mem + PAGE);
	expect_fault(a.u, a.mem + PAGE, 0);
	CHECK(!atomic_load(&c.done));
	fill(a.u, a.mem + PAGE, 1, 3);
	CHECK_OK(pthread_join(c.thread, NULL));
	CHECK_OK(c.ret);
	CHECK(page_is(a.mem, 3));
}

CASE(source_is_destination, "kernel 6.18, observed: the copy waits for its own page, and finds it there")
{
	struct area a = area(1, MISSING, 0);
	struct copier c;

	copier_start(&c, a.u, a.mem, a.mem);
	expect_fault(a.u, a.mem, 0);
	fill(a.u, a.mem, 1, 3);
	CHECK_OK(pthread_join(c.thread, NULL));
	CHECK_EQ(c.ret, -EEXIST);
	CHECK_EQ(c.copied, -EEXIST);
	CHECK(page_is(a.mem, 3));
}

CASE(source_is_existing_destination, "kernel 6.18, observed")
{
	struct area a = area(1, MISSING, 0);

	fill(a.u, a.mem, 1, 3);
	copy_fails(&a, a.mem, PAGE, EEXIST, -EEXIST);
}

CASE(source_write_protected, COPY)
{
	struct area a = area(1, MISSING, 0), b = area(1, WP, 0);

	CHECK_EQ(poke(b.mem, 5), 0);
	CHECK_OK(protect(b.u, b.mem, PAGE, FL_UFFDIO_WRITEPROTECT_MODE_WP));
	CHECK_OK(copy(a.u, a.mem, b.mem, PAGE, 0, NULL));
	CHECK_EQ(peek(a.mem), 5);
	CHECK(quiet(b.u));
}

CASE(source_sigbus_memory, "kernel 6.18, observed: EFAULT")
{
	struct area a = area(1, MISSING, 0), b = area(1, MISSING, FL_UFFD_FEATURE_SIGBUS);

	copy_fails(&a, b.mem, PAGE, EFAULT, -EFAULT);
	expect_missing(a.u, a.mem);
}

CASE(source_unmapped_and_existing, "kernel 6.18, observed: which of two errors is told")
{
	struct area a = area(1, MISSING, 0);

	fill(a.u, a.mem, 1, 3);
	copy_fails(&a, map_prot(1, PROT_NONE), PAGE, EFAULT, -EFAULT);
}

CASE(source_unmapped_and_unregistered, "kernel 6.18, observed: which of two errors is told")
{
	struct area a = {uffd(0), map(1)};

	copy_fails(&a, map_prot(1, PROT_NONE), PAGE, ENOENT, -ENOENT);
}
