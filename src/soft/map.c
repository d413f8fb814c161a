/* SPDX-License-Identifier: MIT */
/*
 * map.c - mmap(2), munmap(2), mprotect(2), mremap(2), madvise(2) on a soft address space. None of them wakes a thread
 * that waits in a fault, as with the kernel.
 */
#include "soft/soft.h"

#include "mm/file.h"

#include <sys/mman.h>

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

#define MMAP_MIN 0x10000ull

static bool range_ok(uint64_t addr, uint64_t len)
{
	return PAGE_ALIGNED(addr) && len <= TASK_SIZE && addr <= TASK_SIZE - len;
}

static uint32_t access_of(int prot)
{
	return ((prot & PROT_READ) ? VM_READ : 0) | ((prot & PROT_WRITE) ? VM_WRITE : 0) |
	       ((prot & PROT_EXEC) ? VM_EXEC : 0);
}

static bool range_free(struct fl_mm *mm, uint64_t start, uint64_t end)
{
	struct fl_vma *vma = fl_find_vma(mm, start);

	return !vma || vma->start >= end;
}

/* The first hole in the range, or its end. */
static uint64_t mapped_until(struct fl_mm *mm, uint64_t start, uint64_t end)
{
	struct fl_vma *vma;

	while (start < end && (vma = fl_vma_lookup(mm, start)))
		start = vma->end;
	return fl_min(start, end);
}

/* The highest free place, as the kernel chooses; 0: none. */
static uint64_t find_free(struct fl_mm *mm, uint64_t len)
{
	uint64_t top = TASK_SIZE & PMD_MASK;

	for (uint32_t i = mm->nr_vmas; i-- > 0;) {
		struct fl_vma *vma = mm->vmas[i];

		if (vma->end <= top && top - vma->end >= len)
			return top - len;
		top = fl_min(top, vma->start);
	}
	return top >= MMAP_MIN + len ? top - len : 0;
}

/* => mmap_lock held for writing, with nothing excluded yet */
static int64_t do_mmap(struct fl_mm *mm, uint64_t addr, uint64_t len, int prot, int flags, struct fl_file *file,
		       uint64_t index)
{
	uint32_t vm_flags = access_of(prot) | VM_SOFTDIRTY | ((flags & MAP_SHARED) ? VM_SHARED : 0);
	bool fixed = flags & (MAP_FIXED | MAP_FIXED_NOREPLACE);

	if (fl_vma_reserve(mm, 3))
		return -ENOMEM;
	if (!fixed && (!addr || addr < MMAP_MIN || !range_ok(PAGE_ALIGN_DOWN(addr), len) ||
		       !range_free(mm, PAGE_ALIGN_DOWN(addr), PAGE_ALIGN_DOWN(addr) + len)))
		addr = find_free(mm, len);
	addr = fixed ? addr : PAGE_ALIGN_DOWN(addr);
	if (!addr)
		return -ENOMEM;
	if ((flags & MAP_FIXED_NOREPLACE) && !range_free(mm, addr, addr + len))
		return -EEXIST;
	fl_mmap_exclude(mm, addr, addr + len);
	fl_do_munmap(mm, addr, addr + len);
	fl_vma_set_file(fl_vma_insert(mm, addr, addr + len, PAGES(addr), vm_flags, NULL), file, index);
	fl_vma_merge(mm, addr, addr + len);
	return (int64_t)addr;
}

int64_t fl_soft_mmap(struct fl_mm *mm, uint64_t addr, uint64_t len, int prot, int flags, struct fl_file *file,
		     uint64_t offset)
{
	const int known = MAP_SHARED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_FIXED_NOREPLACE | MAP_NORESERVE;
	struct fl_shmem *own = NULL;
	int64_t ret;

	if (!!(flags & MAP_SHARED) + !!(flags & MAP_PRIVATE) != 1 || !!(flags & MAP_ANONYMOUS) == !!file ||
	    (flags & ~known) || !len || !PAGE_ALIGNED(offset))
		return -EINVAL;
	if ((flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) && !PAGE_ALIGNED(addr))
		return -EINVAL;
	if (len > TASK_SIZE)
		return -ENOMEM;
	len = PAGE_ALIGN(len);
	if ((flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) && !range_ok(addr, len))
		return -ENOMEM;
	if ((flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) && addr < MMAP_MIN)
		return -EPERM;
	if ((flags & MAP_SHARED) && !file) {
		if (fl_shmem_new(((struct fl_soft *)mm->backend)->pool, len, &own))
			return -ENOMEM;
		file = fl_shmem_file(own);
	}
	fl_mmap_write_lock_range(mm, 0, 0);
	ret = do_mmap(mm, addr, len, prot, flags, file, PAGES(offset));
	fl_mmap_write_unlock(mm);
	if (own)
		fl_shmem_put(own);
	return ret;
}

