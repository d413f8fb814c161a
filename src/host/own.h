/* SPDX-License-Identifier: MIT */
/*
 * own.h - the engine's own memory: metadata, the pool, the stacks it makes, its code and data. For the program there
 * is nothing at these addresses: its calls pass them by as a hole, and fl_host_maps_next() does not list them.
 *
 * Async-signal-safe, without a lock. What is being added or removed just now may be missed.
 */
#ifndef FL_HOST_OWN_H
#define FL_HOST_OWN_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Private memory of the engine's, of which only what is written costs memory. It is mapped from /dev/zero where there
 * is such a file, so that a program that looks for anonymous memory in /proc/self/maps does not find it.
 */
long fl_own_map(uint64_t len, int prot);
/* The same at that address, without rights: 0, -EEXIST, -ENOMEM. Not noted before fl_own_add(). */
int fl_own_map_beside(uint64_t addr, uint64_t len);
void fl_own_unmap(uint64_t start, uint64_t len);
/* Memory that was mapped otherwise. */
void fl_own_add(uint64_t start, uint64_t len);
/*
 * The same of the object that the engine's code and data are in, and of these the part that is anonymous, from `bss`
 * on, to which is done what fl_own_map() does: it keeps its contents. => once, before there are threads
 */
void fl_own_set_image(uint64_t start, uint64_t bss, uint64_t end);
/*
 * Where to map `len` bytes for the engine: neither near the program's mappings nor at a place that can be foretold. A
 * hint for mmap(2); 0: anywhere.
 */
uint64_t fl_own_place(uint64_t len);
/* The lowest part of [*start, end) that is the engine's: [*start, *stop). */
bool fl_own_next(uint64_t *start, uint64_t end, uint64_t *stop);

#endif
