//! [`Types`]: the types of BTF, by id and by name.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::bpf::Endian;

/// The bytes of a type before what its kind adds, of a member, and of a parameter.
const TYPE: usize = 12;
const MEMBER: usize = 12;
const PARAM: usize = 8;

/// How many modifiers, array dimensions or nested structures are followed: more is a circle.
const MAX_DEPTH: usize = 64;
/// How many members are looked at to find one, before the search is given up.
const MAX_MEMBERS: usize = 1 << 16;

/// What a type is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
#[expect(missing_docs, reason = "they are the kinds of BTF, by their names")]
pub enum Kind {
    Void,
    Int,
    Pointer,
    Array,
    Struct,
    Union,
    Enum,
    Forward,
    Typedef,
    Volatile,
    Const,
    Restrict,
    Function,
    Prototype,
    Variable,
    DataSection,
    Float,
    DeclTag,
    TypeTag,
    Enum64,
}

const KINDS: [Kind; 20] = [
    Kind::Void,
    Kind::Int,
    Kind::Pointer,
    Kind::Array,
    Kind::Struct,
    Kind::Union,
    Kind::Enum,
    Kind::Forward,
    Kind::Typedef,
    Kind::Volatile,
    Kind::Const,
    Kind::Restrict,
    Kind::Function,
    Kind::Prototype,
    Kind::Variable,
    Kind::DataSection,
    Kind::Float,
    Kind::DeclTag,
    Kind::TypeTag,
    Kind::Enum64,
];

impl Kind {
    /// Whether it is a structure or a union.
    #[must_use]
    pub const fn is_composite(self) -> bool {
        matches!(self, Self::Struct | Self::Union)
    }

    /// Whether it is an enumeration of 32 or 64 bits.
    #[must_use]
    pub const fn is_enum(self) -> bool {
        matches!(self, Self::Enum | Self::Enum64)
    }

    /// Whether it stands for another type that differs in name or qualifiers only.
    #[must_use]
    pub const fn is_modifier(self) -> bool {
        matches!(self, Self::Typedef | Self::Volatile | Self::Const | Self::Restrict | Self::TypeTag)
    }

    /// The bytes of each of the entries that the kind adds, or of all it adds if it has no entries.
    const fn body(self, entries: usize) -> usize {
        match self {
            Self::Int | Self::Variable | Self::DeclTag => 4,
            Self::Array => 12,
            Self::Struct | Self::Union | Self::DataSection | Self::Enum64 => 12 * entries,
            Self::Enum | Self::Prototype => 8 * entries,
            _ => 0,
        }
    }
}

/// A type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Type<'d> {
    /// What it is.
    pub kind: Kind,
    /// Its name, empty if it has none.
    pub name: &'d str,
    /// The flag of its kind: of a structure, that it has bit fields; of an enumeration, that it is signed; of a
    /// forward declaration, that it is one of a union.
    pub flag: bool,
    /// How many members, enumerators or parameters it has.
    pub entries: usize,
    /// Its size in bytes, or the type that it is made of.
    pub size_or_type: u32,
    body: &'d [u8],
}

/// A member of a structure or union.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Member<'d> {
    /// Its name, empty if it has none.
    pub name: &'d str,
    /// Its type.
    pub type_id: u32,
    /// Where it starts, in bits from the start of the structure.
    pub bit_offset: u32,
    /// How many bits it has, if it is a bit field.
    pub bits: Option<u8>,
}

/// A value of an enumeration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Enumerator<'d> {
    /// Its name.
    pub name: &'d str,
    /// Its value, sign-extended from 32 bits.
    pub value: u64,
}

/// A place in a type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field {
    /// Its type.
    pub type_id: u32,
    /// Where it starts, in bits from the start of the type.
    pub bit_offset: u64,
    /// How many bits it has, if it is a bit field.
    pub bits: Option<u8>,
}

/// The types of BTF. Id 0 is `void`, those of split BTF follow those of its base.
#[derive(Clone, Debug)]
pub struct Types<'d> {
    base: Option<&'d Types<'d>>,
    endian: Endian,
    data: &'d [u8],
    strings: &'d [u8],
    /// The offset of the first string: those before are of the base.
    first_string: u32,
    /// The id of the first type.
    first: u32,
    /// Where each type starts in `data`.
    starts: Vec<u32>,
    /// The ids of types with names, by essential name, then id.
    by_name: Vec<u32>,
}

/// Why bytes are no BTF.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum BtfError {
    /// The header is cut short, or its magic number or version is another.
    Header,
    /// A part is beyond the end, or the strings do not end with a zero.
    Part {
        /// The offset of the field of the header that says so.
        at: usize,
    },
    /// A type is cut short or of a kind that is not known, or its name is none.
    Type {
        /// Its id.
        id: u32,
    },
}

