//! [`Object::check`]: all that is wrong with an object that could be read.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::ops::Range;

use super::code::{CodeSection, R_BPF_64_32};
use super::functions::{Conflict, Part, Unanalysed, in_section, isolated, place_of, slot_of};
use super::object::{Object, Referent};
use super::refs::{Reachable, SubprogramId};
use super::text::Text;
use crate::bpf::opcode::{FRAME_POINTER, LD_NUMBER, LDX, ST, STX};
use crate::bpf::{Cfg, CfgError, Insn, InsnError, Program, check_insn};

/// Something that is wrong, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Finding {
    /// Which of [`Object::code`].
    pub code: usize,
    /// Where in it, in slots. [`Object::place`] says it in words.
    pub slot: u32,
    /// What is wrong.
    pub message: String,
}

/// How many findings about control flow one section gets: each one costs a walk through it.
const MAX_FLOW: usize = 32;

impl Object<'_> {
    /// Finds what libbpf or the kernel would refuse without a look at what the code does: encodings, jumps and calls,
    /// relocations to code, and records of `.BTF.ext`.
    ///
    /// O(size of the object), but for a walk through the section for each of the first findings about its
    /// control flow.
    #[must_use]
    pub fn check(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let loaded = self.loaded();
        for (code, section) in self.code().iter().enumerate() {
            let mut search = Search { object: self, code, section, findings: &mut findings };
            search.check_boundaries();
            search.check_code(&loaded);
            search.check_relocations(&loaded);
            search.check_func_info();
            search.check_line_info();
            search.check_core();
        }
        findings
    }
}

/// The search in one code section.
struct Search<'a> {
    object: &'a Object<'a>,
    code: usize,
    section: &'a CodeSection,
    findings: &'a mut Vec<Finding>,
}

