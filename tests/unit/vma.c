/* SPDX-License-Identifier: MIT */
/* vma.c - the table of mappings against a byte map: one record for each page, nothing clever. */
#include "fake.h"

#include <string.h>

#include "base/inject.h"

#define BASE	     0x7f0000000000ull
#define PAGES_IN_MAP 64u

struct page {
	bool mapped;
	uint32_t flags;
	struct fl_uffd_ctx *ctx;
	uint64_t pgoff;
};

static struct page model[PAGES_IN_MAP];

static uint64_t addr_of(uint64_t i)
{
	return BASE + i * PAGE_SIZE;
}

static bool one_mapping(const struct page *a, const struct page *b)
{
	return a->mapped && b->mapped && a->flags == b->flags && a->ctx == b->ctx && a->pgoff + 1 == b->pgoff;
}

static void no_complaint(const char *invariant, uint64_t addr)
{
	fail_msg("%s at %llx", invariant, (unsigned long long)addr);
}

/* The table says of every page what the model says, in as few mappings as possible. */
static void compare(void)
{
	uint32_t runs = 0;

	for (unsigned i = 0; i < PAGES_IN_MAP; i++) {
		struct fl_vma *v = fl_vma_lookup(&fake.mm, addr_of(i) + i);
		const struct page *p = &model[i];

		runs += p->mapped && !(i && one_mapping(p - 1, p));
		assert_int_equal(v != NULL, p->mapped);
		if (!v)
			continue;
		assert_int_equal(v->flags, p->flags);
		assert_int_equal(v->vm_page_prot, fl_vm_page_prot(p->flags));
		assert_ptr_equal(v->ctx, p->ctx);
		assert_int_equal(v->pgoff + PAGES(addr_of(i) - v->start), p->pgoff);
	}
	assert_int_equal(fake.mm.nr_vmas, runs);
	assert_int_equal(fl_mm_verify(&fake.mm, no_complaint), 0);
	fl_mmap_exclude(&fake.mm, 0, UINT64_MAX); /* no exclusion is left */
}

/* fl_find_vma(): the first mapping that ends above. */
static void compare_find(uint64_t i)
{
	struct fl_vma *v = fl_find_vma(&fake.mm, addr_of(i));

	while (i < PAGES_IN_MAP && !model[i].mapped)
		i++;
	if (i == PAGES_IN_MAP)
		assert_null(v);
	else
		assert_true(v && v->start <= addr_of(i) && v->end > addr_of(i));
}

static uint32_t random_flags(uint64_t *seed)
{
	static const uint32_t some[] = {
		VM_READ, VM_READ | VM_WRITE, 0, VM_READ | VM_WRITE | VM_UFFD_MISSING, VM_READ | VM_UFFD_WP, VM_WRITE};

	return some[below(seed, ARRAY_SIZE(some))];
}

static struct fl_uffd_ctx *random_ctx(uint64_t *seed, uint32_t flags)
{
	return (flags & VM_UFFD) ? (struct fl_uffd_ctx *)(void *)(below(seed, 2) ? (char *)&fake : (char *)&model)
				 : NULL;
}

static void set_pages(uint64_t from, uint64_t to, const struct page *like)
{
	for (uint64_t i = from; i < to; i++) {
		model[i] = *like;
		model[i].pgoff = like->pgoff + (i - from);
	}
}

static void do_unmap(uint64_t from, uint64_t to)
{
	fl_do_munmap(&fake.mm, addr_of(from), addr_of(to));
	set_pages(from, to, &(struct page){0});
}

static void do_map(uint64_t *seed, uint64_t from, uint64_t to)
{
	struct page p = {.mapped = true, .flags = random_flags(seed), .pgoff = from + 1000 * below(seed, 2)};

	p.ctx = random_ctx(seed, p.flags);
	do_unmap(from, to);
	fl_vma_insert(&fake.mm, addr_of(from), addr_of(to), p.pgoff, p.flags, p.ctx);
	fl_vma_merge(&fake.mm, addr_of(from), addr_of(to));
	set_pages(from, to, &p);
}

/* Split, set, merge: what a registration does. */
static void do_set(uint64_t *seed, uint64_t from, uint64_t to)
{
	uint32_t uffd = random_flags(seed) & VM_UFFD, i;
	struct fl_uffd_ctx *ctx = random_ctx(seed, uffd);
	struct fl_vma *vma;

	fl_vma_split(&fake.mm, addr_of(from));
	fl_vma_split(&fake.mm, addr_of(to));
	fl_for_each_vma(&fake.mm, vma, i, addr_of(from), addr_of(to))
		fl_vma_set(vma, (vma->flags & ~VM_UFFD) | uffd, ctx);
	fl_vma_merge(&fake.mm, addr_of(from), addr_of(to));
	for (uint64_t p = from; p < to; p++)
		if (model[p].mapped) {
			model[p].flags = (model[p].flags & ~VM_UFFD) | uffd;
			model[p].ctx = ctx;
		}
}

