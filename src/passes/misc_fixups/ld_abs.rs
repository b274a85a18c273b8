//! Packet access by `LD_ABS` and `LD_IND`: a call of a helper, and the end of the program if the packet
//! is too short.

use alloc::vec::Vec;

use crate::bpf::Insn;
use crate::bpf::opcode::{ABS, ADD, B, H, IND, JSGE, LD, W, XOR};

/// The immediates of calls of the helpers that load from a packet. They take the context in `r1` and an
/// offset in `r2`, and give what they loaded, in the byte order of the machine, or a negative number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PacketLoads {
    /// For one byte.
    pub byte: i32,
    /// For two.
    pub half: i32,
    /// For four.
    pub word: i32,
}

/// Writes what replaces a packet access; nothing, if `insn` is none.
pub(super) fn write(code: &mut Vec<Insn>, insn: Insn, helpers: &PacketLoads) {
    if insn.class() != LD || !matches!(insn.mode(), ABS | IND) {
        return;
    }
    let helper = match insn.size() {
        B => helpers.byte,
        H => helpers.half,
        W => helpers.word,
        _ => return,
    };
    if insn.mode() == ABS {
        code.push(Insn::mov64_imm(2, insn.imm));
    } else {
        code.push(Insn::mov64_reg(2, insn.src()));
        if insn.imm != 0 {
            code.push(Insn::alu64_imm(ADD, 2, insn.imm));
        }
    }
    code.extend([
        Insn::mov64_reg(1, 6),
        Insn::call(helper),
        Insn::jmp_imm(JSGE, 0, 0, 2),
        Insn::alu32_reg(XOR, 0, 0),
        Insn::exit(),
    ]);
}
