//! [`Covered`]: parts of a code section that are left as they stand, byte for byte but for what moves.
//!
//! The program of the section shows a stand-in for each of them: instructions that refer to nothing, that no
//! pass has a reason to change, and that end like a function. So lists, control flow graphs and passes meet
//! valid code only, and an edit moves a part by moving its stand-in.

use alloc::vec::Vec;
use core::ops::Range;

use super::bytes::Bytes;
use super::code::{CodeSection, Relocation};
use super::error::ElfError;
use super::functions::displacements;
use super::moves::Move;
use crate::Isa as _;
use crate::bpf::opcode::CALL_LOCAL;
use crate::bpf::{Bpf, Endian, Insn};

/// A part that the program of its section shows a stand-in for.
#[derive(Clone, Debug)]
pub(crate) struct Covered {
    /// Its first slot.
    pub(crate) start: u32,
    /// What it has in truth. Calls with a relocation are as the program shows them elsewhere.
    pub(crate) insns: Vec<Insn>,
}

impl Covered {
    pub(crate) fn range(&self) -> Range<usize> {
        self.start as usize..self.start as usize + self.insns.len()
    }
}

/// What stands in for the slot with `left` more behind it.
fn stand_in(left: usize) -> Insn {
    if left == 0 { Insn::exit() } else { Insn::mov64_reg(0, 0) }
}

impl CodeSection {
    /// Puts what was covered back into the program.
    pub(crate) fn uncover(&mut self) {
        for covered in core::mem::take(&mut self.covered) {
            self.program.insns[covered.range()].copy_from_slice(&covered.insns);
        }
    }

    /// Covers the parts that are not analysed, and pins all that a pass must not change.
    pub(crate) fn cover(&mut self) {
        let parts = self.parts.iter().enumerate().filter(|(_, part)| !part.is_analysed());
        let ranges: Vec<Range<u32>> = parts.map(|(part, _)| self.subprogram_range(part)).collect();
        for range in ranges.into_iter().filter(|range| !range.is_empty()) {
            let (start, end) = (range.start as usize, range.end as usize);
            let insns = self.program.insns[start..end].to_vec();
            for (at, insn) in self.program.insns[start..end].iter_mut().enumerate() {
                *insn = stand_in(end - start - 1 - at);
            }
            self.covered.push(Covered { start: range.start, insns });
        }
        self.pin_all();
    }

    /// The covered part that a slot is in.
    pub(crate) fn covered_at(&self, slot: u32) -> Option<&Covered> {
        let before = self.covered.partition_point(|covered| covered.start <= slot);
        let covered = self.covered.get(before.checked_sub(1)?)?;
        covered.range().contains(&(slot as usize)).then_some(covered)
    }

    /// What the slot has in truth, where the program may show a stand-in; a call with a relocation is as the
    /// program shows it elsewhere. O(log parts).
    ///
    /// # Panics
    ///
    /// If there is no such slot.
    #[must_use]
    pub fn insn(&self, slot: u32) -> Insn {
        match self.covered_at(slot) {
            Some(covered) => covered.insns[(slot - covered.start) as usize],
            None => self.program.insns[slot as usize],
        }
    }

    pub(crate) fn insn_mut(&mut self, slot: u32) -> &mut Insn {
        let before = self.covered.partition_point(|covered| covered.start <= slot);
        let at = slot as usize;
        match before.checked_sub(1).map(|index| &mut self.covered[index]) {
            Some(covered) if covered.range().contains(&at) => &mut covered.insns[at - covered.start as usize],
            _ => &mut self.program.insns[at],
        }
    }

    /// The bytes of a slot as the file has them.
    fn slot_bytes(&self, slot: u32) -> Option<[u8; 8]> {
        (slot < self.len()).then(|| self.insn(slot).to_bytes(self.endian))
    }

