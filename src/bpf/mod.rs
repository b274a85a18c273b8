//! The eBPF instruction set, through v4.

mod build;
mod insn;
mod isa;
pub mod opcode;
mod program;

pub use insn::Insn;
pub use isa::Bpf;
pub use program::Program;
