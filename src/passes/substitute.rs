//! Puts other code in the place of an instruction whose result is known.

use super::Error;
use crate::bpf::values::Facts;
use crate::bpf::{Bpf, Insn, Program, is_pinned};
use crate::core::{Handle, List, Patch};

/// The shortest code that leaves a number in a register.
pub(super) struct Constant {
    slots: [Insn; 2],
    len: usize,
}

impl Constant {
    pub(super) fn new(reg: u8, value: u64) -> Self {
        let one = |insn| Self { slots: [insn, Insn::default()], len: 1 };
        if let Ok(imm) = i32::try_from(value.cast_signed()) {
            one(Insn::mov64_imm(reg, imm))
        } else if let Ok(imm) = u32::try_from(value) {
            one(Insn::mov32_imm(reg, imm.cast_signed()))
        } else {
            Self { slots: Insn::ld_imm64(reg, value), len: 2 }
        }
    }

    pub(super) fn slots(&self) -> &[Insn] {
        &self.slots[..self.len]
    }
}

/// Puts other code in the place of the instruction at `at`, unless it is that code already. Whether it was not.
///
/// What is said of the instruction, by the loader or by facts, holds no more: it goes, and the new one stands
/// before it. Without either, it is replaced, so that its own fact in the list stays.
pub(super) fn substitute<T, A: Copy + Default>(
    program: &Program<T>,
    facts: &Facts<'_>,
    list: &mut List<'_, Bpf, A>,
    at: u32,
    code: &[Insn],
) -> Result<bool, Error> {
    let handle = Handle::new(at);
    let rest = &program.insns[at as usize..];
    if is_pinned(program, at) || facts.get(at).is_some() {
        list.prepend(handle, Patch::new(code))?;
        list.delete(handle)?;
        return Ok(true);
    }
    if rest.starts_with(code) {
        return Ok(false);
    }
    list.replace(handle, Patch::new(code))?;
    Ok(true)
}
