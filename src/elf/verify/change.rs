//! [`CodeChange`]: one edit of one code section, as [`verify`](super::verify) has to know it.

use alloc::vec::Vec;

use crate::bpf::{Bpf, Insn};
use crate::{Handle, Isa, Linear, List, Map};

/// One edit of one code section.
#[derive(Clone, Debug)]
pub struct CodeChange {
    /// The index of the section in the file.
    pub(super) section: usize,
    pub(super) map: Map,
    /// All the code after it, before addends of the object were moved.
    pub(super) insns: Vec<Insn>,
    /// The old positions of instructions that were replaced, ascending.
    pub(super) replaced: Vec<u32>,
}

impl CodeChange {
    /// The edit that `list` holds of `program`, which `linear` is the result of. `section` is the index
    /// of the section in the file, [`CodeSection::section_index`](crate::elf::CodeSection::section_index).
    ///
    /// O(units).
    #[must_use]
    pub fn new<A: Copy + Default>(
        section: usize,
        program: &[Insn],
        list: &List<'_, Bpf, A>,
        linear: &Linear<Insn, A>,
    ) -> Self {
        Self::of_code(section, program, list, &linear.map, &linear.units)
    }

    /// The edit that `list` holds of `program`, which became `insns`.
    pub(crate) fn of_code<A: Copy + Default>(
        section: usize,
        program: &[Insn],
        list: &List<'_, Bpf, A>,
        map: &Map,
        insns: &[Insn],
    ) -> Self {
        let mut replaced = Vec::new();
        let mut at = 0;
        while at < program.len() {
            let len = program[at].slots().min(program.len() - at);
            let old = &program[at..at + len];
            let slot = u32::try_from(at).unwrap_or(u32::MAX);
            let handle = Handle::new(slot);
            if list
                .insn(handle)
                .is_some_and(|new| new != old || target(list, handle) != own_target(old, slot))
            {
                replaced.push(slot);
            }
            at += len;
        }
        Self { section, map: map.clone(), insns: insns.to_vec(), replaced }
    }
}

/// Where the list has a branch lead.
fn target<A: Copy + Default>(list: &List<'_, Bpf, A>, handle: Handle) -> Option<i64> {
    list.target(handle, 0).map(|target| i64::from(target.index()))
}

/// Where a branch of the program leads.
fn own_target(insn: &[Insn], slot: u32) -> Option<i64> {
    (Bpf::fields(insn) != 0).then(|| i64::from(slot) + Bpf::base(insn, 0) + Bpf::read(insn, 0))
}
