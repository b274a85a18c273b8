//! Passes over eBPF programs: each one edits a list, and uses the public interface of the core only.
//!
//! A pass is a function `run(&program, &mut list, &options)`. `program` is what the list was made
//! from: a pass analyses it, by original position, and edits the list. Several passes may edit one
//! list before it is linearized once; each one says what it takes of those before it. What runs over whole objects by name
//! is in `elf::passes`.
//!
//! Other passes do as the Linux kernel does to a program that it has verified, instruction for instruction. They
//! take the facts of the verifier from the list (an [`Aux`](crate::bpf::Aux) for each instruction) and no
//! program, so that they see what those before them did. A host chooses and orders them:
//!
//! | pass | function of the kernel |
//! | --- | --- |
//! | [`misc_fixups::inline_loops`] | `optimize_bpf_loop` |
//! | [`hard_wire_dead_branches`] | `opt_hard_wire_dead_code_branches` |
//! | [`remove_dead_code`] | `opt_remove_dead_code` |
//! | [`remove_nops`] | `opt_remove_nops` |
//! | [`sanitize_dead_code`] | `sanitize_dead_code` |
//! | [`ctx`] | `convert_ctx_accesses` |
//! | [`misc_fixups`] | `do_misc_fixups` |
//! | [`zext`], [`rnd_hi32`] | `opt_subreg_zext_lo32_rnd_hi32` |
//! | [`blind::harden`] | `bpf_jit_blind_constants` |
//!
//! Used with an [`Editor`](crate::bpf::Editor), all tables come out as the kernel's:
//!
//! ```
//! use relinear::Arena;
//! use relinear::bpf::{Aux, Insn, Program};
//! use relinear::passes::{hard_wire_dead_branches, remove_dead_code, remove_nops};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // r0 = 7;  if r0 == 7 goto +1;  r0 = 9;  exit
//! let insns = vec![Insn::mov64_imm(0, 7), Insn::jmp_imm(0x10, 0, 7, 1), Insn::mov64_imm(0, 9), Insn::exit()];
//! let aux = [true, true, false, true].map(|seen| Aux { seen, ..Aux::default() }).to_vec();
//! let program = Program::<()> { insns, aux, ..Program::default() };
//! let arena = Arena::new();
//! let mut editor = program.edit(&arena)?;
//! hard_wire_dead_branches::run(editor.list())?;
//! remove_dead_code::run(editor.list())?;
//! remove_nops::run(editor.list(), &remove_nops::Options::default())?;
//! assert_eq!(editor.linearize()?.insns, [Insn::mov64_imm(0, 7), Insn::exit()]);
//! # Ok(())
//! # }
//! ```

pub mod blind;
mod constants;
pub mod ctx;
pub mod dce;
mod eval;
pub mod hard_wire_dead_branches;
pub mod kernel;
mod keys;
pub mod misc_fixups;
pub mod remove_dead_code;
pub mod remove_nops;
pub mod rnd_hi32;
pub mod sanitize_dead_code;
mod scratch;
pub mod zext;

use core::fmt;

use crate::bpf::{Bpf, CfgError, Insn};
use crate::core::{Handle, Isa, List};

/// Where the branch at `at` leads. Without it, an edit would take the displacement of a branch that leads
/// out of the program for one within the patch.
fn branch_target<A: Copy + Default>(list: &List<'_, Bpf, A>, at: Handle) -> Result<Handle, Error> {
    list.target(at, 0).ok_or_else(|| {
        let displacement = list.insn(at).map_or(0, |insn| Bpf::read(insn, 0));
        let target = i64::from(at.index()) + 1 + displacement;
        crate::core::Error::BranchOutside { origin: at.index(), target }.into()
    })
}

/// Why a pass gave up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Error {
    /// The program has no control flow graph.
    Cfg(CfgError),
    /// An edit was refused.
    Edit(crate::core::Error),
    /// The list is not over the program, or was edited before a pass that wants it untouched.
    Edited {
        /// The first slot where the two differ.
        at: usize,
    },
    /// No subprogram is a root, or a root is no subprogram of the program.
    BadRoot {
        /// What was given as a root, if anything.
        root: Option<u32>,
        /// How many subprograms there are.
        subprogs: u32,
    },
    /// There is not one stack for each subprogram, or the subprograms are not in order from 0 on.
    BadSubprogs {
        /// How many starts of subprograms were given.
        starts: usize,
        /// How many stacks were given.
        stacks: usize,
    },
    /// What a pass takes of the stack is out of reach of the frame pointer.
    StackTooDeep {
        /// The subprogram.
        subprog: usize,
        /// The stack it uses already, in bytes.
        used: u32,
        /// The bytes it would take.
        more: u32,
    },
    /// A host said something of an instruction that no instruction can hold.
    BadFact {
        /// The instruction.
        at: Handle,
        /// What the host was asked for.
        what: &'static str,
        /// What it said.
        value: u32,
    },
    /// The hidden register is one that programs use, or no register at all.
    BadHidden {
        /// Its number.
        reg: u8,
    },
    /// A load or store of a context that its table does not have.
    NoConversion {
        /// Its handle.
        at: Handle,
        /// The instruction.
        insn: Insn,
    },
    /// What replaces an instruction is longer than the kernel has room for.
    LongConversion {
        /// The handle of the instruction.
        at: Handle,
        /// How many slots replace it.
        slots: usize,
        /// How many slots there is room for.
        limit: usize,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Cfg(error) => error.fmt(f),
            Self::Edit(error) => error.fmt(f),
            Self::Edited { at } => write!(f, "the list differs from the program at slot {at}"),
            Self::BadRoot { root: Some(root), subprogs } => {
                write!(f, "root {root} is none of the {subprogs} subprograms")
            }
            Self::BadRoot { root: None, subprogs } => {
                write!(f, "none of the {subprogs} subprograms is a root")
            }
            Self::BadSubprogs { starts, stacks } => {
                write!(f, "{starts} subprograms with {stacks} stacks do not start in order from 0 on")
            }
            Self::StackTooDeep { subprog, used, more } => write!(
                f,
                "subprogram {subprog} uses {used} bytes of stack: {more} more are out of reach of the frame pointer"
            ),
            Self::BadFact { at, what, value } => {
                write!(f, "{at}: {what} is {value}, more than an immediate holds")
            }
            Self::BadHidden { reg } => write!(f, "r{reg} is not a hidden register, one of r11 to r15"),
            Self::NoConversion { at, insn } => {
                write!(
                    f,
                    "{at}, of code {:#04x}, accesses offset {} of a context, where there is nothing for it",
                    insn.code, insn.off
                )
            }
            Self::LongConversion { at, slots, limit } => {
                write!(f, "{slots} slots are to replace {at}, and there is room for {limit}")
            }
        }
    }
}

impl core::error::Error for Error {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Cfg(error) => Some(error),
            Self::Edit(error) => Some(error),
            _ => None,
        }
    }
}

impl From<CfgError> for Error {
    fn from(error: CfgError) -> Self {
        Self::Cfg(error)
    }
}

impl From<crate::core::Error> for Error {
    fn from(error: crate::core::Error) -> Self {
        Self::Edit(error)
    }
}
