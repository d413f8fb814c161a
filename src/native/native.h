/* SPDX-License-Identifier: MIT */
/*
 * native.h - the native backend: the process itself as an address space.
 *
 * "Physical memory" is the pool, a sparse memfd that is mapped once, read-write, out of the program's way: the direct
 * map. A registered range gets a contiguous extent of the pool as its home and becomes a mapping of it. The rights
 * that the host's page tables hold are the cache (cache.c); what they refuse arrives as SIGSEGV (fault_entry.c).
 *
 * The pool is managed in chunks of 2 MiB. A chunk belongs to one extent, so it also is one aligned 2 MiB of the
 * program's addresses, and what is cached for its 512 pages is a handful of bitmaps.
 */
#ifndef FL_NATIVE_NATIVE_H
#define FL_NATIVE_NATIVE_H

#include "base/uaccess.h"
#include "host/host.h"
#include "mm/mm.h"

#define CHUNK_PAGES 512u
#define CHUNK_WORDS (CHUNK_PAGES / 64)

struct fl_shared_file;

/* Letters as in mm/types.h, and [b] fl_vma.cache_lock of the mapping that has the page: cache.c. */
struct chunk {
	struct fl_shared_file *file;  /* [m] the direct map has its pages here, not the pool's; NULL */
	uint64_t index;		      /* [m] the file's page that page 0 would be, modulo 2^64 */
	uint64_t vbase;		      /* [m][a] address of page 0; 0: unused */
	uint16_t used;		      /* [m] pages that belong to a mapping */
	uint16_t splits;	      /* [a] borders between host rights inside it */
	uint64_t active[CHUNK_WORDS]; /* [b] the host mapping carries rights, and a marker where the page is hidden */
	uint64_t shown[CHUNK_WORDS];  /* [b] the program reaches the page */
	uint64_t writable[CHUNK_WORDS]; /* [b] the host mapping of the page is writable (whether shown or hidden) */
	uint64_t resident[CHUNK_WORDS]; /* [p] the pool may hold memory for it */
	uint64_t mapped[CHUNK_WORDS];	/* [p] the direct map has it */
	uint64_t owned[CHUNK_WORDS];	/* [m] released: was the program's own, not the shared zeros */
};

/* Letters as in mm/types.h. */
struct fl_native {
	struct fl_mm mm;
	int pool_fd;	      /* [c] */
	struct chunk *chunks; /* [c] for every 2 MiB of the pool */
	uint64_t nr_chunks;   /* [c] */
	uint32_t adopting;    /* [a] adoptions in progress: what they hide may be in no mapping yet */
	uint32_t undone;      /* [a] adoptions that failed after they had hidden something */
	uint64_t chunks_end;  /* [a] no chunk from here on was ever used */
	uint64_t cursor;      /* [m] where to look for free chunks next */
	uint64_t used_chunks; /* [m] */
	uint64_t stale;	      /* [a] pages whose memory is kept for the next fill */
	bool guard;	      /* [c] hide by guard markers; otherwise by protection alone */
	uint64_t splits;      /* [a] sum over the chunks */
	uint64_t budget;      /* [c] the most that `splits` may be */
	uint64_t hand;	      /* [a] where eviction continues */
	bool advice;	      /* [a] the program has given advice that is a flag for memory that is not registered */
	bool ready;	      /* [a] */
};

extern struct fl_native fl_native;

static inline struct chunk *chunk_of(uint64_t pfn)
{
	return &fl_native.chunks[pfn / CHUNK_PAGES];
}

static inline uint64_t vma_pfn(const struct fl_vma *vma, uint64_t addr)
{
	return vma->pgoff + PAGES(addr - vma->start);
}

/*
 * Bits of pages, 64 in a word. The pages of a word may be of two mappings, which have locks of their own, so each
 * word changes by one instruction.
 */
static inline bool bit_get(const uint64_t *map, unsigned i)
{
	return __atomic_load_n(&map[i / 64], __ATOMIC_RELAXED) >> (i % 64) & 1;
}

