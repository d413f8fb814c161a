/* SPDX-License-Identifier: MIT */
/*
 * fork_pool.c - a child gets a copy of the pool before the parent's threads may write again, and starts with nothing
 * registered, as with the kernel when nobody asked for fork events.
 *
 * The parent's side holds every lock, has taken all write rights, and waits on a pipe until the child has copied the
 * pool or died. The child's metadata are already a copy: fork() made it. So the child puts its new pool under the
 * very same addresses and offsets, and lets everything be cached anew.
 */
#include "native/native.h"
#include "native/sigview.h"

#include "base/alloc.h"
#include "base/rank.h"
#include "host/count.h"

#include <sys/mman.h>
#include <unistd.h>

static int gate[2];
static uint64_t signals;

int fl_fork_prepare(void)
{
	uint64_t saved = fl_signals_block();
	int err;

	fl_mmap_write_lock(
		&fl_native.mm); /* from here on no other thread forks, whose child would inherit the pipe */
	err = fl_fail(FL_FP_FORK) ? -ENOMEM : (int)fl_sys(SYS_pipe2, gate, 02000000 /* O_CLOEXEC */);
	if (err) {
		fl_mmap_write_unlock(&fl_native.mm);
		fl_signals_restore(saved);
		return err;
	}
	signals = saved;
	fl_uffd_ops.before_fork(&fl_native.mm);
	fl_cache_freeze(&fl_native.mm, true);
	fl_alloc_fork_prepare();
	fl_count(forks, 1);
	return 0;
}

void fl_fork_parent(void)
{
	uint64_t saved = signals;
	char byte;

	fl_alloc_fork_done();
	fl_sys(SYS_close, gate[1]);
	while (fl_sys(SYS_read, gate[0], &byte, 1) == -EINTR)
		; /* a byte: the child is done; end of file: it is dead, or never was */
	fl_sys(SYS_close, gate[0]);
	fl_cache_freeze(&fl_native.mm, false);
	fl_uffd_ops.after_fork_parent(&fl_native.mm);
	fl_mmap_write_unlock(&fl_native.mm);
	fl_signals_restore(saved);
}

/* Copy what the parent's pool holds into `fd`, at the same offsets. */
static bool copy_pool(int fd, uint64_t bytes)
{
	for (uint64_t at = 0, hole; at < bytes; at = hole) {
		long data = fl_sys(SYS_lseek, fl_native.pool_fd, at, SEEK_DATA);

		if (fl_sys_failed(data))
			return data == -ENXIO;
		hole = (uint64_t)fl_sys(SYS_lseek, fl_native.pool_fd, data, SEEK_HOLE);
		for (at = (uint64_t)data; at < hole;) {
			long n = fl_sys(SYS_pwrite64, fd, fl_native.mm.pool.base + at, hole - at, at);

			if (n <= 0)
				return false;
			at += (uint64_t)n;
		}
	}
	return true;
}

/* Every range maps the new pool; nothing is shown yet, but what the host serves alone. */
static void remap(void)
{
	struct fl_mm *mm = &fl_native.mm;

	for (uint32_t i = 0; i < mm->nr_vmas; i++) {
		struct fl_vma *v = mm->vmas[i];
		int prot = (v->flags & VM_RELEASED) ? fl_access_prot(v->flags) : PROT_NONE;

		if (v->flags & VM_SHARED)
			continue;
		fl_sys(SYS_mmap, v->start, v->end - v->start, prot, MAP_SHARED | MAP_FIXED | MAP_NORESERVE,
		       fl_native.pool_fd, v->pgoff << PAGE_SHIFT);
	}
}

static void new_pool(void)
{
	uint64_t bytes = fl_native.mm.pool.nr_frames << PAGE_SHIFT;
	long fd = fl_sys(SYS_memfd_create, "faultline", MFD_CLOEXEC);

	/*
	 * Without memory the child cannot go on: what it would see is the parent's. The kernel kills for want of
	 * memory, too.
	 */
	if (fl_sys_failed(fd) || fl_sys(SYS_ftruncate, fd, bytes) || !copy_pool((int)fd, bytes))
		fl_sys(SYS_exit_group, 137);
	fl_sys(SYS_dup3, fd, fl_native.pool_fd, 02000000);
	fl_sys(SYS_close, fd);
	fl_sys(SYS_mmap, fl_native.mm.pool.base, bytes, PROT_READ | PROT_WRITE,
	       MAP_SHARED | MAP_FIXED | MAP_NORESERVE, fl_native.pool_fd, 0);
	fl_sys(SYS_madvise, fl_native.mm.pool.base, bytes, MADV_DONTDUMP);
	for (uint64_t i = 0; i < fl_native.chunks_end; i++) {
		struct chunk *c = &fl_native.chunks[i];

		bit_fill(c->mapped, 0, CHUNK_PAGES, false);
		bit_fill(c->shown, 0, CHUNK_PAGES, false);
		bit_fill(c->writable, 0, CHUNK_PAGES, false);
		bit_fill(c->active, 0, CHUNK_PAGES, false); /* remap() maps all of it without rights and markers */
		c->splits = 0;
	}
	fl_native.splits = 0;
}

/* What the program has asked not to be inherited. => everything is remapped */
static void drop_unwanted(struct fl_mm *mm)
{
	struct fl_vma *vma;

	for (uint64_t end = 0; (vma = fl_find_vma(mm, end));) {
		uint64_t start = vma->start;

		end = vma->end;

		if ((vma->flags & VM_WIPEONFORK) && (vma->flags & VM_RELEASED))
			fl_frames_punch(vma->pgoff, PAGES(end - start));
		else if (vma->flags & VM_WIPEONFORK)
			fl_zap_range(mm, vma, start, end);
		if (!(vma->flags & VM_DONTFORK))
			continue;
		fl_do_munmap(mm, start, end);
		fl_sys(SYS_munmap, start, end - start);
	}
}

void fl_fork_child(void)
{
	struct fl_mm *mm = &fl_native.mm;

	fl_rank_forget_all();
	fl_alloc_fork_done();
	fl_sigview_after_fork();
	for (unsigned i = 0; i < FL_PT_LOCKS; i++) /* a thread of the parent may have held one */
		fl_mutex_init(&mm->pt_lock[i], FL_RANK_PT);
	new_pool();
	remap();
	fl_sys(SYS_write, gate[1], "", 1);
	fl_sys(SYS_close, gate[0]);
	fl_sys(SYS_close, gate[1]);
	fl_file_fork_child(mm);
	fl_uffd_ops.after_fork_child(mm);
	fl_file_give_back(mm, 0, TASK_SIZE);
	drop_unwanted(mm);
	fl_mmap_lock_after_fork(mm);
	fl_signals_restore(signals);
}
