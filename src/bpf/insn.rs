//! [`Insn`]: one 8-byte eBPF slot, and what can be asked of it.

use super::opcode::{
    ALU, ALU64, CALL, CALL_CODE, EXIT, EXIT_CODE, GOTO, GOTOL, GOTOX, JA, JCOND, JMP, JMP32, LD_IMM64, LDX,
    MAY_GOTO, MEM, ST, STACK_ARGUMENTS, STX, X,
};

/// One slot of an eBPF program: 8 bytes, the kernel's `struct bpf_insn`.
///
/// An instruction is one slot, except `ld_imm64`, which is two. The register byte always keeps
/// the destination in its low nibble, whatever the byte order of the object it came from.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Insn {
    /// The operation: class, and size and mode or operation and source.
    pub code: u8,
    regs: u8,
    /// Branch displacement in slots, memory offset in bytes, or a variant of the operation.
    pub off: i16,
    /// Immediate operand.
    pub imm: i32,
}

const _: () = assert!(size_of::<Insn>() == 8 && align_of::<Insn>() == 4);

impl Insn {
    /// A slot from its fields. Register numbers are taken modulo 16.
    #[inline]
    #[must_use]
    pub const fn new(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> Self {
        Self { code, regs: (dst & 15) | (src & 15) << 4, off, imm }
    }

    /// The destination register.
    #[inline]
    #[must_use]
    pub const fn dst(self) -> u8 {
        self.regs & 15
    }

    /// The source register, or the kind of a call or of an `ld_imm64`.
    #[inline]
    #[must_use]
    pub const fn src(self) -> u8 {
        self.regs >> 4
    }

    /// The same slot with another source register.
    #[inline]
    #[must_use]
    pub const fn with_src(self, src: u8) -> Self {
        Self { regs: self.dst() | (src & 15) << 4, ..self }
    }

    /// The same slot with another destination register.
    #[inline]
    #[must_use]
    pub const fn with_dst(self, dst: u8) -> Self {
        Self { regs: (dst & 15) | self.src() << 4, ..self }
    }

    /// The same slot with another `off`.
    #[inline]
    #[must_use]
    pub const fn with_off(self, off: i16) -> Self {
        Self { off, ..self }
    }

    /// The same slot with another `imm`.
    #[inline]
    #[must_use]
    pub const fn with_imm(self, imm: i32) -> Self {
        Self { imm, ..self }
    }
}

/// What kind of instruction starts with this slot. These look at the code alone and take the rest
/// as valid; [`check_insn`](super::check_insn) says whether it is.
impl Insn {
    /// The class: the low three bits of the code.
    #[inline]
    #[must_use]
    pub const fn class(self) -> u8 {
        self.code & 7
    }

    /// The operation of an arithmetic or jump instruction: the high four bits of the code.
    #[inline]
    #[must_use]
    pub const fn op(self) -> u8 {
        self.code & 0xf0
    }

    /// Whether the second operand of an arithmetic or jump instruction is the source register.
    #[inline]
    #[must_use]
    pub const fn is_reg(self) -> bool {
        self.code & X != 0
    }

    /// The size of a load or store: bits 3 and 4 of the code.
    #[inline]
    #[must_use]
    pub const fn size(self) -> u8 {
        self.code & 0x18
    }

    /// The mode of a load or store: the high three bits of the code.
    #[inline]
    #[must_use]
    pub const fn mode(self) -> u8 {
        self.code & 0xe0
    }

    /// Whether this is the first slot of an `ld_imm64`, the only instruction of two slots.
    #[inline]
    #[must_use]
    pub const fn is_wide(self) -> bool {
        self.code == LD_IMM64
    }

    /// How many slots the instruction that starts with this one has.
    #[inline]
    #[must_use]
    pub const fn slots(self) -> usize {
        1 + self.is_wide() as usize
    }

    /// Whether this is arithmetic, of 32 or 64 bits.
    #[inline]
    #[must_use]
    pub const fn is_alu(self) -> bool {
        matches!(self.class(), ALU | ALU64)
    }

    /// Whether this is a `goto` or a `gotol`.
    #[inline]
    #[must_use]
    pub const fn is_goto(self) -> bool {
        matches!(self.code, GOTO | GOTOL)
    }

    /// Whether this is a `gotox`, which jumps to an address in a register.
    #[inline]
    #[must_use]
    pub const fn is_gotox(self) -> bool {
        self.code == GOTOX
    }

    /// Whether this loads an argument of its function from the stack, or stores one for a call: the base is
    /// [`STACK_ARGUMENTS`].
    #[inline]
    #[must_use]
    pub const fn is_stack_argument(self) -> bool {
        self.mode() == MEM
            && match self.class() {
                LDX => self.src() == STACK_ARGUMENTS,
                ST | STX => self.dst() == STACK_ARGUMENTS,
                _ => false,
            }
    }

    /// Whether this jumps on a condition, `may_goto` included.
    #[inline]
    #[must_use]
    pub const fn is_cond(self) -> bool {
        match self.class() {
            JMP => self.code == MAY_GOTO || !matches!(self.op(), JA | CALL | EXIT | JCOND | 0xf0),
            JMP32 => !matches!(self.op(), JA | CALL | EXIT | JCOND | 0xf0),
            _ => false,
        }
    }

    /// Whether this is a jump within the subprogram by a displacement, conditional or not. Calls, `gotox` and `exit` are
    /// not.
    #[inline]
    #[must_use]
    pub const fn is_jump(self) -> bool {
        self.is_goto() || self.is_cond()
    }

    /// Whether this is a call, of any kind.
    #[inline]
    #[must_use]
    pub const fn is_call(self) -> bool {
        self.code == CALL_CODE
    }

    /// Whether this is `exit`.
    #[inline]
    #[must_use]
    pub const fn is_exit(self) -> bool {
        self.code == EXIT_CODE
    }

    /// Whether control never goes on to the next instruction: `exit`, `goto`, `gotol`, `gotox`.
    #[inline]
    #[must_use]
    pub const fn ends_flow(self) -> bool {
        self.is_goto() || self.is_gotox() || self.is_exit()
    }
}
