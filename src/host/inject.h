/* SPDX-License-Identifier: MIT */
/*
 * inject.h - failures on demand: the points, and the question that each place asks. base/inject.h says what is to
 * fail.
 *
 * Points are of two kinds:
 *
 *   - ABI: operations of userfaultfd(2), which fail as the kernel's may. The place asks fl_injected().
 *   - ENGINE: allocations and host calls, which fail for want of memory unless the table says otherwise; what the
 *     operation makes of that is its own. The place asks fl_fail(), and tests sweep over all of them.
 */
#ifndef FL_HOST_INJECT_H
#define FL_HOST_INJECT_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * X(kind, symbol, name, what happens, the errnos that the kernel may answer with: the first is the default)
 * The errnos are from ioctl_userfaultfd(2) and userfaultfd(2), and what Linux 6.18 was seen to return beyond them.
 */
/* clang-format off */
#define FL_INJECT_POINTS(X)                                                                                         \
	X(ABI, USERFAULTFD, "userfaultfd", "no object is made", ENOMEM, EMFILE, ENFILE, EPERM)                      \
	X(ABI, API, "api", "UFFDIO_API fails", EINVAL)                                                              \
	X(ABI, REGISTER, "register", "UFFDIO_REGISTER fails", ENOMEM, EBUSY, EINVAL)                                \
	X(ABI, UNREGISTER, "unregister", "UFFDIO_UNREGISTER fails", ENOMEM, EINVAL)                                 \
	X(ABI, WAKE, "wake", "UFFDIO_WAKE fails", EINVAL)                                                           \
	X(ABI, COPY, "copy", "UFFDIO_COPY fails", EAGAIN, EEXIST, ENOENT, ENOMEM, ENOSPC, ESRCH, EFAULT)            \
	X(ABI, ZEROPAGE, "zeropage", "UFFDIO_ZEROPAGE fails", EAGAIN, EEXIST, ENOENT, ENOMEM, ESRCH, EFAULT)        \
	X(ABI, CONTINUE, "continue", "UFFDIO_CONTINUE fails", EAGAIN, EEXIST, ENOENT, ENOMEM, ESRCH, EFAULT)        \
	X(ABI, WRITEPROTECT, "writeprotect", "UFFDIO_WRITEPROTECT fails", EAGAIN, ENOENT, ENOMEM, ESRCH, EFAULT)    \
	X(ABI, READ, "read", "a read fails: EINTR if the object blocks, EAGAIN if not")                             \
	X(ABI, COPY_SHORT, "copy-short", "UFFDIO_COPY stops half-way; of one page, EAGAIN")                         \
	X(ABI, ZEROPAGE_SHORT, "zeropage-short", "UFFDIO_ZEROPAGE stops half-way; of one page, EAGAIN")             \
	X(ABI, WAKE_DELAY, "wake-delay", "a thread that is woken goes on ms=N milliseconds later (10)")             \
	X(ABI, MESSAGE_TWICE, "message-twice", "a message is read a second time")                                   \
	X(ENGINE, MM, "alloc.mm", "memory for a soft address space")                                                \
	X(ENGINE, VMA, "alloc.vma", "memory for a mapping")                                                         \
	X(ENGINE, VMA_TABLE, "alloc.vma_table", "memory for the table of mappings")                                 \
	X(ENGINE, PGTABLE, "alloc.pgtable", "memory for a page table")                                              \
	X(ENGINE, CTX, "alloc.uffd", "memory for a userfaultfd object")                                             \
	X(ENGINE, WAIT, "alloc.wait", "memory for a waiting fault: it faults again")                                \
	X(ENGINE, FRAME, "alloc.frame", "a page frame")                                                             \
	X(ENGINE, FILE, "alloc.file", "a file in shared memory")                                                    \
	X(ENGINE, CACHE, "alloc.cache", "a table of its page cache")                                                \
	X(ENGINE, SWAP, "alloc.swap", "a slot of the swap area of a soft address space: the page stays")            \
	X(ENGINE, SWAP_READ, "swap.read", "reading a page back from it")                                            \
	X(ENGINE, EXTENT, "alloc.extent", "addresses of the pool for a registered range")                           \
	X(ENGINE, POOL, "host.pool", "the pool of page frames")                                                     \
	X(ENGINE, FILL, "host.fill", "writing a page frame")                                                        \
	X(ENGINE, ADOPT, "host.adopt", "taking over the memory of a range that is registered")                      \
	X(ENGINE, KEEP, "host.keep", "a descriptor of shared memory that is mapped: it may not be registered")      \
	X(ENGINE, LOOK, "host.look", "looking whether such memory is still mapped: the descriptor stays for now")   \
	X(ENGINE, MAPS, "host.maps", "reading /proc/self/maps")                                                     \
	X(ENGINE, PROTECT, "host.mprotect", "mprotect(2) on a range that is registered")                            \
	X(ENGINE, GUARD, "host.guard", "guard markers")                                                             \
	X(ENGINE, COLLAPSE, "host.collapse", "2 MiB of a shared file that are to be one piece")                     \
	X(ENGINE, SOCKET, "host.socket", "the descriptor of an object")                                             \
	X(ENGINE, FORK, "host.fork", "what a fork() needs")
