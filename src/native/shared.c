/* SPDX-License-Identifier: MIT */
/*
 * shared.c - the program's shared memory: memfd, tmpfs, shared anonymous memory. The file itself is the page cache,
 * and stays mapped where the program has it; registering hides it, and puts the file into the direct map at the place
 * of the range's home, so that its pages are frames like others. Whether a page is in the cache is asked of the file;
 * whether it is mapped, the engine's tables say.
 *
 * What other processes do to the file is seen as far as it can be asked: pages that they add are found. Pages that
 * they remove are not reported, and a page that is shown stays shown.
 */
#include "native/shared.h"

#include "base/alloc.h"
#include "native/native.h"

#include <string.h>

struct fl_shared_file *fl_shared_files;

/* ---- what the memory manager asks ---- */

static uint64_t nr_pages(struct fl_file *file)
{
	struct fl_host_file st;

	return fl_host_fstat(fl_shared_of(file)->fd, &st) ? 0 : PAGES(PAGE_ALIGN(st.size));
}

/* Where the host does not tell, and the position is the program's: asked of a mapping, into which swap is brought. */
static bool in_memory(const struct fl_shared_file *f, uint64_t offset)
{
	long page = fl_host_map_file(f->fd, offset, PAGE_SIZE, PROT_NONE); /* so that mlockall() makes no page */
	unsigned char in = 0;

	if (fl_host_failed(page))
		return false;
	fl_host_madvise((uint64_t)page, PAGE_SIZE, MADV_WILLNEED);
	fl_host_mincore((uint64_t)page, PAGE_SIZE, &in);
	fl_host_munmap((uint64_t)page, PAGE_SIZE);
	return in & 1;
}

static bool has_page(const struct fl_shared_file *f, uint64_t offset)
{
	int64_t n;

	if (f->own && fl_host_next_data(f->fd, offset) == (int64_t)offset)
		return true;
	n = fl_host_file_has(f->fd, offset, PAGE_SIZE); /* reserved by fallocate(): to SEEK_DATA, a hole */
	return n > 0 || (n < 0 && !f->own && in_memory(f, offset));
}

uint64_t fl_shared_hole(const struct fl_shared_file *f, uint64_t offset, uint64_t len)
{
	int64_t data = f->own ? fl_host_next_data(f->fd, offset) : -ENXIO;
	uint64_t limit = data < 0 ? len : fl_min(len, (uint64_t)data - offset), at = 0;
	int64_t n = limit ? fl_host_file_has(f->fd, offset, limit) : 0;

	if (!n || (n < 0 && f->own))
		return limit;
	while (at < limit && !has_page(f, offset + at))
		at += PAGE_SIZE;
	return at;
}

static uint64_t find(struct fl_file *file, struct fl_vma *vma, uint64_t addr, uint64_t index)
{
	uint64_t pfn = vma_pfn(vma, addr);

	if (!has_page(fl_shared_of(file), index << PAGE_SHIFT))
		return FL_PFN_NONE;
	if (vma->flags & VM_SHARED) /* otherwise it is only the place for a copy */
		__atomic_store_n(&fl_folio(&fl_native.mm, pfn)->mapping, file, __ATOMIC_RELAXED);
	return pfn;
}

/*
 * Is write(2) ours to use? By a descriptor of the program's it could append, and beyond the limit of file sizes it
 * would raise SIGXFSZ.
 */
static bool may_write(const struct fl_shared_file *f, uint64_t end)
{
	return f->own && fl_host_file_limit() >= end;
}

/* A page of zeros, at `addr` in a shared mapping of the file. */
static int touch_page(uint64_t addr)
{
	int err = fl_host_populate(addr, PAGE_SIZE, true);

	if (err == -EINVAL) /* before 5.14 */
		err = fl_touch_nofault(fl_ptr(addr)) ? -EFAULT : 0;
	return err ? -ENOMEM : 0;
}

static int map_and_touch(const struct fl_shared_file *f, uint64_t offset)
{
	long page = fl_host_map_file(f->fd, offset, PAGE_SIZE, PROT_READ | PROT_WRITE);
	int err;

	if (fl_host_failed(page))
		return -ENOMEM;
	err = touch_page((uint64_t)page);
	fl_host_munmap((uint64_t)page, PAGE_SIZE);
	return err;
}

