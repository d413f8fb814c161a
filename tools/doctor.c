/* SPDX-License-Identifier: MIT */
/*
 * doctor.c - `faultline doctor`: what this host offers, what follows from it, and what faultline will do here.
 *
 * A table of checks; each fills one finding. The plan at the end follows from the findings alone.
 */
#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <faultline/uapi.h>

#include "probe.h"
#include "tool.h"

enum state { OK, ABSENT, NOTE }; /* NOTE: neither good nor bad */
static const char *const state_names[] = {"ok", "absent", "note"};

struct finding {
	enum state state;
	char detail[256 + PATH_MAX];
	const char *means;
};

/* ---- helpers ---- */

__attribute__((format(printf, 4, 5))) static void found(struct finding *f, enum state state, const char *means,
							const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(f->detail, sizeof(f->detail), fmt, ap);
	va_end(ap);
	f->state = state;
	f->means = means;
}

static const char *error_name(int err)
{
	const char *name = strerrorname_np(-err);

	return name ? name : "unknown error";
}

/* ok or absent as a probe says */
static void probed(struct finding *f, int err, const char *good, const char *bad)
{
	if (err)
		found(f, ABSENT, bad, "%s", err == -ENODATA ? "no effect" : error_name(err));
	else
		found(f, OK, good, "works");
}

/* The first line of a file of the kernel's, "" if it cannot be read. */
static const char *read_line(const char *path, char *line, int size)
{
	FILE *file = fopen(path, "re");

	line[0] = '\0';
	if (!file)
		return line;
	if (!fgets(line, size, file))
		line[0] = '\0';
	line[strcspn(line, "\n")] = '\0';
	fclose(file);
	return line;
}

static long read_number(const char *path, long otherwise)
{
	char line[64];

	return *read_line(path, line, sizeof(line)) ? strtol(line, NULL, 10) : otherwise;
}

/* The selected word of "a [b] c". */
static const char *read_choice(const char *path, char *line, int size)
{
	read_line(path, line, size);
	char *open = strchr(line, '['), *close = open ? strchr(open, ']') : NULL;

	if (!close)
		return "none";
	*close = '\0';
	return open + 1;
}

/* ---- the checks ---- */

static void check_syscall(struct finding *f)
{
	int err = probe_userfaultfd(false);

	if (!err)
		found(f, OK, "programs could use the kernel's; under `faultline run' they do not", "allowed");
	else if (err == -EPERM && !probe_userfaultfd(true))
		found(f, NOTE, "the kernel's serves only faults of user mode here; faultline's serves all",
		      "EPERM, but allowed with UFFD_USER_MODE_ONLY");
	else
		found(f, ABSENT, "the kernel's cannot be used here; faultline's can", "%s", error_name(err));
}

static void check_sysctl(struct finding *f)
{
	long v = read_number("/proc/sys/vm/unprivileged_userfaultfd", -1);

	if (v < 0)
		found(f, ABSENT, "the kernel has no userfaultfd, is older than 5.2, or hides the file",
		      "no such file");
	else
		found(f, v ? OK : NOTE,
		      v ? "any user may use the kernel's"
			: "for the kernel's, faults of system calls included, "
			  "one has to be privileged",
		      "%ld", v);
}

static void check_device(struct finding *f)
{
	struct stat st;
	int err = probe_device();

	if (!err)
		found(f, OK, "the kernel's can be had through it", "opens");
	else if (stat("/dev/userfaultfd", &st))
		found(f, ABSENT, "faultline answers for it under `faultline run'", "no such device");
	else
		found(f, NOTE, "faultline answers for it under `faultline run'", "there, but refused: %s",
		      error_name(err));
}

static void check_seccomp(struct finding *f)
{
	static const char *const modes[] = {"no filter", "strict", "filtered"};
	FILE *file = fopen("/proc/self/status", "re");
	char line[256];
	int mode = -1;

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "Seccomp: %d", &mode) == 1)
			break;
	if (file)
		fclose(file);
	if (mode < 0 || mode > 2)
		found(f, ABSENT, "--deny-kernel cannot work", "not in /proc/self/status");
	else
		found(f, mode ? NOTE : OK,
		      mode ? "some system calls of this process are refused, the checks here show which matter"
			   : "the system calls of this process reach the kernel",
		      "%s", modes[mode]);
}

