/* SPDX-License-Identifier: MIT */
/*
 * softdirty.c - the soft-dirty bit of pages that userfaultfd has handled: bit 55 of the word in /proc/self/pagemap.
 *
 * The cases expect what soft-dirty.rst says; not every kernel has the bit. All memory here was registered once
 * before: natively that is what is tracked.
 */
#include "huge.h"
#include "shmem.h"

#define RST	 "soft-dirty.rst"
#define WRITTEN	 RST ": set if the page was written to since the bits were cleared"
#define NEW	 RST ": new and expanded regions are soft-dirty"
#define PROC	 "proc(5), /proc/pid/clear_refs, 4"
#define CLEAN(a) CHECK(!soft_dirty(a))
#define DIRTY(a) CHECK(soft_dirty(a))

struct memory {
	const char *name;
	uint64_t (*map)(unsigned pages);
};

static uint64_t map_memfd(unsigned pages)
{
	return shmem_map(MEMFD, pages).mem;
}

static uint64_t map_shared(unsigned pages)
{
	return shmem_map(SHARED, pages).mem;
}

static const struct memory private_anonymous = {"private anonymous", map};
static const struct memory shared_anonymous = {"shared anonymous", map_shared};
static const struct memory memfd = {"memfd", map_memfd};

static void needs_soft_dirty(void)
{
	uint64_t mem;

	if (!on_kernel())
		return;
	mem = map(1);
	if (soft_dirty(mem))
		return;
	CHECK_OK(T->clear_refs());
	CHECK_EQ(poke(mem, 1), 0);
	if (!soft_dirty(mem))
		skip("this kernel has no soft-dirty bit");
}

/* One case for each kind of memory. */
#define SEQUENCE_OF(name, fn, memory, src)                                                                           \
	CASE(name, src)                                                                                              \
	{                                                                                                            \
		needs_soft_dirty();                                                                                  \
		fn(&memory);                                                                                         \
	}
