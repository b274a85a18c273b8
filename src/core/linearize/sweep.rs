//! [`Sweep`]: where everything goes, in the order of the list. Untouched stretches move as blocks.

use alloc::vec::Vec;
use core::ops::Range;

use super::branches;
use super::fill::{LANES, copy, note, number};
use super::handle;
use crate::core::columns::{Columns, Kind, Record, Slot, WORD, Words, below};
use crate::core::handle::to_u32;
use crate::core::map::{Map, MapWord, NOWHERE, PLAIN, WIDE};
use crate::core::walk::Place;
use crate::core::{Error, Handle, Isa, List};

/// Words that are laid out before the branches of those before are fixed: their units are in the cache then.
const TILE: usize = 32;

/// What units are that belong to an instruction which began in a word before, and was edited.
#[derive(Clone, Copy)]
enum Carry {
    /// They are gone: this is the label of all.
    Gone(u32),
    /// They were moved: this, wrapping, is to be added to their handle index.
    Moved(u32),
}

/// One sweep under way.
pub(super) struct Sweep<'s, 'a, I: Isa, A> {
    isa: &'s I,
    columns: &'s Columns<'a, I::Unit, A>,
    units: &'s mut [I::Unit],
    aux: &'s mut [A],
    map: &'s mut Map,
    branches: &'s mut Vec<(Handle, u32)>,
    aliases: &'s mut Vec<(Handle, Handle)>,
    /// Where the next unit goes.
    new: usize,
    /// The next original unit to lay out.
    at: usize,
    /// The labels of the word that is laid out, and where it begins.
    labels: [u32; WORD + LANES],
    word: usize,
    carry: Carry,
    /// How many rows were made.
    rows: usize,
    /// Whether a position of an inserted unit was noted, which are not in their order.
    unsorted: bool,
    /// Whether there was no memory for a note.
    refused: bool,
}

impl<'s, 'a, I: Isa, A: Copy + Default> Sweep<'s, 'a, I, A> {
    /// A sweep over `list` into an output that is as long as the list will be, with slack.
    pub(super) fn new(
        list: &'s List<'a, I, A>,
        units: &'s mut [I::Unit],
        aux: &'s mut [A],
        map: &'s mut Map,
        branches: &'s mut Vec<(Handle, u32)>,
        aliases: &'s mut Vec<(Handle, Handle)>,
    ) -> Self {
        Self {
            isa: &list.isa,
            columns: &list.columns,
            units,
            aux,
            map,
            branches,
            aliases,
            new: 0,
            at: 0,
            labels: [0; WORD + LANES],
            word: 0,
            carry: Carry::Gone(0),
            rows: 0,
            unsorted: false,
            refused: false,
        }
    }

    /// Lays everything out, and fixes the branches that lead where it is known already. Returns the length.
    pub(super) fn run(mut self) -> Result<usize, Error> {
        let units = self.columns.original.len();
        let words = units / WORD + 1;
        let mut laid = 0..0;
        for start in (0..words).step_by(TILE) {
            let end = words.min(start + TILE);
            for word in start..end {
                self.lay_word(word);
            }
            let until = units.min(end * WORD);
            if self.at < until {
                self.copy_original(until);
            }
            // One tile behind, the targets of near branches ahead are known too.
            self.aim_words(laid, end);
            laid = start..end;
        }
        self.aim_words(laid, words);
        self.map.starts.sort_unstable();
        if self.unsorted {
            self.map.own.sort_unstable();
        }
        if self.refused { Err(Error::OutOfMemory) } else { Ok(self.new) }
    }

    /// Fixes branches of words that are laid out. Those that do not lead into the first `known` words are noted.
    fn aim_words(&mut self, words: Range<usize>, known: usize) {
        let Self { isa, columns, units, map, branches, refused, .. } = self;
        branches::aim_originals(*isa, columns, units, map, words, known, |handle, from| {
            note(branches, (handle, from), refused);
        });
    }

