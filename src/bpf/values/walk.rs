//! [`Walk`]: goes through a block with what is known.

use super::step::Rules;
use super::{State, Value};
use crate::bpf::Block;

/// Goes through the instructions of a block, with what is known before each of them.
#[derive(Debug)]
pub struct Walk<'v, T = ()> {
    rules: &'v Rules<'v, T>,
    returned: &'v [Option<Value>],
    state: State,
    at: u32,
    end: u32,
}

impl<'v, T> Walk<'v, T> {
    pub(super) fn new(
        rules: &'v Rules<'v, T>,
        returned: &'v [Option<Value>],
        block: Block,
        state: State,
    ) -> Self {
        Self { rules, returned, state, at: block.start, end: block.end }
    }

    /// The slot of the instruction that is next, or `None` at the end of the block.
    ///
    /// O(1).
    #[must_use]
    pub fn slot(&self) -> Option<u32> {
        (self.at < self.end).then_some(self.at)
    }

    /// What is known before that instruction; at the end of the block, after its last one.
    ///
    /// O(1).
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Goes on to the next instruction.
    ///
    /// O(log of the facts), for most instructions.
    pub fn step(&mut self) {
        if let Some(at) = self.slot() {
            self.rules.step(&mut self.state, at, self.returned);
            self.at += if self.rules.program.insns[at as usize].is_wide() { 2 } else { 1 };
        }
    }

    pub(super) fn into_state(self) -> State {
        self.state
    }
}
