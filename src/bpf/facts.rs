//! [`Aux`]: what a verifier found out about an instruction, which moves with it.

use super::Insn;
use super::opcode::{ABS, ALU, ALU64, ATOMIC, CMPXCHG, DW, END, FETCH, IND, LD, LDX, LOAD_ACQ, MEMSX, STX};

/// The facts of an instruction: those that the kernel's own rewriting needs of its
/// `struct bpf_insn_aux_data`, and one of a type that the user chooses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Aux<T = ()> {
    /// A verifier simulated the instruction. What was not seen is dead code.
    pub seen: bool,
    /// The instruction writes the low half of a register whose whole value is read later, so its high half
    /// has to be zero.
    pub zext_dst: bool,
    /// What else the user has to say of it.
    pub user: T,
}

impl Insn {
    /// The register that the instruction defines, as the verifier of the kernel counts (`insn_def_regno`):
    /// calls define none.
    #[must_use]
    pub const fn defined_reg(self) -> Option<u8> {
        match self.class() {
            LD | LDX | ALU | ALU64 => Some(self.dst()),
            STX if self.mode() == ATOMIC => match self.imm {
                CMPXCHG => Some(0),
                LOAD_ACQ => Some(self.dst()),
                op if op & FETCH != 0 => Some(self.src()),
                _ => None,
            },
            _ => None,
        }
    }

    /// The register that the instruction defines, if the kernel takes it to define its low 32 bits only
    /// (`insn_has_def32`). It goes by the encoding alone.
    #[must_use]
    pub const fn defined_half(self) -> Option<u8> {
        let half = match self.class() {
            LD => matches!(self.mode(), ABS | IND),
            LDX => self.size() != DW && self.mode() != MEMSX,
            STX => self.size() != DW,
            ALU => self.op() != END || self.imm != 64,
            // A swap of bytes, which leaves zeroes above those it swaps.
            ALU64 => self.op() == END && self.imm != 64,
            _ => false,
        };
        if half { self.defined_reg() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpf::opcode::{ADD, H, MEM, MOV, W, X, XCHG};

    /// By the words of the kernel's `is_reg64` and `insn_def_regno`.
    #[test]
    fn definitions() {
        let atomic = |size, op| Insn::new(STX | ATOMIC | size, 1, 2, 0, op);
        for (insn, reg, half) in [
            (Insn::alu32_imm(ADD, 3, 1), Some(3), true),
            (Insn::alu64_imm(ADD, 3, 1), Some(3), false),
            (Insn::new(ALU | MOV | X, 3, 4, 8, 0), Some(3), true),
            (Insn::new(ALU | END, 3, 0, 0, 32), Some(3), true),
            (Insn::new(ALU | END | X, 3, 0, 0, 64), Some(3), false),
            (Insn::new(ALU64 | END, 3, 0, 0, 16), Some(3), true),
            (Insn::new(ALU64 | END, 3, 0, 0, 64), Some(3), false),
            (Insn::ldx(W, 5, 1, 0), Some(5), true),
            (Insn::ldx(DW, 5, 1, 0), Some(5), false),
            (Insn::new(LDX | MEMSX | H, 5, 1, 0, 0), Some(5), false),
            (Insn::new(LD | ABS | W, 0, 0, 0, 12), Some(0), true),
            (Insn::ld_imm64(5, 1)[0], Some(5), false),
            (atomic(W, CMPXCHG), Some(0), true),
            (atomic(DW, CMPXCHG), Some(0), false),
            (atomic(W, XCHG), Some(2), true),
            (atomic(W, LOAD_ACQ), Some(1), true),
            (atomic(W, 0), None, false),
            (Insn::new(STX | MEM | W, 1, 2, 0, 0), None, false),
            (Insn::st(W, 1, 0, 0), None, false),
            (Insn::call(7), None, false),
            (Insn::jmp_imm(0x10, 1, 0, 0), None, false),
        ] {
            assert_eq!(insn.defined_reg(), reg, "{insn:?}");
            assert_eq!(insn.defined_half(), reg.filter(|_| half), "{insn:?}");
        }
    }
}