/* The bits of word w among the `nr` from `first` on. */
static inline uint64_t bit_span(unsigned w, unsigned first, unsigned nr)
{
	unsigned lo = fl_max(first, w * 64), hi = fl_min(first + nr, w * 64 + 64);

	if (lo >= hi)
		return 0;
	return (hi - lo == 64 ? ~0ull : ((1ull << (hi - lo)) - 1) << (lo - w * 64));
}

static inline void bit_fill(uint64_t *map, unsigned first, unsigned nr, bool value)
{
	for (unsigned w = first / 64; w < CHUNK_WORDS && w * 64 < first + nr; w++)
		if (value)
			__atomic_fetch_or(&map[w], bit_span(w, first, nr), __ATOMIC_RELAXED);
		else
			__atomic_fetch_and(&map[w], ~bit_span(w, first, nr), __ATOMIC_RELAXED);
}

static inline bool bit_any(const uint64_t *map, unsigned first, unsigned nr, bool value)
{
	for (unsigned w = first / 64; w < CHUNK_WORDS && w * 64 < first + nr; w++) {
		uint64_t bits = __atomic_load_n(&map[w], __ATOMIC_RELAXED);

		if ((value ? bits : ~bits) & bit_span(w, first, nr))
			return true;
	}
	return false;
}

/* How many pages from `first` on, at most nr, have the same bit as the first. */
static inline unsigned bit_run(const uint64_t *map, unsigned first, unsigned nr)
{
	unsigned n = 1;

	while (n < nr && bit_get(map, first + n) == bit_get(map, first))
		n++;
	return n;
}

/* ---- pool.c ---- */

/* Create pool and direct map. 0, -ENOMEM, -ENOSYS */
int fl_pool_create(struct fl_pool *pool);
void fl_pool_destroy(struct fl_pool *pool);
/*
 * A home for [start, end): the page offset, congruent to start in 2 MiB; FL_PFN_NONE: full. => mmap_lock for writing
 */
uint64_t fl_extent_alloc(uint64_t start, uint64_t end);
/* Its pages no longer belong to a mapping; their memory goes back to the host. => as above */
void fl_extent_free(uint64_t start, uint64_t end, uint64_t pgoff);
/* Return the memory of frames to the host. */
void fl_frames_punch(uint64_t pfn, uint64_t nr);

/* the frame part of fl_mmu_ops */
uint64_t fl_native_frame_get(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr);
uint64_t fl_native_huge_get(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr);
void fl_native_frame_put(struct fl_mm *mm, uint64_t pfn);
bool fl_native_frame_is_zero(struct fl_mm *mm, uint64_t pfn);
int fl_native_frames_zero(struct fl_mm *mm, uint64_t pfn, uint64_t nr);
int64_t fl_native_frames_fill(struct fl_mm *mm, uint64_t pfn, const struct fl_source *source, uint64_t src,
			      uint64_t len);

/* ---- cache.c: the cached rights ---- */

void fl_native_grant(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr, uint64_t nr, enum fl_right right);
void fl_native_invalidate(struct fl_mm *mm, struct fl_vma *vma, uint64_t start, uint64_t end, enum fl_right max);
bool fl_native_caches(const struct fl_vma *vma, uint64_t addr, enum fl_right right);
/*
 * The mapping's host pages become hidden, with the rights that its flags have now, whatever was there before. A chunk
 * that is not in use needs nothing: it has no rights. -ENOMEM. => mmap_lock held for writing
 */
int fl_native_conform(struct fl_mm *mm, struct fl_vma *vma);
/* Undo it, or what it did before it failed: nothing is hidden. => as above */
void fl_cache_unhide(struct fl_vma *vma);
/* Forget what is cached for pages whose host mapping is about to be replaced or removed. */
void fl_cache_forget(uint64_t pfn, uint64_t nr);
/*
 * Give host mappings back: the program's own call found the table full. Returns whether any were. => mmap_lock held
 */
bool fl_cache_shrink(struct fl_mm *mm);
/*
 * Does the program reach the page for writing? Then the engine's write fault on its host page table is cheaper than
 * the read fault that the program is about to take: the host maps one page for it, not the pages around. => no lock
 * held
 */
bool fl_cache_writable(struct fl_mm *mm, uint64_t addr);
/* How many mappings the host lets the cache have. */
void fl_cache_set_budget(void);
/* Take the write right off / back on the host mapping of everything shown, entries untouched. Around fork(). */
void fl_cache_freeze(struct fl_mm *mm, bool frozen);

