/* SPDX-License-Identifier: MIT */
/* bridge.c - until src/native has names for its calls (host/host.h): the raw ones, passed on to the model. */
#pragma GCC diagnostic ignored "-Wshadow"
#include "forget.h"
#include "host/host.h"
#include "hostmem.h"
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

long bridge_sys(long nr, long a_, long b_, long c, long d, long e, long f);
long bridge_sys(long nr, long a_, long b_, long c, long d, long e, long f)
{
	long a = a_, b = b_;
	uint64_t A = (uint64_t)a_, B = (uint64_t)b_;

	switch (nr) {
	case SYS_mmap:
		if (!A && !(d & MAP_ANONYMOUS))
			return B == PAGE_SIZE ? -ENOMEM : fl_host_map_file((int)e, (uint64_t)f, B, (int)c);
		if (d & MAP_ANONYMOUS)
			return fl_host_mmap(A, B, (int)c, (int)d & ~MAP_FIXED_NOREPLACE, -1, 0);
		if (d & MAP_FIXED) {
			int err = fl_host_map_file_at((int)e, (uint64_t)f, B, (int)c, A, FL_FP_ADOPT);
			return err ? err : a;
		}
		return fl_host_mmap(A, B, (int)c, (int)d, (int)e, (uint64_t)f);
	case SYS_munmap:
		return fl_host_munmap(A, B);
	case SYS_mprotect:
		return fl_host_mprotect(A, B, (int)c);
	case SYS_mremap:
		if (b == 0)
			return fl_host_alias(A, (uint64_t)c, (uint64_t)e);
		if ((d & MREMAP_DONTUNMAP) && !(d & MREMAP_FIXED) && host_at(A) && host_at(A)->prot == 0)
			return fl_host_move_aside(A, B);
		return fl_host_mremap(A, B, (uint64_t)c, (int)d, (uint64_t)e);
	case SYS_madvise:
		if (A >= HOST_END) {
			if (c == 23)
				return fl_host_populate(A, B, true);
			return 0;
		}
		switch (c) {
		case 102:
			return fl_host_guard(A, B);
		case 103:
			return fl_host_unguard(A, B);
		case 22:
		case 23:
			return fl_host_populate(A, B, c == 23);
		case 25:
			return -EINVAL;
		case 20:
			return 0;
		}
		return fl_host_madvise(A, B, (int)c);
	case SYS_munlock:
		return 0;
	case SYS_lseek:
		return c == SEEK_DATA ? fl_host_next_data((int)a, B) : fl_host_next_hole((int)a, B);
	case SYS_pwrite64:
		return fl_host_pwrite((int)a, fl_ptr(B), (uint64_t)c, (uint64_t)d);
	case SYS_fallocate:
		if (a == fl_native.pool_fd) {
			fl_host_punch((int)a, (uint64_t)c, (uint64_t)d);
			return 0;
		}
		return fl_host_fallocate((int)a, (int)b, (uint64_t)c, (uint64_t)d);
	case SYS_mincore:
		return fl_host_mincore(A, B, fl_ptr((uint64_t)c));
	case SYS_memfd_create:
		return fl_host_memfd(NULL, FL_FP_POOL);
	case SYS_ftruncate:
		return fl_host_ftruncate((int)a, B);
	case SYS_fcntl:
		return -EMFILE;
	case SYS_close:
		fl_host_close((int)a);
		return 0;
	case SYS_openat:
		return -ENOENT;
	case SYS_fstat: {
		struct stat *st = fl_ptr(B);
		struct fl_host_file f;
		memset(st, 0, sizeof(*st));
		fl_host_fstat((int)a, &f);
		st->st_size = (long)f.size;
		st->st_dev = f.dev;
		st->st_ino = f.inode;
		return 0;
	}
	case SYS_pread64:
		return fl_host_pread((int)a, fl_ptr(B), (uint64_t)c, (uint64_t)d);
	case SYS_read:
		return 0;
	}
	sim_fail("an unknown system call");
}

int fl_maps_next(uint64_t addr, struct fl_map *map)
{
	struct fl_host_map m;
	int ret = fl_host_maps_next(addr, &m);

	*map = (struct fl_map){.start = m.start,
			       .end = m.end,
			       .access = ((m.prot & PROT_READ) ? VM_READ : 0) |
					 ((m.prot & PROT_WRITE) ? VM_WRITE : 0) |
					 ((m.prot & PROT_EXEC) ? VM_EXEC : 0),
			       .anon = m.anon,
			       .shared = m.shared,
			       .offset = m.offset,
			       .dev = m.dev,
			       .inode = m.inode};
	return ret;
}
int fl_maps_walk(void (*fn)(const struct fl_map *map, void *data), void *data)
{
	return 0;
}
uint32_t fl_maps_advice(uint64_t addr)
{
	return 0;
}
uint64_t fl_maps_count(void)
{
	return 0;
}
int fl_resident_next(uint64_t *start, uint64_t end, uint64_t *run_end, enum fl_run *what)
{
	return fl_host_resident_next(start, end, run_end, what);
}
bool fl_mapped_huge(uint64_t addr)
{
	return false;
}
long fl_kept_mmap(uint64_t addr, uint64_t len, int prot, int flags, int fd, uint64_t offset)
{
	return fl_host_mmap(addr, len, prot, flags, fd, offset);
}
void fl_kept_unmapped(uint64_t start, uint64_t len)
{
}
int fl_kept_get(const struct fl_map *map)
{
	return fl_host_open_mapping(map->start, map->end);
}
void fl_kept_put(int fd)
{
	fl_host_close(fd);
}
bool fl_kept_is(int fd)
{
	return false;
}
bool fl_kept_any(void)
{
	return false;
}
void native_forget_kept(void)
{
}
void fl_kept_after_fork(void)
{
}
