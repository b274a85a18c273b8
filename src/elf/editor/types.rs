//! [`Types`]: the BTF of an object, with types and strings added at its end.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use std::collections::HashMap;

use crate::bpf::Endian;
use crate::elf::ElfError;
use crate::elf::btf::{self, Btf};
use crate::elf::bytes::{Bytes, from_u32};

/// Kinds of types: `enum btf_kind`.
const INT: u32 = 1;
const POINTER: u32 = 2;
const ARRAY: u32 = 3;
const STRUCT: u32 = 4;
const CONST: u32 = 10;
const FUNC: u32 = 12;
const FUNC_PROTO: u32 = 13;
const VAR: u32 = 14;
const DATASEC: u32 = 15;

/// `enum btf_func_linkage`, and the linkage of variables.
const STATIC: u32 = 0;
const GLOBAL: u32 = 1;
const EXTERN: u32 = 2;

/// The BTF of an object, and what is added to it. Ids and strings that the object has never change.
///
/// Each method gives the id of a type: one that is there already if it has no name of its own to be told by, else a
/// new one. It is O(1), but for the first look-up of strings, which goes through all of them.
pub struct Types<'o> {
    old: Option<&'o Btf<'o>>,
    endian: Endian,
    added: Vec<NewType>,
    strings: Vec<u8>,
    /// Where each string is; filled at the first use.
    places: HashMap<String, u32>,
    /// Types without a name of their own, by their bytes.
    known: HashMap<NewType, u32>,
    /// Entries to add to sections of data that the object describes, by id, and their new sizes.
    grown: BTreeMap<u32, Growth>,
}

#[derive(Default)]
struct Growth {
    entries: Vec<[u32; 3]>,
    size: Option<u32>,
}

/// A type as BTF has it: three fields, and what follows.
#[derive(Clone, PartialEq, Eq, Hash)]
struct NewType {
    name: u32,
    info: u32,
    size_or_id: u32,
    tail: Vec<u32>,
}

/// A section of data that BTF describes.
#[derive(Clone, Copy)]
pub(super) struct DataSection {
    id: u32,
    /// Whether it gives its size and the offsets of its variables. Compilers leave that to the loader, linkers do not.
    pub(super) laid_out: bool,
}

impl<'o> Types<'o> {
    pub(super) fn new(old: Option<&'o Btf<'o>>, endian: Endian) -> Self {
        Self {
            old,
            endian,
            added: Vec::new(),
            strings: Vec::new(),
            places: HashMap::new(),
            known: HashMap::new(),
            grown: BTreeMap::new(),
        }
    }

    /// Whether anything was added.
    pub(super) fn is_changed(&self) -> bool {
        !(self.added.is_empty() && self.strings.is_empty() && self.grown.is_empty())
    }

    fn old_types(&self) -> u32 {
        self.old.map_or(0, Btf::last_type)
    }

