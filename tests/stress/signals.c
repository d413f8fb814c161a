/* SPDX-License-Identifier: MIT */
/*
 * signals.c - a program's own SIGSEGV handler beside userfaultfd: a wild access reaches its handler exactly as the
 * kernel would call it, whatever the flags, mask and stack; a fault on a registered page never does.
 */
#include "stress.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#define SA_KERNEL_RESTORER 0x04000000
#define ALT_SIZE	   (64 * 1024ul) /* bytes */

/* ---- the stage: a registered range with a handler thread, and addresses to go wild at ----------------------- */

static struct handler handler;
static uint8_t *range; /* 16 registered pages */
static uint8_t *hole;  /* unmapped */
static uint8_t *shut;  /* four pages that may not be touched ... */
static uint8_t *fixed; /* ... and four read-only ones, none of them registered */
static uint8_t *altstack;
static int next_page; /* the first of `range` still missing */

static void stage_maps(void)
{
	hole = map_pages(4);
	shut = map_pages(4);
	fixed = map_pages(4);
	altstack = map_pages(ALT_SIZE / PAGE);
	range = map_pages(16);
	CHECK_INT(munmap(hole, 4 * PAGE), 0);
	CHECK_INT(mprotect(shut, 4 * PAGE, PROT_NONE), 0);
	CHECK_INT(mprotect(fixed, 4 * PAGE, PROT_READ), 0);
}

static void stage_uffd(void)
{
	handler.fd = uffd_open(O_CLOEXEC, FEAT_WP);
	uffd_register(handler.fd, range, 16 * PAGE, MISSING | WP);
}

/* The registered range's last pages, with other rights: present and read-only; missing and forbidden */
static void stage_rights(void)
{
	CHECK(stamped(range + 14 * PAGE, (uintptr_t)range + 14 * PAGE));
	CHECK_INT(mprotect(range + 14 * PAGE, PAGE, PROT_READ), 0);
	CHECK_INT(mprotect(range + 15 * PAGE, PAGE, PROT_NONE), 0);
}

static void stage(void)
{
	stage_maps();
	stage_uffd();
	handler_start(&handler);
	stage_rights();
}

/* A registered page is resolved without involving the program's handlers. */
static void fault_quietly(void)
{
	uint8_t *p = range + next_page++ % 8 * PAGE;
	CHECK(stamped(p, (uintptr_t)p));
	CHECK_INT(uffd_protect(handler.fd, p, PAGE, true), 0);
	poke(p, peek(p));
	CHECK(stamped(p, (uintptr_t)p));
}

/* ---- what a handler saw ------------------------------------------------------------------------------------- */

static struct seen {
	int count, sig, code;
	void *addr;
	sigset_t mask, interrupted;
	uintptr_t frame;
	long long cr2, trap;
	bool write;
	stack_t alt;
} seen;
static sigjmp_buf out;

static void record(int sig)
{
	int local;
	seen.count++;
	seen.sig = sig;
	seen.frame = (uintptr_t)&local;
	pthread_sigmask(SIG_BLOCK, NULL, &seen.mask);
	sigaltstack(NULL, &seen.alt);
	siglongjmp(out, 1);
}

static void plain_handler(int sig)
{
	record(sig);
}

static void info_handler(int sig, siginfo_t *info, void *context)
{
	const ucontext_t *uc = context;
	seen.code = info->si_code;
	seen.addr = info->si_addr;
	seen.interrupted = uc->uc_sigmask;
	seen.cr2 = uc->uc_mcontext.gregs[REG_CR2];
	seen.trap = uc->uc_mcontext.gregs[REG_TRAPNO];
	seen.write = uc->uc_mcontext.gregs[REG_ERR] & 2;
	record(sig);
}

/* ---- the matrix: every way to install a handler, every wild access --------------------------------------------- */

struct wild {
	const char *name;
	uint8_t **base;
	size_t offset;
	bool write;
	int code;
};

static uint8_t *noncanonical = (uint8_t *)0x8000000000000000ull;

