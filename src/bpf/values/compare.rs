//! Conditional jumps: which way they go, and what each way says of the operands (RFC 9669, section 4.3).

use super::Bits;
use crate::bpf::Insn;
use crate::bpf::opcode::{JEQ, JGE, JGT, JLE, JLT, JMP, JNE, JSET, JSGE, JSGT, JSLE, JSLT, MAY_GOTO};

/// Whether a conditional jump on these operands is taken, if it is the same for all numbers that they may be.
/// `None` for `may_goto`.
pub(super) fn is_taken(insn: Insn, dst: Bits, src: Bits) -> Option<bool> {
    if insn.code == MAY_GOTO {
        return None;
    }
    let ((dst, signed_dst), (src, signed_src)) = if insn.class() == JMP {
        ((dst, dst), (src, src))
    } else {
        let halves = |bits: Bits| (bits.low(32), bits.sign_extend(32));
        (halves(dst), halves(src))
    };
    match insn.op() {
        JEQ => equal(dst, src),
        JNE => equal(dst, src).map(|equal| !equal),
        JGT => less(src, dst),
        JGE => less(dst, src).map(|less| !less),
        JLT => less(dst, src),
        JLE => less(src, dst).map(|less| !less),
        JSGT => signed_less(signed_src, signed_dst),
        JSGE => signed_less(signed_dst, signed_src).map(|less| !less),
        JSLT => signed_less(signed_dst, signed_src),
        JSLE => signed_less(signed_src, signed_dst).map(|less| !less),
        JSET => {
            let both = dst.and(src);
            if both.min() != 0 { Some(true) } else { (both.max() == 0).then_some(false) }
        }
        _ => None,
    }
}

fn equal(a: Bits, b: Bits) -> Option<bool> {
    match (a.as_constant(), b.as_constant(), a.meet(b)) {
        (_, _, None) => Some(false),
        (Some(_), Some(_), Some(_)) => Some(true),
        _ => None,
    }
}

fn less(a: Bits, b: Bits) -> Option<bool> {
    if a.max() < b.min() { Some(true) } else { (a.min() >= b.max()).then_some(false) }
}

fn signed_less(a: Bits, b: Bits) -> Option<bool> {
    if a.signed_max() < b.signed_min() {
        Some(true)
    } else {
        (a.signed_min() >= b.signed_max()).then_some(false)
    }
}

/// What the operands of a conditional jump are on one of its ways: the same number if it found them equal, and
/// without the bits of a constant if it found none of them set.
pub(super) fn refine(insn: Insn, taken: bool, dst: Bits, src: Bits) -> (Bits, Bits) {
    let width = if insn.class() == JMP { 64 } else { 32 };
    match (insn.op(), taken) {
        (JEQ, true) | (JNE, false) => {
            let low = Bits::with_unknown(u64::MAX, u64::MAX).low(width);
            // Above the width of the comparison, each keeps what is known of it.
            let keeps = |bits: Bits, other: Bits| {
                let other = Bits::with_unknown(other.min(), other.unknown() | !low.unknown());
                bits.meet(other).unwrap_or(bits)
            };
            (keeps(dst, src), keeps(src, dst))
        }
        (JSET, false) => match src.low(width).as_constant() {
            Some(mask) => (Bits::with_unknown(dst.min() & !mask, dst.unknown() & !mask), src),
            None => (dst, src),
        },
        _ => (dst, src),
    }
}
