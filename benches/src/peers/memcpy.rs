//! `memcpy`: the result, copied once. Nothing can be faster.

use super::{Output, Peer};
use crate::work::Work;

pub(super) struct Memcpy {
    from: Output,
    to: Output,
}

impl Memcpy {
    pub(super) fn new(from: &Output) -> Self {
        Self { from: from.clone(), to: Output::default() }
    }
}

impl Peer for Memcpy {
    fn run(&mut self, _work: &Work) {
        let Output { units, lines, subprogs } = &mut self.to;
        units.clear();
        units.extend_from_slice(&self.from.units);
        lines.clear();
        lines.extend_from_slice(&self.from.lines);
        subprogs.clear();
        subprogs.extend_from_slice(&self.from.subprogs);
    }

    fn output(&self) -> &Output {
        &self.to
    }
}
