//! [`List`]: a program under edit, as a struct of arrays.
//!
//! # Invariants
//!
//! A *handle index* names a unit: below `n` of the original program, `n` for its end, from `base`
//! (the next multiple of 64) up of the inserted column.
//!
//! 1. The columns of `words` are over handle indexes. `inner` is set for the units of an instruction
//!    but its first, `branch` for first units with a displacement field.
//! 2. `dead` covers whole instructions. The end, and the labels that patches ask for, are dead from
//!    birth: a branch to them lands on what follows. `live` counts the units that are laid out.
//! 3. A run is a range of inserted units, made of whole instructions. Runs follow one another in the
//!    inserted column without gaps. A word of inserted units names the run of its first unit, and counts the
//!    branches before it. A run is touched if any of its units was edited or deleted.
//! 4. `edited` is set where a slot says what stands around an instruction: a lone run, or a site with up
//!    to three chains of runs. It comes in this order: `fall` runs, `pre` runs, the instruction or the body
//!    that replaced it, `post` runs. The slots of a word are in a block, or, without one, its edited units
//!    have the runs from `first_run` on, one each, in their order; `bodies` are those replaced by untouched ones.
//! 5. A chain is a ring that its site names by the last run. Each run hangs in one chain of one anchor.
//! 6. A run of kind [`Chain::Body`] hangs among the `post` runs, and its first instruction is the
//!    replacement of the anchor, if the site says so. Its units are no handle: the anchor is its name.
//! 7. The units of `window` are live instructions of one unit that were not edited. If the word has no block,
//!    they are above all edited ones, and the next run may be that of any of them.
//! 8. `targets` has [`Isa::MAX_FIELDS`] entries for each inserted branch, in the order of their units.

use bumpalo::collections::{CollectionAllocErr, Vec};

use super::arena::Usage;
use super::facts::Facts;
use super::handle::to_u32;
use super::site::{Block, Chain, Run, RunId, Site, Slot};
use super::words::{WORD, Word, Words, below, ones};
use super::{Arena, Error, Handle, Isa};

/// An edit may make this many runs: its patch, and a label before it.
pub(super) const RUNS_OF_EDIT: usize = 2;

/// An edit may need this many units beside those of its patch, for labels.
pub(super) const MAX_LABELS: usize = 2;

/// The word that edits are made in, and its units that are open to a short edit.
#[derive(Clone, Copy)]
pub(super) struct Window {
    /// The index of the word.
    pub(super) word: usize,
    pub(super) units: u64,
    /// Its block.
    pub(super) block: u32,
}

impl Window {
    /// Of no word.
    pub(super) const CLOSED: Self = Self { word: usize::MAX, units: 0, block: 0 };
}

/// A program under edit.
///
/// The list borrows the original program and keeps what edits insert in its [`Arena`]. `A` is the
/// type of a fact (aux datum) that each instruction carries; `()` costs nothing.
///
/// | operation | time |
/// | --- | --- |
/// | [`new`](List::new) | O(units) |
/// | an edit | O(units of the patch), amortized |
/// | [`next`](List::next), a cursor's step | O(1), amortized over a walk |
/// | [`linearize`](List::linearize) | O(units + inserted units), whatever the number of edits |
pub struct List<'a, I: Isa, A = ()> {
    pub(super) arena: &'a Arena,
    pub(super) original: &'a [I::Unit],
    pub(super) base: u32,
    /// Live units.
    pub(super) live: u32,
    pub(super) inserted: Vec<'a, I::Unit>,
    /// How many inserted units all the columns have room for.
    pub(super) room: usize,
    pub(super) aux: Facts<'a, A>,
    pub(super) words: Words<'a>,
    pub(super) blocks: Vec<'a, Block>,
    pub(super) sites: Vec<'a, Site>,
    pub(super) runs: Vec<'a, Run>,
    pub(super) targets: Vec<'a, Option<Handle>>,
    pub(super) window: Window,
    /// Edits since a debug build checked the invariants.
    pub(super) unchecked: usize,
}

