//! The integration tests, a module per topic.

#[cfg(feature = "bpf")]
mod asm;
#[cfg(feature = "elf")]
mod btf;
#[cfg(feature = "bpf")]
mod cfg;
#[cfg(all(feature = "cli", unix))]
mod cli;
#[cfg(feature = "bpf")]
mod ctx;
#[cfg(feature = "elf")]
mod determinism;
#[cfg(all(feature = "bpf", target_os = "linux"))]
mod differential;
#[cfg(feature = "bpf")]
mod editor;
#[cfg(feature = "fuzzing")]
mod edits;
#[cfg(feature = "elf")]
mod elf;
#[cfg(feature = "bpf")]
mod encoding;
#[cfg(feature = "bpf")]
mod errors;
#[cfg(feature = "elf")]
mod facts;
#[cfg(all(feature = "cli", target_os = "linux"))]
mod faults;
#[cfg(feature = "elf")]
mod field;
#[cfg(feature = "bpf")]
mod fixups;
#[cfg(feature = "fuzzing")]
mod fuzzed;
#[cfg(feature = "bpf")]
mod indirect;
#[cfg(feature = "fuzzing")]
mod interp;
#[cfg(all(feature = "bpf", target_os = "linux"))]
mod kernel;
#[cfg(all(feature = "bpf", target_os = "linux"))]
mod kernel_image;
#[cfg(all(feature = "bpf", target_os = "linux"))]
mod liveness;
#[cfg(all(feature = "elf", target_os = "linux"))]
mod objects;
#[cfg(all(feature = "bpf", target_os = "linux"))]
mod passes;
#[cfg(feature = "fuzzing")]
mod programs;
mod promises;
#[cfg(feature = "bpf")]
mod random;
#[cfg(any(feature = "bpf", feature = "fuzzing"))]
mod relax;
#[cfg(all(feature = "elf", feature = "fuzzing", target_os = "linux"))]
mod scratch;
#[cfg(feature = "bpf")]
mod tables;
#[cfg(all(feature = "cli", unix))]
mod terminal;
#[cfg(feature = "elf")]
mod verify;

/// Says that something was not tested, and why, past the runner, which keeps what tests print to itself.
#[cfg(all(feature = "bpf", target_os = "linux"))]
fn skipped(why: impl std::fmt::Display) {
    use std::io::Write;
    // Nobody is left to tell if this fails.
    drop(writeln!(std::io::stderr(), "skipped: {why}"));
}
