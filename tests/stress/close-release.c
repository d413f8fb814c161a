/* SPDX-License-Identifier: MIT */
/*
 * close-release.c - the life of the descriptor: every way to close the last copy releases the waiters, every way to
 * copy it keeps the object alive; it polls, selects and reads like the kernel's.
 */
#include "stress.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGES 16

static uint8_t *range;
static int fd;
static atomic_int released, failed;

static void stage(int flags)
{
	range = map_pages(PAGES);
	fd = uffd_open(flags, FEAT_WP);
	uffd_register(fd, range, PAGES * PAGE, MISSING | WP);
	released = 0;
}

/* Page 0 is read while missing, page 1 is written to while write-protected. */
static void *read_zero(void *arg)
{
	CHECK_INT(peek(arg), 0);
	released++;
	return NULL;
}

static void *write_one(void *arg)
{
	poke(arg, 1);
	CHECK_INT(peek(arg), 1);
	released++;
	return NULL;
}

static pthread_t waiters[2];

static void start_waiters(void)
{
	struct uffd_msg msg;
	CHECK_INT(uffd_zero(fd, range + PAGE, PAGE), 0);
	CHECK_INT(uffd_protect(fd, range + PAGE, PAGE, true), 0);
	waiters[0] = spawn(read_zero, range);
	CHECK(uffd_next(fd, &msg, 10000));
	waiters[1] = spawn(write_one, range + PAGE); /* its message stays unread */
	struct pollfd p = {.fd = fd, .events = POLLIN};
	CHECK_INT(poll(&p, 1, 10000), 1);
	CHECK_INT(released, 0);
}

static void expect_release(void)
{
	if (!wait_for(&released, 2, PATIENCE))
		FAIL("%d of 2 waiters went on", released);
	join(waiters[0]);
	join(waiters[1]);
	CHECK_INT(peek(range + 2 * PAGE), 0); /* the rest is ordinary memory again */
	poke(range + 3 * PAGE, 3);
	CHECK_INT(munmap(range, PAGES * PAGE), 0);
}

/* ---- ways to close ------------------------------------------------------------------------------------------ */

static void by_close(void)
{
	CHECK_INT(close(fd), 0);
	CHECK_ERR(fcntl(fd, F_GETFD), EBADF);
	CHECK_ERR(close(fd), EBADF);
}

static void by_raw_close(void)
{
	CHECK_INT(syscall(SYS_close, fd), 0);
}

static void by_close_range(void)
{
	CHECK_INT(close_range((unsigned)fd, (unsigned)fd, 0), 0);
}

static void by_raw_close_range(void)
{
	CHECK_INT(syscall(SYS_close_range, fd, ~0u, 0), 0);
}

static void by_closefrom(void)
{
	closefrom(fd);
}

static void by_dup2(void)
{
	CHECK_INT(dup2(STDERR_FILENO, fd), fd);
	CHECK_INT(close(fd), 0);
}

static void by_dup3(void)
{
	CHECK_INT(dup3(STDERR_FILENO, fd, O_CLOEXEC), fd);
	CHECK_INT(close(fd), 0);
}

static void by_fclose(void)
{
	FILE *f = fdopen(fd, "r");
	CHECK(f);
	CHECK_INT(fclose(f), 0);
}

static void *close_it(void *arg)
{
	by_close();
	return NULL;
}

static void by_other_thread(void)
{
	join(spawn(close_it, NULL));
}

static void by_unregister(void)
{
	CHECK_INT(uffd_unregister(fd, range, PAGES * PAGE), 0);
	CHECK(wait_for(&released, 2, PATIENCE));
	by_close();
}

static void test_close(void)
{
	static void (*const ways[])(void) = {by_close,	      by_raw_close, by_close_range, by_raw_close_range,
					     by_closefrom,    by_dup2,	    by_dup3,	    by_fclose,
					     by_other_thread, by_unregister};
	for (size_t i = 0; i < sizeof(ways) / sizeof(*ways); i++) {
		stage(O_CLOEXEC | O_NONBLOCK);
		start_waiters();
		ways[i]();
		if (!wait_for(&released, 2, PATIENCE))
			FAIL("way %zu: %d of 2 waiters went on", i, released);
		expect_release();
	}
}

/* ---- ways to keep ------------------------------------------------------------------------------------------- */

