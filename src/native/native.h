/* SPDX-License-Identifier: MIT */
/*
 * native.h - the native backend: the process itself as an address space.
 *
 * "Physical memory" is the pool, sparse shared memory that is mapped out of the program's way: the direct map. A
 * registered range gets a contiguous extent of the pool as its home and becomes another mapping of it. The rights
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
#include "native/adopt.h"
#include "native/cache.h"
#include "native/direct.h"
#include "native/inplace.h"
#include "native/kept.h"
#include "native/pool.h"
#include "native/shared.h"
#include "native/verify.h"

#define CHUNK_PAGES 512u
#define CHUNK_WORDS (CHUNK_PAGES / 64)

/*
 * Is there a record of a chunk? It is set up when it is first asked for: a registration does not touch hundreds of
 * them. Until then all pages have one right.
 */
enum fl_chunk_state {
	CHUNK_SET_UP,
	CHUNK_NEW, /* + an enum fl_right: of the host's */
};

/* Whose a chunk is. All of these are small, so that an extent costs little before it is used. */
struct home {
	uint64_t vbase;	    /* [m][a] address of page 0; 0: unused */
	uint16_t used;	    /* [m] pages that belong to a mapping */
	uint16_t first, nr; /* [m] the pages that the extent has of it */
	uint16_t state;	    /* [a] enum fl_chunk_state */
};

/* Letters as in mm/types.h, and [b] fl_vma.cache_lock of the mapping that has the page: cache.c. */
struct chunk {
	_Alignas(512) struct fl_shared_file *file; /* [m] the direct map has its pages here, not the pool's; NULL */
	uint64_t index;				   /* [m] the file's page that page 0 would be, modulo 2^64 */
	uint16_t splits;			   /* [a] borders between host rights inside it */
	uint64_t active[CHUNK_WORDS]; /* [b] the host mapping carries rights, and a marker where the page is hidden */
	uint64_t shown[CHUNK_WORDS];  /* [b] the program reaches the page */
	uint64_t writable[CHUNK_WORDS]; /* [b] the host mapping of the page is writable (whether shown or hidden) */
	uint64_t resident[CHUNK_WORDS]; /* [p] the pool may hold memory for it */
	uint64_t mapped[CHUNK_WORDS];	/* [p] the direct map has it */
	uint64_t open[CHUNK_WORDS];	/* [m] the direct map lets in */
	uint64_t owned[CHUNK_WORDS];	/* [m] released: was the program's own, not the shared zeros */
};

/* Letters as in mm/types.h. */
struct fl_native {
	struct fl_mm mm;
	struct chunk *chunks;		     /* [c] for every 2 MiB of the direct map, as far as there are sections */
	struct home *homes;		     /* [c] one for each chunk */
	uint64_t records_len[FL_NR_RECORDS]; /* [m] bytes of homes, chunks, folios that have memory */
	uint64_t nr_chunks;		     /* [c] the most there may be */
	struct fl_section sections[FL_SECTIONS]; /* [m] */
	unsigned nr_sections;			 /* [m] */
	uint64_t next_chunk;			 /* [m] where the next section begins */
	struct fl_mutex window_lock;		 /* fl_window_open() */
	struct fl_mutex records_lock;		 /* fl_chunk_set_up() */
	uint32_t adopting;	  /* [a] adoptions in progress: what they hide may be in no mapping yet */
	uint32_t undone;	  /* [a] adoptions that failed after they had hidden something */
	uint64_t chunks_end;	  /* [a] no chunk from here on was ever used */
	uint64_t top;		  /* [m] no chunk from here on is used */
	uint64_t cursor;	  /* [m] where to look for free chunks next */
	uint64_t used_chunks;	  /* [m] */
	struct fl_host_map asked; /* [m] what fit() was told, for the adopt() that follows; end 0: nothing */
	uint64_t stale;		  /* [a] pages whose memory is kept for the next fill */
	uint64_t stale_max;	  /* [a] the most of them */
	uint32_t pieces_off;	  /* [a] fills until the host is asked again for 2 MiB in one piece */
	bool in_place;		  /* [c] memory stays where it is when no frames are needed */
	bool guard;		  /* [c] hide by guard markers; otherwise by protection alone */
	uint64_t splits;	  /* [a] sum over the chunks */
	uint64_t budget;	  /* [c] the most that `splits` may be */
	uint64_t hand;		  /* [a] where eviction continues */
	bool advice; /* [a] the program has given advice that is a flag for memory that is not registered */
	bool ready;  /* [a] */
};

extern struct fl_native fl_native;

/* The state of a chunk without a record whose pages have this right. */
static inline uint16_t chunk_new(enum fl_right right)
{
	return (uint16_t)((unsigned)CHUNK_NEW + (unsigned)right);
}

static inline struct home *home_of(uint64_t pfn)
{
	return &fl_native.homes[pfn / CHUNK_PAGES];
}

/* The right that the host gives to all pages of a chunk that has no record yet; -1: it has one. */
static inline int new_right(uint64_t pfn)
{
	return (int)fl_max(__atomic_load_n(&home_of(pfn)->state, __ATOMIC_ACQUIRE), CHUNK_NEW - 1) - CHUNK_NEW;
}

static inline bool is_set_up(const struct home *home)
{
	return __atomic_load_n(&home->state, __ATOMIC_ACQUIRE) == CHUNK_SET_UP;
}

/*
 * Set up the record of a chunk, if no other thread has by now. Nothing in it can fail: the memory is there. => the
 * chunk is a mapping's, which is pinned, or mmap_lock is held
 */
void fl_chunk_set_up(struct home *home, struct chunk *c);

static inline struct chunk *chunk_of(uint64_t pfn)
{
	struct chunk *c = &fl_native.chunks[pfn / CHUNK_PAGES];

	if (unlikely(!is_set_up(home_of(pfn))))
		fl_chunk_set_up(home_of(pfn), c);
	return c;
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

/* Install the handler of SIGSEGV, also again: sigview.h. 0 or -errno */
int fl_fault_entry_install(void);
/*
 * Has an adoption been undone since this thread last asked? An access or a system call that it had refused finds no
 * mapping then, and is worth repeating.
 */
bool fl_native_undone(void);

/* The one instance; the first call creates it. 0, -ENOMEM, -ENOSYS */
int fl_native_init(void);
/*
 * Is addr inside the span of registered ranges? Cheap, no lock: a first check for calls that mostly do not concern
 * faultline.
 */
bool fl_native_touches(uint64_t start, uint64_t end);

/*
 * Around fork(): everything stands still, and the child gets a pool of its own. -ENOMEM, -EMFILE, -ENFILE. => no lock
 * held; between prepare and the other two the caller does nothing but fork
 */
int fl_fork_prepare(void);
bool fl_fork_parent(int32_t pid); /* false: there is no child (pid: negative), or it has ended for want of memory */
void fl_fork_child(void);

#endif
