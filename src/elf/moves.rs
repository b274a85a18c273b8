//! [`Move`]: where the positions of one edited code section have gone.

use alloc::vec::Vec;

use super::code::CodeSection;
use super::error::ElfError;
use crate::Map;
use crate::bpf::Insn;

/// An edit of a code section: what it was, what it is now, and the map between them.
///
/// Invariant: `starts` ascends (not strictly), and has an entry a subprogram and one for the end.
pub(crate) struct Move<'a> {
    pub(crate) code: &'a CodeSection,
    pub(crate) map: &'a Map,
    pub(crate) insns: &'a [Insn],
    given: Given<'a>,
    starts: Vec<u32>,
}

/// New code of a section, and what is said of it beside where the old code went.
#[derive(Clone, Copy)]
pub(crate) struct NewCode<'a> {
    /// Which of the code sections of the object.
    pub(crate) code: usize,
    pub(crate) insns: &'a [Insn],
    pub(crate) map: &'a Map,
    pub(crate) given: Given<'a>,
}

/// What an edit says of references. Old slots and new ones ascend.
#[derive(Clone, Copy, Default)]
pub(crate) struct Given<'a> {
    /// Where functions that were added begin, if any were.
    pub(crate) tail: Option<u32>,
    /// Old instructions whose own reference goes, as the edit gave them another one or none.
    pub(crate) released: &'a [u32],
    /// Old instructions, and new ones that are copies of them and refer to the same.
    pub(crate) copies: &'a [(u32, u32)],
    /// New instructions that were given a reference.
    pub(crate) referring: &'a [u32],
}

impl<'a> Move<'a> {
    /// O(subprograms · log starts with code that only calls run).
    pub(crate) fn new(code: &'a CodeSection, new: NewCode<'a>) -> Result<Self, ElfError> {
        let NewCode { insns, map, given, .. } = new;
        if map.old_len() != code.len() {
            return Err(code.fail(map.old_len(), "the map is of a program of another length"));
        }
        if usize::try_from(map.new_len()) != Ok(insns.len()) {
            return Err(code.fail(map.new_len(), "the map and the new code differ in length"));
        }
        if map.new_len() > u32::MAX / 8 {
            return Err(code.fail(0, "the new code is longer than 4 GiB"));
        }
        let subprogs = code.program.subprogs.iter().filter(|&&start| start < code.len());
        let mut starts: Vec<u32> = subprogs.map(|&start| map.start_of(start)).collect();
        starts.push(given.tail.unwrap_or(map.new_len()));
        let cut = |&start: &u32| start > 0 && insns[start as usize - 1].is_wide();
        if let Some(&start) = starts.iter().find(|start| cut(start)) {
            return Err(code.fail(start, "the new code has an instruction cut short here"));
        }
        Ok(Self { code, map, insns, given, starts })
    }

    /// Whether any instruction has another position now. O(slots).
    pub(crate) fn any(&self) -> bool {
        self.map.new_len() != self.map.old_len()
            || (0..self.map.old_len()).any(|old| self.map.position_of(old) != Some(old))
    }

    /// Whether nothing of a subprogram is left.
    pub(crate) fn is_gone(&self, subprogram: usize) -> bool {
        self.starts[subprogram] == self.starts[subprogram + 1]
    }

    /// Whether nothing is left of the subprogram that the old slot was in.
    pub(crate) fn is_gone_at(&self, slot: u32) -> bool {
        slot < self.map.old_len() && self.is_gone(self.code.subprogram_at(slot))
    }

    /// The new end of the subprogram that the old slot was in.
    pub(crate) fn end_at(&self, slot: u32) -> u32 {
        self.starts[self.code.subprogram_at(slot) + 1]
    }

    /// Where something that led to the old slot, or to the end, leads now.
    ///
    /// The start of a subprogram has all that was prepended to its first instruction, on whichever
    /// way in: a function is entered from above.
    ///
    /// # Errors
    ///
    /// If there is no such place, or the subprogram it was in is gone.
    pub(crate) fn landing(&self, slot: u32) -> Result<u32, ElfError> {
        if slot > self.map.old_len() {
            return Err(self.code.fail(slot, "something refers to a place beyond the end"));
        }
        if self.code.is_inside(slot) {
            return Err(self.code.fail(slot, "something refers to the inside of an instruction"));
        }
        if self.is_gone_at(slot) {
            return Err(self.code.fail(slot, "something still refers to a function that was deleted"));
        }
        Ok(self.new_of(slot))
    }

