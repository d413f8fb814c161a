/* SPDX-License-Identifier: MIT */
/*
 * file.h - files as the memory manager sees them: a page cache, which is asked for the page at an index, and the list
 * of the mappings that may have it in their tables.
 *
 * The file's lock ranks between mmap_lock and the page-table locks. A fault or fill of a file's mapping holds it from
 * the look into the cache until the entry is set; so a page that was taken out of the cache cannot be mapped any
 * more, and zapping all mappings afterwards finds every entry (fl_unmap_mapping).
 */
#ifndef FL_MM_FILE_H
#define FL_MM_FILE_H

#include "mm/types.h"

struct fl_file_ops {
	/* How many pages it has; behind them, SIGBUS. => file->lock held, as for all but release() */
	uint64_t (*nr_pages)(struct fl_file *file);
	/* The frame of a page that is in the cache, for a mapping that has it at addr; FL_PFN_NONE: a hole. */
	uint64_t (*find)(struct fl_file *file, struct fl_vma *vma, uint64_t addr, uint64_t index);
	/* A page of zeros in a hole, as find() would then give it; FL_PFN_NONE: no memory. */
	uint64_t (*make)(struct fl_file *file, struct fl_vma *vma, uint64_t addr, uint64_t index);
	/*
	 * Where pages have homes: the contents of a page that is in the cache, into the home that a private mapping
	 * has for it. 0, -ENOMEM
	 */
	int (*read)(struct fl_file *file, uint64_t index, uint64_t pfn);
	/*
	 * The page of a hole, whose frame has been filled, goes into the cache, which takes a reference. 0, -ENOMEM
	 */
	int (*add)(struct fl_file *file, struct fl_vma *vma, uint64_t pfn, uint64_t index);
	/*
	 * The first frame of 512 in a row, as find() would give each, if the pages from `first` on are one large
	 * folio; FL_PFN_NONE: they are not.
	 */
	uint64_t (*find_large)(struct fl_file *file, struct fl_vma *vma, uint64_t addr, uint64_t first);
	/*
	 * They become one, if they are not yet; no entry maps them. Holes get zeros, unless there must be none
	 * (`full`). 0, -EINVAL (there is not one of the pages), -EBUSY (a hole), -EAGAIN (one of them is in use),
	 * -ENOMEM
	 */
	int (*collapse)(struct fl_file *file, uint64_t first, bool full);
	/* The last reference is gone. => no lock held but mmap_lock */
	void (*release)(struct fl_file *file);
	bool untold; /* pages may be removed without notice, so an entry can refer to a page that is gone */
};

static inline void fl_file_init(struct fl_file *file, const struct fl_file_ops *ops)
{
	file->ops = ops;
	file->refs = 1;
	fl_mutex_init(&file->lock, FL_RANK_FILE);
	fl_list_init(&file->vmas);
}

static inline void fl_file_get(struct fl_file *file)
{
	__atomic_fetch_add(&file->refs, 1, __ATOMIC_RELAXED);
}

static inline void fl_file_put(struct fl_file *file)
{
	if (__atomic_sub_fetch(&file->refs, 1, __ATOMIC_ACQ_REL) == 0)
		file->ops->release(file);
}

/* The lock of the file that a mapping maps, if it is one of a file. */
static inline void fl_vma_lock_file(const struct fl_vma *vma)
{
	if (vma->file)
		fl_mutex_lock(&vma->file->lock);
}

static inline void fl_vma_unlock_file(const struct fl_vma *vma)
{
	if (vma->file)
		fl_mutex_unlock(&vma->file->lock);
}

/* The index of the page at addr. */
static inline uint64_t fl_vma_page_index(const struct fl_vma *vma, uint64_t addr)
{
	return vma->index + PAGES(addr - vma->start);
}

#endif
