/* SPDX-License-Identifier: MIT */
/*
 * faultline.h - the public interface: userfaultfd as a library. See faultline(3).
 *
 * A userfaultfd object (struct fl_uffd) answers the ioctls of userfaultfd(2) with the kernel's structures and errnos.
 * It is opened on an address space (struct fl_mm), of which there are two kinds, the backends:
 *
 *   native  the process itself (fl_mm_process). Loads and stores are the program's own instructions; a page fault is
 *           a SIGSEGV that faultline's handler resolves.
 *   soft    memory of an emulated guest or of a test (fl_mm_create). No signal and no host mapping: every access is a
 *           call.
 *
 * What each function does on each:
 *
 *                              native                               soft
 *   fl_uffd_*                  all; the sources of UFFDIO_COPY are  all; the sources are addresses of the space, or,
 *                              addresses of the process             with FL_UFFD_SRC_HOST, of the process
 *   fl_mm_process              the process's space                  -
 *   fl_mm_create               -                                    a new space
 *   fl_mm_destroy              EINVAL: it ends with the process     ends it
 *   fl_mmap, fl_munmap,        the system's calls, which faultline  the same calls, on the space's own memory; flags
 *   fl_mprotect, fl_mremap     must see on registered memory        and addresses as fl_mmap() says
 *   fl_madvise                 any advice                           the advice that fl_madvise() lists
 *   fl_load, fl_store,         plain accesses: a signal is raised   return the signal that the guest would get
 *   fl_copy
 *   fl_copy_from_user, _to_    EFAULT where a system call would     the same
 *   user                       give it
 *   fl_mm_pagemap              registered memory; 0 for the rest    all memory
 *   fl_mm_clear_soft_dirty     registered memory                    all memory
 *   fl_mm_fork                 EINVAL: use fork(2), with care       a copy of the space
 *   fl_mm_migrate              EOPNOTSUPP: places are fixed         moves pages
 *   fl_shmem_*, fl_mmap_shmem  ENODEV: a process has files          memory that spaces share
 *   fl_sample_*                private anonymous memory             the same
 *
 * Without a native backend (machines other than x86-64 and aarch64) fl_mm_process() is ENOSYS and the rest is as
 * above.
 *
 * Conventions
 *
 *   Results      A function returns 0, or -1 with errno. What else it has to say goes through a pointer, which may be
 *                NULL if the answer is not wanted, unless it is the handle that is created. Exceptions are those
 *                named after system calls that return a count (fl_uffd_read, fl_uffd_poll, fl_shmem_read,
 *                fl_shmem_write), the accesses, which return a signal, and what cannot fail. A call that failed has
 *                changed nothing and left its pointers alone, unless its comment says otherwise.
 *   Units        Addresses, offsets and lengths are in bytes, counts in pages or bytes as named; a page is 4096
 *                bytes.
 *   Ownership    The caller owns each struct fl_mm, fl_uffd and fl_shmem that a function gives it until the
 *                function that ends it. Everything else is copied before a call returns.
 *   Threads      Any function may be called from any thread at any time, but for ending a thing that another
 *                thread still uses.
 *   Signals      No function may be called from a signal handler. An fl_fault_fn runs in the faulting thread and is
 *                the exception: see there. Calls that wait (fl_uffd_read, fl_uffd_poll, an access to a missing page)
 *                let signals in; the others keep them out until they are done.
 *   Errnos       Those in a function's comment. Where a manual page is named, its errnos are meant with its meanings.
 *                ENOMEM is possible wherever memory has to be had.
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

/* ---- version -------------------------------------------------------------------------------------------- */

/* Of this header. Before 1.0 a new minor version may break programs; CHANGELOG.md says how. */
#define FL_VERSION_MAJOR  0
#define FL_VERSION_MINOR  1
#define FL_VERSION_PATCH  0
#define FL_VERSION_STRING "0.1.0"

/* Of the library that the program runs with, as FL_VERSION_STRING. Static storage. */
FL_API const char *fl_version(void);

struct fl_mm;	/* an address space */
struct fl_uffd; /* a userfaultfd object */

/* ---- the userfaultfd object ----------------------------------------------------------------------------- */

/*
 * With FL_UFFD_SRC_HOST uffdio_copy.src of an object on a soft address space is a pointer of the calling process;
 * without it, an address of that address space (as for an emulated guest's system call). Native objects ignore it.
 */
