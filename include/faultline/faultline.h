/* SPDX-License-Identifier: MIT */
/*
 * faultline.h - the public interface: userfaultfd as a library.
 *
 * Two kinds of address space carry the same engine:
 *
 *   - the process itself (fl_mm_process): loads and stores are the program's own instructions, a page fault
 *     is a SIGSEGV that faultline's handler resolves;
 *   - a soft address space (fl_mm_create): memory of an emulated guest or of a test. Every access is a call.
 *
 * On either one a userfaultfd object (fl_uffd_open) answers the kernel's ioctls with the kernel's structures
 * and errno values, see userfaultfd(2) and ioctl_userfaultfd(2).
 *
 * Conventions. Unless a comment says otherwise a function returns 0 or a count on success and -1 with errno
 * on failure, and a failed call changed nothing. Addresses and lengths are in bytes. All functions may be called
 * from any thread; none may be called from a signal handler, but an fl_fault_fn, which runs in the faulting
 * thread, may use every fl_uffd_* call on the object it was given.
 */
#ifndef FAULTLINE_FAULTLINE_H
#define FAULTLINE_FAULTLINE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <faultline/uapi.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifndef FL_API
#define FL_API __attribute__((visibility("default")))
#endif

struct fl_mm;	/* an address space */
struct fl_uffd; /* a userfaultfd object */

/* ---- address spaces ------------------------------------------------------------------------------------ */

/*
 * Create a soft address space whose pages come from a pool of at most `mem_bytes` of memory (rounded up to a
 * page; 0 means 1 GiB). The memory is taken from the host as pages are first used.
 * ENOMEM: the host refuses the memory. The caller owns *mm and ends it with fl_mm_destroy().
 */
FL_API int fl_mm_create(struct fl_mm **mm, uint64_t mem_bytes);

/*
 * End a soft address space. No other thread may be using it; every object opened on it must be closed.
 * EBUSY: an object is still open. EINVAL: this is the process's address space.
 */
FL_API int fl_mm_destroy(struct fl_mm *mm);

/*
 * The address space of this process. The first call installs faultline's SIGSEGV handler; handlers installed before
 * it are chained. Mapping calls on registered ranges must go through fl_munmap() and its siblings. A program that
 * uses this library must not fork while ranges are registered or have been (the child would share them; exec and
 * posix_spawn are fine), nor block SIGSEGV. libfaultline-preload.so has an engine of its own: programs that run under
 * it use the system call, not this library.
 * ENOMEM, ENOSYS: the host lacks what the native backend needs (memfd_create, SIGSEGV with error codes).
 */
FL_API int fl_mm_process(struct fl_mm **mm);

#define FL_MAP_FAILED ((uint64_t)-1)

/*
 * mmap(2) and its siblings on an address space, with the system's PROT_*, MAP_*, MREMAP_* and MADV_* values and
 * errnos. A soft address space knows MAP_PRIVATE|MAP_ANONYMOUS with MAP_FIXED, MAP_FIXED_NOREPLACE and
 * MAP_NORESERVE (EINVAL for others), addresses from 64 KiB to 2^47. fl_mmap() and fl_mremap() return
 * FL_MAP_FAILED on failure.
 */
FL_API uint64_t fl_mmap(struct fl_mm *mm, uint64_t addr, uint64_t len, int prot, int flags);
FL_API int fl_munmap(struct fl_mm *mm, uint64_t addr, uint64_t len);
FL_API int fl_mprotect(struct fl_mm *mm, uint64_t addr, uint64_t len, int prot);
FL_API uint64_t fl_mremap(struct fl_mm *mm, uint64_t addr, uint64_t old_len, uint64_t new_len, int flags,
			  uint64_t new_addr);
FL_API int fl_madvise(struct fl_mm *mm, uint64_t addr, uint64_t len, int advice);

/*
 * Loads and stores on a soft address space, as instructions of its program: each may fault, and then waits until
 * the fault is resolved. They return 0, or the number of the signal that the program would receive (SIGSEGV,
 * SIGBUS); bytes before the faulting one have then been transferred. Accesses inside an aligned page are not torn
 * by fills: a page appears whole. On the process's own address space they are plain accesses: a signal is raised, not
 * returned.
 */
FL_API int fl_load(struct fl_mm *mm, uint64_t addr, void *buf, size_t len);
FL_API int fl_store(struct fl_mm *mm, uint64_t addr, const void *buf, size_t len);
FL_API int fl_copy(struct fl_mm *mm, uint64_t dst, uint64_t src, size_t len);

