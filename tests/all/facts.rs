//! What an object says of its instructions, told without a single position.
//!
//! An oracle for edits that only insert no-ops (`r9 = r9`, which no compiler emits) or delete whole
//! functions. It reads the file with `object`'s reader and knows nothing of how the crate edits: it counts
//! the instructions that are no no-op, and names every place by that number. Two objects that say the
//! same of the same instructions have the same facts.

use std::collections::BTreeSet;

use object::read::elf::{ElfFile64, FileHeader, SectionHeader};
use object::{
    Endianness, Object, ObjectSection, ObjectSymbol, RelocationFlags, RelocationTarget, SectionIndex,
    SectionKind, SymbolKind, elf,
};

/// `r9 = r9`, in either byte order.
const NOP: [u8; 8] = [0xbf, 0x99, 0, 0, 0, 0, 0, 0];

type File<'a> = ElfFile64<'a, Endianness>;

/// A code section, with the number of each instruction.
pub(crate) struct Code {
    pub(crate) index: SectionIndex,
    pub(crate) name: String,
    pub(crate) slots: Vec<[u8; 8]>,
    /// For each slot, and one past the end, how many slots before it are no no-op.
    number: Vec<usize>,
}

impl Code {
    fn all(file: &File<'_>) -> Vec<Self> {
        let code =
            file.sections().filter(|section| section.kind() == SectionKind::Text && section.size() > 0);
        code.map(|section| {
            let slots: Vec<[u8; 8]> =
                section.data().unwrap().chunks(8).map(|slot| slot.try_into().unwrap()).collect();
            let mut number = vec![0];
            for slot in &slots {
                number.push(number.last().unwrap() + usize::from(*slot != NOP));
            }
            Self { index: section.index(), name: section.name().unwrap().into(), slots, number }
        })
        .collect()
    }

    /// A place that a jump may lead to: a no-op before an instruction is as good as itself.
    fn place(&self, byte: i64) -> String {
        let byte = usize::try_from(byte).unwrap();
        assert_eq!(byte % 8, 0, "{}: {byte:#x} is inside a slot", self.name);
        format!("{}:{}", self.name, self.number[byte / 8])
    }

    /// A place where a function starts: all no-ops before its first instruction are its own.
    fn start(&self, byte: u64) -> String {
        let slot = usize::try_from(byte / 8).unwrap();
        let late = slot > 0 && self.slots[slot - 1] == NOP;
        format!("{}{}", self.place(byte.try_into().unwrap()), if late { " (not all of it)" } else { "" })
    }

    /// The place of an instruction itself.
    fn exact(&self, byte: u64) -> String {
        let slot = self.slots[usize::try_from(byte / 8).unwrap()];
        format!("{}{}", self.place(byte.try_into().unwrap()), if slot == NOP { " (a no-op)" } else { "" })
    }
}

fn u32_at(data: &[u8], at: usize, endian: Endianness) -> u32 {
    let bytes = data[at..at + 4].try_into().unwrap();
    if endian == Endianness::Little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) }
}

fn u16_at(data: &[u8], at: usize, endian: Endianness) -> u16 {
    let bytes = data[at..at + 2].try_into().unwrap();
    if endian == Endianness::Little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) }
}

fn u64_at(data: &[u8], at: usize, endian: Endianness) -> u64 {
    let bytes = data[at..at + 8].try_into().unwrap();
    if endian == Endianness::Little { u64::from_le_bytes(bytes) } else { u64::from_be_bytes(bytes) }
}

pub(crate) fn is_debug(name: &str) -> bool {
    name.starts_with(".debug") || name.starts_with(".eh_frame")
}

/// Every fact of the file.
pub(crate) fn facts(data: &[u8]) -> BTreeSet<String> {
    let file = File::parse(data).unwrap();
    let code = Code::all(&file);
    let mut facts = BTreeSet::new();
    symbols(&file, &code, &mut facts);
    let relocated = relocations(&file, &code, &mut facts);
    instructions(&file, &code, &relocated, &mut facts);
    records(&file, &code, &mut facts);
    facts
}

fn symbols(file: &File<'_>, code: &[Code], facts: &mut BTreeSet<String>) {
    for symbol in file.symbols() {
        let name = symbol.name().unwrap();
        let section = symbol.section_index().map(|index| file.section_by_index(index).unwrap());
        if section.as_ref().is_some_and(|section| is_debug(section.name().unwrap())) {
            continue;
        }
        let info = format!("symbol {name} {:?} {:?}", symbol.kind(), symbol.flags());
        let holder = code.iter().find(|code| symbol.section_index() == Some(code.index));
        facts.insert(match (holder, symbol.kind()) {
            (_, SymbolKind::Section) => format!("{info} {}", section.unwrap().name().unwrap()),
            (Some(code), SymbolKind::Text) => {
                let end = symbol.address() + symbol.size();
                format!("{info} {} to {}", code.start(symbol.address()), code.start(end))
            }
            (Some(code), _) => format!("{info} {}", code.place(symbol.address().try_into().unwrap())),
            (None, _) => {
                let section = section.as_ref().map(|section| section.name().unwrap());
                format!("{info} {section:?} {:#x} {:#x}", symbol.address(), symbol.size())
            }
        });
    }
}

