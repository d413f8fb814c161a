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

/* The frame has records of a magic and a size. One has the exception syndrome. 0: there is none */
static inline uint64_t fl_context_esr(const ucontext_t *uc)
{
	const char *p = (const char *)uc->uc_mcontext.__reserved, *end = p + sizeof(uc->uc_mcontext.__reserved);

	while (p + sizeof(struct esr_context) <= end) {
		const struct esr_context *rec = (const void *)p;

		if (rec->head.magic == ESR_MAGIC)
			return rec->esr;
		if (!rec->head.magic || rec->head.size < sizeof(rec->head))
			break;
		p += rec->head.size;
	}
	return 0;
}

/* bit 6 */
static inline int fl_context_write(const ucontext_t *uc)
{
	uint64_t esr = fl_context_esr(uc);

	return esr ? (int)(esr >> 6 & 1) : -1;
}

/* the exception class, from bit 26 on: an instruction abort */
static inline bool fl_context_exec(const ucontext_t *uc)
{
	return fl_context_esr(uc) >> 26 == 0x20;
}

static inline bool fl_context_fault(const ucontext_t *uc)
{
	return true;
}

#endif
