//! [`Watches`]: what is to be looked at again when a counter has come so far; a heap for each counter.
//!
//! They are skew heaps, all in one column, which is all the memory that they take.

use alloc::vec::Vec;

use super::memory::{Refused, filled, push};
use crate::core::handle::to_u32;

/// What a counter has to come to, and the edge to look at then, as it was registered for the n-th time.
pub(super) type Watch = (u64, u32, u32);

struct Node {
    watch: Watch,
    /// Heaps of what is due no earlier. Those of a free node: the next free one.
    below: [u32; 2],
}

/// No node.
const NONE: u32 = u32::MAX;

pub(super) struct Watches {
    nodes: Vec<Node>,
    /// The first node of no heap.
    free: u32,
    /// The heap of each counter: its least watch.
    heaps: Vec<u32>,
}

impl Watches {
    pub(super) fn new(counters: usize) -> Result<Self, Refused> {
        Ok(Self { nodes: Vec::new(), free: NONE, heaps: filled(counters, NONE)? })
    }

    /// Takes note of a watch of `counter`.
    ///
    /// O(log watches), amortized.
    pub(super) fn insert(&mut self, counter: usize, watch: Watch) -> Result<(), Refused> {
        let node = Node { watch, below: [NONE; 2] };
        let at = if let Some(free) = self.nodes.get_mut(self.free as usize) {
            let at = core::mem::replace(&mut self.free, free.below[0]);
            *free = node;
            at
        } else {
            push(&mut self.nodes, node)?;
            to_u32(self.nodes.len() - 1)
        };
        self.heaps[counter] = self.merge(self.heaps[counter], at);
        Ok(())
    }

    /// Takes the least watch of `counter`, if the counter has come to it.
    ///
    /// O(log watches), amortized.
    pub(super) fn take_due(&mut self, counter: usize, count: u64) -> Option<Watch> {
        let at = self.heaps[counter];
        let node = self.nodes.get_mut(at as usize).filter(|node| node.watch.0 <= count)?;
        let (watch, below) = (node.watch, node.below);
        node.below[0] = core::mem::replace(&mut self.free, at);
        self.heaps[counter] = self.merge(below[0], below[1]);
        Some(watch)
    }

    /// One heap of two: goes down the right side of both, and turns every node on the way, so that the way is
    /// short the next time.
    fn merge(&mut self, mut one: u32, mut other: u32) -> u32 {
        let (mut root, mut above) = (NONE, None);
        loop {
            let watch = |at: u32| self.nodes.get(at as usize).map(|node| node.watch);
            let (least, rest) = match (watch(one), watch(other)) {
                (Some(first), Some(second)) if second < first => (other, one),
                (None, _) => (other, NONE),
                _ => (one, other),
            };
            match above {
                None => root = least,
                Some(above) => self.below(above)[0] = least,
            }
            if rest == NONE {
                return root;
            }
            let [left, right] = *self.below(least);
            self.below(least)[1] = left;
            (one, other, above) = (right, rest, Some(least));
        }
    }

    fn below(&mut self, at: u32) -> &mut [u32; 2] {
        &mut self.nodes[at as usize].below
    }
}
