//! The integration tests, a module per topic.

#[cfg(feature = "bpf")]
mod asm;
#[cfg(feature = "fuzzing")]
mod edits;
#[cfg(feature = "bpf")]
mod encoding;
