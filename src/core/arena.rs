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
}

impl Arena {
    /// An empty arena; it allocates when the first list is made.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes all the memory free for the next list.
    ///
    /// What the lists since the last reset used is joined into one block, if it was several.
    pub fn reset(&mut self) {
        let used = self.bump.allocated_bytes();
        self.bump.reset();
        if self.bump.allocated_bytes() < used {
            self.bump = Bump::new();
            self.bump = Bump::with_capacity(used);
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

    pub(super) fn note(&self, usage: Usage) {
        let before = self.expected.get();
        self.expected.set(Usage {
            inserted: before.inserted.max(usage.inserted),
            sites: before.sites.max(usage.sites),
            runs: before.runs.max(usage.runs),
            targets: before.targets.max(usage.targets),
            blocks: before.blocks.max(usage.blocks),
        });
    }
}