/*
 * The same, as the kernel does for a system call: for emulators that implement system calls with buffers in guest
 * memory. 0, or -1 with EFAULT. On memory of an object opened with UFFD_USER_MODE_ONLY a missing page is EFAULT.
 */
FL_API int fl_copy_from_user(struct fl_mm *mm, void *buf, uint64_t addr, size_t len);
FL_API int fl_copy_to_user(struct fl_mm *mm, uint64_t addr, const void *buf, size_t len);

/* ---- shared memory of soft address spaces --------------------------------------------------------------- */

struct fl_shmem; /* what a memfd_create(2) file is to processes: it is in memory only, and several may map it */

/*
 * A shared memory object of `size` bytes (up to 512 GiB), whose pages come from the pool of `mm`: `mm`, and spaces
 * that are forked from it, may map it. fl_shmem_close() when the caller needs it no more; mappings keep it.
 * ENOMEM. EFBIG. ENODEV: on the process's address space; a process has files.
 */
FL_API int fl_shmem_create(struct fl_mm *mm, uint64_t size, struct fl_shmem **shmem);
FL_API void fl_shmem_close(struct fl_shmem *shmem);

/*
 * With `on`, a hole is filled by huge pages where 2 MiB of the object, at a multiple of that, are a hole: as tmpfs(5)
 * does with huge=always. A huge page is mapped in one piece where a mapping allows it, and split when a part of it is
 * truncated or punched.
 */
FL_API void fl_shmem_huge(struct fl_shmem *shmem, int on);

/*
 * mmap(2) of it, MAP_SHARED or MAP_PRIVATE, from the byte `offset` (whole pages) on. An access behind its end is
 * SIGBUS. (Shared anonymous memory is fl_mmap() with MAP_SHARED | MAP_ANONYMOUS.)
 */
FL_API uint64_t fl_mmap_shmem(struct fl_mm *mm, uint64_t addr, uint64_t len, int prot, int flags,
			      struct fl_shmem *shmem, uint64_t offset);

/*
 * As ftruncate(2), fallocate(2) with FALLOC_FL_PUNCH_HOLE, pread(2), pwrite(2), lseek(2) with SEEK_DATA on a file.
 * Mappings see what they do, and lose pages that are dropped.
 */
FL_API int fl_shmem_truncate(struct fl_shmem *shmem, uint64_t size);
FL_API int fl_shmem_punch(struct fl_shmem *shmem, uint64_t offset, uint64_t len);
FL_API ssize_t fl_shmem_read(struct fl_shmem *shmem, void *buf, size_t len, uint64_t offset);
FL_API ssize_t fl_shmem_write(struct fl_shmem *shmem, const void *buf, size_t len, uint64_t offset);
FL_API int64_t fl_shmem_data(struct fl_shmem *shmem, uint64_t offset);

/* ---- what the pages are -------------------------------------------------------------------------------- */

/*
 * Bits of a page's word in /proc/self/pagemap: Documentation/admin-guide/mm/pagemap.rst, and soft-dirty.rst beside
 * it.
 */
#define FL_PM_SOFT_DIRTY (1ull << 55)
#define FL_PM_EXCLUSIVE	 (1ull << 56)
#define FL_PM_UFFD_WP	 (1ull << 57)
#define FL_PM_FILE	 (1ull << 61)
#define FL_PM_SWAP	 (1ull << 62)
#define FL_PM_PRESENT	 (1ull << 63)

/*
 * The words of `nr` pages from the page of `addr` on, as /proc/self/pagemap would have them; frame numbers are 0, as
 * for a reader without CAP_SYS_ADMIN. On the process's own address space the words of memory that was never
 * registered are 0: the system's file has them. EINVAL: not below 2^47.
 */
FL_API int fl_mm_pagemap(struct fl_mm *mm, uint64_t addr, size_t nr, uint64_t *words);

/*
 * As writing "4" to /proc/self/clear_refs: no page is soft-dirty from now on until it is written to.
 * ENOMEM: nothing was cleared.
 */
FL_API int fl_mm_clear_soft_dirty(struct fl_mm *mm);

/* ---- address spaces of guests ---------------------------------------------------------------------------- */

/*
 * A copy of a soft address space, as fork(2) makes one: pages are shared until one of the two writes; nothing is
 * registered in the child, and the parent's registrations and write-protection are as before. The memory that both
 * may use is the parent's pool. The caller ends each with fl_mm_destroy(), in any order.
 * ENOMEM. EINVAL: this is the process's address space.
 */
