//! Longer forms: which branches need one, with all that these push out of reach, without linearizing again.
//!
//! A branch becomes overlong when what stands between it and its target has grown by more than its slack.
//! Looking at all branches again after each one that grows would be quadratic. Instead, the branches that
//! grow are the leaves of a segment tree that counts by how much, and a branch *watches* the nodes that make up
//! what it spans: of `k` nodes, one has to grow by more than `slack / k` before the branch can be
//! overlong. Only then is it looked at again, with less slack left. So it is looked at O(log² branches) times.

use alloc::vec::Vec;
use core::ops::Range;

use super::edges::{Edge, Edges};
use super::memory::{Refused, collect, filled, push};
use super::watches::Watches;
use super::{LongForm, Relax, Relaxed};
use crate::core::handle::to_u32;
use crate::core::{Branch, Error, Isa, List, Patch, Target};

impl<I: Isa, A: Copy + Default> List<'_, I, A> {
    /// Gives a longer form to all branches that need one and have one, and says how many that are.
    ///
    /// It is an error if one needs one, has none, and may not detour either.
    pub(super) fn lengthen(
        &mut self,
        relax: &impl Relax<I>,
        edges: &Edges,
        done: &mut Relaxed,
    ) -> Result<u32, Error> {
        let mut long = LongForm::with_room()?;
        let may_detour = relax.trampoline().is_some();
        let mut seeds = Vec::new();
        for &(edge, error) in &edges.overlong {
            if self.form(relax, &edges.all[edge as usize], &mut long).is_some() {
                push(&mut seeds, edge)?;
            } else if !(may_detour && edges.all[edge as usize].detours) {
                return Err(error);
            }
        }
        if seeds.is_empty() {
            return Ok(0);
        }
        let growth = collect(edges.all.iter().map(|edge| self.form(relax, edge, &mut long)))?;
        let lengthened = Spread::new(&edges.all, &growth)?.run(&seeds)?;
        for &edge in &lengthened {
            self.take_form(relax, &edges.all[edge as usize], &mut long)?;
        }
        done.lengthened += to_u32(lengthened.len());
        Ok(to_u32(lengthened.len()))
    }

    /// Writes the longer form of a branch, if there is one that reaches farther, and says how many units it
    /// has more.
    fn form(&self, relax: &impl Relax<I>, edge: &Edge, long: &mut LongForm<I::Unit>) -> Option<u32> {
        long.clear();
        let insn = self.insn(edge.branch)?;
        if !relax.relax(insn, edge.field as usize, long) {
            return None;
        }
        let old = self.isa.range(insn, edge.field as usize);
        for &(unit, field, of) in &long.branches {
            let units = long.units.get(unit as usize..)?;
            let new = self.isa.range(units.get(..self.isa.len(units)?)?, field as usize);
            let holds = new.start() <= old.start() && new.end() >= old.end();
            if of == edge.field && (!holds || new == old) {
                return None;
            }
        }
        Some(to_u32(long.units.len().saturating_sub(insn.len())))
    }

    fn take_form(
        &mut self,
        relax: &impl Relax<I>,
        edge: &Edge,
        long: &mut LongForm<I::Unit>,
    ) -> Result<(), Error> {
        if self.form(relax, edge, long).is_none() {
            return Ok(());
        }
        let mut branches = Vec::new();
        for &(unit, field, of) in &long.branches {
            let target = self.target(edge.branch, of).ok_or(Error::BadTarget { unit, field })?;
            push(&mut branches, Branch::new(unit, Target::Handle(target)).field(field))?;
        }
        self.replace(edge.branch, Patch::new(&long.units).branches(&branches)).map(drop)
    }
}

/// How the growth of some branches makes others grow.
struct Spread<'e> {
    edges: &'e [Edge],
    growth: &'e [Option<u32>],
    /// The position of each branch.
    froms: Vec<u32>,
    /// Which of them each edge belongs to.
    branch_of: Vec<u32>,
    lengthened: Vec<bool>,
    /// A segment tree over the branches: by how much they have grown. The root is at 1.
    grown: Vec<u64>,
    /// Edges to look at when a node has grown so far.
    watches: Watches,
    /// How often each edge was registered. Watches of earlier times no longer count.
    registered: Vec<u32>,
    /// Edges whose branches are to be lengthened.
    queue: Vec<u32>,
}

impl<'e> Spread<'e> {
    fn new(edges: &'e [Edge], growth: &'e [Option<u32>]) -> Result<Self, Refused> {
        let mut froms: Vec<u32> = Vec::new();
        let mut branch_of = Vec::new();
        for edge in edges {
            if froms.last() != Some(&edge.from) {
                push(&mut froms, edge.from)?;
            }
            push(&mut branch_of, to_u32(froms.len() - 1))?;
        }
        let branches = froms.len();
        Ok(Self {
            edges,
            growth,
            froms,
            branch_of,
            lengthened: filled(branches, false)?,
            grown: filled(2 * branches, 0)?,
            watches: Watches::new(2 * branches)?,
            registered: filled(edges.len(), 0)?,
            queue: Vec::new(),
        })
    }

