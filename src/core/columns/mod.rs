//! [`Columns`]: what a list is. `docs/DESIGN.md` draws it, and numbers the invariants that hold between edits; each
//! function here that changes the state says which of them it keeps.

mod check;
mod facts;
mod push;
mod records;
mod words;

use bumpalo::Bump;
use bumpalo::collections::Vec;

pub use check::Broken;
pub(super) use facts::Facts;
pub(super) use records::PackedSlot;
pub(super) use records::{Block, Kind, MAX_LEN, MAX_RECORDS, Meta, Record, RecordId, Records, Site, Slot};
pub(super) use words::{WORD, Words, below, ones, up_to};

use super::arena::Usage;
use super::handle::to_u32;
use super::{Arena, Error, Handle, Isa};

/// An edit may make this many records: its patch, and a label before it.
pub(super) const RECORDS_OF_EDIT: usize = 2;

/// An edit may need this many units beside those of its patch, for labels.
pub(super) const MAX_LABELS: usize = 2;

/// A chunk has room for this many units, and this many records, at least.
const LEAST: usize = WORD;

/// Any refusal of the allocator, whatever it is called.
pub(super) fn out_of_memory<T>(_: T) -> Error {
    Error::OutOfMemory
}

/// Inserted units that do not move, and what is known of them.
#[derive(Debug)]
pub(super) struct Chunk<'a, U, A> {
    /// The handle index of its first unit, a multiple of 64.
    pub(super) start: usize,
    pub(super) units: Vec<'a, U>,
    pub(super) words: Words<'a>,
    pub(super) facts: Facts<'a, A>,
}

impl<'a, U: Copy, A: Copy + Default> Chunk<'a, U, A> {
    /// A chunk without units, and with room for `room`.
    fn new(bump: &'a Bump, start: usize, room: usize) -> Result<Self, Error> {
        let mut units = Vec::new_in(bump);
        units.try_reserve_exact(room).map_err(out_of_memory)?;
        // One more word than there are units: its counts are those at the end.
        let words = Words::new(bump, room.div_ceil(WORD) + 1, true)?;
        Ok(Self { start, units, words, facts: Facts::new(bump, room)? })
    }

    fn copy(&self, bump: &'a Bump) -> Result<Self, Error> {
        let mut units = Vec::new_in(bump);
        units.try_reserve_exact(self.units.capacity()).map_err(out_of_memory)?;
        units.extend_from_slice_copy(&self.units);
        let (words, facts) = (self.words.copy(bump)?, self.facts.copy(bump)?);
        Ok(Self { start: self.start, units, words, facts })
    }
}

impl<U, A> Chunk<'_, U, A> {
    /// One past the handle index of its last unit.
    #[inline]
    pub(super) fn end(&self) -> usize {
        self.start + self.units.len()
    }

    #[inline]
    pub(super) fn room(&self) -> usize {
        self.units.capacity() - self.units.len()
    }
}

/// The word that edits are made in, and its instructions that are open to a quick edit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    /// The index of the word, counted by handle index.
    pub(super) word: usize,
    pub(super) units: u64,
    /// Those of them that have more units than one.
    pub(super) wide: u64,
    /// Whether it has a block.
    pub(super) blocked: bool,
}

impl Window {
    /// Of no word.
    pub(super) const CLOSED: Self = Self { word: usize::MAX, units: 0, wide: 0, blocked: false };
}

/// The state of a list.
#[derive(Debug)]
pub(super) struct Columns<'a, U, A> {
    pub(super) bump: &'a Bump,
    pub(super) original: &'a [U],
    /// The handle index of the first inserted unit.
    pub(super) base: usize,
    /// Live units.
    pub(super) live: u32,
    /// How many units were inserted.
    pub(super) inserted: usize,
    /// Whether any branch has more than one displacement field.
    pub(super) several: bool,
    /// What is known of original units.
    pub(super) words: Words<'a>,
    pub(super) facts: Facts<'a, A>,
    /// The chunk that units are inserted into.
    pub(super) tail: Chunk<'a, U, A>,
    /// The chunks before it, in the order of their units.
    pub(super) full: Vec<'a, Chunk<'a, U, A>>,
    pub(super) records: Records<'a>,
    pub(super) sites: Vec<'a, Site>,
    pub(super) targets: Vec<'a, Handle>,
    pub(super) window: Window,
    /// Edits since the invariants were checked.
    pub(super) unchecked: usize,
}

