/* SPDX-License-Identifier: MIT */
/*
 * process.c - the program's mapping calls, where they meet ranges of ours. A call that does not is passed to the host
 * as it is. One that does is cut at the borders of our ranges: the tables change for our parts, the host's mappings for
 * the rest. Order: what shrinks reaches the cache before the call returns; memory that leaves the tables is unmapped
 * before anybody could see the pool behind it.
 */
#include "lib/process.h"

#include "base/count.h"

#include <fcntl.h>
#include <linux/mman.h>
#include <string.h>
#include <sys/mman.h>

static uint32_t access_of(int prot)
{
	return ((prot & PROT_READ) ? VM_READ : 0) | ((prot & PROT_WRITE) ? VM_WRITE : 0) |
	       ((prot & PROT_EXEC) ? VM_EXEC : 0);
}

/* The next part of [*at, end): inside one mapping of ours (*vma) or outside all of them (NULL). => mmap_lock held */
static bool next_part(uint64_t *at, uint64_t end, uint64_t *start, uint64_t *stop, struct fl_vma **vma)
{
	struct fl_vma *v;

	if (*at >= end)
		return false;
	v = fl_find_vma(mm, *at);
	*start = *at;
	*vma = v && v->start <= *at ? v : NULL;
	*stop = !v ? end : fl_min(end, *vma ? v->end : v->start);
	*at = *stop;
	return true;
}

void fl_process_forget(uint64_t start, uint64_t end)
{
	struct fl_vma *vma;
	uint32_t i;

	fl_for_each_vma(mm, vma, i, start, end) {
		uint64_t from = fl_max(start, vma->start);

		fl_cache_forget(vma_pfn(vma, from), PAGES(fl_min(end, vma->end) - from));
	}
	fl_do_munmap(mm, start, end);
}

void fl_process_release(uint64_t start, uint64_t end)
{
	struct fl_vma *vma;
	uint32_t i;

	fl_for_each_vma(mm, vma, i, start, end)
		if (fl_vma_plain(vma) && !(vma->flags & VM_RELEASED))
			fl_host_release(mm, vma);
	fl_vma_merge(mm, start, end);
}

/* ---- munmap, mmap ---- */

int fl_process_munmap(uint64_t addr, uint64_t len)
{
	uint64_t irq, end = addr + PAGE_ALIGN(len);
	long ret;

	if (ours(addr, len)) {
		irq = lock_range(addr, end);
		ret = fl_vma_reserve(mm, 2);
		if (!ret)
			ret = WITH_ROOM(fl_sys(SYS_munmap, addr, len));
		fl_yield_point(mm);
		if (!ret)
			fl_process_forget(addr, end);
		unlock(irq);
	} else {
		ret = WITH_ROOM_OUT(fl_sys(SYS_munmap, addr, len));
	}
	if (!ret)
		fl_kept_unmapped(addr, len);
	return (int)ret;
}

/* The host gave a range that is ours to the program: libc had unmapped it behind our back, as free() does. */
static void forget_stale(uint64_t start, uint64_t end)
{
	uint64_t irq = lock_range(start, end);

	if (fl_vma_reserve(mm, 2) == 0)
		fl_process_forget(start, end);
	unlock(irq);
}

int64_t fl_process_mmap(uint64_t addr, uint64_t len, int prot, int flags, int fd, uint64_t offset)
{
	uint64_t irq;
	long ret;

	if (!(flags & MAP_FIXED) || !ours(addr, len)) {
		ret = WITH_ROOM_OUT(fl_kept_mmap(addr, len, prot, flags, fd, offset));
		if (!fl_sys_failed(ret) && ours((uint64_t)ret, len))
			forget_stale((uint64_t)ret, (uint64_t)ret + PAGE_ALIGN(len));
		return ret;
	}
	irq = lock_range(addr, addr + PAGE_ALIGN(len));
	ret = fl_vma_reserve(mm, 2);
	if (!ret)
		ret = WITH_ROOM(fl_kept_mmap(addr, len, prot, flags, fd, offset));
	if (!fl_sys_failed(ret))
		fl_process_forget(addr, addr + PAGE_ALIGN(len));
	unlock(irq);
	return ret;
}

