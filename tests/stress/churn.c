/* SPDX-License-Identifier: MIT */
/*
 * churn.c - a process as it really is: eight threads allocate, move and free memory, map memfds, start threads, fork,
 * execute programs, load and unload libraries, while one more registers whatever private or shared memory it finds in
 * /proc/self/maps, heaps and arenas among it, protects it, unregisters it and closes the object, at random.
 * libc takes places away and gives them out again meanwhile. Every byte that a thread keeps follows from a seed, and
 * is checked: nothing may be lost.
 */
#include "stress.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORKERS 8
#define BLOCKS	24
#define FEATS	(FEAT_WP | UFFD_FEATURE_WP_HUGETLBFS_SHMEM | UFFD_FEATURE_MISSING_SHMEM)

static atomic_int stop, working;
static atomic_ulong checked, registered, lost_races, messages, closes, forks, threads;
static double began;

/* ---- blocks whose content follows from a seed --------------------------------------------------------------- */

enum from { NOWHERE, MALLOC, ALIGNED, MMAP, MEMFD };

struct block {
	enum from from;
	uint64_t *p;
	size_t words;
	uint64_t seed;
};

struct worker {
	uint64_t rnd;
	struct block blocks[BLOCKS];
};

static uint64_t content(uint64_t seed, size_t i)
{
	return (seed + i) * 0x9e3779b97f4a7c15ull;
}

static void fill(uint64_t *p, size_t words, uint64_t seed)
{
	for (size_t i = 0; i < words; i++)
		p[i] = content(seed, i);
}

static void check(const uint64_t *p, size_t words, uint64_t seed, const char *what)
{
	for (size_t i = 0; i < words; i++) {
		uint64_t got = ((const volatile uint64_t *)p)[i];

		if (got != content(seed, i))
			FAIL("%s: word %zu of %zu at %p is %#llx, not %#llx; now %#llx", what, i, words,
			     (const void *)(p + i), (unsigned long long)got, (unsigned long long)content(seed, i),
			     (unsigned long long)((const volatile uint64_t *)p)[i]);
	}
	checked += words;
}

static void *map_file(size_t len)
{
	int fd = memfd_create("churn", MFD_CLOEXEC);
	void *p;

	CHECK(fd >= 0);
	CHECK_INT(ftruncate(fd, (off_t)len), 0);
	p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(p != MAP_FAILED);
	CHECK_INT(close(fd), 0);
	return p;
}

static size_t some_words(uint64_t *r)
{
	static const size_t sizes[] = {16, 600, 5000, 40000, 200000, 300000};

	return (sizes[rnd(r) % 6] + rnd(r) % 64 * 8) / 8 * 2;
}

static void get(struct block *b, uint64_t *r)
{
	b->from = MALLOC + rnd(r) % 4;
	b->words = some_words(r) / 2;
	b->seed = rnd(r);
	if (b->from == MALLOC)
		b->p = malloc(b->words * 8);
	else if (b->from == ALIGNED)
		b->p = memalign(4096, b->words * 8);
	else if (b->from == MEMFD)
		b->p = map_file(b->words * 8);
	else
		b->p = mmap(NULL, b->words * 8, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(b->p && b->p != MAP_FAILED);
	fill(b->p, b->words, b->seed);
}

static void put(struct block *b)
{
	check(b->p, b->words, b->seed, "a block");
	if (b->from == MALLOC || b->from == ALIGNED)
		free(b->p);
	else
		CHECK_INT(munmap(b->p, b->words * 8), 0);
	b->from = NOWHERE;
}

/* Another size, perhaps another place. */
static void move(struct block *b, uint64_t *r)
{
	size_t words = some_words(r) / 2, kept = words < b->words ? words : b->words;
	void *p;

	if (b->from == MALLOC || b->from == ALIGNED)
		p = realloc(b->p, words * 8);
	else if (b->from == MMAP)
		p = mremap(b->p, b->words * 8, words * 8, MREMAP_MAYMOVE);
	else
		return;
	if (p == MAP_FAILED) { /* it is several mappings: a part of it is registered */
		CHECK_INT(errno, EFAULT);
		return;
	}
	CHECK(p);
	b->p = p;
	check(b->p, kept, b->seed, "a block that was moved");
	b->words = words;
	fill(b->p, words, b->seed);
}

/* ---- what else a process does ------------------------------------------------------------------------------- */

/* Its stack may be a used one, and is one again; what it allocates is in an arena of its own, perhaps. */
static void *short_life(void *arg)
{
	uint64_t r = *(uint64_t *)arg, local[6000], seed = rnd(&r);
	size_t n = 500 + rnd(&r) % 5500;
	struct block b;

	fill(local, n, seed);
	get(&b, &r);
	sched_yield();
	check(local, n, seed, "a stack");
	put(&b);
	check(local, n, seed, "a stack");
	return NULL;
}

static void start_thread(struct worker *w)
{
	uint64_t seed = rnd(&w->rnd);
	pthread_t t;

	if (pthread_create(&t, NULL, short_life, &seed))
		return; /* no room at the moment */
	CHECK_INT(pthread_join(t, NULL), 0);
	threads++;
}

/* The child sees every byte, and may go on to be another program. */
static void have_child(struct worker *w)
{
	bool exec = rnd(&w->rnd) % 2;
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		for (struct block *b = w->blocks; b < w->blocks + BLOCKS; b++)
			if (b->from)
				check(b->p, b->words, b->seed, "a child's block");
		if (exec)
			execl("/bin/true", "true", (char *)NULL);
		_exit(exec ? 127 : 0);
	}
	if (pid < 0)
		return;
	CHECK_INT(waitpid(pid, &status, 0), pid);
	CHECK_INT(status, 0);
	forks++;
}

