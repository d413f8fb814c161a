/* SPDX-License-Identifier: MIT */
/* world.c - spaces, accesses, calls; the backend with a cache; checks at points and at the end. */
#include "world.h"

#include "lib/lib.h"
#include "starve.h"
#include "uffd/space.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define POOL (12 * PAGE_SIZE)

struct space a = {.name = "A"}, b = {.name = "B"};

const struct backend world_backends[] = {
	{.name = "soft"},
	{.name = "mmu", .mmu = true},
#ifdef SIM_HOST
	{.name = "guard", .mmu = true, .host = true, .guard = true, .budget = 1000},
	{.name = "guard-full", .mmu = true, .host = true, .guard = true},
	{.name = "guard-no-room", .mmu = true, .host = true, .guard = true, .budget = 1000, .no_room = true},
	{.name = "bare", .mmu = true, .host = true, .budget = 1000},
	{.name = "bare-full", .mmu = true, .host = true},
#endif
};
const unsigned world_nr_backends = ARRAY_SIZE(world_backends);
const struct backend *world_backend = world_backends;

static struct space *const spaces[] = {&a, &b};
static struct fl_mmu_ops ops; /* src/soft's, with what is watched or replaced here */
static const struct fl_mmu_ops *soft;

static struct space *space_of(const struct fl_mm *mm)
{
	for (unsigned i = 0; i < ARRAY_SIZE(spaces); i++)
		if (spaces[i]->mm == mm)
			return spaces[i];
	sim_fail("an unknown address space");
}

static struct space *other_space(const struct space *s)
{
	return s == &a ? &b : &a;
}

/* ---- the cache of rights ---- */

struct cached *cached_at(struct space *s, uint64_t addr)
{
	uint64_t region = (addr - REGION(0)) >> PMD_SHIFT, page = PAGES(addr & ~PMD_MASK);

	return addr >= REGION(0) && region < NR_REGIONS && page < REGION_PAGES ? &s->cache[region][page] : NULL;
}

static void grant(struct fl_mm *mm, struct fl_vma *vma, uint64_t addr, uint64_t nr, enum fl_right right)
{
	for (; nr--; addr += PAGE_SIZE) {
		struct cached *c = cached_at(space_of(mm), addr);

		if (!c)
			continue;
		sim_point(SIM_RUN, c, "a grant");
		c->right = right;
		c->pfn = pte_pfn(fl_pte_get(mm, addr));
		sim_touch(c, true);
	}
}

static void invalidate(struct fl_mm *mm, struct fl_vma *vma, uint64_t start, uint64_t end, enum fl_right max)
{
	for (unsigned r = 0; r < NR_REGIONS; r++)
		for (uint64_t addr = fl_max(start, REGION(r)); addr < fl_min(end, REGION(r) + REGION_SIZE);
		     addr += PAGE_SIZE) {
			struct cached *c = cached_at(space_of(mm), addr);

			if (c->right > max)
				sim_point(SIM_RUN, c, "a right is taken");
			c->right = fl_min(c->right, max);
			sim_touch(c, true);
		}
}

static bool caches(const struct fl_vma *vma, uint64_t addr, enum fl_right right)
{
	const struct cached *c = cached_at(space_of(vma->mm), addr);

	return c && c->right >= right;
}

/* The page as the hardware would give it, or NULL: a fault. */
static char *hardware(struct space *s, uint64_t addr, enum fl_right right)
{
	struct cached *c = cached_at(s, addr);

	SIM_CHECK(c, "an access outside of the regions");
	sim_point(SIM_RUN, c, right == FL_RIGHT_WRITE ? "a store" : "a load");
	sim_touch(c, right == FL_RIGHT_WRITE);
	return c->right >= right ? fl_kmap_local(s->mm, c->pfn) : NULL;
}

static struct space *source(struct fl_mm *mm, uint64_t *addr)
{
	struct space *s = space_of(mm);

	if (!(*addr & 1ull << 46))
		return s;
	*addr &= ~(1ull << 46);
	return other_space(s);
}