/* ---- mprotect ---- */

static long protect_part(struct fl_vma *vma, uint64_t start, uint64_t stop, int prot)
{
	if (!vma)
		return WITH_ROOM(fl_sys(SYS_mprotect, start, stop - start, prot));
	if (vma->flags & VM_RELEASED) {
		long ret = WITH_ROOM(fl_sys(SYS_mprotect, start, stop - start, prot));

		if (ret)
			return ret;
	}
	fl_do_mprotect(mm, start, stop, access_of(prot));
	return 0;
}

int fl_process_mprotect(uint64_t addr, uint64_t len, int prot)
{
	uint64_t irq, at = addr, end = addr + PAGE_ALIGN(len), start, stop;
	struct fl_vma *vma;
	long ret = 0;

	if (!ours(addr, len) || (prot & ~(PROT_READ | PROT_WRITE | PROT_EXEC | 8 /* PROT_SEM: no meaning */)))
		return (int)WITH_ROOM_OUT(fl_sys(SYS_mprotect, addr, len, prot));
	irq = lock_range(addr, end);
	while (!ret && next_part(&at, end, &start, &stop, &vma)) {
		ret = fl_vma_reserve(mm, 2);
		if (!ret) /* part by part: what comes before a hole is changed, as by the host */
			ret = protect_part(vma, start, stop, prot);
	}
	unlock(irq);
	return (int)ret;
}

/* ---- madvise ---- */

/* Pages of a released range: the host serves it, but dropping what it holds is not dropping what the pool holds. */
static void drop_released(struct fl_vma *vma, uint64_t start, uint64_t stop)
{
	fl_frames_punch(vma_pfn(vma, start), PAGES(stop - start));
}

static void set_flag(uint64_t start, uint64_t stop, uint32_t set, uint32_t clear)
{
	struct fl_vma *vma;

	fl_vma_split(mm, start);
	fl_vma_split(mm, stop);
	vma = fl_vma_lookup(mm, start);
	fl_vma_set(vma, (vma->flags & ~clear) | set, vma->ctx);
	fl_vma_merge(mm, start, stop);
}

/* What the host serves alone is taken back for it. => mmap_lock held for writing */
static int collapse(struct fl_vma *vma, uint64_t start, uint64_t stop)
{
	int err = (vma->flags & VM_RELEASED) ? fl_host_adopt(mm, start, stop) : 0;

	if (!err)
		err = fl_collapse_anonymous(mm, fl_vma_lookup(mm, start), start, stop);
	fl_process_release(start, stop);
	return err;
}

/* => mmap_lock held for writing */
static long advise_part(struct fl_vma *vma, uint64_t start, uint64_t stop, int advice)
{
	if (vma->file && advice == MADV_REMOVE && !(vma->flags & VM_SHARED))
		return -EACCES;
	if ((vma->flags & VM_SHARED) && ((vma->flags & VM_RELEASED) || advice == MADV_REMOVE))
		return advice == MADV_REMOVE ? fl_file_remove(mm, vma, start, stop)
					     : fl_sys(SYS_madvise, start, stop - start, advice);
	if (advice == MADV_FREE && vma->file)
		return -EINVAL;
	switch (advice) {
	case MADV_DONTNEED:
	case 24 /* MADV_DONTNEED_LOCKED */:
		if (advice == MADV_DONTNEED && (vma->flags & VM_LOCKED))
			return -EINVAL;
		if (vma->flags & VM_RELEASED)
			drop_released(vma, start, stop);
		else
			fl_zap_advised(mm, vma, start, stop);
		return 0;
	case MADV_DONTFORK:
		set_flag(start, stop, VM_DONTFORK, 0);
		return 0;
	case MADV_DOFORK:
		set_flag(start, stop, 0, VM_DONTFORK);
		return 0;
	case MADV_WIPEONFORK:
		set_flag(start, stop, VM_WIPEONFORK, 0);
		return 0;
	case MADV_KEEPONFORK:
		set_flag(start, stop, 0, VM_WIPEONFORK);
		return 0;
	case MADV_HUGEPAGE:
		set_flag(start, stop, VM_HUGEPAGE, VM_NOHUGEPAGE);
		return 0;
	case MADV_NOHUGEPAGE:
		set_flag(start, stop, VM_NOHUGEPAGE, VM_HUGEPAGE);
		return 0;
	case MADV_REMOVE: /* what the program has is private memory, whatever it is made of */
		return -EINVAL;
	case 102 /* MADV_GUARD_INSTALL */:
	case 103 /* MADV_GUARD_REMOVE */:
		return -EINVAL; /* the markers of these ranges are in use */
	default: /* advice that nothing needs to follow: FREE, WILLNEED, COLD, PAGEOUT, HUGEPAGE, MERGEABLE, ... */
		return 0;
	}
}

