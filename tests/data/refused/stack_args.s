# Arguments beyond the fifth, as LLVM 23 passes them: the caller stores them below r11, the callee loads them above it.
	.text
	.type	six,@function
six:
	r0 = *(u64 *)(r11 + 8)
	r0 += r1
	exit
.Lsix_end:
	.size	six, .Lsix_end-six

	.section	tc,"ax",@progbits
	.globl	caller
	.type	caller,@function
caller:
	r1 = 1
	r2 = 2
	r3 = 3
	r4 = 4
	r5 = 5
	*(u64 *)(r11 - 8) = 6
	call six
	exit
.Lcaller_end:
	.size	caller, .Lcaller_end-caller

	.section	license,"aw",@progbits
	.asciz	"GPL"
