/* SPDX-License-Identifier: MIT */
/*
 * errc.h - errc(3) of the BSDs, which the example program of userfaultfd(2) calls and glibc lacks.
 */
#ifndef ERRC_H
#define ERRC_H

void errc(int status, int code, const char *fmt, ...);

#endif
