/* SPDX-License-Identifier: MIT */
/*
 * read.c - read(2), poll(2), select(2) and epoll(7) on the object.
 */
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/uio.h>
#include <unistd.h>

#include "conformance.h"

#define READ "userfaultfd(2), reading"
#define POLL "userfaultfd(2), poll"

/* Threads waiting on the first pages of the area, with their messages in page order. */
static void waiters(struct area *a, struct touch *t, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		touch_start(&t[i], LOAD, a->mem + i * PAGE, 0);
		CHECK(touch_waits(&t[i]));
	}
}

CASE(read_nonblocking_empty, READ ", EAGAIN")
{
	struct area a = area(1, MISSING, 0);
	struct fl_uffd_msg msg;

	CHECK_EQ(T->read(a.u, &msg, sizeof(msg)), -EAGAIN);
}

CASE(read_once, READ)
{
	struct area a = area(1, MISSING, 0);
	struct fl_uffd_msg msg;
	struct touch t;

	waiters(&a, &t, 1);
	CHECK_EQ(T->read(a.u, &msg, sizeof(msg)), sizeof(msg));
	CHECK_EQ(T->read(a.u, &msg, sizeof(msg)), -EAGAIN);
	CHECK_EQ(T->poll(a.u, 0), 0);
}

CASE(read_several, READ ": as many as fit")
{
	struct area a = area(3, MISSING, 0);
	struct fl_uffd_msg msg[8];
	struct touch t[3];

	waiters(&a, t, 3);
	CHECK_EQ(T->read(a.u, msg, sizeof(msg)), 3 * sizeof(msg[0]));
	for (unsigned i = 0; i < 3; i++)
		CHECK_EQ(msg[i].arg.pagefault.address, a.mem + i * PAGE);
}

CASE(read_several_that_do_not_fit, READ ": as many as fit")
{
	struct area a = area(3, MISSING, 0);
	struct fl_uffd_msg msg[3];
	struct touch t[3];

	waiters(&a, t, 3);
	CHECK_EQ(T->read(a.u, msg, 2 * sizeof(msg[0])), 2 * sizeof(msg[0]));
	CHECK_EQ(T->poll(a.u, 0), POLLIN);
	expect_fault(a.u, a.mem + 2 * PAGE, 0);
}

CASE(read_too_small, READ ", EINVAL: smaller than a message; nothing is lost")
{
	struct area a = area(1, MISSING, 0);
	struct fl_uffd_msg msg;
	struct touch t;

	CHECK_EQ(T->read(a.u, &msg, sizeof(msg) - 1), -EINVAL);
	waiters(&a, &t, 1);
	CHECK_EQ(T->read(a.u, &msg, sizeof(msg) - 1), -EINVAL);
	CHECK_EQ(T->read(a.u, &msg, 1), -EINVAL);
	expect_fault(a.u, a.mem, 0);
}

CASE(read_nothing, "kernel 6.18, observed: a read of 0 bytes is smaller than a message")
{
	struct area a = area(1, MISSING, 0);
	struct fl_uffd_msg msg;

	CHECK_EQ(T->read(a.u, &msg, 0), -EINVAL);
}

CASE(read_odd_size, READ ": whole messages only")
{
	struct area a = area(2, MISSING, 0);
	unsigned char buf[2 * sizeof(struct fl_uffd_msg)];
	struct touch t[2];

	memset(buf, 0xaa, sizeof(buf));
	waiters(&a, t, 2);
	CHECK_EQ(T->read(a.u, buf, sizeof(buf) - 1), sizeof(struct fl_uffd_msg));
	CHECK_EQ(buf[sizeof(struct fl_uffd_msg)], 0xaa);
	expect_fault(a.u, a.mem + PAGE, 0);
}

CASE_ON(read_bad_buffer, ON_LIBC, "a soft address space's caller passes its own pointers", "read(2), EFAULT")
{
	struct area a = area(1, MISSING, 0);
	struct touch t;

	waiters(&a, &t, 1);
	CHECK_EQ(T->read(a.u, (void *)(uintptr_t)map_prot(1, PROT_NONE), sizeof(struct fl_uffd_msg)), -EFAULT);
	fill(a.u, a.mem, 1, 2);
	touch_ends_with(&t, 2);
}

/* ---- blocking ---- */

struct reader {
	uffd_t u;
	ssize_t ret;
	struct fl_uffd_msg msg;
	atomic_bool done;
	pthread_t thread;
};

static void *reader_run(void *arg)
{
	struct reader *r = arg;

	r->ret = T->read(r->u, &r->msg, sizeof(r->msg));
	atomic_store(&r->done, true);
	return NULL;
}

static void reader_start(struct reader *r, uffd_t u)
{
	*r = (struct reader){.u = u};
	CHECK_OK(pthread_create(&r->thread, NULL, reader_run, r));
}

