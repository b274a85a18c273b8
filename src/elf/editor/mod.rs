//! [`ObjectEditor`]: an object under edit: all its code, what the code refers to, and what is added to it.

mod add;
mod change;
mod code;
mod commit;
mod reference;
mod types;

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use object::elf;

pub use self::add::{AddedFunction, DATA_SECTION, Data, Extern, ExternKind, FunctionDef, MapDef};
pub use self::change::{Change, Committed};
pub use self::code::CodeEditor;
pub use self::reference::{Reference, SymbolId};
pub use self::types::Types;
use self::types::{DataSection, Linkage};
use super::ElfError;
use super::image::{Content, Image, Section, Symbol};
use super::object::Object;
use crate::bpf::{Cpu, EditError, Insn, LineInfo, Program};
use crate::core::{Arena, Patch};

/// The section that kernel symbols are listed in, in BTF only.
const KSYMS: &str = ".ksyms";
const MAPS: &str = ".maps";

/// An object under edit: a transaction over all its code sections at once.
///
/// The object is borrowed and stays as it is. [`finish`](ObjectEditor::finish) works out everything that changes, and
/// may fail; [`Object::commit`] puts the change into the object, and cannot fail half-way.
///
/// Code is edited by the [`CodeEditor`] of its section; its references are relocations and CO-RE records. Variables,
/// maps, functions and kernel symbols are added with the symbols and types that loaders look for: types of BTF and
/// strings are appended, and no id or offset changes.
///
/// ```no_run
/// use relinear::bpf::{Insn, opcode::DW};
/// use relinear::elf::{Data, Object, Reference};
/// use relinear::{Arena, Handle, Patch};
///
/// // Counts how often each code section is entered at its start.
/// let file = std::fs::read("prog.o")?;
/// let mut object = Object::parse(&file)?;
/// let arena = Arena::new();
/// let mut edit = object.edit(&arena);
/// for index in 0..edit.object().code().len() {
///     let hits = edit.add_data(&Data::zeroed(&format!("hits{index}"), 8))?;
///     let [low, high] = Insn::ld_imm64(0, 0);
///     let count = [low, high, Insn::ldx(DW, 2, 0, 0)];
///     let code = edit.code(index)?;
///     let new = code.list().prepend_fallthrough(Handle::new(0), Patch::new(&count))?;
///     code.refer(new.at(0), Reference::address(hits, 0))?;
/// }
/// let change = edit.finish()?;
/// object.commit(change)?;
/// std::fs::write("counted.o", object.write()?)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ObjectEditor<'o, 'd> {
    object: &'o Object<'d>,
    arena: &'o Arena,
    cpu: Cpu,
    /// For each code section its editor, once it is edited; those of the object come first, then those that were added.
    code: Vec<Option<CodeEditor<'o>>>,
    types: Types<'o>,
    added: Added,
    records_changes: bool,
}

/// What is added to an object. An index of a section or a symbol counts from those of the object on.
#[derive(Default)]
struct Added {
    sections: Vec<Section<'static>>,
    symbols: Vec<Symbol<'static>>,
    /// What is appended to sections of the object, and how they are to be aligned.
    tails: BTreeMap<usize, Tail>,
    /// The sections of the code sections that were added.
    code: Vec<usize>,
    functions: Vec<AddedFunction>,
}

#[derive(Default)]
struct Tail {
    bytes: Vec<u8>,
    align: u64,
}

impl<'d> Object<'d> {
    /// Begins to edit the object. O(code sections); a code section is looked at when it is edited.
    ///
    /// What edits insert is kept in `arena`, which serves one object after the other.
    #[must_use]
    pub fn edit<'o>(&'o self, arena: &'o Arena) -> ObjectEditor<'o, 'd> {
        ObjectEditor {
            object: self,
            arena,
            cpu: Cpu::V4,
            code: self.code.iter().map(|_| None).collect(),
            types: Types::new(self.btf.as_ref(), self.image.endian),
            added: Added::default(),
            records_changes: false,
        }
    }
}

impl<'o, 'd> ObjectEditor<'o, 'd> {
    /// The object as it was.
    #[must_use]
    pub fn object(&self) -> &'o Object<'d> {
        self.object
    }

