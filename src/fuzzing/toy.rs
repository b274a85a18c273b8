//! [`Toy`]: a small instruction set with all that makes moving code hard.
//!
//! An instruction is one to three 16-bit units, with up to two displacement fields. The low byte of its
//! first unit says what it is:
//!
//! | bits | meaning |
//! | --- | --- |
//! | 0-1 | its units; 0 is no instruction |
//! | 2-3 | its fields, at most two, and one in a single unit |
//! | 4 | narrow: displacements are in -8..=7, not those of an `i8` |
//! | 5 | displacements count from its end, not from its start |
//! | 6-7 | payload |
//!
//! The first displacement is the high byte of the first unit, the second that of the last.

use core::ops::RangeInclusive;

use crate::Isa;

/// The instruction set, with up to `MOST` fields to an instruction.
#[derive(Clone, Copy, Debug, Default)]
pub struct Toys<const MOST: usize>;

/// With up to two fields.
pub type Toy = Toys<2>;

const NARROW: u16 = 1 << 4;
const FROM_END: u16 = 1 << 5;

impl Toy {
    /// The bits of a low byte that say how many fields there are.
    pub(super) const FIELDS: u8 = 3 << 2;

    /// The same first unit, in its wide form.
    pub(super) const fn widen(first: u16) -> u16 {
        first & !NARROW
    }

    /// The same low byte, with one unit.
    pub(super) const fn one_unit(low: u8) -> u8 {
        low & !3 | 1
    }

    /// The same low byte, with one field if it had more.
    pub(super) const fn one_field(low: u8) -> u8 {
        if low & Self::FIELDS > 1 << 2 { low & !Self::FIELDS | 1 << 2 } else { low }
    }
}

fn unit_of(insn: &[u16], field: usize) -> usize {
    if field == 0 { 0 } else { insn.len() - 1 }
}

impl<const MOST: usize> Isa for Toys<MOST> {
    type Unit = u16;

    fn len(&self, units: &[u16]) -> Option<usize> {
        let len = usize::from(units.first()? & 3);
        (1..=units.len()).contains(&len).then_some(len)
    }

    fn fields(&self, insn: &[u16]) -> usize {
        usize::from(insn[0] >> 2 & 3).min(insn.len()).min(MOST)
    }

    fn base(&self, insn: &[u16], _: usize) -> i64 {
        if insn[0] & FROM_END == 0 { 0 } else { insn.len().try_into().unwrap_or(0) }
    }

    fn branches_of_short(&self, units: &[u16]) -> Option<u64> {
        let mut branches = 0;
        for (unit, bit) in units.iter().zip(0..) {
            if unit & 3 != 1 {
                return None;
            }
            branches |= u64::from(unit >> 2 & 3 != 0 && MOST > 0) << bit;
        }
        Some(branches)
    }

    fn read(&self, insn: &[u16], field: usize) -> i64 {
        let [high, _] = insn[unit_of(insn, field)].to_be_bytes();
        i64::from(high.cast_signed())
    }

    fn range(&self, insn: &[u16], _: usize) -> RangeInclusive<i64> {
        if insn[0] & NARROW == 0 { -128..=127 } else { -8..=7 }
    }

    fn write(&self, insn: &mut [u16], field: usize, displacement: i64) {
        let unit = &mut insn[unit_of(insn, field)];
        let [_, low] = unit.to_be_bytes();
        let [.., high] = displacement.to_be_bytes();
        *unit = u16::from_be_bytes([high, low]);
    }
}