#define FL_UFFD_SRC_HOST (1 << 30)

/*
 * userfaultfd(2) on an address space. `flags` may hold O_CLOEXEC, O_NONBLOCK, UFFD_USER_MODE_ONLY and
 * FL_UFFD_SRC_HOST. End it with fl_uffd_close().
 * EINVAL: other flags. EMFILE, ENFILE, ENOMEM: as in the manual page.
 */
FL_API int fl_uffd_open(struct fl_mm *mm, int flags, struct fl_uffd **uffd);

/*
 * Close the object: every range registered with it is unregistered, every waiting thread goes on and its fault is
 * handled as if the memory had never been registered. `uffd` is gone afterwards, also for other threads that hold it.
 * EBADF: its descriptor is closed already.
 */
FL_API int fl_uffd_close(struct fl_uffd *uffd);

/* A descriptor that is readable (POLLIN) whenever a message is waiting. Only poll it; the object owns it. */
FL_API int fl_uffd_fd(const struct fl_uffd *uffd);

/* Set (1) or clear (0) O_NONBLOCK. Always 0. */
FL_API int fl_uffd_set_nonblock(struct fl_uffd *uffd, int on);

/*
 * ioctl(2) with the commands of uapi.h; `arg` points to the command's structure in the calling process.
 * Errnos: ioctl_userfaultfd(2). EINVAL before UFFDIO_API. EFAULT: `arg`.
 */
FL_API int fl_uffd_ioctl(struct fl_uffd *uffd, unsigned long cmd, void *arg);

/*
 * The ioctls as functions, with the errnos of ioctl_userfaultfd(2); see UFFDIO_API(2const) and its siblings. Ranges
 * are whole pages (EINVAL). `mode` is an or of the FL_*_MODE_* of the ioctl.
 *
 * fl_uffd_api: the handshake, which comes first and once; `features` is what the program wants, *available all there
 * are. EINVAL: a feature that there is not, or not the first handshake.
 */
FL_API int fl_uffd_api(struct fl_uffd *uffd, uint64_t features, uint64_t *available);

/*
 * Register, unregister a range. *ioctls: a bit FL_IOCTL_BIT(request) for each ioctl that works on it.
 * EINVAL: nothing mapped there, or memory that cannot be registered. EBUSY: another object's. ENOMEM.
 */
FL_API int fl_uffd_register(struct fl_uffd *uffd, uint64_t addr, uint64_t len, uint64_t mode, uint64_t *ioctls);
FL_API int fl_uffd_unregister(struct fl_uffd *uffd, uint64_t addr, uint64_t len);

/* Let the threads go on that wait for a page of the range: what they wanted is there, or they fault again. */
FL_API int fl_uffd_wake(struct fl_uffd *uffd, uint64_t addr, uint64_t len);

/*
 * Fill missing pages: copy `len` bytes from `src` to `dst`; with zeros; with what the file has there (after a minor
 * fault). Each wakes, unless its DONTWAKE mode says not to. The count (copied, zeroed, mapped) is set also on
 * failure: the bytes that were filled, or a negative errno if there were none; 0 if nothing was tried.
 * EAGAIN: only a part was filled; call again for the rest. EEXIST: the first page is there already, which is no
 * failure to a handler that raced with another: wake. ENOENT: the range is not registered. EFAULT: the source cannot
 * be read; for fl_uffd_continue, the file has no such page. ENOMEM.
 */
FL_API int fl_uffd_copy(struct fl_uffd *uffd, uint64_t dst, uint64_t src, uint64_t len, uint64_t mode,
			int64_t *copied);
FL_API int fl_uffd_zeropage(struct fl_uffd *uffd, uint64_t addr, uint64_t len, uint64_t mode, int64_t *zeroed);
FL_API int fl_uffd_continue(struct fl_uffd *uffd, uint64_t addr, uint64_t len, uint64_t mode, int64_t *mapped);

/*
 * Write-protect a range (FL_UFFDIO_WRITEPROTECT_MODE_WP), or let writes pass again and wake.
 * ENOENT: a part is not registered for write protection; what comes before it has been changed. ENOMEM: likewise.
 */
