/* SPDX-License-Identifier: MIT */
/*
 * target_soft.c - a soft address space as target. Objects are opened without FL_UFFD_SRC_HOST, so uffdio_copy.src is
 * an address of that space, as it is for a process.
 */
#include <errno.h>
#include <stdlib.h>

#include <faultline/testing.h>

#include "address.h"
#include "target.h"

static struct fl_mm *mm;

static struct fl_uffd *object(uffd_t u)
{
	return (struct fl_uffd *)(uintptr_t)u;
}

static int result(ssize_t r)
{
	return r < 0 ? -errno : (int)r;
}

static int64_t value(int64_t ret)
{
	return ret < 0 ? -errno : ret;
}

static void soft_start(void)
{
	if (fl_mm_create(&mm, 256ull << 20))
		abort();
}

/* Objects may still be open and threads waiting, as at the end of a process: only the invariants are checked. */
static int soft_finish(void)
{
	return result(fl_mm_check(mm));
}

static int64_t soft_map(uint64_t addr, uint64_t len, int prot, int flags)
{
	return value(map_addr(mm, addr, len, prot, flags));
}

static int soft_unmap(uint64_t addr, uint64_t len)
{
	return result(fl_munmap(mm, addr, len));
}

static int soft_protect(uint64_t addr, uint64_t len, int prot)
{
	return result(fl_mprotect(mm, addr, len, prot));
}

static int64_t soft_remap(uint64_t addr, uint64_t old_len, uint64_t new_len, int flags, uint64_t new_addr)
{
	return value(remap_addr(mm, addr, old_len, new_len, flags, new_addr));
}

static int soft_advise(uint64_t addr, uint64_t len, int advice)
{
	return result(fl_madvise(mm, addr, len, advice));
}

static struct fl_shmem *shmem(int64_t file)
{
	return (struct fl_shmem *)(uintptr_t)file;
}

static int64_t soft_file(uint64_t len)
{
	struct fl_shmem *s;

	return fl_shmem_create(mm, len, &s) ? -errno : (int64_t)(uintptr_t)s;
}

static int soft_file_close(int64_t file)
{
	fl_shmem_close(shmem(file));
	return 0;
}

static int64_t soft_map_file(uint64_t addr, uint64_t len, int prot, int flags, int64_t file, uint64_t offset)
{
	return value(map_shmem_addr(mm, addr, len, prot, flags, shmem(file), offset));
}

static int64_t soft_file_read(int64_t file, uint64_t offset, void *buf, size_t len)
{
	return value(fl_shmem_read(shmem(file), buf, len, offset));
}

static int64_t soft_file_write(int64_t file, uint64_t offset, const void *buf, size_t len)
{
	return value(fl_shmem_write(shmem(file), buf, len, offset));
}

static int soft_file_truncate(int64_t file, uint64_t len)
{
	return result(fl_shmem_truncate(shmem(file), len));
}

static int soft_file_punch(int64_t file, uint64_t offset, uint64_t len)
{
	return result(fl_shmem_punch(shmem(file), offset, len));
}

static int64_t soft_file_data(int64_t file, uint64_t offset)
{
	return value(data_at(shmem(file), offset));
}

static int soft_load(uint64_t addr, void *buf, size_t len)
{
	return fl_load(mm, addr, buf, len);
}

static int soft_store(uint64_t addr, const void *buf, size_t len)
{
	return fl_store(mm, addr, buf, len);
}

static int soft_kernel_read(uint64_t addr, void *buf, size_t len)
{
	return result(fl_copy_from_user(mm, buf, addr, len));
}

static int soft_kernel_write(uint64_t addr, const void *buf, size_t len)
{
	return result(fl_copy_to_user(mm, addr, buf, len));
}

static int soft_pagemap(uint64_t addr, uint64_t *word)
{
	return result(fl_mm_pagemap(mm, addr, 1, word));
}

static int soft_clear_refs(void)
{
	return result(fl_mm_clear_soft_dirty(mm));
}

static uffd_t soft_open(int flags)
{
	struct fl_uffd *u;

	return fl_uffd_open(mm, flags, &u) ? -errno : (uffd_t)(uintptr_t)u;
}

static int soft_close(uffd_t u)
{
	return result(fl_uffd_close(object(u)));
}

static int soft_ioctl(uffd_t u, unsigned long cmd, void *arg)
{
	return result(fl_uffd_ioctl(object(u), cmd, arg));
}

static ssize_t soft_read(uffd_t u, void *buf, size_t len)
{
	return result(fl_uffd_read(object(u), buf, len));
}

static int soft_poll(uffd_t u, int timeout_ms)
{
	return result(fl_uffd_poll(object(u), timeout_ms));
}

static int soft_nonblock(uffd_t u, int on)
{
	return result(fl_uffd_set_nonblock(object(u), on));
}

const struct target target_soft = {
	.start = soft_start,
	.finish = soft_finish,
	.map = soft_map,
	.unmap = soft_unmap,
	.protect = soft_protect,
	.remap = soft_remap,
	.advise = soft_advise,
	.file = soft_file,
	.file_close = soft_file_close,
	.map_file = soft_map_file,
	.file_read = soft_file_read,
	.file_write = soft_file_write,
	.file_truncate = soft_file_truncate,
	.file_punch = soft_file_punch,
	.file_data = soft_file_data,
	.load = soft_load,
	.store = soft_store,
	.kernel_read = soft_kernel_read,
	.kernel_write = soft_kernel_write,
	.pagemap = soft_pagemap,
	.clear_refs = soft_clear_refs,
	.open = soft_open,
	.close = soft_close,
	.ioctl = soft_ioctl,
	.read = soft_read,
	.poll = soft_poll,
	.nonblock = soft_nonblock,
};
