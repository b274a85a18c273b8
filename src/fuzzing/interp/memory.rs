//! [`Memory`]: ranges of bytes at addresses far from each other.

use std::vec::Vec;

use super::fault::Reason;
use crate::bpf::Endian;
use crate::bpf::opcode::{B, H, W};

/// Where the context is.
pub(super) const CONTEXT: u64 = 0x1000_0000_0000;
/// Where the packet is.
pub(super) const PACKET: u64 = 0x2000_0000_0000;
/// Where the values of the first map are; those of the others follow, [`APART`] from each other.
pub(super) const VALUES: u64 = 0x3000_0000_0000;
/// What stands for the first map; the others follow.
pub(super) const MAPS: u64 = 0x4000_0000_0000;
/// The function at slot 0.
pub(super) const FUNCTIONS: u64 = 0x5000_0000_0000;
/// The frame pointer of the entry function; those of its callees are [`APART`] from each other.
pub(super) const FRAMES: u64 = 0x7fff_0000_0000;
/// The distance between ranges of one kind, in bytes.
pub(super) const APART: u64 = 1 << 32;

/// The bytes that a program can access.
pub(super) struct Memory {
    ranges: Vec<(u64, Vec<u8>)>,
    endian: Endian,
}

impl Memory {
    pub(super) fn new(endian: Endian) -> Self {
        Self { ranges: Vec::new(), endian }
    }

    /// Adds a range.
    pub(super) fn push(&mut self, address: u64, bytes: Vec<u8>) {
        self.ranges.push((address, bytes));
    }

    /// Removes the range that was added last.
    pub(super) fn pop(&mut self) {
        self.ranges.pop();
    }

    /// The bytes of the range that starts at `address`.
    pub(super) fn range(&self, address: u64) -> Vec<u8> {
        self.ranges
            .iter()
            .find(|(base, _)| *base == address)
            .map(|(_, bytes)| bytes.clone())
            .unwrap_or_default()
    }

    /// The value of `len` bytes, in the byte order of the machine.
    pub(super) fn load(&self, address: u64, len: usize) -> Result<u64, Reason> {
        let mut ranges = self.ranges.iter();
        let bytes = ranges.find_map(|(base, bytes)| bytes.get(place(*base, address, len)?..)?.get(..len));
        let bytes = bytes.ok_or(Reason::Access { address, bytes: len })?;
        let fold = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        Ok(match self.endian {
            Endian::Big => bytes.iter().fold(0, fold),
            Endian::Little => bytes.iter().rev().fold(0, fold),
        })
    }

    /// Stores the low `len` bytes of a value.
    pub(super) fn store(&mut self, address: u64, len: usize, value: u64) -> Result<(), Reason> {
        let mut ranges = self.ranges.iter_mut();
        let to =
            ranges.find_map(|(base, bytes)| bytes.get_mut(place(*base, address, len)?..)?.get_mut(..len));
        let to = to.ok_or(Reason::Access { address, bytes: len })?;
        match self.endian {
            Endian::Big => to.copy_from_slice(&value.to_be_bytes()[8 - len..]),
            Endian::Little => to.copy_from_slice(&value.to_le_bytes()[..len]),
        }
        Ok(())
    }
}

/// Where in a range at `base` the byte at `address` is, if `len` bytes from it on are below the top.
fn place(base: u64, address: u64, len: usize) -> Option<usize> {
    address.checked_add(u64::try_from(len).ok()?)?;
    usize::try_from(address.checked_sub(base)?).ok()
}

/// The bytes of an access of that size.
pub(super) fn len_of(size: u8) -> usize {
    match size {
        B => 1,
        H => 2,
        W => 4,
        _ => 8,
    }
}
