/* SPDX-License-Identifier: MIT */
/*
 * process.c - processes and programs that this one starts. A forked child gets memory and objects of its own,
 * whichever call makes it. A program that is started runs on faultline, too, whatever environment it is given: what
 * this one was started with is added if missing. That may happen in a child of vfork(), in its parent's memory and on
 * a small stack, so only pages from the host are allocated, and only for unusually long lists.
 */
#include "preload/preload.h"

#include "arch/stub.h"

#include <dlfcn.h>
#include <limits.h>
#include <pthread.h>
#include <spawn.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PRELOAD	   "LD_PRELOAD="
#define OURS	   "FAULTLINE_"
#define MAX_KEPT   8
#define FEW	   256
#define LIST_SPACE 4096

#define CLONE_STACK (64u * 1024)
#define STACK_NEAR  (16u * 1024) /* how much of a stack is in use around a call */

/* ---- fork and clone ---- */

static bool served; /* this child of a fork is */

static void forked_child(void)
{
	fl_native_fork_child();
	fl_fds_after_fork();
	fl_threads_after_fork();
	fl_stubs_after_fork();
	served = true;
}

/* In the parent, whose system call said `ret`: what its caller is told. A child that was not set up never was. */
static long forked_parent(long ret)
{
	if (fl_native_fork_parent((int32_t)ret) || ret < 0)
		return ret;
	while (fl_host_call(SYS_wait4, ret, 0, __WALL, 0, 0, 0) == -EINTR)
		;
	return -ENOMEM;
}

/* The same for a function of libc's: errno is set. */
static long told(long ret)
{
	long is = forked_parent(ret);

	return ret < 0 ? ret : fl_ret(is);
}

/*
 * Whatever in libc forks makes one system call, which is redirected to fl_do_clone(): there the program's handlers
 * have run, and all of libc's locks are taken. Where it is not, or not yet, fork() runs these handlers. They are
 * registered first, so they run last before the fork and first after it; but libc takes malloc's locks between.
 */
static void before_fork(void)
{
	served = false;
	if (!fl_stubs_redirected(FL_STUB_fork) && fl_native_fork_check() == 0)
		fl_native_fork_prepare(); /* too late to refuse: a failure shows in the child */
}

static void after_fork_parent(void)
{
	fl_native_fork_parent(-1); /* it waits at a pipe: before_fork() has seen to that */
}

static void after_fork(void)
{
	if (!served)
		forked_child();
}

/*
 * Here a fork that cannot be done right can still be refused. It is prepared last, in our handler: while it is
 * prepared nothing may touch registered memory, and fork handlers of the program that do would wait for ever.
 */
FL_EXPORT pid_t fork(void)
{
	int err = fl_stubs_redirected(FL_STUB_fork) ? 0 : fl_native_fork_check();

	if (err) {
		errno = -err;
		return -1;
	}
	return FL_FIND(fork)();
}

FL_EXPORT pid_t _Fork(void)
{
	pid_t pid;

	if (fl_stubs_redirected(FL_STUB_fork))
		return FL_FIND(_Fork)();
	if (fl_native_fork_prepare()) {
		errno = ENOMEM;
		return -1;
	}
	pid = FL_FIND(_Fork)();
	if (pid)
		return (pid_t)told(pid);
	forked_child();
	return pid;
}

/* The child of vfork() does not live beside us. */
void fl_before_clone(uint64_t flags)
{
	if ((flags & (CLONE_VM | CLONE_FILES | CLONE_VFORK)) == CLONE_VM)
		fl_reach_own_table();
}

struct clone_start {
	int (*fn)(void *);
	void *arg;
};

static int clone_child(void *arg)
{
	struct clone_start start = *(struct clone_start *)arg; /* the child's copy of the parent's stack */

	forked_child();
	return start.fn(start.arg);
}

