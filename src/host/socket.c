/* SPDX-License-Identifier: MIT */
/* socket.c - the descriptors of userfaultfd objects. */
#include "host/socket.h"

#include "arch/syscall.h"
#include "host/host.h"
#include "host/inject.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

int fl_host_socket_pair(bool cloexec, int pair[2])
{
	int type = SOCK_SEQPACKET | SOCK_NONBLOCK | (cloexec ? SOCK_CLOEXEC : 0);

	return fl_fail(FL_FP_SOCKET) ? -ENFILE : (int)fl_sys(SYS_socketpair, AF_UNIX, type, 0, pair);
}

void fl_host_socket_name(int fd, const char *head, size_t len)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX}; /* a name that begins with a zero byte is abstract */
	uint8_t random[16];
	char *at = sun.sun_path + 1 + len;

	if (fl_sys(SYS_getrandom, random, sizeof(random), GRND_NONBLOCK) != sizeof(random))
		return;
	memcpy(sun.sun_path + 1, head, len);
	for (size_t i = 0; i < sizeof(random); i++) {
		*at++ = "0123456789abcdef"[random[i] >> 4];
		*at++ = "0123456789abcdef"[random[i] & 15];
	}
	fl_sys(SYS_bind, fd, &sun, (size_t)(at - (char *)&sun));
}

bool fl_host_socket_is_named(int fd, const char *name, size_t len)
{
	struct sockaddr_un sun = {0};
	socklen_t size = sizeof(sun);

	return fl_sys(SYS_getsockname, fd, &sun, &size) == 0 && sun.sun_family == AF_UNIX &&
	       memcmp(sun.sun_path + 1, name, len) == 0;
}

bool fl_host_socket_put(int fd)
{
	return fl_sys(SYS_sendto, fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL, NULL, 0) == 1;
}

bool fl_host_socket_take(int fd)
{
	char bytes[8];

	return fl_sys(SYS_recvfrom, fd, bytes, sizeof(bytes), MSG_DONTWAIT, NULL, NULL) > 0;
}

bool fl_host_socket_hung_up(int fd)
{
	struct pollfd p = {.fd = fd};
	struct timespec now = {0};

	fl_sys(SYS_ppoll, &p, 1, &now, NULL, 0);
	return p.revents & (POLLHUP | POLLERR | POLLNVAL);
}

int fl_host_socket_watch(int fd)
{
	struct epoll_event nothing = {
		0}; /* but EPOLLHUP, which is always told, as long as there is a file to tell of */
	int watch = (int)fl_sys(SYS_epoll_create1, EPOLL_CLOEXEC), err;

	if (watch < 0)
		return watch;
	err = (int)fl_sys(SYS_epoll_ctl, watch, EPOLL_CTL_ADD, fd, &nothing);
	if (!err)
		return fl_host_fd_move_high(watch, true);
	fl_sys(SYS_close, watch);
	return err;
}

bool fl_host_socket_only_shut_down(int watch)
{
	struct epoll_event event;

	return fl_sys(SYS_epoll_pwait, watch, &event, 1, 0, NULL, 0) == 1;
}

int fl_host_wait_readable(int fd, uint64_t timeout_ns)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	struct timespec ts = {.tv_sec = (time_t)(timeout_ns / 1000000000u),
			      .tv_nsec = (long)(timeout_ns % 1000000000u)};

	return (int)fl_sys(SYS_ppoll, &p, 1, timeout_ns == UINT64_MAX ? NULL : &ts, NULL, 0);
}
