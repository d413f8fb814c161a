/* SPDX-License-Identifier: MIT */
/*
 * stress.c - see stress.h.
 */
#include "stress.h"

#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define EXIT_SKIP 77

/* ---- the runner --------------------------------------------------------------------------------------------- */

/* One write(2) a line, so that lines of threads and children do not mix. */
static void line(const char *prefix, const char *fmt, va_list ap)
{
	char text[512];
	int n = snprintf(text, sizeof(text), "%s", prefix);
	n += vsnprintf(text + n, sizeof(text) - (size_t)n - 1, fmt, ap);
	if (n > (int)sizeof(text) - 2)
		n = (int)sizeof(text) - 2;
	text[n++] = '\n';
	if (write(STDOUT_FILENO, text, (size_t)n) < 0)
		_exit(1);
}

static void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	line("", fmt, ap);
	va_end(ap);
}

void note(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	line("# ", fmt, ap);
	va_end(ap);
}

void die(const char *file, int at, const char *fmt, ...)
{
	const char *base = strrchr(file, '/');
	char where[128];
	va_list ap;
	va_start(ap, fmt);
	snprintf(where, sizeof(where), "# %s:%d: ", base ? base + 1 : file, at);
	line(where, fmt, ap);
	va_end(ap);
	_exit(1);
}

void skip(const char *why)
{
	note("skip: %s", why);
	_exit(getenv("STRESS_NO_SKIP") ? 1 : EXIT_SKIP);
}

#define BUSY 5 /* so many times as long may a case take on a busy machine, or where faults are slow */

/* The status of a child, or -1 if it had to be killed. Polls: a timer or SIGCHLD would interfere with the cases. */
static int wait_child(pid_t pid, int seconds)
{
	int status;
	for (double end = now() + seconds; now() < end; sleep_ms(2))
		if (waitpid(pid, &status, WNOHANG) == pid)
			return status;
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	return -1;
}

static bool run_one(const char *self, const struct test *t, int number)
{
	double start = now();
	pid_t pid = fork();
	if (pid == 0) {
		execl("/proc/self/exe", self, t->name, (char *)NULL);
		_exit(1);
	}
	int status = wait_child(pid, BUSY * (t->seconds ? t->seconds : 60));
	bool skipped = status != -1 && WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SKIP;
	bool ok = status == 0 || skipped;
	if (status == -1)
		note("%s: hangs", t->name);
	else if (WIFSIGNALED(status))
		note("%s: %s", t->name, strsignal(WTERMSIG(status)));
	say("%s %d - %s # %s%.2f s", ok ? "ok" : "not ok", number, t->name, skipped ? "SKIP " : "", now() - start);
	return ok;
}

int run_cases(int argc, char **argv, const struct test *tests)
{
	int n = 0, failed = 0;
	if (argc > 1) {
		for (; tests->name; tests++)
			if (!strcmp(argv[1], tests->name))
				return tests->fn(), 0;
		fprintf(stderr, "%s: no case %s\n", argv[0], argv[1]);
		return 2;
	}
	while (tests[n].name)
		n++;
	say("1..%d", n);
	for (int i = 0; i < n; i++)
		failed += !run_one(argv[0], &tests[i], i + 1);
	return failed != 0;
}

int run_tests(int argc, char **argv, const struct test *tests)
{
	int fd = uffd_new(O_CLOEXEC);
	if (fd < 0 && !getenv("STRESS_NO_SKIP")) {
		say("1..0 # SKIP userfaultfd(2) is refused: %s", strerror(errno));
		return EXIT_SKIP;
	}
	close(fd);
	return run_cases(argc, argv, tests);
}

/* ---- time, chance, memory, threads, children ---------------------------------------------------------------- */

