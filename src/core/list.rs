//! [`List`]: a program under edit, as a struct of arrays.
//!
//! # Invariants
//!
//! A *handle index* names a unit: below `n` of the original program, `n` for its end, from `base`
//! (the next multiple of 64) up of the inserted column.
//!
//! 1. `inner`, `branch`, `dead` and `edited` have a bit for every handle index. `inner` is set for the
//!    units of an instruction but its first, `branch` for first units with a displacement field.
//! 2. `dead` covers whole instructions. The end, and the labels that patches ask for, are dead from
//!    birth: a branch to them lands on what follows.
//! 3. `edited` is set exactly where `slots` names a site: what stands around the instruction, in this
//!    order: `fall` runs, `pre` runs, the instruction or the `body` that replaced it, `post` runs.
//! 4. A run is a range of inserted units, made of whole instructions. Runs are in ascending order of
//!    their units and do not meet; each one hangs in exactly one chain of one site.
//! 5. A chain is a ring that its site names by the last run.
//! 6. A `body` is the first instruction of a replacement. Its units are no handles of their own
//!    (they are `dead`): the replaced handle is its name.
//! 7. `targets` has [`Isa::MAX_FIELDS`] entries for each inserted branch, in the order of their units.

use bumpalo::collections::{CollectionAllocErr, Vec};

use super::bits::{Bits, Ranked, WORD};
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
}

/// The index of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct RunId(pub(super) Handle);

/// A contiguous piece of inserted code.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) start: Handle,
    /// One past its last unit.
    pub(super) end: u32,
    /// The next in the ring of its chain.
    pub(super) next: RunId,
    pub(super) anchor: Handle,
    pub(super) chain: Chain,
}

/// What stands around one edited instruction.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Site {
    pub(super) fall: Option<RunId>,
    pub(super) pre: Option<RunId>,
    pub(super) post: Option<RunId>,
    pub(super) body: Option<Handle>,
}

const _: () = assert!(size_of::<Run>() == 20 && size_of::<Site>() == 16);

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
    pub(super) inserted: Vec<'a, I::Unit>,
    pub(super) aux: Vec<'a, A>,
    pub(super) inner: Bits<'a>,
    pub(super) branch: Ranked<'a>,
    pub(super) dead: Bits<'a>,
    pub(super) edited: Bits<'a>,
    /// First units of runs.
    pub(super) heads: Ranked<'a>,
    pub(super) slots: Vec<'a, u32>,
    pub(super) sites: Vec<'a, Site>,
    pub(super) runs: Vec<'a, Run>,
    pub(super) targets: Vec<'a, Option<Handle>>,
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
    /// A list over `program`, with a fact for each of its units; missing ones are the default. Only the
    /// one at the first unit of an instruction counts.
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
            aux: Vec::new_in(bump),
            inner: Bits::new_in(bump),
            branch: Ranked::new_in(bump, base as usize),
            dead: Bits::new_in(bump),
            edited: Bits::new_in(bump),
            heads: Ranked::new_in(bump, base as usize),
            slots: Vec::new_in(bump),
            sites: Vec::new_in(bump),
            runs: Vec::new_in(bump),
            targets: Vec::new_in(bump),
        };
        list.try_reserve(base as usize + arena.expected_inserted())?;
        list.inserted.try_reserve(arena.expected_inserted())?;
        list.resize_columns(base as usize);
        list.slots.resize(base as usize, 0);
        let given = aux.len().min(units);
        list.aux[..given].copy_from_slice(&aux[..given]);
        list.scan()?;
        list.dead.fill(units..base as usize);
        Ok(list)
    }

    /// Finds the instructions and branches of the original program.
    fn scan(&mut self) -> Result<(), Error> {
        let mut at = 0;
        while at < self.original.len() {
            let rest = &self.original[at..];
            let len = I::len(rest).ok_or(Error::BadInsn { at: to_u32(at) })?;
            if I::fields(&rest[..len]) != 0 {
                self.branch.bits.set(at);
            }
            for unit in at + 1..at + len {
                self.inner.set(unit);
                self.aux[unit] = A::default();
            }
            at += len;
        }
        Ok(())
    }

    pub(super) fn try_reserve(&mut self, additional: usize) -> Result<(), CollectionAllocErr> {
        self.aux.try_reserve(additional)?;
        self.branch.try_reserve(additional)?;
        self.heads.try_reserve(additional)?;
        for bits in [&mut self.inner, &mut self.dead, &mut self.edited] {
            bits.try_reserve(additional)?;
        }
        Ok(())
    }

    pub(super) fn resize_columns(&mut self, len: usize) {
        self.aux.resize(len, A::default());
        for bits in
            [&mut self.inner, &mut self.dead, &mut self.edited, &mut self.branch.bits, &mut self.heads.bits]
        {
            bits.resize(len);
        }
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
        let at = handle.at();
        at < self.base as usize + self.inserted.len() && !self.inner.get(at) && !self.dead.get(at)
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
    pub(super) fn is_insn(&self, handle: Handle) -> bool {
        if self.inner.get(handle.at()) {
            return false;
        }
        if handle.index() < self.base {
            return handle.index() <= self.original_len();
        }
        // The first of a replacement is in no run: it goes by the name of what it replaced.
        self.run_of(handle).is_some_and(|run| handle.index() < self.run(run).end)
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

    #[inline]
    pub(super) fn site(&self, handle: Handle) -> Option<&Site> {
        self.edited.get(handle.at()).then(|| &self.sites[self.slots[handle.at()] as usize])
    }

    pub(super) fn run(&self, id: RunId) -> &Run {
        &self.runs[id.0.at()]
    }

    /// The last run that starts at or before `at`, above the original program: if any run holds the
    /// unit at `at`, this one does.
    pub(super) fn run_of(&self, at: Handle) -> Option<RunId> {
        let before = self.heads.rank(at.at());
        let own = usize::from(self.heads.bits.get(at.at()));
        Some(RunId(Handle::new(to_u32((before + own).checked_sub(1)?))))
    }
}

impl<I: Isa, A> Drop for List<'_, I, A> {
    fn drop(&mut self) {
        self.arena.note_inserted(self.inserted.len());
    }
}

/// An index that the limit on units keeps within 32 bits.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the limit on units is checked where units come in")]
pub(super) fn to_u32(index: usize) -> u32 {
    debug_assert!(u32::try_from(index).is_ok());
    index as u32
}

impl From<CollectionAllocErr> for Error {
    fn from(error: CollectionAllocErr) -> Self {
        match error {
            CollectionAllocErr::CapacityOverflow => Self::TooLong { units: usize::MAX },
            CollectionAllocErr::AllocErr => Self::OutOfMemory,
        }
    }
}