FL_API int fl_uffd_writeprotect(struct fl_uffd *uffd, uint64_t addr, uint64_t len, uint64_t mode);

/*
 * read(2): as many whole messages (struct fl_uffd_msg) as are waiting and fit; returns their bytes. Blocks for the
 * first one unless O_NONBLOCK.
 * EAGAIN: none, and O_NONBLOCK. EINTR: a signal. EINVAL: before UFFDIO_API, or len is less than one message. EFAULT:
 * buf.
 */
FL_API ssize_t fl_uffd_read(struct fl_uffd *uffd, void *buf, size_t len);

/*
 * poll(2) on the object alone, for up to `timeout_ms` milliseconds (negative: no limit). Returns the revents:
 * POLLIN, or at once POLLERR on a blocking object or before UFFDIO_API, as userfaultfd(2) says; 0 when the time is
 * over. A message that another thread reads first does not end the wait.
 * EINTR: a signal.
 */
FL_API int fl_uffd_poll(struct fl_uffd *uffd, int timeout_ms);

/*
 * The in-thread handler: called in the faulting thread, with no lock held and no context switch, for every page
 * fault on the object's ranges. Natively it runs inside the SIGSEGV handler, with all other signals blocked until it
 * returns; only where a call of this library faults on its caller's memory does a signal that ends the process still
 * do so. It may use fl_uffd_* on its object, but for fl_uffd_close(), and whatever signal-safety(7) allows. It must
 * not touch a page that it would have to resolve itself. `msg` is valid until it returns. It returns what shall
 * happen:
 */
enum fl_fault_action {
	FL_FAULT_RETRY,	 /* resolved: run the access again */
	FL_FAULT_QUEUE,	 /* give the message to the descriptor and wait, as without a handler */
	FL_FAULT_SIGBUS, /* raise SIGBUS for this access */
};
typedef enum fl_fault_action fl_fault_fn(struct fl_uffd *uffd, const struct fl_uffd_msg *msg, void *arg);

/*
 * Install the handler and its argument together (NULL: remove it). No fault gets one with the argument of another.
 * Faults that are being delivered may still reach the old one after this returns.
 * ENOMEM: the old one stays.
 */
FL_API int fl_uffd_set_handler(struct fl_uffd *uffd, fl_fault_fn *fn, void *arg);

/* ---- address spaces ------------------------------------------------------------------------------------- */

/*
 * The address space of this process, the same one at every call. The first call installs faultline's SIGSEGV handler;
 * handlers installed before it are chained. Then:
 *
 *   - mapping calls on registered memory must go through fl_munmap() and its siblings;
 *   - SIGSEGV must not be blocked;
 *   - a system call on a missing page of registered memory fails with EFAULT, as the kernel cannot fault into
 *     faultline: touch the pages first;
 *   - the process must not fork and go on in the child while memory is registered or has been: the child would share
 *     it. exec and posix_spawn are fine.
 *
 * libfaultline-preload.so, which takes care of all four, has an engine of its own: programs that run under it use
 * the system call, not this library.
 * ENOSYS: no native backend, or the host lacks what it needs (memfd_create, SIGSEGV with error codes). ENOMEM.
 */
FL_API int fl_mm_process(struct fl_mm **mm);

/*
 * A new soft address space, empty, whose pages come from a pool of at most `mem_bytes` bytes (rounded up to a page;
 * 0: 1 GiB). The memory is taken from the host as pages are first used. End it with fl_mm_destroy().
 * ENOMEM.
 */
FL_API int fl_mm_create(struct fl_mm **mm, uint64_t mem_bytes);

/* End a soft address space. => no other thread uses it. EBUSY: an object is still open. EINVAL: native. */
FL_API int fl_mm_destroy(struct fl_mm *mm);

/*
 * A copy of a soft address space, as fork(2) makes one: pages are shared until one of the two writes; nothing is
 * registered in the child, and the parent's registrations and write protection are as before. Both use the parent's
 * pool. End each with fl_mm_destroy(), in any order.
 * ENOMEM. EINVAL: native.
 */
FL_API int fl_mm_fork(struct fl_mm *parent, struct fl_mm **child);

