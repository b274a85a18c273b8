//! Reading what an object has beside its code: sections, symbols, relocations of data.

use alloc::borrow::Cow;
use alloc::string::String;

use object::elf;

use super::code::Binding;
use super::editor::SymbolId;
use super::image::{Content, Section, Symbol};
use super::object::Object;

/// A section of an object.
#[derive(Clone, Copy, Debug)]
pub struct SectionRef<'o> {
    index: usize,
    section: &'o Section<'o>,
}

/// A symbol of an object.
#[derive(Clone, Copy, Debug)]
pub struct SymbolRef<'o> {
    id: SymbolId,
    symbol: &'o Symbol<'o>,
}

/// What a symbol stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum SymbolKind {
    /// It does not say: `STT_NOTYPE`.
    Untyped,
    /// A variable or a map: `STT_OBJECT`.
    Object,
    /// A function: `STT_FUNC`.
    Function,
    /// The start of a section: `STT_SECTION`.
    Section,
    /// Something else, the name of a source file for instance.
    Other,
}

/// A relocation of data: the address of a symbol that a loader puts there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct DataRelocation {
    /// Where in the section, in bytes.
    pub offset: u64,
    /// The symbol.
    pub symbol: SymbolId,
    /// The type of the relocation, [`R_BPF_64_ABS64`](super::R_BPF_64_ABS64) for instance.
    pub kind: u32,
    /// The bytes that are added to the address. `None` if that cannot be told for a relocation of this type.
    pub addend: Option<i64>,
}

impl<'d> Object<'d> {
    /// The sections that have not been dropped, in the order of the file. O(1) a step.
    pub fn sections(&self) -> impl Iterator<Item = SectionRef<'_>> {
        let all = self.image.sections.iter().enumerate().skip(1).filter(|(_, section)| !section.dropped);
        all.map(|(index, section)| SectionRef { index, section })
    }

    /// The first section of that name. O(sections).
    #[must_use]
    pub fn section(&self, name: &str) -> Option<SectionRef<'_>> {
        self.sections().find(|found| *found.section.name == *name.as_bytes())
    }

    /// The symbols that have not been dropped, in the order of the file. O(1) a step.
    pub fn symbols(&self) -> impl Iterator<Item = SymbolRef<'_>> {
        let all = self.image.symbols.iter().enumerate().skip(1).filter(|(_, symbol)| !symbol.dropped);
        all.map(|(index, symbol)| SymbolRef { id: SymbolId(index), symbol })
    }

    /// The symbol of that name: a defined one before an undefined one. O(symbols).
    #[must_use]
    pub fn symbol(&self, name: &str) -> Option<SymbolRef<'_>> {
        let named = |defined: bool| {
            let is_it = |found: &SymbolRef<'_>| {
                *found.symbol.name == *name.as_bytes() && found.symbol.section.is_some() == defined
            };
            self.symbols().find(is_it)
        };
        if name.is_empty() { None } else { named(true).or_else(|| named(false)) }
    }

    /// The symbol of that number, if there is one and it has not been dropped. O(1).
    #[must_use]
    pub fn symbol_by_id(&self, id: SymbolId) -> Option<SymbolRef<'_>> {
        let symbol = self.image.symbols.get(id.0).filter(|symbol| id.0 != 0 && !symbol.dropped)?;
        Some(SymbolRef { id, symbol })
    }

    /// The relocations of a section that is no code, in the order of the file. O(sections), then O(1) a step.
    pub fn data_relocations(
        &self,
        section: SectionRef<'_>,
    ) -> impl Iterator<Item = DataRelocation> + use<'_, 'd> {
        let of = section.index;
        let found =
            self.image.relocs().filter(move |&(_, holder, _)| holder == of && self.code_of[of].is_none());
        let data = self.image.sections[of].data().unwrap_or_default();
        found.flat_map(|(_, _, relocs)| relocs).map(move |reloc| DataRelocation {
            offset: reloc.offset,
            symbol: SymbolId(reloc.symbol),
            kind: reloc.kind,
            addend: reloc.addend_in(data, self.image.endian),
        })
    }

    /// The variables of a section of data, or the maps of `.maps`: its symbols of kind [`SymbolKind::Object`], in the order of
    /// the file. O(symbols).
    pub fn variables(&self, section: SectionRef<'_>) -> impl Iterator<Item = SymbolRef<'_>> + use<'_, 'd> {
        let of = section.index;
        let is_it = move |found: &SymbolRef<'_>| {
            found.symbol.section == Some(of) && found.kind() == SymbolKind::Object
        };
        self.symbols().filter(is_it)
    }

    /// The maps: the variables of `.maps`, and of the older `maps`. O(symbols).
    pub fn maps(&self) -> impl Iterator<Item = SymbolRef<'_>> {
        let holds = |found: &SymbolRef<'_>| {
            let section = found.symbol.section.map(|section| &*self.image.sections[section].name);
            section.is_some_and(|name| name == b".maps" || name == b"maps" || name.starts_with(b"maps/"))
        };
        self.symbols().filter(move |found| found.kind() == SymbolKind::Object && holds(found))
    }
}

