//! `relinear`: ours. The arena and the output are kept from run to run.

use relinear::bpf::{Bpf, Insn};
use relinear::{Arena, Branch, Handle, Inserted, Linear, List, Patch, Target};

use super::{Output, Peer};
use crate::branch;
use crate::work::{Edit, Kind, Work};

#[derive(Default)]
pub(super) struct Relinear {
    arena: Arena,
    linear: Linear<Insn>,
    /// What the first pass inserted, for passes that refer to it.
    inserted: Vec<Inserted>,
    output: Output,
}

impl Peer for Relinear {
    fn run(&mut self, work: &Work) {
        // The units stand in the output between runs.
        core::mem::swap(&mut self.linear.units, &mut self.output.units);
        self.inserted.clear();
        let mut list = List::<Bpf>::new(&self.arena, &work.program).expect("the program is valid");
        for (number, pass) in work.passes.iter().enumerate() {
            let note = work.is_referred_to(number);
            for edit in &pass.edits {
                let handle = match pass.within {
                    None => Handle::new(edit.at),
                    Some(unit) => self.inserted[edit.at as usize].at(unit),
                };
                let inserted = make(&mut list, work, edit, handle);
                if note {
                    self.inserted.extend(inserted);
                }
            }
        }
        list.linearize_into(&mut self.linear).expect("every branch has a place to go");
        drop(list);
        self.arena.reset();
        core::mem::swap(&mut self.linear.units, &mut self.output.units);
        let map = &self.linear.map;
        self.output.move_tables(work, |old| map.new_of(old));
    }

    fn output(&self) -> &Output {
        &self.output
    }
}

#[inline]
fn make(list: &mut List<'_, Bpf>, work: &Work, edit: &Edit, handle: Handle) -> Option<Inserted> {
    if edit.kind == Kind::Delete {
        let mut at = handle.index();
        let end = at + u32::from(edit.len);
        while at < end {
            let len = list.insn(Handle::new(at)).map_or(1, <[Insn]>::len);
            list.delete(Handle::new(at)).expect("it is live");
            at += u32::try_from(len).expect("an instruction is short");
        }
        return None;
    }
    let patch = work.patch(edit);
    let units = Patch::new(&patch.units);
    let made = match (edit.kind, patch.keep) {
        (Kind::Prepend, _) => list.prepend(handle, units),
        (_, None) => list.replace(handle, units),
        (_, Some(unit)) => {
            let to = branch::target(edit.at, &work.program[edit.at as usize]);
            let branches = [Branch::new(u32::from(unit), Target::Original(to))];
            list.replace(handle, units.branches(&branches))
        }
    };
    Some(made.expect("the patch is valid"))
}
