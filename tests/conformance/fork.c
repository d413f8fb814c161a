/* SPDX-License-Identifier: MIT */
/* fork.c - fork, exec and spawn in a process with objects and registered memory. Without EVENT_FORK. */
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "conformance.h"

#define FORK "userfaultfd(2): without EVENT_FORK the child's memory is its own"
#define SEEN "kernel 6.18, observed"
#define SET  FL_UFFDIO_WRITEPROTECT_MODE_WP

#define CASE_LIBC(fn, src) CASE_ON(fn, ON_LIBC, PROCESS, src)

static pid_t child(void (*run)(struct area *), struct area *a)
{
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (!pid) {
		alarm(CHILD_S);
		run(a);
		_exit(0);
	}
	return pid;
}

static int status_of(pid_t pid)
{
	int status;

	CHECK_EQ(waitpid(pid, &status, 0), pid);
	return status;
}

/* ---- what the child sees ---- */

static void sees_contents(struct area *a)
{
	for (unsigned i = 0; i < 3; i++)
		CHECK(page_is(a->mem + i * PAGE, (uint8_t)(1 + i)));
	CHECK_EQ(poke(a->mem, 9), 0);
	CHECK_EQ(peek(a->mem), 9);
}

CASE_LIBC(fork_contents, FORK)
{
	struct area a = area(3, MISSING, 0);

	fill(a.u, a.mem, 3, 1);
	CHECK_EQ(status_of(child(sees_contents, &a)), 0);
	CHECK_EQ(peek(a.mem), 1);
}

static void sees_zero_pages(struct area *a)
{
	CHECK_EQ(peek(a->mem), 0);
	CHECK_EQ(poke(a->mem + PAGE, 5), 0);
	CHECK_EQ(peek(a->mem + PAGE), 5);
}

CASE_LIBC(fork_missing_pages, SEEN ": the child's missing pages are zero, no message is sent")
{
	struct area a = area(2, MISSING, 0);

	CHECK_EQ(status_of(child(sees_zero_pages, &a)), 0);
	CHECK(quiet(a.u));
	expect_missing(a.u, a.mem);
	expect_missing(a.u, a.mem + PAGE);
}

static void stores_freely(struct area *a)
{
	CHECK_EQ(poke(a->mem, 9), 0);
	CHECK_EQ(poke(a->mem + PAGE, 9), 0);
}

CASE_LIBC(fork_write_protection, SEEN ": the child's pages are not protected, the parent's are")
{
	struct area a = {uffd(0), source(2, 1)};

	CHECK_OK(reg(a.u, a.mem, 2 * PAGE, WP));
	CHECK_OK(protect(a.u, a.mem, 2 * PAGE, SET));
	CHECK_EQ(status_of(child(stores_freely, &a)), 0);
	CHECK(quiet(a.u));
	CHECK_EQ(peek(a.mem), 1);
	expect_wp(a.u, a.mem);
	expect_wp(a.u, a.mem + PAGE);
}

static void child_of_sigbus(struct area *a)
{
	CHECK_EQ(peek(a->mem), 0);
	CHECK_EQ(poke(a->mem, 1), 0);
}

CASE_LIBC(fork_sigbus_memory, FORK)
{
	struct area a = area(1, MISSING, FL_UFFD_FEATURE_SIGBUS);

	CHECK_EQ(status_of(child(child_of_sigbus, &a)), 0);
	CHECK_EQ(peek(a.mem), -SIGBUS);
}

static int to_child[2], to_parent[2];

static void tell(int fd)
{
	CHECK_EQ(write(fd, "x", 1), 1);
}

static void hear(int fd)
{
	char c;

	CHECK_EQ(read(fd, &c, 1), 1);
}

static void sees_the_moment_of_fork(struct area *a)
{
	hear(to_child[0]);
	for (unsigned i = 0; i < 64; i++)
		CHECK(page_is(a->mem + i * PAGE, (uint8_t)(i + 1)));
	for (unsigned i = 0; i < 64; i++)
		CHECK_EQ(poke(a->mem + i * PAGE + 1, 0x66), 0);
	CHECK_EQ(peek(a->mem + 64 * PAGE), 0);
}

