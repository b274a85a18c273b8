//! [`CodeSection`]: the program in one section, and what is known of its positions.

use alloc::vec::Vec;
use core::ops::Range;

use bitvec::vec::BitVec;
use object::elf;

use super::btf_ext::{Kind, Records};
use super::bytes::Bytes;
use super::cover::Covered;
use super::error::ElfError;
use super::functions::{Conflict, Part};
use super::image::{Image, Reloc};
use super::jump_tables::JumpTargets;
use super::text::Name;
use crate::bpf::opcode::{CALL_KFUNC, CALL_LOCAL, LD_FUNC};
use crate::bpf::{Endian, Program, decode, encode};

/// `R_BPF_64_64`: an `ld_imm64` of the address of the symbol.
pub const R_BPF_64_64: u32 = 1;
/// `R_BPF_64_ABS64`: 8 bytes of data, the address of the symbol.
pub const R_BPF_64_ABS64: u32 = 2;
/// `R_BPF_64_ABS32`: 4 bytes of data, the address of the symbol.
pub const R_BPF_64_ABS32: u32 = 3;
/// `R_BPF_64_NODYLD32`: as `R_BPF_64_ABS32`, left alone by LLVM's run-time linker.
pub const R_BPF_64_NODYLD32: u32 = 4;
/// `R_BPF_64_32`: a call of the function that the symbol names.
pub const R_BPF_64_32: u32 = 10;

/// A section of instructions, and everything that speaks in its positions. Positions are slots.
#[derive(Clone, Debug)]
pub struct CodeSection {
    pub(crate) section: usize,
    pub(crate) endian: Endian,
    pub(crate) name: Name,
    pub(crate) program: Program,
    pub(crate) functions: Vec<Function>,
    /// What each subprogram of the program is.
    pub(crate) parts: Vec<Part>,
    /// The parts that the program shows stand-ins for, ascending.
    pub(crate) covered: Vec<Covered>,
    /// Where the evidence about functions contradicts itself.
    pub(crate) conflicts: Vec<Conflict>,
    /// What its jump tables lead to.
    pub(crate) jump_targets: JumpTargets,
    pub(crate) relocations: Vec<Relocation>,
    pub(crate) func: Records,
    pub(crate) line: Records,
    pub(crate) core: Records,
}

/// A function symbol of a code section.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Function {
    /// Its name.
    pub name: Name,
    /// Its first slot.
    pub start: u32,
    /// How many slots it has, by its symbol; 0 if the symbol does not say.
    pub len: u32,
    /// Who can see it.
    pub binding: Binding,
    /// Its index in the symbol table.
    pub symbol: usize,
}

/// Who can see a function.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Binding {
    /// Only its own object: `static` in C.
    Local,
    /// Everyone.
    Global,
    /// Everyone, until there is a global one of the same name.
    Weak,
}

/// A relocation of an instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Relocation {
    /// The instruction.
    pub slot: u32,
    /// [`R_BPF_64_64`] or [`R_BPF_64_32`]; another one only in data between functions.
    pub kind: u32,
    /// Its index in the symbol table.
    pub symbol: usize,
    /// The byte of the slot, which is 0 for an instruction.
    pub(crate) byte: u8,
    /// What to add to the symbol, if the relocation itself says.
    pub(crate) addend: Option<i64>,
}

/// A `func_info` record: a function and its type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct FuncInfo {
    /// The first slot of the function.
    pub slot: u32,
    /// Its type, an id of `.BTF`.
    pub type_id: u32,
}

/// A `line_info` record: the source line that code from here on comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct LineInfo {
    /// The first slot.
    pub slot: u32,
    /// The name of the file, an offset into the strings of `.BTF`.
    pub file_name: u32,
    /// The text of the line, an offset into the strings of `.BTF`.
    pub text: u32,
    /// The number of the line.
    pub line: u32,
    /// The column.
    pub column: u32,
}