/* With page faults disabled. dst NULL: only check. */
static uint64_t read_nofault(struct fl_mm *mm, char *dst, uint64_t src, uint64_t len)
{
	struct space *s = source(mm, &src);
	uint64_t done = 0;

	for (; done < len; done += PAGE_SIZE) {
		char *page = hardware(s, src + done, FL_RIGHT_READ);

		if (!page)
			break;
		if (dst)
			memcpy(dst + done, page, PAGE_SIZE);
	}
	return done;
}

/* For both backends: a frame is freed once, and only when unused. */
static void frame_put(struct fl_mm *mm, uint64_t pfn)
{
	struct fl_soft_pool *p = ((struct fl_soft *)mm->backend)->pool;
	struct fl_folio *folio = fl_folio(mm, pfn);

	SIM_CHECK(folio->refcount == 0 && folio->mapcount == 0, "a frame is freed that is in use");
	SIM_CHECK(p->frames.used[pfn / 64] & 1ull << (pfn % 64), "a frame is freed twice");
	soft->frame_put(mm, pfn);
}

static void use_ops(struct fl_mm *mm)
{
	soft = mm->ops == &ops ? soft : mm->ops;
	ops = *soft;
	ops.frame_put = frame_put;
	if (world_backend->mmu) {
		ops.grant = grant;
		ops.invalidate = invalidate;
		ops.caches = caches;
	}
#ifdef SIM_HOST
	if (world_backend->host)
		host_use(&ops);
#endif
	mm->ops = &ops;
}

/*
 * Did it fail for lack of memory in the running thread, so that it is retried? COPY says EFAULT if there was no
 * memory to fill its source.
 */
static bool again(int64_t err)
{
	bool failed = (err == -ENOMEM || err == -EFAULT) && sim_failed();

	SIM_CHECK(err != -ENOMEM || failed, "ENOMEM for no reason");
	return failed;
}

#define REPEATED(call)                                                                                               \
	__extension__({                                                                                              \
		int64_t ret_;                                                                                        \
		do {                                                                                                 \
			sim_failed(); /* an earlier failure is no excuse */                                          \
			ret_ = (call);                                                                               \
		} while (again(ret_));                                                                               \
		ret_;                                                                                                \
	})

/* ---- setting up ---- */

static void must(int64_t err, const char *what)
{
	if (err < 0)
		sim_fail(what);
}

static void space_new(struct space *s)
{
	must(fl_soft_create(POOL, &s->soft), "no address space");
	s->mm = &s->soft->mm;
	use_ops(s->mm);
}

static void map(struct space *s, uint64_t addr, uint64_t len, struct fl_file *file)
{
	int flags = MAP_FIXED | (file ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS);

	must(fl_soft_mmap(s->mm, addr, len, PROT_READ | PROT_WRITE, flags, file, 0), "no mapping");
}

void space_make(struct space *s)
{
	space_new(s);
	map(s, REGION(0), REGION_SIZE, NULL);
	map(s, REGION(1), REGION_SIZE, NULL);
}

void space_make_wide(struct space *s)
{
	space_new(s);
	map(s, REGION(0), REGION(1) + REGION_SIZE - REGION(0), NULL);
}

void space_make_shared(struct space *s)
{
	space_new(s);
	must(fl_shmem_new(s->soft->pool, REGION_SIZE, &s->shmem), "no shared memory");
	map(s, REGION(0), REGION_SIZE, fl_shmem_file(s->shmem));
	map(s, REGION(1), REGION_SIZE, NULL);
}

static void notify(struct fl_uffd_ctx *ctx, bool readable)
{
	struct space *s = ctx->owner;

	s->readable = readable;
	s->edges++;
	fl_futex_wake(&s->edges, INT32_MAX);
}

void space_fill(struct space *s, uint64_t addr, uint64_t value)
{
	must(-(int)(store(s, addr, value) != 0), "a page cannot be stored to");
}

void space_forget(struct space *s, uint64_t addr)
{
	s->mm->ops->invalidate(s->mm, fl_vma_lookup(s->mm, addr), addr, addr + PAGE_SIZE, FL_RIGHT_NONE);
}