impl<'a, I: Isa> List<'a, I> {
    /// A list over `program`, without facts.
    ///
    /// O(units).
    ///
    /// # Errors
    ///
    /// [`Error::TooLong`], [`Error::OutOfMemory`], or [`Error::BadInsn`] where the program does not
    /// divide into instructions.
    pub fn new(arena: &'a Arena, program: &'a [I::Unit]) -> Result<Self, Error> {
        List::with_aux(arena, program, &[])
    }
}

impl<'a, I: Isa, A: Copy + Default> List<'a, I, A> {
    /// A list over `program`, with a fact for each of its units; missing ones are the default. That
    /// of an instruction is at its first unit, the others do not count.
    ///
    /// O(units).
    ///
    /// # Errors
    ///
    /// As [`new`](List::new).
    pub fn with_aux(arena: &'a Arena, program: &'a [I::Unit], aux: &[A]) -> Result<Self, Error> {
        let units = program.len();
        let base = units + 1;
        let base = u32::try_from(base.next_multiple_of(WORD))
            .ok()
            .filter(|&base| base <= Handle::MAX && units <= arena.limits().units as usize)
            .ok_or(Error::TooLong { units })?;
        let bump = arena.bump();
        let mut list = Self {
            arena,
            original: program,
            base,
            live: to_u32(units),
            inserted: Vec::new_in(bump),
            room: 0,
            aux: Facts::new_in(bump),
            words: Words::new_in(bump),
            blocks: Vec::new_in(bump),
            sites: Vec::new_in(bump),
            runs: Vec::new_in(bump),
            targets: Vec::new_in(bump),
            window: Window::CLOSED,
            unchecked: 0,
        };
        let expected = arena.expected();
        list.grow(expected.inserted.min(list.most_inserted()))?;
        list.blocks.try_reserve_exact(expected.blocks)?;
        list.sites.try_reserve_exact(expected.sites)?;
        list.runs.try_reserve_exact(expected.runs.min(arena.limits().edits as usize))?;
        list.targets.try_reserve_exact(expected.targets)?;
        list.scan()?;
        list.aux.resize(base as usize);
        if let Some(facts) = list.aux.sized_mut() {
            let given = aux.len().min(units);
            facts[..given].copy_from_slice(&aux[..given]);
            for (index, word) in list.words.iter().enumerate() {
                for inner in ones(word.inner, index * WORD) {
                    facts[inner] = A::default();
                }
            }
        }
        Ok(list)
    }

    /// Finds the instructions and branches of the original program.
    fn scan(&mut self) -> Result<(), Error> {
        let units = self.original.len();
        let mut over = 0;
        for at in (0..units).step_by(WORD) {
            let marks = I::scan(&self.original[at..], over)
                .map_err(|unit| Error::BadInsn { at: to_u32(at + unit) })?;
            over = marks.over;
            self.words.push(Word { inner: marks.inner, branch: marks.branch, ..Word::default() });
        }
        if units.is_multiple_of(WORD) {
            self.words.push(Word::default());
        }
        self.words[units / WORD].dead = !below(units % WORD);
        Ok(())
    }

    /// How many units may be inserted.
    pub(super) fn most_inserted(&self) -> usize {
        (self.arena.limits().units - to_u32(self.original.len())).min(Handle::MAX - self.base) as usize
    }

    /// Gives the columns room for `inserted` units. That of the units comes last: a short edit asks it alone.
    pub(super) fn grow(&mut self, inserted: usize) -> Result<(), CollectionAllocErr> {
        let len = self.base as usize + inserted;
        self.aux.try_reserve(len)?;
        self.words.try_reserve(len)?;
        self.inserted.try_reserve_exact(inserted - self.inserted.len())?;
        self.room = inserted;
        Ok(())
    }
}

