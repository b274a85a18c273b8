//! The sections: which of the old file is which in the new one, and what their headers say.

use alloc::format;
use alloc::vec::Vec;

use object::elf;

use super::Check;
use super::error::{VerifyError, quoted};
use super::file::{File, Section};
use super::symbols;

/// For each old section its index in the new file.
pub(super) fn pair(check: &Check<'_>) -> Result<Vec<Option<usize>>, VerifyError> {
    let has_moved = check.has_moved();
    let mut pairs = Vec::from([Some(0)]);
    let mut next = 1;
    for (index, old) in check.old.sections.iter().enumerate().skip(1) {
        let stale = has_moved && is_stale(&check.old, old);
        let found = check.new.sections.get(next).filter(|new| new.name == old.name && new.kind == old.kind);
        if found.is_some() && !stale {
            pairs.push(Some(next));
            next += 1;
        } else if has_moved && (may_go(&check.old, index) || symbols::is_signed_by_gone(check, old)) {
            pairs.push(None);
        } else {
            return Err(VerifyError::of_section(old.name, format!("section {index} is missing")));
        }
    }
    // Names of sections that shared a table with those of symbols.
    let has_names = check
        .old
        .sections
        .iter()
        .any(|section| section.kind == elf::SHT_SYMTAB && section.link == check.old.names);
    let added = check.new.sections.get(next).filter(|_| has_names && check.new.names == next);
    if added
        .is_some_and(|names| names.name == b".shstrtab" && names.kind == elf::SHT_STRTAB && names.is_plain())
    {
        next += 1;
    }
    match check.new.sections.get(next) {
        None => Ok(pairs),
        Some(new) => {
            Err(VerifyError::of_section(new.name, format!("nobody asked for the new section {next}")))
        }
    }
}

impl Section<'_> {
    /// Whether its header says no more than where it is.
    fn is_plain(&self) -> bool {
        self.flags == 0 && self.link == 0 && self.info == 0 && self.align <= 1 && self.entsize == 0
    }
}

/// Whether it speaks of places in code which only debuggers want to know.
fn is_stale(file: &File<'_>, section: &Section<'_>) -> bool {
    section.is_stale() || (section.is_relocs() && file.sections[section.info as usize].is_stale())
}

/// Whether a loader does without it.
fn may_go(file: &File<'_>, index: usize) -> bool {
    let section = &file.sections[index];
    let of = if section.is_relocs() { &file.sections[section.info as usize] } else { section };
    let is_needed = of.flags & elf::SHF_ALLOC.0 != 0
        || matches!(of.kind, elf::SHT_SYMTAB | elf::SHT_STRTAB | elf::SHT_GROUP)
        || of.name.starts_with(b".BTF");
    is_stale(file, section) || !is_needed
}

/// What the headers say, of the file and of each section.
pub(super) fn check(check: &Check<'_>) -> Result<(), VerifyError> {
    check_file(check)?;
    check_places(check)?;
    let pairs = check.sections.iter().enumerate().skip(1);
    for (old, new) in pairs.filter_map(|(old, &new)| Some((old, new?))) {
        check_header(check, &check.old.sections[old], &check.new.sections[new])?;
    }
    Ok(())
}

/// No byte of the new file is of two sections, and each section stands at its alignment.
fn check_places(check: &Check<'_>) -> Result<(), VerifyError> {
    let in_file = |section: &&Section<'_>| section.kind != elf::SHT_NOBITS && section.size != 0;
    let mut places: Vec<&Section<'_>> = check.new.sections.iter().filter(in_file).collect();
    places.sort_by_key(|section| section.offset);
    for section in &places {
        if !section.offset.is_multiple_of(section.align.max(1)) {
            let reason = format!("it stands at offset {:#x}, against its alignment", section.offset);
            return Err(VerifyError::of_section(section.name, reason));
        }
    }
    // A name of offset 0 is none, and the last name has to end.
    let is_table = |names: &Section<'_>| names.data.first() == Some(&0) && names.data.last() == Some(&0);
    if let Some(names) = places.iter().find(|names| names.kind == elf::SHT_STRTAB && !is_table(names)) {
        return Err(VerifyError::of_section(names.name, "it is no table of names"));
    }
    let overlaps = |pair: &&[&Section<'_>]| pair[0].offset.saturating_add(pair[0].size) > pair[1].offset;
    match places.windows(2).find(overlaps) {
        None => Ok(()),
        Some(pair) => {
            let reason = format!("it begins within section {}", quoted(pair[0].name));
            Err(VerifyError::of_section(pair[1].name, reason))
        }
    }
}

fn check_file(check: &Check<'_>) -> Result<(), VerifyError> {
    let (old, new) = (&check.old, &check.new);
    let fields = |file: &File<'_>| {
        let (header, endian) = (file.header, file.endian);
        let ident = header.e_ident;
        (
            (ident.class.0, ident.data.0, ident.os_abi.0, ident.abi_version),
            (header.e_type.get(endian), header.e_machine.get(endian), header.e_flags.get(endian)),
        )
    };
    let at = |reason| Err(VerifyError::at("the header of the file".into(), reason));
    if fields(old) != fields(new) {
        return at("it says something else than before");
    }
    let entry = new.header.e_entry.get(new.endian);
    if (entry != 0 && entry != old.header.e_entry.get(old.endian)) || new.header.e_phnum.get(new.endian) != 0
    {
        return at("it is that of a linked program");
    }
    Ok(())
}

fn check_header(check: &Check<'_>, old: &Section<'_>, new: &Section<'_>) -> Result<(), VerifyError> {
    let fail = |what: &str| Err(VerifyError::of_section(old.name, format!("its {what} is not as before")));
    // A table of names is made anew, with nothing that says more of it than its type.
    let is_anew = new.kind == elf::SHT_STRTAB && new.flags == 0 && new.align <= 1 && new.entsize == 0;
    // What was of a group that went is of none.
    let groups = check.old.sections.iter().zip(&check.sections);
    let has_lost =
        |(group, new): (&Section<'_>, &Option<usize>)| group.kind == elf::SHT_GROUP && new.is_none();
    let is_freed = new.flags == old.flags & !elf::SHF_GROUP.0 && groups.into_iter().any(has_lost);
    if old.flags != new.flags && !is_anew && !is_freed {
        return fail("flags field");
    }
    // 0 and 1 both mean any.
    if old.align.max(1) != new.align.max(1) && !is_anew {
        return fail("alignment");
    }
    if old.entsize != new.entsize && !is_anew {
        return fail("size of an entry");
    }
    let linked = check.sections[old.link];
    if linked != Some(new.link) && !(linked.is_none() && new.link == 0) {
        let reason = format!("it links to {}", quoted(check.new.sections[new.link].name));
        return Err(VerifyError::of_section(old.name, reason));
    }
    let info = if old.is_relocs() {
        check.sections[old.info as usize].and_then(|of| u32::try_from(of).ok())
    } else if old.kind == elf::SHT_SYMTAB {
        let locals = check.new.symbols.iter().skip(1).take_while(|symbol| symbol.is_local()).count();
        u32::try_from(locals + 1).ok()
    } else if old.kind == elf::SHT_GROUP {
        check.symbols.get(old.info as usize).copied().flatten().and_then(|symbol| u32::try_from(symbol).ok())
    } else {
        Some(old.info)
    };
    if info != Some(new.info) {
        return fail("info field");
    }
    Ok(())
}
