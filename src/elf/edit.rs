//! Putting new code into an object, and moving everything that speaks in its positions.
//!
//! A [`Plan`] works all changes out against the object as it is, and can fail; applying it cannot. So
//! an edit that fails leaves the object alone.

use alloc::vec::Vec;

use object::elf;

use super::code::{CodeSection, Relocation};
use super::error::ElfError;
use super::image::{Content, LLVM_ADDRSIG};
use super::moves::{Given, NewCode};
use super::object::{Note, Object};
use super::plan::{Addend, Plan};
use super::text::Name;
use crate::Map;
use crate::bpf::Insn;

/// New code for one code section.
#[derive(Clone, Debug)]
pub struct Edit<'a> {
    /// Which of [`Object::code`].
    pub code: usize,
    /// All of its new code.
    pub insns: Vec<Insn>,
    /// Where the old code went.
    pub map: &'a Map,
}

impl Object<'_> {
    /// Puts new code into one code section. See [`replace_codes`](Object::replace_codes).
    ///
    /// # Errors
    ///
    /// As [`replace_codes`](Object::replace_codes).
    pub fn replace_code(&mut self, code: usize, insns: Vec<Insn>, map: &Map) -> Result<(), ElfError> {
        self.replace_codes(alloc::vec![Edit { code, insns, map }])
    }

    /// Puts new code into some of the code sections, and moves along all that refers to it: symbols,
    /// relocations and the addends in code and data, records of `.BTF.ext`, jump tables.
    ///
    /// - A function begins with all that was prepended to its first instruction, and ends where what
    ///   follows it begins.
    /// - A function of which nothing is left loses its symbols and records; nothing may refer to it.
    /// - Relocations and CO-RE records stay with their instructions, which must be as they were, or be
    ///   deleted; the records go with them then. Line records follow the kernel's rule: the last one of
    ///   a deleted run moves to the next instruction of the function, if that has none.
    /// - What is inserted must be valid instructions ([`check_insn`](crate::bpf::check_insn)), and takes no relocation and
    ///   no CO-RE record along from where it may have been copied. What could be a copy of an instruction with a relocation
    ///   is refused: it would load or call something else.
    /// - Sections for debuggers (`.debug_*`, `.eh_frame`) are dropped if any instruction has moved, see
    ///   [`notes`](Object::notes); or the edit fails, see [`keep_debug`](Object::keep_debug).
    ///
    /// O(size of the edited sections + symbols + relocations of the object), so sections had best be
    /// edited together.
    ///
    /// # Errors
    ///
    /// [`ElfError::NoSuchCode`]; [`ElfError::Insn`] for what is inserted and no valid instruction; [`ElfError::Edit`] if the
    /// map does not go with the code, something would be left that refers to nothing, or an instruction with a relocation was
    /// copied; [`ElfError::Section`] and [`ElfError::Symbol`] for parts of
    /// the object that cannot be moved. The object is then as it was.
    pub fn replace_codes(&mut self, edits: Vec<Edit<'_>>) -> Result<(), ElfError> {
        let new: Vec<_> = edits
            .iter()
            .map(|edit| NewCode {
                code: edit.code,
                insns: &edit.insns,
                map: edit.map,
                given: Given::default(),
            })
            .collect();
        let plan = Plan::new(self, &new)?;
        self.apply(plan, edits.into_iter().map(|edit| (edit.code, edit.insns)).collect());
        self.read_jump_tables();
        self.read_functions()
    }

    /// Puts what was planned into the object, with the new code of the sections in the order of the plan.
    pub(super) fn apply(&mut self, plan: Plan, code: Vec<(usize, Vec<Insn>)>) {
        self.edited |= plan.moved;
        for new in plan.relocs {
            let code = &mut self.code[new.code];
            code.relocations = new.relocs.iter().map(Relocation::from).collect();
            self.image.sections[new.section].content =
                Content::Relocs { of: code.section, relocs: new.relocs };
        }
        for ((index, insns), new) in code.into_iter().zip(plan.code) {
            let code = &mut self.code[index];
            code.program.insns = insns;
            (code.func, code.line, code.core) = (new.func, new.line, new.core);
            code.covered = new.covered;
        }
        let endian = self.image.endian;
        for imm in plan.imms {
            let code = &mut self.code[imm.code];
            match imm.value {
                Addend::Imm(value) => code.insn_mut(imm.slot).imm = value,
                Addend::Data(byte, word) => code.set_bytes(imm.slot, byte, &word.to_bytes(endian)),
            }
        }
        for datum in plan.data {
            if let Content::Data(data) = &mut self.image.sections[datum.section].content {
                let bytes = datum.value.to_bytes(endian);
                data.to_mut()[datum.offset..datum.offset + bytes.len()].copy_from_slice(&bytes);
            }
        }
        for (section, index, addend) in plan.addends {
            if let Content::Relocs { relocs, .. } = &mut self.image.sections[section].content {
                relocs[index].addend = Some(addend);
            }
        }
        for (index, change) in plan.symbols {
            let symbol = &mut self.image.symbols[index];
            if let Some((value, size)) = change {
                (symbol.value, symbol.size) = (value, size);
                continue;
            }
            symbol.dropped = true;
            if symbol.is_function() {
                let function = Name::from(&*self.symbol_name(index));
                self.notes.push(Note::Removed { function });
            }
        }
        self.drop_sections(&plan.dropped);
    }

    /// Drops sections, and what names their symbols by numbers that change with that.
    fn drop_sections(&mut self, dropped: &[usize]) {
        for &index in dropped {
            self.drop_section(index);
        }
        for symbol in &mut self.image.symbols {
            symbol.dropped |= symbol.section.is_some_and(|index| self.image.sections[index].dropped);
        }
        if self.image.symbols.iter().any(|symbol| symbol.dropped) {
            for index in 0..self.image.sections.len() {
                let section = &self.image.sections[index];
                let signature = match section.content {
                    Content::Group { signature, .. } => Some(&self.image.symbols[signature]),
                    _ => None,
                };
                if section.kind == LLVM_ADDRSIG.0 || signature.is_some_and(|symbol| symbol.dropped) {
                    self.drop_section(index);
                }
            }
        }
    }

    fn drop_section(&mut self, index: usize) {
        if let Content::Group { members, .. } = &self.image.sections[index].content {
            for member in members.clone() {
                self.image.sections[member].flags &= !elf::SHF_GROUP.0;
            }
        }
        if !core::mem::replace(&mut self.image.sections[index].dropped, true) {
            self.notes.push(Note::Dropped { section: self.section_name(index) });
        }
    }
}

impl CodeSection {
    /// Pins anew what a loader will rewrite, and stand-ins.
    pub(crate) fn pin_all(&mut self) {
        self.program.pinned.clear();
        self.program.pinned.resize(self.program.insns.len(), false);
        let relocated: Vec<u32> = self.relocations.iter().map(|relocation| relocation.slot).collect();
        let adapted: Vec<u32> = self.core.slots(self.endian).collect();
        for slot in relocated.into_iter().chain(adapted) {
            self.pin(slot);
        }
        for covered in &self.covered {
            self.program.pinned[covered.range()].fill(true);
        }
    }
}
