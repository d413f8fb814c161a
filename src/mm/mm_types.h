/* SPDX-License-Identifier: MIT */
/*
 * mm_types.h - the data of the memory manager: address space, mapping, page-table entry, folio. The letter beside a
 * field
 * is the lock that protects it: [m] mmap_lock, [p] the page-table lock of the address, [c] constant once created,
 * [a] atomic.
 */
#ifndef FL_MM_MM_TYPES_H
#define FL_MM_MM_TYPES_H

#include "base/list.h"
#include "base/lock.h"
#include "base/types.h"

struct fl_mm;
struct fl_mmu_ops;
struct fl_uffd_ctx;

/* ---- page-table entries: mm/pte.h has their constructors and predicates ---- */

typedef struct {
	uint64_t val;
} fl_pte_t;

#define FL_PFN_NONE UINT64_MAX

/* ---- mappings ---- */

#define VM_READ		0x01u
#define VM_WRITE	0x02u
#define VM_EXEC		0x04u
#define VM_ACCESS	(VM_READ | VM_WRITE | VM_EXEC)
#define VM_UFFD_MISSING 0x10u
#define VM_UFFD_WP	0x20u
#define VM_UFFD		(VM_UFFD_MISSING | VM_UFFD_WP)
/* Native: once registered, now not; the host serves it without faults and the tables hold nothing for it. */
#define VM_RELEASED	0x100u
#define VM_DONTFORK	0x200u
#define VM_WIPEONFORK	0x400u
#define VM_LOCKED	0x800u

struct fl_vma {
	uint64_t start, end;	 /* [m] */
	uint64_t pgoff;		 /* [m] page offset in the backing; merging mappings must be contiguous in it too */
	uint32_t flags;		 /* [m] VM_* */
	uint32_t vm_page_prot;	 /* [m] VM_ACCESS bits that an entry may carry at most; computed from flags only */
	struct fl_uffd_ctx *ctx; /* [m] the userfaultfd object, when a VM_UFFD flag is set */
};

/* ---- folios: one for every page frame of the pool ---- */

struct fl_folio {
	int32_t refcount; /* [a] users; 0 is free */
	int32_t mapcount; /* [a] page-table entries that map it */
};

/* The "physical memory": frames are named by number, and `base` maps all of them, always, read-write. */
struct fl_pool {
	char *base;		 /* [c] */
	uint64_t nr_frames;	 /* [c] */
	struct fl_folio *folios; /* [c] indexed by pfn */
};

/* ---- address spaces ---- */

#define FL_PT_LOCKS 64

struct fl_mm {
	struct fl_rwlock mmap_lock;
	struct fl_mutex pt_lock[FL_PT_LOCKS]; /* by address / 2 MiB */

	struct fl_vma **vmas; /* [m] sorted, disjoint */
	uint32_t nr_vmas;     /* [m] */
	uint32_t cap_vmas;    /* [m] */
	struct fl_vma *spare; /* [m] allocated ahead, so that splitting cannot fail */
	uint32_t nr_spare;    /* [m] */

	uint64_t *pgd; /* [c]; the tables below are added atomically and freed under mmap_lock for writing */

	struct fl_pool pool;
	const struct fl_mmu_ops *ops; /* [c] the backend */
	void *backend;		      /* [c] its data */

	struct fl_mutex uffd_lock;   /* the list of objects and the waits below */
	struct fl_list uffds;	     /* open userfaultfd objects */
	struct fl_list waits[64];    /* threads that wait in a fault, by thread id */

	uint64_t metadata; /* [a] bytes */
};

#endif
