/* SPDX-License-Identifier: MIT */
/*
 * fault.h - one fault of a load or store.
 * "=>" states a precondition: locks held, signals blocked.
 */
#ifndef FL_MM_FAULT_H
#define FL_MM_FAULT_H

#include "mm/types.h"

#define FAULT_WRITE	 0x1u
#define FAULT_KERNEL	 0x2u  /* on behalf of a system call */
#define FAULT_NO_HANDLER 0x4u  /* the in-thread handler has passed this one on */
#define FAULT_EXEC	 0x10u /* of an instruction itself */
#define FAULT_NOWHERE	 0x8u  /* the host says that nothing is mapped there: no right was in the way */

enum fl_fault {
	FL_DONE,    /* run the access again */
	FL_FOREIGN, /* no registered memory: what the host would do */
	FL_SEGV,    /* the mapping forbids it; or, vmf->nowhere, the page is guarded */
	FL_SIGBUS,  /* behind the end of a file; no memory; or as user space wants it */
};

/* Why user space is asked. */
enum fl_why { FL_WHY_MISSING, FL_WHY_MINOR, FL_WHY_WP };

struct fl_vmf {
	struct fl_mm *mm;
	uint64_t addr;
	uint32_t flags;
	const uint64_t *sigmask; /* the signals that are blocked while the thread waits; NULL: leave them */
	/* set on the way, for the userfaultfd layer */
	struct fl_vma *vma;
	enum fl_why why;
	bool hinted;	/* the access sampler's hint was in the way */
	bool delivered; /* user space has had this fault */
	bool released;	/* FL_DONE because the host serves the mapping alone */
	bool nowhere;	/* FL_SEGV as if nothing was mapped there */
};

/* Drop what a fault holds when it asks the userfaultfd layer: page-table lock, file's lock, the pin. */
void fl_vmf_unlock(struct fl_vmf *vmf);

/* Resolve one fault, waiting as long as it takes. => no lock held, signals blocked as fl_signals_block() does */
enum fl_fault fl_handle_mm_fault(struct fl_vmf *vmf);

#endif
