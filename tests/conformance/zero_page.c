/* SPDX-License-Identifier: MIT */
/*
 * zero_page.c - what is the kernel's own choice is asked of the kernel: a load of untouched private memory maps the
 * zero page, which many share, or, on some hosts, a page of its own.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "conformance.h"

/* By the instruction, past libc and a preloaded library: the result, or -errno. */
long ask_kernel(long nr, long a, long b, long c, long d)
{
#ifdef __x86_64__
	register long r10 __asm__("r10") = d, r8 __asm__("r8") = -1, r9 __asm__("r9") = 0;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
#else
	(void)nr, (void)a, (void)b, (void)c, (void)d;
	return -ENOSYS;
#endif
}

/* The answer is forced by CONFORMANCE_ZERO_PAGE, yes or no, so that a test can see that the cases depend on it. */
bool kernel_has_zero_page(void)
{
	const char *forced = getenv("CONFORMANCE_ZERO_PAGE");
	volatile const uint8_t *page;
	uint64_t w = 0;
	long mem, fd;

	if (forced)
		return !strcmp(forced, "yes");
	mem = ask_kernel(SYS_mmap, 0, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS);
	if (mem == -ENOSYS)
		return true;
	page = (const uint8_t *)mem;
	CHECK(mem > 0 && *page == 0);
	fd = ask_kernel(SYS_openat, AT_FDCWD, (long)"/proc/self/pagemap", O_RDONLY | O_CLOEXEC, 0);
	CHECK(fd >= 0);
	CHECK_EQ(ask_kernel(SYS_pread64, fd, (long)&w, sizeof(w), mem / (long)PAGE * (long)sizeof(w)), sizeof(w));
	CHECK(w & FL_PM_PRESENT);
	ask_kernel(SYS_close, fd, 0, 0, 0);
	ask_kernel(SYS_munmap, mem, PAGE, 0, 0);
	return !(w & FL_PM_EXCLUSIVE);
}

uint64_t w_loaded(void)
{
	return on_kernel() && !kernel_has_zero_page() ? W_OWN : W_ZERO;
}

uint64_t w_loaded_before(void)
{
	return (on_kernel() || on_native()) && !kernel_has_zero_page() ? W_OWN : W_ZERO;
}
