//! [`Bits`] and [`Ranked`]: one bit a unit, in the arena, read a word at a time.

use core::ops::Range;

use bitvec::order::Lsb0;
use bitvec::slice::BitSlice;
use bumpalo::Bump;
use bumpalo::collections::{CollectionAllocErr, Vec};

use super::handle::to_u32;

/// Bits of a word.
pub(super) const WORD: usize = u64::BITS as usize;

/// A column of bits that is zero until it is written.
pub(super) struct Bits<'a> {
    words: Vec<'a, u64>,
}

impl<'a> Bits<'a> {
    pub(super) fn new_in(bump: &'a Bump) -> Self {
        Self { words: Vec::new_in(bump) }
    }

    /// Makes room for bits below `len`.
    pub(super) fn try_grow(&mut self, len: usize) -> Result<(), CollectionAllocErr> {
        let words = len.div_ceil(WORD);
        if words > self.words.len() {
            self.words.try_reserve_exact(words - self.words.len())?;
            self.words.resize(words, 0);
        }
        Ok(())
    }

    /// The bit at `at`; zero if there was no room made for it.
    #[inline]
    pub(super) fn get(&self, at: usize) -> bool {
        self.words.get(at / WORD).is_some_and(|word| word >> (at % WORD) & 1 != 0)
    }

    #[inline]
    pub(super) fn set(&mut self, at: usize) {
        self.words[at / WORD] |= 1 << (at % WORD);
    }

    /// Sets the bits from `at` on that are set in `word`.
    #[inline]
    pub(super) fn set_word(&mut self, at: usize, word: u64) {
        if word == 0 {
            return;
        }
        self.words[at / WORD] |= word << (at % WORD);
        let over = word.checked_shr(u64::BITS - to_u32(at % WORD)).unwrap_or(0);
        if over != 0 {
            self.words[at / WORD + 1] |= over;
        }
    }

    pub(super) fn fill(&mut self, range: Range<usize>, value: bool) {
        BitSlice::<u64, Lsb0>::from_slice_mut(&mut self.words)[range].fill(value);
    }

    /// Whether any bit of a range is set.
    #[inline]
    pub(super) fn any(&self, range: Range<usize>) -> bool {
        let end = range.end;
        range.step_by(WORD).any(|at| window(&self.words, at, end - at) != 0)
    }

    /// The words: bit `i` of word `w` is bit `64 * w + i` of the column.
    #[inline]
    pub(super) fn words(&self) -> &[u64] {
        &self.words
    }

    #[inline]
    pub(super) fn words_mut(&mut self) -> &mut [u64] {
        &mut self.words
    }
}

/// The ones among the bits of `range`, ascending.
#[inline]
pub(super) fn ones(words: &[u64], range: Range<usize>) -> impl Iterator<Item = usize> {
    let end = range.end;
    range.step_by(WORD).flat_map(move |base| Ones { bits: window(words, base, end - base), base })
}

/// The bits from `at` on, `len` or at most a word of them, the first one lowest.
#[inline]
pub(super) fn window(words: &[u64], at: usize, len: usize) -> u64 {
    let (word, shift) = (at / WORD, at % WORD);
    let mut bits = words[word] >> shift;
    if shift + len > WORD && shift != 0 {
        bits |= words[word + 1] << (WORD - shift);
    }
    if len < WORD { bits & ((1 << len) - 1) } else { bits }
}

/// The ones of one word.
pub(super) struct Ones {
    pub(super) bits: u64,
    pub(super) base: usize,
}

impl Iterator for Ones {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        let bits = self.bits;
        self.bits &= bits.wrapping_sub(1);
        (bits != 0).then(|| self.base + bits.trailing_zeros() as usize)
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

    pub(super) fn try_grow(&mut self, len: usize) -> Result<(), CollectionAllocErr> {
        self.bits.try_grow(len)?;
        let counts = self.bits.words.len() - self.from;
        self.before.try_reserve_exact(counts - self.before.len())
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

    /// Takes back the ones of `range`, above which there are none: `ones` were pushed below it.
    pub(super) fn take_back(&mut self, range: Range<usize>, ones: usize) {
        self.before.truncate(range.start.div_ceil(WORD) - self.from);
        self.bits.fill(range, false);
        self.ones = to_u32(ones);
    }
}
