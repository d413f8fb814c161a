/* SPDX-License-Identifier: MIT */
/*
 * direct.h - the direct map: all frames, at addresses that the program does not know. It is made of sections, which
 * are added as extents need them: of shared anonymous memory, which is the pool, and of nothing, for files, whose
 * pages are mapped into their places.
 *
 * It gives nothing away: it is open where the program may write to the very memory as well. The frames of all other
 * mappings, and those of none, are without rights in it; who fills or reads them opens a window. "=>" states a
 * precondition.
 */
#ifndef FL_NATIVE_DIRECT_H
#define FL_NATIVE_DIRECT_H

#include "host/inject.h"
#include "mm/mm.h"

#define FL_SECTIONS   128
#define FL_NR_RECORDS 3 /* arrays of records: homes, chunks, folios */

enum fl_section_kind {
	FL_SECTION_POOL,
	FL_SECTION_FILES,
	FL_SECTION_TAKEN /* something of the program's is there */
};

struct fl_section {
	uint64_t first, nr; /* chunks */
	enum fl_section_kind kind;
};

/* Choose where it will be. Nothing is mapped yet. 0, -ENOMEM */
int fl_direct_create(struct fl_pool *pool);
void fl_direct_destroy(void);
/*
 * The records of the first gigabyte get memory, so that they need none when it is registered. It does not matter if
 * that fails. => once, when the address space is there
 */
void fl_direct_prepare(void);
/* Another section, with room for an extent of `nr` chunks. 0, -ENOMEM. => mmap_lock for writing, as for all below */
int fl_direct_grow(uint64_t nr, enum fl_section_kind kind);
/* After mlockall(). */
void fl_direct_munlock(void);
/* In a forked child: the sections of the pool become its own, and are closed. 0, -ENOMEM */
int fl_direct_unshare(void);

/* Frames of one extent are open from now on, or no longer. A host without room may refuse: -ENOMEM */
int fl_direct_set(uint64_t pfn, uint64_t nr, bool open);
/* As the mapping's rights have it. If the host refuses, what is closed costs more, and what is open stays so. */
void fl_direct_conform(struct fl_vma *vma);
/* The same for all of [start, end). */
void fl_direct_conform_range(struct fl_mm *mm, uint64_t start, uint64_t end);

/* Frames that the holder of a window may use, open or not. No client's code runs meanwhile. */
struct fl_window {
	uint64_t pfn, nr; /* nr 0: it was open anyway */
	uint64_t src;	  /* another frame; FL_PFN_NONE: none */
};

/* Of one chunk, which may not change its rights meanwhile; besides, the frame that is read at `src`, if any is. */
int fl_window_open(struct fl_window *w, uint64_t pfn, uint64_t nr, uint64_t src);
void fl_window_close(const struct fl_window *w);

#endif
