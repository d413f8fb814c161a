/* SPDX-License-Identifier: MIT */
/*
 * host.c - src/host/host.h over the small host of hostmem.h, in place of the operating system.
 *
 * Each call is one step: all of it, or, if it fails, nothing. It is a point, unless it is about memory that no other
 * thread reaches: frames of the pool that the program is not shown. Whether a fault point fails is the scheduler's
 * choice. The engine must not call the host about memory that is not mapped, as it may belong to another mapping by
 * then, nor set markers on memory without a file.
 */
#include "host/host.h"
#include "host/own.h"
#include "host/proc.h"

#include "hostmem.h"
#include "process.h"

#include <string.h>

#define FDS 16

static struct host_file *fds[FDS];
static struct host_file pipe_file; /* both ends of one */

/* ---- descriptors ---- */

static int new_fd(struct host_file *f)
{
	for (int i = 0; i < FDS; i++)
		if (!fds[i]) {
			fds[i] = f;
			return HOST_FD + i;
		}
	sim_fail("the model has no room for as many descriptors");
}

static struct host_file *file_of(int fd)
{
	SIM_CHECK(fd >= HOST_FD && fd < HOST_FD + FDS && fds[fd - HOST_FD], "a descriptor that is not open");
	return fds[fd - HOST_FD];
}

static bool is_used(const struct host_file *f)
{
	bool used = false;

	for (unsigned i = 0; i < FDS; i++)
		used = used || fds[i] == f;
	for (unsigned i = 0; i < host.nr; i++)
		used = used || host.map[i].file == f;
	return used;
}

void host_begin(void)
{
	memset(fds, 0, sizeof(fds));
	host_memory_reset();
}

unsigned host_open_fds(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < FDS; i++)
		n += fds[i] != NULL;
	return n;
}

int fl_host_memfd(const char *name, enum fl_inject_point fp)
{
	struct host_file *f = fl_fail(fp) ? NULL : host_file_new();

	return f ? new_fd(f) : -ENOMEM;
}

void fl_host_close(int fd)
{
	struct host_file *f = file_of(fd);

	fds[fd - HOST_FD] = NULL;
	if (f != &pipe_file && !process_has_child() && !is_used(f))
		host_file_free(f);
}

int fl_host_fd_high(int fd, bool cloexec, enum fl_inject_point fp)
{
	return fl_fail(fp) ? -ENOMEM : new_fd(file_of(fd));
}

int fl_host_fd_move_high(int fd, bool cloexec)
{
	return fd;
}

int fl_host_fd_reopen(int fd)
{
	return new_fd(file_of(fd));
}

bool fl_host_fd_rdwr(int fd)
{
	return true;
}

bool fl_host_record_locked(int fd)
{
	return false;
}

bool fl_host_is_shmem(int fd)
{
	return true;
}

int fl_host_open_mapping(uint64_t start, uint64_t end)
{
	struct host_mapping *m = host_at(start);

	return m && m->file ? new_fd(m->file) : -EINVAL;
}

bool fl_host_opens_mappings(void)
{
	return true;
}

uint64_t fl_host_file_limit(void)
{
	return UINT64_MAX;
}

void host_parts(process_part_fn *fn, void *data)
{
	fn(fds, sizeof(fds), data);
}

/* ---- host/task.h, around a fork: the child runs where its parent waits for it ---- */

int fl_host_pipe(int pipe[2])
{
	if (fl_fail(FL_FP_FORK))
		return -ENOMEM;
	pipe[0] = new_fd(&pipe_file);
	pipe[1] = new_fd(&pipe_file);
	return 0;
}

int fl_host_gate_open(struct fl_host_gate *gate)
{
	return fl_host_pipe(gate->pipe);
}

void fl_host_gate_close(struct fl_host_gate *gate)
{
	fl_host_close(gate->pipe[0]);
	fl_host_close(gate->pipe[1]);
}

bool fl_host_gate_wait(struct fl_host_gate *gate, int32_t pid)
{
	process_enter_child();
	native_child();
	process_leave_child();
	fl_host_gate_close(gate);
	return true;
}

void fl_host_gate_pass(struct fl_host_gate *gate)
{
	fl_host_gate_close(gate);
}

_Noreturn void fl_host_exit(int status)
{
	sim_fail("the child ends for want of memory");
}

/* ---- files ---- */

