//! Branches at their limits against the naive solver of `relinear::fuzzing`.

use arbitrary::{Arbitrary, Unstructured};
use proptest::collection::vec;
use proptest::prelude::*;
use relinear::fuzzing::{RelaxCase, check_relaxed};

fn check_bytes(bytes: &[u8]) {
    check_relaxed(&RelaxCase::arbitrary(&mut Unstructured::new(bytes)).expect("no bytes are too few"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn branches_at_their_limits_are_relaxed_as_little_as_can_be(bytes in vec(any::<u8>(), 0..600)) {
        check_bytes(&bytes);
    }
}

#[test]
fn the_corpus_of_the_fuzzer_passes() {
    for input in crate::corpus("relax") {
        check_bytes(&input);
    }
}
