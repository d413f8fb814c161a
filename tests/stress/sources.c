/* SPDX-License-Identifier: MIT */
/*
 * sources.c - the source of a fill is itself in registered memory: missing, resolved by another thread, in the very
 * range that is filled, or just being unmapped. A fill ends with the right bytes, or with EFAULT and nothing filled.
 */
#include "stress.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGES_EACH 500
#define FILLS	   10000 /* in each case at least, every one of which needs another */
#define DEPTH	   4	 /* of fills that wait for one another */

/* One registered range, and where its pages come from: a buffer, or the page at the same place of `from`. */
struct place {
	int fd;
	char *mem;
	struct place *from;
	bool (*ready)(size_t page); /* the page comes from the buffer; NULL: never */
	pthread_t handlers[DEPTH];
	unsigned nr_handlers;
	int stop;
	bool comes_and_goes; /* a page may be gone when its fault is handled */
	atomic_ulong filled;
};

static const void *source_of(struct place *p, size_t page, char *buffer)
{
	if (p->from && !(p->ready && p->ready(page)))
		return p->from->mem + page * PAGE;
	stamp(buffer, page);
	return buffer;
}

static void *handle(void *arg)
{
	static _Thread_local _Alignas(PAGE) char buffer[PAGE];
	struct place *p = arg;
	struct pollfd fds[2] = {{.fd = p->fd, .events = POLLIN}, {.fd = p->stop, .events = POLLIN}};
	struct uffd_msg msg;

	for (;;) {
		CHECK(poll(fds, 2, -1) > 0);
		if (fds[1].revents)
			return NULL;
		if (read(p->fd, &msg, sizeof(msg)) != sizeof(msg)) /* another handler was faster */
			continue;
		char *page = (char *)(uintptr_t)PAGE_OF(msg.arg.pagefault.address);
		size_t i = (size_t)(page - p->mem) / PAGE;
		int err = uffd_copy(p->fd, page, source_of(p, i, buffer), PAGE, 0);

		if (err == -EEXIST || (p->comes_and_goes && err == -ENOENT)) /* the thread then faults again */
			err = uffd_wake(p->fd, page, PAGE);
		CHECK_INT(err, 0);
		p->filled++;
	}
}

static void open_place(struct place *p, size_t pages, unsigned handlers)
{
	p->mem = map_pages(pages);
	p->fd = uffd_open(O_CLOEXEC | O_NONBLOCK, 0);
	p->stop = eventfd(0, EFD_CLOEXEC);
	p->nr_handlers = handlers;
	uffd_register(p->fd, p->mem, pages * PAGE, MISSING);
}

static void serve(struct place *p)
{
	for (unsigned i = 0; i < p->nr_handlers; i++)
		p->handlers[i] = spawn(handle, p);
}

static void stop(struct place *p)
{
	CHECK_INT(eventfd_write(p->stop, 1), 0);
	for (unsigned i = 0; i < p->nr_handlers; i++)
		join(p->handlers[i]);
}

struct toucher {
	struct place *p;
	size_t from, step;
};

static void *touch(void *arg)
{
	struct toucher *t = arg;

	for (size_t i = t->from; i < PAGES_EACH; i += t->step)
		CHECK(stamped(t->p->mem + i * PAGE, i));
	return NULL;
}

static void drop(struct place *p)
{
	CHECK_INT(madvise(p->mem, PAGES_EACH * PAGE, MADV_DONTNEED), 0);
}

/* ---- cases ---- */

/* Each of `first` comes from `second`, each of that from a buffer, by another thread. */
static void chain(void)
{
	static struct place first, second;
	struct toucher t = {&first, 0, 1};

	first.from = &second;
	open_place(&first, PAGES_EACH, 1);
	open_place(&second, PAGES_EACH, 1);
	serve(&first);
	serve(&second);
	while (first.filled < FILLS) {
		drop(&first);
		drop(&second);
		touch(&t);
	}
	stop(&first);
	stop(&second);
	CHECK_INT(second.filled, first.filled);
}

static bool even(size_t page)
{
	return page % 2 == 0;
}

static bool odd(size_t page)
{
	return page % 2 == 1;
}

/* Each needs half of its pages from the other, while both are touched. */
static void crossed(void)
{
	static struct place first, second;
	struct toucher t[4] = {{&first, 0, 2}, {&second, 0, 2}, {&first, 1, 2}, {&second, 1, 2}};
	pthread_t threads[4];

	first.from = &second;
	first.ready = even;
	second.from = &first;
	second.ready = odd;
	open_place(&first, PAGES_EACH, 2);
	open_place(&second, PAGES_EACH, 2);
	serve(&first);
	serve(&second);
	while (first.filled + second.filled < 2 * FILLS) {
		drop(&first);
		drop(&second);
		for (unsigned i = 0; i < 4; i++)
			threads[i] = spawn(touch, &t[i]);
		for (unsigned i = 0; i < 4; i++)
			join(threads[i]);
	}
	stop(&first);
	stop(&second);
}

/* A page comes from the next one in the same range, the last of four from a buffer: one object, four handlers. */
static bool last_of_four(size_t page)
{
	return page % DEPTH == DEPTH - 1;
}

static void same_range(void)
{
	static struct place p, next;
	size_t group = 0;

	p.ready = last_of_four;
	p.from = &next;
	open_place(&p, PAGES_EACH, DEPTH);
	next.mem = p.mem + PAGE;
	serve(&p);
	while (p.filled < FILLS) {
		if (group % (PAGES_EACH / DEPTH) == 0)
			drop(&p);
		size_t at = group++ % (PAGES_EACH / DEPTH) * DEPTH;

		for (size_t i = 0; i < DEPTH; i++)
			CHECK(stamped(p.mem + (at + i) * PAGE, at + DEPTH - 1));
	}
	stop(&p);
}

static atomic_bool done;

/* The source comes and goes. */
static void *mapper(void *arg)
{
	struct place *p = arg;

	while (!done) {
		munmap(p->mem, PAGE);
		CHECK(mmap(p->mem, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
		      p->mem);
		uffd_register(p->fd, p->mem, PAGE, MISSING);
	}
	return NULL;
}

static void unmapped(void)
{
	static struct place to, from;
	pthread_t thread;
	unsigned good = 0, bad = 0;

	open_place(&to, 1, 0);
	open_place(&from, 1, 1);
	from.comes_and_goes = true;
	serve(&from);
	thread = spawn(mapper, &from);
	for (double end = now() + PATIENCE; (good < 1000 || bad < 100) && now() < end;) {
		int err = uffd_copy(to.fd, to.mem, from.mem, PAGE, 0);

		CHECK(err == 0 || err == -EFAULT);
		good += !err;
		bad += !!err;
		/* zeros: a moment in which it was mapped and not registered */
		CHECK(err || stamped(to.mem, 0) || peek(to.mem) == 0);
		CHECK_INT(madvise(to.mem, PAGE, MADV_DONTNEED), 0);
	}
	done = true;
	join(thread);
	stop(&from);
	note("%u filled, %u without a source", good, bad);
	CHECK(good && bad);
}

static const struct test tests[] = {
	{"chain", chain, 120},	     {"crossed", crossed, 120}, {"same-range", same_range, 120},
	{"unmapped", unmapped, 120}, {NULL, NULL, 0},
};

int main(int argc, char **argv)
{
	return run_tests(argc, argv, tests);
}
