//! [`Walk`]: the live instructions of a list in order, by a scan of its bits.
//!
//! A walk holds which instructions of a word are still to come, so that a step among instructions that nothing was
//! done to clears one bit. Only at an edited instruction does it ask for records.

use core::fmt;

use super::columns::{Columns, Kind, RecordId, Slot, WORD, Words};
use super::handle::to_u32;
use super::{Handle, Isa, List};

/// A point of the order of a list. What stands around an instruction comes in the order of the variants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// Where a branch to the instruction lands, unless something is prepended to it.
    Label(usize),
    /// The instruction itself.
    Own(usize),
    /// After all that stands around it.
    After(usize),
    /// Before a record.
    Record(usize),
    /// After a record.
    RecordEnd(usize),
}

/// A place in the order of a list, and the instructions that come next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Walk {
    /// The instructions of the word that are still to come.
    stops: u64,
    /// Those of the word that are edited.
    edited: u64,
    /// The handle index of the first unit of the word.
    word: usize,
    /// One past the last unit of the stretch: the original program, or a record.
    end: usize,
    /// The record, unless it is the original program.
    record: Option<RecordId>,
    /// The walk stands on this edited instruction: what comes behind it is next.
    behind: Option<Handle>,
}

impl<U, A> Columns<'_, U, A> {
    /// The place after one around the instruction or record that it names.
    ///
    /// O(1); every place is stepped on once in a walk.
    pub(super) fn step(&self, place: Place) -> Place {
        let first = |last: RecordId| Place::Record(self.records.next(last.at()));
        match place {
            Place::Label(at) => self.site(at).and_then(|site| site.pre).map_or(Place::Own(at), first),
            Place::Own(at) => self.site(at).and_then(|site| site.post).map_or(Place::After(at), first),
            Place::RecordEnd(id) => self.after_record(id),
            Place::After(_) | Place::Record(_) => place,
        }
    }

    /// The first place around an edited instruction.
    #[inline]
    pub(super) fn first_around(&self, at: usize) -> Place {
        match self.site(at).and_then(|site| site.fall) {
            Some(last) => Place::Record(self.records.next(last.at())),
            None => Place::Label(at),
        }
    }

    fn after_record(&self, id: usize) -> Place {
        let record = self.records.get(id);
        let anchor = record.anchor;
        if self.site(anchor).and_then(|site| site.ring(record.kind())) != Some(RecordId::new(id)) {
            return Place::Record(self.records.next(id));
        }
        match record.kind() {
            Kind::Fall => Place::Label(anchor),
            Kind::Pre => Place::Own(anchor),
            Kind::Post | Kind::Body => Place::After(anchor),
        }
    }

    /// A walk over the units from `at` on, up to the end of the stretch of code that they are in.
    #[inline]
    fn walk_from(&self, at: usize, end: usize, record: Option<RecordId>) -> Walk {
        let mut walk = Walk { stops: 0, edited: 0, word: at / WORD * WORD, end, record, behind: None };
        if at < end {
            self.look(&mut walk);
            walk.stops &= u64::MAX << (at % WORD);
        } else {
            walk.end = 0;
        }
        walk
    }

    /// Loads the word of a walk.
    #[inline]
    fn look(&self, walk: &mut Walk) {
        let (words, local) = self.words_at(walk.word);
        let word = local / WORD;
        walk.edited = words.edited[word];
        walk.stops = Words::stops(words, word);
        let left = walk.end - walk.word;
        if left < WORD {
            walk.stops &= (1 << left) - 1;
        }
    }

    /// The end of the original program, as a stretch: with the end itself, which something may be anchored at.
    #[inline]
    fn whole(&self) -> usize {
        self.original.len() + 1
    }

    /// A walk from the first instruction on.
    pub(super) fn walk(&self) -> Walk {
        self.walk_from(0, self.whole(), None)
    }

    /// A walk that goes on behind the instruction at `at`.
    #[inline]
    pub(super) fn walk_behind(&self, at: usize) -> Walk {
        if self.is_edited(at) {
            let behind = Some(Handle::new(to_u32(at)));
            return Walk { stops: 0, edited: 0, word: 0, end: 0, record: None, behind };
        }
        self.walk_after(at)
    }

    /// A walk that goes on after the instruction at `at` and all that stands around it.
    #[inline]
    fn walk_after(&self, at: usize) -> Walk {
        let next = at + self.len_at(at);
        if at < self.base {
            return self.walk_from(next, self.whole(), None);
        }
        let id = self.record_of(at);
        self.walk_from(next, self.records.get(id).end(), Some(RecordId::new(id)))
    }

    /// The next live instruction.
    #[inline]
    pub(super) fn advance(&self, walk: &mut Walk) -> Option<Handle> {
        loop {
            if walk.stops != 0 {
                let bit = walk.stops.trailing_zeros();
                let at = walk.word + bit as usize;
                walk.stops &= walk.stops - 1;
                if walk.edited >> bit & 1 == 0 {
                    return Some(Handle::new(to_u32(at)));
                }
                if let Some(handle) = self.enter(walk, at) {
                    return Some(handle);
                }
            } else if walk.word + WORD < walk.end {
                walk.word += WORD;
                self.look(walk);
            } else if let Some(handle) = self.leave(walk)? {
                return Some(handle);
            }
        }
    }

    /// Comes to an edited instruction. Gives it if nothing stands before it.
    #[inline]
    fn enter(&self, walk: &mut Walk, at: usize) -> Option<Handle> {
        let (words, local) = self.words_at(at);
        let (word, bit) = (local / WORD, local % WORD);
        if let Slot::Lone(id) = Self::slot_in(words, word, bit)
            && words.dead[word] >> bit & 1 == 0
        {
            let record = self.records.get(id);
            if record.kind() == Kind::Body {
                let rest = record.start + self.len_at(record.start);
                *walk = self.walk_from(rest, record.end(), Some(RecordId::new(id)));
                return Some(Handle::new(to_u32(at)));
            }
        }
        self.go(walk, self.first_around(at))
    }

    /// Comes to the end of a stretch, or goes on behind an edited instruction. `None` if that was all.
    #[inline(never)]
    #[expect(clippy::option_option, reason = "the outer one says whether the walk goes on")]
    fn leave(&self, walk: &mut Walk) -> Option<Option<Handle>> {
        if let Some(behind) = walk.behind.take() {
            return Some(self.go(walk, self.step(Place::Own(behind.at()))));
        }
        let id = walk.record?;
        Some(self.go(walk, self.after_record(id.at())))
    }

    /// Goes on from a place around an edited instruction: to the instruction, if it is live, or into a record, or on.
    fn go(&self, walk: &mut Walk, mut place: Place) -> Option<Handle> {
        loop {
            place = match place {
                Place::Own(at) if !self.is_dead(at) => {
                    *walk = self.walk_behind(at);
                    return Some(Handle::new(to_u32(at)));
                }
                Place::After(at) => {
                    // Behind the end of the program comes nothing.
                    *walk = if at == self.original.len() {
                        Walk { stops: 0, edited: 0, word: 0, end: 0, record: None, behind: None }
                    } else {
                        self.walk_after(at)
                    };
                    return None;
                }
                Place::Record(id) => {
                    let start = self.rest(id);
                    let record = self.records.get(id);
                    if start < record.end() {
                        *walk = self.walk_from(start, record.end(), Some(RecordId::new(id)));
                        return None;
                    }
                    Place::RecordEnd(id)
                }
                _ => self.step(place),
            }
        }
    }
}

