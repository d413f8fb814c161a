/* SPDX-License-Identifier: MIT */
/*
 * deny.c - the system call filter of `faultline run --deny-kernel`.
 *
 * It answers userfaultfd(2) with EPERM, as the default profiles of containers do, and every ioctl(2) of
 * userfaultfd's kind (0xAA: UFFDIO_*, and USERFAULTFD_IOC_NEW on /dev/userfaultfd) with ENOTTY, as a descriptor that
 * is not the kernel's userfaultfd does. All else is allowed. A filter cannot be taken off, and children inherit it: a
 * program that works under it used nothing of the kernel's userfaultfd. See seccomp(2).
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "arch/audit.h"
#include "tool.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the low half of an argument is taken to come first"
#endif

#define X32_BIT	  0x40000000u /* in the number of an x86-64 system call: the x32 ABI, with the same numbers */
#define UFFD_KIND 0xaa00u     /* bits 8 to 15 of userfaultfd's ioctl requests */

#define LOAD(field)	      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define JUMP(how, k, yes, no) BPF_JUMP(BPF_JMP | (how) | BPF_K, (k), (yes), (no))
#define RETURN(what)	      BPF_STMT(BPF_RET | BPF_K, (what))

/*
 * The rules for one system call ABI, which decides the numbers; in another ABI they would name quite different calls,
 * so the ABI is checked first. On another ABI: past the end, AUDIT_ARCH still loaded.
 */
/* clang-format off */
#define ABI(arch, nr_userfaultfd, nr_ioctl)                                     \
	/* 0 */ JUMP(BPF_JEQ, (arch), 0, 10),                                   \
	/* 1 */ LOAD(nr),                                                       \
	/* 2 */ JUMP(BPF_JSET, X32_BIT, 5, 0),                                  \
	/* 3 */ JUMP(BPF_JEQ, (nr_userfaultfd), 4, 0),                          \
	/* 4 */ JUMP(BPF_JEQ, (nr_ioctl), 0, 4),                                \
	/* 5 */ LOAD(args[1]),                                                  \
	/* 6 */ BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0xff00u),                   \
	/* 7 */ JUMP(BPF_JEQ, UFFD_KIND, 2, 1),                                 \
	/* 8 */ RETURN(SECCOMP_RET_ERRNO | EPERM),                              \
	/* 9 */ RETURN(SECCOMP_RET_ALLOW),                                      \
	/* 10 */ RETURN(SECCOMP_RET_ERRNO | ENOTTY)

static const struct sock_filter filter[] = {
	LOAD(arch),
	ABI(FL_AUDIT_ARCH, SYS_userfaultfd, SYS_ioctl),
	ABI(FL_AUDIT_ARCH_32, FL_NR_USERFAULTFD_32, FL_NR_IOCTL_32),
	RETURN(SECCOMP_RET_ERRNO | EPERM),
};
/* clang-format on */

int deny_kernel(void)
{
	struct sock_fprog program = {
		.len = sizeof(filter) / sizeof(*filter),
		.filter = (struct sock_filter *)(uintptr_t)filter,
	};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -errno;
	/* without the mitigation that some kernels would enable with it: it would slow the program down */
	if (!syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, &program))
		return 0;
	if (!syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program))
		return 0;
	return -errno;
}
