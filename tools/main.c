/* SPDX-License-Identifier: MIT */
/*
 * main.c - the command line of `faultline`, down to the subcommand. Each subcommand parses its own options.
 */
#include <argp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "tool.h"

const char *argp_program_version = "faultline " FL_VERSION_STRING;

static const struct command {
	const char *name;
	char *title; /* the name in its messages */
	int (*main)(int argc, char **argv);
} commands[] = {
	{"run", (char[]){"faultline run"}, cmd_run},
	{"doctor", (char[]){"faultline doctor"}, cmd_doctor},
};

static char help[] = "--help", version[] = "--version";

int fail(int status, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("faultline: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
	return status;
}

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

/* The first argument is the subcommand; everything after it is left for that. */
static error_t parse(int key, char *arg, struct argp_state *state)
{
	int *first = state->input;

	switch (key) {
	case ARGP_KEY_ARG:
		if (!find_command(arg))
			argp_error(state, "no such command: %s; to run a program: faultline run -- %s", arg, arg);
		*first = state->next - 1;
		state->next = state->argc;
		return 0;
	case ARGP_KEY_NO_ARGS:
		argp_error(state, "which command? run or doctor");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.parser = parse,
	.args_doc = "run [OPTION...] [--] PROGRAM [ARG...]\ndoctor [--syscalls] [--json]",
	.doc = "userfaultfd(2) in user space.\v"
	       "  run      run a program with its userfaultfd calls answered by faultline\n"
	       "  doctor   say what this host offers and what faultline does here\n\n"
	       "`faultline COMMAND --help' shows the options of a command; see faultline(1).",
};

/* What people type, in argp's words: -h, help, help COMMAND, version. */
static int translate(int argc, char **argv)
{
	if (argc < 2)
		return argc;
	if (strcmp(argv[1], "version") == 0)
		argv[1] = version;
	if (strcmp(argv[1], "-h") != 0 && strcmp(argv[1], "help") != 0)
		return argc;
	if (argc > 2 && find_command(argv[2])) {
		argv[1] = argv[2];
		argv[2] = help;
		return 3;
	}
	argv[1] = help;
	return 2;
}

int main(int argc, char **argv)
{
	int first = 0;

	argv[0] = (char[]){"faultline"};
	argc = translate(argc, argv);
	argp_err_exit_status = EX_BADUSAGE;
	if (argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &first))
		return EX_BADUSAGE;

	const struct command *c = find_command(argv[first]);
	argv[first] = c->title;
	return c->main(argc - first, argv + first);
}
