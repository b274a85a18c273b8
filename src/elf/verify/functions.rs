//! Where functions start and end, by all that a file says of it.

use alloc::vec::Vec;

use object::elf;

use super::file::{File, Symbol};
use super::records::{Ext, Kind};
use super::relocations::{CALL, target};
use super::slot::{Slot, slots};
use crate::bpf::{Insn, check_insn};

/// The parts of one code section: functions, and what lies between them. None in a section without code.
#[derive(Clone, Default)]
pub(super) struct Parts {
    /// Their first slots, ascending; the first of them is 0.
    pub(super) starts: Vec<u32>,
    /// Which of them are functions.
    is_function: Vec<bool>,
}

impl Parts {
    /// The part that a slot is in.
    pub(super) fn at(&self, slot: u32) -> usize {
        self.starts.partition_point(|&start| start <= slot).saturating_sub(1)
    }

    /// Whether a slot is in no function: padding or data, which stays as it is.
    pub(super) fn is_between(&self, slot: u32) -> bool {
        !self.is_function[self.at(slot)]
    }
}

/// The parts of each section.
///
/// Evidence of a function are its symbol, one that is not local and has no type, a record of `.BTF.ext`, and a call; and
/// an address that somebody takes, if it lies in no function by that evidence.
///
/// O(bytes · log functions).
pub(super) fn parts(file: &File<'_>) -> Vec<Parts> {
    let mut found =
        Search { file, starts: file.sections.iter().map(|_| Vec::new()).collect(), addresses: Vec::new() };
    found.add_symbols();
    found.add_records();
    for index in 0..file.sections.len() {
        found.add_relocations(index);
    }
    let mut parts: Vec<Parts> = file.sections.iter().map(|_| Parts::default()).collect();
    for (index, section) in file.sections.iter().enumerate().filter(|(_, section)| section.is_code()) {
        let len = section.data.len() / 8;
        let mut code = Code::new(file, index, core::mem::take(&mut found.starts[index]));
        code.follow_calls();
        let certain = code.parts(len);
        let addresses = found.addresses.iter().filter(|(section, _)| *section == index);
        code.starts.extend(
            addresses
                .filter(|&&(_, slot)| certain.is_between(slot))
                .map(|&(_, slot)| Start { slot, end: None }),
        );
        code.follow_calls();
        parts[index] = code.parts(len);
    }
    parts
}

/// A function.
#[derive(Clone, Copy)]
struct Start {
    slot: u32,
    /// Where it ends, by the size of its symbol.
    end: Option<u32>,
}

/// What symbols, relocations and records say.
struct Search<'a> {
    file: &'a File<'a>,
    starts: Vec<Vec<Start>>,
    /// Section and slot of addresses that are taken.
    addresses: Vec<(usize, u32)>,
}

impl Search<'_> {
    /// The slot of a code section at a byte of it.
    fn slot(&self, section: usize, byte: i64) -> Option<u32> {
        let holder = &self.file.sections[section];
        let slot = u32::try_from(byte / 8).ok().filter(|_| byte >= 0 && byte % 8 == 0)?;
        (holder.is_code() && (slot as usize) < holder.data.len() / 8).then_some(slot)
    }

    fn add(&mut self, section: usize, byte: i64, size: u64) {
        let Some(slot) = self.slot(section, byte) else { return };
        let size = u32::try_from(size / 8).ok().filter(|&size| size != 0);
        self.starts[section].push(Start { slot, end: size.and_then(|size| slot.checked_add(size)) });
    }

    fn add_symbols(&mut self) {
        for symbol in &self.file.symbols {
            let is_untyped =
                symbol.info.st_type() == elf::STT_NOTYPE && symbol.info.st_bind() != elf::STB_LOCAL;
            let is_function = symbol.info.st_type() == elf::STT_FUNC || is_untyped;
            if let (Some(section), Ok(value)) = (symbol.section, i64::try_from(symbol.value))
                && is_function
            {
                self.add(section, value, symbol.size);
            }
        }
    }

    fn add_records(&mut self) {
        let Some(ext) = Ext::read(self.file) else { return };
        let table = &ext.tables[Kind::Func as usize];
        for group in &table.groups {
            let Some(section) = group.owner else { continue };
            for record in group.records(table.record) {
                self.add(section, self.file.u32_at(record, 0).map_or(-1, i64::from), 0);
            }
        }
    }

    /// What relocations lead to, from code and data. Sections for debuggers, `.BTF` and `.BTF.ext` describe code;
    /// they do not run it.
    fn add_relocations(&mut self, index: usize) {
        let file = self.file;
        let section = &file.sections[index];
        let of = section.info as usize;
        if !section.is_relocs() || file.sections[of].is_stale() || file.sections[of].name.starts_with(b".BTF")
        {
            return;
        }
        for reloc in &section.relocs {
            let Some((symbol, into)) =
                file.symbol_of(reloc).and_then(|symbol| Some((symbol, symbol.section?)))
            else {
                continue;
            };
            let Some(target) = target(file, of, reloc) else { continue };
            if reloc.kind == CALL {
                self.add(into, target, 0);
            } else if let Some(slot) = self.slot(into, target)
                && !(file.sections[of].is_code() && is_object(symbol))
            {
                self.addresses.push((into, slot));
            }
        }
    }
}

