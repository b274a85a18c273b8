//! `gotox`: what may follow it, against programs in which a chain of conditional jumps to all entries of the tables stands in
//! its place.

#[cfg(all(feature = "elf", feature = "fuzzing"))]
mod objects;

use relinear::bpf::opcode::{ADD, DW, JEQ, JLT};
use relinear::bpf::values::{Facts, Options};
use relinear::bpf::{Bpf, Cfg, CfgError, Frames, Insn, Liveness, Program};
use relinear::passes::{dce, dead_stores};
use relinear::{Arena, Branch, Handle, Linear, List, Patch, Target};

use crate::random::{Rng, slot};

/// A register that nobody knows the value of.
const UNKNOWN: u8 = 9;

/// A program of one or two subprograms, most of which jump by a table.
fn generate(rng: &mut Rng) -> Program {
    let (mut program, mut ends) = (Program::default(), Vec::new());
    for _ in 0..=rng.below(2) {
        let start = program.insns.len();
        program.subprogs.push(slot(start));
        let len = 6 + rng.below(30);
        program.insns.push(Insn::ldx(DW, UNKNOWN, 1, 0));
        for at in start + 1..start + len {
            let to = i16::try_from(start + 1 + rng.below(len)).unwrap() - i16::try_from(at + 1).unwrap();
            let reg = u8::try_from(rng.below(8)).unwrap();
            let off = -8 * i16::try_from(1 + rng.below(8)).unwrap();
            program.insns.push(match rng.below(14) {
                0 => Insn::mov64_imm(reg, i32::try_from(rng.below(2)).unwrap()),
                1 => Insn::mov32_reg(reg, u8::try_from(rng.below(8)).unwrap()),
                2 => Insn::mov64_reg(reg, 10),
                3 => Insn::alu64_imm(ADD, reg, i32::from(off)),
                4 => Insn::stx(DW, 10, reg, off),
                5 => Insn::ldx(DW, reg, 10, off),
                6..=8 => Insn::jmp_imm(JEQ, reg, 1, to),
                9 => Insn::ja(to),
                10 | 11 => Insn::gotox(UNKNOWN),
                12 => Insn::exit(),
                _ => Insn::stx(DW, reg, 10, 0),
            });
        }
        program.insns.push(Insn::exit());
        ends.push(program.insns.len());
        for _ in 0..=rng.below(5) {
            let entry = (!rng.one_in(8)).then(|| slot(start + 1 + rng.below(len)));
            program.insn_array.push(entry);
        }
        program.insn_array.push(Some(slot(start + 1 + rng.below(len))));
    }
    program
}

/// The same program with a chain of conditional jumps in the place of each `gotox`.
fn chained(program: &Program) -> (Program, Linear<Insn>) {
    let arena = Arena::new();
    let mut list = List::<Bpf>::new(&arena, &program.insns).unwrap();
    let subprog = |at: u32| program.subprogs.partition_point(|&start| start <= at);
    for at in (0..).take(program.insns.len()).filter(|&at| program.insns[at as usize].is_gotox()) {
        let targets: Vec<u32> =
            program.insn_array.iter().flatten().copied().filter(|&to| subprog(to) == subprog(at)).collect();
        // Where it leads says nothing of the register, as an equation would.
        let mut units = vec![Insn::jmp_imm(JLT, UNKNOWN, 77, 0); targets.len()];
        units.push(Insn::ja(0));
        let ways = targets.iter().chain(targets.last());
        let branches: Vec<Branch> =
            (0..).zip(ways).map(|(unit, &to)| Branch::new(unit, Target::Original(to))).collect();
        list.replace(Handle::new(at), Patch::new(&units).branches(&branches)).unwrap();
    }
    let linear = list.linearize().unwrap();
    let subprogs = program.subprogs.iter().map(|&start| linear.map.new_of(start)).collect();
    (Program { insns: linear.units.clone(), subprogs, ..Program::default() }, linear)
}

