//! Basic blocks, against a model that knows single instructions and edges between them only.

use relinear::Isa;
use relinear::bpf::{Bpf, Cfg, CfgError, Insn, InsnReason, Program, asm};

use crate::random::{Shape, program, slot, traffic_control};

/// What control may go to after the instruction at `at`, in the words of RFC 9669: where it jumps to,
/// then what follows it.
fn model_successors(insns: &[Insn], at: usize) -> (Option<usize>, Option<usize>) {
    let insn = insns[at];
    let next = at + if insn.code == 0x18 { 2 } else { 1 };
    let jump = |displacement: i64| usize::try_from(i64::from(slot(at)) + 1 + displacement).ok();
    match (insn.code, insn.code & 7) {
        (0x95, _) => (None, None),
        (0x85, _) => (None, Some(next)),
        (0x05, _) => (jump(insn.off.into()), None),
        (0x06, _) => (jump(insn.imm.into()), None),
        (_, 5 | 6) => (jump(insn.off.into()), Some(next)),
        _ => (None, Some(next)),
    }
}

fn starts(insns: &[Insn]) -> Vec<usize> {
    let mut at = 0;
    let mut starts = Vec::new();
    while at < insns.len() {
        starts.push(at);
        at += Bpf.len(&insns[at..]).expect("an instruction");
    }
    starts
}

fn check_against_model(program: &Program) {
    let cfg = Cfg::new(program).expect("a graph");
    let insns = &program.insns;
    let mut end = 0;
    for (number, block) in cfg.blocks().iter().enumerate() {
        assert_eq!(block.start, end, "blocks are laid without gaps");
        assert!(block.end > block.start);
        end = block.end;
        for at in block.start..block.end {
            assert_eq!(cfg.block_at(at) as usize, number);
        }
        let subprog = program.subprogs.iter().filter(|&&start| start <= block.start).count() - 1;
        assert_eq!(block.subprog as usize, subprog);
        assert!(cfg.blocks_of(block.subprog).contains(&(slot(number))));
    }
    assert_eq!(end as usize, insns.len());

    let block_starting = |at: usize| {
        let number = cfg.block_at(slot(at));
        (cfg.blocks()[number as usize].start as usize == at).then_some(number)
    };
    let mut into = vec![Vec::new(); cfg.blocks().len()];
    let mut edges = vec![Vec::new(); insns.len()];
    for at in starts(insns) {
        let block = &cfg.blocks()[cfg.block_at(slot(at)) as usize];
        let (jump, next) = model_successors(insns, at);
        edges[at].extend(jump.into_iter().chain(next));
        if block.last(program) as usize == at {
            assert_eq!(block.taken, jump.map(|to| block_starting(to).expect("a block starts at a target")));
            assert_eq!(block.falls_to, next.map(|to| block_starting(to).expect("and after the last")));
            for to in block.successors() {
                into[to as usize].push(cfg.block_at(slot(at)));
            }
        } else {
            assert_eq!((jump, next.and_then(block_starting)), (None, None), "control stays in the block");
        }
    }
    let mut entered: Vec<bool> = vec![false; insns.len() + 1];
    let mut work: Vec<usize> = program.subprogs.iter().map(|&start| start as usize).collect();
    while let Some(at) = work.pop() {
        if !std::mem::replace(&mut entered[at], true) {
            work.extend(&edges[at]);
        }
    }
    for (number, block) in cfg.blocks().iter().enumerate() {
        assert_eq!(cfg.predecessors(slot(number)), into[number]);
        assert_eq!(cfg.is_reachable(slot(number)), entered[block.start as usize]);
    }
}

#[test]
fn random_programs_divide_as_the_model_says() {
    for seed in 0..300 {
        let shape = Shape { statements: 40, callees: 3, junk: seed % 2 == 0, use_r1: true };
        check_against_model(&program(&traffic_control(seed, shape)));
    }
}

