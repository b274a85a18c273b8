//! [`File`]: the sections, symbols and relocations of an ELF file, read by the `object` crate.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use object::Endianness;
use object::elf::{self, FileHeader64};
use object::read::elf::{FileHeader as _, SectionHeader as _, Sym as _};

type Raw = FileHeader64<Endianness>;

/// LLVM's list of symbols whose address matters, by their numbers.
pub(super) const ADDRSIG: elf::SectionType = elf::SectionType(0x6fff_4c03);

/// An ELF file. Sections and symbols are by their index in it; the first of each stands for none.
pub(super) struct File<'d> {
    pub(super) endian: Endianness,
    pub(super) header: &'d Raw,
    /// The index of the section with the names of sections.
    pub(super) names: usize,
    pub(super) sections: Vec<Section<'d>>,
    pub(super) symbols: Vec<Symbol<'d>>,
}

pub(super) struct Section<'d> {
    pub(super) name: &'d [u8],
    pub(super) kind: elf::SectionType,
    pub(super) flags: u64,
    pub(super) offset: u64,
    pub(super) size: u64,
    pub(super) link: usize,
    pub(super) info: u32,
    pub(super) align: u64,
    pub(super) entsize: u64,
    /// None for a section that takes no place in the file.
    pub(super) data: &'d [u8],
    /// The relocations that the section is made of.
    pub(super) relocs: Vec<Reloc>,
}

pub(super) struct Reloc {
    pub(super) offset: u64,
    pub(super) symbol: usize,
    pub(super) kind: u32,
    /// The addend, if it is with the relocation and not at its place.
    pub(super) addend: Option<i64>,
}

pub(super) struct Symbol<'d> {
    pub(super) name: &'d [u8],
    pub(super) info: elf::SymbolInfo,
    pub(super) other: u8,
    pub(super) shndx: u16,
    /// The section it is in, if it is in one.
    pub(super) section: Option<usize>,
    pub(super) value: u64,
    pub(super) size: u64,
}

impl<'d> File<'d> {
    /// O(bytes).
    pub(super) fn read(data: &'d [u8]) -> Result<Self, String> {
        let text = |error: object::Error| error.to_string();
        let header = Raw::parse(data).map_err(text)?;
        let endian = header.endian().map_err(text)?;
        let table = header.sections(endian, data).map_err(text)?;
        let names = header.shstrndx(endian, data).map_err(text)? as usize;
        let mut sections = Vec::with_capacity(table.len());
        for (index, section) in table.enumerate() {
            if index.0 == 0 {
                sections.push(Section::null());
                continue;
            }
            let name = match section.sh_name(endian) {
                0 => &[][..],
                _ => table.section_name(endian, section).map_err(text)?,
            };
            sections.push(Section {
                name,
                kind: section.sh_type(endian),
                flags: section.sh_flags(endian).0,
                offset: section.sh_offset(endian),
                size: section.sh_size(endian),
                link: section.sh_link(endian) as usize,
                info: section.sh_info(endian),
                align: section.sh_addralign(endian),
                entsize: section.sh_entsize(endian),
                data: section.data(endian, data).map_err(text)?,
                relocs: relocs(section, endian, data).map_err(text)?,
            });
        }
        let mut symbols = Vec::new();
        let found = table.symbols(endian, data, elf::SHT_SYMTAB).map_err(text)?;
        for (index, symbol) in found.iter().enumerate() {
            let shndx = symbol.st_shndx(endian).0;
            let section = (shndx != 0 && shndx < elf::SHN_LORESERVE).then_some(usize::from(shndx));
            if section.is_some_and(|section| section >= sections.len()) {
                return Err(format!("symbol {index} is in a section that does not exist"));
            }
            let name = match symbol.st_name(endian) {
                0 => &[][..],
                _ => found.symbol_name(endian, symbol).map_err(text)?,
            };
            symbols.push(Symbol {
                name,
                info: symbol.st_info(),
                other: symbol.st_other().0,
                shndx,
                section: section.filter(|_| index != 0),
                value: symbol.st_value(endian),
                size: symbol.st_size(endian),
            });
        }
        let file = Self { endian, header, names, sections, symbols };
        file.check_indices()?;
        Ok(file)
    }

    fn check_indices(&self) -> Result<(), String> {
        for (index, section) in self.sections.iter().enumerate() {
            if section.link >= self.sections.len() {
                return Err(format!("section {index} links to a section that does not exist"));
            }
            if section.is_relocs() && section.info as usize >= self.sections.len() {
                return Err(format!("section {index} relocates a section that does not exist"));
            }
            if section.relocs.iter().any(|reloc| reloc.symbol != 0 && reloc.symbol >= self.symbols.len()) {
                return Err(format!("section {index} has a relocation by a symbol that does not exist"));
            }
        }
        Ok(())
    }

