/* SPDX-License-Identifier: MIT */
/*
 * syscalls.c - system calls with buffers on missing pages. Each call of syscalls.def runs five times, on missing and
 * on write-protected pages: resolved by a handler thread; with UFFD_USER_MODE_ONLY, where the kernel's accesses get
 * EFAULT instead; with UFFD_FEATURE_SIGBUS, where they get EFAULT, too.
 */
#include "stress.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <mntent.h>
#include <mqueue.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/times.h>
#include <sys/timex.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* glibc 2.41 has the vDSO do it */
#if __GLIBC_PREREQ(2, 41)
#define RANDOM (OUT | USER)
#else
#define RANDOM OUT
#endif

#define PAGES 16
#define DATA  65536

enum kind { IN = 1, OUT = 2, USER = 4 };

/*
 * ---- the fixtures, made anew for every call ----------------------------------------------------------------------
 */

static uint8_t pattern[DATA], *outside;
static int file, file2, directory, source, sink[2], epoll, event, timer, futex_word;
static int pair[2], dgram[2], listening, client, unbound;
static FILE *stream, *sink_stream;
static char dir_path[64], data_path[128], link_path[128];
static struct sockaddr_un name;
static socklen_t name_len;
static struct stat st;
static cpu_set_t cpus;
static pid_t spawned;
static struct timespec zero_time, short_time = {0, 1000};
static struct timeval zero_timeval;

static void make_files(void)
{
	const char *tmp = getenv("TMPDIR");
	char sub[128];
	snprintf(dir_path, sizeof(dir_path), "%.40s/fl-XXXXXX", tmp ? tmp : "/tmp");
	CHECK(mkdtemp(dir_path));
	snprintf(data_path, sizeof(data_path), "%s/data", dir_path);
	snprintf(link_path, sizeof(link_path), "%s/link", dir_path);
	snprintf(sub, sizeof(sub), "%s/dir", dir_path);
	file = open(data_path, O_RDWR | O_CREAT, 0600);
	CHECK(file >= 0);
	CHECK_INT(write(file, pattern, DATA), DATA);
	CHECK_INT(lseek(file, 0, SEEK_SET), 0);
	CHECK_INT(symlink("data", link_path), 0);
	CHECK_INT(mkdir(sub, 0700), 0);
	directory = open(dir_path, O_RDONLY | O_DIRECTORY);
	file2 = open(dir_path, O_RDWR | O_TMPFILE, 0600);
	stream = fopen(data_path, "r");
	CHECK(directory >= 0 && file2 >= 0 && stream);
}

static void remove_files(void)
{
	static const char *const names[] = {"data", "link", "new"};
	char path[128];
	CHECK_INT(chdir("/"), 0);
	for (int i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), "%s/%s", dir_path, names[i]);
		if (unlink(path) && errno == EISDIR)
			rmdir(path);
	}
	snprintf(path, sizeof(path), "%s/dir", dir_path);
	rmdir(path);
	CHECK_INT(rmdir(dir_path), 0);
}

static void make_sockets(void)
{
	struct sockaddr_un any = {.sun_family = AF_UNIX};
	CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	CHECK_INT(write(pair[1], pattern, 100), 100);
	for (int i = 0; i < 2; i++) {
		dgram[i] = socket(AF_UNIX, SOCK_DGRAM, 0);
		CHECK_INT(bind(dgram[i], (void *)&any, sizeof(sa_family_t)), 0);
	}
	name_len = sizeof(name);
	CHECK_INT(getsockname(dgram[0], (void *)&name, &name_len), 0);
	CHECK_INT(sendto(dgram[1], pattern, 100, 0, (void *)&name, name_len), 100);
	unbound = socket(AF_UNIX, SOCK_DGRAM, 0);
	listening = socket(AF_UNIX, SOCK_STREAM, 0);
	client = socket(AF_UNIX, SOCK_STREAM, 0);
	struct sockaddr_un server;
	socklen_t len = sizeof(server);
	CHECK_INT(bind(listening, (void *)&any, sizeof(sa_family_t)), 0);
	CHECK_INT(bind(client, (void *)&any, sizeof(sa_family_t)), 0);
	CHECK_INT(listen(listening, 1), 0);
	CHECK_INT(getsockname(listening, (void *)&server, &len), 0);
	CHECK_INT(connect(client, (void *)&server, len), 0);
}

