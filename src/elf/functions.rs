//! The evidence about functions: where each function of a code section starts and by whose word, where it
//! ends, and what lies between functions.
//!
//! Everything that asks about functions (the passes, [`check`](super::Object::check), the search for what is
//! reachable, reports) asks the division that is made here. Function starts are the union of:
//!
//! - symbols of functions, and global or weak symbols without a type, which is how clang before 8 and assembly
//!   name functions;
//! - what relocations of calls lead to, addends included, and what calls within the section lead to;
//! - records of `func_info`;
//! - addresses that are taken by relocations, in code or in data, and entries of jump tables, if they lie in no
//!   function that other evidence gives: an address inside of a function is that of a label.
//!
//! A function ends where the size of its symbol says, or else where the next one starts. What is in no
//! function is left as it stands: it is padding or data. A function whose body cannot be analysed is left as it
//! stands, too.

use alloc::vec::Vec;
use core::fmt;

use bitvec::vec::BitVec;
use object::elf;

use super::bytes::Bytes;
use super::code::{CodeSection, Function, R_BPF_64_32, R_BPF_64_64};
use super::error::ElfError;
use super::image::Content;
use super::object::{Object, Referent};
use crate::Isa;
use crate::bpf::opcode::{CALL_KFUNC, CALL_LOCAL, FRAME_POINTER, LD_FUNC, LD_NUMBER};
use crate::bpf::{Bpf, Cfg, CfgError, Insn, InsnError, Program, check_insn};

/// What says that a function starts at a place, the best first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[non_exhaustive]
pub enum Evidence {
    /// The symbol of a function.
    Symbol,
    /// A `func_info` record.
    Record,
    /// A global or weak symbol without a type.
    UntypedSymbol,
    /// A call, by relocation or by displacement.
    Call,
    /// Its address is taken.
    Address,
    /// Nothing: the section has no evidence at all, and its code has to start somewhere.
    Nothing,
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Symbol => "the symbol of a function",
            Self::Record => "a function record",
            Self::UntypedSymbol => "a symbol without a type",
            Self::Call => "a call",
            Self::Address => "an address that is taken",
            Self::Nothing => "nothing",
        })
    }
}

/// One of the parts that a code section divides into: a subprogram of its
/// [`program`](CodeSection::program).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Part {
    /// A function, which passes may edit.
    Function(Evidence),
    /// A function whose body cannot be analysed. It is left as it stands: the program shows a stand-in.
    LeftAlone(Evidence, Unanalysed),
    /// What lies between functions: padding, or data. It is left as it stands: the program shows a stand-in.
    Between,
}

impl Part {
    /// Whether passes may edit it.
    #[must_use]
    pub fn is_analysed(self) -> bool {
        matches!(self, Self::Function(_))
    }

    /// Whether it is a function.
    #[must_use]
    pub fn is_function(self) -> bool {
        !matches!(self, Self::Between)
    }
}

/// Why the body of a function cannot be analysed. Slots are those of its section.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Unanalysed {
    /// It has no control flow graph.
    Flow(CfgError),
    /// Something other than its own jumps leads to this slot in its middle.
    Entered(u32),
}

impl Unanalysed {
    /// The slot it is about.
    #[must_use]
    pub fn slot(self) -> u32 {
        match self {
            Self::Flow(error) => place_of(&error).unwrap_or_default(),
            Self::Entered(slot) => slot,
        }
    }
}

impl fmt::Display for Unanalysed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flow(CfgError::FallsOff { at, .. }) => {
                write!(f, "control falls off the end of the function at slot {at}")
            }
            Self::Flow(CfgError::LeavesSubprog { at, target }) => {
                write!(f, "the jump at slot {at} leads to slot {target}, out of the function")
            }
            Self::Flow(error) => error.fmt(f),
            Self::Entered(slot) => {
                write!(f, "something else leads to slot {slot}, in the middle of the function")
            }
        }
    }
}

