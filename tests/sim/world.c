/* SPDX-License-Identifier: MIT */
/* world.c - spaces, accesses, calls; checks at points and at the end. */
#include "world.h"

#include "lib/lib.h"
#include "mm/source.h"
#include "starve.h"
#include "uffd/space.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

struct space a = {.name = "A"}, b = {.name = "B"};
const struct backend *world_backend;

static struct space *const spaces[] = {&a, &b};

struct space *space_of(const struct fl_mm *mm)
{
	for (unsigned i = 0; i < ARRAY_SIZE(spaces); i++)
		if (spaces[i]->mm == mm)
			return spaces[i];
	sim_fail("an unknown address space");
}

struct space *other_space(const struct space *s)
{
	return s == &a ? &b : &a;
}

static const struct backend *backend_at(unsigned i)
{
	return i < soft_nr_backends ? &soft_backends[i] : &native_backends[i - soft_nr_backends];
}

bool world_next_backend(unsigned *i)
{
	if (*i >= soft_nr_backends + native_nr_backends)
		return false;
	world_backend = backend_at((*i)++);
	return true;
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

void must(int64_t err, const char *what)
{
	if (err < 0)
		sim_fail(what);
}

static const struct fl_space *calls(const struct space *s)
{
	const struct fl_space *native = fl_native_space(s->mm);

	return native ? native : &fl_soft_space;
}

static int64_t map(struct space *s, uint64_t addr, uint64_t len, int flags)
{
	return calls(s)->mmap(s->mm, addr, len, PROT_READ | PROT_WRITE, flags | MAP_PRIVATE | MAP_ANONYMOUS, NULL, 0);
}

static void make(struct space *s)
{
	world_backend->world->make(s);
	s->live = true;
}

void space_make(struct space *s)
{
	make(s);
	must(map(s, REGION(0), REGION_SIZE, MAP_FIXED), "no mapping");
	must(map(s, REGION(1), REGION_SIZE, MAP_FIXED), "no mapping");
}

void space_make_wide(struct space *s)
{
	make(s);
	must(map(s, REGION(0), REGION(1) + REGION_SIZE - REGION(0), MAP_FIXED), "no mapping");
}

void space_make_shared(struct space *s)
{
	make(s);
	must(world_backend->world->map_file(s), "no shared memory");
	must(map(s, REGION(1), REGION_SIZE, MAP_FIXED), "no mapping");
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
	s->mm->ops->rights.invalidate(s->mm, fl_vma_lookup(s->mm, addr), addr, addr + PAGE_SIZE, FL_RIGHT_NONE);
}

void space_cache(struct space *s, unsigned index, uint64_t value)
{
	uint64_t page[PAGE_SIZE / 8];

	for (unsigned i = 0; i < ARRAY_SIZE(page); i++)
		page[i] = value;
	must(world_backend->world->write_file(s, page, index), "the file cannot be written to");
}

void space_fork(struct space *parent, struct space *child)
{
	must(REPEATED(world_backend->world->fork(parent, child)), "no child");
	child->live = child->mm; /* natively it is a process of its own, and is looked at when it is made */
}

void space_destroy(struct space *s)
{
	s->live = false; /* not to be looked at any longer */
	world_backend->world->destroy(s);
	s->mm = NULL;
}

/* ---- loads and stores ---- */

uint64_t got(enum fl_fault fault)
{
	return fault == FL_SIGBUS ? GOT_SIGBUS : GOT_SEGV;
}

uint64_t access_by_page(struct space *s, uint64_t addr, uint64_t *page, bool write)
{
	for (;;) {
		enum fl_fault fault = FL_SEGV;
		char *mem = world_backend->world->page(s, addr, write, &fault);
		struct fl_vmf vmf = {.mm = s->mm, .addr = addr, .flags = write ? FAULT_WRITE : 0};

		if (mem) {
			if (page)
				memcpy(write ? mem : (char *)page, write ? (char *)page : mem, PAGE_SIZE);
			return 0;
		}
		if (fault != FL_SIGBUS)
			fault = fl_handle_mm_fault(&vmf);
		if (fault == FL_FOREIGN && world_backend->world->again && world_backend->world->again())
			continue;
		if (fault != FL_DONE)
			return got(fault);
	}
}

void *world_memory(const void *addr, bool write)
{
	return world_backend->world->memory ? world_backend->world->memory(addr, write) : fl_ptr(fl_addr(addr));
}

bool world_fault_in(const void *addr, bool write)
{
	if (!world_backend->world->fault_in)
		return false;
	SIM_CHECK(fl_held_none(sim_held()), "a source is waited for with a lock held");
	return world_backend->world->fault_in(addr, write);
}

/* A fault that finds no memory gets SIGBUS. */
static uint64_t access_page(struct space *s, uint64_t addr, uint64_t *page, bool write)
{
	uint64_t bad;

	do {
		sim_failed();
		bad = world_backend->world->access(s, addr, page, write);
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
	return calls(space_of(mm))->caller.copy_in(mm, buf, addr, len);
}

static int copy_out(struct fl_mm *mm, uint64_t addr, const void *buf, size_t len)
{
	SIM_CHECK(fl_held_none(sim_held()), "the caller's memory is written to with a lock held");
	return calls(space_of(mm))->caller.copy_out(mm, addr, buf, len);
}

static uint64_t source_read(struct fl_mm *mm, void *to, uint64_t src, uint64_t len)
{
	return world_backend->world->source->read(mm, to, src, len);
}

static uint64_t source_probe(struct fl_mm *mm, uint64_t src, uint64_t len)
{
	return world_backend->world->source->probe(mm, src, len);
}

static int source_fault_in(struct fl_mm *mm, uint64_t addr)
{
	SIM_CHECK(fl_held_none(sim_held()), "a source is waited for with a lock held");
	return world_backend->world->source->fault_in(mm, addr);
}

static const struct fl_source client = {.read = source_read, .probe = source_probe, .fault_in = source_fault_in};

/* Natively the source is the engine's own. */
static const struct fl_caller *caller(void)
{
	static const struct fl_caller soft = {copy_in, copy_out, &client};
	static const struct fl_caller native = {copy_in, copy_out, &fl_source_process};

	return world_backend->host ? &native : &soft;
}

/* Every call holds a reference, as a descriptor in use does. */
static int do_ioctl(struct space *s, unsigned long cmd, const void *arg)
{
	return (int)REPEATED(fl_abi_ioctl(s->ctx, caller(), cmd, fl_addr(arg)));
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

int unregister_range(struct space *s, uint64_t addr, uint64_t len)
{
	return do_ioctl(s, FL_UFFDIO_UNREGISTER, &(struct fl_uffdio_range){addr, len});
}

int unregister_page(struct space *s, uint64_t addr)
{
	return unregister_range(s, addr, PAGE_SIZE);
}

/* ---- the other calls on memory ---- */

int map_page(struct space *s, uint64_t addr)
{
	int64_t at = REPEATED(map(s, addr, PAGE_SIZE, MAP_FIXED));

	return at < 0 ? (int)at : 0;
}

int64_t map_near(struct space *s, uint64_t addr)
{
	return REPEATED(map(s, addr, PAGE_SIZE, 0));
}

int unmap(struct space *s, uint64_t addr, uint64_t len)
{
	return (int)REPEATED(calls(s)->munmap(s->mm, addr, len));
}

int64_t move_range(struct space *s, uint64_t from, uint64_t len, uint64_t new_len, int flags, uint64_t to)
{
	return REPEATED(calls(s)->mremap(s->mm, from, len, new_len, flags, to));
}

int64_t move(struct space *s, uint64_t from, uint64_t to)
{
	return move_range(s, from, PAGE_SIZE, PAGE_SIZE, MREMAP_MAYMOVE | (to ? MREMAP_FIXED : 0), to);
}

int advise(struct space *s, uint64_t addr, int advice)
{
	return (int)REPEATED(calls(s)->madvise(s->mm, addr, PAGE_SIZE, advice));
}

int protect_page(struct space *s, uint64_t addr, int prot)
{
	return (int)REPEATED(calls(s)->mprotect(s->mm, addr, PAGE_SIZE, prot));
}

int truncate_file(struct space *s, uint64_t pages)
{
	return (int)REPEATED(world_backend->world->truncate_file(s, pages << PAGE_SHIFT));
}

int punch_file(struct space *s, unsigned index)
{
	return (int)REPEATED(world_backend->world->punch_file(s, index << PAGE_SHIFT, PAGE_SIZE));
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
	int64_t n = fl_abi_read(ctx, caller(), fl_addr(&msg), sizeof(msg));

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
	if (world_backend->world->begin)
		world_backend->world->begin();
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

		if (!s->live || at_work(s))
			continue;
		seq = s->mm->vma_seq;
		if (fl_mm_verify(s->mm, say))
			sim_fail(broken);
		s->mm->vma_seq = seq; /* nothing has changed for a thread between its two looks */
		world_backend->world->verify(s);
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
	for (unsigned i = 0; i < ARRAY_SIZE(spaces); i++) {
		if (spaces[i]->live)
			end_object(spaces[i]);
		world_backend->world->end(spaces[i]);
	}
}

const char *world_name(const void *what)
{
	static char name[48];

	name[0] = '\0';
	world_backend->world->name(what, name, sizeof(name));
	for (unsigned i = 0; i < ARRAY_SIZE(spaces); i++) {
		struct space *s = spaces[i];
		const struct fl_mutex *pt = what;

		if (!s->live)
			continue;
		if ((const char *)what >= (const char *)s->mm && (const char *)what < (const char *)(s->mm + 1))
			snprintf(name, sizeof(name), "of %s", s->name);
		if (pt >= s->mm->pt_lock && pt < s->mm->pt_lock + FL_PT_LOCKS)
			snprintf(name, sizeof(name), "%d of %s", (int)(pt - s->mm->pt_lock), s->name);
		if (s->ctx && (const char *)what >= (const char *)s->ctx &&
		    (const char *)what < (const char *)(s->ctx + 1))
			snprintf(name, sizeof(name), "of %s's object", s->name);
	}
	return name;
}
