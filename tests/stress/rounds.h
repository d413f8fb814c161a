/* SPDX-License-Identifier: MIT */
/*
 * rounds.h - two to four threads that do something at the same time, again and again, with signals on top in half of
 * the rounds; and accesses that may end in a signal.
 */
#ifndef ROUNDS_H
#define ROUNDS_H

#include "stress.h"

#define MAX_THREADS 4u

struct scenario {
	void (*begin)(void); /* once */
	void (*setup)(void); /* before each round; check() after it */
	void (*threads[MAX_THREADS])(void);
	void (*check)(void);
};

/* Rounds for this scenario's share of STRESS_SECONDS (8), of forty. A round that does not end hangs. */
void run_rounds(const struct scenario *s);

/* What an access got instead of a value. */
#define GOT_SEGV   (UINT64_MAX - 1)
#define GOT_SIGBUS (UINT64_MAX - 2)

/* A page holds one word throughout: half of a fill is a failure. */
uint64_t load(const char *p);
/* 0, or what it got. Stores only the first word: load() is not for pages that are stored to by halves. */
uint64_t store(char *p, uint64_t value);
uint64_t first_word(const char *p);
void fill_page(char *p, uint64_t value);

#endif
