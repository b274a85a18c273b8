//! Arithmetic (RFC 9669, sections 4.1 and 4.2), by numbers of 128 bits that are cut to size at the end.

use crate::bpf::opcode::{
    ADD, ALU64, AND, ARSH, DIV, END, LSH, MOD, MOV, MUL, NEG, OR, RSH, SIGNED, SUB, XOR,
};
use crate::bpf::{Endian, Insn};

/// What an arithmetic instruction leaves in its destination, which held `dst`. `src` is its second operand.
///
/// The upper half of a 32-bit result is zero.
pub(super) fn alu(insn: Insn, dst: u64, src: u64, endian: Endian) -> Option<u64> {
    let bits = if insn.class() == ALU64 { 64 } else { 32 };
    let (unsigned, signed) = (|value| zero_extended(value, bits), |value| sign_extended(value, bits));
    let is_signed = insn.off == SIGNED;
    let count = u32::try_from(unsigned(src) % u128::from(bits)).ok()?;
    let result = match insn.op() {
        ADD => unsigned(dst) + unsigned(src),
        SUB => signed(dst).wrapping_sub(signed(src)).cast_unsigned(),
        MUL => unsigned(dst) * unsigned(src),
        DIV if unsigned(src) == 0 => 0,
        DIV if is_signed => (signed(dst) / signed(src)).cast_unsigned(),
        DIV => unsigned(dst) / unsigned(src),
        MOD if unsigned(src) == 0 => unsigned(dst),
        MOD if is_signed => (signed(dst) % signed(src)).cast_unsigned(),
        MOD => unsigned(dst) % unsigned(src),
        OR => unsigned(dst) | unsigned(src),
        AND => unsigned(dst) & unsigned(src),
        XOR => unsigned(dst) ^ unsigned(src),
        LSH => unsigned(dst) << count,
        RSH => unsigned(dst) >> count,
        ARSH => (signed(dst) >> count).cast_unsigned(),
        NEG => (-signed(dst)).cast_unsigned(),
        MOV => match insn.off {
            0 => unsigned(src),
            8 | 16 | 32 => sign_extended(src, insn.off.unsigned_abs().into()).cast_unsigned(),
            _ => return None,
        },
        END => return swap(insn, dst, endian),
        _ => return None,
    };
    u64::try_from(zero_extended_wide(result, bits)).ok()
}

fn zero_extended_wide(value: u128, bits: u32) -> u128 {
    value & (u128::MAX >> (128 - bits))
}

fn zero_extended(value: u64, bits: u32) -> u128 {
    zero_extended_wide(value.into(), bits)
}

/// The low `bits` of a value, as a number with a sign.
pub(super) fn sign_extended(value: u64, bits: u32) -> i128 {
    let value = zero_extended(value, bits).cast_signed();
    if value >> (bits - 1) & 1 == 1 { value - (1 << bits) } else { value }
}

/// The low `imm` bits with their bytes in another order: to a given end, or, in the 64-bit class, reversed.
fn swap(insn: Insn, dst: u64, endian: Endian) -> Option<u64> {
    let len = match insn.imm {
        16 => 2,
        32 => 4,
        64 => 8,
        _ => return None,
    };
    let to = if insn.is_reg() { Endian::Big } else { Endian::Little };
    let mut bytes = dst.to_le_bytes();
    bytes[len..].fill(0);
    if insn.class() == ALU64 || to != endian {
        bytes[..len].reverse();
    }
    Some(u64::from_le_bytes(bytes))
}