/// Evidence that contradicts other evidence about where functions begin and end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Conflict {
    /// Where a function starts, by this evidence.
    pub(crate) slot: u32,
    pub(crate) evidence: Evidence,
    /// The start of the function that reaches beyond that, by the size of its symbol; or the same slot, if two
    /// symbols give one function two sizes.
    pub(crate) inside: u32,
}

/// A start of a function.
#[derive(Clone, Copy)]
struct Start {
    slot: u32,
    evidence: Evidence,
    /// Where the function ends, by the size of its symbol.
    end: Option<u32>,
}

/// What is known of one section before it is divided.
#[derive(Default)]
struct Found {
    starts: Vec<Start>,
    /// Places that are functions unless they lie in one.
    addresses: Vec<u32>,
    /// The same, but it is the rule that these lie in functions.
    labels: Vec<u32>,
}

impl Object<'_> {
    /// Divides every code section by all evidence there is, and has its program show stand-ins for the parts
    /// that cannot be analysed.
    ///
    /// O(slots + (symbols + relocations + records) · log).
    pub(crate) fn read_functions(&mut self) -> Result<(), ElfError> {
        let mut functions: Vec<Vec<Function>> = alloc::vec![Vec::new(); self.code.len()];
        for (index, symbol) in self.image.symbols.iter().enumerate() {
            let code = symbol.section.and_then(|section| self.code_of[section]);
            if let Some(code) = code.filter(|_| symbol.is_function() && !symbol.dropped) {
                functions[code].push(Function::read(&self.image, index)?);
            }
        }
        for (code, functions) in self.code.iter_mut().zip(functions) {
            code.uncover();
            code.set_functions(functions)?;
            code.take_func_info();
            code.take_line_info();
        }
        let found = self.evidence();
        for (code, found) in self.code.iter_mut().zip(found) {
            code.divide(found);
        }
        Ok(())
    }

    fn evidence(&self) -> Vec<Found> {
        let mut found: Vec<Found> = self.code.iter().map(|_| Found::default()).collect();
        for (code, found) in self.code.iter().zip(&mut found) {
            let named = code.functions.iter().filter(|function| function.start < code.len());
            found.starts.extend(named.map(|function| Start {
                slot: function.start,
                evidence: Evidence::Symbol,
                end: (function.len != 0).then_some(function.start + function.len),
            }));
            let records = code.func_info().filter(|record| record.slot < code.len());
            found.starts.extend(records.map(|record| Start::new(record.slot, Evidence::Record)));
        }
        for symbol in self.image.symbols.iter().filter(|symbol| !symbol.dropped) {
            let Some(code) = symbol.section.and_then(|section| self.code_of[section]) else { continue };
            let untyped = symbol.kind() == elf::STT_NOTYPE && symbol.bind() != elf::STB_LOCAL;
            let slot = self.code[code].slot_at(symbol.value).filter(|_| untyped);
            if let Some(slot) = slot {
                let end = symbol.value.checked_add(symbol.size).filter(|_| symbol.size != 0);
                let end = end.and_then(|end| u32::try_from(end / 8).ok());
                let end = end.filter(|&end| end <= self.code[code].len());
                found[code].starts.push(Start { slot, evidence: Evidence::UntypedSymbol, end });
            }
        }
        for (index, section) in self.code.iter().enumerate() {
            for relocation in &section.relocations {
                let Referent::Code { code, slot } = self.referent(index, relocation) else { continue };
                match relocation.kind {
                    R_BPF_64_32 => found[code].starts.push(Start::new(slot, Evidence::Call)),
                    R_BPF_64_64 if self.is_object(relocation.symbol) => {}
                    _ => found[code].addresses.push(slot),
                }
            }
        }
        self.each_data_reference(|code, slot| found[code].addresses.push(slot));
        for table in self.jump_tables().unwrap_or_default() {
            let data = self.image.sections[table.section].data().unwrap_or_default();
            let data = Bytes::new(data, self.image.endian);
            let section = &self.code[table.code];
            found[table.code].labels.extend(table.entries().filter_map(|at| section.slot_at(data.u64(at)?)));
        }
        found
    }

    /// Whether a symbol is of data, which may stand in a code section, too.
    pub(crate) fn is_object(&self, symbol: usize) -> bool {
        self.image.symbols[symbol].kind() == elf::STT_OBJECT
    }

    /// Calls `visit` with the code section and the slot of everything in code that a relocation in data leads to.
    ///
    /// Sections for debuggers, `.BTF` and `.BTF.ext` describe code; they do not run it.
    pub(crate) fn each_data_reference(&self, mut visit: impl FnMut(usize, u32)) {
        for (_, of, relocs) in self.image.relocs() {
            let section = &self.image.sections[of];
            let describes = section.is_unread() || section.name.starts_with(b".BTF");
            if self.code_of[of].is_some() || describes || !matches!(section.content, Content::Data(_)) {
                continue;
            }
            for reloc in relocs {
                let symbol = &self.image.symbols[reloc.symbol];
                let Some(code) = symbol.section.and_then(|section| self.code_of[section]) else { continue };
                let addend = reloc.addend_in(section.data().unwrap_or_default(), self.image.endian);
                let target = addend.and_then(|addend| symbol.value.checked_add_signed(addend));
                if let Some(slot) = target.and_then(|target| self.code[code].slot_at(target)) {
                    visit(code, slot);
                }
            }
        }
    }
}

