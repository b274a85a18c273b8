//! [`Image`]: the sections, symbols and relocations of an ELF file, as they stand in it.
//!
//! The reader is our own rather than `object`'s: an object of clang's has one string table for
//! sections and symbols and a section of a type of LLVM's, a file may lie unaligned in memory, and
//! a hostile one must cost no more than its own size.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use object::elf;

use super::bytes::Bytes;
use super::code::is_long;
use super::error::ElfError;
use crate::bpf::Endian;

/// LLVM's `.llvm_addrsig`: indices of the symbols whose address matters.
pub(crate) const LLVM_ADDRSIG: elf::SectionType = elf::SectionType(0x6fff_4c03);
/// `EM_SBPF`: the machine number that Solana's tools took for themselves.
const EM_SBPF: u16 = 263;
/// How a file of LLVM bitcode begins: as it is, and in the wrapper that some systems put around it.
const BITCODE: [&[u8]; 2] = [b"BC\xc0\xde", b"\xde\xc0\x17\x0b"];

const HEADER: usize = 64;
const SECTION_HEADER: usize = 64;
const SYMBOL: usize = 24;
const REL: usize = 16;
const RELA: usize = 24;

/// A file in memory. Section and symbol 0 are the null ones, so an index of the file is an index
/// here.
#[derive(Clone, Debug)]
pub(crate) struct Image<'d> {
    pub(crate) endian: Endian,
    pub(crate) os_abi: u8,
    pub(crate) abi_version: u8,
    pub(crate) machine: u16,
    pub(crate) flags: u32,
    pub(crate) sections: Vec<Section<'d>>,
    pub(crate) symbols: Vec<Symbol<'d>>,
    /// The section with the names of sections.
    pub(crate) section_names: usize,
    /// The section with the names of symbols, often the same one; 0 without a symbol table.
    pub(crate) symbol_names: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct Section<'d> {
    pub(crate) name: Cow<'d, [u8]>,
    pub(crate) kind: u32,
    pub(crate) flags: u64,
    pub(crate) link: usize,
    pub(crate) info: u32,
    pub(crate) align: u64,
    pub(crate) entsize: u64,
    pub(crate) content: Content<'d>,
    /// Left out when the object is written.
    pub(crate) dropped: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Content<'d> {
    Data(Cow<'d, [u8]>),
    /// This many bytes of zero, none of them in the file.
    Zero(u64),
    /// What has to be done to the section `of`.
    Relocs {
        of: usize,
        relocs: Vec<Reloc>,
    },
    /// A group of sections that a linker keeps one copy of: the functions of C++ that are defined in headers.
    Group {
        /// The symbol that names the group.
        signature: usize,
        flags: u32,
        members: Vec<usize>,
    },
    /// Rebuilt when the object is written.
    Symbols,
    /// Rebuilt when the object is written: nothing else may be made of it.
    Names,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Reloc {
    pub(crate) offset: u64,
    /// Index in the symbol table; 0 is no symbol.
    pub(crate) symbol: usize,
    pub(crate) kind: u32,
    /// What to add to the symbol, if the section of relocations says so itself (`SHT_RELA`). If not, it stands in
    /// the place that is relocated.
    pub(crate) addend: Option<i64>,
}

impl Reloc {
    /// The slot of a relocation of code, which has no more of them than this.
    pub(crate) fn slot(&self) -> u32 {
        u32::try_from(self.offset / 8).unwrap_or(u32::MAX)
    }

    /// What it adds to its symbol, if it is one of data: in `data` where it does not say so itself.
    pub(crate) fn addend_in(&self, data: &[u8], endian: Endian) -> Option<i64> {
        let long = is_long(self.kind)?;
        let at = usize::try_from(self.offset).ok()?;
        let data = Bytes::new(data, endian);
        let stored = || if long { Some(data.u64(at)?.cast_signed()) } else { data.u32(at).map(i64::from) };
        self.addend.or_else(stored)
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Symbol<'d> {
    pub(crate) name: Cow<'d, [u8]>,
    /// The section it is defined in, if it is in one.
    pub(crate) section: Option<usize>,
    pub(crate) shndx: u16,
    pub(crate) info: u8,
    pub(crate) other: u8,
    pub(crate) value: u64,
    pub(crate) size: u64,
    /// Left out when the object is written.
    pub(crate) dropped: bool,
}

impl Symbol<'_> {
    pub(crate) fn kind(&self) -> elf::SymbolType {
        elf::SymbolInfo(self.info).st_type()
    }

    pub(crate) fn bind(&self) -> elf::SymbolBind {
        elf::SymbolInfo(self.info).st_bind()
    }

    pub(crate) fn is_function(&self) -> bool {
        self.kind() == elf::STT_FUNC
    }
}

impl Section<'_> {
    pub(crate) fn is_code(&self) -> bool {
        self.kind == elf::SHT_PROGBITS.0
            && self.flags & elf::SHF_EXECINSTR.0 != 0
            && self.flags & elf::SHF_COMPRESSED.0 == 0
            && self.data().is_some_and(|data| !data.is_empty())
    }

    pub(crate) fn data(&self) -> Option<&[u8]> {
        match &self.content {
            Content::Data(data) => Some(data),
            _ => None,
        }
    }

    /// Whether the section describes code to debuggers and unwinders alone.
    pub(crate) fn is_debug(&self) -> bool {
        [&b".debug_"[..], b".zdebug_", b".eh_frame"].iter().any(|prefix| self.name.starts_with(prefix))
    }

    /// Whether the section is of a type that no loader of eBPF reads and that this crate knows nothing of: its bytes
    /// may speak in positions of code, in numbers of sections or in numbers of symbols.
    pub(crate) fn is_foreign(&self) -> bool {
        !matches!(
            elf::SectionType(self.kind),
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
                | LLVM_ADDRSIG
        )
    }

    /// Whether the meaning of the bytes is not known, or does not matter to loaders: offsets into them cannot be
    /// checked, and they are stale once code has moved.
    pub(crate) fn is_unread(&self) -> bool {
        self.is_debug() || self.is_foreign() || self.flags & elf::SHF_COMPRESSED.0 != 0
    }

    /// The length of a relocation in a section of them.
    fn entry(&self) -> usize {
        if self.kind == elf::SHT_RELA.0 { RELA } else { REL }
    }

    /// How many bytes of a program's memory it stands for.
    pub(crate) fn size(&self) -> u64 {
        match &self.content {
            Content::Data(data) => data.len() as u64,
            Content::Zero(size) => *size,
            _ => 0,
        }
    }
}