/// A CO-RE record: an instruction that the loader adapts to the types of the running kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct CoreRelo {
    /// The instruction.
    pub slot: u32,
    /// The type accessed, an id of `.BTF`.
    pub type_id: u32,
    /// Which part of it, an offset into the strings of `.BTF`; [`Btf::access`](super::Btf::access) reads it.
    pub access: u32,
    /// What about it: `enum bpf_core_relo_kind`.
    pub kind: u32,
}

impl CodeSection {
    /// The name of the section.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The index of the section in the file.
    #[must_use]
    pub fn section_index(&self) -> usize {
        self.section
    }

    /// The code. Its subprograms are the functions of the section, and what lies between functions:
    /// [`parts`](Self::parts) says which is which.
    ///
    /// A part that cannot be analysed is shown as a stand-in of the same length, whose slots are pinned: it may be
    /// deleted as a whole, or be left as it is, and an edit moves what it stands for. [`insn`](Self::insn) has that.
    /// A call with a relocation is shown as one of kind [`CALL_KFUNC`]: it holds no displacement.
    #[must_use]
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// The function symbols, by start. There may be several with one start.
    #[must_use]
    pub fn functions(&self) -> &[Function] {
        &self.functions
    }

    /// The relocations, in the order of the file.
    #[must_use]
    pub fn relocations(&self) -> &[Relocation] {
        &self.relocations
    }

    /// The `func_info` records, in the order of the file.
    #[must_use]
    pub fn func_info(&self) -> impl ExactSizeIterator<Item = FuncInfo> {
        self.func.iter(self.endian).map(|record| {
            let field = |at| record.u32(at).unwrap_or_default();
            FuncInfo { slot: field(0) / 8, type_id: field(4) }
        })
    }

    /// The `line_info` records, in the order of the file.
    #[must_use]
    pub fn line_info(&self) -> impl ExactSizeIterator<Item = LineInfo> {
        self.line.iter(self.endian).map(LineInfo::read)
    }

    /// The CO-RE records, in the order of the file.
    #[must_use]
    pub fn core_relos(&self) -> impl ExactSizeIterator<Item = CoreRelo> {
        self.core.iter(self.endian).map(|record| {
            let field = |at| record.u32(at).unwrap_or_default();
            CoreRelo { slot: field(0) / 8, type_id: field(4), access: field(8), kind: field(12) }
        })
    }

    /// The number of the subprogram that the slot is in. O(log subprograms).
    #[must_use]
    pub fn subprogram_at(&self, slot: u32) -> usize {
        self.program.subprogs.partition_point(|&start| start <= slot).saturating_sub(1)
    }

    /// The slots of a subprogram. O(1).
    ///
    /// # Panics
    ///
    /// If there is none of that number.
    #[must_use]
    pub fn subprogram_range(&self, subprogram: usize) -> Range<u32> {
        let subprogs = &self.program.subprogs;
        subprogs[subprogram]..subprogs.get(subprogram + 1).copied().unwrap_or(self.len())
    }

    /// Length of the program in slots.
    pub(crate) fn len(&self) -> u32 {
        // `read` has refused what does not fit.
        u32::try_from(self.program.insns.len()).unwrap_or(u32::MAX)
    }

    /// Whether the slot is the second of an `ld_imm64`.
    pub(crate) fn is_inside(&self, slot: u32) -> bool {
        let insns = &self.program.insns;
        let before = slot.checked_sub(1).and_then(|at| insns.get(at as usize));
        before.is_some_and(|insn| insn.is_wide()) && (slot as usize) < insns.len()
    }

    /// The error of an edit that goes wrong at `slot`.
    pub(crate) fn fail(&self, slot: u32, reason: &'static str) -> ElfError {
        ElfError::Edit { section: self.name.clone(), slot, reason }
    }

    /// Where the relocation leads, in bytes from the start of the section in which its symbol has
    /// `value`. `None` if nowhere.
    pub(crate) fn target(&self, relocation: &Relocation, value: u64) -> Option<i64> {
        let imm = i64::from(self.insn(relocation.slot).imm);
        let addend = match (relocation.addend, self.is_data(relocation)) {
            (Some(addend), _) => addend,
            (None, true) => self.word(relocation, relocation.is_long())?.cast_signed(),
            (None, false) if relocation.is_call() => (imm + 1) * 8,
            (None, false) => imm,
        };
        i64::try_from(value).ok()?.checked_add(addend)
    }