static const struct wild wilds[] = {
	{"read of nothing", &hole, PAGE + 123, false, SEGV_MAPERR},
	{"write to nothing", &hole, 3 * PAGE, true, SEGV_MAPERR},
	{"read of PROT_NONE", &shut, 7, false, SEGV_ACCERR},
	{"write to read-only", &fixed, 2 * PAGE + 4095, true, SEGV_ACCERR},
	{"write to registered read-only", &range, 14 * PAGE + 5, true, SEGV_ACCERR},
	{"read of registered PROT_NONE", &range, 15 * PAGE + 6, false, SEGV_ACCERR},
	{"non-canonical", &noncanonical, 0, false, SI_KERNEL},
};

static void go_wild(const struct wild *w)
{
	uint8_t *p = *w->base + w->offset;
	if (sigsetjmp(out, 1) != 0)
		return;
	if (w->write)
		poke(p, 1);
	else
		peek(p);
	FAIL("%s went on", w->name);
}

static void check_wild(const struct wild *w, const struct sigaction *sa, bool alt_set, const sigset_t *before)
{
	sigset_t want = *before;
	bool on_alt = seen.frame - (uintptr_t)altstack < ALT_SIZE;
	CHECK_INT(seen.count, 1);
	CHECK_INT(seen.sig, SIGSEGV);
	CHECK_INT(on_alt, alt_set && (sa->sa_flags & SA_ONSTACK));
	CHECK_INT(seen.alt.ss_flags, !alt_set ? SS_DISABLE : on_alt ? SS_ONSTACK : 0);
	CHECK(!alt_set || (seen.alt.ss_sp == altstack && seen.alt.ss_size == ALT_SIZE));
	for (int s = 1; s <= 64; s++)
		if (sigismember(&sa->sa_mask, s) == 1)
			sigaddset(&want, s);
	if (!(sa->sa_flags & SA_NODEFER))
		sigaddset(&want, SIGSEGV);
	same_set(&seen.mask, &want, "mask in the handler");
	if (!(sa->sa_flags & SA_SIGINFO))
		return;
	CHECK_INT(seen.code, w->code);
	same_set(&seen.interrupted, before, "uc_sigmask");
	if (w->code == SI_KERNEL) {
		CHECK(seen.addr == NULL && seen.trap == 13);
		return;
	}
	CHECK(seen.addr == *w->base + w->offset);
	CHECK_INT(seen.cr2, (uintptr_t)seen.addr);
	CHECK_INT(seen.trap, 14);
	CHECK_INT(seen.write, w->write);
}

static void try_one(const struct wild *w, const struct sigaction *sa, bool alt_set)
{
	sigset_t before, after;
	struct sigaction old;
	stack_t ss = {.ss_sp = altstack, .ss_size = ALT_SIZE, .ss_flags = alt_set ? 0 : SS_DISABLE};
	CHECK_INT(sigaltstack(&ss, NULL), 0);
	CHECK_INT(sigaction(SIGSEGV, sa, NULL), 0);
	CHECK_INT(sigaction(SIGSEGV, NULL, &old), 0);
	CHECK(old.sa_sigaction == sa->sa_sigaction);
	CHECK_INT(old.sa_flags & ~SA_KERNEL_RESTORER, sa->sa_flags);
	same_set(&old.sa_mask, &sa->sa_mask, "sa_mask read back");
	pthread_sigmask(SIG_BLOCK, NULL, &before);
	memset(&seen, 0, sizeof(seen));
	go_wild(w);
	check_wild(w, sa, alt_set, &before);
	pthread_sigmask(SIG_BLOCK, NULL, &after);
	same_set(&after, &before, "mask after siglongjmp");
	CHECK_INT(sigaction(SIGSEGV, NULL, &old), 0);
	CHECK((old.sa_handler == SIG_DFL) == ((sa->sa_flags & (int)SA_RESETHAND) != 0));
	fault_quietly();
	CHECK_INT(seen.count, 1);
}

static void try_flags(const struct wild *w, const sigset_t *mask)
{
	static const int bit[4] = {SA_SIGINFO, SA_NODEFER, (int)SA_RESETHAND, SA_ONSTACK};
	for (unsigned i = 0; i < 32; i++) {
		struct sigaction sa = {.sa_mask = *mask};
		for (unsigned b = 0; b < 4; b++)
			sa.sa_flags |= i >> b & 1 ? bit[b] : 0;
		if (sa.sa_flags & SA_SIGINFO)
			sa.sa_sigaction = info_handler;
		else
			sa.sa_handler = plain_handler;
		try_one(w, &sa, i >> 4);
	}
}

