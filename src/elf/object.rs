//! [`Object`]: an ELF object, its code in the open.

use alloc::borrow::Cow;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::fmt;

use super::btf::Btf;
use super::bytes::Bytes;
use super::code::{CodeSection, Relocation};
use super::error::ElfError;
use super::functions::Part;
use super::image::{Content, Image};
use super::limits::Limits;
use super::records::ExtLinks;
use super::text::Name;
use super::write;
use crate::bpf::Endian;

/// An ELF object made for eBPF: code to edit, and everything else moved along with it.
///
/// Invariants:
///
/// - I1: every relocation, symbol, `.BTF.ext` record and jump table entry in the parts that have not
///   been dropped stands for the same instruction, function or datum as in the file;
/// - I2: an index of a section or a symbol is that of the file, whatever was dropped;
/// - I3: what was not edited is written with the bytes it was read with.
#[derive(Clone, Debug)]
pub struct Object<'d> {
    pub(crate) image: Image<'d>,
    /// The name of each section of the file, shared by all that show it.
    pub(crate) section_names: Vec<Name>,
    pub(crate) code: Vec<CodeSection>,
    /// For each section, which of `code` it is.
    pub(crate) code_of: Vec<Option<usize>>,
    pub(crate) btf: Option<Btf<'d>>,
    pub(crate) ext: Option<ExtLinks<'d>>,
    pub(crate) notes: Vec<Note>,
    pub(crate) keep_debug: bool,
    pub(crate) strict: bool,
    /// Whether any position has changed.
    pub(crate) edited: bool,
    /// Differs between states of the object that are not the same.
    pub(crate) version: u64,
}

/// Something that was left alone in the object, or left out of it because an edit had made it wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Note {
    /// A section that describes positions in code to debuggers only.
    Dropped {
        /// Its name.
        section: Name,
    },
    /// A function, or a reference in it, that cannot be analysed and is left as it stands.
    LeftAlone {
        /// Which of [`Object::code`].
        code: usize,
        /// What it is about, in slots of that section as it was read. [`Object::place`] says it in words.
        slot: u32,
        /// What cannot be analysed.
        reason: String,
    },
    /// A function that the edit deleted.
    Removed {
        /// Its name.
        function: Name,
    },
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dropped { section } => write!(f, "dropped section {section:?}, which the edit made stale"),
            Self::LeftAlone { code, slot, reason } => {
                write!(
                    f,
                    "code section {code}, slot {slot}: left as it stands, since it cannot be analysed: {reason}"
                )
            }
            Self::Removed { function } => write!(f, "removed function {function:?}"),
        }
    }
}

/// What a relocated instruction refers to.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Referent {
    /// A place in a code section, as a rule the start of a function.
    Code {
        /// Which of [`Object::code`].
        code: usize,
        /// The slot.
        slot: u32,
    },
    /// A map, a variable or a string.
    Data {
        /// The name of the section it is in.
        section: Name,
        /// Where in it, in bytes.
        offset: i64,
    },
    /// Something that is not in the object: a kernel function, a variable of the kernel's.
    Extern,
}

impl<'d> Object<'d> {
    /// Reads an object. O(bytes).
    ///
    /// # Errors
    ///
    /// [`ElfError::Header`] if it is no object for eBPF; [`ElfError::Section`] and
    /// [`ElfError::Symbol`] for what is malformed in it, or of a kind that could not be kept right;
    /// [`ElfError::TooMany`] beyond the default [`Limits`].
    pub fn parse(data: &'d [u8]) -> Result<Self, ElfError> {
        Self::parse_with(data, &Limits::default())
    }

    /// As [`parse`](Object::parse), with limits of the caller's own.
    ///
    /// # Errors
    ///
    /// As [`parse`](Object::parse).
    pub fn parse_with(data: &'d [u8], limits: &Limits) -> Result<Self, ElfError> {
        limits.check_bytes(data)?;
        let image = Image::parse(data)?;
        limits.check_image(&image)?;
        let mut code_of = alloc::vec![None; image.sections.len()];
        let mut code = Vec::new();
        for index in (0..image.sections.len()).filter(|&index| image.sections[index].is_code()) {
            code_of[index] = Some(code.len());
            code.push(CodeSection::read(&image, index)?);
        }
        let mut relocated = alloc::vec![false; image.sections.len()];
        for (index, of, relocs) in image.relocs() {
            if core::mem::replace(&mut relocated[of], true) {
                let reason = "a second section of relocations for one section";
                return Err(ElfError::section(&image.sections[index].name, 0, reason));
            }
            if let Some(code_index) = code_of[of] {
                code[code_index].take_relocations(relocs)?;
            }
        }
        let section_names = image.sections.iter().map(|section| Name::of_bytes(&section.name)).collect();
        let mut object = Self {
            image,
            section_names,
            code,
            code_of,
            btf: None,
            ext: None,
            notes: Vec::new(),
            keep_debug: false,
            strict: false,
            edited: false,
            version: 0,
        };
        object.read_btf()?;
        object.read_jump_tables();
        object.read_functions()?;
        object.code.iter().try_for_each(CodeSection::check_places)?;
        object.note_left_alone();
        let of_ext =
            |code: &CodeSection| code.func_info().len() + code.line_info().len() + code.core_relos().len();
        limits.check_records(&object.image, object.code.iter().map(of_ext).sum())?;
        Ok(object)
    }

    /// Takes note of the functions that are left as they stand.
    fn note_left_alone(&mut self) {
        let mut notes = Vec::new();
        for (index, code) in self.code.iter().enumerate() {
            for part in &code.parts {
                if let Part::LeftAlone(_, reason) = part {
                    notes.push(Note::LeftAlone {
                        code: index,
                        slot: reason.slot(),
                        reason: reason.to_string(),
                    });
                }
            }
            for relocation in &code.relocations {
                if let Some(reason) = self.leads_beyond(index, relocation) {
                    notes.push(Note::LeftAlone { code: index, slot: relocation.slot, reason: reason.into() });
                }
            }
        }
        self.notes.extend(notes);
    }

