/* SPDX-License-Identifier: MIT */
/*
 * procfs.c - the process's own /proc/self/pagemap and clear_refs, by whatever name they are opened. A read of
 * pagemap is the host's, with the words of registered pages replaced; writing "4" to clear_refs clears our soft-dirty
 * bits, too.
 *
 * The table of descriptors (fd.c) is only a hint. The host is asked which file a descriptor names, and at each use
 * whether it still does. So a descriptor that a forked child has from its parent, and one that came through exec, are
 * the host's alone: they tell of other memory.
 */
#include "preload/preload.h"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define WORD 8u

/* ---- which file a descriptor names ---- */

static enum fl_fd_kind kind_of_name(const char *name)
{
	return strcmp(name, "pagemap") == 0	 ? FL_FD_PAGEMAP
	       : strcmp(name, "clear_refs") == 0 ? FL_FD_CLEAR_REFS
						 : FL_FD_PLAIN;
}

/* Cut off and return the last component of a path; NULL: there is none. */
static char *cut_last(char *path)
{
	char *slash = strrchr(path, '/');

	if (!slash)
		return NULL;
	*slash = '\0';
	return slash + 1;
}

static char *put_number(char *end, unsigned n)
{
	*--end = '\0';
	do
		*--end = (char)('0' + n % 10);
	while (n /= 10);
	return end;
}

/* What /proc/self/fd says of a descriptor. */
static bool link_of(int fd, char *link, size_t size)
{
	char path[sizeof("/proc/self/fd/") + 10] = "/proc/self/fd/", number[11];
	long n;

	strcat(path, put_number(number + sizeof(number), (unsigned)fd));
	n = hostcall_readlink(path, link, size);
	if (n <= 0 || n >= (long)size)
		return false;
	link[n] = '\0';
	return true;
}

/*
 * PROC/ID/pagemap or PROC/ID/task/TID/pagemap, where ID is a thread of this process. PROC may be mounted anywhere,
 * for another pid namespace: its `self` knows.
 */
static enum fl_fd_kind kind_of(int fd)
{
	static const char tasks[] = "/self/task/";
	char link[96], path[sizeof(link) + sizeof(tasks)], *name, *id, *parent;
	enum fl_fd_kind kind;

	if (!link_of(fd, link, sizeof(link)))
		return FL_FD_PLAIN;
	name = cut_last(link);
	kind = name ? kind_of_name(name) : FL_FD_PLAIN;
	if (!kind)
		return FL_FD_PLAIN;
	id = cut_last(link);
	parent = id ? strrchr(link, '/') : NULL;
	if (parent && strcmp(parent, "/task") == 0) {
		*parent = '\0';
		id = cut_last(link);
	}
	if (!id)
		return FL_FD_PLAIN;
	strcpy(path, link);
	strcat(path, tasks);
	strcat(path, id);
	return hostcall_exists(path) ? kind : FL_FD_PLAIN;
}

/* Files that were found to be what the table says. While one is open, no other has its number. */
static uint64_t known[FL_MAX_FDS];

/* kind_of() of a descriptor that the table has, asked once for every file. */
static enum fl_fd_kind verified(int fd)
{
	enum fl_fd_kind kind = fl_fd_kind(fd);
	struct fl_host_file st;
	uint64_t file;

	if (kind < FL_FD_PAGEMAP || fl_host_fstat(fd, &st))
		return FL_FD_PLAIN;
	file = st.inode ^ st.dev << 32;
	if (file && __atomic_load_n(&known[fd], __ATOMIC_RELAXED) == file)
		return kind;
	if (kind_of(fd) != kind)
		return FL_FD_PLAIN;
	__atomic_store_n(&known[fd], file, __ATOMIC_RELAXED);
	return kind;
}

void fl_pagemap_after_fork(void)
{
	for (int fd = 0; fd < FL_MAX_FDS && fl_nr_special; fd++)
		if (fl_fd_kinds[fd])
			known[fd] = 0;
}

/* ---- opening ---- */

#define LONGEST sizeof("/clear_refs")

/* The last bytes of a path, which the host has just read. */
static bool tail_of(const char *path, char tail[LONGEST])
{
	char buf[64], *end = NULL;
	size_t n, at;

	for (at = 0; !end && at < PATH_MAX; at += n) {
		uint64_t addr = fl_addr(path) + at;

		n = fl_min(sizeof(buf), PAGE_SIZE - (addr & ~PAGE_MASK));
		if (fl_copy_user(buf, fl_ptr(addr), n))
			return false;
		end = memchr(buf, '\0', n);
	}
	if (!end)
		return false;
	at = at - n + (size_t)(end - buf);
	n = fl_min(at, LONGEST - 1);
	tail[n] = '\0';
	return fl_copy_user(tail, path + at - n, n) == 0;
}

