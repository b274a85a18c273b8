//! Integers of either byte order, at checked offsets.

use crate::bpf::Endian;

/// A byte slice with its byte order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bytes<'d> {
    pub(crate) data: &'d [u8],
    pub(crate) endian: Endian,
}

impl<'d> Bytes<'d> {
    pub(crate) fn new(data: &'d [u8], endian: Endian) -> Self {
        Self { data, endian }
    }

    fn array<const N: usize>(self, at: usize) -> Option<[u8; N]> {
        self.data.get(at..)?.first_chunk().copied()
    }

    pub(crate) fn u16(self, at: usize) -> Option<u16> {
        let raw = self.array(at)?;
        Some(match self.endian {
            Endian::Little => u16::from_le_bytes(raw),
            Endian::Big => u16::from_be_bytes(raw),
        })
    }

    pub(crate) fn u32(self, at: usize) -> Option<u32> {
        let raw = self.array(at)?;
        Some(match self.endian {
            Endian::Little => u32::from_le_bytes(raw),
            Endian::Big => u32::from_be_bytes(raw),
        })
    }

    pub(crate) fn u64(self, at: usize) -> Option<u64> {
        let raw = self.array(at)?;
        Some(match self.endian {
            Endian::Little => u64::from_le_bytes(raw),
            Endian::Big => u64::from_be_bytes(raw),
        })
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

/// The bytes of `value`.
pub(crate) fn from_u32(value: u32, endian: Endian) -> [u8; 4] {
    match endian {
        Endian::Little => value.to_le_bytes(),
        Endian::Big => value.to_be_bytes(),
    }
}

/// The bytes of `value`.
pub(crate) fn from_u64(value: u64, endian: Endian) -> [u8; 8] {
    match endian {
        Endian::Little => value.to_le_bytes(),
        Endian::Big => value.to_be_bytes(),
    }
}
