//! [`Arena`] and [`Limits`]: the memory that lists live in, reused from program to program, and how much of it.

use core::cell::Cell;

use bumpalo::Bump;

use super::Handle;
use super::columns::MAX_RECORDS;

/// The most that the lists of an [`Arena`] take; beyond that an edit is refused. The default is all that they can
/// tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Units of one list, its original ones and all that were ever inserted. An edit needs room for two more than
    /// it inserts, which branches may need as labels. Beyond: [`Error::TooLong`](super::Error::TooLong).
    pub units: u32,
    /// Edits of one list that insert. One may count twice, if it replaces an instruction, and a branch leads to its
    /// start; there has to be room for that. Beyond: [`Error::TooManyEdits`](super::Error::TooManyEdits).
    pub edits: u32,
    /// Bytes of the arena, if there is a limit. Beyond: [`Error::OutOfMemory`](super::Error::OutOfMemory). Outputs are
    /// not in the arena: they take the memory that [`Linear`](super::Linear) says for the units there may be.
    pub bytes: Option<usize>,
}

impl Limits {
    /// The same limits, with another one on units.
    #[must_use]
    pub const fn units(self, units: u32) -> Self {
        Self { units, ..self }
    }

    /// The same limits, with another one on edits.
    #[must_use]
    pub const fn edits(self, edits: u32) -> Self {
        Self { edits, ..self }
    }

    /// The same limits, with one on the bytes of the arena.
    #[must_use]
    pub const fn bytes(self, bytes: usize) -> Self {
        Self { bytes: Some(bytes), ..self }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { units: Handle::MAX, edits: super::handle::to_u32(MAX_RECORDS), bytes: None }
    }
}

/// How much a list used of what grows with edits.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Usage {
    pub(super) inserted: usize,
    pub(super) sites: usize,
    pub(super) records: usize,
    pub(super) targets: usize,
    pub(super) blocks: usize,
}

/// The memory of a list: one bump allocator, reused from program to program.
///
/// A list begins with room for as many edits as lists of this arena had before. After the first
/// program, [`reset`](Arena::reset) leaves one block of memory large enough for another one of that
/// size with as many edits, which then allocates nothing.
#[derive(Debug, Default)]
pub struct Arena {
    bump: Bump,
    expected: Cell<Usage>,
    /// Bytes that lists like those since the last reset need, if they begin with room for all edits.
    needed: Cell<usize>,
    limits: Limits,
}

impl Arena {
    /// An empty arena; it allocates when the first list is made.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty arena whose lists take no more than this.
    #[must_use]
    pub fn with_limits(limits: Limits) -> Self {
        let arena = Self { limits, ..Self::default() };
        arena.bump.set_allocation_limit(limits.bytes);
        arena
    }

    /// Makes all the memory free for the next list.
    ///
    /// If it was several blocks, they are replaced by one that takes lists like those since the last reset, or by
    /// none if there is no memory for it.
    pub fn reset(&mut self) {
        let (used, needed) = (self.bump.allocated_bytes(), self.needed.take());
        self.bump.reset();
        let kept = self.bump.allocated_bytes();
        if kept < used || kept < needed {
            self.bump = Bump::new();
            if self.limits.bytes.is_none_or(|limit| needed <= limit) {
                self.bump = Bump::try_with_capacity(needed).unwrap_or_default();
            }
            self.bump.set_allocation_limit(self.limits.bytes);
        }
    }

    /// How many bytes the arena holds.
    #[must_use]
    pub fn allocated_bytes(&self) -> usize {
        self.bump.allocated_bytes()
    }

    pub(super) fn bump(&self) -> &Bump {
        &self.bump
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    /// The most that a list of this arena used.
    pub(super) fn expected(&self) -> Usage {
        self.expected.get()
    }

    /// Takes note of what a list used, and what the next one like it will need.
    pub(super) fn note(&self, usage: Usage, bytes: impl FnOnce(&Usage) -> usize) {
        let before = self.expected.get();
        let expected = Usage {
            inserted: before.inserted.max(usage.inserted),
            sites: before.sites.max(usage.sites),
            records: before.records.max(usage.records),
            targets: before.targets.max(usage.targets),
            blocks: before.blocks.max(usage.blocks),
        };
        self.needed.set(self.needed.get() + bytes(&expected));
        self.expected.set(expected);
    }
}

#[cfg(all(test, feature = "bpf"))]
mod tests;
