/* SPDX-License-Identifier: MIT */
/*
 * runner.c - runs the conformance cases, each in a fresh process, and reports in TAP.
 *
 * A case is this program executed again with --run NAME: nothing of an earlier case, and no object of the runner,
 * is in its process, and a preloaded library starts in it as in any program.
 */
#include <fnmatch.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "conformance.h"
#include "unprivileged.h"

#define LIMIT_S	  120 /* for a case, which takes two at most where the machine is idle and faults are fast */
#define EXIT_SKIP 77
#define AT_ONCE	  8   /* cases that run side by side */
#define WINDOW	  256 /* and all from the first that runs to the last */

const struct target *T;

static struct test_case *cases, **cases_end = &cases;

static const struct target_name {
	const char *name;
	const struct target *target;
	unsigned bit;
} targets[] = {
	{"kernel", &target_libc, ON_KERNEL},
	{"native", &target_libc, ON_NATIVE},
	{"soft", &target_soft, ON_SOFT},
};
#define TARGETS (sizeof(targets) / sizeof(targets[0]))

static const struct target_name *running; /* the name of T */
static bool unprivileged;		  /* cases may not reopen the files of their mappings */

bool on_kernel(void)
{
	return running->bit == ON_KERNEL;
}

bool on_native(void)
{
	return running->bit == ON_NATIVE;
}

void case_add(struct test_case *c)
{
	*cases_end = c;
	cases_end = &c->next;
}

/* ---- in the process of a case ---- */

void fail(const char *file, int line, const char *fmt, ...)
{
	const char *base = strrchr(file, '/');
	va_list ap;

	va_start(ap, fmt);
	fprintf(stderr, "%s:%d: ", base ? base + 1 : file, line);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
	_exit(1); /* threads may be waiting in faults: no atexit handler could join them */
}

void skip(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
	_exit(EXIT_SKIP);
}

static int run_here(const char *name)
{
	for (struct test_case *c = cases; c; c = c->next) {
		if (strcmp(c->name, name))
			continue;
		CHECK(!unprivileged || be_unprivileged() == 0);
		T->start();
		c->run();
		CHECK_OK(T->finish());
		fflush(NULL);
		_exit(0);
	}
	fprintf(stderr, "conformance: no case '%s'\n", name);
	return 2;
}

/* ---- in the runner ---- */

static void exec_case(const char *target, const char *name, FILE *out)
{
	sigset_t none;

	setpgid(0, 0);
	for (int sig = 1; sig < NSIG; sig++)
		signal(sig, SIG_DFL); /* a shell may have made us ignore some */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	dup2(fileno(out), 1);
	dup2(fileno(out), 2);
	execl("/proc/self/exe", "conformance", "--target", target, "--run", name,
	      unprivileged ? "--unprivileged" : NULL, (char *)NULL);
	perror("conformance: exec");
	_exit(2);
}

/* A case that runs, or that has ended and waits for those before it to be reported. */
struct job {
	const struct test_case *c;
	FILE *out; /* NULL: the case is not for this target */
	pid_t pid; /* 0: it has ended */
	int status;
	bool late; /* it ran out of time, and was killed with all that it started */
	time_t until;
};

static time_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec;
}

static void start_case(struct job *job, const struct test_case *c, const struct target_name *t)
{
	*job = (struct job){.c = c, .until = now() + LIMIT_S};
	if (!(c->on & t->bit))
		return;
	job->out = tmpfile();
	if (!job->out || fcntl(fileno(job->out), F_SETFD, FD_CLOEXEC)) {
		perror("conformance: tmpfile");
		exit(2);
	}
	fflush(NULL);
	job->pid = fork();
	if (job->pid < 0) {
		perror("conformance: fork");
		exit(2);
	}
	if (!job->pid)
		exec_case(t->name, c->name, job->out);
	setpgid(job->pid, job->pid);
}

static bool has_ended(struct job *job)
{
	if (!job->pid)
		return true;
	if (waitpid(job->pid, &job->status, WNOHANG) == 0) {
		if (now() < job->until)
			return false;
		job->late = true;
		kill(-job->pid, SIGKILL);
		waitpid(job->pid, &job->status, 0);
	}
	kill(-job->pid, SIGKILL); /* children that a case left behind */
	job->pid = 0;
	return true;
}

static void print_comments(FILE *out)
{
	char line[1024];

	rewind(out);
	while (fgets(line, sizeof(line), out))
		printf("# %s%s", line, strchr(line, '\n') ? "" : "\n");
}

/* Prints one TAP line, of a case that has ended. Returns 1 if it failed. */
static int report(unsigned number, const struct job *job)
{
	bool skipped = WIFEXITED(job->status) && WEXITSTATUS(job->status) == EXIT_SKIP;
	bool ok = skipped || (WIFEXITED(job->status) && WEXITSTATUS(job->status) == 0);
	char reason[256] = "";

	if (!job->out) {
		printf("ok %u - %s # SKIP %s\n", number, job->c->name, job->c->why);
		return 0;
	}
	rewind(job->out);
	if (skipped && fgets(reason, sizeof(reason), job->out))
		reason[strcspn(reason, "\n")] = 0;
	printf("%s %u - %s", ok ? "ok" : "not ok", number, job->c->name);
	if (skipped)
		printf(" # SKIP %s\n", reason);
	else
		printf(" (%s)\n", job->c->source);
	if (!ok)
		print_comments(job->out);
	if (job->late)
		printf("# killed after %d seconds\n", LIMIT_S);
	else if (WIFSIGNALED(job->status))
		printf("# ended by signal %d\n", WTERMSIG(job->status));
	fclose(job->out);
	fflush(stdout);
	return !ok;
}

