/* SPDX-License-Identifier: MIT */
/*
 * inject_spec.c - the points by name, and the specs that name them. Compiled into the library and into the
 * `faultline` command, so that a spec means the same to both; keeps no state and needs nothing but libc.
 */
#include "base/inject.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define MAX_ERRNOS 8
#define GRAMMAR	   "POINT[=ERRNO][,after=N][,times=N|all][,ms=N]"

static const struct {
	const char *name, *text;
	enum fl_inject_kind kind;
	int errnos[MAX_ERRNOS]; /* 0 ends them */
} points[] = {
#define POINT(kind, sym, point, what, ...) {point, what, FL_INJECT_KIND_##kind, {__VA_ARGS__}},
	FL_INJECT_POINTS(POINT)
#undef POINT
};

static const struct {
	const char *name;
	int err;
} errnos[] = {
	{"EAGAIN", EAGAIN}, {"EBUSY", EBUSY},	{"EEXIST", EEXIST}, {"EFAULT", EFAULT},
	{"EINVAL", EINVAL}, {"EMFILE", EMFILE}, {"ENFILE", ENFILE}, {"ENOENT", ENOENT},
	{"ENOMEM", ENOMEM}, {"ENOSPC", ENOSPC}, {"EPERM", EPERM},   {"ESRCH", ESRCH},
};

const char *fl_inject_point_name(unsigned point)
{
	return point < FL_NR_INJECT_POINTS ? points[point].name : NULL;
}

const char *fl_inject_point_text(unsigned point)
{
	return point < FL_NR_INJECT_POINTS ? points[point].text : NULL;
}

enum fl_inject_kind fl_inject_point_kind(unsigned point)
{
	return points[point].kind;
}

int fl_inject_point_errno(unsigned point, unsigned i)
{
	return point < FL_NR_INJECT_POINTS && i < MAX_ERRNOS ? points[point].errnos[i] : 0;
}

const char *fl_inject_errno_name(int err)
{
	for (unsigned i = 0; i < ARRAY_SIZE(errnos); i++)
		if (errnos[i].err == err)
			return errnos[i].name;
	return NULL;
}

/* ---- complaints ---- */

__attribute__((format(printf, 2, 3))) static bool complain(char why[FL_INJECT_WHY], const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, FL_INJECT_WHY, fmt, ap);
	va_end(ap);
	for (; *why; why++) /* a complaint is one line, whatever the spec has in it */
		if ((unsigned char)*why < ' ')
			*why = '?';
	return false;
}

/* Adds one more word to the enumeration at the end of a complaint. */
static void add(char why[FL_INJECT_WHY], const char *word, bool first)
{
	size_t n = strlen(why);

	snprintf(why + n, FL_INJECT_WHY - n, "%s%s", first ? " " : ", ", word);
}

/* ---- the parser ---- */

/* A part of the list, not terminated by a zero. */
struct word {
	const char *at;
	size_t len;
};

#define SHOWN	40 /* of a bad word, in a complaint */
#define SHOW(w) (int)fl_min((w).len, (size_t)SHOWN), (w).at

static struct word word_until(const char *at, const char *ends)
{
	return (struct word){at, strcspn(at, ends)};
}

static bool is(struct word w, const char *text)
{
	return w.len == strlen(text) && memcmp(w.at, text, w.len) == 0;
}

/* Decimal digits and nothing else. */
static bool parse_number(const char *point, struct word option, struct word value, uint32_t min, uint32_t max,
			 uint32_t *number, char why[FL_INJECT_WHY])
{
	uint64_t n = 0;
	size_t i = 0;

	for (; i < value.len && value.at[i] >= '0' && value.at[i] <= '9' && n <= max; i++)
		n = n * 10 + (uint64_t)(value.at[i] - '0');
	if (!value.len || i < value.len || n < min || n > max)
		return complain(why, "%s: %.*s=%.*s is not a number from %u to %u%s", point, SHOW(option),
				SHOW(value), min, max, is(option, "times") ? ", nor `all'" : "");
	*number = (uint32_t)n;
	return true;
}

/* The point that a bad name stands for, if that is plain: in capitals, with blanks before it, or `copy:EEXIST'. */
static const char *meant_point(struct word name)
{
	while (name.len && *name.at == ' ')
		name = (struct word){name.at + 1, name.len - 1};
	for (unsigned i = 0; i < FL_NR_INJECT_POINTS; i++) {
		size_t n = strlen(points[i].name);

		if (n <= name.len && strncasecmp(name.at, points[i].name, n) == 0 &&
		    (n == name.len || name.at[n] == ':' || name.at[n] == ' '))
			return points[i].name;
	}
	return NULL;
}

