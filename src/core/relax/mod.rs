//! [`Relax`] and [`List::linearize_relaxed`]: ways for branches that no longer reach.
//!
//! A branch that does not reach takes a *longer form*, if it has one ([`lengthen`]); if it has none, it goes
//! through *trampolines* ([`detour`]).
//!
//! # Why it ends
//!
//! Linearizing, and then either lengthening or detouring, is a round. Let a branch have up to `f` longer forms, one
//! after the other: a form is taken only if it reaches farther than what it replaces, so `f` is finite.
//!
//! 1. A round of lengthening goes on, without linearizing, until every branch that it leaves alone, and that has
//!    a longer form, reaches. So what can be lengthened after it is part of a form that it made, and no more than
//!    `f` times the most fields of a branch rounds of lengthening follow one another.
//! 2. A round of detours makes all branches reach that may detour, or refuses. It passes over the program once,
//!    leaves at most one island behind each instruction, in it at most two trampolines to each target, and refuses
//!    to make the program more than 16 times as long.
//! 3. So after a round of detours only branches that may not detour are out of reach. There is another
//!    round of detours only if one of these took a longer form: if there are `c` of them, there are at most
//!    `1 + c · f` rounds of detours.
//!
//! eBPF never needs more than one round of either kind: up to v3 there are no longer forms, and since v4 the longer
//! form reaches everything.

mod detour;
mod edges;
mod lengthen;
mod memory;
mod plan;
mod watches;

use alloc::vec::Vec;

use super::columns::Columns;
use super::linearize::branches::Overlong;
use super::{Error, Isa, Linear, List, Map};
use edges::Edges;

/// What an instruction set offers to branches that do not reach.
///
/// An implementation may offer longer forms, trampolines, or both: a branch that has a longer form takes it.
pub trait Relax<I: Isa> {
    /// Writes a longer form of `insn`, whose displacement field `field` does not reach its target, into
    /// `long`, which is empty and has room for [`LongForm::ROOM`] units. `false` if there is none.
    ///
    /// What goes to that target by the longer form must reach farther: a form that does not is not taken.
    fn relax(&self, insn: &[I::Unit], field: usize, long: &mut LongForm<I::Unit>) -> bool;

    /// A trampoline: one instruction that does nothing but go where its first displacement field says. `None` if
    /// there are to be none.
    fn trampoline(&self) -> Option<&[I::Unit]> {
        None
    }

    /// Whether field `field` of `insn` may lead to a trampoline that leads to its target. A call may not, if what
    /// it calls has to begin where it leads.
    fn may_detour(&self, _insn: &[I::Unit], _field: usize) -> bool {
        false
    }

    /// Whether control never goes on from `insn` to the next instruction, so that trampolines can stand between.
    fn ends_flow(&self, _insn: &[I::Unit]) -> bool {
        false
    }
}

/// The longer form of a branch.
#[derive(Clone, Debug)]
pub struct LongForm<U> {
    /// The instructions. Branches between them hold their displacement.
    pub units: Vec<U>,
    /// Which branches of them go where the branch went, ascending: unit, displacement field, and the
    /// displacement field of the original whose target it takes.
    pub branches: Vec<(u32, u32, u32)>,
}

impl<U> LongForm<U> {
    /// For how many units there is room, and for how many branches, when it is to be written: that many can be
    /// pushed even if memory runs out.
    pub const ROOM: usize = 16;

    /// An empty one, with room.
    fn with_room() -> Result<Self, Error> {
        let mut long = Self::default();
        memory::reserve(&mut long.units, Self::ROOM)?;
        memory::reserve(&mut long.branches, Self::ROOM)?;
        Ok(long)
    }

    /// Says that the next instruction to be pushed is a branch that goes, by its first field, where field
    /// `of` of the original went.
    ///
    /// # Panics
    ///
    /// If the form has 2^32 units.
    pub fn goto_target(&mut self, of: u32) {
        let unit = u32::try_from(self.units.len()).expect("a longer form is short");
        self.branches.push((unit, 0, of));
    }