CASE(read_blocking, READ)
{
	struct area a = area(1, MISSING, 0);
	struct reader r;
	struct touch t;

	CHECK_OK(T->nonblock(a.u, 0));
	reader_start(&r, a.u);
	pause_ms(25);
	CHECK(!atomic_load(&r.done));
	touch_start(&t, STORE, a.mem, 0);
	CHECK_OK(pthread_join(r.thread, NULL));
	CHECK_EQ(r.ret, sizeof(r.msg));
	CHECK_EQ(r.msg.arg.pagefault.address, a.mem);
}

CASE(read_blocking_message_waits, READ)
{
	struct area a = area(1, MISSING, 0);
	struct fl_uffd_msg msg;
	struct touch t;

	CHECK_OK(T->nonblock(a.u, 0));
	waiters(&a, &t, 1);
	CHECK_EQ(T->read(a.u, &msg, sizeof(msg)), sizeof(msg));
}

CASE(read_blocking_takes_what_is_there, "kernel 6.18, observed: it blocks for the first message only")
{
	struct area a = area(2, MISSING, 0);
	struct fl_uffd_msg msg[4];
	struct touch t[2];

	CHECK_OK(T->nonblock(a.u, 0));
	waiters(&a, t, 2);
	CHECK_EQ(T->read(a.u, msg, sizeof(msg)), 2 * sizeof(msg[0]));
}

CASE(read_opened_blocking, READ)
{
	struct area a = {uffd_flags(O_CLOEXEC, 0), map(1)};
	struct reader r;
	struct touch t;

	CHECK_OK(reg(a.u, a.mem, PAGE, MISSING));
	reader_start(&r, a.u);
	touch_start(&t, LOAD, a.mem, 0);
	CHECK_OK(pthread_join(r.thread, NULL));
	CHECK_EQ(r.ret, sizeof(r.msg));
	fill(a.u, a.mem, 1, 5);
	touch_ends_with(&t, 5);
}

CASE(read_two_readers, "kernel 6.18, observed: each message goes to one reader")
{
	struct area a = area(2, MISSING, 0);
	struct reader r[2];
	struct touch t[2];

	CHECK_OK(T->nonblock(a.u, 0));
	reader_start(&r[0], a.u);
	reader_start(&r[1], a.u);
	waiters(&a, t, 2);
	for (unsigned i = 0; i < 2; i++) {
		CHECK_OK(pthread_join(r[i].thread, NULL));
		CHECK_EQ(r[i].ret, sizeof(r[i].msg));
	}
	CHECK_EQ(r[0].msg.arg.pagefault.address + r[1].msg.arg.pagefault.address, 2 * a.mem + PAGE);
	CHECK(r[0].msg.arg.pagefault.address != r[1].msg.arg.pagefault.address);
}

CASE(read_one_of_two_readers, "kernel 6.18, observed: the other reader goes on waiting")
{
	struct area a = area(1, MISSING, 0);
	struct reader r[2];
	struct touch t;

	CHECK_OK(T->nonblock(a.u, 0));
	reader_start(&r[0], a.u);
	reader_start(&r[1], a.u);
	waiters(&a, &t, 1);
	pause_ms(25);
	CHECK_EQ(atomic_load(&r[0].done) + atomic_load(&r[1].done), 1);
	CHECK_OK(pthread_join(r[atomic_load(&r[1].done)].thread, NULL));
}

/* ---- poll and similar calls ---- */

CASE(poll_idle, POLL)
{
	struct area a = area(1, MISSING, 0);

	CHECK_EQ(T->poll(a.u, 0), 0);
	CHECK_EQ(T->poll(a.u, 20), 0);
}

CASE(poll_message, POLL)
{
	struct area a = area(1, MISSING, 0);
	struct touch t;

	waiters(&a, &t, 1);
	CHECK_EQ(T->poll(a.u, 0), POLLIN);
	CHECK_EQ(T->poll(a.u, 0), POLLIN);
	expect_fault(a.u, a.mem, 0);
	CHECK_EQ(T->poll(a.u, 0), 0);
}

CASE(poll_wakes_up, POLL)
{
	struct area a = area(1, MISSING, 0);
	struct touch t;

	touch_start(&t, LOAD, a.mem, 0);
	CHECK_EQ(T->poll(a.u, 5000), POLLIN);
}

CASE(poll_message_gone, "kernel 6.18, observed: not readable when the fault was resolved unread")
{
	struct area a = area(1, MISSING, 0);
	struct touch t;

	waiters(&a, &t, 1);
	fill(a.u, a.mem, 1, 4);
	CHECK_EQ(T->poll(a.u, 0), 0);
	touch_ends_with(&t, 4);
}

CASE(poll_blocking_object, POLL ": POLLERR")
{
	struct area a = area(1, MISSING, 0);
	struct touch t;

	CHECK_OK(T->nonblock(a.u, 0));
	CHECK_EQ(T->poll(a.u, 5000), POLLERR);
	waiters(&a, &t, 1);
	CHECK_EQ(T->poll(a.u, 5000), POLLERR);
	CHECK_OK(T->nonblock(a.u, 1));
	CHECK_EQ(T->poll(a.u, 0), POLLIN);
}

