//! Programs of slots as they come, which may do anything: nothing that passes do may panic over them.

use std::vec::Vec;

use arbitrary::{Result, Unstructured};

use super::generate::machine;
use super::interp::Machine;
use crate::Isa;
use crate::bpf::opcode::{CALL_LOCAL, LD_FUNC};
use crate::bpf::{Bpf, Endian, Insn, Program};

/// The most slots: what passes make of them stays within the reach of a jump.
const MOST: usize = 2048;

/// A program of the bytes that are left, behind those of a machine. Every valid reference starts a subprogram.
pub(super) fn raw(u: &mut Unstructured<'_>) -> Result<(Program, Machine)> {
    let machine = machine(u)?;
    let bytes = u.bytes(u.len())?;
    let slots = bytes.as_chunks().0.iter().take(MOST);
    let insns: Vec<Insn> = slots.map(|slot| Insn::from_bytes(*slot, Endian::Little)).collect();
    let mut subprogs = std::vec![0];
    let mut at = 0;
    while let Some(insn) = insns.get(at) {
        let refers =
            if insn.is_wide() { insn.src() == LD_FUNC } else { insn.is_call() && insn.src() == CALL_LOCAL };
        let slots = u32::try_from(insns.len()).expect("few slots");
        let place =
            i64::try_from(at).expect("few slots") + 1 + if refers { Bpf.read(&insns[at..], 0) } else { 0 };
        subprogs.extend(u32::try_from(place).ok().filter(|place| refers && *place < slots));
        at += insn.slots();
    }
    subprogs.sort_unstable();
    subprogs.dedup();
    Ok((Program { insns, subprogs, ..Program::default() }, machine))
}
