/* SPDX-License-Identifier: MIT */
/*
 * fake.h - an address space on a backend that only records what the memory manager asks of it. Frames are real, so
 * that fills can be checked.
 */
#ifndef FAKE_H
#define FAKE_H

#include "unit.h"

#include "mm/mm.h"

#define FAKE_FRAMES 512u
#define FAKE_CALLS  4096u

enum fake_what { FRAME_GET, FRAME_PUT, FRAMES_ZERO, FRAMES_FILL, PROBE, GRANT, INVALIDATE, UNMAPPED };

struct fake_call {
	enum fake_what what;
	uint64_t a, b;	/* a frame and a count, or a range */
	uint64_t right; /* GRANT, INVALIDATE */
	bool hidden;	/* at the time: no entry of the range, or entry of the frame, granted anything */
};

struct fake {
	struct fl_mm mm;
	struct fake_call calls[FAKE_CALLS];
	unsigned nr_calls;
	uint64_t refuse_after; /* frame_get fails after so many; UINT64_MAX: never */
	uint64_t source_bytes; /* fake_source has so many before a fault */
	uint64_t cached_addr;  /* caches() says so of one page */
	enum fl_right cached_right;
	enum fl_answer (*userfault)(struct fl_vmf *vmf); /* instead of the userfaultfd layer */
};

extern struct fake fake;

extern const struct fl_source fake_source;

int fake_setup(void **state);
int fake_teardown(void **state); /* fails if metadata or frames are left */
/* The first call of a kind from `from` on, or NULL; and how many there are. */
const struct fake_call *fake_find(enum fake_what what, unsigned from);
unsigned fake_count(enum fake_what what);

/* A mapping, as mmap(2) would make it. */
struct fl_vma *fake_map(uint64_t start, uint64_t end, uint32_t flags);
/* Maps one of the backend's pages there. */
fl_pte_t *fake_page(struct fl_vma *vma, uint64_t addr);

#endif
