//! [`List`]: a program under edit, as a struct of arrays.
//!
//! # Invariants
//!
//! A *handle index* names a unit: below `n` of the original program, `n` for its end, from `base`
//! (the next multiple of 64) up of the inserted column.
//!
//! 1. `inner`, `branch`, `dead` and `edited` are columns over handle indexes. `inner` is set for the
//!    units of an instruction but its first, `branch` for first units with a displacement field.
//! 2. `dead` covers whole instructions. The end, and the labels that patches ask for, are dead from
//!    birth: a branch to them lands on what follows.
//! 3. A run is a range of inserted units, made of whole instructions. Runs follow one another in the
//!    inserted column without gaps, and `heads` is set for the first unit of each.
//! 4. `edited` is set exactly where `slots` has a slot: a lone run, or a site with up to three chains
//!    of runs. What stands around an instruction comes in this order: `fall` runs, `pre` runs, the
//!    instruction or the body that replaced it, `post` runs.
//! 5. A chain is a ring that its site names by the last run. Each run hangs in one chain of one anchor.
//! 6. A run of kind [`Chain::Body`] hangs among the `post` runs, and its first instruction is the
//!    replacement of the anchor, if the site says so. Its units are no handle: the anchor is its name.
//! 7. `targets` has [`Isa::MAX_FIELDS`] entries for each inserted branch, in the order of their units.

use bumpalo::collections::{CollectionAllocErr, Vec};

use super::arena::Usage;
use super::bits::{Bits, Ranked, WORD, ones};
use super::handle::to_u32;
use super::slots::{Slot, Slots};
use super::{Arena, Error, Handle, Isa};

/// Where a run hangs in the site of its anchor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Chain {
    /// Before the label: reached only by falling in from above.
    Fall,
    /// Between the label and the instruction.
    Pre,
    /// After the instruction.
    Post,
    /// After the instruction, but for the first instruction of the run, which replaced it.
    Body,
}

/// The index of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct RunId(pub(super) Handle);

/// A contiguous piece of inserted code: one patch, or one label.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) start: Handle,
    /// One past its last unit.
    pub(super) end: u32,
    pub(super) anchor: Handle,
    link: u32,
}

impl Run {
    /// A run in a ring of its own.
    #[inline]
    pub(super) fn new(start: u32, end: u32, anchor: Handle, chain: Chain, id: RunId) -> Self {
        Self { start: Handle::new(start), end, anchor, link: id.0.index() << 2 | chain as u32 }
    }

    #[inline]
    pub(super) fn chain(&self) -> Chain {
        match self.link & 3 {
            0 => Chain::Fall,
            1 => Chain::Pre,
            2 => Chain::Post,
            _ => Chain::Body,
        }
    }

    /// The next in the ring of its chain.
    #[inline]
    pub(super) fn next(&self) -> RunId {
        RunId(Handle::new(self.link >> 2))
    }

    pub(super) fn set_next(&mut self, next: RunId) {
        self.link = next.0.index() << 2 | self.link & 3;
    }
}

/// A patch may ask for this many labels.
pub(super) const MAX_LABELS: usize = 2;

/// The most runs that a link can tell apart.
pub(super) const MAX_RUNS: usize = u32::MAX as usize >> 2;

const _: () = assert!(MAX_RUNS <= Slot::MAX as usize);

/// What stands around one edited instruction.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Site {
    pub(super) fall: Option<RunId>,
    pub(super) pre: Option<RunId>,
    pub(super) post: Option<RunId>,
    pub(super) body: Option<Handle>,
}

const _: () = assert!(size_of::<Run>() == 16 && size_of::<Site>() == 16);

impl Site {
    /// A site with one run.
    #[inline]
    pub(super) fn lone(id: RunId, run: &Run) -> Self {
        let mut site = Self::default();
        *site.chain_mut(run.chain()) = Some(id);
        if run.chain() == Chain::Body {
            site.body = Some(run.start);
        }
        site
    }

    #[inline]
    pub(super) fn chain(&self, chain: Chain) -> Option<RunId> {
        match chain {
            Chain::Fall => self.fall,
            Chain::Pre => self.pre,
            Chain::Post | Chain::Body => self.post,
        }
    }