    /// As [`landing`](Move::landing), for a place that is there.
    pub(crate) fn new_of(&self, slot: u32) -> u32 {
        if slot == self.map.old_len() {
            return self.starts[self.starts.len() - 1];
        }
        match self.code.program.subprogs.binary_search(&slot) {
            Ok(subprogram) => self.starts[subprogram],
            Err(_) => self.map.new_of(slot),
        }
    }

    /// As [`landing`](Move::landing), for any place: one beyond an end of the section stays as far beyond it.
    pub(crate) fn far_landing(&self, slot: i64) -> Result<i64, ElfError> {
        match u32::try_from(slot) {
            Ok(slot) if slot <= self.map.old_len() => Ok(self.landing(slot)?.into()),
            _ if slot < 0 => Ok(slot),
            _ => Ok(slot - i64::from(self.map.old_len()) + i64::from(self.map.new_len())),
        }
    }

    /// As [`far_landing`](Move::far_landing), for bytes.
    pub(crate) fn landing_bytes(&self, offset: i64) -> Result<i64, ElfError> {
        let (slot, byte) = (offset.div_euclid(8), offset.rem_euclid(8));
        let inside = u32::try_from(slot).ok().filter(|&slot| byte != 0 && slot < self.map.old_len());
        if let Some(slot) = inside {
            return Err(self.code.fail(slot, "something refers to the inside of an instruction"));
        }
        Ok(self.far_landing(slot)?.saturating_mul(8).saturating_add(byte))
    }

    /// Where an entry of a jump table with this offset in bytes leads now: to where a jump to its instruction does.
    ///
    /// # Errors
    ///
    /// If there is no such place, or what is left of the function ends before it.
    pub(crate) fn jump_landing_bytes(&self, offset: u64) -> Result<u64, ElfError> {
        let slot = u32::try_from(offset / 8).unwrap_or(u32::MAX);
        if !offset.is_multiple_of(8) {
            return Err(self.code.fail(slot, "a jump table leads to the inside of an instruction"));
        }
        if slot >= self.map.old_len() {
            return Err(self.code.fail(slot, "a jump table leads to a place beyond the end"));
        }
        self.landing(slot)?;
        let new = self.map.new_of(slot);
        if new >= self.end_at(slot) {
            return Err(self.code.fail(slot, "a jump table leads to code that was deleted"));
        }
        Ok(u64::from(new) * 8)
    }

    /// New instructions that have a reference of their own: they were given one, or are copies that share one.
    pub(crate) fn with_reference(&self) -> impl Iterator<Item = u32> + use<'a> {
        let copies = self.given.copies.iter().map(|&(_, new)| new);
        self.given.referring.iter().copied().chain(copies)
    }

    /// Where copies of the instruction at the old slot are that refer to what it refers to.
    pub(crate) fn copies(&self, slot: u32) -> impl Iterator<Item = u32> + use<'a> {
        let first = self.given.copies.partition_point(|&(old, _)| old < slot);
        self.given.copies[first..].iter().take_while(move |&&(old, _)| old == slot).map(|&(_, new)| new)
    }

    /// Where the instruction at the old slot itself is now, if it is as it was and keeps its reference.
    ///
    /// # Errors
    ///
    /// If there is another instruction in its place: what is known of it does not hold then.
    pub(crate) fn unchanged(&self, slot: u32) -> Result<Option<u32>, ElfError> {
        let Some(new) = self.map.position_of(slot) else { return Ok(None) };
        if self.given.released.binary_search(&slot).is_ok() {
            return Ok(None);
        }
        let len = self.code.program.insns[slot as usize].slots();
        let old = self.code.program.insns.get(slot as usize..slot as usize + len);
        if old.is_none() || old != self.insns.get(new as usize..new as usize + len) {
            if self.copies(slot).next().is_some() {
                return Ok(None);
            }
            return Err(self.code.fail(slot, "an instruction that the loader rewrites was changed"));
        }
        Ok(Some(new))
    }
}
