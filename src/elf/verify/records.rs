//! The records of `.BTF.ext`, by the format in the kernel's `Documentation/bpf/btf.rst`.

use alloc::format;
use alloc::vec::Vec;
use std::collections::HashMap;

use super::Check;
use super::error::VerifyError;
use super::file::{File, Reloc};
use super::trace::Trace;

pub(super) const EXT: &[u8] = b".BTF.ext";
const MAGIC: u32 = 0xeb9f;

/// A table, by its place in the header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Func,
    Line,
    Core,
}

const KINDS: [Kind; 3] = [Kind::Func, Kind::Line, Kind::Core];

/// The section, taken apart.
pub(super) struct Ext<'d> {
    /// All of the header but the places of the tables.
    head: Vec<u8>,
    pub(super) tables: [Table<'d>; 3],
    /// Whether the tables fill the section, without a gap.
    is_filled: bool,
}

#[derive(Default)]
pub(super) struct Table<'d> {
    /// The length of a record.
    pub(super) record: usize,
    pub(super) groups: Vec<Group<'d>>,
}

/// The records of one section.
pub(super) struct Group<'d> {
    /// The name of the section, an offset into the strings of `.BTF`.
    name: u32,
    /// The section of that name.
    pub(super) owner: Option<usize>,
    /// Where in `.BTF.ext` the first record is.
    start: usize,
    data: &'d [u8],
}

impl<'d> Group<'d> {
    pub(super) fn records(&self, len: usize) -> impl ExactSizeIterator<Item = &'d [u8]> {
        self.data.chunks_exact(len.max(1))
    }
}

impl<'d> Ext<'d> {
    /// `None` if there is none, or none by the format.
    pub(super) fn read(file: &File<'d>) -> Option<Self> {
        let data = file.sections[file.section_named(EXT)?].data;
        if file.u32_at(data, 0)? & 0xffff != MAGIC && file.u32_at(data, 0)? >> 16 != MAGIC {
            return None;
        }
        let len = file.u32_at(data, 4)? as usize;
        let mut head = data.get(..len)?.to_vec();
        let names = Names::of(file);
        let mut tables: [Table<'d>; 3] = Default::default();
        let mut places = Vec::new();
        for kind in KINDS {
            let field = 8 + kind as usize * 8;
            // The header of old files ends before the last table.
            let Some(place) = head.get_mut(field..field + 8) else { continue };
            let (offset, size) = (file.u32_at(place, 0)? as usize, file.u32_at(place, 4)? as usize);
            place.fill(0);
            places.push((offset, size));
            if size != 0 {
                let start = len.checked_add(offset)?;
                tables[kind as usize] = Table::read(file, data, start..start.checked_add(size)?, &names)?;
            }
        }
        places.sort_unstable();
        let end = places.iter().try_fold(0, |end, &(offset, size)| (offset == end).then_some(end + size));
        Some(Self { head, tables, is_filled: end.and_then(|end| end.checked_add(len)) == Some(data.len()) })
    }
}

impl<'d> Table<'d> {
    fn read(
        file: &File<'d>,
        data: &'d [u8],
        range: core::ops::Range<usize>,
        names: &Names<'d>,
    ) -> Option<Self> {
        let table = data.get(..range.end)?;
        let record = file.u32_at(table, range.start)? as usize;
        let mut groups = Vec::new();
        let mut at = range.start + 4;
        while at < table.len() {
            let (name, count) = (file.u32_at(table, at)?, file.u32_at(table, at + 4)? as usize);
            let start = at + 8;
            let records = table.get(start..start.checked_add(count.checked_mul(record)?)?)?;
            at = start + records.len();
            groups.push(Group { name, owner: names.section(name), start, data: records });
        }
        Some(Self { record, groups })
    }
}

/// The strings of `.BTF`, to find sections by name.
struct Names<'d> {
    strings: &'d [u8],
    /// Where strings end, ascending.
    ends: Vec<usize>,
    /// The section of each name, if there is but one.
    sections: HashMap<&'d [u8], Option<usize>>,
    /// The lengths of these names: what is of another length is not looked up.
    lengths: Vec<usize>,
}

impl<'d> Names<'d> {
    fn of(file: &File<'d>) -> Self {
        let strings = || {
            let data = file.sections[file.section_named(b".BTF")?].data;
            let field = |at| file.u32_at(data, at).map(|value| value as usize);
            let start = field(4)?.checked_add(field(16)?)?;
            data.get(start..start.checked_add(field(20)?)?)
        };
        let strings: &[u8] = strings().unwrap_or_default();
        let ends = strings.iter().enumerate().filter(|(_, byte)| **byte == 0).map(|(at, _)| at).collect();
        let mut sections: HashMap<&[u8], Option<usize>> = HashMap::new();
        for (index, section) in file.sections.iter().enumerate().filter(|(_, section)| section.is_code()) {
            sections.entry(section.name).and_modify(|found| *found = None).or_insert(Some(index));
        }
        let mut lengths: Vec<usize> = sections.keys().map(|name| name.len()).collect();
        lengths.sort_unstable();
        Self { strings, ends, sections, lengths }
    }

    fn section(&self, name: u32) -> Option<usize> {
        let start = name as usize;
        let end = *self.ends.get(self.ends.partition_point(|&end| end < start))?;
        self.lengths.binary_search(&(end - start)).ok()?;
        *self.sections.get(&self.strings[start..end])?
    }
}