    /// Jumps that no longer reach take what this processor has for them; [`Cpu::V4`] if nothing is said.
    pub fn set_cpu(&mut self, cpu: Cpu) {
        self.cpu = cpu;
    }

    /// Whether [`Committed::changes`] is to say what was done to each code section, for [`verify`](super::verify()). It
    /// costs a copy of the new code. If nothing is said, it does not.
    pub fn record_changes(&mut self, record: bool) {
        self.records_changes = record;
    }

    /// Whether the code section was asked for, to be edited. O(1).
    #[must_use]
    pub fn is_open(&self, code: usize) -> bool {
        self.code.get(code).is_some_and(Option::is_some)
    }

    /// The code of a section, to edit: one of [`Object::code`], or one that was added.
    ///
    /// O(1), but for the first time: O(slots + records).
    ///
    /// # Errors
    ///
    /// [`ElfError::NoSuchCode`]; [`ElfError::Code`] if the code cannot be edited.
    pub fn code(&mut self, code: usize) -> Result<&mut CodeEditor<'o>, ElfError> {
        let count = self.code.len();
        let place = self.code.get_mut(code).ok_or(ElfError::NoSuchCode { index: code, count })?;
        if place.is_none() {
            let section = self.object.code.get(code);
            let program = section.map_or(NO_CODE, |section| &section.program);
            let fail = |error| code_error(section.map_or("", |section| section.name()), error);
            *place = Some(CodeEditor::new(program, self.arena).map_err(fail)?);
        }
        place.as_mut().ok_or(ElfError::NoSuchCode { index: code, count })
    }

    /// The types of the object, to add some to.
    #[must_use]
    pub fn types(&mut self) -> &mut Types<'o> {
        &mut self.types
    }

    /// The symbol of that name, of the object or added. O(symbols).
    #[must_use]
    pub fn symbol(&self, name: &str) -> Option<SymbolId> {
        let first = self.object.image.symbols.len();
        let added = self.added.symbols.iter().position(|symbol| *symbol.name == *name.as_bytes());
        added.map(|index| SymbolId(first + index)).or_else(|| Some(self.object.symbol(name)?.id()))
    }

    /// Adds a variable. O(its bytes + sections + symbols).
    ///
    /// # Errors
    ///
    /// [`ElfError::Add`] if the name is taken or is none, the section is no section of data, or is one of zeroes and the
    /// bytes are not.
    pub fn add_data(&mut self, data: &Data<'_>) -> Result<SymbolId, ElfError> {
        let fail = |reason| ElfError::add(data.name, reason);
        self.check_name(data.name)?;
        if !data.align.is_power_of_two() || data.align > 1 << 12 {
            return Err(fail("its alignment is no power of two up to 4096"));
        }
        if data.bytes.is_empty() {
            return Err(fail("a variable without bytes"));
        }
        let section = if let Some(section) = self.find_section(data.section) {
            section
        } else {
            let write = if data.section.starts_with(".rodata") { 0 } else { elf::SHF_WRITE.0 };
            let kind = if data.section.starts_with(".bss") { elf::SHT_NOBITS } else { elf::SHT_PROGBITS };
            self.add_section(data.section, kind.0, elf::SHF_ALLOC.0 | write, data.align)?
        };
        let offset = self.append(section, &data.bytes, data.align).map_err(fail)?;
        let size = data.bytes.len() as u64;
        let described = self.types.find_section(data.section);
        if described.is_some() || data.described {
            let (at, len, total) = (narrow(offset)?, narrow(size)?, narrow(offset + size)?);
            let type_id = self.types.bytes(len);
            let variable = self.types.variable(data.name, type_id, Linkage::of(data.global));
            let list: DataSection = described.unwrap_or_else(|| self.types.section(data.section));
            self.types.enter(list, variable, at, len, Some(total));
        }
        Ok(self.add_symbol(data.name, elf::STT_OBJECT, bind(data.global), Some(section), (offset, size)))
    }

    /// Adds a map, as BTF defines maps. O(sections + symbols).
    ///
    /// # Errors
    ///
    /// [`ElfError::Add`] if the name is taken or is none.
    pub fn add_map(&mut self, map: &MapDef<'_>) -> Result<SymbolId, ElfError> {
        let fail = |reason| ElfError::add(map.name, reason);
        self.check_name(map.name)?;
        let definition = self.map_type(map);
        let section = match self.find_section(MAPS) {
            Some(section) => section,
            None => self.add_section(MAPS, elf::SHT_PROGBITS.0, elf::SHF_ALLOC.0 | elf::SHF_WRITE.0, 8)?,
        };
        let size = u64::from(definition.size);
        let zeroes = alloc::vec![0; definition.size as usize];
        let offset = self.append(section, &zeroes, 8).map_err(fail)?;
        let variable = self.types.variable(map.name, definition.id, Linkage::Global);
        let list = self.types.section(MAPS);
        let total = Some(narrow(offset + size)?);
        self.types.enter(list, variable, narrow(offset)?, definition.size, total);
        Ok(self.add_symbol(map.name, elf::STT_OBJECT, elf::STB_GLOBAL, Some(section), (offset, size)))
    }

    /// Adds a function at the end of a code section: a static one that code of the object then calls by its symbol, or a
    /// global one. Its instructions are those of the patch; references are given to them by [`code`](Self::code).
    ///
    /// O(slots of the patch + sections + symbols).
    ///
    /// # Errors
    ///
    /// [`ElfError::Add`] if the name is taken or is none; as [`code`](Self::code); [`ElfError::Code`] as
    /// [`List::prepend`](crate::List::prepend).
    pub fn add_function(
        &mut self,
        function: &FunctionDef<'_>,
        patch: Patch<'_, Insn>,
    ) -> Result<AddedFunction, ElfError> {
        let fail = |reason| ElfError::add(function.name, reason);
        self.check_name(function.name)?;
        if function.params > 5 {
            return Err(fail("a function of more than 5 arguments"));
        }
        let (code, section) = self.code_section(function.section)?;
        let (has_types, has_lines) = self.records();
        let type_id = has_types.then(|| {
            let prototype = self.types.plain_prototype(function.params, 'a');
            self.types.function(function.name, prototype, Linkage::of(function.global))
        });
        let line = has_lines.then(|| LineInfo {
            file_name_off: self.types.string("relinear"),
            line_off: self.types.string(function.name),
            line_col: 1 << 10,
            insn_off: 0,
        });
        let editor = self.code(code)?;
        let fail = |error| code_error(function.section, EditError::Core(error));
        let inserted = editor.add_subprog(patch, type_id).map_err(fail)?;
        if let Some(line) = line {
            editor.set_line(inserted.first(), line).map_err(fail)?;
        }
        let symbol =
            self.add_symbol(function.name, elf::STT_FUNC, bind(function.global), Some(section), (0, 0));
        let added = AddedFunction { symbol, code, first: inserted.first(), inserted };
        self.added.functions.push(added);
        Ok(added)
    }

    /// Adds a symbol of the kernel's, or finds it if the object has it already. O(symbols).
    ///
    /// # Errors
    ///
    /// [`ElfError::Add`] if the name is none, or the object defines it.
    pub fn add_extern(&mut self, wanted: &Extern<'_>) -> Result<SymbolId, ElfError> {
        if let Some(found) = self.symbol(wanted.name) {
            let known = self.image_symbol(found).is_some_and(|symbol| symbol.section.is_none());
            return if known { Ok(found) } else { Err(ElfError::add(wanted.name, "the object defines it")) };
        }
        self.check_name(wanted.name)?;
        let (entry, size) = match wanted.kind {
            ExternKind::Function { params } => {
                let prototype = self.types.plain_prototype(params, 'a');
                (self.types.function(wanted.name, prototype, Linkage::Extern), 0)
            }
            ExternKind::Prototype { type_id } => {
                (self.types.function(wanted.name, type_id, Linkage::Extern), 0)
            }
            ExternKind::Variable { type_id } => {
                let of = if type_id == 0 { self.types.constant(0) } else { type_id };
                (self.types.variable(wanted.name, of, Linkage::Extern), 0)
            }
        };
        let list = self.types.section(KSYMS);
        self.types.enter(list, entry, 0, size, None);
        let bind = if wanted.weak { elf::STB_WEAK } else { elf::STB_GLOBAL };
        Ok(self.add_symbol(wanted.name, elf::STT_NOTYPE, bind, None, (0, 0)))
    }

    /// The structure that defines a map, and its size in bytes.
    fn map_type(&mut self, map: &MapDef<'_>) -> Definition {
        let int = self.types.int("int", 4, true);
        let mut members: Vec<(&str, u32)> = Vec::new();
        for (name, value) in [
            ("type", map.kind),
            ("key_size", if map.key_type.is_some() { 0 } else { map.key_size }),
            ("value_size", if map.value_type.is_some() { 0 } else { map.value_size }),
            ("max_entries", map.max_entries),
            ("map_flags", map.map_flags),
            ("numa_node", map.numa_node),
            ("pinning", map.pinning),
            ("map_extra", map.map_extra),
        ] {
            if value != 0 {
                let array = self.types.array(int, value);
                members.push((name, self.types.pointer(array)));
            }
        }
        for (name, type_id) in [("key", map.key_type), ("value", map.value_type)] {
            members.extend(type_id.map(|type_id| (name, self.types.pointer(type_id))));
        }
        let mut size = u32::try_from(members.len() * 8).unwrap_or(u32::MAX);
        if let Some(inner) = &map.inner {
            let inner = self.map_type(inner).id;
            let pointer = self.types.pointer(inner);
            members.push(("values", self.types.array(pointer, 0)));
        }
        let placed: Vec<(&str, u32, u32)> = (0..)
            .step_by(64)
            .zip(&members)
            .map(|(offset, &(name, type_id))| (name, type_id, offset))
            .collect();
        if size == 0 {
            size = 8;
        }
        Definition { id: self.types.structure("", size, &placed), size }
    }

    /// Whether the functions of the object have types, and whether its code has lines.
    fn records(&self) -> (bool, bool) {
        let programs = || self.object.code.iter().map(|code| &code.program);
        let types = programs().any(|program| !program.func_info.is_empty());
        (types, programs().any(|program| !program.line_info.is_empty()))
    }

    fn check_name(&self, name: &str) -> Result<(), ElfError> {
        let fail = |reason| Err(ElfError::add(name, reason));
        if name.is_empty() || name.contains('\0') {
            return fail("no name for a symbol");
        }
        if self.symbol(name).is_some() { fail("there is a symbol of that name already") } else { Ok(()) }
    }

    fn image_symbol(&self, id: SymbolId) -> Option<&Symbol<'_>> {
        let symbols = &self.object.image.symbols;
        symbols.get(id.0).or_else(|| self.added.symbols.get(id.0 - symbols.len()))
    }

    /// The section of that name, of the object or added.
    fn find_section(&self, name: &str) -> Option<usize> {
        let sections = &self.object.image.sections;
        let is_it = |section: &Section<'_>| !section.dropped && *section.name == *name.as_bytes();
        let added = || {
            let index = self.added.sections.iter().position(is_it)?;
            Some(sections.len() + index)
        };
        sections.iter().position(is_it).or_else(added)
    }

    fn add_section(&mut self, name: &str, kind: u32, flags: u64, align: u64) -> Result<usize, ElfError> {
        if name.is_empty() || name.contains('\0') {
            return Err(ElfError::add(name, "no name for a section"));
        }
        let content =
            if kind == elf::SHT_NOBITS.0 { Content::Zero(0) } else { Content::Data(Vec::new().into()) };
        self.added.sections.push(new_section(name, kind, flags, align, content));
        Ok(self.object.image.sections.len() + self.added.sections.len() - 1)
    }

    /// Appends bytes to a section of data. Where they start.
    fn append(&mut self, section: usize, bytes: &[u8], align: u64) -> Result<u64, &'static str> {
        let sections = &self.object.image.sections;
        let zeroes = bytes.iter().all(|&byte| byte == 0);
        if let Some(new) = section.checked_sub(sections.len()) {
            let new = &mut self.added.sections[new];
            let offset = place(new, 0, zeroes, align)?;
            new.align = new.align.max(align);
            let end = offset + bytes.len() as u64;
            match &mut new.content {
                Content::Zero(size) => *size = end,
                Content::Data(data) => {
                    let data = data.to_mut();
                    data.resize(usize::try_from(offset).map_err(|_| FULL)?, 0);
                    data.extend_from_slice(bytes);
                }
                _ => {}
            }
            return Ok(offset);
        }
        let tail = self.added.tails.entry(section).or_default();
        let old = &sections[section];
        let offset = place(old, tail.bytes.len() as u64, zeroes, align)?;
        tail.align = tail.align.max(align);
        tail.bytes.resize(usize::try_from(offset - old.size()).map_err(|_| FULL)?, 0);
        tail.bytes.extend_from_slice(bytes);
        Ok(offset)
    }

    /// The code section of that name, added if there is none: its number, and that of its section.
    fn code_section(&mut self, name: &str) -> Result<(usize, usize), ElfError> {
        let first = self.object.code.len();
        if let Some(section) = self.find_section(name) {
            let of_object = self.object.code_of.get(section).copied().flatten();
            let added = || Some(first + self.added.code.iter().position(|&code| code == section)?);
            if let Some(code) = of_object.or_else(added) {
                return Ok((code, section));
            }
            // A section of instructions without any is as good as none, but keeps its place.
            let empty = self.object.image.sections.get(section).is_some_and(|section| {
                section.flags & elf::SHF_EXECINSTR.0 != 0 && section.data().is_some_and(<[u8]>::is_empty)
            });
            if !empty {
                return Err(ElfError::add(name, "a section that is no code"));
            }
            self.added.code.push(section);
        } else {
            let flags = elf::SHF_ALLOC.0 | elf::SHF_EXECINSTR.0;
            let section = self.add_section(name, elf::SHT_PROGBITS.0, flags, 8)?;
            self.added.code.push(section);
        }
        self.code.push(None);
        Ok((self.code.len() - 1, self.added.code[self.added.code.len() - 1]))
    }

    fn add_symbol(
        &mut self,
        name: &str,
        kind: elf::SymbolType,
        bind: elf::SymbolBind,
        section: Option<usize>,
        (value, size): (u64, u64),
    ) -> SymbolId {
        let index = self.object.image.symbols.len() + self.added.symbols.len();
        self.added.symbols.push(Symbol {
            name: name.as_bytes().to_vec().into(),
            section,
            shndx: 0,
            info: bind.0 << 4 | kind.0,
            other: 0,
            value,
            size,
            dropped: false,
        });
        SymbolId(index)
    }
}

