/* SPDX-License-Identifier: MIT */
/* fake.c - the recording backend. */
#include "fake.h"

#include <string.h>

struct fake fake;

static char frames[FAKE_FRAMES][PAGE_SIZE] __attribute__((aligned(4096)));
static struct fl_folio folios[FAKE_FRAMES];

static struct fake_call *record(enum fake_what what, uint64_t a, uint64_t b)
{
	struct fake_call *c = &fake.calls[fake.nr_calls];

	assert_true(fake.nr_calls < FAKE_CALLS);
	fake.nr_calls++;
	*c = (struct fake_call){.what = what, .a = a, .b = b};
	return c;
}

/* Does no entry lead to any of the frames? */
static bool unmapped_frames(struct fl_mm *mm, uint64_t pfn, uint64_t nr)
{
	for (uint64_t a = fl_pgtable_next(mm, 0, TASK_SIZE); a < TASK_SIZE;
	     a = fl_pgtable_next(mm, a + PAGE_SIZE, TASK_SIZE)) {
		fl_pte_t pte = fl_pte_get(mm, a);

		if (pte_present(pte) && pte_pfn(pte) >= pfn && pte_pfn(pte) < pfn + nr)
			return false;
	}
	return true;
}

static bool empty_range(struct fl_mm *mm, uint64_t start, uint64_t end, enum fl_right max)
{
	for (uint64_t a = fl_pgtable_next(mm, start, end); a < end; a = fl_pgtable_next(mm, a + PAGE_SIZE, end)) {
		struct fl_vma *vma = fl_vma_lookup(mm, a);

		if (vma && pte_right(fl_pte_get(mm, a), vma) > max)
			return false;
	}
	return true;
}

static uint64_t frame_get(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr)
{
	if (fake.refuse_after != UINT64_MAX && fake.refuse_after-- == 0) {
		fake.refuse_after = 0;
		return FL_PFN_NONE;
	}
	for (uint64_t pfn = 1; pfn < FAKE_FRAMES; pfn++)
		if (!folios[pfn].refcount) {
			folios[pfn].refcount = 1;
			record(FRAME_GET, pfn, 1);
			return pfn;
		}
	return FL_PFN_NONE;
}

static void frame_put(struct fl_mm *mm, uint64_t pfn)
{
	assert_int_equal(folios[pfn].refcount, 0);
	assert_int_equal(folios[pfn].mapcount, 0);
	record(FRAME_PUT, pfn, 1)->hidden = unmapped_frames(mm, pfn, 1);
}

static int frames_zero(struct fl_mm *mm, uint64_t pfn, uint64_t nr)
{
	record(FRAMES_ZERO, pfn, nr)->hidden = unmapped_frames(mm, pfn, nr);
	memset(frames[pfn], 0, nr * PAGE_SIZE);
	return 0;
}

static int64_t frames_fill(struct fl_mm *mm, uint64_t pfn, const struct fl_source *source, uint64_t src, uint64_t len)
{
	record(FRAMES_FILL, pfn, PAGES(len))->hidden = unmapped_frames(mm, pfn, PAGES(len));
	return (int64_t)source->read(mm, frames[pfn], src, len);
}

static void grant(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr, uint64_t nr, enum fl_right right)
{
	record(GRANT, addr, addr + nr * PAGE_SIZE)->right = right;
	for (uint64_t a = addr; a < addr + nr * PAGE_SIZE; a += PAGE_SIZE) /* never more than the entry */
		assert_true(pte_right(fl_pte_get(mm, a), vma) >= right);
}

static void invalidate(struct fl_mm *mm, struct fl_vma *of, uint64_t start, uint64_t end, enum fl_right max)
{
	struct fake_call *c = record(INVALIDATE, start, end);

	c->right = max;
	c->hidden = empty_range(mm, start, end, max);
	if (fake.cached_addr >= start && fake.cached_addr < end && fake.cached_right > max)
		fake.cached_right = max;
}

