//! Conditions of jumps (RFC 9669, section 4.3).

use super::alu::sign_extended;
use crate::bpf::Insn;
use crate::bpf::opcode::{JEQ, JGE, JGT, JLE, JLT, JMP, JNE, JSET, JSGE, JSGT, JSLE, JSLT};

/// Whether a conditional jump on these operands is taken.
pub(super) fn is_taken(insn: Insn, dst: u64, src: u64) -> Option<bool> {
    let bits = if insn.class() == JMP { 64 } else { 32 };
    let (signed_dst, signed_src) = (sign_extended(dst, bits), sign_extended(src, bits));
    let mask = u64::MAX >> (64 - bits);
    let (dst, src) = (dst & mask, src & mask);
    Some(match insn.op() {
        JEQ => dst == src,
        JNE => dst != src,
        JSET => dst & src != 0,
        JGT => dst > src,
        JGE => dst >= src,
        JLT => dst < src,
        JLE => dst <= src,
        JSGT => signed_dst > signed_src,
        JSGE => signed_dst >= signed_src,
        JSLT => signed_dst < signed_src,
        JSLE => signed_dst <= signed_src,
        _ => return None,
    })
}
