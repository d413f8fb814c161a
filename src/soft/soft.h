/* SPDX-License-Identifier: MIT */
/*
 * soft.h - the software MMU: address spaces whose loads and stores are calls.
 *
 * The cache of rights that this backend keeps is empty: every access walks the page tables, under the page-table lock
 * that a change of the entry would take. So no right can be stale, and an access inside one page is never torn by a
 * fill.
 */
#ifndef FL_SOFT_SOFT_H
#define FL_SOFT_SOFT_H

#include "mm/mm.h"

/* ---- frames and swap slots (frames.c) ---- */

/* Numbers from 0 up, taken singly from below, or 512 consecutive ones from above. */
struct fl_numbers {
	uint64_t nr;
	uint64_t *used;	   /* a bit for each */
	uint16_t *used_in; /* of each 512 */
	uint64_t lowest;   /* no block of 512 below has a free one */
	uint64_t in_use, peak;
};

/* The memory of an address space, and of those forked from it. */
struct fl_soft_pool {
	struct fl_mutex lock;		 /* rank BACKEND */
	uint32_t users;			 /* [a] address spaces */
	struct fl_pool pool;		 /* [c] */
	struct fl_numbers frames, slots; /* [b] */
	char *swap;			 /* [c] the memory of the slots */
	uint32_t *slot_users;		 /* [b] */
};

/* One user; the last one frees it. NULL: no memory */
struct fl_soft_pool *fl_soft_pool_new(uint64_t bytes);
void fl_soft_pool_get(struct fl_soft_pool *p);
void fl_soft_pool_put(struct fl_soft_pool *p);

/* These are fl_mmu_ops. */
uint64_t fl_soft_frame_get(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr);
uint64_t fl_soft_huge_get(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr);
void fl_soft_frame_put(struct fl_mm *mm, uint64_t pfn);
bool fl_soft_frame_is_zero(struct fl_mm *mm, uint64_t pfn);
uint64_t fl_soft_swap_get(struct fl_mm *mm);
void fl_soft_swap_dup(struct fl_mm *mm, uint64_t slot);
void fl_soft_swap_free(struct fl_mm *mm, uint64_t slot);
void fl_soft_swap_write(struct fl_mm *mm, uint64_t slot, uint64_t pfn);
int fl_soft_swap_read(struct fl_mm *mm, uint64_t slot, uint64_t pfn);
uint64_t fl_soft_metadata(struct fl_mm *mm);

/* A frame, its folio counted once, and back again; for pages that no mapping asks for. FL_PFN_NONE: none left */
uint64_t fl_soft_pool_take(struct fl_soft_pool *p);
uint64_t fl_soft_pool_take_block(struct fl_soft_pool *p); /* 2 MiB of them */
void fl_soft_pool_give(struct fl_soft_pool *p, uint64_t pfn);

/* ---- shared memory (shmem.c): a file in the page cache. All: => no lock held ---- */

struct fl_shmem;
#define FL_SHMEM_MAX (1ull << 39)

/* One user; mappings are users, too. -ENOMEM */
int fl_shmem_new(struct fl_soft_pool *pool, uint64_t size, struct fl_shmem **shmem);
void fl_shmem_put(struct fl_shmem *s);
struct fl_file *fl_shmem_file(struct fl_shmem *s);
void fl_shmem_set_huge(struct fl_shmem *s, bool huge);
struct fl_shmem *fl_shmem_of(struct fl_file *file);
/* As the system calls of these names on a file: ftruncate, fallocate, pread, pwrite, lseek. -errno */
int fl_shmem_resize(struct fl_shmem *s, uint64_t size);
int fl_shmem_punch_hole(struct fl_shmem *s, uint64_t offset, uint64_t len);
int64_t fl_shmem_pread(struct fl_shmem *s, void *buf, size_t len, uint64_t offset);
int64_t fl_shmem_pwrite(struct fl_shmem *s, const void *buf, size_t len, uint64_t offset);
int64_t fl_shmem_seek_data(struct fl_shmem *s, uint64_t offset);

/* ---- address spaces (soft.c) ---- */

struct fl_soft {
	struct fl_mm mm;
	struct fl_soft_pool *pool; /* [c] */
};

/* -ENOMEM */
int fl_soft_create(uint64_t bytes, struct fl_soft **soft);
/* A copy, as by fork(2): the pool is shared. -ENOMEM. => no lock held */
int fl_soft_fork(struct fl_soft *parent, struct fl_soft **child);
void fl_soft_destroy(struct fl_soft *soft);

/* ---- access.c ---- */

/*
 * Copy between client memory and a buffer of this process, page by page. Returns FL_DONE, FL_SEGV or FL_SIGBUS; *done
 * is how much was copied. `fault_flags`: FAULT_WRITE for a store, FAULT_KERNEL on behalf of a system call. `sigmask`:
 * what is blocked while it waits; NULL: the mask stays. => no lock held, signals blocked
 */
enum fl_fault fl_soft_access(struct fl_mm *mm, uint64_t addr, void *buf, size_t len, uint32_t fault_flags,
			     const uint64_t *sigmask, size_t *done);

/* Its memory as the source of a fill (source.c). */
extern const struct fl_source fl_soft_source;

/* ---- map.c: mmap(2) and its siblings; addresses or 0, or -errno ---- */

/* `file` NULL: anonymous memory; a shared mapping of it gets a file of its own. */
int64_t fl_soft_mmap(struct fl_mm *mm, uint64_t addr, uint64_t len, int prot, int flags, struct fl_file *file,
		     uint64_t offset);
int fl_soft_munmap(struct fl_mm *mm, uint64_t addr, uint64_t len);
int fl_soft_mprotect(struct fl_mm *mm, uint64_t addr, uint64_t len, int prot);
int64_t fl_soft_mremap(struct fl_mm *mm, uint64_t addr, uint64_t old_len, uint64_t new_len, int flags,
		       uint64_t new_addr);
int fl_soft_madvise(struct fl_mm *mm, uint64_t addr, uint64_t len, int advice);
/* Move the pages of a range, all of which is mapped, to other frames. Returns how many; -EINVAL, -ENOMEM */
int64_t fl_soft_migrate(struct fl_mm *mm, uint64_t addr, uint64_t len);

#endif
