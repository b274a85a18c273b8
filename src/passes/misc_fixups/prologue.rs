//! Prologues: code that runs when a subprogram is called, and not when a jump goes back to its start.
//!
//! The kernel patches the first instruction, and then leads the jumps past the prologue. So do we, as the
//! record of a source line and the start of the subprogram have to stay with the prologue, and the first
//! instruction may be another one by now than that at the start.

use alloc::vec::Vec;

use super::super::kernel::patch;
use super::super::{Error, branch_target};
use super::subprogs::Walk;
use crate::bpf::{Aux, Bpf, Insn};
use crate::core::{Branch, Handle, Isa, List, Patch, Target};

/// A subprogram that gets a prologue.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    /// Its first live instruction; later, the first one of the prologue.
    first: Handle,
    /// What was the first instruction, behind the prologue.
    moved: Handle,
}

impl Entry {
    pub(super) const fn new(first: Handle) -> Self {
        Self { first, moved: first }
    }

    /// Puts `code` before the first instruction.
    pub(super) fn prepend<T: Copy + Default>(
        &mut self,
        list: &mut List<'_, Bpf, Aux<T>>,
        code: &mut Vec<Insn>,
    ) -> Result<(), Error> {
        let unit =
            u32::try_from(code.len()).map_err(|_| crate::core::Error::TooLong { units: code.len() })?;
        let insn = list.insn(self.first).ok_or(crate::core::Error::Deleted(self.first))?;
        code.extend_from_slice(insn);
        let target = if Bpf.fields(insn) > 0 { Some(branch_target(list, self.first)?) } else { None };
        let branch = target.map(|target| Branch::new(unit, Target::Handle(target)));
        self.moved = patch(list, self.first, Patch::new(code).branches(branch.as_slice()))?.at(unit);
        Ok(())
    }
}

/// Leads the jumps to the first instructions of subprograms past their prologues. There is an entry for each subprogram.
pub(super) fn retarget<T: Copy + Default>(
    list: &mut List<'_, Bpf, Aux<T>>,
    starts: &[u32],
    entries: &[Option<Entry>],
) -> Result<(), Error> {
    let end = list.end();
    let mut walk = Walk::new(starts, end);
    let mut cursor = list.cursor_mut();
    while let Some(at) = cursor.current() {
        walk.step(at);
        let list = cursor.list();
        let jump = list.insn(at).map(|insn| insn[0]).filter(|insn| insn.is_jump());
        if let (Some(jump), Some(Entry { first, moved })) = (jump, entries[walk.subprog])
            && let Some(target) = list.target(at, 0)
            // What stood between the start and the first live instruction was deleted.
            && (target == first || first < end && (starts[walk.subprog]..first.index()).contains(&target.index()))
        {
            cursor
                .list_mut()
                .replace(at, Patch::new(&[jump]).branches(&[Branch::new(0, Target::Handle(moved))]))?;
        }
        cursor.move_past();
    }
    Ok(())
}
