//! Tail calls: an operation of their own, and an index that speculation keeps within the map.

use alloc::vec::Vec;

use super::host::{BadFact, IndexMask};
use crate::bpf::Insn;
use crate::bpf::opcode::{AND, JGE, JMP};

/// The code of a tail call behind the verifier. It is no call any more.
pub const TAIL_CALL: u8 = JMP | 0xf0;

/// A call of the helper `bpf_tail_call`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TailCall {
    /// What a JIT compiler finds in the immediate: 0, or 1 more than the index of the record by which it
    /// patches a direct jump when the map changes.
    pub poke: i32,
    /// How to mask the index, which is in `r3`, if at all.
    pub mask: Option<IndexMask>,
}

pub(super) fn write(code: &mut Vec<Insn>, insn: Insn, call: &TailCall) -> Result<(), BadFact> {
    if let Some(mask) = call.mask {
        let entries = mask.entries()?;
        code.extend([Insn::jmp_imm(JGE, 3, entries, 2), Insn::alu32_imm(AND, 3, mask.mask())]);
    }
    code.push(Insn::new(TAIL_CALL, insn.dst(), insn.src(), insn.off, call.poke));
    Ok(())
}
