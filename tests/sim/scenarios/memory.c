/* SPDX-License-Identifier: MIT */
/* memory.c - a file truncated or punched, pages that are elsewhere, page tables that come and go. */
#include "scenarios.h"

#include <sys/mman.h>

/* ---- setups ---- */

static void shared_missing(void)
{
	shared(MISSING);
}

/* ---- shared memory ---- */

static void old_or_sigbus(void)
{
	SIM_CHECK(saw[0] == OLD || saw[0] == GOT_SIGBUS, "the load saw neither the page nor the end");
	file_is_gone();
}

static void continued_or_not(void)
{
	SIM_CHECK(saw[2] == 0 || saw[2] == (uint64_t)-EINVAL || saw[2] == (uint64_t)-EFAULT,
		  "CONTINUE said something else");
	file_is_gone();
}

static void copied_or_not(void)
{
	SIM_CHECK(saw[2] == 0 || saw[2] == (uint64_t)-EFAULT, "COPY said something else");
	file_is_gone();
}

static void copy_1(void)
{
	saw[2] = (uint64_t)copy_value(&a, PAGE(1), NEW, 0);
}

static void punch_0(void)
{
	saw[4] = (uint64_t)punch_file(&a, 0);
}

static void old_or_hole(void)
{
	SIM_CHECK(saw[0] == OLD || saw[0] == 0, "the load saw neither the page nor the hole");
	SIM_CHECK(load(&a, PAGE(0)) == 0, "what was punched out is back");
}

/* ---- pages that are elsewhere ---- */

static void migrate_0(void)
{
	fl_soft_migrate(a.mm, PAGE(0), PAGE_SIZE);
}

static void swap_0(void)
{
	advise(&a, PAGE(0), MADV_PAGEOUT);
}

static void dropped(void)
{
	SIM_CHECK(load(&a, PAGE(0)) == 0, "a page that was dropped is back");
}

/* ---- page tables come and go ---- */

static void load_both(void)
{
	load_0();
	SIM_CHECK(saw[1] == 0, "the load of the other page of a new table");
}

static void store_then_drop(void)
{
	store(&a, PAGE(1), NEW);
	advise(&a, PAGE(1), MADV_DONTNEED);
}

static const struct sim_scenario scenarios[] = {
	{"truncate-continue", shared_minor, {{"continue", do_continue}, {"truncate", truncate_0}}, continued_or_not},
	{"truncate-fault", shared_plain, {{"load", load_0}, {"truncate", truncate_0}}, old_or_sigbus},
	{"truncate-copy", shared_missing, {{"copy", copy_1}, {"truncate", truncate_0}}, copied_or_not},
	{"truncate-fault-mmap",
	 shared_plain,
	 {{"load", load_0}, {"truncate", truncate_0}, {"mmap", map_in_a}},
	 old_or_sigbus},
	{"truncate-fault-munmap",
	 shared_plain,
	 {{"load", load_0}, {"truncate", truncate_0}, {"munmap", unmap_1}},
	 old_or_sigbus},
	{"punch-fault", shared_plain, {{"load", load_0}, {"punch", punch_0}}, old_or_hole},
	{"store-migrate", unregistered_present, {{"store", store_0}, {"migrate", migrate_0}}, stored},
	{"dontneed-migrate", unregistered_present, {{"dontneed", dontneed_0}, {"migrate", migrate_0}}, dropped},
	{"store-swap", unregistered_present, {{"store", store_0}, {"pageout", swap_0}}, stored},
	{"new-tables", unregistered, {{"load", load_0}, {"load too", load_1}}, load_both},
	{"tables-munmap", unregistered, {{"load", load_0}, {"munmap", unmap_1}}, saw_zero},
	{"tables-dontneed", unregistered, {{"store", store_0}, {"drop", store_then_drop}}, stored},
};

const struct sim_group sim_memory = {scenarios, ARRAY_SIZE(scenarios), SIM_ANYWHERE};