static uint64_t inode(const struct host_file *f)
{
	return fl_addr(f) - fl_addr(&fl_native) + (1ull << 32);
}

int fl_host_fstat(int fd, struct fl_host_file *file)
{
	*file = (struct fl_host_file){.dev = 1, .inode = inode(file_of(fd)), .size = file_of(fd)->size};
	host_touch_file(file_of(fd), 0, PAGES(HOST_END), false);
	return 0;
}

static void point_at_file(const struct host_file *f, uint64_t first, uint64_t end, const char *doing)
{
	if (host_file_shown(f, first, end))
		sim_point(SIM_RUN, f, doing);
}

/* Its pages leave the page tables of the program, too. */
static void drop_pages(struct host_file *f, uint64_t first, uint64_t end)
{
	host_touch_file(f, first, end, true);
	host_file_drop(f, first, end);
}

/* Of the pool: what is there is also that. */
int fl_host_remove(uint64_t start, uint64_t len)
{
	uint64_t page;
	struct host_file *f = host_direct_file(fl_ptr(start), &page);

	SIM_CHECK(f, "memory is removed that is not the pool's");
	point_at_file(f, page, page + PAGES(len), "punch");
	drop_pages(f, page, page + PAGES(len));
	return 0;
}

int fl_host_fallocate(int fd, int mode, uint64_t offset, uint64_t len)
{
	SIM_CHECK(mode == (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE), "fallocate() of another kind");
	sim_point(SIM_RUN, file_of(fd), "fallocate");
	drop_pages(file_of(fd), PAGES(offset), PAGES(PAGE_ALIGN(offset + len)));
	return 0;
}

int fl_host_ftruncate(int fd, uint64_t size)
{
	struct host_file *f = file_of(fd);

	sim_point(SIM_RUN, f, "ftruncate");
	drop_pages(f, PAGES(PAGE_ALIGN(size)), PAGES(HOST_END));
	f->size = size;
	return 0;
}

/* No file of the model has a name. */
int fl_host_stat(const char *path, struct fl_host_file *file)
{
	return -ENOENT;
}

int fl_host_truncate(const char *path, uint64_t size)
{
	return -ENOENT;
}

int64_t fl_host_next_data(int fd, uint64_t offset)
{
	struct host_file *f = file_of(fd);
	uint64_t page = PAGES(offset), end = PAGES(fl_min(PAGE_ALIGN(f->size), HOST_END));

	point_at_file(f, page, end, "SEEK_DATA");
	host_touch_file(f, page, end, false);
	while (page < end && !f->present[page / 64])
		page = (page / 64 + 1) * 64;
	while (page < end && !host_file_has(f, page))
		page++;
	return page < end ? (int64_t)fl_max(offset, page << PAGE_SHIFT) : -ENXIO;
}

int64_t fl_host_next_hole(int fd, uint64_t offset)
{
	struct host_file *f = file_of(fd);
	uint64_t page = PAGES(offset), end = PAGES(fl_min(PAGE_ALIGN(f->size), HOST_END));

	if (offset >= f->size)
		return -ENXIO;
	point_at_file(f, page, end, "SEEK_HOLE");
	host_touch_file(f, page, end, false);
	while (page < end && host_file_has(f, page))
		page++;
	return (int64_t)fl_min(fl_max(offset, page << PAGE_SHIFT), f->size);
}

/* As where the call is not known: SEEK_DATA is asked. */
int64_t fl_host_file_has(int fd, uint64_t offset, uint64_t len)
{
	return -ENOSYS;
}

/* Up to the first page that faults. */
long fl_host_pwrite(int fd, const void *buf, uint64_t len, uint64_t offset, enum fl_inject_point fp)
{
	struct host_file *f = file_of(fd);
	uint64_t done = 0;

	if (fl_fail(fp))
		return -ENOMEM;
	point_at_file(f, PAGES(offset), PAGES(PAGE_ALIGN(offset + len)), "pwrite");
	while (done < len) {
		uint64_t at = offset + done, n = fl_min(len - done, PAGE_SIZE - at % PAGE_SIZE);
		const char *from = world_memory((const char *)buf + done, false);

		if (!from)
			break;
		host_touch_file(f, PAGES(at), PAGES(at) + 1, true);
		host_file_add(f, PAGES(at));
		memcpy(f->mem + at, from, n);
		done += n;
	}
	return done ? (long)done : -EFAULT;
}