static void test_matrix(void)
{
	sigset_t mask[3], some;
	stage();
	sigemptyset(&mask[0]);
	sigemptyset(&mask[1]);
	sigaddset(&mask[1], SIGUSR1);
	sigaddset(&mask[1], SIGRTMIN + 3);
	sigfillset(&mask[2]);
	sigemptyset(&some);
	sigaddset(&some, SIGUSR2);
	pthread_sigmask(SIG_BLOCK, &some, NULL);
	for (size_t w = 0; w < sizeof(wilds) / sizeof(*wilds); w++)
		for (int m = 0; m < 3; m++)
			try_flags(&wilds[w], &mask[m]);
}

static void *matrix_thread(void *arg)
{
	sigset_t none;
	sigemptyset(&none);
	for (size_t w = 0; w < sizeof(wilds) / sizeof(*wilds); w++)
		try_flags(&wilds[w], &none);
	return NULL;
}

static void test_matrix_in_thread(void)
{
	stage();
	join(spawn(matrix_thread, NULL));
}

/* ---- installed before the object, in each of libc's ways ---------------------------------------------------- */

typedef void (*sighandler)(int);

static sighandler by_signal(sighandler h)
{
	return signal(SIGSEGV, h);
}

static sighandler by_sysv_signal(sighandler h)
{
	return sysv_signal(SIGSEGV, h);
}

static sighandler by_sigaction(sighandler h)
{
	struct sigaction sa = {.sa_handler = h}, old;
	CHECK_INT(sigaction(SIGSEGV, &sa, &old), 0);
	return old.sa_handler;
}

static void install_around(sighandler (*install)(sighandler), bool before)
{
	stage_maps();
	if (before)
		CHECK(install(plain_handler) == SIG_DFL);
	stage_uffd();
	handler_start(&handler);
	stage_rights();
	if (!before)
		CHECK(install(plain_handler) == SIG_DFL);
	for (size_t w = 0; w < sizeof(wilds) / sizeof(*wilds); w++) {
		fault_quietly();
		seen.count = 0;
		go_wild(&wilds[w]);
		CHECK_INT(seen.count, 1);
		sighandler old = install(plain_handler);
		CHECK(old == (install == by_sysv_signal ? SIG_DFL : plain_handler));
	}
	CHECK(install(SIG_IGN) == plain_handler);
	fault_quietly();
	CHECK(install(SIG_DFL) == SIG_IGN);
	fault_quietly();
}

static void test_signal_before(void)
{
	install_around(by_signal, true);
}

static void test_signal_after(void)
{
	install_around(by_signal, false);
}

static void test_sysv_before(void)
{
	install_around(by_sysv_signal, true);
}

static void test_sysv_after(void)
{
	install_around(by_sysv_signal, false);
}

static void test_sigaction_before(void)
{
	install_around(by_sigaction, true);
}

static void test_sigaction_after(void)
{
	install_around(by_sigaction, false);
}

/* ---- handlers that return ----------------------------------------------------------------------------------- */

static void opening_handler(int sig, siginfo_t *info, void *context)
{
	uint8_t *page = (uint8_t *)PAGE_OF(info->si_addr);
	seen.count++;
	CHECK_INT(mprotect(page, PAGE, PROT_READ | PROT_WRITE), 0);
}

/* A write barrier by mprotect, on plain and registered memory: the handler opens the page, the store is repeated. */
static void test_barrier(void)
{
	struct sigaction sa = {.sa_sigaction = opening_handler, .sa_flags = SA_SIGINFO};
	stage();
	CHECK_INT(sigaction(SIGSEGV, &sa, NULL), 0);
	for (int i = 0; i < 1000; i++) {
		uint8_t *p = i & 1 ? range + (i >> 1) % 8 * PAGE : fixed + (i >> 1) % 4 * PAGE;
		peek(p);
		CHECK_INT(mprotect(p, PAGE, PROT_READ), 0);
		seen.count = 0;
		poke(p + 9, (uint8_t)i);
		CHECK_INT(seen.count, 1);
		CHECK_INT(peek(p + 9), (uint8_t)i);
	}
}

