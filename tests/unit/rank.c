/* SPDX-License-Identifier: MIT */
/* rank.c - the order of locks is asserted: each way to break it runs in a child that must abort with both names. */
#include "unit.h"

#include "base/rank.h"

#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Two locks of each rank, so that two equals can be tried; where the engine has a reader-writer lock, one. */
static struct fl_mutex mutexes[2][FL_NR_RANKS];
static struct fl_rwlock rwlocks[2];

static void make_locks(void)
{
	for (unsigned i = 0; i < 2; i++) {
		fl_rwlock_init(&rwlocks[i], FL_RANK_MMAP);
		for (unsigned r = 0; r < FL_NR_RANKS; r++)
			fl_mutex_init(&mutexes[i][r], (enum fl_rank)r);
	}
}

/* What the child wrote to stderr, and whether it aborted. */
static bool aborts(void (*body)(unsigned a, unsigned b), unsigned a, unsigned b, char *said, size_t len)
{
	int pipes[2], status;
	pid_t child;
	ssize_t n;

	assert_int_equal(pipe(pipes), 0);
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		signal(SIGABRT, SIG_DFL);
		dup2(pipes[1], 2);
		body(a, b);
		_exit(0);
	}
	close(pipes[1]);
	assert_int_equal(waitpid(child, &status, 0), child);
	n = read(pipes[0], said, len - 1); /* its output fits a pipe */
	said[n > 0 ? n : 0] = '\0';
	close(pipes[0]);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void one_in_another(unsigned outer, unsigned inner)
{
	fl_mutex_lock(&mutexes[0][outer]);
	fl_mutex_lock(&mutexes[1][inner]);
	fl_mutex_unlock(&mutexes[1][inner]);
	fl_mutex_unlock(&mutexes[0][outer]);
}

static void test_each_rank(void **state)
{
	char said[256];

	for (unsigned outer = 0; outer < FL_NR_RANKS; outer++)
		for (unsigned inner = 0; inner < FL_NR_RANKS; inner++) {
			assert_int_equal(aborts(one_in_another, outer, inner, said, sizeof(said)), inner <= outer);
			if (inner > outer)
				continue;
			assert_non_null(strstr(said, "lock order: "));
			assert_non_null(strstr(said, fl_rank_name(inner)));
			assert_non_null(strstr(said, fl_rank_name(outer)));
		}
}

/*
 * A reader-writer lock, for reading or writing, with another of its rank, itself again, or an inner one taken before.
 */
static void rwlock_after(unsigned write, unsigned what)
{
	if (what == 0)
		fl_read_lock(&rwlocks[1]);
	else if (what == 1)
		fl_write_lock(&rwlocks[1]);
	else if (what == 2)
		fl_mutex_lock(&mutexes[0][FL_RANK_PT]);
	else
		fl_read_lock(&rwlocks[0]);
	if (write)
		fl_write_lock(&rwlocks[0]);
	else
		fl_read_lock(&rwlocks[0]);
}

static void test_rwlock(void **state)
{
	char said[256];

	for (unsigned write = 0; write < 2; write++)
		for (unsigned what = 0; what < 4; what++) {
			assert_true(aborts(rwlock_after, write, what, said, sizeof(said)));
			assert_non_null(strstr(said, what == 3 ? "mmap_lock is taken twice: mmap_lock"
							       : "mmap_lock is taken while "));
		}
}

static void release(unsigned what, unsigned unused)
{
	fl_mutex_lock(&mutexes[0][FL_RANK_PT]);
	if (what == 0)
		fl_mutex_unlock(&mutexes[1][FL_RANK_PT]);
	else if (what == 1)
		fl_read_unlock(&rwlocks[0]);
	else
		fl_write_unlock(&rwlocks[0]);
}

static void test_release_of_what_is_not_held(void **state)
{
	char said[256];

	for (unsigned what = 0; what < 3; what++) {
		assert_true(aborts(release, what, 0, said, sizeof(said)));
		assert_non_null(strstr(said, "that is not held"));
	}
}

/* What has been released does not count, in any order. */
static void all_of_them(unsigned from_above, unsigned unused)
{
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned r = 0; r < FL_NR_RANKS; r++)
			fl_mutex_lock(&mutexes[0][r]);
		for (unsigned r = 0; r < FL_NR_RANKS; r++)
			fl_mutex_unlock(&mutexes[0][from_above ? FL_NR_RANKS - 1 - r : r]);
		fl_read_lock(&rwlocks[0]);
		fl_read_unlock(&rwlocks[0]);
		fl_write_lock(&rwlocks[0]);
		fl_write_unlock(&rwlocks[0]);
	}
}

static void test_rising_is_fine(void **state)
{
	char said[256];

	assert_false(aborts(all_of_them, 0, 0, said, sizeof(said)));
	assert_false(aborts(all_of_them, 1, 0, said, sizeof(said)));
}

static char stack[65536] __attribute__((aligned(16)));

static int outer_only(void *arg)
{
	fl_mutex_lock(&mutexes[0][FL_RANK_MMAP]);
	fl_mutex_unlock(&mutexes[0][FL_RANK_MMAP]);
	return 0;
}

/* Another task on this thread's TLS: what this thread holds is not the task's. */
static void shared_tls(unsigned a, unsigned b)
{
	int status;
	pid_t task;

	fl_mutex_lock(&mutexes[0][FL_RANK_QUEUE]);
	task = clone(outer_only, stack + sizeof(stack), CLONE_VM | SIGCHLD, NULL);
	if (task < 0 || waitpid(task, &status, 0) != task || status)
		abort();
	fl_mutex_unlock(&mutexes[0][FL_RANK_QUEUE]);
}

static void test_two_tasks_on_one_tls(void **state)
{
	char said[256];

	assert_false(aborts(shared_tls, 0, 0, said, sizeof(said)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_rank),
		cmocka_unit_test(test_rwlock),
		cmocka_unit_test(test_release_of_what_is_not_held),
		cmocka_unit_test(test_rising_is_fine),
		cmocka_unit_test(test_two_tasks_on_one_tls),
	};

	make_locks();
	return cmocka_run_group_tests_name("rank", tests, NULL, NULL);
}
