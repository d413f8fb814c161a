/* SPDX-License-Identifier: MIT */
/*
 * run.c - `faultline run`: start a program with faultline's library preloaded.
 *
 * Without --stats the tool becomes the program, which then has the tool's parent and process id. With --stats the
 * tool stays as the parent, passes signals on, and ends as the program does. The counters are in a memfd that the
 * library maps by the name in FAULTLINE_STATS.
 */
#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tool.h"

struct run_options {
	bool deny, stats;
	const char *stats_file;	       /* NULL: stderr */
	const char *guard;	       /* NULL: as FAULTLINE_GUARD says */
	char inject[FL_INJECT_LENGTH]; /* specs, joined by ';'; empty: as FAULTLINE_INJECT says */
	char **argv;		       /* the program's */
};

enum { OPT_DENY = 256, OPT_STATS, OPT_GUARD, OPT_INJECT };

static const struct argp_option options[] = {
	{"deny-kernel", OPT_DENY, NULL, 0, "let the kernel refuse userfaultfd to the program", 0},
	{"stats", OPT_STATS, "FILE", OPTION_ARG_OPTIONAL,
	 "at exit, print what happened to stderr or FILE; as JSON if it ends in .json", 0},
	{"inject", OPT_INJECT, "SPEC", 0,
	 "make an operation fail: POINT[=ERRNO][,after=N][,times=N|all][,ms=N]; `list' prints the points", 0},
	{"guard", OPT_GUARD, "auto|off", 0, "hide pages with guard markers where the host has them, or never", 0},
	{NULL, 'h', NULL, OPTION_HIDDEN, NULL, 0},
	{0},
};

/* Bad specs end the command here, before anything runs. */
static void check_inject(const char *option, const char *specs)
{
	char why[FL_INJECT_WHY];

	if (!fl_inject_check(specs, why))
		exit(fail(EX_OWN, "%s: %s", option, why));
}

