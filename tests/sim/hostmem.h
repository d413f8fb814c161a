/* SPDX-License-Identifier: MIT */
/*
 * hostmem.h - the memory of a small host, in place of the operating system's: files, what is mapped at the lowest
 * addresses, and what an access finds there. hostmem.c has the state and changes it, host.c the calls that do so.
 *
 * Some pages are watched: those of the two regions (world.h). They are things of their own to the scheduler, and
 * whenever the host begins to show more of one, it is asked whether it may.
 */
#ifndef SIM_HOSTMEM_H
#define SIM_HOSTMEM_H

#include "native/native.h"

#include "world.h"

#define HOST_CHUNKS   16u /* 2 MiB each: the addresses that exist, and the longest file */
#define HOST_END      (HOST_CHUNKS * PMD_SIZE)
#define HOST_WORDS    (HOST_CHUNKS * CHUNK_WORDS)
#define HOST_FILES    4u
#define HOST_MAPPINGS 64u
#define HOST_FRAMES   32u
#define HOST_FD	      900 /* the first descriptor */

struct host_file {
	bool used;
	uint64_t size;
	char *mem;   /* its pages; zeros where it has none */
	int backing; /* the same as a file of the exploring process */
	uint64_t present[HOST_WORDS];
};

struct host_mapping {
	uint64_t start, end, offset;
	struct host_file *file; /* NULL: anonymous memory */
	int prot;
	bool shared;
};

/* A present private page. */
struct host_frame {
	uint64_t addr;
	bool zero; /* the page of zeros that all share */
	char mem[PAGE_SIZE];
};

/* A process. */
struct host_memory {
	struct host_mapping map[HOST_MAPPINGS]; /* sorted; similar neighbours are merged */
	unsigned nr;
	uint64_t guard[HOST_WORDS], mapped[HOST_WORDS]; /* by page: a marker; a file's page in the page tables */
	unsigned nr_frames;
	struct host_frame frame[HOST_FRAMES];
};

extern struct host_memory host;
/* Where the direct map is to be, and room for the records of its chunks behind it. */
extern char *host_direct;
#define HOST_WINDOW  (1ull << 30)
#define HOST_RECORDS (64ull << 20)

void host_memory_reset(void);
/* The whole host, at the beginning of a schedule (host.c). How many descriptors are open? */
void host_begin(void);
unsigned host_open_fds(void);

/*
 * A watched page is unmapped, and another mapped at its place, by instructions of the program's that nobody sees: the
 * mapping stays as it is until the program unmaps it in sight, or is about to be changed.
 */
void host_unseen(uint64_t addr, bool stays);

/* What the child of a fork does first (native_world.c). */
void native_child(void);

/* ---- files ---- */

struct host_file *host_file_new(void);
void host_file_free(struct host_file *f);
bool host_file_has(const struct host_file *f, uint64_t page);
/* The page is there from now on, or no longer. */
void host_file_add(struct host_file *f, uint64_t page);
void host_file_drop(struct host_file *f, uint64_t first, uint64_t end);
unsigned host_file_pages(const struct host_file *f);
/* The file is the pool, all of which is in the direct map; NULL: there is none. */
void host_set_pool(struct host_file *f);
struct host_file *host_pool(void);
/* The direct map lets in to [at, at + len), or not; does it, all over a page? */
void host_open_direct(const char *at, uint64_t len, bool open);
bool host_direct_is_open(const void *at);
/* The direct map has nothing there any longer. */
void host_unmap_direct(const char *at);
/* The direct map has the file's pages from `page` on. */
void host_map_direct(char *at, uint64_t len, struct host_file *f, uint64_t offset);
/* What the direct map has at an address of this process: *page of a file; NULL: it is another address. */
struct host_file *host_direct_file(const void *at, uint64_t *page);

/* ---- what is mapped ---- */

/* The first mapping that ends above addr; NULL: there is none. */
struct host_mapping *host_find(uint64_t addr);
struct host_mapping *host_at(uint64_t addr);
/* Is all of it mapped, or nothing? */
bool host_all_mapped(uint64_t start, uint64_t end);
bool host_none_mapped(uint64_t start, uint64_t end);
/* The lowest free place. 0: there is none */
uint64_t host_place(uint64_t len);
/* => the range is free */
void host_insert(const struct host_mapping *m);
void host_unmap(uint64_t start, uint64_t end);
/* => all of it is mapped */
void host_set_prot(uint64_t start, uint64_t end, int prot);
void host_set_guards(uint64_t start, uint64_t end, bool guard);
/* Pages leave the page tables: private ones are lost. */
void host_drop(uint64_t start, uint64_t end);
/* Private pages, file pages and markers go from one place to another. */
void host_move_pages(uint64_t from, uint64_t len, uint64_t to);
/* Pairs of neighbours in what one mapping of the engine's has of 2 MiB that differ in their rights. */
unsigned host_borders(void);
/* Is a file's page in the page tables? */
bool host_is_mapped(uint64_t addr);
/* A private page that is there, or NULL. */
struct host_frame *host_frame_at(uint64_t addr);

/* ---- accesses ---- */

/*
 * The page at addr as an access finds it, which makes it present. NULL: it faults; *sigbus: because it is beyond the
 * end of a file.
 */
char *host_page(uint64_t addr, bool write, bool *sigbus);

/* ---- for the scheduler ---- */

/* The thing that stands for the page, or for all pages of its 2 MiB that are not watched. */
const void *host_thing(uint64_t addr);
/* A call looks at [start, end), or changes it. */
void host_touch(uint64_t start, uint64_t end, bool change);
/* The same for the table of mappings. */
void host_touch_table(bool change);
void host_touch_file(const struct host_file *f, uint64_t first, uint64_t end, bool change);
/* Something about [start, end) has changed: is no more shown than allowed? */
void host_changed(uint64_t start, uint64_t end);
/* Does the program reach any page of the file's part? */
bool host_file_shown(const struct host_file *f, uint64_t first, uint64_t end);
/* => nothing is pinned, and mmap_lock not held */
void host_check(void);
/* A name for a thing; writes nothing if it is none of the host's. */
void host_name(const void *what, char *name, size_t size);

#endif
