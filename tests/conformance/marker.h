/* SPDX-License-Identifier: MIT */
/* marker.h - for the cases of UFFD_FEATURE_WP_UNPOPULATED: memory that is protected before it is present. */
#ifndef CONFORMANCE_MARKER_H
#define CONFORMANCE_MARKER_H

#include "conformance.h"

#define FEATURE FL_UFFD_FEATURE_WP_UNPOPULATED
#define SET	FL_UFFDIO_WRITEPROTECT_MODE_WP
#define BOTH	(MISSING | WP)
#define WRITE	FL_UFFD_PAGEFAULT_FLAG_WRITE
#define TRAPPED (FL_UFFD_PAGEFAULT_FLAG_WP | FL_UFFD_PAGEFAULT_FLAG_WRITE)

/* Registered memory, never touched, all of it protected. */
static inline struct area marked(unsigned pages, uint64_t mode)
{
	struct area a = area(pages, mode, FEATURE);

	CHECK_OK(protect(a.u, a.mem, pages * PAGE, SET));
	return a;
}

/* The same, but page 1 was present and holds 7. */
static inline struct area marked_but_one(unsigned pages, uint64_t mode)
{
	struct area a = area(pages, mode, FEATURE);

	fill(a.u, a.mem + PAGE, 1, 7);
	CHECK_OK(protect(a.u, a.mem, pages * PAGE, SET));
	return a;
}

/* For cases that are the same in both modes. */
static const uint64_t modes[] = {WP, BOTH};

#endif