impl Search<'_> {
    fn add(&mut self, slot: u32, message: impl Into<String>) {
        self.findings.push(Finding { code: self.code, slot, message: message.into() });
    }

    /// Evidence about functions that contradicts itself.
    fn check_boundaries(&mut self) {
        for conflict in &self.section.conflicts {
            let Conflict { slot, evidence, inside } = *conflict;
            let name = Text::new(self.section.function_name(inside).unwrap_or_default());
            let message = if inside == slot {
                format!("function {name} has two sizes")
            } else {
                format!(
                    "a function starts here by {evidence}, inside of function {name}, which starts at slot {inside}"
                )
            };
            self.add(slot, message);
        }
    }

    /// Encodings, jumps and calls, ends of functions.
    ///
    /// Only functions that are left alone can have anything wrong. Those that no program refers to are never
    /// loaded, so what is wrong with them is told by a note alone.
    fn check_code(&mut self, loaded: &Reachable) {
        let mut flow = 0;
        for (subprogram, part) in self.section.parts().iter().enumerate() {
            let Part::LeftAlone(_, Unanalysed::Flow(_)) = part else { continue };
            if loaded.is_reached(SubprogramId { code: self.code, subprogram }) {
                self.check_function(self.section.subprogram_range(subprogram), &mut flow);
            }
        }
    }

    /// A graph of control flow stops at the first thing that is wrong. So each one is noted, taken out of
    /// a copy of the code in such a way that nothing else goes wrong by that, and looked for again.
    fn check_function(&mut self, range: Range<u32>, flow: &mut usize) {
        let section = self.section;
        let Some(covered) = section.covered_at(range.start) else { return };
        let entries = section.jump_targets(range.clone());
        let (mut program, errors) =
            isolated(&covered.insns, range.start, &entries, |slot| section.starts_function(slot));
        let mut at = 0;
        while at < program.insns.len() {
            match check_insn(&program.insns, at, FRAME_POINTER) {
                Ok(slots) => at += slots,
                Err(InsnError { reason, .. }) => {
                    self.add(range.start + slot_of(at), reason.to_string());
                    program.insns[at] = Insn::exit();
                    at += 1;
                }
            }
        }
        for error in errors {
            self.add(place_of(&error).unwrap_or(range.start), error.to_string());
        }
        while let Err(error) = Cfg::new(&program) {
            *flow += 1;
            if *flow > MAX_FLOW {
                if *flow == MAX_FLOW + 1 {
                    self.add(0, format!("only the first {MAX_FLOW} findings about control flow are told"));
                }
                return;
            }
            let told = in_section(error, range.start, section.len());
            self.add(place_of(&told).unwrap_or(range.start), Unanalysed::Flow(told).to_string());
            if let CfgError::BadEntry { entry, .. } = error {
                program.insn_array[entry] = None;
                continue;
            }
            let Some(at) = place_of(&error) else { return };
            take_out(&mut program, at, matches!(error, CfgError::FallsOff { .. }));
        }
    }

    fn check_relocations(&mut self, loaded: &Reachable) {
        for relocation in self.section.relocations().iter().filter(|of| !self.section.is_data(of)) {
            if let Some(reason) = self.object.leads_beyond(self.code, relocation) {
                let id =
                    SubprogramId { code: self.code, subprogram: self.section.subprogram_at(relocation.slot) };
                if loaded.is_reached(id) {
                    self.add(relocation.slot, reason);
                }
            }
            let Referent::Code { code, slot } = self.object.referent(self.code, relocation) else { continue };
            let target = &self.object.code()[code];
            let of_object = self.object.is_object(relocation.symbol);
            if !target.starts_function(slot) && !of_object {
                let what = if relocation.kind == R_BPF_64_32 { "calls" } else { "takes the address of" };
                let name = &target.name;
                self.add(
                    relocation.slot,
                    format!(
                        "its relocation {what} slot {slot} of section {name:?}, where no function starts"
                    ),
                );
            }
        }
    }

    /// The kernel's rules in `check_btf_func`.
    fn check_func_info(&mut self) {
        let records: Vec<_> = self.section.func_info().collect();
        let Some(btf) = self.object.btf().filter(|_| !records.is_empty()) else { return };
        for (index, record) in records.iter().enumerate() {
            if index != 0 && record.slot <= records[index - 1].slot {
                self.add(record.slot, "its function record is out of order");
            }
            if btf.function(record.type_id).is_none() {
                let id = record.type_id;
                self.add(record.slot, format!("its function record names type {id}, which is no function"));
            }
        }
        let mut slots: Vec<u32> = records.iter().map(|record| record.slot).collect();
        slots.sort_unstable();
        for &slot in slots.iter().filter(|&&slot| !self.section.starts_function(slot)) {
            self.add(slot, "a function record where no function starts");
        }
        for start in self.section.starts().filter(|start| slots.binary_search(start).is_err()) {
            self.add(start, "no function record, though other functions of the section have one");
        }
    }

    /// The kernel's rules in `check_btf_line`.
    fn check_line_info(&mut self) {
        let records: Vec<_> = self.section.line_info().collect();
        let Some(btf) = self.object.btf().filter(|_| !records.is_empty()) else { return };
        for (index, record) in records.iter().enumerate() {
            if index != 0 && record.slot <= records[index - 1].slot {
                self.add(record.slot, "its line record is out of order");
            }
            if btf.string(record.file_name).is_none() || btf.string(record.text).is_none() {
                self.add(record.slot, "its line record names a string that is not there");
            }
        }
        let mut slots: Vec<u32> = records.iter().map(|record| record.slot).collect();
        slots.sort_unstable();
        for start in self.section.starts().filter(|start| slots.binary_search(start).is_err()) {
            self.add(start, "no line record for the start of a function, though others have one");
        }
    }

    /// What libbpf makes of CO-RE records (`bpf_core_parse_spec`, `bpf_core_patch_insn`).
    fn check_core(&mut self) {
        let Some(btf) = self.object.btf() else { return };
        for record in self.section.core_relos() {
            if !btf.fits(&record) {
                let id = record.type_id;
                self.add(record.slot, format!("its CO-RE record does not fit type {id}"));
            }
            let insn = self.section.insn(record.slot);
            let loads = insn.is_wide() && insn.src() == LD_NUMBER;
            if !(loads || matches!(insn.class(), LDX | ST | STX) || (insn.is_alu() && !insn.is_reg())) {
                self.add(record.slot, "a CO-RE record for an instruction that has nothing to adapt");
            }
        }
    }
}

/// Makes the instruction at `at` one that goes on in the same way, but refers to nothing.
fn take_out(program: &mut Program, at: u32, end: bool) {
    let at = at as usize;
    let insn = program.insns[at];
    let substitute = if end || insn.ends_flow() { Insn::exit() } else { Insn::mov64_imm(0, 0) };
    let slots = insn.slots().min(program.insns.len() - at);
    program.insns[at..at + slots].fill(substitute);
}
