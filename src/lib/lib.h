/* SPDX-License-Identifier: MIT */
/*
 * lib.h - where the layers are wired together: objects with descriptors, the caller's memory, the process's mapping
 * calls. The public API and the interposed libc functions are both thin over this. Results are -errno.
 */
#ifndef FL_LIB_LIB_H
#define FL_LIB_LIB_H

#include "abi/abi.h"
#include "native/space.h"
#include "soft/soft.h"

#include <faultline/testing.h>

/* The result of a call that is made with signals kept out. */
#define FL_SIGNALS_OUT(call)                                                                                         \
	({                                                                                                           \
		uint64_t signals_out = fl_signals_block();                                                           \
		__typeof__(call) call_ret = (call);                                                                  \
		fl_signals_restore(signals_out);                                                                     \
		call_ret;                                                                                            \
	})

/* ---- objects (object.c) ---- */

/*
 * A userfaultfd object and the descriptors that name it. The descriptor is one end of a socket pair: a byte in it
 * makes it readable, and closing its last copy, anywhere in the system, hangs up the other end.
 */
struct fl_uffd {
	uint32_t refs; /* [a] table entries and calls in progress; memory of objects is only ever used for objects */
	uint32_t nr_fds;		/* [t] table entries */
	int first_fd;			/* [t] of a list of them, -1: none */
	uint32_t calls;			/* [a] reads and ioctls in progress */
	int fd;				/* [ctx->lock] one of this end, for taking the byte out; -1: none left */
	uint32_t tokens;		/* [ctx->lock] bytes in it */
	int peer;			/* [c] the other end */
	int watch;			/* [t] on the last copy of this end, once there is none here; or negative */
	uint64_t peer_inode;		/* [c] */
	int32_t tid;			/* [c] the thread that has made it */
	int32_t pid;			/* [c] its process: a forked child holds the descriptor, but not the memory */
	struct fl_uffd_ctx *ctx;	/* [c] */
	const struct fl_caller *caller; /* [c] */
	uint64_t dev, inode;		/* [c] of the socket: tells it when it comes back through another socket */
	bool in_flight;			/* [t] no descriptor here, but one somewhere */
	struct fl_uffd *next;		/* [t] of all objects */
	struct fl_uffd *next_free;
};

/* ---- objects and tables of descriptors (reach.c) ---- */

/*
 * A thread of this process has a table of its own from now on, or may. Then the numbers in object.c are hints: what
 * is looked for is the socket, in the thread's own table, and whether an object is closed only its sockets tell.
 */
void fl_reach_own_table(void);
/* Is there one table, as far as is known? */
bool fl_reach_by_number(void);
/* Does the number name this socket of the object's here? */
bool fl_reach_is(const struct fl_uffd *object, int fd, uint64_t inode);

/*
 * A descriptor of such a socket, wherever it is; -EBADF: closed; other negative: out of reach. => fl_reach_end()
 * afterwards
 */
struct fl_reach {
	int fd;
	bool fetched;
};
struct fl_reach fl_reach(const struct fl_uffd *object, int fd, uint64_t inode);
void fl_reach_end(struct fl_reach reach);

/* ---- objects (object.c) ---- */

/*
 * A new object, with the lowest free descriptor. `caller` says how the arguments of its ioctls are reached; `flags`
 * as in fl_uffd_open(), checked. -ENOMEM, -EMFILE, -ENFILE
 */
int fl_object_new(struct fl_mm *mm, const struct fl_caller *caller, int flags, struct fl_uffd **object);

/*
 * The object that a descriptor of this process names, with a reference; NULL: it names something else.
 * Async-signal-safe.
 */
struct fl_uffd *fl_object_get(int fd);
void fl_object_put(struct fl_uffd *object);
/* Is any descriptor at all an object's? No lock, for the first instruction of interposed calls. */
bool fl_object_any(void);

/* `fd` is about to be closed. Returns what to pass to fl_object_closed() afterwards, or NULL. */
struct fl_uffd *fl_object_closing(int fd);
/* It is closed. The last one ends the object. */
void fl_object_closed(struct fl_uffd *object);
/* `copy` is a new descriptor of what `fd` names. */
void fl_object_dup(int fd, int copy);
/* `fd` came in through a socket (SCM_RIGHTS): perhaps an object's descriptor comes back. */
void fl_object_received(int fd);
/* Does the descriptor name an object of another process, or of a program that this one was before exec? */
bool fl_object_foreign(int fd);
/*
 * A call on the object is in progress between the two: it keeps the object alive, as the kernel keeps an open file.
 */
