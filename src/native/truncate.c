/* SPDX-License-Identifier: MIT */
/*
 * truncate.c - calls that take pages out of files. They leave the engine's tables first, while no thread can fault.
 */
#include "native/calls.h"

/* => mmap_lock held for writing, so that the pages are not mapped again before they are gone */
static void zap_behind(const struct fl_host_file *file, uint64_t size)
{
	fl_file_zap(file, PAGES(PAGE_ALIGN(size)), UINT64_MAX, true);
}

int fl_native_ftruncate(int fd, uint64_t size)
{
	uint64_t signals = lock();
	struct fl_host_file file;
	int ret;

	if (fl_host_fstat(fd, &file) == 0)
		zap_behind(&file, size);
	ret = fl_host_ftruncate(fd, size);
	unlock(signals);
	return ret;
}

int fl_native_truncate(const char *path, uint64_t size)
{
	uint64_t signals = lock();
	struct fl_host_file file;
	int ret;

	if (fl_host_stat(path, &file) == 0)
		zap_behind(&file, size);
	ret = fl_host_truncate(path, size);
	unlock(signals);
	return ret;
}

void fl_native_truncated(int fd)
{
	uint64_t signals = lock();
	struct fl_host_file file;

	if (fl_host_fstat(fd, &file) == 0)
		zap_behind(&file, 0);
	unlock(signals);
}

int fl_native_fallocate(int fd, int mode, uint64_t offset, uint64_t len)
{
	uint64_t signals = lock();
	struct fl_host_file file;
	int ret;

	/* the other modes take nothing from shared memory */
	if (offset + len > offset && fl_host_fstat(fd, &file) == 0)
		fl_file_zap(&file, PAGES(offset), PAGES(PAGE_ALIGN(offset + len)), false);
	ret = fl_host_fallocate(fd, mode, offset, len);
	unlock(signals);
	return ret;
}
