/* SPDX-License-Identifier: MIT */
/*
 * syscall.c - syscall(2), by which any call may be made. Calls that are interposed go to the same functions
 * (syscalls.def), the rest to the host.
 */
#include "preload/preload.h"

#include <fcntl.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct args {
	long a, b, c, d, e, f;
};

/* libc has no function for it yet. */
static int do_openat2(int dir, const char *path, const void *how, size_t size)
{
	int fd = FL_RETRY(int, (int)fl_ret(hostcall_openat2(dir, path, how, size)),
			  FL_ALL(fl_in_str(path), fl_in(how, size)));
	uint64_t flags = 0;

	if (fd >= 0 && fl_file_any())
		fl_copy_user(&flags, how, sizeof(flags)); /* the first field of struct open_how */
	return fl_opened(path, fd, (int)flags);
}

/* The first fields of struct clone_args. */
static long do_clone3(const struct args *args)
{
	struct {
		uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack;
	} how;
	bool known = fl_peek(&how, fl_ptr((uint64_t)args->a), sizeof(how));
	bool forks = known && !(how.flags & CLONE_VM) && !how.stack;

	if (known)
		fl_before_clone(how.flags);
	return fl_do_clone(SYS_clone3, forks, args->a, args->b, 0, 0, 0);
}

/*
 * Some arguments of an unknown call may be addresses: the registered pages they point to are made present, for
 * reading at first, and for writing if the call fails again.
 */
static int guess(const struct args *args)
{
	const long v[] = {args->a, args->b, args->c, args->d, args->e, args->f};
	int ret = FL_NOT_OURS;

	for (unsigned i = 0; i < ARRAY_SIZE(v); i++)
		ret = FL_ALL(ret, fl_in(fl_ptr((uint64_t)v[i]), 1));
	for (unsigned i = 0; i < ARRAY_SIZE(v) && ret != FL_NOT_OURS && ret != FL_MADE_PRESENT; i++)
		ret = FL_ALL(ret, fl_out(fl_ptr((uint64_t)v[i]), 1));
	return ret;
}

static long passed_on(long nr, const struct args *args);

/* The sixth argument points to the mask and its size. */
static long do_pselect6(const struct args *args)
{
	struct {
		const sigset_t *set;
		size_t size;
	} mask, translated;
	struct args with = *args;
	uint64_t bits;

	if (!args->f || !fl_peek(&mask, fl_ptr((uint64_t)args->f), sizeof(mask)) || mask.size != sizeof(bits) ||
	    !mask.set || !fl_peek(&bits, mask.set, sizeof(bits)))
		return passed_on(SYS_pselect6, args);
	bits = fl_mask_to_host(bits);
	translated.set = (const sigset_t *)(const void *)&bits;
	translated.size = mask.size;
	with.f = (long)(uintptr_t)&translated;
	return passed_on(SYS_pselect6, &with);
}

static long passed_on(long nr, const struct args *args)
{
	return FL_RETRY(long, fl_ret(fl_host_call(nr, args->a, args->b, args->c, args->d, args->e, args->f)),
			guess(args));
}

#define I(x)   ((int)args->x)
#define N(x)   ((size_t)args->x)
#define U(x)   ((uint64_t)args->x)
#define OFF(x) ((off64_t)args->x)
#define P(x)   fl_ptr(U(x))

static long call(long nr, const struct args *args)
{
	switch (nr) {
#define KNOWN(name, result)                                                                                          \
	case SYS_##name:                                                                                             \
		return result;
#include "preload/syscalls.def"
	default:
		return passed_on(nr, args);
	}
}

FL_EXPORT long syscall(long nr, ...)
{
	struct args args;
	va_list ap;

	va_start(ap, nr);
	args.a = va_arg(ap, long);
	args.b = va_arg(ap, long);
	args.c = va_arg(ap, long);
	args.d = va_arg(ap, long);
	args.e = va_arg(ap, long);
	args.f = va_arg(ap, long);
	va_end(ap);
	return call(nr, &args);
}