impl<'d> Image<'d> {
    /// Reads a file. O(its length).
    pub(crate) fn parse(data: &'d [u8]) -> Result<Self, ElfError> {
        let header = Header::parse(data)?;
        let file = header.file;
        let names = header.section_names()?;
        let mut image = Self {
            endian: file.endian,
            os_abi: data[7],
            abi_version: data[8],
            machine: header.machine,
            flags: header.flags,
            sections: Vec::with_capacity(header.sections),
            symbols: Vec::new(),
            section_names: header.names,
            symbol_names: 0,
        };
        let mut budget = Budget::of(data);
        let mut symbol_table = None;
        for index in 0..header.sections {
            // The first one stands for no section, whatever it says: loaders begin with the second.
            let raw = if index == 0 { RawSection::default() } else { header.raw_section(index)? };
            let name =
                if index == 0 { &[][..] } else { budget.name(names, raw.name).ok_or(BAD_SECTION_NAME)? };
            let fail = |reason| ElfError::section(name, raw.offset, reason);
            if raw.kind != elf::SHT_NOBITS.0 {
                budget.take(raw.size).ok_or(fail("sections overlap, or are larger than the file"))?;
            }
            budget.align(raw.align).ok_or(fail("unsupported alignment"))?;
            let content = raw.content(file).map_err(fail)?;
            if matches!(content, Content::Symbols) && symbol_table.replace(raw).is_some() {
                return Err(fail("a second symbol table"));
            }
            image.sections.push(Section {
                name: name.into(),
                kind: raw.kind,
                flags: raw.flags,
                link: raw.link as usize,
                info: raw.info,
                align: raw.align,
                entsize: raw.entsize,
                content,
                dropped: false,
            });
        }
        if let Some(raw) = symbol_table {
            let strings = header.strings(raw.link as usize)?;
            let strings = file.slice(strings.offset, strings.size).unwrap_or_default();
            image.symbol_names = raw.link as usize;
            image.symbols = read_symbols(file, raw, strings, header.sections, &mut budget)?;
        }
        for names in [image.section_names, image.symbol_names].into_iter().filter(|&names| names != 0) {
            if let Some(section) = image.sections.get_mut(names) {
                section.content = Content::Names;
            }
        }
        image.check_links()?;
        Ok(image)
    }