#[test]
fn all_forms_of_jumps_and_references() {
    let program = program(
        "
        r1 = 4886718345 ll
    top:
        if w1 > 7 goto over
        may_goto out
        gotol top
    over:
        if r1 == r2 goto +0
        r2 = subprog[callback] ll
        call helper_like
        goto top
    out:
        exit
    helper_like:
        exit
    callback:
        if r1 == 0 goto yes
        exit
    yes:
        r0 = 1
        exit
    ",
    );
    check_against_model(&program);
    let cfg = Cfg::new(&program).expect("a graph");
    assert_eq!(cfg.subprogs(), 3);
    // The address of the callback, and the call, by their slots.
    assert_eq!(cfg.referenced(&program, 6), Some(2));
    assert_eq!(cfg.referenced(&program, 8), Some(1));
    assert_eq!(cfg.referenced(&program, 2), None);
    assert_eq!(cfg.subprog_at(program.subprogs[2]), Some(2));
    assert_eq!(cfg.subprog_at(3), None);
}

#[test]
fn a_call_may_end_a_subprogram() {
    let program = program("call last\nexit\nlast:\nr1 = 0\ncall 5");
    let cfg = Cfg::new(&program).expect("a graph");
    let last = cfg.blocks().last().expect("a block");
    assert_eq!((last.taken, last.falls_to), (None, None));
}

fn error(text: &str, subprogs: &[u32]) -> CfgError {
    let insns = asm::parse(text).expect("a program");
    let program = Program::<()> { insns, subprogs: subprogs.to_vec(), ..Program::default() };
    Cfg::new(&program).expect_err("no graph")
}

#[test]
fn what_is_no_program_is_refused_by_its_slot() {
    assert_eq!(error("", &[0]), CfgError::BadLength { slots: 0 });
    assert_eq!(error("exit", &[]), CfgError::BadSubprog { subprog: 0, start: None });
    assert_eq!(error("exit\nexit", &[1]), CfgError::BadSubprog { subprog: 0, start: Some(1) });
    assert_eq!(error("exit\nexit", &[0, 1, 1]), CfgError::BadSubprog { subprog: 2, start: Some(1) });
    assert_eq!(error("exit\nexit", &[0, 2]), CfgError::BadSubprog { subprog: 1, start: Some(2) });
    assert_eq!(error("r0 = 1 ll\nexit", &[0, 1]), CfgError::BadSubprog { subprog: 1, start: Some(1) });
    assert_eq!(error("goto +1\nexit", &[0]), CfgError::OutOfProgram { at: 0, target: 2, slots: 2 });
    assert_eq!(error("exit\ngoto -3", &[0]), CfgError::OutOfProgram { at: 1, target: -1, slots: 2 });
    assert_eq!(
        error("exit\ngotol +2147483647", &[0]),
        CfgError::OutOfProgram { at: 1, target: 2_147_483_649, slots: 2 }
    );
    assert_eq!(error("if r0 == 0 goto +1\nr0 = 1 ll\nexit", &[0]), CfgError::IntoInsn { at: 0, target: 2 });
    assert_eq!(
        error("if r0 == 0 goto +1\nexit\nexit", &[0, 2]),
        CfgError::LeavesSubprog { at: 0, target: 2 }
    );
    assert_eq!(error("call pc+1\nexit\nexit", &[0]), CfgError::NoSubprog { at: 0, target: 2 });
    assert_eq!(error("call pc-9\nexit\nexit", &[0]), CfgError::NoSubprog { at: 0, target: -8 });
    assert_eq!(error("exit\nr0 = 1", &[0]), CfgError::FallsOff { at: 1, subprog: 0 });
    assert_eq!(error("r0 = 1\nr0 = 1 ll\nexit", &[0, 3]), CfgError::FallsOff { at: 1, subprog: 0 });
    assert_eq!(error("if r0 == 0 goto -1", &[0]), CfgError::FallsOff { at: 0, subprog: 0 });
}

#[test]
fn what_is_no_instruction_is_refused_by_its_slot() {
    let cut = [Insn::exit(), Insn::ld_imm64(0, 1)[0]];
    // A `gotox` of 32 bits.
    let indirect = [Insn::new(0x0e, 1, 0, 0, 0), Insn::exit()];
    for (insns, at, reason) in [(cut, 1, InsnReason::Cut), (indirect, 0, InsnReason::Code(0x0e))] {
        let program = Program::<()> { insns: insns.to_vec(), subprogs: vec![0], ..Program::default() };
        match Cfg::new(&program).expect_err("no graph") {
            CfgError::BadInsn(error) => assert_eq!((error.at, error.reason), (at, reason)),
            error => panic!("{error}"),
        }
    }
}
