/* SPDX-License-Identifier: MIT */
/*
 * types.h - the data of the memory manager: address space, mapping, page-table entry, folio. The letter beside a
 * field is the lock that protects it: [m] mmap_lock, or, to read it, a pin on the mapping (fl_vma_pin()); [s] the
 * same, and also read without any lock, under vma_seq; [f] the file's lock, [p] the page-table lock of the address,
 * [c] constant once created, [a] atomic.
 */
#ifndef FL_MM_TYPES_H
#define FL_MM_TYPES_H

#include "base/entry.h"
#include "base/list.h"
#include "base/lock.h"
#include "base/types.h"

struct fl_mm;
struct fl_mmu_ops;
struct fl_file;
struct fl_file_ops;
struct fl_memory_kind;
struct fl_source;
struct fl_uffd_ctx;

/*
 * ---- page-table entries: mm/pte.h has their constructors and predicates ----
 *
 * An entry of the lowest level maps a page; one of the level above (a PMD entry) is a table of the lowest level, or a
 * leaf, which maps 512 pages at once and has the same bits.
 */

typedef struct {
	uint64_t val;
} fl_pte_t;

typedef struct {
	uint64_t val;
} fl_pmd_t;

#define FL_PFN_NONE UINT64_MAX

/* ---- mappings ---- */

#define VM_READ		0x01u
#define VM_WRITE	0x02u
#define VM_EXEC		0x04u
#define VM_ACCESS	(VM_READ | VM_WRITE | VM_EXEC)
#define VM_UFFD_MISSING 0x10u
#define VM_UFFD_WP	0x20u
#define VM_UFFD_MINOR	0x40u
#define VM_UFFD		(VM_UFFD_MISSING | VM_UFFD_WP | VM_UFFD_MINOR)
/* Native: once registered, now not; the host serves it without faults and the tables hold nothing for it. */
#define VM_RELEASED	0x100u
#define VM_DONTFORK	0x200u
#define VM_WIPEONFORK	0x400u
#define VM_LOCKED	0x800u
#define VM_SHARED	0x1000u
#define VM_HUGEPAGE	0x2000u
#define VM_NOHUGEPAGE	0x10000u
/* All of the mapping counts as soft-dirty: it is new. Cleared, with the entries' bits, when tracking begins. */
#define VM_SOFTDIRTY	0x4000u
#define VM_SAMPLED	0x8000u	 /* the access sampler watches it: entries get the hint */
#define VM_GONE		0x20000u /* is being unmapped, and nothing is left of it in the backend: fl_munmap_gone() */
/*
 * Native: the host's own private memory is still there. Entries stand only where something is to be known of a page;
 * an absent one grants what the mapping allows: fl_absent_right().
 */
#define VM_IN_PLACE	0x40000u
/* In place, and the host has all of its pages: none can be missing, so that none has to be hidden. */
#define VM_WHOLE	0x80000u
/* Other advice. */
#define VM_DONTDUMP	0x100000u
#define VM_SEQ_READ	0x200000u
#define VM_RAND_READ	0x400000u
/* What does not keep two mappings from being one to the program. */
#define VM_UNSEEN	(VM_SOFTDIRTY | VM_SAMPLED | VM_IN_PLACE | VM_WHOLE)

struct fl_vma {
	fl_entry_word start, end; /* [s]; of a file's mapping also changed with [f] held */
	uint64_t pgoff;		  /* [m] page offset in the backing; merging mappings must be contiguous in it too */
	uint32_t flags;		  /* [m] VM_*; of a file's mapping also changed with [f] held */
	uint32_t vm_page_prot;	  /* [m] what an entry grants: VM_ACCESS, without VM_WRITE where writes are noted */
	struct fl_uffd_ctx *ctx;  /* [m] the userfaultfd object, when a VM_UFFD flag is set */
	const struct fl_memory_kind *kind; /* [m] what is behind it: mm/kind.h */
	struct fl_file *file;		   /* [m] whose pages it maps; NULL: no file's */
	uint64_t index;			   /* [m][f] of the file's page at `start` */
	struct fl_mm *mm;		   /* [c] */
	struct fl_pins pins;		   /* [a] faults, fills and accesses in progress in it */
	struct fl_rwlock cache_lock;	   /* the backend's, for what it caches of the mapping */
	struct fl_list by_file;		   /* [f] in file->vmas */
	uint64_t unmapped;		   /* [f] the turn of fl_unmap_mapping() that has been here last */
};

/* ---- files: pages that several mappings may have, each at its place (mm/file.h) ---- */

struct fl_file {
	const struct fl_file_ops *ops; /* [c] */
	struct fl_mutex lock;	       /* rank FILE: the page cache, and which mappings are where */
	struct fl_list vmas;	       /* [f] of whatever address space */
	uint32_t refs;		       /* [a] mappings, and other users */
};

/* ---- folios: one for every page frame of the pool ---- */

struct fl_folio {
	int32_t refcount;	 /* [a] users; 0 is free */
	int32_t mapcount;	 /* [a] page-table entries that map this page */
	struct fl_file *mapping; /* [f] whose page cache it is in; of a tail page of a large folio: not to be asked */
	uint16_t order;		 /* [f] of the head of a large folio: 1 << order pages */
	uint16_t tail;		 /* [f] of its other pages: how far behind the head */
};

/* The "physical memory": frames are named by number, and `base` maps all of them, always, read-write. */
struct fl_pool {
	char *base;		 /* [c] */
	uint64_t nr_frames;	 /* [c] */
	struct fl_folio *folios; /* [c] indexed by pfn */
};

/* ---- address spaces ---- */

#define FL_PT_LOCKS   64
#define FL_UFFD_SPACE 1088 /* bytes */

/* What the access sampler costs, since the first range was sampled. [a] */
struct fl_sampling {
	uint64_t since;	   /* ns; 0: no range is sampled */
	uint64_t faults;   /* on hints */
	uint64_t fault_ns; /* spent in them */
	uint64_t entry_ns; /* what the host takes to deliver one and return */
};

struct fl_mm {
	struct fl_rwlock mmap_lock;
	struct fl_mutex pt_lock[FL_PT_LOCKS]; /* by address / 2 MiB */

	struct fl_vma **vmas; /* [s] sorted, disjoint */
	uint32_t nr_vmas;     /* [s] */
	uint32_t cap_vmas;    /* [m] */
	struct fl_seqcount vma_seq;
	fl_entry_word excl_start,
		excl_end; /* [s] the range that the holder of mmap_lock for writing changes; excl_end 0: none */
	bool excl_done;	  /* [a] all other pins in it have gone */
	struct fl_vma_table *tables; /* [m] the newest, and older ones that a reader without a lock may still use */
	struct fl_vma *spare; /* [m] allocated ahead, so that splitting cannot fail. Never freed: as with tables */
	uint32_t nr_spare;    /* [m] */

	uint64_t *pgd; /* [c]; the tables below are added atomically and freed under mmap_lock for writing */
	uint64_t *deposit[FL_PT_LOCKS]; /* [p] a table for every leaf under that lock: splitting cannot fail */

	uint32_t migrations; /* [a] futex: counts migrations that have ended */
	struct fl_sampling sampling;

	struct fl_pool pool;
	const struct fl_mmu_ops *ops; /* [c] the backend */
	void *backend;		      /* [c] its data */

	_Alignas(uint64_t) char uffd[FL_UFFD_SPACE]; /* the userfaultfd layer's: uffd/space.h */

	struct fl_pins pins; /* truncations that are about to look here: it must not go away */

	uint64_t metadata; /* [a] bytes */
};

#endif