/* ---- adopt.c: adopting the program's memory, and releasing it ---- */

int fl_native_fit(struct fl_mm *mm, uint64_t start, uint64_t end);
/* Map the pool there, hidden, and not locked, even if mlockall() was called: markers are refused on locked memory. */
int fl_native_map_pool(uint64_t start, uint64_t end, uint64_t pgoff, enum fl_inject_point fp);
bool fl_native_mapped(struct fl_mm *mm, uint64_t start, uint64_t end);
int fl_native_adopt(struct fl_mm *mm, uint64_t start, uint64_t end);
void fl_native_release(struct fl_mm *mm, struct fl_vma *vma);
/* Is a page of a released mapping, which the pool has, the program's own, and not the shared one of zeros? */
bool fl_released_owned(struct fl_vma *vma, uint64_t addr);

/* ---- shared.c: the program's shared memory: its file is the page cache ---- */

/* Can the mapping be registered: is it of shared memory, and can its file be found? */
bool fl_file_fit(const struct fl_host_map *map);
/* Adopt it, hidden: one spare fl_vma is reserved. -ENOMEM, -EINVAL. => mmap_lock for writing, as for all below */
int fl_file_adopt(struct fl_mm *mm, uint64_t start, uint64_t end, const struct fl_host_map *map);
/* The host's rights for all that a mapping's flags allow, and back. */
int fl_access_prot(uint32_t flags);
static inline uint32_t fl_prot_access(int prot)
{
	return ((prot & PROT_READ) ? VM_READ : 0) | ((prot & PROT_WRITE) ? VM_WRITE : 0) |
	       ((prot & PROT_EXEC) ? VM_EXEC : 0);
}

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
/* The direct map of the pages has the pool's memory again. */
void fl_file_unmap_direct(uint64_t pfn, uint64_t nr);
/* adopt.c's, for it: tables for what the range holds; and adopting a private mapping as anonymous memory. */
int fl_prepare_tables(struct fl_mm *mm, uint64_t start, uint64_t end, bool *any);
int fl_adopt_private(struct fl_mm *mm, uint64_t start, uint64_t end, uint32_t access, struct fl_file *file,
		     uint64_t index);
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

/* ---- kept.c: descriptors of the shared memory that the program maps; these take no lock but their own ---- */

/* mmap(2); what it maps can be registered, even if it is anonymous or the descriptor is closed later. */
long fl_kept_mmap(uint64_t addr, uint64_t len, int prot, int flags, int fd, uint64_t offset);
/* The program has unmapped a range, or moved it away: files that are no longer mapped are closed. */
void fl_kept_unmapped(uint64_t start, uint64_t len);
/*
 * A descriptor, open for reading and writing, of the file behind a mapping, until put. -EINVAL: there is none;
 * -ENOMEM
 */
int fl_kept_get(const struct fl_host_map *map);
void fl_kept_put(int fd);
/* Is it one of these descriptors? Are there any? */
bool fl_kept_is(int fd);
bool fl_kept_any(void);
/* In a forked child, which has copies of them. */
void fl_kept_after_fork(void);

/* ---- fault_entry.c ---- */

/* Install the handler of SIGSEGV, also again: sigview.h. 0 or -errno */
int fl_fault_entry_install(void);
/*
 * Has an adoption been undone since this thread last asked? An access or a system call that it had refused finds no
 * mapping then, and is worth repeating.
 */
bool fl_native_undone(void);

/* ---- init.c ---- */

/* The one instance; the first call creates it. 0, -ENOMEM, -ENOSYS */
int fl_native_init(void);
/*
 * Is addr inside the span of registered ranges? Cheap, no lock: a first check for calls that mostly do not concern
 * faultline.
 */
bool fl_native_touches(uint64_t start, uint64_t end);

/* ---- fork.c ---- */

/*
 * Around fork(): everything stands still, and the child gets a pool of its own. -ENOMEM, -EMFILE, -ENFILE. => no lock
 * held; between prepare and the other two the caller does nothing but fork
 */
int fl_fork_prepare(void);
void fl_fork_parent(void);
void fl_fork_child(void);

#endif
