//! Pointer arithmetic that speculation cannot lead out of the object.
//!
//! The offset that is added to a pointer is replaced by one that is 0 where the offset is beyond the
//! limit that a verifier knows, so that a mispredicted check of the offset is of no use.

use alloc::vec::Vec;

use crate::bpf::Insn;
use crate::bpf::opcode::{ADD, ALU64, AND, ARSH, MUL, NEG, OR, SUB, X};

/// What a verifier knows of a 64-bit addition or subtraction of a pointer and a register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AluLimit {
    /// The greatest magnitude of the offset with which the pointer stays in the object; the offset
    /// itself, if it is [known](AluLimit::known).
    pub limit: u32,
    /// The offset is negative.
    pub negative: bool,
    /// The register holds one number only.
    pub known: bool,
    /// The offset is in the destination, and the pointer in the source.
    pub offset_in_dst: bool,
}

/// Whether this is an operation that [`AluLimit`] is about.
pub(super) const fn is_candidate(insn: Insn) -> bool {
    insn.class() == ALU64 && insn.is_reg() && matches!(insn.op(), ADD | SUB)
}

pub(super) fn write(code: &mut Vec<Insn>, insn: Insn, limit: AluLimit, ax: u8) {
    let (dst, src) = (insn.dst(), insn.src());
    let offset = if limit.offset_in_dst { dst } else { src };
    let negate = Insn::alu64_imm(MUL, offset, -1);
    let negated = limit.negative && !limit.known;
    code.extend(negated.then_some(negate));
    code.push(Insn::mov32_imm(ax, limit.limit.cast_signed()));
    if !limit.known {
        code.extend([
            Insn::alu64_reg(SUB, ax, offset),
            Insn::alu64_reg(OR, ax, offset),
            Insn::new(ALU64 | NEG, ax, 0, 0, 0),
            Insn::alu64_imm(ARSH, ax, 63),
            Insn::alu64_reg(AND, ax, offset),
        ]);
    }
    code.extend(limit.offset_in_dst.then_some(Insn::mov64_reg(dst, src)));
    let op = match (insn.op(), limit.negative) {
        (ADD, false) | (SUB, true) => ADD,
        _ => SUB,
    };
    code.push(Insn::new(ALU64 | op | X, dst, ax, insn.off, insn.imm));
    code.extend((negated && !limit.offset_in_dst).then_some(negate));
}