void space_cache(struct space *s, unsigned index, uint64_t value)
{
	uint64_t page[PAGE_SIZE / 8];

	for (unsigned i = 0; i < ARRAY_SIZE(page); i++)
		page[i] = value;
	must(fl_shmem_pwrite(s->shmem, page, PAGE_SIZE, index * PAGE_SIZE), "the file cannot be written to");
}

void space_fork(struct space *parent, struct space *child)
{
	struct fl_soft *made; /* no other thread knows the child before it is complete */

	must(REPEATED(fl_soft_fork(parent->soft, &made)), "no child");
	child->soft = made;
	child->mm = &made->mm;
	child->mm->ops = &ops;
}

void space_destroy(struct space *s)
{
	struct fl_soft *soft_space = s->soft;

	s->soft = NULL; /* not to be used any longer */
	fl_soft_destroy(soft_space);
	s->mm = NULL;
}

/* ---- loads and stores ---- */

static uint64_t got(enum fl_fault fault)
{
	return fault == FL_SIGBUS ? GOT_SIGBUS : GOT_SEGV;
}

/* One access of a whole page, on either backend. Returns 0, or what it got. */
static uint64_t access_once(struct space *s, uint64_t addr, uint64_t *page, bool write)
{
	uint32_t flags = write ? FAULT_WRITE : 0;
	enum fl_fault fault;
	size_t done;

	if (!world_backend->mmu) {
		fault = fl_soft_access(s->mm, addr, page, PAGE_SIZE, flags, NULL, &done);
		return fault == FL_DONE ? 0 : got(fault);
	}
	for (;;) {
		char *mem = hardware(s, addr, write ? FL_RIGHT_WRITE : FL_RIGHT_READ);
		struct fl_vmf vmf = {.mm = s->mm, .addr = addr, .flags = flags};

		if (mem) {
			memcpy(write ? mem : (char *)page, write ? (char *)page : mem, PAGE_SIZE);
			return 0;
		}
		fault = fl_handle_mm_fault(&vmf);
		if (fault != FL_DONE)
			return got(fault);
	}
}

/* A fault that finds no memory gets SIGBUS. */
static uint64_t access_page(struct space *s, uint64_t addr, uint64_t *page, bool write)
{
	uint64_t bad;

	do {
		sim_failed();
		bad = access_once(s, addr, page, write);
	} while (bad == GOT_SIGBUS && sim_failed());
	return bad;
}

uint64_t load(struct space *s, uint64_t addr)
{
	uint64_t page[PAGE_SIZE / 8], bad = access_page(s, addr, page, false);

	SIM_CHECK(bad || page[0] == page[ARRAY_SIZE(page) - 1], "half of a page was seen");
	return bad ? bad : page[0];
}

uint64_t store(struct space *s, uint64_t addr, uint64_t value)
{
	uint64_t page[PAGE_SIZE / 8];

	for (unsigned i = 0; i < ARRAY_SIZE(page); i++)
		page[i] = value;
	return access_page(s, addr, page, true);
}

/* ---- the caller of ioctls: its memory is touched with no lock held ---- */

static int copy_in(struct fl_mm *mm, void *buf, uint64_t addr, size_t len)
{
	SIM_CHECK(fl_held_none(sim_held()), "the caller's memory is read with a lock held");
	return fl_soft_space.caller.copy_in(mm, buf, addr, len);
}

static int copy_out(struct fl_mm *mm, uint64_t addr, const void *buf, size_t len)
{
	SIM_CHECK(fl_held_none(sim_held()), "the caller's memory is written to with a lock held");
	return fl_soft_space.caller.copy_out(mm, addr, buf, len);
}

static uint64_t source_read(struct fl_mm *mm, void *to, uint64_t src, uint64_t len)
{
	return world_backend->mmu ? read_nofault(mm, to, src, len) : fl_soft_source.read(mm, to, src, len);
}

static uint64_t source_probe(struct fl_mm *mm, uint64_t src, uint64_t len)
{
	return world_backend->mmu ? read_nofault(mm, NULL, src, len) : fl_soft_source.probe(mm, src, len);
}