impl<'a, I: Isa, A> List<'a, I, A> {
    /// The first live instruction.
    #[must_use]
    pub fn first(&self) -> Option<Handle> {
        self.columns.advance(&mut self.columns.walk())
    }

    /// The live instruction that follows `handle`, which may be deleted itself, or `None` at the
    /// end of the list or for a handle that is none of its own.
    ///
    /// O(1), amortized over a walk through the list.
    #[must_use]
    pub fn next(&self, handle: Handle) -> Option<Handle> {
        let columns = &self.columns;
        if !columns.is_insn(handle) {
            return None;
        }
        columns.advance(&mut columns.walk_behind(handle.at()))
    }

    /// The live instructions in the order of the list.
    ///
    /// O(1) a step.
    #[expect(clippy::iter_without_into_iter, reason = "loops are to say that they walk through the list")]
    #[must_use]
    pub fn iter(&self) -> Iter<'_, 'a, I, A> {
        Iter { columns: &self.columns, walk: self.columns.walk() }
    }
}

/// The live instructions of a list, in its order: see [`List::iter`].
pub struct Iter<'l, 'a, I: Isa, A = ()> {
    columns: &'l Columns<'a, I::Unit, A>,
    walk: Walk,
}

impl<I: Isa, A> Iterator for Iter<'_, '_, I, A> {
    type Item = Handle;

    #[inline]
    fn next(&mut self) -> Option<Handle> {
        self.columns.advance(&mut self.walk)
    }
}

impl<I: Isa, A> Clone for Iter<'_, '_, I, A> {
    fn clone(&self) -> Self {
        Self { columns: self.columns, walk: self.walk }
    }
}

impl<I: Isa, A> fmt::Debug for Iter<'_, '_, I, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Iter").field(&self.clone().next()).finish()
    }
}
