//! The reference interpreter of `relinear::fuzzing` against the running kernel, and its own tables.

use std::env;
use std::fmt::Write;

use arbitrary::Unstructured;
use relinear::bpf::Insn;
use relinear::bpf::dis::dis;
use relinear::fuzzing::Generated;

use crate::kernel;
use crate::random::Rng;

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

#[test]
fn the_interpreter_returns_what_the_kernel_does() {
    if !kernel::is_available() {
        return;
    }
    let mut refused = 0;
    for seed in 0..count() {
        let generated =
            Generated::for_kernel(&mut Unstructured::new(&bytes(seed, 1200))).expect("no bytes are too few");
        let insns = &generated.program.insns;
        let outcome = generated.machine.run(insns);
        let outcome = outcome.unwrap_or_else(|fault| panic!("seed {seed}: {fault}\n{}", listing(insns)));
        let loaded = match kernel::load(insns) {
            Ok(loaded) => loaded,
            Err(why) if TOO_COMPLEX.iter().any(|reason| why.log.contains(reason)) => {
                refused += 1;
                continue;
            }
            Err(why) => panic!("seed {seed}: {} {}\n{}", why.error, why.log, listing(insns)),
        };
        let returned = loaded.run(generated.machine.packet.len()).expect("a program that was loaded");
        let low = u32::try_from(outcome.value & u64::from(u32::MAX)).expect("32 bits");
        assert_eq!(returned, low, "seed {seed}\n{}", listing(insns));
    }
    println!("{} programs agree, {refused} were too complex for the verifier", count() - refused);
    assert!(refused * 10 <= count(), "{refused} of {} programs were refused", count());
}
