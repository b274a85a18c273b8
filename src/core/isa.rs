//! [`Isa`]: all that the core has to know about an instruction set, and [`Marks`], what it says of 64 units.

use core::ops::RangeInclusive;

/// An instruction set, as far as moving its instructions goes.
///
/// A program is a slice of [`Unit`](Isa::Unit)s and an instruction is a run of one or more of
/// them. Every position, length and displacement is counted in units. A value of the instruction set stands in each
/// [`List`](super::List): an instruction set with modes keeps them there.
///
/// # The contract
///
/// 1. Every method gives the same result each time it is called with the same units.
/// 2. [`len`](Isa::len), [`fields`](Isa::fields), [`base`](Isa::base) and [`range`](Isa::range) do not depend on
///    displacements: they are the same before and after [`write`](Isa::write).
/// 3. [`read`](Isa::read) gives what [`write`](Isa::write) wrote, and `write` changes nothing else.
/// 4. [`update`](Isa::update), [`branches_of_short`](Isa::branches_of_short) and [`scan`](Isa::scan) give what their
///    default implementations give.
///
/// An implementation that breaks the contract gets a program that is wrong, or a panic; never undefined behaviour and
/// never an endless loop. In detail:
///
/// - A length of 0, or of more units than there are, counts as no instruction: [`Error::BadInsn`](super::Error::BadInsn)
///   or [`Error::BadPatchInsn`](super::Error::BadPatchInsn).
/// - A target that does not fit into an `i64`, or a position, is out of the program:
///   [`Error::BranchOutside`](super::Error::BranchOutside). So a displacement, or a base, may be any `i64`.
/// - A displacement that is not in [`range`](Isa::range) is never written:
///   [`Error::OutOfRange`](super::Error::OutOfRange). An empty range holds none.
/// - If `fields` changes from call to call, branches lead anywhere, or the list panics.
pub trait Isa {
    /// What a program is an array of: eBPF's 8-byte slot, a byte of a variable-length encoding.
    type Unit: Copy + Default;

    /// How many units the instruction at the start of `units` takes.
    ///
    /// `None` if `units` is empty, cut short, or does not begin with an instruction; otherwise a
    /// number from 1 to `units.len()`.
    fn len(&self, units: &[Self::Unit]) -> Option<usize>;

    /// How many displacement fields the instruction `insn` has. Most have none.
    fn fields(&self, insn: &[Self::Unit]) -> usize;

    /// From where field `field` counts, in units from the first unit of the instruction.
    ///
    /// The target of a branch is its position, plus this, plus the displacement it holds.
    fn base(&self, insn: &[Self::Unit], field: usize) -> i64;

    /// The displacement that field `field` holds.
    fn read(&self, insn: &[Self::Unit], field: usize) -> i64;

    /// The displacements that field `field` can hold.
    fn range(&self, insn: &[Self::Unit], field: usize) -> RangeInclusive<i64>;

    /// Stores a displacement, which lies in [`range`](Isa::range), into field `field`.
    fn write(&self, insn: &mut [Self::Unit], field: usize, displacement: i64);

    /// Puts what `new` makes of the displacement that field `field` holds in its place, if it makes something and that
    /// lies in [`range`](Isa::range). Says whether it did.
    ///
    /// An instruction set overrides it to find out where the field is once for both.
    #[inline]
    fn update(&self, insn: &mut [Self::Unit], field: usize, new: impl Fn(i64) -> Option<i64>) -> bool {
        let displacement = new(self.read(insn, field)).filter(|new| self.range(insn, field).contains(new));
        if let Some(displacement) = displacement {
            self.write(insn, field, displacement);
        }
        displacement.is_some()
    }

    /// Whether a branch by field `field` enters its target as control from above does: it runs what
    /// [`prepend_fallthrough`](super::List::prepend_fallthrough) put before it, as a call runs the prologue of
    /// a function, which jumps to its first instruction do not.
    #[inline]
    fn enters(&self, insn: &[Self::Unit], field: usize) -> bool {
        _ = (insn, field);
        false
    }

    /// Which of `units`, a bit each, the first one lowest, have one displacement field, if each of them is an
    /// instruction by itself and none has more fields. `None` if that is not so, or cannot be told quickly.
    ///
    /// It is asked about patches of at most 64 units. An instruction set overrides it to be fast.
    #[inline]
    fn branches_of_short(&self, units: &[Self::Unit]) -> Option<u64> {
        let mut branches = 0;
        for (at, bit) in (0..units.len()).zip(0..u64::BITS) {
            if self.len(&units[at..]) != Some(1) {
                return None;
            }
            match self.fields(&units[at..=at]) {
                0 => {}
                1 => branches |= 1 << bit,
                _ => return None,
            }
        }
        Some(branches)
    }

    /// Marks the first 64 units of `units`, the first `over` of which belong to an instruction that
    /// began before them.
    ///
    /// An instruction set overrides it to be fast; it must give what [`Marks::scan`] gives.
    ///
    /// # Errors
    ///
    /// The unit that begins no whole instruction.
    fn scan(&self, units: &[Self::Unit], over: usize) -> Result<Marks, usize>
    where
        Self: Sized,
    {
        Marks::scan(self, units, over)
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
    /// Whether any of these instructions has more than one displacement field.
    pub several: bool,
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
    pub fn scan<I: Isa>(isa: &I, units: &[I::Unit], over: usize) -> Result<Self, usize> {
        let mut marks = Self { inner: Self::below(over), ..Self::default() };
        let end = units.len().min(Self::UNITS);
        let mut at = over;
        while at < end {
            let rest = &units[at..];
            let len = isa.len(rest).filter(|len| (1..=rest.len()).contains(len)).ok_or(at)?;
            let fields = isa.fields(&rest[..len]);
            marks.inner |= Self::below(at + len) & !Self::below(at + 1);
            marks.branch |= u64::from(fields != 0) << at;
            marks.several |= fields > 1;
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