static void load_library(struct worker *w)
{
	static const char *const names[] = {"libm.so.6", "libresolv.so.2", "libgcc_s.so.1", "libstdc++.so.6"};
	void *lib = dlopen(names[rnd(&w->rnd) % 4], RTLD_NOW);

	if (lib)
		CHECK_INT(dlclose(lib), 0);
}

static void step(struct worker *w)
{
	struct block *b = &w->blocks[rnd(&w->rnd) % BLOCKS];
	unsigned what = (unsigned)(rnd(&w->rnd) % 100);

	if (what < 40)
		b->from ? put(b) : get(b, &w->rnd);
	else if (what < 60 && b->from)
		move(b, &w->rnd);
	else if (what < 85 && b->from)
		check(b->p, b->words, b->seed, "a block");
	else if (what < 92)
		start_thread(w);
	else if (what < 94)
		have_child(w);
	else if (what < 97)
		load_library(w);
	else if (what < 98)
		(void)malloc_trim(0);
}

static void *work(void *arg)
{
	struct worker *w = arg;

	while (!stop)
		step(w);
	for (struct block *b = w->blocks; b < w->blocks + BLOCKS; b++)
		if (b->from)
			put(b);
	working--;
	return NULL;
}

/* ---- who registers: it uses no memory that it could register, and serves its object itself -------------------- */

#define RANGES 64

static struct range {
	char *start, *end;
	bool shared;
} ranges[RANGES];
static unsigned nr_ranges;
static char text[1 << 20], own_stack[1 << 16] __attribute__((aligned(4096)));
static uint64_t dice = 1;

/*
 * Private anonymous memory, the heap, or a memfd: not what belongs to a file, nor what stands behind it. What is
 * behind a guard page is a stack: a thread that begins on a hidden one is lost (divergence.md).
 */
static bool may_register(const char *line, bool behind_file)
{
	const char *name = strchr(line, '/'), *special = strchr(line, '[');

	if (!strstr(line, " rw-"))
		return false;
	if (name)
		return strstr(name, "memfd:churn");
	if (special)
		return strncmp(special, "[heap]", 6) == 0;
	return !behind_file;
}

static size_t read_maps(void)
{
	int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	size_t n = 0;
	ssize_t got;

	CHECK(fd >= 0);
	while ((got = read(fd, text + n, sizeof(text) - 1 - n)) > 0)
		n += (size_t)got;
	close(fd);
	text[n] = 0;
	return n;
}

static void *hex(const char **s)
{
	uintptr_t v = 0;

	for (; **s && strchr("0123456789abcdef", **s); ++*s)
		v = v * 16 + (uintptr_t)(**s <= '9' ? **s - '0' : **s - 'a' + 10);
	return (void *)v;
}

static void look_for_ranges(void)
{
	bool behind_file = false;
	char *next;

	read_maps();
	nr_ranges = 0;
	for (char *line = text; *line; line = next) {
		const char *s = line;
		struct range r;

		next = strchr(line, '\n');
		*next++ = 0;
		r.start = hex(&s);
		s++;
		r.end = hex(&s);
		if (may_register(line, behind_file)) {
			unsigned i = nr_ranges < RANGES ? nr_ranges++ : rnd(&dice) % (2 * RANGES);

			r.shared = strstr(line, "memfd:churn");
			if (i < RANGES)
				ranges[i] = r;
		}
		behind_file = (strchr(line, '/') && !strstr(line, "memfd:")) || strstr(line, " ---p");
	}
}

