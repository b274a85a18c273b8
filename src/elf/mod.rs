//! ELF objects that clang makes for eBPF: code out, edited code in, everything else moved along.
//!
//! [`Object::parse`] reads an object; each of its [code sections](Object::code) has a
//! [`Program`](crate::bpf::Program) for passes to edit. [`Object::edit`] begins an edit of
//! all of it, which can refer to variables, maps and functions, and add some; [`Object::write`] makes a file that a loader
//! takes. A host that edits lists of its own gives new code back by [`Object::replace_codes`].
//!
//! ```no_run
//! use relinear::bpf::{Bpf, Insn};
//! use relinear::elf::Object;
//! use relinear::{Arena, Handle, List};
//!
//! let file = std::fs::read("prog.o")?;
//! let mut object = Object::parse(&file)?;
//! for index in 0..object.code().len() {
//!     let insns = object.code()[index].program().insns.clone();
//!     let arena = Arena::new();
//!     let mut list = List::<Bpf>::new(&arena, &insns)?;
//!     list.prepend(Handle::new(0), &[Insn::mov64_imm(0, 0)][..])?;
//!     let new = list.linearize()?;
//!     object.replace_code(index, new.units, &new.map)?;
//! }
//! std::fs::write("patched.o", object.write()?)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What refers to code, and how it does, is from LLVM's "BPF relocation types"
//! (`Documentation/bpf/llvm_reloc.rst` in the kernel), `Documentation/bpf/btf.rst`, and libbpf.

mod btf;
mod btf_ext;
mod btf_strings;
mod bytes;
mod check;
mod code;
mod cover;
mod ctx;
mod edit;
mod editor;
mod error;
mod functions;
mod image;
mod inserted;
mod jump_tables;
mod limits;
mod lines;
mod moves;
mod object;
mod pass;
pub mod passes;
mod patch;
mod place;
mod plan;
mod read;
mod records;
mod refs;
mod scratch;
mod stack;
mod tally;
mod text;
mod verify;
mod write;

pub use btf::{Btf, Member};
pub use check::Finding;
pub use code::{
    Binding, CodeSection, CoreRelo, FuncInfo, Function, LineInfo, R_BPF_64_32, R_BPF_64_64, R_BPF_64_ABS32,
    R_BPF_64_ABS64, R_BPF_64_NODYLD32, Relocation,
};
pub use ctx::NoMember;
pub use edit::Edit;
pub use editor::{
    AddedFunction, Change, CodeEditor, Committed, DATA_SECTION, Data, Extern, ExternKind, FunctionDef,
    MapDef, ObjectEditor, Reference, SymbolId, Types,
};
pub use error::ElfError;
pub use functions::{Evidence, Part, Unanalysed};
pub use limits::Limits;
pub use object::{Note, Object, Referent};
pub use pass::{Counts, Failure, Outcome, Pass, Passes, PatchReason};
pub use patch::{PatchError, PatchReport, patch, patch_for, patch_recorded};
pub use place::{Place, SourceLine};
pub use read::{DataRelocation, SectionRef, SymbolKind, SymbolRef};
pub use refs::{Reachable, SubprogramId};
pub use scratch::Surroundings;
pub use tally::FunctionReport;
pub use text::{Name, Text};
pub use verify::{CodeChange, VerifyError, verify};
