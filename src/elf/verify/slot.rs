//! [`Slot`]: 8 bytes of code, by the instruction set of RFC 9669.

use alloc::vec::Vec;

use object::Endianness;

use super::file::File;
use crate::bpf::Insn;

/// 8 bytes of code: an instruction, or half of an `ld_imm64`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Slot {
    pub(super) code: u8,
    pub(super) dst: u8,
    pub(super) src: u8,
    pub(super) off: i16,
    pub(super) imm: i32,
}

/// Where an instruction holds how far it leads, in slots from the next slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Field {
    Off,
    Imm,
}

const LD_IMM64: u8 = 0x18;
const GOTO: u8 = 0x05;
const GOTOL: u8 = 0x06;
const CALL: u8 = 0x85;
const MAY_GOTO: u8 = 0xe5;
/// `src` of a call of a function of the object.
const LOCAL: u8 = 1;
/// `src` of an `ld_imm64` of the address of a function of the object.
const FUNCTION: u8 = 4;

/// The slots of a section, without what is left over at its end. O(bytes).
pub(super) fn slots(file: &File<'_>, data: &[u8]) -> Vec<Slot> {
    let read = |bytes: &[u8; 8]| {
        let (low, high) = (bytes[1] & 15, bytes[1] >> 4);
        let is_big = file.endian == Endianness::Big;
        let (dst, src) = if is_big { (high, low) } else { (low, high) };
        let (off, imm) = ([bytes[2], bytes[3]], [bytes[4], bytes[5], bytes[6], bytes[7]]);
        let off = if is_big { i16::from_be_bytes(off) } else { i16::from_le_bytes(off) };
        let imm = if is_big { i32::from_be_bytes(imm) } else { i32::from_le_bytes(imm) };
        Slot { code: bytes[0], dst, src, off, imm }
    };
    data.as_chunks::<8>().0.iter().map(read).collect()
}

impl From<Insn> for Slot {
    fn from(insn: Insn) -> Self {
        Self { code: insn.code, dst: insn.dst(), src: insn.src(), off: insn.off, imm: insn.imm }
    }
}

impl Slot {
    pub(super) fn goto(off: i16) -> Self {
        Self { code: GOTO, dst: 0, src: 0, off, imm: 0 }
    }

    /// One of no displacement.
    pub(super) fn gotol() -> Self {
        Self { code: GOTOL, dst: 0, src: 0, off: 0, imm: 0 }
    }

    pub(super) fn is_wide(self) -> bool {
        self.code == LD_IMM64
    }

    /// A call of a function of the object, whether by a displacement or by a relocation.
    pub(super) fn is_local_call(self) -> bool {
        self.code == CALL && self.src == LOCAL
    }

    /// A conditional jump, or `may_goto`.
    pub(super) fn is_conditional(self) -> bool {
        let (class, op) = (self.code & 7, self.code >> 4);
        // `goto`, `call` and `exit` are 0, 8 and 9.
        self.code == MAY_GOTO || (matches!(class, 5 | 6) && matches!(op, 1..=7 | 10..=13))
    }

    pub(super) fn is_goto(self) -> bool {
        matches!(self.code, GOTO | GOTOL)
    }

    /// Whether it leads to the start of a function rather than to an instruction.
    pub(super) fn enters(self) -> bool {
        self.is_local_call() || (self.is_wide() && self.src == FUNCTION)
    }

    pub(super) fn field(self) -> Option<Field> {
        if self.enters() || self.code == GOTOL {
            return Some(Field::Imm);
        }
        (self.is_conditional() || self.code == GOTO).then_some(Field::Off)
    }

    /// Where it leads from `at`, if it holds a displacement.
    pub(super) fn target(self, at: u32) -> Option<i64> {
        let displacement = match self.field()? {
            Field::Off => i64::from(self.off),
            Field::Imm => i64::from(self.imm),
        };
        Some(i64::from(at) + 1 + displacement)
    }

    /// The same without what the field holds.
    pub(super) fn without(mut self, field: Field) -> Self {
        match field {
            Field::Off => self.off = 0,
            Field::Imm => self.imm = 0,
        }
        self
    }

    /// The code of the jump that is taken where this one is not, if there is one.
    pub(super) fn inverse(self) -> Option<u8> {
        let op = match self.code >> 4 {
            0x1 => 0x5, // ==, !=
            0x5 => 0x1,
            0x2 => 0xb, // >, <=
            0xb => 0x2,
            0x3 => 0xa, // >=, <
            0xa => 0x3,
            0x6 => 0xd, // > and <=, signed
            0xd => 0x6,
            0x7 => 0xc, // >= and <, signed
            0xc => 0x7,
            _ => return None,
        };
        Some(op << 4 | self.code & 15)
    }
}
