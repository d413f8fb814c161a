/* SPDX-License-Identifier: MIT */
/*
 * fault_entry.c - from SIGSEGV to fl_handle_mm_fault() and back. A SIGSEGV is, in this order:
 *
 *   inside fl_copy_nofault() ........ the copy ends early
 *   a fault on registered memory .... resolved, perhaps after a wait; the instruction runs again
 *   inside fl_copy_user() ........... the copy ends early: EFAULT
 *   to be answered with SIGBUS ...... the host delivers one to this thread, at this instruction
 *   anything else ................... the program's own: sigview.c
 *
 * The handler runs with all other signals blocked, on the alternate stack if there is one, and preserves errno. It
 * may nest: copies inside the engine fault, too.
 */
#include "native/native.h"
#include "native/sigview.h"
#include "native/spare_tls.h"
#include "native/stuck.h"

bool fl_native_undone(void)
{
	static __thread uint32_t seen __attribute__((tls_model("initial-exec")));
	uint32_t now = __atomic_load_n(&fl_native.undone, __ATOMIC_ACQUIRE);
	bool ret = now != seen;

	seen = now;
	return ret;
}

/* *waited: for user space, so that much may have changed. */
static enum fl_fault resolve(siginfo_t *info, ucontext_t *uc, uint32_t flags, bool spare, bool *waited)
{
	struct fl_vmf vmf = {
		.mm = &fl_native.mm,
		.addr = fl_addr(info->si_addr),
		.flags = flags,
		.sigmask = spare ? NULL : fl_context_mask(uc),
	};
	enum fl_fault ret = FL_FOREIGN;

	if (__atomic_load_n(&fl_native.ready, __ATOMIC_ACQUIRE))
		ret = fl_handle_mm_fault(&vmf);
	*waited = vmf.delivered;
	if (ret == FL_DONE && vmf.released && (flags & FAULT_NOWHERE) && fl_guards_host_has(vmf.addr))
		return FL_FOREIGN;
	if (ret == FL_SEGV) /* the mapping is there, whatever the host hides it with */
		info->si_code = vmf.nowhere ? SEGV_MAPERR : SEGV_ACCERR;
	if (ret == FL_FOREIGN && fl_native_undone())
		ret = FL_DONE; /* it may have been hidden then */
	if (ret == FL_DONE && vmf.delivered && !(flags & FAULT_WRITE) && fl_cache_writable(vmf.mm, vmf.addr))
		fl_touch_nofault(info->si_addr);
	return ret;
}

/* The same, as often as the host does not let the access through; *refused: it never does. */
static enum fl_fault resolve_for_good(siginfo_t *info, ucontext_t *uc, uint32_t flags, bool spare, bool *refused)
{
	uint64_t addr = fl_addr(info->si_addr);
	bool waited;
	enum fl_fault ret = resolve(info, uc, flags, spare, &waited);
	int err;

	if (ret != FL_DONE || waited)
		fl_stuck_forget();
	else if (unlikely(fl_stuck_suspect(addr, *fl_context_pc(uc), flags)))
		for (unsigned tries = 0; ret == FL_DONE && !waited; tries++) {
			err = fl_stuck(addr, flags, tries);
			if (!err)
				break;
			*refused = err != -EBUSY && err != -ENOMEM;
			if (err == -ENOMEM)
				info->si_code = SEGV_MAPERR;
			if (err != -EBUSY)
				return FL_FOREIGN;
			ret = resolve(info, uc, flags, spare, &waited);
		}
	return ret;
}

static uint32_t access_of(const siginfo_t *info, const ucontext_t *uc)
{
	return (fl_context_write(uc) > 0 ? FAULT_WRITE : 0) | (fl_context_exec(uc) ? FAULT_EXEC : 0) |
	       (info->si_code == SEGV_MAPERR ? FAULT_NOWHERE : 0);
}

/* `spare`: on a spare TLS, on which no handler of the program's may run */
static enum fl_fault caused_resolve(siginfo_t *info, ucontext_t *uc, bool spare, bool *refused)
{
	uint32_t flags = access_of(info, uc) | (fl_uaccess_user_fixup(*fl_context_pc(uc)) ? FAULT_KERNEL : 0);

	if (!fl_context_page_fault(uc, info))
		return FL_FOREIGN;
	return resolve_for_good(info, uc, flags, spare, refused);
}

/* The host raised the signal for what this thread did. */
static void caused(siginfo_t *info, ucontext_t *uc)
{
	uintptr_t user_fixup = fl_uaccess_user_fixup(*fl_context_pc(uc));
	bool refused = false;
	enum fl_fault ret = caused_resolve(info, uc, false, &refused);

	if (ret == FL_DONE)
		return;
	if (refused)
		fl_stuck_say(fl_addr(info->si_addr));
	if (user_fixup) {
		*fl_context_pc(uc) = user_fixup;
		return;
	}
	if (ret == FL_SIGBUS) {
		fl_sigview_raise_sigbus(uc, info->si_addr);
		return;
	}
	if (refused)
		fl_sigview_kill(info, uc);
	else
		fl_sigview_caused(info, uc);
}

/* No TLS, until the thread's own can be read. */
static void on_signal(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;
	bool was_caused = info->si_code > 0 && sig == SIGSEGV;
	uintptr_t fixup = was_caused ? fl_uaccess_nofault_fixup(*fl_context_pc(uc)) : 0;
	enum fl_fault ret;
	bool refused = false;
	uintptr_t own;
	int saved;

	if (fixup) {
		*fl_context_pc(uc) = fixup;
		return;
	}
	own = was_caused ? fl_spare_tls_enter() : 0;
	if (unlikely(own)) {
		ret = caused_resolve(info, uc, true, &refused);
		fl_spare_tls_leave(own);
		if (ret == FL_DONE)
			return; /* what is still hidden of it faults again */
	}
	saved = errno;
	if (!was_caused)
		fl_sigview_sent(sig, info, uc);
	else
		caused(info, uc);
	errno = saved;
}

int fl_fault_entry_install(void)
{
	fl_spare_tls_init();
	return fl_sigview_install(on_signal);
}
