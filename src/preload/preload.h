/* SPDX-License-Identifier: MIT */
/*
 * preload.h - the interposed functions of libc. Each decides in a few instructions whether the call concerns
 * faultline; if not, it is libc's own. Only the interposed names are exported.
 *
 * => a precondition: locks held, signals blocked. What has none may be called with no lock held.
 *
 *   init.c      start-up; finding libc's functions
 *   open.c      new descriptors: userfaultfd(2), open, fopen
 *   fd.c        descriptors: which are special; close, dup, fcntl
 *   io.c        ioctl, read, write, lseek
 *   poll.c      waiting for them: poll, select, epoll
 *   cancel.c    cancellation points
 *   procfs.c    /proc/self/pagemap and clear_refs
 *   memory.c    mmap and its siblings
 *   process.c   fork and clone; the programs that this one starts
 *   signal.c    the program's SIGSEGV handler and signal masks
 *   stack.c     alternate signal stacks
 *   calls.c     system calls whose buffers lie on hidden pages (efault.h, efault.c), most of them a line of calls.def
 *   transfer.c  those that stop in the middle of their memory
 *   socket.c    those that receive
 *   stdio.c     fread, fwrite
 *   syscall.c   syscall(), which may be any of them
 *   stubs.c     the mapping calls that libc makes itself
 */
#ifndef FL_PRELOAD_PRELOAD_H
#define FL_PRELOAD_PRELOAD_H

#include "host/stats.h"
#include "lib/lib.h"
#include "native/native.h"
#include "native/sigview.h"
#include "preload/efault.h"
#include "preload/hostcalls.h"

#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define FL_EXPORT __attribute__((visibility("default")))

/*
 * libc's own function of that name, with its type. Every one that is used in the library is looked up at start:
 * dlsym() takes the dynamic linker's lock, for which a thread that faults inside dlopen() would wait for ever.
 */
