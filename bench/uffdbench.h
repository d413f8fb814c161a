/* SPDX-License-Identifier: MIT */
/*
 * uffdbench.h - the kinds of rows of uffdbench, a file each.
 */
#ifndef BENCH_UFFDBENCH_H
#define BENCH_UFFDBENCH_H

#include "bench.h"

void measure_fault(const struct run *run, struct series *out);	     /* faults.c */
void measure_threads(const struct run *run, struct series *out);     /* faults.c */
void measure_fill(const struct run *run, struct series *out);	     /* fills.c */
void measure_arm(const struct run *run, struct series *out);	     /* fills.c */
void measure_unprotect(const struct run *run, struct series *out);   /* fills.c */
void measure_arm_1g(const struct run *run, struct series *out);	     /* track.c */
void measure_register_1g(const struct run *run, struct series *out); /* snapshot.c */
void measure_first_register_1g(const struct run *run, struct series *out);
void measure_snapshot(const struct run *run, struct series *out);    /* snapshot.c */
void measure_dirty_round(const struct run *run, struct series *out); /* track.c */
void measure_minor(const struct run *run, struct series *out);	     /* shmem.c */
void measure_continue(const struct run *run, struct series *out);    /* shmem.c */
void measure_copy_shmem(const struct run *run, struct series *out);  /* shmem.c */
void measure_access(const struct run *run, struct series *out);	     /* access.c */
void measure_malloc(const struct run *run, struct series *out);	     /* malloc.c */
void measure_start_up(const struct run *run, struct series *out);    /* uffdbench.c */

#endif