FL_EXPORT int clone(int (*fn)(void *), void *stack, int flags, void *arg, ...)
{
	struct clone_start start = {fn, arg};
	void *ptid, *tls, *ctid;
	va_list ap;
	int pid;

	va_start(ap, arg);
	ptid = va_arg(ap, void *);
	tls = va_arg(ap, void *);
	ctid = va_arg(ap, void *);
	va_end(ap);
	fl_before_clone((uint64_t)flags);
	if (flags & CLONE_VM)
		return FL_FIND(clone)(fn, stack, flags, arg, ptid, tls, ctid);
	if (fl_native_fork_prepare()) {
		errno = ENOMEM;
		return -1;
	}
	pid = FL_FIND(clone)(clone_child, stack, flags, &start, ptid, tls, ctid);
	return (int)told(pid);
}

struct clone_call {
	long nr, flags, stack, ptid, d, e;
	char *sp; /* the caller's */
};

static long clone_served(const struct clone_call *c)
{
	long ret = fl_native_fork_prepare();

	if (ret)
		return ret;
	ret = fl_host_call(c->nr, c->flags, c->stack, c->ptid, c->d, c->e, 0);
	if (ret)
		return forked_parent(ret);
	forked_child();
	return 0;
}

/* Back on the caller's stack there must be room for a signal's frame. */
static long clone_elsewhere(void *call)
{
	struct clone_call *c = call;
	long ret = clone_served(c);

	fl_out(c->sp - STACK_NEAR, 2 * STACK_NEAR);
	return ret;
}

/*
 * Registered memory stands still around the system call. A stack that is registered would, too, and another thread
 * may register this one at any moment: so it is made on one of ours.
 */
static long clone_on_own_stack(const struct clone_call *call)
{
	long p = fl_host_map(CLONE_STACK, PROT_READ | PROT_WRITE), ret;
	struct clone_call *copy;

	if (fl_host_failed(p))
		return -ENOMEM;
	copy = fl_ptr((uint64_t)p); /* its low end */
	*copy = *call;
	ret = fl_on_stack(fl_ptr((uint64_t)p + CLONE_STACK), clone_elsewhere, copy);
	fl_host_munmap((uint64_t)p, CLONE_STACK);
	return ret;
}

long fl_do_clone(long nr, bool forks, long flags, long stack, long ptid, long d, long e)
{
	struct clone_call call = {nr, flags, stack, ptid, d, e, __builtin_frame_address(0)};

	if (!forks) /* the child shares our memory, or does not come back here */
		return fl_host_call(nr, flags, stack, ptid, d, e, 0);
	return fl_maybe_ours() ? clone_on_own_stack(&call) : clone_served(&call);
}

/* ---- what this program was started with ---- */

/* Written by the constructor. */
static struct {
	char *vars[MAX_KEPT]; /* the first is LD_PRELOAD with our library alone */
	unsigned nr;
	size_t used;
	char text[8192];
	const char *library; /* our file name */
} kept;

static void keep(const char *head, const char *var, size_t len)
{
	size_t head_len = strlen(head);
	char *to = kept.text + kept.used;

	if (kept.nr == MAX_KEPT || head_len + len + 1 > sizeof(kept.text) - kept.used)
		return;
	memcpy(to, head, head_len);
	memcpy(to + head_len, var, len);
	to[head_len + len] = '\0';
	kept.vars[kept.nr++] = to;
	kept.used += head_len + len + 1;
}

/* A library's name in LD_PRELOAD ends at a colon or a space. */
static size_t name_length(const char *name)
{
	return strcspn(name, ": ");
}

static bool is_our_library(const char *name, size_t len)
{
	size_t n = strlen(kept.library);

	return len >= n && memcmp(name + len - n, kept.library, n) == 0 && (len == n || name[len - n - 1] == '/');
}

static void keep_library(const char *list)
{
	for (size_t n; *list; list += n + !!list[n]) {
		n = name_length(list);
		if (is_our_library(list, n)) {
			keep(PRELOAD, list, n);
			return;
		}
	}
}

