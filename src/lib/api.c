/* SPDX-License-Identifier: MIT */
/* api.c - faultline.h: decoding into the layers below, and -errno into errno. */
#include "lib/lib.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/inject.h"
#include "host/count.h"
#include "host/host.h"
#include "host/socket.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

static int64_t ret_errno(int64_t ret)
{
	if (ret >= 0)
		return ret;
	errno = (int)-ret;
	return -1;
}

static int ret_int(int64_t ret)
{
	return (int)ret_errno(ret);
}

/* A result that is returned through a pointer, which may be NULL. */
static int ret_value(int64_t ret, uint64_t *value)
{
	if (ret >= 0 && value)
		*value = (uint64_t)ret;
	return ret < 0 ? ret_int(ret) : 0;
}

static const struct fl_space *space_of(const struct fl_mm *mm)
{
	const struct fl_space *native = fl_native_space(mm);

	return native ? native : &fl_soft_space;
}

const char *fl_version(void)
{
	return FL_VERSION_STRING;
}

/* ---- address spaces ---- */

int fl_mm_create(struct fl_mm **mm, uint64_t mem_bytes)
{
	struct fl_soft *soft;
	int err = FL_SIGNALS_OUT(fl_soft_create(mem_bytes ? mem_bytes : 1ull << 30, &soft));

	if (!err)
		*mm = &soft->mm;
	return ret_int(err);
}

int fl_mm_destroy(struct fl_mm *mm)
{
	return ret_int(space_of(mm)->destroy(mm));
}

int fl_mm_process(struct fl_mm **mm)
{
	return ret_int(fl_native_open(mm));
}

int fl_mmap(struct fl_mm *mm, uint64_t hint, uint64_t len, int prot, int flags, uint64_t *addr)
{
	return ret_value(space_of(mm)->mmap(mm, hint, len, prot, flags, NULL, 0), addr);
}

int fl_munmap(struct fl_mm *mm, uint64_t addr, uint64_t len)
{
	return ret_int(space_of(mm)->munmap(mm, addr, len));
}

int fl_mprotect(struct fl_mm *mm, uint64_t addr, uint64_t len, int prot)
{
	return ret_int(space_of(mm)->mprotect(mm, addr, len, prot));
}

int fl_mremap(struct fl_mm *mm, uint64_t old_addr, uint64_t old_len, uint64_t new_len, int flags, uint64_t new_addr,
	      uint64_t *addr)
{
	return ret_value(space_of(mm)->mremap(mm, old_addr, old_len, new_len, flags, new_addr), addr);
}

int fl_madvise(struct fl_mm *mm, uint64_t addr, uint64_t len, int advice)
{
	return ret_int(space_of(mm)->madvise(mm, addr, len, advice));
}

/* ---- loads and stores ---- */

static enum fl_fault do_access(struct fl_mm *mm, uint64_t addr, void *buf, size_t len, uint32_t flags, size_t *done)
{
	return space_of(mm)->access(mm, addr, buf, len, flags, done);
}

static int fault_signal(enum fl_fault fault)
{
	return fault == FL_DONE ? 0 : fault == FL_SIGBUS ? SIGBUS : SIGSEGV;
}

int fl_load(struct fl_mm *mm, uint64_t addr, void *buf, size_t len)
{
	size_t done;

	return fault_signal(do_access(mm, addr, buf, len, 0, &done));
}

int fl_store(struct fl_mm *mm, uint64_t addr, const void *buf, size_t len)
{
	union {
		const void *in;
		void *out;
	} b = {.in = buf}; /* a store only reads the buffer */
	size_t done;

	return fault_signal(do_access(mm, addr, b.out, len, FAULT_WRITE, &done));
}

int fl_copy(struct fl_mm *mm, uint64_t dst, uint64_t src, size_t len)
{
	char bounce[512];

	for (size_t n, done; len; len -= n, src += n, dst += n) {
		enum fl_fault fault;

		n = fl_min(len, sizeof(bounce));
		fault = do_access(mm, src, bounce, n, 0, &done);
		if (fault == FL_DONE)
			fault = do_access(mm, dst, bounce, n, FAULT_WRITE, &done);
		if (fault != FL_DONE)
			return fault_signal(fault);
	}
	return 0;
}

int fl_copy_from_user(struct fl_mm *mm, void *buf, uint64_t addr, size_t len)
{
	size_t done;

	return ret_int(do_access(mm, addr, buf, len, FAULT_KERNEL, &done) == FL_DONE ? 0 : -EFAULT);
}

