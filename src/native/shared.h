/* SPDX-License-Identifier: MIT */
/*
 * shared.h - the program's shared memory: its file is the page cache. shared.c is the file, shared_frames.c its
 * frames, shared_adopt.c its mappings, shared_remove.c what takes pages out. "=>" states a precondition.
 */
#ifndef FL_NATIVE_SHARED_H
#define FL_NATIVE_SHARED_H

#include "host/host.h"
#include "mm/file.h"
#include "mm/mm.h"

/* 2 MiB of a file that the host has made one folio. */
struct fl_large {
	struct fl_large *next;
	uint64_t first; /* page */
};

#define FL_BOUNCE_SIZE (16 * PAGE_SIZE)

struct fl_shared_file {
	struct fl_file file;
	char *bounce;		     /* [f] FL_BOUNCE_SIZE */
	struct fl_large *large;	     /* [f] the known ones */
	int fd;			     /* [c] of fl_kept_get(), read-write */
	bool own;		     /* [c] its position and flags are ours; otherwise they are the program's */
	uint64_t dev, inode;	     /* [c] */
	struct fl_shared_file *next; /* [m] of all */
};

extern struct fl_shared_file *fl_shared_files;

static inline struct fl_shared_file *fl_shared_of(struct fl_file *file)
{
	return container_of(file, struct fl_shared_file, file);
}

/* The file behind a mapping, if it is known already; and in any case, with a reference: NULL, *err says why. */
struct fl_shared_file *fl_shared_known(const struct fl_host_map *map);
struct fl_shared_file *fl_shared_get(const struct fl_host_map *map, int *err);
/* How much of [offset, offset + len) comes before the first page that the file has. */
uint64_t fl_shared_hole(const struct fl_shared_file *f, uint64_t offset, uint64_t len);
/* A page of zeros for a hole. 0, -ENOMEM */
int fl_shared_write_zeros(struct fl_shared_file *f, uint64_t offset);
/* Fill holes, which begin at frame `pfn` of a shared mapping. How much was written, which may be less; -ENOMEM */
int64_t fl_shared_write(struct fl_shared_file *f, uint64_t pfn, const void *from, uint64_t len, uint64_t offset);
/*
 * The 2 MiB from page `first` on are one folio. -ENOMEM. Those with pages of [first, end) are none any longer. =>
 * file's lock held
 */
int fl_large_add(struct fl_shared_file *f, uint64_t first);
void fl_large_drop(struct fl_shared_file *f, uint64_t first, uint64_t end);

/* Can the mapping be registered: is it of shared memory, and can its file be found? */
bool fl_file_fit(const struct fl_host_map *map);
/* Adopt it, hidden: one spare fl_vma is reserved. -ENOMEM, -EINVAL. => mmap_lock for writing, as for all below */
int fl_file_adopt(struct fl_mm *mm, uint64_t start, uint64_t end, const struct fl_host_map *map);
/* What the host maps of a mapping with one leaf, at `from`, becomes a leaf. => there are tables */
void fl_file_set_leaves(struct fl_mm *mm, struct fl_vma *vma, uint64_t from);
/* What the host has in its tables, of a range that is hidden, goes into the engine's. => there are tables */
void fl_file_set_entries(struct fl_mm *mm, struct fl_vma *vma);
/* The host serves it alone again. */
void fl_file_release(struct fl_mm *mm, struct fl_vma *vma);
/* Everything that [start, end) has of files goes back to the host, and is released. */
void fl_file_give_back(struct fl_mm *mm, uint64_t start, uint64_t end);
/* In a forked child, before what is below: its tables have nothing of what is shared. */
void fl_file_fork_child(struct fl_mm *mm);
/* What the tables have of [start, end), the host maps at `to`, where the same pages are. */
void fl_file_populate(struct fl_mm *mm, const struct fl_vma *vma, uint64_t start, uint64_t end, uint64_t to);
/* The direct map has nothing there again. */
void fl_file_unmap_direct(uint64_t pfn, uint64_t nr);
/* Is there any file at all? No lock, for the first instruction of interposed calls. */
bool fl_file_any(void);
/*
 * The pages [first, end) of a file are about to go, or have just gone: registered mappings lose them; without `cow`,
 * private copies stay.
 */
void fl_file_zap(const struct fl_host_file *file, uint64_t first, uint64_t end, bool cow);
/* MADV_REMOVE of mappings that are not registered, but may be of files that registered ones map, too: the same. */
void fl_file_remove_elsewhere(uint64_t start, uint64_t end);
/*
 * MADV_COLLAPSE of mappings that the host serves alone, but may be of files that registered ones map, too: these lose
 * the pages; -EBUSY if they wait for a missing page. 0: the host may do it. => no lock held
 */
int fl_file_collapse_elsewhere(uint64_t start, uint64_t end);
/* MADV_REMOVE of a part of a mapping. -errno */
int fl_file_remove(struct fl_mm *mm, struct fl_vma *vma, uint64_t start, uint64_t end);
/* Frames of files, for pool.c: zero one, or fill as many as possible. => file's lock held */
int fl_file_zero(struct fl_shared_file *f, uint64_t pfn);
int64_t fl_file_fill(struct fl_shared_file *f, uint64_t pfn, const struct fl_source *source, uint64_t src,
		     uint64_t len);

#endif
