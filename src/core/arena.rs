//! [`Arena`]: the memory that lists live in, reused from program to program.

use core::cell::Cell;

use bumpalo::Bump;

/// How much a list used of what grows with edits.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Usage {
    pub(super) inserted: usize,
    pub(super) sites: usize,
    pub(super) runs: usize,
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
}

impl Arena {
    /// An empty arena; it allocates when the first list is made.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes all the memory free for the next list.
    ///
    /// If it was several blocks, they are replaced by one that takes lists like those since the last reset.
    pub fn reset(&mut self) {
        let (used, needed) = (self.bump.allocated_bytes(), self.needed.take());
        self.bump.reset();
        let kept = self.bump.allocated_bytes();
        if kept < used || kept < needed {
            self.bump = Bump::new();
            self.bump = Bump::with_capacity(needed);
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
            runs: before.runs.max(usage.runs),
            targets: before.targets.max(usage.targets),
            blocks: before.blocks.max(usage.blocks),
        };
        self.needed.set(self.needed.get() + bytes(&expected));
        self.expected.set(expected);
    }
}
