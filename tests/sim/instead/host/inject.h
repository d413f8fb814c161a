/* SPDX-License-Identifier: MIT */
/* inject.h - the engine's, but that what fails inside it is chosen by the explorer. */
#ifndef SIM_INJECT_H
#define SIM_INJECT_H

#include_next "host/inject.h"

bool sim_fails(enum fl_inject_point point);

#define fl_fail(point) sim_fails(point)

#endif