static void keep_environment(void)
{
	Dl_info info;
	const char *slash;

	if (kept.nr || !dladdr(&kept, &info) || !info.dli_fname)
		return;
	slash = strrchr(info.dli_fname, '/');
	kept.library = slash ? slash + 1 : info.dli_fname;
	for (char **e = environ; e && *e && !kept.nr; e++)
		if (strncmp(*e, PRELOAD, strlen(PRELOAD)) == 0)
			keep_library(*e + strlen(PRELOAD));
	for (char **e = environ; kept.nr && e && *e; e++)
		if (strncmp(*e, OURS, strlen(OURS)) == 0)
			keep("", *e, strlen(*e));
}

/*
 * exec(2) lets an ignored signal stay ignored, but this one has a handler at the host. A variable says so, which the
 * new program does not see.
 */
static char ignores_segv[] = "FAULTLINE_SIGSEGV=ignored";

static void take_ignored_segv(void)
{
	const struct fl_ksigaction ignore = {.handler = SIG_IGN};
	char **to = environ;

	for (char **e = environ; e && *e; e++)
		if (strcmp(*e, ignores_segv) == 0)
			fl_sigview_action(SIGSEGV, &ignore, NULL);
		else
			*to++ = *e;
	if (to)
		*to = NULL;
}

static bool segv_is_ignored(void)
{
	struct fl_ksigaction act;

	fl_sigview_action(SIGSEGV, NULL, &act);
	return act.handler == SIG_IGN;
}

void fl_process_init(void)
{
	take_ignored_segv();
	keep_environment();
	pthread_atfork(before_fork, after_fork_parent, after_fork);
}

/* ---- the environment of what is started ---- */

/* A list of arguments, or an environment in the making. */
struct list {
	char **at;
	size_t n, mapped;
	char *few[FEW];
	char preload[LIST_SPACE];
};

static bool list_room(struct list *l, size_t n)
{
	long p;

	l->at = l->few;
	l->n = l->mapped = 0;
	if (n <= FEW)
		return true;
	p = fl_host_map(PAGE_ALIGN(n * sizeof(char *)), PROT_READ | PROT_WRITE);
	if (fl_host_failed(p))
		return false;
	l->at = (char **)p;
	l->mapped = PAGE_ALIGN(n * sizeof(char *));
	return true;
}

static void list_free(struct list *l)
{
	if (l->mapped)
		fl_host_munmap(fl_addr(l->at), l->mapped);
}

/* The value of the variable `var` if `name` begins with the same name and '='. */
static const char *value_of(const char *var, const char *name)
{
	char c;

	for (;; var++, name++) {
		if (!fl_peek(&c, var, 1) || c != *name)
			return NULL;
		if (c == '=')
			return var + 1;
	}
}

/* The index of `var`'s name in the environment; n: it is not there. */
static size_t find(char *const *envp, size_t n, const char *var)
{
	size_t i = 0;

	while (i < n && !value_of(envp[i], var))
		i++;
	return i;
}

/*
 * LD_PRELOAD with our library behind all that the program has in it: the functions of the others come first, and call
 * ours. NULL: it is so. A value too long to be true is dropped.
 */
static char *join(struct list *l, const char *value)
{
	const char *ours = kept.vars[0] + strlen(PRELOAD);
	size_t head = strlen(PRELOAD), at = head, room = sizeof(l->preload) - strlen(kept.vars[0]) - 2, n;
	bool last = false;

	memcpy(l->preload, PRELOAD, head);
	for (; at < room && fl_peek(&l->preload[at], value, 1) && l->preload[at]; value++)
		at++;
	if (at >= room || strlen(ours) >= sizeof(l->preload) / 2)
		return kept.vars[0];
	l->preload[at] = '\0';
	/* the names but ours, moved together */
	at = head;
	for (const char *name = l->preload + head; *name; name += n + !!name[n]) {
		n = name_length(name);
		last = is_our_library(name, n);
		if (!n || last)
			continue;
		memmove(l->preload + at, name, n);
		at += n;
		l->preload[at++] = ':';
	}
	if (last)
		return NULL;
	strcpy(l->preload + at, ours);
	return l->preload;
}

