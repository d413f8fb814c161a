/* SPDX-License-Identifier: MIT */
/* reregister.c - memory that was registered, unregistered whole or in parts, and registered again. */
#include "conformance.h"

#include <sys/mman.h>

#define AGAIN "kernel 6.18, observed: a second registration finds the pages as they are"
#define SET   FL_UFFDIO_WRITEPROTECT_MODE_WP

/* Four pages in use, unregistered in two halves, dropped, and registered again. */
static struct area again(void)
{
	struct area a = area(4, MISSING | WP, 0);

	fill(a.u, a.mem, 1, 1);
	fill(a.u, a.mem + 2 * PAGE, 1, 2);
	CHECK_EQ(poke(a.mem, 5), 0);
	CHECK_EQ(poke(a.mem + 2 * PAGE, 5), 0);
	CHECK_OK(unreg(a.u, a.mem, 2 * PAGE));
	CHECK_OK(unreg(a.u, a.mem + 2 * PAGE, 2 * PAGE));
	CHECK_OK(T->advise(a.mem, 4 * PAGE, MADV_DONTNEED));
	CHECK_OK(reg(a.u, a.mem, 4 * PAGE, MISSING | WP));
	return a;
}

CASE(reregister_protect_shows_no_missing_page, AGAIN)
{
	struct area a = again();

	fill(a.u, a.mem, 1, 1);
	fill(a.u, a.mem + 2 * PAGE, 1, 2);
	CHECK_EQ(poke(a.mem, 7), 0);
	CHECK_EQ(poke(a.mem + 2 * PAGE, 7), 0);
	CHECK_OK(protect(a.u, a.mem, 3 * PAGE, SET));
	expect_missing(a.u, a.mem + PAGE);
	expect_missing(a.u, a.mem + 3 * PAGE);
	CHECK_OK(protect(a.u, a.mem, 3 * PAGE, 0));
	CHECK_EQ(peek(a.mem), 7);
}

CASE(reregister_copy_protected_is_readable, AGAIN)
{
	struct area a = again();
	int64_t copied;

	CHECK_OK(copy(a.u, a.mem + PAGE, source(1, 9), PAGE, FL_UFFDIO_COPY_MODE_WP, &copied));
	CHECK_EQ(peek(a.mem + PAGE), 9);
	CHECK(quiet(a.u));
}

CASE(reregister_keeps_untouched_zero_pages, AGAIN)
{
	struct area a = area(2, MISSING, 0);
	int64_t zeroed;

	CHECK_OK(zero(a.u, a.mem, PAGE, 0, &zeroed));
	CHECK_OK(unreg(a.u, a.mem, 2 * PAGE));
	CHECK_OK(reg(a.u, a.mem, 2 * PAGE, MISSING));
	CHECK_EQ(zero(a.u, a.mem, PAGE, 0, &zeroed), -EEXIST);
	CHECK_EQ(peek(a.mem), 0);
	expect_missing(a.u, a.mem + PAGE);
}

CASE(reregister_after_protection_has_changed, AGAIN)
{
	struct area a = again();

	fill(a.u, a.mem, 1, 3);
	CHECK_EQ(peek(a.mem), 3);
	CHECK_OK(T->protect(a.mem, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC));
	CHECK_EQ(poke(a.mem, 4), 0);
	CHECK_OK(T->protect(a.mem, PAGE, PROT_READ | PROT_WRITE));
	CHECK_EQ(poke(a.mem, 5), 0);
	CHECK_EQ(peek(a.mem), 5);
}
