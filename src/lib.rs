//! Edit programs in linear time: replace, prepend, append and delete instructions anywhere, in as many
//! passes as you like, then linearize once.
//!
//! A program is an array of instructions, and its branches, calls and side tables speak in positions of
//! that array. Insert one instruction and every one of them moves. Fixing them after each edit is
//! quadratic. A [`List`] keeps what edits insert beside the original array, at O(1) each, and
//! [`linearize`](List::linearize) moves everything and fixes every branch in one sweep.
//!
#![cfg_attr(feature = "bpf", doc = "```")]
#![cfg_attr(not(feature = "bpf"), doc = "```ignore")]
//! use relinear::bpf::{Bpf, Insn};
//! use relinear::{Arena, Handle, List, Patch};
//!
//! # fn main() -> Result<(), relinear::Error> {
//! // r0 = 0;  if r1 == 0 goto +1;  r0 = 7;  exit
//! let program = [Insn::mov64_imm(0, 0), Insn::jmp_imm(0x10, 1, 0, 1), Insn::mov64_imm(0, 7), Insn::exit()];
//! let arena = Arena::new();
//! let mut list = List::<Bpf>::new(&arena, &program)?;
//! list.prepend(Handle::new(3), Patch::new(&[Insn::mov64_imm(2, 1)]))?; // on every way to the exit
//! list.append(Handle::new(1), Patch::new(&[Insn::mov64_imm(3, 1)]))?; // only where the branch falls through
//! let out = list.linearize()?;
//! assert_eq!(out.units[1].off, 2);
//! assert_eq!(out.map.new_of(3), 4);
//! # Ok(())
//! # }
//! ```
//!
//! # Edits
//!
//! | edit | meaning | a branch to the edited instruction lands on |
//! | --- | --- | --- |
//! | [`replace`](List::replace) | these instructions instead of that one | the first of the replacement |
//! | [`prepend`](List::prepend) | run before it, on every way in | the first prepended instruction |
//! | [`prepend_fallthrough`](List::prepend_fallthrough) | run before it, when control falls in from above | the instruction itself |
//! | [`append`](List::append) | run when control leaves it downwards | the instruction itself |
//! | [`delete`](List::delete) | gone | the next live instruction |
//!
//! Instructions are named by [`Handle`]s. Handle `i` of the original program *is* position `i`, and it
//! means that instruction through every later edit. Inserted branches lead to a [`Target`], which is
//! resolved at linearization. Every edit may be made at inserted instructions too.
//!
//! # Side tables, facts, long branches
//!
//! Tables that speak in positions follow by the map: [`Map::adjust_points`] (source lines, relocations),
//! [`Map::adjust_starts`] (subprograms), [`Map::adjust_ranges`]. A fact that every instruction carries
//! (the `A` of a [`List`]) moves with it, and each edit says what becomes of the one it edits. Branches
//! that no longer reach take a longer form with [`List::linearize_relaxed`], if the instruction set has one.
//!
//! For eBPF, `Program::edit` takes a whole program with its tables through edits, by the rules of the kernel:
//!
#![cfg_attr(feature = "bpf", doc = "```")]
#![cfg_attr(not(feature = "bpf"), doc = "```ignore")]
//! use relinear::bpf::{Insn, LineInfo, Program};
//! use relinear::{Arena, Handle};
//!
//! # fn main() -> Result<(), relinear::bpf::EditError> {
//! let line = |insn_off| LineInfo { insn_off, ..LineInfo::default() };
//! let program = Program::<()> {
//!     // call +1;  exit;  r0 = 0;  exit
//!     insns: vec![Insn::call_local(1), Insn::exit(), Insn::mov64_imm(0, 0), Insn::exit()],
//!     subprogs: vec![0, 2],
//!     line_info: vec![line(0), line(2)],
//!     ..Program::default()
//! };
//! let arena = Arena::new();
//! let mut editor = program.edit(&arena)?;
//! editor.list().prepend(Handle::new(0), &[Insn::mov64_imm(1, 1)][..])?;
//! let out = editor.linearize()?;
//! assert_eq!((out.subprogs, out.line_info[1].insn_off), (vec![0, 3], 3));
//! # Ok(())
//! # }
//! ```
//!
//! # What it costs
//!
//! An edit costs its own units, amortized. Linearization costs the units of the output, whatever the
//! number of edits. The list borrows the program, and needs beside it a byte for each unit, the inserted
//! units, 16 bytes for each edit, and 4 bytes more for each unit of a word of 64 where edits do not come in
//! the order of the program, or several to one instruction. The [`Map`] that a linearization gives costs 4 bytes
//! for each original and inserted unit. A program has less than 2^32 units, inserted ones included, and takes at
//! most 2^28 edits.
//!
//! # When to use something else
//!
//! - A `Vec` and one `splice`, for a handful of edits to a short program.
//! - A sorted log of edits that is merged once, if edits come in order, in one pass, and nothing has to
//!   find an instruction again afterwards.
//! - The IR of a compiler, where code is not yet an array and branches name blocks.
//!
//! # Layers
//!
//! - [`core`]: the list. It knows no instruction set: one `impl` of [`Isa`] adds another.
//! - `bpf` (feature `bpf`): the eBPF instruction set, programs with their tables, assembler, disassembler,
//!   control flow, liveness, values.
//! - `passes` (feature `bpf`): dead code and dead stores, constants, constant blinding; and what the kernel does to
//!   a program that it has verified, for hosts that verify programs themselves.
//! - `btf` (feature `elf`): types of objects and kernels, and CO-RE relocations by libbpf's rules.
//! - `elf` (feature `elf`): objects that clang made, with symbols, relocations, BTF and `.BTF.ext`.
//! - `count`, `script` (feature `elf`): counters for the functions of an object; edits of an object written in assembly.
//! - the command `relinear` (feature `cli`; loading into the running kernel: feature `kernel`).
//!
//! Without default features the crate is `no_std` with `alloc`, and depends on `bumpalo` alone.
#![doc = include_str!("errors.md")]
#![no_std]
#![cfg_attr(docsrs, feature(doc_cfg))]

extern crate alloc;
#[cfg(any(feature = "std", test))]
extern crate std;

#[cfg(feature = "bpf")]
pub mod bpf;
#[cfg(feature = "elf")]
pub mod btf;
pub mod core;
#[cfg(feature = "elf")]
pub mod count;
#[cfg(feature = "elf")]
pub mod elf;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
#[cfg(feature = "bpf")]
pub mod passes;
#[cfg(feature = "elf")]
pub mod script;

pub use crate::core::{
    Arena, At, Branch, Broken, CursorMut, Deleted, Error, Fact, Handle, Inserted, Isa, Limits, Linear, List,
    LongForm, Map, Marks, Origin, Patch, Relax, Relaxed, TableError, Target,
};

#[cfg(all(doctest, feature = "bpf"))]
#[doc = include_str!("../README.md")]
struct Readme;
