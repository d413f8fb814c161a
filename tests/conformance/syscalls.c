/* SPDX-License-Identifier: MIT */
/*
 * syscalls.c - system calls whose buffers are in registered memory: each waits for the page as an access of the
 * program does, then does what it would have done with the page present.
 */
#include <linux/futex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "conformance.h"

#define SEEN		   "kernel 6.18, observed: the call waits for the page"
#define CASE_LIBC(fn, src) CASE_ON(fn, ON_LIBC, PROCESS, src)
#define TEXT		   "userfaultfd"
#define LEN		   ((ssize_t)sizeof(TEXT))

/* A call on a buffer at `buf`, which holds TEXT for the calls that read it; true if it did its work. */
struct buffer_call {
	bool (*call)(void *buf);
	void *buf;
	bool worked;
	atomic_bool done;
};

static void *buffer_call_run(void *arg)
{
	struct buffer_call *c = arg;

	c->worked = c->call(c->buf);
	atomic_store(&c->done, true);
	return NULL;
}

/*
 * Makes the call in a thread and resolves faults of `pages` until it completes. It must have worked, and each page
 * must have faulted once, reading or writing as `flags` says.
 */
static void serve(bool (*call)(void *), unsigned offset, unsigned pages, uint64_t flags)
{
	struct area a = area(pages, MISSING, 0);
	struct buffer_call c = {.call = call, .buf = (void *)(uintptr_t)(a.mem + offset)};
	uint64_t src = map(pages);
	unsigned faults = 0;
	pthread_t thread;

	CHECK_OK(T->store(src + offset, TEXT, sizeof(TEXT)));
	CHECK_OK(pthread_create(&thread, NULL, buffer_call_run, &c));
	for (int i = 0; i < 500 && !atomic_load(&c.done); i++) {
		struct fl_uffd_msg msg;
		uint64_t at;

		if (T->poll(a.u, 10) != POLLIN)
			continue;
		CHECK_EQ(T->read(a.u, &msg, sizeof(msg)), sizeof(msg));
		CHECK_EQ(msg.arg.pagefault.flags, flags);
		at = msg.arg.pagefault.address;
		CHECK_OK(copy(a.u, at, src + (at - a.mem), PAGE, 0, NULL));
		faults++;
	}
	CHECK(atomic_load(&c.done));
	CHECK_OK(pthread_join(thread, NULL));
	CHECK(c.worked);
	CHECK_EQ(faults, pages);
}

#define READS  0
#define WRITES FL_UFFD_PAGEFAULT_FLAG_WRITE

