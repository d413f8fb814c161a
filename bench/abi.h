/* SPDX-License-Identifier: MIT */
/*
 * abi.h - the calls of userfaultfd(2) and ioctl_userfaultfd(2) as uffdbench makes them: through libc, so that they
 * reach the kernel or faultline alike. They return no status: a call that fails or does half of its work ends the
 * program. Safe in a signal handler, except abi_open().
 */
#ifndef BENCH_ABI_H
#define BENCH_ABI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A descriptor after its UFFDIO_API handshake; skips the row if the host cannot provide one or lacks a feature. */
int abi_open(uint64_t features);

void abi_register(int fd, char *p, size_t len, uint64_t mode);
void abi_copy(int fd, char *dst, const char *src, size_t len);
void abi_zeropage(int fd, char *p, size_t len);
void abi_continue(int fd, char *p, size_t len);
void abi_writeprotect(int fd, char *p, size_t len, bool on);

/* madvise(MADV_DONTNEED) */
void abi_drop(char *p, size_t len);

#endif