CASE_ON(select_idle_and_message, ON_LIBC, DESCRIPTOR, "userfaultfd(2), select")
{
	struct area a = area(1, MISSING, 0);
	struct timeval tv = {0, 20000};
	struct touch t;
	fd_set in;

	FD_ZERO(&in);
	FD_SET((int)a.u, &in);
	CHECK_EQ(select((int)a.u + 1, &in, NULL, NULL, &tv), 0);
	touch_start(&t, LOAD, a.mem, 0);
	FD_SET((int)a.u, &in);
	tv.tv_sec = 5;
	CHECK_EQ(select((int)a.u + 1, &in, NULL, NULL, &tv), 1);
	CHECK(FD_ISSET((int)a.u, &in));
	expect_fault(a.u, a.mem, 0);
}

CASE_ON(select_blocking_object, ON_LIBC, DESCRIPTOR, "userfaultfd(2), select: both readable and writable")
{
	struct area a = area(1, MISSING, 0);
	struct timeval tv = {5, 0};
	fd_set in, out;

	CHECK_OK(T->nonblock(a.u, 0));
	FD_ZERO(&in);
	FD_ZERO(&out);
	FD_SET((int)a.u, &in);
	FD_SET((int)a.u, &out);
	CHECK_EQ(select((int)a.u + 1, &in, &out, NULL, &tv), 2);
}

CASE_ON(poll_not_writable, ON_LIBC, DESCRIPTOR, "kernel 6.18, observed: never POLLOUT")
{
	struct area a = area(1, MISSING, 0);
	struct pollfd p = {.fd = (int)a.u, .events = POLLIN | POLLOUT | POLLPRI};

	CHECK_EQ(poll(&p, 1, 0), 0);
}

CASE_ON(epoll_level, ON_LIBC, DESCRIPTOR, "userfaultfd(2), epoll")
{
	struct epoll_event want = {.events = EPOLLIN, .data = {.u64 = 42}}, got;
	struct area a = area(1, MISSING, 0);
	int ep = epoll_create1(EPOLL_CLOEXEC);
	struct touch t;

	CHECK_OK(epoll_ctl(ep, EPOLL_CTL_ADD, (int)a.u, &want));
	CHECK_EQ(epoll_wait(ep, &got, 1, 20), 0);
	touch_start(&t, LOAD, a.mem, 0);
	CHECK_EQ(epoll_wait(ep, &got, 1, 5000), 1);
	CHECK_EQ(got.events, EPOLLIN);
	CHECK_EQ(got.data.u64, 42);
	CHECK_EQ(epoll_wait(ep, &got, 1, 0), 1);
	expect_fault(a.u, a.mem, 0);
	CHECK_EQ(epoll_wait(ep, &got, 1, 0), 0);
}

CASE_ON(epoll_message_gone, ON_LIBC, DESCRIPTOR, "kernel 6.18, observed: not readable when the fault was resolved")
{
	struct epoll_event want = {.events = EPOLLIN}, got;
	struct area a = area(1, MISSING, 0);
	int ep = epoll_create1(EPOLL_CLOEXEC);
	struct touch t;

	CHECK_OK(epoll_ctl(ep, EPOLL_CTL_ADD, (int)a.u, &want));
	waiters(&a, &t, 1);
	fill(a.u, a.mem, 1, 4);
	CHECK_EQ(epoll_wait(ep, &got, 1, 20), 0);
	touch_ends_with(&t, 4);
}

/* ---- other calls on the descriptor ---- */

CASE_ON(descriptor_write, ON_LIBC, DESCRIPTOR, "kernel 6.18, observed")
{
	struct area a = area(1, MISSING, 0);

	CHECK_EQ(write((int)a.u, "x", 1), -1);
	CHECK_EQ(errno, EBADF);
}

CASE_ON(descriptor_lseek, ON_LIBC, DESCRIPTOR, "kernel 6.18, observed: succeeds and means nothing")
{
	struct area a = area(1, MISSING, 0);

	CHECK_EQ(lseek((int)a.u, 100, SEEK_SET), 0);
	CHECK_EQ(lseek((int)a.u, 0, SEEK_CUR), 0);
}

CASE_ON(descriptor_readv, ON_LIBC, DESCRIPTOR, "kernel 6.18, observed: a message may span the parts")
{
	struct area a = area(1, MISSING, 0);
	unsigned char one[8], two[sizeof(struct fl_uffd_msg) - 8];
	struct iovec iov[] = {{one, sizeof(one)}, {two, sizeof(two)}};
	struct touch t;

	waiters(&a, &t, 1);
	CHECK_EQ(readv((int)a.u, iov, 2), sizeof(struct fl_uffd_msg));
	CHECK_EQ(one[0], FL_UFFD_EVENT_PAGEFAULT);
}

CASE_ON(descriptor_pread, ON_LIBC, DESCRIPTOR, "kernel 6.18, observed: ESPIPE")
{
	struct area a = area(1, MISSING, 0);
	struct fl_uffd_msg msg;

	CHECK_EQ(pread((int)a.u, &msg, sizeof(msg), 0), -1);
	CHECK_EQ(errno, ESPIPE);
}
