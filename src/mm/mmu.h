/* SPDX-License-Identifier: MIT */
/*
 * mmu.h - what the memory manager asks of a backend: frames, cached rights, and, of those that have it, a host with
 * memory of its own and a swap area. "=>" states a precondition: locks held, signals blocked.
 *
 * The caller may have one mapping pinned while others change: what a backend does for one mapping it does without a
 * look at its neighbours, unless it pins them first (fl_vma_trypin).
 *
 * The page tables are the truth; a backend is a cache of them. It may hold fewer rights than an entry grants, never
 * more. It may forget a right at any time, without notice.
 */
#ifndef FL_MM_MMU_H
#define FL_MM_MMU_H

#include "mm/types.h"

struct fl_kinds;

/* A cached right. */
enum fl_right { FL_RIGHT_NONE, FL_RIGHT_READ, FL_RIGHT_WRITE };

/* => mapping pinned (or mmap_lock held), page-table lock of the address held, for all but is_zero() and unmapped() */
struct fl_frame_ops {
	/* The frame for a page that is about to be filled, its folio counted once; FL_PFN_NONE: no memory. */
	uint64_t (*get)(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr);
	/* 512 consecutive ones for a leaf at addr, each folio counted once; FL_PFN_NONE: they cannot be had. */
	uint64_t (*get_huge)(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr);
	/* A frame that no entry maps any longer and no right is cached for. */
	void (*put)(struct fl_mm *mm, uint64_t pfn);
	/*
	 * Zero `nr` consecutive frames that nothing maps; a unit at a time if a file has them, which then has pages.
	 * 0, -ENOMEM
	 */
	int (*zero)(struct fl_mm *mm, uint64_t pfn, uint64_t nr);
	/*
	 * Copy up to `len` bytes from a source into consecutive frames that nothing maps. Page faults are disabled:
	 * returns the bytes copied before the first one; -ENOMEM if the frames cannot be had, -EEXIST if the file
	 * that they are of has got the page from elsewhere.
	 */
	int64_t (*fill)(struct fl_mm *mm, uint64_t pfn, const struct fl_source *source, uint64_t src, uint64_t len);
	/*
	 * Does the frame hold only zeros? It may be asked of many that were never touched: no memory is taken for it.
	 */
	bool (*is_zero)(struct fl_mm *mm, uint64_t pfn);
	/* Optional: the mapping is unmapped; no entry is left. => mmap_lock held for writing */
	void (*unmapped)(struct fl_mm *mm, struct fl_vma *vma);
};

/* => mapping pinned, or mmap_lock held */
struct fl_right_ops {
	/*
	 * Entries of [addr, addr + nr pages) of one mapping now grant `right`, and the backend may cache it.
	 * => page-table lock of the range held: no stale grant can land after a shrink
	 */
	void (*grant)(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr, uint64_t nr, enum fl_right right);
	/* Entries of [start, end), a part of the mapping, shrank. On return nothing above `max` is cached for it. */
	void (*invalidate)(struct fl_mm *mm, struct fl_vma *vma, uint64_t start, uint64_t end, enum fl_right max);
	/*
	 * Optional: the rights that the host gives to a whole mapping depend on more than reading and writing, and
	 * that has changed: hide all of it anew. 0, -ENOMEM. => mmap_lock held for writing
	 */
	int (*conform)(struct fl_mm *mm, struct fl_vma *vma);
	/* Does the cache hold at least `right` for this page? For the checker. => page-table lock held */
	bool (*caches)(const struct fl_vma *vma, uint64_t addr, enum fl_right right);
};

/* For a host with mappings that the engine does not know yet: see claim.h. => mmap_lock held for writing */
struct fl_claim_ops {
	/* Is anything mapped in the range, and is all of it fit for userfaultfd? 0, -EINVAL */
	int (*fit)(struct fl_mm *mm, uint64_t start, uint64_t end);
	/*
	 * The host may have something else by now where the engine has mappings: forget those. -ENOMEM: not all are
	 * told apart.
	 */
	int (*verify)(struct fl_mm *mm, uint64_t start, uint64_t end);
	/* Does the host have a mapping in [start, end), which is outside all of the engine's? */
	bool (*mapped)(struct fl_mm *mm, uint64_t start, uint64_t end);
	/* Insert mappings for what the host has there: see fl_claim_range(). 0 or -errno, with nothing changed */
	int (*adopt)(struct fl_mm *mm, uint64_t start, uint64_t end, uint32_t claim);
	/* Insert mappings for what was taken out by release(). 0 or -errno, with some of it done */
	int (*again)(struct fl_mm *mm);
	/*
	 * Of memory in place: the pages of [start, end) that the host has get an entry. 0, -ENOMEM, or why it cannot
	 * be known. => mapping pinned or mmap_lock held, page-table locks not held
	 */
	int (*look)(struct fl_mm *mm, struct fl_vma *vma, uint64_t start, uint64_t end);
	/*
	 * No claim is left on the mapping: the backend may serve it alone and set VM_RELEASED, or take it out of the
	 * table.
	 */
	void (*release)(struct fl_mm *mm, struct fl_vma *vma);
	/*
	 * What is in place of [start, end), and the rest of its 2 MiB, gets frames: see fl_take_over(). NULL: nothing
	 * ever is. => no lock held
	 */
	int (*take_over)(struct fl_mm *mm, uint64_t start, uint64_t end);
};

/* A swap area. => page-table lock held */
struct fl_swap_ops {
	uint64_t (*get)(struct fl_mm *mm); /* a slot, counted once, or FL_PFN_NONE */
	void (*dup)(struct fl_mm *mm, uint64_t slot);
	void (*free)(struct fl_mm *mm, uint64_t slot); /* one user less */
	void (*write)(struct fl_mm *mm, uint64_t slot, uint64_t pfn);
	int (*read)(struct fl_mm *mm, uint64_t slot, uint64_t pfn); /* 0, -EIO */
};

struct fl_mmu_ops {
	const char *name;
	const struct fl_kinds *kinds; /* of its mappings */
	struct fl_frame_ops frames;
	struct fl_right_ops rights;
	const struct fl_claim_ops *claims; /* NULL: all memory is the engine's */
	const struct fl_swap_ops *swap;	   /* NULL: there is none */
	/* Optional: the time to bring a fault to the engine and back, in ns. => no lock held */
	uint64_t (*entry_ns)(struct fl_mm *mm);
	/* Bytes of the backend's own metadata. */
	uint64_t (*metadata)(struct fl_mm *mm);
};

#endif
