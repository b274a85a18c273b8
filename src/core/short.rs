//! The edits that are made most, in few instructions: short patches, in the word that was edited last.

use super::handle::to_u32;
use super::insert::local_target;
use super::list::{MAX_LABELS, Window};
use super::room::extend_both;
use super::site::{Chain, Run, RunId, Slot};
use super::words::{WORD, ones, up_to};
use super::{Branch, Error, Fact, Handle, Inserted, Isa, List, Marks, Patch, Target};

impl<I: Isa, A: Copy + Default> List<'_, I, A> {
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "an edit takes half as many instructions where it is made")]
    pub(super) fn insert(
        &mut self,
        handle: Handle,
        patch: Patch<'_, I::Unit>,
        chain: Chain,
    ) -> Result<Inserted, Error> {
        // Taken apart, and put together again only for those that need it, a patch never gets into memory.
        let Patch { units, branches, fact } = patch;
        if handle.at() / WORD != self.window.word {
            self.open_window(handle.at() / WORD);
        }
        if fact == Fact::Keep {
            let inserted = match units.len() {
                1 => self.insert_plain::<1>(handle, units, branches, chain),
                2 => self.insert_plain::<2>(handle, units, branches, chain),
                3 => self.insert_plain::<3>(handle, units, branches, chain),
                4 => self.insert_plain::<4>(handle, units, branches, chain),
                _ => None,
            };
            if let Some(inserted) = inserted {
                self.check_edit();
                return Ok(inserted);
            }
        }
        self.insert_longer(handle, &Patch { units, branches, fact }, chain)
    }

    /// The edit that is made most, in half of the instructions of [`insert_short`](Self::insert_short): a few instructions
    /// in the word that was edited last, without displacement but for one that is listed.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "an edit takes half as many instructions where it is made")]
    fn insert_plain<const N: usize>(
        &mut self,
        handle: Handle,
        units: &[I::Unit],
        branches: &[Branch],
        chain: Chain,
    ) -> Option<Inserted> {
        let units = units.first_chunk::<N>()?;
        let bit = handle.at() % WORD;
        if self.window.units >> bit & 1 == 0 {
            return None;
        }
        let branch = I::branches_of_short(units)?;
        if branch != 0 || !branches.is_empty() {
            self.note_listed(branch, branches)?;
        }
        let (id, start) = (to_u32(self.runs.len()), self.fresh());
        let run = Run::new(start, start + to_u32(N), handle, chain, id);
        if !extend_both(&mut self.inserted, units, &mut self.runs, &[run]) {
            self.targets.truncate(self.targets.len() - branch.count_ones() as usize);
            return None;
        }
        self.note_short::<N>(handle, chain, (id, start), branch, false);
        let first = if chain == Chain::Body { handle } else { Handle::new(start) };
        Some(Inserted::new(first, start, to_u32(N)))
    }

    /// What is too much code to stand wherever an edit is made.
    #[inline(never)]
    pub(super) fn insert_longer(
        &mut self,
        handle: Handle,
        patch: &Patch<'_, I::Unit>,
        chain: Chain,
    ) -> Result<Inserted, Error> {
        let inserted = match patch.units.len() {
            1 => self.insert_short::<1>(handle, patch, chain),
            2 => self.insert_short::<2>(handle, patch, chain),
            3 => self.insert_short::<3>(handle, patch, chain),
            4 => self.insert_short::<4>(handle, patch, chain),
            5 => self.insert_short::<5>(handle, patch, chain),
            6 => self.insert_short::<6>(handle, patch, chain),
            7 => self.insert_short::<7>(handle, patch, chain),
            8 => self.insert_short::<8>(handle, patch, chain),
            _ => None,
        };
        let inserted = match inserted {
            Some(inserted) => Ok(inserted),
            None => self.insert_any(handle, patch, chain),
        };
        self.check_edit();
        inserted
    }

    /// The usual edit, in a fifth of the instructions of [`insert_any`](Self::insert_any), which does the same for
    /// all others: a few instructions of one unit, in the place of or around another one, which was not
    /// edited before; no label but one at the end; and room for all of it.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "an edit takes half as many instructions where it is made")]
    fn insert_short<const N: usize>(
        &mut self,
        handle: Handle,
        patch: &Patch<'_, I::Unit>,
        chain: Chain,
    ) -> Option<Inserted> {
        let units = patch.units.first_chunk::<N>()?;
        let bit = handle.at() % WORD;
        let single = self.window.units >> bit & 1 != 0;
        if !(single || self.is_open_and_wide(handle)) || !fact_fits::<N>(patch.fact) {
            return None;
        }
        let (id, start) = (to_u32(self.runs.len()), self.fresh());
        let branch = I::branches_of_short(units)?;
        let plain = branch == 0 && patch.branches.is_empty();
        let labeled = !plain && self.note_branches(branch, start, patch)?;
        let mut run = Run::new(start, start + to_u32(N), handle, chain, id);
        if labeled {
            run.end += 1;
            run.label();
        }
        if !extend_both(&mut self.inserted, units, &mut self.runs, &[run]) {
            self.targets.truncate(self.targets.len() - branch.count_ones() as usize);
            return None;
        }
        self.note_short::<N>(handle, chain, (id, start), branch, labeled);
        if labeled {
            self.push_label(id);
        }
        let replaces = chain == Chain::Body;
        if replaces && !single {
            self.live -= to_u32(self.len_at(handle)) - 1;
        }
        let first = if replaces { handle } else { Handle::new(start) };
        let inserted = Inserted::new(first, start, to_u32(N));
        if patch.fact != Fact::Keep {
            self.settle_fact(handle, patch.fact, inserted);
        }
        Some(inserted)
    }

    /// Notes a short edit in the words.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "an edit takes half as many instructions where it is made")]
    fn note_short<const N: usize>(
        &mut self,
        handle: Handle,
        chain: Chain,
        (id, start): (u32, u32),
        branch: u64,
        labeled: bool,
    ) {
        let (index, bit) = (handle.at() / WORD, handle.at() % WORD);
        let replaces = chain == Chain::Body;
        self.aux.extend::<N>();
        // They begin a word, or reach into the next.
        if (start as usize).wrapping_sub(1) % WORD + N >= WORD {
            self.append_words(start, N, Marks { branch, ..Marks::default() }, id);
        } else if branch != 0 {
            self.words[start as usize / WORD].branch |= branch << (start as usize % WORD);
        }
        self.live += to_u32(N) - u32::from(replaces);
        let word = &mut self.words[index];
        if self.window.block == 0 {
            self.window.units &= (!1) << bit;
            word.edit_in_order(bit, replaces && !labeled);
        } else {
            self.window.units &= !(1 << bit);
            word.edited |= 1 << bit;
            self.blocks[self.window.block as usize - 1][bit] = Slot::Lone(RunId::new(id)).pack();
        }
        self.touch(handle);
    }

    #[inline(never)]
    fn append_words(&mut self, start: u32, len: usize, marks: Marks, run: u32) {
        let branches = self.inserted_branches() - marks.branch.count_ones();
        self.words.append(start as usize, len, &marks, run, branches);
    }

    /// Notes where the only branch of a short patch leads, if that is listed and out of the patch; `None` if there is
    /// anything else.
    #[inline]
    fn note_listed(&mut self, branch: u64, branches: &[Branch]) -> Option<()> {
        let &[Branch { unit, field: 0, target }] = branches else { return None };
        let usual = 1_u64.checked_shl(unit) == Some(branch) && I::MAX_FIELDS == 1;
        if !usual || self.targets.len() == self.targets.capacity() {
            return None;
        }
        let target = self.original_target(target)?;
        self.targets.push(Some(target));
        Some(())
    }

    /// The original instruction that is a target.
    #[inline]
    fn original_target(&self, target: Target) -> Option<Handle> {
        let index = match target {
            Target::Original(index) => index,
            Target::Handle(handle) => handle.index(),
            Target::Local(_) | Target::End => return None,
        };
        let is_insn = index <= self.original_len() && !self.words.is_inner(index as usize);
        is_insn.then(|| Handle::new(index))
    }

    /// Notes where the branches of a short patch at `start` lead. Returns whether they ask for a label at its end; `None`,
    /// with nothing noted, if there is anything unusual.
    fn note_branches(&mut self, branches: u64, start: u32, patch: &Patch<'_, I::Unit>) -> Option<bool> {
        let (noted, end) = (self.targets.len(), Handle::new(start + to_u32(patch.units.len())));
        let (mut listed, mut labeled) = (patch.branches, false);
        for unit in ones(branches, 0) {
            let target = self.target_in_short(start, patch, unit, &mut listed);
            if target.is_none() || self.reserve_targets().is_err() {
                self.targets.truncate(noted);
                return None;
            }
            labeled |= target == Some(end);
            self.targets.push(target);
        }
        if !listed.is_empty() || self.inserted.len() + patch.units.len() + MAX_LABELS > self.room {
            self.targets.truncate(noted);
            return None;
        }
        Some(labeled)
    }

    /// Where the branch at `unit` of a short patch leads, if that needs no label but one at the end.
    #[inline]
    fn target_in_short(
        &self,
        start: u32,
        patch: &Patch<'_, I::Unit>,
        unit: usize,
        listed: &mut &[Branch],
    ) -> Option<Handle> {
        if I::MAX_FIELDS != 1 {
            return None;
        }
        let len = to_u32(patch.units.len());
        let target = match **listed {
            [Branch { unit: given, field: 0, target }, ref rest @ ..] if given as usize == unit => {
                *listed = rest;
                target
            }
            _ => local_target::<I>(&patch.units[unit..=unit], (to_u32(unit), 0), len).ok()?,
        };
        match target {
            // The first unit may go by another name. None is inner: a wide one is refused.
            Target::Local(to) => (to != 0 && to < len).then(|| Handle::new(start + to)),
            Target::End => Some(Handle::new(start + len)),
            Target::Original(_) | Target::Handle(_) => self.original_target(target),
        }
    }

    /// Goes to a word to edit. If it cannot remain edited in order, it gets a block.
    #[inline(never)]
    fn open_window(&mut self, index: usize) {
        self.window = Window::CLOSED;
        let id = to_u32(self.runs.len());
        let next = self.words.get(index + 1).map_or(0, |next| next.inner << (WORD - 1));
        let Some(word) = self.words.get_mut(index) else { return };
        let mut units = word.plain() & !(word.inner >> 1) & !next;
        if word.block == 0 {
            let next = word.next_in_order(id);
            if next != 0 {
                units &= next;
                if word.edited == 0 {
                    word.first_run = id;
                }
            } else if self.add_block(index).is_err() {
                return;
            }
        }
        if index >= self.base as usize / WORD {
            units &= self.names_in(index);
        }
        self.window = Window { word: index, units, block: self.words[index].block };
    }

    /// Whether this is an original instruction in the word of the window, and could be in the window but for
    /// the number of its units.
    fn is_open_and_wide(&self, handle: Handle) -> bool {
        let (index, bit) = (handle.at() / WORD, handle.at() % WORD);
        if index != self.window.word || handle.index() >= self.base {
            return false;
        }
        let word = &self.words[index];
        let next = if word.block == 0 { word.next_in_order(to_u32(self.runs.len())) } else { !0 };
        (word.plain() & next) >> bit & 1 != 0
    }

    /// The units of a word of inserted ones that have a handle of their own.
    fn names_in(&self, index: usize) -> u64 {
        let (first, end) = (index * WORD, (index + 1) * WORD);
        let count = (self.fresh() as usize).min(end) - first;
        let mut names = up_to(count);
        let runs = &self.runs[self.words[index].run as usize..];
        for run in runs.iter().take_while(|run| run.start.at() < end) {
            if run.chain() == Chain::Body && run.start.at() >= first {
                names &= !(1 << (run.start.at() - first));
            }
        }
        names
    }
}

/// Whether a fact can go where it says, in a patch of `N` instructions of one unit.
const fn fact_fits<const N: usize>(fact: Fact) -> bool {
    match fact {
        Fact::MoveTo(unit) => (unit as usize) < N,
        Fact::Keep | Fact::Reset => true,
    }
}

#[cfg(all(test, feature = "fuzzing"))]
mod tests;