CASE_LIBC(fork_private_both_ways, "fork(2): the memory of parent and child is apart")
{
	struct area a = area(65, MISSING, 0);
	pid_t pid;

	CHECK_OK(pipe(to_child));
	fill(a.u, a.mem, 64, 1);
	pid = child(sees_the_moment_of_fork, &a);
	for (unsigned i = 0; i < 64; i++)
		CHECK_EQ(poke(a.mem + i * PAGE, 0x77), 0);
	fill(a.u, a.mem + 64 * PAGE, 1, 5);
	tell(to_child[1]);
	CHECK_EQ(status_of(pid), 0);
	for (unsigned i = 0; i < 64; i++) {
		CHECK_EQ(peek(a.mem + i * PAGE), 0x77);
		CHECK_EQ(peek(a.mem + i * PAGE + 1), i + 1);
	}
	CHECK_EQ(peek(a.mem + 64 * PAGE), 5);
}

static atomic_bool stop;
static struct area busy;

/* Each round writes one number to all pages, in order. */
static void *busy_run(void *arg)
{
	for (uint8_t n = 1; !atomic_load(&stop); n++)
		for (unsigned i = 0; i < 32; i++)
			if (T->store(busy.mem + i * PAGE, &n, 1))
				return arg;
	return NULL;
}

static void sees_it_stand_still(struct area *a)
{
	uint8_t first[32];

	for (unsigned i = 0; i < 32; i++)
		CHECK_OK(T->load(a->mem + i * PAGE, &first[i], 1));
	pause_ms(20);
	for (unsigned i = 0; i < 32; i++) {
		CHECK_EQ(peek(a->mem + i * PAGE), first[i]);
		CHECK_EQ(peek(a->mem + i * PAGE + 1), 1 + i);
	}
}

CASE_LIBC(fork_while_another_thread_writes, "fork(2)")
{
	pthread_t writer;
	void *failed;

	busy = area(32, MISSING, 0);
	fill(busy.u, busy.mem, 32, 1);
	CHECK_OK(pthread_create(&writer, NULL, busy_run, &busy));
	for (unsigned i = 0; i < 10; i++)
		CHECK_EQ(status_of(child(sees_it_stand_still, &busy)), 0);
	atomic_store(&stop, true);
	CHECK_OK(pthread_join(writer, &failed));
	CHECK(!failed);
}

static void unmaps_all(struct area *a)
{
	CHECK_OK(T->unmap(a->mem, 2 * PAGE));
	CHECK_EQ(peek(a->mem), -SIGSEGV);
}

CASE_LIBC(fork_child_unmaps, FORK)
{
	struct area a = area(2, MISSING, 0);

	fill(a.u, a.mem, 1, 4);
	CHECK_EQ(status_of(child(unmaps_all, &a)), 0);
	CHECK_EQ(peek(a.mem), 4);
	expect_missing(a.u, a.mem + PAGE);
}

static void drops_and_protects(struct area *a)
{
	CHECK_OK(T->advise(a->mem, PAGE, MADV_DONTNEED));
	CHECK_EQ(peek(a->mem), 0);
	CHECK_OK(T->protect(a->mem + PAGE, PAGE, PROT_NONE));
	CHECK_EQ(peek(a->mem + PAGE), -SIGSEGV);
}

CASE_LIBC(fork_child_madvise_mprotect, FORK)
{
	struct area a = area(2, MISSING, 0);

	fill(a.u, a.mem, 2, 4);
	CHECK_EQ(status_of(child(drops_and_protects, &a)), 0);
	CHECK_EQ(poke(a.mem + PAGE, 6), 0);
	CHECK_EQ(peek(a.mem), 4);
}

static void uses_its_own(struct area *a)
{
	uffd_t u = uffd(0);
	uint64_t mem = map(2);

	CHECK_OK(reg(u, mem, 2 * PAGE, MISSING));
	expect_missing(u, mem);
	fill(u, mem + PAGE, 1, 3);
	CHECK_EQ(peek(mem + PAGE), 3);
	CHECK_OK(reg(u, a->mem, PAGE, MISSING));
	expect_missing(u, a->mem);
	CHECK_OK(T->close(u));
}