int fl_copy_to_user(struct fl_mm *mm, uint64_t addr, const void *buf, size_t len)
{
	union {
		const void *in;
		void *out;
	} b = {.in = buf};
	size_t done;

	return ret_int(do_access(mm, addr, b.out, len, FAULT_KERNEL | FAULT_WRITE, &done) == FL_DONE ? 0 : -EFAULT);
}

/* ---- the object ---- */

int fl_uffd_open(struct fl_mm *mm, int flags, struct fl_uffd **uffd)
{
	int err = fl_abi_check_flags(flags & ~FL_UFFD_SRC_HOST);

	return ret_int(err ? err : fl_object_new(mm, &space_of(mm)->caller, flags, uffd));
}

int fl_uffd_close(struct fl_uffd *uffd)
{
	int fd = uffd->fd;
	struct fl_uffd *closing = fl_object_closing(fd);

	if (!closing)
		return ret_int(-EBADF);
	fl_host_close(fd);
	fl_object_closed(closing);
	return 0;
}

int fl_uffd_fd(const struct fl_uffd *uffd)
{
	return uffd->fd;
}

int fl_uffd_ioctl(struct fl_uffd *uffd, unsigned long cmd, void *arg)
{
	return ret_int(fl_object_ioctl(uffd, cmd, fl_addr(arg)));
}

ssize_t fl_uffd_read(struct fl_uffd *uffd, void *buf, size_t len)
{
	return (ssize_t)ret_errno(fl_object_read(uffd, fl_addr(buf), len));
}

int fl_uffd_poll(struct fl_uffd *uffd, int timeout_ms)
{
	uint64_t timeout = timeout_ms < 0 ? UINT64_MAX : (uint64_t)timeout_ms * 1000000, start = 0, passed = 0;
	int ready;

	while (!(ready = fl_abi_poll(uffd->ctx)) && passed < timeout) {
		int err;

		if (!start)
			start = fl_now_ns();
		err = fl_host_wait_readable(uffd->fd, timeout == UINT64_MAX ? timeout : timeout - passed);
		if (err < 0)
			return ret_int(err);
		passed = fl_now_ns() - start; /* another reader may have been there first */
	}
	return ready;
}

int fl_uffd_set_nonblock(struct fl_uffd *uffd, int on)
{
	return fl_object_set_nonblock(uffd, on);
}

int fl_uffd_set_handler(struct fl_uffd *uffd, fl_fault_fn *fn, void *arg)
{
	return ret_int(fl_object_set_handler(uffd, fn, arg));
}

int fl_uffd_api(struct fl_uffd *uffd, uint64_t features, uint64_t *available)
{
	struct fl_uffdio_api a = {.api = FL_UFFD_API, .features = features};
	int ret = fl_uffd_ioctl(uffd, FL_UFFDIO_API, &a);

	if (!ret && available)
		*available = a.features;
	return ret;
}

int fl_uffd_register(struct fl_uffd *uffd, uint64_t addr, uint64_t len, uint64_t mode, uint64_t *ioctls)
{
	struct fl_uffdio_register r = {.range = {addr, len}, .mode = mode};
	int ret = fl_uffd_ioctl(uffd, FL_UFFDIO_REGISTER, &r);

	if (!ret && ioctls)
		*ioctls = r.ioctls;
	return ret;
}

int fl_uffd_unregister(struct fl_uffd *uffd, uint64_t addr, uint64_t len)
{
	struct fl_uffdio_range r = {addr, len};

	return fl_uffd_ioctl(uffd, FL_UFFDIO_UNREGISTER, &r);
}

int fl_uffd_wake(struct fl_uffd *uffd, uint64_t addr, uint64_t len)
{
	struct fl_uffdio_range r = {addr, len};

	return fl_uffd_ioctl(uffd, FL_UFFDIO_WAKE, &r);
}

int fl_uffd_copy(struct fl_uffd *uffd, uint64_t dst, uint64_t src, uint64_t len, uint64_t mode, int64_t *copied)
{
	struct fl_uffdio_copy c = {.dst = dst, .src = src, .len = len, .mode = mode};
	int ret = fl_uffd_ioctl(uffd, FL_UFFDIO_COPY, &c);

	if (copied)
		*copied = c.copy;
	return ret;
}