    /// The edges whose branches take their longer form, ascending, no two of one branch.
    fn run(mut self, seeds: &[u32]) -> Result<Vec<u32>, Refused> {
        let mut all = Vec::new();
        self.queue = collect(seeds.iter().rev().copied())?;
        self.lengthen_queued(&mut all)?;
        // What can still grow is little now, and most branches need not be watched.
        self.watch_all()?;
        self.lengthen_queued(&mut all)?;
        all.sort_unstable();
        Ok(all)
    }

    fn lengthen_queued(&mut self, all: &mut Vec<u32>) -> Result<(), Refused> {
        while let Some(edge) = self.queue.pop() {
            let branch = self.branch_of[edge as usize];
            if !core::mem::replace(&mut self.lengthened[branch as usize], true) {
                push(all, edge)?;
                self.grow(branch, self.growth[edge as usize].unwrap_or(0))?;
            }
        }
        Ok(())
    }

    /// Registers the edges that can become overlong at all, if everything they span grows.
    fn watch_all(&mut self) -> Result<(), Refused> {
        let mut most = filled(self.froms.len() + 1, 0_u64)?;
        for (growth, &branch) in self.growth.iter().zip(&self.branch_of) {
            let branch = branch as usize;
            let most = &mut most[branch + 1];
            *most = if self.lengthened[branch] {
                self.grown[branch + self.froms.len()]
            } else {
                (*most).max(u64::from(growth.unwrap_or(0)))
            };
        }
        for branch in 1..most.len() {
            most[branch] += most[branch - 1];
        }
        for edge in 0..to_u32(self.edges.len()) {
            let Range { start, end } = self.span(edge);
            let slack = u64::try_from(self.edges[edge as usize].slack());
            // What was overlong from the start has been lengthened, or cannot be.
            let Ok(slack) = slack else { continue };
            let waits = !self.lengthened[self.branch_of[edge as usize] as usize];
            if waits && self.growth[edge as usize].is_some() && most[end] - most[start] > slack {
                self.look(edge)?;
            }
        }
        Ok(())
    }

    /// The branches that an edge spans, without its own.
    fn span(&self, edge: u32) -> Range<usize> {
        let Edge { to, .. } = self.edges[edge as usize];
        let own = self.branch_of[edge as usize] as usize;
        let at = self.froms.partition_point(|&from| from < to);
        if at > own { own + 1..at } else { at..own }
    }

    fn grow(&mut self, branch: u32, by: u32) -> Result<(), Refused> {
        if by == 0 {
            return Ok(());
        }
        let leaf = branch as usize + self.froms.len();
        let up = || core::iter::successors(Some(leaf), |node| Some(node / 2).filter(|&node| node > 0));
        for node in up() {
            self.grown[node] += u64::from(by);
        }
        for node in up() {
            while let Some((_, edge, nth)) = self.watches.take_due(node, self.grown[node]) {
                if nth == self.registered[edge as usize] {
                    self.look(edge)?;
                }
            }
        }
        Ok(())
    }

    /// Queues an edge that has become overlong, or watches what it spans until it may have.
    fn look(&mut self, edge: u32) -> Result<(), Refused> {
        let nodes = nodes(self.span(edge), self.froms.len());
        let grown: u64 = nodes.clone().map(|node| self.grown[node]).sum();
        let slack = u64::try_from(self.edges[edge as usize].slack()).unwrap_or(0);
        self.registered[edge as usize] += 1;
        let Some(left) = slack.checked_sub(grown) else {
            return push(&mut self.queue, edge);
        };
        let share = left / nodes.clone().count().max(1) as u64 + 1;
        for node in nodes {
            let nth = self.registered[edge as usize];
            self.watches.insert(node, (self.grown[node] + share, edge, nth))?;
        }
        Ok(())
    }
}

/// The nodes of a segment tree with so many leaves that make up a range of leaves.
fn nodes(range: Range<usize>, leaves: usize) -> impl Iterator<Item = usize> + Clone {
    let (mut low, mut high) = (range.start + leaves, range.end + leaves);
    core::iter::from_fn(move || {
        if low >= high {
            return None;
        }
        let left = (low % 2 == 1).then_some(low);
        let right = (high % 2 == 1).then(|| high - 1);
        (low, high) = (low.div_ceil(2), high / 2);
        Some(left.into_iter().chain(right))
    })
    .flatten()
}

#[cfg(test)]
mod tests;