/* How many strings; -1: a bad pointer. */
static long count(char *const *list)
{
	char *s;
	long n = 0;

	while (list && fl_peek(&s, &list[n], sizeof(s)) && s)
		n++;
	return list && !fl_peek(&s, &list[n], sizeof(s)) ? -1 : n;
}

/* `envp` and what it lacks. `ignored`: so is SIGSEGV. NULL: no memory. => list_free() afterwards */
static char *const *with_kept(struct list *l, char *const *envp, bool ignored)
{
	char *missing[MAX_KEPT + 1], *preload;
	long n = kept.nr ? count(envp) : -1;
	size_t nr = 0, at = 0, old, end = (size_t)n;

	if (n < 0)
		return envp;
	for (unsigned i = 1; i < kept.nr; i++)
		if (find(envp, end, kept.vars[i]) == end)
			missing[nr++] = kept.vars[i];
	if (ignored && find(envp, end, ignores_segv) == end)
		missing[nr++] = ignores_segv;
	old = find(envp, end, kept.vars[0]);
	preload = old == end ? kept.vars[0] : join(l, value_of(envp[old], PRELOAD));
	if (preload)
		missing[nr++] = preload;
	if (!nr)
		return envp;
	if (!list_room(l, nr + end + 1))
		return NULL;
	while (at < nr) {
		l->at[at] = missing[at];
		at++;
	}
	for (size_t i = 0; i < end; i++)
		if (i != old || !preload)
			l->at[at++] = envp[i];
	l->at[at] = NULL;
	return l->at;
}

/* ---- exec ---- */

static int strings(char *const *list)
{
	int ret = FL_NOT_OURS;
	char *s;

	for (;; list++) {
		ret = FL_ALL(ret, fl_in(list, sizeof(*list)));
		if (!fl_peek(&s, list, sizeof(s)) || !s)
			return ret;
		ret = FL_ALL(ret, fl_in_str(s));
	}
}

static int program(const char *path, char *const *argv, char *const *envp)
{
	return FL_ALL(fl_in_str(path), strings(argv), strings(envp));
}

/* The new program inherits this thread's signal mask. */
#define WITH_MASK(call)                                                                                              \
	({                                                                                                           \
		uint64_t mask_ = fl_signal_exec_begin();                                                             \
		int called_ = (call);                                                                                \
                                                                                                                     \
		fl_signal_exec_end(mask_);                                                                           \
		called_;                                                                                             \
	})

/*
 * The call takes the environment `with`. It may run with SIGSEGV blocked, so what libc itself reads must be present
 * before.
 */
#define EXEC(name, params, path, argv, envp, ...)                                                                    \
	FL_EXPORT int name params                                                                                    \
	{                                                                                                            \
		struct list l = {.mapped = 0};                                                                       \
		char *const *with = with_kept(&l, envp, segv_is_ignored());                                          \
		int ret;                                                                                             \
                                                                                                                     \
		if (!with && envp)                                                                                   \
			return no_memory();                                                                          \
		if (fl_maybe_ours())                                                                                 \
			program(path, argv, with);                                                                   \
		ret = FL_RETRY(int, WITH_MASK(FL_FIND(name)(__VA_ARGS__)), program(path, argv, with));               \
		list_free(&l);                                                                                       \
		return ret;                                                                                          \
	}

static int no_memory(void)
{
	errno = ENOMEM;
	return -1;
}

