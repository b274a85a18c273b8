//! The five edits: replace, prepend (on every way in, or on the way from above), append, delete.

use core::ops::Range;

use super::handle::to_u32;
use super::list::{MAX_LABELS, RUNS_OF_EDIT, Window};
use super::room::extend_both;
use super::site::{Block, Chain, MAX_RUNS, PackedSlot, Run, RunId, Site, Slot};
use super::words::{WORD, below, ones};
use super::{Branch, Error, Fact, Handle, Inserted, Isa, List, Marks, Patch, Target};

/// The first growth makes room for this many runs.
const LEAST_RUNS: usize = 16;

/// The units, dead from birth, that branches of a patch asked for to lead to.
#[derive(Clone, Copy, Default)]
struct Labels {
    /// What follows the patch: the last unit of its run.
    end: bool,
    /// The first instruction, without what was prepended to the replaced one before: a run of its own.
    own_start: bool,
}

/// A patch whose units are in the inserted column, but hang nowhere yet.
#[derive(Clone, Copy)]
struct Placed {
    start: u32,
    len: u32,
    replaced: Option<Handle>,
}

impl Placed {
    /// The unit of its label for what follows, if it has one.
    const fn end_label(self) -> Handle {
        Handle::new(self.start + self.len)
    }

    /// The unit of its label for its first instruction, if it has one.
    const fn own_start_label(self) -> Handle {
        Handle::new(self.start + self.len + 1)
    }
}

