/* SPDX-License-Identifier: MIT */
/*
 * scenarios.h - two to four threads each, and the result they must have whatever the schedule. What several scenarios
 * share is here; the scenarios themselves are in scenarios/, by group. Values of pages: OLD was there before, NEW is
 * what a fill brings, TWO what a store writes, 0 is a page of zeros.
 */
#ifndef SCENARIOS_H
#define SCENARIOS_H

#include "world.h"

#define OLD 0x1111111111111111ull
#define NEW 0x2222222222222222ull
#define TWO 0x3333333333333333ull

#define MISSING FL_UFFDIO_REGISTER_MODE_MISSING
#define WP	FL_UFFDIO_REGISTER_MODE_WP
#define MINOR	FL_UFFDIO_REGISTER_MODE_MINOR

/* What the threads saw, by number; UINT64_MAX: nothing yet. */
extern uint64_t saw[8];

/* ---- setups ---- */

void begin(void);				    /* no thread has seen anything yet */
void registered_at(struct space *s, uint64_t mode); /* region 0, empty */
void missing(void);				    /* the same in A */
void missing_with_source(void);			    /* NEW is on a page of region 1, which is ordinary memory */
void present(void); /* page 0 is OLD; registered for missing pages and write protection */
void present_protected(void);
void unregistered(void); /* empty memory, and no object */
void unregistered_present(void);
void shared(uint64_t mode); /* page 0 of a file is OLD, in the cache only; mode 0: not registered */
void shared_minor(void);
void shared_plain(void);

/* ---- threads, all on A; the number is the page ---- */

void load_0(void);
void load_1(void);
void store_0(void);
void do_copy(void);
void truncate_0(void);
void dontneed_0(void);
void copy_source(void);
void do_continue(void);
void unprotect(void);
void do_close(void);
void map_elsewhere(struct space *s);
void map_in_a(void);
void unmap_1(void);
void unmap_source(void);

/* ---- expected results ---- */

void saw_new(void);
void saw_zero(void);
void saw_old(void);
void saw_segv(void);
void stored(void);
void file_is_gone(void);

/* ---- the groups, one file each ---- */

extern const struct sim_group sim_calls, sim_wakeups, sim_borders, sim_memory, sim_mappings, sim_spaces,
	sim_shrinking, sim_merging, sim_native, sim_in_place, sim_take_over;

#endif
