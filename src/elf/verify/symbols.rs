//! The symbols: which of the old file is which in the new one, and where they stand.

use alloc::format;
use alloc::vec::Vec;

use object::elf;

use super::Check;
use super::error::{VerifyError, quoted};
use super::file::{Section, Symbol};
use super::trace::Trace;

/// For each old symbol its index in the new file.
pub(super) fn pair(check: &Check<'_>) -> Result<Vec<Option<usize>>, VerifyError> {
    let old = &check.old.symbols;
    let mut pairs: Vec<Option<usize>> = old.iter().map(|_| None).collect();
    if let Some(none) = pairs.first_mut() {
        *none = Some(0);
    }
    // A symbol table has the local symbols first.
    let (locals, others): (Vec<usize>, Vec<usize>) = (1..old.len())
        .filter(|&index| !is_gone(check, &old[index]))
        .partition(|&index| old[index].is_local());
    let mut next = 1;
    for index in locals.into_iter().chain(others) {
        let symbol = &old[index];
        let fail = |reason| VerifyError::of_symbol(index, symbol.name, reason);
        let Some(new) = check.new.symbols.get(next) else {
            if is_nowhere(check, symbol) {
                continue;
            }
            return Err(fail("it is missing".into()));
        };
        let section = symbol.section.map(|section| check.sections[section]);
        if new.name != symbol.name {
            if is_nowhere(check, symbol) {
                continue;
            }
            return Err(fail(format!("in its place is {}", quoted(new.name))));
        }
        if new.info != symbol.info || new.other != symbol.other {
            return Err(fail("its type, binding or visibility is not as before".into()));
        }
        if section != new.section.map(Some) || (section.is_none() && symbol.shndx != new.shndx) {
            return Err(fail("it is in another section".into()));
        }
        let (value, size) = extent(check, symbol).map_err(|reason| fail(reason.into()))?;
        if new.value != value {
            return Err(fail(format!("its value is {:#x}, and should be {value:#x}", new.value)));
        }
        if new.size != size {
            return Err(fail(format!("its size is {:#x}, and should be {size:#x}", new.size)));
        }
        pairs[index] = Some(next);
        next += 1;
    }
    match check.new.symbols.get(next) {
        None => Ok(pairs),
        Some(symbol) => {
            let place = format!("symbol {next} {} of the new file", quoted(symbol.name));
            Err(VerifyError::at(place, "nobody asked for it"))
        }
    }
}

/// Whether a symbol has to go: with its section, or with all of its function.
fn is_gone(check: &Check<'_>, symbol: &Symbol<'_>) -> bool {
    let Some(section) = symbol.section else { return false };
    let is_gone = |trace: &Trace<'_>| {
        let slot = u32::try_from(symbol.value / 8).unwrap_or(u32::MAX);
        !symbol.is_section_start() && trace.is_gone(slot)
    };
    check.sections[section].is_none() || check.traces[section].as_ref().is_some_and(is_gone)
}

/// Whether it is a label of deleted code with nothing of its function behind it: it stands for no place any more,
/// so it may go.
fn is_nowhere(check: &Check<'_>, symbol: &Symbol<'_>) -> bool {
    let trace = symbol.section.and_then(|section| check.traces[section].as_ref());
    let is_label = symbol.is_local() && symbol.info.st_type() == elf::STT_NOTYPE;
    let slot = u32::try_from(symbol.value / 8).unwrap_or(u32::MAX);
    let beyond = |trace: &Trace<'_>| slot >= trace.old_len() || trace.leads(slot) >= trace.function_end(slot);
    is_label && trace.is_some_and(beyond)
}

/// Whether a section is a group whose symbol goes with all of its function.
pub(super) fn is_signed_by_gone(check: &Check<'_>, section: &Section<'_>) -> bool {
    let symbol = check.old.symbols.get(section.info as usize);
    let is_gone = |symbol: &Symbol<'_>| {
        let trace = symbol.section.and_then(|section| check.traces[section].as_ref());
        trace.is_some_and(|trace| trace.is_gone(u32::try_from(symbol.value / 8).unwrap_or(u32::MAX)))
    };
    section.kind == elf::SHT_GROUP && symbol.is_some_and(is_gone)
}

/// Its value and size now.
fn extent(check: &Check<'_>, symbol: &Symbol<'_>) -> Result<(u64, u64), &'static str> {
    let trace = symbol.section.and_then(|section| check.traces[section].as_ref());
    let Some(trace) = trace.filter(|_| !symbol.is_section_start()) else {
        return Ok((symbol.value, symbol.size));
    };
    let end = symbol.value.checked_add(symbol.size).ok_or("it has no end")?;
    let slot = |byte: u64| {
        let slot =
            u32::try_from(byte / 8).ok().filter(|&slot| byte.is_multiple_of(8) && slot <= trace.old_len());
        slot.ok_or("it names no whole slots of edited code")
    };
    let start = trace.leads(slot(symbol.value)?);
    let len = trace.leads(slot(end)?).saturating_sub(start);
    Ok((u64::from(start) * 8, if symbol.size == 0 { 0 } else { u64::from(len) * 8 }))
}

impl Symbol<'_> {
    pub(super) fn is_local(&self) -> bool {
        self.info.st_bind() == elf::STB_LOCAL
    }

    /// Whether it stands for the start of its section, whatever is there.
    fn is_section_start(&self) -> bool {
        self.info.st_type() == elf::STT_SECTION && self.value == 0
    }
}
