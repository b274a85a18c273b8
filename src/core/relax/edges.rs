//! [`Edges`]: all branches of a list with both ends, in the order of the output.

use alloc::vec::Vec;

use super::Relax;
use super::memory::{Refused, push};
use crate::core::handle::to_u32;
use crate::core::linearize::branches::Overlong;
use crate::core::{Error, Handle, Isa, List, Map};

/// A displacement field of a live branch. Positions are those of the output.
#[derive(Clone, Copy, Debug)]
pub(super) struct Edge {
    pub(super) branch: Handle,
    pub(super) field: u32,
    pub(super) from: u32,
    pub(super) target: Handle,
    pub(super) to: u32,
    pub(super) reach: Reach,
    /// Whether it may go through trampolines.
    pub(super) detours: bool,
}

/// How far a field reaches, in units from the first unit of its branch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reach {
    pub(super) least: i64,
    pub(super) most: i64,
}

/// No program is so long that it would matter whether a field reaches farther.
const FARTHEST: i64 = 1 << 40;

impl Reach {
    pub(super) fn of<I: Isa>(isa: &I, insn: &[I::Unit], field: usize) -> Self {
        let (base, range) = (isa.base(insn, field), isa.range(insn, field));
        let from_start = |end: i64| base.saturating_add(end).clamp(-FARTHEST, FARTHEST);
        Self { least: from_start(*range.start()), most: from_start(*range.end()) }
    }

    /// What is left of it if a sixteenth is kept free, for what a loader may insert later.
    pub(super) fn with_room(self) -> Self {
        Self { least: self.least - self.least / 16, most: self.most - self.most / 16 }
    }

    pub(super) fn holds(self, from: i64, to: i64) -> bool {
        (self.least..=self.most).contains(&(to - from))
    }
}

impl Edge {
    /// How many units may come between the branch and its target, until it does not reach any more.
    pub(super) fn slack(&self) -> i64 {
        let distance = i64::from(self.to) - i64::from(self.from);
        if self.is_forward() { self.reach.most - distance } else { distance - self.reach.least }
    }

    pub(super) fn is_forward(&self) -> bool {
        self.to > self.from
    }
}

pub(super) struct Edges {
    /// In the order of the output, those of one branch by field.
    pub(super) all: Vec<Edge>,
    /// The ends of instructions that control does not go on from, ascending.
    pub(super) ends: Vec<u32>,
    /// Those that do not reach, by their index, ascending, with the error that says so.
    pub(super) overlong: Vec<(u32, Error)>,
    /// How many units the longest instruction has.
    pub(super) longest: i64,
    /// How many units there are.
    pub(super) len: u32,
}

impl Edges {
    /// The edges of a list that `map` is of, and what does not reach.
    pub(super) fn new<I: Isa, A: Copy + Default>(
        list: &List<'_, I, A>,
        relax: &impl Relax<I>,
        map: &Map,
        unreached: &[Overlong],
    ) -> Result<Self, Refused> {
        let (mut all, mut ends, mut overlong) = (Vec::new(), Vec::new(), Vec::new());
        let mut unreached = unreached.iter().peekable();
        let (mut from, mut longest) = (0, 1);
        for branch in list.iter() {
            let Some(insn) = list.insn(branch) else { continue };
            for field in 0..list.isa().fields(insn) {
                let number = to_u32(field);
                let Some(target) = list.target(branch, number) else { continue };
                let Some(to) = map.new_of_handle(target) else { continue };
                let (reach, detours) = (Reach::of(list.isa(), insn, field), relax.may_detour(insn, field));
                let this = |overlong: &&Overlong| {
                    overlong.field == field && list.columns.name_of(overlong.at.at()) == branch
                };
                if let Some(first) = unreached.next_if(this) {
                    push(&mut overlong, (to_u32(all.len()), first.error))?;
                }
                push(&mut all, Edge { branch, field: number, from, target, to, reach, detours })?;
            }
            from += to_u32(insn.len());
            longest = insn.len().max(longest);
            if relax.ends_flow(insn) {
                push(&mut ends, from)?;
            }
        }
        debug_assert!(unreached.peek().is_none() && from == map.new_len());
        Ok(Self { all, ends, overlong, longest: i64::from(to_u32(longest)), len: from })
    }
}
