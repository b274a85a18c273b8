//! What an edit may put into an object: valid instructions, and no copies of those that a relocation gives their meaning.

use alloc::vec::Vec;

use bitvec::vec::BitVec;

use super::code::R_BPF_64_32;
use super::error::ElfError;
use super::moves::Move;
use super::object::Object;
use crate::Isa;
use crate::bpf::opcode::{CALL_KFUNC, FRAME_POINTER, LD_NUMBER};
use crate::bpf::{Bpf, Insn, check_insn};

/// The immediates that relocated instructions of an object hold.
pub(crate) struct Relocated {
    /// Of calls, ascending.
    calls: Vec<i32>,
    /// Of both slots of `ld_imm64`, ascending.
    loads: Vec<[i32; 2]>,
}

impl Relocated {
    /// O(relocations · log relocations).
    pub(crate) fn new(object: &Object<'_>) -> Self {
        let (mut calls, mut loads) = (Vec::new(), Vec::new());
        for code in &object.code {
            for relocation in &code.relocations {
                let insns = code.program.insns[relocation.slot as usize..].iter();
                match insns.map(|insn| insn.imm).take(2).collect::<Vec<_>>()[..] {
                    [imm, ..] if relocation.kind == R_BPF_64_32 => calls.push(imm),
                    [low, high] => loads.push([low, high]),
                    _ => {}
                }
            }
        }
        calls.sort_unstable();
        loads.sort_unstable();
        Self { calls, loads }
    }

    /// Whether a new instruction could be a copy of a relocated one. A number that is loaded can be written with another
    /// instruction, and a call of a kernel function needs a relocation of its own.
    fn has_copy(&self, insn: &[Insn]) -> bool {
        match *insn {
            [insn] if insn.is_call() && insn.src() == CALL_KFUNC => {
                self.calls.binary_search(&insn.imm).is_ok()
            }
            [low, high] if low.src() == LD_NUMBER => self.loads.binary_search(&[low.imm, high.imm]).is_ok(),
            _ => false,
        }
    }
}

/// Checks the new code of a section, but for what is as it was in the old one.
///
/// O(slots of both, times the log of prepends and relocations).
pub(crate) fn check(moved: &Move<'_>, relocated: &Relocated) -> Result<(), ElfError> {
    let (old, new) = (&moved.code.program.insns, moved.insns);
    let mut kept: BitVec = BitVec::repeat(false, new.len());
    let mut at = 0;
    while at < moved.map.old_len() {
        let len = old[at as usize].slots();
        let place = moved.map.position_of(at).map(|place| place as usize);
        if let Some(place) = place.filter(|&place| is_same(&old[at as usize..], &new[place..], len)) {
            kept.set(place, true);
        }
        at += if len == 2 { 2 } else { 1 };
    }
    let mut refers: BitVec = BitVec::repeat(false, new.len());
    for at in moved.with_reference() {
        refers.set(at as usize, true);
    }
    let mut at = 0;
    while at < new.len() {
        if kept[at] {
            at += new[at].slots();
            continue;
        }
        let origin = || moved.map.origin(u32::try_from(at).unwrap_or(u32::MAX)).position();
        let len = check_insn(new, at, FRAME_POINTER).map_err(|error| ElfError::Insn {
            section: moved.code.name.clone(),
            slot: origin(),
            reason: error.reason,
        })?;
        if !refers[at] && relocated.has_copy(&new[at..at + len]) {
            let reason = "inserted code is like an instruction with a relocation, but was given no reference: a number \
                          can be moved into the register instead";
            return Err(moved.code.fail(origin(), reason));
        }
        at += len;
    }
    Ok(())
}

/// Whether two instructions of `len` slots are the same, but for where they lead.
fn is_same(old: &[Insn], new: &[Insn], len: usize) -> bool {
    let (Some(old), Some(new)) = (old.get(..len), new.get(..len)) else { return old == new };
    if Bpf.fields(old) == 0 || Bpf.fields(new) == 0 {
        return old == new;
    }
    let still = |insn: &[Insn]| {
        let mut first = [insn[0]];
        Bpf.write(&mut first, 0, 0);
        first
    };
    still(old) == still(new) && old[1..] == new[1..]
}