/// Whether it is of data, which may stand between functions.
fn is_object(symbol: &Symbol<'_>) -> bool {
    symbol.info.st_type() == elf::STT_OBJECT
}

/// The calls of one section.
struct Code {
    insns: Vec<Insn>,
    relocated: Vec<u32>,
    starts: Vec<Start>,
    is_start: Vec<bool>,
    scanned: Vec<bool>,
    /// How many of the starts were followed.
    done: usize,
}

impl Code {
    fn new(file: &File<'_>, section: usize, starts: Vec<Start>) -> Self {
        let insn = |slot: Slot| Insn::new(slot.code, slot.dst, slot.src, slot.off, slot.imm);
        let insns: Vec<Insn> = slots(file, file.sections[section].data).into_iter().map(insn).collect();
        let no = alloc::vec![false; insns.len()];
        let relocated = file.relocated_slots(section);
        Self { insns, relocated, starts, is_start: no.clone(), scanned: no, done: 0 }
    }

    /// Adds what functions call, or take the address of, by a displacement. Each slot is looked at once.
    fn follow_calls(&mut self) {
        for start in &self.starts {
            self.is_start[start.slot as usize] = true;
        }
        while let Some(&Start { slot, end }) = self.starts.get(self.done) {
            self.done += 1;
            let end = end.map_or(self.insns.len(), |end| self.insns.len().min(end as usize));
            let mut at = slot as usize;
            while at < end && !self.scanned[at] && (at == slot as usize || !self.is_start[at]) {
                // What is behind bytes that are no instruction may be anything.
                let Ok(len) = check_insn(&self.insns, at, 10) else { break };
                self.scanned[at] = true;
                self.add_called(u32::try_from(at).unwrap_or(u32::MAX));
                at += len;
            }
        }
    }

    fn add_called(&mut self, at: u32) {
        let slot = Slot::from(self.insns[at as usize]);
        if !slot.enters() || self.relocated.binary_search(&at).is_ok() {
            return;
        }
        let target = slot.target(at).and_then(|target| u32::try_from(target).ok());
        if let Some(slot) = target.filter(|&target| (target as usize) < self.insns.len())
            && !core::mem::replace(&mut self.is_start[slot as usize], true)
        {
            self.starts.push(Start { slot, end: None });
        }
    }

    fn parts(&self, len: usize) -> Parts {
        let mut starts = self.starts.clone();
        starts.sort_by_key(|start| start.slot);
        let mut parts = Parts::default();
        let mut at = 0;
        let mut push = |slot, is_function| {
            parts.starts.push(slot);
            parts.is_function.push(is_function);
        };
        for same in starts.chunk_by(|one, other| one.slot == other.slot) {
            let start = same[0].slot;
            if at < start {
                push(at, false);
            }
            push(start, true);
            let next = starts.partition_point(|other| other.slot <= start);
            let next = starts.get(next).map_or(len, |next| next.slot as usize);
            let end =
                same.iter().filter_map(|same| same.end).max().map_or(next, |end| next.min(end as usize));
            at = u32::try_from(end).unwrap_or(u32::MAX);
        }
        if starts.is_empty() {
            push(0, true);
        } else if (at as usize) < len {
            push(at, false);
        }
        parts
    }
}