static int keep_dup(void)
{
	return dup(fd);
}

static int keep_dup2(void)
{
	return dup2(fd, 200);
}

static int keep_dup3(void)
{
	return dup3(fd, 201, O_CLOEXEC);
}

static int keep_fcntl(void)
{
	return fcntl(fd, F_DUPFD, 202);
}

static int keep_fcntl_cloexec(void)
{
	return fcntl(fd, F_DUPFD_CLOEXEC, 203);
}

static int keep_raw_dup(void)
{
	return (int)syscall(SYS_dup, fd);
}

static int send_fd(int via)
{
	union {
		struct cmsghdr head;
		uint8_t bytes[CMSG_SPACE(sizeof(int))];
	} c = {.head = {CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
	char byte = 'x';
	struct iovec iov = {&byte, 1};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof(c)};
	memcpy(CMSG_DATA(&c.head), &fd, sizeof(int));
	return (int)sendmsg(via, &m, 0);
}

static int receive_fd(int via)
{
	union {
		struct cmsghdr head;
		uint8_t bytes[CMSG_SPACE(sizeof(int))];
	} c;
	char byte;
	int got;
	struct iovec iov = {&byte, 1};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof(c)};
	CHECK_INT(recvmsg(via, &m, MSG_CMSG_CLOEXEC), 1);
	CHECK(m.msg_controllen >= CMSG_LEN(sizeof(int)));
	memcpy(&got, CMSG_DATA(&c.head), sizeof(int));
	return got;
}

static int keep_rights(void)
{
	int pair[2];
	CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	CHECK_INT(send_fd(pair[0]), 1);
	int got = receive_fd(pair[1]);
	close(pair[0]);
	close(pair[1]);
	return got;
}

/* The copy does all that the first did: ioctls, reading, polling; closing it releases. */
static void test_keep(void)
{
	static int (*const ways[])(void) = {keep_dup,		keep_dup2,    keep_dup3,  keep_fcntl,
					    keep_fcntl_cloexec, keep_raw_dup, keep_rights};
	static _Alignas(4096) uint8_t page[PAGE];
	struct uffd_msg msg;
	for (size_t i = 0; i < sizeof(ways) / sizeof(*ways); i++) {
		stage(O_CLOEXEC | O_NONBLOCK);
		start_waiters();
		int copy = ways[i]();
		if (copy < 0 || copy == fd)
			FAIL("way %zu: %d", i, copy);
		CHECK_INT(close(fd), 0);
		sleep_ms(30);
		CHECK_INT(released, 0);
		fd = copy;
		CHECK(uffd_next(fd, &msg, 1000)); /* the message not read yet */
		CHECK(msg.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP);
		CHECK_INT(uffd_protect(fd, range + PAGE, PAGE, false), 0);
		CHECK(wait_for(&released, 1, PATIENCE));
		struct handler h = {.fd = fd};
		handler_start(&h);
		CHECK(stamped(range + 5 * PAGE, (uintptr_t)range + 5 * PAGE));
		handler_stop(&h);
		stamp(page, 9);
		CHECK_INT(uffd_copy(fd, range + 6 * PAGE, page, PAGE, 0), 0);
		CHECK(stamped(range + 6 * PAGE, 9));
		CHECK_INT(close(fd), 0);
		expect_release();
	}
}

/* In flight in a socket the object stays alive; when the socket goes, it goes. */
static void test_in_flight(void)
{
	int pair[2];
	CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	stage(O_CLOEXEC | O_NONBLOCK);
	start_waiters();
	CHECK_INT(send_fd(pair[0]), 1);
	CHECK_INT(close(fd), 0);
	sleep_ms(50);
	CHECK_INT(released, 0);
	close(pair[0]);
	close(pair[1]);
	expect_release();
}

/* A process whose main thread has exited continues; when its last thread ends, the process ends. */
static void *last_thread(void *arg)
{
	struct uffd_msg msg;
	pthread_join(*(pthread_t *)arg, NULL);
	pthread_t t = spawn(read_zero, range);
	CHECK(uffd_next(fd, &msg, 10000));
	CHECK_INT(uffd_zero(fd, range, PAGE), 0);
	join(t);
	spawn(read_zero, range + PAGE); /* waits for ever, until the process ends */
	CHECK(uffd_next(fd, &msg, 10000));
	_exit(4);
}

