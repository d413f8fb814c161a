/* SPDX-License-Identifier: MIT */
/*
 * fill.h - filling missing pages: UFFDIO_COPY, UFFDIO_ZEROPAGE and UFFDIO_CONTINUE below the ABI.
 * "=>" states a precondition: locks held, signals blocked.
 */
#ifndef FL_MM_FILL_H
#define FL_MM_FILL_H

#include "mm/types.h"

struct fl_fill {
	uint64_t dst, len;
	uint64_t src; /* client memory; without meaning when `zero` */
	bool zero;
	bool cached;	  /* CONTINUE: nothing is filled; the page is in the file's cache */
	bool src_is_host; /* src is an address of this process, whatever the address space */
	bool wp;	  /* install write-protected */
};

/*
 * Fill [dst + *done, dst + len), page by page, until something stops it; *done grows by the bytes filled. 0, or
 * -errno: -ENOENT (what is left is not inside one registered mapping), -EEXIST (an entry is there), -ENOMEM, -EFAULT
 * (the source faults at *src_fault: the caller makes it present, with no lock held, and calls again), -EINVAL (wp
 * without VM_UFFD_WP).
 * => no lock held, signals blocked
 */
int fl_fill_range(struct fl_mm *mm, const struct fl_fill *fill, uint64_t *done, uint64_t *src_fault);

#endif