int fl_soft_munmap(struct fl_mm *mm, uint64_t addr, uint64_t len)
{
	int err;

	len = len <= TASK_SIZE ? PAGE_ALIGN(len) : len;
	if (!len || !range_ok(addr, len))
		return -EINVAL;
	fl_mmap_write_lock_range(mm, addr, addr + len);
	err = fl_vma_reserve(mm, 2);
	if (!err)
		fl_do_munmap(mm, addr, addr + len);
	fl_mmap_write_unlock(mm);
	return err;
}

int fl_soft_mprotect(struct fl_mm *mm, uint64_t addr, uint64_t len, int prot)
{
	uint64_t mapped;
	int err;

	if (!PAGE_ALIGNED(addr) || (prot & ~(PROT_READ | PROT_WRITE | PROT_EXEC)))
		return -EINVAL;
	len = len <= TASK_SIZE ? PAGE_ALIGN(len) : len;
	if (!len)
		return 0;
	if (!range_ok(addr, len))
		return -ENOMEM;
	fl_mmap_write_lock_range(mm, addr, addr + len);
	err = fl_vma_reserve(mm, 2);
	if (!err) { /* what comes before a hole is changed */
		mapped = mapped_until(mm, addr, addr + len);
		if (mapped > addr)
			fl_do_mprotect(mm, addr, mapped, access_of(prot));
		err = mapped < addr + len ? -ENOMEM : 0;
	}
	fl_mmap_write_unlock(mm);
	return err;
}

static bool advice_known(int advice)
{
	static const int known[] = {
		MADV_NORMAL,	MADV_RANDOM,	  MADV_SEQUENTIAL,    MADV_WILLNEED,	 MADV_DONTNEED, MADV_FREE,
		MADV_HUGEPAGE,	MADV_NOHUGEPAGE,  MADV_DONTFORK,      MADV_DOFORK,	 MADV_DONTDUMP, MADV_DODUMP,
		MADV_MERGEABLE, MADV_UNMERGEABLE, MADV_WIPEONFORK,    MADV_KEEPONFORK,	 MADV_COLD,	MADV_PAGEOUT,
		MADV_COLLAPSE,	MADV_REMOVE,	  MADV_GUARD_INSTALL, MADV_GUARD_REMOVE,
	};

	for (unsigned i = 0; i < ARRAY_SIZE(known); i++)
		if (known[i] == advice)
			return true;
	return false;
}

/* The part of a range that one mapping has. MADV_FREE may keep the pages, and here does. => mmap_lock held */
static int advise_part(struct fl_mm *mm, struct fl_vma *vma, uint64_t start, uint64_t end, int advice)
{
	switch (advice) {
	case MADV_DONTNEED:
		fl_zap_advised(mm, vma, start, end);
		return 0;
	case MADV_FREE:
		return vma->kind->lookup ? -EINVAL : 0;
	case MADV_PAGEOUT:
		fl_swap_out_range(mm, vma, start, end);
		return 0;
	case MADV_GUARD_INSTALL:
		return fl_guard_install(mm, vma, start, end);
	case MADV_GUARD_REMOVE:
		fl_guard_remove(mm, start, end);
		return 0;
	default:
		return 0;
	}
}

/* Advice that is a flag of the mapping. */
static const struct flag_advice {
	int advice;
	uint32_t set, clear;
} flag_advices[] = {
	{MADV_HUGEPAGE, VM_HUGEPAGE, VM_NOHUGEPAGE},
	{MADV_NOHUGEPAGE, VM_NOHUGEPAGE, VM_HUGEPAGE},
	{MADV_DONTFORK, VM_DONTFORK, 0},
	{MADV_DOFORK, 0, VM_DONTFORK},
	{MADV_WIPEONFORK, VM_WIPEONFORK, 0},
	{MADV_KEEPONFORK, 0, VM_WIPEONFORK},
};

static const struct flag_advice *flag_advice(int advice)
{
	for (unsigned i = 0; i < ARRAY_SIZE(flag_advices); i++)
		if (flag_advices[i].advice == advice)
			return &flag_advices[i];
	return NULL;
}

