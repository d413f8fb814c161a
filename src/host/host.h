/* SPDX-License-Identifier: MIT */
/*
 * host.h - the operating system, as faultline uses it: memory and files. task.h has time, threads and signals,
 * socket.h the descriptors of objects. Nothing above src/host makes a system call, and tests/sim has a model in place
 * of host.c and maps.c.
 *
 * For every function:
 *   - A result below 0 is -errno; otherwise it is 0, or the address, descriptor, offset or count that was asked for.
 *     errno is not touched. No call is a cancellation point, and none is seen by code that interposes libc.
 *   - Async-signal-safe. No lock is taken, so any lock may be held; a call may sleep in the kernel.
 *   - EAGAIN and EINTR that only mean "ask again" are retried inside.
 *   - Addresses and lengths are multiples of the page size, unless the call is the program's own.
 *   - -ENOMEM is for want of memory, or of room in the process's table of mappings (vm.max_map_count): a change to a
 *     part of a mapping needs one or two more. Giving back what a part had before joins them again.
 *   - A sandbox may refuse any call, with -EPERM or -ENOSYS.
 *
 * A fault point in brackets, [GUARD], can make the function fail with -ENOMEM before anything has changed. Functions
 * without one are used where a failure could not be undone, and for the program's own calls, where it could not be
 * told from the host's.
 */
#ifndef FL_HOST_HOST_H
#define FL_HOST_HOST_H

#include "host/inject.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>

/* Constants that are younger than the C libraries we build with. */
#ifndef MADV_COLD
#define MADV_COLD 20
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ  22
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE  103
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif
#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
#define FL_PROT_SEM 8 /* mprotect(2) takes it; it means nothing on the machines we run on */

/* Is the result of a function, or of a system call, -errno? Also of those that return addresses. */
static inline bool fl_host_failed(long ret)
{
	return (unsigned long)ret > -4096ul;
}

/* ---- the program's own calls, as it made them: flags and errors are those of section 2 of the manual ---- */

long fl_host_mmap(uint64_t addr, uint64_t len, int prot, int flags, int fd, uint64_t offset);
int fl_host_munmap(uint64_t addr, uint64_t len);
int fl_host_mprotect(uint64_t addr, uint64_t len, int prot);
int fl_host_pkey_mprotect(uint64_t addr, uint64_t len, int prot, int pkey);
long fl_host_mremap(uint64_t addr, uint64_t old_len, uint64_t new_len, int flags, uint64_t new_addr);
int fl_host_madvise(uint64_t addr, uint64_t len, int advice);
int fl_host_mincore(uint64_t addr, uint64_t len, unsigned char *in);
/* flags as of mlock2(2), since Linux 4.4; 0 is mlock(2) everywhere */
int fl_host_mlock(uint64_t addr, uint64_t len, unsigned flags);
int fl_host_munlock(uint64_t addr, uint64_t len);
int fl_host_mlockall(int flags);
int fl_host_munlockall(void);
/* The end of the heap: the new one, or the old one if it cannot be so. */
uint64_t fl_host_brk(uint64_t addr);
long fl_host_shmat(int id, uint64_t addr, int flags);
/* The size of a segment; 0: it cannot be known. */
uint64_t fl_host_shm_size(int id);
int fl_host_remap_file_pages(uint64_t addr, uint64_t len, uint64_t pgoff, int flags);
int fl_host_ftruncate(int fd, uint64_t size);
int fl_host_truncate(const char *path, uint64_t size);
int fl_host_fallocate(int fd, int mode, uint64_t offset, uint64_t len);
/* Any other call, by its number. */
long fl_host_call(long nr, long a, long b, long c, long d, long e, long f);

/* ---- mapping ---- */

/* Private anonymous memory anywhere, of which only what is written costs memory. */
long fl_host_map(uint64_t len, int prot);
/*
 * The same, without rights, at an address: in place of what is there, or -EEXIST if something is. Also before 4.17.
 */
int fl_host_map_over(uint64_t addr, uint64_t len);
int fl_host_map_beside(uint64_t addr, uint64_t len);
/*
 * Shared anonymous memory without rights at an address, of which only what is written costs memory; it is not locked,
 * whatever mlockall() said, and not dumped. -EEXIST if something is there. [POOL]
 */
int fl_host_map_shared_beside(uint64_t addr, uint64_t len);
/*
 * A process has inherited it: make it one of its own with the same contents, again without rights. => no other thread
 * uses it, nor writes to what was inherited
 */
int fl_host_unshare(uint64_t addr, uint64_t len);
/*
 * `len` bytes of addresses, at 2 MiB, where nothing is mapped, nor will be unless a program asks for the very place:
 * far from where the host begins to look. Nothing is reserved.
 */
long fl_host_free_range(uint64_t len);
/* A file, shared, anywhere; or at `addr`, in place of what is there. [fp] */
long fl_host_map_file(int fd, uint64_t offset, uint64_t len, int prot);
int fl_host_map_file_at(int fd, uint64_t offset, uint64_t len, int prot, uint64_t addr, enum fl_inject_point fp);
/*
 * Move the pages of a private mapping elsewhere, at the same offset into 2 MiB, and leave it mapped and empty. Before
 * 5.7 the range is unmapped for a moment. => no access to the range succeeds: it is without rights
 */