    fn clear(&mut self) {
        self.units.clear();
        self.branches.clear();
    }
}

impl<U> Default for LongForm<U> {
    fn default() -> Self {
        Self { units: Vec::new(), branches: Vec::new() }
    }
}

/// What [`List::linearize_relaxed`] did to make all branches reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Relaxed {
    /// How many branches took a longer form. One that took two forms, one after the other, counts twice.
    pub lengthened: u32,
    /// How many branches were led to a trampoline.
    pub detoured: u32,
    /// How many trampolines were inserted.
    pub trampolines: u32,
    /// How many places for trampolines had to be made where control comes along, with a branch around them.
    pub islands: u32,
    /// How often branches were lengthened or detoured, and the program linearized again.
    pub rounds: u32,
}

impl<'a, I: Isa, A: Copy + Default> List<'a, I, A> {
    /// As [`linearize_into`](List::linearize_into), but branches that do not reach their targets take
    /// a longer form first, or go through trampolines, as `relax` allows.
    ///
    /// These are edits to the list. The handle of a branch that took a longer form names the first instruction
    /// of that form. A longer form, or a trampoline, may push other branches out of reach: they are
    /// relaxed too, and branches that reach are left as they are.
    ///
    /// A trampoline stands between its branch and the target: behind an instruction after which control does not
    /// go on; or, if none is near enough, on an island of trampolines that control goes around by one more branch.
    /// So it belongs to the part of the program that both of them belong to. Branches to the same target share
    /// their trampolines, and each trampoline is on the way of a branch.
    ///
    /// There is not always a way by trampolines: if more branches with targets of their own pass over one
    /// place than trampolines fit into their reach, nothing can help. There is one if they fill less than a quarter
    /// of it.
    ///
    /// O(units + inserted units + branches · log branches) a round. A round is a linearization; how many there
    /// are depends on the instruction set, not on the program, as long as each of its branches has a longer form
    /// that reaches everything, or may detour: then there are no more than forms, and two. With many far
    /// branches, there is one more pass over all that cross a place for each quarter of the reach.
    ///
    /// # Errors
    ///
    /// As [`linearize_into`](List::linearize_into); [`Error::OutOfRange`] for a branch that does not reach
    /// and has no longer form and no way by trampolines. The list is then as it was: before the first edit it is copied
    /// within its arena.
    pub fn linearize_relaxed(
        &mut self,
        relax: &impl Relax<I>,
        out: &mut Linear<I::Unit, A>,
    ) -> Result<Relaxed, Error> {
        let mut before = None;
        let relaxed = self.relax_rounds(relax, out, &mut before);
        if relaxed.is_err() {
            *out = Linear::default();
            if let Some(before) = before {
                self.columns = before;
            }
        }
        relaxed
    }

    /// Linearizes and relaxes in turn, until all branches reach. Keeps the state of the list from before the first edit.
    fn relax_rounds(
        &mut self,
        relax: &impl Relax<I>,
        out: &mut Linear<I::Unit, A>,
        before: &mut Option<Columns<'a, I::Unit, A>>,
    ) -> Result<Relaxed, Error> {
        let mut overlong = Vec::new();
        let mut done = Relaxed::default();
        loop {
            overlong.clear();
            self.linearize_reachable(out, &mut overlong).map_err(|(_, error)| error)?;
            if overlong.is_empty() {
                return Ok(done);
            }
            done.rounds += 1;
            if before.is_none() {
                *before = Some(self.columns.copy()?);
            }
            self.relax(relax, &out.map, &overlong, &mut done)?;
        }
    }

    /// A round: lengthens what can be, or else leads what does not reach through trampolines.
    fn relax(
        &mut self,
        relax: &impl Relax<I>,
        map: &Map,
        overlong: &[Overlong],
        done: &mut Relaxed,
    ) -> Result<(), Error> {
        let edges = Edges::new(self, relax, map, overlong)?;
        match self.lengthen(relax, &edges, done)? {
            0 => self.detour(relax, &edges, done),
            _ => Ok(()),
        }
    }
}
