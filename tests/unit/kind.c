/* SPDX-License-Identifier: MIT */
/*
 * kind.c - a kind of memory that the engine has never heard of: units of 64 KiB, made by its own function. One table
 * is all that it takes to be registered, to fault and to be filled.
 */
#include "unit.h"

#include "lib/lib.h"

#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

#define UNIT	      0x10000ull
#define PAGES_OF_UNIT (UNIT / PAGE_SIZE)
#define BASE	      0x40000000ull
#define LEN	      (4 * UNIT)

static struct fl_soft *space;
static struct fl_mm *mm;
static struct fl_uffd_ctx *ctx;

/* ---- the kind ---- */

static struct {
	uint64_t next, end; /* frames that it has in stock */
	unsigned made, filled;
} toy;

/* A unit of frames in a row, each counted once. */
static uint64_t toy_frames(struct fl_mm *of, struct fl_vma *vma, uint64_t addr)
{
	if (addr % UNIT || toy.end - toy.next < PAGES_OF_UNIT) /* no assertion: locks are held */
		return FL_PFN_NONE;
	toy.next += PAGES_OF_UNIT;
	toy.filled++;
	return toy.next - PAGES_OF_UNIT;
}

/* Every page says which one of its unit it is. */
static uint64_t toy_make(struct fl_mm *of, struct fl_vma *vma, uint64_t addr, uint64_t found, bool write)
{
	uint64_t pfn = toy_frames(of, vma, addr);

	if (pfn == FL_PFN_NONE || found != FL_PFN_NONE)
		return FL_PFN_NONE;
	toy.filled--;
	toy.made++;
	for (unsigned i = 0; i < PAGES_OF_UNIT; i++) {
		memset(fl_kmap_local(of, pfn + i), 'a' + (int)i, PAGE_SIZE);
		fl_folio(of, pfn + i)->mapcount = 1;
	}
	return pfn;
}

static const struct fl_memory_kind toy_kind = {
	.name = "toy",
	.unit = UNIT,
	.leaf = FL_LEAF_NEVER,
	.make = toy_make,
	.frames = toy_frames,
};

/* ---- a space with some of it ---- */

static int setup(void **state)
{
	struct fl_uffdio_api api = {.api = FL_UFFD_API};

	memset(&toy, 0, sizeof(toy));
	assert_int_equal(fl_soft_create(16ull << 20, &space), 0);
	mm = &space->mm;
	toy.next = fl_soft_pool_take_block(space->pool);
	assert_true(toy.next != FL_PFN_NONE);
	toy.end = toy.next + PTRS_PER_TABLE;
	assert_int_equal(
		fl_soft_mmap(mm, BASE, LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, NULL, 0),
		BASE);
	fl_mmap_write_lock(mm);
	fl_vma_set_kind(fl_vma_lookup(mm, BASE), &toy_kind);
	fl_mmap_write_unlock(mm);
	assert_int_equal(fl_ctx_new(mm, FL_CTX_SRC_HOST, &ctx), 0);
	assert_int_equal(fl_abi_ioctl(ctx, &fl_soft_space.caller, FL_UFFDIO_API, fl_addr(&api)), 0);
	return 0;
}

static void complain(const char *invariant, uint64_t addr)
{
	print_message("%s at %llx\n", invariant, (unsigned long long)addr);
}

static int teardown(void **state)
{
	assert_int_equal(fl_mm_verify(mm, complain), 0);
	fl_ctx_release(ctx);
	fl_ctx_put(ctx);
	for (; toy.next < toy.end; toy.next++) { /* what it has left */
		fl_folio(mm, toy.next)->refcount = 0;
		fl_soft_pool_give(space->pool, toy.next);
	}
	assert_int_equal(fl_soft_munmap(mm, BASE, LEN), 0);
	assert_int_equal(space->pool->frames.in_use, 0);
	fl_soft_destroy(space);
	return 0;
}

static char load(uint64_t addr)
{
	size_t done;
	char byte;

	assert_int_equal(fl_soft_access(mm, addr, &byte, 1, 0, NULL, &done), FL_DONE);
	return byte;
}