struct fl_find {
	const char *name;
	void *found;
};
/* Look it up now, for a constructor that runs before the library's. */
void *fl_find_now(struct fl_find *find);
void fl_find_all(void);
#define FL_FIND(symbol)                                                                                              \
	({                                                                                                           \
		static struct fl_find find_ __attribute__((section("fl_finds"), used)) = {#symbol, NULL};            \
		void *found_ = __atomic_load_n(&find_.found, __ATOMIC_RELAXED);                                      \
                                                                                                                     \
		(__typeof__(&symbol))(likely(found_) ? found_ : fl_find_now(&find_));                                \
	})

/* Another name that libc has for a function. */
#if __has_attribute(copy)
#define FL_ALIAS(name, of) extern __typeof__(of) name __attribute__((copy(of), visibility("default"), alias(#of)));
#else
#define FL_ALIAS(name, of) extern __typeof__(of) name __attribute__((visibility("default"), alias(#of)));
#endif

/* From -errno to libc's convention. */
static inline long fl_ret(int64_t ret)
{
	if (!fl_host_failed((long)ret))
		return (long)ret;
	errno = (int)-ret;
	return -1;
}

/* How libc ends a fortified program. */
_Noreturn void __chk_fail(void);

/* ---- open.c ---- */

/* userfaultfd(2), -errno */
int fl_do_userfaultfd(int flags);

/* ---- fd.c ---- */

/*
 * Special descriptors that are no objects: those that stand for an open /dev/userfaultfd, some of signalfd(2), and
 * two files of /proc. For all but the first the table is only a hint, checked at each use (signal.c, procfs.c): the
 * descriptor may have been closed behind our back, or come from a parent.
 */
enum fl_fd_kind {
	FL_FD_PLAIN,
	FL_FD_DEVICE,
	FL_FD_SIGNALFD, /* whose set has SIGSEGV */
	FL_FD_PAGEMAP,
	FL_FD_CLEAR_REFS,
};
#define FL_MAX_FDS 65536
extern uint8_t fl_fd_kinds[FL_MAX_FDS];
extern uint32_t fl_nr_special;

static inline enum fl_fd_kind fl_fd_kind(int fd)
{
	if (likely(!__atomic_load_n(&fl_nr_special, __ATOMIC_RELAXED)) || fd < 0 || fd >= FL_MAX_FDS)
		return FL_FD_PLAIN;
	return (enum fl_fd_kind)fl_fd_kinds[fd];
}
void fl_set_fd_kind(int fd, enum fl_fd_kind kind);
/* In a forked child: the table describes its own descriptors now. */
void fl_fds_after_fork(void);

/* ---- cancel.c ---- */

void fl_cancel_init(void);
/* A call that is a cancellation point, on what may be an object: libc's own would look here. */
void fl_cancel_point(void);
/* libc's ppoll(). If the thread is cancelled in it, `size` bytes at `reserved`, of fl_reserve(), are given back. */
int fl_cancel_ppoll(struct pollfd *fds, nfds_t n, const struct timespec *ts, const sigset_t *mask, void *reserved,
		    size_t size);
/* close() of a descriptor that the tables have no more: the thread is not cancelled in it. */
int fl_cancel_close(int fd);

/* ---- procfs.c ---- */

#define FL_PAGEMAP_SCAN 0xc0606610u

/* `path` was opened as `fd`, or not (-1): note what it is, and that O_TRUNC emptied it. Returns fd; keeps errno. */
int fl_opened(const char *path, int fd, int flags);
/* The same for a stream; replaced if libc must not read it by itself. */
FILE *fl_stream_opened(const char *path, const char *mode, FILE *f);
/*
 * A read or write of a descriptor of those kinds; offset -1: at the file's position. False: the host's call will do.
 * Otherwise *ret is the result, and errno is set. => no lock held; may wait for pages of the caller's memory
 */
bool fl_special_transfer(ssize_t *ret, int fd, const struct iovec *iov, int n, off64_t offset, int flags, bool write);
#define FL_SPECIAL(ret, fd, ...)                                                                                     \
	(unlikely(fl_fd_kind(fd) >= FL_FD_PAGEMAP) && fl_special_transfer(ret, fd, __VA_ARGS__))
/* ioctl(PAGEMAP_SCAN). False: the host's will do. Otherwise *ret is -errno. => as above */
bool fl_pagemap_scan(int fd, uint64_t arg, int *ret);
/* In a forked child: inherited descriptors tell of the parent's memory. */
void fl_pagemap_after_fork(void);

/* ---- memory.c ---- */

/* process_madvise(2), which an older libc does not have; errno is set. */
ssize_t fl_process_madvise(int pidfd, const struct iovec *iov, size_t n, int advice, unsigned flags);

/* ---- process.c ---- */

/* At start: before the program registers fork handlers of its own. */
void fl_process_init(void);
/* Of any clone(2): it may make a table of descriptors. */
void fl_before_clone(uint64_t flags);
/*
 * clone(2), or fork(2) where there is one, as the system call `nr`: -errno. `forks`: the child has memory of its own,
 * and comes back from this call.
 */
long fl_do_clone(long nr, bool forks, long flags, long stack, long ptid, long d, long e);

/* ---- signal.c ---- */

/* The program's mask in the host's form (native/sigview.h). NULL stays NULL. */
const sigset_t *fl_native_mask(const sigset_t *set, sigset_t *copy);
/* In a new process or after exec. */
void fl_signal_init(void);
/*
 * Around execve() and posix_spawn(): the new program gets the mask that this thread believes in.
 * => no hidden page is touched between
 */
uint64_t fl_signal_exec_begin(void);
void fl_signal_exec_end(uint64_t mask);
/* So much was read from a descriptor of that kind: say SIGSEGV where it was one. */
void fl_signalfd_read(int fd, const struct iovec *iov, int n, ssize_t done);
/* rt_sigprocmask(2) and rt_sigaction(2) with sets of 8 bytes, for syscall(): errno is set. */
long fl_do_sigprocmask(int how, const void *set, void *old);
long fl_do_sigaction(int sig, const void *act, void *old);

/* ---- leave.c ---- */

/* The process may be about to lose sight of its /proc. */
void fl_before_leaving(void);

/* ---- stack.c ---- */

void fl_stack_init(void);
/* This thread gets an alternate stack, if it has none. */
void fl_stack_own(void);

/* ---- thread.c ---- */

/* In a forked child, which has this thread only. */
void fl_threads_after_fork(void);

/* ---- socket.c ---- */

/* An object's descriptor is a socket only at the host. True: it is one, and errno is ENOTSOCK. */
bool fl_no_socket(int fd);

/* ---- stubs.c ---- */

/* Redirect what can be; once. */
void fl_stubs_redirect(void);
bool fl_stubs_redirected(enum fl_stub stub);
void fl_stubs_after_fork(void);

/* ---- transfer.c ---- */

/* Would a read lose what it cannot store, such as a datagram or the count of an eventfd? */
bool fl_takes_once(int fd);
/* If so, make the buffer present before the read. */
void fl_before_read(int fd, void *buf, size_t len);
/* A read or write at the file's position has done so much. If a hidden page ended it, do the rest. */
ssize_t fl_go_on(int fd, const struct iovec *iov, int n, ssize_t done, bool write);
/* The same for recv(2). */
ssize_t fl_go_on_recv(int fd, void *buf, size_t len, int flags, ssize_t done);
/* getrandom(2) by its number: libc's function may be the vDSO's, which writes in user mode. */
ssize_t fl_getrandom(void *buf, size_t len, int flags);

#endif
