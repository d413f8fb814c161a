/* SPDX-License-Identifier: MIT */
/*
 * pagemap.c - the words of /proc/self/pagemap for registered memory: bits 56, 57 and 61 to 63.
 */
#include "conformance.h"

#define RST	  "pagemap.rst"
#define SEEN	  "kernel 6.18, observed"
#define SET	  FL_UFFDIO_WRITEPROTECT_MODE_WP
#define COPY_WP	  FL_UFFDIO_COPY_MODE_WP
#define BOTH	  (MISSING | WP)
#define TRAPPED	  (FL_UFFD_PAGEFAULT_FLAG_WP | FL_UFFD_PAGEFAULT_FLAG_WRITE)
#define W_WP_ZERO (W_ZERO | FL_PM_UFFD_WP)

static const uint64_t modes[] = {MISSING, WP, BOTH};
#define MODES 3

CASE(pagemap_unmapped, RST)
{
	struct area a = area(1, WP, 0);

	CHECK_EQ(word(a.mem + PAGE), W_NONE);
	CHECK_OK(T->unmap(a.mem, PAGE));
	CHECK_EQ(word(a.mem), W_NONE);
}

CASE(pagemap_untouched, RST ": neither present nor swapped")
{
	for (unsigned m = 0; m < MODES; m++) {
		struct area a = area(2, modes[m], 0);

		CHECK(words_are(a.mem, 2, W_NONE));
	}
}

CASE(pagemap_stored, RST ": present, and exclusively mapped")
{
	struct area a = area(3, WP, 0);

	CHECK_EQ(poke(a.mem + PAGE, 1), 0);
	CHECK_EQ(word(a.mem), W_NONE);
	CHECK_EQ(word(a.mem + PAGE), W_OWN);
	CHECK_EQ(word(a.mem + 2 * PAGE), W_NONE);
}

CASE(pagemap_stored_before_registration, RST)
{
	for (unsigned m = 0; m < MODES; m++) {
		uint64_t mem = source(2, 1);

		CHECK_OK(reg(uffd(0), mem, 2 * PAGE, modes[m]));
		CHECK(words_are(mem, 2, W_OWN));
	}
}

CASE(pagemap_loaded, SEEN ": present; the zero page is not exclusively mapped")
{
	struct area a = area(1, WP, 0);

	CHECK_EQ(peek(a.mem), 0);
	CHECK_EQ(word(a.mem), W_LOADED);
	CHECK_EQ(poke(a.mem, 1), 0);
	CHECK_EQ(word(a.mem), W_OWN);
}

CASE(pagemap_loaded_before_registration, SEEN)
{
	for (unsigned m = 0; m < MODES; m++) {
		uint64_t mem = map(2);

		CHECK_EQ(peek(mem), 0);
		CHECK_OK(reg(uffd(0), mem, 2 * PAGE, modes[m]));
		CHECK_EQ(word(mem), w_loaded_before());
		CHECK_EQ(word(mem + PAGE), W_NONE);
		CHECK_EQ(peek(mem), 0);
		CHECK_EQ(poke(mem, 1), 0);
		CHECK_EQ(word(mem), W_OWN);
	}
}

CASE(pagemap_system_calls, SEEN ": as a load, as a store")
{
	struct area a = area(2, WP, 0);
	uint8_t byte = 0;

	CHECK_OK(T->kernel_read(a.mem, &byte, 1));
	CHECK_EQ(word(a.mem), W_LOADED);
	CHECK_OK(T->kernel_write(a.mem + PAGE, &byte, 1));
	CHECK_EQ(word(a.mem + PAGE), W_OWN);
}

CASE_ON(pagemap_populate, ON_LIBC, "soft memory has no such advice",
	SEEN ": MADV_POPULATE_READ as a load, MADV_POPULATE_WRITE as a store")
{
	struct area a = area(2, WP, 0);
	int r = T->advise(a.mem, PAGE, MADV_POPULATE_READ);

	if (r == -EINVAL && on_kernel())
		skip("this kernel has no MADV_POPULATE_READ");
	CHECK_OK(r);
	CHECK_EQ(word(a.mem), W_LOADED);
	CHECK_OK(T->advise(a.mem + PAGE, PAGE, MADV_POPULATE_WRITE));
	CHECK_EQ(word(a.mem + PAGE), W_OWN);
}

