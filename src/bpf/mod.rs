//! The eBPF instruction set, through v4.

pub mod asm;
mod build;
mod bytes;
mod cfg;
mod check;
pub mod dis;
mod effects;
mod insn;
mod isa;
mod liveness;
pub mod opcode;
mod program;
mod relax;
mod stack;
mod syntax;

pub use bytes::{DecodeError, Endian, decode, encode};
pub use cfg::{Block, Cfg, CfgError};
pub use check::{InsnError, InsnReason, check_insn};
pub use effects::{Effects, RegSet};
pub use insn::Insn;
pub use isa::Bpf;
pub use liveness::{Live, Liveness};
pub use program::Program;
pub(crate) use program::is_pinned;
pub use stack::{Frame, Frames, MAX_STACK};
pub(crate) use stack::{TAIL_CALL_STACK, is_tail_call};