/* All of one of them, or a part. */
static struct range pick(void)
{
	struct range r = {NULL, NULL, false};
	size_t pages, first, n;

	if (!nr_ranges)
		return r;
	r = ranges[rnd(&dice) % nr_ranges];
	pages = (size_t)(r.end - r.start) / PAGE;
	first = rnd(&dice) % 2 ? 0 : rnd(&dice) % pages;
	n = rnd(&dice) % 2 ? pages - first : 1 + rnd(&dice) % (pages - first);
	if (n > 4096)
		n = 4096;
	return (struct range){r.start + first * PAGE, r.start + (first + n) * PAGE, r.shared};
}

static void serve(int fd)
{
	struct uffd_msg msg;

	while (read(fd, &msg, sizeof(msg)) == (ssize_t)sizeof(msg)) {
		uint64_t addr = PAGE_OF(msg.arg.pagefault.address);
		struct uffdio_zeropage zero = {.range = {addr, PAGE}};
		struct uffdio_writeprotect wp = {.range = {addr, PAGE}};
		struct uffdio_range range = {addr, PAGE};

		messages++;
		if (!(msg.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP))
			(void)ioctl(fd, UFFDIO_ZEROPAGE, &zero);
		(void)ioctl(fd, UFFDIO_WRITEPROTECT, &wp);
		(void)ioctl(fd, UFFDIO_WAKE, &range);
	}
}

/* What it knows of the process may be old by now: an ioctl may fail for that. */
static void change_registration(int fd)
{
	struct range r = pick();
	struct uffdio_register reg = {.range = {(uintptr_t)r.start, (uint64_t)(r.end - r.start)}};
	struct uffdio_writeprotect wp = {.range = reg.range};
	struct uffdio_range all = reg.range;

	if (!r.start)
		return;
	if (rnd(&dice) % 4)
		wp.mode = UFFDIO_WRITEPROTECT_MODE_WP;
	switch (rnd(&dice) % 8) {
	case 0:
	case 1:
	case 2:
		/* libc has futexes in its heaps, and waits unseen: they must not be hidden */
		reg.mode = r.shared ? (uint64_t[]){MISSING, WP, MISSING | WP}[rnd(&dice) % 3] : WP;
		if (ioctl(fd, UFFDIO_REGISTER, &reg))
			lost_races++;
		else
			registered++;
		break;
	case 3:
		(void)ioctl(fd, UFFDIO_UNREGISTER, &all);
		break;
	default:
		(void)ioctl(fd, UFFDIO_WRITEPROTECT, &wp);
	}
}

static void one_object(void)
{
	int fd = uffd_open(O_CLOEXEC | O_NONBLOCK, FEATS);

	for (uint64_t n = 20 + rnd(&dice) % 200; n && (!stop || working); n--) {
		struct pollfd p = {.fd = fd, .events = POLLIN};

		if (n % 16 == 0)
			look_for_ranges();
		change_registration(fd);
		if (poll(&p, 1, (int)(rnd(&dice) % 2)) == 1)
			serve(fd);
	}
	CHECK_INT(close(fd), 0);
	closes++;
}

static void *manage(void *unused)
{
	(void)unused;
	while (!stop || working)
		one_object();
	return NULL;
}

static void test_churn(void)
{
	static struct worker workers[WORKERS];
	pthread_t ids[WORKERS], manager;
	pthread_attr_t attr;

	began = now();
	working = WORKERS;
	/* on a stack in static memory, which is behind a file */
	pthread_attr_init(&attr);
	CHECK_INT(pthread_attr_setstack(&attr, own_stack, sizeof(own_stack)), 0);
	CHECK_INT(pthread_create(&manager, &attr, manage, NULL), 0);
	for (int i = 0; i < WORKERS; i++) {
		workers[i].rnd = (uint64_t)i + 1;
		ids[i] = spawn(work, &workers[i]);
	}
	while (goes_on(began, 5, closes > 20 && forks > 20 && threads > 100))
		sleep_ms(20);
	stop = 1;
	for (int i = 0; i < WORKERS; i++)
		CHECK(!join(ids[i]));
	CHECK_INT(pthread_join(manager, NULL), 0);
	note("%lu words, %lu registrations (%lu came too late), %lu messages, %lu objects, %lu children, %lu threads",
	     checked, registered, lost_races, messages, closes, forks, threads);
	CHECK(registered > 0 && messages > 0);
}

static const struct test tests[] = {
	{"churn", test_churn, 120},
	{NULL, NULL, 0},
};

int main(int argc, char **argv)
{
	return run_tests(argc, argv, tests);
}
