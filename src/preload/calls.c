/* SPDX-License-Identifier: MIT */
/* calls.c - the functions of calls.def, and prctl(), whose arguments depend on its first. */
#include "preload/preload.h"

#include <aio.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <mqueue.h>
#include <stdarg.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/klog.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/sendfile.h>
#include <sys/shm.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/swap.h>
#include <sys/sysinfo.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/times.h>
#include <sys/timex.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>
#include <utime.h>

/* The kernel's signal set is shorter than libc's. */
#define KERNEL_SIGSET 8

/* libc's counts are int; the host refuses negative ones itself. */
#define COUNT(n) ((n) > 0 ? (size_t)(n) : 0)

#define IN(p, n)  fl_in(p, n)
#define OUT(p, n) fl_out(p, n)
#define STR(s)	  fl_in_str(s)
#define ALL	  FL_ALL

/* Which end of the pipe it is tells the direction. */
static int vmspliced(int fd, const struct iovec *iov, size_t n)
{
	return fl_iov(iov, (int)fl_min(n, (size_t)INT_MAX), hostcall_access_mode(fd) == O_RDONLY);
}

static int aio_data(struct aiocb *cb, bool write)
{
	struct aiocb c;
	int ret = fl_out(cb, sizeof(*cb));

	if (!fl_peek(&c, cb, sizeof(c)))
		return ret;
	return ALL(ret, fl_buffer(fl_ptr(fl_addr((const void *)c.aio_buf)), c.aio_nbytes, write));
}

/* ---- the table ---- */

#define FAILED_CALL   ((long)ret_ == -1 && errno == EFAULT)
#define FAILED_NUMBER (ret_ == EFAULT)
#define FAILED_NULLED (!ret_ && errno == EFAULT)

#define WRAP(ret, name, params, args, refused, first, failed, faults)                                                \
	FL_EXPORT ret name params;                                                                                   \
	ret name params                                                                                              \
	{                                                                                                            \
		struct fl_retry retry = {0};                                                                         \
		ret ret_;                                                                                            \
                                                                                                                     \
		if (refused)                                                                                         \
			return (ret)-1L;                                                                             \
		if ((first) && unlikely(fl_maybe_ours()))                                                            \
			(void)(faults);                                                                              \
		do                                                                                                   \
			ret_ = FL_FIND(name) args;                                                                   \
		while (unlikely(failed) && fl_maybe_ours() && fl_again(&retry, (faults)));                           \
		return ret_;                                                                                         \
	}

#define CALL(ret, name, params, args, faults)	WRAP(ret, name, params, args, false, false, FAILED_CALL, faults)
#define FIRST(ret, name, params, args, faults)	WRAP(ret, name, params, args, false, true, FAILED_CALL, faults)
#define NUMBER(ret, name, params, args, faults) WRAP(ret, name, params, args, false, false, FAILED_NUMBER, faults)
#define ERRNO(ret, name, params, args, faults)	WRAP(ret, name, params, args, false, true, FAILED_NUMBER, faults)
#define NULLED(ret, name, params, args, faults) WRAP(ret, name, params, args, false, false, FAILED_NULLED, faults)
#define SOCKET(ret, name, params, args, faults)                                                                      \
	WRAP(ret, name, params, args, fl_no_socket(fd), false, FAILED_CALL, faults)
#define TAKES(ret, name, params, args, faults)                                                                       \
	WRAP(ret, name, params, args, fl_no_socket(fd), true, FAILED_CALL, faults)
#define ONCE(ret, name, params, args, faults) WRAP(ret, name, params, args, false, true, false, faults)

/* Each is declared again: headers lack those for old programs and for fortified ones. */
#include "preload/calls.def"

/* ---- prctl(2): the option says what the arguments are ---- */

static int prctl_args(int option, const unsigned long *a)
{
	if (option == PR_SET_NAME)
		return fl_in_str(fl_ptr(a[0]));
	return ALL(fl_in_or_out(fl_ptr(a[0]), option == PR_GET_NAME ? 16 : sizeof(int)),
		   fl_in_or_out(fl_ptr(a[1]), sizeof(int)), fl_in_or_out(fl_ptr(a[2]), sizeof(int)),
		   fl_in_or_out(fl_ptr(a[3]), sizeof(int)));
}

FL_EXPORT int prctl(int option, ...)
{
	unsigned long a[4];
	va_list ap;

	va_start(ap, option);
	for (int i = 0; i < 4; i++)
		a[i] = va_arg(ap, unsigned long);
	va_end(ap);
	return FL_RETRY(int, FL_FIND(prctl)(option, a[0], a[1], a[2], a[3]), prctl_args(option, a));
}
