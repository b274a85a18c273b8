//! The integration tests, a module per topic.

#[cfg(feature = "bpf")]
mod asm;
#[cfg(feature = "bpf")]
mod encoding;
