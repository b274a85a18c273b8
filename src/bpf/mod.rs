//! The eBPF instruction set, through v4.

pub mod asm;
mod build;
mod bytes;
mod cfg;
mod check;
pub mod dis;
mod editor;
mod effects;
mod facts;
pub mod helper;
mod insn;
mod isa;
mod liveness;
pub mod opcode;
mod program;
mod relax;
mod stack;
mod syntax;
mod tables;

pub use bytes::{DecodeError, Endian, decode, encode};
pub use cfg::{Block, Cfg, CfgError};
pub use check::{InsnError, InsnReason, check_insn};
#[cfg(feature = "elf")]
pub(crate) use editor::Edited;
pub use editor::{EditError, Editor, Moves, Table};
pub use effects::{Effects, RegSet};
pub use facts::Aux;
pub use insn::Insn;
pub use isa::Bpf;
pub use liveness::{Live, Liveness};
pub(crate) use program::is_pinned;
pub use program::{FuncInfo, LineInfo, Program};
pub use relax::Cpu;
pub use stack::{Frame, Frames, MAX_STACK};
pub(crate) use stack::{TAIL_CALL_STACK, is_tail_call};