long fl_host_move_aside(uint64_t start, uint64_t len);
/* Undo it. The mapping at `aside` is gone then. */
int fl_host_move_back(uint64_t aside, uint64_t len, uint64_t start);
/* A second mapping of the same shared pages, with the rights of the first, anywhere, or at `to` if that is not 0. */
long fl_host_alias(uint64_t addr, uint64_t len, uint64_t to);

/* ---- what is mapped ---- */

/* mprotect(2) for the cache of rights, which absorbs a failure. [PROTECT] */
int fl_host_protect(uint64_t start, uint64_t len, int prot);
/*
 * Guard markers: an access to the pages raises SIGSEGV, whatever the rights of their mapping, which stays in one
 * piece. A page that was there is dropped from the host's tables. Since 6.13, for shared mappings of files since
 * 6.15. -EINVAL before, and always for locked memory. [GUARD]
 */
int fl_host_guard(uint64_t start, uint64_t len);
/* The same pages without markers. [GUARD] */
int fl_host_unguard(uint64_t start, uint64_t len);
/* The same, to undo. */
void fl_host_unguard_all(uint64_t start, uint64_t len);
/* Are there guard markers for shared memory, and do they survive mprotect()? */
bool fl_host_guard_works(void);
/* The pages leave the process's tables; those of a file stay in its cache. */
int fl_host_drop(uint64_t start, uint64_t len);
/* The pages enter the process's tables. Since 5.14; -EINVAL before. */
int fl_host_populate(uint64_t start, uint64_t len, bool write);
/* An aligned 2 MiB becomes one folio, mapped in one piece. Since 6.1; -EINVAL before, -EAGAIN, -EBUSY. */
int fl_host_collapse(uint64_t start);
/* The same for an aligned 2 MiB of a file, wherever it is mapped. [COLLAPSE] */
int fl_host_collapse_file(int fd, uint64_t offset);
/* The pages of shared memory, and their memory, go back to the host. */
int fl_host_remove(uint64_t start, uint64_t len);
/* Leave it out of core dumps, or not. */
void fl_host_dump(uint64_t start, uint64_t len, bool dump);
/* Is the private mapping locked? => a part of one mapping */
bool fl_host_locked(uint64_t start, uint64_t len);

/* A mapping of the process. */
struct fl_host_map {
	uint64_t start, end;
	int prot;
	bool anon; /* private, anonymous, and no special mapping of the kernel's */
	bool shared;
	uint64_t offset, dev, inode; /* of a file */
};

/*
 * The first mapping of the program's that ends above addr; the engine's own memory is none (own.h). 1 found, 0 none.
 * Since 6.11 in one step, otherwise by reading. [MAPS]
 */
int fl_host_maps_next(uint64_t addr, struct fl_host_map *map);
/* The same, with the engine's own memory. */
int fl_host_maps_at(uint64_t addr, struct fl_host_map *map);
/* All mappings, to fn. Some may be gone by then, if there are threads. [LOOK] */
int fl_host_maps_walk(void (*fn)(const struct fl_host_map *map, void *data), void *data);
/* How many mappings the process has, and may have. 0: it cannot be known. [MAPS] */
uint64_t fl_host_maps_count(void);
uint64_t fl_host_maps_max(void);
/* What was advised of the mapping at addr. Slow, since it is found by reading. */
#define FL_HOST_DONTFORK   0x1u
#define FL_HOST_WIPEONFORK 0x2u
#define FL_HOST_HUGEPAGE   0x4u
#define FL_HOST_NOHUGEPAGE 0x8u
#define FL_HOST_DONTDUMP   0x10u
#define FL_HOST_SEQUENTIAL 0x20u
#define FL_HOST_RANDOM	   0x40u
unsigned fl_host_maps_advice(uint64_t addr);
/*
 * The next run of pages in [*start, end) that hold data (present or swapped), all of one kind as far as the host
 * tells: private pages, the zero page, pages of a file. 1 found, 0 none. The kinds are told since 6.7; before, all is
 * data. A process that may not read its own pagemap, as after setuid(), brings the pages in from swap.
 */
enum fl_run { FL_RUN_DATA, FL_RUN_ZERO, FL_RUN_FILE };
int fl_host_resident_next(uint64_t *start, uint64_t end, uint64_t *run_end, enum fl_run *what);
/*
 * The same of shared memory, where what is in the file need not be in the process's tables. A process that may not
 * read its pagemap knows of none: it faults once more.
 */
int fl_host_shown_next(uint64_t *start, uint64_t end, uint64_t *run_end);
/*
 * The next run of pages in [*start, end) of one mapping of shared memory that have memory, in the page cache; where
 * there is swap, of the others those that hold more than zeros. 1 found, 0 none. => the mapping may be read
 */