static void stepping_handler(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;
	seen.count++;
	uc->uc_mcontext.gregs[REG_RIP] = uc->uc_mcontext.gregs[REG_R12];
	sigaddset(&uc->uc_sigmask, SIGUSR1);
}

/* A handler that changes the context it returns to: the address and the mask. */
static void test_context(void)
{
	struct sigaction sa = {.sa_sigaction = stepping_handler, .sa_flags = SA_SIGINFO};
	sigset_t after, want;
	stage();
	CHECK_INT(sigaction(SIGSEGV, &sa, NULL), 0);
	__asm__ volatile("lea 1f(%%rip), %%r12\n\tmovb $1, (%0)\n\tud2\n1:" : : "r"(hole) : "r12", "memory");
	CHECK_INT(seen.count, 1);
	pthread_sigmask(SIG_BLOCK, NULL, &after);
	sigemptyset(&want);
	sigaddset(&want, SIGUSR1);
	same_set(&after, &want, "mask changed by the handler");
	fault_quietly();
}

/* Registers, flags and what lies below the stack pointer survive a fault. */
static void test_registers(void)
{
	stage();
	for (int i = 0; i < 8; i++) {
		uint64_t in[4] = {0x1111, 0x2222, 0x3333, 0x4444}, outv[4] = {0}, red = 0, flags = 0;
		errno = 4711;
		__asm__ volatile("movups (%[in]), %%xmm3\n\t"
				 "movups 16(%[in]), %%xmm15\n\t"
				 "movq $0x77, -8(%%rsp)\n\t"
				 "movq $0x88, -120(%%rsp)\n\t"
				 "stc\n\t"
				 "movb (%[page]), %%al\n\t"
				 "setc %b[flags]\n\t"
				 "movq -8(%%rsp), %[red]\n\t"
				 "addq -120(%%rsp), %[red]\n\t"
				 "movups %%xmm3, (%[out])\n\t"
				 "movups %%xmm15, 16(%[out])\n\t"
				 : [red] "=&r"(red), [flags] "+&r"(flags)
				 : [in] "r"(in), [out] "r"(outv), [page] "r"(range + i * PAGE)
				 : "rax", "xmm3", "xmm15", "memory", "cc");
		CHECK_INT(red, 0xff);
		CHECK_INT(flags, 1);
		CHECK(memcmp(in, outv, sizeof(in)) == 0);
		CHECK_INT(errno, 4711);
	}
	CHECK_INT(handler.missing, 9);
}

static void fill_ret(struct handler *h, void *page, uint64_t addr)
{
	memset(page, 0xc3, PAGE); /* ret */
}

/* Instructions are fetched from a missing page. */
static void test_fetch(void)
{
	range = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(range != MAP_FAILED);
	stage_uffd();
	handler.fill = fill_ret;
	handler_start(&handler);
	for (int i = 0; i < 16; i++)
		((void (*)(void))(uintptr_t)(range + i * PAGE + 77))();
	CHECK_INT(handler.missing, 16);
}

/* ---- sent, not raised by an access -------------------------------------------------------------------------- */

static void sent_handler(int sig, siginfo_t *info, void *context)
{
	seen.count++;
	seen.code = info->si_code;
	seen.addr = info->si_value.sival_ptr;
}

static void test_sent(void)
{
	struct sigaction sa = {.sa_sigaction = sent_handler, .sa_flags = SA_SIGINFO};
	union sigval value = {.sival_ptr = &seen};
	stage();
	CHECK_INT(sigaction(SIGSEGV, &sa, NULL), 0);
	CHECK_INT(sigaction(SIGBUS, &sa, NULL), 0);
	for (int sig = SIGSEGV;; sig = SIGBUS) {
		seen.count = 0;
		CHECK_INT(raise(sig), 0);
		CHECK(seen.count == 1 && seen.code == SI_TKILL);
		CHECK_INT(kill(getpid(), sig), 0);
		CHECK(seen.count == 2 && seen.code == SI_USER);
		CHECK_INT(sigqueue(getpid(), sig, value), 0);
		CHECK(seen.count == 3 && seen.code == SI_QUEUE && seen.addr == &seen);
		if (sig == SIGBUS)
			break;
	}
	fault_quietly();
}

