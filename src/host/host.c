/* SPDX-License-Identifier: MIT */
/* host.c - mappings, what is mapped, and files. maps.c has what is read from /proc. */
#include "host/host.h"

#include "arch/syscall.h"
#include "host/count.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <linux/mempolicy.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define PAGE  4096u
#define PIECE (2ull << 20)

/* ---- the program's own calls ---- */

long fl_host_mmap(uint64_t addr, uint64_t len, int prot, int flags, int fd, uint64_t offset)
{
	if (sizeof(long) < sizeof(offset)) /* it counts pages there: arch/generic/syscall.h */
		offset /= PAGE;
	fl_count(host_mmap, 1);
	return fl_sys(SYS_mmap, addr, len, prot, flags, fd, offset);
}

int fl_host_munmap(uint64_t addr, uint64_t len)
{
	fl_count(host_mmap, 1);
	return (int)fl_sys(SYS_munmap, addr, len);
}

int fl_host_mprotect(uint64_t addr, uint64_t len, int prot)
{
	fl_count(host_mprotect, 1);
	return (int)fl_sys(SYS_mprotect, addr, len, prot);
}

int fl_host_pkey_mprotect(uint64_t addr, uint64_t len, int prot, int pkey)
{
	fl_count(host_mprotect, 1);
	return (int)fl_sys(SYS_pkey_mprotect, addr, len, prot, pkey);
}

long fl_host_mremap(uint64_t addr, uint64_t old_len, uint64_t new_len, int flags, uint64_t new_addr)
{
	fl_count(host_mmap, 1);
	return fl_sys(SYS_mremap, addr, old_len, new_len, flags, new_addr);
}

int fl_host_madvise(uint64_t addr, uint64_t len, int advice)
{
	fl_count(host_madvise, 1);
	return (int)fl_sys(SYS_madvise, addr, len, advice);
}

int fl_host_mincore(uint64_t addr, uint64_t len, unsigned char *in)
{
	return (int)fl_sys(SYS_mincore, addr, len, in);
}

int fl_host_mlock(uint64_t addr, uint64_t len, unsigned flags)
{
	return (int)(flags ? fl_sys(SYS_mlock2, addr, len, flags) : fl_sys(SYS_mlock, addr, len));
}

int fl_host_munlock(uint64_t addr, uint64_t len)
{
	return (int)fl_sys(SYS_munlock, addr, len);
}

int fl_host_mlockall(int flags)
{
	return (int)fl_sys(SYS_mlockall, flags);
}

int fl_host_munlockall(void)
{
	return (int)fl_sys(SYS_munlockall, 0);
}

uint64_t fl_host_brk(uint64_t addr)
{
	return (uint64_t)fl_sys(SYS_brk, addr);
}

long fl_host_shmat(int id, uint64_t addr, int flags)
{
	fl_count(host_mmap, 1);
	return fl_sys(SYS_shmat, id, addr, flags);
}

uint64_t fl_host_shm_size(int id)
{
	struct shmid_ds ds;

	return fl_sys(SYS_shmctl, id, IPC_STAT, &ds) ? 0 : ds.shm_segsz;
}

int fl_host_remap_file_pages(uint64_t addr, uint64_t len, uint64_t pgoff, int flags)
{
	fl_count(host_mmap, 1);
	return (int)fl_sys(SYS_remap_file_pages, addr, len, 0, pgoff, flags);
}

int fl_host_ftruncate(int fd, uint64_t size)
{
	fl_count(host_file, 1);
	return (int)fl_sys(SYS_ftruncate, fd, size);
}

int fl_host_truncate(const char *path, uint64_t size)
{
	fl_count(host_file, 1);
	return (int)fl_sys(SYS_truncate, path, size);
}

int fl_host_fallocate(int fd, int mode, uint64_t offset, uint64_t len)
{
	fl_count(host_madvise, 1);
	return (int)fl_sys(SYS_fallocate, fd, mode, offset, len);
}