/*
 * mmap(2), munmap(2), mprotect(2), mremap(2) and madvise(2) on an address space, with the system's PROT_*, MAP_*,
 * MREMAP_* and MADV_* values and their errnos. `hint` is mmap's addr argument; where the mapping is goes to *addr.
 *
 * A soft address space has the addresses from 64 KiB to 2^47 and knows anonymous memory, MAP_PRIVATE or MAP_SHARED,
 * with MAP_FIXED, MAP_FIXED_NOREPLACE and MAP_NORESERVE (EINVAL for other flags; EPERM below 64 KiB), and the advice
 * MADV_DONTNEED, _FREE, _REMOVE, _PAGEOUT, _COLLAPSE, _HUGEPAGE, _NOHUGEPAGE, _DONTFORK, _DOFORK, _WIPEONFORK,
 * _KEEPONFORK; the rest of madvise(2)'s is accepted without effect, or EINVAL.
 */
FL_API int fl_mmap(struct fl_mm *mm, uint64_t hint, uint64_t len, int prot, int flags, uint64_t *addr);
FL_API int fl_munmap(struct fl_mm *mm, uint64_t addr, uint64_t len);
FL_API int fl_mprotect(struct fl_mm *mm, uint64_t addr, uint64_t len, int prot);
FL_API int fl_mremap(struct fl_mm *mm, uint64_t old_addr, uint64_t old_len, uint64_t new_len, int flags,
		     uint64_t new_addr, uint64_t *addr);
FL_API int fl_madvise(struct fl_mm *mm, uint64_t addr, uint64_t len, int advice);

/*
 * Loads and stores on a soft address space, as instructions of its program: each may fault, and then waits until the
 * fault is resolved. They return 0, or the number of the signal that the program would receive (SIGSEGV, SIGBUS);
 * what lies before the faulting byte has then been transferred. Inside an aligned page an access is not torn by a
 * fill: a page appears whole. `buf` is memory of the process. Native: plain accesses; the signal is raised, not
 * returned.
 */
FL_API int fl_load(struct fl_mm *mm, uint64_t addr, void *buf, size_t len);
FL_API int fl_store(struct fl_mm *mm, uint64_t addr, const void *buf, size_t len);
FL_API int fl_copy(struct fl_mm *mm, uint64_t dst, uint64_t src, size_t len);

/*
 * The same, as the kernel does it for a system call: for emulators that implement system calls with buffers in guest
 * memory. On memory of an object opened with UFFD_USER_MODE_ONLY a missing page is EFAULT, as userfaultfd(2) says.
 * EFAULT: some of it has been transferred.
 */
FL_API int fl_copy_from_user(struct fl_mm *mm, void *buf, uint64_t addr, size_t len);
FL_API int fl_copy_to_user(struct fl_mm *mm, uint64_t addr, const void *buf, size_t len);

/*
 * Bits of a page's word in /proc/self/pagemap: Documentation/admin-guide/mm/pagemap.rst, and soft-dirty.rst beside
 * it.
 */
#define FL_PM_SOFT_DIRTY (1ull << 55)
#define FL_PM_EXCLUSIVE	 (1ull << 56)
#define FL_PM_UFFD_WP	 (1ull << 57)
#define FL_PM_GUARD	 (1ull << 58)
#define FL_PM_FILE	 (1ull << 61)
#define FL_PM_SWAP	 (1ull << 62)
#define FL_PM_PRESENT	 (1ull << 63)

/*
 * The words of `nr` pages from the page of `addr` on, as /proc/self/pagemap would have them; frame numbers are 0, as
 * for a reader without CAP_SYS_ADMIN. Native: the words of memory that was never registered are 0; the system's file
 * has them. EINVAL: not below 2^47.
 */
FL_API int fl_mm_pagemap(struct fl_mm *mm, uint64_t addr, size_t nr, uint64_t *words);

/* As writing "4" to /proc/self/clear_refs: no page is soft-dirty from now on until it is written to. ENOMEM. */
FL_API int fl_mm_clear_soft_dirty(struct fl_mm *mm);

/*
 * Move the pages of a range of a soft address space to other frames, as the kernel does to balance or compact
 * memory: the program must not notice. *moved: how many pages did; those that are not there, or are shared with a
 * forked space, stay. (MADV_PAGEOUT does the like to a swap area.)
 * EINVAL: not all mapped. ENOMEM: some may have moved. EOPNOTSUPP: native.
 */
FL_API int fl_mm_migrate(struct fl_mm *mm, uint64_t addr, uint64_t len, uint64_t *moved);

