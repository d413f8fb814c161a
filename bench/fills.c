/* SPDX-License-Identifier: MIT */
/* fills.c - calls without a fault: UFFDIO_COPY and UFFDIO_ZEROPAGE in chunks, UFFDIO_WRITEPROTECT. */
#include <linux/userfaultfd.h>
#include <sys/mman.h>

#include "abi.h"
#include "uffdbench.h"

#define RECYCLED   MIB(64) /* filled again in every batch */
#define SLICE	   MIB(16) /* of fresh memory, a batch */
#define MAX_SLICES 32
#define SOURCE	   MIB(2)
#define PROTECTED  MIB(64)

/*
 * A virtual machine pays extra for memory that its host has never given it. Both sides would, but only the side that
 * runs first does. So take what a row is about to use, and give it back.
 */
static void warm_host_memory(size_t len)
{
	char *p = map_pages(len);

	for (size_t at = 0; at < len; at += PAGE)
		touch(p + at, true);
	munmap(p, len);
}

static void fill(int fd, const struct row *row, char *base, size_t len, const char *source)
{
	for (size_t at = 0; at < len; at += row->chunk) {
		if (row->zero)
			abi_zeropage(fd, base + at, row->chunk);
		else
			abi_copy(fd, base + at, source + at % SOURCE, row->chunk);
		for (size_t page = 0; row->touch && page < row->chunk; page += PAGE)
			touch(base + at + page, row->store);
	}
}

/* Recycled: one range, emptied before each batch. Fresh: the next slice of a long range in each batch. */
void measure_fill(const struct run *run, struct series *out)
{
	const struct row *row = run->row;
	size_t len = row->fresh ? SLICE : RECYCLED;
	unsigned batches = row->fresh && run->batches > MAX_SLICES ? MAX_SLICES : run->batches;
	size_t total = row->fresh ? len * batches : len;
	char *source = map_pages(SOURCE), *base = map_pages(total);
	int fd = abi_open(0);

	pin_to_cpu(0);
	write_pattern(source, SOURCE);
	warm_host_memory(total);
	abi_register(fd, base, total, UFFDIO_REGISTER_MODE_MISSING);
	if (!row->fresh)
		fill(fd, row, base, len, source);
	for (unsigned batch = 0; batch < batches; batch++) {
		char *p = row->fresh ? base + batch * len : base;

		if (!row->fresh)
			abi_drop(p, len);
		uint64_t start = now_ns();
		fill(fd, row, p, len, source);
		series_add(out, now_ns() - start, len / PAGE);
	}
}

static int populate_protected(char **base)
{
	int fd = abi_open(UFFD_FEATURE_PAGEFAULT_FLAG_WP);

	pin_to_cpu(0);
	*base = map_pages(PROTECTED);
	write_pattern(*base, PROTECTED);
	abi_register(fd, *base, PROTECTED, UFFDIO_REGISTER_MODE_WP);
	return fd;
}

/* Protect all pages in one call. They are written between the batches, so that each batch finds them writable. */
void measure_arm(const struct run *run, struct series *out)
{
	char *base;
	int fd = populate_protected(&base);

	for (unsigned batch = 0; batch <= run->batches; batch++) {
		uint64_t start = now_ns();
		abi_writeprotect(fd, base, PROTECTED, true);
		if (batch)
			series_add(out, now_ns() - start, PROTECTED / PAGE);
		abi_writeprotect(fd, base, PROTECTED, false);
		for (size_t at = 0; at < PROTECTED; at += PAGE)
			touch(base + at, true);
	}
}

/* Un-protect page by page, in order. */
void measure_unprotect(const struct run *run, struct series *out)
{
	char *base;
	int fd = populate_protected(&base);

	for (unsigned batch = 0; batch <= run->batches; batch++) {
		abi_writeprotect(fd, base, PROTECTED, true);
		uint64_t start = now_ns();
		for (size_t at = 0; at < PROTECTED; at += PAGE)
			abi_writeprotect(fd, base + at, PAGE, false);
		if (batch)
			series_add(out, now_ns() - start, PROTECTED / PAGE);
	}
}
