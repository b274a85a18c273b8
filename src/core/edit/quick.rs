//! The edits that are made most, in few instructions: one to eight instructions of one unit, at an instruction that was not
//! edited before.

use super::super::columns::{Columns, Kind, Meta, PackedSlot, WORD, Window, Words, ones, up_to};
use super::super::handle::to_u32;
use super::super::list::reached;
use super::super::{Branch, Error, Fact, Handle, Inserted, Isa, List, Patch, Target};

impl<I: Isa, A: Copy + Default> List<'_, I, A> {
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "an edit takes half as many instructions where it is made")]
    pub(super) fn insert(
        &mut self,
        handle: Handle,
        patch: Patch<'_, I::Unit>,
        kind: Kind,
    ) -> Result<Inserted, Error> {
        // Taken apart, and put together again only for those that need it, a patch never gets into memory.
        let Patch { units, branches, fact } = patch;
        if handle.at() / WORD != self.columns.window.word {
            self.columns.open_window(handle.at());
        }
        if fact == Fact::Keep {
            let inserted = match units.len() {
                1 => self.insert_quick::<1>(handle, units, branches, kind),
                2 => self.insert_quick::<2>(handle, units, branches, kind),
                3 => self.insert_quick::<3>(handle, units, branches, kind),
                4 => self.insert_quick::<4>(handle, units, branches, kind),
                _ => None,
            };
            if let Some(inserted) = inserted {
                self.check_edit();
                return Ok(inserted);
            }
        }
        self.insert_longer(handle, &Patch { units, branches, fact }, kind)
    }

    /// What is too much code to stand wherever an edit is made.
    #[inline(never)]
    fn insert_longer(
        &mut self,
        handle: Handle,
        patch: &Patch<'_, I::Unit>,
        kind: Kind,
    ) -> Result<Inserted, Error> {
        let &Patch { units, branches, fact } = patch;
        if fact == Fact::Keep {
            let inserted = match units.len() {
                5 => self.insert_quick::<5>(handle, units, branches, kind),
                6 => self.insert_quick::<6>(handle, units, branches, kind),
                7 => self.insert_quick::<7>(handle, units, branches, kind),
                8 => self.insert_quick::<8>(handle, units, branches, kind),
                _ => None,
            };
            if let Some(inserted) = inserted {
                self.check_edit();
                return Ok(inserted);
            }
        }
        self.insert_any(handle, patch, kind)
    }

    /// An edit by `N` instructions of one unit, whose branches lead to the original program, or into the patch, of an
    /// instruction in the window; `None`, with nothing done, for any other edit.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "an edit takes half as many instructions where it is made")]
    fn insert_quick<const N: usize>(
        &mut self,
        handle: Handle,
        units: &[I::Unit],
        branches: &[Branch],
        kind: Kind,
    ) -> Option<Inserted> {
        let units = units.first_chunk::<N>()?;
        let columns = &mut self.columns;
        let bit = handle.at() % WORD;
        if columns.window.units >> bit & 1 == 0 {
            return None;
        }
        let branch = self.isa.branches_of_short(units)?;
        let start = columns.fresh();
        let mut labeled = false;
        if (branch != 0 || !branches.is_empty()) && columns.note_listed(branch, branches).is_none() {
            labeled = columns.note_targets(&self.isa, units, branch, branches, kind)?;
        }
        if !columns.push_units(units, handle.at(), Meta::new(to_u32(N), kind, labeled)) {
            columns.targets.truncate(columns.targets.len() - branch.count_ones() as usize);
            return None;
        }
        columns.note_quick::<N>(handle, start, branch, kind);
        if labeled {
            columns.push_label();
        }
        let first = if kind == Kind::Body { handle } else { Handle::new(to_u32(start)) };
        Some(Inserted::new(first, to_u32(start), to_u32(N)))
    }
}

impl<U: Copy + Default, A: Copy + Default> Columns<'_, U, A> {
    /// Appends the label of the last record, for which there is room.
    #[inline(never)]
    fn push_label(&mut self) {
        let at = self.tail.units.len();
        self.push_long(&[U::default()]);
        Words::set(self.tail.words.dead, at, 1);
        self.note_words(at, at + 1, self.records.len(), self.targets.len());
    }
}

