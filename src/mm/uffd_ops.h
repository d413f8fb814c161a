/* SPDX-License-Identifier: MIT */
/*
 * uffd_ops.h - what the memory manager says upward: the userfaultfd layer's side of what happens in an address space.
 * One table, set when the program is linked. "=>" states a precondition: locks held, signals blocked.
 */
#ifndef FL_MM_UFFD_OPS_H
#define FL_MM_UFFD_OPS_H

#include "mm/fault.h"

/* What becomes of a fault that user space was asked about. */
enum fl_answer {
	FL_ANSWER_RETRY,     /* run the access again */
	FL_ANSWER_SIGBUS,    /* as UFFD_FEATURE_SIGBUS asks, or the in-thread handler */
	FL_ANSWER_PASSED_ON, /* the in-thread handler wants a message queued: look again, with FAULT_NO_HANDLER */
};

struct fl_uffd_ops {
	/* A new address space: set up the part of it that is the layer's own, fl_mm.uffd. It begins as zeros. */
	void (*init)(struct fl_mm *mm);
	/*
	 * A fault for the object of vmf->vma, because of vmf->why. It waits as long as it takes, with no lock held.
	 * => mapping pinned, file's lock (of a file's mapping) and page-table lock of vmf->addr held; dropped, by
	 * fl_vmf_unlock()
	 */
	enum fl_answer (*fault)(struct fl_vmf *vmf);
	/*
	 * Around a fork() of the process whose memory the space is: the child gets the layer's data whole, and finds
	 * its ranges no longer registered. => mmap_lock held for writing by the caller, in the child by its parent
	 */
	void (*before_fork)(struct fl_mm *mm);
	void (*after_fork_parent)(struct fl_mm *mm);
	void (*after_fork_child)(struct fl_mm *mm);
	/*
	 * Room for events. A mapping call would say changing() before it takes mmap_lock (fills answer EAGAIN until
	 * changed()), and after it has dropped it what it has done, and wait for that to be read: removed() from
	 * soft/map.c and native/advise.c, moved() from where fl_move_entries() is called, unmapped() from
	 * fl_do_munmap()'s callers, forked() from fl_mm_copy()'s.
	 */
};

extern const struct fl_uffd_ops fl_uffd_ops; /* uffd/ops.c */

#endif
