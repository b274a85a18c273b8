//! [`Btf`]: names of types and places of members, out of a `.BTF` section.
//!
//! The format is that of the kernel's `Documentation/bpf/btf.rst`. Nothing in `.BTF` speaks in
//! positions of instructions, so this only reads, and only what it takes to give a type its name, and a member
//! its place.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write as _;

use super::btf_strings::Strings;
use super::bytes::{Bytes, from_u32};
use super::code::CoreRelo;
use super::error::ElfError;
use super::text::Text;
use crate::bpf::Endian;

/// The magic number that `.BTF` and `.BTF.ext` begin with.
pub(crate) const MAGIC: u16 = 0xeb9f;
/// The only version there is.
pub(crate) const VERSION: u8 = 1;

const SECTION: &[u8] = b".BTF";
pub(crate) const HEADER: u32 = 24;
const TYPE: usize = 12;
const MEMBER: usize = 12;

const INT: u8 = 1;
const POINTER: u8 = 2;
const ARRAY: u8 = 3;
const STRUCT: u8 = 4;
const UNION: u8 = 5;
const ENUM: u8 = 6;
const TYPEDEF: u8 = 8;
const RESTRICT: u8 = 11;
const FUNC: u8 = 12;
const FUNC_PROTO: u8 = 13;
const DATASEC: u8 = 15;
const TYPE_TAG: u8 = 18;
const ENUM64: u8 = 19;

/// `enum bpf_core_relo_kind`: ids, existence and size of types.
const FIRST_OF_TYPES: u32 = 6;
const LAST_OF_TYPES: u32 = 9;
const ENUM_EXISTS: u32 = 10;
const ENUM_VALUE: u32 = 11;
const TYPE_MATCHES: u32 = 12;

/// How many structures may be nested in one another, without names, and how many members of theirs are looked
/// at before the search is given up: a file may have more to say than anyone can read.
const MAX_NESTED: usize = 16;
const MAX_MEMBERS: usize = 1 << 16;

/// How many indices an access has at most, for libbpf (`BPF_CORE_SPEC_MAX_LEN`).
const MAX_INDICES: usize = 64;
/// The most characters of an index, with its colon: it has 32 bits.
const INDEX: usize = 11;

/// How many modifiers (`const`, `typedef`, ...) may stand before a type: more is a circle.
const MAX_MODIFIERS: usize = 64;

/// A `.BTF` section: strings by offset, types by id.
#[derive(Clone, Debug)]
pub struct Btf<'d> {
    endian: Endian,
    /// The types, as they stand in the file, or as an edit wrote them.
    types: Cow<'d, [u8]>,
    strings: Strings<'d>,
    /// Where the types are in the section, in bytes.
    types_at: u64,
    /// Where each type starts in `types`; the first is that of type 1.
    starts: Vec<u32>,
}

/// Where a member of a structure is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Member {
    /// Where it starts, in bits from the start of the structure.
    pub offset: u32,
    /// How long it is, in bits, if it is a bit field.
    pub bits: Option<u8>,
    /// Its type.
    pub type_id: u32,
}