int fl_uffd_zeropage(struct fl_uffd *uffd, uint64_t addr, uint64_t len, uint64_t mode, int64_t *zeroed)
{
	struct fl_uffdio_zeropage z = {.range = {addr, len}, .mode = mode};
	int ret = fl_uffd_ioctl(uffd, FL_UFFDIO_ZEROPAGE, &z);

	if (zeroed)
		*zeroed = z.zeropage;
	return ret;
}

int fl_uffd_continue(struct fl_uffd *uffd, uint64_t addr, uint64_t len, uint64_t mode, int64_t *mapped)
{
	struct fl_uffdio_continue c = {.range = {addr, len}, .mode = mode};
	int ret = fl_uffd_ioctl(uffd, FL_UFFDIO_CONTINUE, &c);

	if (mapped)
		*mapped = c.mapped;
	return ret;
}

int fl_uffd_writeprotect(struct fl_uffd *uffd, uint64_t addr, uint64_t len, uint64_t mode)
{
	struct fl_uffdio_writeprotect w = {.range = {addr, len}, .mode = mode};

	return fl_uffd_ioctl(uffd, FL_UFFDIO_WRITEPROTECT, &w);
}

/* ---- testing.h ---- */

int fl_inject(const char *specs)
{
	return ret_int(fl_inject_set(specs));
}

const char *fl_inject_name(unsigned index)
{
	return fl_inject_point_name(index);
}

const char *fl_inject_text(unsigned index)
{
	return fl_inject_point_text(index);
}

size_t fl_inject_why(const char *specs, char *why, size_t size)
{
	char line[FL_INJECT_WHY];

	if (!specs || fl_inject_check(specs, line))
		*line = '\0';
	if (size) {
		size_t n = fl_min(strlen(line), size - 1);

		memcpy(why, line, n);
		why[n] = '\0';
	}
	return strlen(line);
}

int fl_inject_count(const char *name, uint64_t *hits, uint64_t *fired)
{
	return ret_int(fl_inject_count_of(name, hits, fired));
}

static void say(const char *invariant, uint64_t addr)
{
	char line[96];
	size_t n = 0;
	const char *parts[] = {"faultline: broken invariant ", invariant, " at 0x"};

	for (unsigned i = 0; i < ARRAY_SIZE(parts); i++)
		for (const char *p = parts[i]; *p && n < sizeof(line) - 20; p++)
			line[n++] = *p;
	for (int shift = 60; shift >= 0; shift -= 4)
		line[n++] = "0123456789abcdef"[addr >> shift & 15];
	line[n++] = '\n';
	fl_host_say(line, n);
}

int fl_mm_check(struct fl_mm *mm)
{
	return ret_int(fl_mm_verify(mm, say) ? -EUCLEAN : 0);
}

int fl_mm_pagemap(struct fl_mm *mm, uint64_t addr, size_t nr, uint64_t *words)
{
	uint64_t part[64]; /* the caller's buffer may be memory that faults, so it is not touched under a lock */

	addr = PAGE_ALIGN_DOWN(addr);
	if (addr >= TASK_SIZE || nr > PAGES(TASK_SIZE - addr))
		return ret_int(-EINVAL);
	for (size_t at = 0, n; at < nr; at += n) {
		n = fl_min(nr - at, ARRAY_SIZE(part));
		memset(part, 0, sizeof(part));
		fl_pagemap(mm, addr + ((uint64_t)at << PAGE_SHIFT), n, part);
		memcpy(words + at, part, n * sizeof(*words));
	}
	return 0;
}

int fl_mm_clear_soft_dirty(struct fl_mm *mm)
{
	return ret_int(FL_SIGNALS_OUT(fl_clear_soft_dirty(mm)));
}

int fl_mm_fork(struct fl_mm *parent, struct fl_mm **child)
{
	return ret_int(space_of(parent)->fork(parent, child));
}

int fl_mm_migrate(struct fl_mm *mm, uint64_t addr, uint64_t len, uint64_t *moved)
{
	return ret_value(space_of(mm)->migrate(mm, addr, len), moved);
}

/* ---- shared memory ---- */

int fl_shmem_create(struct fl_mm *mm, uint64_t size, struct fl_shmem **shmem)
{
	return ret_int(space_of(mm)->shmem_new(mm, size, shmem));
}

void fl_shmem_huge(struct fl_shmem *shmem, int on)
{
	FL_SIGNALS_OUT((fl_shmem_set_huge(shmem, on), 0));
}

