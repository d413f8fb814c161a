/* SPDX-License-Identifier: MIT */
/*
 * efault.h - system calls whose memory lies on hidden pages. The host answers EFAULT where the kernel's userfaultfd
 * would have made the call wait for the page. So the page is made present as by an access of the program, and the
 * call is repeated:
 *
 *   most calls ................................ calls.def: after an EFAULT
 *   that have done something by then .......... calls.def, socket.c: before the call, too
 *   that stop in the middle of their memory ... transfer.c, stdio.c: they go on with the rest
 *
 * Where the object refuses faults of the kernel (UFFD_USER_MODE_ONLY, SIGBUS), nothing can be made present, and the
 * program sees what it would see there: EFAULT, or a short count.
 *
 * What returns an int below makes the memory of one argument present and returns an enum fl_present: FL_NOT_OURS for
 * NULL, or for memory that is not registered. => no lock held; may wait for the page
 */
#ifndef FL_PRELOAD_EFAULT_H
#define FL_PRELOAD_EFAULT_H

#include "native/native.h"
#include "native/space.h"

#include <sys/socket.h>
#include <sys/uio.h>

/*
 * Read what a pointer of the program's points to, which may be a bad one; false: it is. It is read as the program
 * would, so a hidden page is waited for.
 */
static inline bool fl_peek(void *to, const void *from, size_t len)
{
	return fl_copy_user(to, from, len) == 0;
}

/* ---- one argument ---- */

static inline int fl_in(const void *p, size_t len)
{
	return (int)fl_native_fault_in(fl_addr(p), len, false);
}

static inline int fl_out(void *p, size_t len)
{
	return (int)fl_native_fault_in(fl_addr(p), len, true);
}

/* It is not known which: for writing, or if that is refused, for reading. */
static inline int fl_in_or_out(void *p, size_t len)
{
	int present = fl_out(p, len);

	return present == FL_REFUSED ? fl_in(p, len) : present;
}

/* As `write` says; no more than a call transfers, whatever it is asked for. */
int fl_buffer(const void *p, size_t len, bool write);
/*
 * The first hidden page of a buffer, for calls that go on from there: of a large buffer a read may need only a
 * little, and the kernel would not touch the rest.
 */
int fl_next_page(const void *p, size_t len, bool write);
int fl_in_str(const char *s);
/* A buffer to write to, whose length is itself in memory. */
int fl_sized(void *buf, socklen_t *len);
int fl_iov(const struct iovec *iov, int n, bool write);
/* The first hidden page of a vector to read into. */
int fl_iov_next(const struct iovec *iov, int n);
int fl_msghdr(const struct msghdr *msg, bool write);
/* All of a message but the data. */
int fl_msghdr_head(const struct msghdr *msg, bool write);

/* ---- all arguments ---- */

/*
 * The one way to combine them, each evaluated once. What was made present is worth another call; then what is refused
 * decides, since the rest cannot make up for it.
 */
#define FL_ALL(...) fl_all_of((const int[]){__VA_ARGS__}, sizeof((const int[]){__VA_ARGS__}) / sizeof(int))
static inline int fl_all_of(const int *present, size_t n)
{
	int ret = FL_NOT_OURS;

	for (size_t i = 0; i < n; i++)
		ret = fl_max(ret, present[i]); /* enum fl_present is in this order */
	return ret;
}

/* ---- the call ---- */

struct fl_retry {
	unsigned idle;
};

/* The call failed: is it worth repeating? `present` is FL_ALL of its arguments. No: errno is EFAULT. */
bool fl_again(struct fl_retry *r, int present);

/* Could an EFAULT be due to a hidden page at all? Keeps the fast path of every wrapper to a load and a branch. */
static inline bool fl_maybe_ours(void)
{
	return __atomic_load_n(&fl_native.ready, __ATOMIC_RELAXED) &&
	       __atomic_load_n(&fl_native.mm.nr_vmas, __ATOMIC_RELAXED);
}

/* Repeat `call` while it fails with EFAULT because of hidden pages; `faults` makes its arguments present. */
#define FL_RETRY(ret_type, call, faults)                                                                             \
	({                                                                                                           \
		struct fl_retry retry_ = {0};                                                                        \
		ret_type ret_;                                                                                       \
		do                                                                                                   \
			ret_ = (call);                                                                               \
		while (unlikely((long)ret_ == -1 && errno == EFAULT) && fl_maybe_ours() &&                           \
		       fl_again(&retry_, (faults)));                                                                 \
		ret_;                                                                                                \
	})

#endif