static void lone_child(void *arg)
{
	static pthread_t main_thread;
	main_thread = pthread_self();
	stage(O_CLOEXEC | O_NONBLOCK);
	spawn(last_thread, &main_thread);
	pthread_exit(NULL);
}

static void test_last_thread(void)
{
	int status = in_child(lone_child, NULL);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 4);
}

/* Objects come and go, two at a time; descriptor numbers are reused. */
static void test_many(void)
{
	for (int i = 0; i < 300; i++) {
		stage(O_CLOEXEC | (i & 1 ? O_NONBLOCK : 0));
		int first = fd;
		uint8_t *first_range = range;
		stage(O_CLOEXEC);
		CHECK_INT(uffd_zero(first, first_range, PAGE), 0);
		CHECK_INT(uffd_zero(fd, range, PAGE), 0);
		CHECK_INT(close(first), 0);
		CHECK_INT(peek(first_range + PAGE), 0);
		CHECK_INT(munmap(first_range, PAGES * PAGE), 0);
		CHECK_INT(munmap(range, PAGES * PAGE), 0);
		CHECK_INT(close(fd), 0);
	}
	stage(O_CLOEXEC);
	CHECK(fd < 20);
}

/* ---- poll, select, epoll ------------------------------------------------------------------------------------ */

static void *touch(void *arg)
{
	peek(arg);
	released++;
	return NULL;
}

static void *touch_later(void *arg)
{
	sleep_ms(50);
	return touch(arg);
}

static int poll_once(int ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN | POLLOUT | POLLPRI | POLLRDHUP};
	int n = poll(&p, 1, ms);
	CHECK_INT(n, p.revents != 0);
	return p.revents;
}

static void take(int i)
{
	struct uffd_msg msg;
	CHECK_INT(read(fd, &msg, sizeof(msg)), sizeof(msg));
	CHECK_INT(msg.arg.pagefault.address, (uintptr_t)(range + i * PAGE));
	CHECK_INT(uffd_zero(fd, range + i * PAGE, PAGE), 0);
}

static void test_poll(void)
{
	struct uffd_msg msg;
	fd = uffd_new(O_CLOEXEC | O_NONBLOCK);
	CHECK_INT(poll_once(0), POLLERR); /* no handshake yet */
	CHECK_ERR(read(fd, &msg, sizeof(msg)), EINVAL);
	close(fd);
	stage(O_CLOEXEC);
	CHECK_INT(poll_once(0), POLLERR); /* a blocking object cannot be polled */
	CHECK_INT(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	CHECK_INT(poll_once(0), 0);
	CHECK_INT(poll_once(10), 0);
	pthread_t t = spawn(touch_later, range);
	CHECK_INT(poll_once(10000), POLLIN);
	CHECK_INT(poll_once(10000), POLLIN);
	take(0);
	CHECK_INT(poll_once(0), 0);
	CHECK_ERR(read(fd, &msg, sizeof(msg)), EAGAIN);
	join(t);
}

static int select_once(long ms)
{
	fd_set r, w, e;
	struct timeval tv = {ms / 1000, ms % 1000 * 1000};
	FD_ZERO(&r);
	FD_ZERO(&w);
	FD_ZERO(&e);
	FD_SET(fd, &r);
	FD_SET(fd, &w);
	FD_SET(fd, &e);
	int n = select(fd + 1, &r, &w, &e, &tv);
	int bits = (FD_ISSET(fd, &r) ? 1 : 0) | (FD_ISSET(fd, &w) ? 2 : 0) | (FD_ISSET(fd, &e) ? 4 : 0);
	CHECK_INT(n, __builtin_popcount((unsigned)bits));
	return bits;
}

static void test_select(void)
{
	stage(O_CLOEXEC | O_NONBLOCK);
	CHECK_INT(select_once(10), 0);
	pthread_t t = spawn(touch_later, range);
	CHECK_INT(select_once(10000), 1);
	take(0);
	CHECK_INT(select_once(0), 0);
	join(t);
}

static int epoll_of(uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.u64 = 7};
	int ep = epoll_create1(EPOLL_CLOEXEC);
	CHECK(ep >= 0);
	CHECK_INT(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev), 0);
	return ep;
}

