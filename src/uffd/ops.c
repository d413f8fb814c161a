/* SPDX-License-Identifier: MIT */
/* ops.c - what this layer does when the memory manager calls. */
#include "uffd/space.h"
#include "uffd/uffd.h"

const struct fl_uffd_ops fl_uffd_ops = {
	.init = fl_uffd_space_init,
	.fault = fl_ctx_fault,
	.before_fork = fl_uffd_space_lock,
	.after_fork_parent = fl_uffd_space_unlock,
	.after_fork_child = fl_ctx_forget_all,
};
