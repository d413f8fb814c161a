/* SPDX-License-Identifier: MIT */
/* helpers.c - steps that cases share: memory, ioctls as functions, threads that touch memory, messages. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "conformance.h"

#define PATIENCE_MS 60000 /* for what must happen: below the runner's limit, so that the case can say what did not */
#define WHILE_MS    25	  /* for what must not */

void pause_ms(int ms)
{
	struct timespec ts = {ms / 1000, (ms % 1000) * 1000000l};

	nanosleep(&ts, NULL);
}

void check_eq(const char *file, int line, const char *what, int64_t got, int64_t want)
{
	if (got != want)
		fail(file, line, "%s is %lld (%#llx), expected %lld (%#llx)", what, (long long)got, (long long)got,
		     (long long)want, (long long)want);
}

/* ---- memory ---- */

/*
 * Far from where a system places mappings by itself, each with room around it: what a case unmaps stays unmapped, and
 * no mapping is a neighbour by chance.
 */
uint64_t map_prot(unsigned pages, int prot)
{
	static uint64_t next = 0x200000000000;
	uint64_t at = next;

	CHECK_EQ(T->map(at, pages * PAGE, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE), at);
	next += (pages + 64) * PAGE;
	return at;
}

uint64_t map(unsigned pages)
{
	return map_prot(pages, RW);
}

uint64_t source(unsigned pages, uint8_t first)
{
	uint64_t src = map(pages);
	uint8_t page[PAGE];

	for (unsigned i = 0; i < pages; i++) {
		memset(page, first + (int)i, PAGE);
		CHECK_OK(T->store(src + i * PAGE, page, PAGE));
	}
	return src;
}

int peek(uint64_t addr)
{
	uint8_t byte;
	int sig = T->load(addr, &byte, 1);

	return sig ? -sig : byte;
}

int poke(uint64_t addr, uint8_t byte)
{
	return -T->store(addr, &byte, 1);
}

bool page_is(uint64_t addr, uint8_t byte)
{
	uint8_t page[PAGE];

	if (T->load(addr, page, PAGE))
		return false;
	for (unsigned i = 0; i < PAGE; i++)
		if (page[i] != byte)
			return false;
	return true;
}

uint64_t word(uint64_t addr)
{
	uint64_t w = UNTOUCHED;

	CHECK_OK(T->pagemap(addr, &w));
	return w & (FL_PM_EXCLUSIVE | FL_PM_UFFD_WP | FL_PM_FILE | FL_PM_SWAP | FL_PM_PRESENT);
}

bool words_are(uint64_t addr, unsigned pages, uint64_t want)
{
	for (unsigned i = 0; i < pages; i++)
		if (word(addr + i * PAGE) != want)
			return false;
	return true;
}

bool soft_dirty(uint64_t addr)
{
	uint64_t w = 0;

	CHECK_OK(T->pagemap(addr, &w));
	return w & FL_PM_SOFT_DIRTY;
}

/* ---- ioctls ---- */

uffd_t uffd_flags(int flags, uint64_t features)
{
	uffd_t u = T->open(flags);

	CHECK(u >= 0);
	CHECK_OK(api(u, FL_UFFD_API, features));
	return u;
}

uffd_t uffd(uint64_t features)
{
	return uffd_flags(O_CLOEXEC | O_NONBLOCK, features);
}

int api(uffd_t u, uint64_t version, uint64_t features)
{
	struct fl_uffdio_api a = {.api = version, .features = features};

	return T->ioctl(u, FL_UFFDIO_API, &a);
}

int reg_ioctls(uffd_t u, uint64_t addr, uint64_t len, uint64_t mode, uint64_t *ioctls)
{
	struct fl_uffdio_register r = {{addr, len}, mode, UNTOUCHED};
	int ret = T->ioctl(u, FL_UFFDIO_REGISTER, &r);

	*ioctls = r.ioctls;
	return ret;
}

int reg(uffd_t u, uint64_t addr, uint64_t len, uint64_t mode)
{
	uint64_t ioctls;

	return reg_ioctls(u, addr, len, mode, &ioctls);
}

int unreg(uffd_t u, uint64_t addr, uint64_t len)
{
	struct fl_uffdio_range r = {addr, len};

	return T->ioctl(u, FL_UFFDIO_UNREGISTER, &r);
}

int wake(uffd_t u, uint64_t addr, uint64_t len)
{
	struct fl_uffdio_range r = {addr, len};

	return T->ioctl(u, FL_UFFDIO_WAKE, &r);
}

int copy(uffd_t u, uint64_t dst, uint64_t src, uint64_t len, uint64_t mode, int64_t *copied)
{
	struct fl_uffdio_copy c = {dst, src, len, mode, UNTOUCHED};
	int ret = T->ioctl(u, FL_UFFDIO_COPY, &c);

	if (copied)
		*copied = c.copy;
	return ret;
}

int zero(uffd_t u, uint64_t addr, uint64_t len, uint64_t mode, int64_t *zeroed)
{
	struct fl_uffdio_zeropage z = {{addr, len}, mode, UNTOUCHED};
	int ret = T->ioctl(u, FL_UFFDIO_ZEROPAGE, &z);

	if (zeroed)
		*zeroed = z.zeropage;
	return ret;
}

