//! [`Aim`]: makes every branch of a layout lead to where its target went.

use alloc::vec::Vec;
use core::ops::Range;

use super::fill::note;
use super::handle;
use crate::core::columns::{Columns, WORD, ones, up_to};
use crate::core::handle::to_u32;
use crate::core::map::{Map, MapWord, NOWHERE, PLAIN};
use crate::core::{Error, Handle, Isa, List};

/// A branch that does not reach its target.
#[derive(Clone, Copy, Debug)]
pub(in crate::core) struct Overlong {
    /// Where its units are in the list.
    pub(in crate::core) at: Handle,
    pub(in crate::core) field: usize,
    pub(in crate::core) from: u32,
    pub(in crate::core) error: Error,
}

/// Fixes branches of original instructions that nothing was done to, in these of the words: the new place of each is its
/// label. Gives those to `rest` that do not lead into the first `known` words, or take more than one field of one unit.
#[inline]
pub(super) fn aim_originals<I: Isa, A>(
    isa: &I,
    columns: &Columns<'_, I::Unit, A>,
    units: &mut [I::Unit],
    map: &Map,
    range: Range<usize>,
    known: usize,
    mut rest: impl FnMut(Handle, u32),
) {
    let words = &columns.words;
    let known = columns.original.len().min(known * WORD);
    for word in range {
        let branches = words.branch[word] & !words.touched(word);
        if branches == 0 {
            continue;
        }
        let quick = if columns.several { 0 } else { words.singles(word) };
        let MapWord { base, row } = map.words[word];
        for at in ones(branches, word * WORD) {
            let from = if row == PLAIN { base + to_u32(at % WORD) } else { map.label(at) };
            let target = |to: i64| {
                let to = usize::try_from(to).ok().filter(|&to| to < known)?;
                (words.inner[to / WORD] >> (to % WORD) & 1 == 0).then(|| map.label(to))
            };
            if quick >> (at % WORD) & 1 == 0
                || !aim_quickly(isa, units, map, from, i64::from(to_u32(at)), target)
            {
                rest(handle(at), from);
            }
        }
    }
}

/// Makes a branch of one unit and field lead to a place: what `target` makes of where its displacement leads if it
/// counts from `at`. Says whether it did.
#[inline(always)]
#[expect(clippy::inline_always, reason = "it is to share what is loaded with the loop that it stands in")]
fn aim_quickly<I: Isa>(
    isa: &I,
    units: &mut [I::Unit],
    map: &Map,
    from: u32,
    at: i64,
    target: impl Fn(i64) -> Option<u32>,
) -> bool {
    let Some(insn) = units.get_mut(from as usize).map(core::slice::from_mut) else { return false };
    if !map.starts.is_empty() && isa.enters(insn, 0) {
        return false;
    }
    let base = isa.base(insn, 0);
    let (Some(at), Some(from)) = (at.checked_add(base), i64::from(from).checked_add(base)) else {
        return false;
    };
    isa.update(insn, 0, |displacement| {
        let to = target(at.checked_add(displacement)?).filter(|&to| to < map.new_len)?;
        i64::from(to).checked_sub(from)
    })
}

/// The branches of a layout that take more.
pub(super) struct Aim<'s, 'a, I: Isa, A> {
    list: &'s List<'a, I, A>,
    units: &'s mut [I::Unit],
    map: &'s Map,
    /// Branches that do not reach.
    overlong: &'s mut Vec<Overlong>,
    /// The first branch, in the order of the output, that has no place to go.
    fault: Option<(u32, Error)>,
    /// Whether there was no memory to note a branch that does not reach.
    refused: bool,
}

impl<'s, 'a, I: Isa, A> Aim<'s, 'a, I, A> {
    pub(super) fn new(
        list: &'s List<'a, I, A>,
        units: &'s mut [I::Unit],
        map: &'s Map,
        overlong: &'s mut Vec<Overlong>,
    ) -> Self {
        Self { list, units, map, overlong, fault: None, refused: false }
    }