/* ---- fills ---- */

CASE(pagemap_copied, SEEN ": a page of its own")
{
	for (unsigned m = 0; m < MODES; m++) {
		struct area a = area(3, modes[m], 0);

		fill(a.u, a.mem + PAGE, 1, 5);
		CHECK_EQ(word(a.mem), W_NONE);
		CHECK_EQ(word(a.mem + PAGE), W_OWN);
		CHECK_EQ(word(a.mem + 2 * PAGE), W_NONE);
		CHECK_EQ(peek(a.mem + PAGE), 5);
		CHECK_EQ(word(a.mem + PAGE), W_OWN);
	}
}

CASE(pagemap_copied_protected, SEEN)
{
	for (unsigned m = 1; m < MODES; m++) {
		struct area a = area(1, modes[m], 0);

		CHECK_OK(copy(a.u, a.mem, source(1, 5), PAGE, COPY_WP, NULL));
		CHECK_EQ(word(a.mem), W_PROTECTED);
		CHECK_EQ(peek(a.mem), 5);
		CHECK_EQ(word(a.mem), W_PROTECTED);
	}
}

CASE(pagemap_zeropage, SEEN ": the zero page is present, and not exclusively mapped")
{
	for (unsigned m = 0; m < MODES; m++) {
		struct area a = area(2, modes[m], 0);

		CHECK_OK(zero(a.u, a.mem, PAGE, 0, NULL));
		CHECK_EQ(word(a.mem), W_ZERO);
		CHECK_EQ(word(a.mem + PAGE), W_NONE);
		CHECK_EQ(peek(a.mem), 0);
		CHECK_EQ(word(a.mem), W_ZERO);
	}
}

CASE(pagemap_zeropage_then_store, SEEN)
{
	for (unsigned m = 0; m < MODES; m++) {
		struct area a = area(2, modes[m], 0);

		CHECK_OK(zero(a.u, a.mem, 2 * PAGE, 0, NULL));
		CHECK_EQ(poke(a.mem, 1), 0);
		CHECK_EQ(word(a.mem), W_OWN);
		CHECK_EQ(word(a.mem + PAGE), W_ZERO);
	}
}

CASE(pagemap_resolved_store, SEEN ": a store that a ZEROPAGE let through has made a page")
{
	struct area a = area(1, MISSING, 0);
	struct touch t;

	touch_start(&t, STORE, a.mem, 1);
	expect_fault(a.u, a.mem, FL_UFFD_PAGEFAULT_FLAG_WRITE);
	CHECK_EQ(word(a.mem), W_NONE);
	CHECK_OK(zero(a.u, a.mem, PAGE, 0, NULL));
	CHECK_OK(touch_end(&t));
	CHECK_EQ(word(a.mem), W_OWN);
}

/* ---- write-protection ---- */

CASE(pagemap_protected, RST ": bit 57")
{
	struct area a = area(3, WP, 0);

	fill(a.u, a.mem, 3, 1);
	CHECK_OK(protect(a.u, a.mem + PAGE, PAGE, SET));
	CHECK_EQ(word(a.mem), W_OWN);
	CHECK_EQ(word(a.mem + PAGE), W_PROTECTED);
	CHECK_EQ(word(a.mem + 2 * PAGE), W_OWN);
	CHECK_OK(protect(a.u, a.mem + PAGE, PAGE, 0));
	CHECK_EQ(word(a.mem + PAGE), W_OWN);
}

CASE(pagemap_protected_untouched, SEEN ": nothing, without UFFD_FEATURE_WP_UNPOPULATED")
{
	struct area a = area(2, WP, 0);

	CHECK_OK(protect(a.u, a.mem, 2 * PAGE, SET));
	CHECK(words_are(a.mem, 2, W_NONE));
}

CASE(pagemap_protected_zeropage, SEEN)
{
	for (unsigned m = 1; m < MODES; m++) {
		struct area a = area(1, modes[m], 0);

		CHECK_OK(zero(a.u, a.mem, PAGE, 0, NULL));
		CHECK_OK(protect(a.u, a.mem, PAGE, SET));
		CHECK_EQ(word(a.mem), W_WP_ZERO);
		CHECK_OK(protect(a.u, a.mem, PAGE, 0));
		CHECK_EQ(word(a.mem), W_ZERO);
	}
}