/* => mmap_lock held for writing */
static int set_flags(struct fl_mm *mm, uint64_t addr, uint64_t end, const struct flag_advice *f)
{
	struct fl_vma *vma;
	uint32_t i;

	if (fl_vma_reserve(mm, 2))
		return -ENOMEM;
	fl_vma_split(mm, addr);
	fl_vma_split(mm, end);
	fl_for_each_vma(mm, vma, i, addr, end)
		fl_vma_set(vma, (vma->flags & ~f->clear) | f->set, vma->ctx);
	fl_vma_merge(mm, addr, end);
	return 0;
}

/* => mmap_lock held for writing, or for reading if the advice is only about pages */
static int advise(struct fl_mm *mm, uint64_t addr, uint64_t end, int advice)
{
	const struct flag_advice *f = flag_advice(advice);
	struct fl_vma *vma;
	int err = 0;
	uint32_t i;

	if (f)
		err = set_flags(mm, addr, end, f);
	else
		fl_for_each_vma(mm, vma, i, addr, end)
			if (!err)
				err = advise_part(mm, vma, fl_max(addr, vma->start), fl_min(end, vma->end), advice);
	if (err)
		return err;
	return mapped_until(mm, addr, end) == end ? 0 : -ENOMEM;
}

/* The file shared at addr, with a reference, and the part of [addr, end) that is there. NULL: *err says why. */
static struct fl_file *file_at(struct fl_mm *mm, uint64_t addr, uint64_t end, uint64_t *offset, uint64_t *len,
			       int *err)
{
	struct fl_file *file = NULL;
	struct fl_vma *vma;

	fl_mmap_read_lock(mm);
	vma = fl_vma_lookup(mm, addr);
	*err = !vma ? -ENOMEM : !vma->file ? -EINVAL : !(vma->flags & VM_SHARED) ? -EACCES : 0;
	if (!*err) {
		file = vma->file;
		fl_file_get(file);
		*offset = fl_vma_page_index(vma, addr) << PAGE_SHIFT;
		*len = fl_min(end, vma->end) - addr;
	}
	fl_mmap_read_unlock(mm);
	return file;
}

/* MADV_REMOVE: holes in the files. They are punched with no lock held. */
static int remove_range(struct fl_mm *mm, uint64_t addr, uint64_t end)
{
	while (addr < end) {
		uint64_t offset, len;
		int err;
		struct fl_file *file = file_at(mm, addr, end, &offset, &len, &err);

		if (!file)
			return err;
		fl_shmem_punch_hole(fl_shmem_of(file), offset, len);
		fl_file_put(file);
		addr += len;
	}
	return 0;
}

static int collapse_range(struct fl_mm *mm, uint64_t addr, uint64_t end)
{
	int err = fl_collapse(mm, addr, end);

	fl_mmap_read_lock(mm);
	if (!err && mapped_until(mm, addr, end) != end)
		err = -ENOMEM;
	fl_mmap_read_unlock(mm);
	return err;
}

int fl_soft_madvise(struct fl_mm *mm, uint64_t addr, uint64_t len, int advice)
{
	int err;

	if (!PAGE_ALIGNED(addr) || len > TASK_SIZE)
		return -EINVAL;
	len = PAGE_ALIGN(len);
	if (!advice_known(advice))
		return -EINVAL;
	if (!range_ok(addr, len))
		return len ? -ENOMEM : 0;
	if (!len)
		return 0;
	if (advice == MADV_REMOVE)
		return remove_range(mm, addr, addr + len);
	if (advice == MADV_COLLAPSE)
		return collapse_range(mm, addr, addr + len);
	if (advice == MADV_DONTNEED || advice == MADV_PAGEOUT) {
		fl_mmap_read_lock(mm);
		err = advise(mm, addr, addr + len, advice);
		fl_mmap_read_unlock(mm);
	} else {
		fl_mmap_write_lock_range(mm, addr, addr + len);
		err = advise(mm, addr, addr + len, advice);
		fl_mmap_write_unlock(mm);
	}
	return err;
}

int64_t fl_soft_migrate(struct fl_mm *mm, uint64_t addr, uint64_t len)
{
	uint64_t end = addr + PAGE_ALIGN(len);
	struct fl_vma *vma;
	int64_t done = 0;
	uint32_t i;

	if (len > TASK_SIZE || !len || !range_ok(addr, PAGE_ALIGN(len)))
		return -EINVAL;
	fl_mmap_read_lock(mm);
	if (mapped_until(mm, addr, end) != end)
		done = -EINVAL;
	for (i = fl_vma_index(mm, addr); done >= 0 && i < mm->nr_vmas && (vma = mm->vmas[i])->start < end; i++) {
		int64_t n = fl_migrate_range(mm, vma, fl_max(addr, vma->start), fl_min(end, vma->end));

		done = n < 0 ? n : done + n;
	}
	fl_mmap_read_unlock(mm);
	return done;
}