/* The call as the body of a case: `buf` is the buffer. */
#define CALL_CASE(fn, flags, what)                                                                                   \
	static bool fn##_call(char *buf);                                                                            \
	static bool fn##_run(void *buf)                                                                              \
	{                                                                                                            \
		return fn##_call(buf);                                                                               \
	}                                                                                                            \
	CASE_LIBC(fn, what ": " SEEN)                                                                                \
	{                                                                                                            \
		serve(fn##_run, 40, 1, flags);                                                                       \
	}                                                                                                            \
	static bool fn##_call(char *buf)

/* A pipe, file or socket with TEXT in it: the end to read from. */
static int full_pipe(void)
{
	int fd[2];

	CHECK_OK(pipe(fd));
	CHECK_EQ(write(fd[1], TEXT, LEN), LEN);
	return fd[0];
}

static int file(const char *text)
{
	FILE *f = tmpfile();

	CHECK(f);
	if (text)
		CHECK_EQ(pwrite(fileno(f), text, (size_t)LEN, 0), LEN);
	return fileno(f);
}

static bool holds(int fd)
{
	char got[LEN];

	return pread(fd, got, sizeof(got), 0) == LEN && !memcmp(got, TEXT, sizeof(got));
}

static bool is_text(const char *buf)
{
	return !strcmp(buf, TEXT);
}

CALL_CASE(syscall_read_pipe, WRITES, "read(2)")
{
	return read(full_pipe(), buf, (size_t)LEN) == LEN && is_text(buf);
}

CALL_CASE(syscall_read_file, WRITES, "read(2)")
{
	int fd = file(TEXT);

	return lseek(fd, 0, SEEK_SET) == 0 && read(fd, buf, (size_t)LEN) == LEN && is_text(buf);
}

CALL_CASE(syscall_write_file, READS, "write(2)")
{
	int fd = file(NULL);

	return write(fd, buf, (size_t)LEN) == LEN && holds(fd);
}

CALL_CASE(syscall_pread, WRITES, "pread(2)")
{
	return pread(file(TEXT), buf, (size_t)LEN, 0) == LEN && is_text(buf);
}

CALL_CASE(syscall_pwrite, READS, "pwrite(2)")
{
	int fd = file(NULL);

	return pwrite(fd, buf, (size_t)LEN, 0) == LEN && holds(fd);
}

CALL_CASE(syscall_readv, WRITES, "readv(2)")
{
	struct iovec iov = {buf, (size_t)LEN};

	return readv(full_pipe(), &iov, 1) == LEN && is_text(buf);
}

CALL_CASE(syscall_writev, READS, "writev(2)")
{
	struct iovec iov = {buf, (size_t)LEN};
	int fd = file(NULL);

	return writev(fd, &iov, 1) == LEN && holds(fd);
}

CALL_CASE(syscall_preadv, WRITES, "preadv(2)")
{
	struct iovec iov = {buf, (size_t)LEN};

	return preadv(file(TEXT), &iov, 1, 0) == LEN && is_text(buf);
}

CALL_CASE(syscall_pwritev, READS, "pwritev(2)")
{
	struct iovec iov = {buf, (size_t)LEN};
	int fd = file(NULL);

	return pwritev(fd, &iov, 1, 0) == LEN && holds(fd);
}

static void *page_of(char *buf)
{
	return (void *)((uintptr_t)buf & ~(uintptr_t)(PAGE - 1));
}

/* Of a request that does not say which way its argument goes, memory that cannot be written may yet be read. */
CALL_CASE(syscall_ioctl_read_only, READS, "ioctl_tty(2), FIONBIO")
{
	int fd = full_pipe();

	return mprotect(page_of(buf), PAGE, PROT_READ) == 0 && ioctl(fd, FIONBIO, buf) == 0 &&
	       (fcntl(fd, F_GETFL) & O_NONBLOCK);
}

CALL_CASE(syscall_fcntl_read_only, READS, "fcntl(2), F_OFD_SETLK")
{
	bool ready = mprotect(page_of(buf), PAGE, PROT_READ) == 0;

	return ready && fcntl(file(NULL), F_OFD_SETLK, buf) == -1 && errno == EINVAL; /* TEXT is no lock */
}

/* What was before is told, also where it is stored only after the change. */
CALL_CASE(syscall_rt_sigprocmask, WRITES, "sigprocmask(2)")
{
	uint64_t set = 1ull << (SIGUSR1 - 1), *old = (uint64_t *)(void *)buf;

	return syscall(SYS_rt_sigprocmask, SIG_BLOCK, &set, old, sizeof(set)) == 0 && !(*old & set);
}

CALL_CASE(syscall_rt_sigaction, WRITES, "sigaction(2)")
{
	struct {
		void (*handler)(int);
		unsigned long flags;
		void (*restorer)(void);
		uint64_t mask;
	} act = {.handler = SIG_IGN}, *old = (void *)buf;

	return syscall(SYS_rt_sigaction, SIGUSR1, &act, old, sizeof(act.mask)) == 0 && old->handler == SIG_DFL;
}

static void sockets(int fd[2])
{
	CHECK_OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, fd));
}

CALL_CASE(syscall_send, READS, "send(2)")
{
	char got[LEN];
	int fd[2];

	sockets(fd);
	return send(fd[0], buf, (size_t)LEN, 0) == LEN && recv(fd[1], got, sizeof(got), 0) == LEN && is_text(got);
}

CALL_CASE(syscall_recv, WRITES, "recv(2)")
{
	int fd[2];

	sockets(fd);
	return send(fd[0], TEXT, (size_t)LEN, 0) == LEN && recv(fd[1], buf, (size_t)LEN, 0) == LEN && is_text(buf);
}

CALL_CASE(syscall_sendmsg, READS, "sendmsg(2)")
{
	struct iovec iov = {buf, (size_t)LEN};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	char got[LEN];
	int fd[2];

	sockets(fd);
	return sendmsg(fd[0], &msg, 0) == LEN && recv(fd[1], got, sizeof(got), 0) == LEN && is_text(got);
}

CALL_CASE(syscall_recvmsg, WRITES, "recvmsg(2)")
{
	struct iovec iov = {buf, (size_t)LEN};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	int fd[2];

	sockets(fd);
	return send(fd[0], TEXT, (size_t)LEN, 0) == LEN && recvmsg(fd[1], &msg, 0) == LEN && is_text(buf);
}

CALL_CASE(syscall_raw, WRITES, "syscall(2)")
{
	return syscall(SYS_read, full_pipe(), buf, LEN) == LEN && is_text(buf);
}

CALL_CASE(syscall_getrandom, WRITES, "getrandom(2)")
{
	return getrandom(buf, 16, 0) == 16;
}

