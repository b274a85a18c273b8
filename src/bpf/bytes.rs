//! Slots to bytes and back, in either byte order.

use alloc::vec::Vec;
use core::fmt;

use super::Insn;

/// The byte order of a program in memory or in an object.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Endian {
    /// Least significant byte first; the destination is the low nibble of the register byte.
    Little,
    /// Most significant byte first; the destination is the high nibble of the register byte.
    Big,
}

impl Endian {
    /// The byte order of the machine this runs on.
    pub const NATIVE: Self = if cfg!(target_endian = "big") { Self::Big } else { Self::Little };
}

impl Insn {
    /// The slot that these 8 bytes hold.
    #[inline]
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 8], endian: Endian) -> Self {
        let [code, regs, o0, o1, i0, i1, i2, i3] = bytes;
        match endian {
            Endian::Little => Self::new(
                code,
                regs & 15,
                regs >> 4,
                i16::from_le_bytes([o0, o1]),
                i32::from_le_bytes([i0, i1, i2, i3]),
            ),
            Endian::Big => Self::new(
                code,
                regs >> 4,
                regs & 15,
                i16::from_be_bytes([o0, o1]),
                i32::from_be_bytes([i0, i1, i2, i3]),
            ),
        }
    }

    /// The 8 bytes of this slot.
    #[inline]
    #[must_use]
    pub const fn to_bytes(self, endian: Endian) -> [u8; 8] {
        let (regs, [o0, o1], [i0, i1, i2, i3]) = match endian {
            Endian::Little => (self.dst() | self.src() << 4, self.off.to_le_bytes(), self.imm.to_le_bytes()),
            Endian::Big => (self.src() | self.dst() << 4, self.off.to_be_bytes(), self.imm.to_be_bytes()),
        };
        [self.code, regs, o0, o1, i0, i1, i2, i3]
    }
}

/// The slots that `bytes` hold. O(bytes).
///
/// # Errors
///
/// If the length is no multiple of 8.
pub fn decode(bytes: &[u8], endian: Endian) -> Result<Vec<Insn>, DecodeError> {
    let (slots, []) = bytes.as_chunks::<8>() else {
        return Err(DecodeError::Length(bytes.len()));
    };
    // With the order known in the loop, a slot is one load and one store.
    Ok(match endian {
        Endian::Little => slots.iter().map(|&slot| Insn::from_bytes(slot, Endian::Little)).collect(),
        Endian::Big => slots.iter().map(|&slot| Insn::from_bytes(slot, Endian::Big)).collect(),
    })
}

/// The bytes of `insns`, 8 a slot. O(slots).
#[must_use]
pub fn encode(insns: &[Insn], endian: Endian) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(insns.len() * 8);
    for insn in insns {
        bytes.extend_from_slice(&insn.to_bytes(endian));
    }
    bytes
}

/// Why bytes are no program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum DecodeError {
    /// This many bytes are not a whole number of slots.
    Length(usize),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length(bytes) => {
                write!(f, "a program of {bytes} bytes: the length must be a multiple of 8")
            }
        }
    }
}

impl core::error::Error for DecodeError {}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9669, section 3: `opcode | src:4 dst:4 (little) or dst:4 src:4 (big) | offset | imm`.
    #[test]
    fn the_layouts_of_the_rfc() {
        let insn = Insn::new(0x7b, 10, 1, -8, 0x0102_0304);
        let little = [0x7b, 0x1a, 0xf8, 0xff, 4, 3, 2, 1];
        let big = [0x7b, 0xa1, 0xff, 0xf8, 1, 2, 3, 4];
        assert_eq!(insn.to_bytes(Endian::Little), little);
        assert_eq!(insn.to_bytes(Endian::Big), big);
        assert_eq!(Insn::from_bytes(little, Endian::Little), insn);
        assert_eq!(Insn::from_bytes(big, Endian::Big), insn);
    }

    #[test]
    fn slices() {
        let insns = [Insn::mov64_imm(0, 1), Insn::exit()];
        for endian in [Endian::Little, Endian::Big] {
            let bytes = encode(&insns, endian);
            assert_eq!(decode(&bytes, endian).as_deref(), Ok(&insns[..]));
            assert_eq!(decode(&bytes[1..], endian), Err(DecodeError::Length(15)));
            assert_eq!(decode(&[], endian).as_deref(), Ok(&[][..]));
        }
    }
}
