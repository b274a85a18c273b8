//! [`Table`]: what becomes of access to each field of a context.

use alloc::vec::Vec;

use crate::bpf::{Endian, Insn};

/// Where the code of a [`Field`] names this register, it is the one that points to the context.
pub const CTX: u8 = 12;
/// Where the code of a [`Field`] names this register, it is the one that is loaded or stored. A store of it becomes
/// one of an immediate, if that is what is stored.
pub const VALUE: u8 = 13;
/// Where the code of a [`Field`] names this register, it is the one that programs cannot name.
pub const HIDDEN: u8 = 14;

/// What becomes of access to each field of a context.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Table {
    /// In the order of their places.
    fields: Vec<Field>,
    endian: Endian,
}

/// A field of a context, or a run of bytes that are all at another place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Field {
    /// Where it is in what the program sees, in bytes.
    pub offset: i16,
    /// How long it is there, in bytes.
    pub len: u8,
    /// What a load becomes.
    pub load: Load,
    /// What a store becomes.
    pub store: Store,
}

/// What a load becomes. Code is a template, with the registers [`CTX`], [`VALUE`] and [`HIDDEN`]; its branches stay in
/// it.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Load {
    /// There is no load of this field.
    None,
    /// The field is as the program sees it, but at another place, in bytes.
    Moved(i16),
    /// The field is what this code leaves in [`VALUE`]. A load of a part of it takes that part of the result, but for
    /// one of `width` bytes or more, which takes all of it.
    Code {
        /// How many bytes the code loads from the kernel's structure.
        width: u8,
        /// The code.
        code: Vec<Insn>,
    },
}

/// What a store becomes. Code is a template as in [`Load`].
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Store {
    /// There is no store to this field.
    None,
    /// The field is as the program sees it, but at another place, in bytes.
    Moved(i16),
    /// This code.
    Code(Vec<Insn>),
    /// A store of 16 bits to this place, in bytes, of any number but `0xffff` and above, which are not stored.
    Half(i16),
}

impl Table {
    /// A table of these fields, which do not overlap. `endian` is the byte order of the machine that programs run on.
    ///
    /// O(fields · log fields).
    #[must_use]
    pub fn new(endian: Endian, mut fields: Vec<Field>) -> Self {
        fields.sort_by_key(|field| field.offset);
        Self { fields, endian }
    }

    /// The byte order.
    pub(super) fn endian(&self) -> Endian {
        self.endian
    }

    /// The field that has all of the `size` bytes at `offset`.
    ///
    /// O(log fields).
    #[must_use]
    pub fn field(&self, offset: i16, size: u8) -> Option<&Field> {
        let after = self.fields.partition_point(|field| field.offset <= offset);
        let field = &self.fields[after.checked_sub(1)?];
        let end = i32::from(field.offset) + i32::from(field.len);
        (i32::from(offset) + i32::from(size) <= end).then_some(field)
    }
}

/// A bit field in a byte of a structure of the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bits {
    /// Where the byte is in the structure, in bytes.
    pub byte: i16,
    /// Its lowest bit.
    pub first: u8,
    /// How many bits it has.
    pub len: u8,
}

impl Bits {
    /// The bits of the field, where they are in the byte. Bits above those of a byte are none.
    #[must_use]
    pub fn mask(self) -> i32 {
        let below = |bit: u8| if bit < 8 { (1 << bit) - 1 } else { 0xff };
        below(self.first.saturating_add(self.len)) & !below(self.first)
    }
}
