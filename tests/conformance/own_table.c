/* SPDX-License-Identifier: MIT */
/*
 * own_table.c - threads with a descriptor table of their own: the object lives as long as any table has it, and is
 * what a number names in the table of the thread that uses the number.
 */
#include <linux/close_range.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "conformance.h"

#define SEEN	      "kernel 6.18, observed"
#define LIBC(fn, src) CASE_ON(fn, ON_LIBC, PROCESS, src)

static struct area a;
static atomic_int step;

static void until(int n)
{
	while (atomic_load(&step) < n)
		pause_ms(1);
}

static void next(void)
{
	atomic_fetch_add(&step, 1);
}

static pthread_t start(void *(*fn)(void *), void *arg)
{
	pthread_t t;

	CHECK_OK(pthread_create(&t, NULL, fn, arg));
	return t;
}

/* The next fault, which a poll of two descriptors must tell of: only what makes them readable does. */
static void serve(uint64_t addr, uint8_t byte)
{
	int other[2];
	struct pollfd p[2];

	CHECK_OK(pipe(other));
	p[0] = (struct pollfd){.fd = other[0], .events = POLLIN};
	p[1] = (struct pollfd){.fd = (int)a.u, .events = POLLIN};
	CHECK_EQ(poll(p, 2, 20000), 1);
	expect_fault(a.u, addr, 0);
	CHECK_EQ(poll(p, 2, 0), 0);
	fill(a.u, addr, 1, byte);
	CHECK_OK(close(other[0]));
	CHECK_OK(close(other[1]));
}

/* ---- made before the object: the thread has no descriptor of it ---- */

static void *without(void *fn)
{
	CHECK_OK(unshare(CLONE_FILES));
	next();
	until(2);
	((void (*)(void))fn)();
	return NULL;
}

static pthread_t start_without(void (*fn)(void), uint64_t mode)
{
	pthread_t t = start(without, (void *)fn);

	until(1);
	a = area(8, mode, 0);
	next();
	return t;
}

static void loads_two(void)
{
	CHECK_EQ(peek(a.mem), 3);
	CHECK_EQ(peek(a.mem + PAGE), 4);
}

LIBC(own_table_faults_are_delivered, SEEN)
{
	pthread_t t = start_without(loads_two, MISSING);
	struct touch other;

	serve(a.mem, 3);
	serve(a.mem + PAGE, 4);
	CHECK_OK(pthread_join(t, NULL));
	touch_start(&other, LOAD, a.mem + 2 * PAGE, 0); /* and no other thread's are lost by it */
	serve(a.mem + 2 * PAGE, 5);
	touch_ends_with(&other, 5);
}

LIBC(own_table_waits_long, SEEN ": however long it takes")
{
	pthread_t t = start_without(loads_two, MISSING);

	CHECK_EQ(T->poll(a.u, 20000), POLLIN);
	pause_ms(350);
	serve(a.mem, 3);
	pause_ms(350);
	serve(a.mem + PAGE, 4);
	CHECK_OK(pthread_join(t, NULL));
}

static void loads_nothing(void)
{
	CHECK_EQ(peek(a.mem), 0);
	CHECK_EQ(peek(a.mem + PAGE), 0);
}

LIBC(own_table_waits_until_closed, "userfaultfd(2): closing it unregisters all")
{
	pthread_t t = start_without(loads_nothing, MISSING);

	CHECK_EQ(T->poll(a.u, 20000), POLLIN);
	pause_ms(150);
	CHECK_OK(close((int)a.u));
	CHECK_OK(pthread_join(t, NULL));
}

LIBC(own_table_waits_until_closed_unseen, "userfaultfd(2): closing it unregisters all")
{
	pthread_t t = start_without(loads_nothing, MISSING);

	CHECK_EQ(T->poll(a.u, 20000), POLLIN);
	CHECK_EQ(ask_kernel(SYS_close, (int)a.u, 0, 0, 0), 0);
	CHECK_OK(pthread_join(t, NULL));
}

/* Its number names something else in the thread's table. */
static void uses_number(void)
{
	int p[2], fd = (int)a.u;
	char byte = 0;

	CHECK_EQ(fcntl(fd, F_GETFD), -1);
	CHECK_EQ(read(fd, &byte, 1), -1);
	CHECK_EQ(errno, EBADF);
	CHECK_OK(pipe(p));
	CHECK_EQ(dup2(p[0], fd), fd);
	CHECK_EQ(write(p[1], "x", 1), 1);
	CHECK_EQ(read(fd, &byte, 1), 1);
	CHECK_EQ(byte, 'x');
	CHECK_OK(close(fd));
	CHECK_EQ(peek(a.mem), 3);
}