impl fmt::Display for BtfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => f.write_str("BTF with an unknown header"),
            Self::Part { at } => write!(f, "BTF whose part of header offset {at} is cut short"),
            Self::Type { id } => write!(f, "BTF whose type {id} is cut short or not known"),
        }
    }
}

impl core::error::Error for BtfError {}

fn u32_at(data: &[u8], at: usize, endian: Endian) -> Option<u32> {
    let bytes = data.get(at..)?.first_chunk()?;
    Some(match endian {
        Endian::Little => u32::from_le_bytes(*bytes),
        Endian::Big => u32::from_be_bytes(*bytes),
    })
}

/// A name without its flavour: all before the last `___` that has something before and after it.
///
/// By `bpf_core_essential_name_len` of libbpf.
#[must_use]
pub fn essential_name(name: &str) -> &str {
    let bytes = name.as_bytes();
    let is_flavour = |at: usize| {
        // A name, three underscores, and what does not begin with one more.
        bytes[at] != b'_' && bytes[at + 1..at + 4] == *b"___" && bytes[at + 4] != b'_'
    };
    match (0..name.len().saturating_sub(4)).rev().find(|&at| is_flavour(at)) {
        Some(last) => &name[..=last],
        None => name,
    }
}

impl<'d> Types<'d> {
    /// Reads BTF that stands alone, of either byte order.
    ///
    /// O(bytes + types · log(types)).
    ///
    /// # Errors
    ///
    /// See [`BtfError`].
    pub fn parse(data: &'d [u8]) -> Result<Self, BtfError> {
        Self::read(data, None)
    }

    /// Reads split BTF, as of a module of the kernel whose BTF is `base`.
    ///
    /// O(bytes + types · log(types)).
    ///
    /// # Errors
    ///
    /// See [`BtfError`].
    pub fn parse_split(data: &'d [u8], base: &'d Types<'d>) -> Result<Self, BtfError> {
        Self::read(data, Some(base))
    }

    fn read(data: &'d [u8], base: Option<&'d Types<'d>>) -> Result<Self, BtfError> {
        let endian = match data {
            [0x9f, 0xeb, 1, ..] => Endian::Little,
            [0xeb, 0x9f, 1, ..] => Endian::Big,
            _ => return Err(BtfError::Header),
        };
        let field = |at| u32_at(data, at, endian).map(|value| value as usize).ok_or(BtfError::Header);
        let header = field(4)?;
        let part = |at: usize| {
            let start = header.checked_add(field(at)?).ok_or(BtfError::Part { at })?;
            let end = start.checked_add(field(at + 4)?).ok_or(BtfError::Part { at })?;
            data.get(start..end).ok_or(BtfError::Part { at })
        };
        let (types, strings) = (part(8)?, part(16)?);
        let len = |bytes: &[u8], at| u32::try_from(bytes.len()).map_err(|_| BtfError::Part { at });
        if !strings.is_empty() && strings.last() != Some(&0) {
            return Err(BtfError::Part { at: 16 });
        }
        let first_string = match base {
            Some(base) => base.first_string.checked_add(len(base.strings, 16)?).ok_or(BtfError::Header)?,
            None => 0,
        };
        let first = base.map_or(1, Self::end);
        let (mut starts, mut at) = (Vec::new(), 0);
        while at < types.len() {
            let id =
                len(types, 8)?.min(u32::try_from(starts.len()).unwrap_or(u32::MAX)).saturating_add(first);
            starts.push(u32::try_from(at).map_err(|_| BtfError::Type { id })?);
            let info = u32_at(types, at + 4, endian).ok_or(BtfError::Type { id })?;
            let kind = KINDS.get(info as usize >> 24 & 0x1f).ok_or(BtfError::Type { id })?;
            at += TYPE + kind.body(info as usize & 0xffff);
            if at > types.len() {
                return Err(BtfError::Type { id });
            }
        }
        let mut all =
            Self { base, endian, data: types, strings, first_string, first, starts, by_name: Vec::new() };
        let ids = first..all.end();
        let mut named = Vec::new();
        for id in ids {
            let name = all.get(id).ok_or(BtfError::Type { id })?.name;
            if !name.is_empty() {
                named.push((essential_name(name), id));
            }
        }
        named.sort_unstable();
        all.by_name = named.into_iter().map(|(_, id)| id).collect();
        Ok(all)
    }

    /// One past the id of the last type.
    ///
    /// O(1).
    #[must_use]
    pub fn end(&self) -> u32 {
        self.first.saturating_add(u32::try_from(self.starts.len()).unwrap_or(u32::MAX))
    }

