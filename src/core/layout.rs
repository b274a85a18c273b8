//! [`Layout`]: where everything goes, in the order of the list. Untouched stretches move as blocks.

use alloc::vec::Vec;
use core::hint::black_box;
use core::ops::Range;

use super::fill::{copy, note, number, number_exactly};
use super::handle::to_u32;
use super::map::NOWHERE;
use super::retarget::Aim;
use super::site::{Chain, Run, RunId, Slot};
use super::walk::Place;
use super::words::{WORD, Word, below, ones};
use super::{Error, Handle, Isa, Linear, List};

/// Words that are laid out before the branches of those before are fixed: their units are in the cache then.
const TILE: usize = 32;

/// One layout under way.
pub(super) struct Layout<'s, 'a, I: Isa, A> {
    list: &'s List<'a, I, A>,
    units: &'s mut [I::Unit],
    aux: &'s mut [A],
    /// The labels of original units, and of inserted ones.
    original: &'s mut [u32],
    inserted: &'s mut [u32],
    /// Where the next unit goes.
    new: usize,
    /// The next original unit to lay out.
    at: usize,
    /// The lone runs of a word.
    gathered: [Option<Run>; WORD],
    own: &'s mut Vec<(u32, u32)>,
    starts: &'s mut Vec<(u32, u32)>,
    dead: &'s mut [u64],
    branches: &'s mut Vec<(Handle, u32)>,
    aliases: &'s mut Vec<(Handle, Handle)>,
    /// Whether there was no memory for a note.
    refused: bool,
}

impl<'s, 'a, I: Isa, A: Copy + Default> Layout<'s, 'a, I, A> {
    /// A layout of `list` into `out`, which is as long as the list will be, with slack.
    pub(super) fn new(list: &'s List<'a, I, A>, out: &'s mut Linear<I::Unit, A>) -> Self {
        let Linear { units, aux, map, branches, aliases } = out;
        let (original, inserted) = map.labels.split_at_mut(list.base as usize);
        Self {
            list,
            units,
            aux,
            original,
            inserted,
            new: 0,
            at: 0,
            gathered: [None; WORD],
            own: &mut map.own,
            starts: &mut map.starts,
            dead: &mut map.dead,
            branches,
            aliases,
            refused: false,
        }
    }

    /// Lays everything out, and fixes the branches that lead where it is known already. Returns the length.
    pub(super) fn run(mut self) -> Result<usize, Error> {
        let (list, units) = (self.list, self.list.original.len());
        let words = units / WORD + 1;
        let mut laid = 0..0;
        for start in (0..words).step_by(TILE) {
            let end = words.min(start + TILE);
            let until = units.min(end * WORD);
            if self.at < until {
                self.at = self.lay::<false>(self.at..until);
            }
            // One behind, a near branch ahead is known too.
            self.aim_words(laid);
            laid = start..end;
        }
        self.weave_end();
        self.original[list.end().at() + 1..].fill(NOWHERE);
        self.aim_words(laid);
        self.starts.sort_unstable();
        if self.refused { Err(Error::OutOfMemory) } else { Ok(self.new) }
    }

    /// Fixes branches of words that are laid out; those that do not lead to what is laid out have to wait.
    fn aim_words(&mut self, words: Range<usize>) {
        let (branches, refused) = (&mut *self.branches, &mut self.refused);
        let mut aim: Aim<'_, I> =
            Aim { units: self.units, new_len: self.list.live, no_starts: self.starts.is_empty() };
        aim.originals(&self.list.words, words, &self.original[..self.at], |handle, from| {
            note(branches, (handle, from), refused);
        });
    }