static void furnish(void)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.u64 = 42};
	int p[2];
	for (size_t i = 0; i < DATA; i++)
		pattern[i] = (uint8_t)(i * 7 + (i >> 8) * 3 + 1);
	outside = map_pages(1);
	memset(outside, 0, PAGE);
	make_files();
	make_sockets();
	CHECK_INT(pipe(p), 0);
	source = p[0];
	CHECK_INT(write(p[1], pattern, DATA), DATA);
	CHECK_INT(pipe(sink), 0);
	sink_stream = fdopen(dup(sink[1]), "w");
	epoll = epoll_create1(0);
	event = eventfd(5, EFD_NONBLOCK);
	timer = timerfd_create(CLOCK_MONOTONIC, 0);
	CHECK_INT(epoll_ctl(epoll, EPOLL_CTL_ADD, source, &ev), 0);
	CHECK_INT(sched_getaffinity(0, sizeof(cpus), &cpus), 0);
}

/* ---- the words of syscalls.def ------------------------------------------------------------------------------ */

#define AT		    (m + PAGE - 50)
#define AT_IMAGE	    (i + PAGE - 50)
#define AT8		    (m + PAGE - 48)
#define PATH		    ((char *)m + PAGE - 10)
#define PUT(at, type, ...)  (*(type *)(void *)(at) = (type){__VA_ARGS__})
#define IOV(p1, n1, p2, n2) ((struct iovec[]){{p1, n1}, {p2, n2}})

static bool same(const uint8_t *p, size_t from, size_t n)
{
	return memcmp(p, pattern + from, n) == 0;
}

static void give(uint8_t *to, size_t n)
{
	memcpy(to, pattern, n);
}

static bool blank(const uint8_t *p, size_t n)
{
	while (n && *p == 0)
		p++, n--;
	return n == 0;
}

static bool comes_from(int fd, size_t n)
{
	uint8_t buf[DATA];
	return read(fd, buf, sizeof(buf)) == (ssize_t)n && same(buf, 0, n);
}

static bool arrived(size_t n)
{
	fflush(sink_stream);
	return comes_from(sink[0], n);
}

static bool at_peer(size_t n)
{
	return comes_from(pair[1], n);
}

static bool in_file(off_t at, size_t n)
{
	uint8_t buf[1000];
	return pread(file, buf, n, at) == (ssize_t)n && same(buf, 0, n);
}

static bool close_if(long fd)
{
	return fd >= 0 && close((int)fd) == 0;
}

static void path(uint8_t *i, const char *leaf)
{
	snprintf((char *)i + PAGE - 10, 128, "%s/%s", dir_path, leaf);
}

static long fopen_result(const char *p)
{
	FILE *f = fopen(p, "r");
	return f ? fclose(f) : -1;
}

static pid_t ended_child(void)
{
	pid_t pid = fork();
	if (pid == 0)
		_exit(3);
	return pid;
}

static bool exited(pid_t pid)
{
	int status;
	return waitpid(pid, &status, 0) == pid && status == 0;
}

static long whole(size_t n, long want)
{
	return n == (size_t)want ? want : -1;
}

static int semaphore_set;

static int semaphores(void)
{
	semaphore_set = semget(IPC_PRIVATE, 100, 0600);
	return semaphore_set;
}

static long remove_semaphores(long r)
{
	int err = errno;
	semctl(semaphore_set, 0, IPC_RMID);
	errno = err;
	return r;
}

