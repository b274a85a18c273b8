//! Passes over programs, which have to do the same afterwards.
#![no_main]

use libfuzzer_sys::fuzz_target;
use relinear::fuzzing::{ProgramCase, check_program};

fuzz_target!(|case: ProgramCase| check_program(&case));
