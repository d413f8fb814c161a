/* SPDX-License-Identifier: MIT */
/*
 * stuck.c - a fault that comes back with nothing changed. The tables grant the access, and the host refuses it: the
 * program has unmapped the memory by instructions of its own, the host's table of mappings is full, or a sandbox
 * forbids the calls that show a page. No access may fault for ever.
 *
 * That the same access of a thread faults again and again is no proof: it may be in a loop, and another thread may
 * take its right each time. So from the third time on, ever less often, the host is asked whether it lets the access
 * through now; and only if it never does, however often the fault is resolved anew, the thread is stuck.
 */
#include "native/stuck.h"
#include "native/native.h"

#include <string.h>

#define TRIES	 300
#define PAUSE_NS 1000000u

/* Two tasks may share one TLS: then a count is wrong, and the host is asked once more, or later. */
static __thread struct {
	uint64_t addr;
	uintptr_t pc;
	uint32_t flags, count;
} last __attribute__((tls_model("initial-exec")));

bool fl_stuck_suspect(uint64_t addr, uintptr_t pc, uint32_t flags)
{
	if (last.addr != addr || last.pc != pc || last.flags != flags) {
		last.addr = addr;
		last.pc = pc;
		last.flags = flags;
		last.count = 0;
	}
	last.count++;
	return last.count > 2 && ((last.count - 1) & (last.count - 2)) == 0;
}

void fl_stuck_forget(void)
{
	last.count = 0;
}

/* 0; -ENOMEM: nothing is mapped there; another error: no, or nothing can be known, and then a load has to tell. */
static int ask_host(uint64_t addr, uint32_t flags)
{
	int err = fl_host_populate(PAGE_ALIGN_DOWN(addr), PAGE_SIZE, flags & FAULT_WRITE);

	return err == -EINVAL || err == -EPERM || err == -ENOSYS ? (fl_touch_nofault(fl_ptr(addr)) ? -EFAULT : 0)
								 : err;
}

/* What is shown at once may have a part that is not ours any longer, unseen, and the host refuses all of it. */
static void forget_lost(uint64_t addr)
{
	uint64_t start = PMD_ALIGN_DOWN(addr);

	fl_mmap_write_lock_range(&fl_native.mm, start, start + PMD_SIZE);
	fl_native_verify(&fl_native.mm, start, start + PMD_SIZE);
	fl_mmap_write_unlock(&fl_native.mm);
}

int fl_stuck(uint64_t addr, uint32_t flags, unsigned tries)
{
	uint32_t word = 0;
	int err = ask_host(addr, flags);

	if (!err || err == -EAGAIN || err == -EINTR)
		return 0;
	if (!tries)
		forget_lost(addr);
	if (tries >= TRIES)
		return err;
	fl_futex_wait(&word, 0, PAUSE_NS);
	return -EBUSY;
}

void fl_stuck_say(uint64_t addr)
{
	static const char head[] = "faultline: the host refuses an access that faultline grants, at 0x",
			  tail[] = ": its table of mappings is full, or a sandbox forbids what shows a page\n";
	char line[sizeof(head) + 16 + sizeof(tail)];
	size_t n = sizeof(head) - 1;

	memcpy(line, head, n);
	for (int shift = 44; shift >= 0; shift -= 4)
		line[n++] = "0123456789abcdef"[addr >> shift & 15];
	memcpy(line + n, tail, sizeof(tail));
	fl_host_say(line, n + sizeof(tail) - 1);
}
