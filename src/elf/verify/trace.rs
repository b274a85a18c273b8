//! [`Trace`]: where the code of one section went, through all its changes.

use alloc::vec::Vec;

use super::change::CodeChange;
use super::error::VerifyError;
use super::file::File;
use super::functions::{self, Parts};
use crate::bpf::Insn;

/// Where the code of one section went. Positions are slots.
pub(super) struct Trace<'a> {
    /// For each old slot where the instruction itself is, or what replaced it.
    own: Vec<Option<u32>>,
    /// For each old slot whether what stands in its place is the instruction itself.
    survives: Vec<bool>,
    /// For each old slot, and for the end, where a branch to it lands.
    lands: Vec<u32>,
    /// For each old slot, and for the end, where all that stands there begins.
    begins: Vec<u32>,
    /// The old functions, and what lies between them.
    pub(super) parts: Parts,
    /// The code after the last change, before addends were moved.
    pub(super) insns: &'a [Insn],
}

/// The traces of all sections that were changed, by index in the old file.
pub(super) fn trace_all<'a>(
    old: &File<'_>,
    changes: &'a [CodeChange],
) -> Result<Vec<Option<Trace<'a>>>, VerifyError> {
    let mut traces: Vec<Option<Trace<'a>>> = old.sections.iter().map(|_| None).collect();
    if changes.is_empty() {
        return Ok(traces);
    }
    let mut parts = functions::parts(old);
    for change in changes {
        let Some(section) = old.sections.get(change.section).filter(|section| section.is_code()) else {
            return Err(VerifyError::of_section(&[], "a change of what is no code section"));
        };
        let trace = traces[change.section].get_or_insert_with(|| {
            Trace::unchanged(section.data.len() / 8, core::mem::take(&mut parts[change.section]))
        });
        if !trace.follow(change) {
            return Err(VerifyError::of_section(section.name, "a change of code of another length"));
        }
    }
    Ok(traces)
}

impl<'a> Trace<'a> {
    fn unchanged(len: usize, parts: Parts) -> Self {
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        let all: Vec<u32> = (0..=len).collect();
        Self {
            own: (0..len).map(Some).collect(),
            survives: alloc::vec![true; len as usize],
            lands: all.clone(),
            begins: all,
            parts,
            insns: &[],
        }
    }

    /// Goes on through one more change. False if it is of code of another length.
    fn follow(&mut self, change: &'a CodeChange) -> bool {
        let map = &change.map;
        let end = self.lands.last().copied();
        let is_first = self.insns.is_empty() && end == u32::try_from(self.own.len()).ok();
        let len = if is_first { self.own.len() } else { self.insns.len() };
        if usize::try_from(map.old_len()) != Ok(len)
            || usize::try_from(map.new_len()) != Ok(change.insns.len())
        {
            return false;
        }
        for (own, survives) in self.own.iter_mut().zip(&mut self.survives) {
            *survives &= own.is_some_and(|at| change.replaced.binary_search(&at).is_err());
            *own = own.and_then(|at| map.position_of(at));
        }
        for lands in &mut self.lands {
            *lands = map.new_of(*lands);
        }
        for begins in &mut self.begins {
            *begins = map.start_of(*begins);
        }
        self.insns = &change.insns;
        true
    }

    pub(super) fn old_len(&self) -> u32 {
        u32::try_from(self.own.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn new_len(&self) -> u32 {
        u32::try_from(self.insns.len()).unwrap_or(u32::MAX)
    }

    /// Where the instruction at the old slot is now, if it was neither deleted nor replaced.
    pub(super) fn survivor(&self, slot: u32) -> Option<u32> {
        self.own[slot as usize].filter(|_| self.survives[slot as usize])
    }

    /// Whether another instruction stands in the place of that at the old slot.
    pub(super) fn is_replaced(&self, slot: u32) -> bool {
        self.own[slot as usize].is_some() && !self.survives[slot as usize]
    }

    /// Where a branch to the old slot lands.
    pub(super) fn lands(&self, slot: u32) -> u32 {
        self.lands[slot as usize]
    }

    /// Where a call of the old slot leads: a function begins with all that stands before its first instruction.
    pub(super) fn begins(&self, slot: u32) -> u32 {
        self.begins[slot as usize]
    }

    /// Where a symbol, record or address of the old slot leads, or of the end.
    pub(super) fn leads(&self, slot: u32) -> u32 {
        if slot == self.old_len() {
            return self.new_len();
        }
        if self.parts.starts.binary_search(&slot).is_ok() { self.begins(slot) } else { self.lands(slot) }
    }

    /// The new end of the function that the old slot is in.
    pub(super) fn function_end(&self, slot: u32) -> u32 {
        self.parts.starts.get(self.parts.at(slot) + 1).map_or(self.new_len(), |&next| self.begins(next))
    }

    /// Whether nothing is left of the function that the old slot is in.
    pub(super) fn is_gone(&self, slot: u32) -> bool {
        slot < self.old_len()
            && self.begins(self.parts.starts[self.parts.at(slot)]) == self.function_end(slot)
    }

    pub(super) fn has_moved(&self) -> bool {
        self.old_len() != self.new_len() || (0..).zip(&self.own).any(|(slot, own)| *own != Some(slot))
    }

    /// Where something that led to the old byte of the section leads now, in bytes. What led beyond an end of the
    /// section leads as far beyond it.
    ///
    /// # Errors
    ///
    /// The reason why it cannot lead there.
    pub(super) fn leads_to_byte(&self, byte: i64) -> Result<i64, &'static str> {
        let end = i64::from(self.old_len()) * 8;
        if byte < 0 {
            return Ok(byte);
        }
        if byte >= end {
            return (byte - end).checked_add(i64::from(self.new_len()) * 8).ok_or("it refers to no place");
        }
        let slot = u32::try_from(byte / 8).ok().filter(|_| byte % 8 == 0);
        let slot = slot.ok_or("it refers to the middle of a slot of edited code")?;
        if self.is_gone(slot) {
            return Err("it refers to a function of which nothing is left");
        }
        Ok(i64::from(self.leads(slot)) * 8)
    }
}
