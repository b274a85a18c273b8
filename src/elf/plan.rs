//! [`Plan`]: everything that an edit changes, worked out beforehand.

use alloc::vec::Vec;

use object::elf;

use super::btf_ext::{Kind, Records};
use super::bytes::{Bytes, from_u32, from_u64};
use super::code::{CodeSection, Relocation, is_long};
use super::cover::Covered;
use super::error::ElfError;
use super::image::{Content, Reloc};
use super::inserted::{self, Relocated};
use super::lines::surviving_lines;
use super::moves::{self, Move};
use super::object::Object;
use crate::bpf::Endian;
use crate::bpf::opcode::{CALL_LOCAL, LD_FUNC};

const CONTRADICTION: &str =
    "a function starts here by one piece of evidence, in the middle of a function by another";

/// Everything that an edit changes.
pub(crate) struct Plan {
    /// Whether any instruction has moved.
    pub(crate) moved: bool,
    /// What goes with the new code of each edit, in their order.
    pub(crate) code: Vec<NewRecords>,
    /// For each symbol that changes, by index, its new value and size; `None` if it goes.
    pub(crate) symbols: Vec<(usize, Option<(u64, u64)>)>,
    pub(crate) relocs: Vec<NewRelocs>,
    pub(crate) imms: Vec<Imm>,
    pub(crate) data: Vec<Datum>,
    /// Addends that relocations of data state themselves: the section of the relocations, which of them, and its
    /// new addend.
    pub(crate) addends: Vec<(usize, usize, i64)>,
    /// The sections that go.
    pub(crate) dropped: Vec<usize>,
}

/// The records that go with new code.
pub(crate) struct NewRecords {
    pub(crate) func: Records,
    pub(crate) line: Records,
    pub(crate) core: Records,
    pub(crate) covered: Vec<Covered>,
}

/// All relocations of a code section, in section `section`.
pub(crate) struct NewRelocs {
    pub(crate) section: usize,
    pub(crate) code: usize,
    pub(crate) relocs: Vec<Reloc>,
}

/// An addend in code, at its new slot.
pub(crate) struct Imm {
    pub(crate) code: usize,
    pub(crate) slot: u32,
    pub(crate) value: Addend,
}

/// What is put where in a slot.
pub(crate) enum Addend {
    /// The immediate of an instruction.
    Imm(i32),
    /// Data between functions, from this byte on.
    Data(u8, Word),
}

/// An addend, or an entry of a jump table, in data.
pub(crate) struct Datum {
    pub(crate) section: usize,
    pub(crate) offset: usize,
    pub(crate) value: Word,
}

/// How much of a datum there is.
pub(crate) enum Word {
    Short(u32),
    Long(u64),
}

impl CodeSection {
    /// Refuses a section of which the evidence about the boundaries of functions contradicts itself.
    pub(crate) fn check_boundaries(&self) -> Result<(), ElfError> {
        let conflict = self.conflicts.first();
        conflict.map_or(Ok(()), |conflict| Err(self.fail(conflict.slot, CONTRADICTION)))
    }
}

impl Word {
    fn new(value: i64, long: bool) -> Option<Self> {
        if long {
            u64::try_from(value).ok().map(Self::Long)
        } else {
            u32::try_from(value).ok().map(Self::Short)
        }
    }

    pub(crate) fn to_bytes(&self, endian: Endian) -> Vec<u8> {
        match *self {
            Self::Short(value) => from_u32(value, endian).to_vec(),
            Self::Long(value) => from_u64(value, endian).to_vec(),
        }
    }
}

/// For each code section the edit of it, if there is one.
type Edited<'a> = [Option<Move<'a>>];

