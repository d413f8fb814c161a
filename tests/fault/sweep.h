/* SPDX-License-Identifier: MIT */
/*
 * sweep.h - every fault point made to fail, at every hit, in every operation.
 *
 * An operation is prepared undisturbed, then run with one fault point armed to fail at the Nth hit, for N = 0, 1, 2,
 * ... until it succeeds without a failure. A failed run must return the documented error, break no invariant, change
 * nothing beyond what it reports, and succeed when repeated undisturbed. At the end of each cycle everything is
 * closed and unmapped, and metadata, descriptors and mappings must be what they were after the first, undisturbed
 * cycle.
 */
#ifndef SWEEP_H
#define SWEEP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mm/mm.h"
#include <faultline/testing.h>

#define PAGE 4096ul
#define MB   (1ul << 20)

/*
 * What an operation works on: `len` bytes, of which it touches `nr` spots of `spot` bytes, `step` apart, and the last
 * page.
 */
struct shape {
	const char *name;
	uint64_t len, spot, step;
};

/* One kind of address space. */
struct world {
	const char *name;
	int (*birth)(void);  /* what a process can do only once: 0 or -errno; NULL: nothing */
	void (*begin)(void); /* sets env.mm */
	void (*end)(void);   /* everything is closed and unmapped */
	/* loads or stores one byte; returns 0 or the signal */
	int (*access)(uint64_t addr, uint8_t *byte, bool write);
	const char *const *points; /* the points this world must see fail; NULL-terminated */
	const struct op *own;	   /* operations of this world only; ended by a NULL name */
};

/* What prepare() has made. */
struct env {
	const struct world *world;
	const struct shape *shape;
	struct fl_mm *mm;
	struct fl_uffd *uffd;
	uint64_t base, len;	   /* the mapping */
	uint64_t extra, extra_len; /* a second mapping, where an operation makes one */
	bool filled;		   /* the pages of the spots hold their pattern */
	uint64_t done;		   /* pages that a fill or touch has finished */
};

extern struct env env;

/* In `flags` of an operation. */
#define OP_PROGRESS    1u /* may stop half-way: env.done says where, and the rest is as it was */
#define OP_NEVER_FAILS 2u
#define OP_PARTIAL     4u /* what comes before the failure is done; verify() sees the whole */

struct op {
	const char *name;
	void (*prepare)(void);
	int (*run)(void);     /* 0 or -errno; -SIGNAL(n) for an access that got a signal */
	void (*verify)(void); /* it has succeeded */
	unsigned flags;
};

#define SIGNAL(n) (1000 + (n))

extern const struct op common_ops[];
extern const struct op shared_ops[]; /* on shared anonymous memory */

_Noreturn void sweep_fail(const char *file, int line, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
#define EXPECT(cond)                                                                                                 \
	do {                                                                                                         \
		if (!(cond))                                                                                         \
			sweep_fail(__FILE__, __LINE__, "%s", #cond);                                                 \
	} while (0)
#define EXPECT_INT(got, want)                                                                                        \
	do {                                                                                                         \
		long long got_ = (long long)(got), want_ = (long long)(want);                                        \
		if (got_ != want_)                                                                                   \
			sweep_fail(__FILE__, __LINE__, "%s is %lld, not %lld", #got, got_, want_);                   \
	} while (0)

/* How often the armed point has failed in this cycle. */
uint64_t sweep_fired(void);
void sweep_disarm(void);

/* The pages of the spots, in order: page_at(i) is the ith, FL_PFN_NONE past the end. */
uint64_t page_at(uint64_t i);
uint8_t pattern(uint64_t i);
bool entry_present(uint64_t addr);
/* The registration modes of an address, as VM_UFFD_* */
uint32_t registered(uint64_t addr);

int sweep_main(int argc, char **argv, const struct world *world);

#endif