    /// The byte order.
    #[must_use]
    pub const fn endian(&self) -> Endian {
        self.endian
    }

    /// The string at an offset, if there is one and it is UTF-8.
    ///
    /// O(its length).
    #[must_use]
    pub fn string(&self, offset: u32) -> Option<&'d str> {
        let Some(own) = offset.checked_sub(self.first_string) else { return self.base?.string(offset) };
        let bytes = self.strings.get(own as usize..)?;
        let end = bytes.iter().position(|byte| *byte == 0)?;
        core::str::from_utf8(&bytes[..end]).ok()
    }

    /// The type with an id.
    ///
    /// O(length of its name).
    #[must_use]
    pub fn get(&self, id: u32) -> Option<Type<'d>> {
        if id == 0 {
            let [name, body] = ["", ""];
            let kind = Kind::Void;
            return Some(Type {
                kind,
                name,
                flag: false,
                entries: 0,
                size_or_type: 0,
                body: body.as_bytes(),
            });
        }
        let Some(own) = id.checked_sub(self.first) else { return self.base?.get(id) };
        let at = *self.starts.get(own as usize)? as usize;
        let info = u32_at(self.data, at + 4, self.endian)?;
        let kind = *KINDS.get(info as usize >> 24 & 0x1f)?;
        let entries = info as usize & 0xffff;
        Some(Type {
            kind,
            name: self.string(u32_at(self.data, at, self.endian)?)?,
            flag: info >> 31 != 0,
            entries,
            size_or_type: u32_at(self.data, at + 8, self.endian)?,
            body: self.data.get(at + TYPE..at + TYPE + kind.body(entries))?,
        })
    }

    /// The types whose names are this one but for flavours, ascending: those of the base first.
    ///
    /// O(log(types) + those that it gives).
    pub fn named(&self, name: &str) -> impl Iterator<Item = u32> + use<'_, 'd> {
        let of_base = self.base.map(|base| base.own_named(name)).unwrap_or_default();
        of_base.iter().chain(self.own_named(name)).copied()
    }

    /// As [`named`](Types::named), without those of the base.
    pub(super) fn own_named(&self, name: &str) -> &[u32] {
        let name = essential_name(name);
        let essential = |id: &u32| self.get(*id).map_or("", |found| essential_name(found.name));
        let start = self.by_name.partition_point(|id| essential(id) < name);
        let len = self.by_name[start..].partition_point(|id| essential(id) == name);
        &self.by_name[start..start + len]
    }

    /// The first type of exactly this name and kind.
    ///
    /// O(log(types) + types that differ in their flavours or kinds).
    #[must_use]
    pub fn find(&self, name: &str, kind: Kind) -> Option<u32> {
        let is_it = |id: &u32| self.get(*id).is_some_and(|found| found.name == name && found.kind == kind);
        self.named(name).find(is_it)
    }

    fn word(&self, of: &Type<'d>, at: usize) -> Option<u32> {
        u32_at(of.body, at, self.endian)
    }

    /// A member of a structure or union.
    ///
    /// O(length of its name).
    #[must_use]
    pub fn member(&self, of: &Type<'d>, index: usize) -> Option<Member<'d>> {
        let at = index.checked_mul(MEMBER).filter(|_| of.kind.is_composite())?;
        let (name, type_id, offset) = (self.word(of, at)?, self.word(of, at + 4)?, self.word(of, at + 8)?);
        let (bit_offset, bits) = if of.flag { (offset & 0xff_ffff, offset >> 24) } else { (offset, 0) };
        let bits = u8::try_from(bits).ok().filter(|bits| *bits != 0);
        Some(Member { name: self.string(name)?, type_id, bit_offset, bits })
    }

    /// An enumerator.
    ///
    /// O(length of its name).
    #[must_use]
    pub fn enumerator(&self, of: &Type<'d>, index: usize) -> Option<Enumerator<'d>> {
        let is_wide = of.kind == Kind::Enum64;
        let at = index.checked_mul(if is_wide { 12 } else { 8 }).filter(|_| of.kind.is_enum())?;
        let low = self.word(of, at + 4)?;
        let value = if is_wide {
            u64::from(self.word(of, at + 8)?) << 32 | u64::from(low)
        } else {
            i64::from(low.cast_signed()).cast_unsigned()
        };
        Some(Enumerator { name: self.string(self.word(of, at)?)?, value })
    }

    /// The type of a parameter of a prototype.
    pub(super) fn parameter(&self, of: &Type<'d>, index: usize) -> Option<u32> {
        self.word(of, index.checked_mul(PARAM).filter(|_| of.kind == Kind::Prototype)? + 4)
    }

    /// The type of the elements of an array, and how many there are.
    ///
    /// O(1).
    #[must_use]
    pub fn array(&self, of: &Type<'d>) -> Option<(u32, u32)> {
        (of.kind == Kind::Array).then_some(())?;
        Some((self.word(of, 0)?, self.word(of, 8)?))
    }

    /// Of an integer, whether it is signed, and where it starts in its bytes, in bits.
    ///
    /// O(1).
    #[must_use]
    pub fn int(&self, of: &Type<'d>) -> Option<(bool, u8)> {
        (of.kind == Kind::Int).then_some(())?;
        let word = self.word(of, 0)?;
        Some((word >> 24 & 1 != 0, u8::try_from(word >> 16 & 0xff).ok()?))
    }

    /// The type that is left without `typedef`, `const` and the like, and its id.
    ///
    /// O(modifiers).
    #[must_use]
    pub fn skip_modifiers(&self, mut id: u32) -> Option<(u32, Type<'d>)> {
        for _ in 0..MAX_DEPTH {
            let found = self.get(id)?;
            if !found.kind.is_modifier() {
                return Some((id, found));
            }
            id = found.size_or_type;
        }
        None
    }

    /// The size of a type, in bytes. Pointers have 8, as in programs.
    ///
    /// O(modifiers and dimensions).
    #[must_use]
    pub fn size(&self, mut id: u32) -> Option<u64> {
        let mut count = 1_u64;
        for _ in 0..MAX_DEPTH {
            let (_, found) = self.skip_modifiers(id)?;
            let size = match found.kind {
                Kind::Int | Kind::Struct | Kind::Union | Kind::Enum | Kind::Enum64 | Kind::Float => {
                    found.size_or_type.into()
                }
                Kind::DataSection => found.size_or_type.into(),
                Kind::Pointer => 8,
                Kind::Variable => {
                    id = found.size_or_type;
                    continue;
                }
                Kind::Array => {
                    let (element, len) = self.array(&found)?;
                    count = count.checked_mul(len.into())?;
                    id = element;
                    continue;
                }
                _ => return None,
            };
            return count.checked_mul(size);
        }
        None
    }

    /// The place that a path such as `se.statistics[2].load` leads to from a structure. Members of members without a
    /// name are found like its own.
    ///
    /// O(members).
    #[must_use]
    pub fn field(&self, structure: u32, path: &str) -> Option<Field> {
        let mut place = Field { type_id: structure, bit_offset: 0, bits: None };
        let mut left = MAX_MEMBERS;
        for part in path.split('.') {
            let (name, indices) = part.split_at(part.find('[').unwrap_or(part.len()));
            if !name.is_empty() {
                let found = self.field_in(place.type_id, name, MAX_DEPTH, &mut left)?;
                place = Field { bit_offset: place.bit_offset.checked_add(found.bit_offset)?, ..found };
            }
            for index in indices.split_terminator(']') {
                let index: u64 = index.strip_prefix('[')?.parse().ok()?;
                let (element, len) = self.array(&self.skip_modifiers(place.type_id)?.1)?;
                (index < u64::from(len)).then_some(())?;
                let bits = self.size(element)?.checked_mul(index)?.checked_mul(8)?;
                place =
                    Field { type_id: element, bit_offset: place.bit_offset.checked_add(bits)?, bits: None };
            }
        }
        Some(place)
    }

    fn field_in(&self, id: u32, name: &str, depth: usize, left: &mut usize) -> Option<Field> {
        let (_, of) = self.skip_modifiers(id)?;
        for index in 0..of.entries {
            *left = left.checked_sub(1)?;
            let Member { name: this, type_id, bit_offset, bits } = self.member(&of, index)?;
            if this == name {
                return Some(Field { type_id, bit_offset: bit_offset.into(), bits });
            }
            if this.is_empty()
                && depth > 0
                && let Some(inner) = self.field_in(type_id, name, depth - 1, left)
            {
                return Some(Field { bit_offset: inner.bit_offset + u64::from(bit_offset), ..inner });
            }
        }
        None
    }

    /// What C calls a type: `struct task_struct`, say.
    #[must_use]
    pub fn display(&self, id: u32) -> String {
        let found = self.get(id);
        let (kind, name) = found.map_or((Kind::Void, "?"), |found| (found.kind, found.name));
        let name = if name.is_empty() { "(anonymous)" } else { name };
        let keyword = match kind {
            Kind::Struct => "struct ",
            Kind::Union => "union ",
            Kind::Enum | Kind::Enum64 => "enum ",
            _ => "",
        };
        [keyword, name].concat()
    }
}