/// A type and its size in bytes.
struct Definition {
    id: u32,
    size: u32,
}

/// The program of a code section that is new.
const NO_CODE: &Program = &Program {
    insns: Vec::new(),
    subprogs: Vec::new(),
    pinned: bitvec::vec::BitVec::EMPTY,
    func_info: Vec::new(),
    line_info: Vec::new(),
    aux: Vec::new(),
    pokes: Vec::new(),
    insn_array: Vec::new(),
};

const FULL: &str = "its section is full";

/// Where in a section of data, with `more` bytes behind it, bytes can be appended.
fn place(section: &Section<'_>, more: u64, zeroes: bool, align: u64) -> Result<u64, &'static str> {
    let data = section.flags & elf::SHF_ALLOC.0 != 0 && section.flags & elf::SHF_EXECINSTR.0 == 0;
    match section.content {
        Content::Data(_) if data => {}
        Content::Zero(_) if data && zeroes => {}
        Content::Zero(_) if data => return Err("its section holds zeroes only"),
        _ => return Err("its section is no section of data"),
    }
    section.size().checked_add(more).and_then(|end| end.checked_next_multiple_of(align)).ok_or(FULL)
}

fn bind(global: bool) -> elf::SymbolBind {
    if global { elf::STB_GLOBAL } else { elf::STB_LOCAL }
}

fn narrow(bytes: u64) -> Result<u32, ElfError> {
    u32::try_from(bytes).map_err(|_| ElfError::section(b".BTF", 0, "longer than 4 GiB"))
}

fn code_error(section: &str, error: EditError) -> ElfError {
    ElfError::Code { section: section.into(), error }
}

fn new_section(name: &str, kind: u32, flags: u64, align: u64, content: Content<'static>) -> Section<'static> {
    Section {
        name: name.as_bytes().to_vec().into(),
        kind,
        flags,
        link: 0,
        info: 0,
        align,
        entsize: 0,
        content,
        dropped: false,
    }
}

/// The section of the object with its symbols, and where it is.
fn symbol_table(image: &Image<'_>) -> Option<usize> {
    image.sections.iter().position(|section| matches!(section.content, Content::Symbols))
}