    /// Lays out the units in a range of handle indexes, of the inserted column or of the original program, with all that
    /// stands around them. Returns where it ends, which an instruction may put off.
    fn lay<const INSERTED: bool>(&mut self, range: Range<usize>) -> usize {
        let list = self.list;
        let (mut at, end) = (range.start, range.end);
        let words = at / WORD..end.div_ceil(WORD);
        for (index, word) in words.clone().zip(&list.words[words]) {
            let base = index * WORD;
            let mut touched = word.touched();
            if touched == 0 || at >= base + WORD {
                continue;
            }
            let first = at.saturating_sub(base);
            touched &= !below(first);
            let bodies = word.bodies & !word.dead;
            if !INSERTED && word.block != 0 {
                self.gather(word);
            }
            // If they are edited in order, the run of the next edited one: cheaper than counting bits for each.
            let mut run = if first == 0 { word.first_run } else { word.run_in_order(first) };
            while touched != 0 {
                let bit = touched.trailing_zeros() as usize;
                let here = base + bit;
                if here >= end {
                    break;
                }
                self.copy_plain::<INSERTED>(at..here);
                if bodies >> bit & 1 != 0 {
                    let count = (bodies >> bit).trailing_ones().min(to_u32(end - here));
                    self.weave_bodies::<INSERTED>(here, run as usize, count as usize);
                    run += count;
                    let final_one = here + count as usize - 1;
                    at = final_one + self.label_rest::<INSERTED>(word, final_one, true);
                } else if word.edited >> bit & 1 != 0 {
                    self.weave::<INSERTED>(word, here, run);
                    run += 1;
                    at = here + self.label_rest::<INSERTED>(word, here, false);
                } else {
                    let dead = (touched & !word.edited) >> bit;
                    at = end.min(here + dead.trailing_ones() as usize);
                    self.label_dead::<INSERTED>(here..at);
                }
                touched = if at - base < WORD { touched & !below(at - base) } else { 0 };
            }
        }
        if at < end {
            self.copy_plain::<INSERTED>(at..end);
            at = end;
        }
        at
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "it takes a tenth fewer instructions than a call")]
    fn copy_plain<const INSERTED: bool>(&mut self, range: Range<usize>) {
        if INSERTED { self.copy_inserted(range) } else { self.copy_original(range) }
    }

    /// Copies a stretch of the original program that nothing was done to.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "it takes a tenth fewer instructions than a call")]
    fn copy_original(&mut self, range: Range<usize>) {
        let (from, len) = (range.start, range.end - range.start);
        if len == 0 {
            return;
        }
        copy(self.units, self.new, self.list.original, from, len);
        if let Some(facts) = self.list.aux.sized() {
            copy(self.aux, self.new, facts, from, len);
        }
        number(self.original, from, len, to_u32(self.new));
        self.new += len;
    }

    /// Copies inserted units that nothing was done to.
    #[inline]
    fn copy_inserted(&mut self, range: Range<usize>) {
        let (at, len) = (range.start, range.end - range.start);
        if len == 0 {
            return;
        }
        let from = at - self.list.base as usize;
        copy(self.units, self.new, &self.list.inserted, from, len);
        if let Some(facts) = self.list.aux.sized() {
            copy(self.aux, self.new, facts, at, len);
        }
        number_exactly(self.inserted, from, len, to_u32(self.new));
        self.new += len;
    }

    /// Instructions from `at` on that were replaced in order, by the runs from `first` on, one after the other: what
    /// replaced them is one stretch.
    #[inline]
    fn weave_bodies<const INSERTED: bool>(&mut self, at: usize, first: usize, count: usize) {
        let list = self.list;
        let runs = &list.runs[first..first + count];
        let (start, end) = (runs[0].start.index(), runs[count - 1].end);
        let new = to_u32(self.new);
        let shift = new.wrapping_sub(start);
        match self.labels::<INSERTED>(at..at + count) {
            [label] => *label = new,
            labels => {
                for (label, run) in labels.iter_mut().zip(runs) {
                    *label = run.start.index().wrapping_add(shift);
                }
            }
        }
        // The first instruction of each goes by the name of the one it replaced, and so does its fact.
        self.copy_inserted(start as usize..end as usize);
        if size_of::<A>() != 0 {
            for (at, run) in (at..at + count).zip(runs) {
                self.aux[run.start.index().wrapping_add(shift) as usize] = list.aux[at];
            }
        }
    }

    #[inline]
    fn labels<const INSERTED: bool>(&mut self, range: Range<usize>) -> &mut [u32] {
        if INSERTED {
            let base = self.list.base as usize;
            &mut self.inserted[range.start - base..range.end - base]
        } else {
            &mut self.original[range]
        }
    }

    /// Labels the units of an edited instruction but its first, which are gone for sure if it was `replaced`. Returns how
    /// many it has with that.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "most have no other units, and then there is nothing to do")]
    fn label_rest<const INSERTED: bool>(&mut self, word: &Word, at: usize, replaced: bool) -> usize {
        if word.is_single(at) { 1 } else { self.label_inner::<INSERTED>(at, replaced) }
    }

    #[inline(never)]
    fn label_inner<const INSERTED: bool>(&mut self, at: usize, replaced: bool) -> usize {
        let (list, anchor) = (self.list, Handle::new(to_u32(at)));
        let len = list.len_at(anchor);
        if INSERTED {
            self.labels::<INSERTED>(at + 1..at + len).fill(NOWHERE);
        } else if replaced || !list.is_live(anchor) || list.body(anchor) != anchor {
            self.label_gone(at + 1..at + len);
        }
        len
    }

    /// Labels deleted units.
    fn label_dead<const INSERTED: bool>(&mut self, range: Range<usize>) {
        let new = to_u32(self.new);
        self.labels::<INSERTED>(range).fill(new);
    }

    /// Gathers the lone runs of a word that was not edited in order, and brings their units near. They are anywhere: asked
    /// for all at once, they do not have to be waited for one after the other.
    fn gather(&mut self, word: &Word) {
        let list = self.list;
        for bit in ones(word.edited, 0) {
            self.gathered[bit] = self.lone_run(word, bit);
        }
        for bit in ones(word.edited, 0) {
            let run = self.gathered[bit].map(|run| (run.start.index() - list.base) as usize);
            black_box(run.and_then(|start| list.inserted.get(start).copied()));
        }
    }

    /// The run of the edited instruction at `bit` of a word, if it has just one.
    #[inline]
    fn lone_run(&self, word: &Word, bit: usize) -> Option<Run> {
        match self.list.slot_in(word, bit) {
            Slot::Lone(id) => Some(*self.list.run(id)),
            Slot::Site(_) => None,
        }
    }

    /// An instruction that was edited, and all that stands around it.
    #[inline]
    fn weave<const INSERTED: bool>(&mut self, word: &Word, at: usize, run_in_order: u32) {
        let (list, anchor) = (self.list, Handle::new(to_u32(at)));
        let run = match word.block {
            0 => Some(*list.run(RunId::new(run_in_order))),
            _ if !INSERTED => self.gathered[at % WORD],
            _ => self.lone_run(word, at % WORD),
        };
        match run {
            // Those inside an inserted one are left to what does not call itself.
            Some(run) if !INSERTED || !run.is_touched() => self.weave_lone(anchor, &run),
            _ => self.weave_site(anchor),
        }
    }

    /// What stands around the end.
    fn weave_end(&mut self) {
        let (list, end) = (self.list, self.list.end());
        if list.words.is_edited(end.at()) {
            self.weave_site(end);
        } else {
            self.set_label(end);
        }
    }

    /// An instruction with one run.
    #[inline]
    fn weave_lone(&mut self, anchor: Handle, run: &Run) {
        let list = self.list;
        let start = run.start.at();
        if run.chain() == Chain::Body && !list.words.is_dead(anchor.at()) {
            self.set_label(anchor);
            let new = self.new;
            self.copy_run(run, start);
            // The first instruction of the run goes by the name of the anchor, and so does its fact.
            if size_of::<A>() != 0 {
                self.aux[new] = list.aux[anchor.at()];
            }
        } else if run.chain() == Chain::Pre && !run.is_touched() {
            self.set_label(anchor);
            self.copy_run(run, start);
            self.copy_units(anchor);
        } else {
            self.weave_unusual(anchor, run);
        }
    }

    fn weave_unusual(&mut self, anchor: Handle, run: &Run) {
        match run.chain() {
            Chain::Fall => {
                note(self.starts, (anchor.index(), to_u32(self.new)), &mut self.refused);
                self.copy_run(run, run.start.at());
                self.set_label(anchor);
                self.copy_units(anchor);
            }
            Chain::Post => {
                self.set_label(anchor);
                self.copy_units(anchor);
                self.copy_run(run, run.start.at());
            }
            Chain::Body => {
                self.set_label(anchor);
                let rest = self.skip_body(run);
                self.copy_run(run, rest);
            }
            // The first instruction may have been edited, and be where the label is.
            Chain::Pre => self.weave_site(anchor),
        }
    }

    /// The units of a run from unit `from` of the list on, with all that stands around them.
    #[inline]
    fn copy_run(&mut self, run: &Run, from: usize) {
        if run.is_touched() {
            self.lay::<true>(from..run.end as usize);
            return;
        }
        self.copy_inserted(from..run.code_end() as usize);
        if run.is_labeled() {
            self.inserted[(run.code_end() - self.list.base) as usize] = to_u32(self.new);
        }
    }

    /// Inserted units from `from` up to the next edited one, or to `end`. Returns where that is.
    fn copy_stretch(&mut self, mut from: usize, end: usize) -> usize {
        let list = self.list;
        let base = list.base as usize;
        loop {
            let at = list.words.find(from..end, Word::touched);
            self.copy_inserted(from..at);
            if at == end {
                return at;
            }
            let len = list.words.len_at(at);
            self.inserted[at - base..at - base + len].fill(NOWHERE);
            if list.words.is_edited(at) {
                return at;
            }
            self.inserted[at - base] = to_u32(self.new);
            from = at + len;
        }
    }

    /// The general case: an instruction with all that stands around it, and around that in its turn.
    fn weave_site(&mut self, anchor: Handle) {
        let list = self.list;
        let mut place = Place::Before(anchor);
        self.note_start(anchor);
        while place != Place::After(anchor) {
            place = match place {
                Place::Before(handle) if handle != anchor => {
                    let end = list.piece_end(handle);
                    let at = self.copy_stretch(handle.at(), end);
                    if at < end {
                        let edited = Handle::new(to_u32(at));
                        self.note_start(edited);
                        list.step(Place::Before(edited))
                    } else {
                        list.place_in(at, end)
                    }
                }
                Place::Run(id) => {
                    let run = list.run(id);
                    let start = if run.chain() == Chain::Body { self.skip_body(run) } else { run.start.at() };
                    if run.is_touched() {
                        list.step(place)
                    } else {
                        self.copy_run(run, start);
                        Place::RunEnd(id)
                    }
                }
                Place::Label(handle) => {
                    self.set_label(handle);
                    list.step(place)
                }
                Place::Own(handle) => {
                    self.copy_own(handle);
                    list.step(place)
                }
                _ => list.step(place),
            }
        }
        // Labels that coincide with labels inside prepended code, innermost first.
        while let Some((label, inside)) = self.aliases.pop() {
            *self.label_mut(label) = *self.label_mut(inside);
        }
    }

    /// The first unit of a run that replaced an instruction to be laid out among the others of its chain.
    fn skip_body(&mut self, run: &Run) -> usize {
        let (list, start) = (self.list, run.start);
        let rest = list.run_start(run).at();
        let is_own = list.is_live(run.anchor) && list.body(run.anchor) == start;
        if !is_own {
            let base = list.base as usize;
            self.inserted[start.at() - base..rest - base].fill(NOWHERE);
        }
        rest
    }

    /// An instruction that has a site: its own units or those that replaced it, if it is live.
    fn copy_own(&mut self, handle: Handle) {
        let (list, new) = (self.list, self.new);
        let body = list.body(handle);
        if body == handle {
            self.copy_units(handle);
        } else if !list.words.is_dead(handle.at()) {
            self.copy_inserted(body.at()..body.at() + list.len_at(body));
            if size_of::<A>() != 0 {
                self.aux[new] = list.aux[handle.at()];
            }
            self.note_own(handle, new);
        }
    }

    /// The units of an edited instruction that was not replaced, if it is live.
    #[inline]
    fn copy_units(&mut self, handle: Handle) {
        let (list, at, new) = (self.list, handle.at(), self.new);
        if list.words.is_dead(at) {
            return;
        }
        let len = list.words.len_at(at);
        let inserted = at >= list.base as usize;
        let (column, from) =
            if inserted { (&list.inserted[..], at - list.base as usize) } else { (list.original, at) };
        copy(self.units, new, column, from, len);
        if let Some(facts) = list.aux.sized() {
            copy(self.aux, new, facts, at, len);
        }
        self.new += len;
        if list.words.has(at, |word| word.branch) {
            note(self.branches, (handle, to_u32(new)), &mut self.refused);
        }
        if !inserted {
            if len > 1 {
                number_exactly(self.original, at + 1, len - 1, to_u32(new) + 1);
            }
            self.note_own(handle, new);
        }
    }

    /// Notes where an original instruction went itself, if that is not its label.
    #[inline]
    fn note_own(&mut self, handle: Handle, new: usize) {
        let new = to_u32(new);
        if handle.index() < self.list.base && self.original[handle.at()] != new {
            note(self.own, (handle.index(), new), &mut self.refused);
        }
    }

    /// A branch to `handle` lands here, or on the label of the first instruction prepended to it.
    #[inline]
    fn set_label(&mut self, handle: Handle) {
        *self.label_mut(handle) = to_u32(self.new);
    }

    #[inline]
    fn label_mut(&mut self, handle: Handle) -> &mut u32 {
        match handle.index().checked_sub(self.list.base) {
            None => &mut self.original[handle.at()],
            Some(at) => &mut self.inserted[at as usize],
        }
    }

    /// Notes what makes an instruction begin elsewhere than at its label: code before the label, or before
    /// that of the first instruction prepended to it, with which its own coincides.
    fn note_start(&mut self, handle: Handle) {
        let list = self.list;
        let Some(site) = list.site(handle) else { return };
        let alias = site.pre.and_then(|last| {
            let first = list.run(list.run(last).next()).start;
            list.words.is_edited(first.at()).then_some(first)
        });
        if let Some(first) = alias {
            note(self.aliases, (handle, first), &mut self.refused);
        }
        if site.fall.is_some() || alias.is_some() {
            note(self.starts, (handle.index(), to_u32(self.new)), &mut self.refused);
        }
    }

    /// Labels original units that are gone.
    fn label_gone(&mut self, units: Range<usize>) {
        for at in units {
            self.original[at] = to_u32(self.new);
            self.dead[at / WORD] |= 1 << (at % WORD);
        }
    }
}

#[cfg(all(test, feature = "fuzzing"))]
mod tests;