static void rights(uint8_t *i, uint8_t *m)
{
	union {
		struct cmsghdr head;
		uint8_t bytes[CMSG_SPACE(sizeof(int))];
	} c = {.head = {CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
	memcpy(CMSG_DATA(&c.head), &file, sizeof(int));
	memcpy(i + PAGE, &c, sizeof(c));
	PUT(i + 2 * PAGE, struct iovec, m + 3 * PAGE, 1);
	PUT(i, struct msghdr, .msg_iov = (void *)(m + 2 * PAGE), .msg_iovlen = 1, .msg_control = m + PAGE,
	    .msg_controllen = sizeof(c));
}

/* ---- the calls ---------------------------------------------------------------------------------------------- */

#define CALL(name, kind, prepare, call, verify)                                                                      \
	static void prepare_##name(uint8_t *i, uint8_t *m)                                                           \
	{                                                                                                            \
		prepare;                                                                                             \
	}                                                                                                            \
	static long call_##name(uint8_t *m)                                                                          \
	{                                                                                                            \
		return call;                                                                                         \
	}                                                                                                            \
	static bool verify_##name(uint8_t *m, long r)                                                                \
	{                                                                                                            \
		return verify;                                                                                       \
	}
#include "syscalls.def"
#undef CALL

static const struct call {
	const char *name;
	int kind;
	void (*prepare)(uint8_t *image, uint8_t *memory);
	long (*call)(uint8_t *memory);
	bool (*verify)(uint8_t *memory, long result);
} calls[] = {
#define CALL(name, kind, prepare, call, verify) {#name, kind, prepare_##name, call_##name, verify_##name},
#include "syscalls.def"
#undef CALL
};

struct mode {
	int flags;
	uint64_t features;
	bool protect; /* the pages are present and write-protected */
	bool refused; /* the kernel's accesses get EFAULT */
};

static _Alignas(4096) uint8_t image[PAGES * PAGE];
static const struct call *current;

static void fill_image(struct handler *h, void *page, uint64_t addr)
{
	memcpy(page, image + (addr - (uintptr_t)h->arg), PAGE);
}

static void report(const char *what, long r, int err, const struct handler *h)
{
	FAIL("%s: %s; result %ld, errno %d, %lu missing and %lu write-protect faults", current->name, what, r, err,
	     h->missing, h->wp);
}

static void check_call(const struct mode *m, struct handler *h, uint8_t *memory, long r, int err)
{
	unsigned long faults = h->missing + h->wp;
	bool touches = !m->protect || (current->kind & OUT); /* reading a write-protected page is no fault */
	if (m->refused && touches && !(current->kind & USER)) {
		if (r != -1 || err != EFAULT)
			report("not EFAULT", r, err, h);
		if (faults)
			report("faults of the kernel were delivered", r, err, h);
		return;
	}
	if (r == -1)
		report("failed", r, err, h);
	if (touches ? faults == 0 : faults != 0)
		report("wrong number of faults", r, err, h);
	if (!current->verify(memory, r))
		report("wrong result or data", r, err, h);
}

/* In a child: a call that changes the process, or hangs, affects only the child. */
static void run_call(void *arg)
{
	const struct mode *m = arg;
	uint8_t *memory = map_pages(PAGES);
	struct handler h = {.fill = fill_image, .arg = memory};
	furnish();
	current->prepare(image, memory);
	h.fd = uffd_open(O_CLOEXEC | m->flags, m->features);
	uffd_register(h.fd, memory, PAGES * PAGE, m->protect ? MISSING | WP : MISSING);
	if (m->protect)
		CHECK_INT(uffd_copy(h.fd, memory, image, sizeof(image), UFFDIO_COPY_MODE_WP), 0);
	handler_start(&h);
	errno = 0;
	long r = current->call(memory);
	int err = errno;
	check_call(m, &h, memory, r, err);
	remove_files();
}

static void run_calls(struct mode m)
{
	int failed = 0, n = 0;
	for (size_t i = 0; i < sizeof(calls) / sizeof(*calls); i++) {
		current = &calls[i];
		if ((m.features & UFFD_FEATURE_SIGBUS) && (current->kind & USER))
			continue; /* a plain SIGBUS */
		const char *only = getenv("STRESS_CALL");
		if (only && strcmp(only, current->name) != 0)
			continue;
		int status = in_child(run_call, &m);
		if (status)
			note("%s: status %#x", current->name, (unsigned)status);
		failed += status != 0;
		n++;
	}
	note("%d calls", n);
	CHECK_INT(failed, 0);
}

static void test_missing(void)
{
	run_calls((struct mode){.features = FEAT_WP});
}

static void test_wp(void)
{
	run_calls((struct mode){.features = FEAT_WP, .protect = true});
}

static void test_user_only(void)
{
	run_calls((struct mode){.flags = UFFD_USER_MODE_ONLY, .refused = true});
}

static void test_user_only_wp(void)
{
	run_calls((struct mode){.flags = UFFD_USER_MODE_ONLY, .features = FEAT_WP, .protect = true, .refused = true});
}

static void test_sigbus(void)
{
	run_calls((struct mode){.features = UFFD_FEATURE_SIGBUS, .refused = true});
}

/*
 * ---- buffers that begin on a present page and end on a missing one -----------------------------------------------
 */

/* The result where the second half gets EFAULT, and the descriptor, which has lost nothing. */
static const struct part {
	const char *name;
	long (*call)(uint8_t *m);
	long refused;
	int *rest;
} parts[] = {
	{"read pipe", call_read, -1, &source},
	{"read file", call_pread, 50, NULL},
	{"read socket", call_recv, -1, &pair[0]},
	{"preadv file", call_preadv, 50, NULL},
	{"recvmsg-like readv", call_readv, -1, &source},
	{"write pipe", call_write, -1, NULL},
	{"write file", call_pwrite, 50, NULL},
	{"write socket", call_send, -1, NULL},
	{"writev pipe", call_writev, -1, NULL},
	{"getrandom", call_getrandom_call, 50, NULL},
	{"process_vm_readv", call_process_vm_readv, 50, NULL},
};

struct part_run {
	const struct part *part;
	bool refused;
};

static void run_part(void *arg)
{
	const struct part_run *run = arg;
	const struct part *p = run->part;
	uint8_t *m = map_pages(PAGES), buf[100];
	struct handler h = {.fd = uffd_open(O_CLOEXEC | (run->refused ? UFFD_USER_MODE_ONLY : 0), 0)};
	furnish();
	uffd_register(h.fd, m, PAGES * PAGE, MISSING);
	give(image, sizeof(image));
	CHECK_INT(uffd_copy(h.fd, m, image, PAGE, 0), 0);
	h.fill = fill_image;
	h.arg = m;
	handler_start(&h);
	errno = 0;
	long r = p->call(m), want = run->refused ? p->refused : 100;
	int err = errno;
	if (r != want || (r == -1 && err != EFAULT))
		FAIL("%s, %s: result %ld, errno %d, %lu faults", p->name, run->refused ? "refused" : "resolved", r,
		     err, h.missing);
	CHECK_INT(h.missing > 0, !run->refused);
	if (run->refused && p->rest) { /* nothing was taken */
		CHECK_INT(read(*p->rest, buf, 100), 100);
		CHECK(same(buf, 0, 100));
	}
	remove_files();
}

static void test_partial(void)
{
	int failed = 0;
	for (size_t i = 0; i < 2 * sizeof(parts) / sizeof(*parts); i++) {
		struct part_run run = {&parts[i / 2], i % 2};
		failed += in_child(run_part, &run) != 0;
	}
	CHECK_INT(failed, 0);
}

static const struct test tests[] = {
	{"missing", test_missing, 0},
	{"write-protected", test_wp, 0},
	{"user-mode-only-missing", test_user_only, 0},
	{"user-mode-only-write-protected", test_user_only_wp, 0},
	{"sigbus", test_sigbus, 0},
	{"half-there", test_partial, 0},
	{NULL, NULL, 0},
};

int main(int argc, char **argv)
{
	return run_tests(argc, argv, tests);
}
