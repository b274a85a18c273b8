//! Dead code and constant blinding. What programs return comes from the kernel.

use relinear::bpf::{Bpf, Insn, Program, dis};
use relinear::passes::{blind, dce};
use relinear::{Arena, List};

use crate::kernel;
use crate::random::{Shape, from_insns, program, traffic_control};

/// Edits a program and gives what comes out.
fn edited(program: &Program, edit: impl FnOnce(&mut List<'_, Bpf>)) -> Vec<Insn> {
    let arena = Arena::new();
    let mut list = List::<Bpf>::new(&arena, &program.insns).expect("a list");
    edit(&mut list);
    list.linearize().expect("a program").units
}

fn without_dead_code(program: &Program) -> (Vec<Insn>, dce::Report) {
    let mut report = dce::Report::default();
    let options = dce::Options { roots: Some(vec![0]) };
    let insns = edited(program, |list| report = dce::run(program, list, &options).expect("no error"));
    (insns, report)
}

fn blinded(program: &Program, options: blind::Options) -> (Vec<Insn>, blind::Report) {
    let mut report = blind::Report::default();
    let insns = edited(program, |list| report = blind::run(program, list, &options).expect("no error"));
    (insns, report)
}

fn listing(insns: &[Insn]) -> String {
    let mut text = String::new();
    let mut at = 0;
    while at < insns.len() {
        let line = dis::dis(&insns[at..]);
        text += &format!("{at}: {line}\n");
        at += line.slots();
    }
    text
}

/// What a program returns for packets of several lengths.
fn returned(insns: &[Insn], what: &str) -> Vec<u32> {
    let loaded = kernel::load(insns)
        .unwrap_or_else(|refused| panic!("{what}: {}\n{}\n{}", refused.error, listing(insns), refused.log));
    [14, 60, 61, 100, 1500].map(|packet| loaded.run(packet).expect("it runs")).to_vec()
}

const SHAPES: [Shape; 4] = [
    Shape { statements: 30, callees: 0, junk: false, use_r1: false },
    Shape { statements: 60, callees: 2, junk: false, use_r1: false },
    Shape { statements: 40, callees: 1, junk: false, use_r1: true },
    Shape { statements: 12, callees: 3, junk: false, use_r1: true },
];

#[test]
fn random_programs_return_the_same_after_each_pass() {
    if !kernel::is_available() {
        return;
    }
    let mut blind_total = blind::Report::default();
    let mut dce_total = dce::Report::default();
    for seed in 0..200 {
        let shape = SHAPES[usize::try_from(seed % 4).expect("small")];
        let what = format!("seed {seed}");
        let plain = program(&traffic_control(seed, shape));
        let expected = returned(&plain.insns, &what);

        let with_junk = program(&traffic_control(seed, Shape { junk: true, ..shape }));
        let (insns, report) = without_dead_code(&with_junk);
        assert_eq!(returned(&insns, &format!("{what}, without dead code")), expected, "{what}");
        let again = from_insns(insns.clone());
        assert_eq!(without_dead_code(&again), (insns, dce::Report::default()), "{what}: a fixpoint");
        dce_total.unreached_slots += report.unreached_slots;
        dce_total.always_taken += report.always_taken;
        dce_total.never_taken += report.never_taken;
        dce_total.gotos += report.gotos;

        let (insns, report) = blinded(&plain, blind::Options { seed, ..Default::default() });
        assert_eq!(returned(&insns, &format!("{what}, blinded")), expected, "{what}");
        blind_total.blinded += report.blinded;
        blind_total.spilled += report.spilled;
        blind_total.without_register += report.without_register;
        blind_total.jumps_without_register += report.jumps_without_register;

        let both = edited(&with_junk, |list| {
            dce::run(&with_junk, list, &dce::Options { roots: Some(vec![0]) }).expect("no error");
            blind::run(&with_junk, list, &blind::Options { seed, ..Default::default() }).expect("no error");
        });
        assert_eq!(returned(&both, &format!("{what}, both passes on one list")), expected, "{what}");
    }
    println!("{dce_total:?}\n{blind_total:?}");
    assert!(dce_total.unreached_slots > 500 && dce_total.always_taken > 50 && dce_total.never_taken > 50);
    assert!(
        blind_total.blinded > 5000 && blind_total.spilled > 500 && blind_total.jumps_without_register > 50
    );
}
