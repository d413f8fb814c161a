/* SPDX-License-Identifier: MIT */
/*
 * kind.h - kinds of memory: what the memory manager asks of whatever is behind a mapping. One fault path serves all;
 * a kind is one table of what differs. "=>" states a precondition: locks held, signals blocked.
 */
#ifndef FL_MM_KIND_H
#define FL_MM_KIND_H

#include "mm/types.h"

struct fl_vmf;

/* What becomes of a leaf of which a part is about to differ from the rest. */
enum fl_leaf_rule {
	FL_LEAF_SPLIT, /* 512 entries that say the same */
	FL_LEAF_DROP,  /* nothing: its pages are found again; it is never write-protected */
	FL_LEAF_NEVER, /* that does not happen: there are none, or they are only changed whole */
};

struct fl_memory_kind {
	const char *name;
	/*
	 * Bytes, a power of 2 from PAGE_SIZE to PMD_SIZE. A fault brings a whole unit, and registrations, fills and
	 * write-protection are of whole units: -EINVAL. Mappings begin and end at one.
	 */
	uint64_t unit;
	enum fl_leaf_rule leaf;
	bool keeps_marker; /* a page that goes leaves its write-protection behind, and a missing one can have it */
	bool zeros;	   /* what make() gives holds zeros, and has no other user */
	bool migrates;	   /* pages can move to other frames */
	bool host_serves;  /* unwatched, the host could serve such a mapping alone: it has all of the memory */

	/*
	 * Optional: the address in the mapping at which its backing ends: from there on SIGBUS. NULL: it does not.
	 * => file's lock held, if the mapping has one, as for all below
	 */
	uint64_t (*end)(const struct fl_vma *vma);
	/* The frame that the backing has for the unit at addr; FL_PFN_NONE: a hole. NULL: it never has one. */
	uint64_t (*lookup)(struct fl_vma *vma, uint64_t addr);
	/*
	 * Frames for new entries of the unit at addr, and counted for them, in a row: of what lookup() has found, or,
	 * if that was a hole, of a new page. `write`: for a store. FL_PFN_NONE: no memory. => page-table lock held,
	 * as below
	 */
	uint64_t (*make)(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr, uint64_t found, bool write);
	/* Frames in a row for the unit at addr, which is to be filled; each counted once. FL_PFN_NONE: no memory */
	uint64_t (*frames)(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr);
	/* Optional: a filled unit becomes one of the backing's, for all its mappings. 0, -ENOMEM */
	int (*add)(struct fl_vma *vma, uint64_t addr, uint64_t pfn);
	/* Optional: a page that is a copy of the backing's becomes the program's own. NULL: a store copies it */
	void (*own)(struct fl_mm *mm, uint64_t pfn);

	/* Optional: 2 MiB for a fault, if mapping and memory allow it (huge.c). => mapping pinned, no lock held */
	bool (*fault_leaf)(struct fl_vmf *vmf);
	/* With FL_LEAF_SPLIT: 512 frames in a row with what the pages of a table hold (huge.c). 0, -ENOMEM */
	int (*gather)(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr, const fl_pte_t *ptes, uint64_t *head);
	/*
	 * Optional, with FL_LEAF_DROP: what large folio the backing has there goes to the frames from pfn on. false:
	 * no
	 */
	bool (*read_large)(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr, uint64_t pfn);
};

/* The kinds of a backend's mappings. */
struct fl_kinds {
	const struct fl_memory_kind *anonymous;
	const struct fl_memory_kind *shared;	   /* pages of a file */
	const struct fl_memory_kind *private_copy; /* pages of a file until they are written to */
	const struct fl_memory_kind *in_place;	   /* anonymous memory that the host has: VM_IN_PLACE; NULL: none */
};

/* Where a page may be in any frame; where its frame follows from its address, its home (kinds.c). */
extern const struct fl_kinds fl_kinds;
extern const struct fl_kinds fl_kinds_homes;

static inline uint64_t fl_unit_of(const struct fl_memory_kind *kind, uint64_t addr)
{
	return addr & ~(kind->unit - 1);
}

static inline bool fl_unit_aligned(const struct fl_memory_kind *kind, uint64_t at)
{
	return !(at & (kind->unit - 1));
}

#endif