static int epoll_once(int ep, int ms)
{
	struct epoll_event ev = {0};
	int n = epoll_wait(ep, &ev, 1, ms);
	CHECK(n == 0 || (n == 1 && ev.data.u64 == 7 && ev.events == EPOLLIN));
	return n;
}

static void test_epoll(void)
{
	stage(O_CLOEXEC | O_NONBLOCK);
	int level = epoll_of(EPOLLIN), edge = epoll_of(EPOLLIN | EPOLLET), once = epoll_of(EPOLLIN | EPOLLONESHOT);
	pthread_t t[2];
	CHECK_INT(epoll_once(level, 10) + epoll_once(edge, 0) + epoll_once(once, 0), 0);
	t[0] = spawn(touch_later, range);
	CHECK_INT(epoll_once(edge, 10000), 1);
	CHECK_INT(epoll_once(edge, 20), 0); /* one edge */
	CHECK_INT(epoll_once(once, 0), 1);
	CHECK_INT(epoll_once(level, 0), 1);
	CHECK_INT(epoll_once(level, 0), 1);
	t[1] = spawn(touch_later, range + PAGE);
	CHECK_INT(epoll_once(edge, 10000), 1); /* a new message is a new edge, though the first was not read */
	CHECK_INT(epoll_once(once, 20), 0);
	take(0);
	CHECK_INT(epoll_once(level, 0), 1);
	take(1);
	CHECK_INT(epoll_once(level, 20), 0);
	join(t[0]);
	join(t[1]);
}

/* An event loop on an edge-triggered descriptor serves many faults and misses none. */
static void *edge_toucher(void *arg)
{
	for (int i = 0; i < 500; i++) {
		CHECK_INT(peek(arg), 0);
		CHECK_INT(madvise(arg, PAGE, MADV_DONTNEED), 0);
	}
	released++;
	return NULL;
}

static void test_edge_loop(void)
{
	struct epoll_event ev;
	struct uffd_msg msg;
	pthread_t t[4];
	stage(O_CLOEXEC | O_NONBLOCK);
	int ep = epoll_of(EPOLLIN | EPOLLET), served = 0;
	for (int i = 0; i < 4; i++)
		t[i] = spawn(edge_toucher, range + i * PAGE);
	while (served < 4 * 500) {
		CHECK_INT(epoll_wait(ep, &ev, 1, 10000), 1);
		while (read(fd, &msg, sizeof(msg)) == sizeof(msg)) {
			CHECK_INT(uffd_zero(fd, (void *)PAGE_OF(msg.arg.pagefault.address), PAGE), 0);
			served++;
		}
		CHECK_INT(errno, EAGAIN);
	}
	for (int i = 0; i < 4; i++)
		join(t[i]);
}

/* ---- reading ------------------------------------------------------------------------------------------------ */

static void test_read(void)
{
	struct uffd_msg msg[4];
	pthread_t t[4];
	stage(O_CLOEXEC | O_NONBLOCK);
	for (int i = 0; i < 4; i++) {
		t[i] = spawn(touch, range + i * PAGE);
		while (poll_once(0) == 0)
			;
	}
	sleep_ms(50);
	CHECK_ERR(read(fd, msg, 0), EINVAL);
	CHECK_ERR(read(fd, msg, 31), EINVAL);
	CHECK_INT(read(fd, msg, 33), 32);
	CHECK_INT(read(fd, msg, 32 * 3 - 1), 64);
	CHECK_INT(read(fd, msg, sizeof(msg)), 32);
	CHECK_ERR(read(fd, msg, sizeof(msg)), EAGAIN);
	CHECK_INT(uffd_zero(fd, range, 4 * PAGE), 0);
	for (int i = 0; i < 4; i++)
		join(t[i]);
}

/* Several threads blocked in read: each fault goes to one of them. */
#define FAULTS 400
static atomic_int served;

static void *blocked_reader(void *arg)
{
	struct uffd_msg msg;
	for (;;) {
		CHECK_INT(read(fd, &msg, sizeof(msg)), sizeof(msg));
		int err = uffd_zero(fd, (void *)PAGE_OF(msg.arg.pagefault.address), PAGE);
		if (err)
			FAIL("delivered twice: %s", strerror(-err));
		served++;
	}
}

static void *serial_toucher(void *arg)
{
	for (int i = 0; i < FAULTS / 4; i++) {
		CHECK_INT(peek(arg), 0);
		CHECK_INT(madvise(arg, PAGE, MADV_DONTNEED), 0);
	}
	return NULL;
}

