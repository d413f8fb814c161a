/* SPDX-License-Identifier: MIT */
/*
 * libc-maps.c - what libc unmaps and maps without the program's saying so. A table of its functions: each gets memory
 * from libc, which is registered; lets libc take it away; and lets libc use the place for something else, which is
 * the program's and filled. Then one of the ends: the object is closed, the old range unregistered, the process
 * forked, the new memory registered in its turn, the borders of the old range evicted. Whatever happens, the new
 * memory holds what was written.
 *
 * And what fork() does with malloc's locks, while other threads allocate and free in registered arenas.
 */
#include "stress.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB (1l << 20)

struct range {
	uint8_t *p;
	size_t n;
};

/* The whole pages of a block. */
static struct range pages_of(void *block, size_t size)
{
	uint8_t *p = (uint8_t *)PAGE_OF((uint64_t)block + PAGE - 1);

	return (struct range){p, (size_t)(PAGE_OF((uint64_t)block + size) - (uint64_t)p)};
}

struct way {
	const char *name;
	struct range (*get)(void);   /* to be registered */
	void (*drop)(void);	     /* libc takes it away */
	struct range (*again)(void); /* and has another use for the place */
	bool zeros;		     /* what it is used for reads as zeros first, unless it was used before */
};

static void *block;

static struct range fresh(size_t size)
{
	void *p = malloc(size);

	CHECK(p);
	return (struct range){p, size};
}

/* ---- free: a block that is a mapping of its own ---- */

static struct range get_block(void)
{
	CHECK_INT(posix_memalign(&block, PAGE, 9 * MIB), 0);
	return pages_of(block, 9 * MIB);
}

static void drop_block(void)
{
	free(block);
}

static struct range again_block(void)
{
	return fresh(9 * MIB + 2 * PAGE);
}

static struct range again_stack(void);

/* ---- realloc, to another place and in its own ---- */

static struct range get_malloc(void)
{
	block = malloc(4 * MIB);
	CHECK(block);
	return pages_of(block, 4 * MIB);
}

static void reallocate(size_t size)
{
	void *again = realloc(block, size);

	CHECK(again);
	block = again;
}

static void grow_block(void)
{
	void *wall = malloc(MIB); /* below: it cannot grow there */

	CHECK(wall);
	reallocate(16 * MIB);
}

static void shrink_block(void)
{
	reallocate(1 * MIB);
}

static struct range again_small(void)
{
	return fresh(2 * MIB);
}

/* ---- malloc_trim, sbrk: the heap ---- */

#define BLOCKS 64

static void *blocks[BLOCKS];

static struct range get_heap(void)
{
	mallopt(M_MMAP_THRESHOLD, 8 * MIB);
	mallopt(M_TRIM_THRESHOLD, 512 * MIB);
	for (int i = 0; i < BLOCKS; i++) {
		blocks[i] = malloc(100000);
		CHECK(blocks[i]);
		memset(blocks[i], 1, 100000);
	}
	return pages_of(blocks[BLOCKS / 2], 100000 * (BLOCKS / 2 - 1));
}

static void trim_heap(void)
{
	for (int i = 0; i < BLOCKS; i++)
		free(blocks[i]);
	(void)malloc_trim(0);
}

static struct range again_heap(void)
{
	return fresh(BLOCKS * 100000);
}

static struct range get_sbrk(void)
{
	uint8_t *p = sbrk(4 * MIB);

	CHECK(p != (void *)-1);
	memset(p, 1, 4 * MIB);
	return pages_of(p + MIB, 2 * MIB);
}

static void drop_sbrk(void)
{
	CHECK(sbrk(-4 * MIB) != (void *)-1);
}

static struct range again_sbrk(void)
{
	uint8_t *p = sbrk(4 * MIB);

	CHECK(p != (void *)-1);
	return (struct range){p, 4 * MIB};
}

/* ---- an arena that is not main's: its heaps, whole and in part ---- */