static void check_features(struct finding *f)
{
	uint64_t features;
	int err = probe_features(&features);

	if (err)
		found(f, ABSENT, "nothing to compare with on this host", "%s", error_name(err));
	else
		found(f, OK, "what the kernel's would offer; faultline's handshake says what it offers itself",
		      "%#" PRIx64 " (%d features)", features, __builtin_popcountll(features));
}

static void check_guard_anon(struct finding *f)
{
	probed(f, probe_guard(false), "the host knows guard markers",
	       "the host is older than Linux 6.13, or hides them");
}

static void check_guard_shared(struct finding *f)
{
	probed(f, probe_guard(true), "a hidden page of registered memory costs no host mapping",
	       "hidden pages are PROT_NONE mappings of their own");
}

static void check_memfd(struct finding *f)
{
	probed(f, probe_memfd(), "shared memory can be registered when its descriptor is closed",
	       "shared memory can be registered while the program has its descriptor");
}

static void check_error_code(struct finding *f)
{
	probed(f, probe_error_code(), "faultline can tell a read fault from a write fault",
	       "faultline cannot tell what faulted");
}

static void check_library(struct finding *f)
{
	char path[PATH_MAX], why[sizeof(f->detail)];

	if (find_library(path, why, sizeof(why)))
		found(f, OK, "`faultline run' preloads it", "%s", path);
	else
		found(f, ABSENT, "`faultline run' has nothing to preload", "%s", why);
}

static int tried = -1; /* wait status of the trial; -1: there was none */

/*
 * This command again, with the library, where it uses an object (use_object): what the library could redirect there
 * is in the counters.
 */
static int try_stubs(const char *library, struct fl_stats **stats)
{
	const char *old = getenv("FAULTLINE_STATS");
	char *saved = old ? strdup(old) : NULL;
	int err = share_stats(stats), status;
	pid_t pid = fork(); /* without counters, too: it is also the trial */

	if (pid == 0) {
		signal(SIGXFSZ, SIG_DFL);
		setenv("LD_PRELOAD", library, 1);
		execl("/proc/self/exe", "faultline", "doctor", "--ask", NULL);
		_exit(EX_ABSENT);
	}
	if (pid < 0 && !err)
		err = -errno;
	if (pid > 0 && waitpid(pid, &status, 0) == pid)
		tried = status;
	if (saved)
		setenv("FAULTLINE_STATS", saved, 1);
	else
		unsetenv("FAULTLINE_STATS");
	free(saved);
	return err;
}

static void check_stubs(struct finding *f)
{
	static const char *const names[] = {
#define STUB_NAME(name, text) text,
		FL_STUBS(STUB_NAME)};
	static const char unseen[] = "what libc unmaps or maps by the others is not seen: do not free registered "
				     "memory before it is unregistered";
	char path[PATH_MAX], why[sizeof(f->detail)], in[256] = "", out[256] = "";
	struct fl_stats *stats;

	if (!find_library(path, why, sizeof(why)) || try_stubs(path, &stats) || !stats->stubs) {
		found(f, ABSENT, unseen, "the library could not be tried");
		return;
	}
	for (size_t i = 0; i < FL_NR_STUBS; i++) {
		char *list = stats->stubs >> i & 1 ? in : out;
		size_t n = strlen(list);

		snprintf(list + n, sizeof(in) - n, "%s%s", n ? ", " : "", names[i]);
	}
	if (!*out)
		found(f, OK, "what libc and the dynamic linker unmap or map themselves is seen", "redirected: %s",
		      in);
	else
		found(f, NOTE, unseen, "redirected: %s; left alone: %s", *in ? in : "none", out);
}

static void check_proc(struct finding *f)
{
	probed(f, access("/proc/self/maps", R_OK) ? -errno : 0, "UFFDIO_REGISTER asks it what is mapped",
	       "UFFDIO_REGISTER cannot ask what is mapped, and the command finds nothing of its own");
}

