/* SPDX-License-Identifier: MIT */
/* source.c - memory of this process as the source of a copy. Any of it may be hidden, by the native backend. */
#include "mm/source.h"

#include "base/uaccess.h"
#include "mm/folio.h"

static uint64_t source_read(struct fl_mm *mm, void *to, uint64_t src, uint64_t len)
{
	return len - fl_copy_nofault(to, fl_ptr(src), (size_t)len);
}

static uint64_t probe(struct fl_mm *mm, uint64_t src, uint64_t len)
{
	return fl_probe_nofault(src, len);
}

static int fault_in(struct fl_mm *mm, uint64_t src)
{
	return fl_fault_in_user(fl_ptr(src), false);
}

const struct fl_source fl_source_process = {.read = source_read, .probe = probe, .fault_in = fault_in};

int fl_frame_copy(struct fl_mm *mm, uint64_t to, uint64_t from)
{
	uint64_t src = fl_addr(fl_kmap_local(mm, from));

	return mm->ops->frames.fill(mm, to, &fl_source_process, src, PAGE_SIZE) == (int64_t)PAGE_SIZE ? 0 : -ENOMEM;
}
