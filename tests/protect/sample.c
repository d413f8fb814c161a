/* SPDX-License-Identifier: MIT */
/* sample.c - the access sampler. */
#include "address.h"
#include "protect.h"

#include <errno.h>

static void sample_tells_what_was_touched(void)
{
	struct fl_sample_cost cost;
	uint8_t vec[64];
	uint64_t at;

	at = filled(64);
	EXPECT_INT(fl_sample_start(mm, at, 64 * PAGE), 0);
	EXPECT_INT(looked(mm, at, 64 * PAGE, vec), 0);
	EXPECT_INT(load(at + 3 * PAGE), pattern(3));
	EXPECT_INT(load(at + 3 * PAGE + 9), 0);
	EXPECT_INT(store(at + 5 * PAGE, 1), 0);
	EXPECT_INT(load(at + 60 * PAGE), pattern(60));
	EXPECT_INT(looked(mm, at, 64 * PAGE, vec), 3);
	for (unsigned i = 0; i < 64; i++)
		EXPECT_INT(vec[i], i == 3 || i == 5 || i == 60);
	EXPECT_INT(looked(mm, at, 64 * PAGE, NULL), 0);
	EXPECT_INT(load(at + 3 * PAGE), pattern(3));
	EXPECT_INT(looked(mm, at, 64 * PAGE, NULL), 1);
	fl_sample_get_cost(mm, &cost);
	EXPECT_INT(cost.faults, 4);
	EXPECT(cost.fault_ns > 0 && cost.fault_ns < cost.elapsed_ns);
	EXPECT_INT(fl_mm_check(mm), 0);
}

/* Pages that appear while the range is watched: a fault's count as touched, a fill's not before an access. */
static void sample_of_new_pages(void)
{
	static char page[PAGE];
	uint8_t vec[4];
	uint64_t at;

	open_object(0);
	at = map_pages(4);
	EXPECT_INT(fl_uffd_register(uffd, at, 4 * PAGE, WP, NULL), 0);
	EXPECT_INT(fl_sample_start(mm, at, 4 * PAGE), 0);
	EXPECT_INT(fl_uffd_copy(uffd, at, (uint64_t)(uintptr_t)page, PAGE, 0, NULL), 0);
	EXPECT_INT(fl_uffd_copy(uffd, at + PAGE, (uint64_t)(uintptr_t)page, PAGE, 0, NULL), 0);
	EXPECT_INT(load(at + PAGE), 0);
	EXPECT_INT(store(at + 2 * PAGE, 1), 0);
	EXPECT_INT(looked(mm, at, 4 * PAGE, vec), 2);
	EXPECT(!vec[0] && vec[1] && vec[2] && !vec[3]);
	EXPECT_INT(looked(mm, at, 4 * PAGE, vec), 0);
}

/* Of a huge page that the program asked for everything is touched at once; of one that was merely possible, not. */
static void sample_of_huge_pages(void)
{
	uint8_t vec[SMALL];
	uint64_t at;

	open_object(0);
	at = leaf();
	EXPECT_INT(fl_sample_start(mm, at, HUGE), 0);
	EXPECT_INT(load(at + 7 * PAGE), pattern(7));
	EXPECT_INT(looked(mm, at, HUGE, vec), SMALL);
	EXPECT_INT(looked(mm, at, HUGE, vec), 0);
}

/* A page that moved to another frame is touched if it was before, and only then. */
static void sample_of_moved_pages(void)
{
	uint8_t vec[2];
	uint64_t at;

	at = filled(2);
	EXPECT_INT(fl_sample_start(mm, at, 2 * PAGE), 0);
	EXPECT_INT(load(at), pattern(0));
	EXPECT_INT(migrated(mm, at, 2 * PAGE), 2);
	EXPECT_INT(looked(mm, at, 2 * PAGE, vec), 1);
	EXPECT(vec[0] && !vec[1]);
	EXPECT_INT(migrated(mm, at, 2 * PAGE), 2);
	EXPECT_INT(load(at + PAGE), pattern(1));
	EXPECT_INT(looked(mm, at, 2 * PAGE, vec), 1);
	EXPECT(!vec[0] && vec[1]);
}

static void sample_start_and_stop(void)
{
	uint64_t at;

	at = filled(8);
	EXPECT_INT(looked(mm, at, PAGE, NULL), -1);
	EXPECT_INT(errno, EINVAL);
	EXPECT_INT(fl_sample_start(mm, at + 1, PAGE), -1);
	EXPECT_INT(errno, EINVAL);
	EXPECT_INT(fl_sample_start(mm, at, 4 * PAGE), 0);
	EXPECT_INT(looked(mm, at, 5 * PAGE, NULL), -1);
	EXPECT_INT(looked(mm, at, 4 * PAGE, NULL), 0);
	EXPECT_INT(fl_sample_stop(mm, at, 2 * PAGE), 0);
	EXPECT_INT(looked(mm, at, 4 * PAGE, NULL), -1);
	EXPECT_INT(looked(mm, at + 2 * PAGE, 2 * PAGE, NULL), 0);
	for (unsigned i = 0; i < 8; i++) {
		EXPECT_INT(load(at + i * PAGE), pattern(i));
		EXPECT_INT(store(at + i * PAGE, 1), 0);
	}
	EXPECT_INT(fl_sample_stop(mm, at, 8 * PAGE), 0);
	EXPECT_INT(fl_mm_check(mm), 0);
}

const struct protect_case sample_cases[] = {
	CASE(sample_tells_what_was_touched, ON_BOTH), CASE(sample_of_new_pages, ON_BOTH),
	CASE(sample_of_huge_pages, ON_BOTH),	      CASE(sample_of_moved_pages, ON_SOFT),
	CASE(sample_start_and_stop, ON_BOTH),	      {0},
};