impl Plan {
    /// Changes nothing. O(slots of the edited sections + symbols + relocations).
    pub(crate) fn new(object: &Object<'_>, edits: &[moves::NewCode<'_>]) -> Result<Self, ElfError> {
        let mut edited: Vec<Option<Move<'_>>> = object.code.iter().map(|_| None).collect();
        for edit in edits {
            object.code.get(edit.code).map_or(Ok(()), CodeSection::check_boundaries)?;
        }
        for edit in edits {
            let count = object.code.len();
            let code = object.code.get(edit.code).ok_or(ElfError::NoSuchCode { index: edit.code, count })?;
            if edited[edit.code].replace(Move::new(code, *edit)?).is_some() {
                return Err(code.fail(0, "it is edited twice at once"));
            }
        }
        let mut plan = Self {
            moved: edited.iter().flatten().any(Move::any),
            code: Vec::new(),
            symbols: Vec::new(),
            relocs: Vec::new(),
            imms: Vec::new(),
            data: Vec::new(),
            addends: Vec::new(),
            dropped: Vec::new(),
        };
        if plan.moved {
            if let Some(ext) = &object.ext {
                ext.check_editable()?;
            }
            plan.drop_debug(object)?;
        }
        plan.move_symbols(object, &edited)?;
        plan.move_references(object, &edited)?;
        plan.move_jump_tables(object, &edited)?;
        let relocated = Relocated::new(object);
        for moved in edits.iter().filter_map(|edit| edited[edit.code].as_ref()) {
            inserted::check(moved, &relocated)?;
            check_displacements(moved)?;
            plan.code.push(NewRecords::new(moved)?);
        }
        Ok(plan)
    }

    fn drop_debug(&mut self, object: &Object<'_>) -> Result<(), ElfError> {
        let sections = &object.image.sections;
        for (index, section) in sections.iter().enumerate().filter(|(_, section)| !section.dropped) {
            let of_stale = matches!(section.content, Content::Relocs { of, .. } if sections[of].is_unread());
            if section.is_unread() || of_stale {
                if object.keep_debug {
                    let reason = "the edit would make it wrong, and it is to be kept";
                    return Err(ElfError::section(&section.name, 0, reason));
                }
                self.dropped.push(index);
            }
        }
        Ok(())
    }

    fn move_symbols(&mut self, object: &Object<'_>, edited: &Edited<'_>) -> Result<(), ElfError> {
        for (index, symbol) in object.image.symbols.iter().enumerate() {
            let code = symbol.section.and_then(|section| object.code_of[section]);
            let Some(moved) = code.and_then(|code| edited[code].as_ref()) else { continue };
            // A section's own symbol stands for its start, whatever is there.
            if symbol.dropped || (symbol.kind() == elf::STT_SECTION && symbol.value == 0) {
                continue;
            }
            let slot = |bytes: u64| u32::try_from(bytes / 8).ok().filter(|_| bytes.is_multiple_of(8));
            let ends = slot(symbol.value).zip(symbol.value.checked_add(symbol.size).and_then(slot));
            let Some((start, end)) = ends.filter(|&(_, end)| end <= moved.map.old_len()) else {
                let reason = "it does not name whole slots of its section";
                return Err(ElfError::symbol(&symbol.name, index, reason));
            };
            let change = if moved.is_gone_at(start) {
                None
            } else {
                let value = moved.landing(start)?;
                let size = if symbol.size == 0 { 0 } else { moved.new_of(end).saturating_sub(value) };
                Some((u64::from(value) * 8, u64::from(size) * 8))
            };
            self.symbols.push((index, change));
        }
        Ok(())
    }

    /// Relocations of edited code, and the addends of all relocations against edited code.
    fn move_references(&mut self, object: &Object<'_>, edited: &Edited<'_>) -> Result<(), ElfError> {
        let image = &object.image;
        let mut values: Vec<Option<u64>> = image.symbols.iter().map(|symbol| Some(symbol.value)).collect();
        for &(index, change) in &self.symbols {
            values[index] = change.map(|(value, _)| value);
        }
        let mut goes = alloc::vec![false; image.sections.len()];
        for &index in &self.dropped {
            goes[index] = true;
        }
        let ext = object.ext.as_ref().map(|ext| ext.section);
        for (index, of, relocs) in image.relocs() {
            if goes[index] || Some(of) == ext || image.sections[of].is_unread() {
                continue;
            }
            let holder = object.code_of[of].map(|code| (code, edited[code].as_ref()));
            let mut kept = Vec::new();
            for (at, reloc) in relocs.iter().enumerate() {
                let new_slots: Vec<u32> = match holder {
                    Some((_, Some(moved))) => {
                        moved.unchanged(reloc.slot())?.into_iter().chain(moved.copies(reloc.slot())).collect()
                    }
                    Some((_, None)) => alloc::vec![reloc.slot()],
                    None => Vec::new(),
                };
                if holder.is_some() && new_slots.is_empty() {
                    continue;
                }
                let offset = |slot: u32| u64::from(slot) * 8 + reloc.offset % 8;
                let mut new_relocs: Vec<Reloc> =
                    new_slots.into_iter().map(|slot| Reloc { offset: offset(slot), ..*reloc }).collect();
                let symbol = &image.symbols[reloc.symbol];
                let Some(section) = symbol.section else {
                    kept.extend(new_relocs);
                    continue;
                };
                if goes[section] {
                    let reason = "a relocation against a section that the edit makes stale";
                    return Err(ElfError::section(&image.sections[index].name, reloc.offset, reason));
                }
                let Some(moved) = object.code_of[section].and_then(|code| edited[code].as_ref()) else {
                    kept.extend(new_relocs);
                    continue;
                };
                let gone =
                    ElfError::symbol(&symbol.name, reloc.symbol, "deleted, but something still refers to it");
                let shift = Shift { moved, old: symbol.value, new: values[reloc.symbol].ok_or(gone)? };
                match holder {
                    Some((code, _)) => {
                        for new in &mut new_relocs {
                            self.move_imm(object, code, reloc, new, &shift)?;
                        }
                    }
                    None => self.move_datum(object, of, (index, at), &shift)?,
                }
                kept.extend(new_relocs);
            }
            if let Some((code, moved)) = holder
                && (moved.is_some() || kept != relocs)
            {
                self.relocs.push(NewRelocs { section: index, code, relocs: kept });
            }
        }
        Ok(())
    }

    fn move_imm(
        &mut self,
        object: &Object<'_>,
        code: usize,
        reloc: &Reloc,
        new: &mut Reloc,
        shift: &Shift<'_>,
    ) -> Result<(), ElfError> {
        let holder = &object.code[code];
        let (slot, new_slot) = (reloc.slot(), new.slot());
        let fail = |reason| ElfError::section(holder.name().as_bytes(), reloc.offset, reason);
        let relocation = Relocation::from(reloc);
        let target = holder.target(&relocation, shift.old).ok_or(fail("an address out of range"))?;
        let addend = shift.addend(target)?;
        if reloc.addend.is_some() {
            new.addend = Some(addend);
            return Ok(());
        }
        let range = || fail("its target has gone out of range");
        if holder.is_data(&relocation) {
            let byte = u8::try_from(reloc.offset % 8).unwrap_or_default();
            let value = Addend::Data(byte, Word::new(addend, relocation.is_long()).ok_or_else(range)?);
            self.imms.push(Imm { code, slot: new_slot, value });
            return Ok(());
        }
        let value = if relocation.is_call() {
            addend / 8 - 1
        } else {
            if slot + 1 >= holder.len() || holder.insn(slot + 1).imm != 0 {
                return Err(fail("an address in code of more than 32 bits"));
            }
            addend
        };
        let value = i32::try_from(value).map_err(|_| range())?;
        self.imms.push(Imm { code, slot: new_slot, value: Addend::Imm(value) });
        Ok(())
    }

    fn move_datum(
        &mut self,
        object: &Object<'_>,
        section: usize,
        (relocs, index): (usize, usize),
        shift: &Shift<'_>,
    ) -> Result<(), ElfError> {
        let holder = &object.image.sections[section];
        let Content::Relocs { relocs: all, .. } = &object.image.sections[relocs].content else {
            return Ok(());
        };
        let reloc = &all[index];
        let fail = |reason| ElfError::section(&holder.name, reloc.offset, reason);
        let data = holder.data().ok_or(fail("a relocation of nothing"))?;
        let offset = usize::try_from(reloc.offset).map_err(|_| fail("beyond the end"))?;
        let long = is_long(reloc.kind).ok_or(fail("a relocation of data that cannot be moved"))?;
        let old = reloc.addend_in(data, object.image.endian);
        let old = old.ok_or(fail("a relocation that goes beyond the end of its section"))?;
        let target = i64::try_from(shift.old).ok().and_then(|base| base.checked_add(old));
        let new = shift.addend(target.ok_or(fail("an address out of range"))?)?;
        if old == new {
            return Ok(());
        }
        if reloc.addend.is_some() {
            self.addends.push((relocs, index, new));
        } else {
            let value = Word::new(new, long).ok_or(fail("its target has gone out of range"))?;
            self.data.push(Datum { section, offset, value });
        }
        Ok(())
    }

    fn move_jump_tables(&mut self, object: &Object<'_>, edited: &Edited<'_>) -> Result<(), ElfError> {
        if !self.moved {
            return Ok(());
        }
        for table in object.jump_tables()? {
            let Some(moved) = &edited[table.code] else { continue };
            // A table that no code refers to any more may lead to code that is gone.
            if !table.users.iter().any(|&slot| moved.map.position_of(slot).is_some()) {
                continue;
            }
            let data = object.image.sections[table.section].data().unwrap_or_default();
            let data = Bytes::new(data, object.image.endian);
            for offset in table.entries() {
                let entry = data.u64(offset).unwrap_or_default();
                let value = Word::Long(moved.jump_landing_bytes(entry)?);
                self.data.push(Datum { section: table.section, offset, value });
            }
        }
        Ok(())
    }
}