long fl_host_pread(int fd, void *buf, uint64_t len, uint64_t offset)
{
	struct host_file *f = file_of(fd);
	uint64_t n = offset < f->size ? fl_min(len, f->size - offset) : 0, page;
	struct host_file *to = host_direct_file(buf, &page);

	if (fl_fail(FL_FP_FILL))
		return -ENOMEM;
	point_at_file(f, PAGES(offset), PAGES(PAGE_ALIGN(offset + len)), "pread");
	host_touch_file(f, PAGES(offset), PAGES(PAGE_ALIGN(offset + len)), false);
	if (to) {
		host_touch_file(to, page, page + 1, true);
		host_file_add(to, page);
	}
	memcpy(buf, f->mem + offset, n);
	return (long)n;
}

/* ---- the pool ---- */

long fl_host_free_range(uint64_t len)
{
	return len <= HOST_WINDOW + HOST_RECORDS ? (long)fl_addr(host_direct) : -ENOMEM;
}

/* There is one section of the pool. */
int fl_host_map_shared_beside(uint64_t addr, uint64_t len)
{
	struct host_file *f = fl_fail(FL_FP_POOL) ? NULL : host_file_new();

	if (!f)
		return -ENOMEM;
	SIM_CHECK(addr == fl_addr(host_direct) && !host_pool(), "the model has room for one section of the pool");
	f->size = len;
	host_set_pool(f);
	return 0;
}

/* Page by page: the program runs meanwhile, unless it is kept from that. */
int fl_host_unshare(uint64_t addr, uint64_t len)
{
	struct host_file *f = host_pool(), *t = host_file_new();

	SIM_CHECK(t, "the model has no room for the child's pool");
	t->size = len;
	for (uint64_t page = 0; page < PAGES(fl_min(len, HOST_END)); page++) {
		if (!host_file_has(f, page))
			continue;
		process_point(f, "copies a page of the pool");
		host_touch_file(f, page, page + 1, false);
		host_file_add(t, page);
		memcpy(t->mem + (page << PAGE_SHIFT), f->mem + (page << PAGE_SHIFT), PAGE_SIZE);
	}
	host_set_pool(t);
	host_open_direct(host_direct, HOST_END, false);
	return 0;
}

/* The engine looks at what no other thread reaches, or at what is shown to the program alone. */
int fl_host_data_next(uint64_t *start, uint64_t end, uint64_t *run_end)
{
	uint64_t page;
	struct host_file *f = host_direct_file(fl_ptr(*start), &page);
	uint64_t first = page, limit = fl_min(page + PAGES(end - *start), PAGES(HOST_END));

	point_at_file(f, page, limit, "looks for data in the pool");
	host_touch_file(f, page, limit, false);
	while (page < limit && !host_file_has(f, page))
		page++;
	if (page >= limit)
		return 0;
	*start += (page - first) << PAGE_SHIFT;
	first = page;
	while (page < limit && host_file_has(f, page))
		page++;
	*run_end = *start + ((page - first) << PAGE_SHIFT);
	return 1;
}

uint64_t fl_host_memory_limit(void)
{
	return 1ull << 30;
}

/* ---- mapping ---- */

static long map_at(uint64_t addr, uint64_t len, int prot, struct host_file *f, uint64_t offset, bool shared)
{
	struct host_mapping m = {addr, addr + len, f ? offset : 0, f, prot, shared};

	host_unmap(addr, addr + len);
	host_insert(&m);
	host_touch_table(true);
	host_touch(addr, addr + len, true);
	host_changed(addr, addr + len);
	return (long)addr;
}

long fl_host_mmap(uint64_t addr, uint64_t len, int prot, int flags, int fd, uint64_t offset)
{
	struct host_file *f = (flags & MAP_ANONYMOUS) ? NULL : file_of(fd);

	SIM_CHECK(f || !(flags & MAP_SHARED), "shared anonymous memory, which the model does not have");
	len = PAGE_ALIGN(len);
	sim_point(SIM_RUN, host_thing(addr), "mmap");
	if (!(flags & MAP_FIXED) && (!addr || !host_none_mapped(addr, addr + len)))
		addr = host_place(len);
	return map_at(addr, len, prot, f, offset, flags & MAP_SHARED);
}

static long map_somewhere(uint64_t len, int prot, struct host_file *f, uint64_t offset)
{
	uint64_t addr;

	sim_point(SIM_RUN, NULL, "mmap");
	addr = host_place(len);
	return addr ? map_at(addr, len, prot, f, offset, f) : -ENOMEM;
}

