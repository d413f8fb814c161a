/* SPDX-License-Identifier: MIT */
/*
 * tool.h - what the files of the `faultline` command share.
 *
 * main.c parses the command line down to the subcommand; run.c starts a program on faultline, with elf.c (can it be
 * preloaded?), deny.c (the system call filter), inject.c (failures on demand) and stats.c (what happened); doctor.c
 * reports what this host offers, which probe.c finds out by trying, and what syscalls.c lists.
 */
#ifndef FL_TOOLS_TOOL_H
#define FL_TOOLS_TOOL_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include <faultline/faultline.h>

#include "base/inject.h"
#include "host/stats.h"

#ifndef FL_LIBDIR
#define FL_LIBDIR "lib" /* absolute, or relative to the prefix */
#endif

/*
 * Exit statuses. Those of `run` are the ones of env(1), timeout(1) and their like, so that they can be told from
 * the program's own as well as anywhere.
 */
enum {
	EX_ABSENT = 1,	     /* doctor: faultline cannot work on this host */
	EX_BADUSAGE = 2,     /* a bad command line, except after `run` */
	EX_OWN = 125,	     /* run: a bad command line, or faultline itself failed */
	EX_CANNOT_RUN = 126, /* run: the program is there and cannot be run, or not on faultline */
	EX_NOT_FOUND = 127,  /* run: no such program */
};

/* Print "faultline: ..." on stderr, one line, and return `status`. */
__attribute__((format(printf, 2, 3))) int fail(int status, const char *fmt, ...);

int cmd_run(int argc, char **argv);
int cmd_doctor(int argc, char **argv);

/*
 * Look a program up as execvp(3) does. 0, or the exit status after a line on stderr.
 */
int find_program(const char *name, char path[PATH_MAX]);

/*
 * Would the dynamic loader put faultline's library into this program? 0, or the exit status after a line on stderr
 * that says why not and what to do.
 */
int check_program(const char *path);

/*
 * Find libfaultline-preload.so: $FAULTLINE_PRELOAD if that is set, otherwise beside this executable (the build
 * tree), or in the library directory that belongs to it. False: `why` says what is wrong.
 */
bool find_library(char path[PATH_MAX], char *why, size_t size);

/*
 * Counters that a program with the library, started by this process, shares: it finds them by FAULTLINE_STATS, which
 * is set. 0 or -errno.
 */
int share_stats(struct fl_stats **stats);

/* Let the kernel refuse userfaultfd to this process and all that it starts. 0 or -errno. */
int deny_kernel(void);

/* What faultline calls the kernel for beside what the program asks for: for seccomp profiles. */
struct syscall_use {
	const char *name;
	long number;
	const char *use, *refused; /* what for, and what happens without it */
};

extern const struct syscall_use syscall_uses[];
extern const size_t syscall_use_count;

/* The points of --inject, on stdout: a line of explanation each. */
void list_inject_points(void);

void print_stats(FILE *out, const struct fl_stats *stats, bool json);

#endif
