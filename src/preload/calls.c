/* SPDX-License-Identifier: MIT */
/* calls.c - the functions of calls.def, and prctl(), whose arguments depend on its first. */
#include "preload/preload.h"

#include <aio.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <mntent.h>
#include <mqueue.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/fanotify.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/klog.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/quota.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/sendfile.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/swap.h>
#include <sys/sysinfo.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/times.h>
#include <sys/timex.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>
#include <utime.h>
#include <utmp.h>
#include <utmpx.h>

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

static int aio_list(struct aiocb *const list[], int n)
{
	int ret = FL_NOT_OURS;
	struct aiocb *cb, c;

	for (int i = 0; i < n && fl_peek(&cb, &list[i], sizeof(cb)); i++)
		if (cb && fl_peek(&c, cb, sizeof(c)))
			ret = ALL(ret, aio_data(cb, c.aio_lio_opcode == LIO_READ));
	return ret;
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

#define QUIET(name, params, args, faults)                                                                            \
	FL_EXPORT void name params;                                                                                  \
	void name params                                                                                             \
	{                                                                                                            \
		if (unlikely(fl_maybe_ours()))                                                                       \
			(void)(faults);                                                                              \
		FL_FIND(name) args;                                                                                  \
	}
#define ALIAS FL_ALIAS

/* Each is declared again: headers lack those for old programs and for fortified ones. */
#include "preload/calls.def"

/* ---- calls whose first arguments say what the others are ---- */

FL_EXPORT mqd_t mq_open(const char *name, int flags, ...)
{
	struct mq_attr *attr;
	mode_t mode;
	va_list ap;

	va_start(ap, flags);
	mode = (mode_t)va_arg(ap, unsigned);
	attr = va_arg(ap, struct mq_attr *);
	va_end(ap);
	return FL_RETRY(mqd_t, FL_FIND(mq_open)(name, flags, mode, attr),
			ALL(STR(name), (flags & O_CREAT) ? IN(attr, sizeof(*attr)) : FL_NOT_OURS));
}

FL_EXPORT mqd_t __mq_open_2(const char *name, int flags);
mqd_t __mq_open_2(const char *name, int flags)
{
	return FL_RETRY(mqd_t, FL_FIND(__mq_open_2)(name, flags), STR(name));
}

/* An array with a number for every semaphore, or a struct. */
static int semctl_arg(int id, int cmd, void *arg)
{
	struct semid_ds ds;

	if (cmd == SETVAL)
		return FL_NOT_OURS;
	if (cmd != GETALL && cmd != SETALL)
		return fl_in_or_out(arg, sizeof(ds));
	return FL_FIND(semctl)(id, 0, IPC_STAT, &ds) ? FL_NOT_OURS : fl_in_or_out(arg, ds.sem_nsems * sizeof(short));
}

FL_EXPORT int semctl(int id, int n, int cmd, ...)
{
	va_list ap;
	void *arg;

	va_start(ap, cmd);
	arg = va_arg(ap, void *);
	va_end(ap);
	return FL_RETRY(int, FL_FIND(semctl)(id, n, cmd, arg), semctl_arg(id, cmd, arg));
}

static int ptrace_data(enum __ptrace_request request, void *addr, void *data)
{
	switch (request) {
	case PTRACE_GETREGSET:
		return ALL(OUT(data, sizeof(struct iovec)), fl_iov(data, 1, true));
	case PTRACE_SETREGSET:
		return ALL(OUT(data, sizeof(struct iovec)), fl_iov(data, 1, false));
	case PTRACE_GETSIGINFO:
	case PTRACE_SETSIGINFO:
		return fl_in_or_out(data, sizeof(siginfo_t));
	case PTRACE_PEEKSIGINFO:
		return ALL(IN(addr, sizeof(struct __ptrace_peeksiginfo_args)), OUT(data, sizeof(siginfo_t)));
	case PTRACE_GETEVENTMSG:
	case PTRACE_GETSIGMASK:
	case PTRACE_SETSIGMASK:
		return fl_in_or_out(data, KERNEL_SIGSET);
#ifdef PTRACE_GETREGS
	case PTRACE_GETREGS:
	case PTRACE_SETREGS:
		return fl_in_or_out(data, sizeof(struct user_regs_struct));
	case PTRACE_GETFPREGS:
	case PTRACE_SETFPREGS:
		return fl_in_or_out(data, sizeof(struct user_fpregs_struct));
#endif
	default:
		return FL_NOT_OURS;
	}
}

FL_EXPORT long ptrace(enum __ptrace_request request, ...)
{
	void *addr, *data;
	va_list ap;
	pid_t pid;

	va_start(ap, request);
	pid = va_arg(ap, pid_t);
	addr = va_arg(ap, void *);
	data = va_arg(ap, void *);
	va_end(ap);
	return FL_RETRY(long, FL_FIND(ptrace)(request, pid, addr, data), ptrace_data(request, addr, data));
}

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
	if (option == PR_SET_DUMPABLE)
		fl_before_leaving();
	else if (option == PR_SET_SECCOMP)
		fl_enters_sandbox();
	return FL_RETRY(int, FL_FIND(prctl)(option, a[0], a[1], a[2], a[3]), prctl_args(option, a));
}