#define SEQUENCE(fn, src)                                                                                            \
	static void fn##_of(const struct memory *kind);                                                              \
	SEQUENCE_OF(fn, fn##_of, private_anonymous, src)                                                             \
	SEQUENCE_OF(fn##_shared, fn##_of, shared_anonymous, src)                                                     \
	SEQUENCE_OF(fn##_memfd, fn##_of, memfd, src)                                                                 \
	static void fn##_of(const struct memory *kind)

/* Memory that was registered in this mode, and no longer is. */
static struct area registered_before(const struct memory *kind, unsigned pages, uint64_t mode)
{
	struct area a = {uffd(0), kind->map(pages)};

	CHECK_OK(reg(a.u, a.mem, pages * PAGE, mode));
	CHECK_OK(unreg(a.u, a.mem, pages * PAGE));
	return a;
}

/* The same, with all pages written to and then cleared. */
static struct area clean(const struct memory *kind, unsigned pages)
{
	struct area a = registered_before(kind, pages, WP);

	for (unsigned i = 0; i < pages; i++)
		CHECK_EQ(poke(a.mem + i * PAGE, mark(i)), 0);
	CHECK_OK(T->clear_refs());
	return a;
}

/* ---- the bit ---- */

SEQUENCE(softdirty_fresh_mapping, NEW)
{
	static const uint64_t modes[] = {MISSING, WP, BOTH};

	for (unsigned m = 0; m < 3; m++) {
		struct area a = registered_before(kind, 2, modes[m]);

		DIRTY(a.mem);
		DIRTY(a.mem + PAGE);
	}
}

SEQUENCE(softdirty_fresh_mapping_registered, NEW)
{
	struct area a = registered_before(kind, 2, MISSING);

	CHECK_OK(reg(a.u, a.mem, 2 * PAGE, BOTH));
	DIRTY(a.mem);
	DIRTY(a.mem + PAGE);
}

SEQUENCE(softdirty_clear, PROC)
{
	struct area a = registered_before(kind, 3, WP);

	CHECK_EQ(poke(a.mem, 1), 0);
	CHECK_EQ(peek(a.mem + PAGE), 0);
	CHECK_OK(T->clear_refs());
	CLEAN(a.mem);
	CLEAN(a.mem + PAGE);
	CLEAN(a.mem + 2 * PAGE);
}

SEQUENCE(softdirty_clear_changes_nothing_else, PROC)
{
	struct area a = registered_before(kind, 3, WP);
	uint64_t before[3];

	CHECK_EQ(poke(a.mem, 7), 0);
	CHECK_EQ(peek(a.mem + PAGE), 0);
	for (unsigned i = 0; i < 3; i++)
		before[i] = word(a.mem + i * PAGE);
	CHECK_OK(T->clear_refs());
	for (unsigned i = 0; i < 3; i++)
		CHECK_EQ(word(a.mem + i * PAGE), before[i]);
	CHECK_EQ(peek(a.mem), 7);
}

SEQUENCE(softdirty_clear_twice, PROC)
{
	struct area a = clean(kind, 2);

	CHECK_OK(T->clear_refs());
	CLEAN(a.mem);
	CHECK_EQ(poke(a.mem, 1), 0);
	DIRTY(a.mem);
	CHECK_OK(T->clear_refs());
	CLEAN(a.mem);
	CLEAN(a.mem + PAGE);
}

SEQUENCE(softdirty_store, WRITTEN)
{
	struct area a = clean(kind, 1);

	CHECK_EQ(poke(a.mem + 5, 9), 0);
	DIRTY(a.mem);
	CHECK_EQ(peek(a.mem), mark(0));
	CHECK_EQ(peek(a.mem + 5), 9);
}

SEQUENCE(softdirty_store_of_what_was_there, WRITTEN ", whatever is written")
{
	struct area a = clean(kind, 1);

	CHECK_EQ(poke(a.mem, mark(0)), 0);
	DIRTY(a.mem);
}

SEQUENCE(softdirty_store_that_page_only, WRITTEN)
{
	struct area a = clean(kind, 3);

	CHECK_EQ(poke(a.mem + 2 * PAGE - 1, 9), 0);
	CLEAN(a.mem);
	DIRTY(a.mem + PAGE);
	CLEAN(a.mem + 2 * PAGE);
}

SEQUENCE(softdirty_store_where_nothing_was, WRITTEN)
{
	struct area a = registered_before(kind, 2, WP);

	CHECK_OK(T->clear_refs());
	CHECK_EQ(poke(a.mem, 9), 0);
	DIRTY(a.mem);
	CLEAN(a.mem + PAGE);
}

SEQUENCE(softdirty_store_over_a_zero_page, WRITTEN)
{
	struct area a = registered_before(kind, 1, WP);

	CHECK_EQ(peek(a.mem), 0);
	CHECK_OK(T->clear_refs());
	CHECK_EQ(poke(a.mem, 9), 0);
	DIRTY(a.mem);
}

SEQUENCE(softdirty_load, WRITTEN)
{
	struct area a = clean(kind, 1);

	CHECK_EQ(peek(a.mem), mark(0));
	CLEAN(a.mem);
	CHECK_EQ(peek(a.mem + 100), 0);
	CLEAN(a.mem);
}

SEQUENCE(softdirty_system_calls, WRITTEN)
{
	struct area a = clean(kind, 2);
	uint8_t byte = 9;

	CHECK_OK(T->kernel_read(a.mem, &byte, 1));
	CHECK_EQ(byte, mark(0));
	CLEAN(a.mem);
	CHECK_OK(T->kernel_write(a.mem + PAGE + 3, &byte, 1));
	DIRTY(a.mem + PAGE);
	CHECK_EQ(peek(a.mem + PAGE + 3), mark(0));
}

SEQUENCE(softdirty_rounds, RST ": steps 1 to 3, again and again")
{
	struct area a = clean(kind, 16);

	for (unsigned round = 2; round < 6; round++) {
		for (unsigned i = 0; i < 16; i += round)
			CHECK_EQ(poke(a.mem + i * PAGE, (uint8_t)round), 0);
		for (unsigned i = 0; i < 16; i++)
			CHECK_EQ(soft_dirty(a.mem + i * PAGE), i % round == 0);
		CHECK_OK(T->clear_refs());
		for (unsigned i = 0; i < 16; i++)
			CLEAN(a.mem + i * PAGE);
	}
}

/* ---- registered and unregistered meanwhile ---- */

static void five_steps(const struct memory *kind, uint64_t mode, bool closes)
{
	struct area a = registered_before(kind, 2, mode);

	CHECK_EQ(poke(a.mem, 1), 0);
	CHECK_OK(T->clear_refs());
	CLEAN(a.mem);
	CHECK_OK(reg(a.u, a.mem, 2 * PAGE, mode));
	if (closes)
		CHECK_OK(T->close(a.u));
	else
		CHECK_OK(unreg(a.u, a.mem, 2 * PAGE));
	CLEAN(a.mem);
	CLEAN(a.mem + PAGE);
	CHECK_EQ(poke(a.mem, 2), 0);
	DIRTY(a.mem);
	CLEAN(a.mem + PAGE);
	CHECK_EQ(peek(a.mem), 2);
}

SEQUENCE(softdirty_five_steps, RST ": write, clear, register and unregister for WP, still clear; write, set")
{
	five_steps(kind, WP, false);
}

SEQUENCE(softdirty_five_steps_missing,
	 RST ": write, clear, register and unregister for MISSING, still clear; write, set")
{
	five_steps(kind, MISSING, false);
}

SEQUENCE(softdirty_five_steps_both, RST ": write, clear, register and unregister for both, still clear; write, set")
{
	five_steps(kind, BOTH, false);
}

SEQUENCE(softdirty_five_steps_close, RST ": write, clear, register, close, still clear; write, set")
{
	five_steps(kind, WP, true);
	five_steps(kind, BOTH, true);
}

SEQUENCE(softdirty_registration_is_no_write, WRITTEN)
{
	struct area a = clean(kind, 2);

	CHECK_OK(reg(a.u, a.mem, 2 * PAGE, WP));
	CLEAN(a.mem);
	CHECK_OK(reg(a.u, a.mem, PAGE, BOTH));
	CLEAN(a.mem);
	CLEAN(a.mem + PAGE);
}

SEQUENCE(softdirty_registration_forgets_no_write, WRITTEN)
{
	struct area a = clean(kind, 2);

	CHECK_EQ(poke(a.mem, 1), 0);
	CHECK_OK(reg(a.u, a.mem, 2 * PAGE, WP));
	DIRTY(a.mem);
	CLEAN(a.mem + PAGE);
	CHECK_OK(unreg(a.u, a.mem, 2 * PAGE));
	DIRTY(a.mem);
	CLEAN(a.mem + PAGE);
}

SEQUENCE(softdirty_clear_while_registered, PROC)
{
	struct area a = registered_before(kind, 2, WP);

	CHECK_OK(reg(a.u, a.mem, 2 * PAGE, WP));
	CHECK_EQ(poke(a.mem, 1), 0);
	CHECK_OK(T->clear_refs());
	CLEAN(a.mem);
	CHECK_EQ(poke(a.mem, 2), 0);
	DIRTY(a.mem);
	CLEAN(a.mem + PAGE);
	CHECK(quiet(a.u));
}

SEQUENCE(softdirty_unregister_while_tracking, RST)
{
	struct area a = registered_before(kind, 3, WP);

	CHECK_OK(reg(a.u, a.mem, 3 * PAGE, WP));
	for (unsigned i = 0; i < 3; i++)
		CHECK_EQ(poke(a.mem + i * PAGE, 1), 0);
	CHECK_OK(T->clear_refs());
	CHECK_EQ(poke(a.mem + PAGE, 2), 0);
	CHECK_OK(unreg(a.u, a.mem, 3 * PAGE));
	CLEAN(a.mem);
	DIRTY(a.mem + PAGE);
	CLEAN(a.mem + 2 * PAGE);
	CHECK_EQ(poke(a.mem + 2 * PAGE, 3), 0);
	CLEAN(a.mem);
	DIRTY(a.mem + 2 * PAGE);
}

SEQUENCE(softdirty_unregister_in_part, RST)
{
	struct area a = registered_before(kind, 3, WP);

	CHECK_OK(reg(a.u, a.mem, 3 * PAGE, WP));
	for (unsigned i = 0; i < 3; i++)
		CHECK_EQ(poke(a.mem + i * PAGE, 1), 0);
	CHECK_OK(T->clear_refs());
	CHECK_OK(unreg(a.u, a.mem + PAGE, PAGE));
	for (unsigned i = 0; i < 3; i++)
		CLEAN(a.mem + i * PAGE);
	for (unsigned i = 0; i < 3; i++) {
		CHECK_EQ(poke(a.mem + i * PAGE, 2), 0);
		DIRTY(a.mem + i * PAGE);
	}
}

/* ---- write-protection ---- */

SEQUENCE(softdirty_protect_and_unprotect, RST ": the store passes, no message, and is noticed")
{
	struct area a = clean(kind, 2);

	CHECK_OK(reg(a.u, a.mem, 2 * PAGE, WP));
	CHECK_OK(protect(a.u, a.mem, 2 * PAGE, SET));
	CLEAN(a.mem);
	CHECK_OK(protect(a.u, a.mem, 2 * PAGE, 0));
	CLEAN(a.mem);
	CHECK_EQ(poke(a.mem, 2), 0);
	CHECK(quiet(a.u));
	DIRTY(a.mem);
	CLEAN(a.mem + PAGE);
	CHECK_EQ(peek(a.mem), 2);
}

SEQUENCE(softdirty_protect_and_unregister, RST)
{
	struct area a = clean(kind, 2);

	CHECK_OK(reg(a.u, a.mem, 2 * PAGE, WP));
	CHECK_OK(protect(a.u, a.mem, 2 * PAGE, SET));
	CHECK_OK(unreg(a.u, a.mem, 2 * PAGE));
	CLEAN(a.mem);
	CHECK_EQ(poke(a.mem, 2), 0);
	DIRTY(a.mem);
	CLEAN(a.mem + PAGE);
}

SEQUENCE(softdirty_protect_forgets_no_write, WRITTEN)
{
	struct area a = clean(kind, 2);

	CHECK_OK(reg(a.u, a.mem, 2 * PAGE, WP));
	CHECK_EQ(poke(a.mem, 2), 0);
	CHECK_OK(protect(a.u, a.mem, 2 * PAGE, SET));
	DIRTY(a.mem);
	CLEAN(a.mem + PAGE);
	CHECK_OK(protect(a.u, a.mem, 2 * PAGE, 0));
	DIRTY(a.mem);
	CLEAN(a.mem + PAGE);
}

SEQUENCE(softdirty_clear_while_protected, PROC ": write-protection is another bit")
{
	struct area a = registered_before(kind, 2, WP);

	CHECK_OK(reg(a.u, a.mem, 2 * PAGE, WP));
	CHECK_EQ(poke(a.mem, 1), 0);
	CHECK_OK(protect(a.u, a.mem, PAGE, SET));
	CHECK_OK(T->clear_refs());
	CLEAN(a.mem);
	CHECK(word(a.mem) & FL_PM_UFFD_WP);
	expect_wp(a.u, a.mem);
	DIRTY(a.mem);
	CHECK(!(word(a.mem) & FL_PM_UFFD_WP));
}

SEQUENCE(softdirty_protect_after_clear, WRITTEN)
{
	struct area a = clean(kind, 2);

	CHECK_OK(reg(a.u, a.mem, 2 * PAGE, WP));
	CHECK_OK(protect(a.u, a.mem, 2 * PAGE, SET));
	CHECK_EQ(peek(a.mem), mark(0));
	CLEAN(a.mem);
	expect_wp(a.u, a.mem);
	DIRTY(a.mem);
	CLEAN(a.mem + PAGE);
}

SEQUENCE(softdirty_clear_after_unprotect, WRITTEN)
{
	struct area a = clean(kind, 1);

	CHECK_OK(reg(a.u, a.mem, PAGE, WP));
	CHECK_OK(protect(a.u, a.mem, PAGE, SET));
	expect_wp(a.u, a.mem);
	CHECK_OK(T->clear_refs());
	CLEAN(a.mem);
	CHECK_EQ(poke(a.mem, 3), 0);
	CHECK(quiet(a.u));
	DIRTY(a.mem);
}

SEQUENCE(softdirty_protected_system_call, WRITTEN)
{
	struct area a = clean(kind, 1);
	struct touch t;

	CHECK_OK(reg(a.u, a.mem, PAGE, WP));
	CHECK_OK(protect(a.u, a.mem, PAGE, SET));
	touch_start(&t, KERNEL_WRITE, a.mem, 7);
	expect_fault(a.u, a.mem, TRAPPED);
	CHECK_OK(protect(a.u, a.mem, PAGE, 0));
	CHECK_OK(touch_end(&t));
	DIRTY(a.mem);
}

/* ---- missing pages ---- */

SEQUENCE(softdirty_copy, WRITTEN ": so it was")
{
	struct area a = registered_before(kind, 2, MISSING);

	CHECK_OK(reg(a.u, a.mem, 2 * PAGE, MISSING));
	CHECK_OK(T->clear_refs());
	fill(a.u, a.mem, 1, 3);
	DIRTY(a.mem);
	CLEAN(a.mem + PAGE);
}

SEQUENCE(softdirty_clear_after_copy, WRITTEN)
{
	struct area a = registered_before(kind, 1, BOTH);

	CHECK_OK(reg(a.u, a.mem, PAGE, BOTH));
	fill(a.u, a.mem, 1, 3);
	CHECK_OK(T->clear_refs());
	CLEAN(a.mem);
	CHECK_EQ(peek(a.mem), 3);
	CLEAN(a.mem);
	CHECK_EQ(poke(a.mem, 4), 0);
	DIRTY(a.mem);
	CHECK(quiet(a.u));
}

SEQUENCE(softdirty_store_after_zeropage, WRITTEN)
{
	struct area a = registered_before(kind, 1, MISSING);

	CHECK_OK(reg(a.u, a.mem, PAGE, MISSING));
	CHECK_OK(zero(a.u, a.mem, PAGE, 0, NULL));
	CHECK_OK(T->clear_refs());
	CLEAN(a.mem);
	CHECK_EQ(poke(a.mem, 4), 0);
	DIRTY(a.mem);
}

SEQUENCE(softdirty_clear_fills_nothing, PROC ": a missing page is missing")
{
	struct area a = registered_before(kind, 2, MISSING);
	struct touch t;

	CHECK_OK(reg(a.u, a.mem, 2 * PAGE, MISSING));
	CHECK_OK(T->clear_refs());
	expect_missing(a.u, a.mem);
	touch_start(&t, STORE, a.mem + PAGE, 5);
	expect_fault(a.u, a.mem + PAGE, FL_UFFD_PAGEFAULT_FLAG_WRITE);
	fill(a.u, a.mem + PAGE, 1, 3);
	CHECK_OK(touch_end(&t));
	DIRTY(a.mem + PAGE);
}

/* ---- changes of the mapping ---- */

SEQUENCE(softdirty_mprotect_is_no_write, WRITTEN)
{
	static const int prots[] = {PROT_NONE, PROT_READ};

	for (unsigned i = 0; i < 2; i++) {
		struct area a = clean(kind, 2);

		CHECK_OK(T->protect(a.mem, 2 * PAGE, prots[i]));
		CLEAN(a.mem);
		CHECK_EQ(poke(a.mem, 2), -SIGSEGV);
		CLEAN(a.mem);
		CHECK_OK(T->protect(a.mem, 2 * PAGE, RW));
		CLEAN(a.mem);
		CHECK_EQ(poke(a.mem, 2), 0);
		DIRTY(a.mem);
		CLEAN(a.mem + PAGE);
	}
}

SEQUENCE(softdirty_mprotect_forgets_no_write, WRITTEN)
{
	struct area a = clean(kind, 2);

	CHECK_EQ(poke(a.mem, 2), 0);
	CHECK_OK(T->protect(a.mem, 2 * PAGE, PROT_READ));
	DIRTY(a.mem);
	CHECK_OK(T->protect(a.mem, 2 * PAGE, RW));
	DIRTY(a.mem);
	CLEAN(a.mem + PAGE);
}

SEQUENCE(softdirty_clear_while_read_only, PROC)
{
	struct area a = registered_before(kind, 1, WP);

	CHECK_EQ(poke(a.mem, 1), 0);
	CHECK_OK(T->protect(a.mem, PAGE, PROT_READ));
	CHECK_OK(T->clear_refs());
	CLEAN(a.mem);
	CHECK_EQ(poke(a.mem, 2), -SIGSEGV);
	CHECK_OK(T->protect(a.mem, PAGE, RW));
	CHECK_EQ(poke(a.mem, 2), 0);
	DIRTY(a.mem);
}

SEQUENCE(softdirty_store_after_dontneed, WRITTEN)
{
	struct area a = clean(kind, 1);

	CHECK_OK(T->advise(a.mem, PAGE, MADV_DONTNEED));
	CHECK_EQ(poke(a.mem, 2), 0);
	DIRTY(a.mem);
}

SEQUENCE(softdirty_new_mapping_at_the_same_place, NEW)
{
	struct area a = clean(kind, 3);

	CHECK_OK(T->unmap(a.mem + PAGE, PAGE));
	CHECK_EQ(T->map(a.mem + PAGE, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE), a.mem + PAGE);
	CHECK_OK(reg(a.u, a.mem + PAGE, PAGE, WP));
	CHECK_OK(unreg(a.u, a.mem + PAGE, PAGE));
	DIRTY(a.mem + PAGE);
}

SEQUENCE(softdirty_expanded_mapping, NEW)
{
	struct area a = clean(kind, 2);

	CHECK_EQ(T->remap(a.mem, 2 * PAGE, 4 * PAGE, 0, 0), a.mem);
	CHECK_OK(reg(a.u, a.mem, 4 * PAGE, WP));
	CHECK_OK(unreg(a.u, a.mem, 4 * PAGE));
	DIRTY(a.mem + 2 * PAGE);
	DIRTY(a.mem + 3 * PAGE);
}

CASE(softdirty_huge, WRITTEN)
{
	struct area a;

	needs_soft_dirty();
	a = (struct area){uffd(0), map_huge(1)};
	T->advise(a.mem - HUGE / 2, 2 * HUGE, MADV_HUGEPAGE);
	populate(a.mem, 0, SMALL);
	CHECK_OK(reg(a.u, a.mem, HUGE, WP));
	CHECK_OK(unreg(a.u, a.mem, HUGE));
	CHECK_OK(T->clear_refs());
	for (unsigned i = 0; i < SMALL; i++)
		CLEAN(a.mem + i * PAGE);
	CHECK_EQ(poke(a.mem + 300 * PAGE + 1, 1), 0);
	DIRTY(a.mem + 300 * PAGE);
	CHECK(holds(a.mem, 0, SMALL));
}

CASE(softdirty_huge_protected, WRITTEN)
{
	struct area a;

	needs_soft_dirty();
	a = (struct area){uffd(0), map_huge(1)};
	T->advise(a.mem - HUGE / 2, 2 * HUGE, MADV_HUGEPAGE);
	populate(a.mem, 0, SMALL);
	CHECK_OK(reg(a.u, a.mem, HUGE, WP));
	CHECK_OK(T->clear_refs());
	CHECK_OK(protect(a.u, a.mem, HUGE, SET));
	expect_wp(a.u, a.mem + 300 * PAGE + 1);
	DIRTY(a.mem + 300 * PAGE);
	CHECK(protected_but(a.mem, 300, 301));
	CHECK(holds(a.mem, 0, SMALL));
}
