//! [`Words`]: what is known of each unit, a cache line for every 64 of them.

use core::ops::{Deref, DerefMut, Range};

use bumpalo::Bump;
use bumpalo::collections::{CollectionAllocErr, Vec};

use super::Marks;
use super::handle::to_u32;

/// Units of a word.
pub(super) const WORD: usize = Marks::UNITS;

/// 64 units: a bit each in every column, the first one lowest.
#[derive(Clone, Copy, Default, Debug)]
#[repr(C, align(64))]
pub(super) struct Word {
    /// Not the first unit of its instruction.
    pub(super) inner: u64,
    /// First unit of an instruction with a displacement field.
    pub(super) branch: u64,
    /// Deleted.
    pub(super) dead: u64,
    /// Something stands around it, or in its place.
    pub(super) edited: u64,
    /// Edited once, in order, by an untouched run that replaced it.
    pub(super) bodies: u64,
    /// Of inserted units: the run that the first of them belongs to.
    pub(super) run: u32,
    /// Of inserted units: branches before these.
    pub(super) branches: u32,
    /// One more than the index of the block with the slots of these units; 0 if they are edited in order.
    pub(super) block: u32,
    /// If they are edited in order: the run of the first edited one.
    pub(super) first_run: u32,
}

const _: () = assert!(size_of::<Word>() == 64);

impl Word {
    /// Units that are not as they were.
    #[inline]
    pub(super) const fn touched(&self) -> u64 {
        self.edited | self.dead
    }

    /// The run of the unit at `bit`, if these are edited in order.
    #[inline]
    pub(super) const fn run_in_order(&self, bit: usize) -> u32 {
        self.first_run + (self.edited & below(bit)).count_ones()
    }

    /// The units that may be edited next by a run `id`, if these are to remain edited in order.
    pub(super) const fn next_in_order(&self, id: u32) -> u64 {
        let last = self.edited.leading_zeros();
        let above = !(u64::MAX.unbounded_shr(last));
        let follows = self.edited == 0 || self.first_run + self.edited.count_ones() == id;
        if self.block == 0 && follows { above } else { 0 }
    }

    /// Hangs run `id` at the unit at `bit`, which may be edited next in order.
    #[inline]
    pub(super) const fn edit_in_order(&mut self, bit: usize, is_body: bool) {
        self.edited |= 1 << bit;
        self.bodies |= (is_body as u64) << bit;
    }

    /// Whether the instruction at unit `at` of the list, in this word, has one unit for sure: not one that ends the word.
    #[inline]
    pub(super) fn is_single(&self, at: usize) -> bool {
        // Rotated, which is by as much within the word, bit 0 comes to stand for the first unit of the next word,
        // which may be inner.
        (self.inner | 1).rotate_right(to_u32(at)) & 2 == 0
    }

    /// First units of instructions that have one unit for sure: not the last of the word.
    #[inline]
    pub(super) const fn singles(&self) -> u64 {
        !(self.inner >> 1) & below(WORD - 1)
    }

    /// Units of an instruction that began in the word before.
    #[inline]
    pub(super) const fn carried(&self) -> u64 {
        self.inner & !self.inner.wrapping_add(1)
    }

    /// Instructions that are as they were.
    #[inline]
    pub(super) const fn plain(&self) -> u64 {
        !(self.edited | self.dead | self.inner)
    }
}

/// The bits below `bit`, which is less than 64.
#[inline]
pub(super) const fn below(bit: usize) -> u64 {
    (1 << bit) - 1
}

/// The lowest `len` bits, of which there is at least one.
#[inline]
pub(super) const fn up_to(len: usize) -> u64 {
    u64::MAX >> (WORD - len)
}

/// The words of a list, by handle index.
pub(super) struct Words<'a> {
    words: Vec<'a, Word>,
}

impl<'a> Words<'a> {
    pub(super) fn new_in(bump: &'a Bump) -> Self {
        Self { words: Vec::new_in(bump) }
    }

    /// Makes room for units below `len`.
    pub(super) fn try_reserve(&mut self, len: usize) -> Result<(), CollectionAllocErr> {
        self.words.try_reserve_exact(len.div_ceil(WORD) - self.words.len())
    }

