//! The five edits: replace, prepend (on every way in, or on the way from above), append, delete. Those that insert
//! take the quick way if they can ([`quick`]), and else the general one ([`general`]).

mod general;
mod quick;

use core::ops::Range;

use super::columns::{Kind, WORD, Window, Words, ones, up_to};
use super::handle::to_u32;
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
        self.insert(handle, patch.into(), Kind::Body)
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
        self.insert(handle, patch.into(), Kind::Pre)
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
        self.insert(handle, patch.into(), Kind::Fall)
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
        self.insert(handle, patch.into(), Kind::Post)
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
        self.kill(handle.at());
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
        let before = self.columns.live;
        self.columns.window = Window::CLOSED;
        for end in [range.start, range.end] {
            if end > self.original_len() || self.columns.is_inner(end as usize) {
                return Err(Error::NoSuchInsn(Handle::new(end.min(Handle::MAX))));
            }
        }
        let (mut at, end) = (range.start as usize, range.end as usize);
        while at < end {
            let (word, bit) = (at / WORD, at % WORD);
            let here = (WORD - bit).min(end - at);
            let mask = up_to(here) << bit;
            let words = &mut self.columns.words;
            let edited = words.edited[word] & !words.dead[word] & mask;
            // Either all units, or, as yet, only those of an instruction that began in the word before.
            let gone = if edited == 0 { mask } else { words.carried(word) & mask };
            let fresh = !words.dead[word] & gone;
            words.dead[word] |= gone;
            let left = mask & !(words.dead[word] | words.inner[word]);
            self.columns.live -= fresh.count_ones();
            if edited != 0 {
                for at in ones(left, word * WORD) {
                    self.kill(at);
                }
            } else if let Some(facts) = self.columns.facts.sized_mut() {
                facts[at..at + here].fill(A::default());
            }
            at += here;
        }
        self.check_edit();
        Ok(before - self.columns.live)
    }

    #[inline]
    pub(super) fn check_live(&self, handle: Handle) -> Result<(), Error> {
        let (at, words) = (handle.at(), &self.columns.words);
        if at < self.columns.base && (words.inner[at / WORD] | words.dead[at / WORD]) >> (at % WORD) & 1 == 0
        {
            return Ok(());
        }
        self.check_unusual(handle)
    }

    #[cold]
    fn check_unusual(&self, handle: Handle) -> Result<(), Error> {
        if !self.columns.is_insn(handle) || handle == self.end() {
            return Err(Error::NoSuchInsn(handle));
        }
        if self.columns.is_dead(handle.at()) {
            return Err(Error::Deleted(handle));
        }
        Ok(())
    }

    /// Deletes a live instruction. Keeps all invariants.
    #[inline]
    fn kill(&mut self, at: usize) {
        let columns = &mut self.columns;
        if columns.window.word == at / WORD {
            columns.window.units &= !(1 << (at % WORD));
        }
        let (words, local) = columns.words_at_mut(at);
        let len = words.len_at(local);
        Words::set(words.dead, local, len);
        let edited = words.edited[local / WORD] >> (local % WORD) & 1 != 0;
        *columns.fact_mut(at) = A::default();
        match columns.body_record(at).filter(|_| edited) {
            Some(body) => {
                columns.live -= to_u32(columns.len_at(columns.records.get(body).start));
                columns.records.split(body);
            }
            None => columns.live -= to_u32(len),
        }
        columns.touch(at);
    }
}
