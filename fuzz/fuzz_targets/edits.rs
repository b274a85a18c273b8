//! Lists against the naive model.
#![no_main]

use libfuzzer_sys::fuzz_target;
use relinear::fuzzing::{TestCase, check};

fuzz_target!(|case: TestCase| check(&case));
