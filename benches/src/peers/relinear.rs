//! `relinear`: ours. The arena and the output are kept from run to run.

use relinear::bpf::{Bpf, Insn};
use relinear::{Arena, Inserted, Linear, List};

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
        let map = &self.linear.map;
        self.output.move_tables(work, |old| map.new_of(old));
    }

    fn output(&self) -> &Output {
        &self.output
    }
}
