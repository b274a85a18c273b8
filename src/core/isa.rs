//! [`Isa`]: all that the core has to know about an instruction set.

use core::ops::RangeInclusive;

/// An instruction set, as far as moving its instructions goes.
///
/// A program is a slice of [`Unit`](Isa::Unit)s and an instruction is a run of one or more of
/// them. Every position, length and displacement is counted in units.
pub trait Isa: Sized {
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

    /// Puts what `new` makes of the displacement that field `field` holds in its place, if it makes something and that
    /// lies in [`range`](Isa::range). Says whether it did.
    ///
    /// An instruction set overrides it to find out where the field is once for both.
    #[inline]
    fn update(insn: &mut [Self::Unit], field: usize, new: impl Fn(i64) -> Option<i64>) -> bool {
        let displacement = new(Self::read(insn, field)).filter(|new| Self::range(insn, field).contains(new));
        if let Some(displacement) = displacement {
            Self::write(insn, field, displacement);
        }
        displacement.is_some()
    }

    /// Whether a branch by field `field` enters its target as control from above does: it runs what
    /// [`prepend_fallthrough`](super::List::prepend_fallthrough) put before it, as a call runs the prologue of
    /// a function, which jumps to its first instruction do not.
    #[inline]
    fn enters(insn: &[Self::Unit], field: usize) -> bool {
        _ = (insn, field);
        false
    }

    /// Which of `units`, a bit each, the first one lowest, have one displacement field, if each of them is an
    /// instruction by itself and none has more.
    ///
    /// It is asked about short patches of at most 64 units, and may say `None` where it cannot tell quickly.
    #[inline]
    fn branches_of_short(units: &[Self::Unit]) -> Option<u64> {
        _ = units;
        None
    }

    /// Marks the first 64 units of `units`, the first `over` of which belong to an instruction that
    /// began before them.
    ///
    /// An instruction set overrides it to be fast; it must give what [`Marks::scan`] gives.
    ///
    /// # Errors
    ///
    /// The unit that begins no whole instruction.
    fn scan(units: &[Self::Unit], over: usize) -> Result<Marks, usize> {
        Marks::scan::<Self>(units, over)
    }
}

/// What 64 units are, a bit each, the first one lowest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Units that are not the first one of their instruction.
    pub inner: u64,
    /// First units of instructions with a displacement field.
    pub branch: u64,
    /// How many units the last instruction takes beyond these 64.
    pub over: usize,
}

impl Marks {
    /// How many units are marked at once.
    pub const UNITS: usize = 64;

    /// What [`Isa::scan`] is by the other methods of an instruction set, an instruction at a time.
    ///
    /// # Errors
    ///
    /// The unit that begins no whole instruction.
    #[inline]
    pub fn scan<I: Isa>(units: &[I::Unit], over: usize) -> Result<Self, usize> {
        let mut marks = Self { inner: Self::below(over), branch: 0, over: 0 };
        let end = units.len().min(Self::UNITS);
        let mut at = over;
        while at < end {
            let len = I::len(&units[at..]).ok_or(at)?;
            marks.inner |= Self::below(at + len) & !Self::below(at + 1);
            marks.branch |= u64::from(I::fields(&units[at..at + len]) != 0) << at;
            at += len;
        }
        marks.over = at - end;
        Ok(marks)
    }

    /// Whether all are instructions of one unit without displacement fields.
    #[inline]
    pub(super) const fn is_plain(&self) -> bool {
        self.inner | self.branch == 0
    }

    /// The bits below `bit`.
    #[inline]
    const fn below(bit: usize) -> u64 {
        if bit < Self::UNITS { (1 << bit) - 1 } else { !0 }
    }
}