/* What decides: limits, filters and cgroups meet in it. */
static void check_trial(struct finding *f)
{
	static const char bad[] = "a page of memory could not be registered and filled under faultline";

	if (tried == 0)
		found(f, OK, "a page was registered and filled under faultline", "works");
	else if (tried == -1)
		found(f, ABSENT, bad, "it could not be made");
	else if (WIFSIGNALED(tried))
		found(f, ABSENT, bad, "ended by SIG%s", sigabbrev_np(WTERMSIG(tried)));
	else
		found(f, ABSENT, bad, "%s", error_name(-WEXITSTATUS(tried)));
}

static void check_huge_pages(struct finding *f)
{
	long pages = read_number("/proc/sys/vm/nr_hugepages", -1);

	if (pages < 0)
		found(f, ABSENT, "no hugetlb memory on this host", "none");
	else
		found(f, pages ? OK : NOTE, pages ? "hugetlb memory can be mapped" : "none are set aside", "%ld",
		      pages);
}

static void check_thp(struct finding *f)
{
	char anon[128], shmem[128];

	found(f, NOTE, "how large the host's own pages may be, for private and for shared memory", "%s, shmem %s",
	      read_choice("/sys/kernel/mm/transparent_hugepage/enabled", anon, sizeof(anon)),
	      read_choice("/sys/kernel/mm/transparent_hugepage/shmem_enabled", shmem, sizeof(shmem)));
}

static long mappings_used(void)
{
	FILE *file = fopen("/proc/self/maps", "re");
	long lines = 0;
	int c;

	while (file && (c = fgetc(file)) != EOF)
		lines += c == '\n';
	if (file)
		fclose(file);
	return lines;
}

static void check_mappings(struct finding *f)
{
	long max = read_number("/proc/sys/vm/max_map_count", -1);

	if (max < 0)
		found(f, NOTE, "faultline takes the limit to be Linux's default, 65530", "unknown");
	else
		found(f, OK, "faultline keeps the program below it by forgetting the oldest of its own",
		      "%ld, %ld used by this process", max, mappings_used());
}

static void check_address_space(struct finding *f)
{
	struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};

	getrlimit(RLIMIT_AS, &limit);
	if (limit.rlim_cur == RLIM_INFINITY)
		found(f, OK, "registered memory is mapped twice, which the limit allows", "unlimited");
	else
		found(f, NOTE, "registered memory is mapped twice, both count", "%ju MiB",
		      (uintmax_t)limit.rlim_cur >> 20);
}

static void check_overcommit(struct finding *f)
{
	long mode = read_number("/proc/sys/vm/overcommit_memory", -1);

	if (mode == 2)
		found(f, NOTE, "the host counts every private mapping; large sparse ranges may be refused",
		      "strict (2)");
	else
		found(f, mode < 0 ? NOTE : OK, "large sparse ranges are allowed", "%s",
		      mode < 0 ? "unknown"
		      : mode   ? "always (1)"
			       : "heuristic (0)");
}

static const struct check {
	const char *key, *title;
	void (*check)(struct finding *f);
	bool required; /* faultline cannot work without */
} checks[] = {
	{"userfaultfd", "userfaultfd system call", check_syscall, false},
	{"sysctl", "vm.unprivileged_userfaultfd", check_sysctl, false},
	{"device", "/dev/userfaultfd", check_device, false},
	{"seccomp", "seccomp of this process", check_seccomp, false},
	{"features", "features of the kernel's", check_features, false},
	{"guard_anonymous", "guard markers, private memory", check_guard_anon, false},
	{"guard_memfd", "guard markers, shared memfd", check_guard_shared, false},
	{"memfd", "memfd_create", check_memfd, false},
	{"proc", "/proc/self/maps", check_proc, true},
	{"error_code", "SIGSEGV says read or write", check_error_code, true},
	{"library", "preload library", check_library, true},
	{"stubs", "libc's own system calls", check_stubs, false},
	{"trial", "a program under faultline", check_trial, true},
	{"hugetlb", "huge pages", check_huge_pages, false},
	{"thp", "transparent huge pages", check_thp, false},
	{"max_map_count", "vm.max_map_count", check_mappings, false},
	{"address_space", "RLIMIT_AS", check_address_space, false},
	{"overcommit", "vm.overcommit_memory", check_overcommit, false},
};
#define CHECKS (sizeof(checks) / sizeof(*checks))