long fl_host_call(long nr, long a, long b, long c, long d, long e, long f)
{
	return fl_sys(nr, a, b, c, d, e, f);
}

/* ---- mapping ---- */

#define NOTHING (MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE)

long fl_host_map(uint64_t len, int prot)
{
	return fl_host_mmap(0, len, prot, NOTHING, -1, 0);
}

int fl_host_map_over(uint64_t addr, uint64_t len)
{
	long ret = fl_host_mmap(addr, len, PROT_NONE, NOTHING | MAP_FIXED, -1, 0);

	return fl_host_failed(ret) ? (int)ret : 0;
}

/* Before 4.17 the flag is not known, and the address a wish. */
int fl_host_map_beside(uint64_t addr, uint64_t len)
{
	long ret = fl_host_mmap(addr, len, PROT_NONE, NOTHING | MAP_FIXED_NOREPLACE, -1, 0);

	if (fl_host_failed(ret))
		return (int)ret;
	if ((uint64_t)ret == addr)
		return 0;
	fl_host_munmap((uint64_t)ret, len);
	return -EEXIST;
}

long fl_host_map_file(int fd, uint64_t offset, uint64_t len, int prot)
{
	return fl_host_mmap(0, len, prot, MAP_SHARED | MAP_NORESERVE, fd, offset);
}

int fl_host_map_file_at(int fd, uint64_t offset, uint64_t len, int prot, uint64_t addr, enum fl_inject_point fp)
{
	const int flags = MAP_SHARED | MAP_FIXED | MAP_NORESERVE;
	long ret = fl_fail(fp) ? -ENOMEM : fl_host_mmap(addr, len, prot, flags, fd, offset);

	return fl_host_failed(ret) ? (int)ret : 0;
}

/* Room for `len` bytes, as far into 2 MiB as `like`. The rest of it is given back. */
static long aligned_room(uint64_t like, uint64_t len)
{
	long room = fl_host_map(len + PIECE, PROT_NONE);
	uint64_t at = (uint64_t)room + ((like - (uint64_t)room) & (PIECE - 1));

	if (fl_host_failed(room))
		return room;
	if (at > (uint64_t)room)
		fl_host_munmap((uint64_t)room, at - (uint64_t)room);
	if (at < (uint64_t)room + PIECE)
		fl_host_munmap(at + len, (uint64_t)room + PIECE - at);
	return (long)at;
}

/*
 * As the host moves it, but to such a place: what is mapped in one piece stays so. (A file's would not be mapped at
 * all.)
 */
static long move_aligned(uint64_t start, uint64_t len)
{
	const int flags = MREMAP_MAYMOVE | MREMAP_DONTUNMAP;
	long room = len < PIECE ? -ENOMEM : aligned_room(start, len), aside;

	if (fl_host_failed(room))
		return fl_host_mremap(start, len, len, flags, 0);
	aside = fl_host_mremap(start, len, len, flags | MREMAP_FIXED, (uint64_t)room);
	if (fl_host_failed(aside))
		fl_host_munmap((uint64_t)room, len);
	return aside;
}

/* Before 5.7 there is no DONTUNMAP. */
static int move_over(uint64_t start, uint64_t len, uint64_t to, bool leave)
{
	const int flags = MREMAP_MAYMOVE | MREMAP_FIXED;
	long ret = leave ? fl_host_mremap(start, len, len, flags | MREMAP_DONTUNMAP, to) : -EINVAL;

	if (ret != -EINVAL)
		return fl_host_failed(ret) ? (int)ret : 0;
	ret = fl_host_mremap(start, len, len, flags, to);
	if (leave && !fl_host_failed(ret))
		fl_host_map_over(start, len);
	return fl_host_failed(ret) ? (int)ret : 0;
}