static void add_inject(struct run_options *o, const char *specs)
{
	size_t n = strlen(o->inject);

	if (*specs == '-') /* the next option, or -- */
		exit(fail(EX_OWN, "--inject needs a SPEC, not `%s'; --inject list prints the points", specs));
	if (strcmp(specs, "list") == 0) {
		list_inject_points();
		exit(fflush(stdout) || ferror(stdout) ? fail(EX_OWN, "stdout: %s", strerror(errno)) : 0);
	}
	if ((size_t)snprintf(o->inject + n, sizeof(o->inject) - n, "%s%s", n ? ";" : "", specs) >=
	    sizeof(o->inject) - n)
		exit(fail(EX_OWN, "--inject: more than %d characters in all", FL_INJECT_LENGTH - 1));
	check_inject("--inject", o->inject); /* together with earlier ones: there is a limit for each point */
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct run_options *o = state->input;

	switch (key) {
	case OPT_DENY:
		o->deny = true;
		return 0;
	case OPT_STATS:
		o->stats = true;
		o->stats_file = arg;
		if (arg && !*arg)
			argp_error(state, "--stats= needs a file name after the =");
		return 0;
	case OPT_INJECT:
		add_inject(o, arg);
		return 0;
	case 'h':
		argp_state_help(state, stdout, ARGP_HELP_STD_HELP);
		return 0;
	case OPT_GUARD:
		if (strcmp(arg, "auto") != 0 && strcmp(arg, "off") != 0)
			argp_error(state, "--guard is auto or off, not `%s'", arg);
		o->guard = arg;
		return 0;
	case ARGP_KEY_ARG: /* the program; what follows belongs to it, even if it looks like an option */
		o->argv = state->argv + state->next - 1;
		state->next = state->argc;
		return 0;
	case ARGP_KEY_NO_ARGS:
		argp_error(state, "which program?");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.options = options,
	.parser = parse,
	.args_doc = "[--] PROGRAM [ARG...]",
	.doc = "Run PROGRAM with its userfaultfd calls answered by faultline.",
};

/* ---- the program's environment ---- */

/*
 * LD_PRELOAD with the library last, once: what other libraries interpose comes first, and calls the library's. NULL:
 * no memory.
 */
static char *preload_list(const char *library)
{
	const char *old = getenv("LD_PRELOAD"), *name = old ? old : "";
	size_t len = strlen(library), n;
	char *list = malloc(strlen(name) + len + 2), *end = list;

	if (!list)
		return NULL;
	for (; *name; name += n + !!name[n]) {
		n = strcspn(name, ": ");
		if (!n || (n == len && memcmp(name, library, n) == 0))
			continue;
		memcpy(end, name, n);
		end += n;
		*end++ = ':';
	}
	strcpy(end, library);
	return list;
}

/*
 * The kernel writes to rseq areas, which glibc has in its thread control blocks, whenever it preempts a thread, and
 * ends the program if they are hidden. What the user asks for of it stays.
 */
static int set_tunables(void)
{
	const char *old = getenv("GLIBC_TUNABLES");
	char *list;
	int err;

	if (old && strstr(old, "glibc.pthread.rseq="))
		return 0;
	if (asprintf(&list, "%s%sglibc.pthread.rseq=0", old ? old : "", old && *old ? ":" : "") < 0)
		return -ENOMEM;
	err = setenv("GLIBC_TUNABLES", list, 1) ? -errno : 0;
	free(list);
	return err;
}

static int set_environment(const struct run_options *o, const char *library)
{
	int err = set_tunables();
	char *list;

	if (err)
		return err;
	if (o->guard &&
	    (strcmp(o->guard, "off") == 0 ? setenv("FAULTLINE_GUARD", "off", 1) : unsetenv("FAULTLINE_GUARD")))
		return -errno;
	if (*o->inject && setenv("FAULTLINE_INJECT", o->inject, 1))
		return -errno;
	list = preload_list(library);
	if (!list)
		return -ENOMEM;
	err = setenv("LD_PRELOAD", list, 1) ? -errno : 0;
	free(list);
	return err;
}

/* Shared counters that the program finds by name. Sealed, as a file that shrinks would kill its readers. */
int share_stats(struct fl_stats **stats)
{
	char name[64];
	int fd = memfd_create("faultline-stats", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || ftruncate(fd, sizeof(**stats)) || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW))
		return -errno;
	*stats = mmap(NULL, sizeof(**stats), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (*stats == MAP_FAILED)
		return -errno;
	(*stats)->magic = FL_STATS_MAGIC;
	(*stats)->size = sizeof(**stats);
	snprintf(name, sizeof(name), "/proc/%d/fd/%d", (int)getpid(), fd);
	return setenv("FAULTLINE_STATS", name, 1) ? -errno : 0;
}

/* ---- the tool as the program's parent ---- */

static const int passed_on[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2};
#define PASSED_ON (sizeof(passed_on) / sizeof(*passed_on))

static volatile pid_t child;

/*
 * What the kernel sends, a terminal's ^C above all, goes to the whole process group and needs no help. What the
 * program sends to its group must not come back to it.
 */
static void pass_on(int sig, siginfo_t *info, void *context)
{
	int saved = errno;

	(void)context;
	if (info->si_code <= 0 && info->si_pid != child)
		kill(child, sig);
	errno = saved;
}

/* After the fork: what the tool itself was told to ignore, as by nohup(1), the program continues to ignore. */
static void catch_signals(void)
{
	struct sigaction sa = {.sa_sigaction = pass_on, .sa_flags = SA_SIGINFO | SA_RESTART};

	for (size_t i = 0; i < PASSED_ON; i++)
		sigaction(passed_on[i], &sa, NULL);
}

/* Start the program, with the signal mask that the tool was started with. Its pid, or -errno, also execve's. */
static pid_t start(const char *path, char **argv, const sigset_t *mask)
{
	void (*on_child)(int) = signal(SIGCHLD, SIG_DFL); /* ignored, it would leave nothing to wait for */
	int err = 0, report[2];

	if (pipe2(report, O_CLOEXEC))
		return -errno;
	pid_t pid = fork();
	if (pid == 0) {
		signal(SIGCHLD, on_child);
		sigprocmask(SIG_SETMASK, mask, NULL);
		execv(path, argv);
		err = errno;
		_exit(write(report[1], &err, sizeof(err)) != sizeof(err));
	}
	if (pid < 0)
		err = errno;
	close(report[1]);
	if (pid > 0 && read(report[0], &err, sizeof(err)) == sizeof(err))
		waitpid(pid, NULL, 0);
	close(report[0]);
	return err ? -err : pid;
}

/* The signals are unblocked only while the child exists, so that none is passed on to another process. */
static int run_and_wait(const char *path, char **argv, int *status)
{
	sigset_t block, mask;
	siginfo_t info;

	sigemptyset(&block);
	for (size_t i = 0; i < PASSED_ON; i++)
		sigaddset(&block, passed_on[i]);
	sigprocmask(SIG_BLOCK, &block, &mask);
	pid_t pid = start(path, argv, &mask);
	if (pid < 0)
		return pid;

	child = pid;
	catch_signals();
	sigprocmask(SIG_UNBLOCK, &block, NULL);
	while (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) && errno == EINTR)
		;
	sigprocmask(SIG_BLOCK, &block, NULL);
	return waitpid(pid, status, 0) == pid ? 0 : -errno;
}

