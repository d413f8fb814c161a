/* SPDX-License-Identifier: MIT */
/*
 * elf.c - can faultline's library be preloaded into a program?
 *
 * The program's dynamic loader reads LD_PRELOAD. So the program must have one (PT_INTERP), for this C library and
 * this machine, and must not run in secure-execution mode, where ld.so(8) ignores the variable. What this side is, is
 * read from the command's own executable. A script counts as its interpreter.
 */
#include <ctype.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tool.h"

#define LIBRARY	    "libfaultline-preload.so"
#define MAX_SCRIPTS 5 /* interpreters of interpreters; the kernel stops there, too */

#if UINTPTR_MAX == UINT64_MAX
typedef Elf64_Ehdr elf_ehdr;
typedef Elf64_Phdr elf_phdr;
#else
typedef Elf32_Ehdr elf_ehdr;
typedef Elf32_Phdr elf_phdr;
#endif

/* The parts of an ELF file that decide. */
struct elf {
	uint8_t class, data;
	uint16_t type, machine;
	bool cut;	       /* the file ends before its program headers do */
	char interp[PATH_MAX]; /* the dynamic loader; empty: there is none */
};

static const char *machine_name(const struct elf *e)
{
	static const struct {
		uint16_t machine;
		const char *name;
	} names[] = {
		{EM_X86_64, "x86-64"}, {EM_386, "i386"},    {EM_AARCH64, "aarch64"}, {EM_ARM, "arm"},
		{EM_RISCV, "riscv"},   {EM_PPC64, "ppc64"}, {EM_S390, "s390"},	     {EM_MIPS, "mips"},
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (names[i].machine == e->machine)
			return names[i].name;
	return "another machine";
}

static bool same_machine(const struct elf *a, const struct elf *b)
{
	return a->class == b->class && a->data == b->data && a->machine == b->machine;
}

static void read_interp(int fd, const elf_ehdr *h, struct elf *e)
{
	for (unsigned i = 0; i < h->e_phnum; i++) {
		elf_phdr p;
		off_t at = (off_t)(h->e_phoff + (uint64_t)i * h->e_phentsize);

		if (at < 0 || pread(fd, &p, sizeof(p), at) != sizeof(p)) {
			e->cut = true;
			return;
		}
		if (p.p_type != PT_INTERP || p.p_filesz == 0 || p.p_filesz > sizeof(e->interp))
			continue;
		if (pread(fd, e->interp, p.p_filesz, (off_t)p.p_offset) != (ssize_t)p.p_filesz)
			p.p_filesz = 1;
		e->interp[p.p_filesz - 1] = '\0';
		return;
	}
}

/* 0, -errno, or -ENOEXEC: not an ELF file. */
static int read_elf(const char *path, struct elf *e)
{
	elf_ehdr h = {0};
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	*e = (struct elf){0};
	if (fd < 0)
		return -errno;
	/* the machine is at the same place in 32-bit files */
	ssize_t n = pread(fd, &h, sizeof(h), 0);
	bool is_elf = n >= (ssize_t)(offsetof(elf_ehdr, e_machine) + sizeof(h.e_machine)) &&
		      memcmp(h.e_ident, ELFMAG, SELFMAG) == 0;
	if (is_elf) {
		e->class = h.e_ident[EI_CLASS];
		e->data = h.e_ident[EI_DATA];
		e->type = h.e_type;
		e->machine = h.e_machine;
		if (n == sizeof(h) && e->class == (sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32))
			read_interp(fd, &h, e);
	}
	close(fd);
	return is_elf ? 0 : -ENOEXEC;
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static int check_elf(const char *path, const struct elf *e)
{
	struct elf self;
	int err = read_elf("/proc/self/exe", &self);

	if (err)
		return fail(EX_OWN, "cannot read /proc/self/exe: %s", strerror(-err));
	if (!same_machine(e, &self))
		return fail(EX_CANNOT_RUN,
			    "%s is a %d-bit program for %s: this faultline runs those for %s, and no others", path,
			    e->class == ELFCLASS32 ? 32 : 64, machine_name(e), machine_name(&self));
	if (e->type != ET_EXEC && e->type != ET_DYN)
		return fail(EX_CANNOT_RUN, "%s is an ELF file, but not a program", path);
	if (e->cut)
		return fail(EX_CANNOT_RUN, "%s is cut off: it ends before its program headers do", path);
	if (!e->interp[0])
		return fail(EX_CANNOT_RUN,
			    "%s is statically linked, nothing can be preloaded into it: link it dynamically, "
			    "or with libfaultline",
			    path);
	if (strcmp(base_name(e->interp), base_name(self.interp)) != 0)
		return fail(EX_CANNOT_RUN,
			    "%s uses the dynamic loader %s, faultline's library needs %s: build it for "
			    "this C library",
			    path, e->interp, self.interp);
	if (access(e->interp, X_OK))
		return fail(EX_CANNOT_RUN, "%s needs the dynamic loader %s: %s", path, e->interp, strerror(errno));
	return 0;
}

/*
 * Secure-execution mode, which execve(2) would enter for this file: other ids than the caller's, or capabilities for
 * a caller that is not root. Neither is given where set-uid is disabled.
 */
static int check_secure(const char *path)
{
	const char *what = NULL;
	struct statvfs fs;
	struct stat st;

	if (stat(path, &st))
		return fail(EX_CANNOT_RUN, "%s: %s", path, strerror(errno));
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1)
		return 0;
	if (statvfs(path, &fs) == 0 && fs.f_flag & ST_NOSUID)
		return 0;
	if (st.st_mode & S_ISUID && st.st_uid != getuid())
		what = "is set-uid";
	else if (st.st_mode & S_ISGID && st.st_mode & S_IXGRP && st.st_gid != getgid())
		what = "is set-gid";
	else if (getuid() != 0 && getxattr(path, "security.capability", NULL, 0) > 0)
		what = "has file capabilities";
	if (!what)
		return 0;
	return fail(EX_CANNOT_RUN,
		    "%s %s, the dynamic loader preloads nothing into it: run it as the user whose rights it takes, "
		    "or a copy without them",
		    path, what);
}

/* The program that a script's first line names: the interpreter, or what `env` would look up. Modifies `line`. */
static int script_interpreter(const char *script, char *line, char next[PATH_MAX])
{
	char *save, *word = strtok_r(line + 2, " \t", &save);

	if (!word)
		return fail(EX_CANNOT_RUN, "%s: the #! line names no program", script);
	if (strcmp(base_name(word), "env") != 0) {
		snprintf(next, PATH_MAX, "%s", word);
		return 0;
	}
	while ((word = strtok_r(NULL, " \t", &save))) {
		if (strcmp(word, "-") == 0 || strcmp(word, "-i") == 0 || strcmp(word, "--ignore-environment") == 0)
			return fail(EX_CANNOT_RUN,
				    "%s: its #! line clears the environment, LD_PRELOAD with it: run "
				    "its interpreter instead",
				    script);
		if (word[0] != '-' && !strchr(word, '='))
			return find_program(word, next);
	}
	return fail(EX_CANNOT_RUN, "%s: the #! line names no program", script);
}

/* A file that is not ELF: 0 and the program that would run it, or the exit status after a line. */
static int follow_script(const char *path, char next[PATH_MAX])
{
	char line[PATH_MAX] = "";
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, line, sizeof(line) - 1);
	int err = errno;

	if (fd >= 0)
		close(fd);
	if (n < 0)
		return fail(EX_CANNOT_RUN, "%s: %s", path, strerror(err));
	if (n < 2 || line[0] != '#' || line[1] != '!')
		return fail(EX_CANNOT_RUN,
			    "%s is neither an ELF program nor a script with a #! line: name its "
			    "interpreter, as in `faultline run -- sh %s'",
			    path, path);
	line[strcspn(line, "\n")] = '\0';
	return script_interpreter(path, line, next);
}

