/* SPDX-License-Identifier: MIT */
/*
 * protect.h - the protection engine seen from inside: what do the entries say after what a program does, and after
 * what a kernel does behind its back? The same cases run on the process's own address space and on a soft one, each
 * in a process of its own. A case's name begins with its row in docs/testing.md; each row has a file.
 */
#ifndef PROTECT_H
#define PROTECT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>

#include "base/inject.h"
#include "mm/mm.h"
#include <faultline/testing.h>

#define PAGE ((uint64_t)4096)
#define HUGE ((uint64_t)2 << 20)

enum { ON_NATIVE = 1, ON_SOFT = 2, ON_BOTH = 3 };

/* One kind of address space. */
struct world {
	const char *name;
	unsigned bit;
	void (*begin)(void);					  /* sets mm */
	int (*access)(uint64_t addr, uint8_t *byte, bool write);  /* 0, or the signal */
	int (*in_child)(int (*fn)(uint64_t addr), uint64_t addr); /* fork; fn's result there */
};

struct protect_case {
	const char *name;
	void (*run)(void);
	unsigned worlds; /* ON_* */
};
#define CASE(fn, worlds)                                                                                             \
	{                                                                                                            \
#fn, fn, worlds                                                                                      \
	}

/* ended by a NULL name */
extern const struct protect_case s1_cases[], s3_cases[], s4_cases[], range_cases[], sample_cases[];

extern struct fl_mm *mm;
extern const struct world *world;
extern struct fl_uffd *uffd; /* of open_object() */

#define RW	(PROT_READ | PROT_WRITE)
#define ANON	(MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE)
#define WP	FL_UFFDIO_REGISTER_MODE_WP
#define SET	FL_UFFDIO_WRITEPROTECT_MODE_WP
#define MARKERS FL_UFFD_FEATURE_WP_UNPOPULATED
#define SMALL	512u /* pages of 2 MiB */

_Noreturn void failed(const char *file, int line, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#define EXPECT(cond) ((cond) ? (void)0 : failed(__FILE__, __LINE__, "not so: %s", #cond))
#define EXPECT_INT(got, want)                                                                                        \
	do {                                                                                                         \
		long long got_ = (long long)(got), want_ = (long long)(want);                                        \
		if (got_ != want_)                                                                                   \
			failed(__FILE__, __LINE__, "%s is %lld, not %lld", #got, got_, want_);                       \
	} while (0)

/* ---- steps ---- */

int store(uint64_t addr, uint8_t byte); /* 0, or the signal */
int load(uint64_t addr);		/* the byte, or -signal */
uint8_t pattern(uint64_t i);		/* of page i */
uint64_t map_pages(uint64_t pages);
uint64_t filled(uint64_t pages); /* they hold their pattern */
uint64_t leaf(void);		 /* 2 MiB, aligned, unmapped memory around it, registered and one leaf */
void open_object(uint64_t features);
int protect(uint64_t addr, uint64_t len, uint64_t mode); /* 0 or -errno */
uint64_t protected_pages(uint64_t pages);		 /* registered for write-protection, filled, protected */
uint64_t protected_leaf(void);

/* ---- what entries say ---- */

fl_pte_t entry(uint64_t addr);
/* The page is protected, by its entry and for a thread that stores to it, and holds what it held. */
void is_protected(uint64_t addr, int byte);
void is_free(uint64_t addr, int byte);
/* How many faults had to grant a right that was not there at once. */
uint64_t second_faults(void);

int protect_main(int argc, char **argv, const struct world *world);

#endif
