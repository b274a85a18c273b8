//! [`Program`]: instructions with what else speaks in their positions.

use alloc::vec::Vec;

use bitvec::vec::BitVec;

use super::Insn;

/// A program, or all the code of one section of an object. Positions are slots.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// The slots.
    pub insns: Vec<Insn>,
    /// Where each subprogram starts: strictly ascending, the first one 0.
    pub subprogs: Vec<u32>,
    /// One bit a slot, set where a loader will rewrite fields of the instruction (a relocation, a
    /// CO-RE record). A pass leaves such an instruction as it stands, or deletes it.
    pub pinned: BitVec,
}

/// Whether a loader will rewrite the instruction at a slot.
pub(crate) fn is_pinned(program: &Program, at: u32) -> bool {
    program.pinned.get(at as usize).is_some_and(|pinned| *pinned)
}