int protect(uffd_t u, uint64_t addr, uint64_t len, uint64_t mode)
{
	struct fl_uffdio_writeprotect w = {{addr, len}, mode};

	return T->ioctl(u, FL_UFFDIO_WRITEPROTECT, &w);
}

void fill(uffd_t u, uint64_t addr, unsigned pages, uint8_t first)
{
	CHECK_OK(copy(u, addr, source(pages, first), pages * PAGE, 0, NULL));
}

struct area area(unsigned pages, uint64_t mode, uint64_t features)
{
	struct area a = {uffd(features), map(pages)};

	CHECK_OK(reg(a.u, a.mem, pages * PAGE, mode));
	return a;
}

/* ---- threads that touch memory ---- */

static void *touch_run(void *arg)
{
	struct touch *t = arg;

	atomic_store(&t->tid, (uint32_t)gettid());
	switch (t->kind) {
	case LOAD:
		t->ret = T->load(t->addr, &t->byte, 1);
		break;
	case STORE:
		t->ret = T->store(t->addr, &t->byte, 1);
		break;
	case KERNEL_READ:
		t->ret = T->kernel_read(t->addr, &t->byte, 1);
		break;
	case KERNEL_WRITE:
		t->ret = T->kernel_write(t->addr, &t->byte, 1);
		break;
	}
	atomic_store(&t->done, true);
	return NULL;
}

void touch_start(struct touch *t, enum kind kind, uint64_t addr, uint8_t byte)
{
	pthread_attr_t attr;

	t->kind = kind;
	t->addr = addr;
	t->byte = byte;
	atomic_store(&t->tid, 0);
	atomic_store(&t->done, false);
	CHECK_OK(pthread_attr_init(&attr));
	CHECK_OK(pthread_attr_setstacksize(&attr, 256 << 10));
	CHECK_OK(pthread_create(&t->thread, &attr, touch_run, t));
	pthread_attr_destroy(&attr);
}

static bool asleep(uint32_t tid)
{
	char path[64], stat[512], *state;
	ssize_t len;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%u/stat", tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	len = read(fd, stat, sizeof(stat) - 1);
	close(fd);
	stat[len > 0 ? len : 0] = 0;
	state = strrchr(stat, ')');
	return state && (state[2] == 'S' || state[2] == 'D');
}

/* WHILE_MS is for what must not happen; on a busy machine a thread may need longer to begin its wait. */
bool touch_waits(struct touch *t)
{
	for (int i = 0; i < WHILE_MS && !atomic_load(&t->done); i++)
		pause_ms(1);
	for (int i = 0; i < PATIENCE_MS && !atomic_load(&t->done) && !asleep(atomic_load(&t->tid)); i++)
		pause_ms(1);
	return !atomic_load(&t->done);
}

int touch_end(struct touch *t)
{
	for (int i = 0; i < PATIENCE_MS && !atomic_load(&t->done); i++)
		pause_ms(1);
	CHECK(atomic_load(&t->done) /* the thread that touched memory continues */);
	pthread_join(t->thread, NULL);
	return t->ret;
}

void touch_ends_with(struct touch *t, uint8_t byte)
{
	CHECK_OK(touch_end(t));
	CHECK_EQ(t->byte, byte);
}

/* ---- messages ---- */

struct fl_uffd_msg next_msg(uffd_t u)
{
	struct fl_uffd_msg msg;

	CHECK_EQ(T->poll(u, PATIENCE_MS), POLLIN);
	CHECK_EQ(T->read(u, &msg, sizeof(msg)), sizeof(msg));
	CHECK_EQ(msg.event, FL_UFFD_EVENT_PAGEFAULT);
	return msg;
}

void expect_fault(uffd_t u, uint64_t addr, uint64_t flags)
{
	struct fl_uffd_msg msg = next_msg(u);

	CHECK_EQ(msg.arg.pagefault.address, addr);
	CHECK_EQ(msg.arg.pagefault.flags, flags);
}

bool quiet(uffd_t u)
{
	return T->poll(u, WHILE_MS) == 0;
}

void expect_missing(uffd_t u, uint64_t addr)
{
	struct touch t;

	touch_start(&t, LOAD, addr, 0xee);
	expect_fault(u, addr & ~(PAGE - 1), 0);
	CHECK_OK(zero(u, addr & ~(PAGE - 1), PAGE, 0, NULL));
	touch_ends_with(&t, 0);
}

void expect_wp(uffd_t u, uint64_t addr)
{
	struct touch t;

	touch_start(&t, STORE, addr, 0xdd);
	expect_fault(u, addr & ~(PAGE - 1), FL_UFFD_PAGEFAULT_FLAG_WP | FL_UFFD_PAGEFAULT_FLAG_WRITE);
	CHECK(touch_waits(&t));
	CHECK_OK(protect(u, addr & ~(PAGE - 1), PAGE, 0));
	CHECK_OK(touch_end(&t));
	CHECK_EQ(peek(addr), 0xdd);
}