/* End as the child ended, so that the caller's shell sees the same $?. Only the child leaves a core. */
static int end_as(int status)
{
	if (!WIFSIGNALED(status))
		return WEXITSTATUS(status);

	sigset_t set;

	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	signal(WTERMSIG(status), SIG_DFL);
	sigemptyset(&set);
	sigaddset(&set, WTERMSIG(status));
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	raise(WTERMSIG(status));
	return 128 + WTERMSIG(status);
}

static bool ends_in(const char *s, const char *tail)
{
	size_t n = strlen(s), m = strlen(tail);

	return n >= m && strcmp(s + n - m, tail) == 0;
}

static int exec_failed(const char *path, int err)
{
	return fail(err == ENOENT ? EX_NOT_FOUND : EX_CANNOT_RUN, "cannot run %s: %s", path, strerror(err));
}

static int run_with_stats(const struct run_options *o, const char *path, const struct fl_stats *stats, FILE *out)
{
	int status;
	int err = run_and_wait(path, o->argv, &status);

	if (err)
		return exec_failed(path, -err);
	signal(SIGPIPE, SIG_IGN); /* the reader of the statistics may be gone; the exit status stands */
	print_stats(out, stats, o->stats_file && ends_in(o->stats_file, ".json"));
	if (fflush(out) || ferror(out))
		fail(0, "cannot write the statistics: %s", strerror(errno));
	if (__atomic_load_n(&stats->processes, __ATOMIC_RELAXED) == 0) {
		fail(0, "the library was not loaded: %s ran without faultline", o->argv[0]);
		if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
			return EX_OWN;
	}
	return end_as(status);
}

int cmd_run(int argc, char **argv)
{
	struct run_options o = {0};
	char path[PATH_MAX], library[PATH_MAX], why[2 * PATH_MAX];
	struct fl_stats *stats = NULL;
	FILE *out = stderr;
	int err;

	argp_err_exit_status = EX_OWN; /* 2 may be the program's */
	if (argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &o))
		return EX_OWN;

	if (!*o.inject && getenv("FAULTLINE_INJECT"))
		check_inject("FAULTLINE_INJECT", getenv("FAULTLINE_INJECT"));
	if (o.stats && !o.stats_file && ends_in(o.argv[0], ".json") && access(o.argv[0], X_OK))
		return fail(EX_NOT_FOUND, "no program is called %s; a file for the statistics is --stats=%s",
			    o.argv[0], o.argv[0]);
	err = find_program(o.argv[0], path);
	if (!err)
		err = check_program(path);
	if (err)
		return err;
	if (!find_library(library, why, sizeof(why)))
		return fail(EX_OWN, "%s", why);
	if (o.stats_file && !(out = fopen(o.stats_file, "we")))
		return fail(EX_OWN, "%s: %s", o.stats_file, strerror(errno));
	if ((err = set_environment(&o, library)) || (o.stats && (err = share_stats(&stats))))
		return fail(EX_OWN, "%s", strerror(-err));
	if (o.deny && (err = deny_kernel()))
		return fail(EX_OWN, "--deny-kernel: the kernel takes no system call filter: %s", strerror(-err));

	if (o.stats)
		return run_with_stats(&o, path, stats, out);
	execv(path, o.argv);
	return exec_failed(path, errno);
}