FL_API int fl_mm_fork(struct fl_mm *parent, struct fl_mm **child);

/*
 * Move the pages of a range of a soft address space to other memory, as the kernel does to balance or compact it: the
 * program must not notice. Returns the number of pages that moved; those that are not there, or are shared with a
 * forked space, do not. On a soft address space fl_madvise() with MADV_PAGEOUT does the like to a swap area.
 * EINVAL: not all mapped. ENOMEM: some may have moved. EOPNOTSUPP: the process's pages have fixed places.
 */
FL_API int64_t fl_mm_migrate(struct fl_mm *mm, uint64_t addr, uint64_t len);

/* ---- which pages are in use: the access sampler ----------------------------------------------------------- */

/*
 * Watch a range: each page loses its rights until it is touched, and fl_sample_look() tells which were. Works on any
 * private anonymous memory, registered or not; on the process's own it becomes memory of faultline's as by a
 * registration. Until fl_sample_stop() every first access after a look costs a fault.
 * EINVAL: not page-aligned, nothing mapped there, or memory that could not be registered. ENOMEM.
 */
FL_API int fl_sample_start(struct fl_mm *mm, uint64_t addr, uint64_t len);
FL_API int fl_sample_stop(struct fl_mm *mm, uint64_t addr, uint64_t len);

/*
 * Which pages of the range were touched since the last look (or the start)? vec[i], if vec is not NULL, becomes 1 or
 * 0 for the ith page; returns how many were. Where MADV_HUGEPAGE was asked for, the pages of a huge one count
 * together. An access during the look is reported by this one or by the next, once.
 * EINVAL: not all of the range is watched. EFAULT: vec (some of what it should have got is lost).
 */
FL_API int64_t fl_sample_look(struct fl_mm *mm, uint64_t addr, uint64_t len, uint8_t *vec);

/*
 * What the sampling costs: of elapsed_ns, since the first start, the threads have together spent fault_ns in `faults`
 * faults that it has caused, which is measured (the host's part of a fault once, at the start).
 */
struct fl_sample_cost {
	uint64_t faults, fault_ns, elapsed_ns;
};
FL_API void fl_sample_get_cost(struct fl_mm *mm, struct fl_sample_cost *cost);

/* ---- the userfaultfd object ---------------------------------------------------------------------------- */

/*
 * With FL_UFFD_SRC_HOST uffdio_copy.src of an object on a soft address space is a pointer of the calling process;
 * without it, it is an address of that address space (as for an emulated guest's system call).
 */
#define FL_UFFD_SRC_HOST (1 << 30)

/*
 * userfaultfd(2): `flags` may hold O_CLOEXEC, O_NONBLOCK, UFFD_USER_MODE_ONLY and FL_UFFD_SRC_HOST.
 * EINVAL: other flags. EMFILE, ENFILE, ENOMEM: as in the manual page. Close it with fl_uffd_close().
 */
FL_API int fl_uffd_open(struct fl_mm *mm, int flags, struct fl_uffd **uffd);

/*
 * Close the object: every range registered with it is unregistered, every waiter goes on and its fault is handled
 * as if the memory had never been registered. `uffd` is gone afterwards, also for other threads that hold it.
 */
FL_API int fl_uffd_close(struct fl_uffd *uffd);

/* A descriptor that is readable (POLLIN) whenever a message is waiting. Only poll it; the object owns it. */
FL_API int fl_uffd_fd(const struct fl_uffd *uffd);

/* Set (1) or clear (0) O_NONBLOCK. */
FL_API int fl_uffd_set_nonblock(struct fl_uffd *uffd, int on);

/*
 * ioctl(2) with the commands of uapi.h; `arg` points to the command's structure in the calling process.
 * Errnos are those of ioctl_userfaultfd(2).
 */
FL_API int fl_uffd_ioctl(struct fl_uffd *uffd, unsigned long cmd, void *arg);

/*
 * read(2): as many whole messages as are waiting and fit. Blocks for the first one unless O_NONBLOCK (EAGAIN).
 * EINVAL: before UFFDIO_API, or len is less than one message. EINTR: a signal.
 */
FL_API ssize_t fl_uffd_read(struct fl_uffd *uffd, void *buf, size_t len);

/* poll(2) on the object alone: the revents (POLLIN, or POLLERR on a blocking object), 0 after timeout_ms. */
FL_API int fl_uffd_poll(struct fl_uffd *uffd, int timeout_ms);

