/* SPDX-License-Identifier: MIT */
/*
 * world.h - what scenarios are made of: two address spaces with their objects, loads and stores, and the calls of a
 * fault handler. A page holds one 64-bit value throughout, so that a half-written page is seen.
 *
 * Each scenario runs on several backends. `soft` is src/soft as it is, where every access walks the page tables.
 * `mmu` has a cache of rights, as the native backend has in the host's page tables: an access it grants takes no
 * lock, any other is a fault. What a fill reads with page faults disabled is read through that cache, the other
 * space's included. It is the simplest cache possible, and makes src/mm keep I8. On the others space A is the
 * process's own: src/native as it is, over a small host (hostmem.h) in place of the operating system.
 */
#ifndef WORLD_H
#define WORLD_H

#include "abi/abi.h"
#include "soft/soft.h"

#include "sim.h"

/* Two regions of four pages, 2 MiB apart, so with different page-table locks. Low addresses, for host.c. */
#define REGION_PAGES 4u
#define NR_REGIONS   2u
#define REGION(i)    ((1 + (i)) * PMD_SIZE)
#define PAGE(i)	     (REGION(0) + (i)*PAGE_SIZE)
#define FAR_PAGE(i)  (REGION(1) + (i)*PAGE_SIZE)
#define REGION_SIZE  (REGION_PAGES * PAGE_SIZE)
#define ELSEWHERE    (8 * PMD_SIZE)
#define OTHERS(addr) ((addr) | 1ull << 46) /* as a copy's source: in the other space (mmu only) */

/* What an access got instead of a value. */
#define GOT_SEGV   (UINT64_MAX - 1)
#define GOT_SIGBUS (UINT64_MAX - 2)

struct cached {
	enum fl_right right;
	uint64_t pfn;
};

struct space {
	const char *name;
	struct fl_mm *mm;
	bool live;		 /* it is complete, and not being destroyed */
	struct fl_soft *soft;	 /* what it is, natively NULL */
	struct fl_uffd_ctx *ctx; /* NULL: there is none, or it was closed */
	struct fl_shmem *shmem;	 /* mapped in region 0, if it is shared; natively a descriptor */
	int fd;
	bool readable;				       /* the object's descriptor */
	uint32_t edges;				       /* futex: moves with it */
	struct cached cache[NR_REGIONS][REGION_PAGES]; /* mmu */
};

extern struct space a, b;

/* How spaces of a kind are made and accessed. Their calls are those of struct fl_space. */
struct world {
	void (*begin)(void); /* of a schedule; optional */
	void (*make)(struct space *s);
	/* A shared file of REGION_SIZE, mapped in region 0; -errno */
	int64_t (*map_file)(struct space *s);
	int64_t (*write_file)(struct space *s, const void *page, unsigned index);
	int (*truncate_file)(struct space *s, uint64_t size);
	int (*punch_file)(struct space *s, uint64_t offset, uint64_t len);
	int (*fork)(struct space *parent, struct space *child);
	/* A whole page, read or written. 0, or what it got */
	uint64_t (*access)(struct space *s, uint64_t addr, uint64_t *page, bool write);
	/* The page as the hardware gives it. NULL: a fault; *fault is FL_SIGBUS if there is nothing to resolve */
	char *(*page)(struct space *s, uint64_t addr, bool write, enum fl_fault *fault);
	/* What fills copy from, of soft spaces. */
	const struct fl_source *source;
	/* For world_memory() and world_fault_in(); optional: what the engine copies is memory of no space. */
	void *(*memory)(const void *at, bool write);
	bool (*fault_in)(const void *at, bool write);
	/* Optional: is an access worth repeating for which there is no mapping? */
	bool (*again)(void);
	/* => nothing in the space is pinned, and mmap_lock is not held */
	void (*verify)(struct space *s);
	void (*shrink)(struct space *s); /* only natively: the program's own mmap() has found the host's table full */
	void (*destroy)(struct space *s);
	void (*end)(struct space *s); /* destroys it and looks for what is left; also of one that was never made */
	void (*name)(const void *what, char *name, size_t size);
};

struct backend {
	const char *name;
	const struct world *world;
	bool mmu;	 /* accesses go through a cache of rights */
	bool host;	 /* of the native backend, in the host's page tables */
	bool guard;	 /* by guard markers, or by protection alone */
	bool in_place;	 /* memory stays where it is when no frames are needed */
	uint64_t budget; /* of mappings that the host splits; 0: each split evicts all others */
	bool no_room;	 /* the host splits none: ENOMEM */
};

