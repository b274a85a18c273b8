//! [`Track`]: what became of each instruction of an object through several edits.

use alloc::vec::Vec;

use super::code::CodeSection;
use super::object::Object;
use super::text::Name;
use crate::bpf::{Bpf, Insn};
use crate::{Isa, Map, Origin};

/// What became of a function. Counts are of instructions, of one slot or two each, over all passes.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct FunctionReport {
    /// The name of its section.
    pub section: Name,
    /// Its name; empty if no symbol says.
    pub function: Name,
    /// Instructions before.
    pub before: u32,
    /// Instructions after.
    pub after: u32,
    /// Those after that were not there before.
    pub inserted: u32,
    /// Those before that are gone; one that was replaced by others is not.
    pub deleted: u32,
    /// Jumps, calls and function references that were there before, and have another displacement now.
    pub branches_moved: u32,
}

/// For each code section, where each slot of it now came from.
pub(crate) struct Track {
    homes: Vec<Vec<Home>>,
}

/// Where a slot came from.
#[derive(Clone, Copy)]
struct Home {
    /// The slot in the object as it was, or that of the instruction it was inserted for.
    slot: u32,
    /// Whether it stood there itself.
    original: bool,
}

impl Track {
    /// Before any edit. O(slots).
    pub(crate) fn new(object: &Object<'_>) -> Self {
        let homes = |code: &CodeSection| (0..code.len()).map(|slot| Home { slot, original: true }).collect();
        Self { homes: object.code().iter().map(homes).collect() }
    }

    /// Takes note of an edit of code section `code`. O(slots · log slots).
    pub(crate) fn follow(&mut self, code: usize, map: &Map) {
        let homes = &mut self.homes[code];
        let new = (0..map.new_len()).map(|new| match map.origin(new) {
            Origin::Original(old) => homes[old as usize],
            Origin::InsertedFor(old) => Home { original: false, ..homes[old as usize] },
        });
        *homes = new.collect();
    }

    /// The slot in the object as it was that slot `slot` of code section `code` came from.
    pub(crate) fn home(&self, code: usize, slot: u32) -> Option<u32> {
        self.homes[code].get(slot as usize).map(|home| home.slot)
    }

    /// What became of each function between `old`, the object as it was, and `new`. O(slots).
    pub(crate) fn report(&self, old: &Object<'_>, new: &Object<'_>) -> Vec<FunctionReport> {
        let mut reports = Vec::new();
        for ((old, new), homes) in old.code().iter().zip(new.code()).zip(&self.homes) {
            let mut of_section = Vec::new();
            let mut rows = Vec::new();
            for (subprogram, (&start, part)) in old.program().subprogs.iter().zip(old.parts()).enumerate() {
                rows.push(part.is_function());
                let before = old.insns(old.subprogram_range(subprogram)).count();
                let before = u32::try_from(before).unwrap_or(u32::MAX);
                of_section.push(FunctionReport {
                    section: old.name.clone(),
                    function: old
                        .function_at(start)
                        .map(|function| function.name.clone())
                        .unwrap_or_default(),
                    before,
                    after: 0,
                    inserted: 0,
                    deleted: before,
                    branches_moved: 0,
                });
            }
            for (at, _) in new.insns(0..new.len()) {
                let home = homes[at as usize];
                let report: &mut FunctionReport = &mut of_section[old.subprogram_at(home.slot)];
                report.after += 1;
                if home.original {
                    report.deleted -= 1;
                    let was = displacement(&old.program().insns, home.slot);
                    let is = displacement(&new.program().insns, at);
                    report.branches_moved += u32::from(was.is_some() && is.is_some() && was != is);
                } else {
                    report.inserted += 1;
                }
            }
            reports
                .extend(of_section.into_iter().zip(rows).filter_map(|(report, row)| row.then_some(report)));
        }
        reports
    }
}

fn displacement(insns: &[Insn], at: u32) -> Option<i64> {
    let insn = &insns[at as usize..];
    (Bpf.fields(insn) != 0).then(|| Bpf.read(insn, 0))
}
