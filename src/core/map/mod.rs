//! [`Map`]: where everything went, both ways.

mod origins;
mod tables;

use alloc::vec::Vec;

use super::columns::WORD;
use super::handle::to_u32;
use super::{Error, Handle};
pub use origins::{Origin, Origins};
pub use tables::{At, Deleted, TableError};

/// Where everything went: from old positions to new ones, and back. Positions are units.
///
/// It is a prefix sum: a new position for each 64 old ones, and for those of them between which something was edited an
/// offset for each (in 16 bits, where they fit). Where inserted code went follows from the edits, of which the map has an index.
///
/// | what | bytes |
/// | --- | --- |
/// | each 64 units of the program | 24 |
/// | of these, those with edits | 128 more |
/// | each edit | 8 |
/// | each unit of a patch that was edited itself | 4 |
#[derive(Clone, Debug, Default)]
pub struct Map {
    pub(super) words: Vec<MapWord>,
    /// Offsets of labels, a word after the other.
    pub(super) rows: Vec<u16>,
    /// Those that do not fit.
    pub(super) wide: Vec<u32>,
    /// Handle indexes whose own new position is not their label, ascending, with that position; or with `NOWHERE`, if
    /// they were inserted and deleted.
    pub(super) own: Vec<(u32, u32)>,
    /// Handle indexes with code before their label, ascending, with where that code begins.
    pub(super) starts: Vec<(u32, u32)>,
    /// One bit an old position: it was deleted.
    pub(super) dead: Vec<u64>,
    /// One bit an old position: it is not the first unit of its instruction.
    pub(super) inner: Vec<u64>,
    pub(super) records: RecordMap,
    pub(super) old_len: u32,
    pub(super) new_len: u32,
}

/// Where 64 old units went.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct MapWord {
    /// The label of the first one.
    pub(super) base: u32,
    /// The row with the offsets of all of them; `WIDE` is added to that of a wide one.
    pub(super) row: u32,
}

/// No row: every label is one more than that before.
pub(super) const PLAIN: u32 = u32::MAX;
/// The row is one of `wide`.
pub(super) const WIDE: u32 = 1 << 31;

/// Where inserted units went, by the record that they are in.
#[derive(Clone, Debug, Default)]
pub(super) struct RecordMap {
    /// The handle index of the first unit of each record, ascending.
    pub(super) start: Vec<u32>,
    /// Where that unit went, and the others behind it; of a split record the index of its labels.
    pub(super) at: Vec<u32>,
    /// One bit a record: it is split.
    pub(super) split: Vec<u64>,
    /// Where a branch to each unit of split records lands, or `NOWHERE`.
    pub(super) labels: Vec<u32>,
    /// Stretches of handle indexes, ascending: start and end.
    pub(super) chunks: Vec<(u32, u32)>,
}

/// The label of what is no place for a branch to land on.
pub(super) const NOWHERE: u32 = u32::MAX;

impl RecordMap {
    /// Where unit `at` of record `id`, which begins at `start`, went.
    #[inline]
    pub(super) fn label(&self, id: usize, start: usize, at: usize) -> u32 {
        let (first, offset) = (self.at[id], to_u32(at - start));
        if !self.is_split(id) {
            return first.wrapping_add(offset);
        }
        self.labels.get(first as usize + offset as usize).copied().unwrap_or(NOWHERE)
    }

