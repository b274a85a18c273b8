//! `may_goto`: jump once a budget of iterations is spent, or a span of time.

use alloc::vec::Vec;

use crate::bpf::Insn;
use crate::bpf::opcode::{DW, FRAME_POINTER, JEQ, JNE, SUB};

/// How loops with `may_goto` come to an end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MayGoto {
    /// After 2^23 rounds in a call of the function: Linux 6.9 to 6.14, and later ones on machines without
    /// the next.
    Counted,
    /// After a quarter of a second: Linux 6.15 and later on x86. Rounds are counted down from 65535, and
    /// then a function is called that keeps all registers but the hidden one. In that it gets the offset of the count
    /// from the frame pointer, behind which is a time stamp, and gives the new count.
    Timed {
        /// The immediate of the call of that function.
        check: i32,
    },
}

/// The most rounds of a counted loop.
const MAX_LOOPS: i32 = 1 << 23;
/// The rounds between two looks at the clock.
const ROUNDS: i32 = 0xffff;

impl MayGoto {
    /// The stack it takes in each subprogram that has one, in bytes.
    pub(super) const fn stack(self) -> u32 {
        match self {
            Self::Counted => 8,
            Self::Timed { .. } => 16,
        }
    }

    /// Writes what runs when the subprogram is called. The count is at `slot` from the frame pointer.
    pub(super) fn write_prologue(self, code: &mut Vec<Insn>, slot: i16) {
        match self {
            Self::Counted => code.push(Insn::st(DW, FRAME_POINTER, slot, MAX_LOOPS)),
            Self::Timed { .. } => code.extend([
                Insn::st(DW, FRAME_POINTER, slot, ROUNDS),
                Insn::st(DW, FRAME_POINTER, slot + 8, 0),
            ]),
        }
    }

    /// Writes what replaces a `may_goto`. The instruction at [`JUMP`] leads to where that led.
    pub(super) fn write(self, code: &mut Vec<Insn>, slot: i16, ax: u8) {
        code.extend([
            Insn::ldx(DW, ax, FRAME_POINTER, slot),
            Insn::jmp_imm(JEQ, ax, 0, 0),
            Insn::alu64_imm(SUB, ax, 1),
        ]);
        if let Self::Timed { check } = self {
            code.extend([
                Insn::jmp_imm(JNE, ax, 0, 2),
                Insn::mov64_imm(ax, i32::from(slot)),
                Insn::call(check),
            ]);
        }
        code.push(Insn::stx(DW, FRAME_POINTER, ax, slot));
    }
}

/// Which instruction of [`MayGoto::write`] is the jump.
pub(super) const JUMP: u32 = 1;