CASE_LIBC(fork_child_has_objects_of_its_own, SEEN)
{
	struct area a = area(1, MISSING, 0);

	CHECK_EQ(status_of(child(uses_its_own, &a)), 0);
	expect_missing(a.u, a.mem);
}

static void forks_again(struct area *a)
{
	sees_contents(a);
	CHECK_EQ(poke(a->mem, 1), 0);
	CHECK_EQ(status_of(child(sees_contents, a)), 0);
	CHECK_EQ(peek(a->mem), 1);
}

CASE_LIBC(fork_grandchild, FORK)
{
	struct area a = area(3, MISSING, 0);

	fill(a.u, a.mem, 3, 1);
	CHECK_EQ(status_of(child(forks_again, &a)), 0);
	CHECK_EQ(peek(a.mem), 1);
}

static void does_nothing(struct area *a)
{
}

CASE_LIBC(fork_while_a_thread_waits, SEEN ": the wait goes on in the parent")
{
	struct area a = area(2, MISSING, 0);
	struct touch t;

	touch_start(&t, LOAD, a.mem, 0);
	expect_fault(a.u, a.mem, 0);
	CHECK_EQ(status_of(child(sees_zero_pages, &a)), 0);
	CHECK_EQ(status_of(child(does_nothing, &a)), 0);
	CHECK(touch_waits(&t));
	fill(a.u, a.mem, 1, 8);
	touch_ends_with(&t, 8);
}

static void is_not_there(struct area *a)
{
	CHECK_EQ(peek(a->mem), -SIGSEGV);
}

CASE_LIBC(fork_dontfork, "madvise(2), MADV_DONTFORK")
{
	struct area a = area(1, MISSING, 0);

	fill(a.u, a.mem, 1, 1);
	CHECK_OK(T->advise(a.mem, PAGE, MADV_DONTFORK));
	CHECK_EQ(status_of(child(is_not_there, &a)), 0);
	CHECK_EQ(peek(a.mem), 1);
	CHECK_OK(T->advise(a.mem, PAGE, MADV_DOFORK));
	CHECK_EQ(status_of(child(does_nothing, &a)), 0);
}

static void is_wiped(struct area *a)
{
	CHECK_EQ(peek(a->mem), 0);
}

CASE_LIBC(fork_wipeonfork, "madvise(2), MADV_WIPEONFORK")
{
	struct area a = area(1, MISSING, 0);

	fill(a.u, a.mem, 1, 1);
	CHECK_OK(T->advise(a.mem, PAGE, MADV_WIPEONFORK));
	CHECK_EQ(status_of(child(is_wiped, &a)), 0);
	CHECK_EQ(peek(a.mem), 1);
}

/* ---- the descriptor in the child ---- */

static void closes_it(struct area *a)
{
	CHECK_OK(T->close(a->u));
}

CASE_LIBC(fork_child_closes, "close(2): the description lives as long as a descriptor")
{
	struct area a = area(1, MISSING, 0);

	CHECK_EQ(status_of(child(closes_it, &a)), 0);
	expect_missing(a.u, a.mem);
}

static void holds_it(struct area *a)
{
	tell(to_parent[1]);
	hear(to_child[0]);
}

CASE_LIBC(fork_child_holds_the_last_descriptor, "userfaultfd(2): the last descriptor, in any process")
{
	struct area a = area(1, MISSING, 0);
	struct touch t;
	pid_t pid;

	CHECK_OK(pipe(to_child));
	CHECK_OK(pipe(to_parent));
	pid = child(holds_it, &a);
	hear(to_parent[0]);
	touch_start(&t, LOAD, a.mem, 0xee);
	expect_fault(a.u, a.mem, 0);
	CHECK_OK(T->close(a.u));
	CHECK(touch_waits(&t));
	tell(to_child[1]);
	CHECK_EQ(status_of(pid), 0);
	touch_ends_with(&t, 0);
}

/* ---- exec and spawn ---- */