static atomic_int turn;
static struct range arena_range;
static pthread_t arena_thread;
static int arena_blocks;
static void *arena[2048];

static void arena_fill(int n)
{
	for (int i = 0; i < n; i++) {
		arena[i] = malloc(64 * 1024);
		CHECK(arena[i]);
		memset(arena[i], 2, 64 * 1024);
	}
}

/* Its first heap of 64 MiB has some 1000 blocks. */
static void *arena_life(void *arg)
{
	uint8_t *own;

	(void)arg;
	arena_fill(arena_blocks);
	own = arena[arena_blocks - 200];
	arena_range = pages_of(own, (size_t)MIB); /* its blocks follow each other */
	turn = 1;
	CHECK(wait_for(&turn, 2, PATIENCE));
	for (int i = arena_blocks - 1; i >= 0; i--)
		free(arena[i]);
	(void)malloc_trim(0);
	turn = 3;
	CHECK(wait_for(&turn, 4, PATIENCE));
	arena_fill(arena_blocks);
	own = arena[arena_blocks - 200];
	arena_range = (struct range){own, 64 * 1024};
	turn = 5;
	CHECK(wait_for(&turn, 6, 1e9));
	return NULL;
}

static struct range get_arena(void)
{
	arena_blocks = 600;
	arena_thread = spawn(arena_life, NULL);
	CHECK(wait_for(&turn, 1, PATIENCE));
	return arena_range;
}

static struct range get_second_heap(void)
{
	arena_blocks = 1500;
	arena_thread = spawn(arena_life, NULL);
	CHECK(wait_for(&turn, 1, PATIENCE));
	return arena_range;
}

static void drop_arena(void)
{
	turn = 2;
	CHECK(wait_for(&turn, 3, PATIENCE));
}

static struct range again_arena(void)
{
	turn = 4;
	CHECK(wait_for(&turn, 5, PATIENCE));
	return arena_range;
}

/* ---- a thread's stack, which libc keeps for the next thread, or unmaps ---- */

static size_t stack_size;
static atomic_int stack_up, stack_down;
static struct range stack_range;
static pthread_t stack_thread;

static void *stack_life(void *arg)
{
	pthread_attr_t attr;
	void *base;
	size_t size;

	(void)arg;
	CHECK_INT(pthread_getattr_np(pthread_self(), &attr), 0);
	CHECK_INT(pthread_attr_getstack(&attr, &base, &size), 0);
	pthread_attr_destroy(&attr);
	stack_range = pages_of(base, size / 2); /* what it does not use by itself */
	memset(stack_range.p, 3, stack_range.n);
	stack_up = 1;
	CHECK(wait_for(&stack_down, 1, 1e9));
	return NULL;
}

static struct range start_stack(void)
{
	pthread_attr_t attr;

	stack_up = stack_down = 0;
	CHECK_INT(pthread_attr_init(&attr), 0);
	CHECK_INT(pthread_attr_setstacksize(&attr, stack_size), 0);
	CHECK_INT(pthread_create(&stack_thread, &attr, stack_life, NULL), 0);
	pthread_attr_destroy(&attr);
	CHECK(wait_for(&stack_up, 1, PATIENCE));
	return stack_range;
}

static struct range get_stack(void)
{
	stack_size = 2 * MIB;
	return start_stack();
}

static struct range get_large_stack(void)
{
	stack_size = 64 * MIB; /* more than libc keeps */
	return start_stack();
}

static void drop_stack(void)
{
	stack_down = 1;
	join(stack_thread);
}

static struct range again_stack(void)
{
	if (!stack_size)
		stack_size = 8 * MIB;
	return start_stack();
}

static struct range again_large(void)
{
	return fresh(62 * MIB);
}

/* ---- dlclose ---- */

static void *library;

static struct range open_library(void)
{
	uint8_t *bss;