static int source_fault_in(struct fl_mm *mm, uint64_t addr)
{
	struct space *s = source(mm, &addr);

	SIM_CHECK(fl_held_none(sim_held()), "a source is waited for with a lock held");
	if (!world_backend->mmu)
		return fl_soft_source.fault_in(mm, addr);
	return load(s, PAGE_ALIGN_DOWN(addr)) >= GOT_SIGBUS ? -EFAULT : 0;
}

static const struct fl_source client = {.read = source_read, .probe = source_probe, .fault_in = source_fault_in};
static const struct fl_caller caller = {copy_in, copy_out, &client};

/* Every call holds a reference, as a descriptor in use does. */
static int do_ioctl(struct space *s, unsigned long cmd, const void *arg)
{
	return (int)REPEATED(fl_abi_ioctl(s->ctx, &caller, cmd, fl_addr(arg)));
}

void space_object(struct space *s, uint32_t flags, uint64_t features)
{
	struct fl_uffdio_api api = {.api = FL_UFFD_API, .features = features};

	must(fl_ctx_new(s->mm, flags, &s->ctx), "no object");
	s->ctx->owner = s;
	s->ctx->notify = notify;
	must(do_ioctl(s, FL_UFFDIO_API, &api), "no handshake");
}

int register_pages(struct space *s, uint64_t addr, uint64_t len, uint64_t mode)
{
	struct fl_uffdio_register r = {.range = {addr, len}, .mode = mode};

	return do_ioctl(s, FL_UFFDIO_REGISTER, &r);
}

void space_register(struct space *s, unsigned region, uint64_t mode)
{
	must(register_pages(s, REGION(region), REGION_SIZE, mode), "no registration");
}

int copy_from(struct space *s, uint64_t dst, uint64_t src, uint64_t mode)
{
	struct fl_uffdio_copy c = {.dst = dst, .src = src, .len = PAGE_SIZE, .mode = mode};

	return do_ioctl(s, FL_UFFDIO_COPY, &c);
}

int copy_value(struct space *s, uint64_t dst, uint64_t value, uint64_t mode)
{
	uint64_t page[PAGE_SIZE / 8];

	for (unsigned i = 0; i < ARRAY_SIZE(page); i++)
		page[i] = value;
	return copy_from(s, dst, fl_addr(page), mode);
}

int zeropage(struct space *s, uint64_t addr)
{
	struct fl_uffdio_zeropage z = {.range = {addr, PAGE_SIZE}};

	return do_ioctl(s, FL_UFFDIO_ZEROPAGE, &z);
}

int continue_page(struct space *s, uint64_t addr)
{
	struct fl_uffdio_continue c = {.range = {addr, PAGE_SIZE}};

	return do_ioctl(s, FL_UFFDIO_CONTINUE, &c);
}

static int writeprotect_range(struct space *s, uint64_t addr, uint64_t len, bool protect)
{
	struct fl_uffdio_writeprotect w = {.range = {addr, len},
					   .mode = protect ? FL_UFFDIO_WRITEPROTECT_MODE_WP : 0};

	return do_ioctl(s, FL_UFFDIO_WRITEPROTECT, &w);
}

int writeprotect(struct space *s, uint64_t addr, bool protect)
{
	return writeprotect_range(s, addr, PAGE_SIZE, protect);
}

int writeprotect_region(struct space *s, unsigned region, bool protect)
{
	return writeprotect_range(s, REGION(region), REGION_SIZE, protect);
}

int wake_page(struct space *s, uint64_t addr)
{
	return do_ioctl(s, FL_UFFDIO_WAKE, &(struct fl_uffdio_range){addr, PAGE_SIZE});
}

int unregister_page(struct space *s, uint64_t addr)
{
	return do_ioctl(s, FL_UFFDIO_UNREGISTER, &(struct fl_uffdio_range){addr, PAGE_SIZE});
}

/* ---- the other calls on memory ---- */

int map_page(struct space *s, uint64_t addr)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
	int64_t at;

#ifdef SIM_HOST
	if (world_backend->host)
		host_map(addr, addr + PAGE_SIZE);
#endif
	at = REPEATED(fl_soft_mmap(s->mm, addr, PAGE_SIZE, PROT_READ | PROT_WRITE, flags, NULL, 0));

	return at < 0 ? (int)at : 0;
}

