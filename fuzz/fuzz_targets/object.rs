//! Objects, and what may look like one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use relinear::fuzzing::check_object;
use relinear_fuzz::memory_of;

fuzz_target!(|data: &[u8]| {
    let peak = memory_of(|| check_object(data));
    assert!(peak <= (8 << 20) + 256 * data.len(), "{peak} bytes of memory for {}", data.len());
});