    /// Makes sure that every index leads somewhere.
    fn check_links(&self) -> Result<(), ElfError> {
        for section in &self.sections {
            let fail = |offset, reason| ElfError::section(&section.name, offset, reason);
            if section.link >= self.sections.len() {
                return Err(fail(0, "links to a section that does not exist"));
            }
            if let Content::Group { signature, members, .. } = &section.content {
                if *signature >= self.symbols.len()
                    || !matches!(self.sections[section.link].content, Content::Symbols)
                {
                    return Err(fail(0, "a group of sections without a symbol that names it"));
                }
                if members.iter().any(|&member| member == 0 || member >= self.sections.len()) {
                    return Err(fail(0, "a group has a section that does not exist"));
                }
            }
            let Content::Relocs { of, relocs } = &section.content else { continue };
            let Some(target) = self.sections.get(*of).filter(|_| *of != 0) else {
                return Err(fail(0, "relocates a section that does not exist"));
            };
            if !matches!(self.sections[section.link].content, Content::Symbols) {
                return Err(fail(0, "relocations without a symbol table"));
            }
            for (index, reloc) in relocs.iter().enumerate() {
                let at = index as u64 * section.entry() as u64;
                if reloc.symbol >= self.symbols.len() {
                    return Err(fail(at, "relocation against a symbol that does not exist"));
                }
                if reloc.offset >= target.size() && !target.is_unread() {
                    return Err(fail(at, "relocation beyond the end of its section"));
                }
            }
        }
        Ok(())
    }

    /// The relocations of section `of`, with the index of the section that holds them.
    pub(crate) fn relocs(&self) -> impl Iterator<Item = (usize, usize, &[Reloc])> {
        self.sections.iter().enumerate().filter_map(|(index, section)| match &section.content {
            Content::Relocs { of, relocs } if !section.dropped => Some((index, *of, relocs.as_slice())),
            _ => None,
        })
    }
}

const BAD_SECTION_NAME: ElfError = ElfError::Header { reason: "a section name is not in the string table" };

struct Header<'d> {
    file: Bytes<'d>,
    machine: u16,
    flags: u32,
    table: u64,
    sections: usize,
    names: usize,
}