double now(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

bool goes_on(double began, double usual, bool enough)
{
	double t = now() - began;
	return t < usual || (!enough && t < usual + 2 * PATIENCE);
}

double stress_seconds(double usual)
{
	const char *asked = getenv("STRESS_SECONDS");
	return asked && atof(asked) > 0 ? atof(asked) : usual;
}

void sleep_ms(int ms)
{
	struct timespec ts = {ms / 1000, ms % 1000 * 1000000L};
	while (nanosleep(&ts, &ts) != 0 && errno == EINTR)
		;
}

/* xorshift64; the state must not be 0 */
uint64_t rnd(uint64_t *state)
{
	uint64_t x = *state;
	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return *state = x;
}

void *map_pages(size_t pages)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	void *p = mmap(NULL, pages * (size_t)PAGE, PROT_READ | PROT_WRITE, flags, -1, 0);
	CHECK(p != MAP_FAILED);
	return p;
}

long raw(long nr, long a, long b, long c, long d, long e, long f)
{
#if defined(__x86_64__)
	register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
#elif defined(__aarch64__)
	register long x8 __asm__("x8") = nr, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c,
			 x3 __asm__("x3") = d, x4 __asm__("x4") = e, x5 __asm__("x5") = f;

	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
	return x0;
#else /* nothing is interposed there */
	long ret = syscall(nr, a, b, c, d, e, f);

	return ret == -1 ? -errno : ret;
#endif
}

bool may_write(void *at)
{
	return raw(SYS_getrandom, (long)at, 1, 1 /* GRND_NONBLOCK */, 0, 0, 0) == 1;
}

pthread_t spawn(void *(*fn)(void *), void *arg)
{
	pthread_t t;
	CHECK_INT(pthread_create(&t, NULL, fn, arg), 0);
	return t;
}

void *join(pthread_t thread)
{
	void *ret;
	CHECK_INT(pthread_join(thread, &ret), 0);
	return ret;
}

int in_child(void (*fn)(void *), void *arg)
{
	int status;
	pid_t pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		fn(arg);
		_exit(0);
	}
	while (waitpid(pid, &status, 0) != pid)
		CHECK_INT(errno, EINTR);
	return status;
}

bool wait_for(const atomic_int *flag, int value, double seconds)
{
	for (double end = now() + seconds; atomic_load(flag) < value; sleep_ms(1))
		if (now() > end)
			return false;
	return true;
}

int lines_in(const char *path)
{
	char buf[4096];
	int lines = 0, fd = open(path, O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0);
	for (ssize_t n; (n = read(fd, buf, sizeof(buf))) > 0;)
		for (ssize_t i = 0; i < n; i++)
			lines += buf[i] == '\n';
	close(fd);
	return lines;
}

void stamp(void *page, uint64_t id)
{
	uint64_t *w = page;
	for (size_t i = 0; i < PAGE / sizeof(*w); i++)
		w[i] = id * 0x9e3779b97f4a7c15ull + i;
}

bool stamped(const void *page, uint64_t id)
{
	const volatile uint64_t *w = page;
	for (size_t i = 0; i < PAGE / sizeof(*w); i++)
		if (w[i] != id * 0x9e3779b97f4a7c15ull + i)
			return false;
	return true;
}

void same_set(const sigset_t *got, const sigset_t *want, const char *what)
{
	for (int s = 1; s <= 64; s++)
		if (s != SIGKILL && s != SIGSTOP && s != 32 && s != 33 && sigismember(got, s) != sigismember(want, s))
			FAIL("%s: signal %d is %s", what, s, sigismember(got, s) ? "set" : "clear");
}

/* ---- userfaultfd -------------------------------------------------------------------------------------------- */

int uffd_new(int flags)
{
	return (int)syscall(SYS_userfaultfd, flags);
}

int uffd_open(int flags, uint64_t features)
{
	int fd = uffd_new(flags);
	CHECK(fd >= 0);
	struct uffdio_api api = {.api = UFFD_API, .features = features};
	CHECK_INT(ioctl(fd, UFFDIO_API, &api), 0);
	return fd;
}

void uffd_register(int fd, void *addr, size_t len, uint64_t mode)
{
	struct uffdio_register r = {.range = {(uintptr_t)addr, len}, .mode = mode};
	CHECK_INT(ioctl(fd, UFFDIO_REGISTER, &r), 0);
	CHECK(r.ioctls & (1ull << _UFFDIO_COPY));
}

int uffd_unregister(int fd, void *addr, size_t len)
{
	struct uffdio_range r = {(uintptr_t)addr, len};
	return ioctl(fd, UFFDIO_UNREGISTER, &r) ? -errno : 0;
}