    #[inline]
    pub(super) fn push(&mut self, word: Word) {
        self.words.push(word);
    }

    /// Appends `len` units of run `run` from `at` on, at most a word of them, with `branches` branches before them.
    #[inline]
    pub(super) fn append(&mut self, at: usize, len: usize, marks: &Marks, run: u32, branches: u32) {
        let (index, bit) = (at / WORD, at % WORD);
        if bit == 0 {
            self.push(Word { run, branches, ..Word::default() });
        }
        if !marks.is_plain() {
            let word = &mut self.words[index];
            word.inner |= marks.inner << bit;
            word.branch |= marks.branch << bit;
        }
        if bit + len > WORD {
            let split = |bits: u64| bits >> (WORD - bit);
            let branches = branches + (marks.branch & below(WORD - bit)).count_ones();
            let (inner, branch) = (split(marks.inner), split(marks.branch));
            self.push(Word { inner, branch, run, branches, ..Word::default() });
        }
    }

    /// Forgets units from `len` on, nothing of which was edited or deleted.
    pub(super) fn truncate(&mut self, len: usize) {
        self.words.truncate(len.div_ceil(WORD));
        if !len.is_multiple_of(WORD)
            && let Some(word) = self.words.last_mut()
        {
            let kept = below(len % WORD);
            word.inner &= kept;
            word.branch &= kept;
            word.dead &= kept;
        }
    }

    /// The bit at `at` of a column; `false` if there is no such unit.
    #[inline]
    pub(super) fn has(&self, at: usize, column: impl Fn(&Word) -> u64) -> bool {
        self.words.get(at / WORD).is_some_and(|word| column(word) >> (at % WORD) & 1 != 0)
    }

    #[inline]
    pub(super) fn is_inner(&self, at: usize) -> bool {
        self.has(at, |word| word.inner)
    }

    #[inline]
    pub(super) fn is_dead(&self, at: usize) -> bool {
        self.has(at, |word| word.dead)
    }

    #[inline]
    pub(super) fn is_edited(&self, at: usize) -> bool {
        self.has(at, |word| word.edited)
    }

    /// The first of `range` with a bit in a column, or its end.
    #[inline]
    pub(super) fn find(&self, range: Range<usize>, column: impl Fn(&Word) -> u64) -> usize {
        let mut from = range.start;
        while from < range.end {
            let bits = column(&self.words[from / WORD]) >> (from % WORD);
            if bits != 0 {
                return range.end.min(from + bits.trailing_zeros() as usize);
            }
            from = (from / WORD + 1) * WORD;
        }
        range.end
    }

    /// How many units the instruction at `at` has; the end has one.
    #[inline]
    pub(super) fn len_at(&self, at: usize) -> usize {
        let (index, bit) = (at / WORD, at % WORD);
        let len = 1 + (self.words[index].inner >> bit >> 1).trailing_ones() as usize;
        if bit + len < WORD { len } else { self.len_across(at, WORD - bit) }
    }

    /// The same, if the first `len` units reach to the end of a word.
    #[cold]
    fn len_across(&self, at: usize, mut len: usize) -> usize {
        while self.is_inner(at + len) {
            len += 1;
        }
        len
    }

    /// How many inserted branches there are before the inserted unit at `at`.
    #[inline]
    pub(super) fn branches_before(&self, at: usize) -> u32 {
        let word = &self.words[at / WORD];
        word.branches + (word.branch & below(at % WORD)).count_ones()
    }
}

impl Deref for Words<'_> {
    type Target = [Word];

    fn deref(&self) -> &[Word] {
        &self.words
    }
}

impl DerefMut for Words<'_> {
    fn deref_mut(&mut self) -> &mut [Word] {
        &mut self.words
    }
}

/// The ones of a word whose first unit is at `base`, ascending.
#[inline]
pub(super) fn ones(mut bits: u64, base: usize) -> impl Iterator<Item = usize> {
    core::iter::from_fn(move || {
        let first = bits;
        bits &= bits.wrapping_sub(1);
        (first != 0).then(|| base + first.trailing_zeros() as usize)
    })
}

#[cfg(test)]
mod tests;
