/* SPDX-License-Identifier: MIT */
/*
 * stubs.c - the mapping calls that libc and the dynamic linker make themselves: free() of a large block, the end of a
 * heap, a thread's stack, dlclose(). They do not go through the names that this library exports, but through a
 * handful of short functions, which are redirected (arch/stub.h) before the process has its first object: a program
 * without one keeps its text as it is, and pays nothing. fork's system call is one of them, for it is made with
 * malloc's locks held: what is done around it must come after they are taken.
 *
 * What does not look as it is known to is left alone, as is all of another C library. `faultline doctor` says so.
 *
 * The functions called here may be inside malloc, with its locks held: they use neither malloc nor libc's functions
 * for mapping, no variable of a thread that is not initial-exec, and wait for none who could wait for malloc.
 */
#include "preload/preload.h"

#include "arch/stub.h"
#include "host/count.h"

#include <elf.h>
#include <link.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>

#define LIBC "libc.so.6"

/* ---- what they do instead ---- */

static long stub_mmap(long addr, long len, long prot, long flags, long fd, long offset)
{
	return (long)fl_native_mmap((uint64_t)addr, (uint64_t)len, (int)prot, (int)flags, (int)fd, (uint64_t)offset);
}

static long stub_munmap(long addr, long len, long c, long d, long e, long f)
{
	return fl_native_munmap((uint64_t)addr, (uint64_t)len);
}

static long stub_mprotect(long addr, long len, long prot, long d, long e, long f)
{
	return fl_native_mprotect((uint64_t)addr, (uint64_t)len, (int)prot);
}

static long stub_mremap(long addr, long old_len, long new_len, long flags, long to, long f)
{
	return (long)fl_native_mremap((uint64_t)addr, (uint64_t)old_len, (uint64_t)new_len, (int)flags, (uint64_t)to);
}

static long stub_madvise(long addr, long len, long advice, long d, long e, long f)
{
	return fl_native_madvise((uint64_t)addr, (uint64_t)len, (int)advice);
}

static long stub_brk(long addr, long b, long c, long d, long e, long f)
{
	return (long)fl_native_brk((uint64_t)addr);
}

static long stub_clone(long flags, long stack, long ptid, long d, long e, long f)
{
	long ret = fl_do_clone(SYS_clone, !(flags & CLONE_VM) && !stack, flags, stack, ptid, d, e);

	/* the child's number of itself, which the system could not write to a page that stood still */
	if (!ret && (flags & CLONE_CHILD_SETTID))
		*(int32_t *)fl_ptr((uint64_t)d) = fl_host_tid();
	return ret;
}

/* In the order of FL_STUBS. A function without a name is looked for by its shape. */
static const struct {
	const char *name; /* of libc's function that has it */
	unsigned nr;
	fl_stub_fn *fn;
} stubs[] = {
	{"mmap", SYS_mmap, stub_mmap},
	{"munmap", SYS_munmap, stub_munmap},
	{"mprotect", SYS_mprotect, stub_mprotect},
	{"mremap", SYS_mremap, stub_mremap},
	{"madvise", SYS_madvise, stub_madvise},
	{"brk", SYS_brk, stub_brk},
	{"_Fork", SYS_clone, stub_clone},
	{NULL, SYS_mmap, stub_mmap},
	{NULL, SYS_munmap, stub_munmap},
	{NULL, SYS_mprotect, stub_mprotect},
};
_Static_assert(ARRAY_SIZE(stubs) == FL_NR_STUBS, "");

static uint8_t *sites[FL_NR_STUBS];
static uint64_t redirected; /* a bit for each */

bool fl_stubs_redirected(enum fl_stub stub)
{
	return __atomic_load_n(&redirected, __ATOMIC_ACQUIRE) >> stub & 1;
}

/* ---- where they are ---- */

/* A loaded object, as far as it matters. */
struct image {
	uint8_t *text, *text_end;
	uint64_t base;
	const ElfW(Sym) * symbols;
	const char *names;
	const uint32_t *hash; /* of the GNU kind */
};

static struct image libc, linker;

/* An address of the dynamic section: the linker may have relocated it, or not. */
static const void *dynamic_address(const struct image *image, uint64_t value)
{
	return fl_ptr(value < image->base ? value + image->base : value);
}

static void read_dynamic(struct image *image, const ElfW(Dyn) * dyn)
{
	for (; dyn->d_tag != DT_NULL; dyn++) {
		if (dyn->d_tag == DT_SYMTAB)
			image->symbols = dynamic_address(image, dyn->d_un.d_ptr);
		else if (dyn->d_tag == DT_STRTAB)
			image->names = dynamic_address(image, dyn->d_un.d_ptr);
		else if (dyn->d_tag == DT_GNU_HASH)
			image->hash = dynamic_address(image, dyn->d_un.d_ptr);
	}
}