/* ---- the plan ---- */

#define PLAN_LINES 3

static enum state state_of(const struct finding *f, const char *key)
{
	for (size_t i = 0; i < CHECKS; i++)
		if (strcmp(checks[i].key, key) == 0)
			return f[i].state;
	return ABSENT;
}

/* What faultline will do here: lines for people, from the findings. */
static bool make_plan(const struct finding *f, const char *plan[PLAN_LINES])
{
	const char *guard = getenv("FAULTLINE_GUARD");
	bool works = true;

	for (size_t i = 0; i < CHECKS; i++)
		if (checks[i].required && f[i].state == ABSENT)
			works = false;
	plan[0] = works ? "faultline works here: `faultline run -- PROGRAM'"
			: "faultline cannot work here: see what is absent and REQUIRED";
	plan[1] = state_of(f, "userfaultfd") == OK
			  ? "userfaultfd calls of a program under it are faultline's, though the kernel's "
			    "would be allowed"
			  : "userfaultfd calls of a program under it are faultline's, where the kernel's "
			    "are refused";
	if (guard && strcmp(guard, "off") == 0)
		plan[2] = "guard markers: off, as FAULTLINE_GUARD says -> mprotect alone, the mapping table is the "
			  "capacity";
	else if (state_of(f, "guard_memfd") == OK)
		plan[2] = "guard markers: yes -> hidden pages cost no host mapping, only mixed rights do";
	else
		plan[2] = "guard markers: no -> mprotect alone, the mapping table is the capacity";
	return works;
}

/* ---- printing ---- */

static void print_people(const struct utsname *host, const struct finding *f, const char *const *plan)
{
	printf("faultline %s on %s %s %s\n\n", FL_VERSION_STRING, host->sysname, host->release, host->machine);
	for (size_t i = 0; i < CHECKS; i++)
		printf("%-7s %-29s  %s -> %s%s\n", state_names[f[i].state], checks[i].title, f[i].detail, f[i].means,
		       checks[i].required && f[i].state == ABSENT ? " (REQUIRED)" : "");
	printf("\n");
	for (size_t i = 0; i < PLAN_LINES; i++)
		printf("%s\n", plan[i]);
}

static void json_string(const char *s)
{
	putchar('"');
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			printf("\\%c", *s);
		else if ((unsigned char)*s < 0x20)
			printf("\\u%04x", *s);
		else
			putchar(*s);
	}
	putchar('"');
}

/* Members of a JSON object, all strings: name, value, name, value ..., NULL */
static void json_members(const char *name, ...)
{
	const char *comma = "";
	va_list ap;

	va_start(ap, name);
	for (; name; name = va_arg(ap, const char *), comma = ", ") {
		printf("%s\"%s\": ", comma, name);
		json_string(va_arg(ap, const char *));
	}
	va_end(ap);
}

static void print_json(const struct utsname *host, const struct finding *f, const char *const *plan, bool works)
{
	printf("{\n  ");
	json_members("version", FL_VERSION_STRING, "kernel", host->release, "machine", host->machine, NULL);
	printf(",\n  \"works\": %s,\n  \"checks\": {\n", works ? "true" : "false");
	for (size_t i = 0; i < CHECKS; i++) {
		printf("    \"%s\": {", checks[i].key);
		json_members("state", state_names[f[i].state], "detail", f[i].detail, "means", f[i].means, NULL);
		printf(", \"required\": %s}%s\n", checks[i].required ? "true" : "false", i + 1 < CHECKS ? "," : "");
	}
	printf("  },\n  \"plan\": [\n");
	for (size_t i = 0; i < PLAN_LINES; i++) {
		printf("    ");
		json_string(plan[i]);
		printf("%s\n", i + 1 < PLAN_LINES ? "," : "");
	}
	printf("  ]\n}\n");
}

