/* SPDX-License-Identifier: MIT */
/*
 * testing.h - for tests of programs that use faultline.h: failures on demand, and the engine's own checks. The
 * conventions are those of faultline.h.
 */
#ifndef FAULTLINE_TESTING_H
#define FAULTLINE_TESTING_H

#include <faultline/faultline.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Failures on demand: what `faultline run --inject` does for other programs. `specs` is one spec, or several joined
 * by ';':
 *
 *     POINT[=ERRNO][,after=N][,times=N|all][,ms=N]        copy=EEXIST,after=2,times=3        alloc.pgtable,after=3
 *
 * The operation named POINT goes well `after` times (0), then fails `times` times (1), and has changed nothing.
 * Points are of two kinds. Those of userfaultfd(2)'s operations (copy, read, ...) fail with ERRNO, as the kernel's
 * may; each has its own, the first that faultline(1) lists being the default, and what the points without an errno
 * do is said there. Calls that are bad by themselves are no hits. Those with a dot in their name are allocations and
 * host calls inside the engine: the operation that meets one fails as it does for want of memory, or does without.
 *
 * Specs of one point in one call stand behind one another: what an earlier one makes fail is no hit of a later one. A
 * later call replaces what earlier ones have said of the points that it names; NULL ends all injection. Counts are
 * exact with any number of threads; a hit that comes while the call is made may count as before or after. It acts on
 * the whole process, and a forked child inherits it.
 * EINVAL: a spec is bad, and nothing has changed; fl_inject_why() says why.
 */
FL_API int fl_inject(const char *specs);

/*
 * What is wrong with `specs`, and what would be right: one line, without a newline, in at most `size` bytes of
 * `why`, its end included (1024 is enough for any). Returns the length of the whole line; 0: the specs are good, or
 * NULL.
 */
FL_API size_t fl_inject_why(const char *specs, char *why, size_t size);

/*
 * The name of the point `index`, from 0, and a line of explanation; NULL past the end. Static storage.
 */
FL_API const char *fl_inject_name(unsigned index);
FL_API const char *fl_inject_text(unsigned index);

/*
 * How often the point was passed, and how often it fired, since the process started. A point of userfaultfd(2)'s
 * operations counts hits only while a spec names it.
 * ENOENT: no such point.
 */
FL_API int fl_inject_count(const char *name, uint64_t *hits, uint64_t *fired);

/* Walk every invariant of the engine on an address space. EUCLEAN: one is broken; a line on stderr says which. */
FL_API int fl_mm_check(struct fl_mm *mm);

#ifdef __cplusplus
}
#endif
#endif
