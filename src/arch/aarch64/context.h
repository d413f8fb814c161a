/* SPDX-License-Identifier: MIT */
/* aarch64/context.h - arch/context.h */
#ifndef FL_ARCH_AARCH64_CONTEXT_H
#define FL_ARCH_AARCH64_CONTEXT_H

static inline uintptr_t *fl_context_pc(ucontext_t *uc)
{
	return (uintptr_t *)&uc->uc_mcontext.pc;
}

static inline uint64_t fl_context_sp(const ucontext_t *uc)
{
	return uc->uc_mcontext.sp;
}

/* The frame has records of a magic and a size. The one with the exception syndrome has the write bit 6. */
static inline int fl_context_write(const ucontext_t *uc)
{
	const char *p = (const char *)uc->uc_mcontext.__reserved, *end = p + sizeof(uc->uc_mcontext.__reserved);

	while (p + sizeof(struct esr_context) <= end) {
		const struct esr_context *rec = (const void *)p;

		if (rec->head.magic == ESR_MAGIC)
			return rec->esr >> 6 & 1;
		if (!rec->head.magic || rec->head.size < sizeof(rec->head))
			break;
		p += rec->head.size;
	}
	return -1;
}

static inline bool fl_context_fault(const ucontext_t *uc)
{
	return true;
}

#endif