pub(super) fn check(check: &Check<'_>) -> Result<(), VerifyError> {
    let Some(index) = check.old.section_named(EXT).filter(|_| check.has_moved()) else { return Ok(()) };
    let fail = |reason: &str| VerifyError::of_section(EXT, reason);
    let Some(old) = Ext::read(&check.old) else { return Err(fail("code has moved, and it cannot be read")) };
    let new = Ext::read(&check.new).ok_or_else(|| fail("it cannot be read any more"))?;
    if !new.is_filled {
        return Err(fail("its tables do not fill it"));
    }
    if old.head != new.head {
        return Err(fail("its header says something else than before"));
    }
    let mut places = Vec::new();
    for kind in KINDS {
        let (old, new) = (&old.tables[kind as usize], &new.tables[kind as usize]);
        if !new.groups.is_empty() && new.record != old.record {
            return Err(fail("the length of its records is not as before"));
        }
        let mut found = new.groups.iter();
        for group in &old.groups {
            let expected = surviving(check, kind, group, old.record);
            if expected.is_empty() {
                continue;
            }
            let name = group.owner.map_or(EXT, |owner| check.old.sections[owner].name);
            let fail = |reason: &str| VerifyError::of_section(name, format!("{kind:?} records: {reason}"));
            let new = found.next().ok_or_else(|| fail("all are missing"))?;
            if new.name != group.name {
                return Err(fail("they are of another section now"));
            }
            if new.records(old.record).len() != expected.len() {
                let count = new.records(old.record).len();
                return Err(fail(&format!("there are {count}, and there should be {}", expected.len())));
            }
            for (number, (&(which, place), record)) in
                expected.iter().zip(new.records(old.record)).enumerate()
            {
                let before = &group.data[which * old.record..][..old.record];
                let found = check.new.u32_at(record, 0);
                if found != Some(place) {
                    let found = found.unwrap_or_default();
                    return Err(fail(&format!(
                        "number {number} is at {found:#x}, and should be at {place:#x}"
                    )));
                }
                if record.get(4..) != before.get(4..) {
                    return Err(fail(&format!("number {number} says something else than before")));
                }
                places.push((group.start + which * old.record, new.start + number * old.record));
            }
        }
        if found.next().is_some() {
            return Err(fail("it has records of a section that had none"));
        }
    }
    check_relocations(check, index, places)
}

/// The records that are left of a group, by index, each with its new place in bytes.
fn surviving(check: &Check<'_>, kind: Kind, group: &Group<'_>, len: usize) -> Vec<(usize, u32)> {
    let places = group.records(len).map(|record| check.old.u32_at(record, 0).unwrap_or_default()).enumerate();
    let Some(trace) = group.owner.and_then(|owner| check.traces[owner].as_ref()) else {
        return places.collect();
    };
    let inside = |&(_, place): &(usize, u32)| place % 8 == 0 && place / 8 < trace.old_len();
    let slots = places.filter(inside).map(|(which, place)| (which, place / 8));
    let bytes = |(which, slot): (usize, u32)| (which, slot * 8);
    match kind {
        Kind::Core => {
            slots.filter_map(|(which, slot)| Some((which, trace.survivor(slot)?))).map(bytes).collect()
        }
        Kind::Func => slots
            .filter(|&(_, slot)| is_inside(trace, slot))
            .map(|(which, slot)| bytes((which, trace.leads(slot))))
            .collect(),
        Kind::Line => lines(trace, slots.collect()).into_iter().map(bytes).collect(),
    }
}

/// Whether what leads to the old slot still leads into its function.
fn is_inside(trace: &Trace<'_>, slot: u32) -> bool {
    trace.leads(slot) < trace.function_end(slot)
}

/// The kernel's rule, in `bpf_adj_linfo_after_remove`: of the records that come to stand at one place the last one
/// stays, and none that has nothing of its function behind it.
fn lines(trace: &Trace<'_>, mut records: Vec<(usize, u32)>) -> Vec<(usize, u32)> {
    records.sort_by_key(|&(_, slot)| slot);
    records.retain(|&(_, slot)| is_inside(trace, slot));
    let mut last: Vec<(usize, u32)> = Vec::new();
    for (which, slot) in records {
        let place = trace.leads(slot);
        last.pop_if(|last| last.1 == place);
        last.push((which, place));
    }
    last
}

/// The relocations of the section: those of the records that are left. `places` has the old and the new place of each.
fn check_relocations(
    check: &Check<'_>,
    index: usize,
    places: Vec<(usize, usize)>,
) -> Result<(), VerifyError> {
    let places: HashMap<usize, usize> = places.into_iter().collect();
    let relocs = check.old.sections.iter().enumerate();
    for (relocs, old) in relocs.filter(|(_, relocs)| relocs.is_relocs() && relocs.info as usize == index) {
        let Some(new) = check.sections[relocs] else { continue };
        let new = &check.new.sections[new];
        let moved = |reloc: &Reloc| {
            let place = places.get(&usize::try_from(reloc.offset).ok()?)?;
            Some((
                *place as u64,
                check.symbols.get(reloc.symbol).copied().flatten(),
                reloc.kind,
                reloc.addend,
            ))
        };
        let mut expected: Vec<_> = old.relocs.iter().filter_map(moved).collect();
        expected.sort_unstable();
        let found = |reloc: &Reloc| (reloc.offset, Some(reloc.symbol), reloc.kind, reloc.addend);
        let mut found: Vec<_> = new.relocs.iter().map(found).collect();
        found.sort_unstable();
        if let Some(wrong) = expected.iter().zip(&found).find(|(expected, found)| expected != found) {
            let reason = "its relocations are not those of its records";
            return Err(VerifyError::of_byte(old.name, wrong.1.0, reason));
        }
        if expected.len() != found.len() {
            let reason = format!("it has {} relocations, and should have {}", found.len(), expected.len());
            return Err(VerifyError::of_section(old.name, reason));
        }
    }
    Ok(())
}
