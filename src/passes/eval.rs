//! What arithmetic and comparisons of constants give (RFC 9669, sections 4.1 to 4.3).

use crate::bpf::Insn;
use crate::bpf::opcode::{
    ADD, ALU64, AND, ARSH, DIV, END, JEQ, JGE, JGT, JLE, JLT, JMP, JNE, JSET, JSGE, JSGT, JSLE, JSLT, LSH,
    MOD, MOV, MUL, NEG, OR, RSH, SIGNED, SUB, XOR,
};

/// What an arithmetic instruction leaves in its destination, given what is known of its operands
/// (`src` is the source register). `None` if that is not enough, or depends on the machine.
pub(super) fn arithmetic(insn: Insn, dst: Option<u64>, src: Option<u64>) -> Option<u64> {
    let same = insn.is_reg() && insn.dst() == insn.src();
    if same && matches!(insn.op(), SUB | XOR) {
        return Some(0);
    }
    let src = if insn.is_reg() { src } else { Some(i64::from(insn.imm).cast_unsigned()) };
    let wide = insn.class() == ALU64;
    let result = match insn.op() {
        MOV => extend(src?, insn.off)?,
        NEG => dst?.wrapping_neg(),
        END => return if wide { swap(dst?, insn.imm) } else { None },
        _ if wide => binary64(insn, dst?, src?)?,
        _ => u64::from(binary32(insn, low(dst?), low(src?))?),
    };
    Some(if wide { result } else { u64::from(low(result)) })
}

/// Whether a conditional jump is taken. `None` for `may_goto`.
pub(super) fn is_taken(insn: Insn, dst: u64, src: u64) -> Option<bool> {
    let src = if insn.is_reg() { src } else { i64::from(insn.imm).cast_unsigned() };
    let narrow = |value: u64| {
        let value = low(value);
        (u64::from(value), i64::from(value.cast_signed()))
    };
    let ((dst, signed_dst), (src, signed_src)) = if insn.class() == JMP {
        ((dst, dst.cast_signed()), (src, src.cast_signed()))
    } else {
        (narrow(dst), narrow(src))
    };
    Some(match insn.op() {
        JEQ => dst == src,
        JNE => dst != src,
        JGT => dst > src,
        JGE => dst >= src,
        JLT => dst < src,
        JLE => dst <= src,
        JSET => dst & src != 0,
        JSGT => signed_dst > signed_src,
        JSGE => signed_dst >= signed_src,
        JSLT => signed_dst < signed_src,
        JSLE => signed_dst <= signed_src,
        _ => return None,
    })
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is what is asked for")]
const fn low(value: u64) -> u32 {
    value as u32
}

/// A move: of all 64 bits, or sign-extending from `bits`. Casts between address spaces are unknown.
fn extend(value: u64, bits: i16) -> Option<u64> {
    let unused = match bits {
        0 => return Some(value),
        8 => 56,
        16 => 48,
        32 => 32,
        _ => return None,
    };
    Some(((value << unused).cast_signed() >> unused).cast_unsigned())
}

fn swap(value: u64, bits: i32) -> Option<u64> {
    match bits {
        16 => Some(value.swap_bytes() >> 48),
        32 => Some(value.swap_bytes() >> 32),
        64 => Some(value.swap_bytes()),
        _ => None,
    }
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