impl<'a, U: Copy, A: Copy + Default> Columns<'a, U, A> {
    /// The state of a list to which nothing was done, but that the marks of its units are missing.
    pub(super) fn new(arena: &'a Arena, original: &'a [U], base: usize, most: usize) -> Result<Self, Error> {
        let (bump, expected, units) = (arena.bump(), arena.expected(), original.len());
        let room = if expected.inserted > 0 { expected.inserted } else { units / 8 };
        let room = room.max(LEAST).next_multiple_of(WORD).min(most);
        let records = if expected.records > 0 { expected.records } else { units / 16 };
        let records = records.max(LEAST / 4).min(arena.limits().edits as usize);
        let mut columns = Self {
            bump,
            original,
            base,
            live: to_u32(units),
            inserted: 0,
            several: false,
            words: Words::new(bump, base / WORD, false)?,
            facts: Facts::new(bump, base)?,
            tail: Chunk::new(bump, base, room)?,
            full: Vec::new_in(bump),
            records: Records::new(bump, records)?,
            sites: Vec::new_in(bump),
            targets: Vec::new_in(bump),
            window: Window::CLOSED,
            unchecked: 0,
        };
        columns.sites.try_reserve_exact(expected.sites).map_err(out_of_memory)?;
        columns.targets.try_reserve_exact(expected.targets).map_err(out_of_memory)?;
        if expected.sites > 0 {
            columns.records.reserve_links(expected.records)?;
        }
        columns.facts.resize(base);
        columns.words.dead[units / WORD] = !below(units % WORD);
        Ok(columns)
    }

    /// The same state once more, to return to.
    pub(super) fn copy(&self) -> Result<Self, Error> {
        let bump = self.bump;
        let mut copy = Self {
            words: self.words.copy(bump)?,
            facts: self.facts.copy(bump)?,
            tail: self.tail.copy(bump)?,
            full: Vec::new_in(bump),
            records: self.records.copy(bump)?,
            sites: Vec::new_in(bump),
            targets: Vec::new_in(bump),
            ..*self
        };
        copy.full.try_reserve_exact(self.full.len()).map_err(out_of_memory)?;
        for chunk in &self.full {
            copy.full.push(chunk.copy(bump)?);
        }
        copy.sites.try_reserve_exact(self.sites.capacity()).map_err(out_of_memory)?;
        copy.sites.extend_from_slice_copy(&self.sites);
        copy.targets.try_reserve_exact(self.targets.capacity()).map_err(out_of_memory)?;
        copy.targets.extend_from_slice_copy(&self.targets);
        Ok(copy)
    }

    /// Makes room for `more` units in one stretch, of which a list may have no more than `most`. Keeps all invariants.
    #[cold]
    pub(super) fn grow(&mut self, more: usize, most: usize) -> Result<(), Error> {
        let start = self.fresh().next_multiple_of(WORD);
        // What the chunk before leaves unused counts.
        let needed = start - self.base + more;
        if needed > most {
            return Err(Error::TooLong { units: self.original.len() + self.fresh() - self.base + more });
        }
        let room = more.max(self.inserted).max(LEAST).next_multiple_of(WORD).min(most - (start - self.base));
        self.full.try_reserve(1).map_err(out_of_memory)?;
        let tail = Chunk::new(self.bump, start, room)?;
        tail.words.records[0] = to_u32(self.records.len());
        tail.words.targets[0] = to_u32(self.targets.len());
        self.window = Window::CLOSED;
        let full = core::mem::replace(&mut self.tail, tail);
        if !full.units.is_empty() {
            self.full.push(full);
        }
        Ok(())
    }

