/* SPDX-License-Identifier: MIT */
/* no_native.c - in place of native_world.c where there is no native backend. */
#include "world.h"

const struct backend native_backends[] = {{0}};
const unsigned native_nr_backends;