impl Start {
    fn new(slot: u32, evidence: Evidence) -> Self {
        Self { slot, evidence, end: None }
    }
}

impl CodeSection {
    /// The parts that the section divides into: one a subprogram of its program.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Whether a function starts at a slot. O(log parts).
    pub(crate) fn starts_function(&self, slot: u32) -> bool {
        self.program.subprogs.binary_search(&slot).is_ok_and(|part| self.parts[part].is_function())
    }

    /// The starts of functions, ascending.
    pub(crate) fn starts(&self) -> impl Iterator<Item = u32> + use<'_> {
        let all = self.program.subprogs.iter().zip(&self.parts);
        all.filter(|(_, part)| part.is_function()).map(|(&start, _)| start)
    }

    /// The slot at a byte of the section, if one starts there.
    fn slot_at(&self, byte: u64) -> Option<u32> {
        let slot = u32::try_from(byte / 8).ok()?;
        (byte.is_multiple_of(8) && slot < self.len()).then_some(slot)
    }

    fn divide(&mut self, found: Found) {
        let (starts, entered, conflicts) = Search::new(&self.program.insns, found).run();
        self.conflicts = conflicts;
        let mut parts = Parts { section: self, starts: &starts, subprogs: Vec::new(), kinds: Vec::new() };
        parts.lay();
        parts.mark_entered(&entered);
        let Parts { subprogs, kinds, .. } = parts;
        (self.program.subprogs, self.parts) = (subprogs, kinds);
        self.program.insn_array = self.analysed_jump_targets();
        self.cover();
    }
}

/// The search for function starts in one section.
struct Search<'a> {
    insns: &'a [Insn],
    /// Ascending, one a slot, once the search is done.
    starts: Vec<Start>,
    is_start: BitVec,
    addresses: Vec<u32>,
    labels: Vec<u32>,
    /// For each slot the start of the function that has it by the size of a symbol, or [`NO_FUNCTION`].
    declared: Vec<u32>,
    scanned: BitVec,
    conflicts: Vec<Conflict>,
}

const NO_FUNCTION: u32 = u32::MAX;

impl<'a> Search<'a> {
    fn new(insns: &'a [Insn], found: Found) -> Self {
        let Found { mut starts, mut addresses, labels } = found;
        starts.sort_by_key(|start| (start.slot, start.evidence));
        addresses.sort_unstable();
        addresses.dedup();
        let no = BitVec::repeat(false, insns.len());
        let declared = alloc::vec![NO_FUNCTION; insns.len()];
        let conflicts = Vec::new();
        Self { insns, starts, is_start: no.clone(), addresses, labels, declared, scanned: no, conflicts }
    }

