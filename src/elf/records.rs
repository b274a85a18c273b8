//! [`ExtLinks`]: which records of `.BTF.ext` belong to which code section.

use alloc::vec::Vec;
use std::collections::HashMap;

use super::btf::Btf;
use super::btf_ext::{BtfExt, Group, Kind, Records};
use super::code::CodeSection;
use super::error::ElfError;
use super::image::{Content, Image, Reloc};
use crate::bpf::Endian;

const SECTION: &[u8] = b".BTF.ext";

/// The `.BTF.ext` of an object. The records themselves are with the code sections.
#[derive(Clone, Debug)]
pub(crate) struct ExtLinks<'d> {
    pub(crate) section: usize,
    ext: BtfExt<'d>,
    /// For each group of each table what its records are of.
    owners: [Vec<Owner>; 3],
    /// The section with its relocations, if it has one.
    relocs: Option<usize>,
    /// Why the section cannot be written anew.
    frozen: Option<&'static str>,
}

/// What the records of a group are of.
#[derive(Clone, Debug)]
enum Owner {
    /// A code section; and what all the records are relocated with, if they are.
    Code(usize, Option<RecordReloc>),
    /// A section without code, whose records stay as they are: what each of them is relocated with.
    Nothing(Vec<Option<RecordReloc>>),
}

/// What a record is relocated with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct RecordReloc {
    symbol: usize,
    kind: u32,
    addend: Option<i64>,
}

impl<'d> ExtLinks<'d> {
    /// Hands the records of section `section`, which `data` is, to the code sections.
    ///
    /// O(bytes + relocations).
    pub(crate) fn connect(
        image: &Image<'d>,
        section: usize,
        data: &'d [u8],
        btf: &Btf<'_>,
        code: &mut [CodeSection],
    ) -> Result<Self, ElfError> {
        let ext = BtfExt::parse(data, image.endian)?;
        let relocs = image.relocs().find(|&(_, of, _)| of == section);
        let mut places: HashMap<u64, Reloc> = HashMap::new();
        let mut links = Self {
            section,
            owners: Default::default(),
            relocs: relocs.map(|(index, ..)| index),
            frozen: ext.has_unknown_fields().then_some("the header has fields that are not known"),
            ext,
        };
        for reloc in relocs.into_iter().flat_map(|(.., relocs)| relocs) {
            places.insert(reloc.offset, *reloc);
        }
        let mut sections = Sections::new(image, btf, data, code);
        for kind in Kind::ALL {
            let record = links.ext.record_len(kind);
            for group in &mut links.ext.tables[kind as usize].groups {
                let fail = |at: usize, reason| ElfError::section(SECTION, at as u64, reason);
                let owner = sections.find(group.section).map_err(|reason| fail(group.start, reason))?;
                let relocs = take_relocs(group, record, &mut places);
                let owner = match owner {
                    Some(code_index) => {
                        let reloc = common_reloc(image, code[code_index].section, &relocs);
                        if reloc.is_err() {
                            links.frozen = Some("its relocations are not one a record");
                        }
                        let start = group.start;
                        let records = core::mem::take(&mut group.records);
                        code[code_index]
                            .take_records(kind, records)
                            .map_err(|(index, reason)| fail(start + index * record, reason))?;
                        Owner::Code(code_index, reloc.unwrap_or_default())
                    }
                    None => Owner::Nothing(relocs),
                };
                links.owners[kind as usize].push(owner);
            }
        }
        if !places.is_empty() {
            links.frozen = Some("its relocations are not one a record");
        }
        Ok(links)
    }

    /// A section, of index `section`, without records.
    pub(crate) fn empty(section: usize, endian: Endian) -> Self {
        Self { section, ext: BtfExt::empty(endian), owners: Default::default(), relocs: None, frozen: None }
    }

    /// Makes sure that the records of a code section are written, under the name that its section has in `.BTF`.
    pub(crate) fn own(&mut self, kind: Kind, code: usize, name: u32, record: usize) {
        let owners = &mut self.owners[kind as usize];
        if owners.iter().all(|owner| !matches!(owner, Owner::Code(of, _) if *of == code)) {
            self.ext.add_group(kind, name, record);
            owners.push(Owner::Code(code, None));
        }
    }

    /// Refuses an edit after which the section could not be written.
    pub(crate) fn check_editable(&self) -> Result<(), ElfError> {
        match self.frozen {
            Some(reason) => Err(ElfError::section(SECTION, 0, reason)),
            None => Ok(()),
        }
    }

    /// Puts the section and its relocations, as the code sections now have them, into `image`.
    ///
    /// O(bytes).
    pub(crate) fn store(&self, code: &[CodeSection], image: &mut Image<'_>) -> Result<(), ElfError> {
        let mut ext = self.ext.clone();
        for kind in Kind::ALL {
            let groups = &mut ext.tables[kind as usize].groups;
            for (group, owner) in groups.iter_mut().zip(&self.owners[kind as usize]) {
                if let Owner::Code(index, _) = owner {
                    group.records = code[*index].records(kind).clone();
                }
            }
        }
        let (bytes, placed) = ext.to_bytes()?;
        if let Some(index) = self.relocs {
            let mut relocs = Vec::new();
            for group in placed {
                let record = ext.record_len(group.kind);
                let at = |index: usize| (group.start + index * record) as u64;
                match &self.owners[group.kind as usize][group.group] {
                    Owner::Code(index, Some(reloc)) => {
                        let len = code[*index].records(group.kind).len();
                        relocs.extend((0..len).map(|index| reloc.at(at(index))));
                    }
                    Owner::Code(_, None) => {}
                    Owner::Nothing(of_records) => {
                        let relocated = of_records.iter().enumerate();
                        relocs.extend(
                            relocated.filter_map(|(index, reloc)| Some(reloc.as_ref()?.at(at(index)))),
                        );
                    }
                }
            }
            image.sections[index].content = Content::Relocs { of: self.section, relocs };
        }
        image.sections[self.section].content = Content::Data(bytes.into());
        Ok(())
    }
}

