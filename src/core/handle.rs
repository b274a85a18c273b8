//! [`Handle`]: the 4-byte name of an instruction.

use core::fmt;
use core::num::NonZeroU32;

/// Names one instruction of a program under edit.
///
/// Handles below the length of the original program are its own positions: handle `i` *is* the
/// instruction that stood at unit `i`. The handle equal to that length stands for one past its
/// end. Everything above is inserted code. A handle stays valid, and means the same instruction,
/// through every later edit.
///
/// `Option<Handle>` is 4 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Handle(NonZeroU32);

const _: () = assert!(size_of::<Option<Handle>>() == 4);

impl Handle {
    /// The largest index a handle can name.
    pub const MAX: u32 = u32::MAX - 1;

    /// The handle of the instruction at unit `index`.
    ///
    /// # Panics
    ///
    /// If `index` is above [`Handle::MAX`].
    #[inline]
    #[must_use]
    pub const fn new(index: u32) -> Self {
        match NonZeroU32::new(index.wrapping_add(1)) {
            Some(raw) => Self(raw),
            None => panic!("a handle index is at most u32::MAX - 1"),
        }
    }

    /// The unit index this handle stands for.
    #[inline]
    #[must_use]
    pub const fn index(self) -> u32 {
        self.0.get() - 1
    }

    /// The unit index as a `usize`, to index a slice with.
    #[inline]
    pub(crate) const fn at(self) -> usize {
        self.index() as usize
    }
}

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "i{}", self.index())
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An index that the limit on units keeps within 32 bits.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the limit on units is checked where units come in")]
pub(super) fn to_u32(index: usize) -> u32 {
    debug_assert!(u32::try_from(index).is_ok());
    index as u32
}