impl<I: Isa, A: Copy + Default> List<'_, I, A> {
    /// Puts `patch` in the place of an instruction.
    ///
    /// A branch to the instruction lands on the first of the patch, which takes over its handle.
    ///
    /// O(units of the patch), amortized.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchInsn`] or [`Error::Deleted`] for the instruction; [`Error::EmptyPatch`],
    /// [`Error::BadPatchInsn`], [`Error::LeavesPatch`], [`Error::BadTarget`] for the patch;
    /// [`Error::TooLong`] and [`Error::OutOfMemory`]. The list is then as it was.
    pub fn replace<'p>(
        &mut self,
        handle: Handle,
        patch: impl Into<Patch<'p, I::Unit>>,
    ) -> Result<Inserted, Error>
    where
        I::Unit: 'p,
    {
        self.insert(handle, patch.into(), Chain::Body)
    }

    /// Inserts `patch` before an instruction, on every way in: a branch to the instruction lands on
    /// the first of what was prepended. Later prepends stand nearer to the instruction.
    ///
    /// O(units of the patch), amortized. The [end](List::end) can be prepended to.
    ///
    /// # Errors
    ///
    /// As [`replace`](List::replace).
    pub fn prepend<'p>(
        &mut self,
        handle: Handle,
        patch: impl Into<Patch<'p, I::Unit>>,
    ) -> Result<Inserted, Error>
    where
        I::Unit: 'p,
    {
        self.insert(handle, patch.into(), Chain::Pre)
    }

    /// Inserts `patch` before an instruction, only for control that falls in from above: a branch to
    /// the instruction does not run it.
    ///
    /// It stands before all that was prepended on every way in. O(units of the patch), amortized.
    /// The [end](List::end) can be prepended to.
    ///
    /// # Errors
    ///
    /// As [`replace`](List::replace).
    pub fn prepend_fallthrough<'p>(
        &mut self,
        handle: Handle,
        patch: impl Into<Patch<'p, I::Unit>>,
    ) -> Result<Inserted, Error>
    where
        I::Unit: 'p,
    {
        self.insert(handle, patch.into(), Chain::Fall)
    }

    /// Inserts `patch` after an instruction, for control that leaves it downwards: a branch to what
    /// follows does not run it. Later appends stand nearer to the instruction.
    ///
    /// O(units of the patch), amortized.
    ///
    /// # Errors
    ///
    /// As [`replace`](List::replace).
    pub fn append<'p>(
        &mut self,
        handle: Handle,
        patch: impl Into<Patch<'p, I::Unit>>,
    ) -> Result<Inserted, Error>
    where
        I::Unit: 'p,
    {
        self.insert(handle, patch.into(), Chain::Post)
    }

    /// Deletes an instruction: a branch to it lands on the next live one. Its fact is lost; what was
    /// inserted around it stays.
    ///
    /// O(units of the instruction).
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchInsn`] or [`Error::Deleted`].
    pub fn delete(&mut self, handle: Handle) -> Result<(), Error> {
        self.check_live(handle)?;
        self.kill(handle);
        Ok(())
    }

    /// Deletes all instructions of the original program from position `range.start` up to `range.end` that
    /// are not deleted yet, whatever replaced them. What was inserted around them stays. Returns how many
    /// units that was.
    ///
    /// As [`delete`](List::delete) for each of them, but O(units / 64) where nothing was edited.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchInsn`] if an end of the range is in the middle of an instruction or out of the program.
    pub fn delete_range(&mut self, range: Range<u32>) -> Result<u32, Error> {
        let before = self.live;
        self.window = Window::CLOSED;
        for end in [range.start, range.end] {
            if end > self.original_len() || self.words.is_inner(end as usize) {
                return Err(Error::NoSuchInsn(Handle::new(end.min(Handle::MAX))));
            }
        }
        let (mut at, end) = (range.start as usize, range.end as usize);
        while at < end {
            let (index, bit) = (at / WORD, at % WORD);
            let here = (WORD - bit).min(end - at);
            let mask = (below(here - 1) << 1 | 1) << bit;
            let word = &mut self.words[index];
            let edited = word.edited & !word.dead & mask;
            if edited == 0 {
                self.live -= (!word.dead & mask).count_ones();
                word.dead |= mask;
                if let Some(facts) = self.aux.sized_mut() {
                    facts[at..at + here].fill(A::default());
                }
            } else {
                for at in ones(word.plain() & mask | edited, index * WORD) {
                    self.kill(Handle::new(to_u32(at)));
                }
            }
            at += here;
        }
        Ok(before - self.live)
    }

    /// Deletes a live instruction.
    #[inline]
    fn kill(&mut self, handle: Handle) {
        self.window = Window::CLOSED;
        let (at, len) = (handle.at(), self.len_at(handle));
        let (index, bit) = (at / WORD, at % WORD);
        let edited = self.words[index].edited >> bit & 1 != 0;
        self.live -= if edited { to_u32(self.len_at(self.body(handle))) } else { to_u32(len) };
        if bit + len <= WORD {
            self.words[index].dead |= (below(len - 1) << 1 | 1) << bit;
        } else {
            for at in at..at + len {
                self.words[at / WORD].dead |= 1 << (at % WORD);
            }
        }
        self.aux[at] = A::default();
        self.touch(handle);
    }

    /// Notes that something was done to an instruction, if a run has to know.
    #[inline]
    fn touch(&mut self, handle: Handle) {
        if handle.index() >= self.base {
            self.touch_run(self.run_of(handle));
        }
    }

    fn touch_run(&mut self, RunId(run): RunId) {
        let run = &mut self.runs[run.at()];
        run.touch();
        let at = run.anchor.at();
        self.words[at / WORD].bodies &= !(1 << (at % WORD));
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "an edit takes half as many instructions where it is made")]
    fn insert(&mut self, handle: Handle, patch: Patch<'_, I::Unit>, chain: Chain) -> Result<Inserted, Error> {
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
                return Ok(inserted);
            }
        }
        match self.insert_longer(handle, &Patch { units, branches, fact }, chain) {
            Ok(inserted) => Ok(inserted),
            Err(error) => Err(error),
        }
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

    /// What is too much code to stand wherever an edit is made.
    #[inline(never)]
    fn insert_longer(
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
        match inserted {
            Some(inserted) => Ok(inserted),
            None => self.insert_any(handle, patch, chain),
        }
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

    /// Goes to a word to edit. If it cannot remain edited in order, it gets a block.
    #[inline(never)]
    fn open_window(&mut self, index: usize) {
        self.window = Window::CLOSED;
        let id = to_u32(self.runs.len());
        let next = self.words.get(index + 1).map_or(0, |next| next.inner << (WORD - 1));
        let Some(word) = self.words.get_mut(index) else { return };
        let mut units = word.plain() & !(word.inner >> 1 | next);
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

    /// Gives a word a block for its slots.
    fn add_block(&mut self, index: usize) -> Result<(), Error> {
        if self.blocks.capacity() == self.blocks.len() {
            self.blocks.try_reserve(1)?;
        }
        let word = &mut self.words[index];
        let mut block: Block = [PackedSlot::default(); WORD];
        for (bit, run) in ones(word.edited, 0).zip(word.run_in_order(0)..) {
            block[bit] = Slot::Lone(RunId::new(run)).pack();
        }
        self.blocks.push(block);
        word.block = to_u32(self.blocks.len());
        word.bodies = 0;
        Ok(())
    }

    /// The units of a word of inserted ones that have a handle of their own.
    fn names_in(&self, index: usize) -> u64 {
        let (first, end) = (index * WORD, (index + 1) * WORD);
        let count = (self.fresh() as usize).min(end) - first;
        let mut names = below(count - 1) << 1 | 1;
        let runs = &self.runs[self.words[index].run as usize..];
        for run in runs.iter().take_while(|run| run.start.at() < end) {
            if run.chain() == Chain::Body && run.start.at() >= first {
                names &= !(1 << (run.start.at() - first));
            }
        }
        names
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

    fn insert_any(
        &mut self,
        handle: Handle,
        patch: &Patch<'_, I::Unit>,
        chain: Chain,
    ) -> Result<Inserted, Error> {
        self.window = Window::CLOSED;
        let takes_end = matches!(chain, Chain::Fall | Chain::Pre);
        if !(takes_end && handle == self.end()) {
            self.check_live(handle)?;
        }
        self.reserve(handle, patch.units.len())?;
        let replaced = (chain == Chain::Body).then_some(handle);
        let placed = Placed { start: self.fresh(), len: to_u32(patch.units.len()), replaced };
        let plain = self.copy_in(patch.units)?;
        let mut labels = Labels::default();
        if !plain || !patch.branches.is_empty() || patch.fact != Fact::Keep {
            labels = self.finish(placed, patch)?;
        }
        if replaced.is_some() {
            self.live -= to_u32(self.len_at(self.body(handle)));
        }
        self.live += placed.len;
        let main = self.push_run(placed.start, self.fresh() - u32::from(labels.own_start), handle, chain);
        if labels.end || labels.own_start {
            self.runs[main.0.at()].label();
            self.hang_labels(main, labels);
        }
        self.hang(main, handle);
        let first = replaced.unwrap_or(Handle::new(placed.start));
        let inserted = Inserted::new(first, placed.start, placed.len);
        if patch.fact != Fact::Keep {
            self.settle_fact(handle, patch.fact, inserted);
        }
        Ok(inserted)
    }

    #[inline]
    fn check_live(&self, handle: Handle) -> Result<(), Error> {
        let at = handle.at();
        if at < self.base as usize && !self.words.has(at, |word| word.inner | word.dead) {
            return Ok(());
        }
        self.check_unusual(handle)
    }

    #[cold]
    fn check_unusual(&self, handle: Handle) -> Result<(), Error> {
        if !self.is_insn(handle) || handle == self.end() {
            return Err(Error::NoSuchInsn(handle));
        }
        if self.words.is_dead(handle.at()) {
            return Err(Error::Deleted(handle));
        }
        Ok(())
    }

    /// Makes room for an edit of `handle` by a patch of this many units. After it, only the patch itself
    /// can be refused.
    #[inline]
    fn reserve(&mut self, handle: Handle, units: usize) -> Result<(), Error> {
        if self.inserted.len() + units + MAX_LABELS > self.room {
            self.reserve_units(units)?;
        }
        if self.runs.capacity() - self.runs.len() < RUNS_OF_EDIT {
            self.reserve_runs()?;
        }
        let (index, bit) = (handle.at() / WORD, handle.at() % WORD);
        let word = &self.words[index];
        if word.edited >> bit & 1 != 0 && self.sites.capacity() == self.sites.len() {
            self.sites.try_reserve(1)?;
        }
        if word.block == 0 && word.next_in_order(to_u32(self.runs.len())) >> bit & 1 == 0 {
            self.add_block(index)?;
        }
        Ok(())
    }

    #[cold]
    fn reserve_units(&mut self, units: usize) -> Result<(), Error> {
        let needed = self.inserted.len() + units + MAX_LABELS;
        let most = self.most_inserted();
        if needed > most {
            return Err(Error::TooLong { units: self.original.len() + needed });
        }
        let roomy = needed.max(self.room.saturating_mul(2)).max(WORD).min(most);
        self.grow(roomy)?;
        Ok(())
    }

    #[cold]
    fn reserve_runs(&mut self) -> Result<(), Error> {
        let (runs, limit) = (self.runs.len(), MAX_RUNS.min(self.arena.limits().edits as usize));
        if runs + RUNS_OF_EDIT > limit {
            return Err(Error::TooManyEdits { limit });
        }
        let roomy = (runs * 2).max(LEAST_RUNS).min(limit);
        self.runs.try_reserve_exact(roomy - runs)?;
        Ok(())
    }

    /// Copies the units of a patch into the inserted column, or leaves everything as it was. Says whether
    /// they are instructions of one unit without displacement fields.
    #[inline]
    fn copy_in(&mut self, units: &[I::Unit]) -> Result<bool, Error> {
        let start = self.fresh() as usize;
        if units.len() > WORD || units.is_empty() {
            return self.copy_long(units);
        }
        let marks = I::scan(units, 0).map_err(|unit| Error::BadPatchInsn { unit: to_u32(unit) })?;
        let run = to_u32(self.runs.len());
        self.words.append(start, units.len(), &marks, run, self.inserted_branches());
        self.inserted.extend_from_slice_copy(units);
        self.aux.resize(start + units.len());
        Ok(marks.inner | marks.branch == 0)
    }

    #[cold]
    fn copy_long(&mut self, units: &[I::Unit]) -> Result<bool, Error> {
        if units.is_empty() {
            return Err(Error::EmptyPatch);
        }
        let start = self.fresh() as usize;
        let (run, mut over, mut branches, mut plain) =
            (to_u32(self.runs.len()), 0, self.inserted_branches(), true);
        for at in (0..units.len()).step_by(WORD) {
            let marks = I::scan(&units[at..], over).map_err(|unit| {
                self.words.truncate(start);
                Error::BadPatchInsn { unit: to_u32(at + unit) }
            })?;
            self.words.append(start + at, WORD.min(units.len() - at), &marks, run, branches);
            plain &= marks.inner | marks.branch == 0;
            branches += marks.branch.count_ones();
            over = marks.over;
        }
        self.inserted.extend_from_slice_copy(units);
        self.aux.resize(start + units.len());
        Ok(plain)
    }

    /// How many branches were inserted.
    #[inline]
    fn inserted_branches(&self) -> u32 {
        to_u32(self.targets.len() / I::MAX_FIELDS.max(1))
    }

    /// Looks at what not every patch has: facts that move, branches, labels. Takes the units back if the patch
    /// is refused.
    fn finish(&mut self, placed: Placed, patch: &Patch<'_, I::Unit>) -> Result<Labels, Error> {
        let targets = self.targets.len();
        let finished = self.fill_targets(placed, patch);
        if finished.is_err() {
            let start = placed.start as usize;
            self.words.truncate(start);
            self.inserted.truncate(start - self.base as usize);
            self.aux.resize(start);
            self.targets.truncate(targets);
        }
        finished
    }

    /// Notes the branches of a patch and where each of them leads.
    fn fill_targets(&mut self, placed: Placed, patch: &Patch<'_, I::Unit>) -> Result<Labels, Error> {
        if let Fact::MoveTo(unit) = patch.fact
            && !self.is_unit_start(placed, unit)
        {
            return Err(Error::BadPatchInsn { unit });
        }
        let mut labels = Labels::default();
        let mut listed = patch.branches;
        let (mut at, end) = (placed.start as usize, (placed.start + placed.len) as usize);
        loop {
            at = self.words.find(at..end, |word| word.branch);
            if at == end {
                break;
            }
            let unit = to_u32(at) - placed.start;
            let insn = &patch.units[unit as usize..][..self.words.len_at(at)];
            let fields = I::fields(insn);
            self.reserve_targets()?;
            for field in 0..fields {
                let here = (unit, to_u32(field));
                let target = match listed {
                    [branch, rest @ ..] if (branch.unit, branch.field) == here => {
                        listed = rest;
                        branch.target
                    }
                    _ => local_target::<I>(insn, here, placed.len)?,
                };
                let target = self.resolve(target, here, placed, &mut labels)?;
                self.targets.push(Some(target));
            }
            for _ in fields..I::MAX_FIELDS {
                self.targets.push(None);
            }
            at += insn.len();
        }
        if let Some(branch) = listed.first() {
            return Err(Error::BadTarget { unit: branch.unit, field: branch.field });
        }
        let run = to_u32(self.runs.len());
        if labels.end || labels.own_start {
            self.push_label(run);
        }
        if labels.own_start {
            self.push_label(run + 1);
        }
        Ok(labels)
    }

    #[inline]
    fn reserve_targets(&mut self) -> Result<(), Error> {
        if self.targets.capacity() - self.targets.len() < I::MAX_FIELDS {
            self.targets.try_reserve(I::MAX_FIELDS)?;
        }
        Ok(())
    }

    /// Whether unit `unit` of a patch begins an instruction.
    #[inline]
    fn is_unit_start(&self, placed: Placed, unit: u32) -> bool {
        unit < placed.len && !self.words.is_inner((placed.start + unit) as usize)
    }

    /// The handle that a target stands for, asking for the label it needs.
    #[inline]
    fn resolve(
        &self,
        target: Target,
        (unit, field): (u32, u32),
        placed: Placed,
        labels: &mut Labels,
    ) -> Result<Handle, Error> {
        match target {
            Target::Local(0) => {
                let Some(replaced) = placed.replaced else { return Ok(Handle::new(placed.start)) };
                if self.site(replaced).is_none_or(|site| site.pre.is_none()) {
                    return Ok(replaced);
                }
                labels.own_start = true;
                Ok(placed.own_start_label())
            }
            Target::Local(to) if self.is_unit_start(placed, to) => Ok(Handle::new(placed.start + to)),
            Target::Local(_) => Err(Error::LeavesPatch { unit, field }),
            Target::End => {
                labels.end = true;
                Ok(placed.end_label())
            }
            Target::Handle(handle) if self.is_insn(handle) => Ok(handle),
            Target::Handle(handle) => Err(Error::NoSuchInsn(handle)),
            Target::Original(at) if at <= self.original_len() && !self.words.is_inner(at as usize) => {
                Ok(Handle::new(at))
            }
            Target::Original(_) => Err(Error::BadTarget { unit, field }),
        }
    }

    /// Appends a unit that is dead from birth, and will be one of run `run`.
    fn push_label(&mut self, run: u32) {
        let at = self.fresh() as usize;
        self.words.append(at, 1, &Marks::default(), run, self.inserted_branches());
        self.words[at / WORD].dead |= 1 << (at % WORD);
        self.inserted.push(I::Unit::default());
        self.aux.resize(at + 1);
    }

    /// Hangs the label before a patch, if it has one.
    #[inline]
    fn hang_labels(&mut self, main: RunId, labels: Labels) {
        if labels.own_start {
            let Run { anchor, end, .. } = *self.run(main);
            let label = self.push_run(end, end + 1, anchor, Chain::Pre);
            self.runs[label.0.at()].label();
            self.hang(label, anchor);
        }
    }

    #[inline]
    fn push_run(&mut self, start: u32, end: u32, anchor: Handle, chain: Chain) -> RunId {
        let id = RunId::new(to_u32(self.runs.len()));
        self.runs.push(Run::new(start, end, anchor, chain, id.0.index()));
        id
    }

    /// Hangs a run into the site of its anchor, nearest to the instruction.
    fn hang(&mut self, id: RunId, anchor: Handle) {
        let (index, bit) = (anchor.at() / WORD, anchor.at() % WORD);
        let word = &mut self.words[index];
        match word.block.checked_sub(1) {
            None => {
                if word.edited == 0 {
                    word.first_run = id.0.index();
                }
                let run = &self.runs[id.0.at()];
                word.edit_in_order(bit, run.chain() == Chain::Body && !run.is_labeled());
            }
            Some(block) => {
                let slot = &mut self.blocks[block as usize][bit];
                if word.edited >> bit & 1 == 0 {
                    word.edited |= 1 << bit;
                    *slot = Slot::Lone(id).pack();
                } else {
                    let site = match slot.unpack() {
                        Slot::Site(site) => site,
                        Slot::Lone(lone) => {
                            let site = to_u32(self.sites.len());
                            *slot = Slot::Site(site).pack();
                            self.sites.push(Site::lone(lone, self.run(lone)));
                            site
                        }
                    };
                    self.hang_into_site(id, site);
                }
            }
        }
        self.touch(anchor);
    }

    fn hang_into_site(&mut self, id: RunId, site: u32) {
        let run = *self.run(id);
        let site = &mut self.sites[site as usize];
        let last = site.chain_mut(run.chain());
        let before = *last.get_or_insert(id);
        if matches!(run.chain(), Chain::Fall | Chain::Pre) {
            *last = Some(id);
        }
        if run.chain() == Chain::Body {
            site.body = Some(run.start);
        }
        let first = self.run(before).next();
        self.runs[id.0.at()].set_next(first);
        self.runs[before.0.at()].set_next(id);
    }

    /// Does with the fact of the edited instruction what the patch says.
    fn settle_fact(&mut self, handle: Handle, fact: Fact, inserted: Inserted) {
        let moved = core::mem::take(&mut self.aux[handle.at()]);
        if let Fact::MoveTo(unit) = fact {
            self.aux[inserted.at(unit).at()] = moved;
        }
    }
}

/// Whether a fact can go where it says, in a patch of `N` instructions of one unit.
const fn fact_fits<const N: usize>(fact: Fact) -> bool {
    match fact {
        Fact::MoveTo(unit) => (unit as usize) < N,
        Fact::Keep | Fact::Reset => true,
    }
}

/// Where a branch of the patch that was given no target leads, by its displacement.
fn local_target<I: Isa>(insn: &[I::Unit], (unit, field): (u32, u32), len: u32) -> Result<Target, Error> {
    let to = i64::from(unit) + I::base(insn, field as usize) + I::read(insn, field as usize);
    match u32::try_from(to) {
        Ok(to) if to < len => Ok(Target::Local(to)),
        Ok(to) if to == len => Ok(Target::End),
        _ => Err(Error::LeavesPatch { unit, field }),
    }
}