static bool named_so(const char *path)
{
	char tail[LONGEST], *name;

	if (!tail_of(path, tail))
		return false;
	name = strrchr(tail, '/');
	return kind_of_name(name ? name + 1 : tail);
}

int fl_opened(const char *path, int fd, int flags)
{
	if (fd < 0)
		return fd;
	fl_set_fd_kind(fd, named_so(path) ? kind_of(fd) : FL_FD_PLAIN);
	if ((flags & O_TRUNC) && fl_file_any())
		fl_native_truncated(fd);
	return fd;
}

/* ---- streams: libc's own reads would bypass us ---- */

static int cookie_fd(void *cookie)
{
	return (int)fl_addr(cookie);
}

/* An unbuffered stream of this kind reads byte by byte; the file gives whole words only. */
static ssize_t cookie_read(void *cookie, char *buf, size_t len)
{
	int fd = cookie_fd(cookie);
	char word[WORD];
	off64_t at;
	ssize_t n;

	if (len != 1)
		return read(fd, buf, len);
	at = lseek64(fd, 0, SEEK_CUR);
	n = pread64(fd, word, sizeof(word), at & ~(off64_t)(WORD - 1));
	if (n <= 0)
		return n;
	*buf = word[at & (WORD - 1)];
	lseek64(fd, at + 1, SEEK_SET);
	return 1;
}

static ssize_t cookie_write(void *cookie, const char *buf, size_t len)
{
	ssize_t n = write(cookie_fd(cookie), buf, len);

	return n < 0 ? 0 : n; /* fopencookie(3) */
}

static int cookie_seek(void *cookie, off64_t *offset, int whence)
{
	off64_t at = lseek64(cookie_fd(cookie), *offset, whence);

	if (at < 0)
		return -1;
	*offset = at;
	return 0;
}

static int cookie_close(void *cookie)
{
	return close(cookie_fd(cookie));
}

FL_EXPORT FILE *fdopen(int fd, const char *mode)
{
	static const cookie_io_functions_t calls = {cookie_read, cookie_write, cookie_seek, cookie_close};
	FILE *stream;

	if (likely(fl_fd_kind(fd) < FL_FD_PAGEMAP) || !verified(fd))
		return FL_FIND(fdopen)(fd, mode);
	stream = fopencookie(fl_ptr((uint64_t)fd), mode, calls);
	if (stream)
		stream->_fileno = fd; /* for fileno(): nothing else reads it in such a stream */
	return stream;
}

/* The flags of open() that a stream's mode implies, as far as they matter here. */
static int stream_flags(const char *mode)
{
	char first = 0;

	if (fl_file_any())
		fl_copy_user(&first, mode, 1);
	return first == 'w' ? O_TRUNC : 0;
}

FILE *fl_stream_opened(const char *path, const char *mode, FILE *f)
{
	int fd = fl_opened(path, fileno(f), stream_flags(mode)), copy;
	FILE *stream;

	if (fl_fd_kind(fd) < FL_FD_PAGEMAP)
		return f;
	copy = fcntl(fd, fcntl(fd, F_GETFD) & FD_CLOEXEC ? F_DUPFD_CLOEXEC : F_DUPFD, 0);
	fl_set_fd_kind(fd, FL_FD_PLAIN);
	fclose(f);
	stream = copy < 0 ? NULL : fdopen(copy, mode);
	if (!stream && copy >= 0)
		close(copy);
	return stream;
}

/* ---- reading pagemap ---- */

/* Do the bytes at [pos, pos + len) tell of registered memory? */
static bool concerns(uint64_t pos, uint64_t len)
{
	uint64_t first = pos / WORD, all = PAGES(TASK_SIZE), nr;

	if (first >= all)
		return false;
	nr = fl_min(len / WORD, all - first);
	return nr && fl_native_pagemap_ours(first << PAGE_SHIFT, (first + nr) << PAGE_SHIFT);
}

/* One buffer, in pieces that fit any stack. If a part of it cannot be stored to, all is EFAULT, as the kernel's. */
static int64_t read_part(int fd, char *buf, uint64_t len, uint64_t pos, int flags)
{
	uint64_t words[FL_PAGEMAP_WORDS], done = 0;

	if ((pos | len) % WORD)
		return -EINVAL;
	while (done < len) {
		struct iovec piece = {words, fl_min(len - done, (uint64_t)sizeof(words))};
		long n = hostcall_preadv2(fd, &piece, pos + done, flags);

		if (n <= 0)
			return done ? (int64_t)done : n;
		fl_native_pagemap((pos + done) / WORD << PAGE_SHIFT, (uint64_t)n / WORD, words);
		if (fl_copy_user(buf + done, words, (size_t)n))
			return -EFAULT;
		done += (uint64_t)n;
		if ((size_t)n < piece.iov_len)
			break;
	}
	return (int64_t)done;
}