/* What of MADV_COLLAPSE is not the manager's, which takes its locks itself. => no lock held */
static int collapse_by_host(uint64_t start, uint64_t stop)
{
	int err = fl_file_any() ? fl_file_collapse_elsewhere(start, stop) : 0;

	return err ? err : (int)fl_sys(SYS_madvise, start, stop - start, 25 /* MADV_COLLAPSE */);
}

static int collapse_file(uint64_t start, uint64_t stop)
{
	return fl_collapse(mm, start, stop);
}

typedef int collapse_fn(uint64_t start, uint64_t stop);

/* Who takes the locks himself; NULL: collapse(), which has them. => mmap_lock held for writing */
static collapse_fn *collapse_owner(const struct fl_vma *vma)
{
	if (!vma || ((vma->flags & VM_SHARED) && (vma->flags & VM_RELEASED)))
		return collapse_by_host;
	return vma->file ? collapse_file : NULL;
}

static int collapse_all(uint64_t at, uint64_t end)
{
	uint64_t start, stop, irq = lock();
	struct fl_vma *vma;
	int ret = 0, hole = 0;

	while (!ret && next_part(&at, end, &start, &stop, &vma)) {
		collapse_fn *owner = collapse_owner(vma);

		if (!owner) {
			ret = fl_vma_reserve(mm, 2);
			ret = ret ? ret : collapse(vma, start, stop);
			continue;
		}
		fl_mmap_write_unlock(mm);
		ret = owner(start, stop);
		fl_mmap_write_lock(mm);
		if (ret == -ENOMEM && !vma) { /* holes are skipped, and told of at the end */
			hole = ret;
			ret = 0;
		}
	}
	unlock(irq);
	return ret ? ret : hole;
}

/* An advice that the host does not know is refused by it, before anything is changed. */
static bool advice_known(int advice)
{
	return fl_sys(SYS_madvise, 0, 0, advice) == 0;
}

static int remove_elsewhere(uint64_t addr, uint64_t len)
{
	uint64_t irq = lock();
	int ret;

	fl_file_remove_elsewhere(addr, addr + PAGE_ALIGN(len));
	ret = (int)fl_sys(SYS_madvise, addr, len, MADV_REMOVE);
	unlock(irq);
	return ret;
}

