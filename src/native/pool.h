/* SPDX-License-Identifier: MIT */
/* pool.h - the pool: homes for ranges, and the contents of frames. "=>" states a precondition. */
#ifndef FL_NATIVE_POOL_H
#define FL_NATIVE_POOL_H

#include "mm/mm.h"
#include "native/direct.h"

/* Nothing is mapped until the first extent is, or fl_direct_prepare() is called. 0, -ENOMEM */
int fl_pool_create(struct fl_pool *pool);
void fl_pool_destroy(struct fl_pool *pool);
/*
 * A home for [start, end), which has the right in the host's tables: the page offset, congruent to start in 2 MiB;
 * FL_PFN_NONE: full. => mmap_lock for writing
 */
uint64_t fl_extent_alloc(uint64_t start, uint64_t end, enum fl_section_kind kind, enum fl_right right);
/* Its pages no longer belong to a mapping; their memory goes back to the host. => as above */
void fl_extent_free(uint64_t start, uint64_t end, uint64_t pgoff);
/* The same for memory in place, which has had no memory of the pool. */
void fl_extent_put(uint64_t start, uint64_t end, uint64_t pgoff);
/* Return the memory of frames to the host. */
void fl_frames_punch(uint64_t pfn, uint64_t nr);
/* Frames of one chunk get memory, if they have none: zeros. */
void fl_frames_touch(uint64_t pfn, uint64_t nr);
/* The next run of frames in [*pfn, end) that have memory. 1 found, 0 none. => only the host knows (released) */
int fl_pool_next_data(uint64_t *pfn, uint64_t end, uint64_t *run_end);
/* Write frames that no entry leads to, out of memory that is there. 0, -ENOMEM. [FILL] */
int fl_pool_write(uint64_t pfn, uint64_t src, uint64_t len);
/* Map frames of one extent at `addr`, hidden, in place of what is there, and close them. 0, -ENOMEM. [fp] */
int fl_pool_map(uint64_t pfn, uint64_t len, uint64_t addr, enum fl_inject_point fp);

/* the frame part of fl_mmu_ops */
uint64_t fl_native_frame_get(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr);
uint64_t fl_native_huge_get(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr);
void fl_native_frame_put(struct fl_mm *mm, uint64_t pfn);
bool fl_native_frame_is_zero(struct fl_mm *mm, uint64_t pfn);
int fl_native_frames_zero(struct fl_mm *mm, uint64_t pfn, uint64_t nr);
int64_t fl_native_frames_fill(struct fl_mm *mm, uint64_t pfn, const struct fl_source *source, uint64_t src,
			      uint64_t len);

#endif
