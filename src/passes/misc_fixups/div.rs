//! Divisions: what they give where the machine would trap.
//!
//! By zero a quotient is 0 and a remainder is the dividend; the least number divided by -1 is itself,
//! and leaves 0 (RFC 9669, section 4.1).

use alloc::vec::Vec;

use crate::bpf::Insn;
use crate::bpf::opcode::{ADD, ALU, ALU64, DIV, JEQ, JGT, JMP, JMP32, JNE, K, MOD, MOV, NEG, SIGNED, XOR};

/// Writes what replaces a division or remainder. Nothing, if `insn` is none, or divides by a constant
/// that needs no guard.
pub(super) fn write(code: &mut Vec<Insn>, insn: Insn, ax: u8) {
    if !insn.is_alu() || !matches!(insn.op(), DIV | MOD) {
        return;
    }
    match (insn.op(), insn.off == SIGNED, insn.is_reg()) {
        (DIV, false, true) => unsigned_quotient(code, insn),
        (_, false, true) => unsigned_remainder(code, insn),
        (DIV, true, true) => signed_quotient(code, insn, ax),
        (_, true, true) => signed_remainder(code, insn, ax),
        (DIV, true, false) if insn.imm == -1 => code.push(Insn::new(insn.class() | NEG, insn.dst(), 0, 0, 0)),
        (_, true, false) if insn.imm == -1 => code.push(Insn::mov32_imm(insn.dst(), 0)),
        _ => {}
    }
}

fn unsigned_quotient(code: &mut Vec<Insn>, insn: Insn) {
    let dst = insn.dst();
    code.extend([if_imm(insn, JNE, insn.src(), 0, 2), Insn::alu32_reg(XOR, dst, dst), Insn::ja(1), insn]);
}

fn unsigned_remainder(code: &mut Vec<Insn>, insn: Insn) {
    if insn.class() == ALU64 {
        code.extend([if_imm(insn, JEQ, insn.src(), 0, 1), insn]);
    } else {
        // The dividend is left as it is, but for its high half.
        let kept = Insn::mov32_reg(insn.dst(), insn.dst());
        code.extend([if_imm(insn, JEQ, insn.src(), 0, 2), insn, Insn::ja(1), kept]);
    }
}

/// By 0 and -1 the quotient is the negative of 0 and of the dividend.
fn signed_quotient(code: &mut Vec<Insn>, insn: Insn, ax: u8) {
    code.extend(plus_one(insn, ax));
    code.extend([
        if_imm(insn, JGT, ax, 1, 4),
        if_imm(insn, JEQ, ax, 0, 1),
        alu_imm(insn, MOV, insn.dst(), 0),
        Insn::new(insn.class() | NEG, insn.dst(), 0, 0, 0),
        Insn::ja(1),
        insn,
    ]);
}

/// By -1 the remainder is 0, by 0 the dividend.
fn signed_remainder(code: &mut Vec<Insn>, insn: Insn, ax: u8) {
    let narrow = insn.class() == ALU;
    let zero = Insn::mov32_imm(insn.dst(), 0);
    code.extend(plus_one(insn, ax));
    code.extend([if_imm(insn, JGT, ax, 1, 3), if_imm(insn, JEQ, ax, 1, 3 + i16::from(narrow)), zero]);
    code.extend([Insn::ja(1), insn]);
    if narrow {
        code.extend([Insn::ja(1), Insn::mov32_reg(insn.dst(), insn.dst())]);
    }
}

/// The divisor plus one in `ax`: 0 or 1 if it is -1 or 0.
fn plus_one(insn: Insn, ax: u8) -> [Insn; 2] {
    [Insn::mov64_reg(ax, insn.src()), alu_imm(insn, ADD, ax, 1)]
}

/// Arithmetic of the width of `insn`.
fn alu_imm(insn: Insn, op: u8, dst: u8, imm: i32) -> Insn {
    Insn::new(insn.class() | op | K, dst, 0, 0, imm)
}

/// A jump that compares as many bits as `insn` divides.
fn if_imm(insn: Insn, op: u8, reg: u8, imm: i32, off: i16) -> Insn {
    let class = if insn.class() == ALU64 { JMP } else { JMP32 };
    Insn::new(class | op | K, reg, 0, off, imm)
}
