//! [`Change`]: all that an [`ObjectEditor`] changes, worked out before anything is changed.

use alloc::vec::Vec;

use super::code::{CodeEditor, Given};
use super::{Added, ObjectEditor, Reference, SymbolId, code_error};
use crate::bpf::opcode::{CALL_KFUNC, LD_NUMBER};
use crate::bpf::{Cpu, EditError, Edited, Program};
use crate::core::{Handle, Map};
use crate::elf::code::{CoreRelo, R_BPF_64_32, R_BPF_64_64};
use crate::elf::image::Reloc;
use crate::elf::moves::{self, NewCode};
use crate::elf::plan::Plan;
use crate::elf::{CodeChange, ElfError, Object};

/// All that an edit changes in an object, for [`Object::commit`].
pub struct Change {
    /// The state of the object that it was worked out for.
    pub(super) version: u64,
    pub(super) plan: Plan,
    /// In the order of the code sections.
    pub(super) sections: Vec<ChangedSection>,
    pub(super) added: Added,
    /// What is done to each code section of the object, if that is recorded.
    pub(super) changes: Vec<CodeChange>,
    /// The new bytes of `.BTF`, and where old bytes moved to.
    pub(super) btf: Option<super::types::NewBtf>,
}

/// New code of a section, with all that stands in its positions.
pub(super) struct ChangedSection {
    /// The number of the code section.
    pub(super) code: usize,
    pub(super) program: Program,
    pub(super) map: Map,
    pub(super) lengthened: u32,
    pub(super) relocs: Vec<Reloc>,
    pub(super) core: Vec<CoreRelo>,
    /// The name of the section, as an offset into the strings of `.BTF`, if there is any.
    pub(super) name: Option<u32>,
}

/// What [`Object::commit`] did.
#[derive(Debug)]
#[non_exhaustive]
pub struct Committed {
    /// For each code section that was edited, its number and where its old code went, in the order of the numbers.
    pub maps: Vec<(usize, Map)>,
    /// How many branches no longer reached, and took a longer form.
    pub lengthened: u32,
    /// What was done to each code section that the file has, if that was [recorded](ObjectEditor::record_changes).
    pub changes: Vec<CodeChange>,
}

/// What instructions of a section refer to, at their new slots.
#[derive(Default)]
struct Resolved {
    relocs: Vec<Reloc>,
    core: Vec<(u32, u32, alloc::string::String, u32)>,
    released: Vec<u32>,
    copies: Vec<(u32, u32)>,
    referring: Vec<u32>,
}

impl ObjectEditor<'_, '_> {
    /// Works out all that the edits change. The object is as it was until the change is
    /// [committed](Object::commit), and can then be written.
    ///
    /// O(size of the edited code sections + symbols + relocations of the object).
    ///
    /// # Errors
    ///
    /// [`ElfError::Code`] if the edits of a section do not fit together; [`ElfError::Edit`] if something would be left
    /// that refers to nothing, or an instruction cannot have the reference that it was given; [`ElfError::Section`] and
    /// [`ElfError::Symbol`] for parts of the object that cannot be moved.
    pub fn finish(mut self) -> Result<Change, ElfError> {
        let (object, cpu) = (self.object, self.cpu);
        let mut sections = Vec::new();
        let mut resolved = Vec::new();
        let mut changes = Vec::new();
        for (index, place) in self.code.iter_mut().enumerate() {
            let Some(editor) = place else { continue };
            let name = object.code.get(index).map_or("", |code| code.name());
            let fail = |error| code_error(name, error);
            let Edited { mut program, map, lengthened, added } = editor.finish(cpu).map_err(fail)?;
            if editor.references.is_empty() && added.is_empty() && is_same(&program, editor.program()) {
                continue;
            }
            let references = resolve(editor, &mut program, &map, name)?;
            if let Some(code) = object.code.get(index).filter(|_| self.records_changes) {
                let old = &editor.program().insns;
                changes.push(CodeChange::of_code(
                    code.section_index(),
                    old,
                    editor.list(),
                    &map,
                    &program.insns,
                ));
            }
            let functions: Vec<_> = self
                .added
                .functions
                .iter()
                .filter(|function| function.code == index)
                .map(|function| function.symbol)
                .collect();
            for (symbol, start) in functions.into_iter().zip(&added) {
                self.added.place_function(object, symbol, *start, &program);
            }
            let tail = added.iter().copied().flatten().next();
            resolved.push((references, tail));
            sections.push(ChangedSection {
                code: index,
                program,
                map,
                lengthened,
                relocs: Vec::new(),
                core: Vec::new(),
                name: None,
            });
        }
        let of_object =
            sections.iter().zip(&resolved).filter(|(section, _)| section.code < object.code.len());
        let edits: Vec<NewCode<'_>> = of_object
            .map(|(section, (references, tail))| NewCode {
                code: section.code,
                insns: &section.program.insns,
                map: &section.map,
                given: moves::Given {
                    tail: *tail,
                    released: &references.released,
                    copies: &references.copies,
                    referring: &references.referring,
                },
            })
            .collect();
        let plan = Plan::new(object, &edits)?;
        for (section, (references, _)) in sections.iter_mut().zip(resolved) {
            section.relocs = references.relocs;
            for (slot, type_id, access, kind) in references.core {
                let access = self.types.string(&access);
                section.core.push(CoreRelo { slot, type_id, access, kind });
            }
            let has_records = !(section.program.func_info.is_empty()
                && section.program.line_info.is_empty()
                && section.core.is_empty());
            if has_records {
                let name = self.section_name(section.code);
                section.name = Some(self.types.string(&name));
            }
        }
        let btf = if self.types.is_changed() { Some(self.types.to_bytes()?) } else { None };
        Ok(Change { version: object.version, plan, sections, added: self.added, changes, btf })
    }