/* A SIGSEGV that was sent stays pending while blocked, and sigwait(3) takes it. */
static void test_sent_blocked(void)
{
	struct sigaction sa = {.sa_sigaction = sent_handler, .sa_flags = SA_SIGINFO};
	sigset_t segv, pending;
	int sig = 0;
	stage();
	CHECK_INT(sigaction(SIGSEGV, &sa, NULL), 0);
	sigemptyset(&segv);
	sigaddset(&segv, SIGSEGV);
	CHECK_INT(pthread_sigmask(SIG_BLOCK, &segv, NULL), 0);
	CHECK_INT(raise(SIGSEGV), 0);
	CHECK_INT(seen.count, 0);
	fault_quietly();
	CHECK_INT(sigpending(&pending), 0);
	CHECK_INT(sigismember(&pending, SIGSEGV), 1);
	CHECK_INT(sigwait(&segv, &sig), 0);
	CHECK_INT(sig, SIGSEGV);
	CHECK_INT(seen.count, 0);
	CHECK_INT(raise(SIGSEGV), 0);
	CHECK_INT(pthread_sigmask(SIG_UNBLOCK, &segv, NULL), 0);
	CHECK_INT(seen.count, 1);
}

/* ---- the ways to die ---------------------------------------------------------------------------------------- */

static void touch_hole(void *arg)
{
	peek(hole);
}

static void die_ignored(void *arg)
{
	signal(SIGSEGV, SIG_IGN);
	fault_quietly();
	touch_hole(NULL);
}

static void die_blocked(void *arg)
{
	sigset_t all;
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	fault_quietly();
	touch_hole(NULL);
}

static void die_blocked_handler(void *arg)
{
	signal(SIGSEGV, plain_handler);
	if (sigsetjmp(out, 1) == 0)
		die_blocked(NULL);
}

static void die_reset(void *arg)
{
	struct sigaction sa = {.sa_handler = plain_handler, .sa_flags = (int)SA_RESETHAND};
	sigaction(SIGSEGV, &sa, NULL);
	for (int i = 0; i < 2; i++)
		if (sigsetjmp(out, 1) == 0)
			touch_hole(NULL);
}

static void touching_handler(int sig)
{
	touch_hole(NULL);
}

static void die_nested(void *arg)
{
	signal(SIGSEGV, touching_handler);
	touch_hole(NULL);
}

static void die_raised(void *arg)
{
	raise(SIGSEGV);
}

static void die_write(void *arg)
{
	poke(range + 14 * PAGE, 1);
}

static void die_none(void *arg)
{
	peek(range + 15 * PAGE);
}

static volatile int bottom;

static __attribute__((noinline)) int dig(int n)
{
	volatile uint8_t hold[1024];
	hold[n % 1024] = (uint8_t)n;
	return bottom ? n : dig(n + 1) + hold[n % 7];
}

static void *overflow(void *arg)
{
	return (void *)(intptr_t)dig(0);
}

static void die_overflow(void *arg)
{
	join(spawn(overflow, NULL));
}

static void die_overflow_handler(void *arg)
{
	signal(SIGSEGV, plain_handler); /* there is no stack to run it on */
	if (sigsetjmp(out, 1) == 0)
		dig(0);
}

static void abort_handler(int sig)
{
	abort();
}

static void die_abort(void *arg)
{
	signal(SIGSEGV, abort_handler);
	touch_hole(NULL);
}

struct death {
	const char *name;
	void (*fn)(void *);
	int sig;
};

static const struct death deaths[] = {
	{"default", touch_hole, SIGSEGV},
	{"ignored", die_ignored, SIGSEGV},
	{"blocked", die_blocked, SIGSEGV},
	{"blocked, with a handler", die_blocked_handler, SIGSEGV},
	{"the second after SA_RESETHAND", die_reset, SIGSEGV},
	{"in the handler", die_nested, SIGSEGV},
	{"raised", die_raised, SIGSEGV},
	{"registered read-only", die_write, SIGSEGV},
	{"registered PROT_NONE", die_none, SIGSEGV},
	{"stack overflow", die_overflow, SIGSEGV},
	{"stack overflow, handler without a stack", die_overflow_handler, SIGSEGV},
	{"abort in the handler", die_abort, SIGABRT},
};