long fl_host_map(uint64_t len, int prot)
{
	return map_somewhere(len, prot, NULL, 0);
}

int fl_host_map_over(uint64_t addr, uint64_t len)
{
	if (addr >= HOST_END) {
		host_unmap_direct(fl_ptr(addr));
		return 0;
	}
	sim_point(SIM_RUN, host_thing(addr), "mmap");
	map_at(addr, len, PROT_NONE, NULL, 0, false);
	return 0;
}

int fl_host_map_beside(uint64_t addr, uint64_t len)
{
	if (addr >= HOST_END) /* records of the direct map, or a part of it for files */
		return 0;
	sim_point(SIM_RUN, host_thing(addr), "mmap");
	host_touch_table(false);
	if (!host_none_mapped(addr, addr + len))
		return -EEXIST;
	map_at(addr, len, PROT_NONE, NULL, 0, false);
	return 0;
}

long fl_host_map_file(int fd, uint64_t offset, uint64_t len, int prot)
{
	sim_fail("a file is mapped to be asked or written, which is for descriptors of the program's");
}

int fl_host_map_file_at(int fd, uint64_t offset, uint64_t len, int prot, uint64_t addr, enum fl_inject_point fp)
{
	if (fl_fail(fp))
		return -ENOMEM;
	SIM_CHECK(addr >= HOST_END, "a file is mapped in the program");
	host_map_direct(fl_ptr(addr), len, file_of(fd), offset);
	return 0;
}

int fl_host_munmap(uint64_t addr, uint64_t len)
{
	if (addr >= HOST_END)
		return 0;
	sim_point(SIM_RUN, host_thing(addr), "munmap");
	len = PAGE_ALIGN(len);
	host_touch_table(true);
	host_touch(addr, addr + len, true);
	host_unmap(addr, addr + len);
	host_changed(addr, addr + len);
	return 0;
}

/* ---- moving ---- */

/* What is mapped at `from` is also mapped at `to`, with the same length; `pages`: its private pages move there. */
static void map_again(uint64_t from, uint64_t len, uint64_t to, bool pages)
{
	host_unmap(to, to + len);
	for (uint64_t at = from, end; at < from + len; at = end) {
		struct host_mapping m = *host_at(at);

		end = fl_min(m.end, from + len);
		m.offset += m.file ? at - m.start : 0;
		m.start = to + (at - from);
		m.end = to + (end - from);
		host_insert(&m);
	}
	if (pages)
		host_move_pages(from, len, to);
	host_touch_table(true);
	host_touch(from, from + len, true);
	host_touch(to, to + len, true);
}

static void moved(uint64_t from, uint64_t len, uint64_t to, bool unmap)
{
	if (unmap)
		host_unmap(from, from + len);
	host_changed(from, from + len);
	host_changed(to, to + len);
}

long fl_host_move_aside(uint64_t start, uint64_t len)
{
	struct host_mapping *m;
	uint64_t to;

	sim_point(SIM_RUN, host_thing(start), "moves pages aside");
	m = host_at(start);
	SIM_CHECK(m && m->end >= start + len && !m->shared, "memory is moved aside that is not the program's own");
	to = host_place(len);
	if (!to)
		return -ENOMEM;
	map_again(start, len, to, true);
	moved(start, len, to, false);
	return (long)to;
}

int fl_host_move_back(uint64_t aside, uint64_t len, uint64_t start)
{
	sim_point(SIM_RUN, host_thing(start), "moves pages back");
	map_again(aside, len, start, true);
	moved(aside, len, start, true);
	return 0;
}

/* It has the rights of the direct map: it must begin hidden. */
static long alias_of_pool(uint64_t addr, uint64_t len, uint64_t to)
{
	uint64_t page;
	struct host_file *f = host_direct_file(fl_ptr(addr), &page);

	SIM_CHECK(!host_direct_is_open(fl_ptr(addr)), "a mapping of the pool begins in sight");
	sim_point(SIM_RUN, host_thing(to), "maps the pool");
	return map_at(to, len, PROT_NONE, f, page << PAGE_SHIFT, true);
}