    /// Whether what the relocation is of is data between functions, not an instruction.
    pub(crate) fn is_data(&self, relocation: &Relocation) -> bool {
        let insn = self.insn(relocation.slot);
        let part = self.parts.get(self.subprogram_at(relocation.slot));
        let between = part.is_some_and(|part| !part.is_function());
        !relocation.is_call() && (relocation.kind != R_BPF_64_64 || between || !insn.is_wide())
    }

    /// Reads section `index` of the file, without its relocations and its records in `.BTF.ext`.
    pub(crate) fn read(image: &Image<'_>, index: usize) -> Result<Self, ElfError> {
        let section = &image.sections[index];
        let data = section.data().unwrap_or_default();
        let insns = decode(data, image.endian).map_err(|_| {
            ElfError::section(&section.name, data.len() as u64, "not a whole number of slots")
        })?;
        // Byte offsets have to fit `.BTF.ext`'s 32 bits.
        if u32::try_from(data.len()).is_err() {
            return Err(ElfError::section(&section.name, 0, "longer than 4 GiB"));
        }
        let pinned = BitVec::repeat(false, insns.len());
        let program = Program { insns, pinned, ..Program::default() };
        let name = Name::of_bytes(&section.name);
        Ok(Self { section: index, name, ..Self::of_program(program, image.endian) })
    }

    /// A section that has no code yet.
    pub(crate) fn empty(image: &Image<'_>, index: usize) -> Self {
        let name = Name::of_bytes(&image.sections[index].name);
        Self { section: index, name, ..Self::of_program(Program::default(), image.endian) }
    }

    /// A program without a section.
    pub(crate) fn of_program(program: Program, endian: Endian) -> Self {
        Self {
            section: 0,
            endian,
            name: Name::default(),
            program,
            functions: Vec::new(),
            parts: Vec::new(),
            covered: Vec::new(),
            conflicts: Vec::new(),
            jump_targets: JumpTargets::default(),
            relocations: Vec::new(),
            func: Records::default(),
            line: Records::default(),
            core: Records::default(),
        }
    }

    /// Notes the relocations, and hides the displacements of the calls among them.
    pub(crate) fn take_relocations(&mut self, relocs: &[Reloc]) -> Result<(), ElfError> {
        for reloc in relocs {
            let relocation = Relocation::from(reloc);
            let insn = &mut self.program.insns[relocation.slot as usize];
            if relocation.is_call() {
                if !insn.is_call() || insn.src() != CALL_LOCAL || relocation.byte != 0 {
                    let reason = "R_BPF_64_32 on what is not a call of a function";
                    return Err(ElfError::section(self.name.as_bytes(), reloc.offset, reason));
                }
                *insn = insn.with_src(CALL_KFUNC);
            }
            self.relocations.push(relocation);
        }
        Ok(())
    }

    /// Checks the relocations and the records of what is analysed.
    pub(crate) fn check_places(&self) -> Result<(), ElfError> {
        let mut seen = BitVec::<usize>::repeat(false, self.program.insns.len());
        for relocation in &self.relocations {
            let slot = relocation.slot;
            let offset = u64::from(slot) * 8 + u64::from(relocation.byte);
            let fail = |reason| Err(ElfError::section(self.name.as_bytes(), offset, reason));
            if self.covered_at(slot).is_some() {
                if self.is_data(relocation) && !relocation.is_data_kind() {
                    return fail("a relocation that neither code nor data can have");
                }
                continue;
            }
            if relocation.byte != 0 || self.is_inside(slot) {
                return fail("relocation inside an instruction");
            }
            let insn = self.insn(slot);
            match relocation.kind {
                R_BPF_64_32 => {}
                R_BPF_64_64 if insn.is_wide() && insn.src() != LD_FUNC => {}
                R_BPF_64_64 => return fail("R_BPF_64_64 on what is not a plain ld_imm64"),
                _ => return fail("a relocation that no instruction can have"),
            }
            if seen.replace(slot as usize, true) {
                return fail("a second relocation of one instruction");
            }
        }
        let records = Kind::ALL.iter().flat_map(|&kind| self.records(kind).slots(self.endian));
        for slot in records {
            if self.is_inside(slot) {
                let reason = "a record of .BTF.ext inside an instruction";
                return Err(ElfError::section(self.name.as_bytes(), u64::from(slot) * 8, reason));
            }
        }
        Ok(())
    }