static void do_protect(uint64_t *seed, uint64_t from, uint64_t to)
{
	uint32_t access = random_flags(seed) & VM_ACCESS;

	for (uint64_t p = from; p < to; p++)
		if (!model[p].mapped)
			return; /* the caller of fl_do_mprotect() has checked that the range is complete */
	fl_do_mprotect(&fake.mm, addr_of(from), addr_of(to), access);
	for (uint64_t p = from; p < to; p++)
		model[p].flags = (model[p].flags & ~VM_ACCESS) | access;
}

/* A split alone changes nothing, and merging undoes it. */
static void do_split(uint64_t at)
{
	fl_vma_split(&fake.mm, addr_of(at));
	fl_vma_split(&fake.mm, addr_of(at));
	fl_vma_merge(&fake.mm, addr_of(at), addr_of(at));
}

static void step(uint64_t *seed)
{
	uint64_t from = below(seed, PAGES_IN_MAP), to = from + 1 + below(seed, fl_min(PAGES_IN_MAP - from, 20ul));
	uint64_t hits, later;

	to = fl_min(to, (uint64_t)PAGES_IN_MAP);
	assert_int_equal(fl_vma_reserve(&fake.mm, 3), 0);
	assert_true(fake.mm.nr_spare >= 3 && fake.mm.cap_vmas >= fake.mm.nr_vmas + 3);
	fl_inject_count_of("alloc.vma", &hits, NULL);
	switch (below(seed, 6)) {
	case 0:
		do_unmap(from, to);
		break;
	case 1:
	case 2:
		do_map(seed, from, to);
		break;
	case 3:
		do_set(seed, from, to);
		break;
	case 4:
		do_protect(seed, from, to);
		break;
	case 5:
		do_split(from);
		break;
	}
	fl_inject_count_of("alloc.vma", &later, NULL);
	assert_int_equal(later, hits); /* reserved is reserved: nothing is allocated afterwards */
	compare();
	compare_find(from);
}

static void test_random(void **state)
{
	for (uint64_t seed = 1; seed <= 5; seed++) {
		uint64_t s = seed * 0x9e3779b97f4a7c15ull;

		for (unsigned i = 0; i < 4000; i++) {
			fake.nr_calls = 0;
			step(&s);
		}
	}
	assert_int_equal(fl_vma_reserve(&fake.mm, 2), 0);
	do_unmap(0, PAGES_IN_MAP);
	compare();
}

static void test_reserve_fails(void **state)
{
	assert_int_equal(fl_inject_set_point("alloc.vma_table", 0, 1), 0);
	assert_int_equal(fl_vma_reserve(&fake.mm, 2), -ENOMEM);
	assert_int_equal(fl_inject_set_point("alloc.vma", 1, 1), 0);
	assert_int_equal(fl_vma_reserve(&fake.mm, 2), -ENOMEM);
	assert_int_equal(fl_vma_reserve(&fake.mm, 2), 0);
	assert_int_equal(fl_inject_set_point("alloc.vma", 0, UINT32_MAX), 0);
	assert_int_equal(fl_vma_reserve(&fake.mm, 2), 0); /* they are still there */
	assert_int_equal(fl_inject_set_point("alloc.vma", 0, 0), 0);
}

static void test_unmap_tells_the_backend(void **state)
{
	const struct fake_call *c;

	fake_map(addr_of(0), addr_of(8), VM_READ);
	assert_int_equal(fl_vma_reserve(&fake.mm, 2), 0);
	fl_do_munmap(&fake.mm, addr_of(2), addr_of(5));
	assert_int_equal(fake_count(UNMAPPED), 1);
	c = fake_find(UNMAPPED, 0);
	assert_true(c->a == addr_of(2) && c->b == addr_of(5) && c->hidden);
	assert_int_equal(fake.mm.nr_vmas, 2);
	assert_null(fl_vma_lookup(&fake.mm, addr_of(2)));
	assert_non_null(fl_vma_lookup(&fake.mm, addr_of(5)));
}

static void test_page_prot(void **state)
{
	assert_int_equal(fl_vm_page_prot(VM_READ | VM_UFFD_WP), VM_READ);
	assert_int_equal(fl_vm_page_prot(VM_WRITE), VM_READ); /* private: copy-on-write must be asked */
	assert_int_equal(fl_vm_page_prot(VM_WRITE | VM_SOFTDIRTY), VM_READ);
	assert_int_equal(fl_vm_page_prot(VM_WRITE | VM_SHARED | VM_SOFTDIRTY), VM_READ | VM_WRITE);
	assert_int_equal(fl_vm_page_prot(VM_WRITE | VM_SHARED), VM_READ); /* soft-dirty is tracked */
	assert_int_equal(fl_vm_page_prot(VM_WRITE | VM_SHARED | VM_SOFTDIRTY | VM_UFFD_WP), VM_READ);
	assert_int_equal(fl_vm_page_prot(VM_EXEC | VM_LOCKED), VM_EXEC);
	assert_int_equal(fl_vm_page_prot(0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_random, fake_setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_reserve_fails, fake_setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_unmap_tells_the_backend, fake_setup, fake_teardown),
		cmocka_unit_test(test_page_prot),
	};

	return cmocka_run_group_tests_name("vma", tests, NULL, NULL);
}
