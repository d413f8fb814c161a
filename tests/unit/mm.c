/* SPDX-License-Identifier: MIT */
/* mm.c - page tables, change_protection, zap, faults and fills on the recording backend. */
#include "fake.h"

#include <stdlib.h>
#include <string.h>

#include "base/inject.h"

#define BASE 0x10000000ull /* aligned to 2 MiB */
#define RW   (VM_READ | VM_WRITE)
#define TRY  MM_CP_TRY_CHANGE_WRITABLE

static void no_complaint(const char *invariant, uint64_t addr)
{
	fail_msg("%s at %llx", invariant, (unsigned long long)addr);
}

static void verify(void)
{
	assert_int_equal(fl_mm_verify(&fake.mm, no_complaint), 0);
	fl_mmap_exclude(&fake.mm, 0, UINT64_MAX); /* no exclusion is left */
}

/* ---- page tables ---- */

#define NR_ADDRS 200

static int by_address(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static fl_pte_t *pte_alloc(uint64_t addr)
{
	return fl_pte_alloc(&fake.mm, addr) ? NULL : fl_pte_offset(&fake.mm, addr);
}

/* Sparse tables: every table is found again, and the walk visits them in order and nothing else. */
static void test_pgtable_sparse(void **state)
{
	uint64_t addrs[NR_ADDRS], seed = 5, empty = fake.mm.metadata, at = 0;
	fl_pte_t *ptes[NR_ADDRS];

	for (unsigned i = 0; i < NR_ADDRS; i++)
		addrs[i] = below(&seed, TASK_SIZE >> below(&seed, 20)) & PAGE_MASK;
	qsort(addrs, NR_ADDRS, sizeof(addrs[0]), by_address);
	assert_null(fl_pte_offset(&fake.mm, addrs[0]));
	for (unsigned i = 0; i < NR_ADDRS; i++) {
		ptes[i] = pte_alloc(addrs[i]);
		assert_non_null(ptes[i]);
		assert_int_equal(ptep_get(ptes[i]).val, 0);
	}
	for (unsigned i = 0; i < NR_ADDRS; i++) {
		assert_ptr_equal(fl_pte_offset(&fake.mm, addrs[i]), ptes[i]);
		assert_ptr_equal(pte_alloc(addrs[i]), ptes[i]);
		if (addrs[i] < at)
			continue; /* in the previous page's table */
		at = fl_pgtable_next(&fake.mm, at, TASK_SIZE);
		assert_int_equal(at, PMD_ALIGN_DOWN(addrs[i]));
		at += PMD_SIZE;
	}
	assert_int_equal(fl_pgtable_next(&fake.mm, at, TASK_SIZE), TASK_SIZE);
	fl_free_pgtables(&fake.mm, 0, TASK_SIZE);
	assert_int_equal(fake.mm.metadata, empty);
	assert_null(fl_pte_offset(&fake.mm, addrs[0]));
}

/* A table with an entry stays, and so do those above it. */
static void test_pgtable_keeps_entries(void **state)
{
	fl_pte_t *a = pte_alloc(BASE), *b = pte_alloc(BASE + PMD_SIZE);

	assert_true(a && b);
	set_pte(a, (fl_pte_t){PTE_PRESENT});
	fl_free_pgtables(&fake.mm, BASE, BASE + 2 * PMD_SIZE);
	assert_ptr_equal(fl_pte_offset(&fake.mm, BASE), a);
	assert_null(fl_pte_offset(&fake.mm, BASE + PMD_SIZE));
	set_pte(a, (fl_pte_t){0});
	fl_free_pgtables(&fake.mm, BASE + PMD_SIZE, BASE + 2 * PMD_SIZE); /* outside its range */
	assert_ptr_equal(fl_pte_offset(&fake.mm, BASE), a);
	fl_free_pgtables(&fake.mm, BASE, BASE + PAGE_SIZE);
	assert_null(fl_pte_offset(&fake.mm, BASE));
}

static void test_pgtable_no_memory(void **state)
{
	for (uint32_t n = 0; n < 3; n++) {
		assert_int_equal(fl_inject_set_point("alloc.pgtable", n, 1), 0);
		assert_int_equal(fl_pte_alloc(&fake.mm, BASE), -ENOMEM);
		assert_null(fl_pte_offset(&fake.mm, BASE));
		fl_free_pgtables(&fake.mm, BASE, BASE + PAGE_SIZE);
		assert_int_equal(fake.mm.metadata, PAGE_SIZE); /* the top one */
	}
	assert_int_equal(fl_inject_set_point("alloc.pgtable", 0, 0), 0);
}

/* ---- change_protection ---- */

static fl_pte_t pte_at(uint64_t addr)
{
	return ptep_get(fl_pte_offset(&fake.mm, addr));
}

static struct fl_vma *map_two_pages(uint32_t flags)
{
	struct fl_vma *vma = fake_map(BASE, BASE + 2 * PMD_SIZE, flags);

	fake_page(vma, BASE + 3 * PAGE_SIZE);
	fake_page(vma, BASE + PMD_SIZE);
	return vma;
}

static void all_writable(bool writable)
{
	assert_int_equal(pte_write(pte_at(BASE + 3 * PAGE_SIZE)), writable);
	assert_int_equal(pte_write(pte_at(BASE + PMD_SIZE)), writable);
}

static void test_protect_shrink_is_told(void **state)
{
	struct fl_vma *vma = map_two_pages(RW);
	const struct fake_call *c;

	all_writable(true);
	fl_vma_set(vma, VM_READ | VM_SOFTDIRTY, NULL);
	assert_int_equal(fl_change_protection(&fake.mm, vma, vma->start, vma->end, TRY), 2);
	all_writable(false);
	assert_int_equal(fake_count(INVALIDATE), 1);
	c = fake_find(INVALIDATE, 0);
	assert_true(c->a <= BASE + 3 * PAGE_SIZE && c->b >= BASE + PMD_SIZE + PAGE_SIZE);
	assert_int_equal(c->right, FL_RIGHT_READ);
	assert_true(c->hidden); /* the entries came first */
	verify();
}

static void test_protect_none_hides_all(void **state)
{
	struct fl_vma *vma = map_two_pages(VM_READ);
	const struct fake_call *c;

	fl_vma_set(vma, 0, NULL);
	fl_change_protection(&fake.mm, vma, vma->start, vma->end, 0);
	c = fake_find(INVALIDATE, 0);
	assert_true(c && c->a == vma->start && c->b == vma->end && c->right == FL_RIGHT_NONE);
	verify();
}

static void test_protect_growth_is_silent(void **state)
{
	struct fl_vma *vma = map_two_pages(VM_READ);

	all_writable(false);
	fl_vma_set(vma, RW | VM_SOFTDIRTY, NULL);
	assert_int_equal(fl_change_protection(&fake.mm, vma, vma->start, vma->end, TRY), 2);
	all_writable(true);
	assert_int_equal(fake.nr_calls, 0);
	assert_int_equal(fl_change_protection(&fake.mm, vma, vma->start, vma->end, TRY), 0);
	verify();
}

static void test_protect_wp_and_back(void **state)
{
	struct fl_vma *vma = map_two_pages(RW | VM_UFFD_WP);

	assert_int_equal(fl_change_protection(&fake.mm, vma, vma->start, vma->end, MM_CP_UFFD_WP), 2);
	all_writable(false);
	assert_true(pte_uffd_wp(pte_at(BASE + PMD_SIZE)));
	assert_int_equal(fake_count(INVALIDATE), 1);
	verify();
	/* nothing else lifts it: neither more rights of the mapping, nor a second try */
	fl_vma_set(vma, VM_READ | VM_UFFD_WP | VM_SOFTDIRTY, vma->ctx);
	fl_change_protection(&fake.mm, vma, vma->start, vma->end, TRY);
	fl_vma_set(vma, RW | VM_UFFD_WP | VM_SOFTDIRTY, vma->ctx);
	fl_change_protection(&fake.mm, vma, vma->start, vma->end, TRY);
	all_writable(false);
	verify();
	fake.nr_calls = 0;
	assert_int_equal(fl_change_protection(&fake.mm, vma, vma->start, vma->end, MM_CP_UFFD_WP_RESOLVE | TRY), 2);
	all_writable(true);
	assert_int_equal(fake.nr_calls, 0);
	verify();
}

static void test_protect_wp_of_read_only(void **state)
{
	struct fl_vma *vma = map_two_pages(VM_READ | VM_UFFD_WP);

	fl_change_protection(&fake.mm, vma, vma->start, vma->end, MM_CP_UFFD_WP);
	fl_change_protection(&fake.mm, vma, vma->start, vma->end, MM_CP_UFFD_WP_RESOLVE | TRY);
	all_writable(false);
	assert_int_equal(fake_count(INVALIDATE), 0); /* no thread lost a right */
	verify();
}

static void test_protect_part(void **state)
{
	struct fl_vma *vma = map_two_pages(RW | VM_UFFD_WP);

	fl_change_protection(&fake.mm, vma, BASE + PMD_SIZE, BASE + PMD_SIZE + PAGE_SIZE, MM_CP_UFFD_WP);
	assert_true(pte_write(pte_at(BASE + 3 * PAGE_SIZE)));
	assert_false(pte_write(pte_at(BASE + PMD_SIZE)));
	assert_true(fake_find(INVALIDATE, 0)->a >= BASE + PMD_SIZE);
	verify();
}

/* No order of constructors makes an entry that is both. */
static void test_pte_wp_is_never_writable(void **state)
{
	const struct fl_vma vma = {.flags = RW | VM_SHARED, .vm_page_prot = RW};
	uint64_t seed = 9;

	for (unsigned i = 0; i < 10000; i++) {
		fl_pte_t p = pte_make(below(&seed, 1u << 30), &vma);
		uint64_t pfn = pte_pfn(p);

		for (unsigned k = 0; k < 8; k++) {
			switch (below(&seed, 9)) {
			case 0:
				p = pte_mkwrite(p);
				break;
			case 1:
				p = pte_mkuffd_wp(p);
				break;
			case 2:
				p = pte_wrprotect(p);
				break;
			case 3:
				p = pte_clear_uffd_wp(p);
				break;
			case 4:
				p = pte_mkdirty(p);
				break;
			case 5:
				p = pte_mkyoung(p);
				break;
			case 6:
				p = pte_mkhint(p);
				break;
			case 7:
				p = pte_clear_hint(p);
				break;
			case 8:
				p = pte_set_prot(p, &vma);
				break;
			}
			assert_true(!(pte_write(p) && pte_hint(p)));
			assert_true(!(pte_write(p) && pte_uffd_wp(p)));
			assert_true(pte_present(p) && !pte_none(p) && pte_pfn(p) == pfn);
		}
	}
}

/* ---- zap ---- */

static unsigned index_of(const struct fake_call *c)
{
	return (unsigned)(c - fake.calls);
}

/* The entry, then every cached right, then the frame; over more pages than one batch holds. */
static void test_zap_order(void **state)
{
	struct fl_vma *vma = fake_map(BASE, BASE + 2 * PMD_SIZE, RW);
	const struct fake_call *inv, *put;
	unsigned puts = 0;

	for (unsigned i = 0; i < 150; i++)
		fake_page(vma, BASE + PMD_SIZE + i * PAGE_SIZE - 75 * PAGE_SIZE);
	fl_zap_range(&fake.mm, vma, vma->start, vma->end);
	for (put = fake_find(FRAME_PUT, 0); put; put = fake_find(FRAME_PUT, index_of(put) + 1), puts++) {
		assert_true(put->hidden);
		inv = fake_find(INVALIDATE, 0);
		assert_true(inv && inv < put);
	}
	assert_int_equal(puts, 150);
	for (inv = fake_find(INVALIDATE, 0); inv; inv = fake_find(INVALIDATE, index_of(inv) + 1)) {
		assert_true(inv->hidden);
		assert_int_equal(inv->right, FL_RIGHT_NONE);
	}
	verify();
}

/* Every frame that is freed was in a range invalidated just before. */
static void test_zap_invalidates_each(void **state)
{
	struct fl_vma *vma = fake_map(BASE, BASE + PMD_SIZE, RW);
	uint64_t addr_of_pfn[FAKE_FRAMES] = {0}, a = 0, b = 0;

	for (unsigned i = 0; i < 200; i += 1 + i % 3) {
		fl_pte_t *ptep = fake_page(vma, BASE + i * PAGE_SIZE);

		addr_of_pfn[pte_pfn(ptep_get(ptep))] = BASE + i * PAGE_SIZE;
	}
	fl_zap_range(&fake.mm, vma, vma->start, vma->end);
	for (unsigned i = 0; i < fake.nr_calls; i++) {
		const struct fake_call *c = &fake.calls[i];

		if (c->what == INVALIDATE) {
			a = c->a;
			b = c->b;
		} else if (c->what == FRAME_PUT) {
			assert_true(addr_of_pfn[c->a] >= a && addr_of_pfn[c->a] < b);
		}
	}
	assert_true(fake_count(FRAME_PUT) > 64);
}

static void test_zap_of_nothing(void **state)
{
	struct fl_vma *vma = fake_map(BASE, BASE + PMD_SIZE, RW);

	fl_zap_range(&fake.mm, vma, vma->start, vma->end);
	assert_int_equal(fl_pte_alloc(&fake.mm, BASE), 0);
	fl_zap_range(&fake.mm, vma, vma->start, vma->end);
	assert_int_equal(fake.nr_calls, 0);
}

/* ---- faults ---- */

static unsigned userfaults;
static bool userfault_wp;

static enum fl_answer on_userfault(struct fl_vmf *vmf)
{
	userfaults++;
	userfault_wp = vmf->why == FL_WHY_WP;
	fl_mutex_unlock(fl_pt_lock(vmf->mm, vmf->addr));
	fl_vma_unpin(vmf->vma);
	return FL_ANSWER_SIGBUS;
}

static enum fl_fault fault(uint64_t addr, uint32_t flags)
{
	struct fl_vmf vmf = {.mm = &fake.mm, .addr = addr, .flags = flags};
	enum fl_fault ret;

	fake.userfault = on_userfault;
	userfaults = 0;
	fake.nr_calls = 0;
	ret = fl_handle_mm_fault(&vmf);
	assert_int_equal(fake.mm.mmap_lock.state, 0);
	for (unsigned i = 0; i < FL_PT_LOCKS; i++)
		assert_int_equal(fake.mm.pt_lock[i].word, 0);
	verify();
	return ret;
}

static void test_fault_refused(void **state)
{
	fake_map(BASE, BASE + PAGE_SIZE, VM_READ);
	fake_map(BASE + PAGE_SIZE, BASE + 2 * PAGE_SIZE, 0);
	assert_int_equal(fault(BASE - 1, 0), FL_FOREIGN);
	assert_int_equal(fault(BASE + 2 * PAGE_SIZE, FAULT_WRITE), FL_FOREIGN);
	assert_int_equal(fault(BASE, FAULT_WRITE), FL_SEGV);
	assert_int_equal(fault(BASE + PAGE_SIZE, 0), FL_SEGV);
	assert_int_equal(fake.nr_calls, 0);
}

static void test_fault_zero_page(void **state)
{
	const struct fake_call *zero, *given;

	fake_map(BASE, BASE + PMD_SIZE, RW);
	assert_int_equal(fault(BASE + 5, 0), FL_DONE);
	zero = fake_find(FRAMES_ZERO, 0);
	given = fake_find(GRANT, 0);
	assert_true(zero && given && zero < given && zero->hidden); /* invisible until it is zeroed */
	assert_int_equal(given->a, BASE);
	assert_true(pte_present(pte_at(BASE)));
	fake.refuse_after = 0;
	assert_int_equal(fault(BASE + PAGE_SIZE, FAULT_WRITE), FL_SIGBUS);
	assert_true(pte_none(pte_at(BASE + PAGE_SIZE)));
}

static void test_fault_goes_to_the_object(void **state)
{
	struct fl_vma *vma = fake_map(BASE, BASE + PMD_SIZE, RW | VM_UFFD_MISSING | VM_UFFD_WP);
	fl_pte_t *ptep;

	assert_int_equal(fault(BASE, 0), FL_SIGBUS);
	assert_true(userfaults == 1 && !userfault_wp);
	ptep = fake_page(vma, BASE);
	assert_int_equal(fault(BASE, FAULT_WRITE), FL_DONE); /* only the backend forgot it */
	assert_int_equal(userfaults, 0);
	assert_int_equal(fake_find(GRANT, 0)->right, FL_RIGHT_WRITE);
	set_pte(ptep, pte_mkuffd_wp(ptep_get(ptep)));
	assert_int_equal(fault(BASE, 0), FL_DONE);
	assert_int_equal(fake_find(GRANT, 0)->right, FL_RIGHT_READ);
	assert_int_equal(fault(BASE, FAULT_WRITE), FL_SIGBUS);
	assert_true(userfaults == 1 && userfault_wp);
}

/* ---- fills ---- */

static char source[8 * 4096];

static int fill(struct fl_fill f, uint64_t *done)
{
	uint64_t src_fault = 0;
	int err;

	f.src = fl_addr(source);
	f.source = &fake_source;
	fake.nr_calls = 0;
	*done = 0;
	err = fl_fill_range(&fake.mm, &f, done, &src_fault);
	if (err == -EFAULT)
		assert_int_equal(PAGE_ALIGN_DOWN(src_fault - f.src), *done);
	verify();
	return err;
}

static void test_fill_order(void **state)
{
	const struct fake_call *written, *given;
	uint64_t done;

	fake_map(BASE, BASE + PMD_SIZE, RW | VM_UFFD_MISSING);
	memset(source, 'x', sizeof(source));
	assert_int_equal(fill((struct fl_fill){.dst = BASE, .len = 4 * PAGE_SIZE}, &done), 0);
	assert_int_equal(done, 4 * PAGE_SIZE);
	written = fake_find(FRAMES_FILL, 0);
	given = fake_find(GRANT, 0);
	assert_true(written && written->hidden && given && written < given);
	for (uint64_t a = BASE; a < BASE + 4 * PAGE_SIZE; a += PAGE_SIZE)
		assert_int_equal(((char *)fl_kmap_local(&fake.mm, pte_pfn(pte_at(a))))[4095], 'x');
}

static void test_fill_refused(void **state)
{
	uint64_t done;

	fake_map(BASE, BASE + 2 * PAGE_SIZE, RW | VM_UFFD_MISSING);
	fake_map(BASE + 2 * PAGE_SIZE, BASE + 4 * PAGE_SIZE, RW);
	assert_int_equal(fill((struct fl_fill){.dst = BASE, .len = 3 * PAGE_SIZE}, &done), -ENOENT);
	assert_int_equal(fill((struct fl_fill){.dst = BASE + 2 * PAGE_SIZE, .len = PAGE_SIZE}, &done), -ENOENT);
	assert_int_equal(fill((struct fl_fill){.dst = BASE - PAGE_SIZE, .len = PAGE_SIZE}, &done), -ENOENT);
	assert_int_equal(fill((struct fl_fill){.dst = BASE, .len = PAGE_SIZE, .wp = true}, &done), -EINVAL);
	assert_int_equal(done, 0);
	assert_int_equal(fake.nr_calls, 0);
}

static void test_fill_stops_where_it_must(void **state)
{
	struct fl_vma *vma = fake_map(BASE, BASE + PMD_SIZE, RW | VM_UFFD_MISSING);
	uint64_t done;

	fake_page(vma, BASE + 2 * PAGE_SIZE);
	assert_int_equal(fill((struct fl_fill){.dst = BASE, .len = 4 * PAGE_SIZE}, &done), -EEXIST);
	assert_int_equal(done, 2 * PAGE_SIZE);
	fake.refuse_after = 1;
	assert_int_equal(fill((struct fl_fill){.dst = BASE + 4 * PAGE_SIZE, .len = 3 * PAGE_SIZE}, &done), -ENOMEM);
	assert_int_equal(done, PAGE_SIZE);
	fake.refuse_after = UINT64_MAX;
	fake.source_bytes = 2 * PAGE_SIZE + 100; /* the source faults in its third page, which is not filled at all */
	assert_int_equal(fill((struct fl_fill){.dst = BASE + 8 * PAGE_SIZE, .len = 4 * PAGE_SIZE}, &done), -EFAULT);
	assert_true(pte_present(pte_at(BASE + 9 * PAGE_SIZE)));
	assert_true(pte_none(pte_at(BASE + 10 * PAGE_SIZE)));
	assert_int_equal(fake_count(FRAME_GET) - fake_count(FRAME_PUT), 2);
}

static void test_fill_wp(void **state)
{
	uint64_t done;

	fake_map(BASE, BASE + PMD_SIZE, RW | VM_UFFD_WP);
	assert_int_equal(fill((struct fl_fill){.dst = BASE, .len = PAGE_SIZE, .wp = true}, &done), 0);
	assert_true(pte_uffd_wp(pte_at(BASE)) && !pte_write(pte_at(BASE)));
	assert_int_equal(fake_find(GRANT, 0)->right, FL_RIGHT_READ);
	assert_int_equal(
		fill((struct fl_fill){.dst = BASE + PAGE_SIZE, .len = PAGE_SIZE, .kind = FL_FILL_ZERO}, &done), 0);
	assert_true(fake_find(FRAMES_ZERO, 0)->hidden);
	assert_true(pte_write(pte_at(BASE + PAGE_SIZE)));
}

/* ---- the checker: each planted violation is found, and named ---- */

static char said[64];

static void hear(const char *invariant, uint64_t addr)
{
	if (!said[0])
		strncpy(said, invariant, sizeof(said) - 1);
}

static void finds(const char *invariant)
{
	said[0] = '\0';
	assert_true(fl_mm_verify(&fake.mm, hear) >= 1);
	fl_mmap_exclude(&fake.mm, 0, UINT64_MAX);
	if (strncmp(said, invariant, strlen(invariant)) != 0)
		fail_msg("said \"%s\", not %s", said, invariant);
}

static void test_check_mappings(void **state)
{
	struct fl_vma *a = fake_map(BASE, BASE + 2 * PAGE_SIZE, RW), *b;

	b = fake_map(BASE + 4 * PAGE_SIZE, BASE + 6 * PAGE_SIZE, VM_READ);
	verify();
	a->end += 1;
	finds("I1");
	a->end = a->start;
	finds("I1");
	a->end = b->start + PAGE_SIZE;
	finds("I1");
	a->end = BASE + 2 * PAGE_SIZE;
	b->end = TASK_SIZE + PAGE_SIZE;
	finds("I1");
	b->end = BASE + 6 * PAGE_SIZE;
	assert_int_equal(fl_vma_reserve(&fake.mm, 1), 0);
	fl_vma_split(&fake.mm, BASE + PAGE_SIZE);
	finds("I1 merged");
	fl_vma_merge(&fake.mm, BASE, BASE + 2 * PAGE_SIZE);
	a->flags |= VM_UFFD_MISSING;
	finds("I2");
	a->flags &= ~VM_UFFD_MISSING;
	b->ctx = (struct fl_uffd_ctx *)(void *)&fake;
	finds("I2");
	b->ctx = NULL;
	b->vm_page_prot |= VM_WRITE;
	finds("I3");
	b->vm_page_prot = VM_READ;
	verify();
}

static void test_check_entries(void **state)
{
	struct fl_vma *vma = fake_map(BASE, BASE + 8 * PAGE_SIZE, RW | VM_UFFD_WP), *ro;
	fl_pte_t *ptep = fake_page(vma, BASE), good = ptep_get(ptep), *other;
	struct fl_folio *folio = fl_folio(&fake.mm, pte_pfn(good));

	ro = fake_map(BASE + 8 * PAGE_SIZE, BASE + 9 * PAGE_SIZE, VM_READ);
	other = fake_page(ro, BASE + 8 * PAGE_SIZE);
	verify();
	set_pte(ptep + 100, good);
	finds("I4");
	set_pte(ptep + 100, (fl_pte_t){0});
	ro->flags |= VM_RELEASED;
	finds("I4");
	ro->flags &= ~VM_RELEASED;
	set_pte(ptep, (fl_pte_t){good.val | PTE_UFFD_WP | PTE_WRITE});
	finds("I5");
	set_pte(ptep, good);
	set_pte(other, (fl_pte_t){ptep_get(other).val | PTE_UFFD_WP});
	finds("I5");
	set_pte(other, (fl_pte_t){(ptep_get(other).val & ~PTE_UFFD_WP) | PTE_WRITE});
	finds("I6");
	set_pte(other, pte_wrprotect(ptep_get(other)));
	set_pte(ptep, (fl_pte_t){good.val & ~PTE_SOFT_DIRTY});
	finds("I6");
	set_pte(ptep, (fl_pte_t){good.val | PTE_HINT});
	finds("I6");
	set_pte(ptep, good);
	folio->mapcount = 2;
	finds("I7");
	folio->mapcount = 1;
	folio->refcount = 0;
	finds("I7");
	folio->refcount = 1;
	verify();
}

static void test_check_cache(void **state)
{
	struct fl_vma *vma = fake_map(BASE, BASE + 2 * PAGE_SIZE, RW | VM_UFFD_WP);
	fl_pte_t *ptep = fake_page(vma, BASE);

	fake.cached_addr = BASE;
	fake.cached_right = FL_RIGHT_WRITE;
	verify();
	set_pte(ptep, pte_mkuffd_wp(ptep_get(ptep))); /* and the cache was not told */
	finds("I8");
	fake.cached_right = FL_RIGHT_READ;
	verify();
	fake.cached_addr = BASE + PAGE_SIZE; /* nothing is there at all */
	finds("I8");
	fake.cached_right = FL_RIGHT_NONE;
	verify();
}

#define T(test) cmocka_unit_test_setup_teardown(test, fake_setup, fake_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_pgtable_sparse),
		T(test_pgtable_keeps_entries),
		T(test_pgtable_no_memory),
		T(test_protect_shrink_is_told),
		T(test_protect_none_hides_all),
		T(test_protect_growth_is_silent),
		T(test_protect_wp_and_back),
		T(test_protect_wp_of_read_only),
		T(test_protect_part),
		T(test_pte_wp_is_never_writable),
		T(test_zap_order),
		T(test_zap_invalidates_each),
		T(test_zap_of_nothing),
		T(test_fault_refused),
		T(test_fault_zero_page),
		T(test_fault_goes_to_the_object),
		T(test_fill_order),
		T(test_fill_refused),
		T(test_fill_stops_where_it_must),
		T(test_fill_wp),
		T(test_check_mappings),
		T(test_check_entries),
		T(test_check_cache),
	};

	return cmocka_run_group_tests_name("mm", tests, NULL, NULL);
}