	library = dlopen(LIBC_MAPS_LIBRARY, RTLD_NOW);
	if (!library)
		FAIL("%s", dlerror());
	bss = dlsym(library, "libc_maps_bss");
	CHECK(bss);
	return pages_of(bss, 4 * MIB);
}

static struct range get_library(void)
{
	struct range bss = open_library();

	memset(bss.p, 4, bss.n);
	return bss;
}

static void drop_library(void)
{
	CHECK_INT(dlclose(library), 0);
}

static struct range again_beside(void)
{
	return fresh(4 * MIB);
}

/* ---- fclose: the buffer of a stream ---- */

static FILE *stream;
static char *text;
static size_t text_size;

static struct range get_stream(void)
{
	static const char line[1024] = {'x'};

	stream = open_memstream(&text, &text_size);
	CHECK(stream);
	for (int i = 0; i < 4096; i++)
		CHECK_INT(fwrite(line, sizeof(line), 1, stream), 1);
	CHECK_INT(fflush(stream), 0);
	return pages_of(text, text_size);
}

static void drop_stream(void)
{
	CHECK_INT(fclose(stream), 0);
	free(text);
}

static const struct way ways[] = {
	{"free", get_block, drop_block, again_block, false},
	{"free, a stack", get_block, drop_block, again_stack, false},
	{"free, a library", get_malloc, drop_block, open_library, false},
	{"realloc elsewhere", get_malloc, grow_block, again_small, false},
	{"realloc in place", get_malloc, shrink_block, again_small, false},
	{"malloc_trim", get_heap, trim_heap, again_heap, false},
	{"sbrk", get_sbrk, drop_sbrk, again_sbrk, true},
	{"an arena", get_arena, drop_arena, again_arena, false},
	{"an arena's second heap", get_second_heap, drop_arena, again_arena, false},
	{"a stack that is kept", get_stack, drop_stack, again_stack, false},
	{"a stack that is not", get_large_stack, drop_stack, again_large, false},
	{"dlclose", get_library, drop_library, again_beside, false},
	{"dlclose, dlopen", get_library, drop_library, open_library, true},
	{"fclose", get_stream, drop_stream, again_block, false},
};

/* ---- the ends ---- */

#define VALUE(i) ((uint8_t)(17 + (i) / 7))

static void fill(struct range r)
{
	for (size_t i = 0; i < r.n; i++)
		r.p[i] = VALUE(i);
}

static void verify(struct range r, const char *when)
{
	size_t wrong = 0;

	for (size_t i = 0; i < r.n; i++)
		wrong += r.p[i] != VALUE(i);
	if (wrong)
		FAIL("%s: %zu of %zu bytes are wrong", when, wrong, r.n);
}

static void end_close(int fd, struct range old, struct range new)
{
	(void)old;
	close(fd);
	verify(new, "closed");
}

static void end_unregister(int fd, struct range old, struct range new)
{
	uffd_unregister(fd, old.p, old.n); /* what it says depends on what is there now */
	verify(new, "unregistered");
	close(fd);
}

static void scribble(void *arg)
{
	struct range *r = arg;

	verify(*r, "in the child");
	memset(r->p, 0xee, r->n);
}

static void end_fork(int fd, struct range old, struct range new)
{
	(void)old;
	CHECK_INT(in_child(scribble, &new), 0);
	verify(new, "forked");
	close(fd);
	CHECK_INT(in_child(scribble, &new), 0);
	verify(new, "closed and forked");
}

/* Registered in its turn: the write-protection is its own, and there is no other. */
static void end_register(int fd, struct range old, struct range new)
{
	struct handler handler = {.fd = fd};
	struct range inner = pages_of(new.p, new.n);
	size_t stored = 0;

	(void)old;
	if (inner.n > 64 * PAGE)
		inner.n = 64 * PAGE;
	handler_start(&handler);
	uffd_register(fd, inner.p, inner.n, WP);
	CHECK_INT(uffd_protect(fd, inner.p, inner.n, true), 0);
	for (size_t i = 0; i < inner.n; i += PAGE, stored++)
		poke(inner.p + i, peek(inner.p + i));
	CHECK_INT(handler.wp, stored);
	handler_stop(&handler);
	verify(new, "registered");
	close(fd);
	verify(new, "registered and closed");
}