    /// The number of 4 or 8 bytes that a relocation of data in code stands for.
    pub(crate) fn word(&self, relocation: &Relocation, long: bool) -> Option<u64> {
        let mut bytes = self.slot_bytes(relocation.slot)?.to_vec();
        bytes.extend(self.slot_bytes(relocation.slot + 1).unwrap_or_default());
        let at = usize::from(relocation.byte);
        let data = Bytes::new(&bytes, self.endian);
        if long { data.u64(at) } else { data.u32(at).map(u64::from) }
    }

    /// Puts bytes into the data from byte `byte` of a slot on, which must be covered.
    pub(crate) fn set_bytes(&mut self, slot: u32, byte: u8, bytes: &[u8]) {
        let endian = self.endian;
        for (at, byte) in (usize::from(byte)..).zip(bytes) {
            let slot = slot + u32::from(at >= 8);
            if slot < self.len() {
                let insn = self.insn_mut(slot);
                let mut raw = insn.to_bytes(endian);
                raw[at % 8] = *byte;
                *insn = from_bytes(raw, endian);
            }
        }
    }

    /// The slots of the section as the file has them.
    pub(crate) fn as_written(&self) -> Vec<Insn> {
        let mut insns = self.program.insns.clone();
        for covered in &self.covered {
            insns[covered.range()].copy_from_slice(&covered.insns);
        }
        for relocation in self.relocations.iter().filter(|relocation| relocation.is_call()) {
            let insn = &mut insns[relocation.slot as usize];
            *insn = insn.with_src(CALL_LOCAL);
        }
        insns
    }
}

fn from_bytes(bytes: [u8; 8], endian: Endian) -> Insn {
    // Eight bytes are a slot.
    crate::bpf::decode(&bytes, endian).ok().and_then(|insns| insns.first().copied()).unwrap_or_default()
}

impl Move<'_> {
    /// The covered parts that are left after the edit, at their new places, with the references out of them
    /// fixed.
    ///
    /// # Errors
    ///
    /// If a part was changed, or torn apart, or a reference out of it cannot be fixed.
    pub(crate) fn covered(&self) -> Result<Vec<Covered>, ElfError> {
        let mut all = Vec::new();
        for covered in &self.code.covered {
            all.extend(self.moved(covered)?);
        }
        Ok(all)
    }

    fn moved(&self, covered: &Covered) -> Result<Option<Covered>, ElfError> {
        let old = self.code.program.insns[covered.range()].iter().zip(covered.start..);
        let start = self.map.position_of(covered.start);
        for (insn, slot) in old {
            let new = self.map.position_of(slot);
            let expected = start.map(|start| start + (slot - covered.start));
            let changed = new.is_some_and(|new| self.insns.get(new as usize) != Some(insn));
            if new != expected || changed {
                return Err(self.code.fail(slot, "a part that is left as it stands was changed"));
            }
        }
        let Some(start) = start else { return Ok(None) };
        let mut insns = covered.insns.clone();
        let between = !self.code.parts[self.code.subprogram_at(covered.start)].is_function();
        if between {
            return Ok(Some(Covered { start, insns }));
        }
        let whole = &covered.insns;
        for (at, target) in displacements(whole, 0) {
            let (old_at, target) = (covered.start + at, target + i64::from(covered.start));
            // What leads out of the section leads to nothing that could move.
            let Some(target) = u32::try_from(target).ok().filter(|&target| target <= self.map.old_len())
            else {
                continue;
            };
            if covered.range().contains(&(target as usize)) {
                continue;
            }
            let displacement = i64::from(self.landing(target)?) - i64::from(start + at) - 1;
            let insn = core::slice::from_mut(&mut insns[at as usize]);
            if !Bpf.range(insn, 0).contains(&displacement) {
                return Err(self.code.fail(old_at, "what it refers to has gone out of range"));
            }
            Bpf.write(insn, 0, displacement);
        }
        Ok(Some(Covered { start, insns }))
    }
}