/// The code sections by name, for groups that name them by a string of `.BTF`.
struct Sections<'a> {
    btf: &'a Btf<'a>,
    by_name: HashMap<&'a [u8], Vec<usize>>,
    /// By the place of the name in `.BTF`.
    found: HashMap<u32, Option<usize>>,
    /// How many bytes of names may still be compared: the strings of a file may all be ends of one another, and
    /// together much longer than the file.
    budget: usize,
}

impl<'a> Sections<'a> {
    fn new(image: &'a Image<'_>, btf: &'a Btf<'_>, ext: &[u8], code: &[CodeSection]) -> Self {
        let mut by_name: HashMap<&[u8], Vec<usize>> = HashMap::new();
        for (index, found) in code.iter().enumerate() {
            by_name.entry(&image.sections[found.section].name).or_default().push(index);
        }
        Self { btf, by_name, found: HashMap::new(), budget: 4 * (ext.len() + btf.strings().len()) }
    }

    /// The code section of this name, if there is one. O(length of the name), the first time.
    fn find(&mut self, name: u32) -> Result<Option<usize>, &'static str> {
        if let Some(found) = self.found.get(&name) {
            return Ok(*found);
        }
        let text = self.btf.string(name).unwrap_or_default();
        let left = self.budget.checked_sub(text.len());
        self.budget = left.ok_or("the names of its sections are longer than the file")?;
        let found = match self.by_name.get(text.as_bytes()).map(Vec::as_slice) {
            None => None,
            Some(&[index]) => Some(index),
            Some(_) => return Err("records of two sections with one name"),
        };
        self.found.insert(name, found);
        Ok(found)
    }
}

impl RecordReloc {
    fn at(self, offset: u64) -> Reloc {
        Reloc { offset, symbol: self.symbol, kind: self.kind, addend: self.addend }
    }
}

/// What each record of a group is relocated with, at its start; takes those relocations out of `places`.
fn take_relocs(group: &Group, record: usize, places: &mut HashMap<u64, Reloc>) -> Vec<Option<RecordReloc>> {
    let of = |index| places.remove(&((group.start + index * record) as u64));
    let relocs = (0..group.records.len()).map(of);
    relocs
        .map(|reloc| {
            let Reloc { symbol, kind, addend, .. } = reloc?;
            Some(RecordReloc { symbol, kind, addend })
        })
        .collect()
}

/// What all records of a code section are relocated with. `Err` if not all are, or not alike, or not from
/// the start of the section.
fn common_reloc(
    image: &Image<'_>,
    section: usize,
    relocs: &[Option<RecordReloc>],
) -> Result<Option<RecordReloc>, ()> {
    let first = relocs.first().copied().flatten();
    if relocs.iter().any(|&other| other != first) {
        return Err(());
    }
    let from_start = first.is_none_or(|reloc| {
        let symbol = &image.symbols[reloc.symbol];
        let at_start = symbol.value == 0 && reloc.addend.is_none();
        symbol.section == Some(section) && at_start && !symbol.is_function()
    });
    if from_start { Ok(first) } else { Err(()) }
}

impl CodeSection {
    pub(crate) fn records(&self, kind: Kind) -> &Records {
        match kind {
            Kind::Func => &self.func,
            Kind::Line => &self.line,
            Kind::Core => &self.core,
        }
    }

    pub(crate) fn records_mut(&mut self, kind: Kind) -> &mut Records {
        match kind {
            Kind::Func => &mut self.func,
            Kind::Line => &mut self.line,
            Kind::Core => &mut self.core,
        }
    }

    /// The error has the index of the record.
    fn take_records(&mut self, kind: Kind, records: Records) -> Result<(), (usize, &'static str)> {
        if self.records(kind).len() != 0 {
            return Err((0, "a section that is listed twice"));
        }
        for (index, slot) in records.slots(self.endian).enumerate() {
            // A function without code at the end of the section has its records there.
            if slot > self.len() || (slot == self.len() && kind == Kind::Core) {
                return Err((index, "a record beyond the end of its section"));
            }
        }
        *self.records_mut(kind) = records;
        Ok(())
    }

    /// Whether a function or line record says more than this version knows: a kernel that knows no more refuses it.
    pub(crate) fn says_more(&self) -> bool {
        self.func.say_more(Kind::Func) || self.line.say_more(Kind::Line)
    }

    /// Puts the function records into the program, in the order of their positions.
    pub(crate) fn take_func_info(&mut self) {
        let table = self.func.iter(self.endian).map(|record| {
            let field = |at| record.u32(at).unwrap_or_default();
            crate::bpf::FuncInfo { insn_off: field(0) / 8, type_id: field(4) }
        });
        self.program.func_info = table.collect();
        self.program.func_info.sort_by_key(|record| record.insn_off);
    }

    /// Puts the line records into the program, in the order of their positions: of several at one position the last.
    pub(crate) fn take_line_info(&mut self) {
        let lines = self.line.iter(self.endian).rev().map(|record| {
            let field = |at| record.u32(at).unwrap_or_default();
            crate::bpf::LineInfo {
                insn_off: field(0) / 8,
                file_name_off: field(4),
                line_off: field(8),
                line_col: field(12),
            }
        });
        let mut table: Vec<_> = lines.collect();
        table.sort_by_key(|record| record.insn_off);
        table.dedup_by_key(|record| record.insn_off);
        self.program.line_info = table;
    }
}
