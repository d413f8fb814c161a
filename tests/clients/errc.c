/* SPDX-License-Identifier: MIT */
/*
 * errc.c - see errc.h.
 */
#include "errc.h"

#include <err.h>
#include <errno.h>
#include <stdarg.h>

void errc(int status, int code, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	errno = code;
	verr(status, fmt, ap);
}
