/* SPDX-License-Identifier: MIT */
/*
 * faultpoint.h - named places where an allocation or a host call can be made to fail. One line in the table, one
 * `if (fl_fail(FL_FP_X)) return -ENOMEM;` at the place; tests sweep over the whole table.
 */
#ifndef FL_HOST_FAULTPOINT_H
#define FL_HOST_FAULTPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* X(symbol, name, what fails) */
#define FL_FAULTPOINTS(X)                                                                                            \
	X(MM, "alloc.mm", "memory for a soft address space")                                                         \
	X(VMA, "alloc.vma", "memory for a mapping")                                                                  \
	X(VMA_TABLE, "alloc.vma_table", "memory for the table of mappings")                                          \
	X(PGTABLE, "alloc.pgtable", "memory for a page table")                                                       \
	X(CTX, "alloc.uffd", "memory for a userfaultfd object")                                                      \
	X(WAIT, "alloc.wait", "memory for a waiting fault: it faults again")                                         \
	X(FRAME, "alloc.frame", "a page frame")                                                                      \
	X(FILE, "alloc.file", "a file in shared memory")                                                             \
	X(CACHE, "alloc.cache", "a table of its page cache")                                                         \
	X(SWAP, "alloc.swap", "a slot of the swap area of a soft address space: the page stays")                     \
	X(SWAP_READ, "swap.read", "reading a page back from it")                                                     \
	X(EXTENT, "alloc.extent", "addresses of the pool for a registered range")                                    \
	X(POOL, "host.pool", "the pool of page frames")                                                              \
	X(FILL, "host.fill", "writing a page frame")                                                                 \
	X(ADOPT, "host.adopt", "taking over the memory of a range that is registered")                               \
	X(KEEP, "host.keep", "a descriptor of shared memory that is mapped: it may not be registered")               \
	X(LOOK, "host.look", "looking whether such memory is mapped still: the descriptor stays for the time being") \
	X(MAPS, "host.maps", "reading /proc/self/maps")                                                              \
	X(PROTECT, "host.mprotect", "mprotect(2) on a range that is registered")                                     \
	X(GUARD, "host.guard", "guard markers")                                                                      \
	X(COLLAPSE, "host.collapse", "2 MiB of a shared file that are to be one piece")                              \
	X(SOCKET, "host.socket", "the descriptor of an object")                                                      \
	X(FORK, "host.fork", "what a fork() needs")

enum fl_faultpoint {
#define FL_FP_ENUM(sym, name, text) FL_FP_##sym,
	FL_FAULTPOINTS(FL_FP_ENUM)
#undef FL_FP_ENUM
		FL_NR_FAULTPOINTS,
	FL_FP_NONE = FL_NR_FAULTPOINTS, /* for functions that are told which one: none */
};

/* true: fail here now. Any thread, async-signal-safe. */
bool fl_fail(enum fl_faultpoint fp);

/* Skip `after` hits, then fire at `times` of them: 0 is disarmed, UINT32_MAX for good. */
struct fl_countdown {
	uint32_t after, times; /* [a] */
};

/* One more hit: does this one fire? Exact with any number of threads; async-signal-safe. */
bool fl_countdown_fires(struct fl_countdown *c);
/* From now on. A hit of another thread at this moment may count as one of before or of after. */
void fl_countdown_set(struct fl_countdown *c, uint32_t after, uint32_t times);

static inline bool fl_countdown_armed(const struct fl_countdown *c)
{
	return __atomic_load_n(&c->times, __ATOMIC_ACQUIRE);
}

/* see the functions of the same names in faultline.h; here -errno */
int fl_fp_set(const char *name, uint32_t after, uint32_t times);
const char *fl_fp_name(unsigned index);
int fl_fp_count(const char *name, uint64_t *hits, uint64_t *failed);

#endif
