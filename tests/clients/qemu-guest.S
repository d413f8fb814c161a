/* SPDX-License-Identifier: MIT */
/*
 * qemu-guest.S - the guest of qemu.py: firmware of 64 KiB, run by a PC with nothing else.
 *
 * Fills AREA with PAGES pages of a pattern, then visits them for ever in a scattered order: checks that the page is
 * unchanged and counts the visit in its first and last word; one page in four is only read. The state has the total
 * number of visits, from which every byte of memory follows at any time. No stack, no interrupts, no
 * other memory. qemu.py has the same numbers.
 *
 *	word w of page p	(w * MUL_WORD) ^ ((p + 1) * MUL_PAGE); but words 0 and 1023 are the number of visits
 *				to it, 0 if p % 4 is 3
 *	the order		visit v is one of page (v * STEP) % PAGES
 *	the state		magic, when all is filled; visits; of a wrong word its page, its number, itself
 *	the debug console	'.' for 256 visits, a newline for a round, 'E' for a wrong word
 */
#define AREA 0x1000000
#define PAGES 0x4000
#define STEP 0x2545
#define MUL_WORD 0x9e3779b1
#define MUL_PAGE 0x85ebca6b
#define STATE 0x8000
#define MAGIC 0x54474c46
#define CONSOLE 0xe9

	.text
	.globl	_start
_start:
	.code16
	cli
	cld
	lgdtl	%cs:gdtr
	movl	%cr0, %eax
	orb	$1, %al
	movl	%eax, %cr0
	ljmp	$8, $flat

	.code32
flat:
	movw	$16, %ax
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %ss
	inb	$0x92, %al		/* address line 20 */
	orb	$2, %al
	andb	$0xfe, %al
	outb	%al, $0x92

	xorl	%esi, %esi
fill:
	leal	1(%esi), %ebx
	imull	$MUL_PAGE, %ebx, %ebx
	movl	%esi, %edi
	shll	$12, %edi
	addl	$AREA, %edi
	xorl	%eax, %eax
	xorl	%ecx, %ecx
1:	movl	%eax, %edx
	xorl	%ebx, %edx
	movl	%edx, (%edi, %ecx, 4)
	addl	$MUL_WORD, %eax
	incl	%ecx
	cmpl	$1024, %ecx
	jne	1b
	movl	$0, (%edi)
	movl	$0, 4092(%edi)
	incl	%esi
	cmpl	$PAGES, %esi
	jne	fill
	movl	$MAGIC, STATE

	xorl	%esi, %esi		/* visits */
	xorl	%ebp, %ebp		/* rounds that are done */
visit:
	imull	$STEP, %esi, %edi
	andl	$PAGES - 1, %edi
	leal	1(%edi), %ebx
	xorl	%esp, %esp		/* the number in words 0 and 1023 */
	testl	$3, %ebx
	jz	1f
	movl	%ebp, %esp
1:	imull	$MUL_PAGE, %ebx, %ebx
	shll	$12, %edi
	addl	$AREA, %edi
	xorl	%ecx, %ecx
	cmpl	%esp, (%edi)
	jne	wrong
	movl	$1, %ecx
	movl	$MUL_WORD, %eax
1:	movl	%eax, %edx
	xorl	%ebx, %edx
	cmpl	%edx, (%edi, %ecx, 4)
	jne	wrong
	addl	$MUL_WORD, %eax
	incl	%ecx
	cmpl	$1023, %ecx
	jne	1b
	cmpl	%esp, (%edi, %ecx, 4)
	jne	wrong

	movl	%edi, %eax
	notl	%eax
	testl	$0x3000, %eax
	jz	1f
	leal	1(%ebp), %eax
	movl	%eax, (%edi)
	movl	%eax, 4092(%edi)
1:	incl	%esi
	movl	%esi, STATE + 4
	testl	$0xff, %esi
	jnz	visit
	movb	$'.', %al
	outb	%al, $CONSOLE
	testl	$PAGES - 1, %esi
	jnz	visit
	incl	%ebp
	movb	$'\n', %al
	outb	%al, $CONSOLE
	jmp	visit

wrong:
	movl	(%edi, %ecx, 4), %eax
	movl	%edi, STATE + 8
	movl	%ecx, STATE + 12
	movl	%eax, STATE + 16
	movb	$'E', %al
	outb	%al, $CONSOLE
2:	hlt
	jmp	2b

	.balign	8
gdt:
	.quad	0
	.quad	0x00cf9a0f0000ffff	/* code, from 0xf0000 on: where the firmware is */
	.quad	0x00cf92000000ffff	/* data: everything */
gdtr:
	.word	. - gdt - 1
	.long	0xf0000 + gdt

	.org	0xfff0			/* where the processor starts */
	.code16
	ljmp	$0xf000, $_start
	.org	0x10000