CALL_CASE(syscall_stat, WRITES, "stat(2)")
{
	struct stat *st = (struct stat *)(void *)buf;

	return fstat(0, st) == 0 || stat("/", st) == 0;
}

CALL_CASE(syscall_open_path, READS, "open(2)")
{
	return open(buf, O_RDONLY) == -1 && errno == ENOENT;
}

CALL_CASE(syscall_futex, READS, "futex(2)")
{
	return syscall(SYS_futex, buf, FUTEX_WAIT_PRIVATE, 12345, NULL, NULL, 0) == -1 && errno == EAGAIN;
}

CALL_CASE(syscall_fread, WRITES, "fread(3)")
{
	FILE *f = fdopen(file(TEXT), "r");

	return f && setvbuf(f, NULL, _IONBF, 0) == 0 && fseek(f, 0, SEEK_SET) == 0 &&
	       fread(buf, (size_t)LEN, 1, f) == 1 && is_text(buf);
}

/* ---- more than one page ---- */

static bool read_three(void *buf)
{
	int fd = file(NULL);
	char page[3 * PAGE];

	memset(page, 0x21, sizeof(page));
	return pwrite(fd, page, sizeof(page), 0) == sizeof(page) && pread(fd, buf, sizeof(page), 0) == sizeof(page) &&
	       !memcmp(buf, page, sizeof(page));
}

CASE_LIBC(syscall_read_three_pages, SEEN)
{
	serve(read_three, 0, 3, WRITES);
}

static bool write_three(void *buf)
{
	return pwrite(file(NULL), buf, 3 * PAGE, 0) == 3 * PAGE;
}

CASE_LIBC(syscall_write_three_pages, SEEN)
{
	serve(write_three, 0, 3, READS);
}

static bool over_the_edge(void *buf)
{
	char *at = (char *)buf + PAGE - 4;

	return read(full_pipe(), at, (size_t)LEN) == LEN && is_text(at);
}

CASE_LIBC(syscall_read_over_a_page_border, SEEN)
{
	serve(over_the_edge, 0, 2, WRITES);
}

static bool vector_of_three(void *buf)
{
	struct iovec iov[3];
	char page[300];
	int fd = file(NULL);

	memset(page, 0x21, sizeof(page));
	for (unsigned i = 0; i < 3; i++)
		iov[i] = (struct iovec){(char *)buf + (2 - i) * PAGE + 50, 100};
	return pwrite(fd, page, 300, 0) == 300 && preadv(fd, iov, 3, 0) == 300 && ((char *)buf)[50] == 0x21;
}

CASE_LIBC(syscall_vector_of_three_pages, SEEN)
{
	serve(vector_of_three, 0, 3, WRITES);
}

/* ---- the calls that act on memory ---- */

static void needs_mlock(void)
{
	if (SANITIZED)
		skip("the sanitizer makes mlock do nothing");
}

static bool locks(void *buf)
{
	return mlock(buf, 2 * PAGE) == 0;
}

CASE_LIBC(syscall_mlock, "mlock(2): " SEEN)
{
	needs_mlock();
	serve(locks, 0, 2, WRITES);
}

static bool populates_for_reading(void *buf)
{
	return madvise(buf, 2 * PAGE, MADV_POPULATE_READ) == 0;
}

CASE_LIBC(syscall_populate_read, "madvise(2), MADV_POPULATE_READ: " SEEN)
{
	serve(populates_for_reading, 0, 2, READS);
}

static bool populates_for_writing(void *buf)
{
	return madvise(buf, 2 * PAGE, MADV_POPULATE_WRITE) == 0;
}

CASE_LIBC(syscall_populate_write, "madvise(2), MADV_POPULATE_WRITE: " SEEN)
{
	serve(populates_for_writing, 0, 2, WRITES);
}

CASE_LIBC(mlock_present_pages, "mlock(2)")
{
	struct area a = area(2, MISSING, 0);
	void *mem = (void *)(uintptr_t)a.mem;

	needs_mlock();
	fill(a.u, a.mem, 2, 4);
	CHECK_OK(mlock(mem, 2 * PAGE));
	CHECK(page_is(a.mem, 4));
	CHECK_EQ(T->advise(a.mem, PAGE, MADV_DONTNEED), -EINVAL);
	CHECK_OK(munlock(mem, 2 * PAGE));
	CHECK_OK(T->advise(a.mem, PAGE, MADV_DONTNEED));
	expect_missing(a.u, a.mem);
}