CASE(pagemap_protected_loaded, SEEN)
{
	struct area a = area(1, WP, 0);

	CHECK_EQ(peek(a.mem), 0);
	CHECK_OK(protect(a.u, a.mem, PAGE, SET));
	CHECK_EQ(word(a.mem), W_LOADED | FL_PM_UFFD_WP);
}

CASE(pagemap_store_waits, SEEN ": nothing changes until it is let through")
{
	struct area a = area(2, BOTH, 0);

	fill(a.u, a.mem, 1, 1);
	CHECK_OK(zero(a.u, a.mem + PAGE, PAGE, 0, NULL));
	CHECK_OK(protect(a.u, a.mem, 2 * PAGE, SET));
	for (unsigned i = 0; i < 2; i++) {
		uint64_t page = a.mem + i * PAGE;
		struct touch t;

		touch_start(&t, STORE, page + 1, 7);
		expect_fault(a.u, page, TRAPPED);
		CHECK_EQ(word(page), i ? W_WP_ZERO : W_PROTECTED);
		CHECK_OK(protect(a.u, page, PAGE, 0));
		CHECK_OK(touch_end(&t));
		CHECK_EQ(word(page), W_OWN);
	}
}

/* ---- changes of the mapping ---- */

CASE(pagemap_dontneed, RST)
{
	for (unsigned m = 0; m < MODES; m++) {
		struct area a = area(3, modes[m], 0);

		fill(a.u, a.mem, 2, 1);
		CHECK_OK(zero(a.u, a.mem + 2 * PAGE, PAGE, 0, NULL));
		CHECK_OK(T->advise(a.mem + PAGE, 2 * PAGE, MADV_DONTNEED));
		CHECK_EQ(word(a.mem), W_OWN);
		CHECK(words_are(a.mem + PAGE, 2, W_NONE));
	}
}

CASE(pagemap_dontneed_protected, SEEN)
{
	struct area a = area(2, WP, 0);

	fill(a.u, a.mem, 2, 1);
	CHECK_OK(protect(a.u, a.mem, 2 * PAGE, SET));
	CHECK_OK(T->advise(a.mem, PAGE, MADV_DONTNEED));
	CHECK_EQ(word(a.mem), W_NONE);
	CHECK_EQ(word(a.mem + PAGE), W_PROTECTED);
}

CASE(pagemap_mprotect, SEEN ": rights are no part of it")
{
	static const int prots[] = {PROT_NONE, PROT_READ, RW | PROT_EXEC, RW};
	struct area a = area(4, BOTH, 0);

	fill(a.u, a.mem, 2, 1);
	CHECK_OK(zero(a.u, a.mem + 2 * PAGE, PAGE, 0, NULL));
	CHECK_OK(protect(a.u, a.mem + PAGE, PAGE, SET));
	for (unsigned i = 0; i < 4; i++) {
		CHECK_OK(T->protect(a.mem, 4 * PAGE, prots[i]));
		CHECK_EQ(word(a.mem), W_OWN);
		CHECK_EQ(word(a.mem + PAGE), W_PROTECTED);
		CHECK_EQ(word(a.mem + 2 * PAGE), W_ZERO);
		CHECK_EQ(word(a.mem + 3 * PAGE), W_NONE);
	}
}

CASE(pagemap_filled_while_closed, SEEN ": PROT_NONE")
{
	struct area a = area(2, MISSING, 0);

	CHECK_OK(T->protect(a.mem, 2 * PAGE, PROT_NONE));
	fill(a.u, a.mem, 1, 1);
	CHECK_OK(zero(a.u, a.mem + PAGE, PAGE, 0, NULL));
	CHECK_EQ(word(a.mem), W_OWN);
	CHECK_EQ(word(a.mem + PAGE), W_ZERO);
}