impl<'o> SectionRef<'o> {
    /// Its index in the file. O(1).
    #[must_use]
    pub fn index(self) -> usize {
        self.index
    }

    /// Its name. O(length).
    #[must_use]
    pub fn name(self) -> Cow<'o, str> {
        String::from_utf8_lossy(&self.section.name)
    }

    /// Its type: `SHT_...`. O(1).
    #[must_use]
    pub fn kind(self) -> u32 {
        self.section.kind
    }

    /// Its flags: `SHF_...`. O(1).
    #[must_use]
    pub fn flags(self) -> u64 {
        self.section.flags
    }

    /// How it is aligned, in bytes. O(1).
    #[must_use]
    pub fn align(self) -> u64 {
        self.section.align
    }

    /// Its bytes, if they stand in the file: not those of a section of zeroes, nor of tables that are written anew. Code
    /// is as the file had it; as it is now, [`CodeSection::program`](super::CodeSection::program) has it. O(1).
    #[must_use]
    pub fn data(self) -> Option<&'o [u8]> {
        self.section.data()
    }

    /// How many bytes of memory it stands for, zeroes included. O(1).
    #[must_use]
    pub fn size(self) -> u64 {
        self.section.size()
    }

    /// Whether it holds zeroes that are not in the file, as `.bss` does. O(1).
    #[must_use]
    pub fn is_zero(self) -> bool {
        matches!(self.section.content, Content::Zero(_))
    }
}

impl<'o> SymbolRef<'o> {
    /// Its number, for references to it. O(1).
    #[must_use]
    pub fn id(self) -> SymbolId {
        self.id
    }

    /// Its name. O(length).
    #[must_use]
    pub fn name(self) -> Cow<'o, str> {
        String::from_utf8_lossy(&self.symbol.name)
    }

    /// What it stands for. O(1).
    #[must_use]
    pub fn kind(self) -> SymbolKind {
        match self.symbol.kind() {
            elf::STT_NOTYPE => SymbolKind::Untyped,
            elf::STT_OBJECT => SymbolKind::Object,
            elf::STT_FUNC => SymbolKind::Function,
            elf::STT_SECTION => SymbolKind::Section,
            _ => SymbolKind::Other,
        }
    }

    /// Who can see it. O(1).
    #[must_use]
    pub fn binding(self) -> Binding {
        match self.symbol.bind() {
            elf::STB_LOCAL => Binding::Local,
            elf::STB_WEAK => Binding::Weak,
            _ => Binding::Global,
        }
    }

    /// The index of the section it is in; `None` if the object does not define it. O(1).
    #[must_use]
    pub fn section(self) -> Option<usize> {
        self.symbol.section
    }

    /// Where it is in its section, in bytes. O(1).
    #[must_use]
    pub fn offset(self) -> u64 {
        self.symbol.value
    }

    /// How many bytes it has, 0 if it does not say. O(1).
    #[must_use]
    pub fn size(self) -> u64 {
        self.symbol.size
    }
}
