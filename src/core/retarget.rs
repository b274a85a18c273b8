//! [`Retarget`]: makes every branch of a layout lead to where its target went.

use alloc::vec::Vec;
use core::ops::Range;

use super::fill::note;
use super::handle::to_u32;
use super::map::{Map, NOWHERE};
use super::words::{WORD, Word, ones};
use super::{Error, Handle, Isa, List};

/// A branch that does not reach its target.
#[derive(Clone, Copy, Debug)]
pub(super) struct Overlong {
    /// Where its units are in the list.
    pub(super) at: Handle,
    pub(super) field: usize,
    pub(super) from: u32,
    pub(super) error: Error,
}

/// What it takes to fix a usual branch.
pub(super) struct Aim<'s, I: Isa> {
    pub(super) units: &'s mut [I::Unit],
    /// How many units there will be.
    pub(super) new_len: u32,
    /// Whether nothing stands before a label.
    pub(super) no_starts: bool,
}

impl<I: Isa> Aim<'_, I> {
    /// Branches of original instructions that nothing was done to, in these of the words: each is at its label. Those
    /// that this does not fix are given to `rest`, with their new positions: all that do not lead where it is `known`.
    pub(super) fn originals(
        &mut self,
        words: &[Word],
        range: Range<usize>,
        known: &[u32],
        mut rest: impl FnMut(Handle, u32),
    ) {
        for (index, word) in range.clone().zip(&words[range]) {
            let singles = word.singles();
            for at in ones(word.branch & !word.touched(), index * WORD) {
                let from = known[at];
                let single = singles >> (at % WORD) & 1 != 0;
                if !single || !self.quickly(from, |displacement| original(words, known, at, displacement)) {
                    rest(Handle::new(to_u32(at)), from);
                }
            }
        }
    }

    /// Makes a branch of one unit and field lead to a place: what `target` makes of its displacement, counted from where
    /// the branch was. Says whether it did.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "it is to share what is loaded with the loop that it stands in")]
    fn quickly(&mut self, from: u32, target: impl Fn(i64) -> Option<u32>) -> bool {
        let Some(insn) = self.units.get_mut(from as usize).map(core::slice::from_mut) else { return false };
        if I::MAX_FIELDS != 1 || !self.no_starts && I::enters(insn, 0) {
            return false;
        }
        let base = I::base(insn, 0);
        I::update(insn, 0, |displacement| {
            let to = target(displacement + base).filter(|&to| to < self.new_len)?;
            Some(i64::from(to) - i64::from(from) - base)
        })
    }
}

/// The label that is `displacement` from the original unit at `at`, if that is known, and no unit in the middle of an
/// instruction.
#[inline]
fn original(words: &[Word], known: &[u32], at: usize, displacement: i64) -> Option<u32> {
    let to = usize::try_from(i64::from(to_u32(at)) + displacement).ok()?;
    let label = *known.get(to)?;
    (words.get(to / WORD)?.inner >> (to % WORD) & 1 == 0).then_some(label)
}

/// The branches of a layout that take more.
pub(super) struct Retarget<'s, 'a, I: Isa, A> {
    list: &'s List<'a, I, A>,
    aim: Aim<'s, I>,
    map: &'s Map,
    /// Branches that do not reach.
    overlong: &'s mut Vec<Overlong>,
    /// The first branch, in the order of the output, that has no place to go.
    fault: Option<(u32, Error)>,
    /// Whether there was no memory to note a branch that does not reach.
    refused: bool,
}

impl<'s, 'a, I: Isa, A> Retarget<'s, 'a, I, A> {
    pub(super) fn new(
        list: &'s List<'a, I, A>,
        units: &'s mut [I::Unit],
        map: &'s Map,
        overlong: &'s mut Vec<Overlong>,
    ) -> Self {
        let aim = Aim { units, new_len: map.new_len, no_starts: map.starts.is_empty() };
        Self { list, aim, map, overlong, fault: None, refused: false }
    }

    /// Inserted branches that nothing was done to.
    pub(super) fn inserted_branches(&mut self) {
        let (list, labels) = (self.list, &self.map.labels[..]);
        let first = list.base as usize / WORD;
        for (index, word) in list.words.iter().enumerate().skip(first) {
            let (singles, touched) = (word.singles(), word.touched());
            for (at, rank) in ones(word.branch, index * WORD).zip(word.branches..) {
                let (from, bit) = (labels[at], at % WORD);
                if touched >> bit & 1 != 0 || from == NOWHERE {
                    continue;
                }
                let target = |_| labels.get(list.target_by_rank(rank, 0).ok()?.at()).copied();
                if singles >> bit & 1 == 0 || !self.aim.quickly(from, target) {
                    self.aim_listed(Handle::new(to_u32(at)), from);
                }
            }
        }
    }

    /// Other branches that were not replaced, with their new positions.
    pub(super) fn other_branches(&mut self, branches: &[(Handle, u32)]) {
        let (list, map) = (self.list, self.map);
        for &(handle, from) in branches {
            let at = handle.at();
            let single = handle.index() < list.base && list.words[at / WORD].is_single(at);
            let known = &map.labels[..list.original.len()];
            if !single
                || !self.aim.quickly(from, |displacement| original(&list.words, known, at, displacement))
            {
                self.aim_listed(handle, from);
            }
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
    fn aim_listed(&mut self, at: Handle, from: u32) {
        let (list, map) = (self.list, self.map);
        let insn = &mut self.aim.units[from as usize..][..list.len_at(at)];
        for field in 0..I::fields(insn) {
            let target = list.target_of(at, insn, field);
            let to = match target {
                Ok(target) if !list.words.is_inner(target.at()) => place(map, target, I::enters(insn, field)),
                _ => NOWHERE,
            };
            if to >= map.new_len {
                let error = nowhere_to_go(list, map, from, target);
                fail(&mut self.fault, from, error);
                return;
            }
            let displacement = i64::from(to) - i64::from(from) - I::base(insn, field);
            let range = I::range(insn, field);
            if range.contains(&displacement) {
                I::write(insn, field, displacement);
            } else {
                let (min, max) = (*range.start(), *range.end());
                let origin = map.origin(from).position();
                let error = Error::OutOfRange { origin, from, to, displacement, min, max };
                note(self.overlong, Overlong { at, field, from, error }, &mut self.refused);
            }
        }
    }
}

/// Where a branch to `target` lands, or `NOWHERE`.
#[inline]
fn place(map: &Map, target: Handle, enters: bool) -> u32 {
    if enters && !map.starts.is_empty() {
        return map.start_of_handle(target).unwrap_or(NOWHERE);
    }
    map.labels.get(target.at()).copied().unwrap_or(NOWHERE)
}

#[cold]
fn fail(fault: &mut Option<(u32, Error)>, from: u32, error: Error) {
    if fault.is_none_or(|(first, _)| from < first) {
        *fault = Some((from, error));
    }
}

/// Why the target of a branch is no place.
#[cold]
fn nowhere_to_go<I: Isa, A>(
    list: &List<'_, I, A>,
    map: &Map,
    from: u32,
    target: Result<Handle, i64>,
) -> Error {
    let origin = map.origin(from).position();
    match target {
        Err(target) => Error::BranchOutside { origin, target },
        Ok(target) if list.words.is_inner(target.at()) => {
            Error::BranchIntoInsn { origin, target: i64::from(target.index()) }
        }
        Ok(target) => Error::DeletedTail { origin, target },
    }
}

#[cfg(all(test, feature = "fuzzing"))]
mod tests;