int fl_host_data_next(uint64_t *start, uint64_t end, uint64_t *run_end);
/* The most memory that the process may use: of the machine, or of the cgroup that is known to limit it. */
uint64_t fl_host_memory_limit(void);
/* The same for all of a range, of which little or much may be there: 1, 0 at the end, -errno. */
#define FL_HOST_RUNS 32
struct fl_host_run {
	uint64_t start, end;
	enum fl_run what;
};
struct fl_host_scan {
	int fd;
	bool one; /* the host tells of one run at a time */
	uint64_t at, end;
	unsigned i, nr;
	struct fl_host_run run[FL_HOST_RUNS];
};
void fl_host_scan_begin(struct fl_host_scan *s, uint64_t start, uint64_t end);
int fl_host_scan_next(struct fl_host_scan *s, struct fl_host_run *run);
void fl_host_scan_end(struct fl_host_scan *s);
/*
 * The next run of guard markers in [*start, end). 1, 0: none, or the host does not tell, as before 6.15. They are no
 * data to fl_host_resident_next().
 */
int fl_host_guarded_next(uint64_t *start, uint64_t end, uint64_t *run_end);
/* A NUMA policy, set_mempolicy(2). */
#define FL_HOST_NODES 1024
struct fl_host_policy {
	int mode;
	unsigned long nodes[FL_HOST_NODES / (8 * sizeof(unsigned long))];
};
/* That of the memory at addr. false: it has none, or the host knows of none. */
bool fl_host_policy_get(uint64_t addr, struct fl_host_policy *policy);
/* NULL: none any more. What the host refuses stays as it is. */
void fl_host_policy_set(uint64_t start, uint64_t len, const struct fl_host_policy *policy);
/*
 * The first page at or above *start, below `end`, that holds data, or that holds none. It is asked faster than for
 * runs. 1 found, 0 none
 */
int fl_host_page_next(uint64_t *start, uint64_t end, bool data);
/* Are these 2 MiB mapped in one piece? Before 6.7 the host does not tell: false. */
bool fl_host_mapped_huge(uint64_t addr);

/* ---- files ---- */

struct fl_host_file {
	uint64_t dev, inode, size;
	uint32_t mode; /* st_mode */
};

int fl_host_fstat(int fd, struct fl_host_file *file);
int fl_host_stat(const char *path, struct fl_host_file *file);
/* A file in memory, of size 0, close-on-exec. `name` is for people. [fp] */
int fl_host_memfd(const char *name, enum fl_inject_point fp);
/* openat(2) from the working directory, close-on-exec unless O_CLOEXEC is not among the flags. */
int fl_host_open(const char *path, int flags);
/*
 * Opens /proc/PID/fd/N, to read and to write, if that is a file in memory of at least `size` bytes that never
 * shrinks. The name may come from anybody: another is not opened, for that alone may have effects, or wait. -EINVAL
 */
int fl_host_open_sealed(const char *path, uint64_t size);
void fl_host_close(int fd);
/*
 * Another descriptor of the same file, at FL_HOST_FD_HIGH or above: out of the way of programs that expect the lowest
 * numbers, or close them all. -EMFILE, -EINVAL: there is no such place. [fp]
 */
#define FL_HOST_FD_HIGH 900
int fl_host_fd_high(int fd, bool cloexec, enum fl_inject_point fp);
/*
 * The descriptor itself, moved there; it stays where it is if there is no such place. => nothing else uses the number
 */
int fl_host_fd_move_high(int fd, bool cloexec);
/*
 * The file of a descriptor, opened anew for reading and writing: with a position and flags of its own. -errno: there
 * is no /proc, or the file is not this process's to open.
 */
int fl_host_fd_reopen(int fd);
/* Is it open for reading and for writing? */
bool fl_host_fd_rdwr(int fd);
/* Has any process a record lock on the file, fcntl(2)? To close a descriptor of it would drop this process's. */
bool fl_host_record_locked(int fd);
/* Is it shared memory: in tmpfs, which has memfds and shared anonymous memory, too? */
bool fl_host_is_shmem(int fd);
/* The shared memory behind a mapping [start, end), opened anew. -EINVAL: it is none; -EPERM: not for this process. */
int fl_host_open_mapping(uint64_t start, uint64_t end);
/* Can this process do that at all? */
bool fl_host_opens_mappings(void);
/* The largest file that the process may write, RLIMIT_FSIZE. */
uint64_t fl_host_file_limit(void);

/* How much was read or written, which may be less. -EFAULT: the buffer is hidden, or not there. [FILL], [fp] */
long fl_host_pread(int fd, void *buf, uint64_t len, uint64_t offset);
long fl_host_pwrite(int fd, const void *buf, uint64_t len, uint64_t offset, enum fl_inject_point fp);
/* The first data, or hole, at `offset` or above: lseek(2). -ENXIO: none. The end of a file begins a hole. */
int64_t fl_host_next_data(int fd, uint64_t offset);
int64_t fl_host_next_hole(int fd, uint64_t offset);
/*
 * How many pages of [offset, offset + len) the file has, those that fallocate(2) reserved among them, which to
 * SEEK_DATA are holes. -errno: the host does not tell. Since 6.5; the file's position is neither used nor changed.
 */
int64_t fl_host_file_has(int fd, uint64_t offset, uint64_t len);

#endif
