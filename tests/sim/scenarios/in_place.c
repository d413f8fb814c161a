/* SPDX-License-Identifier: MIT */
/*
 * in_place.c - memory that is registered for write-protection, or whose accesses are sampled: natively it stays the
 * program's own mapping, whose rights are all that changes.
 */
#include "scenarios.h"

#include "host/host.h"

#include <sys/mman.h>

/* ---- setups ---- */

/* Pages 0 and 1 are OLD, the others not there. */
static void placed(void)
{
	begin();
	space_make(&a);
	space_object(&a, FL_CTX_SRC_HOST, 0);
	space_fill(&a, PAGE(0), OLD);
	space_fill(&a, PAGE(1), OLD);
	space_register(&a, 0, WP);
}

static void placed_protected(void)
{
	placed();
	SIM_CHECK(!writeprotect(&a, PAGE(0), true), "protecting");
}

static void sampled(void)
{
	unregistered_present();
	SIM_CHECK(!fl_sample_range(a.mm, REGION(0), REGION(0) + REGION_SIZE, true), "sampling");
}

/* The place of page 0 is another mapping's, without a word: it has no rights, and the page was read-only. */
static void taken(void)
{
	placed_protected();
	if (world_backend->in_place)
		SIM_CHECK(!fl_host_map_over(PAGE(0), PAGE_SIZE), "mmap()");
}

/* ---- threads ---- */

static void store_twice(void)
{
	saw[0] = store(&a, PAGE(0), NEW);
	if (!saw[0])
		saw[0] = store(&a, PAGE(0), TWO);
}

static void store_1(void)
{
	saw[1] = store(&a, PAGE(1), NEW);
}

static void protect_and_look(void)
{
	SIM_CHECK(!writeprotect(&a, PAGE(0), true), "protecting");
	saw[2] = load(&a, PAGE(0));
	SIM_CHECK(saw[2] == load(&a, PAGE(0)), "a page was written to while it was write-protected");
	SIM_CHECK(!writeprotect(&a, PAGE(0), false), "un-protecting");
}

static void protect_0(void)
{
	SIM_CHECK(!writeprotect(&a, PAGE(0), true), "protecting");
}

static void protect_1(void)
{
	SIM_CHECK(!writeprotect(&a, PAGE(1), true), "protecting");
}

static void unregister_region(void)
{
	SIM_CHECK(!unregister_range(&a, REGION(0), REGION_SIZE), "UNREGISTER");
}

static void unregister_and_wake(void)
{
	unregister_region();
	wake_page(&a, PAGE(0));
}

static void drop_0(void)
{
	SIM_CHECK(!advise(&a, PAGE(0), MADV_DONTNEED), "madvise()");
}

static void look(void)
{
	fl_mmap_write_lock(a.mm); /* between two schedules of the sampler nothing is owed */
	fl_mmap_write_unlock(a.mm);
	saw[3] = (uint64_t)fl_sample_collect(a.mm, REGION(0), REGION(0) + REGION_SIZE, NULL);
}

static void stop_sampling(void)
{
	SIM_CHECK(!fl_sample_range(a.mm, REGION(0), REGION(0) + REGION_SIZE, false), "sampling");
}

/* Nothing has asked for the chunk's record before. */
static void note_0(void)
{
	record_note(PAGE(0));
}

static void note_1(void)
{
	record_note(PAGE(1));
}

static void fork_and_load(void)
{
	space_fork(&a, &b);
	saw[4] = load(&b, PAGE(0));
}

/* ---- expected results ---- */

static void stored_both(void)
{
	stored();
	SIM_CHECK(!saw[1] && load(&a, PAGE(1)) == NEW, "a store to the page beside is lost");
}

static void stored_or_dropped(void)
{
	uint64_t value = load(&a, PAGE(0));

	SIM_CHECK(!saw[0], "the store was refused");
	SIM_CHECK(value == TWO || value == NEW || !value, "neither what was stored nor zeros");
}

/* Both pages are read-only at the host, whoever was the first to ask for the record of the chunk. */
static void both_protected(void)
{
	for (unsigned i = 0; i < 2; i++) {
		SIM_CHECK(load(&a, PAGE(i)) == OLD, "what a page held is lost");
		SIM_CHECK(!writeprotect(&a, PAGE(i), false), "un-protecting");
		SIM_CHECK(!store(&a, PAGE(i), NEW) && load(&a, PAGE(i)) == NEW, "the page is still protected");
	}
}

/* The first access is noted once, by this look or by the next. */
static void noted_once(void)
{
	int64_t next = fl_sample_collect(a.mm, REGION(0), REGION(0) + REGION_SIZE, NULL);

	stored();
	SIM_CHECK((int64_t)saw[3] + next >= 1 && (int64_t)saw[3] <= 1 && next <= 1, "accesses were not noted once");
}

static void left_alone(void)
{
	if (!world_backend->in_place)
		return;
	SIM_CHECK(store(&a, PAGE(0), TWO) == GOT_SEGV, "a right was given to a mapping that is not ours any more");
	SIM_CHECK(!store(&a, PAGE(1), TWO), "a right did not come back");
}

static void noted_0(void)
{
	SIM_CHECK(record_forget(PAGE(0)), "what a thread has noted in a new record is lost");
	SIM_CHECK(!store(&a, PAGE(0), TWO) && load(&a, PAGE(0)) == TWO, "the store is lost");
}

static void noted_both(void)
{
	noted_0();
	SIM_CHECK(record_forget(PAGE(1)), "what a thread has noted in a new record is lost");
}

static void child_has_old(void)
{
	SIM_CHECK(saw[4] == OLD, "the child has what was never there");
	SIM_CHECK(!store(&b, PAGE(0), TWO) && load(&b, PAGE(0)) == TWO, "the child cannot store");
	SIM_CHECK(load(&a, PAGE(0)) == OLD, "the parent has the child's store");
}

static const struct sim_scenario scenarios[] = {
	{"place-store-protect", placed, {{"store", store_twice}, {"protect", protect_and_look}}, stored},
	{"place-stores-protect",
	 placed,
	 {{"store", store_0}, {"store too", store_1}, {"protect", protect_and_look}},
	 stored_both},
	{"place-protect-beside", placed, {{"protect", protect_0}, {"protect too", protect_1}}, both_protected},
	{"place-unprotect", placed_protected, {{"store", store_0}, {"unprotect", unprotect}}, stored},
	{"place-unregister", placed_protected, {{"store", store_0}, {"unregister", unregister_and_wake}}, stored},
	{"place-close", placed_protected, {{"store", store_0}, {"close", do_close}}, stored},
	{"place-store-unregister", placed, {{"store", store_twice}, {"unregister", unregister_region}}, stored},
	{"place-dontneed", placed, {{"store", store_twice}, {"drop", drop_0}}, stored_or_dropped},
	{"place-sample", sampled, {{"store", store_twice}, {"look", look}}, noted_once},
	{"place-sample-stop", sampled, {{"store", store_twice}, {"stop", stop_sampling}}, stored},
	{"place-first-use", placed, {{"note", note_0}, {"note too", note_1}}, noted_both},
	{"place-first-use-protect", placed, {{"note", note_0}, {"protect", protect_and_look}}, noted_0},
	{"place-first-use-fork", placed, {{"protect", protect_and_look}, {"fork", fork_and_load}}, child_has_old},
	{"place-taken", taken, {{"store", store_1}, {"unregister", unregister_region}}, left_alone},
};

const struct sim_group sim_in_place = {scenarios, ARRAY_SIZE(scenarios), SIM_ONLY_HOST};