int fl_process_madvise(uint64_t addr, uint64_t len, int advice)
{
	uint64_t irq, at = addr, end = addr + PAGE_ALIGN(len), start, stop;
	struct fl_vma *vma;
	long ret = 0, hole = 0;

	if (advice == MADV_DONTFORK || advice == MADV_WIPEONFORK || advice == MADV_HUGEPAGE)
		__atomic_store_n(&fl_host.advice, true, __ATOMIC_RELAXED);
	if (!ours(addr, len) && advice == MADV_REMOVE && fl_file_any())
		return remove_elsewhere(addr, len);
	if (!ours(addr, len) && advice == 25 /* MADV_COLLAPSE */ && fl_file_any()) {
		irq = fl_irq_save();
		ret = collapse_by_host(addr, end);
		fl_irq_restore(irq);
		return (int)ret;
	}
	if (!ours(addr, len) || !advice_known(advice))
		return (int)fl_sys(SYS_madvise, addr, len, advice);
	if (advice == 25)
		return collapse_all(addr, end);
	if (advice == 22 /* MADV_POPULATE_READ */ || advice == 23 /* MADV_POPULATE_WRITE */)
		fl_process_fault_in(addr, end - addr, advice == 23);
	irq = advice == MADV_REMOVE ? lock() : lock_range(addr, end); /* that takes pages of others, too */
	while (!ret && next_part(&at, end, &start, &stop, &vma)) {
		ret = fl_vma_reserve(mm, 2);
		if (ret)
			break;
		ret = vma ? advise_part(vma, start, stop, advice) : fl_sys(SYS_madvise, start, stop - start, advice);
		if (ret == -ENOMEM && !vma) { /* holes are skipped, and told of at the end */
			hole = ret;
			ret = 0;
		}
	}
	unlock(irq);
	return (int)(ret ? ret : hole);
}

/* ---- files: what takes pages out of them, while nobody faults ---- */

/* => mmap_lock held for writing, so that nobody maps them again before they are gone */
static void zap_behind(const struct stat *st, uint64_t size)
{
	fl_file_zap(st, PAGES(PAGE_ALIGN(size)), UINT64_MAX, true);
}

int fl_process_ftruncate(int fd, uint64_t size)
{
	uint64_t irq = lock();
	struct stat st;
	int ret;

	if (fl_sys(SYS_fstat, fd, &st) == 0)
		zap_behind(&st, size);
	ret = (int)fl_sys(SYS_ftruncate, fd, size);
	unlock(irq);
	return ret;
}

int fl_process_truncate(const char *path, uint64_t size)
{
	uint64_t irq = lock();
	struct stat st;
	int ret;

	if (fl_sys(SYS_newfstatat, AT_FDCWD, path, &st, 0) == 0)
		zap_behind(&st, size);
	ret = (int)fl_sys(SYS_truncate, path, size);
	unlock(irq);
	return ret;
}

void fl_process_truncated(int fd)
{
	uint64_t irq = lock();
	struct stat st;

	if (fl_sys(SYS_fstat, fd, &st) == 0)
		zap_behind(&st, 0);
	unlock(irq);
}

int fl_process_fallocate(int fd, int mode, uint64_t offset, uint64_t len)
{
	uint64_t irq = lock();
	struct stat st;
	int ret;

	/* the other modes take nothing that shared memory knows of */
	if (offset + len > offset && fl_sys(SYS_fstat, fd, &st) == 0)
		fl_file_zap(&st, PAGES(offset), PAGES(PAGE_ALIGN(offset + len)), false);
	ret = (int)fl_sys(SYS_fallocate, fd, mode, offset, len);
	unlock(irq);
	return ret;
}

/* ---- presence ---- */

/* Is the page hidden although the program may use it: worth a fault? */
static bool hidden(uint64_t addr, bool write)
{
	uint64_t irq = fl_irq_save();
	struct fl_vma *vma = fl_vma_start_read(mm, addr);
	bool ret = false;

	if (vma && !(vma->flags & VM_RELEASED) && (fl_vma_access(vma) & (write ? VM_WRITE : VM_READ)))
		ret = !fl_host_caches(vma, addr, write ? FL_RIGHT_WRITE : FL_RIGHT_READ);
	if (vma)
		fl_vma_end_read(vma);
	fl_irq_restore(irq);
	return ret;
}

enum fl_present fl_process_fault_in(uint64_t addr, uint64_t len, bool write)
{
	uint64_t end = addr + len, irq;
	bool any = false;