    /// Appends `N` units and a record for them, if there is room for all. Says whether there was. The
    /// caller enters what the words say of them, without which invariants 1 and 3 do not hold.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "an edit takes half as many instructions where it is made")]
    pub(super) fn push_units<const N: usize>(&mut self, units: &[U; N], anchor: usize, meta: Meta) -> bool {
        let start = self.fresh();
        if !push::has_room(&self.tail.units, N) || !self.records.push(anchor, start, meta) {
            return false;
        }
        push::append(&mut self.tail.units, units);
        self.tail.facts.extend::<N>();
        self.inserted += N;
        true
    }

    /// Appends units, for which there is room.
    pub(super) fn push_long(&mut self, units: &[U]) {
        self.tail.units.extend_from_slice_copy(units);
        self.tail.facts.resize(self.tail.units.len());
        self.inserted += units.len();
    }
}

impl<'a, U, A> Columns<'a, U, A> {
    /// The handle index that the next inserted unit will have.
    #[inline]
    pub(super) fn fresh(&self) -> usize {
        self.tail.end()
    }

    /// The chunk with the inserted unit at `at`; the one before it, if there is no such unit.
    #[inline]
    pub(super) fn chunk(&self, at: usize) -> &Chunk<'a, U, A> {
        if at >= self.tail.start { &self.tail } else { &self.full[self.full_chunk(at)] }
    }

    #[inline]
    pub(super) fn chunk_mut(&mut self, at: usize) -> &mut Chunk<'a, U, A> {
        if at >= self.tail.start {
            return &mut self.tail;
        }
        let chunk = self.full_chunk(at);
        &mut self.full[chunk]
    }

    #[cold]
    fn full_chunk(&self, at: usize) -> usize {
        self.full.partition_point(|chunk| chunk.start <= at) - 1
    }

    /// All chunks.
    pub(super) fn chunks(&self) -> impl Iterator<Item = &Chunk<'a, U, A>> {
        self.full.iter().chain([&self.tail])
    }

    /// The columns of bits with unit `at`, and the index of the unit there.
    #[inline]
    pub(super) fn words_at(&self, at: usize) -> (&Words<'a>, usize) {
        if at < self.base {
            return (&self.words, at);
        }
        let chunk = self.chunk(at);
        (&chunk.words, at - chunk.start)
    }

    #[inline]
    pub(super) fn words_at_mut(&mut self, at: usize) -> (&mut Words<'a>, usize) {
        if at < self.base {
            return (&mut self.words, at);
        }
        let chunk = self.chunk_mut(at);
        (&mut chunk.words, at - chunk.start)
    }

    /// Whether there is a unit of that handle index, or the end of the program.
    #[inline]
    pub(super) fn has(&self, at: usize) -> bool {
        if at < self.base { at <= self.original.len() } else { at < self.chunk(at).end() }
    }

    /// The bit of unit `at`, which there is, in a column.
    #[inline]
    pub(super) fn bit(&self, at: usize, column: impl for<'w> Fn(&'w Words<'a>) -> &'w [u64]) -> bool {
        let (words, at) = self.words_at(at);
        column(words)[at / WORD] >> (at % WORD) & 1 != 0
    }

    #[inline]
    pub(super) fn is_inner(&self, at: usize) -> bool {
        self.bit(at, |words| &*words.inner)
    }

    #[inline]
    pub(super) fn is_dead(&self, at: usize) -> bool {
        self.bit(at, |words| &*words.dead)
    }

    #[inline]
    pub(super) fn is_edited(&self, at: usize) -> bool {
        self.bit(at, |words| &*words.edited)
    }

    /// How many units the instruction at `at` has; the end has one.
    #[inline]
    pub(super) fn len_at(&self, at: usize) -> usize {
        let (words, at) = self.words_at(at);
        words.len_at(at)
    }

    /// The units of the instruction at `at`, which is not the end.
    #[inline]
    pub(super) fn units(&self, at: usize) -> &[U] {
        if at < self.base {
            return &self.original[at..][..self.words.len_at(at)];
        }
        let chunk = self.chunk(at);
        let at = at - chunk.start;
        &chunk.units[at..][..chunk.words.len_at(at)]
    }

    #[inline]
    pub(super) fn fact(&self, at: usize) -> &A {
        if at < self.base {
            return &self.facts[at];
        }
        let chunk = self.chunk(at);
        &chunk.facts[at - chunk.start]
    }

    #[inline]
    pub(super) fn fact_mut(&mut self, at: usize) -> &mut A {
        if at < self.base {
            return &mut self.facts[at];
        }
        let chunk = self.chunk_mut(at);
        let at = at - chunk.start;
        &mut chunk.facts[at]
    }

    /// The record of the inserted unit at `at`.
    ///
    /// O(1): counts the records that begin before it.
    #[inline]
    pub(super) fn record_of(&self, at: usize) -> usize {
        let (words, at) = self.words_at(at);
        let (word, bit) = (at / WORD, at % WORD);
        words.records[word] as usize + (words.starts[word] & up_to(bit + 1)).count_ones() as usize - 1
    }

    /// Whether the inserted unit at `at` is the first one of a body, which has no handle.
    #[inline]
    pub(super) fn is_body_start(&self, at: usize) -> bool {
        self.bit(at, |words| &*words.starts) && self.records.get(self.record_of(at)).kind() == Kind::Body
    }

    /// The index in `targets` of the first target of the inserted branch at `at`.
    ///
    /// O(1): counts the branches before it in its word.
    #[inline]
    pub(super) fn targets_of<I: Isa<Unit = U>>(&self, isa: &I, at: usize) -> usize {
        let chunk = self.chunk(at);
        let at = at - chunk.start;
        let (word, bit) = (at / WORD, at % WORD);
        let before = chunk.words.branch[word] & below(bit);
        let first = chunk.words.targets[word] as usize;
        if !self.several {
            return first + before.count_ones() as usize;
        }
        let fields = |at: usize| isa.fields(&chunk.units[at..][..chunk.words.len_at(at)]);
        first + ones(before, word * WORD).map(fields).sum::<usize>()
    }

    /// Notes, for words of the tail that begin behind unit `at` of it and not behind `end`, that so many records and
    /// targets are before them.
    #[inline]
    pub(super) fn note_words(&mut self, at: usize, end: usize, records: usize, targets: usize) {
        for word in at / WORD + 1..=end / WORD {
            self.tail.words.records[word] = to_u32(records);
            self.tail.words.targets[word] = to_u32(targets);
        }
    }

    /// How much of what grows with edits the list used, with the room that the last edit asked for.
    pub(super) fn usage(&self) -> Usage {
        Usage {
            inserted: self.fresh() - self.base + MAX_LABELS,
            sites: if self.sites.is_empty() { 0 } else { self.sites.len() + 1 },
            records: self.records.len() + RECORDS_OF_EDIT,
            targets: if self.targets.is_empty() { 0 } else { self.targets.len() + 1 },
            blocks: self
                .chunks()
                .map(|chunk| &chunk.words)
                .chain([&self.words])
                .map(Words::blocks_used)
                .sum(),
        }
    }
}

/// The bytes of all the columns of a list, about.
pub(super) fn bytes<U, A>(base: usize, usage: &Usage) -> usize {
    let inserted = usage.inserted.next_multiple_of(WORD).max(LEAST);
    let records = usage.records.max(LEAST / 4);
    let links = if usage.sites > 0 { records } else { 0 };
    let columns = [
        Words::bytes(base / WORD, false),
        Words::bytes(inserted / WORD + 1, true),
        base * size_of::<A>(),
        inserted * size_of::<A>(),
        inserted * size_of::<U>(),
        records * size_of::<u32>(),
        records * size_of::<u32>(),
        records * size_of::<Meta>(),
        links * size_of::<u32>(),
        usage.blocks * size_of::<Block>(),
        usage.sites * size_of::<Site>(),
        usage.targets * size_of::<Handle>(),
    ];
    // Each may be padded to its alignment, and some are three allocations.
    columns.iter().map(|bytes| bytes + WORD).sum()
}