    /// The starts, the places in functions whose address is taken, and what contradicts itself.
    fn run(mut self) -> (Vec<Start>, Vec<u32>, Vec<Conflict>) {
        self.merge();
        self.declare();
        let mut next = 0;
        while next < self.starts.len() {
            self.scan(next);
            next += 1;
        }
        // Addresses outside of the functions found so far are functions of their own.
        let certain: Vec<u32> =
            (0..).zip(&self.is_start).filter(|(_, start)| **start).map(|(at, _)| at).collect();
        let mut ends: Vec<u32> = alloc::vec![0; certain.len()];
        for start in &self.starts {
            let at = certain.partition_point(|&slot| slot < start.slot);
            let next = certain.get(at + 1).copied().unwrap_or(slots(self.insns));
            ends[at] = start.end.unwrap_or(next).min(next);
        }
        let in_function = |slot: u32| {
            let before = certain.partition_point(|&start| start <= slot);
            before > 0 && slot < ends[before - 1]
        };
        let (labels, addresses) = (core::mem::take(&mut self.labels), core::mem::take(&mut self.addresses));
        let (entered, outside): (Vec<u32>, Vec<u32>) =
            addresses.into_iter().partition(|&slot| in_function(slot));
        for slot in labels.into_iter().filter(|&slot| !in_function(slot)).chain(outside) {
            self.add(Start::new(slot, Evidence::Address));
        }
        while next < self.starts.len() {
            self.scan(next);
            next += 1;
        }
        if self.starts.is_empty() && !self.insns.is_empty() {
            self.add(Start::new(0, Evidence::Nothing));
        }
        self.starts.sort_by_key(|start| start.slot);
        (self.starts, entered, self.conflicts)
    }

    /// Makes one of the starts at one slot, with the best evidence.
    fn merge(&mut self) {
        let mut merged: Vec<Start> = Vec::new();
        for start in core::mem::take(&mut self.starts) {
            match merged.last_mut().filter(|last| last.slot == start.slot) {
                Some(last) => {
                    if let (Some(one), Some(other)) = (last.end, start.end)
                        && one != other
                    {
                        self.conflicts.push(Conflict {
                            slot: start.slot,
                            evidence: start.evidence,
                            inside: start.slot,
                        });
                    }
                    last.end = last.end.max(start.end);
                }
                None => merged.push(start),
            }
        }
        for start in &merged {
            self.is_start.set(start.slot as usize, true);
        }
        self.starts = merged;
    }

    /// Notes which slots belong to which function by the size of its symbol, and the starts inside of others.
    fn declare(&mut self) {
        let mut outer = (NO_FUNCTION, 0);
        for start in &self.starts {
            if start.slot < outer.1 {
                self.conflicts.push(Conflict { slot: start.slot, evidence: start.evidence, inside: outer.0 });
            }
            let Some(end) = start.end else { continue };
            // What an earlier function has declared already is not gone through again.
            let from = start.slot.max(outer.1).min(end);
            self.declared[from as usize..end as usize].fill(start.slot);
            if end > outer.1 {
                outer = (start.slot, end);
            }
        }
    }

    fn add(&mut self, start: Start) {
        if !self.is_start.replace(start.slot as usize, true) {
            let inside = self.declared[start.slot as usize];
            if inside != NO_FUNCTION {
                self.conflicts.push(Conflict { slot: start.slot, evidence: start.evidence, inside });
            }
            self.starts.push(start);
        }
    }

    /// Finds the calls in the function that start `index` is of. Each slot is gone through once in all.
    fn scan(&mut self, index: usize) {
        let Start { slot, end, .. } = self.starts[index];
        let end = end.map_or(self.insns.len(), |end| end as usize);
        let mut at = slot as usize;
        while at < end && !self.scanned[at] && (at == slot as usize || !self.is_start[at]) {
            // What comes after bytes that are no instruction is not to be trusted.
            let Ok(len) = check_insn(self.insns, at, FRAME_POINTER) else { break };
            self.scanned.set(at, true);
            if let Some(target) = called(self.insns, at).and_then(|target| usize::try_from(target).ok())
                && target < self.insns.len()
            {
                self.add(Start::new(slot_of(target), Evidence::Call));
            }
            at += len;
        }
    }
}