impl<I: Isa, A> List<'_, I, A> {
    /// How many units the original program has.
    ///
    /// O(1).
    #[must_use]
    pub fn original_len(&self) -> u32 {
        to_u32(self.original.len())
    }

    /// How many live units there are: as many as linearization lays out.
    ///
    /// O(1).
    #[must_use]
    pub fn live_len(&self) -> u32 {
        self.live
    }

    /// The handle that stands for one past the end of the original program.
    ///
    /// O(1). It can be prepended to, which adds code at the end.
    #[must_use]
    pub fn end(&self) -> Handle {
        Handle::new(self.original_len())
    }

    /// The units of an instruction as they stand now, or `None` if it was deleted or is not one.
    ///
    /// O(units of it). The displacements of branches are those that were given: they are
    /// recomputed at linearization, see [`target`](List::target).
    #[inline]
    #[must_use]
    pub fn insn(&self, handle: Handle) -> Option<&[I::Unit]> {
        self.is_live(handle).then(|| self.units(self.body(handle)))
    }

    /// Whether the handle names an instruction that has not been deleted.
    ///
    /// O(1).
    #[inline]
    #[must_use]
    pub fn is_live(&self, handle: Handle) -> bool {
        self.is_insn(handle) && !self.words.is_dead(handle.at())
    }

    /// The fact of an instruction.
    ///
    /// O(1).
    #[must_use]
    pub fn aux(&self, handle: Handle) -> Option<&A> {
        self.is_live(handle).then(|| &self.aux[handle.at()])
    }

    /// The fact of an instruction, to change.
    ///
    /// O(1).
    #[must_use]
    pub fn aux_mut(&mut self, handle: Handle) -> Option<&mut A> {
        self.is_live(handle).then(|| &mut self.aux[handle.at()])
    }

    /// Where displacement field `field` of a live instruction leads.
    ///
    /// O(1). `None` if the instruction has no such field, or leads out of the program.
    #[must_use]
    pub fn target(&self, handle: Handle, field: u32) -> Option<Handle> {
        let insn = self.insn(handle)?;
        if field as usize >= I::fields(insn) {
            return None;
        }
        self.target_of(self.body(handle), insn, field as usize).ok()
    }

    /// The target of field `field` of the branch whose first unit is at `at`, or the position out of
    /// the program that it leads to.
    pub(super) fn target_of(&self, at: Handle, insn: &[I::Unit], field: usize) -> Result<Handle, i64> {
        if at.index() >= self.base {
            return self.target_by_rank(self.words.branches_before(at.at()), field);
        }
        let target = i64::from(at.index()) + I::base(insn, field) + I::read(insn, field);
        match usize::try_from(target) {
            Ok(index) if index < self.original.len() => Ok(Handle::new(to_u32(index))),
            _ => Err(target),
        }
    }

    /// The target of field `field` of the inserted branch with `rank` others before it.
    #[inline]
    pub(super) fn target_by_rank(&self, rank: u32, field: usize) -> Result<Handle, i64> {
        self.targets[rank as usize * I::MAX_FIELDS + field].ok_or(-1)
    }

    /// Whether the handle names an instruction, live or deleted, or one past the end.
    #[inline]
    pub(super) fn is_insn(&self, handle: Handle) -> bool {
        let index = handle.index();
        if self.words.is_inner(handle.at()) {
            return false;
        }
        match index.checked_sub(self.base) {
            None => index <= self.original_len(),
            Some(at) => (at as usize) < self.inserted.len() && self.body_run(handle).is_none(),
        }
    }

    /// The run that an inserted unit begins as the body of a replacement.
    pub(super) fn body_run(&self, at: Handle) -> Option<&Run> {
        let run = self.run(self.run_of(at));
        (run.start == at && run.chain() == Chain::Body).then_some(run)
    }

    /// Where the units of an instruction stand: at its own index, or where its replacement does.
    #[inline]
    pub(super) fn body(&self, handle: Handle) -> Handle {
        self.site(handle).and_then(|site| site.body).unwrap_or(handle)
    }

    /// The units of the instruction whose first unit is at `at`.
    #[inline]
    pub(super) fn units(&self, at: Handle) -> &[I::Unit] {
        let len = self.len_at(at);
        if at.index() >= self.base {
            &self.inserted[(at.index() - self.base) as usize..][..len]
        } else {
            &self.original[at.at()..][..len]
        }
    }

    /// How many units the instruction whose first unit is at `at` has; the end has one.
    #[inline]
    pub(super) fn len_at(&self, at: Handle) -> usize {
        self.words.len_at(at.at())
    }

    /// What stands around an instruction, if anything does.
    #[inline]
    pub(super) fn site(&self, handle: Handle) -> Option<Site> {
        self.words.is_edited(handle.at()).then(|| match self.slot(handle) {
            Slot::Lone(id) => Site::lone(id, self.run(id)),
            Slot::Site(site) => self.sites[site as usize],
        })
    }

    /// The slot of an edited instruction.
    #[inline]
    pub(super) fn slot(&self, handle: Handle) -> Slot {
        self.slot_in(&self.words[handle.at() / WORD], handle.at() % WORD)
    }

    /// The slot of the edited instruction at `bit` of a word.
    #[inline]
    pub(super) fn slot_in(&self, word: &Word, bit: usize) -> Slot {
        match word.block.checked_sub(1) {
            None => Slot::Lone(RunId::new(word.run_in_order(bit))),
            Some(block) => self.blocks[block as usize][bit].unpack(),
        }
    }

    #[inline]
    pub(super) fn run(&self, id: RunId) -> &Run {
        &self.runs[id.0.at()]
    }

    /// The first instruction of a run that is laid out among the runs of its chain.
    #[inline]
    pub(super) fn run_start(&self, run: &Run) -> Handle {
        match run.chain() {
            Chain::Body => Handle::new(run.start.index() + to_u32(self.len_at(run.start))),
            _ => run.start,
        }
    }

    /// The run that the inserted unit at `at` belongs to.
    ///
    /// O(1): it is looked for from where it is if the runs of a word have one length, or from the end of the last word.
    #[inline(never)]
    pub(super) fn run_of(&self, at: Handle) -> RunId {
        let (index, bit) = (at.at() / WORD, at.at() % WORD);
        let (first, last) = (self.words[index].run as usize, self.runs.len() - 1);
        let mut id = match self.words.get(index + 1) {
            Some(next) => last.min(first + (next.run as usize + 1).saturating_sub(first) * bit / WORD),
            None => last,
        };
        while id > 0 && self.runs[id].start > at {
            id -= 1;
        }
        while id < last && self.runs[id].end <= at.index() {
            id += 1;
        }
        RunId::new(to_u32(id))
    }

    /// The index that the next inserted unit will have.
    #[inline]
    pub(super) fn fresh(&self) -> u32 {
        self.base + to_u32(self.inserted.len())
    }

    /// One past the last unit of the piece of code that `handle` is in: the original program, or a run.
    #[inline]
    pub(super) fn piece_end(&self, handle: Handle) -> usize {
        if handle.index() < self.base {
            self.original.len()
        } else {
            self.run(self.run_of(handle)).end as usize
        }
    }
}

