//! Constants: what is known to be a number is written as one, and branches on numbers go one way.
//!
//! By the analysis of [`values`](crate::bpf::values), through registers, stack slots, and calls of subprograms that
//! are no roots:
//!
//! 1. Arithmetic with a known result, and a load from the frame of a known number, become a move of the number.
//! 2. A register operand of arithmetic or of a comparison that is a known number becomes an immediate, if
//!    an immediate can be that number.
//! 3. Branches that go one way are hard-wired and code that control does not reach goes, as [`dce`](super::dce) does
//!    it.
//!
//! What computed the numbers stays, for [`dead_stores`](super::dead_stores). So do stores: older kernels know less of
//! a number that is stored as an immediate. So do calls with a known result, for what else they do, and
//! instructions that a loader rewrites. Loads from objects are for [`fold`](super::fold).

use core::ops::AddAssign;

use super::substitute::{Constant, substitute};
use super::unreached::{self, check_untouched};
use super::{Error, branch_target, dce};
use crate::bpf::opcode::{ALU, ARSH, DIV, END, FRAME_POINTER, JMP32, LDX, LSH, MOD, MOV, NEG, RSH, X};
use crate::bpf::values::{Base, Facts, Options, Values};
use crate::bpf::{Bpf, Cfg, Insn, Program, check_insn, is_pinned};
use crate::core::{Branch, Handle, List, Patch, Target};

/// What [`run`] did.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Report {
    /// Instructions that became a move of the number that they give.
    pub results: u32,
    /// Register operands that became immediates.
    pub operands: u32,
    /// Branches that were folded, and code that went as control does not reach it.
    pub unreached: dce::Report,
}

impl AddAssign for Report {
    fn add_assign(&mut self, other: Self) {
        let Self { results, operands, unreached } = other;
        self.results += results;
        self.operands += operands;
        self.unreached += unreached;
    }
}

/// Writes constants into a list.
///
/// `list` must be over `program`, and no edit may have touched it. A move of a number that needs 64 bits is a slot
/// longer than what it replaces.
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
        let ways = values.ways(block);
        let Some(mut walk) = values.walk(block) else { continue };
        while let Some(at) = walk.slot() {
            let insn = program.insns[at as usize];
            let source = walk.state().reg(insn.src());
            walk.step();
            if is_pinned(program, at) || facts.get(at).is_some() {
                continue;
            }
            let from_frame = || source.as_pointer().is_some_and(|pointer| pointer.base == Base::Frame);
            let is_folded = insn.is_alu() || (insn.class() == LDX && from_frame());
            if let Some(value) = walk.state().reg(insn.dst()).as_constant().filter(|_| is_folded) {
                let code = Constant::new(insn.dst(), value);
                report.results += u32::from(substitute(program, facts, list, at, code.slots())?);
            } else if !insn.is_cond() || (ways.taken && ways.falls) {
                let operand = source.as_constant().and_then(|value| with_immediate(insn, value));
                if let Some(insn) = operand {
                    report.operands += u32::from(replace_operand(program, list, at, insn)?);
                }
            }
        }
    }
    report.unreached = unreached::delete(program, &cfg, &values, list)?;
    Ok(report)
}

/// The instruction with its register operand, which holds `value`, as an immediate, if there is such a one.
fn with_immediate(insn: Insn, value: u64) -> Option<Insn> {
    if !(insn.is_alu() || insn.is_cond()) || !insn.is_reg() {
        return None;
    }
    let [low, high] = [value & u64::from(u32::MAX), value >> 32];
    let low = u32::try_from(low).ok()?.cast_signed();
    let is_narrow = matches!(insn.class(), ALU | JMP32);
    let imm = match insn.op() {
        _ if insn.is_cond() => low,
        MOV | NEG | END => return None,
        LSH | RSH | ARSH => low & if is_narrow { 31 } else { 63 },
        // A verifier refuses an immediate zero.
        DIV | MOD if low == 0 => return None,
        _ => low,
    };
    let is_whole = is_narrow || imm != low || i64::from(low).cast_unsigned() >> 32 == high;
    let insn = Insn::new(insn.code & !X, insn.dst(), 0, insn.off, imm);
    (is_whole && check_insn(&[insn], 0, FRAME_POINTER).is_ok()).then_some(insn)
}

/// Replaces an instruction, a branch too, by one that differs in its operand.
fn replace_operand<T, A: Copy + Default>(
    program: &Program<T>,
    list: &mut List<'_, Bpf, A>,
    at: u32,
    insn: Insn,
) -> Result<bool, Error> {
    if !insn.is_cond() {
        return substitute(program, &Facts::default(), list, at, &[insn]);
    }
    let handle = Handle::new(at);
    let branches = [Branch::new(0, Target::Handle(branch_target(list, handle)?))];
    list.replace(handle, Patch::new(&[insn.with_off(0)]).branches(&branches))?;
    Ok(true)
}
