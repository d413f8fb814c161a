/* SPDX-License-Identifier: MIT */
/* spare_tls.h - thread-local storage for a thread whose own is hidden: spare_tls.c. => signals blocked throughout */
#ifndef FL_NATIVE_SPARE_TLS_H
#define FL_NATIVE_SPARE_TLS_H

#include <stdint.h>

/* Once. Without memory for it, or on a machine where it is not known how, there is none. */
void fl_spare_tls_init(void);
/* If this thread's storage cannot be read it gets a spare one until fl_spare_tls_leave(). 0: it can be read */
uintptr_t fl_spare_tls_enter(void);
void fl_spare_tls_leave(uintptr_t own);

#endif
