/* SPDX-License-Identifier: MIT */
/* ops.h - what the tables of operations share: how memory is prepared, run and checked. */
#ifndef OPS_H
#define OPS_H

#include "sweep.h"

#include <sys/mman.h>

#define MISSING FL_UFFDIO_REGISTER_MODE_MISSING
#define MINOR	FL_UFFDIO_REGISTER_MODE_MINOR
#define WP	FL_UFFDIO_REGISTER_MODE_WP
#define RW	(PROT_READ | PROT_WRITE)

extern char source[2 * MB + PAGE]; /* page i holds the pattern of page i, once map_as() was called */

int result(int64_t ret);
uint64_t last_page(void);
int writes(uint64_t addr); /* 0, or the signal that a store there raises */

/* A mapping of the shape's length, and what is to be in it. */
void map_as(int flags);
void store_patterns(uint64_t to); /* through the mapping at `to`, which is like the one at env.base */
void open_object(uint64_t features);
void reg(uint64_t mode);

/* Spot after spot, from where the last attempt ended. */
int fill(int (*one)(uint64_t addr, uint64_t page, uint64_t len, int64_t *got));

int run_unregister(void);
int run_unregister_part(void);
int run_copy(void);
int run_zeropage(void);
int run_load(void);
int run_store(void);
int run_protect(void);
int run_unprotect(void);
int run_mprotect(void);
int run_munmap(void);
int run_madvise(void);
int collapse(uint64_t addr); /* 2 MiB */

void check_spots(void); /* they hold their patterns */
void verify_nothing(void);
void verify_closed(void);
void verify_copied(void);
void verify_zero(void);
void verify_protected(void);
void verify_unprotected(void);
void verify_marked(void);
void verify_mprotected(void);
void verify_unmapped(void);
void verify_dropped(void);

#endif
