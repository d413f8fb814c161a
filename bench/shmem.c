/* SPDX-License-Identifier: MIT */
/*
 * shmem.c - a memfd mapped twice: minor faults that UFFDIO_CONTINUE resolves in the faulting thread's SIGBUS handler,
 * a page or 2 MiB at a time; UFFDIO_CONTINUE alone; UFFDIO_COPY into holes of the file.
 */
#include <errno.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "abi.h"
#include "uffdbench.h"

#define SHARED MIB(64)
#define SOURCE MIB(2)

static struct {
	char *base, *other;
	int fd;
	size_t chunk;
} memory;

/* Registered at base; `other` brings the pages into the cache. */
static void shared_memory(uint64_t features, uint64_t mode, size_t chunk)
{
	int file = memfd_create("bench", MFD_CLOEXEC);

	if (file < 0 || ftruncate(file, SHARED))
		die("memfd_create: %s", strerror(errno));
	memory.base = mmap(NULL, SHARED, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	memory.other = mmap(NULL, SHARED, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (memory.base == MAP_FAILED || memory.other == MAP_FAILED)
		die("mmap: %s", strerror(errno));
	write_pattern(memory.other, SHARED);
	memory.chunk = chunk;
	memory.fd = abi_open(features);
	abi_register(memory.fd, memory.base, SHARED, mode);
}

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	uintptr_t offset = (uintptr_t)info->si_addr - (uintptr_t)memory.base;

	faults_seen++;
	abi_continue(memory.fd, memory.base + offset / memory.chunk * memory.chunk, memory.chunk);
}

/* Only the mapping drops them; the pages stay in the cache. */
void measure_minor(const struct run *run, struct series *out)
{
	struct sigaction action = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO};
	size_t chunk = run->row->chunk;

	pin_to_cpu(0);
	if (sigaction(SIGBUS, &action, NULL))
		die("sigaction: %s", strerror(errno));
	shared_memory(UFFD_FEATURE_SIGBUS | UFFD_FEATURE_MINOR_SHMEM, UFFDIO_REGISTER_MODE_MINOR, chunk);
	for (unsigned batch = 0; batch <= run->batches; batch++) {
		uint64_t before = faults_seen, start;

		abi_drop(memory.base, SHARED);
		start = now_ns();
		for (size_t at = 0; at < SHARED; at += chunk)
			load_filled(memory.base + at);
		if (batch)
			series_add(out, now_ns() - start, SHARED / chunk);
		expect_faults(before + SHARED / chunk);
	}
}

void measure_continue(const struct run *run, struct series *out)
{
	size_t chunk = run->row->chunk;

	pin_to_cpu(0);
	shared_memory(UFFD_FEATURE_MINOR_SHMEM, UFFDIO_REGISTER_MODE_MINOR, chunk);
	for (unsigned batch = 0; batch <= run->batches; batch++) {
		uint64_t start;

		abi_drop(memory.base, SHARED);
		start = now_ns();
		for (size_t at = 0; at < SHARED; at += chunk)
			abi_continue(memory.fd, memory.base + at, chunk);
		if (batch)
			series_add(out, now_ns() - start, SHARED / PAGE);
	}
}

/* Into holes: the file loses its pages before each batch. */
void measure_copy_shmem(const struct run *run, struct series *out)
{
	char *source = map_pages(SOURCE);
	size_t chunk = run->row->chunk;

	pin_to_cpu(0);
	write_pattern(source, SOURCE);
	shared_memory(UFFD_FEATURE_MISSING_SHMEM, UFFDIO_REGISTER_MODE_MISSING, chunk);
	for (unsigned batch = 0; batch <= run->batches; batch++) {
		uint64_t start;

		if (madvise(memory.base, SHARED, MADV_REMOVE))
			die("madvise(MADV_REMOVE): %s", strerror(errno));
		start = now_ns();
		for (size_t at = 0; at < SHARED; at += chunk)
			abi_copy(memory.fd, memory.base + at, source + at % SOURCE, chunk);
		if (batch)
			series_add(out, now_ns() - start, SHARED / PAGE);
	}
}