CASE_LIBC(spawn_works, "posix_spawn(3)")
{
	char *argv[] = {(char *)"true", NULL};
	struct area a = area(1, MISSING, 0);
	pid_t pid;

	CHECK_OK(posix_spawnp(&pid, "true", NULL, NULL, argv, environ));
	CHECK_EQ(status_of(pid), 0);
	expect_missing(a.u, a.mem);
}

CASE_LIBC(spawn_system, "system(3)")
{
	struct area a = area(1, MISSING, 0);

	CHECK_EQ(system("exit 7"), 7 << 8);
	expect_missing(a.u, a.mem);
}

static void execs(struct area *a)
{
	execlp("true", "true", (char *)NULL);
	_exit(9);
}

CASE_LIBC(exec_in_the_child, "execve(2)")
{
	struct area a = area(1, MISSING, 0);
	struct touch t;

	touch_start(&t, LOAD, a.mem, 0);
	expect_fault(a.u, a.mem, 0);
	CHECK_EQ(status_of(child(execs, &a)), 0);
	fill(a.u, a.mem, 1, 8);
	touch_ends_with(&t, 8);
}

static void execs_over_registered_memory(struct area *a)
{
	uses_its_own(a);
	*a = area(4, MISSING | WP, 0);
	fill(a->u, a->mem, 2, 1);
	execs(a);
}

CASE_LIBC(exec_leaves_nothing, "execve(2): the memory and its registrations are gone")
{
	struct area a = area(1, MISSING, 0);

	CHECK_EQ(status_of(child(execs_over_registered_memory, &a)), 0);
}

/* ---- ends ---- */

static void waits_for_ever(struct area *a)
{
	struct area own = area(1, MISSING, 0);

	tell(to_parent[1]);
	peek(own.mem);
}

CASE_LIBC(kill_a_process_that_waits, SEEN ": a deadly signal ends a process that waits in a fault")
{
	static const int signals[] = {SIGKILL, SIGTERM, SIGINT};
	struct area a = {0, 0};

	CHECK_OK(pipe(to_parent));
	for (unsigned i = 0; i < 3; i++) {
		pid_t pid = child(waits_for_ever, &a);
		int status;

		hear(to_parent[0]);
		pause_ms(20);
		CHECK_OK(kill(pid, signals[i]));
		status = status_of(pid);
		CHECK(WIFSIGNALED(status));
		CHECK_EQ(WTERMSIG(status), signals[i]);
	}
}

static void exits_while_a_thread_waits(struct area *a)
{
	struct area own = area(1, MISSING, 0);
	struct touch t;

	touch_start(&t, LOAD, own.mem, 0);
	expect_fault(own.u, own.mem, 0);
	exit(5);
}

CASE_LIBC(exit_while_a_thread_waits, SEEN ": exit does not wait for it")
{
	struct area a = {0, 0};

	CHECK_EQ(status_of(child(exits_while_a_thread_waits, &a)), 5 << 8);
}

static void dies_by(struct area *a)
{
	signal(SIGSEGV, SIG_DFL);
	signal(SIGBUS, SIG_DFL);
	peek(a->mem);
}

static void dies_by_sigbus(struct area *a)
{
	struct area own = area(1, MISSING, FL_UFFD_FEATURE_SIGBUS);

	dies_by(&own);
}

static void dies_by_sigsegv(struct area *a)
{
	struct area own = area(1, MISSING, 0);

	CHECK_OK(T->unmap(own.mem, PAGE));
	dies_by(&own);
}

static int death(void (*run)(struct area *))
{
	struct area a = {0, 0};
	int status = status_of(child(run, &a));

	CHECK(WIFSIGNALED(status));
	return WTERMSIG(status);
}

CASE_LIBC(death_by_sigbus, "userfaultfd(2), UFFD_FEATURE_SIGBUS; signal(7): the default action")
{
	CHECK_EQ(death(dies_by_sigbus), SIGBUS);
}

CASE_LIBC(death_by_sigsegv, "signal(7): the default action")
{
	CHECK_EQ(death(dies_by_sigsegv), SIGSEGV);
}