static void test_readers(void)
{
	pthread_t t[4];
	stage(O_CLOEXEC);
	for (int i = 0; i < 5; i++)
		spawn(blocked_reader, NULL);
	for (int i = 0; i < 4; i++)
		t[i] = spawn(serial_toucher, range + i * PAGE);
	for (int i = 0; i < 4; i++)
		join(t[i]);
	CHECK(wait_for(&served, FAULTS, PATIENCE));
	CHECK_INT(served, FAULTS);
}

/* A signal ends a blocked read with EINTR, or restarts it. */
static void on_signal(int sig)
{
	failed++; /* counts */
}

static void *interrupted_reader(void *arg)
{
	struct uffd_msg msg;
	CHECK_ERR(read(fd, &msg, sizeof(msg)), EINTR);
	released++;
	CHECK_INT(read(fd, &msg, sizeof(msg)), sizeof(msg)); /* restarted */
	CHECK(failed >= 2);
	CHECK_INT(uffd_zero(fd, range, PAGE), 0);
	return NULL;
}

static void test_interrupted(void)
{
	struct sigaction sa = {.sa_handler = on_signal};
	stage(O_CLOEXEC);
	CHECK_INT(sigaction(SIGUSR1, &sa, NULL), 0);
	pthread_t t = spawn(interrupted_reader, NULL);
	for (int tries = 0; !wait_for(&released, 1, 0.1);
	     tries++) { /* a signal that comes before the read interrupts nothing */
		CHECK(tries < 600);
		CHECK_INT(pthread_kill(t, SIGUSR1), 0);
	}
	sa.sa_flags = SA_RESTART;
	CHECK_INT(sigaction(SIGUSR1, &sa, NULL), 0);
	sleep_ms(50);
	int before = failed;
	CHECK_INT(pthread_kill(t, SIGUSR1), 0);
	CHECK(wait_for(&failed, before + 1, PATIENCE));
	sleep_ms(20);
	CHECK_INT(peek(range), 0);
	join(t);
}

/* ---- as a file ---------------------------------------------------------------------------------------------- */

static void test_file(void)
{
	struct uffd_msg msg;
	struct stat st;
	int on = 1, off = 0;
	stage(O_CLOEXEC);
	CHECK_INT(fstat(fd, &st), 0);
	CHECK_INT(fcntl(fd, F_GETFD), FD_CLOEXEC);
	CHECK_INT(fcntl(fd, F_SETFD, 0), 0);
	CHECK_INT(fcntl(fd, F_GETFD), 0);
	CHECK_INT(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
	CHECK_INT(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK), 0);
	CHECK_INT(fcntl(fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	CHECK_ERR(read(fd, &msg, sizeof(msg)), EAGAIN);
	CHECK_INT(ioctl(fd, FIONBIO, &off), 0);
	CHECK_INT(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
	CHECK_INT(ioctl(fd, FIONBIO, &on), 0);
	CHECK_INT(fcntl(fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	CHECK_ERR(read(fd, &msg, sizeof(msg)), EAGAIN);
	CHECK(write(fd, &msg, sizeof(msg)) == -1);
	CHECK(pread(fd, &msg, sizeof(msg), 0) == -1);
	CHECK(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0) == MAP_FAILED);
	CHECK_INT(isatty(fd), 0);
	CHECK_INT(poll_once(0), 0); /* none of it did any harm */
	pthread_t t = spawn(touch, range);
	CHECK_INT(poll_once(10000), POLLIN);
	take(0);
	join(t);
}

static const struct test tests[] = {
	{"ways-to-close", test_close, 0},
	{"ways-to-keep", test_keep, 0},
	{"in-flight", test_in_flight, 0},
	{"last-thread", test_last_thread, 0},
	{"many-objects", test_many, 0},
	{"poll", test_poll, 0},
	{"select", test_select, 0},
	{"epoll", test_epoll, 0},
	{"edge-triggered-loop", test_edge_loop, 0},
	{"read-lengths", test_read, 0},
	{"blocked-readers", test_readers, 0},
	{"interrupted-read", test_interrupted, 0},
	{"as-a-file", test_file, 0},
	{NULL, NULL, 0},
};

int main(int argc, char **argv)
{
	return run_tests(argc, argv, tests);
}
