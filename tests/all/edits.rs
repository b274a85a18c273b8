//! Lists against the naive model of `relinear::fuzzing`, on cases made of random bytes.

use arbitrary::{Arbitrary, Unstructured};
use proptest::collection::vec;
use proptest::prelude::*;
use relinear::fuzzing::{TestCase, check};

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn lists_do_what_the_model_does(bytes in vec(any::<u8>(), 0..1500)) {
        let case = TestCase::arbitrary(&mut Unstructured::new(&bytes));
        check(&case.expect("no bytes are too few"));
    }
}
