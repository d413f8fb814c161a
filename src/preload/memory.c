/* SPDX-License-Identifier: MIT */
/* memory.c - mmap(2) and its siblings; sizes of files, whose pages may be mapped by registered ranges. */
#include "preload/preload.h"

#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/shm.h>

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

/*
 * Advice to this very process is madvise(2) for each range; what was advised when one fails counts. The host says
 * first whether it would take the advice at all.
 */
ssize_t fl_process_madvise(int pidfd, const struct iovec *iov, size_t n, int advice, unsigned flags)
{
	ssize_t done = 0;
	struct iovec part;
	long err;

	if (!fl_maybe_ours() || !fl_host_pidfd_self(pidfd) || n > IOV_MAX)
		return FL_RETRY(ssize_t, fl_ret(hostcall_advise_process(pidfd, iov, n, advice, flags)),
				fl_in(iov, n * sizeof(*iov)));
	err = hostcall_advise_process(pidfd, NULL, 0, advice, flags);
	for (size_t i = 0; i < n && !err; i++)
		if (!fl_peek(&part, &iov[i], sizeof(part)))
			err = -EFAULT;
	for (size_t i = 0; i < n && !err; i++) {
		if (!fl_peek(&part, &iov[i], sizeof(part)))
			break;
		err = fl_native_madvise(fl_addr(part.iov_base), part.iov_len, advice);
		if (!err)
			done += (ssize_t)part.iov_len;
	}
	return err && !done ? fl_ret(err) : done;
}

FL_EXPORT ssize_t process_madvise(int pidfd, const struct iovec *iov, size_t n, int advice, unsigned flags)
{
	return fl_process_madvise(pidfd, iov, n, advice, flags);
}

FL_EXPORT void *shmat(int id, const void *addr, int flags)
{
	return (void *)fl_ret(fl_native_shmat(id, fl_addr(addr), flags));
}

FL_EXPORT int remap_file_pages(void *addr, size_t len, int prot, size_t pgoff, int flags)
{
	if (prot)
		return (int)fl_ret(-EINVAL); /* as the system says: remap_file_pages(2) */
	return (int)fl_ret(fl_native_remap_file_pages(fl_addr(addr), len, pgoff, flags));
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
