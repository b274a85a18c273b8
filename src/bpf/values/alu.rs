//! What arithmetic instructions leave in their destination, as far as bits are known.

use super::Bits;
use super::exact::binary;
use crate::bpf::opcode::{
    ADD, ALU64, AND, ARSH, DIV, END, LSH, MOD, MOV, MUL, NEG, OR, RSH, SIGNED, SUB, XOR,
};
use crate::bpf::{Endian, Insn};

/// The second operand of an arithmetic instruction or a jump that has its immediate for one.
pub(super) fn immediate(insn: Insn) -> Bits {
    Bits::constant(i64::from(insn.imm).cast_unsigned())
}

/// What an arithmetic instruction leaves in its destination, which held `dst`; `src` is its second operand.
/// `endian` is the byte order of the machine.
pub(super) fn arithmetic(insn: Insn, dst: Bits, src: Bits, endian: Option<Endian>) -> Bits {
    if insn.is_reg() && insn.dst() == insn.src() && matches!(insn.op(), SUB | XOR) {
        return Bits::constant(0);
    }
    let width = if insn.class() == ALU64 { 64 } else { 32 };
    let result = match insn.op() {
        END => return swap(insn, dst, endian),
        MOV => extend(src, insn.off),
        NEG => Bits::constant(0).sub(dst),
        _ => joined(insn, dst.low(width), src.low(width), width),
    };
    result.low(width)
}

/// An operation with two operands, which have `width` bits.
fn joined(insn: Insn, dst: Bits, src: Bits, width: u32) -> Bits {
    if let (Some(dst), Some(src)) = (dst.as_constant(), src.as_constant()) {
        return binary(insn, dst, src).map_or(Bits::UNKNOWN, Bits::constant);
    }
    let count = src.low(width.trailing_zeros()).as_constant().and_then(|count| u32::try_from(count).ok());
    match (insn.op(), count) {
        (ADD, _) => dst.add(src),
        (SUB, _) => dst.sub(src),
        (MUL, _) => dst.mul(src),
        (AND, _) => dst.and(src),
        (OR, _) => dst.or(src),
        (XOR, _) => dst.xor(src),
        (LSH, Some(count)) => dst.shl(count),
        (LSH, None) => dst.shl_any(),
        (RSH, Some(count)) => dst.shr(count),
        (RSH, None) => dst.shr_any(),
        (ARSH, Some(count)) => dst.sign_extend(width).sar(count),
        (DIV, _) if insn.off != SIGNED => dst.div(src),
        (MOD, _) if insn.off != SIGNED => dst.rem(src),
        _ => Bits::UNKNOWN,
    }
}

/// A move: of all bits, or sign-extending from `bits`. Casts between address spaces are unknown.
fn extend(value: Bits, bits: i16) -> Bits {
    match bits {
        0 => value,
        8 | 16 | 32 => value.sign_extend(bits.unsigned_abs().into()),
        _ => Bits::UNKNOWN,
    }
}

/// The low `imm` bits with their bytes in another order: to a given end, or, in the 64-bit class, reversed.
fn swap(insn: Insn, dst: Bits, endian: Option<Endian>) -> Bits {
    let bits = match insn.imm {
        16 => 16,
        32 => 32,
        64 => 64,
        _ => return Bits::UNKNOWN,
    };
    let to = if insn.is_reg() { Endian::Big } else { Endian::Little };
    match endian {
        _ if insn.class() == ALU64 => dst.swap(bits / 8),
        None => Bits::UNKNOWN.low(bits),
        Some(endian) if endian == to => dst.low(bits),
        Some(_) => dst.swap(bits / 8),
    }
}
