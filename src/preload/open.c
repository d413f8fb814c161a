/* SPDX-License-Identifier: MIT */
/*
 * open.c - new descriptors: userfaultfd(2), /dev/userfaultfd, and the files that procfs.c has to know.
 */
#include "preload/preload.h"

#include <fcntl.h>
#include <stdarg.h>
#include <string.h>

#define DEVICE "/dev/userfaultfd"

int fl_do_userfaultfd(int flags)
{
	struct fl_uffd *object;
	int err = fl_abi_check_flags(flags);

	fl_find_all();
	if (err)
		return err;
	fl_stubs_redirect();
	err = fl_native_init();
	if (!err)
		err = fl_object_new(&fl_native.mm, &fl_native_caller, flags, &object);
	return err ? err : object->fd;
}

/* Any file can stand for the device: no call that a program makes on it shows the difference. */
static int open_device(int flags)
{
	int fd = fl_host_open("/dev/null", O_RDWR | (flags & O_CLOEXEC));

	fl_find_all();
	if (fd >= 0)
		fl_set_fd_kind(fd, FL_FD_DEVICE);
	return (int)fl_ret(fd);
}

static mode_t mode_of(int flags, va_list ap)
{
	return (flags & (O_CREAT | O_TMPFILE)) ? va_arg(ap, mode_t) : 0;
}

/* A bad pointer must reach the host, which says EFAULT. No page behind the string's end is touched. */
static bool names_device(const char *path)
{
	char copy[sizeof(DEVICE)];

	for (size_t at = 0, n; at < sizeof(copy); at += n) {
		n = fl_min(sizeof(copy) - at, PAGE_SIZE - (fl_addr(path + at) & ~PAGE_MASK));
		if (!fl_peek(copy + at, path + at, n) || memcmp(copy + at, &DEVICE[at], n) != 0)
			return false;
	}
	return true;
}

/* The path is read before libc's function is called: on a hidden page that is a fault in user mode, and resolved. */
#define OPEN(name, params, args)                                                                                     \
	FL_EXPORT int name params                                                                                    \
	{                                                                                                            \
		mode_t mode;                                                                                         \
		va_list ap;                                                                                          \
                                                                                                                     \
		va_start(ap, flags);                                                                                 \
		mode = mode_of(flags, ap);                                                                           \
		va_end(ap);                                                                                          \
		if (fl_in_str(path) != FL_REFUSED && names_device(path))                                             \
			return open_device(flags);                                                                   \
		return fl_opened(path, FL_RETRY(int, FL_FIND(name) args, fl_in_str(path)), flags);                   \
	}

OPEN(open, (const char *path, int flags, ...), (path, flags, mode))
OPEN(open64, (const char *path, int flags, ...), (path, flags, mode))
OPEN(openat, (int dir, const char *path, int flags, ...), (dir, path, flags, mode))
OPEN(openat64, (int dir, const char *path, int flags, ...), (dir, path, flags, mode))

FL_EXPORT int creat(const char *path, mode_t mode)
{
	return open(path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

FL_EXPORT int creat64(const char *path, mode_t mode)
{
	return open64(path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

/* Fortified programs call these: <bits/fcntl2.h>. */
FL_EXPORT int __open_2(const char *path, int flags);
FL_EXPORT int __open64_2(const char *path, int flags);
FL_EXPORT int __openat_2(int dir, const char *path, int flags);
FL_EXPORT int __openat64_2(int dir, const char *path, int flags);

int __open_2(const char *path, int flags)
{
	return open(path, flags);
}

int __open64_2(const char *path, int flags)
{
	return open64(path, flags);
}

int __openat_2(int dir, const char *path, int flags)
{
	return openat(dir, path, flags);
}

int __openat64_2(int dir, const char *path, int flags)
{
	return openat64(dir, path, flags);
}

static FILE *stream_open(FILE *(*real)(const char *, const char *), const char *path, const char *mode)
{
	struct fl_retry retry = {0};
	FILE *f;

	if (fl_in_str(path) != FL_REFUSED && names_device(path)) {
		int fd = open_device(O_CLOEXEC);

		return fd < 0 ? NULL : fdopen(fd, mode);
	}
	do
		f = real(path, mode);
	while (!f && errno == EFAULT && fl_maybe_ours() &&
	       fl_again(&retry, FL_ALL(fl_in_str(path), fl_in_str(mode))));
	return f ? fl_stream_opened(path, mode, f) : NULL;
}

FL_EXPORT FILE *fopen(const char *restrict path, const char *restrict mode)
{
	return stream_open(FL_FIND(fopen), path, mode);
}

FL_EXPORT FILE *fopen64(const char *restrict path, const char *restrict mode)
{
	return stream_open(FL_FIND(fopen64), path, mode);
}

FL_ALIAS(__open, open)
FL_ALIAS(__open64, open64)
