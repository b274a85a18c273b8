//! [`Isa`]: all that the core has to know about an instruction set.

use core::ops::RangeInclusive;

/// An instruction set, as far as moving its instructions goes.
///
/// A program is a slice of [`Unit`](Isa::Unit)s and an instruction is a run of one or more of
/// them. Every position, length and displacement is counted in units.
pub trait Isa {
    /// What a program is an array of: eBPF's 8-byte slot, a byte of a variable-length encoding.
    type Unit: Copy + Default;

    /// The most displacement fields that any one instruction has.
    const MAX_FIELDS: usize;

    /// How many units the instruction at the start of `units` takes.
    ///
    /// `None` if `units` is empty, cut short, or does not begin with an instruction; otherwise a
    /// number from 1 to `units.len()`.
    fn len(units: &[Self::Unit]) -> Option<usize>;

    /// How many displacement fields the instruction `insn` has, at most
    /// [`MAX_FIELDS`](Isa::MAX_FIELDS). Most have none.
    fn fields(insn: &[Self::Unit]) -> usize;

    /// From where field `field` counts, in units from the first unit of the instruction.
    ///
    /// The target of a branch is its position, plus this, plus the displacement it holds.
    fn base(insn: &[Self::Unit], field: usize) -> i64;

    /// The displacement that field `field` holds.
    fn read(insn: &[Self::Unit], field: usize) -> i64;

    /// The displacements that field `field` can hold.
    fn range(insn: &[Self::Unit], field: usize) -> RangeInclusive<i64>;

    /// Stores a displacement, which lies in [`range`](Isa::range), into field `field`.
    fn write(insn: &mut [Self::Unit], field: usize, displacement: i64);
}
