/* SPDX-License-Identifier: MIT */
/* api.c - what faultline.h promises of an object, on soft address spaces. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "lib/lib.h"
#include <faultline/testing.h>

#define PAGE 4096u
#define MS   1000000ull

static struct fl_mm *mm;
static struct fl_uffd *uffd;
static uint64_t mem;

static int open_object(void **state)
{
	assert_int_equal(fl_mm_create(&mm, 16 << 20), 0);
	assert_int_equal(fl_uffd_open(mm, FL_UFFD_SRC_HOST | O_NONBLOCK, &uffd), 0);
	assert_int_equal(fl_uffd_api(uffd, 0, NULL), 0);
	assert_int_equal(fl_mmap(mm, 0, 64 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, &mem), 0);
	assert_int_equal(fl_uffd_register(uffd, mem, 64 * PAGE, FL_UFFDIO_REGISTER_MODE_MISSING, NULL), 0);
	return 0;
}

static int close_object(void **state)
{
	assert_int_equal(fl_mm_check(mm), 0);
	assert_int_equal(fl_uffd_close(uffd), 0);
	assert_int_equal(fl_mm_destroy(mm), 0);
	return 0;
}

/* ---- a handler and its argument ---- */

static bool over, wrong;
static char arg_a, arg_b;
static uint64_t calls;

static enum fl_fault_action check(void *arg, const void *mine)
{
	if (arg != mine)
		__atomic_store_n(&wrong, true, __ATOMIC_RELAXED);
	__atomic_fetch_add(&calls, 1, __ATOMIC_RELAXED);
	return FL_FAULT_SIGBUS;
}

static enum fl_fault_action handler_a(struct fl_uffd *u, const struct fl_uffd_msg *msg, void *arg)
{
	return check(arg, &arg_a);
}

static enum fl_fault_action handler_b(struct fl_uffd *u, const struct fl_uffd_msg *msg, void *arg)
{
	return check(arg, &arg_b);
}

static void *fault_all_the_time(void *unused)
{
	while (!__atomic_load_n(&over, __ATOMIC_RELAXED)) {
		char byte;

		assert_int_equal(fl_load(mm, mem, &byte, 1), SIGBUS);
	}
	return NULL;
}

static void *swap_all_the_time(void *unused)
{
	while (!__atomic_load_n(&over, __ATOMIC_RELAXED)) {
		assert_int_equal(fl_uffd_set_handler(uffd, handler_b, &arg_b), 0);
		assert_int_equal(fl_uffd_set_handler(uffd, handler_a, &arg_a), 0);
	}
	return NULL;
}

/* It stops the swapping thread wherever that is, for long enough that a fault meets what is half changed. */
static void dally(int sig)
{
	nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
}

