//! The assembler and the disassembler against each other.
#![no_main]

use libfuzzer_sys::fuzz_target;
use relinear::fuzzing::check_asm;

fuzz_target!(|input: &[u8]| check_asm(input));
