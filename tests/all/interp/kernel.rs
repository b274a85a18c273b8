//! The interpreter against the running kernel, on random programs.

use std::env;
use std::fmt::Write;

use arbitrary::Unstructured;
use relinear::bpf::dis::dis;
use relinear::bpf::{FuncInfo, Insn, Program};
use relinear::fuzzing::Generated;
use relinear::fuzzing::interp::Machine;

use super::rules::{insns, looping};

use crate::differential::btf;
use crate::differential::image::Image;
use crate::differential::load::{Fixtures, LOG_STATS, Refused, Request, fixtures};
use crate::kernel;
use crate::random::{Rng, from_insns};

/// How many programs, if the environment does not say.
const PROGRAMS: u64 = 300;

fn count() -> u64 {
    env::var("RELINEAR_DIFFERENTIAL_COUNT").map_or(PROGRAMS, |count| count.parse().expect("a number"))
}

/// Bytes for a generator; the same seed gives the same ones.
fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut rng = Rng::new(seed);
    (0..len.div_ceil(8)).flat_map(|_| rng.next().to_le_bytes()).collect()
}

/// The instructions as text, a line each.
fn listing(insns: &[Insn]) -> String {
    let (mut text, mut at) = (String::new(), 0);
    while at < insns.len() {
        let line = dis(&insns[at..]);
        writeln!(text, "{at}: {line}").expect("a string takes all");
        at += line.slots();
    }
    text
}

/// The verifier's reasons to refuse a program that has no fault: it does not see all that is so.
const TOO_COMPLEX: [&str; 2] = ["too large", "too complex"];

/// `BPF_PROG_TYPE_SCHED_CLS`.
const TRAFFIC_CONTROL: u32 = 3;
/// `BPF_LOG_LEVEL1`.
const LOG_ON_ERROR: u32 = 1;

/// The program in the kernel, its functions with types, which callbacks must have.
fn load(fixtures: &Fixtures, program: &Program) -> Result<kernel::Loaded, Refused> {
    let starts = program.subprogs.iter().enumerate();
    let funcs =
        starts.map(|(number, &insn_off)| FuncInfo { insn_off, type_id: btf::function(number, false) });
    let image = Image { insns: program.insns.clone(), lines: Vec::new(), funcs: funcs.collect() };
    let request = Request { kind: TRAFFIC_CONTROL, attach: 0, flags: 0, image: &image, hardening: 0 };
    fixtures
        .load_once(&request, LOG_STATS)
        .or_else(|_| fixtures.load_once(&request, LOG_ON_ERROR))
        .map(kernel::Loaded::of)
}

#[test]
fn the_interpreter_returns_what_the_kernel_does() {
    let Some(fixtures) = fixtures() else { return };
    let mut refused = 0;
    for seed in 0..count() {
        let generated =
            Generated::for_kernel(&mut Unstructured::new(&bytes(seed, 4000))).expect("no bytes are too few");
        let Generated { program, machine, .. } = generated;
        let text = || format!("seed {seed}\n{}", listing(&program.insns));
        let outcome = machine.run(&program.insns).unwrap_or_else(|fault| panic!("{fault}: {}", text()));
        let loaded = match load(fixtures, &program) {
            Ok(loaded) => loaded,
            Err(why) if TOO_COMPLEX.iter().any(|reason| why.log.contains(reason)) => {
                refused += 1;
                continue;
            }
            Err(why) => panic!("{} {}: {}", why.error, why.log, text()),
        };
        let returned = loaded.run(machine.packet.len()).expect("a program that was loaded");
        let low = u32::try_from(outcome.value & u64::from(u32::MAX)).expect("32 bits");
        assert_eq!(returned, low, "{}", text());
    }
    println!("{} programs agree, {refused} were too complex for the verifier", count() - refused);
    assert!(refused * 10 <= count(), "{refused} of {} programs were refused", count());
}

/// These are few, and written by hand: Linux 6.18 cannot take callbacks of all kinds.
#[test]
fn callbacks_run_as_in_the_kernel() {
    let Some(fixtures) = fixtures() else { return };
    for (turns, flags) in [(3, 0), (9, 0), (3, 1), ((1 << 23) + 1, 0)] {
        let program = from_insns(insns(&looping(turns, flags)));
        let outcome = Machine::default().run(&program.insns).unwrap();
        let loaded = load(fixtures, &program).unwrap_or_else(|why| panic!("{} {}", why.error, why.log));
        let low = u32::try_from(outcome.value & u64::from(u32::MAX)).expect("32 bits");
        assert_eq!(loaded.run(64).unwrap(), low, "{turns} turns, flags {flags}");
    }
}