    #[inline]
    pub(super) fn chain_mut(&mut self, chain: Chain) -> &mut Option<RunId> {
        match chain {
            Chain::Fall => &mut self.fall,
            Chain::Pre => &mut self.pre,
            Chain::Post | Chain::Body => &mut self.post,
        }
    }
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
    arena: &'a Arena,
    pub(super) original: &'a [I::Unit],
    pub(super) base: u32,
    pub(super) inserted: Vec<'a, I::Unit>,
    /// How many inserted units all the columns have room for.
    pub(super) room: usize,
    pub(super) aux: Vec<'a, A>,
    pub(super) inner: Bits<'a>,
    pub(super) branch: Ranked<'a>,
    pub(super) dead: Bits<'a>,
    pub(super) edited: Bits<'a>,
    pub(super) heads: Ranked<'a>,
    pub(super) slots: Slots<'a>,
    pub(super) sites: Vec<'a, Site>,
    pub(super) runs: Vec<'a, Run>,
    pub(super) targets: Vec<'a, Option<Handle>>,
    /// Whether inserted code was edited in its turn.
    pub(super) nested: bool,
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
            .filter(|&base| base <= Handle::MAX)
            .ok_or(Error::TooLong { units })?;
        let bump = arena.bump();
        let mut list = Self {
            arena,
            original: program,
            base,
            inserted: Vec::new_in(bump),
            room: 0,
            aux: Vec::new_in(bump),
            inner: Bits::new_in(bump),
            branch: Ranked::new_in(bump, base as usize),
            dead: Bits::new_in(bump),
            edited: Bits::new_in(bump),
            heads: Ranked::new_in(bump, base as usize),
            slots: Slots::new_in(bump),
            sites: Vec::new_in(bump),
            runs: Vec::new_in(bump),
            targets: Vec::new_in(bump),
            nested: false,
        };
        let expected = arena.expected();
        list.grow(expected.inserted)?;
        list.sites.try_reserve_exact(expected.sites)?;
        list.runs.try_reserve_exact(expected.runs)?;
        list.targets.try_reserve_exact(expected.targets)?;
        list.slots.try_reserve_exact(expected.blocks)?;
        list.aux.resize(base as usize, A::default());
        let given = aux.len().min(units);
        list.aux[..given].copy_from_slice(&aux[..given]);
        list.scan()?;
        if size_of::<A>() != 0 {
            for inner in ones(list.inner.words(), 0..units) {
                list.aux[inner] = A::default();
            }
        }
        list.dead.fill(units..base as usize, true);
        Ok(list)
    }

    /// Finds the instructions and branches of the original program.
    fn scan(&mut self) -> Result<(), Error> {
        let mut over = 0;
        for (word, at) in (0..self.original.len()).step_by(WORD).enumerate() {
            let marks = I::scan(&self.original[at..], over)
                .map_err(|unit| Error::BadInsn { at: to_u32(at + unit) })?;
            self.inner.words_mut()[word] = marks.inner;
            self.branch.bits.words_mut()[word] = marks.branch;
            over = marks.over;
        }
        Ok(())
    }

    /// Gives all columns room for `inserted` units.
    pub(super) fn grow(&mut self, inserted: usize) -> Result<(), CollectionAllocErr> {
        let len = self.base as usize + inserted;
        self.inserted.try_reserve_exact(inserted - self.inserted.len())?;
        self.aux.try_reserve_exact(len - self.aux.len())?;
        self.inner.try_grow(len)?;
        self.branch.try_grow(len)?;
        self.dead.try_grow(len)?;
        self.edited.try_grow(len)?;
        self.heads.try_grow(len)?;
        self.slots.try_grow(len)?;
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
    #[must_use]
    pub fn insn(&self, handle: Handle) -> Option<&[I::Unit]> {
        self.is_live(handle).then(|| self.units(self.body(handle)))
    }

    /// Whether the handle names an instruction that has not been deleted.
    ///
    /// O(1).
    #[must_use]
    pub fn is_live(&self, handle: Handle) -> bool {
        self.is_insn(handle) && !self.dead.get(handle.at())
    }

    /// The fact of an instruction.
    ///
    /// O(1).
    #[must_use]
    pub fn aux(&self, handle: Handle) -> Option<&A> {
        if self.is_live(handle) { self.aux.get(handle.at()) } else { None }
    }

    /// The fact of an instruction, to change.
    ///
    /// O(1).
    #[must_use]
    pub fn aux_mut(&mut self, handle: Handle) -> Option<&mut A> {
        if self.is_live(handle) { self.aux.get_mut(handle.at()) } else { None }
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
            let rank = self.branch.rank(at.at());
            return self.targets[rank * I::MAX_FIELDS + field].ok_or(-1);
        }
        let target = i64::from(at.index()) + I::base(insn, field) + I::read(insn, field);
        match usize::try_from(target) {
            Ok(index) if index < self.original.len() => Ok(Handle::new(to_u32(index))),
            _ => Err(target),
        }
    }

    /// Whether the handle names an instruction, live or deleted, or one past the end.
    #[inline]
    pub(super) fn is_insn(&self, handle: Handle) -> bool {
        let index = handle.index();
        if self.inner.get(handle.at()) {
            return false;
        }
        match index.checked_sub(self.base) {
            None => index <= self.original_len(),
            Some(at) => (at as usize) < self.inserted.len() && !self.is_body(handle),
        }
    }

    /// Whether the inserted unit begins the body of a replacement.
    fn is_body(&self, at: Handle) -> bool {
        self.heads.bits.get(at.at()) && self.run(self.run_of(at)).chain() == Chain::Body
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
        let mut len = 1;
        while self.inner.get(at.at() + len) {
            len += 1;
        }
        len
    }

    /// What stands around an instruction, if anything does.
    #[inline]
    pub(super) fn site(&self, handle: Handle) -> Option<Site> {
        self.edited.get(handle.at()).then(|| match self.slots.get(handle.at()) {
            Slot::Lone(id) => {
                let id = RunId(Handle::new(id));
                Site::lone(id, self.run(id))
            }
            Slot::Site(site) => self.sites[site as usize],
        })
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
    pub(super) fn run_of(&self, at: Handle) -> RunId {
        let own = usize::from(self.heads.bits.get(at.at()));
        RunId(Handle::new(to_u32(self.heads.rank(at.at()) + own - 1)))
    }
}