/* Little is left of the mapping table, so that what is protected apart has its borders taken away soon. */
static void fill_maps(void)
{
	uint8_t *many = mmap(NULL, 1l << 32, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	long n = 0;

	CHECK(many != MAP_FAILED);
	while (n < 200000 && syscall(SYS_mprotect, many + n * 2 * PAGE, PAGE, PROT_READ) == 0)
		n++;
	for (long i = 0; i < 400 && n > 0; i++, n--)
		CHECK_INT(syscall(SYS_mprotect, many + (n - 1) * 2 * PAGE, PAGE, PROT_NONE), 0);
}

static void protect_apart(int fd, struct range r)
{
	for (size_t at = 0; at + PAGE <= r.n; at += 2 * PAGE)
		CHECK_INT(uffd_protect(fd, r.p + at, PAGE, true), 0);
}

static struct handler evict_handler;

static void before_evict(int fd, struct range old)
{
	evict_handler.fd = fd;
	handler_start(&evict_handler); /* libc writes into what it takes away */
	if (old.n > 64 * PAGE)
		old.n = 64 * PAGE;
	protect_apart(fd, old);
}

/* Other memory needs the borders that the old range had. */
static void end_evict(int fd, struct range old, struct range new)
{
	struct range other = {map_pages(2048), 2048 * PAGE};

	(void)old;
	fill(other);
	uffd_register(fd, other.p, other.n, WP);
	protect_apart(fd, other);
	verify(new, "evicted");
	for (size_t at = 0; at < new.n; at += PAGE)
		CHECK(may_write(new.p + at));
	fill(new);
	handler_stop(&evict_handler);
	verify(other, "protected");
	close(fd);
	verify(new, "evicted and closed");
	fill(other);
}

struct end {
	const char *name;
	void (*end)(int fd, struct range old, struct range new);
	void (*before)(int fd, struct range old); /* may be NULL */
};

struct run {
	const struct way *way;
	const struct end *end;
};

static void run(void *arg)
{
	const struct run *run = arg;
	int fd = uffd_open(O_CLOEXEC | O_NONBLOCK, FEAT_WP);
	struct range old = run->way->get(), new;

	uffd_register(fd, old.p, old.n, WP);
	if (run->end->before)
		run->end->before(fd, old);
	run->way->drop();
	new = run->way->again();
	if (getenv("STRESS_PRINT"))
		note("%s: %p-%p is now %p-%p", run->way->name, (void *)old.p, (void *)(old.p + old.n), (void *)new.p,
		     (void *)(new.p + new.n));
	for (size_t i = 0; run->way->zeros && i < new.n; i++)
		if (new.p[i])
			FAIL("byte %zu was %d before it was written", i, new.p[i]);
	fill(new);
	run->end->end(fd, old, new);
	_exit(0); /* with its threads as they are */
}

static void all_ways(struct end end)
{
	int failed = 0;

	for (size_t i = 0; i < sizeof(ways) / sizeof(*ways); i++) {
		struct run r = {&ways[i], &end};
		int status = in_child(run, &r);

		if (status) {
			note("%s, then %s: status %#x", r.way->name, end.name, status);
			failed++;
		}
	}
	if (failed)
		FAIL("%d ways are wrong", failed);
}

static void test_close(void)
{
	all_ways((struct end){"close", end_close, NULL});
}

static void test_unregister(void)
{
	all_ways((struct end){"unregister", end_unregister, NULL});
}

static void test_fork(void)
{
	all_ways((struct end){"fork", end_fork, NULL});
}

static void test_register(void)
{
	all_ways((struct end){"register", end_register, NULL});
}

static void test_evict(void)
{
	fill_maps();
	all_ways((struct end){"evict", end_evict, before_evict});
}

/* ---- fork and malloc's locks ---- */

static atomic_int busy, done;

/* Blocks that are mappings of their own, and blocks of this thread's arena. */
static void *allocate(void *arg)
{
	uint64_t state = (uint64_t)(uintptr_t)arg;

	busy++;
	while (!done) {
		size_t n = rnd(&state) % (300 * 1024) + 1;
		uint8_t *p = malloc(n);

		CHECK(p);
		p[0] = p[n - 1] = 1;
		free(p);
	}
	return NULL;
}

static void allocate_in_child(void *arg)
{
	(void)arg;
	for (int i = 0; i < 20; i++) {
		uint8_t *p = malloc(200 * 1024);

		CHECK(p);
		memset(p, 5, 200 * 1024);
		free(p);
	}
}

/* The arena that each of them uses is registered, lock and all. */
static void *allocate_registered(void *arg)
{
	int fd = *(int *)arg;
	uint8_t *p = malloc(1000);
	uint8_t *heap = (uint8_t *)((uint64_t)p & ~(uint64_t)(64 * MIB - 1));

	uffd_register(fd, heap, 132 * 1024, WP); /* what an arena begins with */
	return allocate(p);
}

static void fork_beside(void *(*thread)(void *), void *arg, int forks)
{
	enum { THREADS = 3 };
	pthread_t threads[THREADS];

	mallopt(M_MMAP_THRESHOLD, 128 * 1024);
	for (int i = 0; i < THREADS; i++)
		threads[i] = spawn(thread, arg);
	CHECK(wait_for(&busy, THREADS, PATIENCE));
	for (int i = 0; i < forks; i++)
		CHECK_INT(in_child(allocate_in_child, NULL), 0);
	done = 1;
	for (int i = 0; i < THREADS; i++)
		join(threads[i]);
}

static void test_fork_beside_malloc(void)
{
	static int fd;
	uint8_t *p = map_pages(16);

	fd = uffd_open(O_CLOEXEC | O_NONBLOCK, FEAT_WP);
	uffd_register(fd, p, 16 * PAGE, WP);
	fork_beside(allocate, &fd, 100);
}

static void test_fork_beside_registered(void)
{
	static int fd;

	fd = uffd_open(O_CLOEXEC | O_NONBLOCK, FEAT_WP);
	fork_beside(allocate_registered, &fd, 100);
}

/* No descriptor is left: fork() needs none. */
static void test_fork_full_table(void)
{
	struct range r = {map_pages(16), 16 * PAGE};
	int fd = uffd_open(O_CLOEXEC | O_NONBLOCK, FEAT_WP);
	struct rlimit limit = {256, 256};

	CHECK_INT(setrlimit(RLIMIT_NOFILE, &limit), 0);
	uffd_register(fd, r.p, r.n, WP);
	fill(r);
	while (dup(fd) >= 0)
		;
	CHECK_INT(errno, EMFILE);
	for (int i = 0; i < 20; i++)
		CHECK_INT(in_child(scribble, &r), 0);
	verify(r, "forked");
}

/* A child that dies while it is made, or right after, keeps nobody waiting. */
static void die_at_once(void *arg)
{
	(void)arg;
	raise(SIGKILL);
}

static void test_fork_and_die(void)
{
	struct range r = {map_pages(16), 16 * PAGE};
	int fd = uffd_open(O_CLOEXEC | O_NONBLOCK, FEAT_WP);

	uffd_register(fd, r.p, r.n, WP);
	fill(r);
	while (dup(fd) >= 0)
		;
	for (int i = 0; i < 20; i++)
		CHECK_INT(in_child(die_at_once, NULL), SIGKILL);
	verify(r, "forked");
}

/* No mapping is left: either there is a child, with memory of its own, or none, and its parent is told. */
static void test_fork_full_maps(void)
{
	struct range r = {map_pages(2048), 2048 * PAGE}, half = {r.p + r.n / 2, r.n / 2};
	int a = uffd_open(O_CLOEXEC | O_NONBLOCK, FEAT_WP), b = uffd_open(O_CLOEXEC | O_NONBLOCK, FEAT_WP), status;
	uint8_t *many = mmap(NULL, 1l << 32, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	long n = 0;
	pid_t pid;

	CHECK(many != MAP_FAILED);
	uffd_register(a, r.p, r.n, WP);
	fill(r);
	CHECK_INT(uffd_unregister(a, half.p, half.n), 0);
	uffd_register(b, half.p, half.n, WP); /* neighbours that the host maps in one piece */
	fill(r);
	while (n < 200000 && syscall(SYS_mprotect, many + n * 2 * PAGE, PAGE, PROT_READ) == 0)
		n++;
	for (int i = 0; i < 2; i++, n--) {
		pid = fork();
		if (pid == 0) {
			alarm(20);
			for (size_t at = 0; at < half.n; at += PAGE)
				half.p[at] = 99;
			_exit(0);
		}
		if (pid < 0)
			CHECK_INT(errno, ENOMEM);
		else
			CHECK_INT(waitpid(pid, &status, 0), pid);
		CHECK_INT(syscall(SYS_mprotect, many + (n - 1) * 2 * PAGE, PAGE, PROT_NONE), 0);
	}
	while (n > 0 && n-- > 1)
		CHECK_INT(syscall(SYS_mprotect, many + (n - 1) * 2 * PAGE, PAGE, PROT_NONE), 0);
	verify(r, "forked");
	CHECK_ERR(waitpid(-1, &status, WNOHANG), ECHILD);
}

/* The stack that fork() runs on is registered, from somewhere below its first frames on. */
static void fork_deep(void)
{
	uint8_t room[32 * 1024];
	int status;

	poke(room, 1); /* so that fork's own frames are below it */
	for (int i = 0; i < 20; i++) {
		pid_t pid = fork();

		CHECK(pid >= 0);
		if (pid == 0) /* its own number, as libc has it */
			_exit(pthread_kill(pthread_self(), 0) ? 1 : 7);
		CHECK_INT(waitpid(pid, &status, 0), pid);
		CHECK_INT(status, 7 << 8);
	}
	CHECK_INT(peek(room), 1);
}

static void *fork_on_stack(void *arg)
{
	uint8_t here, *top = (uint8_t *)PAGE_OF(&here);

	(void)arg;
	for (uint8_t *p = top - PAGE; p >= top - 64 * PAGE; p -= PAGE)
		poke(p, 0);
	stack_range = (struct range){top - 64 * PAGE, 64 * PAGE};
	stack_up = 1;
	CHECK(wait_for(&stack_down, 1, PATIENCE));
	fork_deep();
	return NULL;
}

static void test_fork_registered_stack(void)
{
	int fd = uffd_open(O_CLOEXEC | O_NONBLOCK, FEAT_WP);
	pthread_t thread = spawn(fork_on_stack, NULL);

	CHECK(wait_for(&stack_up, 1, PATIENCE));
	uffd_register(fd, stack_range.p, stack_range.n, WP);
	stack_down = 1;
	join(thread);
}

static const struct test tests[] = {
	{"close", test_close, 0},
	{"unregister", test_unregister, 0},
	{"fork", test_fork, 0},
	{"register", test_register, 0},
	{"evict", test_evict, 0},
	{"fork-beside-malloc", test_fork_beside_malloc, 0},
	{"fork-beside-registered", test_fork_beside_registered, 0},
	{"fork-full-table", test_fork_full_table, 0},
	{"fork-and-die", test_fork_and_die, 0},
	{"fork-registered-stack", test_fork_registered_stack, 0},
	{"fork-full-maps", test_fork_full_maps, 0},
	{NULL, NULL, 0},
};

int main(int argc, char **argv)
{
	return run_tests(argc, argv, tests);
}
