//! [`Words`]: what is known of units, in columns of bits and of counts, 64 units to a word.

use bumpalo::Bump;

use super::out_of_memory;
use super::records::{Block, PackedSlot};
use crate::core::{Error, Marks};

/// Units of a word.
pub(in crate::core) const WORD: usize = Marks::UNITS;

/// The columns of a stretch of units that begins with a whole word.
#[derive(Debug)]
pub(in crate::core) struct Words<'a> {
    /// Not the first unit of its instruction.
    pub(in crate::core) inner: &'a mut [u64],
    /// First unit of an instruction with a displacement field.
    pub(in crate::core) branch: &'a mut [u64],
    /// Deleted: the tombstones.
    pub(in crate::core) dead: &'a mut [u64],
    /// Records are anchored at it.
    pub(in crate::core) edited: &'a mut [u64],
    /// A record begins here. Only inserted units have this column, and the next two.
    pub(in crate::core) starts: &'a mut [u64],
    /// How many records begin before the word.
    pub(in crate::core) records: &'a mut [u32],
    /// How many targets the branches before the word have.
    pub(in crate::core) targets: &'a mut [u32],
    /// The record of the first edited unit, if the edits of the word came in order.
    pub(in crate::core) first: &'a mut [u32],
    /// The slots of the edited units, if they did not.
    pub(in crate::core) blocks: &'a mut [Option<&'a mut Block>],
}

impl<'a> Words<'a> {
    /// Columns of `words` words in which no bit is set.
    pub(in crate::core) fn new(bump: &'a Bump, words: usize, inserted: bool) -> Result<Self, Error> {
        let own = if inserted { words } else { 0 };
        let bits = bump.try_alloc_slice_fill_copy(4 * words + own, 0).map_err(out_of_memory)?;
        let counts = bump.try_alloc_slice_fill_copy(words + 2 * own, 0).map_err(out_of_memory)?;
        let blocks = bump.try_alloc_slice_fill_with(words, |_| None).map_err(out_of_memory)?;
        let (inner, bits) = bits.split_at_mut(words);
        let (branch, bits) = bits.split_at_mut(words);
        let (dead, bits) = bits.split_at_mut(words);
        let (edited, starts) = bits.split_at_mut(words);
        let (first, counts) = counts.split_at_mut(words);
        let (records, targets) = counts.split_at_mut(own);
        Ok(Self { inner, branch, dead, edited, starts, records, targets, first, blocks })
    }

    /// The same columns once more.
    pub(in crate::core) fn copy(&self, bump: &'a Bump) -> Result<Self, Error> {
        let copy = Self::new(bump, self.inner.len(), !self.starts.is_empty())?;
        copy.inner.copy_from_slice(self.inner);
        copy.branch.copy_from_slice(self.branch);
        copy.dead.copy_from_slice(self.dead);
        copy.edited.copy_from_slice(self.edited);
        copy.starts.copy_from_slice(self.starts);
        copy.records.copy_from_slice(self.records);
        copy.targets.copy_from_slice(self.targets);
        copy.first.copy_from_slice(self.first);
        for (to, from) in copy.blocks.iter_mut().zip(&*self.blocks) {
            if let Some(from) = from {
                *to = Some(bump.try_alloc(**from).map_err(out_of_memory)?);
            }
        }
        Ok(copy)
    }

    /// Bytes that columns of so many words take.
    pub(in crate::core) const fn bytes(words: usize, inserted: bool) -> usize {
        let own = if inserted { words } else { 0 };
        (4 * words + own) * size_of::<u64>()
            + (words + 2 * own) * size_of::<u32>()
            + words * size_of::<Option<&Block>>()
    }

    /// Units that are not as they were.
    #[inline]
    pub(in crate::core) fn touched(&self, word: usize) -> u64 {
        self.edited[word] | self.dead[word]
    }

    /// Instructions that a walk stops at: live ones, and those that something is anchored at.
    #[inline]
    pub(in crate::core) fn stops(&self, word: usize) -> u64 {
        self.edited[word] | !(self.dead[word] | self.inner[word])
    }

    /// The units that may be edited next by record `id`, if the edits of the word are to remain in order.
    pub(in crate::core) fn next_in_order(&self, word: usize, id: u32) -> u64 {
        let edited = self.edited[word];
        let above = !(u64::MAX.unbounded_shr(edited.leading_zeros()));
        let follows = edited == 0 || self.first[word] + edited.count_ones() == id;
        if self.blocks[word].is_none() && follows { above } else { 0 }
    }

