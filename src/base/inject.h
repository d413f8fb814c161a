/* SPDX-License-Identifier: MIT */
/*
 * inject.h - failures on demand, as a program sees them: the points, what a spec can say about them, and the question
 * that each place asks.
 *
 * A spec is POINT[=ERRNO][,after=N][,times=N|all][,ms=N]; a list of them is joined by ';'. Points are of two kinds:
 * the operations of userfaultfd(2), in the table below, which fail as the kernel's may; and the engine's own fault
 * points (host/faultpoint.h), where the operation finds an errno by itself. The table and the parser
 * (inject_spec.c) keep no state: the `faultline` command has a copy of them, which checks a spec before anything
 * runs.
 *
 * It stands below all that asks: ioctls and reads in abi, waiting threads in uffd.
 */
#ifndef FL_BASE_INJECT_H
#define FL_BASE_INJECT_H

#include "base/types.h"
#include "host/faultpoint.h"

/*
 * X(symbol, name, what happens, the errnos that the kernel may answer with: the first is the default)
 * From ioctl_userfaultfd(2) and userfaultfd(2), and what Linux 6.18 was seen to return beyond them.
 */
#define FL_INJECT_POINTS(X)                                                                                          \
	X(USERFAULTFD, "userfaultfd", "no object is made", ENOMEM, EMFILE, ENFILE, EPERM)                            \
	X(API, "api", "UFFDIO_API fails", EINVAL)                                                                    \
	X(REGISTER, "register", "UFFDIO_REGISTER fails", ENOMEM, EBUSY, EINVAL)                                      \
	X(UNREGISTER, "unregister", "UFFDIO_UNREGISTER fails", ENOMEM, EINVAL)                                       \
	X(WAKE, "wake", "UFFDIO_WAKE fails", EINVAL)                                                                 \
	X(COPY, "copy", "UFFDIO_COPY fails", EAGAIN, EEXIST, ENOENT, ENOMEM, ENOSPC, ESRCH, EFAULT)                  \
	X(ZEROPAGE, "zeropage", "UFFDIO_ZEROPAGE fails", EAGAIN, EEXIST, ENOENT, ENOMEM, ESRCH, EFAULT)              \
	X(CONTINUE, "continue", "UFFDIO_CONTINUE fails", EAGAIN, EEXIST, ENOENT, ENOMEM, ESRCH, EFAULT)              \
	X(WRITEPROTECT, "writeprotect", "UFFDIO_WRITEPROTECT fails", EAGAIN, ENOENT, ENOMEM, ESRCH, EFAULT)          \
	X(READ, "read", "a read fails: EINTR if the object blocks, EAGAIN if not")                                   \
	X(COPY_SHORT, "copy-short", "UFFDIO_COPY stops half-way; of one page, EAGAIN")                               \
	X(ZEROPAGE_SHORT, "zeropage-short", "UFFDIO_ZEROPAGE stops half-way; of one page, EAGAIN")                   \
	X(WAKE_DELAY, "wake-delay", "a thread that is woken goes on ms=N milliseconds later (10)")                   \
	X(MESSAGE_TWICE, "message-twice", "a message is read a second time")

enum fl_inject_point {
#define FL_INJECT_ENUM(sym, ...) FL_INJECT_##sym,
	FL_INJECT_POINTS(FL_INJECT_ENUM)
#undef FL_INJECT_ENUM
		FL_NR_INJECT_POINTS, /* and the engine's own from here on: FL_NR_INJECT_POINTS + enum fl_faultpoint */
};

#define FL_INJECT_ALL	  (FL_NR_INJECT_POINTS + FL_NR_FAULTPOINTS)
#define FL_INJECT_FOR_ALL UINT32_MAX /* as `times` */
#define FL_INJECT_SPECS	  8	     /* of one point that may wait behind one another */
#define FL_INJECT_MAX_MS  10000u
#define FL_INJECT_LENGTH  4096 /* of a list of specs, its end included: it goes through the environment */
#define FL_INJECT_WHY	  1024 /* enough for every complaint */

/* ---- points and specs (inject_spec.c): no state ---- */

struct fl_inject_spec {
	unsigned point;
	uint32_t value; /* an errno, or milliseconds; 1 where there is nothing to choose */
	uint32_t after, times;
};

/* Name and explanation of a point, the ABI's first; NULL past the end. */
const char *fl_inject_point_name(unsigned point);
const char *fl_inject_point_text(unsigned point);
/* The `i`th errno that may be chosen for it, 0 past the last, and an errno's name, NULL if no point has it. */
int fl_inject_point_errno(unsigned point, unsigned i);
const char *fl_inject_errno_name(int err);

/*
 * Take a spec from the list at *at, and move *at to what is behind it; at the end of the list *at becomes NULL.
 * False: `why` has one line that says what is wrong and what would be right.
 */
bool fl_inject_next(const char **at, struct fl_inject_spec *spec, char why[FL_INJECT_WHY]);
/* Is the whole list good? */
bool fl_inject_check(const char *list, char why[FL_INJECT_WHY]);

/* ---- state (inject.c) ---- */

/*
 * From now on do as the list says; what was said before of the points that it names is forgotten. NULL: forget all.
 * -EINVAL: a bad list, and nothing has changed. => no lock held
 */
int fl_inject_set(const char *list);
/* How often the point has fired; -ENOENT: no such point. */
int fl_inject_fired(const char *name, uint64_t *fired);

extern uint32_t fl_inject_armed; /* [a] a bit for every point that a list has named */
uint32_t fl_inject_fire(enum fl_inject_point point);

/*
 * One more hit of the point: 0, or the spec's value if it is to fire now. Any thread, any lock held,
 * async-signal-safe. With nothing injected, a load and a branch.
 */
static inline uint32_t fl_injected(enum fl_inject_point point)
{
	return likely(!(__atomic_load_n(&fl_inject_armed, __ATOMIC_RELAXED) & 1u << point)) ? 0
											    : fl_inject_fire(point);
}

/*
 * A thread that was woken is about to go on: later, perhaps. It is the woken thread that sleeps, not the one that
 * wakes: that is what a program meets when the scheduler does not come to it, and whoever woke it has gone on
 * meanwhile. => no lock held
 */
void fl_inject_wake_delay(void);

#endif