long fl_host_alias(uint64_t addr, uint64_t len, uint64_t to)
{
	if (addr >= HOST_END)
		return alias_of_pool(addr, len, to);
	sim_point(SIM_RUN, host_thing(addr), "mremap of shared memory");
	SIM_CHECK(host_at(addr) && host_at(addr)->shared, "an alias of private memory");
	if (to >= HOST_END) {
		host_map_direct(fl_ptr(to), len, host_at(addr)->file,
				host_at(addr)->offset + (addr - host_at(addr)->start));
		return (long)to;
	}
	if (!to)
		to = host_place(len);
	if (!to)
		return -ENOMEM;
	map_again(addr, len, to, false);
	host_changed(to, to + len);
	return (long)to;
}

/* In place, or to where the program wants it. */
long fl_host_mremap(uint64_t addr, uint64_t old_len, uint64_t new_len, int flags, uint64_t new_addr)
{
	struct host_mapping *m;

	sim_point(SIM_RUN, host_thing(addr), "mremap");
	host_touch_table(true);
	m = host_at(addr);
	if (!m || !host_all_mapped(addr, addr + old_len))
		return -EFAULT;
	if (!(flags & MREMAP_FIXED) && new_len > old_len && host_none_mapped(addr + old_len, addr + new_len))
		return map_at(addr + old_len, new_len - old_len, m->prot, m->file,
			      m->offset + (addr + old_len - m->start), m->shared) < 0
			       ? -ENOMEM
			       : (long)addr;
	if (!(flags & MREMAP_FIXED) && new_len == old_len)
		return (long)addr;
	if (!(flags & MREMAP_MAYMOVE))
		return -ENOMEM;
	SIM_CHECK(new_len == old_len, "the model moves what stays as long as it is");
	if (!(flags & MREMAP_FIXED))
		new_addr = host_place(new_len);
	map_again(addr, old_len, new_addr, true);
	moved(addr, old_len, new_addr, !(flags & MREMAP_DONTUNMAP));
	return (long)new_addr;
}

/* ---- rights and markers ---- */

/* Is there room for the borders that the call would make? */
static bool has_room(uint64_t start, uint64_t end, int prot)
{
	struct host_mapping was[HOST_MAPPINGS];
	unsigned nr = host.nr, before;
	bool ok;

	if (!world_backend->no_room)
		return true;
	memcpy(was, host.map, nr * sizeof(was[0]));
	before = host_borders();
	host_set_prot(start, end, prot);
	ok = host_borders() <= before;
	memcpy(host.map, was, nr * sizeof(was[0]));
	host.nr = nr;
	return ok;
}

static int set_prot(uint64_t start, uint64_t end, int prot)
{
	if (!has_room(start, end, prot))
		return -ENOMEM;
	host_touch(start, end, true);
	host_set_prot(start, end, prot);
	host_changed(start, end);
	return 0;
}

/* The engine's call is about memory that it owns. */
static void check_mapped(uint64_t start, uint64_t end)
{
	SIM_CHECK(host_all_mapped(start, end), "a host call on memory that may be another's");
}

int fl_host_protect(uint64_t start, uint64_t len, int prot)
{
	if (fl_fail(FL_FP_PROTECT))
		return -ENOMEM;
	sim_point(SIM_RUN, host_thing(start), "mprotect");
	check_mapped(start, start + len);
	return set_prot(start, start + len, prot);
}

int fl_host_mprotect(uint64_t addr, uint64_t len, int prot)
{
	if (addr >= HOST_END) {
		host_open_direct(fl_ptr(addr), len, prot != PROT_NONE);
		return 0;
	}
	sim_point(SIM_RUN, host_thing(addr), "mprotect");
	check_mapped(addr, addr + PAGE_ALIGN(len));
	return set_prot(addr, addr + PAGE_ALIGN(len), prot);
}

uint64_t fl_host_brk(uint64_t addr)
{
	sim_fail("brk(), which the model does not have");
}

long fl_host_shmat(int id, uint64_t addr, int flags)
{
	sim_fail("shmat(), which the model does not have");
}

uint64_t fl_host_shm_size(int id)
{
	sim_fail("shmctl(), which the model does not have");
}

int fl_host_remap_file_pages(uint64_t addr, uint64_t len, uint64_t pgoff, int flags)
{
	sim_fail("remap_file_pages(), which the model does not have");
}

int fl_host_pkey_mprotect(uint64_t addr, uint64_t len, int prot, int pkey)
{
	sim_fail("pkey_mprotect(), which the model does not have");
}

