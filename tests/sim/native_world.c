/* SPDX-License-Identifier: MIT */
/*
 * native_world.c - space A as the native backend makes it: src/native, over the small host. Memory is the program's
 * own until it is registered. An access is what the host's page tables say; if they refuse it, a fault, as the entry
 * of the native backend (native/fault_entry.c) has it.
 */
#include "forget.h"
#include "hostmem.h"
#include "process.h"

#include "base/uaccess.h"
#include "lib/lib.h"
#include "native/sigview.h"

#include <stdio.h>
#include <string.h>

static uint32_t seen[SIM_THREADS]; /* fl_native_undone() */

/* The arrays for chunks and folios are address space that is not cleared between schedules (alloc.c). */
static void begin(void)
{
	uint64_t nr = fl_max(fl_native.chunks_end, 4u); /* of either process */

	if (fl_native.homes)
		memset(fl_native.homes, 0, nr * sizeof(struct home));
	if (fl_native.chunks)
		memset(fl_native.chunks, 0, nr * sizeof(struct chunk));
	if (fl_native.mm.pool.folios)
		memset(fl_native.mm.pool.folios, 0, nr * CHUNK_PAGES * sizeof(struct fl_folio));
	memset(&fl_native, 0, sizeof(fl_native));
	fl_shared_files = NULL;
	native_forget_kept();
	memset(seen, 0, sizeof(seen));
	process_reset();
	host_begin();
}

static void make(struct space *s)
{
	must(fl_native_init(), "no native backend");
	fl_signals_enabled = false; /* there are none */
	fl_native.guard = world_backend->guard;
	fl_native.in_place = world_backend->in_place;
	fl_native.budget = world_backend->budget;
	s->mm = &fl_native.mm;
	fl_mmap_write_lock(s->mm); /* its state is then the same whether the checker has had it or not */
	fl_mmap_write_unlock(s->mm);
}

/* ---- a file of the program's ---- */

static int64_t map_file(struct space *s)
{
	const int prot = PROT_READ | PROT_WRITE;
	int fd = fl_host_memfd("shared", FL_FP_KEEP);

	s->fd = fd;
	must(fl_host_ftruncate(fd, REGION_SIZE), "no shared memory");
	return fl_native_mmap(REGION(0), REGION_SIZE, prot, MAP_SHARED | MAP_FIXED, fd, 0);
}

static int64_t write_file(struct space *s, const void *data, unsigned index)
{
	return fl_host_pwrite(s->fd, data, PAGE_SIZE, index * PAGE_SIZE, FL_FP_NONE);
}

static int truncate_file_of(struct space *s, uint64_t size)
{
	return fl_native_ftruncate(s->fd, size);
}

static int punch(struct space *s, uint64_t offset, uint64_t len)
{
	return fl_native_fallocate(s->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, len);
}

/* ---- accesses ---- */

static char *page(struct space *s, uint64_t addr, bool write, enum fl_fault *fault)
{
	bool sigbus;
	char *mem;

	sim_point(SIM_RUN, host_thing(addr), write ? "a store" : "a load");
	mem = host_page(addr, write, &sigbus);
	if (fault && sigbus)
		*fault = FL_SIGBUS;
	return mem;
}

/* Memory of the engine, accessed with page faults disabled, or memory of no space. */
static void *memory(const void *at, bool write)
{
	uint64_t addr = fl_addr(at), frame;
	struct host_file *f = host_direct_file(at, &frame);
	char *mem;

	if (f && !host_direct_is_open(at))
		return NULL;
	if (f && write && !host_file_has(f, frame)) {
		host_touch_file(f, frame, frame + 1, true);
		host_file_add(f, frame);
	}
	if (addr >= HOST_END)
		return fl_ptr(addr);
	mem = page(&a, PAGE_ALIGN_DOWN(addr), write, NULL);
	return mem ? mem + addr % PAGE_SIZE : NULL;
}

static bool fault_in(const void *at, bool write)
{
	return fl_addr(at) < HOST_END && !access_by_page(&a, PAGE_ALIGN_DOWN(fl_addr(at)), NULL, write);
}

/*
 * A system call that writes a value to a page of the program's, as the preload library makes it (preload/efault.c):
 * if the host cannot, the page is made present, and the call is made again. 0, -EFAULT
 */
int call_that_writes(uint64_t addr, uint64_t value)
{
	enum fl_present present = FL_MADE_PRESENT;

	for (unsigned idle = 0; present == FL_MADE_PRESENT || (present == FL_WAS_PRESENT && idle < 8); idle++) {
		uint64_t *mem = (uint64_t *)(void *)page(&a, addr, true, NULL);

		for (unsigned i = 0; mem && i < PAGE_SIZE / sizeof(*mem); i++)
			mem[i] = value;
		if (mem)
			return 0;
		present = fl_native_fault_in(addr, PAGE_SIZE, true);
	}
	return -EFAULT;
}

void reuse_unseen(uint64_t addr, bool stays)
{
	sim_point(SIM_RUN, host_thing(addr), "munmap and mmap, unseen,");
	host_unseen(addr, stays);
}

