/* SPDX-License-Identifier: MIT */
/*
 * faultpoint.h - named places where an allocation or a host call can be made to fail. One line in the table, one
 * `if (fl_fail(FL_FP_X)) return -ENOMEM;` at the place; tests sweep over the whole table.
 */
#ifndef FL_BASE_FAULTPOINT_H
#define FL_BASE_FAULTPOINT_H

#include "base/types.h"

/* X(symbol, name) */
#define FL_FAULTPOINTS(X)                                                                                              \
	X(MM, "alloc.mm")                                                                                              \
	X(VMA, "alloc.vma")                                                                                            \
	X(VMA_TABLE, "alloc.vma_table")                                                                                \
	X(PGTABLE, "alloc.pgtable")                                                                                    \
	X(CTX, "alloc.uffd")                                                                                           \
	X(WAIT, "alloc.wait")                                                                                          \
	X(FRAME, "alloc.frame")                                                                                        \
	X(SWAP, "alloc.swap")                                                                                          \
	X(SWAP_READ, "swap.read")                                                                                      \
	X(EXTENT, "alloc.extent")                                                                                      \
	X(POOL, "host.pool")                                                                                           \
	X(FILL, "host.fill")                                                                                           \
	X(ADOPT, "host.adopt")                                                                                         \
	X(MAPS, "host.maps")                                                                                           \
	X(PROTECT, "host.mprotect")                                                                                    \
	X(GUARD, "host.guard")                                                                                         \
	X(SOCKET, "host.socket")                                                                                       \
	X(FORK, "host.fork")

enum fl_faultpoint {
#define FL_FP_ENUM(sym, name) FL_FP_##sym,
	FL_FAULTPOINTS(FL_FP_ENUM)
#undef FL_FP_ENUM
	FL_NR_FAULTPOINTS
};

/* true: fail here now. Any thread, async-signal-safe. */
bool fl_fail(enum fl_faultpoint fp);

/* see the functions of the same names in faultline.h; here -errno */
int fl_fp_set(const char *name, uint32_t after, uint32_t times);
const char *fl_fp_name(unsigned index);
int fl_fp_count(const char *name, uint64_t *hits, uint64_t *failed);

#endif
