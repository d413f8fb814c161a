/* SPDX-License-Identifier: MIT */
/*
 * linked.h - for a stress program with the library linked in instead of running under it: included before all else,
 * it sends those calls to linked.c that `faultline run` would have interposed. The thread sanitizer's runtime
 * interposes the same names, so only this way can it see a program and the engine beneath it.
 */
#ifndef LINKED_H
#define LINKED_H

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/*
 * As the calls they are named after; of syscall() only userfaultfd(2), of fcntl() what concerns O_NONBLOCK; for
 * SIGSEGV the old action is not the program's.
 */
long linked_syscall(long nr, int flags);
int linked_ioctl(int fd, unsigned long request, void *arg);
ssize_t linked_read(int fd, void *buf, size_t len);
int linked_poll(struct pollfd *fds, nfds_t n, int timeout);
int linked_fcntl(int fd, int cmd, ...);
int linked_close(int fd);
void *linked_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset);
int linked_munmap(void *addr, size_t len);
void *linked_mremap(void *addr, size_t old_len, size_t new_len, int flags, void *new_addr);
int linked_mprotect(void *addr, size_t len, int prot);
int linked_madvise(void *addr, size_t len, int advice);
int linked_ftruncate(int fd, off_t size);
int linked_fallocate(int fd, int mode, off_t offset, off_t len);
pid_t linked_fork(void);
int linked_sigaction(int sig, const struct sigaction *act, struct sigaction *old);

#ifndef LINKED_NAMES_ONLY /* linked.c itself means the system's */
#define syscall			 linked_syscall
#define ioctl			 linked_ioctl
#define read			 linked_read
#define poll			 linked_poll
#define fcntl			 linked_fcntl
#define close			 linked_close
#define mmap			 linked_mmap
#define munmap			 linked_munmap
#define mremap			 linked_mremap
#define mprotect		 linked_mprotect
#define madvise			 linked_madvise
#define ftruncate		 linked_ftruncate
#define fallocate		 linked_fallocate
#define fork			 linked_fork
#define sigaction(sig, act, old) linked_sigaction(sig, act, old) /* it also names a structure */
#endif

#endif
