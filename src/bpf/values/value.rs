//! [`Value`]: what is known of a register or a stack slot.

use core::fmt;

use super::Bits;

/// What is known of a register or a stack slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Value {
    /// A number with these bits. An address is a number too, so that [`Bits::UNKNOWN`] may be an address.
    Bits(Bits),
    /// An address of a known kind.
    Pointer(Pointer),
}

/// An address of a known kind.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Pointer {
    /// What it points into.
    pub base: Base,
    /// Where, in bytes from the base, if that is known.
    pub offset: Option<i32>,
}

/// What a pointer points into.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Base {
    /// The stack frame of the subprogram, whose offsets count from the frame pointer.
    Frame,
    /// The context of the program.
    Context,
    /// An object of the [`Facts`](super::Facts).
    Object(u32),
}

impl Value {
    /// Anything.
    pub const UNKNOWN: Self = Self::Bits(Bits::UNKNOWN);

    /// A number.
    #[must_use]
    pub const fn constant(value: u64) -> Self {
        Self::Bits(Bits::constant(value))
    }

    /// An address `offset` bytes from a base.
    #[must_use]
    pub const fn pointer(base: Base, offset: i32) -> Self {
        Self::Pointer(Pointer { base, offset: Some(offset) })
    }

    /// The number, if only one is possible.
    #[must_use]
    pub const fn as_constant(self) -> Option<u64> {
        self.bits().as_constant()
    }

    /// What is known of the bits: nothing of those of a pointer.
    #[must_use]
    pub const fn bits(self) -> Bits {
        match self {
            Self::Bits(bits) => bits,
            Self::Pointer(_) => Bits::UNKNOWN,
        }
    }

    /// The pointer that it is for sure.
    #[must_use]
    pub const fn as_pointer(self) -> Option<Pointer> {
        match self {
            Self::Bits(_) => None,
            Self::Pointer(pointer) => Some(pointer),
        }
    }

    /// Whether this is an address in the frame for sure.
    #[must_use]
    pub(super) const fn is_frame(self) -> bool {
        matches!(self, Self::Pointer(Pointer { base: Base::Frame, .. }))
    }

    /// What is true of both.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        match (self, other) {
            (Self::Bits(a), Self::Bits(b)) => Self::Bits(a.join(b)),
            (Self::Pointer(a), Self::Pointer(b)) if a.base == b.base => {
                Self::Pointer(Pointer { offset: a.offset.filter(|_| a.offset == b.offset), ..a })
            }
            _ => Self::UNKNOWN,
        }
    }

    /// Less than this, and so little that it can become less once more at most: no bits, no offset.
    pub(super) const fn widened(self) -> Self {
        match self {
            Self::Bits(_) => Self::UNKNOWN,
            Self::Pointer(pointer) => Self::Pointer(Pointer { offset: None, ..pointer }),
        }
    }
}

impl Pointer {
    /// The address so many bytes on; an offset that no program has use for is unknown.
    #[must_use]
    pub(super) fn plus(self, bytes: Option<i64>) -> Self {
        let sum = self.offset.zip(bytes).and_then(|(offset, bytes)| bytes.checked_add(offset.into()));
        Self { offset: sum.and_then(|sum| i32::try_from(sum).ok()), ..self }
    }
}

impl fmt::Debug for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.offset {
            Some(offset) => write!(f, "{:?}{offset:+}", self.base),
            None => write!(f, "{:?}+?", self.base),
        }
    }
}