/* Of the bits of a record this one changes nothing for memory that was not released. */
static struct chunk *record_of(uint64_t addr, unsigned *bit)
{
	struct fl_vma *vma = fl_vma_pin(&fl_native.mm, addr);
	uint64_t pfn = vma_pfn(vma, addr);
	struct chunk *c = chunk_of(pfn);

	fl_vma_unpin(vma);
	*bit = (unsigned)(pfn % CHUNK_PAGES);
	return c;
}

void record_note(uint64_t addr)
{
	unsigned bit;
	struct chunk *c = record_of(addr, &bit);

	bit_fill(c->owned, bit, 1, true);
}

bool record_forget(uint64_t addr)
{
	unsigned bit;
	struct chunk *c = record_of(addr, &bit);
	bool had = bit_get(c->owned, bit);

	bit_fill(c->owned, bit, 1, false);
	return had;
}

/* ---- fork: space B is the child, in which nothing is registered ---- */

static int fork_space(struct space *parent, struct space *child)
{
	int err = fl_fork_prepare();

	if (err)
		return err;
	sim_point(SIM_RUN, NULL, "fork");
	process_fork();
	fl_fork_parent(1); /* and in its wait the child: native_child() */
	return 0;
}

static void say(const char *invariant, uint64_t addr)
{
	sim_fail(invariant);
}

void native_child(void)
{
	fl_fork_child();
	fl_mm_verify(&fl_native.mm, say);
	host_check();
}

static uint64_t access_either(struct space *s, uint64_t addr, uint64_t *data, bool write)
{
	uint64_t ret;

	if (s == &a)
		return access_by_page(&a, addr, data, write);
	SIM_CHECK(process_has_child(), "an access in a child that there is not");
	sim_point(SIM_RUN, NULL, "an access of the child");
	process_enter_child();
	ret = access_by_page(&a, addr, data, write);
	process_leave_child();
	return ret;
}

/* ---- checks, and the end ---- */

/* A negative count means that a reference was dropped that was not held. */
static void verify_folios(void)
{
	for (uint64_t i = 0; i < fl_native.chunks_end * CHUNK_PAGES; i++)
		SIM_CHECK(fl_native.mm.pool.folios[i].refcount >= 0 && fl_native.mm.pool.folios[i].mapcount >= 0,
			  "a folio was given back twice");
}

static void verify(struct space *s)
{
	host_check();
}

static void shrink(struct space *s)
{
	fl_mmap_read_lock(s->mm);
	fl_cache_shrink(s->mm);
	fl_mmap_read_unlock(s->mm);
}

static void destroy(struct space *s)
{
	struct fl_pool p = fl_native.mm.pool;
	const struct host_file *pool = host_pool();

	must(fl_native_munmap(REGION(0), HOST_END - REGION(0)), "the mappings do not go");
	SIM_CHECK(!host.nr, "the host has a mapping that is in no table");
	SIM_CHECK(s->fd || !pool || !host_file_pages(pool), "memory of the pool was not freed");
	fl_mm_exit(&fl_native.mm);
	SIM_CHECK(!fl_native.used_chunks, "a home was not freed");
	fl_pool_destroy(&p);
	if (s->fd)
		fl_host_close(s->fd);
	SIM_CHECK(!host_open_fds(), "a descriptor was not closed");
}

static void end(struct space *s)
{
	if (s->live) {
		verify_folios();
		space_destroy(s);
	}
}

static void name(const void *what, char *text, size_t size)
{
	host_name(what, text, size);
}

static const struct world native = {
	.begin = begin,
	.make = make,
	.map_file = map_file,
	.write_file = write_file,
	.truncate_file = truncate_file_of,
	.punch_file = punch,
	.fork = fork_space,
	.access = access_either,
	.page = page,
	.again = fl_native_undone,
	.memory = memory,
	.fault_in = fault_in,
	.verify = verify,
	.shrink = shrink,
	.destroy = destroy,
	.end = end,
	.name = name,
};

const struct backend native_backends[] = {
	{.name = "guard", .world = &native, .mmu = true, .host = true, .guard = true, .budget = 1000},
	{.name = "guard-full", .world = &native, .mmu = true, .host = true, .guard = true},
	{.name = "guard-no-room",
	 .world = &native,
	 .mmu = true,
	 .host = true,
	 .guard = true,
	 .budget = 1000,
	 .no_room = true},
	{.name = "bare", .world = &native, .mmu = true, .host = true, .budget = 1000},
	{.name = "bare-full", .world = &native, .mmu = true, .host = true},
	{.name = "place",
	 .world = &native,
	 .mmu = true,
	 .host = true,
	 .guard = true,
	 .in_place = true,
	 .budget = 1000},
	{.name = "place-full", .world = &native, .mmu = true, .host = true, .guard = true, .in_place = true},
};
const unsigned native_nr_backends = ARRAY_SIZE(native_backends);

/* ---- the fault entry, which is not explored ---- */

bool fl_native_undone(void)
{
	uint32_t *s = &seen[sim_number()];
	bool ret = fl_native.undone != *s;

	*s = fl_native.undone;
	return ret;
}

int fl_fault_entry_install(void)
{
	return 0;
}

void fl_sigview_after_fork(void)
{
}
