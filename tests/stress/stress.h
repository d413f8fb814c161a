/* SPDX-License-Identifier: MIT */
/*
 * stress.h - what the stress programs share: a TAP runner that gives every case a process of its own, checks that
 * name their line, the userfaultfd calls as one-liners, and a handler thread. The programs know nothing of faultline:
 * they are built against libc and the system's <linux/userfaultfd.h>, and run on the kernel as well.
 */
#ifndef STRESS_H
#define STRESS_H

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <linux/userfaultfd.h>

#define PAGE	      4096l
#define PAGE_OF(addr) ((uint64_t)(addr) & ~(uint64_t)4095)
#define MISSING	      UFFDIO_REGISTER_MODE_MISSING
#define WP	      UFFDIO_REGISTER_MODE_WP
#define FEAT_WP	      UFFD_FEATURE_PAGEFAULT_FLAG_WP

/* ---- the runner --------------------------------------------------------------------------------------------- */

struct test {
	const char *name; /* NULL ends the table */
	void (*fn)(void);
	int seconds; /* until it counts as hung, on an idle machine; 0: 60 */
};

/* Run the case named by argv[1] in this process, or, without arguments, every case in a process of its own. */
int run_cases(int argc, char **argv, const struct test *tests);
/* The same, but where the system refuses userfaultfd the program skips, unless STRESS_NO_SKIP is set. */
int run_tests(int argc, char **argv, const struct test *tests);

_Noreturn void skip(const char *why);
_Noreturn void die(const char *file, int line, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#define FAIL(...) die(__FILE__, __LINE__, __VA_ARGS__)
#define CHECK(cond)                                                                                                  \
	do {                                                                                                         \
		if (!(cond))                                                                                         \
			FAIL("%s (errno %d)", #cond, errno);                                                         \
	} while (0)
#define CHECK_INT(expr, want)                                                                                        \
	do {                                                                                                         \
		long long got_ = (long long)(expr), want_ = (long long)(want);                                       \
		if (got_ != want_)                                                                                   \
			FAIL("%s is %lld, not %lld (errno %d)", #expr, got_, want_, errno);                          \
	} while (0)
#define CHECK_ERR(expr, err)                                                                                         \
	do {                                                                                                         \
		errno = 0;                                                                                           \
		long long got_ = (long long)(expr);                                                                  \
		if (got_ != -1 || errno != (err))                                                                    \
			FAIL("%s is %lld with errno %d, not -1 with %d", #expr, got_, errno, (err));                 \
	} while (0)

/* ---- time, chance, memory, threads, children ---------------------------------------------------------------- */

double now(void);		     /* seconds, monotonic */
double stress_seconds(double usual); /* STRESS_SECONDS, if it is set: how long a program is to go on */
void sleep_ms(int ms);
uint64_t rnd(uint64_t *state);
void *map_pages(size_t pages); /* private, anonymous, read-write */
pthread_t spawn(void *(*fn)(void *), void *arg);
void *join(pthread_t thread);
/* Runs fn in a forked child, which exits 0 if fn returns; returns the status of waitpid(2). */
int in_child(void (*fn)(void *), void *arg);

#define PATIENCE 60.0 /* seconds; for what must happen */

/* Should a loop that began then continue? For that many seconds, and on a busy machine until it has done enough. */
bool goes_on(double began, double usual, bool enough);

/* Wait until *flag is at least `value`; false after `seconds`. */
bool wait_for(const atomic_int *flag, int value, double seconds);
int lines_in(const char *path); /* /proc/self/maps: the number of mappings */

/* Fail if the sets differ. Signals 32 and 33 are libc's, KILL and STOP cannot be blocked: they do not count. */
void same_set(const sigset_t *got, const sigset_t *want, const char *what);

/* A page that records which page it is, and in which generation it was filled. */
void stamp(void *page, uint64_t id);
bool stamped(const void *page, uint64_t id);

/* One load or store that the compiler neither moves nor merges: a signal handler may run in the middle of it. */
#define compiler_barrier() __asm__ volatile("" : : : "memory")

static inline uint8_t peek(const void *p)
{
	compiler_barrier();
	uint8_t v = *(const volatile uint8_t *)p;
	compiler_barrier();
	return v;
}

static inline void poke(void *p, uint8_t v)
{
	compiler_barrier();
	*(volatile uint8_t *)p = v;
	compiler_barrier();
}

/* A system call past libc and anything that interposes it; -errno. */
long raw(long nr, long a, long b, long c, long d, long e, long f);
/* Asked of the kernel, and changes a byte: /proc/self/maps would do, but says less plainly what may be done. */
bool may_write(void *at);

/* ---- userfaultfd -------------------------------------------------------------------------------------------- */

int uffd_new(int flags);		     /* the system call alone */
int uffd_open(int flags, uint64_t features); /* with the handshake */
void uffd_register(int fd, void *addr, size_t len, uint64_t mode);
int uffd_unregister(int fd, void *addr, size_t len);
int uffd_wake(int fd, void *addr, size_t len);
/* 0 or -errno; a partial fill is continued from where it stopped */
int uffd_copy(int fd, void *dst, const void *src, size_t len, uint64_t mode);
int uffd_zero(int fd, void *addr, size_t len);
int uffd_protect(int fd, void *addr, size_t len, bool on);
/* Wait for a message, at most `ms`; false if none came. */
bool uffd_next(int fd, struct uffd_msg *msg, int ms);

/* A thread that resolves faults: missing pages from fill(), write-protected pages by removing the protection. */
struct handler {
	int fd;
	void (*fill)(struct handler *h, void *page, uint64_t addr); /* NULL: stamp(page, addr) */
	void *arg;
	uint64_t copy_mode;
	bool lenient; /* pages may be gone or filled already when their fault is handled */
	int stop;
	pthread_t thread;
	atomic_ulong missing, wp;
};

void handler_start(struct handler *h);
void handler_stop(struct handler *h);

#endif
