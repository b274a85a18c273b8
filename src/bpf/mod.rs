//! The eBPF instruction set, through v4.

mod insn;
mod program;

pub use insn::Insn;
pub use program::Program;
