/*
 * The relay: all that the machine's processor does.
 *
 * It takes every interrupt as a kernel would, counts it in RAM that Python
 * shares, and wakes Python with one byte on a port unless Python is awake.  A
 * level-triggered line is masked in the I/O APIC before the end of interrupt,
 * and stays so until Python asks for it: Python writes the line's redirection
 * entry and a request into RAM and sends vector APPLY.  Only this program
 * touches the I/O APIC, so its index and data registers cannot be torn.
 *
 *	RAM 0x0500	AWAKE	0 when Python sleeps
 *	RAM 0x0504	READY	1 once an APPLY was taken
 *	RAM 0x1000	COUNTS	256 counters of 32 bits, by vector
 *	RAM 0x1400	WANT	24 requests of 32 bits, by pin: write the entry
 *	RAM 0x1480	ENTRY	24 redirection entries of 64 bits, by pin
 *	RAM 0x7000	STACK	its top
 *
 * The image: code at 0, one stub a vector at STUBS, the gates at IDT.
 * Source: Intel SDM volume 3, 6.12, 9.9, 10.4-10.8; 82093AA data sheet, 3.
 */
	.set	AWAKE, 0x500
	.set	READY, 0x504
	.set	COUNTS, 0x1000
	.set	WANT, 0x1400
	.set	ENTRY, 0x1480
	.set	STACK, 0x7000
	.set	PORT, 0xe9
	.set	BASE, 0xffff0000
	.set	STUBS, 0x2000
	.set	IDT, 0x4000
	.set	APIC_TPR, 0xfee00080
	.set	APIC_EOI, 0xfee000b0
	.set	APIC_SVR, 0xfee000f0
	.set	IOREGSEL, 0xfec00000
	.set	IOWIN, 0xfec00010
	.set	APPLY, 0x20
	.set	LINES, 0x30		/* the vector of pin 0 */
	.set	PINS, 24
	.set	MASKED, 0x10000

	.text
	.code16
base:
	cli
	movw	%cs, %ax
	movw	%ax, %ds
	data32 lgdt gdtd - base
	data32 lidt idtd - base
	movl	%cr0, %eax
	orl	$1, %eax
	movl	%eax, %cr0
	ljmpl	$8, $(BASE + protected - base)

	.code32
protected:
	movw	$16, %ax
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %ss
	movl	$STACK, %esp
	movl	$0x1ff, APIC_SVR	/* enabled, spurious vector 0xff */
	movl	$0, APIC_TPR
	sti
1:	hlt
	jmp	1b

	.balign	16, 0x90
common:					/* the vector is on the stack */
	pushl	%eax
	pushl	%ecx
	pushl	%edx
	movl	12(%esp), %eax
	cmpl	$APPLY, %eax
	je	apply
	leal	-LINES(%eax), %ecx
	cmpl	$PINS, %ecx
	jae	2f
	call	mask
2:	incl	COUNTS(,%eax,4)
	movl	$1, %eax
	xchgl	%eax, AWAKE		/* orders the count before the look */
	testl	%eax, %eax
	jnz	done
	outb	%al, $PORT
done:	movl	$0, APIC_EOI
	popl	%edx
	popl	%ecx
	popl	%eax
	addl	$4, %esp
	iretl

mask:					/* pin in ECX; keeps EAX */
	leal	0x10(,%ecx,2), %edx
	movl	%edx, IOREGSEL
	movl	ENTRY(,%ecx,8), %edx
	orl	$MASKED, %edx
	movl	%edx, IOWIN
	ret

apply:
	movl	$1, READY
	xorl	%ecx, %ecx
3:	xorl	%eax, %eax
	xchgl	%eax, WANT(,%ecx,4)
	testl	%eax, %eax
	jz	4f
	leal	0x11(,%ecx,2), %edx
	movl	%edx, IOREGSEL
	movl	ENTRY + 4(,%ecx,8), %edx
	movl	%edx, IOWIN
	leal	0x10(,%ecx,2), %edx
	movl	%edx, IOREGSEL
	movl	ENTRY(,%ecx,8), %edx
	movl	%edx, IOWIN
4:	incl	%ecx
	cmpl	$PINS, %ecx
	jb	3b
	jmp	done

	.balign	16, 0x90
gdt:	.quad	0
	.quad	0x00cf9b000000ffff
	.quad	0x00cf93000000ffff
gdtd:	.word	23
	.long	BASE + gdt - base
idtd:	.word	2047
	.long	BASE + IDT
end:

	.org	STUBS
	.set	i, 0
	.rept	256
	.balign	16, 0
	.byte	0x68			/* pushl, always with 32 bits */
	.long	i
	.byte	0xe9			/* jmp common */
	.long	common - (. + 4)
	.set	i, i + 1
	.endr

	.org	IDT
	.set	i, 0
	.rept	256
	.word	STUBS + i * 16
	.word	8
	.byte	0, 0x8e
	.word	0xffff
	.set	i, i + 1
	.endr

	.org	0xfff0
	.code16
	.byte	0xe9			/* jmp base */
	.word	base - (. + 2)
	.org	0xffff
	.byte	0