/* Mapping by mapping. *done: how much is there, when it fails */
static int move_parts(uint64_t start, uint64_t len, uint64_t to, bool leave, uint64_t *done)
{
	int err = 0;

	for (*done = 0; *done < len && !err;) {
		uint64_t at = start + *done, n;
		struct fl_host_map map;
		int ret = fl_host_maps_next(at, &map);

		if (ret != 1 || map.start > at)
			return ret < 0 ? ret : -EFAULT;
		n = map.end - at < len - *done ? map.end - at : len - *done;
		err = move_over(at, n, to + *done, leave);
		if (!err)
			*done += n;
	}
	return err;
}

/* Advice may have made several mappings of it. */
static long move_aside_parts(uint64_t start, uint64_t len)
{
	long room = fl_host_map(len, PROT_NONE);
	uint64_t done, back;
	int err;

	if (fl_host_failed(room))
		return room;
	err = move_parts(start, len, (uint64_t)room, true, &done);
	if (!err)
		return room;
	move_parts((uint64_t)room, done, start, false, &back);
	fl_host_munmap((uint64_t)room, len);
	return err;
}

long fl_host_move_aside(uint64_t start, uint64_t len)
{
	long aside = move_aligned(start, len);

	return aside == -EINVAL || aside == -EFAULT ? move_aside_parts(start, len) : aside;
}

int fl_host_move_back(uint64_t aside, uint64_t len, uint64_t start)
{
	long ret = fl_host_mremap(aside, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, start);
	uint64_t done;

	return ret == -EFAULT ? move_parts(aside, len, start, false, &done) : fl_host_failed(ret) ? (int)ret : 0;
}

long fl_host_alias(uint64_t addr, uint64_t len, uint64_t to)
{
	return fl_host_mremap(addr, 0, len, MREMAP_MAYMOVE | (to ? MREMAP_FIXED : 0), to);
}

/* ---- what is mapped ---- */

int fl_host_protect(uint64_t start, uint64_t len, int prot)
{
	return fl_fail(FL_FP_PROTECT) ? -ENOMEM : fl_host_mprotect(start, len, prot);
}

static int mark(uint64_t start, uint64_t len, int advice)
{
	long ret;

	fl_count(host_guard, 1);
	do
		ret = fl_sys(SYS_madvise, start, len, advice);
	while (ret == -EAGAIN || ret == -EINTR);
	return (int)ret;
}

int fl_host_guard(uint64_t start, uint64_t len)
{
	return fl_fail(FL_FP_GUARD) ? -ENOMEM : mark(start, len, MADV_GUARD_INSTALL);
}

int fl_host_unguard(uint64_t start, uint64_t len)
{
	return fl_fail(FL_FP_GUARD) ? -ENOMEM : mark(start, len, MADV_GUARD_REMOVE);
}

void fl_host_unguard_all(uint64_t start, uint64_t len)
{
	mark(start, len, MADV_GUARD_REMOVE);
}

