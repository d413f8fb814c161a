/* SPDX-License-Identifier: MIT */
/*
 * types.h - the small vocabulary that every layer shares: page arithmetic, compiler words, assertions.
 */
#ifndef FL_BASE_TYPES_H
#define FL_BASE_TYPES_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE_SHIFT 12
#define PAGE_SIZE  (1ull << PAGE_SHIFT)
#define PAGE_MASK  (~(PAGE_SIZE - 1))
#define PMD_SHIFT  21
#define PMD_SIZE   (1ull << PMD_SHIFT)
#define PMD_MASK   (~(PMD_SIZE - 1))

#define PAGE_ALIGN(x)	   (((x) + PAGE_SIZE - 1) & PAGE_MASK)
#define PAGE_ALIGN_DOWN(x) ((x)&PAGE_MASK)
#define PAGE_ALIGNED(x)	   (((x) & ~PAGE_MASK) == 0)
#define PMD_ALIGN_DOWN(x)  ((x)&PMD_MASK)
#define PMD_ALIGN(x)	   (((x) + PMD_SIZE - 1) & PMD_MASK)
#define PAGES(bytes)	   ((bytes) >> PAGE_SHIFT)

/* One past the last address of a program: four levels of page tables, lower half. */
#define TASK_SIZE ((1ull << 47) - PAGE_SIZE)

#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#define fl_min(a, b) ((a) < (b) ? (a) : (b))
#define fl_max(a, b) ((a) > (b) ? (a) : (b))

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* A number as a pointer of this process, and back. The two places where the kinds may mix. */
static inline void *fl_ptr(uint64_t addr)
{
	return (void *)(uintptr_t)addr;
}

static inline uint64_t fl_addr(const void *ptr)
{
	return (uint64_t)(uintptr_t)ptr;
}

/* Prints on stderr what is wrong, without stdio, and aborts. Async-signal-safe. */
_Noreturn void fl_bug(const char *what, const char *file, int line);

/* Always on: for conditions without which the client's memory would be corrupted. */
#define FL_BUG_ON(cond)                                                                                              \
	do {                                                                                                         \
		if (unlikely(cond))                                                                                  \
			fl_bug(#cond, __FILE__, __LINE__);                                                           \
	} while (0)

#endif
