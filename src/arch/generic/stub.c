/* SPDX-License-Identifier: MIT */
/* generic/stub.c - arch/stub.h where the machine's code is not known: all is left alone. */
#include "arch/stub.h"

#include <stddef.h>

const bool fl_stub_known = false;

uint8_t *fl_stub_find(uint8_t *at, const uint8_t *end, unsigned nr, bool whole)
{
	return NULL;
}

bool fl_stub_can(uint8_t *site, bool alone)
{
	return false;
}

bool fl_stub_redirect(uint8_t *site, fl_stub_fn *fn, bool alone)
{
	return false;
}

long fl_on_stack(void *top, long (*fn)(void *arg), void *arg)
{
	return fn(arg);
}
