/* SPDX-License-Identifier: MIT */
/*
 * native_space.c - the process itself behind faultline.h. Where there is no native backend, no_native.c stands here.
 */
#include "lib/lib.h"

#include "host/proc.h"
#include "native/native.h"

#include <string.h>

static int64_t process_mmap(struct fl_mm *mm, uint64_t addr, uint64_t len, int prot, int flags,
			    struct fl_shmem *shmem, uint64_t offset)
{
	if (shmem) /* a process has files */
		return -ENODEV;
	return fl_native_mmap(addr, len, prot, flags, -1, 0);
}

static int process_munmap(struct fl_mm *mm, uint64_t addr, uint64_t len)
{
	return fl_native_munmap(addr, len);
}

static int process_mprotect(struct fl_mm *mm, uint64_t addr, uint64_t len, int prot)
{
	return fl_native_mprotect(addr, len, prot);
}

static int64_t process_mremap(struct fl_mm *mm, uint64_t addr, uint64_t old_len, uint64_t new_len, int flags,
			      uint64_t new_addr)
{
	return fl_native_mremap(addr, old_len, new_len, flags, new_addr);
}

static int native_madvise(struct fl_mm *mm, uint64_t addr, uint64_t len, int advice)
{
	return fl_native_madvise(addr, len, advice);
}

/* A plain access of the process: the instruction faults by itself. */
static enum fl_fault process_access(struct fl_mm *mm, uint64_t addr, void *buf, size_t len, uint32_t flags,
				    size_t *done)
{
	if (flags & FAULT_KERNEL) {
		size_t left = (flags & FAULT_WRITE) ? fl_copy_user(fl_ptr(addr), buf, len)
						    : fl_copy_user(buf, fl_ptr(addr), len);
		*done = len - left;
		return left ? FL_SEGV : FL_DONE;
	}
	memcpy((flags & FAULT_WRITE) ? fl_ptr(addr) : buf, (flags & FAULT_WRITE) ? buf : fl_ptr(addr), len);
	*done = len;
	return FL_DONE;
}

static int process_destroy(struct fl_mm *mm)
{
	return -EINVAL;
}

static int process_fork(struct fl_mm *parent, struct fl_mm **child)
{
	return -EINVAL;
}

static int process_shmem_new(struct fl_mm *mm, uint64_t size, struct fl_shmem **shmem)
{
	return -ENODEV;
}

/* Its pages have homes. */
static int64_t process_migrate(struct fl_mm *mm, uint64_t addr, uint64_t len)
{
	return -EOPNOTSUPP;
}

/* ---- the caller's memory is this process's, and any of it may fault ---- */

static int native_in(struct fl_mm *mm, void *buf, uint64_t addr, size_t len)
{
	return fl_copy_user(buf, fl_ptr(addr), len) ? -EFAULT : 0;
}

static int native_out(struct fl_mm *mm, uint64_t addr, const void *buf, size_t len)
{
	return fl_copy_user(fl_ptr(addr), buf, len) ? -EFAULT : 0;
}

const struct fl_caller fl_native_caller = {native_in, native_out, &fl_source_process};

static const struct fl_space process_space = {
	.mmap = process_mmap,
	.munmap = process_munmap,
	.mprotect = process_mprotect,
	.mremap = process_mremap,
	.madvise = native_madvise,
	.access = process_access,
	.destroy = process_destroy,
	.fork = process_fork,
	.shmem_new = process_shmem_new,
	.migrate = process_migrate,
	.caller = {native_in, native_out, &fl_source_process},
};

const struct fl_space *fl_native_space(const struct fl_mm *mm)
{
	return mm == &fl_native.mm ? &process_space : NULL;
}

int fl_native_open(struct fl_mm **mm)
{
	int err = fl_native_init();

	if (!err)
		*mm = &fl_native.mm;
	return err;
}

int fl_native_next_fd(int from)
{
	int proc = fl_host_proc_next(from), kept = fl_kept_next(from);

	return proc < 0 || (kept >= 0 && kept < proc) ? kept : proc;
}

bool fl_native_private_fd(int fd)
{
	return fl_kept_is(fd) || fl_host_proc_is(fd);
}