int unmap(struct space *s, uint64_t addr, uint64_t len)
{
#ifdef SIM_HOST
	if (world_backend->host)
		return (int)REPEATED(host_munmap(s, addr, addr + len));
#endif
	return (int)REPEATED(fl_soft_munmap(s->mm, addr, len));
}

int64_t move(struct space *s, uint64_t from, uint64_t to)
{
	return REPEATED(
		fl_soft_mremap(s->mm, from, PAGE_SIZE, PAGE_SIZE, MREMAP_MAYMOVE | (to ? MREMAP_FIXED : 0), to));
}

int advise(struct space *s, uint64_t addr, int advice)
{
	return (int)REPEATED(fl_soft_madvise(s->mm, addr, PAGE_SIZE, advice));
}

int protect_page(struct space *s, uint64_t addr, int prot)
{
	return (int)REPEATED(fl_soft_mprotect(s->mm, addr, PAGE_SIZE, prot));
}

/* ---- reading messages, and the end ---- */

void close_object(struct space *s)
{
	struct fl_uffd_ctx *ctx = s->ctx;

	fl_ctx_release(ctx);
	s->ctx = NULL;
	fl_ctx_put(ctx);
}

int64_t read_object(struct fl_uffd_ctx *ctx)
{
	struct fl_uffd_msg msg;
	int64_t n = fl_abi_read(ctx, &caller, fl_addr(&msg), sizeof(msg));

	SIM_CHECK(n <= 0 || n == sizeof(msg), "a part of a message was read");
	return n > 0 ? (int64_t)msg.arg.pagefault.address : n;
}

int64_t read_message(struct space *s)
{
	return read_object(s->ctx);
}

int64_t poll_message(struct space *s)
{
	for (;;) {
		uint32_t edges = s->edges;
		int64_t addr = -EAGAIN;

		sim_yield_point(&s->edges);
		if (s->readable)
			addr = read_message(s);
		if (addr != -EAGAIN)
			return addr;
		if (s->edges == edges)
			fl_futex_wait(&s->edges, edges, 0);
	}
}

/* ---- for the scheduler ---- */

void world_begin(void)
{
	sim_cpus = false;
	for (unsigned i = 0; i < ARRAY_SIZE(spaces); i++)
		*spaces[i] = (struct space){.name = spaces[i]->name};
#ifdef SIM_HOST
	if (world_backend->host)
		host_begin();
#endif
}

long world_sys(long nr, long addr, long len, long how)
{
#ifdef SIM_HOST
	if (world_backend->host)
		return host_sys(nr, (uint64_t)addr, (uint64_t)len, (int)how);
#endif
	sim_fail("an unknown system call");
}

void world_starve(void)
{
	for (unsigned i = 0; i < ARRAY_SIZE(spaces); i++)
		if (spaces[i]->mm)
			starve(spaces[i]->mm);
}

static char broken[128];

static void say(const char *invariant, uint64_t addr)
{
	snprintf(broken, sizeof(broken), "broken invariant: %s, at %#llx", invariant, (unsigned long long)addr);
}

/* A cached right also leads to the entry's frame. */
static void verify_cache(struct space *s)
{
	for (unsigned r = 0; r < NR_REGIONS; r++)
		for (unsigned i = 0; i < REGION_PAGES; i++)
			SIM_CHECK(!s->cache[r][i].right ||
					  s->cache[r][i].pfn == pte_pfn(fl_pte_get(s->mm, REGION(r) + i * PAGE_SIZE)),
				  "broken invariant: a cached right leads to another frame than the entry");
}

/* A count below zero means that a reference was dropped that was not held. */
static void verify_folios(struct space *s)
{
	for (uint64_t i = 0; i < s->mm->pool.nr_frames; i++)
		SIM_CHECK(s->mm->pool.folios[i].refcount >= 0 && s->mm->pool.folios[i].mapcount >= 0,
			  "a folio was given back twice");
}

