//! [`Slots`]: from an edited instruction to what stands around it, in memory only where edits are.

use bumpalo::Bump;
use bumpalo::collections::{CollectionAllocErr, Vec};

use super::handle::to_u32;

/// Instructions of a block. Blocks come into being with the first edit in them, so that a few
/// edits to a large program cost little memory.
const BLOCK: usize = 16;

/// What stands around an edited instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Slot {
    /// One run and nothing else: its index.
    Lone(u32),
    /// Any more: the index of a site.
    Site(u32),
}

/// A slot in 4 bytes, with the variant in the lowest bit. It limits a list to 2^31 runs.
#[derive(Clone, Copy, Default)]
struct Packed(u32);

impl Slot {
    /// The greatest index that packs.
    pub(super) const MAX: u32 = u32::MAX >> 1;

    #[inline]
    fn pack(self) -> Packed {
        match self {
            Self::Lone(run) => Packed(run << 1),
            Self::Site(site) => Packed(site << 1 | 1),
        }
    }
}

impl Packed {
    #[inline]
    fn unpack(self) -> Slot {
        if self.0 & 1 == 0 { Slot::Lone(self.0 >> 1) } else { Slot::Site(self.0 >> 1) }
    }
}

/// A sparse column of [`Slot`]s by handle index.
pub(super) struct Slots<'a> {
    /// For each block one more than its index, or 0.
    top: Vec<'a, u32>,
    blocks: Vec<'a, [Packed; BLOCK]>,
}

impl<'a> Slots<'a> {
    pub(super) fn new_in(bump: &'a Bump) -> Self {
        Self { top: Vec::new_in(bump), blocks: Vec::new_in(bump) }
    }

    /// The bytes of a column of `len` indexes with `blocks` blocks in use.
    pub(super) fn bytes(len: usize, blocks: usize) -> usize {
        len.div_ceil(BLOCK) * size_of::<u32>() + blocks * size_of::<[Packed; BLOCK]>()
    }

    /// Makes room for indexes below `len`.
    pub(super) fn try_grow(&mut self, len: usize) -> Result<(), CollectionAllocErr> {
        let blocks = len.div_ceil(BLOCK);
        if blocks > self.top.len() {
            self.top.try_reserve_exact(blocks - self.top.len())?;
            self.top.resize(blocks, 0);
        }
        Ok(())
    }

    /// Makes sure that the next `set` does not allocate.
    #[inline]
    pub(super) fn try_reserve_block(&mut self) -> Result<(), CollectionAllocErr> {
        if self.blocks.capacity() == self.blocks.len() { self.blocks.try_reserve(1) } else { Ok(()) }
    }

    /// Makes room for a number of blocks.
    pub(super) fn try_reserve_exact(&mut self, blocks: usize) -> Result<(), CollectionAllocErr> {
        self.blocks.try_reserve_exact(blocks)
    }

    /// How many blocks are in use.
    pub(super) fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// The slot of an index that was set before.
    #[inline]
    pub(super) fn get(&self, at: usize) -> Slot {
        self.blocks[self.top[at / BLOCK] as usize - 1][at % BLOCK].unpack()
    }

    #[inline]
    pub(super) fn set(&mut self, at: usize, slot: Slot) {
        let block = &mut self.top[at / BLOCK];
        if *block == 0 {
            self.blocks.push([Packed::default(); BLOCK]);
            *block = to_u32(self.blocks.len());
        }
        self.blocks[*block as usize - 1][at % BLOCK] = slot.pack();
    }
}
