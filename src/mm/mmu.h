/* SPDX-License-Identifier: MIT */
/*
 * mmu.h - what the memory manager asks of a backend, and all that a backend sees of the manager.
 *
 * The caller may have one mapping pinned while others change: what a backend does for a mapping it does without a
 * look at its neighbours, unless it pins them first (fl_vma_trypin).
 *
 * The page tables are the truth; a backend is a cache of them. It may hold fewer rights than an entry grants, never
 * more. It may forget a right at any time, without notice.
 */
#ifndef FL_MM_MMU_H
#define FL_MM_MMU_H

#include "mm/types.h"

/* A cached right. */
enum fl_right { FL_RIGHT_NONE, FL_RIGHT_READ, FL_RIGHT_WRITE };

struct fl_mmu_ops {
	const char *name;
	const struct fl_kinds *kinds; /* of its mappings */

	/*
	 * The frame for a page that is about to be filled, its folio counted once; FL_PFN_NONE: no memory. => mapping
	 * pinned (or mmap_lock held, as for all below), page-table lock of addr held
	 */
	uint64_t (*frame_get)(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr);
	/* A frame that no entry maps any longer and no right is cached for. => page-table lock held */
	void (*frame_put)(struct fl_mm *mm, uint64_t pfn);

	/*
	 * 512 consecutive frames for a leaf at addr, each folio counted once; FL_PFN_NONE: they cannot be had.
	 * => as frame_get()
	 */
	uint64_t (*huge_get)(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr);

	/*
	 * Zero `nr` consecutive frames that nothing maps; one at a time if a file has them, which then has pages.
	 * 0 or -ENOMEM. => page-table lock held
	 */
	int (*frames_zero)(struct fl_mm *mm, uint64_t pfn, uint64_t nr);
	/*
	 * Copy up to `len` bytes from a source into consecutive frames that nothing maps. Page faults are disabled:
	 * returns the bytes copied before the first one; -ENOMEM if the frames cannot be had, -EEXIST if the file
	 * that they are of has got the page from elsewhere. => page-table lock held
	 */
	int64_t (*frames_fill)(struct fl_mm *mm, uint64_t pfn, const struct fl_source *source, uint64_t src,
			       uint64_t len);

	/*
	 * Entries of [addr, addr + nr pages) of one mapping now grant `right`, and the backend may cache it.
	 * => page-table lock of the range held: no stale grant can land after a shrink
	 */
	void (*grant)(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr, uint64_t nr, enum fl_right right);
	/* Entries of [start, end), a part of the mapping, shrank. On return nothing above `max` is cached for it. */
	void (*invalidate)(struct fl_mm *mm, struct fl_vma *vma, uint64_t start, uint64_t end, enum fl_right max);
	/*
	 * Optional: the rights that the host gives to a whole mapping depend on more than reading and writing, and
	 * that has changed.
	 * All of it is to be hidden anew. 0 or -ENOMEM. => mmap_lock held for writing
	 */
	int (*conform)(struct fl_mm *mm, struct fl_vma *vma);
	/* [start, end) is unmapped, with frame numbers from pgoff. => mmap_lock held for writing; entries are gone */
	void (*unmapped)(struct fl_mm *mm, uint64_t start, uint64_t end, uint64_t pgoff);

	/*
	 * Optional (NULL): for a backend whose host has mappings that the engine does not know yet. => mmap_lock held
	 * for writing
	 */
	/* Is anything mapped in the range, and is all of it fit for userfaultfd? 0, -EINVAL */
	int (*fit)(struct fl_mm *mm, uint64_t start, uint64_t end);
	/* Does the host have a mapping in [start, end), which is outside all of the engine's? */
	bool (*mapped)(struct fl_mm *mm, uint64_t start, uint64_t end);
	/* Insert mappings for everything the host has there. 0 or -errno, with nothing changed */
	int (*adopt)(struct fl_mm *mm, uint64_t start, uint64_t end);
	/* The mapping is no longer registered: the backend may serve it alone and set VM_RELEASED. */
	void (*release)(struct fl_mm *mm, struct fl_vma *vma);

	/*
	 * Does the frame hold zeros only? It may be asked of many that were never touched: no memory is taken for it.
	 */
	bool (*frame_is_zero)(struct fl_mm *mm, uint64_t pfn);

	/*
	 * Optional (NULL): a swap area. A slot, counted once, or FL_PFN_NONE; one user more, one less; contents out
	 * and in, 0 or -EIO. => page-table lock held
	 */
	uint64_t (*swap_get)(struct fl_mm *mm);
	void (*swap_dup)(struct fl_mm *mm, uint64_t slot);
	void (*swap_free)(struct fl_mm *mm, uint64_t slot);
	void (*swap_write)(struct fl_mm *mm, uint64_t slot, uint64_t pfn);
	int (*swap_read)(struct fl_mm *mm, uint64_t slot, uint64_t pfn);

	/* Optional: the time to bring a fault to the engine and back, in ns. => no lock held */
	uint64_t (*entry_ns)(struct fl_mm *mm);

	/* Does the cache hold at least `right` for this page? For the checker. => page-table lock held */
	bool (*caches)(const struct fl_vma *vma, uint64_t addr, enum fl_right right);
	/* Bytes of the backend's own metadata. */
	uint64_t (*metadata)(struct fl_mm *mm);
};

#endif
