/* SPDX-License-Identifier: MIT */
/*
 * conformance.h - how a case is written: registration, checks, and the steps most cases share.
 *
 * A case runs in a process of its own, so it cleans up nothing and the first failed check ends it. It expects what
 * the kernel was seen to do; `source` says where that is documented, or "observed" if it is not.
 */
#ifndef CONFORMANCE_H
#define CONFORMANCE_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>

#include <faultline/faultline.h>

#include "target.h"

enum {
	ON_KERNEL = 1,
	ON_NATIVE = 2,
	ON_SOFT = 4,
	ON_LIBC = ON_KERNEL | ON_NATIVE,
	ON_ALL = ON_LIBC | ON_SOFT,
};

struct test_case {
	const char *name;
	const char *source;
	unsigned on;	 /* the targets it runs on */
	const char *why; /* why not on all of them */
	void (*run)(void);
	struct test_case *next;
};

void case_add(struct test_case *c);

/* CASE(name, "source") { body }; CASE_ON adds the targets it runs on and the reason why not on the others */
#define CASE_ON(fn, targets, reason, src)                                                                            \
	static void fn(void);                                                                                        \
	__attribute__((constructor)) static void add_##fn(void)                                                      \
	{                                                                                                            \
		static struct test_case c = {#fn, src, targets, reason, fn, NULL};                                   \
		case_add(&c);                                                                                        \
	}                                                                                                            \
	static void fn(void)
#define CASE(fn, src) CASE_ON(fn, ON_ALL, "", src)

bool on_kernel(void); /* for a case that skips what a kernel may lack, and faultline may not */
bool on_native(void); /* the reverse: where faultline needs a right that the kernel does not */

#define DESCRIPTOR "needs a file descriptor"
#define PROCESS	   "needs a process"

__attribute__((noreturn, format(printf, 3, 4))) void fail(const char *file, int line, const char *fmt, ...);
__attribute__((noreturn, format(printf, 1, 2))) void skip(const char *fmt, ...);

/* Is a sanitizer's runtime in the program, whose functions stand before libc's? */
#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || __has_feature(address_sanitizer) ||             \
	__has_feature(thread_sanitizer)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif
void check_eq(const char *file, int line, const char *what, int64_t got, int64_t want);

#define CHECK(cond)	    ((cond) ? (void)0 : fail(__FILE__, __LINE__, "not so: %s", #cond))
#define CHECK_EQ(got, want) check_eq(__FILE__, __LINE__, #got, (int64_t)(got), (int64_t)(want))
#define CHECK_OK(call)	    CHECK_EQ(call, 0)

#define PAGE	  4096ull
#define CHILD_S	  90		       /* then a child hangs; below the runner's limit */
#define UNTOUCHED 0x5a5a5a5a5a5a5a5all /* what an output field holds before the call */

#define MISSING FL_UFFDIO_REGISTER_MODE_MISSING
#define WP	FL_UFFDIO_REGISTER_MODE_WP
#define RW	(PROT_READ | PROT_WRITE)

/* ---- memory ---- */

uint64_t map_prot(unsigned pages, int prot);
uint64_t map(unsigned pages);			/* read-write, with unmapped memory around it */
uint64_t source(unsigned pages, uint8_t first); /* page i is filled with first + i */
int peek(uint64_t addr);			/* the byte, or -signal */
int poke(uint64_t addr, uint8_t byte);		/* 0, or -signal */
bool page_is(uint64_t addr, uint8_t byte);	/* the whole page holds this byte */

/* The bits of the page's word in /proc/self/pagemap that depend on the page alone: 56, 57, 61 to 63. */
uint64_t word(uint64_t addr);
bool words_are(uint64_t addr, unsigned pages, uint64_t want);
bool soft_dirty(uint64_t addr); /* bit 55 */

#define W_NONE	    0ull			      /* never touched */
#define W_ZERO	    FL_PM_PRESENT		      /* the zero page, shared by all */
#define W_LOADED    w_loaded()			      /* a load left it: the zero page, or one of its own */
#define W_OWN	    (FL_PM_PRESENT | FL_PM_EXCLUSIVE) /* a page of its own */
#define W_PROTECTED (FL_PM_PRESENT | FL_PM_EXCLUSIVE | FL_PM_UFFD_WP)
#define W_MARKER    (FL_PM_SWAP | FL_PM_UFFD_WP) /* protected before it is present */

/* What a load of an untouched page leaves is the kernel's choice, which is asked for (zero_page.c). */
bool kernel_has_zero_page(void);
uint64_t w_loaded(void);	/* the target has loaded it */
uint64_t w_loaded_before(void); /* the same before it was registered: natively, too, the kernel has */
long ask_kernel(long nr, long a, long b, long c, long d); /* as an instruction; the result, or -errno */

/* ---- ioctls: 0 or -errno; an output that the call did not write stays UNTOUCHED ---- */

uffd_t uffd(uint64_t features); /* non-blocking, with the handshake done */
uffd_t uffd_flags(int flags, uint64_t features);
int api(uffd_t u, uint64_t version, uint64_t features);
int reg_ioctls(uffd_t u, uint64_t addr, uint64_t len, uint64_t mode, uint64_t *ioctls);
int reg(uffd_t u, uint64_t addr, uint64_t len, uint64_t mode);
int unreg(uffd_t u, uint64_t addr, uint64_t len);
int wake(uffd_t u, uint64_t addr, uint64_t len);
int copy(uffd_t u, uint64_t dst, uint64_t src, uint64_t len, uint64_t mode, int64_t *copied);
int zero(uffd_t u, uint64_t addr, uint64_t len, uint64_t mode, int64_t *zeroed);
int protect(uffd_t u, uint64_t addr, uint64_t len, uint64_t mode);
void fill(uffd_t u, uint64_t addr, unsigned pages, uint8_t first); /* COPY of pages that hold first + i */

/* A fresh object, and `pages` of memory registered with it. */
struct area {
	uffd_t u;
	uint64_t mem;
};
struct area area(unsigned pages, uint64_t mode, uint64_t features);

/* ---- threads that touch memory ---- */

enum kind { LOAD, STORE, KERNEL_READ, KERNEL_WRITE };

struct touch {
	enum kind kind;
	uint64_t addr;
	uint8_t byte; /* stored or loaded */
	int ret;      /* as returned by the target's function */
	_Atomic uint32_t tid;
	atomic_bool done;
	pthread_t thread;
};

void touch_start(struct touch *t, enum kind kind, uint64_t addr, uint8_t byte);
bool touch_waits(struct touch *t);		     /* still waiting after a while */
int touch_end(struct touch *t);			     /* it must complete: joins it, returns its ret */
void touch_ends_with(struct touch *t, uint8_t byte); /* a load completes with this byte */

/* ---- messages ---- */

struct fl_uffd_msg next_msg(uffd_t u); /* waits for one, which must come */
void expect_fault(uffd_t u, uint64_t addr, uint64_t flags);
bool quiet(uffd_t u); /* no message is waiting */

/* Touching the page must fault to `u`; resolves the fault with a zero page. */
void expect_missing(uffd_t u, uint64_t addr);
/* Storing to the page must be trapped; un-protects it. */
void expect_wp(uffd_t u, uint64_t addr);

void pause_ms(int ms);

#endif
