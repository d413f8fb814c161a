/* SPDX-License-Identifier: MIT */
/*
 * take_over.c - memory in place of which a chunk gets frames: when a page of it is first touched, filled or
 * protected, against each other and against calls that take the memory away. Natively only.
 */
#include "scenarios.h"

#include <sys/mman.h>

/* ---- setups: one mapping of two chunks, of each of which page 0 is OLD ---- */

static void two_chunks(void)
{
	begin();
	space_make_wide(&a);
	space_object(&a, FL_CTX_SRC_HOST, 0);
	space_fill(&a, PAGE(0), OLD);
	space_fill(&a, FAR_PAGE(0), OLD);
}

static void registered_as(uint64_t mode)
{
	two_chunks();
	SIM_CHECK(!register_pages(&a, PAGE(0), FAR_PAGE(REGION_PAGES) - PAGE(0), mode), "REGISTER");
}

static void hidden(void)
{
	registered_as(MISSING);
}

static void hidden_both(void)
{
	registered_as(MISSING | WP);
}

static void in_place(void)
{
	registered_as(WP);
}

/* One of the chunks has frames already. */
static void half_taken(void)
{
	hidden();
	saw[7] = load(&a, PAGE(0));
}

/* One chunk, of which every page is there: nothing of it need be hidden. */
static void whole(void)
{
	begin();
	space_make(&a);
	space_object(&a, FL_CTX_SRC_HOST, 0);
	for (unsigned i = 0; i < REGION_PAGES; i++)
		space_fill(&a, PAGE(i), OLD);
	space_register(&a, 0, MISSING);
}

/* ---- threads ---- */

static void store_twice(void)
{
	saw[0] = store(&a, PAGE(0), NEW);
	if (!saw[0])
		saw[0] = store(&a, PAGE(0), TWO);
}

static void store_far(void)
{
	saw[1] = store(&a, FAR_PAGE(0), TWO);
}

static void load_too(void)
{
	saw[2] = load(&a, PAGE(0));
}

static void copy_1(void)
{
	saw[2] = (uint64_t)copy_value(&a, PAGE(1), NEW, 0);
}

static void zero_1(void)
{
	saw[2] = (uint64_t)zeropage(&a, PAGE(1));
}

static void protect_and_look(void)
{
	SIM_CHECK(!writeprotect(&a, PAGE(0), true), "protecting");
	saw[2] = load(&a, PAGE(0));
	SIM_CHECK(saw[2] == load(&a, PAGE(0)), "a page was written to while it was write-protected");
	SIM_CHECK(!writeprotect(&a, PAGE(0), false), "un-protecting");
}

static void protect_and_copy(void)
{
	SIM_CHECK(!writeprotect(&a, PAGE(0), true), "protecting");
	copy_1();
	saw[4] = load(&a, PAGE(0));
	SIM_CHECK(saw[4] == load(&a, PAGE(0)), "a page lost its write-protection when another was filled");
	SIM_CHECK(!writeprotect(&a, PAGE(0), false), "un-protecting");
}

static void drop_and_copy(void)
{
	dontneed_0();
	saw[2] = (uint64_t)copy_value(&a, PAGE(0), NEW, 0);
	wake_page(&a, PAGE(0));
}

static void drop_1_and_copy(void)
{
	advise(&a, PAGE(1), MADV_DONTNEED);
	copy_1();
}

static void unregister_region(void)
{
	SIM_CHECK(!unregister_range(&a, REGION(0), REGION_SIZE), "UNREGISTER");
}

static void unmap_0(void)
{
	SIM_CHECK(!unmap(&a, PAGE(0), PAGE_SIZE), "munmap()");
}

static void unregister_all(void)
{
	SIM_CHECK(!unregister_range(&a, PAGE(0), FAR_PAGE(REGION_PAGES) - PAGE(0)), "UNREGISTER");
}

static void register_missing(void)
{
	SIM_CHECK(!register_pages(&a, PAGE(0), FAR_PAGE(REGION_PAGES) - PAGE(0), MISSING), "REGISTER");
}

static void move_0(void)
{
	saw[3] = (uint64_t)move(&a, PAGE(0), PAGE(2));
}

static void call_0(void)
{
	saw[0] = (uint64_t)call_that_writes(PAGE(0), TWO);
}

static void fork_and_look(void)
{
	space_fork(&a, &b);
	saw[4] = load(&b, PAGE(0));
	saw[5] = load(&b, FAR_PAGE(0));
}

static void store_in_order(void)
{
	store(&a, PAGE(0), NEW);
	store(&a, FAR_PAGE(0), NEW);
	store(&a, PAGE(0), TWO);
}

/* ---- expected results ---- */

static void far_is_old(void)
{
	stored();
	SIM_CHECK(load(&a, FAR_PAGE(0)) == OLD, "a page that nothing was stored to has changed");
}

static void old_or_stored(void)
{
	far_is_old();
	SIM_CHECK(saw[2] == OLD || saw[2] == TWO, "the load saw what was never there");
}

static void both_stored(void)
{
	stored();
	SIM_CHECK(!saw[1] && load(&a, FAR_PAGE(0)) == TWO, "the store to the other chunk is lost");
}

static void stored_and_copied(void)
{
	far_is_old();
	SIM_CHECK(saw[2] == 0 && load(&a, PAGE(1)) == NEW, "the fill is lost");
}

static void stored_beside_the_copy(void)
{
	stored();
	SIM_CHECK(saw[2] == 0 && load(&a, PAGE(1)) == NEW, "the fill is lost");
	SIM_CHECK(load(&a, PAGE(2)) == OLD, "a page that nothing was stored to has changed");
}