    /// Makes all records of which `starts` are the first units, in chunks, be nowhere.
    pub(super) fn prepare<'s>(
        &mut self,
        len: usize,
        starts: impl Iterator<Item = &'s [u32]>,
        chunks: impl Iterator<Item = (usize, usize)>,
    ) -> Result<(), Error> {
        self.start.clear();
        self.labels.clear();
        self.chunks.clear();
        reserve(&mut self.start, len)?;
        starts.for_each(|starts| self.start.extend_from_slice(starts));
        self.at.truncate(len);
        resize(&mut self.at, len, NOWHERE)?;
        fill(&mut self.split, len.div_ceil(WORD), 0)?;
        for (start, end) in chunks {
            reserve(&mut self.chunks, 1)?;
            self.chunks.push((to_u32(start), to_u32(end)));
        }
        Ok(())
    }

    /// Whether record `id` is split, and has labels.
    #[inline]
    pub(super) fn is_split(&self, id: usize) -> bool {
        self.split[id / WORD] >> (id % WORD) & 1 != 0
    }

    /// Where the inserted unit at `at` went.
    fn find(&self, at: u32) -> Option<u32> {
        let chunk = self.chunks.partition_point(|chunk| chunk.0 <= at).checked_sub(1)?;
        if at >= self.chunks[chunk].1 {
            return None;
        }
        let id = self.start.partition_point(|&start| start <= at).checked_sub(1)?;
        Some(self.label(id, self.start[id] as usize, at as usize)).filter(|&label| label != NOWHERE)
    }

    fn clear(&mut self) {
        let Self { start, at, split, labels, chunks } = self;
        start.clear();
        at.clear();
        split.clear();
        labels.clear();
        chunks.clear();
    }
}

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
        self.label(old as usize)
    }

    /// The same, for what is known to be a position of the program.
    #[inline]
    pub(super) fn label(&self, old: usize) -> u32 {
        let MapWord { base, row } = self.words[old / WORD];
        let bit = old % WORD;
        if row == PLAIN { base + to_u32(bit) } else { base + self.offset(row, bit) }
    }

    #[inline]
    fn offset(&self, row: u32, bit: usize) -> u32 {
        if row & WIDE == 0 {
            u32::from(self.rows[row as usize * WORD + bit])
        } else {
            self.wide[(row & !WIDE) as usize * WORD + bit]
        }
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
    /// O(1), or O(log edits) for inserted instructions.
    #[must_use]
    pub fn new_of_handle(&self, handle: Handle) -> Option<u32> {
        if handle.index() <= self.old_len && !self.words.is_empty() {
            return Some(self.label(handle.at()));
        }
        self.records.find(handle.index())
    }

    /// The new position of the instruction itself that `handle` names, inserted ones included, behind what was
    /// prepended to it. `None` if it was deleted, or no unit of the list has that index.
    ///
    /// O(log edits).
    #[must_use]
    pub fn position_of_handle(&self, handle: Handle) -> Option<u32> {
        if handle.index() <= self.old_len {
            return self.position_of(handle.index());
        }
        match exception(&self.own, handle.index()) {
            Some(NOWHERE) => None,
            Some(own) => Some(own),
            None => self.new_of_handle(handle),
        }
    }

    /// Where all that stands at `handle` begins.
    #[cfg_attr(not(feature = "bpf"), expect(dead_code, reason = "tables of programs ask for it"))]
    #[cold]
    pub(crate) fn start_of_handle(&self, handle: Handle) -> Option<u32> {
        exception(&self.starts, handle.index()).or(self.new_of_handle(handle))
    }

    /// Where all that stands at a handle index begins, if that is not its label.
    #[cold]
    pub(super) fn start_before(&self, at: usize) -> Option<u32> {
        exception(&self.starts, to_u32(at))
    }

    pub(super) fn clear(&mut self) {
        let Self { words, rows, wide, own, starts, dead, inner, records, old_len, new_len } = self;
        words.clear();
        rows.clear();
        wide.clear();
        own.clear();
        starts.clear();
        dead.clear();
        inner.clear();
        records.clear();
        (*old_len, *new_len) = (0, 0);
    }
}

/// Makes room for `more`, and not for twice as many.
pub(super) fn reserve<T>(column: &mut Vec<T>, more: usize) -> Result<(), Error> {
    column.try_reserve_exact(more).map_err(|_| Error::OutOfMemory)
}

/// Makes `column` this long, whatever it held; what it held before is left as it is.
pub(super) fn resize<T: Copy>(column: &mut Vec<T>, len: usize, value: T) -> Result<(), Error> {
    column.truncate(len);
    reserve(column, len - column.len())?;
    column.resize(len, value);
    Ok(())
}

/// Makes `column` this long, and all of it `value`.
pub(super) fn fill<T: Copy>(column: &mut Vec<T>, len: usize, value: T) -> Result<(), Error> {
    column.clear();
    resize(column, len, value)
}

/// What a list of exceptions, ascending, says of `old`.
fn exception(exceptions: &[(u32, u32)], old: u32) -> Option<u32> {
    let at = exceptions.binary_search_by_key(&old, |&(old, _)| old).ok()?;
    Some(exceptions[at].1)
}

fn bit(words: &[u64], at: u32) -> bool {
    words[at as usize / WORD] >> (at as usize % WORD) & 1 != 0
}
