/* SPDX-License-Identifier: MIT */
/*
 * metadata.c - the cost of a large sparse range: 16 GiB registered, one page in a hundred filled, at random. The
 * engine's own data must stay below one hundredth of the range. On the process and on a soft address space; TAP.
 */
#include <faultline/testing.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#define GIB   (1ull << 30)
#define RANGE (16 * GIB)
#define PAGE  4096ull
#define FILLS (RANGE / PAGE / 100)

static double now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

static uint64_t next_random(uint64_t *state)
{
	*state = *state * 6364136223846793005ull + 1442695040888963407ull;
	return *state >> 33;
}

/* Fill pages at random until FILLS are present. false: an error other than "exists". */
static bool fill(struct fl_uffd *u, uint64_t range)
{
	static _Alignas(4096) char page[PAGE] = "filled";
	uint64_t state = 1;

	for (uint64_t n = 0; n < FILLS;) {
		uint64_t at = range + next_random(&state) % (RANGE / PAGE) * PAGE;
		int64_t copied = 0;

		if (fl_uffd_copy(u, at, (uintptr_t)page, PAGE, 0, &copied) == 0)
			n++;
		else if (copied != -17 /* EEXIST: a page drawn twice */)
			return false;
	}
	return true;
}

static bool measure(const char *name, struct fl_mm *mm)
{
	uint64_t range;
	struct fl_uffd *u;
	double start, took;
	uint64_t bytes;
	bool ok;

	if (fl_mmap(mm, 0, RANGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, &range) ||
	    fl_uffd_open(mm, FL_UFFD_SRC_HOST, &u) || fl_uffd_api(u, 0, NULL))
		return false;
	start = now_ms();
	ok = fl_uffd_register(u, range, RANGE, FL_UFFDIO_REGISTER_MODE_MISSING, NULL) == 0;
	took = now_ms() - start;
	ok = ok && fill(u, range);
	bytes = fl_mm_metadata_bytes(mm);
	printf("# %s: registered in %.2f ms; %llu pages filled: %.1f MiB of metadata, %.2f %% of the range\n", name,
	       took, (unsigned long long)FILLS, (double)bytes / (1 << 20), 100.0 * (double)bytes / RANGE);
	ok = ok && bytes < RANGE / 100 && fl_mm_check(mm) == 0;
	return fl_uffd_close(u) == 0 && fl_munmap(mm, range, RANGE) == 0 && ok;
}

int main(void)
{
	struct fl_mm *mm;
	bool soft, native;

	printf("1..2\n");
	soft = fl_mm_create(&mm, GIB) == 0 && measure("soft", mm) && fl_mm_destroy(mm) == 0;
	printf("%s 1 - soft\n", soft ? "ok" : "not ok");
	native = fl_mm_process(&mm) == 0 && measure("native", mm);
	printf("%s 2 - native\n", native ? "ok" : "not ok");
	return soft && native ? EXIT_SUCCESS : EXIT_FAILURE;
}
