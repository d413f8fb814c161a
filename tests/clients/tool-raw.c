/* SPDX-License-Identifier: MIT */
/*
 * tool-raw.c - asks the kernel for userfaultfd by instructions of its own, in every possible way: what no preloaded
 * library can answer. Prints a line "NAME RESULT" for each: ok, an errno's name, or none where this machine cannot
 * ask that way. For the tests of `faultline run --deny-kernel`.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <faultline/uapi.h>

#define X32 0x40000000l

static long native(long nr, long a, long b, long c, long d)
{
#if defined(__x86_64__)
	register long r10 __asm__("r10") = d;
	long ret;

	__asm__ volatile("syscall" : "=a"(ret) : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
	return ret;
#elif defined(__aarch64__)
	register long x8 __asm__("x8") = nr;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;

	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
	return x0;
#endif
}

static void report(const char *name, long ret)
{
	printf("%s %s\n", name, ret >= 0 ? "ok" : strerrorname_np((int)-ret));
}

#if defined(__x86_64__)
static sigjmp_buf no_i386;

static void on_fault(int sig)
{
	(void)sig;
	siglongjmp(no_i386, 1);
}

/* The 32-bit system call entry is open to 64-bit programs, where the kernel has it. */
static void report_i386(const char *name, long nr, long a, long b, long c)
{
	long ret;

	signal(SIGSEGV, on_fault);
	if (sigsetjmp(no_i386, 1)) {
		printf("%s none\n", name);
		return;
	}
	__asm__ volatile("int $0x80"
			 : "=a"(ret)
			 : "a"(nr), "b"(a), "c"(b), "d"(c)
			 : "memory", "r8", "r9", "r10", "r11");
	report(name, (int)ret);
}
#endif

int main(void)
{
	struct fl_uffdio_api api = {.api = FL_UFFD_API};
	unsigned char bytes[64];
	int pipes[2];

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (pipe(pipes))
		return 1;
	report("userfaultfd", native(SYS_userfaultfd, O_CLOEXEC, 0, 0, 0));
	report("userfaultfd-user-mode", native(SYS_userfaultfd, FL_UFFD_USER_MODE_ONLY, 0, 0, 0));
	long device = native(SYS_openat, AT_FDCWD, (long)"/dev/userfaultfd", O_RDWR, 0);
	report("device", device < 0 ? device : native(SYS_ioctl, device, (long)FL_USERFAULTFD_IOC_NEW, 0, 0));
	/* on a descriptor of another kind: the errno is the same with the filter and without it */
	report("api-on-pipe", native(SYS_ioctl, pipes[0], (long)FL_UFFDIO_API, (long)&api, 0));
	/* bits above 31 do not matter to the kernel, nor may they to the filter */
	report("device-high-bits",
	       device < 0 ? device : native(SYS_ioctl, device, (long)(FL_USERFAULTFD_IOC_NEW | 1ul << 40), 0, 0));
	report("fionread", native(SYS_ioctl, pipes[0], FIONREAD, (long)bytes, 0));
	report("getpid", native(SYS_getpid, 0, 0, 0, 0));
#if defined(__x86_64__)
	report("x32-userfaultfd", native(SYS_userfaultfd | X32, 0, 0, 0, 0));
	report_i386("i386-userfaultfd", 374, 0, 0, 0);
	report_i386("i386-device", 54, device, (long)FL_USERFAULTFD_IOC_NEW, 0);
	report_i386("i386-getpid", 20, 0, 0, 0);
#endif
	return 0;
}