static void test_handler_and_argument_change_together(void **state)
{
	uint64_t metadata, until = fl_now_ns() + 1000 * MS;
	pthread_t thread, swapper;

	signal(SIGUSR1, dally);
	assert_int_equal(fl_uffd_set_handler(uffd, handler_a, &arg_a), 0);
	metadata = fl_mm_metadata_bytes(mm);
	assert_int_equal(pthread_create(&thread, NULL, fault_all_the_time, NULL), 0);
	assert_int_equal(pthread_create(&swapper, NULL, swap_all_the_time, NULL), 0);
	while (fl_now_ns() < until && !__atomic_load_n(&wrong, __ATOMIC_RELAXED)) {
		pthread_kill(swapper, SIGUSR1);
		nanosleep(&(struct timespec){.tv_nsec = 150000}, NULL);
	}
	__atomic_store_n(&over, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	pthread_join(swapper, NULL);
	assert_false(wrong);
	assert_true(calls > 100);
	/* what was replaced is given back, at the latest by the first change without a fault in progress */
	assert_int_equal(fl_uffd_set_handler(uffd, handler_a, &arg_a), 0);
	assert_int_equal(fl_mm_metadata_bytes(mm), metadata);
}

/* In the handler it may be changed, too; the call in progress goes on with what it had. */
static enum fl_fault_action replace_itself(struct fl_uffd *u, const struct fl_uffd_msg *msg, void *arg)
{
	for (int i = 0; i < 10; i++)
		assert_int_equal(fl_uffd_set_handler(u, handler_a, &arg_a), 0);
	return arg == &arg_b ? FL_FAULT_SIGBUS : FL_FAULT_RETRY;
}

static void test_handler_replaces_itself(void **state)
{
	char byte;

	assert_int_equal(fl_uffd_set_handler(uffd, replace_itself, &arg_b), 0);
	assert_int_equal(fl_load(mm, mem, &byte, 1), SIGBUS);
	assert_int_equal(fl_load(mm, mem, &byte, 1), SIGBUS); /* handler_a's */
	assert_false(wrong);
}

static void test_handler_without_memory(void **state)
{
	char byte;

	assert_int_equal(fl_uffd_set_handler(uffd, handler_a, &arg_a), 0);
	assert_int_equal(fl_inject("alloc.uffd"), 0);
	assert_int_equal(fl_uffd_set_handler(uffd, handler_b, &arg_a), -1);
	assert_int_equal(errno, ENOMEM);
	assert_int_equal(fl_load(mm, mem, &byte, 1), SIGBUS); /* the old one is still there */
	assert_false(wrong);
	assert_int_equal(fl_inject("alloc.uffd"), 0);
	assert_int_equal(fl_uffd_set_handler(uffd, NULL, NULL), 0); /* which needs none */
	assert_int_equal(fl_inject(NULL), 0);
}

/* ---- poll ---- */

/* As a reader that is faster: the descriptor was readable, and there is no message. */
static void *be_faster(void *unused)
{
	char byte;

	nanosleep(&(struct timespec){.tv_nsec = 30 * MS}, NULL);
	assert_int_equal(recv(uffd->fd, &byte, 1, 0), 1);
	return NULL;
}

static void test_poll_waits_out_the_rest(void **state)
{
	uint64_t start = fl_now_ns();
	pthread_t thread;

	assert_int_equal(send(uffd->peer, "", 1, 0), 1);
	assert_int_equal(pthread_create(&thread, NULL, be_faster, NULL), 0);
	assert_int_equal(fl_uffd_poll(uffd, 200), 0);
	assert_true(fl_now_ns() - start >= 200 * MS);
	pthread_join(thread, NULL);
}

static void *load_first(void *unused)
{
	char byte = 0;

	nanosleep(&(struct timespec){.tv_nsec = 30 * MS}, NULL);
	assert_int_equal(fl_load(mm, mem, &byte, 1), 0);
	assert_int_equal(byte, 7);
	return NULL;
}

static void test_poll_finds_a_message(void **state)
{
	static const char page[PAGE] = {7};
	struct fl_uffd_msg msg;
	pthread_t thread;

	assert_int_equal(fl_uffd_poll(uffd, 0), 0);
	assert_int_equal(pthread_create(&thread, NULL, load_first, NULL), 0);
	assert_int_equal(fl_uffd_poll(uffd, -1), POLLIN);
	assert_int_equal(fl_uffd_read(uffd, &msg, sizeof(msg)), sizeof(msg));
	assert_int_equal(fl_uffd_poll(uffd, 1), 0);
	assert_int_equal(fl_uffd_copy(uffd, mem, (uintptr_t)page, PAGE, 0, NULL), 0);
	pthread_join(thread, NULL);
	assert_int_equal(fl_uffd_set_nonblock(uffd, 0), 0);
	assert_int_equal(fl_uffd_poll(uffd, -1), POLLERR);
}

/* ---- descriptors ---- */

/* Any of them may go first; the object lives until the last. */
static void test_descriptors_in_any_order(void **state)
{
	static const int order[] = {3, 0, 4, 1, 2};
	int fds[ARRAY_SIZE(order)];
	struct fl_uffd *o;

	for (unsigned round = 0; round < 3; round++) {
		assert_int_equal(fl_uffd_open(mm, O_NONBLOCK, &o), 0);
		fds[0] = o->fd;
		for (unsigned i = 1; i < ARRAY_SIZE(fds); i++) {
			fds[i] = dup(fds[i - 1]);
			fl_object_dup(fds[i - 1], fds[i]);
		}
		assert_int_equal(o->nr_fds, ARRAY_SIZE(fds));
		for (unsigned i = 0; i < ARRAY_SIZE(order); i++) {
			int fd = fds[(order[i] + (int)round) % (int)ARRAY_SIZE(fds)];
			struct fl_uffd *closing = fl_object_closing(fd);

			assert_ptr_equal(closing, o);
			close(fd);
			assert_null(fl_object_get(fd));
			if (i + 1 < ARRAY_SIZE(order)) {
				assert_true(o->fd >= 0 && o->fd != fd);
				fl_object_put(fl_object_get(o->fd));
			} else {
				assert_int_equal(o->fd, -1);
			}
			fl_object_closed(closing);
		}
		assert_int_equal(o->nr_fds, 0);
	}
}

/* ---- the rest ---- */

static void test_version(void **state)
{
	char text[32];

	snprintf(text, sizeof(text), "%d.%d.%d", FL_VERSION_MAJOR, FL_VERSION_MINOR, FL_VERSION_PATCH);
	assert_string_equal(FL_VERSION_STRING, text);
	assert_string_equal(fl_version(), FL_VERSION_STRING);
}

static void test_continue(void **state)
{
	static const char page[PAGE] = {9};
	struct fl_shmem *shmem;
	int64_t mapped = 5;
	uint64_t at;
	char byte;

	assert_int_equal(fl_shmem_create(mm, 4 * PAGE, &shmem), 0);
	assert_int_equal(fl_mmap_shmem(mm, 0, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, shmem, 0, &at), 0);
	assert_int_equal(fl_uffd_register(uffd, at, 4 * PAGE, FL_UFFDIO_REGISTER_MODE_MINOR, NULL), 0);
	assert_int_equal(fl_shmem_write(shmem, page, PAGE, 0), PAGE);
	assert_int_equal(fl_uffd_continue(uffd, at, PAGE, 0, &mapped), 0);
	assert_int_equal(mapped, PAGE);
	assert_int_equal(fl_load(mm, at, &byte, 1), 0);
	assert_int_equal(byte, 9);
	assert_int_equal(fl_uffd_continue(uffd, at, PAGE, 0, &mapped), -1);
	assert_int_equal(errno, EEXIST);
	assert_int_equal(mapped, -EEXIST);
	assert_int_equal(fl_uffd_continue(uffd, at + PAGE, PAGE, 0, NULL), -1); /* the file has no such page */
	assert_int_equal(errno, EFAULT);
	fl_shmem_close(shmem);
}

/* A result that is not wanted is no trouble, and a failed call leaves it alone. */
static void test_results(void **state)
{
	uint64_t at = 77;

	assert_int_equal(fl_mmap(mm, 0, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, &at), -1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(fl_mremap(mm, mem + 1, PAGE, PAGE, 0, 0, &at), -1);
	assert_int_equal(fl_mm_migrate(mm, 0, PAGE, &at), -1);
	assert_int_equal(fl_sample_look(mm, mem, PAGE, NULL, &at), -1);
	assert_int_equal(at, 77);
	assert_int_equal(fl_mmap(mm, 0x10000, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, NULL), 0);
	assert_int_equal(fl_mm_migrate(mm, 0x10000, PAGE, NULL), 0);
	assert_int_equal(fl_mremap(mm, 0x10000, PAGE, 2 * PAGE, 0, 0, NULL), 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, open_object, close_object)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_handler_and_argument_change_together),
		CASE(test_handler_replaces_itself),
		CASE(test_handler_without_memory),
		CASE(test_poll_waits_out_the_rest),
		CASE(test_poll_finds_a_message),
		CASE(test_descriptors_in_any_order),
		CASE(test_continue),
		CASE(test_results),
		cmocka_unit_test(test_version),
	};

	return cmocka_run_group_tests_name("api", tests, NULL, NULL);
}