    /// Lays a word of the original program out. What follows the last edited unit of it is left for later, to be copied
    /// with what follows.
    fn lay_word(&mut self, word: usize) {
        let (start, columns) = (word * WORD, self.columns);
        let mut touched = columns.words.touched(word);
        let end = columns.original.len() - start;
        if end < WORD {
            // The end is a unit of this word, and dead.
            touched &= below(end) | columns.words.edited[word];
        }
        if touched == 0 && self.at <= start {
            let base = to_u32(self.new + (start - self.at));
            self.map.words[word] = MapWord { base, row: PLAIN };
            return;
        }
        self.word = start;
        let mut bit = self.lay_carried(start);
        touched = if bit < WORD { touched & !below(bit) } else { 0 };
        // If the edits of the word came in order, the record of the next edited instruction.
        let mut next = columns.words.first[word] as usize;
        while touched != 0 {
            let edited = touched.trailing_zeros() as usize;
            let here = start + edited;
            if self.at < here {
                number(&mut self.labels, bit, edited - bit, to_u32(self.new + (start + bit - self.at)));
                self.copy_original(here);
            }
            if columns.words.edited[word] >> edited & 1 != 0 {
                let count = self.lay_edited(word, edited, next);
                next += count;
            } else {
                let dead = (touched & !columns.words.edited[word]) >> edited;
                let len = dead.trailing_ones() as usize;
                self.labels[edited..edited + len].fill(to_u32(self.new));
                self.at = here + len;
            }
            bit = self.at - start;
            touched = if bit < WORD { touched & !below(bit) } else { 0 };
        }
        if bit < WORD {
            number(
                &mut self.labels,
                bit,
                WORD - bit,
                to_u32(self.new + (start + bit).saturating_sub(self.at)),
            );
        }
        self.keep_labels(word);
    }

    /// Labels the first units of a word if they belong to an instruction that was edited. Returns the first that does
    /// not.
    fn lay_carried(&mut self, start: usize) -> usize {
        let carried = self.at.saturating_sub(start).min(WORD);
        match self.carry {
            _ if carried == 0 => {}
            Carry::Gone(label) => self.labels[..carried].fill(label),
            Carry::Moved(by) => number(&mut self.labels, 0, carried, to_u32(start).wrapping_add(by)),
        }
        carried
    }

