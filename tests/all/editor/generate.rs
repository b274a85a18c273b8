//! Random programs with all tables, and with facts that a verifier could have found.

use relinear::bpf::opcode::{JEQ, LD_FUNC};
use relinear::bpf::{Aux, FuncInfo, Insn, LineInfo, Program};

use crate::random::{Rng, slot};

/// An instruction whose target is a number of an instruction or of a subprogram.
#[derive(Clone, Copy)]
enum Kind {
    Plain(Insn),
    Wide,
    Cond(usize),
    MayGoto(usize),
    Goto(usize),
    Gotol(usize),
    Call(usize),
    Callback(usize),
    Exit,
}

impl Kind {
    const fn slots(self) -> usize {
        if matches!(self, Self::Wide | Self::Callback(_)) { 2 } else { 1 }
    }
}

/// A program, whose facts are as if some of its conditions were always true or always false. Every subprogram
/// has a line at its start, and ends with an `exit`.
pub(crate) fn program(rng: &mut Rng) -> Program<u32> {
    let subprogs = 1 + rng.below(4);
    let mut kinds = Vec::new();
    let mut firsts = Vec::new();
    for _ in 0..subprogs {
        let first = kinds.len();
        let count = 1 + rng.below(14);
        firsts.push(first);
        for at in first..first + count {
            kinds.push(kind(rng, first..first + count + 1, at, subprogs));
        }
        kinds.push(Kind::Exit);
    }
    let seen = walk(rng, &kinds, &firsts);
    let mut places = vec![0];
    for kind in &kinds {
        places.push(places[places.len() - 1] + kind.slots());
    }
    let mut program = Program::default();
    for (number, &kind) in kinds.iter().enumerate() {
        let at = places[number];
        let to = |number: usize| i32::try_from(places[number]).unwrap() - i32::try_from(at + 1).unwrap();
        let off = |number: usize| i16::try_from(to(number)).unwrap();
        match kind {
            Kind::Plain(insn) => program.insns.push(insn),
            Kind::Wide => program.insns.extend(Insn::ld_imm64(2, rng.next())),
            Kind::Cond(target) => program.insns.push(Insn::jmp_imm(JEQ, 1, 7, off(target))),
            Kind::MayGoto(target) => program.insns.push(Insn::may_goto(off(target))),
            Kind::Goto(target) => program.insns.push(Insn::ja(off(target))),
            Kind::Gotol(target) => program.insns.push(Insn::gotol(to(target))),
            Kind::Call(callee) => program.insns.push(Insn::call_local(to(firsts[callee]))),
            Kind::Callback(callee) => {
                program.insns.extend(Insn::ld_imm64_kind(2, LD_FUNC, to(firsts[callee]), 0));
            }
            Kind::Exit => program.insns.push(Insn::exit()),
        }
        let aux = Aux { seen: seen[number], zext_dst: rng.one_in(3), user: slot(number + 1) };
        program.aux.push(aux);
        program.aux.resize(program.insns.len(), Aux::default());
        if firsts.contains(&number) || rng.one_in(2) {
            let text = slot(number) * 3 + 1;
            let line =
                LineInfo { insn_off: slot(at), file_name_off: 1, line_off: text, line_col: text << 10 };
            program.line_info.push(line);
        }
        if rng.one_in(4) {
            program.insn_array.push(Some(slot(at)));
        }
    }
    program.pokes.clone_from(&program.insn_array);
    program.subprogs = firsts.iter().map(|&first| slot(places[first])).collect();
    let types = program.subprogs.iter().zip(10..);
    program.func_info = types.map(|(&insn_off, type_id)| FuncInfo { insn_off, type_id }).collect();
    program
}

fn kind(rng: &mut Rng, subprog: std::ops::Range<usize>, at: usize, subprogs: usize) -> Kind {
    let near = (at + 1 + rng.below(3)).min(subprog.end - 1);
    let target = if rng.one_in(3) { subprog.start + rng.below(subprog.len()) } else { near };
    match rng.below(16) {
        0..3 => Kind::Cond(target),
        3 | 4 => Kind::MayGoto(target),
        5..8 => Kind::Goto(near),
        8 => Kind::Gotol(target),
        9 => Kind::Call(rng.below(subprogs)),
        10 => Kind::Callback(rng.below(subprogs)),
        11 => Kind::Wide,
        12 => Kind::Exit,
        13 => Kind::Plain(Insn::mov32_imm(3, 5)),
        _ => Kind::Plain(Insn::mov64_imm(4, 6)),
    }
}

/// Follows control from the start, with conditions that may go one way only.
fn walk(rng: &mut Rng, kinds: &[Kind], firsts: &[usize]) -> Vec<bool> {
    let mut seen = vec![false; kinds.len()];
    let mut work = vec![0];
    while let Some(at) = work.pop() {
        if std::mem::replace(&mut seen[at], true) {
            continue;
        }
        match kinds[at] {
            Kind::Plain(_) | Kind::Wide => work.push(at + 1),
            Kind::Cond(target) | Kind::MayGoto(target) => match rng.below(3) {
                0 => work.push(at + 1),
                1 => work.push(target),
                _ => work.extend([at + 1, target]),
            },
            Kind::Goto(target) | Kind::Gotol(target) => work.push(target),
            Kind::Call(callee) | Kind::Callback(callee) => work.extend([at + 1, firsts[callee]]),
            Kind::Exit => {}
        }
    }
    seen
}