extern const struct backend soft_backends[], native_backends[];
extern const unsigned soft_nr_backends, native_nr_backends;
extern const struct backend *world_backend;
/* The first with *i 0, then those after it. false: there are no more */
bool world_next_backend(unsigned *i);

struct space *space_of(const struct fl_mm *mm);
struct space *other_space(const struct space *s);
/* struct world's access(), by its page() and the fault path. */
uint64_t access_by_page(struct space *s, uint64_t addr, uint64_t *page, bool write);
uint64_t got(enum fl_fault fault);
void must(int64_t err, const char *what);
/*
 * Memory of a space that the engine copies from or to: the page at addr, or NULL if it faults. Other memory is
 * returned as it is.
 */
void *world_memory(const void *addr, bool write);
/* As a system call does: make it readable, waiting if need be. false: it cannot be */
bool world_fault_in(const void *addr, bool write);

/* A system call that writes to a page of space A; only natively. 0, -EFAULT */
int call_that_writes(uint64_t addr, uint64_t value);
/*
 * The program puts another page, of its own, at the place of a page of space A, and nobody sees it. `stays`: no call
 * of the program's is about to change that mapping. Only natively.
 */
void reuse_unseen(uint64_t addr, bool stays);

/* The record of the page's chunk gets a bit for the page, and loses it, which is whether it had it; only natively. */
void record_note(uint64_t addr);
bool record_forget(uint64_t addr);

/* ---- setting up. All pages are missing, private, readable and writable ---- */

void space_make(struct space *s);
void space_make_wide(struct space *s);	 /* one mapping from region 0 to the end of region 1 */
void space_make_shared(struct space *s); /* region 0 is a file of its size */
void space_object(struct space *s, uint32_t flags, uint64_t features);
void space_register(struct space *s, unsigned region, uint64_t mode);
/* Present pages with a value, as if a thread had stored it. */
void space_fill(struct space *s, uint64_t addr, uint64_t value);
/* A page of the shared file, in the cache only. */
void space_cache(struct space *s, unsigned index, uint64_t value);
/* The backend forgets a right, as it may at any time. */
void space_forget(struct space *s, uint64_t addr);
/* The child of a fork, in its own struct. */
void space_fork(struct space *parent, struct space *child);
void space_destroy(struct space *s);

/* ---- what threads do; what fails at a fault point is retried: nothing may be half changed ---- */

uint64_t load(struct space *s, uint64_t addr);
uint64_t store(struct space *s, uint64_t addr, uint64_t value); /* 0, or what it got */
int copy_from(struct space *s, uint64_t dst, uint64_t src, uint64_t mode);
int copy_value(struct space *s, uint64_t dst, uint64_t value, uint64_t mode); /* needs FL_CTX_SRC_HOST */
int zeropage(struct space *s, uint64_t addr);
int continue_page(struct space *s, uint64_t addr);
int writeprotect(struct space *s, uint64_t addr, bool protect);
int writeprotect_region(struct space *s, unsigned region, bool protect);
int wake_page(struct space *s, uint64_t addr);
int unregister_page(struct space *s, uint64_t addr);
int unregister_range(struct space *s, uint64_t addr, uint64_t len);
int register_pages(struct space *s, uint64_t addr, uint64_t len, uint64_t mode);
int map_page(struct space *s, uint64_t addr);
int unmap(struct space *s, uint64_t addr, uint64_t len);
int64_t map_near(struct space *s, uint64_t addr);	   /* there, or elsewhere if the place is taken */
int64_t move(struct space *s, uint64_t from, uint64_t to); /* a page; to 0: wherever there is room */
int64_t move_range(struct space *s, uint64_t from, uint64_t len, uint64_t new_len, int flags, uint64_t to);
int truncate_file(struct space *s, uint64_t pages);
int punch_file(struct space *s, unsigned index);	/* a page */
int advise(struct space *s, uint64_t addr, int advice); /* on one page */
int protect_page(struct space *s, uint64_t addr, int prot);
void close_object(struct space *s);
/* A read(): the page the message is about, or -errno. */
int64_t read_message(struct space *s);
int64_t read_object(struct fl_uffd_ctx *ctx);
/* Sleep until the descriptor is readable, as a poll() of several would, then read. */
int64_t poll_message(struct space *s);

#endif
