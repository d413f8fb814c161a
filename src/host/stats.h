/* SPDX-License-Identifier: MIT */
/*
 * stats.h - what faultline counts. One struct of plain 64-bit counters, added to with relaxed atomics, so that it
 * can live in memory that `faultline run --stats` shares with every process of the program it runs.
 * Latencies go into log-linear buckets: eight a power of two, exact to 1/8.
 */
#ifndef FL_HOST_STATS_H
#define FL_HOST_STATS_H

#include <stdint.h>

#define FL_STATS_MAGIC	0x317374617473666cull /* "lfstats1" */
#define FL_HIST_SUB	8		      /* buckets in a power of two */
#define FL_HIST_BUCKETS (40 * FL_HIST_SUB)    /* nanoseconds up to 2^40, 18 minutes */

/* X(name, text): the counters, in the order in which they are printed */
#define FL_STATS(X)                                                                                                  \
	X(processes, "processes")                                                                                    \
	X(objects, "userfaultfd objects")                                                                            \
	X(registers, "ranges registered")                                                                            \
	X(faults_missing, "missing faults delivered")                                                                \
	X(faults_minor, "minor faults delivered")                                                                    \
	X(faults_wp, "write-protect faults delivered")                                                               \
	X(faults_sigbus, "faults answered with SIGBUS")                                                              \
	X(faults_inthread, "faults handled in the thread")                                                           \
	X(faults_zero, "faults zero-filled by faultline")                                                            \
	X(faults_cached, "faults on pages of a file's cache")                                                        \
	X(faults_spurious, "faults on rights not yet cached")                                                        \
	X(faults_write, "first writes to clean pages")                                                               \
	X(faults_foreign, "faults passed to the program")                                                            \
	X(faults_syscall, "system calls repeated after a fault")                                                     \
	X(messages, "messages read")                                                                                 \
	X(copies, "pages filled by COPY")                                                                            \
	X(zeropages, "pages filled by ZEROPAGE")                                                                     \
	X(continued, "pages mapped by CONTINUE")                                                                     \
	X(wp_pages, "pages write-protected")                                                                         \
	X(wp_resolved, "pages un-protected")                                                                         \
	X(wakes, "threads woken")                                                                                    \
	X(injected, "failures injected")                                                                             \
	X(host_mmap, "host mmap, munmap, mremap")                                                                    \
	X(host_mprotect, "host mprotect")                                                                            \
	X(host_guard, "host guard markers")                                                                          \
	X(host_madvise, "host madvise, fallocate")                                                                   \
	X(host_file, "host calls on files")                                                                          \
	X(evictions, "host mapping evictions")                                                                       \
	X(vma_lock_miss, "look-ups of a mapping that took mmap_lock")                                                \
	X(forks, "forks")                                                                                            \
	X(forgotten, "ranges that the program had unmapped unseen")

/*
 * X(name, text): the functions by which libc and the dynamic linker call the system themselves, and which the
 * preloaded library can redirect.
 */
#define FL_STUBS(X)                                                                                                  \
	X(mmap, "mmap")                                                                                              \
	X(munmap, "munmap")                                                                                          \
	X(mprotect, "mprotect")                                                                                      \
	X(mremap, "mremap")                                                                                          \
	X(madvise, "madvise")                                                                                        \
	X(brk, "brk")                                                                                                \
	X(fork, "fork")                                                                                              \
	X(linker_mmap, "the linker's mmap")                                                                          \
	X(linker_munmap, "the linker's munmap")                                                                      \
	X(linker_mprotect, "the linker's mprotect")

enum fl_stub {
#define FL_STUB_ENUM(name, text) FL_STUB_##name,
	FL_STUBS(FL_STUB_ENUM)
#undef FL_STUB_ENUM
		FL_NR_STUBS
};
#define FL_STUBS_ASKED (1ull << 63) /* a process has tried */

struct fl_stats {
	uint64_t magic;
	uint64_t size; /* of this struct, to refuse another version's */
#define FL_STATS_FIELD(name, text) uint64_t name;
	FL_STATS(FL_STATS_FIELD)
#undef FL_STATS_FIELD
	uint64_t stubs; /* a bit for each that was redirected */
	uint64_t fault_ns_max;
	uint64_t fault_ns[FL_HIST_BUCKETS]; /* fault delivered to thread going on */
};

/* The bucket of a value: values below FL_HIST_SUB are exact. */
static inline unsigned fl_hist_bucket(uint64_t v)
{
	if (v < FL_HIST_SUB)
		return (unsigned)v;
	unsigned e = 63u - (unsigned)__builtin_clzll(v); /* >= 3 */
	unsigned b = (e - 2) * FL_HIST_SUB + (unsigned)((v >> (e - 3)) & (FL_HIST_SUB - 1));
	return b < FL_HIST_BUCKETS ? b : FL_HIST_BUCKETS - 1;
}

/* The smallest value of a bucket. */
static inline uint64_t fl_hist_value(unsigned b)
{
	if (b < FL_HIST_SUB)
		return b;
	unsigned e = b / FL_HIST_SUB + 2;
	return (1ull << e) | ((uint64_t)(b % FL_HIST_SUB) << (e - 3));
}

#endif
