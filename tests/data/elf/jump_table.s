# A jump table as clang makes them from version 22 on: offsets into the section of the code, and no
# relocation that says so. Older assemblers have no `gotox`; the load is all that matters here.
	.section	tc,"ax",@progbits
	.globl	before
	.type	before,@function
before:
	r0 = 7
	exit
.Lbefore_end:
	.size	before, .Lbefore_end-before

	.globl	choose
	.type	choose,@function
choose:
	r1 = *(u32 *)(r1 + 0)
	r1 &= 3
	r1 <<= 3
	r2 = BPF.JT.0.0 ll
	r2 += r1
	r0 = 0
	goto .Lb
.La:
	r0 = 1
	exit
.Lb:
	r0 = 2
	goto .Ld
.Lc:
	r0 = 3
.Ld:
	exit
.Lchoose_end:
	.size	choose, .Lchoose_end-choose

	.section	.jumptables,"",@progbits
	.p2align	3
# Of a function that is not here.
	.quad	0x7777
	.globl	BPF.JT.0.0
	.type	BPF.JT.0.0,@object
BPF.JT.0.0:
	.quad	.Lb-tc
	.quad	.La-tc
	.quad	.Ld-tc
	.quad	.Lc-tc
	.size	BPF.JT.0.0, 32

	.section	license,"aw",@progbits
	.asciz	"GPL"
