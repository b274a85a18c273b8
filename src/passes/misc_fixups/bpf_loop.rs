//! `bpf_loop` as a loop that calls the callback directly.

use alloc::vec::Vec;

use crate::bpf::Insn;
use crate::bpf::opcode::{ADD, DW, FRAME_POINTER, JEQ, JGE, JLE};

/// The stack it takes, in bytes: three registers are kept there.
pub(super) const STACK: u32 = 24;
/// Where the call of the callback is.
pub(super) const CALL: u32 = 12;
/// The number of the helper.
pub(super) const HELPER: i32 = 181;

/// The most rounds that `bpf_loop` makes; for more it returns `-E2BIG`.
const MAX_LOOPS: i32 = 1 << 23;
const E2BIG: i32 = 7;

/// Writes the loop. `slot` is the offset of its stack from the frame pointer.
pub(super) fn write(code: &mut Vec<Insn>, slot: i16) {
    let slots = [slot, slot + 8, slot + 16];
    let kept = [6, 7, 8];
    let [last, round, context] = kept;
    let save = |(&reg, slot)| Insn::stx(DW, FRAME_POINTER, reg, slot);
    let restore = |(&reg, slot)| Insn::ldx(DW, reg, FRAME_POINTER, slot);
    code.extend([Insn::jmp_imm(JLE, 1, MAX_LOOPS, 2), Insn::mov32_imm(0, -E2BIG), Insn::ja(16)]);
    code.extend(kept.iter().zip(slots).map(save));
    code.extend([
        Insn::mov64_reg(last, 1),
        Insn::mov32_imm(round, 0),
        Insn::mov64_reg(context, 3),
        Insn::jmp_reg(JGE, round, last, 5),
        Insn::mov64_reg(1, round),
        Insn::mov64_reg(2, context),
        Insn::call_local(0),
        Insn::alu64_imm(ADD, round, 1),
        Insn::jmp_imm(JEQ, 0, 0, -6),
        Insn::mov64_reg(0, round),
    ]);
    code.extend(kept.iter().zip(slots).map(restore));
}
