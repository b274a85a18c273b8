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
#[cfg(feature = "fuzzing")]
mod interp;
#[cfg(all(feature = "bpf", target_os = "linux"))]
mod kernel;
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
#[cfg(feature = "bpf")]
mod tables;
#[cfg(all(feature = "cli", unix))]
mod terminal;

/// What the fuzzer kept for a target. A packaged crate comes without it, and the test says that it did not run.
#[cfg(feature = "fuzzing")]
fn corpus(target: &str) -> Vec<Vec<u8>> {
    if is_packaged() {
        skipped(format_args!("the corpus of {target}, which is not in the package"));
        return Vec::new();
    }
    let directory = format!("{}/fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
    let entries = std::fs::read_dir(directory).expect("the corpus is there");
    let inputs: Vec<_> = entries.map(|entry| std::fs::read(entry.unwrap().path()).unwrap()).collect();
    assert!(!inputs.is_empty(), "no corpus of {target}");
    inputs
}

/// Whether these are the tests of a packaged crate, which has no benchmarks and fuzz targets beside it.
fn is_packaged() -> bool {
    !std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz")).exists()
}

/// Says that something was not tested, and why, past the runner, which keeps what tests print to itself.
#[cfg(any(feature = "fuzzing", all(feature = "bpf", target_os = "linux")))]
fn skipped(why: impl std::fmt::Display) {
    use std::io::Write;
    // Nobody is left to tell if this fails.
    drop(writeln!(std::io::stderr(), "skipped: {why}"));
}
