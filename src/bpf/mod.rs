//! The eBPF instruction set, through v4.

mod build;
mod bytes;
mod check;
mod insn;
mod isa;
pub mod opcode;
mod program;

pub use bytes::{DecodeError, Endian, decode, encode};
pub use check::{InsnError, InsnReason, check_insn};
pub use insn::Insn;
pub use isa::Bpf;
pub use program::Program;
