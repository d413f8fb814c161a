/* SPDX-License-Identifier: MIT */
/* soft_space.c - a soft address space behind faultline.h. Its calls keep signals out. */
#include "lib/lib.h"

#include "base/uaccess.h"

static int64_t soft_mmap(struct fl_mm *mm, uint64_t addr, uint64_t len, int prot, int flags, struct fl_shmem *shmem,
			 uint64_t offset)
{
	return FL_SIGNALS_OUT(fl_soft_mmap(mm, addr, len, prot, flags, shmem ? fl_shmem_file(shmem) : NULL, offset));
}

static int soft_munmap(struct fl_mm *mm, uint64_t addr, uint64_t len)
{
	return FL_SIGNALS_OUT(fl_soft_munmap(mm, addr, len));
}

static int soft_mprotect(struct fl_mm *mm, uint64_t addr, uint64_t len, int prot)
{
	return FL_SIGNALS_OUT(fl_soft_mprotect(mm, addr, len, prot));
}

static int64_t soft_mremap(struct fl_mm *mm, uint64_t addr, uint64_t old_len, uint64_t new_len, int flags,
			   uint64_t new_addr)
{
	return FL_SIGNALS_OUT(fl_soft_mremap(mm, addr, old_len, new_len, flags, new_addr));
}

static int soft_madvise(struct fl_mm *mm, uint64_t addr, uint64_t len, int advice)
{
	return FL_SIGNALS_OUT(fl_soft_madvise(mm, addr, len, advice));
}

static enum fl_fault soft_access(struct fl_mm *mm, uint64_t addr, void *buf, size_t len, uint32_t flags, size_t *done)
{
	uint64_t signals = fl_signals_block_for_wait();			 /* for the caller's buffer */
	bool known = fl_signals_enabled && signals != FL_SIGNALS_NESTED; /* the program's mask */
	enum fl_fault ret = fl_soft_access(mm, addr, buf, len, flags, known ? &signals : NULL, done);

	fl_signals_restore_after_wait(signals);
	return ret;
}

static int soft_destroy(struct fl_mm *mm)
{
	if (fl_ctx_any(mm))
		return -EBUSY;
	return FL_SIGNALS_OUT((fl_soft_destroy(container_of(mm, struct fl_soft, mm)), 0));
}

static int soft_fork(struct fl_mm *parent, struct fl_mm **child)
{
	struct fl_soft *soft;
	int err = FL_SIGNALS_OUT(fl_soft_fork(container_of(parent, struct fl_soft, mm), &soft));

	if (!err)
		*child = &soft->mm;
	return err;
}

static int soft_shmem_new(struct fl_mm *mm, uint64_t size, struct fl_shmem **shmem)
{
	if (size > FL_SHMEM_MAX)
		return -EFBIG;
	return FL_SIGNALS_OUT(fl_shmem_new(container_of(mm, struct fl_soft, mm)->pool, size, shmem));
}

static int64_t soft_migrate(struct fl_mm *mm, uint64_t addr, uint64_t len)
{
	return FL_SIGNALS_OUT(fl_soft_migrate(mm, addr, len));
}

/* ---- arguments are the host program's own structures; sources are addresses of the soft address space ---- */

static int soft_in(struct fl_mm *mm, void *buf, uint64_t addr, size_t len)
{
	return !addr || fl_copy_user(buf, fl_ptr(addr), len) ? -EFAULT : 0;
}

static int soft_out(struct fl_mm *mm, uint64_t addr, const void *buf, size_t len)
{
	return !addr || fl_copy_user(fl_ptr(addr), buf, len) ? -EFAULT : 0;
}

const struct fl_space fl_soft_space = {
	.mmap = soft_mmap,
	.munmap = soft_munmap,
	.mprotect = soft_mprotect,
	.mremap = soft_mremap,
	.madvise = soft_madvise,
	.access = soft_access,
	.destroy = soft_destroy,
	.fork = soft_fork,
	.shmem_new = soft_shmem_new,
	.migrate = soft_migrate,
	.caller = {soft_in, soft_out, &fl_soft_source},
};