LIBC(own_table_has_its_own_numbers, SEEN)
{
	pthread_t t = start_without(uses_number, MISSING);

	serve(a.mem, 3);
	CHECK_OK(pthread_join(t, NULL));
	CHECK_OK(unreg(a.u, a.mem, PAGE));
}

/* ---- made after it: the thread has a descriptor of its own ---- */

static void *closes_copy(void *arg)
{
	CHECK_OK(unshare(CLONE_FILES));
	CHECK_OK(close((int)a.u));
	next();
	CHECK_EQ(peek(a.mem), 6);
	return arg;
}

LIBC(own_table_closes_its_copy, SEEN ": the other table's stays")
{
	pthread_t t;

	a = area(8, MISSING, 0);
	t = start(closes_copy, NULL);
	until(1);
	serve(a.mem, 6);
	CHECK_OK(pthread_join(t, NULL));
}

static void *keeps_copy(void *arg)
{
	CHECK_OK(unshare(CLONE_FILES));
	next();
	until(2);
	serve(a.mem, 7);
	return arg;
}

LIBC(own_table_keeps_the_object, SEEN ": closed in the other table, it lives on, and ends with the thread")
{
	pthread_t t;
	int fd;

	a = area(8, MISSING, 0);
	fd = (int)a.u;
	t = start(keeps_copy, NULL);
	until(1);
	CHECK_OK(close(fd));
	CHECK_EQ(fcntl(fd, F_GETFD), -1);
	next();
	CHECK_EQ(peek(a.mem), 7);
	CHECK_OK(pthread_join(t, NULL));
	CHECK_EQ(peek(a.mem + PAGE), 0);
}

static void *makes_object(void *arg)
{
	CHECK_OK(unshare(CLONE_FILES));
	a = area(8, MISSING, 0);
	next();
	serve(a.mem, 8);
	return arg;
}

LIBC(own_table_has_the_object_alone, SEEN)
{
	pthread_t t = start(makes_object, NULL);

	until(1);
	CHECK_EQ(peek(a.mem), 8);
	CHECK_OK(pthread_join(t, NULL));
	CHECK_EQ(peek(a.mem + PAGE), 0);
}

static void *closes_range(void *arg)
{
	CHECK_OK(close_range(3, ~0u, CLOSE_RANGE_UNSHARE));
	CHECK_EQ(fcntl((int)a.u, F_GETFD), -1);
	next();
	CHECK_EQ(peek(a.mem), 6);
	return arg;
}

LIBC(own_table_is_made_by_close_range, "close_range(2): CLOSE_RANGE_UNSHARE")
{
	pthread_t t;

	a = area(8, MISSING, 0);
	t = start(closes_range, NULL);
	until(1);
	serve(a.mem, 6);
	CHECK_OK(pthread_join(t, NULL));
}

static void *unshares_unseen(void *arg)
{
	CHECK_OK(ask_kernel(SYS_unshare, CLONE_FILES, 0, 0, 0));
	next();
	until(2);
	loads_two();
	return arg;
}

LIBC(own_table_is_made_unseen, SEEN)
{
	pthread_t t = start(unshares_unseen, NULL);

	until(1);
	a = area(8, MISSING, 0);
	next();
	serve(a.mem, 3);
	serve(a.mem + PAGE, 4);
	CHECK_OK(pthread_join(t, NULL));
}

/* ---- a child in this memory, as of vfork(2) ---- */

static void *serves_child(void *arg)
{
	serve(a.mem, 9);
	return arg;
}

static int child(void *how)
{
	if (how)
		ask_kernel(SYS_close_range, 3, ~0u, 0, 0);
	else
		close_range(3, ~0u, 0);
	_exit(*(volatile uint8_t *)(uintptr_t)a.mem);
}

static void child_without(void *how)
{
	static char stack[1 << 18] __attribute__((aligned(16)));
	int status, pid;
	pthread_t t;

	a = area(8, MISSING, 0);
	t = start(serves_child, NULL);
	pid = clone(child, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | SIGCHLD, how);
	CHECK(pid > 0);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 9 << 8);
	CHECK_OK(pthread_join(t, NULL));
	CHECK_OK(unreg(a.u, a.mem, PAGE));
}

LIBC(own_table_of_a_vforked_child, SEEN)
{
	child_without(NULL);
}

LIBC(own_table_of_a_vforked_child_unseen, SEEN)
{
	child_without(&step);
}