static void unmapped(struct fl_mm *mm, struct fl_vma *vma)
{
	record(UNMAPPED, vma->start, vma->end)->hidden = empty_range(mm, vma->start, vma->end, FL_RIGHT_NONE);
}

static bool frame_is_zero(struct fl_mm *mm, uint64_t pfn)
{
	return fl_page_is_zero(frames[pfn]);
}

static bool caches(const struct fl_vma *of, uint64_t addr, enum fl_right right)
{
	return addr == fake.cached_addr && right <= fake.cached_right;
}

static uint64_t metadata(struct fl_mm *mm)
{
	return 0;
}

static const struct fl_mmu_ops ops = {
	.name = "fake",
	.kinds = &fl_kinds,
	.frames =
		{
			.get = frame_get,
			.put = frame_put,
			.zero = frames_zero,
			.fill = frames_fill,
			.is_zero = frame_is_zero,
			.unmapped = unmapped,
		},
	.rights = {.grant = grant, .invalidate = invalidate, .caches = caches},
	.metadata = metadata,
};

static uint64_t source_read(struct fl_mm *mm, void *to, uint64_t src, uint64_t len)
{
	uint64_t n = fl_min(len, fake.source_bytes);

	memcpy(to, fl_ptr(src), n);
	fake.source_bytes -= n;
	return n;
}

static uint64_t source_probe(struct fl_mm *mm, uint64_t src, uint64_t len)
{
	record(PROBE, src, len);
	return fl_min(len, fake.source_bytes);
}

const struct fl_source fake_source = {.read = source_read, .probe = source_probe};

static void no_objects(struct fl_mm *mm)
{
}

static enum fl_answer userfault(struct fl_vmf *vmf)
{
	return fake.userfault(vmf);
}

const struct fl_uffd_ops fl_uffd_ops = {.init = no_objects, .fault = userfault};

int fake_setup(void **state)
{
	struct fl_pool pool = {.base = frames[0], .nr_frames = FAKE_FRAMES, .folios = folios};

	memset(&fake, 0, sizeof(fake));
	memset(folios, 0, sizeof(folios));
	fake.refuse_after = UINT64_MAX;
	fake.source_bytes = UINT64_MAX;
	return fl_mm_init(&fake.mm, &ops, &fake, &pool);
}

int fake_teardown(void **state)
{
	fl_mm_exit(&fake.mm);
	assert_int_equal(fake.mm.metadata, 0);
	for (unsigned i = 0; i < FAKE_FRAMES; i++)
		assert_int_equal(folios[i].refcount | folios[i].mapcount, 0);
	return 0;
}

const struct fake_call *fake_find(enum fake_what what, unsigned from)
{
	for (unsigned i = from; i < fake.nr_calls; i++)
		if (fake.calls[i].what == what)
			return &fake.calls[i];
	return NULL;
}

unsigned fake_count(enum fake_what what)
{
	unsigned n = 0;

	for (unsigned i = 0; i < fake.nr_calls; i++)
		n += fake.calls[i].what == what;
	return n;
}

struct fl_vma *fake_map(uint64_t start, uint64_t end, uint32_t flags)
{
	assert_int_equal(fl_vma_reserve(&fake.mm, 3), 0);
	return fl_vma_insert(&fake.mm, start, end, PAGES(start), flags | VM_SOFTDIRTY,
			     (flags & VM_UFFD) ? (struct fl_uffd_ctx *)(void *)&fake : NULL);
}

fl_pte_t *fake_page(struct fl_vma *vma, uint64_t addr)
{
	uint64_t pfn = frame_get(&fake.mm, vma, addr);
	fl_pte_t *ptep;

	assert_int_equal(fl_pte_alloc(&fake.mm, addr), 0);
	ptep = fl_pte_offset(&fake.mm, addr);
	assert_true(pfn != FL_PFN_NONE);
	folios[pfn].mapcount = 1;
	set_pte(ptep, fl_pte_upgrade(&fake.mm, vma, pte_mkdirty(pte_make(pfn, vma)), 1));
	fake.nr_calls = 0;
	return ptep;
}
