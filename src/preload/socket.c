/* SPDX-License-Identifier: MIT */
/*
 * socket.c - receiving, and several messages at once; shutdown(2). What a call has taken from a socket is gone, so
 * the memory to store it is made present before the call.
 */
#include "preload/preload.h"

#include <limits.h>
#include <string.h>

bool fl_no_socket(int fd)
{
	struct fl_uffd *o = fl_object_get(fd);

	if (likely(!o))
		return false;
	fl_object_put(o);
	errno = ENOTSOCK;
	return true;
}

/* Other processes' objects, too: it would release what waits there. */
FL_EXPORT int shutdown(int fd, int how)
{
	if (fl_no_socket(fd))
		return -1;
	if (fl_object_foreign(fd)) {
		errno = ENOTSOCK;
		return -1;
	}
	return FL_FIND(shutdown)(fd, how);
}

/* The messages of recvmmsg(2) and sendmmsg(2): either call stores a length in each. */
static int mmsghdr(struct mmsghdr *msgs, unsigned n, bool write, bool data)
{
	int ret = FL_NOT_OURS;

	for (unsigned i = 0; i < n && i < IOV_MAX; i++) {
		struct msghdr *msg = &msgs[i].msg_hdr;

		ret = FL_ALL(ret, fl_out(&msgs[i], sizeof(msgs[i])),
			     data ? fl_msghdr(msg, write) : fl_msghdr_head(msg, write));
	}
	return ret;
}

static void before_recv(int fd, void *buf, size_t len, int flags, struct sockaddr *addr, socklen_t *addr_len)
{
	if ((flags & MSG_PEEK) || likely(!fl_maybe_ours()))
		return;
	if (addr)
		fl_sized(addr, addr_len);
	fl_before_read(fd, buf, len);
}

/* A stream may give less than was asked for, unless MSG_WAITALL is set. */
static ssize_t after_recv(int fd, void *buf, size_t len, int flags, ssize_t done)
{
	if (likely(!(flags & MSG_WAITALL)) || (flags & MSG_PEEK) || !fl_maybe_ours() || fl_takes_once(fd))
		return done;
	return fl_go_on_recv(fd, buf, len, flags, done);
}

#define RECV(name, params, args, addr, addr_len, faults)                                                             \
	FL_EXPORT ssize_t name params;                                                                               \
	ssize_t name params                                                                                          \
	{                                                                                                            \
		if (fl_no_socket(fd))                                                                                \
			return -1;                                                                                   \
		before_recv(fd, buf, len, flags, addr, addr_len);                                                    \
		return after_recv(fd, buf, len, flags, FL_RETRY(ssize_t, FL_FIND(name) args, faults));               \
	}

RECV(recv, (int fd, void *buf, size_t len, int flags), (fd, buf, len, flags), NULL, NULL,
     fl_next_page(buf, len, true))
RECV(__recv_chk, (int fd, void *buf, size_t len, size_t size, int flags), (fd, buf, len, size, flags), NULL, NULL,
     fl_next_page(buf, len, true))
RECV(recvfrom,
     (int fd, void *restrict buf, size_t len, int flags, struct sockaddr *restrict addr,
      socklen_t *restrict addr_len),
     (fd, buf, len, flags, addr, addr_len), addr, addr_len,
     FL_ALL(fl_next_page(buf, len, true), fl_sized(addr, addr_len)))
RECV(__recvfrom_chk,
     (int fd, void *restrict buf, size_t len, size_t size, int flags, struct sockaddr *restrict addr,
      socklen_t *restrict addr_len),
     (fd, buf, len, size, flags, addr, addr_len), addr, addr_len,
     FL_ALL(fl_next_page(buf, len, true), fl_sized(addr, addr_len)))

/* A message has arrived, perhaps with descriptors (SCM_RIGHTS). */
static void received(const struct msghdr *msg)
{
	if (likely(!fl_object_any() || !msg->msg_controllen))
		return;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR((struct msghdr *)fl_ptr(fl_addr(msg)), c)) {
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(fd), sizeof(fd));
			fl_object_received(fd);
		}
	}
}

FL_EXPORT ssize_t recvmsg(int fd, struct msghdr *msg, int flags)
{
	ssize_t ret;

	if (fl_no_socket(fd))
		return -1;
	if (unlikely(fl_maybe_ours()) && !(flags & MSG_PEEK))
		(void)(fl_takes_once(fd) ? fl_msghdr(msg, true) : fl_msghdr_head(msg, true));
	ret = FL_RETRY(ssize_t, FL_FIND(recvmsg)(fd, msg, flags), fl_msghdr(msg, true));
	if (ret >= 0)
		received(msg);
	return ret;
}

FL_EXPORT int recvmmsg(int fd, struct mmsghdr *msgs, unsigned n, int flags, struct timespec *timeout)
{
	int ret;

	if (fl_no_socket(fd))
		return -1;
	if (unlikely(fl_maybe_ours()))
		(void)FL_ALL(mmsghdr(msgs, n, true, fl_takes_once(fd)), fl_out(timeout, sizeof(*timeout)));
	ret = FL_RETRY(int, FL_FIND(recvmmsg)(fd, msgs, n, flags, timeout),
		       FL_ALL(mmsghdr(msgs, n, true, true), fl_out(timeout, sizeof(*timeout))));
	for (int i = 0; i < ret; i++)
		received(&msgs[i].msg_hdr);
	return ret;
}

FL_EXPORT int sendmmsg(int fd, struct mmsghdr *msgs, unsigned n, int flags)
{
	if (fl_no_socket(fd))
		return -1;
	if (unlikely(fl_maybe_ours())) /* the message is sent before its length is stored */
		(void)mmsghdr(msgs, n, false, false);
	return FL_RETRY(int, FL_FIND(sendmmsg)(fd, msgs, n, flags), mmsghdr(msgs, n, false, true));
}
