/* SPDX-License-Identifier: MIT */
/* descriptor.c - what a descriptor of an object is to calls that are not its own: no socket, above all. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "conformance.h"

#define SEEN		   "kernel 6.18, observed"
#define CASE_LIBC(fn, src) CASE_ON(fn, ON_LIBC, PROCESS, src)

static char bytes[64];
static socklen_t len;

#define NO_SOCKET(call)                                                                                              \
	do {                                                                                                         \
		len = sizeof(bytes);                                                                                 \
		errno = 0;                                                                                           \
		CHECK_EQ(call, -1);                                                                                  \
		CHECK_EQ(errno, ENOTSOCK);                                                                           \
	} while (0)

CASE_LIBC(descriptor_is_no_socket, SEEN ": ENOTSOCK")
{
	struct area a = area(1, MISSING, 0);
	struct iovec iov = {bytes, 1};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	struct mmsghdr msgs = {.msg_hdr = msg};
	struct sockaddr *name = (struct sockaddr *)(void *)bytes;
	struct touch t;
	int fd = (int)a.u;

	touch_start(&t, LOAD, a.mem, 0);
	CHECK_EQ(T->poll(a.u, 5000), POLLIN);
	NO_SOCKET(recv(fd, bytes, 1, MSG_DONTWAIT));
	NO_SOCKET(recvfrom(fd, bytes, 1, MSG_DONTWAIT, NULL, NULL));
	NO_SOCKET(recvmsg(fd, &msg, MSG_DONTWAIT));
	NO_SOCKET(recvmmsg(fd, &msgs, 1, MSG_DONTWAIT, NULL));
	NO_SOCKET(send(fd, bytes, 1, MSG_DONTWAIT));
	NO_SOCKET(sendto(fd, bytes, 1, MSG_DONTWAIT, NULL, 0));
	NO_SOCKET(sendmsg(fd, &msg, MSG_DONTWAIT));
	NO_SOCKET(sendmmsg(fd, &msgs, 1, MSG_DONTWAIT));
	NO_SOCKET(getsockname(fd, name, &len));
	NO_SOCKET(getpeername(fd, name, &len));
	NO_SOCKET(getsockopt(fd, SOL_SOCKET, SO_TYPE, bytes, &len));
	NO_SOCKET(setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &(int){1}, sizeof(int)));
	NO_SOCKET(bind(fd, name, sizeof(sa_family_t)));
	NO_SOCKET(connect(fd, name, sizeof(sa_family_t)));
	NO_SOCKET(listen(fd, 1));
	NO_SOCKET(accept(fd, NULL, NULL));
	NO_SOCKET(accept4(fd, NULL, NULL, 0));
	NO_SOCKET(shutdown(fd, SHUT_RDWR));
	NO_SOCKET(syscall(SYS_recvfrom, fd, bytes, 1, MSG_DONTWAIT, NULL, NULL));
	NO_SOCKET(syscall(SYS_recvmsg, fd, &msg, MSG_DONTWAIT));
	NO_SOCKET(syscall(SYS_sendto, fd, bytes, 1, MSG_DONTWAIT, NULL, 0));
	NO_SOCKET(syscall(SYS_getsockopt, fd, SOL_SOCKET, SO_TYPE, bytes, &len));
	NO_SOCKET(syscall(SYS_shutdown, fd, SHUT_RDWR));
	CHECK_EQ(T->poll(a.u, 5000), POLLIN); /* none of these has taken the message, or the readiness */
	CHECK_EQ(next_msg(a.u).arg.pagefault.address, a.mem);
	fill(a.u, a.mem, 1, 5);
	touch_ends_with(&t, 5);
}

/* ---- shutdown(2) by another holder of the descriptor ---- */

static int shut_down(int fd, int by_instruction)
{
	return by_instruction ? (int)-ask_kernel(SYS_shutdown, fd, SHUT_RDWR, 0, 0)
			      : (shutdown(fd, SHUT_RDWR) ? errno : 0);
}

