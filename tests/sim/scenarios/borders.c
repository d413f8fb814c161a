/* SPDX-License-Identifier: MIT */
/* borders.c - adjacent pages with different rights, on a host with room for few such borders. */
#include "scenarios.h"

static void make_borders(void)
{
	space_object(&a, 0, 0);
	SIM_CHECK(!register_pages(&a, REGION(0), REGION(1) + REGION_SIZE - REGION(0), WP), "REGISTER");
	for (unsigned i = 0; i < NR_REGIONS; i++) {
		space_fill(&a, REGION(i), OLD);
		space_fill(&a, REGION(i) + PAGE_SIZE, OLD);
		SIM_CHECK(!writeprotect(&a, REGION(i), true), "protecting");
	}
}

static void borders(void)
{
	begin();
	space_make(&a);
	make_borders();
}

static void borders_of_one(void)
{
	begin();
	space_make_wide(&a);
	make_borders();
}

/* Page 1 is missing between two present pages. */
static void hole_between(void)
{
	begin();
	space_make(&a);
	space_object(&a, FL_CTX_SRC_HOST, 0);
	space_fill(&a, PAGE(0), OLD);
	space_fill(&a, PAGE(2), OLD);
	space_register(&a, 0, MISSING | WP);
}

static void protect_all_and_back(void)
{
	SIM_CHECK(!writeprotect_region(&a, 0, true), "protecting");
	SIM_CHECK(!writeprotect_region(&a, 0, false), "un-protecting");
}

static void stored_beside_hole(void)
{
	stored();
	SIM_CHECK(load(&a, PAGE(2)) == OLD, "a page without a store has changed");
	SIM_CHECK(!pte_present(fl_pte_get(a.mm, PAGE(1))), "protecting has filled a hole");
}

static void load_and_store_near(void)
{
	saw[0] = load(&a, PAGE(0));
	store(&a, PAGE(1), TWO);
}

static void load_and_store_far(void)
{
	saw[1] = load(&a, FAR_PAGE(0));
	saw[2] = store(&a, FAR_PAGE(1), NEW);
}

static void near_kept(void)
{
	SIM_CHECK(saw[0] == OLD && load(&a, PAGE(1)) == TWO, "what is near has changed, or its store is lost");
}

static void both_kept(void)
{
	near_kept();
	SIM_CHECK(saw[1] == OLD, "a protected page has changed");
	SIM_CHECK(!saw[2] && load(&a, FAR_PAGE(1)) == NEW, "the far store is lost");
}

static void near_kept_and_unmapped(void)
{
	near_kept();
	SIM_CHECK(saw[1] == UINT64_MAX || saw[1] == OLD || saw[1] == GOT_SEGV,
		  "the far load saw what was never there");
	SIM_CHECK(load(&a, FAR_PAGE(0)) == GOT_SEGV, "what was unmapped is there");
}

static void unprotect_far(void)
{
	SIM_CHECK(!writeprotect_region(&a, 1, false), "un-protecting");
	saw[2] = store(&a, FAR_PAGE(0), NEW);
}

static void near_kept_and_stored(void)
{
	near_kept();
	SIM_CHECK(!saw[2] && load(&a, FAR_PAGE(0)) == NEW, "the far store is lost");
}

static void protect_far(void)
{
	SIM_CHECK(!writeprotect(&a, FAR_PAGE(1), true), "protecting");
	saw[1] = load(&a, FAR_PAGE(1));
}

static void near_kept_and_protected(void)
{
	near_kept();
	SIM_CHECK(saw[1] == OLD && pte_uffd_wp(fl_pte_get(a.mm, FAR_PAGE(1))),
		  "the page is not as it was, or not protected");
}

static const struct sim_scenario scenarios[] = {
	{"borders", borders, {{"near", load_and_store_near}, {"far", load_and_store_far}}, both_kept},
	{"borders-of-one", borders_of_one, {{"near", load_and_store_near}, {"far", load_and_store_far}}, both_kept},
	{"borders-munmap",
	 borders,
	 {{"near", load_and_store_near}, {"munmap", unmap_source}},
	 near_kept_and_unmapped},
	{"borders-munmap-fault",
	 borders,
	 {{"near", load_and_store_near}, {"far", load_and_store_far}, {"munmap", unmap_source}},
	 near_kept_and_unmapped},
	{"borders-unprotect",
	 borders,
	 {{"near", load_and_store_near}, {"unprotect", unprotect_far}},
	 near_kept_and_stored},
	{"borders-of-one-unprotect",
	 borders_of_one,
	 {{"near", load_and_store_near}, {"unprotect", unprotect_far}},
	 near_kept_and_stored},
	{"borders-protect",
	 borders,
	 {{"near", load_and_store_near}, {"protect", protect_far}},
	 near_kept_and_protected},
	{"borders-of-one-protect",
	 borders_of_one,
	 {{"near", load_and_store_near}, {"protect", protect_far}},
	 near_kept_and_protected},
	{"store-writeprotect-range",
	 hole_between,
	 {{"store", store_0}, {"protect", protect_all_and_back}},
	 stored_beside_hole},
};

const struct sim_group sim_borders = {scenarios, ARRAY_SIZE(scenarios), SIM_ANYWHERE};

/* The program's own mmap() found the host's mapping table full. */
static void shrink(void)
{
	world_backend->world->shrink(&a);
}

static const struct sim_scenario shrinking[] = {
	{"borders-shrink", borders, {{"near", load_and_store_near}, {"shrink", shrink}}, near_kept},
	{"borders-of-one-shrink", borders_of_one, {{"near", load_and_store_near}, {"shrink", shrink}}, near_kept},
	{"borders-shrink-munmap",
	 borders,
	 {{"near", load_and_store_near}, {"shrink", shrink}, {"munmap", unmap_source}},
	 near_kept_and_unmapped},
	{"borders-shrink-protect",
	 borders,
	 {{"near", load_and_store_near}, {"shrink", shrink}, {"protect", protect_far}},
	 near_kept_and_protected},
};

const struct sim_group sim_shrinking = {shrinking, ARRAY_SIZE(shrinking), SIM_ONLY_HOST};