impl<I: Isa, A> Drop for List<'_, I, A> {
    fn drop(&mut self) {
        // With the room that the last edit asked for, which it may not have used.
        let usage = Usage {
            inserted: self.inserted.len() + MAX_LABELS,
            sites: self.sites.len() + 1,
            runs: self.runs.len() + 1 + MAX_LABELS,
            targets: self.targets.len() + I::MAX_FIELDS,
            blocks: self.slots.blocks() + 1,
        };
        let base = self.base as usize;
        self.arena.note(usage, |usage| bytes::<I, A>(base, usage));
    }
}

/// The bytes of all the columns of a list, about.
fn bytes<I: Isa, A>(base: usize, usage: &Usage) -> usize {
    let len = base + usage.inserted;
    let words = len.div_ceil(WORD);
    let columns = [
        usage.inserted * size_of::<I::Unit>(),
        len * size_of::<A>(),
        // Five columns of bits, two of them with counts.
        words * 5 * size_of::<u64>() + (words - base / WORD) * 2 * size_of::<u32>(),
        Slots::bytes(len, usage.blocks),
        usage.sites * size_of::<Site>(),
        usage.runs * size_of::<Run>(),
        usage.targets * size_of::<Option<Handle>>(),
    ];
    // Each of the 14 allocations may be padded to its alignment.
    columns.iter().sum::<usize>() + 14 * size_of::<u64>()
}

impl From<CollectionAllocErr> for Error {
    fn from(error: CollectionAllocErr) -> Self {
        match error {
            CollectionAllocErr::CapacityOverflow => Self::TooLong { units: usize::MAX },
            CollectionAllocErr::AllocErr => Self::OutOfMemory,
        }
    }
}