/* How many pages of a unit are there: all or none. */
static unsigned present(uint64_t unit)
{
	unsigned n = 0;

	for (uint64_t addr = unit; addr < unit + UNIT; addr += PAGE_SIZE)
		n += pte_present(fl_pte_get(mm, addr));
	return n;
}

static int register_range(uint64_t start, uint64_t len)
{
	struct fl_uffdio_register r = {.range = {start, len}, .mode = FL_UFFDIO_REGISTER_MODE_MISSING};

	return fl_abi_ioctl(ctx, &fl_soft_space.caller, FL_UFFDIO_REGISTER, fl_addr(&r));
}

static int copy(uint64_t dst, const void *src, uint64_t len)
{
	struct fl_uffdio_copy c = {.dst = dst, .src = fl_addr(src), .len = len};
	int err = fl_abi_ioctl(ctx, &fl_soft_space.caller, FL_UFFDIO_COPY, fl_addr(&c));

	assert_int_equal(c.copy, err ? err : (int64_t)len);
	return err;
}

/* ---- what it must do ---- */

static void test_a_fault_brings_a_unit(void **state)
{
	assert_int_equal(load(BASE + 5 * PAGE_SIZE + 7), 'f');
	assert_int_equal(toy.made, 1);
	assert_int_equal(present(BASE), PAGES_OF_UNIT);
	assert_int_equal(present(BASE + UNIT), 0);
	assert_int_equal(load(BASE), 'a');
	assert_int_equal(load(BASE + UNIT - 1), 'p');
	assert_int_equal(toy.made, 1);
}

static void test_registers_whole_units(void **state)
{
	assert_int_equal(register_range(BASE + PAGE_SIZE, UNIT), -EINVAL);
	assert_int_equal(register_range(BASE, PAGE_SIZE), -EINVAL);
	assert_int_equal(register_range(BASE + UNIT, 2 * UNIT), 0);
	assert_int_equal(fl_ctx_unregister(ctx, BASE + UNIT, PAGE_SIZE), -EINVAL);
	assert_true(fl_vma_lookup(mm, BASE)->kind == &toy_kind && fl_vma_lookup(mm, BASE + UNIT)->kind == &toy_kind);
	assert_int_equal(mm->nr_vmas, 3);
}

static void *loader(void *addr)
{
	return fl_ptr((uint64_t)load(fl_addr(addr)));
}

static void test_a_message_and_its_fill_are_of_a_unit(void **state)
{
	const uint64_t unit = BASE + 2 * UNIT;
	static char source[2 * UNIT];
	struct fl_uffd_msg msg;
	pthread_t thread;
	void *got;

	memset(source, 'x', sizeof(source));
	assert_int_equal(register_range(BASE, LEN), 0);
	assert_int_equal(pthread_create(&thread, NULL, loader, fl_ptr(unit + 3 * PAGE_SIZE + 11)), 0);
	assert_int_equal(fl_abi_read(ctx, &fl_soft_space.caller, fl_addr(&msg), sizeof(msg)), sizeof(msg));
	assert_int_equal(msg.event, FL_UFFD_EVENT_PAGEFAULT);
	assert_int_equal(msg.arg.pagefault.address, unit);
	assert_int_equal(copy(unit, source, UNIT / 2), -EINVAL);
	assert_int_equal(copy(unit + UNIT / 2, source, UNIT), -EINVAL);
	assert_int_equal(present(unit), 0);
	assert_int_equal(copy(unit, source, UNIT), 0);
	assert_int_equal(pthread_join(thread, &got), 0);
	assert_int_equal(fl_addr(got), 'x');
	assert_int_equal(present(unit), PAGES_OF_UNIT);
	assert_int_equal(present(unit + UNIT) + present(unit - UNIT), 0);
	assert_true(toy.made == 0 && toy.filled == 1);
	assert_int_equal(copy(unit, source, UNIT), -EEXIST);
	assert_int_equal(copy(BASE, source, 2 * UNIT), 0);
	assert_int_equal(present(BASE) + present(BASE + UNIT), 2 * PAGES_OF_UNIT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_fault_brings_a_unit, setup, teardown),
		cmocka_unit_test_setup_teardown(test_registers_whole_units, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_message_and_its_fill_are_of_a_unit, setup, teardown),
	};

	return cmocka_run_group_tests_name("kind", tests, NULL, NULL);
}