    fn old_strings(&self) -> &'o [u8] {
        self.old.map_or(&[0], Btf::strings)
    }

    /// The offset of a string.
    ///
    /// # Panics
    ///
    /// If there are more than 4 GiB of strings.
    pub fn string(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        let old = self.old_strings();
        if self.places.is_empty() {
            let mut at = 0;
            for bytes in old.split(|&byte| byte == 0) {
                if let (Ok(found), Ok(place)) = (core::str::from_utf8(bytes), u32::try_from(at)) {
                    self.places.entry(found.to_string()).or_insert(place);
                }
                at += bytes.len() + 1;
            }
        }
        if let Some(&place) = self.places.get(text) {
            return place;
        }
        let place = u32::try_from(old.len() + self.strings.len()).expect("BTF has at most 4 GiB of strings");
        self.strings.extend(text.bytes().filter(|&byte| byte != 0));
        self.strings.push(0);
        self.places.insert(text.to_string(), place);
        place
    }

    fn push(&mut self, new: NewType) -> u32 {
        self.added.push(new);
        self.old_types() + u32::try_from(self.added.len()).unwrap_or(u32::MAX)
    }

    /// A type that is told by what it is, so that one of each is enough.
    fn shared(&mut self, new: NewType) -> u32 {
        if let Some(&id) = self.known.get(&new) {
            return id;
        }
        let id = self.push(new.clone());
        self.known.insert(new, id);
        id
    }

    /// An integer of `size` bytes (1, 2, 4 or 8).
    pub fn int(&mut self, name: &str, size: u32, signed: bool) -> u32 {
        let name = self.string(name);
        let bits = (u32::from(signed) << 24) | (size * 8);
        self.shared(NewType { name, info: INT << 24, size_or_id: size, tail: alloc::vec![bits] })
    }

    /// A pointer to a type.
    pub fn pointer(&mut self, to: u32) -> u32 {
        self.shared(NewType { name: 0, info: POINTER << 24, size_or_id: to, tail: Vec::new() })
    }

    /// An array of `len` elements.
    pub fn array(&mut self, element: u32, len: u32) -> u32 {
        let index = self.int("__ARRAY_SIZE_TYPE__", 4, false);
        self.shared(NewType {
            name: 0,
            info: ARRAY << 24,
            size_or_id: 0,
            tail: alloc::vec![element, index, len],
        })
    }

    /// `const` of a type; 0 is `void`.
    pub fn constant(&mut self, of: u32) -> u32 {
        self.shared(NewType { name: 0, info: CONST << 24, size_or_id: of, tail: Vec::new() })
    }

    /// A structure of `size` bytes: for each member its name, its type, and its offset in bits. With an empty name it
    /// has none.
    pub fn structure(&mut self, name: &str, size: u32, members: &[(&str, u32, u32)]) -> u32 {
        let name = self.string(name);
        let mut tail = Vec::with_capacity(members.len() * 3);
        for &(member, type_id, offset) in members {
            tail.extend([self.string(member), type_id, offset]);
        }
        let count = u32::try_from(members.len()).unwrap_or(u32::MAX) & 0xffff;
        self.push(NewType { name, info: STRUCT << 24 | count, size_or_id: size, tail })
    }

    /// The prototype of a function: what it returns, and for each argument its name and its type.
    pub fn prototype(&mut self, returns: u32, params: &[(&str, u32)]) -> u32 {
        let mut tail = Vec::with_capacity(params.len() * 2);
        for &(param, type_id) in params {
            tail.extend([self.string(param), type_id]);
        }
        let count = u32::try_from(params.len()).unwrap_or(u32::MAX) & 0xffff;
        self.shared(NewType { name: 0, info: FUNC_PROTO << 24 | count, size_or_id: returns, tail })
    }

    /// The prototype of a function of `params` 64-bit integers, which gives one.
    pub(super) fn plain_prototype(&mut self, params: u8, first_name: char) -> u32 {
        let word = self.int("unsigned long long", 8, false);
        let names: Vec<String> =
            (0..params).map(|index| char::from(first_name as u8 + index).to_string()).collect();
        let params: Vec<(&str, u32)> = names.iter().map(|name| (name.as_str(), word)).collect();
        self.prototype(word, &params)
    }

    /// A function with a prototype. It is `extern` if it is the kernel's.
    pub(super) fn function(&mut self, name: &str, prototype: u32, linkage: Linkage) -> u32 {
        let name = self.string(name);
        self.push(NewType {
            name,
            info: FUNC << 24 | linkage.number(),
            size_or_id: prototype,
            tail: Vec::new(),
        })
    }

    pub(super) fn variable(&mut self, name: &str, type_id: u32, linkage: Linkage) -> u32 {
        let name = self.string(name);
        let tail = alloc::vec![linkage.number()];
        self.push(NewType { name, info: VAR << 24, size_or_id: type_id, tail })
    }

    /// The section of data of that name, if it is described.
    pub(super) fn find_section(&mut self, name: &str) -> Option<DataSection> {
        let old = self.old.and_then(|old| {
            let mut ids = 1..=old.last_type();
            let id = ids.find(|&id| old.section_size(id).is_some() && old.name(id) == Some(name))?;
            Some(DataSection { id, laid_out: old.section_size(id) != Some(0) })
        });
        let at = self.places.get(name).copied();
        old.or_else(|| {
            let is_it = |new: &NewType| new.info >> 24 == DATASEC && Some(new.name) == at;
            let index = self.added.iter().position(is_it)?;
            let id = self.old_types() + 1 + u32::try_from(index).ok()?;
            Some(DataSection { id, laid_out: self.added[index].size_or_id != 0 })
        })
    }

    /// The section of data of that name; a new one says neither its size nor offsets.
    pub(super) fn section(&mut self, name: &str) -> DataSection {
        self.find_section(name).unwrap_or_else(|| {
            let name = self.string(name);
            let id = self.push(NewType { name, info: DATASEC << 24, size_or_id: 0, tail: Vec::new() });
            DataSection { id, laid_out: false }
        })
    }

    /// Adds a variable or function to a section of data, `size` bytes at `offset`. A section that gives its size then gives
    /// `total`, if that is said.
    pub(super) fn enter(
        &mut self,
        section: DataSection,
        type_id: u32,
        offset: u32,
        size: u32,
        total: Option<u32>,
    ) {
        let entry = [type_id, offset, size];
        if let Some(index) = section.id.checked_sub(self.old_types() + 1) {
            let new = &mut self.added[index as usize];
            new.tail.extend(entry);
            new.info += 1;
            return;
        }
        let growth = self.grown.entry(section.id).or_default();
        growth.entries.push(entry);
        if section.laid_out && total.is_some() {
            growth.size = total;
        }
    }

    /// The integer type of so many bytes, or an array of bytes.
    pub(super) fn bytes(&mut self, size: u32) -> u32 {
        let byte = self.int("unsigned char", 1, false);
        match size {
            1 => byte,
            2 => self.int("unsigned short", 2, false),
            4 => self.int("unsigned int", 4, false),
            8 => self.int("unsigned long long", 8, false),
            _ => self.array(byte, size),
        }
    }

    /// The bytes of the section `.BTF`. O(bytes).
    pub(super) fn to_bytes(&self) -> Result<NewBtf, ElfError> {
        let fail = |reason| ElfError::section(b".BTF", 0, reason);
        let (endian, mut types, mut shifts) = (self.endian, Vec::new(), Vec::new());
        let start = self.old.map_or(0, Btf::types_at);
        if let Some(old) = self.old {
            if !old.is_whole() {
                return Err(fail("nothing can be added to types of a kind that is not known"));
            }
            let mut at = start;
            for id in 1..=old.last_type() {
                let bytes = old.type_bytes(id);
                match self.grown.get(&id) {
                    None => types.extend_from_slice(bytes),
                    Some(growth) => {
                        let many = fail("a section of too many variables");
                        self.grow(&mut types, bytes, growth).ok_or(many)?;
                        at += bytes.len() as u64;
                        shifts.push((at, growth.entries.len() as u64 * 12));
                        continue;
                    }
                }
                at += bytes.len() as u64;
            }
        }
        for new in &self.added {
            for word in [new.name, new.info, new.size_or_id].iter().chain(&new.tail) {
                types.extend_from_slice(&from_u32(*word, endian));
            }
        }
        let strings = [self.old_strings(), &self.strings].concat();
        let len = |bytes: &[u8]| u32::try_from(bytes.len()).map_err(|_| fail("longer than 4 GiB"));
        let mut bytes = btf::header(endian, len(&types)?, len(&strings)?);
        bytes.extend_from_slice(&types);
        bytes.extend_from_slice(&strings);
        Ok(NewBtf { bytes, start, shifts })
    }

    /// Writes a section of data with more entries, and with them in order if it gives their offsets.
    fn grow(&self, out: &mut Vec<u8>, bytes: &[u8], growth: &Growth) -> Option<()> {
        let endian = self.endian;
        let old = Bytes::new(bytes, endian);
        let count = u32::try_from(growth.entries.len()).ok()?;
        let count = (old.u32(4)? & 0xffff).checked_add(count).filter(|&count| count <= 0xffff)?;
        out.extend_from_slice(&bytes[..4]);
        out.extend_from_slice(&from_u32(DATASEC << 24 | count, endian));
        out.extend_from_slice(&from_u32(growth.size.or(old.u32(8))?, endian));
        out.extend_from_slice(&bytes[12..]);
        for word in growth.entries.iter().flatten() {
            out.extend_from_slice(&from_u32(*word, endian));
        }
        Some(())
    }
}

/// A `.BTF` section to which types were added.
pub(super) struct NewBtf {
    pub(super) bytes: Vec<u8>,
    /// Where the first type was, in bytes.
    start: u64,
    /// Where, in bytes of the old section, how many bytes were inserted, ascending.
    shifts: Vec<(u64, u64)>,
}

impl NewBtf {
    /// Where the byte of a type at this offset of the old section went.
    pub(super) fn new_of(&self, offset: u64) -> u64 {
        let inserted = self.shifts.iter().take_while(|&&(at, _)| at <= offset).map(|&(_, len)| len);
        (offset - self.start.min(offset)) + u64::from(btf::HEADER) + inserted.sum::<u64>()
    }
}

/// Who can see a function or a variable, as BTF numbers it.
#[derive(Clone, Copy)]
pub(super) enum Linkage {
    Static,
    Global,
    Extern,
}

impl Linkage {
    pub(super) const fn of(global: bool) -> Self {
        if global { Self::Global } else { Self::Static }
    }

    const fn number(self) -> u32 {
        match self {
            Self::Static => STATIC,
            Self::Global => GLOBAL,
            Self::Extern => EXTERN,
        }
    }
}