CASE_LIBC(mlock_then_register, "mlock(2)")
{
	uint64_t mem = map(2);
	uffd_t u = uffd(0);

	needs_mlock();
	CHECK_OK(mlock((void *)(uintptr_t)mem, PAGE));
	CHECK_OK(reg(u, mem, 2 * PAGE, MISSING));
	CHECK_EQ(peek(mem), 0);
	CHECK_EQ(poke(mem, 1), 0);
	CHECK(quiet(u));
	expect_missing(u, mem + PAGE);
}

CASE_LIBC(mincore_of_missing_pages, "mincore(2)")
{
	struct area a = area(3, MISSING, 0);
	unsigned char vec[3] = {9, 9, 9};

	fill(a.u, a.mem + PAGE, 1, 4);
	CHECK_OK(mincore((void *)(uintptr_t)a.mem, 3 * PAGE, vec));
	CHECK_EQ(vec[0] & 1, 0);
	CHECK_EQ(vec[1] & 1, 1);
	CHECK_EQ(vec[2] & 1, 0);
	CHECK(quiet(a.u));
}

/* ---- a buffer whose end refuses the kernel's faults: EFAULT, at once, whatever its beginning is ---- */

#define DATAGRAMS 4

/* What is left of DATAGRAMS in a socket after one call that should have failed. */
static int left_after(ssize_t (*call)(int fd, char *border))
{
	uint64_t mem = map(2);
	uffd_t u = uffd_flags(O_CLOEXEC | O_NONBLOCK | FL_UFFD_USER_MODE_ONLY, 0);
	int fd[2], left = 0;
	char got[LEN];

	CHECK_OK(reg(u, mem, 2 * PAGE, MISSING));
	fill(u, mem, 1, 4);
	CHECK_OK(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, fd));
	for (int i = 0; i < DATAGRAMS; i++)
		CHECK_EQ(send(fd[0], TEXT, (size_t)LEN, 0), LEN);
	errno = 0;
	CHECK_EQ(call(fd[1], (char *)(uintptr_t)(mem + PAGE)), -1);
	CHECK_EQ(errno, EFAULT);
	CHECK(quiet(u));
	while (recv(fd[1], got, sizeof(got), 0) == LEN)
		left++;
	return left;
}

static ssize_t refused_read(int fd, char *border)
{
	return read(fd, border - 4, (size_t)LEN);
}

static ssize_t read_only_read(int fd, char *border)
{
	CHECK_OK(mprotect(border, PAGE, PROT_READ));
	return read(fd, border - 4, (size_t)LEN);
}

static ssize_t refused_recvmsg(int fd, char *border)
{
	struct iovec iov[2] = {{border - 4, 4}, {border, (size_t)LEN - 4}};
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};

	return recvmsg(fd, &msg, 0);
}

static ssize_t refused_syscall(int fd, char *border)
{
	socklen_t *len = (socklen_t *)(void *)(border - 64);

	*len = sizeof(struct sockaddr_storage);
	return syscall(SYS_recvfrom, fd, border, LEN, 0, border - 512, len);
}

CASE_LIBC(refused_read_takes_one_datagram, "kernel 6.18, observed")
{
	CHECK_EQ(left_after(refused_read), DATAGRAMS - 1);
}

CASE_LIBC(read_only_read_takes_one_datagram, "kernel 6.18, observed")
{
	CHECK_EQ(left_after(read_only_read), DATAGRAMS - 1);
}

CASE_LIBC(refused_recvmsg_takes_one_datagram, "kernel 6.18, observed")
{
	CHECK_EQ(left_after(refused_recvmsg), DATAGRAMS - 1);
}

CASE_LIBC(refused_syscall_takes_one_datagram, "kernel 6.18, observed")
{
	CHECK_EQ(left_after(refused_syscall), DATAGRAMS - 1);
}

/* ---- pointers that are bad are for the kernel to refuse ---- */

static void bad_pointers(void)
{
	char name[] = "true", *const args[] = {name, NULL}, *const environment[] = {(char *)16, NULL};
	const char *path = environment[0];

	if (SANITIZED)
		skip("the sanitizer reads the path itself");
	CHECK_EQ(open(path, O_RDONLY), -1);
	CHECK_EQ(errno, EFAULT);
	errno = 0;
	CHECK(!fopen(path, "r"));
	CHECK_EQ(errno, EFAULT);
	errno = 0;
	CHECK_EQ(execve("/bin/true", args, environment), -1);
	CHECK_EQ(errno, EFAULT);
}

CASE_LIBC(bad_pointers_before_the_first_object, "open(2), execve(2), EFAULT")
{
	bad_pointers();
}

CASE_LIBC(bad_pointers_beside_an_object, "open(2), execve(2), EFAULT")
{
	area(1, MISSING, 0);
	bad_pointers();
}
