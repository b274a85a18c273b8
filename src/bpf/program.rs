//! [`Program`]: instructions with what else speaks in their positions.

use alloc::vec::Vec;

use bitvec::vec::BitVec;

use super::{Aux, EditError, Editor, Insn};
use crate::core::Arena;

/// A program, or all the code of one section of an object. Positions are slots.
///
/// Every table may be left empty. [`edit`](Program::edit) takes all of them through edits at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program<T = ()> {
    /// The slots.
    pub insns: Vec<Insn>,
    /// Where each subprogram starts: strictly ascending, the first one 0.
    pub subprogs: Vec<u32>,
    /// One bit a slot, set where a loader will rewrite fields of the instruction (a relocation, a
    /// CO-RE record). A pass leaves such an instruction as it stands, or deletes it.
    pub pinned: BitVec,
    /// The function that each subprogram is: none, or a record for each of the first subprograms. Subprograms
    /// that the kernel adds have none, and come last.
    pub func_info: Vec<FuncInfo>,
    /// Where lines of the source start: strictly ascending.
    pub line_info: Vec<LineInfo>,
    /// The facts of each instruction, at its first slot; missing ones are the default.
    pub aux: Vec<Aux<T>>,
    /// The position of the tail call that each poke descriptor is for, `None` once it was deleted. They are
    /// named by their index, so none is ever removed.
    pub pokes: Vec<Option<u32>>,
    /// What the entries of instruction arrays, the tables of indirect jumps, lead to; `None` once it was
    /// deleted. A `gotox` may lead to all of them that are in its subprogram.
    pub insn_array: Vec<Option<u32>>,
}

/// A record of function information: the kernel's `struct bpf_func_info`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FuncInfo {
    /// Where the function starts, in slots.
    pub insn_off: u32,
    /// Its type in BTF.
    pub type_id: u32,
}

/// A record of line information: the kernel's `struct bpf_line_info`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LineInfo {
    /// The first slot of the line. It goes on up to the next record.
    pub insn_off: u32,
    /// The name of the file, as an offset into the strings of BTF.
    pub file_name_off: u32,
    /// The text of the line, as an offset into the strings of BTF.
    pub line_off: u32,
    /// The number of the line times 1024, plus that of the column.
    pub line_col: u32,
}

impl<T: Copy + Default> Program<T> {
    /// Begins to edit the program, with all its tables.
    ///
    /// O(slots + records).
    ///
    /// # Errors
    ///
    /// [`EditError::Core`] if the slots do not divide into instructions, [`EditError::Table`],
    /// [`EditError::NoEntry`] or [`EditError::FuncInfo`] for a table that is not in order,
    /// [`EditError::KernelDump`] for what the kernel shows of a program that it has loaded.
    pub fn edit<'a>(&'a self, arena: &'a Arena) -> Result<Editor<'a, T>, EditError> {
        Editor::new(self, arena)
    }
}

/// Whether a loader will rewrite the instruction at a slot.
pub(crate) fn is_pinned<T>(program: &Program<T>, at: u32) -> bool {
    program.pinned.get(at as usize).is_some_and(|pinned| *pinned)
}