static int look_at(struct dl_phdr_info *info, size_t size, void *unused)
{
	const char *slash = strrchr(info->dlpi_name, '/');
	struct image *image = info->dlpi_addr == getauxval(AT_BASE) ? &linker
			      : strcmp(slash ? slash + 1 : info->dlpi_name, LIBC) == 0 ? &libc
										       : NULL;

	if (!image || image->base)
		return 0;
	image->base = info->dlpi_addr;
	for (unsigned i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];
		uint8_t *at = fl_ptr(info->dlpi_addr + p->p_vaddr);

		if (p->p_type == PT_LOAD && (p->p_flags & PF_X) && !image->text) {
			image->text = at;
			image->text_end = at + p->p_memsz;
		} else if (p->p_type == PT_DYNAMIC) {
			read_dynamic(image, (const ElfW(Dyn) *)at);
		}
	}
	return libc.base && linker.base;
}

static uint32_t gnu_hash(const char *name)
{
	uint32_t h = 5381;

	for (; *name; name++)
		h = h * 33 + (uint8_t)*name;
	return h;
}

/* The symbol of a function that the object defines. NULL: it has none of that name. */
static const ElfW(Sym) * find_symbol(const struct image *image, const char *name)
{
	const uint32_t *hash = image->hash, *buckets, *chain;
	uint32_t h = gnu_hash(name), i;

	if (!hash || !image->symbols || !image->names)
		return NULL;
	buckets = hash + 4 + hash[2] * (sizeof(ElfW(Addr)) / sizeof(*hash)); /* behind the Bloom filter */
	chain = buckets + hash[0];
	i = buckets[h % hash[0]];
	if (i < hash[1])
		return NULL;
	for (;; i++) {
		const ElfW(Sym) *sym = &image->symbols[i];
		uint32_t c = chain[i - hash[1]];

		if ((c | 1) == (h | 1) && strcmp(image->names + sym->st_name, name) == 0)
			return sym->st_shndx != SHN_UNDEF && (sym->st_info & 15) == STT_FUNC ? sym : NULL;
		if (c & 1)
			return NULL;
	}
}

static uint8_t *find_in_libc(const char *name, unsigned nr)
{
	const ElfW(Sym) *sym = find_symbol(&libc, name);
	uint8_t *at = sym ? fl_ptr(libc.base + sym->st_value) : NULL;

	if (!at || at < libc.text || at + sym->st_size > libc.text_end)
		return NULL;
	return fl_stub_find(at, at + sym->st_size, nr, false);
}

/* ---- redirecting them ---- */

enum { NOT_YET, IN_PROGRESS, DONE };
static int state;

/* Of libc's, since 2.32: false from the first thread on. */
extern char __libc_single_threaded __attribute__((weak));

static bool alone(void)
{
	return &__libc_single_threaded && __libc_single_threaded;
}

/* Those of one object, whose text is writable for a moment. Where the system does not allow that, they stay. */
static void redirect_in(unsigned first, unsigned end)
{
	const int prot = PROT_READ | PROT_EXEC;
	uint64_t low = UINT64_MAX, high = 0;

	for (unsigned i = first; i < end; i++) {
		if (!sites[i] || !fl_stub_can(sites[i], alone()))
			continue;
		low = fl_min(low, fl_addr(sites[i]) & PAGE_MASK);
		high = fl_max(high, (fl_addr(sites[i]) & PAGE_MASK) + 2 * PAGE_SIZE);
	}
	high = fl_min(high, PAGE_ALIGN(fl_addr(first ? linker.text_end : libc.text_end)));
	if (low >= high || fl_host_mprotect(low, high - low, prot | PROT_WRITE))
		return;
	for (unsigned i = first; i < end; i++)
		if (sites[i] && fl_stub_redirect(sites[i], stubs[i].fn, alone()))
			__atomic_fetch_or(&redirected, 1ull << i, __ATOMIC_RELEASE);
	fl_host_mprotect(low, high - low, prot);
}

static void redirect(void)
{
	dl_iterate_phdr(look_at, NULL);
	for (unsigned i = 0; i < FL_NR_STUBS; i++)
		if (!fl_stubs_redirected(i)) /* by a parent that forked in the middle */
			sites[i] = stubs[i].name ? find_in_libc(stubs[i].name, stubs[i].nr)
						 : fl_stub_find(linker.text, linker.text_end, stubs[i].nr, true);
	redirect_in(0, FL_STUB_linker_mmap);
	redirect_in(FL_STUB_linker_mmap, FL_NR_STUBS);
}

void fl_stubs_redirect(void)
{
	int expected = NOT_YET;
	uint64_t signals;

	if (__atomic_load_n(&state, __ATOMIC_ACQUIRE) == DONE)
		return;
	signals = fl_host_sigblock(FL_SIGNALS_MASK);
	if (__atomic_compare_exchange_n(&state, &expected, IN_PROGRESS, false, __ATOMIC_ACQUIRE, __ATOMIC_ACQUIRE)) {
		if (fl_stub_known)
			redirect();
		__atomic_fetch_or(&fl_stats->stubs, redirected | FL_STUBS_ASKED, __ATOMIC_RELAXED);
		__atomic_store_n(&state, DONE, __ATOMIC_RELEASE);
	}
	while (__atomic_load_n(&state, __ATOMIC_ACQUIRE) != DONE)
		fl_host_yield();
	fl_host_sigmask(signals);
}

void fl_stubs_after_fork(void)
{
	if (state == IN_PROGRESS)
		state = NOT_YET; /* the thread that was at it is not here */
}