int fl_shared_write_zeros(struct fl_shared_file *f, uint64_t offset)
{
	static const char zeros[PAGE_SIZE];
	struct fl_host_file st;
	uint64_t n;

	if (fl_fail(FL_FP_FILL) || fl_host_fstat(f->fd, &st) || st.size <= offset)
		return -ENOMEM;
	n = fl_min(PAGE_SIZE, st.size - offset);
	if (!may_write(f, offset + n))
		return map_and_touch(f, offset);
	return fl_host_pwrite(f->fd, zeros, n, offset, FL_FP_NONE) == (long)n ? 0 : -ENOMEM;
}

/*
 * By the direct map: for a moment the pages are there and hold zeros. The file may be truncated meanwhile, by another
 * process: a store ends the copy then.
 */
static int64_t write_by_map(uint64_t pfn, const char *from, uint64_t len)
{
	char *to = fl_kmap_local(&fl_native.mm, pfn);

	for (uint64_t at = 0; at < len; at += PAGE_SIZE)
		if (touch_page(fl_addr(to + at)))
			return at ? (int64_t)at : -ENOMEM;
	return (int64_t)(len - fl_copy_nofault(to, from, len));
}

int64_t fl_shared_write(struct fl_shared_file *f, uint64_t pfn, const void *from, uint64_t len, uint64_t offset)
{
	long done;

	if (!may_write(f, offset + len))
		return write_by_map(pfn, from, len);
	done = fl_host_pwrite(f->fd, from, len, offset, FL_FP_NONE);
	return done > 0 ? done : -ENOMEM;
}

static uint64_t make(struct fl_file *file, struct fl_vma *vma, uint64_t addr, uint64_t index)
{
	if (fl_shared_write_zeros(fl_shared_of(file), index << PAGE_SHIFT))
		return FL_PFN_NONE;
	return find(file, vma, addr, index);
}

static int read_page(struct fl_file *file, uint64_t index, uint64_t pfn)
{
	char *to = fl_kmap_local(&fl_native.mm, pfn);
	struct fl_window w;
	long n;

	if (fl_window_open(&w, pfn, 1, 0))
		return -ENOMEM;
	n = fl_host_pread(fl_shared_of(file)->fd, to, PAGE_SIZE, index << PAGE_SHIFT);
	if (n >= 0 && n < (long)PAGE_SIZE)
		memset(to + n, 0, PAGE_SIZE - (size_t)n);
	fl_window_close(&w);
	if (n < 0)
		return -ENOMEM;
	bit_fill(chunk_of(pfn)->resident, (unsigned)(pfn % CHUNK_PAGES), 1, true);
	return 0;
}

/* It is there since it was filled. */
static int add(struct fl_file *file, struct fl_vma *vma, uint64_t pfn, uint64_t index)
{
	__atomic_store_n(&fl_folio(&fl_native.mm, pfn)->mapping, file, __ATOMIC_RELAXED);
	return 0;
}

/* ---- large folios: the host's, as far as they were made or found here. => file->lock held ---- */

static bool has_large(const struct fl_shared_file *f, uint64_t first)
{
	const struct fl_large *p = f->large;

	while (p && p->first != first)
		p = p->next;
	return p;
}

int fl_large_add(struct fl_shared_file *f, uint64_t first)
{
	struct fl_large *p;

	if (has_large(f, first))
		return 0;
	p = fl_alloc(&fl_native.mm.metadata, sizeof(*p), FL_FP_FILE);
	if (!p)
		return -ENOMEM;
	*p = (struct fl_large){.next = f->large, .first = first};
	f->large = p;
	return 0;
}

/* Those that have some of the pages [first, end) are split. */
void fl_large_drop(struct fl_shared_file *f, uint64_t first, uint64_t end)
{
	for (struct fl_large **at = &f->large, *p; (p = *at);) {
		if (p->first >= end || p->first + CHUNK_PAGES <= first) {
			at = &p->next;
			continue;
		}
		*at = p->next;
		fl_free(&fl_native.mm.metadata, p, sizeof(*p));
	}
}