CASE(pagemap_protected_while_closed, SEEN ": PROT_NONE")
{
	struct area a = area(1, WP, 0);

	fill(a.u, a.mem, 1, 1);
	CHECK_OK(T->protect(a.mem, PAGE, PROT_NONE));
	CHECK_OK(protect(a.u, a.mem, PAGE, SET));
	CHECK_EQ(word(a.mem), W_PROTECTED);
	CHECK_OK(protect(a.u, a.mem, PAGE, 0));
	CHECK_EQ(word(a.mem), W_OWN);
}

CASE(pagemap_mremap, SEEN)
{
	for (unsigned m = 0; m < MODES; m++) {
		struct area a = area(3, modes[m], 0);
		uint64_t to = map(3);

		fill(a.u, a.mem, 1, 1);
		CHECK_OK(zero(a.u, a.mem + PAGE, PAGE, 0, NULL));
		CHECK_EQ(T->remap(a.mem, 3 * PAGE, 3 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to), to);
		CHECK_EQ(word(to), W_OWN);
		CHECK_EQ(word(to + PAGE), W_ZERO);
		CHECK_EQ(word(to + 2 * PAGE), W_NONE);
		CHECK(words_are(a.mem, 3, W_NONE));
	}
}

/* ---- registration ---- */

static struct area each_kind(uint64_t mode)
{
	struct area a = area(4, mode, 0);

	fill(a.u, a.mem, 1, 1);
	CHECK_OK(copy(a.u, a.mem + PAGE, source(1, 2), PAGE, mode & WP ? COPY_WP : 0, NULL));
	CHECK_OK(zero(a.u, a.mem + 2 * PAGE, PAGE, 0, NULL));
	if (mode & WP)
		CHECK_OK(protect(a.u, a.mem + 2 * PAGE, PAGE, SET));
	return a;
}

static void each_kind_unprotected(uint64_t mem)
{
	CHECK(words_are(mem, 2, W_OWN));
	CHECK_EQ(word(mem + 2 * PAGE), W_ZERO);
	CHECK_EQ(word(mem + 3 * PAGE), W_NONE);
	CHECK_EQ(peek(mem), 1);
	CHECK_EQ(peek(mem + PAGE), 2);
}

CASE(pagemap_unregistered, SEEN ": bit 57 is gone, the rest stays")
{
	for (unsigned m = 0; m < MODES; m++) {
		struct area a = each_kind(modes[m]);

		CHECK_OK(unreg(a.u, a.mem, 4 * PAGE));
		each_kind_unprotected(a.mem);
	}
}

CASE(pagemap_closed, SEEN ": bit 57 is gone, the rest stays")
{
	for (unsigned m = 0; m < MODES; m++) {
		struct area a = each_kind(modes[m]);

		CHECK_OK(T->close(a.u));
		each_kind_unprotected(a.mem);
	}
}

CASE(pagemap_unregistered_then_touched, SEEN)
{
	for (unsigned m = 0; m < MODES; m++) {
		struct area a = area(3, modes[m], 0);

		CHECK_OK(zero(a.u, a.mem, PAGE, 0, NULL));
		CHECK_OK(unreg(a.u, a.mem, 3 * PAGE));
		CHECK_EQ(poke(a.mem, 1), 0);
		CHECK_EQ(peek(a.mem + PAGE), 0);
		CHECK_EQ(poke(a.mem + 2 * PAGE, 1), 0);
		CHECK_EQ(word(a.mem), W_OWN);
		CHECK_EQ(word(a.mem + PAGE), W_LOADED);
		CHECK_EQ(word(a.mem + 2 * PAGE), W_OWN);
	}
}

CASE(pagemap_registered_again, SEEN)
{
	struct area a = each_kind(BOTH);

	CHECK_OK(unreg(a.u, a.mem, 4 * PAGE));
	CHECK_OK(reg(a.u, a.mem, 4 * PAGE, WP));
	each_kind_unprotected(a.mem);
}

CASE(pagemap_registered_over, SEEN ": another mode, and bit 57 stays")
{
	struct area a = each_kind(WP);

	CHECK_OK(reg(a.u, a.mem, 4 * PAGE, BOTH));
	CHECK_EQ(word(a.mem), W_OWN);
	CHECK_EQ(word(a.mem + PAGE), W_PROTECTED);
	CHECK_EQ(word(a.mem + 2 * PAGE), W_WP_ZERO);
	CHECK_EQ(word(a.mem + 3 * PAGE), W_NONE);
}
