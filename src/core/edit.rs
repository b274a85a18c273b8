//! The five edits: replace, prepend (on every way in, or on the way from above), append, delete.

use core::ops::Range;

use super::handle::to_u32;
use super::list::Window;
use super::site::{Chain, RunId};
use super::words::{WORD, ones, up_to};
use super::{Error, Handle, Inserted, Isa, List, Patch};

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
        self.check_edit();
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
            let mask = up_to(here) << bit;
            let word = &mut self.words[index];
            let edited = word.edited & !word.dead & mask;
            // Either all units, or, as yet, only those of an instruction that began in the word before.
            let gone = if edited == 0 { mask } else { word.carried() & mask };
            self.live -= (!word.dead & gone).count_ones();
            word.dead |= gone;
            if edited != 0 {
                for at in ones(mask & !(word.dead | word.inner), index * WORD) {
                    self.kill(Handle::new(to_u32(at)));
                }
            } else if let Some(facts) = self.aux.sized_mut() {
                facts[at..at + here].fill(A::default());
            }
            at += here;
        }
        self.check_edit();
        Ok(before - self.live)
    }

    #[inline]
    pub(super) fn check_live(&self, handle: Handle) -> Result<(), Error> {
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

    /// Deletes a live instruction.
    #[inline]
    fn kill(&mut self, handle: Handle) {
        self.window = Window::CLOSED;
        let (at, len) = (handle.at(), self.len_at(handle));
        let (index, bit) = (at / WORD, at % WORD);
        let edited = self.words[index].edited >> bit & 1 != 0;
        self.live -= if edited { to_u32(self.len_at(self.body(handle))) } else { to_u32(len) };
        if bit + len <= WORD {
            self.words[index].dead |= up_to(len) << bit;
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
    pub(super) fn touch(&mut self, handle: Handle) {
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
}
