/* SPDX-License-Identifier: MIT */
/*
 * target.h - what a case may do to the thing under test, whatever that is.
 *
 * Memory is named by 64-bit addresses and touched only through the target. Every function returns what a system call
 * returns inside the kernel: 0 or a value on success, -errno on failure. Loads and stores return 0 or the number of
 * the signal that the access raised.
 *
 *   target_libc  libc's calls: the kernel when run plainly, faultline's native backend under `faultline run`
 *   target_soft  faultline.h on a soft address space
 */
#ifndef CONFORMANCE_TARGET_H
#define CONFORMANCE_TARGET_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <faultline/uapi.h>

typedef int64_t uffd_t; /* a descriptor, or the address of a struct fl_uffd; negative: -errno */

struct target {
	void (*start)(void);
	int (*finish)(void); /* after a case that passed: 0, or -errno if the target found itself inconsistent */

	int64_t (*map)(uint64_t addr, uint64_t len, int prot, int flags);
	int (*unmap)(uint64_t addr, uint64_t len);
	int (*protect)(uint64_t addr, uint64_t len, int prot);
	int64_t (*remap)(uint64_t addr, uint64_t old_len, uint64_t new_len, int flags, uint64_t new_addr);
	int (*advise)(uint64_t addr, uint64_t len, int advice);

	/* A file in memory, as of memfd_create(2). */
	int64_t (*file)(uint64_t len); /* a handle */
	int (*file_close)(int64_t file);
	int64_t (*map_file)(uint64_t addr, uint64_t len, int prot, int flags, int64_t file, uint64_t offset);
	int64_t (*file_read)(int64_t file, uint64_t offset, void *buf, size_t len);
	int64_t (*file_write)(int64_t file, uint64_t offset, const void *buf, size_t len);
	int (*file_truncate)(int64_t file, uint64_t len);
	int (*file_punch)(int64_t file, uint64_t offset, uint64_t len);
	int64_t (*file_data)(int64_t file, uint64_t offset); /* where the next data is; -ENXIO: none */

	int (*load)(uint64_t addr, void *buf, size_t len);
	int (*store)(uint64_t addr, const void *buf, size_t len);
	int (*kernel_read)(uint64_t addr, void *buf, size_t len);	 /* a system call that reads memory */
	int (*kernel_write)(uint64_t addr, const void *buf, size_t len); /* one that writes it; 0 or -EFAULT */

	int (*pagemap)(uint64_t addr, uint64_t *word); /* the page's word in /proc/self/pagemap */
	int (*clear_refs)(void);		       /* as writing "4" to /proc/self/clear_refs */

	uffd_t (*open)(int flags);
	int (*close)(uffd_t u);
	int (*ioctl)(uffd_t u, unsigned long cmd, void *arg);
	ssize_t (*read)(uffd_t u, void *buf, size_t len);
	int (*poll)(uffd_t u, int timeout_ms); /* revents of a poll for POLLIN, 0 after the time */
	int (*nonblock)(uffd_t u, int on);
};

extern const struct target target_libc, target_soft;
extern const struct target *T; /* the target this process runs on */

/* The last SIGSEGV or SIGBUS that target_libc caught in this thread. */
struct caught {
	int signal, code;
	uint64_t addr;
};
struct caught libc_caught(void);

#endif