/// From an old address to a new one: the edit of the section it is in, and the value of the symbol
/// that it is relative to.
struct Shift<'a> {
    moved: &'a Move<'a>,
    old: u64,
    new: u64,
}

impl Shift<'_> {
    /// What has to be added to the symbol now to get at what was at byte `target` of the section.
    fn addend(&self, target: i64) -> Result<i64, ElfError> {
        let new = i64::try_from(self.new).unwrap_or(i64::MAX);
        Ok(self.moved.landing_bytes(target)?.saturating_sub(new))
    }
}

impl NewRecords {
    fn new(moved: &Move<'_>) -> Result<Self, ElfError> {
        let code = moved.code;
        let slots = |kind| code.records(kind).slots(code.endian).enumerate();
        // What is behind all that is left of a function is of no function, or of the next one.
        let func: Vec<_> = slots(Kind::Func)
            .map(|(index, slot)| (index, moved.new_of(slot), moved.end_at(slot)))
            .filter(|&(_, new, end)| new < end)
            .map(|(index, new, _)| (index, new))
            .collect();
        let line = surviving_lines(code.records(Kind::Line).slots(code.endian), moved);
        let mut adapted = Vec::new();
        for (index, slot) in slots(Kind::Core) {
            let new_slots = moved.unchanged(slot)?.into_iter().chain(moved.copies(slot));
            adapted.extend(new_slots.map(|new| (index, new)));
        }
        Ok(Self {
            func: code.func.repositioned(&func, code.endian),
            line: code.line.repositioned(&line, code.endian),
            core: code.core.repositioned(&adapted, code.endian),
            covered: moved.covered()?,
        })
    }
}

/// Refuses to leave a call of, or the address of, a function that is gone.
fn check_displacements(moved: &Move<'_>) -> Result<(), ElfError> {
    let insns = &moved.code.program.insns;
    for (slot, insn) in (0..).zip(insns) {
        let local = (insn.is_call() && insn.src() == CALL_LOCAL) || (insn.is_wide() && insn.src() == LD_FUNC);
        let target = u32::try_from(i64::from(slot) + 1 + i64::from(insn.imm));
        let gone = local && target.is_ok_and(|target| moved.is_gone_at(target));
        if gone && moved.map.position_of(slot).is_some() {
            return Err(moved.code.fail(slot, "it still refers to a function that was deleted"));
        }
    }
    Ok(())
}
