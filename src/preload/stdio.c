/* SPDX-License-Identifier: MIT */
/* stdio.c - streams: libc transfers large blocks straight from and to the program's memory. */
#include "preload/preload.h"

typedef size_t stream_fn(void *buf, size_t size, size_t n, FILE *stream);

/* In bytes, so that what is done is known when it ends in the middle of a member. Only after EFAULT it goes on. */
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

/* <bits/stdio.h> may have macros of these names. */
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

/* What <bits/stdio2.h> calls in fortified programs. */
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
