/* SPDX-License-Identifier: MIT */
/* backend.c - setting up the one native address space, and the table of what it does for the memory manager. */
#include "native/native.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "host/count.h"
#include "host/proc.h"

#include <stdlib.h>
#include <string.h>

struct fl_native fl_native;

static void host_unmapped(struct fl_mm *mm, struct fl_vma *vma)
{
	fl_cache_forget(vma->pgoff, PAGES(vma->end - vma->start));
	if (vma->flags & VM_IN_PLACE)
		fl_extent_put(vma->start, vma->end, vma->pgoff);
	else
		fl_extent_free(vma->start, vma->end, vma->pgoff);
}

static uint64_t host_metadata(struct fl_mm *mm)
{
	/* a chunk's records, and its 512 folios, which are one page of the folio array */
	return fl_native.used_chunks *
	       (sizeof(struct home) + sizeof(struct chunk) + CHUNK_PAGES * sizeof(struct fl_folio));
}

/* The host's part of a fault, invisible to the engine's clock: delivering a signal, and the way back. */
static uint64_t host_entry_ns(struct fl_mm *mm)
{
	long page = fl_host_map(PAGE_SIZE, PROT_NONE);
	uint64_t best = UINT64_MAX;

	if (fl_host_failed(page))
		return 0;
	for (int i = 0; i < 16; i++) {
		uint64_t began = fl_now_ns();

		fl_touch_nofault((void *)page);
		best = fl_min(best, fl_now_ns() - began);
	}
	fl_host_munmap((uint64_t)page, PAGE_SIZE);
	return best;
}

static const struct fl_claim_ops claims = {
	.verify = fl_native_verify,
	.fit = fl_native_fit,
	.mapped = fl_native_mapped,
	.adopt = fl_native_adopt_fit,
	.again = fl_in_place_again,
	.look = fl_in_place_look,
	.release = fl_native_release,
	.take_over = fl_native_take_over,
};

static const struct fl_mmu_ops host_ops = {
	.name = "native",
	.kinds = &fl_kinds_homes,
	.frames =
		{
			.get = fl_native_frame_get,
			.get_huge = fl_native_huge_get,
			.put = fl_native_frame_put,
			.zero = fl_native_frames_zero,
			.fill = fl_native_frames_fill,
			.is_zero = fl_native_frame_is_zero,
			.unmapped = host_unmapped,
		},
	.rights =
		{
			.grant = fl_native_grant,
			.invalidate = fl_native_invalidate,
			.conform = fl_native_conform,
			.caches = fl_native_caches,
		},
	.claims = &claims,
	.entry_ns = host_entry_ns,
	.metadata = host_metadata,
};

/* Hide by guard markers? */
static bool use_guard(void)
{
	const char *want = secure_getenv("FAULTLINE_GUARD");

	return !(want && strcmp(want, "off") == 0) && fl_host_guard_works();
}

/* May memory stay in place? Everything works without, too. */
static bool use_in_place(void)
{
	const char *want = secure_getenv("FAULTLINE_IN_PLACE");

	return !(want && strcmp(want, "off") == 0);
}

static int create(void)
{
	struct fl_pool pool;
	int err = fl_pool_create(&pool);

	if (err)
		return err;
	fl_native.guard = use_guard();
	fl_native.in_place = use_in_place();
	fl_cache_set_budget();
	err = fl_mm_init(&fl_native.mm, &host_ops, &fl_native, &pool);
	if (err) {
		fl_pool_destroy(&pool);
		return err;
	}
	err = fl_fault_entry_install();
	if (err) {
		fl_mm_exit(&fl_native.mm);
		fl_pool_destroy(&pool);
		return err;
	}
	fl_signals_enabled = true;
	fl_host_proc_hold();
	fl_direct_prepare();
	return 0;
}

int fl_native_init(void)
{
	static struct fl_mutex once;
	int err = 0;

	if (__atomic_load_n(&fl_native.ready, __ATOMIC_ACQUIRE))
		return 0;
	fl_mutex_lock(&once);
	if (!fl_native.ready)
		err = create();
	if (!err)
		__atomic_store_n(&fl_native.ready, true, __ATOMIC_RELEASE);
	fl_mutex_unlock(&once);
	return err;
}

bool fl_native_touches(uint64_t start, uint64_t end)
{
	struct fl_mm *mm = &fl_native.mm;
	uint64_t signals;
	struct fl_vma *vma;
	bool ret;

	if (!__atomic_load_n(&fl_native.ready, __ATOMIC_ACQUIRE))
		return false;
	/* the first adoption hides memory before it is in the table */
	if (!__atomic_load_n(&fl_native.adopting, __ATOMIC_ACQUIRE) &&
	    !__atomic_load_n(&mm->nr_vmas, __ATOMIC_RELAXED))
		return false;
	signals = fl_signals_block();
	fl_mmap_read_lock(mm);
	vma = fl_find_vma(mm, start);
	ret = vma && vma->start < end;
	fl_mmap_read_unlock(mm);
	fl_signals_restore(signals);
	return ret;
}
