/* SPDX-License-Identifier: MIT */
/* memory.c - mmap(2) and its siblings; sizes of files, whose pages may be mapped by registered ranges. */
#include "preload/preload.h"

#include <fcntl.h>
#include <stdarg.h>
#include <sys/mman.h>

FL_EXPORT void *mmap64(void *addr, size_t len, int prot, int flags, int fd, off64_t offset)
{
	return (void *)fl_ret(fl_native_mmap(fl_addr(addr), len, prot, flags, fd, (uint64_t)offset));
}

FL_EXPORT void *mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
	return mmap64(addr, len, prot, flags, fd, offset);
}

FL_EXPORT int munmap(void *addr, size_t len)
{
	return (int)fl_ret(fl_native_munmap(fl_addr(addr), len));
}

FL_EXPORT int mprotect(void *addr, size_t len, int prot)
{
	return (int)fl_ret(fl_native_mprotect(fl_addr(addr), len, prot));
}

/* A key could hide a page from our own handler, so registered ranges have the default one. */
FL_EXPORT int pkey_mprotect(void *addr, size_t len, int prot, int pkey)
{
	if (pkey != -1 && !fl_native_touches(fl_addr(addr), fl_addr(addr) + len))
		return (int)fl_ret(fl_host_pkey_mprotect(fl_addr(addr), len, prot, pkey));
	return mprotect(addr, len, prot);
}

FL_EXPORT int madvise(void *addr, size_t len, int advice)
{
	return (int)fl_ret(fl_native_madvise(fl_addr(addr), len, advice));
}

FL_EXPORT int posix_madvise(void *addr, size_t len, int advice)
{
	/* POSIX_MADV_DONTNEED must not lose data */
	return advice == POSIX_MADV_DONTNEED ? 0 : -fl_native_madvise(fl_addr(addr), len, advice);
}

FL_EXPORT void *mremap(void *addr, size_t old_len, size_t new_len, int flags, ...)
{
	va_list ap;
	void *new_addr;

	va_start(ap, flags);
	new_addr = va_arg(ap, void *);
	va_end(ap);
	return (void *)fl_ret(fl_native_mremap(fl_addr(addr), old_len, new_len, flags, fl_addr(new_addr)));
}

/* A registered range may map pages of the file. */
FL_EXPORT int ftruncate64(int fd, off64_t size)
{
	return (int)fl_ret(fl_file_any() && size >= 0 ? fl_native_ftruncate(fd, (uint64_t)size)
						      : fl_host_ftruncate(fd, (uint64_t)size));
}

FL_EXPORT int ftruncate(int fd, off_t size)
{
	return ftruncate64(fd, size);
}

FL_EXPORT int truncate64(const char *path, off64_t size)
{
	return (int)FL_RETRY(long,
			     fl_ret(fl_file_any() && size >= 0 ? fl_native_truncate(path, (uint64_t)size)
							       : fl_host_truncate(path, (uint64_t)size)),
			     fl_in_str(path));
}

FL_EXPORT int truncate(const char *path, off_t size)
{
	return truncate64(path, size);
}

FL_EXPORT int fallocate64(int fd, int mode, off64_t offset, off64_t len)
{
	bool punch = (mode & FALLOC_FL_PUNCH_HOLE) && offset >= 0 && len > 0;

	return (int)fl_ret(fl_file_any() && punch ? fl_native_fallocate(fd, mode, (uint64_t)offset, (uint64_t)len)
						  : fl_host_fallocate(fd, mode, (uint64_t)offset, (uint64_t)len));
}

FL_EXPORT int fallocate(int fd, int mode, off_t offset, off_t len)
{
	return fallocate64(fd, mode, offset, len);
}

FL_EXPORT int mlock(const void *addr, size_t len)
{
	return (int)fl_ret(fl_native_mlock(fl_addr(addr), len, 0));
}

FL_EXPORT int mlock2(const void *addr, size_t len, unsigned flags)
{
	return (int)fl_ret(fl_native_mlock(fl_addr(addr), len, flags));
}

FL_EXPORT int mlockall(int flags)
{
	return (int)fl_ret(fl_native_mlockall(flags));
}

FL_EXPORT int munlockall(void)
{
	return (int)fl_ret(fl_native_munlockall());
}

FL_EXPORT int munlock(const void *addr, size_t len)
{
	return (int)fl_ret(fl_native_munlock(fl_addr(addr), len));
}

FL_EXPORT int mincore(void *addr, size_t len, unsigned char *vec)
{
	return (int)FL_RETRY(long, fl_ret(fl_native_mincore(fl_addr(addr), len, vec)),
			     fl_out(vec, PAGES(PAGE_ALIGN(len))));
}
