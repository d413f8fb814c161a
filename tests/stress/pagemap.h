/* SPDX-License-Identifier: MIT */
/*
 * pagemap.h - what the parts of the pagemap program share: a range with pages of every kind, and the words that
 * /proc/self/pagemap has for it.
 */
#ifndef PAGEMAP_H
#define PAGEMAP_H

#include "stress.h"

#define SOFT_DIRTY (1ull << 55)
#define EXCLUSIVE  (1ull << 56)
#define UFFD_WP	   (1ull << 57)
#define PRESENT	   (1ull << 63)
#define HERE	   (PRESENT | EXCLUSIVE)
#define ALL_BITS   (~0ull << 55)
#define BITS	   (ALL_BITS & ~SOFT_DIRTY) /* the others are a frame number, or need a kernel that keeps them */

/* BESIDE pages, PAGES registered ones, BESIDE pages; every second of those beside is present */
#define PAGES  64
#define BESIDE 4
#define ALL    (BESIDE + PAGES + BESIDE)
#define FILLED 16 /* from page 0 on; of these the first WPED are write-protected */
#define WPED   4

extern uint8_t *base, *range; /* of all, and of page 0 */
uint8_t *at(int page);
void stage(void);
uint64_t staged(int page); /* its BITS */

off_t offset_of(const void *p);
int open_pagemap(void);
uint64_t word_by(int fd, const void *p);
uint64_t word(const void *p);
uint64_t raw_word(const void *p);
void is(int line, const char *what, int page, uint64_t got, uint64_t want);
/* Does the descriptor show all of it correctly? */
void check_fd(const char *what, int way, int fd);

void test_ways_to_open(void);
void test_opened_early(void);
void test_not_the_file(void);
void test_ways_to_read(void);
void test_streams(void);
void test_offsets(void);
void test_bad_buffers(void);
void test_buffer_registered(void);
void test_buffer_refused(void);
void test_clear_refs(void);
void test_clear_refs_ways(void);

#endif