/* ---- writing clear_refs ---- */

#define TEXT_MAX 12 /* of a longer text the kernel takes this much, and says so (observed on Linux 6.18) */

static bool is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r') || (unsigned char)c == 0xa0;
}

/* Is it the decimal number 4, perhaps with white space around it? The host refuses what is no number. */
static bool asks_for_soft_dirty(const char *text)
{
	const char *p = text, *end = text + strlen(text);

	while (p < end && is_space(*p))
		p++;
	while (end > p && is_space(end[-1]))
		end--;
	if (*p == '+')
		p++;
	while (p < end - 1 && *p == '0')
		p++;
	return end - p == 1 && *p == '4';
}

static int64_t write_part(int fd, char *buf, uint64_t len, uint64_t pos, int flags)
{
	char text[TEXT_MAX + 1] = {0};
	struct iovec piece = {text, fl_min(len, (uint64_t)TEXT_MAX)};
	int err;

	if (fl_copy_user(text, buf, piece.iov_len))
		return -EFAULT;
	if (asks_for_soft_dirty(text)) {
		err = fl_native_clear_refs();
		if (err)
			return err;
	}
	if (!len) /* the host would not pass an empty vector to the file */
		return hostcall_write(fd, text, 0);
	return hostcall_pwritev2(fd, &piece, pos, flags);
}

/* ---- both ---- */

/* The most that the kernel transfers */
#define TRANSFER_MAX 0x7ffff000ul

/* The sum of the parts' lengths; 0: there is something wrong with them, for the host to say. */
static uint64_t length(const struct iovec *iov, int n)
{
	struct iovec part;
	uint64_t sum = 0;

	if (n > IOV_MAX)
		return 0;
	for (int i = 0; i < n; i++) {
		if (fl_copy_user(&part, &iov[i], sizeof(part)) || part.iov_len > SSIZE_MAX)
			return 0;
		sum = fl_min(sum + part.iov_len, TRANSFER_MAX);
	}
	return sum;
}

/* The files take single buffers only, so the parts of a vector go one after the other. */
static int64_t transfer(int fd, const struct iovec *iov, int n, uint64_t pos, int flags, bool write)
{
	uint64_t done = 0;
	struct iovec part;
	int64_t ret;

	for (int i = 0; i < n && done < TRANSFER_MAX; i++) {
		if (fl_copy_user(&part, &iov[i], sizeof(part)))
			return done ? (int64_t)done : -EFAULT;
		part.iov_len = fl_min(part.iov_len, TRANSFER_MAX - done);
		ret = (write ? write_part : read_part)(fd, part.iov_base, part.iov_len, pos + done, flags);
		if (ret < 0)
			return done ? (int64_t)done : ret;
		done += (uint64_t)ret;
		if ((uint64_t)ret < part.iov_len)
			break;
	}
	return (int64_t)done;
}

bool fl_special_transfer(ssize_t *ret, int fd, const struct iovec *iov, int n, off64_t offset, int flags, bool write)
{
	enum fl_fd_kind kind = verified(fd);
	uint64_t len, pos = (uint64_t)offset;
	int64_t r;

	if (offset < -1 || (flags & ~RWF_HIPRI) || kind != (write ? FL_FD_CLEAR_REFS : FL_FD_PAGEMAP))
		return false;
	if (offset == -1)
		pos = (uint64_t)hostcall_lseek(fd, 0, SEEK_CUR);
	len = length(iov, n);
	if (!len || (write ? hostcall_access_mode(fd) == O_RDONLY : !concerns(pos, len)))
		return false;
	r = transfer(fd, iov, n, pos, flags, write);
	if (r > 0 && offset == -1)
		hostcall_lseek(fd, (int64_t)pos + r, SEEK_SET);
	*ret = (ssize_t)fl_ret(r);
	return true;
}

/* ---- ioctl ---- */

/*
 * The host cannot tell of registered pages what the kernel would. Before 6.7 there is no such request, and programs
 * read the words instead.
 */
bool fl_pagemap_scan(int fd, uint64_t arg, int *ret)
{
	uint64_t head[4]; /* size, flags, start, end */

	if (fl_fd_kind(fd) != FL_FD_PAGEMAP || verified(fd) != FL_FD_PAGEMAP ||
	    fl_copy_user(head, fl_ptr(arg), sizeof(head)) || head[2] >= head[3] ||
	    !fl_native_touches(head[2], head[3]))
		return false;
	*ret = -ENOTTY;
	return true;
}
