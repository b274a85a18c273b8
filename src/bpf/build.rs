//! Constructors: one for each family of instructions that passes make.

use super::Insn;
use super::opcode::{
    ALU, ALU64, CALL_CODE, CALL_HELPER, CALL_KFUNC, CALL_LOCAL, EXIT_CODE, GOTO, GOTOL, GOTOX, JMP, JMP32, K,
    LD_IMM64, LD_NUMBER, LDX, MAY_GOTO, MEM, MOV, ST, STX, X,
};

/// Arithmetic. `op` is one of [`ADD`](super::opcode::ADD) to [`ARSH`](super::opcode::ARSH).
impl Insn {
    /// `dst = imm`, all 64 bits, sign-extended.
    #[inline]
    #[must_use]
    pub const fn mov64_imm(dst: u8, imm: i32) -> Self {
        Self::alu64_imm(MOV, dst, imm)
    }

    /// `dst = src`, all 64 bits.
    #[inline]
    #[must_use]
    pub const fn mov64_reg(dst: u8, src: u8) -> Self {
        Self::alu64_reg(MOV, dst, src)
    }

    /// `dst = imm`, low 32 bits; the high ones become zero.
    #[inline]
    #[must_use]
    pub const fn mov32_imm(dst: u8, imm: i32) -> Self {
        Self::alu32_imm(MOV, dst, imm)
    }

    /// `dst = src`, low 32 bits; the high ones become zero.
    #[inline]
    #[must_use]
    pub const fn mov32_reg(dst: u8, src: u8) -> Self {
        Self::alu32_reg(MOV, dst, src)
    }

    /// `dst op= imm` on 64 bits.
    #[inline]
    #[must_use]
    pub const fn alu64_imm(op: u8, dst: u8, imm: i32) -> Self {
        Self::new(ALU64 | op | K, dst, 0, 0, imm)
    }

    /// `dst op= src` on 64 bits.
    #[inline]
    #[must_use]
    pub const fn alu64_reg(op: u8, dst: u8, src: u8) -> Self {
        Self::new(ALU64 | op | X, dst, src, 0, 0)
    }

    /// `dst op= imm` on 32 bits.
    #[inline]
    #[must_use]
    pub const fn alu32_imm(op: u8, dst: u8, imm: i32) -> Self {
        Self::new(ALU | op | K, dst, 0, 0, imm)
    }

    /// `dst op= src` on 32 bits.
    #[inline]
    #[must_use]
    pub const fn alu32_reg(op: u8, dst: u8, src: u8) -> Self {
        Self::new(ALU | op | X, dst, src, 0, 0)
    }
}

/// Jumps and calls. `op` is a condition from [`JEQ`](super::opcode::JEQ) to
/// [`JSLE`](super::opcode::JSLE); displacements are slots from the next instruction.
impl Insn {
    /// `goto off`.
    #[inline]
    #[must_use]
    pub const fn ja(off: i16) -> Self {
        Self::new(GOTO, 0, 0, off, 0)
    }

    /// `gotol imm`.
    #[inline]
    #[must_use]
    pub const fn gotol(imm: i32) -> Self {
        Self::new(GOTOL, 0, 0, 0, imm)
    }

    /// `gotox reg`.
    #[inline]
    #[must_use]
    pub const fn gotox(reg: u8) -> Self {
        Self::new(GOTOX, reg, 0, 0, 0)
    }

    /// `may_goto off`.
    #[inline]
    #[must_use]
    pub const fn may_goto(off: i16) -> Self {
        Self::new(MAY_GOTO, 0, 0, off, 0)
    }

    /// `if dst op imm goto off`, comparing 64 bits.
    #[inline]
    #[must_use]
    pub const fn jmp_imm(op: u8, dst: u8, imm: i32, off: i16) -> Self {
        Self::new(JMP | op | K, dst, 0, off, imm)
    }

    /// `if dst op src goto off`, comparing 64 bits.
    #[inline]
    #[must_use]
    pub const fn jmp_reg(op: u8, dst: u8, src: u8, off: i16) -> Self {
        Self::new(JMP | op | X, dst, src, off, 0)
    }

    /// `if dst op imm goto off`, comparing 32 bits.
    #[inline]
    #[must_use]
    pub const fn jmp32_imm(op: u8, dst: u8, imm: i32, off: i16) -> Self {
        Self::new(JMP32 | op | K, dst, 0, off, imm)
    }

    /// `if dst op src goto off`, comparing 32 bits.
    #[inline]
    #[must_use]
    pub const fn jmp32_reg(op: u8, dst: u8, src: u8, off: i16) -> Self {
        Self::new(JMP32 | op | X, dst, src, off, 0)
    }

    /// A call of the helper with number `helper`.
    #[inline]
    #[must_use]
    pub const fn call(helper: i32) -> Self {
        Self::new(CALL_CODE, 0, CALL_HELPER, 0, helper)
    }

    /// A call of the subprogram `imm` slots from the next instruction.
    #[inline]
    #[must_use]
    pub const fn call_local(imm: i32) -> Self {
        Self::new(CALL_CODE, 0, CALL_LOCAL, 0, imm)
    }

    /// A call of a kernel function, by its id in the BTF of the kernel. In an object, the loader fills that in.
    #[inline]
    #[must_use]
    pub const fn call_kfunc(id: i32) -> Self {
        Self::new(CALL_CODE, 0, CALL_KFUNC, 0, id)
    }

    /// `exit`.
    #[inline]
    #[must_use]
    pub const fn exit() -> Self {
        Self::new(EXIT_CODE, 0, 0, 0, 0)
    }
}

/// Loads and stores. `size` is one of [`B`](super::opcode::B), [`H`](super::opcode::H),
/// [`W`](super::opcode::W) and [`DW`](super::opcode::DW); `off` is in bytes.
impl Insn {
    /// `dst = *(size *)(src + off)`.
    #[inline]
    #[must_use]
    pub const fn ldx(size: u8, dst: u8, src: u8, off: i16) -> Self {
        Self::new(LDX | MEM | size, dst, src, off, 0)
    }

    /// `*(size *)(dst + off) = src`.
    #[inline]
    #[must_use]
    pub const fn stx(size: u8, dst: u8, src: u8, off: i16) -> Self {
        Self::new(STX | MEM | size, dst, src, off, 0)
    }

    /// `*(size *)(dst + off) = imm`.
    #[inline]
    #[must_use]
    pub const fn st(size: u8, dst: u8, off: i16, imm: i32) -> Self {
        Self::new(ST | MEM | size, dst, 0, off, imm)
    }

    /// `dst = value ll`: two slots.
    #[inline]
    #[must_use]
    pub const fn ld_imm64(dst: u8, value: u64) -> [Self; 2] {
        let [b0, b1, b2, b3, b4, b5, b6, b7] = value.to_le_bytes();
        let low = i32::from_le_bytes([b0, b1, b2, b3]);
        let high = i32::from_le_bytes([b4, b5, b6, b7]);
        Self::ld_imm64_kind(dst, LD_NUMBER, low, high)
    }

    /// An `ld_imm64` of a kind [`LD_NUMBER`] to [`LD_MAP_IDX_VALUE`](super::opcode::LD_MAP_IDX_VALUE)
    /// with the immediates of its two slots.
    #[inline]
    #[must_use]
    pub const fn ld_imm64_kind(dst: u8, kind: u8, low: i32, high: i32) -> [Self; 2] {
        [Self::new(LD_IMM64, dst, kind, 0, low), Self::new(0, 0, 0, 0, high)]
    }
}