/* clang-format on */

/* FL_INJECT_COPY, FL_FP_VMA: the prefix says which question the place asks */
enum fl_inject_point {
#define FL_INJECT_ENUM(kind, sym, ...) FL_INJECT_ENUM_##kind(sym)
#define FL_INJECT_ENUM_ABI(sym)	       FL_INJECT_##sym,
#define FL_INJECT_ENUM_ENGINE(sym)     FL_FP_##sym,
	FL_INJECT_POINTS(FL_INJECT_ENUM)
#undef FL_INJECT_ENUM
		FL_NR_INJECT_POINTS,
	FL_FP_NONE = FL_NR_INJECT_POINTS, /* for functions that are told which one: none */
};

enum fl_inject_kind { FL_INJECT_KIND_ABI, FL_INJECT_KIND_ENGINE };

#define FL_INJECT_FOR_ALL UINT32_MAX /* as `times` */
#define FL_INJECT_SPECS	  8	     /* of one point that may wait behind one another */

extern uint8_t fl_inject_armed[FL_NR_INJECT_POINTS]; /* [a] it may fire */
/* One more hit of the point: 0, or the value of the rule that fires now. Exact with any number of threads. */
uint32_t fl_inject_hit(enum fl_inject_point point);

/* => a point of the ABI. Any thread, any lock held, async-signal-safe. With nothing injected, a load and a branch. */
static inline uint32_t fl_injected(enum fl_inject_point point)
{
	return __builtin_expect(__atomic_load_n(&fl_inject_armed[point], __ATOMIC_RELAXED), 0) ? fl_inject_hit(point)
											       : 0;
}

/* true: fail here now. => a point of the engine, or FL_FP_NONE. Any thread, any lock held, async-signal-safe. */
static inline bool fl_fail(enum fl_inject_point point)
{
	return point != FL_FP_NONE && __builtin_expect(fl_inject_hit(point) != 0, 0);
}

/* ---- for base/inject.c ---- */

/*
 * Rule `nr` of the point: skip `after` hits, then fire `times` times with `value`. A hit of another thread at this
 * moment may count as one of before or of after. => one caller at a time
 */
void fl_inject_arm(enum fl_inject_point point, unsigned nr, uint32_t value, uint32_t after, uint32_t times);
void fl_inject_disarm(enum fl_inject_point point);
/* Since the process started; a point of the ABI counts hits only while it is armed. Either may be NULL. */
void fl_inject_counts(enum fl_inject_point point, uint64_t *hits, uint64_t *fired);

#endif
