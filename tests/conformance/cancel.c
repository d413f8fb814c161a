/* SPDX-License-Identifier: MIT */
/*
 * cancel.c - pthread_cancel(3) of a thread that waits on an object, or in another call that is interposed: those that
 * POSIX names are cancellation points, and leave the object as it was.
 */
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "conformance.h"

#define POSIX		   "pthreads(7): a cancellation point"
#define CASE_LIBC(fn, src) CASE_ON(fn, ON_LIBC, PROCESS, src)

static int fd, other, epfd, sock, full, listening, event, queue, locked;
static pid_t pid;
static char byte;
static struct fl_uffd_msg message;
static atomic_bool cleaned, entered;

struct blocks {
	void (*call)(void);
	pthread_t thread;
};

static void cleanup(void *arg)
{
	atomic_store(&cleaned, true);
}

static void *run(void *arg)
{
	const struct blocks *b = arg;

	pthread_cleanup_push(cleanup, NULL);
	atomic_store(&entered, true);
	b->call();
	pthread_cleanup_pop(0);
	return NULL;
}

static void needs_plain_libc(void)
{
	if (SANITIZED)
		skip("the sanitizer's functions stand before the cancellation points");
}

static void start(struct blocks *b)
{
	needs_plain_libc();
	atomic_store(&entered, false);
	atomic_store(&cleaned, false);
	CHECK_OK(pthread_create(&b->thread, NULL, run, b));
	while (!atomic_load(&entered))
		pause_ms(1);
	pause_ms(20); /* by now it waits; if it does not yet, it is cancelled on its way in */
}

/* The thread waits in `call`; cancelled, it ends there and has run what it pushed. */
static void ends(struct blocks *b)
{
	struct timespec limit;
	void *ret = NULL;

	CHECK_OK(pthread_cancel(b->thread));
	CHECK_OK(clock_gettime(CLOCK_REALTIME, &limit));
	limit.tv_sec += CHILD_S / 2;
	CHECK_OK(pthread_timedjoin_np(b->thread, &ret, &limit));
	CHECK(ret == PTHREAD_CANCELED);
	CHECK(atomic_load(&cleaned));
}

static void cancelled_in(void (*call)(void))
{
	struct blocks b = {.call = call};

	start(&b);
	ends(&b);
}

/* A page whose reader is told as ever, and whose waiter goes on when the object is closed. */
static void object_is_whole(struct area *a)
{
	struct touch t;

	CHECK_OK(T->nonblock(a->u, 1));
	expect_missing(a->u, a->mem);
	touch_start(&t, LOAD, a->mem + PAGE, 0);
	CHECK_EQ(T->poll(a->u, 5000), POLLIN);
	CHECK_OK(T->close(a->u));
	touch_ends_with(&t, 0);
}

static struct area blocking(void)
{
	struct area a;

	needs_plain_libc();
	a = area(2, MISSING, 0);
	CHECK_OK(T->nonblock(a.u, 0));
	fd = (int)a.u;
	return a;
}

static void in_read(void)
{
	CHECK_EQ(read(fd, &message, sizeof(message)), sizeof(message));
}

static void in_readv(void)
{
	struct iovec v[2] = {{&message, 16}, {(char *)&message + 16, 16}};

	CHECK_EQ(readv(fd, v, 2), sizeof(message));
}

static void in_poll(void)
{
	poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, -1);
}

static void in_poll_with_a_limit(void)
{
	poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 2 * CHILD_S * 1000);
}

static void in_ppoll(void)
{
	ppoll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, NULL, &(sigset_t){0});
}

static void in_poll_of_many(void)
{
	struct pollfd fds[100];

	for (int i = 0; i < 100; i++)
		fds[i] = (struct pollfd){.fd = i ? other : fd, .events = POLLIN};
	poll(fds, 100, -1);
}

static void in_select(void)
{
	fd_set set;

	FD_ZERO(&set);
	FD_SET(fd, &set);
	select(fd + 1, &set, NULL, NULL, NULL);
}

static void in_pselect(void)
{
	fd_set set;

	FD_ZERO(&set);
	FD_SET(fd, &set);
	pselect(fd + 1, &set, NULL, NULL, NULL, &(sigset_t){0});
}

static void in_epoll(void)
{
	struct epoll_event ev;

	epoll_wait(epfd, &ev, 1, -1);
}