/* A message is readable if and only if one is queued; each waiter is in one of the lists or has been woken. */
static void verify_object(struct space *s)
{
	struct fl_uffd_ctx *ctx = s->ctx;

	for (uint32_t i = 0; i < s->mm->nr_vmas; i++)
		SIM_CHECK(!s->mm->vmas[i]->ctx || !s->mm->vmas[i]->ctx->released,
			  "a mapping has an object that is closed");
	if (!ctx || ctx->lock.word)
		return;
	SIM_CHECK(ctx->has_pending == !fl_list_empty(&ctx->pending), "has_pending is not what the queue says");
	SIM_CHECK(ctx->has_waiters == (!fl_list_empty(&ctx->pending) || !fl_list_empty(&ctx->faulting)),
		  "has_waiters is not what the queues say");
	SIM_CHECK(ctx->token == s->readable, "the descriptor is not what was said of it");
}

/*
 * Page tables and cached rights are changed under mmap_lock (reading or writing) or under a pin on the mapping, and
 * may be inconsistent until that is released.
 */
static bool at_work(const struct space *s)
{
	bool any = s->mm->mmap_lock.state || s->mm->mmap_lock.writers_waiting;

	for (uint32_t i = 0; i < s->mm->nr_vmas; i++)
		any = any || s->mm->vmas[i]->pins.word;
	return any;
}

void world_verify(void)
{
	for (unsigned i = 0; i < ARRAY_SIZE(spaces); i++) {
		struct space *s = spaces[i];
		struct fl_seqcount seq;

		if (!s->soft || at_work(s))
			continue;
		seq = s->mm->vma_seq;
		if (fl_mm_verify(s->mm, say))
			sim_fail(broken);
		s->mm->vma_seq = seq; /* nothing has changed for a thread between its two looks */
		verify_cache(s);
#ifdef SIM_HOST
		if (world_backend->host)
			host_verify(s);
#endif
		verify_folios(s);
		verify_object(s);
	}
}

static void end_object(struct space *s)
{
	if (s->ctx) {
		SIM_CHECK(fl_list_empty(&s->ctx->pending) && fl_list_empty(&s->ctx->faulting),
			  "a fault waits whose thread has ended");
		close_object(s);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(fl_uffd_space(s->mm)->waits); i++)
		SIM_CHECK(fl_list_empty(&fl_uffd_space(s->mm)->waits[i]), "a wait is left whose thread has ended");
}

void world_end(void)
{
	struct fl_soft_pool *last = NULL;

	for (unsigned i = 0; i < ARRAY_SIZE(spaces); i++) {
		struct space *s = spaces[i];

		if (s->soft) {
			end_object(s);
			verify_folios(s);
			last = s->soft->pool;
			fl_soft_pool_get(last);
			must(fl_soft_munmap(s->mm, 0, TASK_SIZE), "the mappings do not go");
			space_destroy(s);
		}
		if (s->shmem)
			fl_shmem_put(s->shmem);
		if (!last)
			continue;
		SIM_CHECK(last->users > 1 || !last->frames.in_use, "a frame was not freed");
		SIM_CHECK(last->users > 1 || !last->slots.in_use, "a swap slot was not freed");
		fl_soft_pool_put(last);
		last = NULL;
	}
}

const char *world_name(const void *what)
{
	static char name[48];

	name[0] = '\0';
	for (unsigned i = 0; i < ARRAY_SIZE(spaces); i++) {
		struct space *s = spaces[i];
		const struct fl_mutex *pt = what;

		if (!s->mm)
			continue;
		if ((const char *)what >= (const char *)s->mm && (const char *)what < (const char *)(s->mm + 1))
			snprintf(name, sizeof(name), "of %s", s->name);
		if (pt >= s->mm->pt_lock && pt < s->mm->pt_lock + FL_PT_LOCKS)
			snprintf(name, sizeof(name), "%d of %s", (int)(pt - s->mm->pt_lock), s->name);
		if (s->ctx && (const char *)what >= (const char *)s->ctx &&
		    (const char *)what < (const char *)(s->ctx + 1))
			snprintf(name, sizeof(name), "of %s's object", s->name);
		if ((const char *)what >= (const char *)s->cache && (const char *)what < (const char *)s + sizeof(*s))
			snprintf(name, sizeof(name), "in %s, page %d", s->name,
				 (int)((const struct cached *)what - &s->cache[0][0]));
	}
	return name;
}