int check_program(const char *path)
{
	char current[PATH_MAX], next[PATH_MAX];
	struct elf e;

	snprintf(current, sizeof(current), "%s", path);
	for (int depth = 0; depth < MAX_SCRIPTS; depth++) {
		int err = read_elf(current, &e);

		if (err == 0) {
			err = check_elf(current, &e);
			return err ? err : check_secure(current);
		}
		if (err != -ENOEXEC)
			return fail(EX_CANNOT_RUN, "%s: %s", current, strerror(-err));
		err = follow_script(current, next);
		if (err)
			return err;
		memcpy(current, next, sizeof(current));
	}
	return fail(EX_CANNOT_RUN, "%s: too many scripts that are run by scripts", path);
}

static bool is_file(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

int find_program(const char *name, char path[PATH_MAX])
{
	const char *dirs = getenv("PATH");
	bool seen = false;

	if (strchr(name, '/')) {
		if (snprintf(path, PATH_MAX, "%s", name) >= PATH_MAX)
			return fail(EX_NOT_FOUND, "%s: %s", name, strerror(ENAMETOOLONG));
		if (access(path, F_OK))
			return fail(EX_NOT_FOUND, "%s: %s", name, strerror(errno));
		if (!is_file(path))
			return fail(EX_CANNOT_RUN, "%s is not a file", name);
		if (access(path, X_OK))
			return fail(EX_CANNOT_RUN, "%s: %s", name, strerror(errno));
		return 0;
	}
	if (!dirs)
		dirs = "/bin:/usr/bin";
	for (;;) {
		int len = (int)strcspn(dirs, ":");
		int n = snprintf(path, PATH_MAX, "%.*s%s%s", len, dirs, len ? "/" : "./", name);

		if (*name && n < PATH_MAX && is_file(path)) {
			if (access(path, X_OK) == 0)
				return 0;
			seen = true;
		}
		if (!dirs[len])
			break;
		dirs += len + 1;
	}
	if (seen)
		return fail(EX_CANNOT_RUN, "%s: %s", name, strerror(EACCES));
	return fail(EX_NOT_FOUND, "%s: not found in PATH", name);
}

/* LD_PRELOAD is a list with two separators and no way to quote them. */
static bool usable_library(const char *path, char *why, size_t size)
{
	struct elf self, lib;
	int err = read_elf(path, &lib);

	if (err)
		snprintf(why, size, "%s: %s", path, err == -ENOEXEC ? "not a shared library" : strerror(-err));
	else if (read_elf("/proc/self/exe", &self) == 0 && (!same_machine(&lib, &self) || lib.type != ET_DYN))
		snprintf(why, size, "%s: not a shared library for this machine", path);
	else if (strpbrk(path, " :"))
		snprintf(why, size, "%s: LD_PRELOAD cannot name a path with a space or a colon: move it", path);
	else
		return true;
	return false;
}

bool find_library(char path[PATH_MAX], char *why, size_t size)
{
	static const char *const places[] = {"", "../lib/", "../" FL_LIBDIR "/", FL_LIBDIR "/"};
	const char *given = getenv("FAULTLINE_PRELOAD");
	char exe[PATH_MAX] = "", name[2 * PATH_MAX];

	if (given && *given) {
		if (realpath(given, path))
			return usable_library(path, why, size);
		snprintf(why, size, "FAULTLINE_PRELOAD=%s: %s", given, strerror(errno));
		return false;
	}
	if (readlink("/proc/self/exe", exe, sizeof(exe) - 1) < 0)
		exe[0] = '\0';
	const char *dir = dirname(exe);
	for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++) {
		bool absolute = places[i][0] == '/';

		snprintf(name, sizeof(name), "%s%s%s" LIBRARY, absolute ? "" : dir, absolute ? "" : "/", places[i]);
		if (realpath(name, path))
			return usable_library(path, why, size);
	}
	snprintf(why, size,
		 LIBRARY " is not beside %s/faultline nor in its library directory: install faultline whole, "
			 "or set FAULTLINE_PRELOAD",
		 dir);
	return false;
}