/* Is a page missing, before the end of the file? Another process may have removed it. */
static bool has_hole(struct fl_shared_file *f, uint64_t first)
{
	uint64_t at = first << PAGE_SHIFT, end = fl_min(first + CHUNK_PAGES, nr_pages(&f->file)) << PAGE_SHIFT;
	int64_t n = at < end ? fl_host_file_has(f->fd, at, end - at) : -ENXIO;

	if (n >= 0)
		return (uint64_t)n < PAGES(end - at);
	while (at < end && has_page(f, at))
		at += PAGE_SIZE;
	return at < end || n == -ENXIO;
}

static uint64_t find_large(struct fl_file *file, struct fl_vma *vma, uint64_t addr, uint64_t first)
{
	uint64_t pfn = vma_pfn(vma, addr);

	if (!has_large(fl_shared_of(file), first) || has_hole(fl_shared_of(file), first))
		return FL_PFN_NONE;
	for (unsigned i = 0; i < CHUNK_PAGES && (vma->flags & VM_SHARED); i++)
		__atomic_store_n(&fl_folio(&fl_native.mm, pfn + i)->mapping, file, __ATOMIC_RELAXED);
	return pfn;
}

static int collapse(struct fl_file *file, uint64_t first, bool full)
{
	struct fl_shared_file *f = fl_shared_of(file);
	int err;

	if (fl_shared_hole(f, first << PAGE_SHIFT, PMD_SIZE) == PMD_SIZE)
		return -EINVAL;
	if (full && (has_hole(f, first) || nr_pages(file) < first + CHUNK_PAGES))
		return -EBUSY;
	err = fl_host_collapse_file(f->fd, first << PAGE_SHIFT);
	return err ? err : fl_large_add(f, first);
}

static void free_file(struct fl_shared_file *f)
{
	fl_free(&fl_native.mm.metadata, f->bounce, FL_BOUNCE_SIZE);
	fl_free(&fl_native.mm.metadata, f, sizeof(*f));
}

static void release(struct fl_file *file)
{
	struct fl_shared_file *f = fl_shared_of(file);

	for (struct fl_shared_file **p = &fl_shared_files; *p; p = &(*p)->next)
		if (*p == f) {
			*p = f->next;
			break;
		}
	fl_large_drop(f, 0, UINT64_MAX);
	fl_kept_put(f->fd);
	free_file(f);
}

static const struct fl_file_ops shared_ops = {
	.nr_pages = nr_pages,
	.find = find,
	.make = make,
	.read = read_page,
	.add = add,
	.find_large = find_large,
	.collapse = collapse,
	.release = release,
	.untold = true,
};

/* ---- files by their mappings ---- */

struct fl_shared_file *fl_shared_known(const struct fl_host_map *map)
{
	for (struct fl_shared_file *f = fl_shared_files; f; f = f->next)
		if (f->dev == map->dev && f->inode == map->inode)
			return f;
	return NULL;
}

bool fl_file_fit(const struct fl_host_map *map)
{
	bool own;
	int fd;

	if (!map->inode)
		return false;
	if (fl_shared_known(map))
		return true;
	fd = fl_kept_get(map, &own);
	if (fd < 0)
		return false;
	fl_kept_put(fd);
	return true;
}

static struct fl_shared_file *alloc_file(void)
{
	struct fl_shared_file *f = fl_alloc(&fl_native.mm.metadata, sizeof(*f), FL_FP_FILE);

	if (f)
		f->bounce = fl_alloc(&fl_native.mm.metadata, FL_BOUNCE_SIZE, FL_FP_FILE);
	if (f && f->bounce)
		return f;
	fl_free(&fl_native.mm.metadata, f, sizeof(*f));
	return NULL;
}

/* With a reference. NULL: *err says why. */
struct fl_shared_file *fl_shared_get(const struct fl_host_map *map, int *err)
{
	struct fl_shared_file *f = fl_shared_known(map);
	bool own = false;
	int fd;

	if (f) {
		fl_file_get(&f->file);
		return f;
	}
	fd = fl_fail(FL_FP_ADOPT) ? -ENOMEM : fl_kept_get(map, &own);
	f = fd < 0 ? NULL : alloc_file();
	if (!f) {
		*err = fd < 0 ? fd : -ENOMEM;
		if (fd >= 0)
			fl_kept_put(fd);
		return NULL;
	}
	fl_file_init(&f->file, &shared_ops);
	f->fd = fd;
	f->own = own;
	f->dev = map->dev;
	f->inode = map->inode;
	f->next = fl_shared_files;
	fl_shared_files = f;
	return f;
}
