/* SPDX-License-Identifier: MIT */
/*
 * clock.c - the time and the CPU, by the vDSO: functions that the host maps into every process, vdso(7). They are
 * found in its ELF image, which AT_SYSINFO_EHDR says the place of. libc's clock_gettime() does the same, but any
 * library that is loaded before it may replace it, as faultline's does. Where there is no vDSO, or it lacks a
 * function, a system call does.
 */
#include "arch/syscall.h"
#include "host/task.h"

#include <elf.h>
#include <link.h>
#include <string.h>
#include <sys/auxv.h>
#include <time.h>

typedef int clock_fn(clockid_t clock, struct timespec *ts);
typedef long getcpu_fn(unsigned *cpu, unsigned *node, void *unused);

/* ---- the image ---- */

struct image {
	uintptr_t bias; /* to be added to its addresses */
	const ElfW(Sym) * symbols;
	const char *names;
	const uint32_t *hash; /* DT_HASH */
	const uint32_t *gnu_hash;
};

static const void *at(const struct image *i, uintptr_t addr)
{
	return (const void *)(i->bias + addr);
}

static void read_dynamic(struct image *i, const ElfW(Dyn) * dyn)
{
	for (; dyn->d_tag != DT_NULL; dyn++)
		switch (dyn->d_tag) {
		case DT_SYMTAB:
			i->symbols = at(i, dyn->d_un.d_ptr);
			break;
		case DT_STRTAB:
			i->names = at(i, dyn->d_un.d_ptr);
			break;
		case DT_HASH:
			i->hash = at(i, dyn->d_un.d_ptr);
			break;
		case DT_GNU_HASH:
			i->gnu_hash = at(i, dyn->d_un.d_ptr);
			break;
		}
}

static bool read_image(struct image *i, uintptr_t start)
{
	const ElfW(Ehdr) *ehdr = (const void *)start;
	const ElfW(Phdr) *phdr = (const void *)(start + ehdr->e_phoff), *dynamic = NULL;
	bool loaded = false;

	*i = (struct image){0};
	for (unsigned n = 0; n < ehdr->e_phnum; n++, phdr++)
		if (phdr->p_type == PT_LOAD && !loaded) {
			i->bias = start + phdr->p_offset - phdr->p_vaddr;
			loaded = true;
		} else if (phdr->p_type == PT_DYNAMIC) {
			dynamic = phdr;
		}
	if (!loaded || !dynamic)
		return false;
	read_dynamic(i, at(i, dynamic->p_vaddr));
	return i->symbols && i->names && (i->hash || i->gnu_hash);
}

/*
 * How many symbols there are. The table of DT_HASH says it; that of DT_GNU_HASH has a word for every symbol from the
 * first hashed one on, and the last of a bucket has bit 0 set.
 */
static uint32_t nr_symbols(const struct image *i)
{
	const uint32_t *h = i->gnu_hash, *buckets, *chain;
	uint32_t last = 0;

	if (i->hash)
		return i->hash[1];
	buckets = h + 4 + h[2] * (sizeof(ElfW(Addr)) / sizeof(*h));
	chain = buckets + h[0];
	for (uint32_t b = 0; b < h[0]; b++)
		last = buckets[b] > last ? buckets[b] : last;
	if (last < h[1])
		return 0;
	while (!(chain[last - h[1]] & 1))
		last++;
	return last + 1;
}

static const void *find(const struct image *i, const char *name)
{
	uint32_t nr = nr_symbols(i);

	for (uint32_t n = 0; n < nr; n++) {
		const ElfW(Sym) *s = &i->symbols[n];

		if (s->st_shndx != SHN_UNDEF && strcmp(i->names + s->st_name, name) == 0)
			return at(i, s->st_value);
	}
	return NULL;
}

/* ---- the two functions: at first those that look for them, which any number of threads may do at once ---- */

static int clock_call(clockid_t clock, struct timespec *ts)
{
	return (int)fl_sys(FL_SYS_CLOCK, clock, ts);
}

static long getcpu_call(unsigned *cpu, unsigned *node, void *unused)
{
	return fl_sys(SYS_getcpu, cpu, node, unused);
}

static clock_fn clock_first;
static getcpu_fn getcpu_first;
static clock_fn *clock_now = clock_first;
static getcpu_fn *getcpu_now = getcpu_first;

static void look(void)
{
	uintptr_t start = getauxval(AT_SYSINFO_EHDR);
	bool there;
	struct image image;
	const void *clock = NULL, *getcpu = NULL;

	there = start && read_image(&image, start);
	if (there) {
		clock = find(&image, FL_VDSO_CLOCK);
		getcpu = find(&image, FL_VDSO_GETCPU);
	}
	__atomic_store_n(&clock_now, clock ? (clock_fn *)(uintptr_t)clock : clock_call, __ATOMIC_RELAXED);
	__atomic_store_n(&getcpu_now, getcpu ? (getcpu_fn *)(uintptr_t)getcpu : getcpu_call, __ATOMIC_RELAXED);
}

static int clock_first(clockid_t clock, struct timespec *ts)
{
	look();
	return __atomic_load_n(&clock_now, __ATOMIC_RELAXED)(clock, ts);
}

static long getcpu_first(unsigned *cpu, unsigned *node, void *unused)
{
	look();
	return __atomic_load_n(&getcpu_now, __ATOMIC_RELAXED)(cpu, node, unused);
}

uint64_t fl_host_now_ns(void)
{
	struct timespec ts = {0, 0};

	__atomic_load_n(&clock_now, __ATOMIC_RELAXED)(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

uint32_t fl_host_cpu(void)
{
	unsigned cpu = 0;

	return __atomic_load_n(&getcpu_now, __ATOMIC_RELAXED)(&cpu, NULL, NULL) == 0 ? cpu + 1 : 0;
}