static void stored_and_old(void)
{
	stored();
	SIM_CHECK(load(&a, PAGE(1)) == OLD, "a page that nothing was stored to has changed");
}

static void stored_and_zero(void)
{
	far_is_old();
	SIM_CHECK(saw[2] == 0 && load(&a, PAGE(1)) == 0, "the fill is lost");
}

static void stored_not_copied(void)
{
	far_is_old();
	SIM_CHECK(saw[2] == (uint64_t)-EEXIST, "a page that is there was filled");
}

static void stored_or_copied(void)
{
	uint64_t is = load(&a, PAGE(0));

	SIM_CHECK(saw[0] == 0, "the store failed");
	SIM_CHECK(is == TWO || is == NEW, "what was dropped is back");
}

static void stored_or_copied_alone(void)
{
	stored_or_copied();
	SIM_CHECK(load(&a, PAGE(1)) == OLD, "a page that nothing was stored to has changed");
}

static void stored_or_segv(void)
{
	SIM_CHECK(saw[0] == 0 || saw[0] == GOT_SEGV, "the store got something else");
	SIM_CHECK(load(&a, FAR_PAGE(0)) == OLD, "a page that nothing was stored to has changed");
}

static void moved(void)
{
	uint64_t there = load(&a, PAGE(2));

	SIM_CHECK(saw[3] == PAGE(2), "the page did not move");
	SIM_CHECK(saw[0] == 0 ? there == TWO : saw[0] == GOT_SEGV && (there == OLD || there == NEW),
		  "the store is lost, or was none");
	SIM_CHECK(load(&a, FAR_PAGE(0)) == OLD, "a page that nothing was stored to has changed");
}

static void child_is_of_one_moment(void)
{
	SIM_CHECK(saw[4] == OLD || saw[4] == NEW || saw[4] == TWO, "the child has what was never there");
	SIM_CHECK(saw[4] == OLD	  ? saw[5] == OLD
		  : saw[4] == TWO ? saw[5] == NEW
				  : saw[5] == OLD || saw[5] == NEW,
		  "the child's pages are of different moments");
	SIM_CHECK(load(&a, PAGE(0)) == TWO && load(&a, FAR_PAGE(0)) == NEW, "the parent's store is lost");
	SIM_CHECK(load(&b, PAGE(0)) == saw[4] && load(&b, FAR_PAGE(0)) == saw[5],
		  "the child sees the parent's store");
}

static const struct sim_scenario scenarios[] = {
	/* hidden memory */
	{"take-store-load", hidden, {{"store", store_0}, {"load", load_too}}, old_or_stored},
	{"take-store-apart", hidden, {{"store", store_0}, {"store far", store_far}}, both_stored},
	{"take-store-half", half_taken, {{"store", store_twice}, {"store far", store_far}}, both_stored},
	{"take-store-copy", hidden, {{"store", store_0}, {"copy", copy_1}}, stored_and_copied},
	{"take-store-zeropage", hidden, {{"store", store_0}, {"zeropage", zero_1}}, stored_and_zero},
	{"take-store-copy-there", hidden, {{"store", store_0}, {"copy", do_copy}}, stored_not_copied},
	{"take-store-protect", hidden_both, {{"store", store_twice}, {"protect", protect_and_look}}, far_is_old},
	{"take-store-protect-copy",
	 hidden_both,
	 {{"store", store_twice}, {"protect", protect_and_copy}},
	 stored_and_copied},
	{"take-store-dontneed", hidden, {{"store", store_0}, {"dontneed", drop_and_copy}}, stored_or_copied},
	{"take-store-munmap", hidden, {{"store", store_0}, {"munmap", unmap_0}}, stored_or_segv},
	{"take-store-munmap-beside", hidden, {{"store", store_twice}, {"munmap", unmap_1}}, far_is_old},
	{"take-store-mremap", hidden, {{"store", store_0}, {"mremap", move_0}}, moved},
	{"take-store-unregister", hidden, {{"store", store_twice}, {"unregister", unregister_all}}, far_is_old},
	{"take-stores-unregister",
	 half_taken,
	 {{"store", store_0}, {"store far", store_far}, {"unregister", unregister_all}},
	 both_stored},
	{"take-store-close", hidden, {{"store", store_twice}, {"close", do_close}}, far_is_old},
	{"take-call", hidden, {{"call", call_0}, {"store far", store_far}}, both_stored},
	{"take-fork", hidden, {{"store", store_in_order}, {"fork", fork_and_look}}, child_is_of_one_moment},
	{"take-fork-half", half_taken, {{"store", store_in_order}, {"fork", fork_and_look}}, child_is_of_one_moment},
	/* memory that the program reaches */
	{"take-whole-drop-copy", whole, {{"store", store_twice}, {"copy", drop_1_and_copy}}, stored_beside_the_copy},
	{"take-whole-dontneed", whole, {{"store", store_0}, {"dontneed", drop_and_copy}}, stored_or_copied_alone},
	{"take-whole-unregister", whole, {{"store", store_twice}, {"unregister", unregister_region}}, stored_and_old},
	{"take-in-place-copy", in_place, {{"store", store_twice}, {"copy", copy_1}}, stored_and_copied},
	{"take-in-place-protect-copy",
	 in_place,
	 {{"store", store_twice}, {"protect", protect_and_copy}},
	 stored_and_copied},
	{"take-in-place-register", in_place, {{"store", store_twice}, {"register", register_missing}}, far_is_old},
};

const struct sim_group sim_take_over = {scenarios, ARRAY_SIZE(scenarios), SIM_ONLY_HOST};
