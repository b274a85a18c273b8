//! The relocations: the same ones at the same instructions and data, and where they lead with their addends.

use alloc::format;
use alloc::vec::Vec;

use super::Check;
use super::error::VerifyError;
use super::file::{File, Reloc};
use super::trace::Trace;

/// An `ld_imm64` of an address, or 8 bytes of data as old compilers write them.
const R_BPF_64_64: u32 = 1;
/// 8 bytes of data.
const R_BPF_64_ABS64: u32 = 2;
/// 4 bytes of data.
const R_BPF_64_ABS32: u32 = 3;
/// 4 bytes of data, left alone by LLVM's run-time linker.
const R_BPF_64_NODYLD32: u32 = 4;
/// A call.
pub(super) const CALL: u32 = 10;

const LD_IMM64: u8 = 0x18;

/// An addend at its place that is another one now.
pub(super) struct Addend {
    /// The section it is in, of the old file.
    pub(super) section: usize,
    /// Where in it, in bytes.
    pub(super) offset: u64,
    pub(super) value: Value,
}

/// An addend as it has to be in the new file.
#[derive(Clone, Copy)]
pub(super) enum Value {
    Imm(i32),
    Short(u32),
    Long(u64),
}

/// Gives all addends that have changed, by section and offset.
pub(super) fn check(check: &Check<'_>) -> Result<Vec<Addend>, VerifyError> {
    let mut addends = Vec::new();
    for (index, &new) in check.sections.iter().enumerate() {
        let old = &check.old.sections[index];
        let (Some(new), true) = (new, old.is_relocs()) else { continue };
        if check.old.sections[old.info as usize].name == super::records::EXT && check.has_moved() {
            continue;
        }
        check_section(check, index, new, &mut addends)?;
    }
    addends.sort_by_key(|addend| (addend.section, addend.offset));
    Ok(addends)
}

fn check_section(
    check: &Check<'_>,
    index: usize,
    new: usize,
    addends: &mut Vec<Addend>,
) -> Result<(), VerifyError> {
    let (old, new) = (&check.old.sections[index], &check.new.sections[new]);
    let of = old.info as usize;
    let trace = check.traces[of].as_ref();
    let mut found = new.relocs.iter();
    for (number, reloc) in old.relocs.iter().enumerate() {
        let fail = |reason: &str| {
            VerifyError::of_byte(old.name, reloc.offset, format!("relocation {number}: {reason}"))
        };
        let Some(offset) = moved_offset(trace, reloc.offset).map_err(fail)? else { continue };
        let new = found.next().ok_or_else(|| fail("it is missing"))?;
        if new.offset != offset {
            return Err(fail(&format!("it is at {:#x} now, and should be at {offset:#x}", new.offset)));
        }
        if new.kind != reloc.kind {
            return Err(fail("its type is not as before"));
        }
        // 0 is no symbol.
        let symbol = if reloc.symbol == 0 { Some(0) } else { check.symbols[reloc.symbol] };
        if symbol.ok_or_else(|| fail("its symbol is gone"))? != new.symbol {
            return Err(fail("it is by another symbol"));
        }
        let before = addend(&check.old, of, reloc);
        let expected = match target_trace(check, reloc) {
            Some(trace) => Some(moved_addend(check, trace, reloc, before).map_err(fail)?),
            None => before,
        };
        if reloc.addend.is_some() {
            if new.addend != expected {
                return Err(fail("its addend leads somewhere else"));
            }
        } else if let Some(expected) = expected.filter(|_| expected != before) {
            let value =
                value(check, of, reloc, expected).ok_or_else(|| fail("its target has gone out of range"))?;
            addends.push(Addend { section: of, offset: reloc.offset, value });
        }
    }
    match found.next() {
        None => Ok(()),
        Some(reloc) => {
            let reason = "nobody asked for a new relocation here";
            Err(VerifyError::of_byte(new.name, reloc.offset, reason))
        }
    }
}

/// Where what is relocated is now; `None` if it was deleted.
fn moved_offset(trace: Option<&Trace<'_>>, offset: u64) -> Result<Option<u64>, &'static str> {
    let Some(trace) = trace else { return Ok(Some(offset)) };
    let slot = u32::try_from(offset / 8).ok().filter(|&slot| slot < trace.old_len());
    let slot = slot.ok_or("it is beyond the end of its section")?;
    if trace.is_replaced(slot) {
        return Err("its instruction was replaced by another one");
    }
    Ok(trace.survivor(slot).map(|new| u64::from(new) * 8 + offset % 8))
}

/// Where the section went that the relocation leads into, if it is edited code.
fn target_trace<'a>(check: &'a Check<'_>, reloc: &Reloc) -> Option<&'a Trace<'a>> {
    check.traces[check.old.symbol_of(reloc)?.section?].as_ref()
}

