//! [`Bits`]: what is known of each bit of a number of 64 bits.

use core::fmt;

/// The numbers that agree with what is known of their bits: each bit is 0, 1, or unknown.
///
/// This is the domain of tristate numbers, which the verifier of the Linux kernel has as `struct tnum` and LLVM as
/// `KnownBits`. Two facts make its operations short here: the least number has 0 for each unknown bit and the
/// greatest one has 1, and a carry or borrow between two bits changes in one direction only as operands grow.
///
/// ```
/// use relinear::bpf::values::Bits;
///
/// let byte = Bits::with_unknown(0, 0xff);
/// assert_eq!((byte.min(), byte.max()), (0, 0xff));
/// let either = Bits::constant(4).join(Bits::constant(6));
/// assert_eq!(either, Bits::with_unknown(4, 2));
/// assert!(either.contains(6) && !either.contains(5) && either.as_constant().is_none());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Bits {
    /// The known bits that are 1.
    ones: u64,
    /// No bit is in both.
    unknown: u64,
}

const SIGN: u64 = 1 << 63;

impl Bits {
    /// All numbers.
    pub const UNKNOWN: Self = Self { ones: 0, unknown: u64::MAX };

    /// One number.
    #[must_use]
    pub const fn constant(value: u64) -> Self {
        Self { ones: value, unknown: 0 }
    }

    /// The numbers that are like `value` in all bits that `unknown` does not have.
    #[must_use]
    pub const fn with_unknown(value: u64, unknown: u64) -> Self {
        Self { ones: value & !unknown, unknown }
    }

    /// The number, if there is only one.
    #[must_use]
    pub const fn as_constant(self) -> Option<u64> {
        if self.unknown == 0 { Some(self.ones) } else { None }
    }

    /// The bits that may be 0 or 1.
    #[must_use]
    pub const fn unknown(self) -> u64 {
        self.unknown
    }

    /// The least number, without a sign.
    #[must_use]
    pub const fn min(self) -> u64 {
        self.ones
    }

    /// The greatest number, without a sign.
    #[must_use]
    pub const fn max(self) -> u64 {
        self.ones | self.unknown
    }

    /// The least number, with a sign.
    #[must_use]
    pub const fn signed_min(self) -> i64 {
        (self.ones | (self.unknown & SIGN)).cast_signed()
    }

    /// The greatest number, with a sign.
    #[must_use]
    pub const fn signed_max(self) -> i64 {
        (self.max() & !(self.unknown & SIGN)).cast_signed()
    }

    /// Whether a number is one of these.
    #[must_use]
    pub const fn contains(self, value: u64) -> bool {
        value & !self.unknown == self.ones
    }

    /// What is true of these and of the others.
    #[must_use]
    pub const fn join(self, other: Self) -> Self {
        Self::with_unknown(self.ones, self.unknown | other.unknown | (self.ones ^ other.ones))
    }

    /// The numbers that are among these and among the others, if there are any.
    #[must_use]
    pub const fn meet(self, other: Self) -> Option<Self> {
        if (self.ones ^ other.ones) & !self.unknown & !other.unknown != 0 {
            return None;
        }
        Some(Self { ones: self.ones | other.ones, unknown: self.unknown & other.unknown })
    }

    /// Their low `bits` bits, with zeroes above; `bits` is at most 64.
    #[must_use]
    pub const fn low(self, bits: u32) -> Self {
        let mask = low_mask(bits);
        Self { ones: self.ones & mask, unknown: self.unknown & mask }
    }

    /// Their low `bits` bits, which is 1 to 64, with copies of the highest of them above.
    #[must_use]
    pub const fn sign_extend(self, bits: u32) -> Self {
        let unused = 64 - bits;
        Self { ones: sar(self.ones << unused, unused), unknown: sar(self.unknown << unused, unused) }
    }

    /// At most this number, without a sign.
    const fn at_most(value: u64) -> Self {
        Self { ones: 0, unknown: low_mask(64 - value.leading_zeros()) }
    }

    pub(super) const fn and(self, other: Self) -> Self {
        let max = self.max() & other.max();
        Self::with_unknown(self.ones & other.ones, max & (self.unknown | other.unknown))
    }

    pub(super) const fn or(self, other: Self) -> Self {
        let ones = self.ones | other.ones;
        Self { ones, unknown: (self.unknown | other.unknown) & !ones }
    }

