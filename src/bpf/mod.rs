//! The eBPF instruction set, through v4.

pub mod asm;
mod build;
mod bytes;
mod cfg;
mod chains;
mod check;
mod defined;
pub mod dis;
mod editor;
mod effects;
mod facts;
pub mod helper;
mod insn;
mod isa;
mod kallsyms;
pub mod kernel_image;
mod liveness;
pub mod opcode;
mod program;
mod relax;
pub mod scratch;
mod signature;
mod stack;
mod syntax;
mod tables;
pub mod values;

pub use bytes::{DecodeError, Endian, decode, encode};
pub use cfg::{Block, Cfg, CfgError};
#[cfg(feature = "elf")]
pub(crate) use chains::Chains;
pub use check::{InsnError, InsnReason, check_insn};
#[cfg(feature = "elf")]
pub(crate) use editor::Edited;
pub use editor::{EditError, Editor, Moves, Table};
pub use effects::{Effects, RegSet};
pub use facts::Aux;
pub use insn::Insn;
pub use isa::Bpf;
pub use kallsyms::{Symbols, SymbolsError};
pub use liveness::{Live, Liveness};
pub(crate) use program::is_pinned;
pub use program::{FuncInfo, LineInfo, Program};
pub use relax::Cpu;
pub use signature::{Arguments, Signature};
pub(crate) use stack::{CALLBACK_HELPERS, TAIL_CALL_STACK, is_tail_call};
pub use stack::{Frame, Frames, MAX_STACK};
