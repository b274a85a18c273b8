//! All bytes that are not taken apart elsewhere: the same, but for addends and entries of jump tables.

use alloc::borrow::Cow;
use alloc::format;
use alloc::vec::Vec;

use object::elf;

use super::Check;
use super::error::VerifyError;
use super::file::{ADDRSIG, Section, Symbol};
use super::records;
use super::relocations::{Addend, Value};

/// Where clang puts the tables that `gotox` jumps by: offsets of 8 bytes from the start of the code section.
const JUMP_TABLES: &[u8] = b".jumptables";
const ENTRY: usize = 8;

pub(super) fn check(check: &Check<'_>, addends: &[Addend]) -> Result<(), VerifyError> {
    for (index, &new) in check.sections.iter().enumerate() {
        let Some(new) = new else { continue };
        let old = &check.old.sections[index];
        let is_elsewhere = check.traces[index].is_some()
            || old.is_relocs()
            || (old.name == records::EXT && check.has_moved())
            // What a section of no type holds is nothing.
            || matches!(old.kind, elf::SHT_SYMTAB | elf::SHT_STRTAB | elf::SHT_NULL);
        if !is_elsewhere {
            check_bytes(check, index, new, addends)?;
        }
    }
    Ok(())
}

fn check_bytes(check: &Check<'_>, index: usize, new: usize, addends: &[Addend]) -> Result<(), VerifyError> {
    let (old, new) = (&check.old.sections[index], &check.new.sections[new]);
    if old.kind == elf::SHT_GROUP {
        return check_group(check, old.data, new.data);
    }
    if old.size != new.size {
        let reason = format!("its size is {:#x}, and should be {:#x}", new.size, old.size);
        return Err(VerifyError::of_section(old.name, reason));
    }
    let mut expected = Cow::Borrowed(old.data);
    put_all(check, index, addends, &mut expected);
    if old.name == JUMP_TABLES && check.has_moved() {
        move_tables(check, index, expected.to_mut(), new.data)?;
    } else if old.kind == ADDRSIG {
        return check_addrsig(check, old.data, new.data);
    }
    match expected.iter().zip(new.data).position(|(expected, new)| expected != new) {
        None => Ok(()),
        Some(at) => {
            let reason = format!("the byte is {:#04x}, and should be {:#04x}", new.data[at], expected[at]);
            Err(VerifyError::of_byte(old.name, at as u64, reason))
        }
    }
}

/// Puts the addends of a section into its bytes.
pub(super) fn put_all(check: &Check<'_>, section: usize, addends: &[Addend], data: &mut Cow<'_, [u8]>) {
    let first = addends.partition_point(|addend| addend.section < section);
    for addend in addends[first..].iter().take_while(|addend| addend.section == section) {
        put(check, data.to_mut(), addend);
    }
}

fn put(check: &Check<'_>, data: &mut [u8], addend: &Addend) {
    let at = usize::try_from(addend.offset).unwrap_or(usize::MAX);
    match addend.value {
        // Behind the operation, registers and offset of an instruction.
        Value::Imm(imm) => check.old.put_u32(data, at + 4, imm.cast_unsigned()),
        Value::Short(value) => check.old.put_u32(data, at, value),
        Value::Long(value) => check.old.put_u64(data, at, value),
    }
}

/// Moves the entries of the jump tables that relocated instructions of edited code refer to.
///
/// If nothing of that code is left that refers to a table, its entries are nobody's any more: they may be anything.
fn move_tables(check: &Check<'_>, index: usize, expected: &mut [u8], new: &[u8]) -> Result<(), VerifyError> {
    let file = &check.old;
    let is_of_table = |relocs: &Section<'_>| relocs.is_relocs() && relocs.info as usize == index;
    if file.sections.iter().any(|relocs| is_of_table(relocs) && !relocs.relocs.is_empty()) {
        // Each entry moves with its own relocation.
        return Ok(());
    }
    // What is used comes last, and wins.
    for is_used in [false, true] {
        for relocs in file.sections.iter().filter(|section| section.is_relocs()) {
            let Some(trace) = &check.traces[relocs.info as usize] else { continue };
            for reloc in &relocs.relocs {
                let slot = u32::try_from(reloc.offset / 8).unwrap_or(u32::MAX);
                let symbol = file.symbol_of(reloc).filter(|symbol| symbol.section == Some(index));
                let survives = slot < trace.old_len() && trace.survivor(slot).is_some();
                let Some(symbol) = symbol.filter(|_| survives == is_used) else { continue };
                for at in entries(symbol) {
                    let Some(value) = file.u64_at(file.sections[index].data, at) else { break };
                    if is_used {
                        let leads = trace.leads_to_byte(i64::try_from(value).unwrap_or(i64::MAX));
                        let leads =
                            leads.map_err(|reason| VerifyError::of_byte(JUMP_TABLES, at as u64, reason))?;
                        file.put_u64(expected, at, leads.unsigned_abs());
                    } else {
                        expected[at..at + ENTRY].copy_from_slice(&new[at..at + ENTRY]);
                    }
                }
            }
        }
    }
    Ok(())
}

/// Where the entries of a table are, in bytes.
fn entries(table: &Symbol<'_>) -> impl Iterator<Item = usize> {
    let first = usize::try_from(table.value).unwrap_or(usize::MAX);
    let count = usize::try_from(table.size / ENTRY as u64).unwrap_or_default();
    (0..count).map(move |entry| first.saturating_add(entry * ENTRY))
}

/// A section group: a word of flags, then the numbers of its sections, but for those that are not there any more.
fn check_group(check: &Check<'_>, old: &[u8], new: &[u8]) -> Result<(), VerifyError> {
    let words = |data: &[u8]| -> Vec<Option<u32>> {
        (0..data.len()).step_by(4).map(|at| check.old.u32_at(data, at)).collect()
    };
    let mut expected = words(old);
    let moved = expected.drain(1.min(expected.len())..).filter_map(|word| {
        let section = check.sections.get(word? as usize).copied().flatten()?;
        Some(u32::try_from(section).ok())
    });
    let moved: Vec<_> = moved.collect();
    expected.extend(moved);
    if expected == words(new) {
        return Ok(());
    }
    Err(VerifyError::of_section(b".group", "it has other sections than before"))
}

/// The numbers of symbols in LEB128.
fn check_addrsig(check: &Check<'_>, old: &[u8], new: &[u8]) -> Result<(), VerifyError> {
    let pairs = numbers(old).into_iter().map(|symbol| {
        let symbol = usize::try_from(symbol).unwrap_or(usize::MAX);
        check.symbols.get(symbol).copied().unwrap_or(Some(symbol))
    });
    let found = numbers(new).into_iter().map(|symbol| usize::try_from(symbol).ok());
    if pairs.eq(found) {
        return Ok(());
    }
    Err(VerifyError::of_section(b".llvm_addrsig", "it names other symbols than before"))
}

fn numbers(data: &[u8]) -> Vec<u64> {
    let mut numbers = Vec::new();
    let (mut value, mut shift) = (0u64, 0);
    for byte in data {
        value |= u64::from(byte & 0x7f).unbounded_shl(shift);
        shift += 7;
        if byte & 0x80 == 0 {
            numbers.push(core::mem::take(&mut value));
            shift = 0;
        }
    }
    numbers
}
