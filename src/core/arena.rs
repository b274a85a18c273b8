//! [`Arena`]: the memory that lists live in, reused from program to program.

use core::cell::Cell;

use bumpalo::Bump;

/// The memory of a list: one bump allocator, reused from program to program.
///
/// After the first program, [`reset`](Arena::reset) leaves one block of memory large enough for
/// another program of that size with as many edits, which then allocates nothing.
#[derive(Debug, Default)]
pub struct Arena {
    bump: Bump,
    inserted: Cell<usize>,
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

    /// The most units that a list of this arena had inserted when it was dropped.
    pub(super) fn expected_inserted(&self) -> usize {
        self.inserted.get()
    }

    pub(super) fn note_inserted(&self, units: usize) {
        self.inserted.set(self.inserted.get().max(units));
    }
}