impl<U, A> Columns<'_, U, A> {
    /// Enters what the words say of a quick edit. Keeps all invariants.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "an edit takes half as many instructions where it is made")]
    fn note_quick<const N: usize>(&mut self, handle: Handle, start: usize, branch: u64, kind: Kind) {
        let local = start - self.tail.start;
        let (word, bit) = (local / WORD, local % WORD);
        self.tail.words.starts[word] |= 1 << bit;
        if branch != 0 {
            self.tail.words.branch[word] |= branch << bit;
        }
        if bit + N >= WORD {
            self.reach_next_word::<N>(local, branch);
        }
        self.live += to_u32(N);
        let bit = handle.at() % WORD;
        if kind == Kind::Body {
            self.live -= 1;
            if self.window.wide >> bit & 1 != 0 {
                self.live -= self.units_behind(handle.at());
            }
        }
        if handle.at() < self.base && !self.window.blocked {
            self.window.units &= (!1) << bit;
            self.words.edited[handle.at() / WORD] |= 1 << bit;
        } else {
            self.note_blocked(handle.at());
        }
    }

    /// How many units an instruction has but its first.
    #[cold]
    fn units_behind(&self, at: usize) -> u32 {
        to_u32(self.len_at(at) - 1)
    }

    /// The rest, for a unit of a word with a block, or an inserted one.
    #[inline(never)]
    fn note_blocked(&mut self, at: usize) {
        let (id, blocked, bit) = (to_u32(self.records.len() - 1), self.window.blocked, at % WORD);
        self.window.units &= if blocked { !(1 << bit) } else { (!1) << bit };
        let (words, local) = self.words_at_mut(at);
        words.edited[local / WORD] |= 1 << bit;
        if let Some(block) = &mut words.blocks[local / WORD] {
            block[bit] = PackedSlot::lone(id);
        }
        self.touch(at);
    }

    /// The units from `local` on of the tail reach to the end of a word, or into the next one.
    #[inline(never)]
    fn reach_next_word<const N: usize>(&mut self, local: usize, branch: u64) {
        let split = WORD - local % WORD;
        // A shift by 64 says that all are before the next word.
        let beyond = branch.unbounded_shr(to_u32(split));
        self.tail.words.branch[local / WORD + 1] |= beyond;
        let targets = self.targets.len() - beyond.count_ones() as usize;
        self.note_words(local, local + N, self.records.len(), targets);
    }

    /// Notes where the only branch of a quick edit leads, if that is listed and in the original program; `None` if there
    /// is anything else.
    #[inline]
    fn note_listed(&mut self, branch: u64, branches: &[Branch]) -> Option<()> {
        let &[Branch { unit, field: 0, target }] = branches else { return None };
        if 1_u64.checked_shl(unit) != Some(branch) || self.targets.len() == self.targets.capacity() {
            return None;
        }
        self.targets.push(self.original_target(target)?);
        Some(())
    }

    /// Notes where the branches of a quick edit lead, if each leads to another instruction of the patch, by its
    /// displacement, or to its end, or is listed and leads to the original program; `None`, with nothing noted, if there is
    /// anything else. Says whether one leads to the end, which takes a label, for which there is room then.
    #[inline(never)]
    fn note_targets<I: Isa<Unit = U>>(
        &mut self,
        isa: &I,
        units: &[U],
        branch: u64,
        mut listed: &[Branch],
        kind: Kind,
    ) -> Option<bool> {
        let (noted, start) = (self.targets.len(), self.fresh());
        let (mut labeled, room) = (false, self.tail.room() > units.len());
        for unit in ones(branch, 0) {
            let given = listed.first().filter(|given| (given.unit as usize, given.field) == (unit, 0));
            let target = if let Some(given) = given {
                listed = &listed[1..];
                self.original_target(given.target)
            } else {
                let insn = &units[unit..=unit];
                let to = reached(to_u32(unit), isa.base(insn, 0), isa.read(insn, 0));
                // The first unit may go by another name.
                let first = i64::from(kind == Kind::Body);
                let most = units.len() - usize::from(!room);
                let inside = usize::try_from(to).ok().filter(|&at| to >= first && at <= most);
                labeled |= inside == Some(units.len());
                inside.map(|at| Handle::new(to_u32(start + at)))
            };
            let Some(target) = target.filter(|_| self.targets.len() < self.targets.capacity()) else {
                self.targets.truncate(noted);
                return None;
            };
            self.targets.push(target);
        }
        if !listed.is_empty() {
            self.targets.truncate(noted);
            return None;
        }
        Some(labeled)
    }

    /// The original instruction that is a target.
    #[inline]
    fn original_target(&self, target: Target) -> Option<Handle> {
        let index = match target {
            Target::Original(index) => index,
            Target::Handle(handle) => handle.index(),
            Target::Local(_) | Target::End => return None,
        };
        let at = index as usize;
        let is_insn = at <= self.original.len() && self.words.inner[at / WORD] >> (at % WORD) & 1 == 0;
        is_insn.then(|| Handle::new(index))
    }

    /// Goes to the word of `handle` to edit that. If the edits of the word cannot remain in order then, it gets a block.
    #[inline(never)]
    pub(super) fn open_window(&mut self, handle: usize) {
        self.window = Window::CLOSED;
        let (index, at) = (handle / WORD, handle / WORD * WORD);
        if !self.has(handle) {
            return;
        }
        let (id, bump) = (to_u32(self.records.len()), self.bump);
        let named = if at < self.base { !0 } else { self.named_in(at) };
        let (words, local) = self.words_at_mut(at);
        let word = local / WORD;
        let plain = !(words.touched(word) | words.inner[word]);
        let mut units = plain & named;
        let wide = units & !words.singles(word);
        if words.blocks[word].is_none() {
            let next = words.next_in_order(word, id);
            if next >> (handle % WORD) & 1 != 0 {
                units &= next;
                if words.edited[word] == 0 {
                    words.first[word] = id;
                }
            } else if words.add_block(bump, word).is_err() {
                return;
            }
        }
        let blocked = words.blocks[word].is_some();
        self.window = Window { word: index, units, wide, blocked };
    }

    /// The units of a word of inserted ones, whose first is at `at`, that have a handle of their own.
    fn named_in(&self, at: usize) -> u64 {
        let chunk = self.chunk(at);
        let word = (at - chunk.start) / WORD;
        let mut named = up_to((chunk.end() - at).min(WORD));
        for (bit, id) in ones(chunk.words.starts[word], 0).zip(chunk.words.records[word] as usize..) {
            if self.records.get(id).kind() == Kind::Body {
                named &= !(1 << bit);
            }
        }
        named
    }
}

#[cfg(all(test, feature = "bpf"))]
mod tests;