bool fl_host_guard_works(void)
{
	long p = fl_host_mmap(0, PAGE, PROT_NONE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	bool ok;

	if (fl_host_failed(p))
		return false;
	fl_host_munlock((uint64_t)p, PAGE);
	ok = mark((uint64_t)p, PAGE, MADV_GUARD_INSTALL) == 0 &&
	     fl_host_mprotect((uint64_t)p, PAGE, PROT_READ) == 0 && mark((uint64_t)p, PAGE, MADV_GUARD_REMOVE) == 0;
	fl_host_munmap((uint64_t)p, PAGE);
	return ok;
}

int fl_host_drop(uint64_t start, uint64_t len)
{
	return fl_host_madvise(start, len, MADV_DONTNEED);
}

int fl_host_populate(uint64_t start, uint64_t len, bool write)
{
	return fl_host_madvise(start, len, write ? MADV_POPULATE_WRITE : MADV_POPULATE_READ);
}

int fl_host_collapse(uint64_t start)
{
	return fl_host_madvise(start, PIECE, MADV_COLLAPSE);
}

/* The host does it by a mapping, which has to be aligned: one of its own, where nothing is hidden. */
int fl_host_collapse_file(int fd, uint64_t offset)
{
	long room = fl_fail(FL_FP_COLLAPSE) ? -ENOMEM : aligned_room(0, PIECE);
	int err;

	if (fl_host_failed(room))
		return -ENOMEM;
	err = fl_host_map_file_at(fd, offset, PIECE, PROT_NONE, (uint64_t)room, FL_FP_NONE);
	if (!err)
		err = fl_host_collapse((uint64_t)room);
	fl_host_munmap((uint64_t)room, PIECE);
	return err;
}

void fl_host_dump(uint64_t start, uint64_t len, bool dump)
{
	fl_host_madvise(start, len, dump ? MADV_DODUMP : MADV_DONTDUMP);
}

/*
 * The host refuses this hint for locked memory, and only for that: madvise(2). Of what it maps in one piece all has
 * to be hinted at, or the piece comes apart.
 */
bool fl_host_locked(uint64_t start, uint64_t len)
{
	uint64_t piece = (start + PIECE - 1) & ~(PIECE - 1);
	bool whole = piece + PIECE <= start + len;

	return fl_host_madvise(whole ? piece : start, whole ? PIECE : PAGE, MADV_COLD) == -EINVAL;
}

bool fl_host_policy_get(uint64_t addr, struct fl_host_policy *policy)
{
	memset(policy, 0, sizeof(*policy));
	return fl_sys(SYS_get_mempolicy, &policy->mode, policy->nodes, FL_HOST_NODES, addr, MPOL_F_ADDR) == 0 &&
	       policy->mode != MPOL_DEFAULT;
}

void fl_host_policy_set(uint64_t start, uint64_t len, const struct fl_host_policy *policy)
{
	if (policy) {
		fl_sys(SYS_mbind, start, len, policy->mode, policy->nodes, FL_HOST_NODES, 0);
		return;
	}
	/* a mapping for which none was set by itself is taken for one that has none, whatever its pages have */
	fl_sys(SYS_mbind, start, len, MPOL_LOCAL, NULL, 0, 0);
	fl_sys(SYS_mbind, start, len, MPOL_DEFAULT, NULL, 0, 0);
}

/* ---- files ---- */

static int file_of(long ret, const struct stat *st, struct fl_host_file *file)
{
	fl_count(host_file, 1);
	if (!ret)
		*file = (struct fl_host_file){st->st_dev, st->st_ino, (uint64_t)st->st_size, st->st_mode};
	return (int)ret;
}

int fl_host_fstat(int fd, struct fl_host_file *file)
{
	struct stat st;

	return file_of(FL_SYS_FSTAT(fd, &st), &st, file);
}

int fl_host_stat(const char *path, struct fl_host_file *file)
{
	struct stat st;

	return file_of(fl_sys(SYS_newfstatat, AT_FDCWD, path, &st, 0), &st, file);
}

int fl_host_memfd(const char *name, enum fl_inject_point fp)
{
	return fl_fail(fp) ? -ENOMEM : (int)fl_sys(SYS_memfd_create, name, MFD_CLOEXEC);
}

int fl_host_open(const char *path, int flags)
{
	fl_count(host_file, 1);
	return (int)fl_sys(SYS_openat, AT_FDCWD, path, flags, 0);
}

static const char *after_digits(const char *s)
{
	return s + strspn(s, "0123456789");
}

int fl_host_open_sealed(const char *path, uint64_t size)
{
	static const char proc[] = "/proc/", fds[] = "/fd/";
	const char *at = path + sizeof(proc) - 1;
	struct fl_host_file file = {0};
	long seals;
	int fd;

	if (strncmp(path, proc, sizeof(proc) - 1) != 0 || strncmp(after_digits(at), fds, sizeof(fds) - 1) != 0 ||
	    *after_digits(after_digits(at) + sizeof(fds) - 1) || fl_host_stat(path, &file) || !S_ISREG(file.mode))
		return -EINVAL;
	fd = fl_host_open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return fd;
	seals = fl_sys(SYS_fcntl, fd, F_GET_SEALS);
	if (seals >= 0 && (seals & F_SEAL_SHRINK) && fl_host_fstat(fd, &file) == 0 && file.size >= size)
		return fd;
	fl_host_close(fd);
	return -EINVAL;
}

void fl_host_close(int fd)
{
	fl_sys(SYS_close, fd);
}

int fl_host_fd_high(int fd, bool cloexec, enum fl_inject_point fp)
{
	return fl_fail(fp) ? -ENOMEM
			   : (int)fl_sys(SYS_fcntl, fd, cloexec ? F_DUPFD_CLOEXEC : F_DUPFD, FL_HOST_FD_HIGH);
}

int fl_host_fd_move_high(int fd, bool cloexec)
{
	int high = fl_host_fd_high(fd, cloexec, FL_FP_NONE);

	if (high < 0)
		return fd;
	fl_host_close(fd);
	return high;
}

int fl_host_fd_reopen(int fd)
{
	char path[sizeof("/proc/self/fd/") + 10] = "/proc/self/fd/", digits[10];
	size_t len = strlen(path), n = 0;

	do
		digits[n++] = (char)('0' + fd % 10);
	while (fd /= 10);
	while (n)
		path[len++] = digits[--n];
	return fl_host_open(path, O_RDWR | O_CLOEXEC);
}

bool fl_host_fd_rdwr(int fd)
{
	long flags = fl_sys(SYS_fcntl, fd, F_GETFL, 0);

	return !fl_host_failed(flags) && (flags & O_ACCMODE) == O_RDWR;
}

/* As if for the open file: with that the process's own locks conflict, too. */
bool fl_host_record_locked(int fd)
{
	struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	return fl_sys(SYS_fcntl, fd, F_OFD_GETLK, &l) == 0 && l.l_type != F_UNLCK;
}

bool fl_host_is_shmem(int fd)
{
	struct statfs fs;

	return fl_sys(SYS_fstatfs, fd, &fs) == 0 && fs.f_type == TMPFS_MAGIC;
}

uint64_t fl_host_file_limit(void)
{
	struct rlimit limit = {0, 0};

	return fl_sys(SYS_prlimit64, 0, RLIMIT_FSIZE, NULL, &limit) ? 0 : limit.rlim_cur;
}

static long transfer(long nr, int fd, const void *buf, uint64_t len, uint64_t offset)
{
	fl_count(host_file, 1);
	return fl_sys(nr, fd, buf, len, offset);
}

long fl_host_pread(int fd, void *buf, uint64_t len, uint64_t offset)
{
	return fl_fail(FL_FP_FILL) ? -ENOMEM : transfer(SYS_pread64, fd, buf, len, offset);
}

long fl_host_pwrite(int fd, const void *buf, uint64_t len, uint64_t offset, enum fl_inject_point fp)
{
	return fl_fail(fp) ? -ENOMEM : transfer(SYS_pwrite64, fd, buf, len, offset);
}

int64_t fl_host_next_data(int fd, uint64_t offset)
{
	fl_count(host_file, 1);
	return fl_sys(SYS_lseek, fd, offset, SEEK_DATA);
}

int64_t fl_host_next_hole(int fd, uint64_t offset)
{
	fl_count(host_file, 1);
	return fl_sys(SYS_lseek, fd, offset, SEEK_HOLE);
}

/* cachestat(2), which is younger than the C libraries we build with */
#define NR_CACHESTAT 451

int64_t fl_host_file_has(int fd, uint64_t offset, uint64_t len)
{
	struct {
		uint64_t offset, len;
	} range = {offset, len};
	struct {
		uint64_t cached, dirty, writeback, evicted, recently_evicted;
	} stat = {0};
	long ret = fl_sys(NR_CACHESTAT, fd, &range, &stat, 0);

	fl_count(host_file, 1);
	return ret ? ret : (int64_t)(stat.cached + stat.evicted); /* what is in swap */
}
