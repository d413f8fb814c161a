/* SPDX-License-Identifier: MIT */
/*
 * efault.c - the memory behind an argument of a system call, made present as by an access of the program: efault.h.
 * The arguments are the program's and may be bad pointers, NULL included. Nothing behind one is read but by
 * fl_copy_user(), which then ends early.
 */
#include "preload/preload.h"

#include <limits.h>
#include <string.h>

/* How often a call is repeated with nothing to make present: a page may have been hidden for a moment. */
#define MAX_IDLE 8

bool fl_again(struct fl_retry *r, int present)
{
	bool again = present == FL_MADE_PRESENT || (present == FL_WAS_PRESENT && r->idle < MAX_IDLE);

	r->idle = present == FL_MADE_PRESENT ? 0 : r->idle + 1;
	if (!again)
		errno = EFAULT;
	return again;
}

/* The longest string that the kernel takes: an argument of execve(2). */
#define STRING_MAX (32 * PAGE_SIZE)

/* Each page must be present before the string can be followed into the next. */
int fl_in_str(const char *s)
{
	int ret = FL_NOT_OURS;
	char buf[256];
	size_t n;

	if (!s || !fl_maybe_ours())
		return ret;
	for (size_t at = 0; at < STRING_MAX; at += n) {
		uint64_t addr = fl_addr(s) + at;

		if (!at || PAGE_ALIGNED(addr))
			ret = FL_ALL(ret, fl_in(fl_ptr(addr), 1));
		n = fl_min(sizeof(buf), PAGE_SIZE - (addr & ~PAGE_MASK));
		if (!fl_peek(buf, fl_ptr(addr), n) || memchr(buf, '\0', n))
			break;
	}
	return ret;
}

/* No call transfers more than this. */
#define TRANSFER_MAX 0x7ffff000ul

int fl_buffer(const void *p, size_t len, bool write)
{
	return p ? (int)fl_native_fault_in(fl_addr(p), fl_min(len, TRANSFER_MAX), write) : FL_NOT_OURS;
}

int fl_next_page(const void *p, size_t len, bool write)
{
	uint64_t at = fl_addr(p), end = at + fl_min(len, TRANSFER_MAX);
	int present = FL_NOT_OURS, ret = FL_NOT_OURS;

	for (; p && at < end; at = PAGE_ALIGN_DOWN(at) + PAGE_SIZE) {
		if (present == FL_MADE_PRESENT || present == FL_REFUSED)
			break;
		if (present == FL_NOT_OURS && !fl_native_touches(at, end))
			break;
		present = (int)fl_native_fault_in(at, 1, write);
		ret = FL_ALL(ret, present);
	}
	return ret;
}

static int vector(const struct iovec *iov, int n, bool write, bool all)
{
	struct iovec part;
	int ret;

	if (n <= 0 || n > IOV_MAX)
		return FL_NOT_OURS;
	ret = fl_in(iov, (size_t)n * sizeof(*iov));
	for (int i = 0; i < n && fl_peek(&part, &iov[i], sizeof(part)) && (all || ret != FL_MADE_PRESENT); i++)
		ret = FL_ALL(ret, (all ? fl_buffer : fl_next_page)(part.iov_base, part.iov_len, write));
	return ret;
}

int fl_iov(const struct iovec *iov, int n, bool write)
{
	return vector(iov, n, write, true);
}

int fl_iov_next(const struct iovec *iov, int n)
{
	return vector(iov, n, true, false);
}

int fl_msghdr_head(const struct msghdr *msg, bool write)
{
	struct msghdr m;
	int ret = fl_buffer(msg, sizeof(*msg), write);

	if (!fl_peek(&m, msg, sizeof(m)))
		return ret;
	return FL_ALL(ret, fl_buffer(m.msg_name, m.msg_namelen, write),
		      fl_buffer(m.msg_control, m.msg_controllen, write));
}

int fl_msghdr(const struct msghdr *msg, bool write)
{
	struct msghdr m;
	int ret = fl_msghdr_head(msg, write);

	if (!fl_peek(&m, msg, sizeof(m)))
		return ret;
	return FL_ALL(ret, fl_iov(m.msg_iov, (int)fl_min(m.msg_iovlen, INT_MAX), write));
}

int fl_sized(void *buf, socklen_t *len)
{
	int ret = fl_out(len, sizeof(*len));
	socklen_t n;

	if (!fl_peek(&n, len, sizeof(n)))
		return ret;
	return FL_ALL(ret, fl_buffer(buf, n, true));
}