EXEC(execve, (const char *path, char *const argv[], char *const envp[]), path, argv, envp, path, argv, with)
EXEC(execvpe, (const char *file, char *const argv[], char *const envp[]), file, argv, envp, file, argv, with)
EXEC(fexecve, (int fd, char *const argv[], char *const envp[]), NULL, argv, envp, fd, argv, with)
EXEC(execveat, (int dir, const char *path, char *const argv[], char *const envp[], int flags), path, argv, envp, dir,
     path, argv, with, flags)

FL_EXPORT int execv(const char *path, char *const argv[])
{
	return execve(path, argv, environ);
}

FL_EXPORT int execvp(const char *file, char *const argv[])
{
	return execvpe(file, argv, environ);
}

/* The arguments up to NULL; leaves `ap` behind it. */
static bool list_args(struct list *l, const char *arg, va_list *ap)
{
	size_t n = 1;
	va_list again;

	va_copy(again, *ap);
	for (const char *a = arg; a; n++)
		a = va_arg(again, const char *);
	va_end(again);
	if (!list_room(l, n))
		return false;
	l->at[0] = fl_ptr(fl_addr(arg));
	for (size_t i = 0; l->at[i];)
		l->at[++i] = va_arg(*ap, char *);
	return true;
}

#define EXECL(name, call)                                                                                            \
	FL_EXPORT int name(const char *path, const char *arg, ...)                                                   \
	{                                                                                                            \
		struct list l;                                                                                       \
		va_list ap;                                                                                          \
		int ret;                                                                                             \
                                                                                                                     \
		va_start(ap, arg);                                                                                   \
		ret = list_args(&l, arg, &ap) ? (call) : no_memory();                                                \
		va_end(ap);                                                                                          \
		list_free(&l);                                                                                       \
		return ret;                                                                                          \
	}

EXECL(execl, execve(path, l.at, environ))
EXECL(execlp, execvpe(path, l.at, environ))
EXECL(execle, execve(path, l.at, va_arg(ap, char **)))

/* Does the child get its default action for SIGSEGV? */
static bool spawn_defaults(const posix_spawnattr_t *attr)
{
	sigset_t set;
	short flags;

	return attr && posix_spawnattr_getflags(attr, &flags) == 0 && (flags & POSIX_SPAWN_SETSIGDEF) &&
	       posix_spawnattr_getsigdefault(attr, &set) == 0 && sigismember(&set, SIGSEGV);
}

/*
 * libc's child shares our memory, but not our SIGSEGV handler: what it reads must be present before. The result is an
 * error number.
 */
#define SPAWN(name)                                                                                                  \
	FL_EXPORT int name(                                                                                          \
		pid_t *restrict pid, const char *restrict path, const posix_spawn_file_actions_t *restrict actions,  \
		const posix_spawnattr_t *restrict attr, char *const argv[restrict], char *const envp[restrict])      \
	{                                                                                                            \
		struct list l = {.mapped = 0};                                                                       \
		char *const *with = with_kept(&l, envp, segv_is_ignored() && !spawn_defaults(attr));                 \
		struct fl_retry retry = {0};                                                                         \
		int ret = ENOMEM;                                                                                    \
                                                                                                                     \
		if (fl_maybe_ours()) {                                                                               \
			fl_in(actions, sizeof(*actions));                                                            \
			fl_in(attr, sizeof(*attr));                                                                  \
			program(path, argv, with);                                                                   \
		}                                                                                                    \
		if (with || !envp)                                                                                   \
			do                                                                                           \
				ret = WITH_MASK(FL_FIND(name)(pid, path, actions, attr, argv, with));                \
			while (ret == EFAULT && fl_maybe_ours() && fl_again(&retry, program(path, argv, with)));     \
		list_free(&l);                                                                                       \
		return ret;                                                                                          \
	}

SPAWN(posix_spawn)
SPAWN(posix_spawnp)
#if __GLIBC_PREREQ(2, 39)
SPAWN(pidfd_spawn)
SPAWN(pidfd_spawnp)
#endif

FL_ALIAS(__fork, fork)
FL_ALIAS(__clone, clone)