fn moved_addend(
    check: &Check<'_>,
    trace: &Trace<'_>,
    reloc: &Reloc,
    addend: Option<i64>,
) -> Result<i64, &'static str> {
    const RANGE: &str = "it leads out of its section";
    let value = |file: &File<'_>, symbol: usize| i64::try_from(file.symbols[symbol].value).map_err(|_| RANGE);
    let addend = addend.ok_or("it is of a type that cannot lead into code")?;
    let target = value(&check.old, reloc.symbol)?.checked_add(addend).ok_or(RANGE)?;
    let symbol = check.symbols[reloc.symbol].ok_or("its symbol is gone")?;
    trace.leads_to_byte(target)?.checked_sub(value(&check.new, symbol)?).ok_or(RANGE)
}

/// What is added to the value of the symbol; `None` if the place holds no addend.
fn addend(file: &File<'_>, of: usize, reloc: &Reloc) -> Option<i64> {
    let section = &file.sections[of];
    if is_of_insn(file, of, reloc) {
        return addend_in_code(file, of, reloc);
    }
    if let Some(addend) = reloc.addend {
        return Some(addend);
    }
    let at = usize::try_from(reloc.offset).ok()?;
    match reloc.kind {
        R_BPF_64_ABS64 | R_BPF_64_64 => file.u64_at(section.data, at).map(u64::cast_signed),
        R_BPF_64_ABS32 | R_BPF_64_NODYLD32 => file.u32_at(section.data, at).map(i64::from),
        _ => None,
    }
}

/// Where it leads, in bytes of the section of its symbol.
pub(super) fn target(file: &File<'_>, of: usize, reloc: &Reloc) -> Option<i64> {
    i64::try_from(file.symbol_of(reloc)?.value).ok()?.checked_add(addend(file, of, reloc)?)
}

/// Whether what is relocated is an instruction, rather than data, which code sections have, too.
fn is_of_insn(file: &File<'_>, of: usize, reloc: &Reloc) -> bool {
    let section = &file.sections[of];
    let code = usize::try_from(reloc.offset).ok().and_then(|at| section.data.get(at));
    let is_insn = reloc.kind == CALL || (reloc.kind == R_BPF_64_64 && code == Some(&LD_IMM64));
    section.is_code() && is_insn && reloc.offset.is_multiple_of(8)
}

/// As [`addend`], of an instruction.
fn addend_in_code(file: &File<'_>, of: usize, reloc: &Reloc) -> Option<i64> {
    let at = usize::try_from(reloc.offset).ok()?.checked_add(4)?;
    let imm = i64::from(file.u32_at(file.sections[of].data, at)?.cast_signed());
    match (reloc.kind, reloc.addend) {
        (_, Some(addend)) => Some(addend),
        // It counts in slots, from the next one.
        (CALL, None) => Some((imm + 1) * 8),
        (R_BPF_64_64, None) => Some(imm),
        _ => None,
    }
}

/// The addend as it is written; `None` if it does not fit.
fn value(check: &Check<'_>, of: usize, reloc: &Reloc, addend: i64) -> Option<Value> {
    let is_insn = is_of_insn(&check.old, of, reloc);
    Some(match reloc.kind {
        CALL => Value::Imm(i32::try_from(addend / 8 - 1).ok()?),
        _ if is_insn => Value::Imm(i32::try_from(addend).ok()?),
        R_BPF_64_ABS64 | R_BPF_64_64 => Value::Long(u64::try_from(addend).ok()?),
        _ => Value::Short(u32::try_from(addend).ok()?),
    })
}

impl File<'_> {
    /// The slots of a code section that have a relocation, ascending.
    pub(super) fn relocated_slots(&self, section: usize) -> Vec<u32> {
        let of = |reloc: &Reloc| u32::try_from(reloc.offset / 8).ok();
        let mut all = Vec::new();
        for relocs in
            self.sections.iter().filter(|relocs| relocs.is_relocs() && relocs.info as usize == section)
        {
            all.extend(relocs.relocs.iter().filter_map(of));
        }
        all.sort_unstable();
        all
    }
}