static void die_as(void *arg)
{
	const struct death *d = arg;
	stage();
	d->fn(NULL);
}

static void test_deaths(void)
{
	for (size_t i = 0; i < sizeof(deaths) / sizeof(*deaths); i++) {
		struct death d = deaths[i];
		int status = in_child(die_as, &d);
		if (!WIFSIGNALED(status) || WTERMSIG(status) != d.sig)
			FAIL("%s: status %#x, not signal %d", d.name, (unsigned)status, d.sig);
	}
}

/* The overflow of a thread's stack is caught on an alternate stack, as language runtimes do. */
static void *overflow_caught(void *arg)
{
	stack_t ss = {.ss_sp = altstack, .ss_size = ALT_SIZE};
	struct sigaction sa = {.sa_sigaction = info_handler, .sa_flags = SA_SIGINFO | SA_ONSTACK};
	CHECK_INT(sigaltstack(&ss, NULL), 0);
	CHECK_INT(sigaction(SIGSEGV, &sa, NULL), 0);
	for (int i = 1; i <= 20; i++) {
		if (sigsetjmp(out, 1) == 0)
			dig(0);
		CHECK_INT(seen.count, i);
		CHECK_INT(seen.code, SEGV_ACCERR); /* the guard page */
		fault_quietly();
	}
	return NULL;
}

static void test_overflow(void)
{
	stage();
	join(spawn(overflow_caught, NULL));
}

/*
 * ---- several threads, each with its own handler -------------------------------------------------------------------
 */

static _Thread_local sigjmp_buf thread_out;
static atomic_int thread_faults;

static void thread_handler(int sig, siginfo_t *info, void *context)
{
	thread_faults++;
	siglongjmp(thread_out, 1);
}

static void *wild_thread(void *arg)
{
	for (volatile int i = 0; i < 2000; i++)
		if (sigsetjmp(thread_out, 1) == 0) {
			if (i & 1)
				peek(hole);
			else
				poke(range + 14 * PAGE, 1);
			FAIL("went on");
		}
	return NULL;
}

static void *tame_thread(void *arg)
{
	uint8_t *mine = arg;
	for (int i = 0; i < 2000; i++) {
		CHECK(stamped(mine, (uintptr_t)mine));
		CHECK_INT(madvise(mine, PAGE, MADV_DONTNEED), 0);
	}
	return NULL;
}

static void test_threads(void)
{
	struct sigaction sa = {.sa_sigaction = thread_handler, .sa_flags = SA_SIGINFO};
	pthread_t t[8];
	stage();
	CHECK_INT(sigaction(SIGSEGV, &sa, NULL), 0);
	for (int i = 0; i < 8; i++)
		t[i] = spawn(i & 1 ? tame_thread : wild_thread, range + i * PAGE);
	for (int i = 0; i < 8; i++)
		join(t[i]);
	CHECK_INT(thread_faults, 4 * 2000);
}

static const struct test tests[] = {
	{"handler-matrix", test_matrix, 0},
	{"handler-matrix-in-thread", test_matrix_in_thread, 0},
	{"signal-before", test_signal_before, 0},
	{"signal-after", test_signal_after, 0},
	{"sysv-signal-before", test_sysv_before, 0},
	{"sysv-signal-after", test_sysv_after, 0},
	{"sigaction-before", test_sigaction_before, 0},
	{"sigaction-after", test_sigaction_after, 0},
	{"handler-opens-page", test_barrier, 0},
	{"handler-changes-context", test_context, 0},
	{"registers-survive", test_registers, 0},
	{"instruction-fetch", test_fetch, 0},
	{"sent", test_sent, 0},
	{"sent-while-blocked", test_sent_blocked, 0},
	{"ways-to-die", test_deaths, 0},
	{"stack-overflow-caught", test_overflow, 0},
	{"handlers-in-threads", test_threads, 0},
	{NULL, NULL, 0},
};

int main(int argc, char **argv)
{
	return run_tests(argc, argv, tests);
}
