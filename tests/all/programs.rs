//! Passes over random programs, which the interpreter of `relinear::fuzzing` runs before and after.

use arbitrary::{Arbitrary, Unstructured};
use proptest::collection::vec;
use proptest::prelude::*;
use relinear::fuzzing::{ProgramCase, check_program};

fn check_bytes(bytes: &[u8]) {
    check_program(&ProgramCase::arbitrary(&mut Unstructured::new(bytes)).expect("no bytes are too few"));
}

/// So many cases, or as many as the environment asks for, if those are more.
fn config(cases: u32) -> ProptestConfig {
    let asked = ProptestConfig::default();
    ProptestConfig { cases: asked.cases.max(cases), failure_persistence: None, ..asked }
}

proptest! {
    #![proptest_config(config(1000))]

    #[test]
    fn passes_leave_what_generated_programs_do(bytes in vec(any::<u8>(), 100..2500)) {
        let mut bytes = bytes;
        bytes[0] &= !1;
        check_bytes(&bytes);
    }

    #[test]
    fn passes_leave_what_programs_of_any_slots_do(bytes in vec(any::<u8>(), 0..600)) {
        let mut bytes = bytes;
        if let Some(source) = bytes.first_mut() {
            *source |= 1;
        }
        check_bytes(&bytes);
    }
}

// Each of these programs becomes very long.
proptest! {
    #![proptest_config(config(256))]

    #[test]
    fn longer_forms_of_jumps_leave_what_programs_do(bytes in vec(any::<u8>(), 100..2500)) {
        // Nothing but code that is inserted at two places, which a sum of 0 asks for.
        let mut bytes = bytes;
        bytes[..6].copy_from_slice(&[0, 0x80, 0, 0, 0, 0]);
        bytes[3] = bytes.iter().fold(0, |sum: u8, byte| sum.wrapping_sub(*byte));
        check_bytes(&bytes);
    }
}

#[test]
fn the_corpus_of_the_fuzzer_passes() {
    for input in crate::corpus("program") {
        check_bytes(&input);
    }
}
