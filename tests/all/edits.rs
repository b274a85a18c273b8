//! Lists against the naive model of `relinear::fuzzing`: on random bytes, and on what the fuzzer kept.

use std::fs;

use arbitrary::{Arbitrary, Unstructured};
use proptest::collection::vec;
use proptest::prelude::*;
use relinear::fuzzing::{TestCase, check};

fn check_bytes(bytes: &[u8]) {
    check(&TestCase::arbitrary(&mut Unstructured::new(bytes)).expect("no bytes are too few"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn lists_do_what_the_model_does(bytes in vec(any::<u8>(), 0..1500)) {
        check_bytes(&bytes);
    }
}

#[test]
fn the_corpus_of_the_fuzzer_passes() {
    // A packaged crate comes without it.
    let Ok(corpus) = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/edits")) else { return };
    for entry in corpus {
        check_bytes(&fs::read(entry.unwrap().path()).unwrap());
    }
}