/// The relocations; returns, for each code section, the slots that have one.
fn relocations(file: &File<'_>, code: &[Code], facts: &mut BTreeSet<String>) -> Vec<BTreeSet<usize>> {
    let endian = file.endian();
    let mut relocated = vec![BTreeSet::new(); code.len()];
    for section in file.sections() {
        let name = section.name().unwrap();
        if is_debug(name) || name == ".BTF.ext" {
            continue;
        }
        let mut data = section.data().unwrap().to_vec();
        for (offset, relocation) in section.relocations() {
            let RelocationTarget::Symbol(symbol) = relocation.target() else { panic!() };
            let RelocationFlags::Elf { r_type } = relocation.flags() else { panic!() };
            let symbol = file.symbol_by_index(symbol).unwrap();
            let target = code.iter().find(|code| symbol.section_index() == Some(code.index));
            let value = i64::try_from(symbol.address()).unwrap();
            let at = usize::try_from(offset).unwrap();
            let (from, addend, width) =
                if let Some(holder) = code.iter().position(|code| code.index == section.index()) {
                    relocated[holder].insert(at / 8);
                    let imm = i64::from(u32_at(&data, at + 4, endian).cast_signed());
                    let addend = if r_type.0 == 10 { (imm + 1) * 8 } else { imm };
                    (code[holder].exact(offset), addend, 0)
                } else if r_type.0 == 2 {
                    (format!("{name}+{offset:#x}"), u64_at(&data, at, endian).cast_signed(), 8)
                } else {
                    (format!("{name}+{offset:#x}"), u32_at(&data, at, endian).into(), 4)
                };
            let to = match target {
                Some(code) => code.place(value + addend),
                None => format!("{}+{addend:#x}", symbol.name().unwrap()),
            };
            facts.insert(format!("relocation {} {from} -> {to} by {}", r_type.0, symbol.name().unwrap()));
            if target.is_some() {
                data[at..at + width].fill(0);
            }
        }
        if name == ".jumptables" {
            jump_table(file, code, &mut data, section.index(), facts);
        }
        let kind = section.elf_section_header().sh_type(endian);
        if kind == elf::SHT_PROGBITS && !code.iter().any(|code| code.index == section.index()) {
            facts.insert(format!("data {name} {data:x?}"));
        }
    }
    relocated
}

/// The entries of a jump table: offsets into the section whose code refers to its symbol.
fn jump_table(
    file: &File<'_>,
    code: &[Code],
    data: &mut [u8],
    index: SectionIndex,
    facts: &mut BTreeSet<String>,
) {
    for user in code {
        for (_, relocation) in file.section_by_index(user.index).unwrap().relocations() {
            let RelocationTarget::Symbol(symbol) = relocation.target() else { panic!() };
            let symbol = file.symbol_by_index(symbol).unwrap();
            if symbol.section_index() != Some(index) {
                continue;
            }
            let start = usize::try_from(symbol.address()).unwrap();
            let table = &mut data[start..start + usize::try_from(symbol.size()).unwrap()];
            for (entry, bytes) in table.chunks_mut(8).enumerate() {
                let place = user.place(u64_at(bytes, 0, file.endian()).cast_signed());
                facts.insert(format!("entry {entry} of {}: {place}", symbol.name().unwrap()));
                bytes.fill(0);
            }
        }
    }
}