static bool parse_point(struct word name, struct fl_inject_spec *s, char why[FL_INJECT_WHY])
{
	const char *meant;

	for (s->point = 0; s->point < FL_NR_INJECT_POINTS; s->point++)
		if (is(name, points[s->point].name))
			return true;
	meant = meant_point(name);
	if (meant)
		return complain(why, "no point is called `%.*s'; did you mean `%s'?", SHOW(name), meant);
	if (!name.len)
		complain(why, "no point is named; want " GRAMMAR ", where POINT is");
	else
		complain(why, "no point is called `%.*s'; the points are", SHOW(name));
	for (unsigned i = 0; i < FL_NR_INJECT_POINTS; i++)
		add(why, points[i].name, i == 0);
	return false;
}

static bool parse_errno(struct word name, struct fl_inject_spec *s, char why[FL_INJECT_WHY])
{
	const int *can = points[s->point].errnos;

	if (!*can)
		return complain(why, "%s takes no errno: leave out `=%.*s'", points[s->point].name, SHOW(name));
	for (unsigned i = 0; i < MAX_ERRNOS && can[i]; i++)
		if (is(name, fl_inject_errno_name(can[i]))) {
			s->value = (uint32_t)can[i];
			return true;
		}
	complain(why, "%s does not fail with `%.*s'; its errnos are", points[s->point].name, SHOW(name));
	for (unsigned i = 0; i < MAX_ERRNOS && can[i]; i++)
		add(why, fl_inject_errno_name(can[i]), i == 0);
	return false;
}

/* NAME=VALUE; `seen` has a bit for each option that came before. */
static bool parse_option(struct word option, struct fl_inject_spec *s, unsigned *seen, char why[FL_INJECT_WHY])
{
	struct word name = word_until(option.at, "=,;"), value = {name.at + name.len, 0};
	bool delay = s->point == FL_INJECT_WAKE_DELAY;
	const char *point = points[s->point].name;
	unsigned which = is(name, "after") ? 1u : is(name, "times") ? 2u : delay && is(name, "ms") ? 4u : 0;

	if (name.len < option.len)
		value = (struct word){name.at + name.len + 1, option.len - name.len - 1};
	if (!which)
		return complain(why, "%s has no option `%.*s'; the options are after=N, times=N, times=all%s", point,
				SHOW(option), delay ? ", ms=N" : "");
	if (*seen & which)
		return complain(why, "%s: %.*s= stands there twice; once is enough", point, SHOW(name));
	*seen |= which;
	if (which == 1)
		return parse_number(point, name, value, 0, UINT32_MAX - 1, &s->after, why);
	if (which == 4)
		return parse_number(point, name, value, 1, FL_INJECT_MAX_MS, &s->value, why);
	if (!is(value, "all"))
		return parse_number(point, name, value, 1, UINT32_MAX - 1, &s->times, why);
	s->times = FL_INJECT_FOR_ALL;
	return true;
}

bool fl_inject_next(const char **at, struct fl_inject_spec *s, char why[FL_INJECT_WHY])
{
	struct word w = word_until(*at, "=,;");
	unsigned seen = 0;

	*s = (struct fl_inject_spec){.value = 1, .times = 1};
	if (!parse_point(w, s, why))
		return false;
	if (s->point == FL_INJECT_WAKE_DELAY)
		s->value = 10;
	if (points[s->point].errnos[0])
		s->value = (uint32_t)points[s->point].errnos[0];
	if (w.at[w.len] == '=') {
		w = word_until(w.at + w.len + 1, ",;");
		if (!parse_errno(w, s, why))
			return false;
	}
	while (w.at[w.len] == ',') {
		w = word_until(w.at + w.len + 1, ",;");
		if (!parse_option(w, s, &seen, why))
			return false;
	}
	*at = w.at[w.len] ? w.at + w.len + 1 : NULL;
	return true;
}

bool fl_inject_check(const char *list, char why[FL_INJECT_WHY])
{
	uint8_t nr[FL_NR_INJECT_POINTS] = {0};
	struct fl_inject_spec s;

	if (strlen(list) >= FL_INJECT_LENGTH)
		return complain(why, "that is more than %d characters", FL_INJECT_LENGTH - 1);
	while (list) {
		if (!fl_inject_next(&list, &s, why))
			return false;
		if (++nr[s.point] > FL_INJECT_SPECS)
			return complain(why, "%s is named %u times; at most %u will do", points[s.point].name,
					nr[s.point], FL_INJECT_SPECS);
	}
	return true;
}