    /// Moves the labels of a word into the map.
    #[inline]
    fn keep_labels(&mut self, word: usize) {
        let labels = &self.labels[..WORD];
        let base = labels[0];
        // Labels ascend, but behind the end of the program.
        let last = labels[(self.columns.original.len() - word * WORD).min(WORD - 1)];
        if last - base > u32::from(u16::MAX) {
            return self.keep_wide_labels(word);
        }
        let row = &mut self.map.rows[self.rows * WORD..][..WORD];
        for (offset, label) in row.iter_mut().zip(labels) {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "the last one fits, and none before it is greater"
            )]
            let low = label.wrapping_sub(base) as u16;
            *offset = low;
        }
        self.map.words[word] = MapWord { base, row: to_u32(self.rows) };
        self.rows += 1;
    }

    #[cold]
    fn keep_wide_labels(&mut self, word: usize) {
        let base = self.labels[0];
        let row = to_u32(self.map.wide.len() / WORD) | WIDE;
        for label in &self.labels[..WORD] {
            note(&mut self.map.wide, label.wrapping_sub(base), &mut self.refused);
        }
        self.map.words[word] = MapWord { base, row };
    }

    /// Copies the original program up to `end`, to which nothing was done since the last edited unit.
    #[inline]
    fn copy_original(&mut self, end: usize) {
        let (from, len) = (self.at, end - self.at);
        copy(self.units, self.new, self.columns.original, from, len);
        if let Some(facts) = self.columns.facts.sized() {
            copy(self.aux, self.new, facts, from, len);
        }
        self.new += len;
        self.at = end;
    }

    /// Copies inserted units of one chunk that nothing was done to.
    #[inline]
    fn copy_inserted(&mut self, from: usize, end: usize) {
        let chunk = self.columns.chunk(from);
        let (at, len) = (from - chunk.start, end - from);
        copy(self.units, self.new, &chunk.units, at, len);
        if let Some(facts) = chunk.facts.sized() {
            copy(self.aux, self.new, facts, at, len);
        }
        self.new += len;
    }

    /// Lays the edited instruction at `bit` of a word out, with all that stands around it, and those that follow if they
    /// were replaced in order like it. Returns how many that are.
    #[inline]
    fn lay_edited(&mut self, word: usize, bit: usize, next: usize) -> usize {
        let columns = self.columns;
        let words = &columns.words;
        let at = word * WORD + bit;
        let slot = match words.blocks[word] {
            None => Slot::Lone(next),
            Some(_) => Columns::<I::Unit, A>::slot_in(words, word, bit),
        };
        let Slot::Lone(id) = slot else {
            self.weave_site(at);
            self.at = at + self.label_rest(at, false);
            return 1;
        };
        let live = (words.edited[word] & !words.dead[word]) >> bit;
        if live & 3 == 3 && words.blocks[word].is_none() {
            let count = self.lay_bodies(bit, id, live.trailing_ones() as usize);
            if count > 0 {
                let last = at + count - 1;
                self.at = last + self.label_rest(last, true);
                return count;
            }
        }
        let replaced = self.lay_lone(at, id);
        self.at = at + self.label_rest(at, replaced);
        1
    }

    /// Up to `most` instructions from `bit` of the word on, which were replaced in order by the records from `id` on: what
    /// replaced them is one stretch. Returns how many these are.
    #[inline]
    fn lay_bodies(&mut self, bit: usize, id: usize, most: usize) -> usize {
        let columns = self.columns;
        let (starts, metas) = columns.records.stretch(id, most);
        let mut count = metas.iter().take_while(|meta| meta.is_plain_body()).count();
        if count == 0 {
            return 0;
        }
        let (start, chunk) = (starts[0], columns.chunk(starts[0] as usize));
        if starts[count - 1] as usize >= chunk.end() {
            count = starts[..count].partition_point(|&start| (start as usize) < chunk.end());
        }
        let end = starts[count - 1] as usize + metas[count - 1].len();
        let new = self.new;
        let shift = to_u32(new).wrapping_sub(start);
        let (labels, went) = (&mut self.labels[bit..][..count], &mut self.map.records.at[id..][..count]);
        for ((label, went), start) in labels.iter_mut().zip(went).zip(starts) {
            *label = start.wrapping_add(shift);
            *went = *label;
        }
        self.copy_inserted(start as usize, end);
        if size_of::<A>() != 0 {
            // The first instruction of each goes by the name of the one it replaced, and so does its fact.
            for (at, start) in (self.word + bit..).zip(&starts[..count]) {
                self.aux[start.wrapping_add(shift) as usize] = *columns.fact(at);
            }
        }
        count
    }

    /// Labels the units of an edited instruction but its first, which are gone for sure if it was `replaced`. Returns how
    /// many it has with that.
    #[inline]
    fn label_rest(&mut self, at: usize, replaced: bool) -> usize {
        let inner = self.columns.words.inner[at / WORD];
        // Rotated, bit 0 stands for the first unit of the next word, which may be inner.
        if (inner | 1).rotate_right(to_u32(at)) & 2 == 0 { 1 } else { self.label_inner(at, replaced) }
    }

    #[inline(never)]
    fn label_inner(&mut self, at: usize, replaced: bool) -> usize {
        let (columns, words) = (self.columns, &self.columns.words);
        let len = words.len_at(at);
        let dead = words.dead[at / WORD] >> (at % WORD) & 1 != 0;
        if replaced || dead || columns.body_record(at).is_some() {
            self.carry = Carry::Gone(to_u32(self.new));
            for gone in at + 1..at + len {
                self.map.dead[gone / WORD] |= 1 << (gone % WORD);
            }
        }
        let (first, end) = (at % WORD + 1, (at % WORD + len).min(WORD));
        if first < end {
            match self.carry {
                Carry::Gone(label) => self.labels[first..end].fill(label),
                Carry::Moved(by) => {
                    number(&mut self.labels, first, end - first, to_u32(at + 1).wrapping_add(by));
                }
            }
        }
        len
    }

    /// An instruction of the original program with one record. Returns whether that replaced it for sure.
    #[inline]
    fn lay_lone(&mut self, at: usize, id: usize) -> bool {
        let record = self.columns.records.get(id);
        let replaced = record.kind() == Kind::Body;
        if record.meta.is_split() {
            self.lay_split_lone(at, id, &record);
        } else {
            self.lay_simple(at, at % WORD, None, id, &record);
        }
        replaced
    }

    /// The same, if the record is split.
    #[inline(never)]
    fn lay_split_lone(&mut self, at: usize, id: usize, record: &Record) {
        let dead = self.columns.words.dead[at / WORD] >> (at % WORD) & 1 != 0;
        if dead || record.kind() != Kind::Body {
            return self.weave_site(at);
        }
        let new = self.new;
        self.labels[at % WORD] = to_u32(new);
        let nested = self.lay_split(id, record, record.start);
        if size_of::<A>() != 0 {
            self.aux[new] = *self.columns.fact(at);
        }
        if let Some(nested) = nested {
            self.note_start(nested);
            self.weave(self.columns.first_around(nested), at);
        }
    }

    /// An instruction with one record, which comes out as one stretch. Its label is at index `label` of those of the
    /// word, or of split records.
    #[inline]
    fn lay_simple(&mut self, at: usize, label: usize, row: Option<usize>, id: usize, record: &Record) {
        let kind = record.kind();
        if kind == Kind::Fall {
            note(&mut self.map.starts, (to_u32(at), to_u32(self.new)), &mut self.refused);
            self.copy_record(id, record, record.start);
        }
        let new = self.new;
        match row {
            None => self.labels[label] = to_u32(new),
            Some(row) => {
                if let Some(label) = self.map.records.labels.get_mut(row + label) {
                    *label = to_u32(new);
                }
            }
        }
        match kind {
            Kind::Fall => self.copy_units(at),
            Kind::Pre => {
                self.copy_record(id, record, record.start);
                self.copy_units(at);
            }
            Kind::Post => {
                self.copy_units(at);
                self.copy_record(id, record, record.start);
            }
            Kind::Body => {
                self.copy_record(id, record, record.start);
                if size_of::<A>() != 0 {
                    self.aux[new] = *self.columns.fact(at);
                }
            }
        }
    }

    /// The units of a record from `start` on, if they come out as one stretch.
    #[inline]
    fn copy_record(&mut self, id: usize, record: &Record, start: usize) {
        self.map.records.at[id] = to_u32(self.new).wrapping_sub(to_u32(start - record.start));
        if start < record.code_end() {
            self.copy_inserted(start, record.code_end());
        }
    }

    /// The units of an edited instruction that was not replaced, if it is live.
    #[inline]
    fn copy_units(&mut self, at: usize) {
        let (columns, new) = (self.columns, self.new);
        let (words, local) = columns.words_at(at);
        let (word, bit) = (local / WORD, local % WORD);
        if words.dead[word] >> bit & 1 != 0 {
            return;
        }
        let len = words.len_at(local);
        if at < columns.base {
            copy(self.units, new, columns.original, at, len);
            if let Some(facts) = columns.facts.sized() {
                copy(self.aux, new, facts, at, len);
            }
            self.new += len;
            self.carry = Carry::Moved(to_u32(new).wrapping_sub(to_u32(at)));
        } else {
            self.copy_inserted(at, at + len);
        }
        if words.branch[word] >> bit & 1 != 0 {
            note(self.branches, (handle(at), to_u32(new)), &mut self.refused);
        }
        self.note_own(at, new);
    }

    /// Notes where an instruction went itself, if that is not its label.
    #[inline]
    fn note_own(&mut self, at: usize, new: usize) {
        let new = to_u32(new);
        if *self.label_mut(at) != new {
            self.unsorted |= at >= self.columns.base;
            note(&mut self.map.own, (to_u32(at), new), &mut self.refused);
        }
    }

    /// The label of an original instruction of the word, or of a unit of a split record.
    #[inline]
    fn label_mut(&mut self, at: usize) -> &mut u32 {
        if at < self.columns.base {
            return &mut self.labels[at - self.word];
        }
        let id = self.columns.record_of(at);
        let start = self.columns.records.get(id).start;
        let row = self.row_of(id);
        // There is none if memory ran out, and then the output does not count.
        match self.map.records.labels.get_mut(row + (at - start)) {
            Some(label) => label,
            None => &mut self.labels[WORD],
        }
    }

    /// Where the labels of the split record `id` begin.
    fn row_of(&mut self, id: usize) -> usize {
        let records = &mut self.map.records;
        if !records.is_split(id) {
            let (record, row) = (self.columns.records.get(id), records.labels.len());
            let len = record.end() - record.start;
            if records.labels.try_reserve(len).is_ok() {
                records.labels.resize(row + len, NOWHERE);
            } else {
                self.refused = true;
            }
            records.split[id / WORD] |= 1 << (id % WORD);
            records.at[id] = to_u32(row);
        }
        records.at[id] as usize
    }

    /// The general case: an instruction with all that stands around it, and around that in its turn.
    #[inline(never)]
    fn weave_site(&mut self, anchor: usize) {
        self.note_start(anchor);
        self.weave(self.columns.first_around(anchor), anchor);
    }

    /// The general case, from a place around `anchor`, or around what is inserted for it, on.
    fn weave(&mut self, mut place: Place, anchor: usize) {
        let columns = self.columns;
        loop {
            place = match place {
                Place::After(at) if at == anchor => break,
                Place::After(at) => self.weave_split(columns.record_of(at), at + columns.len_at(at)),
                Place::Record(id) => {
                    let (record, start) = (columns.records.get(id), columns.rest(id));
                    if record.meta.is_split() {
                        self.weave_split(id, start)
                    } else {
                        self.copy_record(id, &record, start);
                        columns.step(Place::RecordEnd(id))
                    }
                }
                Place::Label(at) => {
                    *self.label_mut(at) = to_u32(self.new);
                    columns.step(place)
                }
                Place::Own(at) => {
                    self.copy_own(at);
                    columns.step(place)
                }
                Place::RecordEnd(_) => columns.step(place),
            }
        }
        // Labels that coincide with labels inside prepended code, innermost first.
        while let Some((label, inside)) = self.aliases.pop() {
            let inside = self.label_of(inside.at());
            *self.label_mut(label.at()) = inside;
        }
    }

    /// The label of the first instruction of a record, or of an original instruction of the word.
    fn label_of(&mut self, at: usize) -> u32 {
        *self.label_mut(at)
    }

    /// The units of a split record from `from` on, up to the next instruction that takes the general way. Returns what comes
    /// then.
    fn weave_split(&mut self, id: usize, from: usize) -> Place {
        match self.lay_split(id, &self.columns.records.get(id), from) {
            Some(at) => {
                self.note_start(at);
                self.columns.first_around(at)
            }
            None => self.columns.step(Place::RecordEnd(id)),
        }
    }

    /// The units of a split record from `from` on, with what stands around them, up to the first instruction that takes the
    /// general way, which it returns.
    fn lay_split(&mut self, id: usize, record: &Record, mut from: usize) -> Option<usize> {
        let columns = self.columns;
        let row = self.row_of(id);
        let chunk = columns.chunk(record.start);
        let end = record.end();
        while from < end {
            let at = next_touched(&chunk.words, from - chunk.start, end - chunk.start) + chunk.start;
            if from < at {
                let labels = self.map.records.labels.get_mut(row + (from - record.start)..);
                for (label, new) in labels.into_iter().flatten().take(at - from).zip(to_u32(self.new)..) {
                    *label = new;
                }
                self.copy_inserted(from, at);
            }
            if at == end {
                break;
            }
            let local = at - chunk.start;
            let (word, bit) = (local / WORD, local % WORD);
            let dead = chunk.words.dead[word] >> bit & 1 != 0;
            if chunk.words.edited[word] >> bit & 1 != 0 {
                let Slot::Lone(inner) = Columns::<I::Unit, A>::slot_in(&chunk.words, word, bit) else {
                    return Some(at);
                };
                let inner_record = columns.records.get(inner);
                if inner_record.meta.is_split() {
                    return Some(at);
                }
                self.lay_simple(at, at - record.start, Some(row), inner, &inner_record);
            } else {
                *self.label_mut(at) = to_u32(self.new);
            }
            if dead && at < record.code_end() {
                self.note_gone(at);
            }
            from = at + chunk.words.len_at(local);
        }
        None
    }

    /// Notes that an inserted instruction was deleted.
    fn note_gone(&mut self, at: usize) {
        self.unsorted = true;
        note(&mut self.map.own, (to_u32(at), NOWHERE), &mut self.refused);
    }

    /// An edited instruction: its own units or those that replaced it, if it is live.
    fn copy_own(&mut self, at: usize) {
        let (columns, new) = (self.columns, self.new);
        if columns.is_dead(at) {
            if at >= columns.base {
                self.note_gone(at);
            }
            return;
        }
        let Some(id) = columns.body_record(at) else { return self.copy_units(at) };
        let record = columns.records.get(id);
        let len = columns.len_at(record.start);
        if record.meta.is_split() {
            let row = self.row_of(id);
            let labels = self.map.records.labels.get_mut(row..).into_iter().flatten();
            labels.take(len).zip(to_u32(new)..).for_each(|(label, new)| *label = new);
        }
        self.copy_inserted(record.start, record.start + len);
        if size_of::<A>() != 0 {
            self.aux[new] = *columns.fact(at);
        }
        self.note_own(at, new);
    }

    /// Notes what makes an instruction begin elsewhere than at its label: code before the label, or before
    /// that of the first instruction prepended to it, with which its own coincides.
    fn note_start(&mut self, at: usize) {
        let columns = self.columns;
        let Some(site) = columns.site(at) else { return };
        let alias = site.pre.and_then(|last| {
            let first = columns.records.get(columns.records.next(last.at())).start;
            columns.is_edited(first).then_some(first)
        });
        if let Some(first) = alias {
            note(self.aliases, (handle(at), handle(first)), &mut self.refused);
        }
        if site.fall.is_some() || alias.is_some() {
            note(&mut self.map.starts, (to_u32(at), to_u32(self.new)), &mut self.refused);
        }
    }
}

/// The first unit of these columns from `from` on that was edited or deleted, or `end`.
fn next_touched(words: &Words<'_>, from: usize, end: usize) -> usize {
    let mut at = from;
    while at < end {
        let touched = words.touched(at / WORD) >> (at % WORD);
        if touched != 0 {
            return end.min(at + touched.trailing_zeros() as usize);
        }
        at = (at / WORD + 1) * WORD;
    }
    end
}

#[cfg(all(test, feature = "bpf"))]
mod tests;
