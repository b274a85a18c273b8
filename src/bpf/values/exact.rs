//! What arithmetic on constants gives (RFC 9669, sections 4.1 and 4.2).

use crate::bpf::Insn;
use crate::bpf::opcode::{ADD, ALU64, AND, ARSH, DIV, LSH, MOD, MUL, OR, RSH, SIGNED, SUB, XOR};

/// What an operation with two operands leaves in its destination. `None` if it is not one of those.
pub(super) fn binary(insn: Insn, dst: u64, src: u64) -> Option<u64> {
    if insn.class() == ALU64 {
        binary64(insn, dst, src)
    } else {
        binary32(insn, low(dst), low(src)).map(u64::from)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is what is asked for")]
const fn low(value: u64) -> u32 {
    value as u32
}

/// One of the two widths of the operations with two operands. A shift takes its count modulo the
/// width, a division by zero gives zero, and a remainder by zero leaves the dividend.
macro_rules! binary {
    ($name:ident, $unsigned:ty) => {
        fn $name(insn: Insn, dst: $unsigned, src: $unsigned) -> Option<$unsigned> {
            let signed = insn.off == SIGNED;
            let count = low(u64::from(src));
            Some(match insn.op() {
                ADD => dst.wrapping_add(src),
                SUB => dst.wrapping_sub(src),
                MUL => dst.wrapping_mul(src),
                AND => dst & src,
                OR => dst | src,
                XOR => dst ^ src,
                LSH => dst.wrapping_shl(count),
                RSH => dst.wrapping_shr(count),
                ARSH => dst.cast_signed().wrapping_shr(count).cast_unsigned(),
                DIV if src == 0 => 0,
                DIV if signed => dst.cast_signed().wrapping_div(src.cast_signed()).cast_unsigned(),
                DIV => dst / src,
                MOD if src == 0 => dst,
                MOD if signed => dst.cast_signed().wrapping_rem(src.cast_signed()).cast_unsigned(),
                MOD => dst % src,
                _ => return None,
            })
        }
    };
}

binary!(binary64, u64);
binary!(binary32, u32);