/* The ioctls as functions. Outputs may be NULL. */
FL_API int fl_uffd_api(struct fl_uffd *uffd, uint64_t features, uint64_t *available);
FL_API int fl_uffd_register(struct fl_uffd *uffd, uint64_t addr, uint64_t len, uint64_t mode, uint64_t *ioctls);
FL_API int fl_uffd_unregister(struct fl_uffd *uffd, uint64_t addr, uint64_t len);
FL_API int fl_uffd_wake(struct fl_uffd *uffd, uint64_t addr, uint64_t len);
FL_API int fl_uffd_copy(struct fl_uffd *uffd, uint64_t dst, uint64_t src, uint64_t len, uint64_t mode,
			int64_t *copied);
FL_API int fl_uffd_zeropage(struct fl_uffd *uffd, uint64_t addr, uint64_t len, uint64_t mode, int64_t *zeroed);
FL_API int fl_uffd_writeprotect(struct fl_uffd *uffd, uint64_t addr, uint64_t len, uint64_t mode);

/*
 * The in-thread handler: called in the faulting thread, with no lock held and no context switch, for every page
 * fault on the object's ranges. On the process's address space it runs inside the SIGSEGV handler, with all other
 * signals blocked until it returns; only where the fault is of a call of the library that waits for its caller's
 * memory, a signal that ends the process does so. It may use fl_uffd_* on its object and whatever signal-safety(7)
 * allows, and must not touch a page that it would have to resolve itself. It returns what shall
 * happen:
 */
enum fl_fault_action {
	FL_FAULT_RETRY,	 /* resolved: run the access again */
	FL_FAULT_QUEUE,	 /* give the message to the descriptor and wait, as without a handler */
	FL_FAULT_SIGBUS, /* raise SIGBUS for this access */
};
typedef enum fl_fault_action fl_fault_fn(struct fl_uffd *uffd, const struct fl_uffd_msg *msg, void *arg);

/* Install (NULL: remove) the handler. Faults already being delivered may still reach the old one. */
FL_API int fl_uffd_set_handler(struct fl_uffd *uffd, fl_fault_fn *fn, void *arg);

/* ---- fault points: failures on demand ------------------------------------------------------------------- */

/*
 * Make the fault point `name` fail: skip `after` hits, then fail `times` hits (UINT32_MAX: for good). times 0
 * disarms. ENOENT: no such point. Names are listed by fl_faultpoint_name(i), i from 0, NULL past the end.
 */
FL_API int fl_faultpoint_set(const char *name, uint32_t after, uint32_t times);
FL_API const char *fl_faultpoint_name(unsigned index);
/* How often the point was passed, and how often it failed, since the process started. */
FL_API int fl_faultpoint_count(const char *name, uint64_t *hits, uint64_t *failed);

/*
 * The same as `faultline run --inject` for programs that use the library: operations of every object fail as the
 * kernel's may, so that a fault handler's answer can be tested. `specs` is one spec, or several joined by ';':
 *
 *     POINT[=ERRNO][,after=N][,times=N|all][,ms=N]        copy=EEXIST,after=2,times=3
 *
 * The operation named POINT goes well `after` times (0), then fails `times` times (1) with ERRNO (each point has its
 * own, the first that faultline(1) lists being the default), and has changed nothing; what the points without an
 * errno do is said there. Calls that are bad by themselves do not count. The names are those of fl_inject_name(i), i
 * from 0, NULL past the end, which the fault points above follow; fl_inject_text(i) is a line of explanation.
 * Specs of one point in one call stand behind one another: what an earlier one makes fail is no hit of a later one.
 * A later call replaces what earlier ones have said of the points that it names; NULL ends all injection.
 * Counts are exact with any number of threads; a hit that comes while the call is made may count as before or after.
 * EINVAL: a spec is bad, and nothing has changed.
 */
FL_API int fl_inject(const char *specs);
FL_API const char *fl_inject_name(unsigned index);
FL_API const char *fl_inject_text(unsigned index);
/* How often the point has fired since the process started. ENOENT: no such point. */
FL_API int fl_inject_count(const char *name, uint64_t *fired);

/* Walk every invariant of the engine on an address space. 0, or -1 with EUCLEAN and a line on stderr for each. */
FL_API int fl_mm_check(struct fl_mm *mm);

/* Bytes of metadata (page tables, folios, mappings, caches) that the address space holds now. */
FL_API uint64_t fl_mm_metadata_bytes(struct fl_mm *mm);

#ifdef __cplusplus
}
#endif
#endif
