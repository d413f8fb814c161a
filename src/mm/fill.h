/* SPDX-License-Identifier: MIT */
/*
 * fill.h - filling missing pages: UFFDIO_COPY, UFFDIO_ZEROPAGE and UFFDIO_CONTINUE below the ABI.
 * "=>" states a precondition: locks held, signals blocked.
 */
#ifndef FL_MM_FILL_H
#define FL_MM_FILL_H

#include "mm/types.h"

enum fl_fill_kind {
	FL_FILL_COPY,	  /* with what the source has */
	FL_FILL_ZERO,	  /* with zeros */
	FL_FILL_CONTINUE, /* nothing is written: the backing has the page */
			  /* POISON would be one more: a marker in place of a page */
};

struct fl_fill {
	enum fl_fill_kind kind;
	uint64_t dst, len;
	const struct fl_source *source; /* COPY: of the bytes, and their address there */
	uint64_t src;
	bool wp; /* install write-protected */
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