#define OBJECT_CASE(name, nonblocking)                                                                               \
	CASE_LIBC(cancel_##name, POSIX)                                                                              \
	{                                                                                                            \
		struct area a = blocking();                                                                          \
		int p[2];                                                                                            \
                                                                                                                     \
		CHECK_OK(T->nonblock(a.u, nonblocking));                                                             \
		CHECK_OK(pipe(p));                                                                                   \
		other = p[0];                                                                                        \
		epfd = epoll_create1(0);                                                                             \
		CHECK_OK(epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &(struct epoll_event){.events = EPOLLIN}));              \
		cancelled_in(in_##name);                                                                             \
		object_is_whole(&a);                                                                                 \
	}

OBJECT_CASE(read, 0)
OBJECT_CASE(readv, 0)
OBJECT_CASE(poll, 1)
OBJECT_CASE(poll_with_a_limit, 1)
OBJECT_CASE(ppoll, 1)
OBJECT_CASE(poll_of_many, 1)
OBJECT_CASE(select, 1)
OBJECT_CASE(pselect, 1)
OBJECT_CASE(epoll, 1)

/* ---- what must not be lost with the thread ---- */

CASE_LIBC(cancel_one_reader_of_two, POSIX ": the other one gets the message, however the first was woken")
{
	struct area a = blocking();
	struct blocks first = {.call = in_read};
	struct touch t;
	void *ret;

	for (unsigned i = 0; i < 200; i++) {
		struct blocks second = {.call = in_read};

		touch_start(&t, LOAD, a.mem, 0); /* the message and the cancellation meet */
		atomic_store(&entered, false);
		CHECK_OK(pthread_create(&first.thread, NULL, run, &first));
		CHECK_OK(pthread_create(&second.thread, NULL, run, &second));
		CHECK_OK(pthread_cancel(first.thread));
		CHECK_OK(pthread_join(first.thread, &ret));
		pthread_cancel(second.thread);
		CHECK_OK(pthread_join(second.thread, &ret));
		fill(a.u, a.mem, 1, 5);
		touch_ends_with(&t, 5);
		CHECK_OK(T->advise(a.mem, PAGE, MADV_DONTNEED));
	}
	object_is_whole(&a);
}

CASE_LIBC(cancel_reader_beside_a_sleeper, POSIX ": a reader that still sleeps is told of the next message")
{
	struct area a = blocking();
	struct blocks first = {.call = in_read}, second = {.call = in_read};
	struct touch t;
	void *ret;

	start(&first);
	start(&second);
	ends(&first);
	message.event = 0;
	touch_start(&t, LOAD, a.mem, 0);
	for (int i = 0; i < 5000 && !message.event; i++)
		pause_ms(1);
	CHECK_EQ(message.event, FL_UFFD_EVENT_PAGEFAULT);
	fill(a.u, a.mem, 1, 5);
	touch_ends_with(&t, 5);
	CHECK_OK(pthread_join(second.thread, &ret));
}

/* ---- a cancellation that is pending ---- */

static void after_disabled(void)
{
	int state;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
	pthread_cancel(pthread_self());
	CHECK_EQ(read(fd, &message, sizeof(message)), -1);
	CHECK_EQ(errno, EAGAIN);
	pthread_setcancelstate(state, NULL);
	read(fd, &message, sizeof(message)); /* the point */
	fail(__FILE__, __LINE__, "the thread goes on");
}

CASE_LIBC(cancel_pending_before_read, POSIX ", also where the call would not wait")
{
	struct area a = blocking();
	struct blocks b = {.call = after_disabled};
	void *ret;

	CHECK_OK(T->nonblock(a.u, 1));
	CHECK_OK(pthread_create(&b.thread, NULL, run, &b));
	CHECK_OK(pthread_join(b.thread, &ret));
	CHECK(ret == PTHREAD_CANCELED);
	object_is_whole(&a);
}

static void closes_with_pending(void)
{
	int state;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
	pthread_cancel(pthread_self());
	pthread_setcancelstate(state, NULL);
	close(fd);
	fail(__FILE__, __LINE__, "the thread goes on");
}

CASE_LIBC(cancel_pending_before_close, POSIX "; the descriptor stays open: kernel 6.18 with glibc, observed")
{
	struct area a = blocking();
	struct blocks b = {.call = closes_with_pending};
	void *ret;

	CHECK_OK(pthread_create(&b.thread, NULL, run, &b));
	CHECK_OK(pthread_join(b.thread, &ret));
	CHECK(ret == PTHREAD_CANCELED);
	object_is_whole(&a);
}

static void disabled_read(void)
{
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	CHECK_EQ(read(fd, &message, sizeof(message)), sizeof(message));
}

CASE_LIBC(cancel_disabled, "pthread_setcancelstate(3)")
{
	struct area a = blocking();
	struct blocks b = {.call = disabled_read};
	struct touch t;
	void *ret;

	start(&b);
	CHECK_OK(pthread_cancel(b.thread));
	touch_start(&t, LOAD, a.mem, 0);
	CHECK_OK(pthread_join(b.thread, &ret));
	CHECK(!ret);
	fill(a.u, a.mem, 1, 5);
	touch_ends_with(&t, 5);
}

/* ---- other calls that are interposed ---- */

static struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
static const struct timespec long_time = {.tv_sec = 2 * CHILD_S};
static char big[1 << 20];
static sigset_t usr1, none;

#define BLOCKING(CALL)                                                                                               \
	CALL(pipe_read, read(other, &byte, 1))                                                                       \
	CALL(pipe_readv, readv(other, &(struct iovec){&byte, 1}, 1))                                                 \
	CALL(pipe_write, write(full, big, sizeof(big)))                                                              \
	CALL(recv, recv(sock, &byte, 1, 0))                                                                          \
	CALL(recvfrom, recvfrom(sock, &byte, 1, 0, NULL, NULL))                                                      \
	CALL(recvmsg, recvmsg(sock, &(struct msghdr){.msg_iov = &(struct iovec){&byte, 1}, .msg_iovlen = 1}, 0))     \
	CALL(send, send(sock, big, sizeof(big), 0))                                                                  \
	CALL(accept, accept(listening, NULL, NULL))                                                                  \
	CALL(pipe_poll, poll(&(struct pollfd){.fd = other, .events = POLLIN}, 1, -1))                                \
	CALL(pipe_ppoll, ppoll(&(struct pollfd){.fd = other, .events = POLLIN}, 1, NULL, NULL))                      \
	CALL(no_select, select(0, NULL, NULL, NULL, NULL))                                                           \
	CALL(no_pselect, pselect(0, NULL, NULL, NULL, NULL, NULL))                                                   \
	CALL(epoll_pwait2, epoll_pwait2(epfd, &(struct epoll_event){0}, 1, NULL, NULL))                              \
	CALL(nanosleep, nanosleep(&long_time, NULL))                                                                 \
	CALL(clock_nanosleep, clock_nanosleep(CLOCK_MONOTONIC, 0, &long_time, NULL))                                 \
	CALL(waitpid, waitpid(pid, NULL, 0))                                                                         \
	CALL(waitid, waitid(P_PID, (id_t)pid, &(siginfo_t){0}, WEXITED))                                             \
	CALL(wait, wait(NULL))                                                                                       \
	CALL(sigsuspend, sigsuspend(&none))                                                                          \
	CALL(sigwait, sigwait(&usr1, &(int){0}))                                                                     \
	CALL(sigwaitinfo, sigwaitinfo(&usr1, NULL))                                                                  \
	CALL(sigtimedwait, sigtimedwait(&usr1, NULL, &long_time))                                                    \
	CALL(msgrcv, msgrcv(queue, &(long[2]){0}, 8, 0, 0))                                                          \
	CALL(lock, fcntl(locked, F_OFD_SETLKW, &lock))                                                               \
	CALL(eventfd_read, eventfd_read(event, &(eventfd_t){0}))                                                     \
	CALL(pause, pause())

#define FUNCTION(name, call)                                                                                         \
	static void in_##name(void)                                                                                  \
	{                                                                                                            \
		(void)!(call);                                                                                       \
	}
BLOCKING(FUNCTION)

/* A call that waits to write has written nothing yet: from glibc 2.41 on, one that has is not cancelled. */
static void fill_up(int f)
{
	int flags = fcntl(f, F_GETFL);

	CHECK_OK(fcntl(f, F_SETFL, flags | O_NONBLOCK));
	while (write(f, big, sizeof(big)) > 0)
		;
	CHECK_EQ(errno, EAGAIN);
	CHECK_OK(fcntl(f, F_SETFL, flags));
}

CASE_LIBC(cancel_in_other_calls, POSIX)
{
	struct sockaddr_un any = {.sun_family = AF_UNIX};
	char path[] = "/tmp/fl-XXXXXX";
	int p[2], s[2];

	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	CHECK_OK(pthread_sigmask(SIG_BLOCK, &usr1, NULL));
	CHECK_OK(pipe(p));
	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	other = p[0];
	sock = s[0];
	CHECK_OK(pipe(p));
	full = p[1];
	fill_up(full);
	fill_up(sock);
	listening = socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK_OK(bind(listening, (void *)&any, sizeof(sa_family_t)));
	CHECK_OK(listen(listening, 1));
	event = eventfd(0, 0);
	epfd = epoll_create1(0);
	queue = msgget(IPC_PRIVATE, 0600);
	CHECK(queue >= 0);
	pid = fork();
	if (!pid) {
		pause();
		_exit(0);
	}
	locked = mkstemp(path);
	CHECK_OK(fcntl(open(path, O_RDWR), F_OFD_SETLK, &lock));
	unlink(path);
	area(1, MISSING, 0); /* from here on the wrappers look at memory */
#define CANCELLED(name, call) cancelled_in(in_##name);
	BLOCKING(CANCELLED)
	kill(pid, SIGKILL);
	msgctl(queue, IPC_RMID, NULL);
}
