/* SPDX-License-Identifier: MIT */
/*
 * syscall.c - syscall(2), through which any call may come. Those that other files know go to the same functions; the
 * rest go to the host as they are.
 */
#include "preload/preload.h"

#include <fcntl.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define P(x) fl_ptr((uint64_t)(x))
#define I(x) ((int)(x))
#define Z(x) ((size_t)(x))

struct args {
	long a, b, c, d, e, f;
};

/* Processes made by a raw clone() without shared memory: what libc's fork() would have told our handlers. */
static long do_clone(long nr, const struct args *a)
{
	long ret;

	if (nr == SYS_clone && (a->a & CLONE_VM))
		return fl_sys(nr, a->a, a->b, a->c, a->d, a->e);
	if (nr == SYS_clone && a->b) /* a child on another stack comes back somewhere else than here */
		return fl_sys(nr, a->a, a->b, a->c, a->d, a->e);
	ret = fl_native_fork_prepare();
	if (ret)
		return ret;
	ret = fl_sys(nr, a->a, a->b, a->c, a->d, a->e);
	if (ret)
		fl_native_fork_parent();
	else {
		fl_native_fork_child();
		fl_fds_after_fork();
	}
	return ret;
}

/* libc has no function of this name yet. */
static int do_openat2(const struct args *a)
{
	int fd = FL_RETRY(int, (int)fl_ret(fl_sys(SYS_openat2, a->a, a->b, a->c, a->d)),
			  FL_ALL(fl_in_str(P(a->b)), fl_in(P(a->c), Z(a->d))));
	uint64_t flags = 0;

	if (fd >= 0 && fl_file_any())
		fl_copy_user(&flags, P(a->c), sizeof(flags)); /* the first field of struct open_how */
	return fl_opened(P(a->b), fd, (int)flags);
}