    /// Says so if a relocation leads to a place beyond an end of a code section.
    pub(crate) fn leads_beyond(&self, code: usize, relocation: &Relocation) -> Option<&'static str> {
        let symbol = &self.image.symbols[relocation.symbol];
        let target = self.code_of[symbol.section?]?;
        let offset = self.code[code].target(relocation, symbol.value);
        let end = i64::from(self.code[target].len()) * 8;
        let beyond = offset.is_none_or(|offset| !(0..=end).contains(&offset));
        let at_end = relocation.is_call() && offset == Some(end);
        (beyond || at_end).then_some("its relocation leads past the end of a section")
    }

    fn read_btf(&mut self) -> Result<(), ElfError> {
        let find = |name: &[u8]| self.image.sections.iter().position(|section| *section.name == *name);
        let borrowed = |index: usize| match &self.image.sections[index].content {
            Content::Data(Cow::Borrowed(data)) => Some(*data),
            _ => None,
        };
        let btf = find(b".BTF").and_then(borrowed);
        self.btf = btf.map(|data| Btf::parse(data, self.image.endian)).transpose()?;
        let Some((section, data)) = find(b".BTF.ext").and_then(|index| Some((index, borrowed(index)?)))
        else {
            return Ok(());
        };
        let no_btf = ElfError::section(b".BTF.ext", 0, "there is no .BTF that names its sections");
        let btf = self.btf.as_ref().ok_or(no_btf)?;
        self.ext = Some(ExtLinks::connect(&self.image, section, data, btf, &mut self.code)?);
        Ok(())
    }

    /// The code sections, in the order of the file. O(1).
    #[must_use]
    pub fn code(&self) -> &[CodeSection] {
        &self.code
    }

    /// The byte order. O(1).
    #[must_use]
    pub fn endian(&self) -> Endian {
        self.image.endian
    }

    /// The types, if the object has any. O(1).
    #[must_use]
    pub fn btf(&self) -> Option<&Btf<'d>> {
        self.btf.as_ref()
    }

    /// What is left alone in the object, and what edits so far have made it lose. O(1).
    #[must_use]
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// Makes an edit fail, rather than drop the sections for debuggers, if it would make them wrong.
    pub fn keep_debug(&mut self, keep: bool) {
        self.keep_debug = keep;
    }

    /// Makes [`patch`](super::patch) fail, rather than leave functions alone, if there are any that cannot be
    /// analysed.
    pub fn strict(&mut self, strict: bool) {
        self.strict = strict;
    }

    /// The name of a symbol; empty if it has none, or there is no such symbol. O(length).
    #[must_use]
    pub fn symbol_name(&self, symbol: usize) -> Cow<'_, str> {
        self.image
            .symbols
            .get(symbol)
            .map_or(Cow::Borrowed(""), |symbol| String::from_utf8_lossy(&symbol.name))
    }

    /// The name of section `index`. O(1) if it was in the file.
    pub(crate) fn section_name(&self, index: usize) -> Name {
        let name = self.section_names.get(index).cloned();
        name.unwrap_or_else(|| Name::of_bytes(&self.image.sections[index].name))
    }

    /// What an instruction of code section `code` with a relocation refers to. O(1).
    ///
    /// # Panics
    ///
    /// If there is no such code section, or the relocation is not one of its
    /// [`relocations`](CodeSection::relocations).
    #[must_use]
    pub fn referent(&self, code: usize, relocation: &Relocation) -> Referent {
        let found = || {
            let symbol = &self.image.symbols[relocation.symbol];
            let section = symbol.section?;
            let offset = self.code[code].target(relocation, symbol.value)?;
            if let Some(code) = self.code_of[section] {
                let slot = u32::try_from(offset / 8).ok().filter(|&slot| slot < self.code[code].len());
                return slot.map(|slot| Referent::Code { code, slot });
            }
            let section = self.section_name(section);
            Some(Referent::Data { section, offset })
        };
        found().unwrap_or(Referent::Extern)
    }

    /// The slots of code section `code` that jump tables name, ascending: `gotox` goes there.
    ///
    /// O(symbols + relocations + entries · log entries).
    ///
    /// # Errors
    ///
    /// If it cannot be said of which code section the entries of a table are.
    pub fn jump_targets(&self, code: usize) -> Result<Vec<u32>, ElfError> {
        let mut targets = Vec::new();
        for table in self.jump_tables()?.iter().filter(|table| table.code == code) {
            let data = self.image.sections[table.section].data().unwrap_or_default();
            let data = Bytes::new(data, self.image.endian);
            targets.extend(table.entries().filter_map(|at| u32::try_from(data.u64(at)? / 8).ok()));
        }
        targets.sort_unstable();
        targets.dedup();
        Ok(targets)
    }

    /// The object as a file. O(bytes).
    ///
    /// The parts keep the order they had in the file. Sections that were not edited keep their bytes,
    /// but for the tables of symbols and names.
    ///
    /// # Errors
    ///
    /// [`ElfError::Write`] if the writer refuses.
    pub fn write(&self) -> Result<Vec<u8>, ElfError> {
        let mut image = self.image.clone();
        for code in &self.code {
            image.sections[code.section].content = Content::Data(code.to_bytes().into());
        }
        if let Some(ext) = self.ext.as_ref().filter(|_| self.edited) {
            ext.store(&self.code, &mut image)?;
        }
        write::write(&image)
    }
}
