/* SPDX-License-Identifier: MIT */
/*
 * fork_pool.c - a child gets a copy of the pool before the parent's threads may write again, and starts with nothing
 * registered, as with the kernel without fork events.
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

static struct fl_host_gate gate;
static uint64_t signals;

int fl_fork_prepare(void)
{
	uint64_t saved = fl_signals_block();
	int err;

	fl_mmap_write_lock(
		&fl_native.mm); /* from here on no other thread forks, whose child would inherit the pipe */
	err = fl_native_verify(&fl_native.mm, 0, TASK_SIZE);
	if (!err)
		err = fl_host_gate_open(&gate);
	if (err) {
		fl_mmap_write_unlock(&fl_native.mm);
		fl_signals_restore(saved);
		return err;
	}
	signals = saved;
	fl_uffd_ops.before_fork(&fl_native.mm);
	if (fl_cache_freeze(&fl_native.mm, true)) {
		fl_host_gate_close(&gate);
		fl_cache_freeze(&fl_native.mm, false);
		fl_uffd_ops.after_fork_parent(&fl_native.mm);
		fl_mmap_write_unlock(&fl_native.mm);
		fl_signals_restore(saved);
		return -ENOMEM;
	}
	fl_alloc_fork_prepare();
	fl_count(forks, 1);
	return 0;
}

bool fl_fork_parent(int32_t pid)
{
	uint64_t saved = signals;
	bool copied;

	fl_alloc_fork_done();
	copied = fl_host_gate_wait(&gate, pid);
	fl_cache_freeze(&fl_native.mm, false);
	fl_uffd_ops.after_fork_parent(&fl_native.mm);
	fl_mmap_write_unlock(&fl_native.mm);
	fl_signals_restore(saved);
	return copied;
}

/*
 * Without memory the child cannot continue: it would see the parent's. Its end makes the fork fail.
 */
static void must(int err)
{
	if (err)
		fl_host_exit(137);
}

/* Every range maps the new pool; nothing is shown yet, except what the host serves alone. */
static void remap(void)
{
	struct fl_mm *mm = &fl_native.mm;

	for (uint32_t i = 0; i < mm->nr_vmas; i++) {
		struct fl_vma *v = mm->vmas[i];

		fl_vma_set(v, v->flags & ~VM_LOCKED, v->ctx); /* locks are not inherited: mlock(2) */
		if (v->flags & (VM_SHARED | VM_IN_PLACE)) /* the host has copied what is in place, and its rights */
			continue;
		fl_cache_forget(v->pgoff, PAGES(v->end - v->start)); /* it has no rights, and no markers */
		if (v->flags & VM_RELEASED)
			must(fl_guards_adopt(mm, v->start, v->end));
		must(fl_native_map_pool(v->start, v->end, v->pgoff, FL_FP_NONE));
		fl_state_apply(v->start, v->end, v->flags);
		if (v->flags & VM_RELEASED)
			must(fl_host_mprotect(v->start, v->end - v->start, fl_access_prot(v->flags)));
		if (v->flags & VM_RELEASED)
			fl_guards_release(mm, v->start, v->end);
		fl_direct_conform(v);
	}
}

static void new_pool(void)
{
	must(fl_direct_unshare());
	for (uint64_t i = 0; i < fl_native.chunks_end; i++) {
		struct chunk *c = &fl_native.chunks[i];

		if (new_right(i * CHUNK_PAGES) >= 0)
			continue;
		bit_fill(c->mapped, 0, CHUNK_PAGES, false);
		bit_fill(c->open, 0, CHUNK_PAGES, false);
	}
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
		fl_host_munmap(start, end - start);
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
	fl_host_gate_pass(&gate);
	fl_file_fork_child(mm);
	fl_uffd_ops.after_fork_child(mm);
	fl_file_give_back(mm, 0, TASK_SIZE);
	drop_unwanted(mm);
	fl_mmap_lock_after_fork(mm);
	fl_signals_restore(signals);
}