void fl_object_begin(struct fl_uffd *object);
void fl_object_end(struct fl_uffd *object);
/*
 * How a read or poll of an object sleeps: fl_ctx_sleep(), unless the caller's threads can be cancelled. Where such a
 * sleep does not return, _left() ends the call: it drops what fl_object_get() and fl_object_begin() have taken.
 */
extern fl_sleep_fn *fl_object_sleep;
void fl_object_sleep_left(struct fl_uffd_ctx *ctx, bool poll);
/* The same object's ioctl and read, with signals kept out. */
int fl_object_ioctl(struct fl_uffd *object, unsigned long cmd, uint64_t arg);
int64_t fl_object_read(struct fl_uffd *object, uint64_t buf, uint64_t len);
/* Always 0. */
int fl_object_set_nonblock(struct fl_uffd *object, bool on);
/* As fl_uffd_set_handler(). -ENOMEM */
int fl_object_set_handler(struct fl_uffd *object, fl_fault_fn *fn, void *arg);
/* Descriptors that are the engine's own: the program does not know them and must not close them. */
bool fl_object_private_fd(int fd);
/* The lowest descriptor of an object or of the engine that is `from` or above; -1: none */
int fl_object_next_fd(int from);
/* Before fork(): the child will have copies of the descriptors, and may look at them. */
void fl_object_before_fork(void);
/* In a forked child: no descriptor's object is this process's. */
void fl_object_after_fork(void);

/* ---- the two kinds of address space, for api.c and object.c ---- */

/* What faultline.h does differently on the process and on soft spaces. 0 or addresses, or -errno. => no lock held */
struct fl_space {
	/* `shmem` NULL: anonymous memory */
	int64_t (*mmap)(struct fl_mm *mm, uint64_t addr, uint64_t len, int prot, int flags, struct fl_shmem *shmem,
			uint64_t offset);
	int (*munmap)(struct fl_mm *mm, uint64_t addr, uint64_t len);
	int (*mprotect)(struct fl_mm *mm, uint64_t addr, uint64_t len, int prot);
	int64_t (*mremap)(struct fl_mm *mm, uint64_t addr, uint64_t old_len, uint64_t new_len, int flags,
			  uint64_t new_addr);
	int (*madvise)(struct fl_mm *mm, uint64_t addr, uint64_t len, int advice);
	/* One load or store: FAULT_WRITE, FAULT_KERNEL; *done is how much was copied. */
	enum fl_fault (*access)(struct fl_mm *mm, uint64_t addr, void *buf, size_t len, uint32_t flags, size_t *done);
	int (*destroy)(struct fl_mm *mm);
	int (*fork)(struct fl_mm *parent, struct fl_mm **child);
	int (*shmem_new)(struct fl_mm *mm, uint64_t size, struct fl_shmem **shmem);
	int64_t (*migrate)(struct fl_mm *mm, uint64_t addr, uint64_t len);
	struct fl_caller caller; /* how ioctl arguments and the sources of fills are reached */
};

extern const struct fl_space fl_soft_space; /* soft_space.c */

/* native_space.c, or no_native.c on machines for which there is no native backend */

/* NULL: it is not the process's address space */
const struct fl_space *fl_native_space(const struct fl_mm *mm);
extern const struct fl_caller fl_native_caller;
/* The process as an address space. -ENOSYS: there is no backend for it; others as fl_native_init() */
int fl_native_open(struct fl_mm **mm);
/* Is it a descriptor of the native backend? */
bool fl_native_private_fd(int fd);
/* The lowest of them that is `from` or above; -1: none */
int fl_native_next_fd(int from);

/* ---- fork.c ---- */

/*
 * Around fork(). A child whose prepare failed, where the caller could not refuse the fork, must not run. -ENOMEM,
 * -EMFILE, -ENFILE
 */
int fl_native_fork_prepare(void);
/* Could it be done now? For a caller that can still refuse. */
int fl_native_fork_check(void);
/* `pid` is the child's; negative: there is none. False: it has ended, or never was, though it was prepared. */
bool fl_native_fork_parent(int32_t pid);
void fl_native_fork_child(void);

#endif
