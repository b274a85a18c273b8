//! The edits that are made most, in few instructions: one to four instructions of one unit, at an instruction of one unit that
//! was not edited before.

use super::super::columns::{Columns, Kind, MAX_LABELS, Meta, PackedSlot, WORD, Window, ones, up_to};
use super::super::handle::to_u32;
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
        self.insert_any(handle, &Patch { units, branches, fact }, kind)
    }

    /// An edit by `N` instructions of one unit, none of which is a branch but for one that is listed and leads to the
    /// original program, of an instruction in the window; `None`, with nothing done, for any other edit.
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
        if branch != 0 || !branches.is_empty() {
            columns.note_listed(branch, branches)?;
        }
        let start = columns.fresh();
        if !columns.push_units(units, handle.at(), Meta::new(to_u32(N), kind, false)) {
            columns.targets.truncate(columns.targets.len() - branch.count_ones() as usize);
            return None;
        }
        columns.note_quick::<N>(handle, start, branch, kind);
        let first = if kind == Kind::Body { handle } else { Handle::new(to_u32(start)) };
        Some(Inserted::new(first, to_u32(start), to_u32(N)))
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
        self.live += to_u32(N) - u32::from(kind == Kind::Body);
        let bit = handle.at() % WORD;
        if handle.at() < self.base && !self.window.blocked {
            self.window.units &= (!1) << bit;
            self.words.edited[handle.at() / WORD] |= 1 << bit;
        } else {
            self.note_blocked(handle.at());
        }
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
        let index = match target {
            Target::Original(index) => index,
            Target::Handle(handle) => handle.index(),
            Target::Local(_) | Target::End => return None,
        };
        let at = index as usize;
        let is_insn = at <= self.original.len() && self.words.inner[at / WORD] >> (at % WORD) & 1 == 0;
        self.targets.push(is_insn.then(|| Handle::new(index))?);
        Some(())
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
        let mut units = plain & words.singles(word) & named;
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
        self.window = Window { word: index, units, blocked };
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

const _: () = assert!(MAX_LABELS < WORD);

#[cfg(all(test, feature = "bpf"))]
mod tests;
