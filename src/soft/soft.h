/* SPDX-License-Identifier: MIT */
/*
 * soft.h - the software MMU: address spaces whose loads and stores are calls.
 *
 * The cache of rights that this backend keeps is empty: every access walks the page tables, under the page-table lock
 * that a
 * change of the entry would take. So no right can be stale, and an access inside one page is never torn by a fill.
 */
#ifndef FL_SOFT_SOFT_H
#define FL_SOFT_SOFT_H

#include "mm/mm.h"

struct fl_soft {
	struct fl_mm mm;
	struct fl_mutex lock; /* rank BACKEND: the free frames */
	uint64_t free;	      /* [b] head of the free list, linked through the frames' memory; FL_PFN_NONE: empty */
	uint64_t fresh;	      /* [b] frames from here on were never used */
};

/* -ENOMEM */
int fl_soft_create(uint64_t bytes, struct fl_soft **soft);
void fl_soft_destroy(struct fl_soft *soft);

/* ---- access.c ---- */

/*
 * Copy between client memory and a buffer of this process, page by page. Returns FL_DONE, FL_SEGV or FL_SIGBUS;
 * *done is how much was copied. `fault_flags`: FAULT_WRITE for a store, FAULT_KERNEL on behalf of a system call.
 * `sigmask`: what is blocked while it waits; NULL: all is left as it is.
 * => no lock held, signals blocked
 */
enum fl_fault fl_soft_access(struct fl_mm *mm, uint64_t addr, void *buf, size_t len, uint32_t fault_flags,
			     const uint64_t *sigmask, size_t *done);

/* ---- map.c: mmap(2) and its siblings; addresses or 0, or -errno ---- */

int64_t fl_soft_mmap(struct fl_mm *mm, uint64_t addr, uint64_t len, int prot, int flags);
int fl_soft_munmap(struct fl_mm *mm, uint64_t addr, uint64_t len);
int fl_soft_mprotect(struct fl_mm *mm, uint64_t addr, uint64_t len, int prot);
int64_t fl_soft_mremap(struct fl_mm *mm, uint64_t addr, uint64_t old_len, uint64_t new_len, int flags,
		       uint64_t new_addr);
int fl_soft_madvise(struct fl_mm *mm, uint64_t addr, uint64_t len, int advice);

#endif
