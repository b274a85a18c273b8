//! What is known of values against runs, and passes that go by it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use relinear::fuzzing::{ValuesCase, check_values};

fuzz_target!(|case: ValuesCase| check_values(&case));
