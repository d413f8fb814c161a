/* SPDX-License-Identifier: MIT */
/*
 * fork.c - fork and its relatives. A child gets a private copy of registered memory that the parent no longer
 * affects; it is not registered (there is no EVENT_FORK), so what was missing reads as zero there.
 */
#include "stress.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGES  64
#define FILLED 32 /* the first pages hold data; of them the first WPED are write-protected */
#define WPED   8
#define CHILD  0xc0000000ul /* ids of stamps that children write */

static uint8_t *range;
static struct handler handler;

static uint8_t *at(int i)
{
	return range + i * PAGE;
}

static void stage(void)
{
	static _Alignas(4096) uint8_t page[PAGE];
	range = map_pages(PAGES);
	handler.fd = uffd_open(O_CLOEXEC | O_NONBLOCK, FEAT_WP);
	uffd_register(handler.fd, range, PAGES * PAGE, MISSING | WP);
	for (int i = 0; i < FILLED; i++) {
		stamp(page, (uint64_t)i);
		CHECK_INT(uffd_copy(handler.fd, at(i), page, PAGE, i < WPED ? UFFDIO_COPY_MODE_WP : 0), 0);
	}
	handler_start(&handler);
}

static void holds(int i, uint64_t id)
{
	if (!stamped(at(i), id))
		FAIL("page %d: %#llx is wrong", i, *(unsigned long long *)at(i));
}

static bool zero(const uint8_t *p)
{
	return peek(p) == 0 && memcmp(p, p + 1, PAGE - 1) == 0;
}

/* What a child finds: data unchanged, zeros where pages were missing. Nothing here may wait for a handler. */
static void child_sees(void)
{
	for (int i = 0; i < FILLED; i++)
		holds(i, (uint64_t)i);
	for (int i = FILLED; i < PAGES; i++)
		CHECK(zero(at(i)));
}

static void child_scribbles(uint64_t id)
{
	for (int i = 0; i < PAGES; i++)
		stamp(at(i), id + (uint64_t)i);
	for (int i = 0; i < PAGES; i++)
		holds(i, id + (uint64_t)i);
}

static void child_all(void *arg)
{
	child_sees();
	child_scribbles(CHILD);
	CHECK_INT(madvise(range, PAGES * PAGE, MADV_DONTNEED), 0);
	for (int i = 0; i < PAGES; i++)
		CHECK(zero(at(i)));
}

static void parent_sees(void)
{
	for (int i = 0; i < FILLED; i++)
		holds(i, (uint64_t)i);
}

static void test_private(void)
{
	stage();
	CHECK_INT(in_child(child_all, NULL), 0);
	CHECK_INT(handler.missing + handler.wp, 0);
	parent_sees();
	for (int i = 0; i < WPED; i++) /* still armed */
		poke(at(i), peek(at(i)));
	CHECK_INT(handler.wp, WPED);
	for (int i = WPED; i < FILLED; i++)
		stamp(at(i), 1000);
	CHECK_INT(handler.missing, 0);
	holds(PAGES - 1, (uintptr_t)at(PAGES - 1));
	CHECK_INT(handler.missing, 1);
}

/*
 * ---- the parent continues while the child looks ------------------------------------------------------------------
 */

static atomic_int stop;

static void *churn(void *arg)
{
	uint8_t *mine = arg; /* a quarter of the range */
	uint64_t n = 0;
	while (!stop) {
		uint8_t *p = mine + n++ % (PAGES / 4) * PAGE;
		if (n & 1)
			CHECK_INT(madvise(p, PAGE, MADV_DONTNEED), 0);
		stamp(p, 1ull << 40 | n);
		CHECK(stamped(p, 1ull << 40 | n));
	}
	return NULL;
}

/* The child waits until the parent has rewritten everything. */
static void child_late(void *arg)
{
	char c;
	CHECK_INT(read(*(int *)arg, &c, 1), 1);
	child_all(NULL);
}

static void test_parent_writes(void)
{
	pthread_t t[4];
	int p[2], status;
	stage();
	CHECK_INT(pipe(p), 0);
	pid_t pid = fork();
	if (pid == 0) {
		child_late(&p[0]);
		_exit(0);
	}
	for (int i = 0; i < 4; i++)
		t[i] = spawn(churn, at(i * PAGES / 4));
	sleep_ms(300);
	CHECK_INT(write(p[1], "x", 1), 1);
	CHECK_INT(waitpid(pid, &status, 0), pid);
	CHECK_INT(status, 0);
	stop = 1;
	for (int i = 0; i < 4; i++)
		join(t[i]);
	CHECK(handler.missing > PAGES);
}