fn instructions(file: &File<'_>, code: &[Code], relocated: &[BTreeSet<usize>], facts: &mut BTreeSet<String>) {
    let endian = file.endian();
    for (section, relocated) in code.iter().zip(relocated) {
        for (slot, insn) in section.slots.iter().enumerate().filter(|(_, insn)| **insn != NOP) {
            let at = section.exact(slot as u64 * 8);
            let source = if endian == Endianness::Little { insn[1] >> 4 } else { insn[1] & 15 };
            let off = i64::from(u16_at(insn, 2, endian).cast_signed());
            let imm = i64::from(u32_at(insn, 4, endian).cast_signed());
            let here = i64::try_from(slot).unwrap() + 1;
            // The table of RFC 9669, sections 4.3 and 5.4.
            let (target, mut rest) = match (insn[0], source) {
                (0x85, 1) | (0x18, _) if relocated.contains(&slot) => (None, *insn),
                (0x85, 1) | (0x18, 4) | (0x06, _) => (Some(here + imm), *insn),
                (0x85 | 0x95 | 0x0d | 0x9d, _) => (None, *insn),
                (code, _) if matches!(code & 7, 5 | 6) => (Some(here + off), *insn),
                _ => (None, *insn),
            };
            if target.is_some() {
                if matches!(insn[0], 0x85 | 0x18 | 0x06) { rest[4..].fill(0) } else { rest[2..4].fill(0) }
            } else if relocated.contains(&slot) {
                rest[4..].fill(0);
            }
            let target = target.map(|slot| section.place(slot * 8));
            facts.insert(format!("insn {at} {rest:x?} {target:?}"));
        }
    }
}

/// `.BTF.ext`, as the kernel's `btf.rst` has it, and its relocations.
fn records(file: &File<'_>, code: &[Code], facts: &mut BTreeSet<String>) {
    let endian = file.endian();
    let (Some(btf), Some(ext)) = (file.section_by_name(".BTF"), file.section_by_name(".BTF.ext")) else {
        return;
    };
    let (btf, data) = (btf.data().unwrap(), ext.data().unwrap());
    let word = |at| u32_at(data, at, endian) as usize;
    let strings = (u32_at(btf, 4, endian) + u32_at(btf, 16, endian)) as usize;
    let mut places = Vec::new();
    for (table, kind) in [(8, "func"), (16, "line"), (24, "core")] {
        if word(4) < table + 8 || word(table + 4) == 0 {
            continue;
        }
        let (mut at, len) = (word(4) + word(table), word(table + 4));
        let end = at + len;
        let record = word(at);
        at += 4;
        while at < end {
            let name = &btf[strings + word(at)..];
            let name = std::str::from_utf8(name.split(|&byte| byte == 0).next().unwrap()).unwrap();
            let section = code.iter().find(|code| code.name == name).expect("records of no section");
            let count = word(at + 4);
            assert_ne!(count, 0, "libbpf takes no section without records");
            at += 8;
            let mut last = None;
            for _ in 0..count {
                let offset = word(at) as u64;
                assert!(kind == "core" || last < Some(offset), "{kind} records must ascend");
                last = Some(offset);
                let place = match kind {
                    "func" => section.start(offset),
                    "line" => section.place(offset.cast_signed()),
                    _ => section.exact(offset),
                };
                facts.insert(format!("{kind} {place} {:x?}", &data[at + 4..at + record]));
                places.push((at as u64, section.index));
                at += record;
            }
        }
    }
    let mut relocations: Vec<_> = ext.relocations().collect();
    relocations.sort_by_key(|&(offset, _)| offset);
    places.sort_unstable_by_key(|&(offset, _)| offset);
    facts.insert(format!("ext relocated: {}", !relocations.is_empty()));
    if relocations.is_empty() {
        return;
    }
    assert_eq!(relocations.len(), places.len());
    for ((offset, relocation), (place, section)) in relocations.into_iter().zip(places) {
        assert_eq!(offset, place, "a relocation that is not of a record");
        let RelocationTarget::Symbol(symbol) = relocation.target() else { panic!() };
        let symbol = file.symbol_by_index(symbol).unwrap();
        assert_eq!((symbol.section_index(), symbol.address()), (Some(section), 0));
    }
}

/// Symbols, and each section with its attributes, its bytes and its relocations, as they stand in the file.
/// Left out: how the tables of names are cut.
pub(crate) fn literal(data: &[u8]) -> Vec<String> {
    let file = File::parse(data).unwrap();
    let endian = file.endian();
    let mut facts = vec![format!("{:?}", file.elf_header().e_flags(endian))];
    for section in file.sections() {
        let header = section.elf_section_header();
        let kind = header.sh_type(endian);
        if kind == elf::SHT_STRTAB {
            continue;
        }
        let link = [header.sh_link(endian), header.sh_info(endian)];
        let bytes = if kind == elf::SHT_SYMTAB { &[] } else { section.data().unwrap() };
        facts.push(format!(
            "{} {:?} {:x} {:x} {link:?} {} {} {} {bytes:x?}",
            section.name().unwrap(),
            section.index(),
            kind.0,
            header.sh_flags(endian).0,
            section.align(),
            section.size(),
            header.sh_entsize(endian),
        ));
    }
    for symbol in file.symbols() {
        let place = (symbol.address(), symbol.size(), symbol.section());
        facts.push(format!("{} {place:?} {:?}", symbol.name().unwrap(), symbol.flags()));
    }
    facts
}