    pub(super) const fn xor(self, other: Self) -> Self {
        Self::with_unknown(self.ones ^ other.ones, self.unknown | other.unknown)
    }

    /// A carry comes into a bit of the sum of the greatest numbers if it does so for any of them, and into one of
    /// the sum of the least numbers only if it does so for all. Where the two agree, the carry is known.
    pub(super) const fn add(self, other: Self) -> Self {
        let (least, greatest) = (self.min().wrapping_add(other.min()), self.max().wrapping_add(other.max()));
        let carries = (least ^ self.min() ^ other.min()) ^ (greatest ^ self.max() ^ other.max());
        Self::with_unknown(least, self.unknown | other.unknown | carries)
    }

    /// As [`add`](Bits::add), with borrows: most are needed to subtract the greatest from the least.
    pub(super) const fn sub(self, other: Self) -> Self {
        let (least, greatest) = (self.min().wrapping_sub(other.max()), self.max().wrapping_sub(other.min()));
        let borrows = (least ^ self.min() ^ other.max()) ^ (greatest ^ self.max() ^ other.min());
        let known = self.min().wrapping_sub(other.min());
        Self::with_unknown(known, self.unknown | other.unknown | borrows)
    }

    /// The low bits of a product depend on the same low bits of its factors, its trailing zeroes are those of both
    /// together, and it is at most the product of the greatest.
    pub(super) const fn mul(self, other: Self) -> Self {
        let known = min(self.unknown.trailing_zeros(), other.unknown.trailing_zeros());
        let zeroes = min(self.max().trailing_zeros() + other.max().trailing_zeros(), 64);
        let certain = low_mask(if known > zeroes { known } else { zeroes });
        let product = self.ones.wrapping_mul(other.ones) & low_mask(known);
        let range = match self.max().checked_mul(other.max()) {
            Some(max) => Self::at_most(max),
            None => Self::UNKNOWN,
        };
        Self { ones: product, unknown: range.unknown & !certain }
    }

    /// A division by zero gives zero, which is less than any quotient.
    pub(super) const fn div(self, other: Self) -> Self {
        Self::at_most(self.max() / if other.min() == 0 { 1 } else { other.min() })
    }

    /// A remainder by zero leaves the dividend.
    pub(super) const fn rem(self, other: Self) -> Self {
        match other.as_constant() {
            Some(divisor) if divisor.is_power_of_two() => self.and(Self::constant(divisor - 1)),
            _ if other.min() == 0 || self.max() < other.max() => Self::at_most(self.max()),
            _ => Self::at_most(other.max() - 1),
        }
    }

    /// `count` is below 64.
    pub(super) const fn shl(self, count: u32) -> Self {
        Self { ones: self.ones << count, unknown: self.unknown << count }
    }

    /// `count` is below 64.
    pub(super) const fn shr(self, count: u32) -> Self {
        Self { ones: self.ones >> count, unknown: self.unknown >> count }
    }

    /// `count` is below 64.
    pub(super) const fn sar(self, count: u32) -> Self {
        Self { ones: sar(self.ones, count), unknown: sar(self.unknown, count) }
    }

    /// Shifted left by an unknown count.
    pub(super) const fn shl_any(self) -> Self {
        Self { ones: 0, unknown: !low_mask(self.max().trailing_zeros()) }
    }

    /// Shifted right by an unknown count, zeroes coming in.
    pub(super) const fn shr_any(self) -> Self {
        Self::at_most(self.max())
    }

    /// The low `bytes` bytes in reverse order, with zeroes above; `bytes` is 1 to 8.
    pub(super) const fn swap(self, bytes: u32) -> Self {
        let unused = 64 - 8 * bytes;
        Self { ones: self.ones.swap_bytes() >> unused, unknown: self.unknown.swap_bytes() >> unused }
    }
}

const fn low_mask(bits: u32) -> u64 {
    if bits >= 64 { u64::MAX } else { (1 << bits) - 1 }
}

const fn sar(value: u64, count: u32) -> u64 {
    (value.cast_signed() >> count).cast_unsigned()
}

const fn min(a: u32, b: u32) -> u32 {
    if a < b { a } else { b }
}

/// A constant in hexadecimal, or the known bits that are 1 and the unknown ones.
impl fmt::Debug for Bits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.as_constant() {
            Some(value) => write!(f, "{value:#x}"),
            None if *self == Self::UNKNOWN => f.write_str("?"),
            None => write!(f, "{:#x}?{:#x}", self.ones, self.unknown),
        }
    }
}