/* Without the event for it, a registration does not follow its memory. */
static int64_t move(struct fl_mm *mm, uint64_t addr, uint64_t old_len, uint64_t new_len, int flags, uint64_t to)
{
	uint64_t moved = fl_min(old_len, new_len);
	struct fl_vma *vma, *new;

	if (!(flags & MREMAP_FIXED))
		to = find_free(mm, new_len);
	if (!to)
		return -ENOMEM;
	if (flags & MREMAP_FIXED) /* the target is unmapped first, whatever becomes of the rest, as in the kernel */
		fl_do_munmap(mm, to, to + new_len);
	if (fl_move_prepare(mm, addr, to, moved))
		return -ENOMEM;
	vma = fl_vma_lookup(mm, addr);
	new = fl_vma_insert(mm, to, to + new_len, vma->pgoff + PAGES(addr - vma->start), fl_moved_flags(vma), NULL);
	fl_vma_set_backing(new, vma, addr);
	fl_move_entries(mm, addr, new, to, moved, false);
	if (old_len && !(flags & MREMAP_DONTUNMAP))
		fl_do_munmap(mm, addr, addr + old_len);
	fl_vma_merge(mm, to, to + new_len);
	return (int64_t)to;
}

/* The last part of [start, end), if all of it is one mapping to the program; otherwise NULL. */
static struct fl_vma *last_part(struct fl_mm *mm, uint64_t start, uint64_t end)
{
	struct fl_vma *vma = fl_vma_lookup(mm, start);

	while (vma && vma->end < end) {
		struct fl_vma *next = fl_vma_lookup(mm, vma->end);
		bool one =
			next && fl_vma_alike(vma, next) && vma->pgoff + PAGES(vma->end - vma->start) == next->pgoff;

		vma = one ? next : NULL;
	}
	return vma;
}

/* => mmap_lock held for writing */
static int64_t do_mremap(struct fl_mm *mm, uint64_t addr, uint64_t old_len, uint64_t new_len, int flags, uint64_t to)
{
	struct fl_vma *vma = last_part(mm, addr, addr + old_len), *new;

	if (!vma)
		return -EFAULT;
	if (!old_len &&
	    !((vma->flags & VM_SHARED) && (flags & MREMAP_MAYMOVE))) /* another mapping of what is shared */
		return -EINVAL;
	if (fl_vma_reserve(mm, 6))
		return -ENOMEM;
	if (!old_len || (flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)))
		return move(mm, addr, old_len, new_len, flags, to);
	if (new_len <= old_len) {
		if (new_len < old_len)
			fl_do_munmap(mm, addr + new_len, addr + old_len);
		return (int64_t)addr;
	}
	if (vma->end == addr + old_len && range_ok(addr, new_len) && range_free(mm, addr + old_len, addr + new_len)) {
		/* what is new is soft-dirty, whatever the rest is */
		new = fl_vma_insert(mm, vma->end, addr + new_len, vma->pgoff + PAGES(vma->end - vma->start),
				    vma->flags | VM_SOFTDIRTY, vma->ctx);
		fl_vma_set_backing(new, vma, vma->end);
		fl_vma_merge(mm, addr, addr + new_len);
		return (int64_t)addr;
	}
	return (flags & MREMAP_MAYMOVE) ? move(mm, addr, old_len, new_len, flags, 0) : -ENOMEM;
}

int64_t fl_soft_mremap(struct fl_mm *mm, uint64_t addr, uint64_t old_len, uint64_t new_len, int flags,
		       uint64_t new_addr)
{
	int64_t ret;

	if (!PAGE_ALIGNED(addr) || (flags & ~(MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP)) || !new_len ||
	    old_len > TASK_SIZE || new_len > TASK_SIZE || !range_ok(addr, PAGE_ALIGN(old_len)))
		return -EINVAL;
	old_len = PAGE_ALIGN(old_len);
	new_len = PAGE_ALIGN(new_len);
	if ((flags & MREMAP_DONTUNMAP) && (!(flags & MREMAP_MAYMOVE) || old_len != new_len))
		return -EINVAL;
	if (flags & MREMAP_FIXED)
		if (!(flags & MREMAP_MAYMOVE) || !range_ok(new_addr, new_len) || new_addr < MMAP_MIN ||
		    (new_addr < addr + old_len && addr < new_addr + new_len))
			return -EINVAL;
	fl_mmap_write_lock(mm);
	ret = do_mremap(mm, addr, old_len, new_len, flags, new_addr);
	fl_mmap_write_unlock(mm);
	return ret;
}