impl<I: Isa, A> Drop for List<'_, I, A> {
    fn drop(&mut self) {
        // With the room that the last edit asked for, which it may not have used.
        let usage = Usage {
            inserted: self.inserted.len() + MAX_LABELS,
            sites: self.sites.len() + 1,
            runs: self.runs.len() + RUNS_OF_EDIT,
            targets: self.targets.len() + I::MAX_FIELDS,
            blocks: self.blocks.len() + 1,
        };
        let base = self.base as usize;
        self.arena.note(usage, |usage| bytes::<I, A>(base, usage));
    }
}

/// The bytes of all the columns of a list, about.
fn bytes<I: Isa, A>(base: usize, usage: &Usage) -> usize {
    let len = base + usage.inserted;
    let columns = [
        usage.inserted * size_of::<I::Unit>(),
        len * size_of::<A>(),
        len.div_ceil(WORD) * size_of::<Word>(),
        usage.blocks * size_of::<Block>(),
        usage.sites * size_of::<Site>(),
        usage.runs * size_of::<Run>(),
        usage.targets * size_of::<Option<Handle>>(),
    ];
    // Each may be padded to its alignment.
    columns.iter().map(|bytes| bytes + size_of::<Word>()).sum()
}

impl From<CollectionAllocErr> for Error {
    fn from(error: CollectionAllocErr) -> Self {
        match error {
            CollectionAllocErr::CapacityOverflow => Self::TooLong { units: usize::MAX },
            CollectionAllocErr::AllocErr => Self::OutOfMemory,
        }
    }
}

#[cfg(all(test, feature = "fuzzing"))]
mod tests;