/* Calls that are a libc function's. Returns false for others. */
static bool known(long nr, const struct args *a, long *ret)
{
	switch (nr) {
	case SYS_userfaultfd:
		*ret = fl_ret(fl_do_userfaultfd(I(a->a)));
		return true;
	case SYS_ioctl:
		*ret = ioctl(I(a->a), (unsigned long)a->b, a->c);
		return true;
	case SYS_read:
		*ret = read(I(a->a), P(a->b), Z(a->c));
		return true;
	case SYS_write:
		*ret = write(I(a->a), P(a->b), Z(a->c));
		return true;
	case SYS_readv:
		*ret = readv(I(a->a), P(a->b), I(a->c));
		return true;
	case SYS_writev:
		*ret = writev(I(a->a), P(a->b), I(a->c));
		return true;
	case SYS_pread64:
		*ret = pread64(I(a->a), P(a->b), Z(a->c), a->d);
		return true;
	case SYS_pwrite64:
		*ret = pwrite64(I(a->a), P(a->b), Z(a->c), a->d);
		return true;
	case SYS_preadv:
		*ret = preadv64(I(a->a), P(a->b), I(a->c), a->d);
		return true;
	case SYS_pwritev:
		*ret = pwritev64(I(a->a), P(a->b), I(a->c), a->d);
		return true;
	case SYS_preadv2: /* the offset is in two halves, of which the first is enough */
		*ret = preadv64v2(I(a->a), P(a->b), I(a->c), a->d, I(a->f));
		return true;
	case SYS_pwritev2:
		*ret = pwritev64v2(I(a->a), P(a->b), I(a->c), a->d, I(a->f));
		return true;
	case SYS_openat2:
		*ret = do_openat2(a);
		return true;
	case SYS_openat:
		*ret = openat(I(a->a), P(a->b), I(a->c), (mode_t)a->d);
		return true;
	case SYS_close:
		*ret = close(I(a->a));
		return true;
	case SYS_close_range:
		*ret = close_range((unsigned)a->a, (unsigned)a->b, I(a->c));
		return true;
	case SYS_dup:
		*ret = dup(I(a->a));
		return true;
	case SYS_dup3:
		*ret = dup3(I(a->a), I(a->b), I(a->c));
		return true;
	case SYS_fcntl:
		*ret = fcntl(I(a->a), I(a->b), a->c);
		return true;
	case SYS_ppoll:
		*ret = ppoll(P(a->a), (nfds_t)a->b, P(a->c), P(a->d));
		return true;
	case SYS_mmap:
		*ret = fl_ret(
			fl_native_mmap((uint64_t)a->a, (uint64_t)a->b, I(a->c), I(a->d), I(a->e), (uint64_t)a->f));
		return true;
	case SYS_munmap:
		*ret = fl_ret(fl_native_munmap((uint64_t)a->a, (uint64_t)a->b));
		return true;
	case SYS_mprotect:
		*ret = fl_ret(fl_native_mprotect((uint64_t)a->a, (uint64_t)a->b, I(a->c)));
		return true;
	case SYS_truncate:
		*ret = truncate64(P(a->a), (off64_t)a->b);
		return true;
	case SYS_ftruncate:
		*ret = ftruncate64(I(a->a), (off64_t)a->b);
		return true;
	case SYS_fallocate:
		*ret = fallocate64(I(a->a), I(a->b), (off64_t)a->c, (off64_t)a->d);
		return true;
	case SYS_madvise:
		*ret = fl_ret(fl_native_madvise((uint64_t)a->a, (uint64_t)a->b, I(a->c)));
		return true;
	case SYS_mremap:
		*ret = fl_ret(
			fl_native_mremap((uint64_t)a->a, (uint64_t)a->b, (uint64_t)a->c, I(a->d), (uint64_t)a->e));
		return true;
	case SYS_mlock:
		*ret = mlock(P(a->a), Z(a->b));
		return true;
	case SYS_mincore:
		*ret = mincore(P(a->a), Z(a->b), P(a->c));
		return true;
	case SYS_rt_sigprocmask:
		if (a->d != 8)
			return false;
		*ret = fl_do_sigprocmask(I(a->a), P(a->b), P(a->c));
		return true;
	case SYS_rt_sigaction:
		if (a->d != 8)
			return false;
		*ret = fl_do_sigaction(I(a->a), P(a->b), P(a->c));
		return true;
	case SYS_sigaltstack:
		*ret = sigaltstack(P(a->a), P(a->b));
		return true;
	case SYS_clone:
#ifdef SYS_fork
	case SYS_fork:
#endif
		*ret = fl_ret(do_clone(nr, a));
		return true;
#ifdef SYS_poll
	case SYS_poll:
		*ret = poll(P(a->a), (nfds_t)a->b, I(a->c));
		return true;
	case SYS_dup2:
		*ret = dup2(I(a->a), I(a->b));
		return true;
	case SYS_open:
		*ret = open(P(a->a), I(a->b), (mode_t)a->c);
		return true;
	case SYS_creat:
		*ret = creat(P(a->a), (mode_t)a->b);
		return true;
#endif
	default:
		return false;
	}
}

/*
 * Of any other call nothing is known but that some arguments may be addresses: pages of ours that they point to are
 * made present, first for reading, and, should the call fail again, for writing.
 */
static int guess(const struct args *a)
{
	long v[] = {a->a, a->b, a->c, a->d, a->e, a->f};
	int ret = FL_NOT_OURS;

	for (unsigned i = 0; i < ARRAY_SIZE(v); i++)
		ret = FL_ALL(ret, fl_in(P(v[i]), 1));
	for (unsigned i = 0; i < ARRAY_SIZE(v) && ret != FL_NOT_OURS && ret != FL_MADE_PRESENT; i++)
		ret = FL_ALL(ret, fl_out(P(v[i]), 1));
	return ret;
}

FL_EXPORT long syscall(long nr, ...)
{
	struct args a;
	va_list ap;
	long ret;

	va_start(ap, nr);
	a.a = va_arg(ap, long);
	a.b = va_arg(ap, long);
	a.c = va_arg(ap, long);
	a.d = va_arg(ap, long);
	a.e = va_arg(ap, long);
	a.f = va_arg(ap, long);
	va_end(ap);
	if (known(nr, &a, &ret))
		return ret;
	return FL_RETRY(long, fl_ret(fl_sys(nr, a.a, a.b, a.c, a.d, a.e, a.f)), guess(&a));
}
