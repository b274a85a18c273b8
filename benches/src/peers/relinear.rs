//! `relinear`: ours. The arena and the output are kept from run to run.

use relinear::bpf::{Bpf, Insn};
use relinear::{Arena, At, Deleted, Inserted, Linear, List};

use super::{Output, Peer};
use crate::parts;
use crate::work::Work;

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
        let mut list = List::<Bpf>::new(&self.arena, &work.program).expect("the program is valid");
        parts::edit(&mut list, work, &mut self.inserted);
        list.linearize_into(&mut self.linear).expect("every branch has a place to go");
        drop(list);
        self.arena.reset();
        core::mem::swap(&mut self.linear.units, &mut self.output.units);
        let Output { lines, subprogs, .. } = &mut self.output;
        lines.clear();
        lines.extend_from_slice(&work.lines);
        subprogs.clear();
        subprogs.extend_from_slice(&work.subprogs);
        let map = &self.linear.map;
        map.adjust_points(lines, At::Label, Deleted::Slide, |line| &mut line.off).expect("lines ascend");
        map.adjust_starts(subprogs, |start| start).expect("starts ascend");
    }

    fn output(&self) -> &Output {
        &self.output
    }
}