/// Where the call, or the reference to a function, at a slot leads by its displacement.
fn called(insns: &[Insn], at: usize) -> Option<i64> {
    let insn = insns[at];
    let refers = (insn.is_call() && insn.src() == CALL_LOCAL) || (insn.is_wide() && insn.src() == LD_FUNC);
    refers.then(|| i64::from(slot_of(at)) + 1 + i64::from(insn.imm))
}

/// The division of a section into parts.
struct Parts<'a> {
    section: &'a CodeSection,
    starts: &'a [Start],
    subprogs: Vec<u32>,
    kinds: Vec<Part>,
}

impl Parts<'_> {
    fn push(&mut self, start: u32, part: Part) {
        self.subprogs.push(start);
        self.kinds.push(part);
    }

    fn end(&self, part: usize) -> u32 {
        self.subprogs.get(part + 1).copied().unwrap_or(self.section.len())
    }

    fn lay(&mut self) {
        let mut at = 0;
        for (index, start) in self.starts.iter().enumerate() {
            if at < start.slot {
                self.push(at, Part::Between);
            }
            let next = self.starts.get(index + 1).map_or(self.section.len(), |next| next.slot);
            let (end, result) = match start.end {
                Some(end) => (end.min(next), self.analyse(start.slot, end.min(next))),
                None => self.trim(start.slot, next),
            };
            let part = match result {
                Ok(()) => Part::Function(start.evidence),
                // An address may be that of data.
                Err(_) if start.evidence == Evidence::Address => Part::Between,
                Err(error) => Part::LeftAlone(start.evidence, Unanalysed::Flow(error)),
            };
            self.push(start.slot, part);
            at = end;
        }
        if at < self.section.len() || self.kinds.is_empty() {
            self.push(at, Part::Between);
        }
    }

    /// Analyses a function of which no symbol says how long it is: padding behind it, which ends where the next
    /// one starts, is not of it.
    fn trim(&self, start: u32, end: u32) -> (u32, Result<(), CfgError>) {
        let result = self.analyse(start, end);
        if let Err(CfgError::BadInsn(InsnError { at, .. })) = result {
            let rest = &self.section.program.insns[at..end as usize];
            if at > start as usize && rest.iter().all(|insn| insn.code == 0) {
                return (slot_of(at), self.analyse(start, slot_of(at)));
            }
        }
        (end, result)
    }

    /// Whether the slots from `start` to `end` are a function by themselves. O(slots).
    fn analyse(&self, start: u32, end: u32) -> Result<(), CfgError> {
        let insns = &self.section.program.insns[start as usize..end as usize];
        let starts = |slot| self.starts.binary_search_by_key(&slot, |start| start.slot).is_ok();
        let entries = self.section.jump_targets(start..end);
        let (program, errors) = isolated(insns, start, &entries, starts);
        errors.first().map_or(Ok(()), |error| Err(*error))?;
        Cfg::new(&program).map(|_| ()).map_err(|error| in_section(error, start, self.section.len()))
    }

    /// Takes the functions that something leads into the middle of for ones that cannot be analysed.
    fn mark_entered(&mut self, addresses: &[u32]) {
        let mut entered: Vec<u32> = addresses.to_vec();
        for part in 0..self.kinds.len() {
            if !matches!(self.kinds[part], Part::LeftAlone(..)) {
                continue;
            }
            let range = self.subprogs[part]..self.end(part);
            let jumps = displacements(&self.section.program.insns[..range.end as usize], range.start);
            let out = jumps.filter_map(|(_, target)| u32::try_from(target).ok());
            entered.extend(out.filter(|target| *target < self.section.len() && !range.contains(target)));
        }
        for slot in entered {
            let part = self.subprogs.partition_point(|&start| start <= slot).saturating_sub(1);
            if let Part::Function(evidence) = self.kinds[part]
                && self.subprogs[part] != slot
            {
                self.kinds[part] = Part::LeftAlone(evidence, Unanalysed::Entered(slot));
            }
        }
    }
}