/*
 * Cases sleep for most of their time, so some run at once. They are reported in their order. Returns how many failed.
 * => SIGCHLD blocked
 */
static unsigned run_cases(const struct target_name *t, const char *glob, const sigset_t *chld)
{
	const struct timespec tick = {1, 0};
	unsigned started = 0, reported = 0, failed = 0, alive = 0;
	struct test_case *c = cases;
	static struct job jobs[WINDOW];

	for (;; alive = 0) {
		for (unsigned i = reported; i != started; i++)
			alive += !has_ended(&jobs[i % WINDOW]);
		for (; reported != started && !jobs[reported % WINDOW].pid; reported++)
			failed += (unsigned)report(reported + 1, &jobs[reported % WINDOW]);
		for (; c && alive < AT_ONCE && started - reported < WINDOW; c = c->next)
			if (fnmatch(glob, c->name, 0) == 0) {
				start_case(&jobs[started % WINDOW], c, t);
				alive += jobs[started++ % WINDOW].pid != 0;
			}
		if (alive)
			sigtimedwait(chld, NULL, &tick);
		else if (reported == started)
			return failed;
	}
}

/*
 * Does the kernel itself refuse? So that a run which is called native proves that the kernel's object could not have
 * answered in faultline's place.
 */
static bool kernel_refuses(void)
{
	return ask_kernel(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK, 0, 0, 0) < 0;
}

/* false: the run cannot begin. */
static bool probe(const struct target_name *t)
{
	uffd_t u;

	if (t->bit == ON_NATIVE && !kernel_refuses()) {
		printf("Bail out! the native target must run under `faultline run --deny-kernel`\n");
		exit(2);
	}
	if (t->bit == ON_SOFT)
		return true;
	u = T->open(O_CLOEXEC | O_NONBLOCK);
	if (u >= 0) {
		T->close(u);
		return true;
	}
	if (t->bit == ON_NATIVE) {
		printf("Bail out! faultline gives no userfaultfd: %s\n", strerror((int)-u));
		exit(2);
	}
	printf("1..0 # SKIP the kernel refuses userfaultfd: %s\n", strerror((int)-u));
	return false;
}

static int run_all(const struct target_name *t, const char *glob)
{
	unsigned count = 0;
	sigset_t chld;

	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	sigprocmask(SIG_BLOCK, &chld, NULL);
	for (struct test_case *c = cases; c; c = c->next)
		count += fnmatch(glob, c->name, 0) == 0;
	if (!count) {
		fprintf(stderr, "conformance: no case matches '%s'\n", glob);
		return 2;
	}
	if (!probe(t))
		return 0;
	printf("1..%u\n", count);
	return run_cases(t, glob, &chld) ? 1 : 0;
}

static int list(void)
{
	for (struct test_case *c = cases; c; c = c->next)
		printf("%s\t%s\t%s%s%s\t%s\n", c->name, c->source, c->on & ON_KERNEL ? "k" : "-",
		       c->on & ON_NATIVE ? "n" : "-", c->on & ON_SOFT ? "s" : "-", c->why);
	return 0;
}

static int usage(void)
{
	fprintf(stderr, "usage: conformance --target kernel|native|soft [--case GLOB] [--unprivileged]\n"
			"       conformance --list | --zero-page\n"
			"native is the target kernel, to be run under `faultline run --deny-kernel --`\n"
			"--unprivileged: the cases may not open their mappings again, as in a container\n"
			"--zero-page: does the kernel map the zero page where memory is loaded?\n");
	return 2;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"target", required_argument, NULL, 't'},
		{"case", required_argument, NULL, 'c'},
		{"run", required_argument, NULL, 'r'},
		{"list", no_argument, NULL, 'l'},
		{"unprivileged", no_argument, NULL, 'u'},
		{"zero-page", no_argument, NULL, 'z'},
		{NULL, 0, NULL, 0},
	};
	const char *name = "", *glob = "*", *run = NULL;
	const struct target_name *t = NULL;
	int o;

	while ((o = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (o == 't')
			name = optarg;
		else if (o == 'c')
			glob = optarg;
		else if (o == 'r')
			run = optarg;
		else if (o == 'l')
			return list();
		else if (o == 'z')
			return puts(kernel_has_zero_page() ? "yes" : "no") < 0;
		else if (o == 'u')
			unprivileged = true;
		else
			return usage();
	}
	for (unsigned i = 0; i < TARGETS; i++)
		if (!strcmp(targets[i].name, name))
			t = &targets[i];
	if (!t || optind != argc)
		return usage();
	T = t->target;
	running = t;
	return run ? run_here(run) : run_all(t, glob);
}