/* A child with a copy of the descriptor shuts it down, and then has only that copy. */
static void shutdown_by_child(int by_instruction, bool close_ours)
{
	struct area a = area(2, MISSING, 0);
	int tell[2], status, err;
	struct touch t;
	pid_t pid;

	CHECK_OK(pipe(tell));
	touch_start(&t, LOAD, a.mem, 0);
	expect_fault(a.u, a.mem, 0);
	pid = fork();
	if (!pid) {
		err = shut_down((int)a.u, by_instruction);
		CHECK_EQ(write(tell[1], &err, sizeof(err)), sizeof(err));
		pause();
	}
	CHECK_EQ(read(tell[0], &err, sizeof(err)), sizeof(err));
	CHECK(err == ENOTSOCK || (by_instruction && on_native()));
	if (close_ours)
		CHECK_OK(T->close(a.u));
	pause_ms(250); /* more than once looks a waiter whether the object is closed */
	CHECK(touch_waits(&t));
	if (!close_ours) {
		fill(a.u, a.mem, 1, 5);
		touch_ends_with(&t, 5);
		CHECK_OK(T->close(a.u));
		touch_start(&t, LOAD, a.mem + PAGE, 0);
		CHECK(touch_waits(&t));
	}
	CHECK_OK(kill(pid, SIGKILL));
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	touch_ends_with(&t, 0); /* now it was the last */
}

CASE_LIBC(shutdown_in_a_child, SEEN ": ENOTSOCK, and waiting threads wait on")
{
	shutdown_by_child(0, false);
}

CASE_LIBC(shutdown_unseen_in_a_child, SEEN ": waiting threads wait on")
{
	shutdown_by_child(1, false);
}

CASE_LIBC(shutdown_by_the_last_holder, SEEN ": waiting threads wait on until its copy is closed")
{
	shutdown_by_child(1, true);
}

/* ---- names of sockets ---- */

static void send_fd(int sock, int fd)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {.head = {.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))}};
	struct iovec iov = {bytes, 1};
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};

	memcpy(CMSG_DATA(&control.head), &fd, sizeof(fd));
	CHECK_EQ(sendmsg(sock, &msg, 0), 1);
}

static int receive_fd(int sock)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = {bytes, 1};
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	int fd;

	CHECK_EQ(recvmsg(sock, &msg, 0), 1);
	memcpy(&fd, CMSG_DATA(&control.head), sizeof(fd));
	return fd;
}

static void name_of(uffd_t u, char name[108])
{
	struct sockaddr_un sun = {0};
	socklen_t size = sizeof(sun);

	CHECK_EQ(ask_kernel(SYS_getsockname, (long)u, (long)(uintptr_t)&sun, (long)(uintptr_t)&size, 0), 0);
	memcpy(name, sun.sun_path, sizeof(sun.sun_path));
}

/* Who knows a few names cannot tell the next one: two have hardly a digit in common. */
CASE_ON(socket_names_are_not_guessed, ON_NATIVE, "the kernel's objects are no sockets", SEEN)
{
	char first[108], next[108], head[] = "\0faultline/";
	unsigned same = 0;

	name_of(uffd(0), first);
	name_of(uffd(0), next);
	CHECK(memcmp(first, head, sizeof(head) - 1) == 0 && memcmp(next, head, sizeof(head) - 1) == 0);
	CHECK_EQ(strlen(first + sizeof(head) - 1), 32);
	for (size_t i = sizeof(head) - 1; first[i]; i++)
		same += first[i] == next[i];
	CHECK(same < 16);
}

CASE_LIBC(descriptor_comes_back_though_names_are_taken, SEEN ": another process may bind what names it likes")
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	uint64_t more = map(1);
	struct area a;
	int pair[2], fd;

	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	for (unsigned i = 1; i < 50; i++) { /* the names that were once used: a pid and a serial number */
		int squatter = socket(AF_UNIX, SOCK_SEQPACKET, 0);
		size_t n = offsetof(struct sockaddr_un, sun_path) + 1;

		n += (size_t)snprintf(sun.sun_path + 1, 100, "faultline/%08x%08x", (unsigned)getpid(), i);
		CHECK_OK(bind(squatter, (void *)&sun, (socklen_t)n));
	}
	a = area(1, MISSING, 0);
	send_fd(pair[0], (int)a.u);
	CHECK_OK(T->close(a.u));
	fd = receive_fd(pair[1]);
	CHECK_OK(reg(fd, more, PAGE, MISSING));
	expect_missing(fd, more);
	expect_missing(fd, a.mem);
}

CASE_LIBC(other_sockets_come_back, SEEN ": a socket that is received stays one")
{
	struct area a = area(1, MISSING, 0);
	int pair[2], sent[2], type = 0, fd;

	CHECK(a.u >= 0);
	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	CHECK_OK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sent));
	send_fd(pair[0], sent[0]);
	fd = receive_fd(pair[1]);
	len = sizeof(type);
	CHECK_OK(getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len));
	CHECK_EQ(type, SOCK_SEQPACKET);
	CHECK_OK(shutdown(fd, SHUT_RDWR));
}