/* Forks in a loop while threads fault: every child's copy is stable and whole. */
static void child_still(void *arg)
{
	static uint8_t copy[PAGES * PAGE];
	for (int i = 0; i < PAGES; i++)
		memcpy(copy + i * PAGE, at(i), PAGE);
	sched_yield();
	CHECK(memcmp(copy, range, sizeof(copy)) == 0);
	child_scribbles(CHILD);
}

static int count_fds(void)
{
	int n = 0;
	DIR *d = opendir("/proc/self/fd");
	CHECK(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static void test_fork_loop(void)
{
	pthread_t t[4];
	int forks = 0;
	stage();
	for (int i = 0; i < 4; i++)
		t[i] = spawn(churn, at(i * PAGES / 4));
	in_child(child_still, NULL);
	int fds = count_fds(), maps = lines_in("/proc/self/maps");
	for (double began = now(); goes_on(began, 2.0, forks > 5); forks++)
		CHECK_INT(in_child(child_still, NULL), 0);
	CHECK_INT(count_fds(), fds);
	CHECK(lines_in("/proc/self/maps") < maps + 200);
	stop = 1;
	for (int i = 0; i < 4; i++)
		join(t[i]);
	note("%d forks, %lu faults", forks, handler.missing);
	CHECK(forks > 5);
}

/* The copy is of one moment: a thread writes page A, then page B; no child sees B ahead of A or two behind. */
static void *ordered_writer(void *arg)
{
	volatile uint64_t *a = (void *)at(8), *b = (void *)at(25);
	for (uint64_t n = 1; !stop; n++) {
		*a = n;
		*b = n;
	}
	return NULL;
}

static void child_ordered(void *arg)
{
	volatile uint64_t *a = (void *)at(8), *b = (void *)at(25);
	uint64_t va = *a, vb = *b;
	if (va != vb && va != vb + 1)
		FAIL("A is %llu, B is %llu", (unsigned long long)va, (unsigned long long)vb);
	CHECK(va == *a && vb == *b);
}

static void test_one_moment(void)
{
	stage();
	*(uint64_t *)at(8) = *(uint64_t *)at(25) = 0;
	pthread_t t = spawn(ordered_writer, NULL);
	for (int i = 0; i < 200; i++)
		CHECK_INT(in_child(child_ordered, NULL), 0);
	stop = 1;
	join(t);
}

/* ---- generations -------------------------------------------------------------------------------------------- */

static void child_chain(void *arg)
{
	int depth = *(int *)arg, deeper = depth + 1;
	for (int i = 0; i < FILLED; i++)
		holds(i, depth == 1 ? (uint64_t)i : CHILD + (uint64_t)(depth - 1) * 100 + (uint64_t)i);
	child_scribbles(CHILD + (uint64_t)depth * 100);
	if (depth < 5)
		CHECK_INT(in_child(child_chain, &deeper), 0);
	for (int i = 0; i < PAGES; i++)
		holds(i, CHILD + (uint64_t)depth * 100 + (uint64_t)i);
}

static void test_grandchildren(void)
{
	int depth = 1;
	stage();
	CHECK_INT(in_child(child_chain, &depth), 0);
	parent_sees();
	CHECK_INT(handler.missing + handler.wp, 0);
}

/* A child may register its copy with an object of its own; the parent's is unaffected. */
static void child_registers(void *arg)
{
	struct handler mine = {.fd = uffd_open(O_CLOEXEC, FEAT_WP)};
	uffd_register(mine.fd, range, PAGES * PAGE, MISSING | WP);
	handler_start(&mine);
	for (int i = 0; i < FILLED; i++)
		holds(i, (uint64_t)i);
	for (int i = FILLED; i < PAGES; i++)
		holds(i, (uintptr_t)at(i));
	CHECK_INT(mine.missing, PAGES - FILLED);
	CHECK_INT(uffd_protect(mine.fd, range, PAGES * PAGE, true), 0);
	child_scribbles(CHILD);
	CHECK_INT(mine.wp, PAGES);
	handler_stop(&mine);
	close(mine.fd);
}

static void test_child_registers(void)
{
	stage();
	for (int i = 0; i < 5; i++)
		CHECK_INT(in_child(child_registers, NULL), 0);
	parent_sees();
	CHECK_INT(handler.missing + handler.wp, 0);
	CHECK_INT(handler.missing, 0);
	holds(FILLED, (uintptr_t)at(FILLED));
}

/* ---- the other ways to fork --------------------------------------------------------------------------------- */

static pid_t raw_fork(void)
{
	return (pid_t)syscall(SYS_fork);
}

static pid_t raw_clone(void)
{
	return (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
}

static int child_main(void *arg)
{
	child_all(NULL);
	return 0;
}

static pid_t libc_clone(void)
{
	static uint8_t stack[65536];
	return clone(child_main, stack + sizeof(stack), SIGCHLD, NULL);
}

static void test_ways_to_fork(void)
{
	static pid_t (*const ways[])(void) = {fork, _Fork, raw_fork, raw_clone, libc_clone};
	int status;
	stage();
	for (size_t i = 0; i < sizeof(ways) / sizeof(*ways); i++) {
		pid_t pid = ways[i]();
		if (pid == 0) {
			child_all(NULL);
			_exit(0);
		}
		CHECK(pid > 0);
		CHECK_INT(waitpid(pid, &status, 0), pid);
		if (status)
			FAIL("way %zu: status %#x", i, (unsigned)status);
		parent_sees();
	}
}

/* vfork lends the memory itself: the child's faults and writes are the parent's. */
static void test_vfork(void)
{
	int status;
	stage();
	pid_t pid = vfork();
	if (pid == 0) {
		if (peek(at(40) + 8) == 0)
			_exit(1);
		poke(at(0), 77);
		execl("/bin/true", "true", (char *)NULL);
		_exit(1);
	}
	CHECK_INT(waitpid(pid, &status, 0), pid);
	CHECK_INT(status, 0);
	CHECK_INT(handler.missing, 1);
	CHECK_INT(handler.wp, 1);
	CHECK_INT(peek(at(0)), 77);
	holds(40, (uintptr_t)at(40));
}

static atomic_int atfork_ran;

static void atfork_touch(void)
{
	atfork_ran++;
	holds(63, (uintptr_t)at(63));
}

static void test_atfork(void)
{
	stage();
	CHECK_INT(pthread_atfork(atfork_touch, atfork_touch, atfork_touch), 0);
	pid_t pid = fork();
	if (pid == 0) {
		CHECK_INT(atfork_ran, 2);
		_exit(0);
	}
	int status;
	CHECK_INT(waitpid(pid, &status, 0), pid);
	CHECK_INT(status, 0);
	CHECK_INT(atfork_ran, 2);
	CHECK_INT(handler.missing, 1);
}

/* ---- advice about forks ------------------------------------------------------------------------------------- */

static void expect_gone(void *arg)
{
	peek(arg);
}

static void child_advised(void *arg)
{
	int status = in_child(expect_gone, at(5));
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	holds(3, 3);
	holds(9, 9);
	CHECK(zero(at(12)) && zero(at(13)) && zero(at(50)));
	for (int i = 14; i < FILLED; i++)
		holds(i, (uint64_t)i);
	poke(at(12), 1);
}

static void test_advice(void)
{
	stage();
	CHECK_INT(madvise(at(4), 4 * PAGE, MADV_DONTFORK), 0);
	CHECK_INT(madvise(at(12), 2 * PAGE, MADV_WIPEONFORK), 0);
	CHECK_INT(in_child(child_advised, NULL), 0);
	parent_sees();
	CHECK_INT(madvise(range, PAGES * PAGE, MADV_DOFORK), 0);
	CHECK_INT(madvise(range, PAGES * PAGE, MADV_KEEPONFORK), 0);
	CHECK_INT(in_child(child_all, NULL), 0);
	parent_sees();
	CHECK_INT(handler.missing + handler.wp, 0);
	poke(at(4), 1);
	CHECK_INT(handler.wp, 1);
}

/*
 * ---- starting programs -------------------------------------------------------------------------------------------
 */

static void test_spawn(void)
{
	char *argv[] = {(char *)"sh", (char *)"-c", (char *)"exit 5", NULL}, line[16] = "";
	int status;
	pid_t pid;
	stage();
	for (int i = 0; i < 10; i++) {
		CHECK_INT(posix_spawn(&pid, "/bin/sh", NULL, NULL, argv, environ), 0);
		CHECK_INT(waitpid(pid, &status, 0), pid);
		CHECK_INT(WEXITSTATUS(status), 5);
		CHECK_INT(posix_spawnp(&pid, "sh", NULL, NULL, argv, environ), 0);
		CHECK_INT(waitpid(pid, &status, 0), pid);
		CHECK_INT(WEXITSTATUS(status), 5);
		CHECK_INT(WEXITSTATUS(system("exit 6")), 6);
		FILE *f = popen("echo hello", "r");
		CHECK(f && fgets(line, sizeof(line), f) && strcmp(line, "hello\n") == 0);
		CHECK_INT(pclose(f), 0);
		holds(40 + i, (uintptr_t)at(40 + i));
	}
	parent_sees();
}

/* exec of itself: the descriptor is closed by O_CLOEXEC, or inherited and dead, as its memory is. */
static void after_exec(int fd, bool inherited)
{
	struct uffdio_zeropage z = {.range = {0x10000, PAGE}};
	struct pollfd p = {.fd = fd, .events = POLLIN};
	if (!inherited) {
		CHECK_ERR(fcntl(fd, F_GETFD), EBADF);
	} else {
		CHECK(fcntl(fd, F_GETFD) >= 0);
		CHECK_INT(poll(&p, 1, 0), 0);
		CHECK_ERR(ioctl(fd, UFFDIO_ZEROPAGE, &z), ESRCH);
		CHECK_INT(close(fd), 0);
	}
	stage();
	parent_sees();
	holds(40, (uintptr_t)at(40));
}

static void exec_self(int flags, const char *name)
{
	const char *fd = getenv("STRESS_FD");
	char text[16];
	if (fd) {
		after_exec(atoi(fd), !(flags & O_CLOEXEC));
		return;
	}
	int uffd = uffd_open(O_NONBLOCK | flags, 0);
	range = map_pages(PAGES);
	uffd_register(uffd, range, PAGES * PAGE, MISSING);
	snprintf(text, sizeof(text), "%d", uffd);
	setenv("STRESS_FD", text, 1);
	execl("/proc/self/exe", "fork", name, (char *)NULL);
	FAIL("exec");
}

static void test_exec_cloexec(void)
{
	exec_self(O_CLOEXEC, "exec-cloexec");
}

static void test_exec_inherited(void)
{
	exec_self(0, "exec-inherited");
}

/* ---- the descriptor in a child ------------------------------------------------------------------------------ */

static atomic_int released;

static void *waiter(void *arg)
{
	CHECK_INT(peek(arg), 0);
	released = 1;
	return NULL;
}

/* The object lives as long as any process holds it: the parent's waiter continues when the child has ended. */
static void test_child_holds(void)
{
	struct uffd_msg msg;
	int p[2], status;
	char c;
	range = map_pages(PAGES);
	int fd = uffd_open(O_NONBLOCK, 0);
	uffd_register(fd, range, PAGES * PAGE, MISSING);
	CHECK_INT(pipe(p), 0);
	pid_t pid = fork();
	if (pid == 0) {
		close(p[1]);
		CHECK_INT(read(p[0], &c, 1), 0);
		_exit(0);
	}
	pthread_t t = spawn(waiter, at(3));
	CHECK(uffd_next(fd, &msg, 10000));
	CHECK_INT(close(fd), 0);
	sleep_ms(100);
	CHECK_INT(released, 0);
	close(p[1]);
	CHECK_INT(waitpid(pid, &status, 0), pid);
	CHECK_INT(status, 0);
	join(t);
}

/* A child that closes its copy does not affect the parent. */
static void child_closes(void *arg)
{
	CHECK_INT(close(handler.fd), 0);
	child_all(NULL);
}

static void test_child_closes(void)
{
	stage();
	CHECK_INT(in_child(child_closes, NULL), 0);
	holds(40, (uintptr_t)at(40));
	poke(at(0), 1);
	CHECK_INT(handler.wp, 1);
}

static const struct test tests[] = {
	{"private-copy", test_private, 0},
	{"parent-goes-on", test_parent_writes, 0},
	{"fork-loop", test_fork_loop, 0},
	{"one-moment", test_one_moment, 0},
	{"grandchildren", test_grandchildren, 0},
	{"child-registers", test_child_registers, 0},
	{"ways-to-fork", test_ways_to_fork, 0},
	{"vfork", test_vfork, 0},
	{"atfork-handlers", test_atfork, 0},
	{"fork-advice", test_advice, 0},
	{"spawn", test_spawn, 0},
	{"exec-cloexec", test_exec_cloexec, 0},
	{"exec-inherited", test_exec_inherited, 0},
	{"child-holds-descriptor", test_child_holds, 0},
	{"child-closes-descriptor", test_child_closes, 0},
	{NULL, NULL, 0},
};

int main(int argc, char **argv)
{
	return run_tests(argc, argv, tests);
}