impl<'d> Header<'d> {
    fn parse(data: &'d [u8]) -> Result<Self, ElfError> {
        let fail = |reason| ElfError::Header { reason };
        if BITCODE.iter().any(|magic| data.starts_with(magic)) {
            return Err(fail(
                "this is LLVM bitcode, which `llc -march=bpf -filetype=obj` makes an object of",
            ));
        }
        if !data.starts_with(&[0x7f, b'E', b'L', b'F']) {
            return Err(fail("no ELF magic number"));
        }
        if data.len() < HEADER {
            return Err(fail("shorter than an ELF header"));
        }
        if data[4] != elf::ELFCLASS64.0 {
            return Err(fail("not a 64-bit ELF file"));
        }
        let endian = match data[5] {
            1 => Endian::Little,
            2 => Endian::Big,
            _ => return Err(fail("unknown byte order")),
        };
        let file = Bytes::new(data, endian);
        let half = |at| file.u16(at).unwrap_or_default();
        let (kind, machine) = (half(16), half(18));
        let for_bpf = machine == elf::EM_BPF.0 || machine == EM_SBPF;
        if for_bpf && (kind == elf::ET_DYN.0 || kind == elf::ET_EXEC.0) {
            return Err(fail(
                "this is a linked program, as those for Solana are: its addresses are final, and nothing says any more \
                 where they stand",
            ));
        }
        if kind != elf::ET_REL.0 {
            return Err(fail("not a relocatable object"));
        }
        // libbpf takes an object without a machine number too.
        if machine != elf::EM_BPF.0 && machine != elf::EM_NONE.0 {
            return Err(fail("made for another machine"));
        }
        if half(56) != 0 {
            return Err(fail("it has segments"));
        }
        let (entry, sections, names) = (half(58), usize::from(half(60)), usize::from(half(62)));
        if usize::from(entry) != SECTION_HEADER || sections == 0 {
            return Err(fail("no section headers"));
        }
        if sections >= usize::from(elf::SHN_LORESERVE) || names == 0 || names >= sections {
            return Err(fail("no table of section names"));
        }
        let table = file.u64(40).unwrap_or_default();
        if file.slice(table, (sections * SECTION_HEADER) as u64).is_none() {
            return Err(fail("section headers beyond the end of the file"));
        }
        Ok(Self { file, machine, flags: file.u32(48).unwrap_or_default(), table, sections, names })
    }

    fn raw_section(&self, index: usize) -> Result<RawSection, ElfError> {
        let raw = || {
            let at = self.table.checked_add((index * SECTION_HEADER) as u64)?;
            let raw = Bytes::new(self.file.slice(at, SECTION_HEADER as u64)?, self.file.endian);
            Some(RawSection {
                name: raw.u32(0)?,
                kind: raw.u32(4)?,
                flags: raw.u64(8)?,
                offset: raw.u64(24)?,
                size: raw.u64(32)?,
                link: raw.u32(40)?,
                info: raw.u32(44)?,
                align: raw.u64(48)?,
                entsize: raw.u64(56)?,
            })
        };
        raw().ok_or(ElfError::Header { reason: "a section link leads nowhere" })
    }

    /// A table of names.
    fn strings(&self, index: usize) -> Result<RawSection, ElfError> {
        let raw = self.raw_section(index).ok().filter(|raw| raw.kind == elf::SHT_STRTAB.0);
        raw.ok_or(ElfError::Header { reason: "a table of names is no string table" })
    }

    fn section_names(&self) -> Result<Bytes<'d>, ElfError> {
        let raw = self.strings(self.names)?;
        let data = self.file.slice(raw.offset, raw.size).ok_or(BAD_SECTION_NAME)?;
        Ok(Bytes::new(data, self.file.endian))
    }
}

#[derive(Clone, Copy, Default)]
struct RawSection {
    name: u32,
    kind: u32,
    flags: u64,
    offset: u64,
    size: u64,
    link: u32,
    info: u32,
    align: u64,
    entsize: u64,
}