static void set_guards(uint64_t start, uint64_t end, bool guard)
{
	sim_point(SIM_RUN, host_thing(start), guard ? "guards" : "no guards");
	check_mapped(start, end);
	for (struct host_mapping *m; start < end && (m = host_at(start)); start = m->end) {
		uint64_t limit = fl_min(end, m->end);

		SIM_CHECK(m->file && m->shared, "markers on memory that is not the engine's");
		host_touch(start, limit, true);
		host_set_guards(start, limit, guard);
		host_changed(start, limit);
	}
}

int fl_host_guard(uint64_t start, uint64_t len)
{
	if (fl_fail(FL_FP_GUARD))
		return -ENOMEM;
	set_guards(start, start + len, true);
	return 0;
}

int fl_host_unguard(uint64_t start, uint64_t len)
{
	if (fl_fail(FL_FP_GUARD))
		return -ENOMEM;
	set_guards(start, start + len, false);
	return 0;
}

void fl_host_unguard_all(uint64_t start, uint64_t len)
{
	set_guards(start, start + len, false);
}

bool fl_host_guard_works(void)
{
	return world_backend->guard;
}

int fl_host_drop(uint64_t start, uint64_t len)
{
	sim_point(SIM_RUN, host_thing(start), "drops pages");
	check_mapped(start, start + len);
	host_touch(start, start + len, true);
	host_drop(start, start + len);
	return 0;
}

/* Frames of the pool get memory; pages of a file get into the program's page tables. */
int fl_host_populate(uint64_t start, uint64_t len, bool write)
{
	uint64_t page;
	struct host_file *f = host_direct_file(fl_ptr(start), &page);
	bool sigbus;

	if (f) {
		host_touch_file(f, page, page + PAGES(len), true);
		for (uint64_t end = page + PAGES(len); page < end; page++)
			host_file_add(f, page);
		return 0;
	}
	sim_point(SIM_RUN, host_thing(start), "populates");
	for (uint64_t at = start; at < start + len; at += PAGE_SIZE)
		if (!host_page(at, write, &sigbus))
			return -EFAULT;
	return 0;
}

int fl_host_collapse(uint64_t start)
{
	return -EINVAL;
}

int fl_host_collapse_file(int fd, uint64_t offset)
{
	return -EINVAL;
}

void fl_host_dump(uint64_t start, uint64_t len, bool dump)
{
}

bool fl_host_locked(uint64_t start, uint64_t len)
{
	return false;
}

/* ---- the program's other calls ---- */

int fl_host_madvise(uint64_t addr, uint64_t len, int advice)
{
	if (addr >= HOST_END)
		return 0;
	sim_point(SIM_RUN, host_thing(addr), "madvise");
	if (!host_all_mapped(addr, addr + len))
		return -ENOMEM;
	if (advice == MADV_DONTNEED) {
		host_touch(addr, addr + len, true);
		host_drop(addr, addr + len);
	}
	return 0;
}

/* For the direct map: which frames have memory. */
int fl_host_mincore(uint64_t addr, uint64_t len, unsigned char *in)
{
	uint64_t page;
	struct host_file *f = host_direct_file(fl_ptr(addr), &page);

	SIM_CHECK(f, "mincore() of the program's memory, which the model does not have");
	host_touch_file(f, page, page + PAGES(len), false);
	for (uint64_t i = 0; i < PAGES(len); i++)
		in[i] = host_file_has(f, page + i);
	return 0;
}

int fl_host_mlock(uint64_t addr, uint64_t len, unsigned flags)
{
	return 0;
}

int fl_host_munlock(uint64_t addr, uint64_t len)
{
	return 0;
}

int fl_host_mlockall(int flags)
{
	return 0;
}

int fl_host_munlockall(void)
{
	return 0;
}

/* ---- what is mapped ---- */

int fl_host_maps_next(uint64_t addr, struct fl_host_map *map)
{
	const struct host_mapping *m;

	if (fl_fail(FL_FP_MAPS))
		return -ENOMEM;
	sim_point(SIM_RUN, NULL, "looks what is mapped");
	host_touch_table(false);
	m = host_find(addr);
	if (!m)
		return 0;
	host_touch(m->start, m->end, false);
	*map = (struct fl_host_map){.start = m->start,
				    .end = m->end,
				    .prot = m->prot,
				    .anon = !m->file,
				    .shared = m->shared,
				    .offset = m->offset,
				    .dev = 1,
				    .inode = m->file ? inode(m->file) : 0};
	return 1;
}

