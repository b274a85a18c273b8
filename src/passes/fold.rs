//! Facts become code: loads from memory that never changes become the numbers that they load, and instructions
//! of which a loader said what it will write are written.
//!
//! An instruction that a loader would rewrite is so no more: it is not [pinned](Program::pinned) in the result, and
//! what the loader has of it goes with it. What becomes useless then stays: addresses of the memory, and
//! code behind branches that are decided now ([`constants`](super::constants),
//! [`dead_stores`](super::dead_stores)).

use core::ops::AddAssign;

use super::Error;
use super::substitute::{Constant, substitute};
use super::unreached::check_untouched;
use crate::bpf::opcode::{FRAME_POINTER, LDX};
use crate::bpf::values::{Base, Fact, Facts, Options, Values};
use crate::bpf::{Bpf, Cfg, Program, check_insn};
use crate::core::List;

/// What [`run`] did.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Report {
    /// Loads from memory that never changes that became numbers.
    pub loads: u32,
    /// Other instructions that facts are about that were written.
    pub insns: u32,
}

impl AddAssign for Report {
    fn add_assign(&mut self, other: Self) {
        let Self { loads, insns } = other;
        self.loads += loads;
        self.insns += insns;
    }
}

/// Writes facts into a list, where control comes.
///
/// `list` must be over `program`, and no edit may have touched it. A load becomes one slot, or two if its number
/// needs them.
///
/// O(slots) for most programs: the cost of [`Values`].
///
/// # Errors
///
/// [`Error::Cfg`], [`Error::BadRoot`], [`Error::Edited`] for a list that was edited, or [`Error::Edit`] if the
/// list is full or the allocator refuses.
pub fn run<T, A: Copy + Default>(
    program: &Program<T>,
    list: &mut List<'_, Bpf, A>,
    facts: &Facts<'_>,
    options: &Options<'_>,
) -> Result<Report, Error> {
    let cfg = Cfg::new(program)?;
    check_untouched(program, list)?;
    let values = Values::new(program, &cfg, facts, options)?;
    let mut report = Report::default();
    for block in (0..).take(cfg.blocks().len()) {
        let Some(mut walk) = values.walk(block) else { continue };
        while let Some(at) = walk.slot() {
            let insn = program.insns[at as usize];
            let fact = facts.get(at);
            let is_load = insn.class() == LDX;
            let base = walk.state().reg(insn.src()).as_pointer().map(|pointer| pointer.base);
            walk.step();
            let result = walk.state().reg(insn.dst()).as_constant();
            let written = match fact {
                Some(Fact::Immediate(imm)) => Some(insn.with_imm(imm)),
                Some(Fact::Offset(off)) => Some(insn.with_off(off)),
                _ => None,
            };
            let reads_object = is_load && matches!(base, Some(Base::Object(_)));
            let is_known = reads_object || matches!(fact, Some(Fact::Bytes(_) | Fact::Result(_)));
            if let Some(value) = result.filter(|_| is_known && insn.defined_reg().is_some()) {
                let written = substitute(program, facts, list, at, Constant::new(insn.dst(), value).slots())?;
                *(if is_load { &mut report.loads } else { &mut report.insns }) += u32::from(written);
            } else if let Some(insn) = written.filter(|_| insn.slots() == 1)
                && check_insn(&[insn], 0, FRAME_POINTER).is_ok()
            {
                report.insns += u32::from(substitute(program, facts, list, at, &[insn])?);
            }
        }
    }
    Ok(report)
}
