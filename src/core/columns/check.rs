//! [`List::check`]: whether the invariants of a list hold, by the numbers that `docs/DESIGN.md` gives them.

use core::fmt;

use bitvec::slice::BitSlice;

use super::{Chunk, Kind, Meta, RecordId, Slot, WORD, Window, Words, ones};
use crate::core::handle::to_u32;
use crate::core::{Handle, Isa, List};

/// Lists with fewer units are checked after each edit.
const SHORT: usize = 256;

/// An invariant of a [`List`] that does not hold: a bug in this crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken {
    invariant: u8,
    at: u32,
}

impl Broken {
    /// The number of the invariant, as in `docs/DESIGN.md`.
    #[must_use]
    pub const fn invariant(self) -> u8 {
        self.invariant
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invariant {} of the list does not hold at {}", self.invariant, self.at)
    }
}

impl core::error::Error for Broken {}

/// That `holds`, or else that invariant `invariant` is broken at the handle index `at`.
fn ensure(holds: bool, invariant: u8, at: usize) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(Broken { invariant, at: to_u32(at) }) }
}

/// A column of bits as `bitvec` sees it.
fn view(column: &[u64]) -> &BitSlice<u64> {
    BitSlice::from_slice(column)
}

impl<I: Isa, A> List<'_, I, A> {
    /// Whether every invariant of the list holds. For tests: a broken one is a bug in this crate, and no
    /// edit can bring it about.
    ///
    /// O(units + inserted units), in no memory of its own. With the feature `self-check`, each list is checked before it is
    /// linearized, and after edits: after each one if the list is short.
    ///
    /// # Errors
    ///
    /// The first invariant found broken.
    pub fn check(&self) -> Result<(), Broken> {
        self.check_columns()?;
        self.check_records()?;
        self.check_insns()?;
        self.check_dead()?;
        self.check_slots()?;
        self.check_rings()?;
        self.check_window()?;
        self.check_targets()
    }

    /// Checks the list after an edit with the feature `self-check`: after each one if it is short, and else so rarely that
    /// it costs an edit no more than that. Miri, to which it would be minutes, has those before each linearization.
    ///
    /// # Panics
    ///
    /// If an invariant is broken.
    #[inline]
    pub(in crate::core) fn check_edit(&mut self) {
        if cfg!(all(feature = "self-check", not(miri))) {
            self.columns.unchecked += 1;
            if self.columns.unchecked > (self.columns.fresh() / SHORT).pow(2) {
                self.columns.unchecked = 0;
                assert_eq!(self.check(), Ok(()), "after an edit");
            }
        }
    }

    /// Checks the list before a linearization with the feature `self-check`.
    ///
    /// # Panics
    ///
    /// If an invariant is broken.
    #[inline]
    pub(in crate::core) fn check_before_linearization(&self) {
        if cfg!(feature = "self-check") {
            assert_eq!(self.check(), Ok(()), "before linearization");
        }
    }

    /// Every handle index of a unit, and of the end.
    fn all(&self) -> impl Iterator<Item = usize> + '_ {
        let inserted = self.columns.chunks().flat_map(|chunk| chunk.start..chunk.end());
        (0..=self.columns.original.len()).chain(inserted)
    }

    /// Every handle index of an instruction, or of what can be taken for one: a label, the end.
    fn insns(&self) -> impl Iterator<Item = usize> + '_ {
        self.all().filter(|&at| !self.columns.is_inner(at))
    }

    fn is_branch(&self, at: usize) -> bool {
        self.columns.bit(at, |words| &*words.branch)
    }

    fn check_columns(&self) -> Result<(), Broken> {
        let columns = &self.columns;
        ensure(columns.facts.fit(columns.base), 1, columns.base)?;
        let mut end = columns.base;
        for chunk in columns.chunks() {
            ensure(chunk.start == end.next_multiple_of(WORD), 1, chunk.start)?;
            end = chunk.end();
            ensure(chunk.facts.fit(chunk.units.len()), 1, end)?;
            ensure(chunk.words.inner.len() > chunk.units.capacity() / WORD, 1, end)?;
            check_behind(chunk)?;
        }
        let (words, len) = (&columns.words, columns.original.len());
        for column in [&*words.inner, &*words.branch] {
            ensure(view(column)[len..].not_any(), 1, len)?;
        }
        ensure(view(words.dead)[len..].all(), 2, len)?;
        ensure(view(words.edited)[len + 1..].not_any(), 4, len)?;
        ensure(columns.inserted == columns.chunks().map(|chunk| chunk.units.len()).sum(), 1, end)
    }

    /// Records follow one another and divide into instructions.
    fn check_records(&self) -> Result<(), Broken> {
        let columns = &self.columns;
        let mut id = 0;
        for chunk in columns.chunks() {
            let mut ended = chunk.start;
            while ended < chunk.end() {
                ensure(id < columns.records.len(), 3, ended)?;
                let record = columns.records.get(id);
                let (start, end) = (record.start, record.end());
                ensure(ended == start && start < end && end <= chunk.end(), 3, id)?;
                ensure(!columns.is_inner(start) && (end == chunk.end() || !columns.is_inner(end)), 3, id)?;
                for at in start..end {
                    let (word, bit) = ((at - chunk.start) / WORD, (at - chunk.start) % WORD);
                    let begins = view(chunk.words.starts)[at - chunk.start];
                    ensure(begins == (at == start), 3, id)?;
                    let before = if at == start { id } else { id + 1 };
                    ensure(bit != 0 || chunk.words.records[word] as usize == before, 3, id)?;
                    ensure(columns.record_of(at) == id, 3, id)?;
                }
                let code = start..record.code_end();
                let touched = code.clone().any(|at| columns.is_edited(at) || columns.is_dead(at));
                ensure(record.anchor < start && columns.has(record.anchor), 5, id)?;
                ensure(!columns.is_inner(record.anchor), 5, id)?;
                let apart = record.kind() == Kind::Body
                    && (columns.is_dead(record.anchor) || columns.is_site(record.anchor));
                ensure(record.meta.is_split() == (touched || apart), 3, id)?;
                if record.kind() == Kind::Body {
                    ensure(!columns.is_dead(start) && !columns.is_edited(start), 6, start)?;
                }
                ensure(!record.meta.is_labeled() || columns.is_dead(end - 1), 3, id)?;
                ended = end;
                id += 1;
            }
        }
        ensure(id == columns.records.len(), 3, id)
    }

    /// `inner` and `branch` say what the instruction set does.
    fn check_insns(&self) -> Result<(), Broken> {
        let columns = &self.columns;
        for at in self.all().filter(|&at| at != columns.original.len()) {
            if columns.is_inner(at) {
                ensure(at != 0 && at != columns.base && !self.is_branch(at), 1, at)?;
            } else if columns.is_label(at) {
                ensure(!self.is_branch(at), 1, at)?;
            } else {
                let insn = columns.units(at);
                ensure(self.isa.len(insn) == Some(insn.len()), 1, at)?;
                let fields = self.isa.fields(insn);
                ensure(self.is_branch(at) == (fields != 0), 1, at)?;
                ensure(fields <= 1 || columns.several, 1, at)?;
            }
        }
        Ok(())
    }

    fn check_dead(&self) -> Result<(), Broken> {
        let columns = &self.columns;
        let live = self.insns().filter(|&at| self.is_live(Handle::new(to_u32(at))));
        let units: usize = live.map(|at| columns.len_at(columns.body(at))).sum();
        ensure(units == columns.live as usize, 2, units)?;
        for at in self.insns() {
            let dead = columns.is_dead(at);
            for unit in at..at + columns.len_at(at) {
                ensure(columns.is_dead(unit) == dead, 2, unit)?;
            }
            ensure(dead || !columns.is_label(at), 2, at)?;
        }
        Ok(())
    }

    /// There are as many slots that name a site as sites, none of which is empty, so that no two name the same: its records are
    /// anchored at one instruction. Its body is a record of that kind.
    fn check_slots(&self) -> Result<(), Broken> {
        let columns = &self.columns;
        let mut named = 0;
        for at in self.all().filter(|&at| columns.is_edited(at)) {
            ensure(columns.is_insn(Handle::new(to_u32(at))), 4, at)?;
            match columns.slot(at) {
                Slot::Lone(id) => {
                    ensure(id < columns.records.len(), 4, at)?;
                    ensure(columns.records.get(id).anchor == at, 4, at)?;
                }
                Slot::Site(site) => {
                    let site = columns.sites.get(site).ok_or(Broken { invariant: 4, at: to_u32(at) })?;
                    ensure(site.fall.or(site.pre).or(site.post).is_some(), 5, at)?;
                    named += 1;
                    let Some(body) = site.body.map(RecordId::at) else { continue };
                    ensure(body < columns.records.len(), 6, at)?;
                    let record = columns.records.get(body);
                    ensure(record.kind() == Kind::Body && record.anchor == at, 6, at)?;
                }
            }
        }
        ensure(named == columns.sites.len(), 4, named)
    }

    /// Each record is in the one ring that its anchor and its kind say. A ring that is none would have no end.
    fn check_rings(&self) -> Result<(), Broken> {
        let columns = &self.columns;
        let (mut found, all) = (0, columns.records.len());
        ensure(columns.records.links() <= all, 5, all)?;
        for at in self.insns() {
            let Some(site) = columns.site(at) else { continue };
            for (kind, last) in [(Kind::Fall, site.fall), (Kind::Pre, site.pre), (Kind::Post, site.post)] {
                let Some(last) = last.map(RecordId::at) else { continue };
                let mut id = last;
                loop {
                    ensure(id < all, 5, at)?;
                    id = columns.records.next(id);
                    ensure(id < all, 5, at)?;
                    let record = columns.records.get(id);
                    let own = if record.kind() == Kind::Body { Kind::Post } else { record.kind() };
                    ensure(record.anchor == at && own == kind && found < all, 5, at)?;
                    found += 1;
                    if id == last {
                        break;
                    }
                }
            }
        }
        ensure(found == all, 5, found)
    }

    fn check_window(&self) -> Result<(), Broken> {
        let columns = &self.columns;
        let Window { word, units, wide, blocked } = columns.window;
        if units == 0 {
            return Ok(());
        }
        for at in ones(units, word * WORD) {
            ensure(columns.has(at), 7, at)?;
            let (words, local) = columns.words_at(at);
            let next = Words::next_in_order(words, local / WORD, to_u32(columns.records.len()));
            let plain = !columns.is_edited(at) && self.is_live(Handle::new(to_u32(at)));
            let next = blocked || next >> (at % WORD) & 1 != 0;
            let has_block = words.blocks[local / WORD].is_some();
            let is_wide = wide >> (at % WORD) & 1 != 0;
            ensure(plain && is_wide == (columns.len_at(at) > 1) && next && blocked == has_block, 7, at)?;
        }
        Ok(())
    }

    fn check_targets(&self) -> Result<(), Broken> {
        let columns = &self.columns;
        let mut targets = 0;
        for chunk in columns.chunks() {
            for at in chunk.start..chunk.end() {
                let local = at - chunk.start;
                let counted =
                    !local.is_multiple_of(WORD) || chunk.words.targets[local / WORD] as usize == targets;
                ensure(counted, 8, at)?;
                if !self.is_branch(at) {
                    continue;
                }
                ensure(columns.targets_of(&self.isa, at) == targets, 8, at)?;
                for _ in 0..self.isa.fields(columns.units(at)) {
                    let target =
                        columns.targets.get(targets).ok_or(Broken { invariant: 8, at: to_u32(at) })?;
                    ensure(columns.is_insn(*target), 8, at)?;
                    targets += 1;
                }
            }
        }
        ensure(columns.targets.len() == targets, 8, columns.targets.len())
    }
}

impl<U, A> super::Columns<'_, U, A> {
    /// Whether the unit at `at` is one that a patch asked for as a label, which is no instruction.
    pub(in crate::core) fn is_label(&self, at: usize) -> bool {
        at >= self.base && {
            let record = self.records.get(self.record_of(at));
            record.meta.is_labeled() && record.end() == at + 1
        }
    }

    /// Whether the instruction at `at` has several records.
    fn is_site(&self, at: usize) -> bool {
        self.is_edited(at) && matches!(self.slot(at), Slot::Site(_))
    }
}

/// That no bit is set behind the last unit of a chunk.
fn check_behind<U, A>(chunk: &Chunk<'_, U, A>) -> Result<(), Broken> {
    let Words { inner, branch, dead, edited, starts, .. } = &chunk.words;
    for column in [&**inner, &**branch, &**dead, &**edited, &**starts] {
        ensure(view(column)[chunk.units.len()..].not_any(), 1, chunk.end())?;
    }
    Ok(())
}

const _: () = assert!(size_of::<Meta>() == 4);

#[cfg(all(test, feature = "bpf"))]
mod tests;