/// A step of the access of a CO-RE record.
enum Step<'a> {
    /// The type that it begins with.
    Type(&'a str),
    /// A member, or a value of an enumeration.
    Member(&'a str),
    /// An element of an array.
    Element(usize),
}

/// The fields of `struct btf_type`.
#[derive(Clone, Copy)]
struct Type {
    name: u32,
    kind: u8,
    /// Of a structure: the offsets of members hold their sizes, too, if they are bit fields.
    has_bits: bool,
    vlen: usize,
    /// A size, or the id of the type it is made of.
    size_or_id: u32,
    /// Where what follows these fields starts.
    body: usize,
}

impl<'d> Btf<'d> {
    /// Reads the bytes of a `.BTF` section.
    ///
    /// A kind of type that this version does not know has an unknown length: that type and all
    /// after it have no name. O(bytes).
    ///
    /// # Errors
    ///
    /// [`ElfError::Section`] if the header or a type goes beyond the end, or the magic number or
    /// the version is another.
    pub fn parse(data: &'d [u8], endian: Endian) -> Result<Self, ElfError> {
        Self::read(data, endian)
    }

    /// Reads the bytes of a section that an edit wrote.
    pub(crate) fn parse_owned(data: &[u8], endian: Endian) -> Result<Self, ElfError> {
        let Btf { endian, types, strings, types_at, starts } = Btf::read(data, endian)?;
        let (types, strings) = (types.into_owned().into(), strings.into_owned());
        Ok(Self { endian, types, strings, types_at, starts })
    }

    fn read(data: &'d [u8], endian: Endian) -> Result<Self, ElfError> {
        let file = Bytes::new(data, endian);
        let fail = |at: usize, reason| ElfError::section(SECTION, at as u64, reason);
        let field = |at| file.u32(at).map(u64::from).ok_or(fail(at, "header cut short"));
        let header = field(4)?;
        if file.u16(0) != Some(MAGIC) || data.get(2) != Some(&VERSION) {
            return Err(fail(0, "unknown magic number or version"));
        }
        let part = |at| {
            let part = file.slice(header + field(at)?, field(at + 4)?);
            part.ok_or(fail(at, "beyond the end of the section"))
        };
        let mut btf = Self {
            endian,
            types: part(8)?.into(),
            strings: Strings::new(part(16)?),
            types_at: header + field(8)?,
            starts: Vec::new(),
        };
        let mut at = 0;
        while at < btf.types.len() {
            let short = || fail(at, "type cut short (offset from the first type)");
            let Some(len) = btf.at(at).ok_or_else(short)?.body_len() else { break };
            let end = at + TYPE + len;
            if end > btf.types.len() {
                return Err(short());
            }
            btf.starts.push(u32::try_from(at).map_err(|_| short())?);
            at = end;
        }
        Ok(btf)
    }

    /// The byte order.
    #[must_use]
    pub fn endian(&self) -> Endian {
        self.endian
    }

    /// The string at `offset`, if there is one and it is UTF-8. O(log strings).
    #[must_use]
    pub fn string(&self, offset: u32) -> Option<&str> {
        self.strings.get(offset as usize)
    }

    /// The id of the last type; the first is 1, and 0 is `void`. O(1).
    #[must_use]
    pub fn last_type(&self) -> u32 {
        u32::try_from(self.starts.len()).unwrap_or(u32::MAX)
    }

    /// The name of type `id`, if it has one. O(log strings).
    #[must_use]
    pub fn name(&self, id: u32) -> Option<&str> {
        self.string(self.get(id)?.name).filter(|name| !name.is_empty())
    }

    /// The name of type `id`, if that is a function. O(log strings).
    #[must_use]
    pub fn function(&self, id: u32) -> Option<&str> {
        self.get(id).filter(|found| found.kind == FUNC).and_then(|_| self.name(id))
    }

    /// How many arguments the function of type `id` has, at most 5, and whether it gives a value. O(1).
    #[must_use]
    pub fn signature(&self, id: u32) -> Option<(u8, bool)> {
        let function = self.get(id).filter(|found| found.kind == FUNC)?;
        let prototype = self.get(function.size_or_id).filter(|found| found.kind == FUNC_PROTO)?;
        Some((u8::try_from(prototype.vlen).unwrap_or(u8::MAX).min(5), prototype.size_or_id != 0))
    }

    /// The first structure of that name. O(types).
    #[must_use]
    pub fn structure(&self, name: &str) -> Option<u32> {
        let is_it = |id: &u32| {
            self.get(*id).is_some_and(|found| found.kind == STRUCT) && self.name(*id) == Some(name)
        };
        (1..=self.last_type()).find(is_it)
    }

    /// The member of that name of a structure or union, or of one without a name in it. O(members).
    #[must_use]
    pub fn member(&self, structure: u32, name: &str) -> Option<Member> {
        self.member_in(structure, name, MAX_NESTED, &mut { MAX_MEMBERS })
    }

    fn member_in(&self, structure: u32, name: &str, depth: usize, left: &mut usize) -> Option<Member> {
        let of = self.skip_modifiers(structure).filter(|of| matches!(of.kind, STRUCT | UNION))?;
        for index in 0..of.vlen {
            *left = left.checked_sub(1)?;
            let at = of.entry(index, MEMBER)?;
            let (type_id, offset) = (self.word(at + 4)?, self.word(at + 8)?);
            let (offset, bits) = if of.has_bits { (offset & 0xff_ffff, offset >> 24) } else { (offset, 0) };
            let this = self.string(self.word(at)?)?;
            if this == name {
                return Some(Member {
                    offset,
                    bits: u8::try_from(bits).ok().filter(|&bits| bits > 0),
                    type_id,
                });
            }
            if this.is_empty()
                && depth > 0
                && let Some(inner) = self.member_in(type_id, name, depth - 1, left)
            {
                return Some(Member { offset: offset.checked_add(inner.offset)?, ..inner });
            }
        }
        None
    }

    /// The number of elements of type `id`, if that is an array. O(1).
    #[must_use]
    pub fn elements(&self, id: u32) -> Option<u32> {
        let array = self.skip_modifiers(id).filter(|found| found.kind == ARRAY)?;
        self.word(array.body + 8)
    }

    /// Whether type `id` is a pointer. O(1).
    #[must_use]
    pub fn is_pointer(&self, id: u32) -> bool {
        self.skip_modifiers(id).is_some_and(|found| found.kind == POINTER)
    }

    /// What a CO-RE record speaks of, as C would write it: `task_struct.pid`, say.
    ///
    /// The record's access string has indices with colons between them: the first is that of an array of
    /// the type, or of a value of an enumeration; the others are those of members and elements. `None` if
    /// it does not fit the type, or has more than 64 indices, which libbpf does not take. What is longer than
    /// [`Text::MOST`] bytes is cut short. O(number of indices).
    #[must_use]
    pub fn access(&self, record: &CoreRelo) -> Option<String> {
        let mut path = String::new();
        self.walk(record, &mut |step| {
            // Many records may name long members.
            let room = Text::MOST.saturating_sub(path.len());
            _ = match step {
                Step::Type(name) => write!(path, "{}", Text::new(name).at_most(room).cut()),
                Step::Member(name) => write!(path, ".{}", Text::new(name).at_most(room).cut()),
                Step::Element(index) => write!(path, "[{index}]"),
            };
        })?;
        Some(path)
    }

    /// Whether a CO-RE record fits its type. O(number of indices).
    pub(crate) fn fits(&self, record: &CoreRelo) -> bool {
        self.walk(record, &mut |_| {}).is_some()
    }

    /// Tells `say` each step of the access of a CO-RE record. `None` if it does not fit the type.
    fn walk<'a>(&'a self, record: &CoreRelo, say: &mut dyn FnMut(Step<'a>)) -> Option<()> {
        say(Step::Type(self.name(record.type_id).unwrap_or("(anonymous)")));
        let access = self.string(record.access).filter(|access| access.len() <= MAX_INDICES * INDEX)?;
        let mut indices = access.split(':').map(|index| index.parse::<usize>().ok());
        let first = indices.next()??;
        let mut at = self.skip_modifiers(record.type_id);
        match record.kind {
            FIRST_OF_TYPES..=LAST_OF_TYPES | TYPE_MATCHES => return Some(()),
            ENUM_EXISTS | ENUM_VALUE => {
                let values = at.filter(|found| matches!(found.kind, ENUM | ENUM64))?;
                let len = if values.kind == ENUM64 { 12 } else { 8 };
                let name = self.word(values.entry(first, len)?)?;
                say(Step::Member(self.string(name)?));
                return Some(());
            }
            _ if first != 0 => say(Step::Element(first)),
            _ => {}
        }
        for (number, index) in (1..).zip(indices) {
            let (of, index) = (at.filter(|_| number < MAX_INDICES)?, index?);
            let next = match of.kind {
                STRUCT | UNION => {
                    let member = of.entry(index, MEMBER)?;
                    let name = self.string(self.word(member)?)?;
                    if !name.is_empty() {
                        say(Step::Member(name));
                    }
                    self.word(member + 4)?
                }
                ARRAY => {
                    say(Step::Element(index));
                    self.word(of.body)?
                }
                _ => return None,
            };
            at = self.skip_modifiers(next);
        }
        Some(())
    }

    /// Where the types are in the section, in bytes.
    pub(crate) fn types_at(&self) -> u64 {
        self.types_at
    }

    /// All strings, the empty one first.
    pub(crate) fn strings(&self) -> &[u8] {
        self.strings.bytes()
    }

    /// Whether the last type that was read is the last one there is.
    pub(crate) fn is_whole(&self) -> bool {
        let ends = self.get(self.last_type()).and_then(|last| Some(last.body + last.body_len()?));
        ends.unwrap_or_default() == self.types.len()
    }

    /// The bytes of a type, its members included; empty if there is no such type.
    pub(crate) fn type_bytes(&self, id: u32) -> &[u8] {
        let found =
            self.get(id).and_then(|found| self.types.get(found.body - TYPE..found.body + found.body_len()?));
        found.unwrap_or_default()
    }

    /// The size that a type gives, if it is a section of data.
    pub(crate) fn section_size(&self, id: u32) -> Option<u32> {
        self.get(id).filter(|found| found.kind == DATASEC).map(|found| found.size_or_id)
    }

    /// The number at a byte of the types.
    fn word(&self, at: usize) -> Option<u32> {
        Bytes::new(&self.types, self.endian).u32(at)
    }

    fn get(&self, id: u32) -> Option<Type> {
        let start = *self.starts.get(id.checked_sub(1)? as usize)?;
        self.at(start as usize)
    }

    fn at(&self, at: usize) -> Option<Type> {
        let info = self.word(at + 4)?;
        Some(Type {
            name: self.word(at)?,
            kind: u8::try_from(info >> 24 & 0x1f).ok()?,
            has_bits: info >> 31 != 0,
            vlen: usize::try_from(info & 0xffff).ok()?,
            size_or_id: self.word(at + 8)?,
            body: at + TYPE,
        })
    }

    fn skip_modifiers(&self, id: u32) -> Option<Type> {
        let mut found = self.get(id)?;
        for _ in 0..MAX_MODIFIERS {
            if !matches!(found.kind, TYPEDEF..=RESTRICT | TYPE_TAG) {
                return Some(found);
            }
            found = self.get(found.size_or_id)?;
        }
        None
    }
}

/// The header of a `.BTF` section with so many bytes of types and, after them, of strings.
pub(crate) fn header(endian: Endian, types: u32, strings: u32) -> Vec<u8> {
    let magic = match endian {
        Endian::Little => MAGIC.to_le_bytes(),
        Endian::Big => MAGIC.to_be_bytes(),
    };
    let mut header = Vec::from([magic[0], magic[1], VERSION, 0]);
    for word in [HEADER, 0, types, types, strings] {
        header.extend_from_slice(&from_u32(word, endian));
    }
    header
}

impl Type {
    /// Where entry `index`, `len` bytes long, of its list starts.
    fn entry(self, index: usize, len: usize) -> Option<usize> {
        (index < self.vlen).then_some(self.body + index * len)
    }

    /// The length of what follows the common fields, in bytes; `None` for a kind we do not know.
    fn body_len(self) -> Option<usize> {
        Some(match self.kind {
            // int, var, decl tag
            INT | 14 | 17 => 4,
            ARRAY => 12,
            // pointer, forward, modifiers, function, float
            POINTER | 7..=FUNC | 16 | TYPE_TAG => 0,
            // struct, union, data section, enum64
            STRUCT | UNION | DATASEC | ENUM64 => self.vlen * 12,
            // enum, function prototype
            ENUM | 13 => self.vlen * 8,
            _ => return None,
        })
    }
}
