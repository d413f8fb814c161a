/* SPDX-License-Identifier: MIT */
/* shared_frames.c - the frames of shared memory: pages of files, in the direct map. */
#include "native/native.h"
#include "native/shared.h"

#include <string.h>

/* The byte of the file that a frame is. */
static uint64_t file_offset(uint64_t pfn)
{
	return (chunk_of(pfn)->index + pfn % CHUNK_PAGES) << PAGE_SHIFT;
}

int fl_file_zero(struct fl_shared_file *f, uint64_t pfn)
{
	return fl_shared_write_zeros(f, file_offset(pfn));
}

/*
 * Write what is in the bounce buffer, of which `inside` is before the end of the file. The last page is filled to its
 * end: what is beyond the file's can be reached only by a mapping. Returns how much, in whole pages; -ENOMEM
 */
static int64_t write_bounced(struct fl_shared_file *f, uint64_t pfn, uint64_t offset, uint64_t len, uint64_t inside)
{
	int64_t done = fl_shared_write(f, pfn, f->bounce, inside, offset);

	if (done < 0)
		return done;
	if ((uint64_t)done < inside)
		return (int64_t)PAGE_ALIGN_DOWN((uint64_t)done);
	memcpy((char *)fl_kmap_local(&fl_native.mm, pfn) + inside, f->bounce + inside, len - inside);
	return (int64_t)len;
}

/*
 * The source is read first, as it may be another mapping of the very page, and reading it may make that page: the
 * memory manager has found a hole, so whatever is there now was not there before. And a write out of registered
 * memory does not end in the middle of a page.
 */
static int64_t fill_pages(struct fl_shared_file *f, uint64_t pfn, const struct fl_source *source, uint64_t src,
			  uint64_t len, uint64_t size)
{
	uint64_t offset = file_offset(pfn);

	len = PAGE_ALIGN_DOWN(source->read(&fl_native.mm, f->bounce, src, len));
	if (!len)
		return 0;
	len = fl_shared_hole(f, offset, len);
	if (!len)
		return -EEXIST;
	if (offset >= size)
		return -ENOMEM;
	return write_bounced(f, pfn, offset, len, fl_min(len, size - offset));
}

int64_t fl_file_fill(struct fl_shared_file *f, uint64_t pfn, const struct fl_source *source, uint64_t src,
		     uint64_t len)
{
	uint64_t done = 0;
	struct fl_host_file st;

	if (fl_host_fstat(f->fd, &st))
		return -ENOMEM;
	while (done < len) {
		uint64_t n = fl_min(len - done, FL_BOUNCE_SIZE);
		int64_t got = fill_pages(f, pfn + PAGES(done), source, src + done, n, st.size);

		if (got > 0)
			done += (uint64_t)got;
		if (got < (int64_t)n)
			return done ? (int64_t)done : got;
	}
	return (int64_t)done;
}

void fl_file_unmap_direct(uint64_t pfn, uint64_t nr)
{
	fl_host_map_over(fl_addr(fl_kmap_local(&fl_native.mm, pfn)), nr << PAGE_SHIFT);
}
