//! [`Bits`] and [`Ranked`]: one bit a unit, in the arena, read a word at a time.

use core::ops::Range;

use bitvec::order::Lsb0;
use bitvec::slice::BitSlice;
use bumpalo::Bump;
use bumpalo::collections::{CollectionAllocErr, Vec};

/// Bits of a word.
pub(super) const WORD: usize = u64::BITS as usize;

/// A growing column of bits. Bits at and past `len` are zero.
pub(super) struct Bits<'a> {
    words: Vec<'a, u64>,
    len: usize,
}

impl<'a> Bits<'a> {
    pub(super) fn new_in(bump: &'a Bump) -> Self {
        Self { words: Vec::new_in(bump), len: 0 }
    }

    pub(super) fn try_reserve(&mut self, additional: usize) -> Result<(), CollectionAllocErr> {
        let words = (self.len + additional).div_ceil(WORD);
        self.words.try_reserve(words.saturating_sub(self.words.len()))
    }

    /// Makes the column `len` bits long: new bits are zero.
    pub(super) fn resize(&mut self, len: usize) {
        if len < self.len {
            self.slice_mut()[len..].fill(false);
        }
        self.words.resize(len.div_ceil(WORD), 0);
        self.len = len;
    }

    #[inline]
    pub(super) fn get(&self, at: usize) -> bool {
        self.words.get(at / WORD).is_some_and(|word| word >> (at % WORD) & 1 != 0)
    }

    /// Sets the bit at `at`, which is below the length.
    #[inline]
    pub(super) fn set(&mut self, at: usize) {
        self.words[at / WORD] |= 1 << (at % WORD);
    }

    pub(super) fn fill(&mut self, range: Range<usize>) {
        self.slice_mut()[range].fill(true);
    }

    /// The words: bit `i` of word `w` is bit `64 * w + i` of the column.
    pub(super) fn words(&self) -> &[u64] {
        &self.words
    }

    /// Whether any bit of a range is set.
    pub(super) fn any(&self, range: Range<usize>) -> bool {
        BitSlice::<u64, Lsb0>::from_slice(&self.words)[range].any()
    }

    fn slice_mut(&mut self) -> &mut BitSlice<u64, Lsb0> {
        &mut BitSlice::from_slice_mut(&mut self.words)[..self.len]
    }
}

/// [`Bits`] whose ones, from word `from` up, are set in ascending order and can be counted in O(1).
pub(super) struct Ranked<'a> {
    pub(super) bits: Bits<'a>,
    from: usize,
    /// Ones before each word, as far as words with ones go.
    before: Vec<'a, u32>,
    ones: u32,
}

impl<'a> Ranked<'a> {
    /// An empty column that counts from bit `from`, a multiple of the word size.
    pub(super) fn new_in(bump: &'a Bump, from: usize) -> Self {
        Self { bits: Bits::new_in(bump), from: from / WORD, before: Vec::new_in(bump), ones: 0 }
    }

    pub(super) fn try_reserve(&mut self, additional: usize) -> Result<(), CollectionAllocErr> {
        self.bits.try_reserve(additional)?;
        self.before.try_reserve(self.bits.words.len() + additional / WORD + 1 - self.before.len())
    }

    /// Sets the bit at `at`, above all that are set, and counts it.
    #[inline]
    pub(super) fn push(&mut self, at: usize) {
        while self.before.len() <= at / WORD - self.from {
            self.before.push(self.ones);
        }
        self.bits.set(at);
        self.ones += 1;
    }

    /// How many ones were pushed below `at`.
    #[inline]
    pub(super) fn rank(&self, at: usize) -> usize {
        let (word, bit) = (at / WORD, at % WORD);
        let ones = match self.before.get(word - self.from) {
            Some(before) => before + (self.bits.words[word] & ((1 << bit) - 1)).count_ones(),
            None => self.ones,
        };
        ones as usize
    }

    /// Takes back all from bit `len` up: `ones` were pushed below it.
    pub(super) fn truncate(&mut self, len: usize, ones: usize) {
        self.bits.resize(len);
        self.before.truncate(len.div_ceil(WORD).saturating_sub(self.from));
        self.ones = super::list::to_u32(ones);
    }
}