    fn section_name(&self, code: usize) -> alloc::string::String {
        let first = self.object.code.len();
        if let Some(code) = self.object.code.get(code) {
            return code.name().into();
        }
        let section = self.added.code[code - first];
        let sections = &self.object.image.sections;
        let name = match section.checked_sub(sections.len()) {
            Some(new) => &self.added.sections[new].name,
            None => &sections[section].name,
        };
        alloc::string::String::from_utf8_lossy(name).into_owned()
    }
}

impl CodeEditor<'_> {
    fn finish(&mut self, cpu: Cpu) -> Result<Edited<()>, EditError> {
        self.editor.finish(cpu)
    }
}

impl Added {
    /// Gives a function that was added its place, or drops its symbol if its code was deleted again.
    fn place_function(&mut self, object: &Object<'_>, id: SymbolId, start: Option<u32>, program: &Program) {
        let symbol = &mut self.symbols[id.0 - object.image.symbols.len()];
        let Some(start) = start else {
            symbol.dropped = true;
            return;
        };
        let next = program.subprogs.iter().find(|&&next| next > start);
        let end = next.map_or(program.insns.len() as u64, |&next| next.into());
        (symbol.value, symbol.size) = (u64::from(start) * 8, (end - u64::from(start)) * 8);
    }
}

/// Whether two programs have the same code, functions and lines.
fn is_same(one: &Program, other: &Program) -> bool {
    one.insns == other.insns
        && one.subprogs == other.subprogs
        && one.func_info == other.func_info
        && one.line_info == other.line_info
}

/// Finds the new places of what was given references, and prepares their instructions for it.
fn resolve(
    editor: &CodeEditor<'_>,
    program: &mut Program,
    map: &Map,
    section: &str,
) -> Result<Resolved, ElfError> {
    let mut resolved = Resolved::default();
    for (&at, given) in &editor.references {
        if at < map.old_len() {
            resolved.released.push(at);
        }
        let Some(new) = map.position_of_handle(Handle::new(at)) else { continue };
        resolved.referring.push(new);
        let reference = match given {
            Given::Reference(reference) => reference,
            Given::Original(from) => {
                resolved.copies.push((*from, new));
                continue;
            }
        };
        let fail =
            |reason| ElfError::Edit { section: section.into(), slot: map.origin(new).position(), reason };
        let at = new as usize;
        let insns = &mut program.insns[at..];
        match reference {
            Reference::Address { symbol, offset } => {
                let [low, high, ..] = insns else { return Err(fail(NOT_WIDE)) };
                if !low.is_wide() || low.src() != LD_NUMBER {
                    return Err(fail(NOT_WIDE));
                }
                if *offset < 0 {
                    return Err(fail("an address before its symbol"));
                }
                (low.imm, high.imm) = (*offset, 0);
                resolved.relocs.push(Reloc {
                    offset: u64::from(new) * 8,
                    symbol: symbol.0,
                    kind: R_BPF_64_64,
                    addend: None,
                });
            }
            Reference::Call { symbol } => {
                let insn = &mut insns[0];
                if !insn.is_call() || insn.src() == crate::bpf::opcode::CALL_LOCAL {
                    return Err(fail(
                        "only a call that is none by displacement can refer to a function by its symbol",
                    ));
                }
                *insn = insn.with_src(CALL_KFUNC);
                insn.imm = -1;
                resolved.relocs.push(Reloc {
                    offset: u64::from(new) * 8,
                    symbol: symbol.0,
                    kind: R_BPF_64_32,
                    addend: None,
                });
            }
            Reference::Core { type_id, access, kind } => {
                resolved.core.push((new, *type_id, access.clone(), *kind));
            }
        }
    }
    resolved.copies.sort_unstable();
    resolved.referring.sort_unstable();
    Ok(resolved)
}

const NOT_WIDE: &str = "only an `ld_imm64` of a number can refer to an address";
