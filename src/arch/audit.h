/* SPDX-License-Identifier: MIT */
/* audit.h - the machine's two ABIs as seccomp(2) names them, and their system calls' numbers. */
#ifndef FL_ARCH_AUDIT_H
#define FL_ARCH_AUDIT_H

#include <linux/audit.h>

#if defined(__x86_64__)
#define FL_AUDIT_ARCH	     AUDIT_ARCH_X86_64
#define FL_AUDIT_ARCH_32     AUDIT_ARCH_I386
#define FL_NR_USERFAULTFD_32 374
#elif defined(__aarch64__)
#define FL_AUDIT_ARCH	     AUDIT_ARCH_AARCH64
#define FL_AUDIT_ARCH_32     AUDIT_ARCH_ARM
#define FL_NR_USERFAULTFD_32 388
#else
#error "the system call numbers of this machine are missing here"
#endif
#define FL_NR_IOCTL_32 54

#endif