static void print_syscalls(bool json)
{
	if (json)
		printf("{\n  \"syscalls\": {\n");
	for (size_t i = 0; i < syscall_use_count; i++) {
		const struct syscall_use *u = &syscall_uses[i];

		if (!json) {
			printf("%-17s %3ld  %s; refused: %s\n", u->name, u->number, u->use, u->refused);
			continue;
		}
		printf("    \"%s\": {\"number\": %ld, ", u->name, u->number);
		json_members("use", u->use, "refused", u->refused, NULL);
		printf("}%s\n", i + 1 < syscall_use_count ? "," : "");
	}
	if (json)
		printf("  }\n}\n");
}

/* ---- the command ---- */

enum { OPT_ASK = 256, OPT_SYSCALLS };

struct choice {
	bool json, syscalls;
};

static const struct argp_option options[] = {
	{"json", 'j', NULL, 0, "print JSON", 0},
	{"syscalls", OPT_SYSCALLS, NULL, 0, "list the system calls that faultline makes for itself", 0},
	{"ask", OPT_ASK, NULL, OPTION_HIDDEN, NULL, 0},
	{NULL, 'h', NULL, OPTION_HIDDEN, NULL, 0},
	{0},
};

/*
 * The child of try_stubs(): the status is the error number. Libc's functions, for it is the library that is to
 * answer.
 */
static _Noreturn void use_object(void)
{
	struct fl_uffdio_api api = {.api = FL_UFFD_API};
	struct fl_uffdio_register r = {.mode = FL_UFFDIO_REGISTER_MODE_MISSING};
	struct fl_uffdio_zeropage zero = {0};
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | FL_UFFD_USER_MODE_ONLY);
	char *p = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (fd < 0 || p == MAP_FAILED)
		exit(errno);
	r.range.start = zero.range.start = (uintptr_t)p;
	r.range.len = zero.range.len = page;
	if (ioctl(fd, FL_UFFDIO_API, &api) || ioctl(fd, FL_UFFDIO_REGISTER, &r) ||
	    ioctl(fd, FL_UFFDIO_ZEROPAGE, &zero))
		exit(errno);
	exit(*(volatile char *)p);
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct choice *choice = state->input;

	if (key == 'j')
		choice->json = true;
	else if (key == OPT_SYSCALLS)
		choice->syscalls = true;
	else if (key == OPT_ASK)
		use_object();
	else if (key == 'h')
		argp_state_help(state, stdout, ARGP_HELP_STD_HELP);
	else if (key == ARGP_KEY_ARG)
		argp_error(state, "no argument is expected, here is `%s'", arg);
	else
		return ARGP_ERR_UNKNOWN;
	return 0;
}

static const struct argp argp = {
	.options = options,
	.parser = parse,
	.doc = "Say what this host offers, and what faultline will do here and why.",
};

static int written(int status)
{
	if (fflush(stdout) || ferror(stdout))
		return fail(EX_ABSENT, "cannot write: %s", strerror(errno));
	return status;
}

int cmd_doctor(int argc, char **argv)
{
	static struct finding findings[CHECKS];
	const char *plan[PLAN_LINES];
	struct utsname host;
	struct choice choice = {0};

	if (argp_parse(&argp, argc, argv, 0, NULL, &choice))
		return EX_BADUSAGE;
	if (choice.syscalls) {
		print_syscalls(choice.json);
		return written(0);
	}
	uname(&host);
	signal(SIGXFSZ, SIG_IGN); /* what is tried under a limit fails, and is reported */
	for (size_t i = 0; i < CHECKS; i++)
		checks[i].check(&findings[i]);
	bool works = make_plan(findings, plan);
	if (choice.json)
		print_json(&host, findings, plan, works);
	else
		print_people(&host, findings, plan);
	return written(works ? 0 : EX_ABSENT);
}