impl RawSection {
    fn content<'d>(&self, file: Bytes<'d>) -> Result<Content<'d>, &'static str> {
        let data = || file.slice(self.offset, self.size).ok_or("beyond the end of the file");
        Ok(match elf::SectionType(self.kind) {
            elf::SHT_NULL => Content::Zero(0),
            elf::SHT_NOBITS => Content::Zero(self.size),
            elf::SHT_SYMTAB => {
                data()?;
                Content::Symbols
            }
            elf::SHT_REL | elf::SHT_RELA => Content::Relocs {
                of: self.info as usize,
                relocs: self.relocs(Bytes::new(data()?, file.endian))?,
            },
            elf::SHT_GROUP => {
                let raw = Bytes::new(data()?, file.endian);
                let flags = raw.u32(0).filter(|_| raw.data.len().is_multiple_of(4));
                let members = (4..raw.data.len()).step_by(4).filter_map(|at| Some(raw.u32(at)? as usize));
                Content::Group {
                    signature: self.info as usize,
                    flags: flags.ok_or("not a whole number of sections")?,
                    members: members.collect(),
                }
            }
            _ => Content::Data(data()?.into()),
        })
    }

    fn relocs(&self, raw: Bytes<'_>) -> Result<Vec<Reloc>, &'static str> {
        let with_addends = self.kind == elf::SHT_RELA.0;
        let len = if with_addends { RELA } else { REL };
        if !raw.data.len().is_multiple_of(len) {
            return Err("not a whole number of relocations");
        }
        let read = |at| {
            let info = raw.u64(at + 8)?;
            Some(Reloc {
                offset: raw.u64(at)?,
                symbol: usize::try_from(info >> 32).ok()?,
                kind: u32::try_from(info & 0xffff_ffff).ok()?,
                addend: if with_addends { Some(raw.u64(at + 16)?.cast_signed()) } else { None },
            })
        };
        Ok((0..raw.data.len()).step_by(len).filter_map(read).collect())
    }
}

fn read_symbols<'d>(
    file: Bytes<'d>,
    table: RawSection,
    strings: &'d [u8],
    sections: usize,
    budget: &mut Budget,
) -> Result<Vec<Symbol<'d>>, ElfError> {
    let table = file.slice(table.offset, table.size).unwrap_or_default();
    let strings = Bytes::new(strings, file.endian);
    // The first one stands for no symbol, whatever it says, and even if it is not there.
    let mut symbols = Vec::with_capacity(1 + table.len() / SYMBOL);
    symbols.push(Symbol::default());
    for (index, raw) in table.chunks_exact(SYMBOL).enumerate().skip(1) {
        let raw = Bytes::new(raw, file.endian);
        let fail = |reason| ElfError::symbol(&[], index, reason);
        let short = || fail("cut short");
        let shndx = raw.u16(6).ok_or_else(short)?;
        let section = match shndx {
            0 => None,
            shndx if shndx >= elf::SHN_LORESERVE => {
                if shndx == elf::SHN_XINDEX.0 {
                    return Err(fail("an extended section index"));
                }
                None
            }
            shndx if usize::from(shndx) < sections => Some(usize::from(shndx)),
            _ => return Err(fail("in a section that does not exist")),
        };
        let name = raw.u32(0).and_then(|at| budget.name(strings, at));
        symbols.push(Symbol {
            name: name.ok_or_else(|| fail("its name is not in the string table"))?.into(),
            section,
            shndx,
            info: raw.data[4],
            other: raw.data[5],
            value: raw.u64(8).ok_or_else(short)?,
            size: raw.u64(16).ok_or_else(short)?,
            dropped: false,
        });
    }
    Ok(symbols)
}

/// What a file may still make us read and write, so that headers that all name the same bytes do
/// not cost more than they are long.
struct Budget {
    bytes: u64,
    names: u64,
    padding: u64,
}

impl Budget {
    fn of(data: &[u8]) -> Self {
        let len = data.len() as u64;
        Self { bytes: len, names: len * 4, padding: len * 64 + (1 << 20) }
    }

    fn take(&mut self, size: u64) -> Option<()> {
        self.bytes = self.bytes.checked_sub(size)?;
        Some(())
    }

    fn align(&mut self, align: u64) -> Option<()> {
        self.padding = self.padding.checked_sub(align)?;
        (align == 0 || align.is_power_of_two()).then_some(())
    }

    fn name<'d>(&mut self, strings: Bytes<'d>, at: u32) -> Option<&'d [u8]> {
        // An object without names may have an empty string table.
        if at == 0 {
            return Some(&[]);
        }
        let name = strings.string(at as usize)?;
        self.names = self.names.checked_sub(name.len() as u64)?;
        Some(name)
    }
}
