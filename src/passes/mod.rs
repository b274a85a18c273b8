//! Passes over eBPF programs: each one edits a list, and uses the public interface of the core only.
//!
//! A pass is a module with a function `run(&program, &mut list, &options)`, its `Options`, which have a default, and its
//! `Report`. `program` is what the list was made from: a pass analyses it, by original position, and edits the list.
//! Several passes may edit one list before it is linearized once; each one says what it takes of those
//! before it. What runs over whole objects by name is in `elf::passes`.
//!
//! [`fold`], [`constants`] and [`dead_stores`] go by what is known of [values](crate::bpf::values), with
//! [facts](crate::bpf::values::Facts) of the caller's. To specialize a program, run `fold`, then the other two in turn,
//! each over the result of the one before it, until nothing changes.
//!
//! Other passes do as the Linux kernel does to a program that it has verified, instruction for instruction. They
//! take the facts of the verifier from the list (an [`Aux`](crate::bpf::Aux) for each instruction) and no
//! program, so that they see what those before them did. A host chooses and orders them:
//!
//! | pass, in the order of the kernel | function of the kernel |
//! | --- | --- |
//! | [`misc_fixups::inline_loops`] | `optimize_bpf_loop` |
//! | [`hard_wire_dead_branches`] | `opt_hard_wire_dead_code_branches` |
//! | [`remove_dead_code`] | `opt_remove_dead_code` |
//! | [`remove_nops`] | `opt_remove_nops` |
//! | [`sanitize_dead_code`], instead of the three before, for a program of an unprivileged user | `sanitize_dead_code` |
//! | [`ctx`] | `convert_ctx_accesses` |
//! | [`Editor::add_subprog`](crate::bpf::Editor::add_subprog), for what `bpf_throw` throws | `add_hidden_subprog`, in `do_misc_fixups` |
//! | [`misc_fixups`] | `do_misc_fixups` |
//! | [`zext`], then [`rnd_hi32`] of the rest | `opt_subreg_zext_lo32_rnd_hi32` |
//! | [`harden`] | `bpf_jit_blind_constants` |
//!
//! All of them may run over one list, which is linearized once: with an [`Editor`](crate::bpf::Editor), all tables come
//! out as the kernel's. The facts of type `T` that a program has go along, so that the host knows in the end what each
//! call is of. This is the whole of it:
//!
//! ```
//! use relinear::bpf::{Aux, Endian, Insn, Program, helper};
//! use relinear::passes::ctx::{self, Memory, Xdp};
//! use relinear::passes::misc_fixups::{self, Call, Host, Site, Subprogs};
//! use relinear::passes::{
//!     harden, hard_wire_dead_branches, remove_dead_code, remove_nops, rnd_hi32, zext,
//! };
//! use relinear::{Arena, Handle, Patch};
//!
//! /// What the host knows of an instruction.
//! #[derive(Clone, Copy, Debug, Default, PartialEq)]
//! enum Known {
//!     #[default]
//!     Nothing,
//!     Context,
//!     /// A helper by its number, or what a pass inserted.
//!     Helper(i32),
//!     Inserted,
//! }
//!
//! struct RunTime;
//!
//! impl Host<Known> for RunTime {
//!     fn call(&self, site: &Site<'_, Known>) -> Call<'_> {
//!         // Where the function is.
//!         Call::Immediate(0x1000 + site.insn.imm)
//!     }
//!
//!     fn inserted_call(&self, _: Insn) -> Known {
//!         Known::Inserted
//!     }
//!
//!     fn loop_callback(&self, _: &Site<'_, Known>) -> Option<Handle> {
//!         Some(Handle::new(14))
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let insns = relinear::bpf::asm::parse("
//!     w6 = *(u32 *)(r1 + 0)
//!     r7 = 3
//!     if r7 == 3 goto +1
//!     r0 = 9
//!     r7 /= r6
//!     r1 = 4
//!     r2 = subprog[callback] ll
//!     r3 = 0; r4 = 0
//!     call 181
//!     goto +0
//!     w0 = 0
//!     exit
//!  callback:
//!     r0 = 0
//!     exit
//! ")?;
//! assert_eq!(helper::name(181), Some("bpf_loop"));
//! // What a verifier has found out.
//! let mut aux = vec![Aux { seen: true, ..Aux::<Known>::default() }; insns.len()];
//! aux[3].seen = false;
//! aux[0] = Aux { zext_dst: true, user: Known::Context, ..aux[0] };
//! aux[10].user = Known::Helper(181);
//! let mut program = Program { insns, aux, subprogs: vec![0, 14], ..Program::default() };
//!
//! let xdp = Xdp { data: 0, data_end: 8, data_meta: 16, rxq: 32, rxq_dev: 0, rxq_queue_index: 8, egress: None, ifindex: 224 };
//! let table = xdp.table(Endian::NATIVE);
//! let arena = Arena::new();
//! let (starts, mut stack) = (program.subprogs.clone(), [0, 0]);
//! let mut subprogs = Subprogs { starts: &starts, stack: &mut stack };
//! let mut editor = program.edit(&arena)?;
//! misc_fixups::inline_loops(editor.list(), &mut subprogs, &RunTime)?;
//! hard_wire_dead_branches::run(editor.list())?;
//! remove_dead_code::run(editor.list())?;
//! remove_nops::run(editor.list(), &remove_nops::Options::default())?;
//! ctx::run(editor.list(), &ctx::Options::default(), |site| match site.aux.user {
//!     Known::Context => Memory::Context(&table).into(),
//!     _ => Memory::Plain.into(),
//! })?;
//! editor.add_subprog(Patch::new(&[Insn::mov64_reg(0, 1), Insn::exit()]), None)?;
//! misc_fixups::run(editor.list(), &mut subprogs, &RunTime, &misc_fixups::Options::default())?;
//! let extended = zext::run(editor.list(), &zext::Options { explicit: true })?;
//! rnd_hi32::run(editor.list(), &rnd_hi32::Options::default(), |aux| aux.user == Known::Context)?;
//! let options = harden::Options { zext: extended.moves > 0, ..harden::Options::default() };
//! harden::run(editor.list(), &options)?;
//! program = editor.linearize()?;
//!
//! assert_eq!(program.subprogs.len(), 3);
//! assert!(program.aux.iter().any(|aux| aux.user == Known::Inserted), "the loop calls its callback");
//! # Ok(())
//! # }
//! ```

pub mod blind;
pub mod constants;
pub mod ctx;
pub mod dce;
pub mod dead_stores;
pub mod fold;
pub mod hard_wire_dead_branches;
pub mod harden;
pub mod kernel;
mod keys;
pub mod misc_fixups;
pub mod remove_dead_code;
pub mod remove_nops;
pub mod rnd_hi32;
pub mod sanitize_dead_code;
mod substitute;
mod unreached;
pub mod zext;

use core::fmt;

use crate::bpf::values::RootError;
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

impl From<RootError> for Error {
    fn from(RootError { root, subprogs }: RootError) -> Self {
        Self::BadRoot { root, subprogs }
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