void fl_shmem_close(struct fl_shmem *shmem)
{
	FL_SIGNALS_OUT((fl_shmem_put(shmem), 0));
}

int fl_mmap_shmem(struct fl_mm *mm, uint64_t hint, uint64_t len, int prot, int flags, struct fl_shmem *shmem,
		  uint64_t offset, uint64_t *addr)
{
	return ret_value(space_of(mm)->mmap(mm, hint, len, prot, flags, shmem, offset), addr);
}

/* A call on the object, with signals kept out except while a fault on the caller's buffer waits. -errno */
#define SHMEM(call)                                                                                                  \
	({                                                                                                           \
		uint64_t shmem_signals = fl_signals_block_for_wait();                                                \
		int64_t shmem_ret = (call);                                                                          \
		fl_signals_restore_after_wait(shmem_signals);                                                        \
		shmem_ret;                                                                                           \
	})

int fl_shmem_truncate(struct fl_shmem *shmem, uint64_t size)
{
	return ret_int(SHMEM(fl_shmem_resize(shmem, size)));
}

int fl_shmem_punch(struct fl_shmem *shmem, uint64_t offset, uint64_t len)
{
	return ret_int(SHMEM(fl_shmem_punch_hole(shmem, offset, len)));
}

ssize_t fl_shmem_read(struct fl_shmem *shmem, void *buf, size_t len, uint64_t offset)
{
	return (ssize_t)ret_errno(SHMEM(fl_shmem_pread(shmem, buf, len, offset)));
}

ssize_t fl_shmem_write(struct fl_shmem *shmem, const void *buf, size_t len, uint64_t offset)
{
	return (ssize_t)ret_errno(SHMEM(fl_shmem_pwrite(shmem, buf, len, offset)));
}

int fl_shmem_data(struct fl_shmem *shmem, uint64_t offset, uint64_t *data)
{
	return ret_value(SHMEM(fl_shmem_seek_data(shmem, offset)), data);
}

/* ---- the access sampler ---- */

static bool sample_args_ok(uint64_t addr, uint64_t len)
{
	return PAGE_ALIGNED(addr | len) && len && addr < TASK_SIZE && len <= TASK_SIZE - addr;
}

static int sample_range(struct fl_mm *mm, uint64_t addr, uint64_t len, bool on)
{
	if (!sample_args_ok(addr, len))
		return ret_int(-EINVAL);
	return ret_int(FL_SIGNALS_OUT(fl_sample_range(mm, addr, addr + len, on)));
}

int fl_sample_start(struct fl_mm *mm, uint64_t addr, uint64_t len)
{
	return sample_range(mm, addr, len, true);
}

int fl_sample_stop(struct fl_mm *mm, uint64_t addr, uint64_t len)
{
	return sample_range(mm, addr, len, false);
}

int fl_sample_look(struct fl_mm *mm, uint64_t addr, uint64_t len, uint8_t *vec, uint64_t *touched)
{
	uint8_t part[256]; /* the caller's buffer may be memory that is watched */
	int64_t sum = 0;

	if (!sample_args_ok(addr, len))
		return ret_int(-EINVAL);
	for (uint64_t at = addr, next; at < addr + len; at = next) {
		int64_t n;

		next = fl_min(at + sizeof(part) * PAGE_SIZE, addr + len);
		n = FL_SIGNALS_OUT(fl_sample_collect(mm, at, next, part));
		if (n < 0)
			return ret_int(n);
		sum += n;
		if (vec && space_of(mm)->caller.copy_out(mm, fl_addr(vec) + PAGES(at - addr), part,
							 (size_t)PAGES(next - at)))
			return ret_int(-EFAULT);
	}
	return ret_value(sum, touched);
}

void fl_sample_get_cost(struct fl_mm *mm, struct fl_sample_cost *cost)
{
	uint64_t since = __atomic_load_n(&mm->sampling.since, __ATOMIC_RELAXED);

	cost->faults = __atomic_load_n(&mm->sampling.faults, __ATOMIC_RELAXED);
	cost->fault_ns = __atomic_load_n(&mm->sampling.fault_ns, __ATOMIC_RELAXED);
	cost->elapsed_ns = since ? fl_now_ns() - since : 0;
}

uint64_t fl_mm_metadata_bytes(struct fl_mm *mm)
{
	return __atomic_load_n(&mm->metadata, __ATOMIC_RELAXED) + mm->ops->metadata(mm);
}