int uffd_wake(int fd, void *addr, size_t len)
{
	struct uffdio_range r = {(uintptr_t)addr, len};
	return ioctl(fd, UFFDIO_WAKE, &r) ? -errno : 0;
}

int uffd_copy(int fd, void *dst, const void *src, size_t len, uint64_t mode)
{
	struct uffdio_copy c = {.dst = (uintptr_t)dst, .src = (uintptr_t)src, .len = len, .mode = mode};
	while (ioctl(fd, UFFDIO_COPY, &c) != 0) {
		if (errno != EAGAIN)
			return -errno;
		if (c.copy > 0) {
			c.dst += (uint64_t)c.copy;
			c.src += (uint64_t)c.copy;
			c.len -= (uint64_t)c.copy;
		}
		c.copy = 0;
	}
	return 0;
}

int uffd_zero(int fd, void *addr, size_t len)
{
	struct uffdio_zeropage z = {.range = {(uintptr_t)addr, len}};
	return ioctl(fd, UFFDIO_ZEROPAGE, &z) ? -errno : 0;
}

int uffd_protect(int fd, void *addr, size_t len, bool on)
{
	struct uffdio_writeprotect w = {.range = {(uintptr_t)addr, len}, .mode = on};
	int err;
	while ((err = ioctl(fd, UFFDIO_WRITEPROTECT, &w) ? -errno : 0) == -EAGAIN)
		;
	return err;
}

bool uffd_next(int fd, struct uffd_msg *msg, int ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	int n = poll(&p, 1, ms);
	if (n != 1 || p.revents != POLLIN)
		return false;
	return read(fd, msg, sizeof(*msg)) == sizeof(*msg);
}

static void resolve(struct handler *h, const struct uffd_msg *msg)
{
	static _Thread_local _Alignas(PAGE) uint8_t page[PAGE];
	uint64_t addr = PAGE_OF(msg->arg.pagefault.address);
	int err;
	CHECK_INT(msg->event, UFFD_EVENT_PAGEFAULT);
	if (msg->arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP) {
		h->wp++;
		err = uffd_protect(h->fd, (void *)(uintptr_t)addr, PAGE, false);
	} else {
		if (h->fill)
			h->fill(h, page, addr);
		else
			stamp(page, addr);
		h->missing++;
		err = uffd_copy(h->fd, (void *)(uintptr_t)addr, page, PAGE, h->copy_mode);
	}
	if (err == -EEXIST || (err && h->lenient))
		uffd_wake(h->fd, (void *)(uintptr_t)addr, PAGE);
	else if (err)
		FAIL("fault at %#llx, flags %llx: %s", (unsigned long long)addr,
		     (unsigned long long)msg->arg.pagefault.flags, strerror(-err));
}

static void *handler_main(void *arg)
{
	struct handler *h = arg;
	struct pollfd p[2] = {{.fd = h->fd, .events = POLLIN}, {.fd = h->stop, .events = POLLIN}};
	struct uffd_msg msg[16];
	for (;;) {
		CHECK(poll(p, 2, -1) > 0);
		if (p[1].revents)
			return NULL;
		ssize_t n = read(h->fd, msg, sizeof(msg));
		if (n < 0 && errno == EAGAIN)
			continue;
		CHECK(n > 0 && n % (ssize_t)sizeof(*msg) == 0);
		for (ssize_t i = 0; i < n / (ssize_t)sizeof(*msg); i++)
			resolve(h, &msg[i]);
	}
}

void handler_start(struct handler *h)
{
	sigset_t all, old;
	sigfillset(&all);
	h->stop = eventfd(0, EFD_CLOEXEC);
	CHECK(h->stop >= 0);
	CHECK_INT(fcntl(h->fd, F_SETFL, fcntl(h->fd, F_GETFL) | O_NONBLOCK), 0);
	pthread_sigmask(SIG_BLOCK, &all, &old); /* the program's signals are not for this thread */
	h->thread = spawn(handler_main, h);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

void handler_stop(struct handler *h)
{
	CHECK_INT(eventfd_write(h->stop, 1), 0);
	join(h->thread);
	close(h->stop);
}