/// The instructions of a function that starts at slot `start` as a program of their own, whose calls are like those
/// of functions elsewhere; and the errors of calls that lead to no start of a function, and of `entries` of jump tables,
/// ascending, that lead out of it.
pub(crate) fn isolated(
    insns: &[Insn],
    start: u32,
    entries: &[u32],
    is_start: impl Fn(u32) -> bool,
) -> (Program, Vec<CfgError>) {
    let mut insns = insns.to_vec();
    let mut errors = Vec::new();
    let inside = start..start + slots(&insns);
    // The table is of another function, or of none: one error says so.
    let outside = entries.iter().position(|target| !inside.contains(target));
    errors.extend(outside.map(|entry| CfgError::BadEntry { entry, target: entries[entry] }));
    let insn_array = entries.iter().filter(|target| inside.contains(target));
    let insn_array = insn_array.map(|target| Some(target - start)).collect();
    let mut at = 0;
    while at < insns.len() {
        if let Some(target) = called(&insns, at) {
            let target = target + i64::from(start);
            if !u32::try_from(target).is_ok_and(&is_start) {
                errors.push(CfgError::NoSubprog { at: start + slot_of(at), target });
            }
            insns[at] = insns[at].with_src(if insns[at].is_call() { CALL_KFUNC } else { LD_NUMBER });
        }
        at += insns[at].slots();
    }
    (Program { insns, subprogs: alloc::vec![0], insn_array, ..Program::default() }, errors)
}

/// The slots of valid instructions with a displacement, from `start` on, each with where it leads.
pub(crate) fn displacements(insns: &[Insn], start: u32) -> impl Iterator<Item = (u32, i64)> + use<'_> {
    let mut at = start as usize;
    core::iter::from_fn(move || {
        while at < insns.len() {
            let found = at;
            let valid = check_insn(insns, at, FRAME_POINTER);
            at += valid.unwrap_or(1);
            let insn = &insns[found..];
            if valid.is_ok() && Bpf.fields(insn) != 0 {
                let slot = slot_of(found);
                return Some((slot, i64::from(slot) + Bpf.base(insn, 0) + Bpf.read(insn, 0)));
            }
        }
        None
    })
}

/// The error of a function that starts at slot `start`, in slots of its section, which has `len` of them.
pub(crate) fn in_section(error: CfgError, start: u32, len: u32) -> CfgError {
    match error {
        CfgError::BadInsn(InsnError { at, reason }) => {
            CfgError::BadInsn(InsnError { at: at + start as usize, reason })
        }
        CfgError::OutOfProgram { at, target, .. } => {
            let (at, target) = (at + start, target + i64::from(start));
            match u32::try_from(target).ok().filter(|&target| target < len) {
                Some(target) => CfgError::LeavesSubprog { at, target },
                None => CfgError::OutOfProgram { at, target, slots: len },
            }
        }
        CfgError::IntoInsn { at, target } => CfgError::IntoInsn { at: at + start, target: target + start },
        CfgError::FallsOff { at, subprog } => CfgError::FallsOff { at: at + start, subprog },
        CfgError::NoTable { at } => CfgError::NoTable { at: at + start },
        CfgError::BadEntry { entry, target } => CfgError::BadEntry { entry, target: target + start },
        other => other,
    }
}

/// The slot that an error speaks of.
pub(crate) fn place_of(error: &CfgError) -> Option<u32> {
    match *error {
        CfgError::BadSubprog { start, .. } => start,
        CfgError::BadInsn(InsnError { at, .. }) => u32::try_from(at).ok(),
        CfgError::OutOfProgram { at, .. }
        | CfgError::IntoInsn { at, .. }
        | CfgError::LeavesSubprog { at, .. }
        | CfgError::NoSubprog { at, .. }
        | CfgError::NoTable { at }
        | CfgError::FallsOff { at, .. } => Some(at),
        CfgError::BadLength { .. } | CfgError::BadEntry { .. } => None,
    }
}

fn slots(insns: &[Insn]) -> u32 {
    slot_of(insns.len())
}

/// A section has fewer slots than a `u32` counts.
pub(crate) fn slot_of(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
