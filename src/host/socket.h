/* SPDX-License-Identifier: MIT */
/*
 * socket.h - the descriptors of userfaultfd objects: pairs of sockets. A byte in an end makes it readable; the last
 * copy of an end that is closed, in whatever process, hangs up the other. What host.h says of every function holds
 * here, too.
 */
#ifndef FL_HOST_SOCKET_H
#define FL_HOST_SOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* -EMFILE, -ENFILE. [SOCKET: -ENFILE] */
int fl_host_socket_pair(bool cloexec, int pair[2]);
/*
 * A name in the abstract namespace, by which others can tell what it is: `head`, and what nobody can guess, and so
 * not take before. Without random numbers there is none.
 */
void fl_host_socket_name(int fd, const char *head, size_t len);
/* Has the socket such a name, beginning so? */
bool fl_host_socket_is_named(int fd, const char *name, size_t len);
/* Put a byte in at one end, false if there is no room; take one out at the other, false if there is none. */
bool fl_host_socket_put(int fd);
bool fl_host_socket_take(int fd);
/* Is the other end gone, in every process? */
bool fl_host_socket_hung_up(int fd);
/*
 * A hang-up may also be the doing of shutdown(2). What tells: a descriptor, made while the socket was still open
 * here, of a watch that ends with the socket's last copy; then, after the hang-up, whether there still is one.
 */
int fl_host_socket_watch(int fd);
bool fl_host_socket_only_shut_down(int watch);
/* Wait until the descriptor is readable: 1, 0 after timeout_ns (UINT64_MAX: never), -EINTR. */
int fl_host_wait_readable(int fd, uint64_t timeout_ns);

#endif
