//! From an [`Image`] to the bytes of a file.

use alloc::string::ToString;
use alloc::vec::Vec;

use object::build::ByteString;
use object::build::elf::{Builder, Relocation, SectionData, SectionId, SymbolId};
use object::{Endianness, elf};

use super::bytes::from_u32;
use super::error::ElfError;
use super::image::{Content, Image};
use crate::bpf::Endian;

/// Writes what has not been dropped. O(size of the file).
///
/// The sections keep their order. Section names get a table of their own if they shared one with
/// the symbols.
pub(crate) fn write(image: &Image<'_>) -> Result<Vec<u8>, ElfError> {
    let endian = match image.endian {
        Endian::Little => Endianness::Little,
        Endian::Big => Endianness::Big,
    };
    let mut builder = Builder::new(endian, true);
    builder.header.os_abi = elf::OsAbi(image.os_abi);
    builder.header.abi_version = image.abi_version;
    builder.header.e_type = elf::ET_REL;
    builder.header.e_machine = elf::Machine(image.machine);
    builder.header.e_flags = elf::FileFlags(image.flags);

    // The builder names things by ids that only it can make, in the order in which they are added.
    let sections: Vec<SectionId> =
        image.sections.iter().skip(1).map(|_| builder.sections.add().id()).collect();
    let symbols: Vec<SymbolId> = image.symbols.iter().skip(1).map(|_| builder.symbols.add().id()).collect();
    let section_id = |index: usize| index.checked_sub(1).and_then(|at| sections.get(at)).copied();
    let symbol_id = |index: usize| index.checked_sub(1).and_then(|at| symbols.get(at)).copied();

    let groups = GroupWords::new(image);
    for (index, section) in image.sections.iter().enumerate() {
        let Some(id) = section_id(index) else { continue };
        let out = builder.sections.get_mut(id);
        out.delete = section.dropped;
        out.name = ByteString::from(&*section.name);
        out.sh_type = elf::SectionType(section.kind);
        out.sh_flags = elf::SectionFlags(section.flags);
        // What a section that is left out was linked for went with it.
        out.sh_link_section = section_id(section.link).filter(|_| !image.sections[section.link].dropped);
        out.sh_info = match section.content {
            Content::Group { signature, .. } => groups.symbol(signature),
            _ => section.info,
        };
        if let Content::Relocs { of, .. } = section.content {
            out.sh_info_section = section_id(of);
        }
        // 0 and 1 both mean any; the builder divides by it.
        out.sh_addralign = section.align.max(1);
        out.sh_entsize = section.entsize;
        out.data = match &section.content {
            Content::Names if index == image.symbol_names => SectionData::String,
            Content::Group { flags, members, .. } => SectionData::Data(groups.bytes(*flags, members).into()),
            content => section_data(content, symbol_id),
        };
    }
    if image.section_names == image.symbol_names {
        let out = builder.sections.add();
        out.name = ByteString::from(".shstrtab");
        out.sh_type = elf::SHT_STRTAB;
        out.sh_addralign = 1;
        out.data = SectionData::SectionString;
    }

    for (index, symbol) in image.symbols.iter().enumerate() {
        let Some(id) = symbol_id(index) else { continue };
        let out = builder.symbols.get_mut(id);
        out.delete = symbol.dropped;
        out.name = ByteString::from(&*symbol.name);
        out.section = symbol.section.and_then(section_id);
        out.st_shndx = elf::SymbolSection(symbol.shndx);
        out.st_info = elf::SymbolInfo(symbol.info);
        out.st_other = elf::SymbolOther(symbol.other);
        out.st_value = symbol.value;
        out.st_size = symbol.size;
    }

    let mut file = Vec::new();
    builder.write(&mut file).map_err(|error| ElfError::Write { reason: error.to_string() })?;
    Ok(file)
}

/// The numbers that sections and symbols have in the file that is written, which groups of sections speak in.
struct GroupWords {
    endian: Endian,
    sections: Vec<u32>,
    symbols: Vec<u32>,
}

impl GroupWords {
    fn new(image: &Image<'_>) -> Self {
        let mut next = 0;
        let mut number = |dropped: bool| {
            next += u32::from(!dropped);
            if dropped { 0 } else { next - 1 }
        };
        let sections = image.sections.iter().map(|section| number(section.dropped)).collect();
        // Local symbols come first in a file.
        let mut symbols = alloc::vec![0; image.symbols.len()];
        let mut next = 0;
        for local in [true, false] {
            for (symbol, number) in image.symbols.iter().zip(&mut symbols) {
                if !symbol.dropped && (symbol.bind() == elf::STB_LOCAL) == local {
                    *number = next;
                    next += 1;
                }
            }
        }
        Self { endian: image.endian, sections, symbols }
    }

    fn symbol(&self, symbol: usize) -> u32 {
        self.symbols[symbol]
    }

    /// A group as it stands in a file, without the members that are left out.
    fn bytes(&self, flags: u32, members: &[usize]) -> Vec<u8> {
        let members = members.iter().map(|&member| self.sections[member]).filter(|&number| number != 0);
        let words = core::iter::once(flags).chain(members);
        words.flat_map(|word| from_u32(word, self.endian)).collect()
    }
}

fn section_data<'a>(
    content: &'a Content<'_>,
    symbol_id: impl Fn(usize) -> Option<SymbolId>,
) -> SectionData<'a> {
    match content {
        Content::Data(data) => SectionData::Data(data.as_ref().into()),
        Content::Zero(size) => SectionData::UninitializedData(*size),
        // Made of numbers that only the whole image knows.
        Content::Group { .. } => SectionData::Data(Vec::new().into()),
        Content::Symbols => SectionData::Symbol,
        Content::Names => SectionData::SectionString,
        Content::Relocs { relocs, .. } => SectionData::Relocation(
            relocs
                .iter()
                .map(|reloc| Relocation {
                    r_offset: reloc.offset,
                    symbol: symbol_id(reloc.symbol),
                    r_type: elf::RelocationType(reloc.kind),
                    r_addend: reloc.addend.unwrap_or_default(),
                })
                .collect(),
        ),
    }
}