    /// Marks the instruction at `slot` as one that the loader will rewrite.
    pub(crate) fn pin(&mut self, slot: u32) {
        let at = slot as usize;
        let end = self.program.insns.len().min(at + self.program.insns[at].slots());
        self.program.pinned[at..end].fill(true);
    }

    /// Takes the symbols of functions.
    pub(crate) fn set_functions(&mut self, mut functions: Vec<Function>) -> Result<(), ElfError> {
        functions.sort_by_key(|function| (function.start, function.symbol));
        for function in &functions {
            let end = function.start.checked_add(function.len);
            if end.is_none_or(|end| end > self.len()) {
                let reason = "a function beyond the end of its section";
                return Err(ElfError::symbol(function.name.as_bytes(), function.symbol, reason));
            }
        }
        self.functions = functions;
        Ok(())
    }

    /// The bytes of the section, as the file has them.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        encode(&self.as_written(), self.endian)
    }
}

impl Relocation {
    /// Whether it is of a call.
    pub(crate) fn is_call(&self) -> bool {
        self.kind == R_BPF_64_32
    }

    /// Whether it is of 8 bytes of data, rather than 4, if it is of data.
    pub(crate) fn is_long(&self) -> bool {
        is_long(self.kind).unwrap_or_default()
    }

    fn is_data_kind(&self) -> bool {
        is_long(self.kind).is_some()
    }
}

/// Whether a relocation of data is of 8 bytes rather than 4; `None` if data has no such relocations.
///
/// LLVM before 13 and gcc relocate data with `R_BPF_64_64`, too.
pub(crate) fn is_long(kind: u32) -> Option<bool> {
    match kind {
        R_BPF_64_64 | R_BPF_64_ABS64 => Some(true),
        R_BPF_64_ABS32 | R_BPF_64_NODYLD32 => Some(false),
        _ => None,
    }
}

impl LineInfo {
    pub(crate) fn read(record: Bytes<'_>) -> Self {
        let field = |at| record.u32(at).unwrap_or_default();
        Self {
            slot: field(0) / 8,
            file_name: field(4),
            text: field(8),
            line: field(12) >> 10,
            column: field(12) & 0x3ff,
        }
    }
}

impl From<&Reloc> for Relocation {
    fn from(reloc: &Reloc) -> Self {
        let byte = u8::try_from(reloc.offset % 8).unwrap_or_default();
        Self { slot: reloc.slot(), kind: reloc.kind, symbol: reloc.symbol, byte, addend: reloc.addend }
    }
}

impl Function {
    /// The function that symbol `index` of the file is.
    pub(crate) fn read(image: &Image<'_>, index: usize) -> Result<Self, ElfError> {
        let symbol = &image.symbols[index];
        let slots = |bytes: u64| u32::try_from(bytes / 8).ok().filter(|_| bytes.is_multiple_of(8));
        let fail = |reason| ElfError::symbol(&symbol.name, index, reason);
        Ok(Self {
            name: Name::of_bytes(&symbol.name),
            start: slots(symbol.value).ok_or(fail("a function that starts inside a slot"))?,
            len: slots(symbol.size).ok_or(fail("a function that ends inside a slot"))?,
            binding: match symbol.bind() {
                elf::STB_LOCAL => Binding::Local,
                elf::STB_WEAK => Binding::Weak,
                _ => Binding::Global,
            },
            symbol: index,
        })
    }
}
