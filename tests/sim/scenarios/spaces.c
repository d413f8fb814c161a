/* SPDX-License-Identifier: MIT */
/* spaces.c - two address spaces, and memory that moves: copies across spaces, fork, mremap. */
#include "scenarios.h"

#include "mm/file.h"

/* ---- setups ---- */

static void two_spaces(void)
{
	shared(0);
	space_fork(&a, &b);
}

static void forked_page(void)
{
	unregistered_present();
	space_fork(&a, &b);
}

/* ---- mremap ---- */

static void move_page(void)
{
	saw[3] = (uint64_t)move(&a, PAGE(0), FAR_PAGE(0));
	saw[2] = load(&a, FAR_PAGE(0));
}

static void move_and_wake(void)
{
	move_page();
	wake_page(&a, PAGE(0));
}

/* The store lands before the page moves, or not at all. */
static void moved(void)
{
	uint64_t there = load(&a, FAR_PAGE(0));

	SIM_CHECK(saw[3] == FAR_PAGE(0), "the page did not move");
	SIM_CHECK(saw[0] == 0 ? there == TWO : saw[0] == GOT_SEGV && there == OLD, "the store is lost, or was none");
	SIM_CHECK(saw[2] == there, "the page has changed after it was moved");
}

/* ---- two spaces ---- */

/* In each space a page is copied from the other, where its source is missing and another thread has to fill it. */
static void cross(void)
{
	begin();
	for (unsigned i = 0; i < 2; i++) {
		struct space *s = i ? &b : &a;

		space_make(s);
		space_object(s, 0, 0);
		space_register(s, 0, MISSING);
	}
}

/* On `soft` the source is in the space that is filled: it cannot copy from another space. */
static uint64_t cross_source(void)
{
	return world_backend->mmu ? OTHERS(FAR_PAGE(1)) : FAR_PAGE(1);
}

static void copy_to_a(void)
{
	saw[0] = (uint64_t)copy_from(&a, PAGE(0), cross_source(), 0);
}

static void copy_to_b(void)
{
	saw[1] = (uint64_t)copy_from(&b, PAGE(0), cross_source(), 0);
}

static void map_in_b(void)
{
	map_elsewhere(&b);
}

static void crossed(void)
{
	SIM_CHECK(saw[0] == 0 && saw[1] == 0, "a copy failed");
	SIM_CHECK(load(&a, PAGE(0)) == 0 && load(&b, PAGE(0)) == 0, "a copy is not of its source");
}

/* ---- fork ---- */

static void fork_and_look(void)
{
	space_fork(&a, &b);
	saw[4] = load(&b, PAGE(0));
	saw[5] = load(&b, PAGE(0));
}

static void child_has_new_or_zero(void)
{
	SIM_CHECK(saw[2] == 0 && load(&a, PAGE(0)) == NEW, "the copy is lost");
	SIM_CHECK(saw[4] == saw[5] && (saw[4] == NEW || saw[4] == 0), "the child has a page of neither side");
}

static void store_twice(void)
{
	store(&a, PAGE(0), NEW);
	store(&a, PAGE(0), TWO);
}

static void child_is_of_one_moment(void)
{
	SIM_CHECK(load(&a, PAGE(0)) == TWO, "the parent's store is lost");
	SIM_CHECK(saw[4] == OLD || saw[4] == NEW || saw[4] == TWO, "the child has what was never there");
	SIM_CHECK(saw[5] == saw[4], "the child sees the parent's store");
}

static void store_in_b(void)
{
	store(&b, PAGE(0), NEW);
}

static void each_its_own(void)
{
	SIM_CHECK(load(&a, PAGE(0)) == TWO && load(&b, PAGE(0)) == NEW, "a store is in the wrong space");
}

static void destroy_b(void)
{
	space_destroy(&b);
}

/* ---- operations that exclude the whole space ---- */

/* A collapse begins with this, in every space that maps the file, one still being made included. */
static void unmap_for_collapse(void)
{
	fl_unmap_for_collapse(fl_shmem_file(a.shmem), 0);
}

static void both_have_old(void)
{
	SIM_CHECK(saw[4] == OLD && saw[5] == OLD && load(&a, PAGE(0)) == OLD, "a page of the file is lost");
}

/* What excludes a whole space. */
static void move_elsewhere(struct space *s)
{
	move(s, REGION(1) + REGION_SIZE, 0);
}

static void move_in_a(void)
{
	move_elsewhere(&a);
}

static void move_in_b(void)
{
	move_elsewhere(&b);
}

static const struct sim_scenario scenarios[] = {
	{"fault-mremap", missing, {{"load", load_0}, {"mremap", move_and_wake}}, saw_segv},
	{"store-mremap", unregistered_present, {{"store", store_0}, {"mremap", move_page}}, moved},
	{"two-spaces",
	 cross,
	 {{"copy to A", copy_to_a}, {"copy to B", copy_to_b}, {"mmap in A", map_in_a}, {"mmap in B", map_in_b}},
	 crossed},
	{"two-spaces-mremap",
	 cross,
	 {{"copy to A", copy_to_a}, {"copy to B", copy_to_b}, {"mremap in A", move_in_a}, {"mremap in B", move_in_b}},
	 crossed},
	{"fork-copy", missing, {{"copy", do_copy}, {"fork", fork_and_look}}, child_has_new_or_zero},
	{"fork-store",
	 unregistered_present,
	 {{"store", store_twice}, {"fork", fork_and_look}},
	 child_is_of_one_moment},
	{"fork-unmap", shared_plain, {{"fork", fork_and_look}, {"unmap", unmap_for_collapse}}, both_have_old},
	{"store-in-both", forked_page, {{"store", store_0}, {"in child", store_in_b}}, each_its_own},
	{"truncate-destroy", two_spaces, {{"truncate", truncate_0}, {"destroy", destroy_b}}, file_is_gone},
};

const struct sim_group sim_spaces = {scenarios, ARRAY_SIZE(scenarios), SIM_NOT_HOST};
