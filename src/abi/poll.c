/* SPDX-License-Identifier: MIT */
/* poll.c - poll(2) on the object. */
#include "abi/abi.h"

#include <fcntl.h>
#include <poll.h>

int fl_abi_poll(struct fl_uffd_ctx *ctx)
{
	if (!__atomic_load_n(&ctx->features, __ATOMIC_ACQUIRE) ||
	    !(__atomic_load_n(&ctx->flags, __ATOMIC_RELAXED) & O_NONBLOCK))
		return POLLERR;
	return fl_ctx_poll(ctx) ? POLLIN : 0;
}
