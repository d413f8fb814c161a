/* SPDX-License-Identifier: MIT */
/* entry.h - reading and writing page-table entries whole. */
#ifndef FL_BASE_ENTRY_H
#define FL_BASE_ENTRY_H

#include "base/types.h"

static inline uint64_t fl_entry_read(const uint64_t *p)
{
	return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

static inline void fl_entry_write(uint64_t *p, uint64_t v)
{
	__atomic_store_n(p, v, __ATOMIC_RELEASE);
}

static inline bool fl_entry_cmpxchg(uint64_t *p, uint64_t *expected, uint64_t v)
{
	return __atomic_compare_exchange_n(p, expected, v, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

#endif