/* The model has no NUMA nodes. */
bool fl_host_policy_get(uint64_t addr, struct fl_host_policy *policy)
{
	return false;
}

void fl_host_policy_set(uint64_t start, uint64_t len, const struct fl_host_policy *policy)
{
}

/* The model's programs set no markers of their own. */
int fl_host_guarded_next(uint64_t *start, uint64_t end, uint64_t *run_end)
{
	return 0;
}

/* The direct map, or what the program has mapped. */
int fl_host_maps_at(uint64_t addr, struct fl_host_map *map)
{
	uint64_t page;
	const struct host_file *f = host_direct_file(fl_ptr(addr), &page);

	if (!f)
		return fl_host_maps_next(addr, map);
	*map = (struct fl_host_map){.start = addr,
				    .end = addr + PAGE_SIZE,
				    .shared = true,
				    .offset = page << PAGE_SHIFT,
				    .dev = 1,
				    .inode = inode(f)};
	return 1;
}

/* The model has nothing of the engine's own. */
bool fl_own_next(uint64_t *start, uint64_t end, uint64_t *stop)
{
	return false;
}

void fl_own_add(uint64_t start, uint64_t len)
{
}

int fl_own_map_beside(uint64_t addr, uint64_t len)
{
	return fl_host_map_beside(addr, len);
}

void fl_own_unmap(uint64_t start, uint64_t len)
{
	fl_host_munmap(start, len);
}

int fl_host_maps_walk(void (*fn)(const struct fl_host_map *map, void *data), void *data)
{
	struct fl_host_map map = {0};

	if (fl_fail(FL_FP_LOOK))
		return -ENOMEM;
	while (fl_host_maps_next(map.end, &map) == 1)
		fn(&map, data);
	return 0;
}

/* host/proc.h: nothing of it can get out of reach here. */

void fl_host_proc_hold(void)
{
}

bool fl_host_proc_is(int fd)
{
	return false;
}

int fl_host_proc_next(int from)
{
	return -1;
}

void fl_host_proc_after_fork(void)
{
}

uint64_t fl_host_maps_count(void)
{
	return 0;
}

uint64_t fl_host_maps_max(void)
{
	return 0;
}

unsigned fl_host_maps_advice(uint64_t addr)
{
	return 0;
}

static bool resident(uint64_t addr, enum fl_run *what)
{
	const struct host_mapping *m = host_at(addr);
	const struct host_frame *f = host_frame_at(addr);

	if (f) {
		*what = f->zero ? FL_RUN_ZERO : FL_RUN_DATA;
		return true;
	}
	*what = FL_RUN_FILE;
	return m && m->file && host_is_mapped(addr);
}

int fl_host_resident_next(uint64_t *start, uint64_t end, uint64_t *run_end, enum fl_run *what)
{
	uint64_t at = *start;
	enum fl_run next;

	sim_point(SIM_RUN, host_thing(at), "looks for data");
	host_touch(at, end, false);
	while (at < end && !resident(at, what))
		at += PAGE_SIZE;
	if (at >= end)
		return 0;
	*start = at;
	while ((at += PAGE_SIZE) < end && resident(at, &next) && next == *what)
		;
	*run_end = at;
	return 1;
}

void fl_host_scan_begin(struct fl_host_scan *s, uint64_t start, uint64_t end)
{
	s->at = start;
	s->end = end;
}

int fl_host_scan_next(struct fl_host_scan *s, struct fl_host_run *run)
{
	int ret;

	run->start = s->at;
	ret = fl_host_resident_next(&run->start, s->end, &run->end, &run->what);
	s->at = run->end;
	return ret;
}

void fl_host_scan_end(struct fl_host_scan *s)
{
}

int fl_host_shown_next(uint64_t *start, uint64_t end, uint64_t *run_end)
{
	enum fl_run what;

	return fl_host_resident_next(start, end, run_end, &what);
}

int fl_host_page_next(uint64_t *start, uint64_t end, bool data)
{
	enum fl_run what;
	uint64_t at = *start;

	sim_point(SIM_RUN, host_thing(at), "looks for a page");
	host_touch(at, end, false);
	while (at < end && resident(at, &what) != data)
		at += PAGE_SIZE;
	*start = at;
	return at < end;
}

bool fl_host_mapped_huge(uint64_t addr)
{
	return false;
}