	if (!len || end < addr || !fl_host_touches(addr, end))
		return FL_NOT_OURS;
	for (uint64_t at = addr; at < end; at = PAGE_ALIGN_DOWN(at) + PAGE_SIZE) {
		int err;

		if (!hidden(at, write))
			continue;
		irq = fl_irq_save_for_wait(); /* a system call that waits for a page is not interrupted: handlers run after it */
		err = fl_fault_in_user(fl_ptr(at), write);
		fl_irq_restore_after_wait(irq);
		if (err)
			return any ? FL_MADE_PRESENT : FL_REFUSED;
		any = true;
	}
	return any ? FL_MADE_PRESENT : FL_WAS_PRESENT;
}

static int populate(uint64_t addr, uint64_t len)
{
	uint64_t irq = lock(), at = addr, end = addr + len, start, stop;
	struct fl_vma *vma;
	bool write = true;

	while (next_part(&at, end, &start, &stop, &vma))
		if (vma && !(vma->flags & VM_WRITE))
			write = false;
	unlock(irq);
	fl_process_fault_in(addr, len, write);
	return 0;
}

/* Memory of the pool is not swapped where there is no swap, and cannot be locked without losing the markers. */
int fl_process_mlock(uint64_t addr, uint64_t len, unsigned flags)
{
	uint64_t irq, start, stop, at = PAGE_ALIGN_DOWN(addr), end = PAGE_ALIGN(addr + len), first = at;
	struct fl_vma *vma;
	long ret = 0;

	if (!len || len > TASK_SIZE || !fl_host_touches(at, end))
		return (int)(flags ? fl_sys(SYS_mlock2, addr, len, flags) : fl_sys(SYS_mlock, addr, len));
	irq = lock_range(at, end);
	while (!ret && next_part(&at, end, &start, &stop, &vma)) {
		ret = vma ? fl_vma_reserve(mm, 2) : fl_sys(SYS_mlock2, start, stop - start, flags);
		if (vma && !ret)
			set_flag(start, stop, VM_LOCKED, 0);
	}
	unlock(irq);
	if (!ret && !flags)
		ret = populate(first, end - first);
	return (int)ret;
}

int fl_process_munlock(uint64_t addr, uint64_t len)
{
	uint64_t irq, start, stop, at = PAGE_ALIGN_DOWN(addr), end = PAGE_ALIGN(addr + len);
	struct fl_vma *vma;
	long ret = fl_sys(SYS_munlock, addr, len);

	if (ret || !len || len > TASK_SIZE || !fl_host_touches(at, end))
		return (int)ret;
	irq = lock_range(at, end);
	while (!ret && next_part(&at, end, &start, &stop, &vma)) {
		ret = vma ? fl_vma_reserve(mm, 2) : 0;
		if (vma && !ret)
			set_flag(start, stop, 0, VM_LOCKED);
	}
	unlock(irq);
	return (int)ret;
}

/*
 * All of the program's memory is not all of the process's: populating the direct map would take the whole pool.
 * Locked ranges of ours
 * would refuse markers.
 */
int fl_process_mlockall(int flags)
{
	uint64_t irq;
	long ret;

	if (!__atomic_load_n(&fl_host.ready, __ATOMIC_ACQUIRE) || !(flags & MCL_CURRENT))
		return (int)fl_sys(SYS_mlockall, flags);
	ret = fl_sys(SYS_mlockall, flags | MCL_ONFAULT);
	irq = lock();
	fl_sys(SYS_munlock, mm->pool.base, mm->pool.nr_frames << PAGE_SHIFT);
	for (uint32_t i = 0; i < mm->nr_vmas && !ret; i++) {
		struct fl_vma *vma = mm->vmas[i];

		fl_sys(SYS_munlock, vma->start, vma->end - vma->start);
		fl_vma_set(vma, vma->flags | VM_LOCKED, vma->ctx);
	}
	fl_vma_merge(mm, 0, TASK_SIZE);
	unlock(irq);
	return (int)ret;
}