    pub(super) fn section_named(&self, name: &[u8]) -> Option<usize> {
        self.sections.iter().position(|section| section.name == name)
    }

    /// The symbol that a relocation is by; `None` if it is by none.
    pub(super) fn symbol_of(&self, reloc: &Reloc) -> Option<&Symbol<'d>> {
        self.symbols.get(reloc.symbol).filter(|_| reloc.symbol != 0)
    }

    pub(super) fn u32_at(&self, data: &[u8], at: usize) -> Option<u32> {
        let bytes: [u8; 4] = data.get(at..)?.first_chunk().copied()?;
        Some(if self.endian == Endianness::Big {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        })
    }

    pub(super) fn u64_at(&self, data: &[u8], at: usize) -> Option<u64> {
        let bytes: [u8; 8] = data.get(at..)?.first_chunk().copied()?;
        Some(if self.endian == Endianness::Big {
            u64::from_be_bytes(bytes)
        } else {
            u64::from_le_bytes(bytes)
        })
    }

    pub(super) fn put_u32(&self, data: &mut [u8], at: usize, value: u32) {
        let bytes = if self.endian == Endianness::Big { value.to_be_bytes() } else { value.to_le_bytes() };
        data[at..at + 4].copy_from_slice(&bytes);
    }

    pub(super) fn put_u64(&self, data: &mut [u8], at: usize, value: u64) {
        let bytes = if self.endian == Endianness::Big { value.to_be_bytes() } else { value.to_le_bytes() };
        data[at..at + 8].copy_from_slice(&bytes);
    }
}

fn relocs(
    section: &elf::SectionHeader64<Endianness>,
    endian: Endianness,
    data: &[u8],
) -> object::Result<Vec<Reloc>> {
    if let Some((relocs, _)) = section.rel(endian, data)? {
        let read = |reloc: &elf::Rel64<Endianness>| Reloc {
            offset: reloc.r_offset.get(endian),
            symbol: reloc.r_sym(endian) as usize,
            kind: reloc.r_type(endian).0,
            addend: None,
        };
        return Ok(relocs.iter().map(read).collect());
    }
    let Some((relocs, _)) = section.rela(endian, data)? else { return Ok(Vec::new()) };
    let read = |reloc: &elf::Rela64<Endianness>| Reloc {
        offset: reloc.r_offset.get(endian),
        symbol: reloc.r_sym(endian, false) as usize,
        kind: reloc.r_type(endian, false).0,
        addend: Some(reloc.r_addend.get(endian)),
    };
    Ok(relocs.iter().map(read).collect())
}

impl Section<'_> {
    /// The first entry of a table of sections, whatever it says.
    fn null() -> Self {
        Self {
            name: &[],
            kind: elf::SHT_NULL,
            flags: 0,
            offset: 0,
            size: 0,
            link: 0,
            info: 0,
            align: 0,
            entsize: 0,
            data: &[],
            relocs: Vec::new(),
        }
    }

    pub(super) fn is_code(&self) -> bool {
        let flags = self.flags & (elf::SHF_EXECINSTR.0 | elf::SHF_COMPRESSED.0);
        self.kind == elf::SHT_PROGBITS && flags == elf::SHF_EXECINSTR.0 && !self.data.is_empty()
    }

    pub(super) fn is_relocs(&self) -> bool {
        self.kind == elf::SHT_REL || self.kind == elf::SHT_RELA
    }

    /// Whether it may speak of places in code without a loader that wants to know: what is for debuggers and
    /// unwinders, what is compressed, and what is of a type that is not of the format.
    pub(super) fn is_stale(&self) -> bool {
        let is_debug =
            [&b".debug_"[..], b".zdebug_", b".eh_frame"].iter().any(|start| self.name.starts_with(start));
        let is_known = matches!(
            self.kind,
            elf::SHT_NULL
                | elf::SHT_PROGBITS
                | elf::SHT_SYMTAB
                | elf::SHT_STRTAB
                | elf::SHT_RELA
                | elf::SHT_NOTE
                | elf::SHT_NOBITS
                | elf::SHT_REL
                | elf::SHT_INIT_ARRAY
                | elf::SHT_FINI_ARRAY
                | elf::SHT_PREINIT_ARRAY
                | elf::SHT_GROUP
                | ADDRSIG
        );
        is_debug || !is_known || self.flags & elf::SHF_COMPRESSED.0 != 0
    }
}

/// Keeps the alignment of what is read out of it: a file may lie anywhere in memory.
const _: () = assert!(align_of::<Raw>() == 1, "the feature `unaligned` of `object`");