/* Bytes of metadata (page tables, folios, mappings, caches) that the address space holds now. */
FL_API uint64_t fl_mm_metadata_bytes(struct fl_mm *mm);

/* ---- shared memory of soft address spaces --------------------------------------------------------------- */

struct fl_shmem; /* what a memfd_create(2) file is to processes: in memory only, and several spaces may map it */

/*
 * A shared memory object of `size` bytes (up to 512 GiB), whose pages come from the pool of `mm`: `mm`, and spaces
 * that are forked from it, may map it. fl_shmem_close() when the caller no longer needs it; mappings keep it.
 * ENOMEM. EFBIG: too large. ENODEV: native.
 */
FL_API int fl_shmem_create(struct fl_mm *mm, uint64_t size, struct fl_shmem **shmem);
FL_API void fl_shmem_close(struct fl_shmem *shmem);

/*
 * With `on`, where 2 MiB of the object, at a multiple of that, are a hole, it is filled by a huge page: as tmpfs(5)
 * does with huge=always. A huge page is mapped whole where a mapping allows it, and split when a part of it is
 * truncated or punched.
 */
FL_API void fl_shmem_huge(struct fl_shmem *shmem, int on);

/*
 * mmap(2) of it, MAP_SHARED or MAP_PRIVATE, from the byte `offset` (whole pages) on; otherwise as fl_mmap(). An
 * access behind its end is SIGBUS. ENODEV: native.
 */
FL_API int fl_mmap_shmem(struct fl_mm *mm, uint64_t hint, uint64_t len, int prot, int flags, struct fl_shmem *shmem,
			 uint64_t offset, uint64_t *addr);

/*
 * As ftruncate(2), fallocate(2) with FALLOC_FL_PUNCH_HOLE, pread(2), pwrite(2), and lseek(2) with SEEK_DATA on a
 * file, with their errnos. Mappings see what these do, and lose pages that are dropped. *data: the first byte at or
 * after `offset` that is in no hole; ENXIO: there is none.
 */
FL_API int fl_shmem_truncate(struct fl_shmem *shmem, uint64_t size);
FL_API int fl_shmem_punch(struct fl_shmem *shmem, uint64_t offset, uint64_t len);
FL_API ssize_t fl_shmem_read(struct fl_shmem *shmem, void *buf, size_t len, uint64_t offset);
FL_API ssize_t fl_shmem_write(struct fl_shmem *shmem, const void *buf, size_t len, uint64_t offset);
FL_API int fl_shmem_data(struct fl_shmem *shmem, uint64_t offset, uint64_t *data);

/* ---- which pages are in use: the access sampler ---------------------------------------------------------- */

/*
 * Watch a range: each page loses its rights until it is touched, and fl_sample_look() tells which were. Works on any
 * private anonymous memory, registered or not; natively it becomes faultline's as by a registration. Until
 * fl_sample_stop() every first access after a look costs a fault.
 * EINVAL: not whole pages, nothing mapped there, or memory that could not be registered. ENOMEM.
 */
FL_API int fl_sample_start(struct fl_mm *mm, uint64_t addr, uint64_t len);
FL_API int fl_sample_stop(struct fl_mm *mm, uint64_t addr, uint64_t len);

/*
 * Which pages of the range were touched since the last look (or the start)? vec[i], unless vec is NULL, becomes 1 or
 * 0 for the ith page; *touched: how many were. Where MADV_HUGEPAGE was asked for, the pages of a huge one count
 * together. An access during the look is reported by this one or by the next, once.
 * EINVAL: not all of the range is watched. EFAULT: vec. After either, some of what was seen may be lost.
 */
FL_API int fl_sample_look(struct fl_mm *mm, uint64_t addr, uint64_t len, uint8_t *vec, uint64_t *touched);

/*
 * What the sampling costs: of elapsed_ns nanoseconds since the first start, the threads have together spent fault_ns
 * in `faults` faults that it has caused, which is measured (the host's part of a fault once, at the start).
 */
struct fl_sample_cost {
	uint64_t faults, fault_ns, elapsed_ns;
};
FL_API void fl_sample_get_cost(struct fl_mm *mm, struct fl_sample_cost *cost);

#ifdef __cplusplus
}
#endif
#endif
