/* SPDX-License-Identifier: MIT */
/*
 * x86_64/stub.c - arch/stub.h. `mov $nr, %eax` becomes `jmp` to one of our thunks, which calls the function and jumps
 * back behind the `syscall` instruction. That one stays: code that jumps to it still may.
 *
 * Another thread may run into it meanwhile. Both are one instruction of 5 bytes, and one store within a cache line
 * replaces it, so it sees the one or the other.
 */
#include "arch/stub.h"

#include <stddef.h>
#include <string.h>

#define SLOTS 16
#define SITE  5 /* bytes */
#define THUNK 128
#define CALL  2	 /* of `syscall` */
#define LINE  64 /* of the cache */

/* The thunks know where these fields are. */
struct slot {
	const uint8_t *back;
	fl_stub_fn *fn;
};
_Static_assert(sizeof(struct slot) == 16, "");

__attribute__((visibility("hidden"))) struct slot fl_stub_slots[SLOTS];
extern const uint8_t fl_stub_thunks[SLOTS][THUNK] __attribute__((visibility("hidden")));

/*
 * As the system call does, they change no register but rax, rcx and r11, nor the red zone. The vector registers are
 * kept as far as libc itself may use them; a compiler does not keep wider ones across such a call.
 */
__asm__(".macro fl_stub_thunk slot\n"
	"	.p2align 7\n"
	"	leaq -128(%rsp), %rsp\n"
	"	pushq %rbp\n"
	"	movq %rsp, %rbp\n"
	"	pushq %rdi\n"
	"	pushq %rsi\n"
	"	pushq %rdx\n"
	"	pushq %r10\n"
	"	pushq %r8\n"
	"	pushq %r9\n"
	"	andq $-16, %rsp\n"
	"	subq $512, %rsp\n"
	"	fxsave64 (%rsp)\n"
	"	movq %r10, %rcx\n"
	"	callq *8 + \\slot(%rip)\n"
	"	fxrstor64 (%rsp)\n"
	"	movq -8(%rbp), %rdi\n"
	"	movq -16(%rbp), %rsi\n"
	"	movq -24(%rbp), %rdx\n"
	"	movq -32(%rbp), %r10\n"
	"	movq -40(%rbp), %r8\n"
	"	movq -48(%rbp), %r9\n"
	"	movq %rbp, %rsp\n"
	"	popq %rbp\n"
	"	leaq 128(%rsp), %rsp\n"
	"	jmpq *\\slot(%rip)\n"
	".endm\n"
	".text\n"
	".p2align 7\n"
	".globl fl_stub_thunks\n"
	".hidden fl_stub_thunks\n"
	".type fl_stub_thunks, @object\n"
	"fl_stub_thunks:\n"
	".set fl_stub_at, 0\n"
	".rept 16\n"
	"	fl_stub_thunk fl_stub_slots+fl_stub_at\n"
	"	.set fl_stub_at, fl_stub_at + 16\n"
	".endr\n"
	"	.p2align 7\n"
	".size fl_stub_thunks, . - fl_stub_thunks\n");

static unsigned nr_slots;

const bool fl_stub_known = true;

/* cmp $-4096 or $-4095, %rax; ja or jae, near by */
static bool ends_as_libc(const uint8_t *at, const uint8_t *end)
{
	return end - at >= 8 && at[0] == 0x48 && at[1] == 0x3d && at[2] <= 1 && at[3] == 0xf0 && at[4] == 0xff &&
	       at[5] == 0xff && (at[6] == 0x77 || at[6] == 0x73);
}

uint8_t *fl_stub_find(uint8_t *at, const uint8_t *end, unsigned nr, bool whole)
{
	const uint8_t load[] = {0xb8, (uint8_t)nr, (uint8_t)(nr >> 8), 0, 0, 0x0f, 0x05};

	for (; end - at >= (ptrdiff_t)sizeof(load); at++) {
		at = memchr(at, load[0], (size_t)(end - at) - sizeof(load) + 1);
		if (!at)
			return NULL;
		if (memcmp(at, load, sizeof(load)) == 0 && (!whole || ends_as_libc(at + sizeof(load), end)))
			return at;
	}
	return NULL;
}

static int64_t distance(const uint8_t *site)
{
	return nr_slots < SLOTS ? fl_stub_thunks[nr_slots] - (site + SITE) : INT64_MAX;
}

/* Where a store of 8 bytes goes that writes the site and stays in its line; NULL: the site does not. */
static uint8_t *one_store(uint8_t *site)
{
	uintptr_t at = (uintptr_t)site, end = (at & ~(uintptr_t)(LINE - 1)) + LINE;

	if (at + SITE > end)
		return NULL;
	return at + 8 > end ? site - (at + 8 - end) : site;
}

bool fl_stub_can(uint8_t *site, bool alone)
{
	return distance(site) == (int32_t)distance(site) && (alone || one_store(site));
}

bool fl_stub_redirect(uint8_t *site, fl_stub_fn *fn, bool alone)
{
	int32_t to = (int32_t)distance(site);
	uint8_t *store = one_store(site), bytes[8];
	uint64_t word;

	if (!fl_stub_can(site, alone))
		return false;
	store = store ? store : site;
	fl_stub_slots[nr_slots++] = (struct slot){site + SITE + CALL, fn};
	memcpy(bytes, store, sizeof(bytes));
	bytes[site - store] = 0xe9;
	memcpy(bytes + (site - store) + 1, &to, sizeof(to));
	memcpy(&word, bytes, sizeof(word));
	__asm__ volatile("movq %1, %0" : "=m"(*(uint64_t(*)[1])store) : "r"(word) : "memory");
	return true;
}

/* ---- another stack ---- */

__asm__(".text\n"
	".globl fl_on_stack\n"
	".hidden fl_on_stack\n"
	".type fl_on_stack, @function\n"
	"fl_on_stack:\n"
	"	pushq %rbp\n"
	"	movq %rsp, %rbp\n"
	"	movq %rdi, %rsp\n"
	"	andq $-16, %rsp\n"
	"	movq %rdx, %rdi\n"
	"	callq *%rsi\n"
	"	movq %rbp, %rsp\n"
	"	popq %rbp\n"
	"	ret\n"
	".size fl_on_stack, . - fl_on_stack\n");
