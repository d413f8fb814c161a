/* SPDX-License-Identifier: MIT */
/* stdio.c - streams, where libc transfers large blocks directly to and from the program's memory. */
#include "preload/preload.h"

typedef size_t stream_fn(void *buf, size_t size, size_t n, FILE *stream);

/* Counted in bytes, so that a transfer that ends inside a member can go on. It does so after EFAULT only. */
static size_t stream_transfer(stream_fn *f, void *buf, size_t size, size_t n, FILE *stream, bool write)
{
	struct fl_retry retry = {0};
	size_t done = 0, total = size * n;
	int saved = errno;

	if (likely(!fl_maybe_ours()) || !total)
		return f(buf, size, n, stream);
	for (;;) {
		errno = 0;
		done += f((char *)buf + done, 1, total - done, stream);
		if (done == total || errno != EFAULT || !ferror_unlocked(stream) ||
		    !fl_again(&retry, (write ? fl_next_page : fl_buffer)((char *)buf + done, total - done, write)))
			break;
		clearerr_unlocked(stream);
	}
	if (!errno)
		errno = saved;
	return done == total ? n : done / size;
}

/* <bits/stdio.h> may define macros of these names. */
#undef fread_unlocked
#undef fwrite_unlocked

#define STREAM(name, qualifier, write)                                                                               \
	FL_EXPORT size_t name(qualifier void *restrict buf, size_t size, size_t n, FILE *restrict stream)            \
	{                                                                                                            \
		return stream_transfer((stream_fn *)(void *)FL_FIND(name), fl_ptr(fl_addr(buf)), size, n, stream,    \
				       write);                                                                       \
	}

STREAM(fread, , true)
STREAM(fread_unlocked, , true)
STREAM(fwrite, const, false)
STREAM(fwrite_unlocked, const, false)

/* Fortified programs call these: <bits/stdio2.h>. */
#define FREAD_CHK(name, plain)                                                                                       \
	FL_EXPORT size_t name(void *restrict buf, size_t room, size_t size, size_t n, FILE *restrict stream);        \
	size_t name(void *restrict buf, size_t room, size_t size, size_t n, FILE *restrict stream)                   \
	{                                                                                                            \
		if (size && n > room / size)                                                                         \
			__chk_fail();                                                                                \
		return plain(buf, size, n, stream);                                                                  \
	}

FREAD_CHK(__fread_chk, fread)
FREAD_CHK(__fread_unlocked_chk, fread_unlocked)
