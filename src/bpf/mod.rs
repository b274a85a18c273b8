//! The eBPF instruction set, through v4.

pub mod asm;
mod build;
mod bytes;
mod check;
pub mod dis;
mod insn;
mod isa;
pub mod opcode;
mod program;
mod syntax;

pub use bytes::{DecodeError, Endian, decode, encode};
pub use check::{InsnError, InsnReason, check_insn};
pub use insn::Insn;
pub use isa::Bpf;
pub use program::Program;
