/* SPDX-License-Identifier: MIT */
/* scenarios.c - what several scenarios share, and the list of their groups. */
#include "scenarios.h"

#include <sys/mman.h>

uint64_t saw[8];

/* ---- setups ---- */

void begin(void)
{
	for (unsigned i = 0; i < ARRAY_SIZE(saw); i++)
		saw[i] = UINT64_MAX;
}

void registered_at(struct space *s, uint64_t mode)
{
	space_make(s);
	space_object(s, FL_CTX_SRC_HOST, 0);
	space_register(s, 0, mode);
}

void missing(void)
{
	begin();
	registered_at(&a, MISSING);
}

/* The source is memory of the space itself, on a page under another page-table lock. */
void missing_with_source(void)
{
	begin();
	space_make(&a);
	space_object(&a, 0, 0);
	space_fill(&a, FAR_PAGE(0), NEW);
	space_register(&a, 0, MISSING);
}

void present(void)
{
	begin();
	space_make(&a);
	space_object(&a, FL_CTX_SRC_HOST, 0);
	space_fill(&a, PAGE(0), OLD);
	space_register(&a, 0, MISSING | WP);
}

void present_protected(void)
{
	present();
	writeprotect(&a, PAGE(0), true);
}

void unregistered(void)
{
	begin();
	space_make(&a);
}

void unregistered_present(void)
{
	unregistered();
	space_fill(&a, PAGE(0), OLD);
}

void shared(uint64_t mode)
{
	begin();
	space_make_shared(&a);
	space_object(&a, FL_CTX_SRC_HOST, 0);
	space_cache(&a, 0, OLD);
	if (mode)
		space_register(&a, 0, mode);
}

void shared_minor(void)
{
	shared(MINOR);
}

void shared_plain(void)
{
	shared(0);
}

/* ---- threads ---- */

void load_0(void)
{
	saw[0] = load(&a, PAGE(0));
}

void load_1(void)
{
	saw[1] = load(&a, PAGE(1));
}

void store_0(void)
{
	saw[0] = store(&a, PAGE(0), TWO);
}

void do_copy(void)
{
	saw[2] = (uint64_t)copy_value(&a, PAGE(0), NEW, 0);
}

void truncate_0(void)
{
	saw[4] = (uint64_t)truncate_file(&a, 0);
}

void dontneed_0(void)
{
	advise(&a, PAGE(0), MADV_DONTNEED);
}

void copy_source(void)
{
	saw[2] = (uint64_t)copy_from(&a, PAGE(0), FAR_PAGE(0), 0);
}

void do_continue(void)
{
	saw[2] = (uint64_t)continue_page(&a, PAGE(0));
}

void unprotect(void)
{
	writeprotect(&a, PAGE(0), false);
}

void do_close(void)
{
	close_object(&a);
}

void map_elsewhere(struct space *s)
{
	map_page(s, ELSEWHERE);
}

void map_in_a(void)
{
	map_elsewhere(&a);
}

void unmap_1(void)
{
	unmap(&a, PAGE(1), 3 * PAGE_SIZE);
}

void unmap_source(void)
{
	unmap(&a, REGION(1), REGION_SIZE);
}

/* ---- expected results ---- */

void saw_new(void)
{
	SIM_CHECK(saw[0] == NEW, "the load did not see what was copied");
}

void saw_zero(void)
{
	SIM_CHECK(saw[0] == 0, "the load did not see zeros");
}

void saw_old(void)
{
	SIM_CHECK(saw[0] == OLD, "the load did not see the page of the cache");
}

void saw_segv(void)
{
	SIM_CHECK(saw[0] == GOT_SEGV, "a load of memory that has gone was no SEGV");
}

void stored(void)
{
	SIM_CHECK(saw[0] == 0, "the store failed");
	SIM_CHECK(load(&a, PAGE(0)) == TWO, "the store is lost");
}

void file_is_gone(void)
{
	SIM_CHECK(saw[4] == 0, "the file was not truncated");
	SIM_CHECK(load(&a, PAGE(0)) == GOT_SIGBUS, "a page is there behind the end of its file");
}

/* ---- the groups ---- */

const struct sim_group *const sim_groups[] = {
	&sim_calls,	&sim_wakeups, &sim_borders, &sim_memory,   &sim_mappings,  &sim_spaces,
	&sim_shrinking, &sim_merging, &sim_native,  &sim_in_place, &sim_take_over,
};
const unsigned sim_nr_groups = ARRAY_SIZE(sim_groups);
