//! Objects, and what may look like one.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use relinear::fuzzing::{check_object, damage_object, memory_limit};
use relinear_fuzz::memory_of;

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    damage_object(&mut data[..size], seed);
    if seed % 2 == 0 { fuzzer_mutate(data, size, max_size) } else { size }
});

fuzz_target!(|data: &[u8]| assert!(memory_of(|| check_object(data)) <= memory_limit(data)));
