//! [`Cpu`]: what makes eBPF jumps reach farther.

use super::opcode::{GOTO, JEQ, JGE, JGT, JLE, JLT, JNE, JSGE, JSGT, JSLE, JSLT};
use super::{Bpf, Insn};
use crate::core::{LongForm, Relax};

/// The processor that code is for, as clang's `-mcpu` names it: what there is to make jumps reach farther.
///
/// Calls and function references have 32 bits of displacement, and never need it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[non_exhaustive]
pub enum Cpu {
    /// Versions 1 to 3, any Linux: jumps have 16 bits of displacement. Those that do not reach go through
    /// trampolines: a `goto` each.
    V3,
    /// Version 4, Linux 6.6: a `goto` becomes a `gotol` of 32 bits, and a conditional jump its inverse over a `gotol`.
    /// One that has no inverse (`&`, `may_goto`) jumps to the `gotol`, over a `goto` around it.
    #[default]
    V4,
}

static TRAMPOLINE: [Insn; 1] = [Insn::ja(0)];

impl Relax<Bpf> for Cpu {
    fn relax(&self, insn: &[Insn], _field: usize, long: &mut LongForm<Insn>) -> bool {
        let insn = insn[0];
        if *self < Self::V4 || !(insn.is_cond() || insn.code == GOTO) {
            return false;
        }
        if insn.is_cond() {
            match inverse(insn) {
                Some(op) => {
                    let code = insn.code & 0x0f | op;
                    long.units.push(Insn::new(code, insn.dst(), insn.src(), 1, insn.imm));
                }
                None => long.units.extend([insn.with_off(1), Insn::ja(1)]),
            }
        }
        long.goto_target(0);
        long.units.push(Insn::gotol(0));
        true
    }

    fn trampoline(&self) -> Option<&[Insn]> {
        (*self < Self::V4).then_some(&TRAMPOLINE)
    }

    fn may_detour(&self, insn: &[Insn], _field: usize) -> bool {
        insn[0].is_jump()
    }

    fn ends_flow(&self, insn: &[Insn]) -> bool {
        insn[0].ends_flow()
    }
}

/// The operation that is true where that of a conditional jump is false.
fn inverse(insn: Insn) -> Option<u8> {
    match insn.op() {
        JEQ => Some(JNE),
        JNE => Some(JEQ),
        JGT => Some(JLE),
        JLE => Some(JGT),
        JGE => Some(JLT),
        JLT => Some(JGE),
        JSGT => Some(JSLE),
        JSLE => Some(JSGT),
        JSGE => Some(JSLT),
        JSLT => Some(JSGE),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use super::*;
    use crate::bpf::opcode::{JSET, MAY_GOTO, MOV};
    use crate::{Arena, Error, Handle, Linear, List, Patch};

    const FAR: u32 = 40_000;

    /// `branch` over `FAR` moves to the last of two exits, in the longer form.
    fn relaxed(branch: Insn) -> Vec<Insn> {
        let moves = vec![Insn::alu64_imm(MOV, 0, 7); FAR as usize];
        let arena = Arena::new();
        let program = [branch.with_off(1), Insn::exit(), Insn::exit()];
        let mut list = List::<Bpf>::new(&arena, &program).unwrap();
        list.append(Handle::new(1), &moves[..]).unwrap();
        let mut out = Linear::default();
        assert!(matches!(list.linearize(), Err(Error::OutOfRange { origin: 0, .. })));
        assert_eq!(list.linearize_relaxed(&Cpu::V4, &mut out).unwrap().lengthened, 1);
        let inserted = out.units.len() - FAR as usize - 2;
        out.units.truncate(inserted);
        out.units
    }

    #[test]
    fn each_kind_of_jump_has_a_longer_form() {
        let far = FAR.cast_signed() + 1;
        assert_eq!(relaxed(Insn::ja(0)), [Insn::gotol(far)]);
        assert_eq!(relaxed(Insn::jmp_imm(JEQ, 3, 9, 0)), [Insn::jmp_imm(JNE, 3, 9, 1), Insn::gotol(far)]);
        assert_eq!(
            relaxed(Insn::jmp32_reg(JSLT, 3, 4, 0)),
            [Insn::jmp32_reg(JSGE, 3, 4, 1), Insn::gotol(far)]
        );
        let over = [Insn::ja(1), Insn::gotol(far)];
        assert_eq!(relaxed(Insn::jmp_imm(JSET, 3, 9, 0))[1..], over);
        assert_eq!(relaxed(Insn::may_goto(0))[..2], [Insn::may_goto(1), Insn::ja(1)]);
        assert_eq!(relaxed(Insn::may_goto(0))[0].code, MAY_GOTO);
    }

    #[test]
    fn relaxing_one_branch_may_push_the_next_out_of_reach() {
        // Each branch just reaches its exit, until the one inside it is relaxed.
        let reach = i16::MAX as usize;
        let mut program = vec![Insn::jmp_imm(JEQ, 1, 0, i16::MAX); 3];
        program.resize(reach + 1, Insn::mov64_imm(0, 0));
        program.resize(reach + 4, Insn::exit());
        let arena = Arena::new();
        let mut list = List::<Bpf>::new(&arena, &program).unwrap();
        list.append(Handle::new(2), Patch::new(&[Insn::mov64_imm(2, 0)])).unwrap();
        let mut out = Linear::default();
        assert_eq!(list.linearize_relaxed(&Cpu::V4, &mut out).unwrap().lengthened, 3);
        for old in 0..3 {
            let at = out.map.position_of(old).unwrap();
            assert_eq!(out.units[at as usize].op(), JNE);
            let to = i64::from(at) + 2 + i64::from(out.units[at as usize + 1].imm);
            assert_eq!(to, i64::from(out.map.new_of(old + 1 + u32::from(i16::MAX as u16))));
        }
    }

    #[test]
    fn a_call_has_no_longer_form() {
        let mut long = LongForm::default();
        assert!(!Cpu::V4.relax(&[Insn::call_local(4)], 0, &mut long));
        assert!(!Cpu::V4.relax(&[Insn::gotol(4)], 0, &mut long));
    }
}
