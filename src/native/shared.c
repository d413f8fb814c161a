/* SPDX-License-Identifier: MIT */
/*
 * shared.c - the program's shared memory: memfd, tmpfs, shared anonymous memory. The file itself is the page cache,
 * and stays mapped where the program has it; registering hides it, and puts the file into the direct map at the place
 * of the range's home, so that its pages are frames like others. Whether a page is in the cache is asked of the file
 * (SEEK_DATA); whether it is mapped, the engine's tables say.
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

static uint64_t find(struct fl_file *file, struct fl_vma *vma, uint64_t addr, uint64_t index)
{
	uint64_t at = index << PAGE_SHIFT, pfn = vma_pfn(vma, addr);

	if (fl_host_next_data(fl_shared_of(file)->fd, at) != (int64_t)at)
		return FL_PFN_NONE;
	if (vma->flags & VM_SHARED) /* otherwise it is only the place for a copy */
		__atomic_store_n(&fl_folio(&fl_native.mm, pfn)->mapping, file, __ATOMIC_RELAXED);
	return pfn;
}

/* A page of zeros for a hole: to SEEK_DATA, what fallocate() makes is still a hole. */
int fl_shared_write_zeros(struct fl_shared_file *f, uint64_t offset)
{
	static const char zeros[PAGE_SIZE];
	struct fl_host_file st;
	uint64_t n;

	if (fl_host_fstat(f->fd, &st) || st.size <= offset)
		return -ENOMEM;
	n = fl_min(PAGE_SIZE, st.size - offset);
	return fl_host_pwrite(f->fd, zeros, n, offset, FL_FP_FILL) == (long)n ? 0 : -ENOMEM;
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
	uint64_t end = fl_min(first + CHUNK_PAGES, nr_pages(&f->file));
	int64_t hole = fl_host_next_hole(f->fd, first << PAGE_SHIFT); /* the end of the file, if there is none */

	return hole < 0 || PAGES(PAGE_ALIGN((uint64_t)hole)) < end;
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
	int64_t data = fl_host_next_data(f->fd, first << PAGE_SHIFT);
	int err;

	if (data < 0 || PAGES((uint64_t)data) >= first + CHUNK_PAGES)
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
	int fd;

	if (!map->inode)
		return false;
	if (fl_shared_known(map))
		return true;
	fd = fl_kept_get(map);
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
	int fd;

	if (f) {
		fl_file_get(&f->file);
		return f;
	}
	fd = fl_fail(FL_FP_ADOPT) ? -ENOMEM : fl_kept_get(map);
	f = fd < 0 ? NULL : alloc_file();
	if (!f) {
		*err = fd < 0 ? fd : -ENOMEM;
		if (fd >= 0)
			fl_kept_put(fd);
		return NULL;
	}
	fl_file_init(&f->file, &shared_ops);
	f->fd = fd;
	f->dev = map->dev;
	f->inode = map->inode;
	f->next = fl_shared_files;
	fl_shared_files = f;
	return f;
}