    /// Inserted branches that nothing was done to.
    pub(super) fn inserted_branches(&mut self) {
        let (columns, map) = (&self.list.columns, self.map);
        for chunk in columns.chunks() {
            let words = &chunk.words;
            for word in 0..chunk.units.len().div_ceil(WORD) {
                let ranks = words.targets[word] as usize..;
                let singles = words.singles(word);
                let touched = words.touched(word);
                for (local, target) in ones(words.branch[word], word * WORD).zip(ranks) {
                    let (at, bit) = (chunk.start + local, local % WORD);
                    if touched >> bit & 1 != 0 {
                        continue;
                    }
                    let starts = words.starts[word] & up_to(bit + 1);
                    let id = (words.records[word] + starts.count_ones()) as usize - 1;
                    let from = map.records.label(id, map.records.start[id] as usize, at);
                    if from == NOWHERE {
                        continue;
                    }
                    // Whatever displacement it was given does not count.
                    let target = |_| Some(landing(columns, map, columns.targets.get(target)?.at()));
                    let quick = !columns.several
                        && singles >> bit & 1 != 0
                        && aim_quickly(&self.list.isa, self.units, map, from, 0, target);
                    if !quick {
                        self.aim_fields(at, from);
                    }
                }
            }
        }
    }

    /// Other branches that were not replaced, with their new positions.
    pub(super) fn noted_branches(&mut self, branches: &[(Handle, u32)]) {
        for &(branch, from) in branches {
            self.aim_fields(branch.at(), from);
        }
    }

    /// The fault, if there was one.
    pub(super) fn finish(self) -> Result<(), (u32, Error)> {
        if self.refused {
            return Err((0, Error::OutOfMemory));
        }
        // A sort that is stable would need memory.
        self.overlong.sort_unstable_by_key(|branch| (branch.from, branch.field));
        self.fault.map_or(Ok(()), Err)
    }

    /// Makes the branch whose units were at `at` and are at `from` lead where the list says, by field.
    #[inline(never)]
    fn aim_fields(&mut self, at: usize, from: u32) {
        let (list, map, isa) = (self.list, self.map, &self.list.isa);
        let insn = &mut self.units[from as usize..][..list.columns.len_at(at)];
        for field in 0..isa.fields(insn) {
            let target = list.target_of(at, insn, field);
            let to = match target {
                Ok(target) if !list.columns.is_inner(target.at()) => {
                    let before = if isa.enters(insn, field) { map.start_before(target.at()) } else { None };
                    before.unwrap_or_else(|| landing(&list.columns, map, target.at()))
                }
                _ => NOWHERE,
            };
            if to >= map.new_len {
                let error = self.nowhere_to_go(from, target);
                if self.fault.is_none_or(|(first, _)| from < first) {
                    self.fault = Some((from, error));
                }
                return;
            }
            let distance = i64::from(to) - i64::from(from);
            let displacement = distance.checked_sub(isa.base(insn, field));
            let range = isa.range(insn, field);
            if let Some(displacement) = displacement.filter(|displacement| range.contains(displacement)) {
                isa.write(insn, field, displacement);
                continue;
            }
            let displacement = distance.saturating_sub(isa.base(insn, field));
            let (min, max) = (*range.start(), *range.end());
            let origin = map.origin(from).position();
            let error = Error::OutOfRange { origin, from, to, displacement, min, max };
            note(self.overlong, Overlong { at: handle(at), field, from, error }, &mut self.refused);
        }
    }

    /// Why the target of a branch is no place.
    #[cold]
    fn nowhere_to_go(&self, from: u32, target: Result<Handle, i64>) -> Error {
        let (list, origin) = (self.list, self.map.origin(from).position());
        match target {
            Err(target) => Error::BranchOutside { origin, target },
            Ok(target) if list.columns.is_inner(target.at()) => {
                Error::BranchIntoInsn { origin, target: i64::from(target.index()) }
            }
            Ok(target) if target == list.end() || list.columns.is_label(target.at()) => {
                Error::PastEnd { origin }
            }
            Ok(target) => Error::DeletedTail { origin, target },
        }
    }
}

/// Where a branch to the unit at `at` lands, or `NOWHERE`.
#[inline]
fn landing<U, A>(columns: &Columns<'_, U, A>, map: &Map, at: usize) -> u32 {
    if at < columns.base {
        return map.label(at);
    }
    let id = columns.record_of(at);
    map.records.label(id, map.records.start[id] as usize, at)
}

#[cfg(all(test, feature = "bpf"))]
mod tests;