int fl_process_munlockall(void)
{
	long ret = fl_sys(SYS_munlockall, 0);
	uint64_t irq;

	if (ret || !__atomic_load_n(&fl_host.ready, __ATOMIC_ACQUIRE))
		return (int)ret;
	irq = lock();
	for (uint32_t i = 0; i < mm->nr_vmas; i++)
		fl_vma_set(mm->vmas[i], mm->vmas[i]->flags & ~VM_LOCKED, mm->vmas[i]->ctx);
	fl_vma_merge(mm, 0, TASK_SIZE);
	unlock(irq);
	return 0;
}

/* What mincore(2) says of a page, if it is ours. => mmap_lock held */
static void present(uint64_t addr, unsigned char *in)
{
	struct fl_vma *vma = fl_vma_lookup(mm, addr);

	if (!vma || (vma->flags & VM_RELEASED))
		return;
	*in = pte_present(fl_pte_get(mm, addr));
	if (*in || !vma->file)
		return;
	fl_vma_lock_file(vma); /* of a file it is the cache that counts */
	*in = vma->file->ops->find(vma->file, vma, addr, fl_vma_page_index(vma, addr)) != FL_PFN_NONE;
	fl_vma_unlock_file(vma);
}

int fl_process_mincore(uint64_t addr, uint64_t len, unsigned char *vec)
{
	unsigned char part[256];
	uint64_t irq, end = addr + PAGE_ALIGN(len);
	long ret = fl_sys(SYS_mincore, addr, len, vec);

	if (ret || !ours(addr, len))
		return (int)ret;
	for (uint64_t at = addr; at < end; at += sizeof(part) * PAGE_SIZE) {
		size_t n = fl_min(PAGES(end - at), (uint64_t)sizeof(part));

		/* the program's vector may fault: it is not for under the lock */
		if (fl_copy_user(part, vec + PAGES(at - addr), n))
			return -EFAULT;
		irq = lock();
		for (size_t i = 0; i < n; i++)
			present(at + (i << PAGE_SHIFT), &part[i]);
		unlock(irq);
		if (fl_copy_user(vec + PAGES(at - addr), part, n))
			return -EFAULT;
	}
	return 0;
}

/* ---- fork ---- */

/* This thread has prepared: it holds every lock. The child's one thread inherits that. */
static __thread __attribute__((tls_model("initial-exec"))) bool forking;

int fl_process_fork_check(void)
{
	int pipe[2];
	long err;

	if (!__atomic_load_n(&fl_host.ready, __ATOMIC_ACQUIRE))
		return 0;
	err = fl_fail(FL_FP_FORK) ? -ENOMEM : fl_sys(SYS_pipe2, pipe, 02000000 /* O_CLOEXEC */);
	if (!err) {
		fl_sys(SYS_close, pipe[0]);
		fl_sys(SYS_close, pipe[1]);
	}
	return (int)err;
}

int fl_process_fork_prepare(void)
{
	int err;

	if (!__atomic_load_n(&fl_host.ready, __ATOMIC_ACQUIRE))
		return 0;
	fl_object_before_fork();
	err = fl_fork_prepare();
	forking = !err;
	return err;
}

void fl_process_fork_parent(void)
{
	if (!forking)
		return;
	forking = false;
	fl_fork_parent();
}

void fl_process_fork_child(void)
{
	static const char sorry[] = "faultline: a forked child ends: no descriptors left to copy its memory\n";

	fl_kept_after_fork();
	if (forking) {
		forking = false;
		fl_irq_active = 0; /* the threads that were inside are not here */
		fl_object_after_fork();
		fl_fork_child(fl_ctx_forget_all);
	} else if (__atomic_load_n(&fl_host.ready, __ATOMIC_ACQUIRE)) {
		fl_sys(SYS_write, 2, sorry, sizeof(sorry) - 1);
		fl_sys(SYS_exit_group, 137); /* it would write into its parent's memory */
	}
	fl_count(processes, 1);
}
