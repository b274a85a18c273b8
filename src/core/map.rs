//! [`Map`]: where everything went, both ways.

use alloc::vec::Vec;

use super::linearize::resize;
use super::words::{WORD, Word};
use super::{Error, Handle};

/// What a unit of the output is. Positions are of the original program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The original unit at this position, or the first unit of what replaced the instruction there.
    Original(u32),
    /// Part of what was inserted for the instruction at this position, the rest of a replacement included.
    InsertedFor(u32),
}

impl Origin {
    /// The old position, either way.
    #[must_use]
    pub const fn position(self) -> u32 {
        match self {
            Self::Original(old) | Self::InsertedFor(old) => old,
        }
    }
}

/// Where everything went: from old positions to new ones, and back. Positions are units.
#[derive(Clone, Debug, Default)]
pub struct Map {
    /// Where a branch to each handle index lands, or `NOWHERE`: the old positions, one past their end, what
    /// was inserted.
    pub(super) labels: Vec<u32>,
    /// Live old positions that have code prepended, ascending, with their own new position.
    pub(super) own: Vec<(u32, u32)>,
    /// Handle indexes with code before their label, ascending, with where that code begins.
    pub(super) starts: Vec<(u32, u32)>,
    /// One bit an old position: it was deleted.
    pub(super) dead: Vec<u64>,
    /// One bit an old position: it is not the first unit of its instruction.
    pub(super) inner: Vec<u64>,
    pub(super) old_len: u32,
    pub(super) new_len: u32,
}

/// The label of what is no place for a branch to land on.
pub(super) const NOWHERE: u32 = u32::MAX;

impl Map {
    /// Length of the original program.
    #[must_use]
    pub fn old_len(&self) -> u32 {
        self.old_len
    }

    /// Length of the output.
    #[must_use]
    pub fn new_len(&self) -> u32 {
        self.new_len
    }

    /// Where a branch to the old position `old` lands now: on the first of what was prepended to
    /// the instruction or replaced it; if it was deleted, on the next live one. One past the end maps
    /// to where code that was added at the end begins, or to one past the new end.
    ///
    /// The second and later units of an instruction map to their own new place, or to what follows if
    /// it was replaced or deleted. O(1).
    ///
    /// # Panics
    ///
    /// If `old` is above [`old_len`](Map::old_len).
    #[inline]
    #[must_use]
    pub fn new_of(&self, old: u32) -> u32 {
        assert!(old <= self.old_len, "old position {old} of {}", self.old_len);
        self.labels[old as usize]
    }

    /// Where all that stands at the old position `old` begins: as [`new_of`](Map::new_of), or before that
    /// with the code that only control from above runs, and branches that [enter](super::Isa::enters).
    ///
    /// O(1), or O(log such code) if there is any.
    ///
    /// # Panics
    ///
    /// If `old` is above [`old_len`](Map::old_len).
    #[must_use]
    pub fn start_of(&self, old: u32) -> u32 {
        exception(&self.starts, old).unwrap_or(self.new_of(old))
    }

    /// The new position of the instruction at `old` itself, behind what was prepended to it, or of the
    /// first of what replaced it. `None` if it was deleted.
    ///
    /// O(1), or O(log prepends) if anything was prepended.
    #[must_use]
    pub fn position_of(&self, old: u32) -> Option<u32> {
        if old >= self.old_len() || self.is_deleted(old) {
            return None;
        }
        Some(exception(&self.own, old).unwrap_or(self.new_of(old)))
    }

    /// Whether the unit at the old position `old` was deleted. A replaced instruction was not, but for
    /// its second and later units.
    ///
    /// O(1). One past the end and everything above count as deleted.
    #[inline]
    #[must_use]
    pub fn is_deleted(&self, old: u32) -> bool {
        old >= self.old_len() || bit(&self.dead, old)
    }

    /// Where a branch to `handle` lands now, or `None` if no unit of the list has that index. What it gives for a unit
    /// that has no handle, as it is not the first of its instruction, means nothing.
    ///
    /// O(1).
    #[must_use]
    pub fn new_of_handle(&self, handle: Handle) -> Option<u32> {
        self.labels.get(handle.at()).copied().filter(|&new| new != NOWHERE)
    }

    /// The new position of the instruction at `handle` itself; `None` if it was deleted.
    #[must_use]
    pub fn position_of_handle(&self, handle: Handle) -> Option<u32> {
        if handle.index() < self.old_len {
            self.position_of(handle.index())
        } else {
            self.new_of_handle(handle)
        }
    }

    /// Where all that stands at `handle` begins.
    #[cold]
    pub(crate) fn start_of_handle(&self, handle: Handle) -> Option<u32> {
        exception(&self.starts, handle.index()).or(self.new_of_handle(handle))
    }

    /// What stands at the new position `new`.
    ///
    /// O(log units).
    ///
    /// # Panics
    ///
    /// If `new` is not below [`new_len`](Map::new_len).
    #[must_use]
    pub fn origin(&self, new: u32) -> Origin {
        assert!(new < self.new_len, "position {new} of {}", self.new_len);
        let labels = &self.labels[..=self.old_len as usize];
        let after = super::handle::to_u32(labels.partition_point(|&label| label <= new));
        let old = match exception(&self.starts, after) {
            Some(start) if start <= new => after,
            _ => self.insn_before(after, new),
        };
        if self.position_of(old) == Some(new) { Origin::Original(old) } else { Origin::InsertedFor(old) }
    }

    /// The old position below `after` to which the unit at `new` belongs: the last one, or the
    /// instruction that it is a part of.
    fn insn_before(&self, after: u32, new: u32) -> u32 {
        let mut old = after - 1;
        if self.labels[old as usize] != new {
            while bit(&self.inner, old) {
                old -= 1;
            }
        }
        old
    }

    /// Makes room for the labels of a list of `old_len` original units and `inserted` ones from `base` on.
    pub(super) fn prepare(
        &mut self,
        old_len: u32,
        new_len: u32,
        len: usize,
        words: &[Word],
    ) -> Result<(), Error> {
        self.own.clear();
        self.starts.clear();
        (self.old_len, self.new_len) = (old_len, new_len);
        resize(&mut self.labels, len, NOWHERE)?;
        resize(&mut self.dead, words.len(), 0)?;
        resize(&mut self.inner, words.len(), 0)?;
        for ((dead, inner), word) in self.dead.iter_mut().zip(&mut self.inner).zip(words) {
            (*dead, *inner) = (word.dead, word.inner);
        }
        Ok(())
    }

    pub(super) fn clear(&mut self) {
        let Self { labels, own, starts, dead, inner, old_len, new_len } = self;
        labels.clear();
        own.clear();
        starts.clear();
        dead.clear();
        inner.clear();
        (*old_len, *new_len) = (0, 0);
    }
}

/// What a list of exceptions, ascending, says of `old`.
fn exception(exceptions: &[(u32, u32)], old: u32) -> Option<u32> {
    let at = exceptions.binary_search_by_key(&old, |&(old, _)| old).ok()?;
    Some(exceptions[at].1)
}

fn bit(words: &[u64], at: u32) -> bool {
    words[at as usize / WORD] >> (at as usize % WORD) & 1 != 0
}