    /// First units of instructions that have one unit for sure. The last unit of a word may continue in the next word, so
    /// it counts only if that is known.
    #[inline]
    pub(in crate::core) fn singles(&self, word: usize) -> u64 {
        let next = self.inner.get(word + 1).map_or(0, |next| next << (WORD - 1));
        !(self.inner[word] >> 1 | next)
    }

    /// Units of an instruction that began in the word before.
    #[inline]
    pub(in crate::core) fn carried(&self, word: usize) -> u64 {
        let inner = self.inner[word];
        inner & !inner.wrapping_add(1)
    }

    /// Gives a word a block for its slots.
    pub(in crate::core) fn add_block(&mut self, bump: &'a Bump, word: usize) -> Result<(), Error> {
        let mut block: Block = [PackedSlot::default(); WORD];
        for (bit, record) in ones(self.edited[word], 0).zip(self.first[word]..) {
            block[bit] = PackedSlot::lone(record);
        }
        self.blocks[word] = Some(bump.try_alloc(block).map_err(out_of_memory)?);
        Ok(())
    }

    /// How many words have a block.
    pub(in crate::core) fn blocks_used(&self) -> usize {
        self.blocks.iter().flatten().count()
    }

    /// How many units the instruction at unit `at` of these columns has; the end has one.
    #[inline]
    pub(in crate::core) fn len_at(&self, at: usize) -> usize {
        let (word, bit) = (at / WORD, at % WORD);
        let len = 1 + (self.inner[word] >> bit >> 1).trailing_ones() as usize;
        if bit + len < WORD { len } else { self.len_across(at, WORD - bit) }
    }

    /// The same, if the first `len` units reach to the end of a word.
    #[cold]
    fn len_across(&self, at: usize, mut len: usize) -> usize {
        while self.inner.get((at + len) / WORD).is_some_and(|inner| inner >> ((at + len) % WORD) & 1 != 0) {
            len += 1;
        }
        len
    }

    /// Sets or clears the bits of units `at..at + len` of a column.
    #[inline]
    pub(in crate::core) fn set(column: &mut [u64], at: usize, len: usize) {
        let (word, bit) = (at / WORD, at % WORD);
        if bit + len <= WORD {
            column[word] |= up_to(len) << bit;
        } else {
            for at in at..at + len {
                column[at / WORD] |= 1 << (at % WORD);
            }
        }
    }

    /// Enters what `marks` says of the `len` units from `at` on, at most a word of them.
    #[inline]
    pub(in crate::core) fn mark(&mut self, at: usize, len: usize, marks: &Marks) {
        let (word, bit) = (at / WORD, at % WORD);
        self.inner[word] |= marks.inner << bit;
        self.branch[word] |= marks.branch << bit;
        if bit + len > WORD {
            self.inner[word + 1] |= marks.inner >> (WORD - bit);
            self.branch[word + 1] |= marks.branch >> (WORD - bit);
        }
    }

    /// Clears the bits of all units from `at` on, up to `end`.
    pub(in crate::core) fn clear(&mut self, at: usize, end: usize) {
        for word in at / WORD..end.div_ceil(WORD).min(self.inner.len()) {
            let kept = if word == at / WORD { below(at % WORD) } else { 0 };
            self.inner[word] &= kept;
            self.branch[word] &= kept;
            self.dead[word] &= kept;
        }
    }
}

/// The bits below `bit`, which is less than 64.
#[inline]
pub(in crate::core) const fn below(bit: usize) -> u64 {
    (1 << bit) - 1
}

/// The lowest `len` bits, of which there is at least one.
#[inline]
pub(in crate::core) const fn up_to(len: usize) -> u64 {
    u64::MAX >> (WORD - len)
}

/// The ones of a word whose first unit is at `base`, ascending.
#[inline]
pub(in crate::core) fn ones(mut bits: u64, base: usize) -> impl Iterator<Item = usize> {
    core::iter::from_fn(move || {
        let first = bits;
        bits &= bits.wrapping_sub(1);
        (first != 0).then(|| base + first.trailing_zeros() as usize)
    })
}

#[cfg(test)]
mod tests;
