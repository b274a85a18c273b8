//! Integers of either byte order, at checked offsets.

use object::Endianness;
use object::endian::Endian as _;

/// A byte slice with its byte order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bytes<'d> {
    pub(crate) data: &'d [u8],
    pub(crate) endian: Endianness,
}

impl<'d> Bytes<'d> {
    pub(crate) fn array<const N: usize>(self, at: usize) -> Option<[u8; N]> {
        self.data.get(at..)?.first_chunk().copied()
    }

    pub(crate) fn u16(self, at: usize) -> Option<u16> {
        self.array(at).map(|raw| self.endian.read_u16(raw))
    }

    pub(crate) fn u32(self, at: usize) -> Option<u32> {
        self.array(at).map(|raw| self.endian.read_u32(raw))
    }

    pub(crate) fn u64(self, at: usize) -> Option<u64> {
        self.array(at).map(|raw| self.endian.read_u64(raw))
    }

    /// `len` bytes from `at`, where both come from a file.
    pub(crate) fn slice(self, at: u64, len: u64) -> Option<&'d [u8]> {
        let start = usize::try_from(at).ok()?;
        let end = start.checked_add(usize::try_from(len).ok()?)?;
        self.data.get(start..end)
    }

    /// The bytes from `at` up to the next NUL, which must be there.
    pub(crate) fn string(self, at: usize) -> Option<&'d [u8]> {
        let rest = self.data.get(at..)?;
        rest.iter().position(|&byte| byte == 0).map(|len| &rest[..len])
    }
}
