//! The integration tests, a module per topic.

#[cfg(feature = "bpf")]
mod asm;
#[cfg(feature = "elf")]
mod elf;
#[cfg(feature = "bpf")]
mod encoding;
#[cfg(feature = "elf")]
mod facts;