#[test]
fn analyses_take_all_ways_of_a_table() {
    let (mut jumps, mut dead, mut deleted, mut useless) = (0, 0, 0, 0);
    for seed in 0..4000 {
        let program = generate(&mut Rng::new(seed));
        let (chain, Linear { map, .. }) = chained(&program);
        let [cfg, chain_cfg] = [&program, &chain].map(|program| Cfg::new(program).unwrap());
        let [live, chain_live] =
            [(&program, &cfg), (&chain, &chain_cfg)].map(|(program, cfg)| Liveness::new(program, cfg));
        for at in (0..).take(program.insns.len()) {
            let reached = cfg.is_reachable(cfg.block_at(at));
            assert_eq!(reached, chain_cfg.is_reachable(chain_cfg.block_at(map.new_of(at))), "{seed} {at}");
            assert_eq!(live.before(at), chain_live.before(map.new_of(at)), "{seed} {at}");
            jumps += u32::from(program.insns[at as usize].is_gotox());
            dead += u32::from(!reached);
        }
        let (frames, chain_frames) = (Frames::new(&program, &cfg), Frames::new(&chain, &chain_cfg));
        for (frame, chained) in frames.all().iter().zip(chain_frames.all()) {
            // What goes down in a loop is given up after some turns, and the two count these differently.
            assert_eq!(frame.depth.min(264), chained.depth.min(264), "{seed}");
        }
        let left = |program: &Program| {
            let arena = Arena::new();
            let mut list = List::<Bpf>::new(&arena, &program.insns).unwrap();
            dce::run(program, &mut list, &dce::Options::default()).unwrap();
            (0..).take(program.insns.len()).map(|at| list.is_live(Handle::new(at))).collect::<Vec<_>>()
        };
        let (ours, theirs) = (left(&program), left(&chain));
        for at in 0..program.insns.len() {
            let insn = program.insns[at];
            // A chain ends with a `goto`, which may make others lead on.
            if !insn.is_goto() && !insn.is_gotox() {
                assert_eq!(ours[at], theirs[map.new_of(slot(at)) as usize], "{seed} {at}");
            }
            deleted += u32::from(!ours[at]);
        }
        let used = |program: &Program| {
            let arena = Arena::new();
            let mut list = List::<Bpf>::new(&arena, &program.insns).unwrap();
            dead_stores::run(program, &mut list, &Facts::default(), &Options::default()).unwrap();
            (0..).take(program.insns.len()).map(|at| list.is_live(Handle::new(at))).collect::<Vec<_>>()
        };
        let (ours, theirs) = (used(&program), used(&chain));
        for at in (0..program.insns.len()).filter(|&at| !program.insns[at].is_gotox()) {
            assert_eq!(ours[at], theirs[map.new_of(slot(at)) as usize], "{seed} {at}");
            useless += u32::from(!ours[at]);
        }
    }
    assert!(
        jumps > 5000 && dead > 3000 && deleted > dead && useless > 3000,
        "{jumps} {dead} {deleted} {useless}"
    );
}

#[test]
fn edges_by_tables_are_those_of_the_subprogram() {
    let insns = vec![
        Insn::gotox(1),
        Insn::exit(),
        Insn::gotox(2),
        Insn::exit(),
        // Another subprogram.
        Insn::gotox(3),
        Insn::exit(),
    ];
    let entries = [3, 1, 5, 1].map(Some).to_vec();
    let program = Program::<()> { insns, subprogs: vec![0, 4], insn_array: entries, ..Program::default() };
    let cfg = Cfg::new(&program).unwrap();
    assert_eq!((cfg.indirect_jumps(0), cfg.indirect_targets(0)), (&[0, 2][..], &[1, 3][..]));
    assert_eq!((cfg.indirect_jumps(1), cfg.indirect_targets(1)), (&[4][..], &[5][..]));
    assert!(cfg.is_indirect_target(3) && !cfg.is_indirect_target(2));
    let block = cfg.blocks()[0];
    assert!(block.is_indirect && block.successors().next().is_none());
    assert!((0..6).all(|block| cfg.is_reachable(block) == (block != 2)));
    // Another subprogram's entries are no way to go on.
    let program = Program { insn_array: vec![Some(5)], ..program };
    assert_eq!(Cfg::new(&program).unwrap_err(), CfgError::NoTable { at: 0 });
    // Nor is one that was deleted.
    let program = Program { insn_array: vec![Some(1), None], ..program };
    assert_eq!(Cfg::new(&program).unwrap_err(), CfgError::NoTable { at: 4 });
}

/// The number of steps must not be the product of the number of jumps and that of entries.
#[test]
fn many_jumps_by_one_long_table() {
    let n = 20_000;
    let mut insns = Vec::new();
    for at in 0..n {
        insns.extend([Insn::mov64_imm(3, at), Insn::gotox(9)]);
    }
    let insn_array = (0..).step_by(2).take(insns.len() / 2).map(Some).collect();
    let program = Program::<()> { insns, subprogs: vec![0], insn_array, ..Program::default() };
    let cfg = Cfg::new(&program).unwrap();
    assert_eq!(cfg.indirect_targets(0).len(), cfg.indirect_jumps(0).len());
    let live = Liveness::new(&program, &cfg);
    assert!(live.before(0).low.contains(9) && !live.before(0).low.contains(3));
    assert_eq!(Frames::new(&program, &cfg).of(0).depth, 0);
    let arena = Arena::new();
    let mut list = List::<Bpf>::new(&arena, &program.insns).unwrap();
    assert_eq!(dce::run(&program, &mut list, &dce::Options::default()).unwrap(), dce::Report::default());
}
