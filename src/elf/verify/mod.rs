//! [`verify`]: whether an object that was written is the object that was read, but for what an edit had to move.
//!
//! It is written against the format, and shares no code with what writes objects: it reads both files with the
//! `object` crate, and derives what the new one has to hold from the old one and the maps of the edits.
//!
//! What holds of a file that passes, with a file of the module for each kind:
//!
//! - `sections`: the sections are the old ones in their order, with their headers. Only sections that no loader
//!   reads may be missing, and only those that speak of code which moved.
//! - `symbols`: each symbol is there in its order, but for those of functions of which nothing is left; one in
//!   edited code stands where the map says, and ends where what follows its function begins.
//! - `relocations`: each relocation is there in its order, for the same symbol and at the same instruction or
//!   datum, but for those of deleted instructions; with its addend it leads where the map says.
//! - `code`: each instruction that was neither deleted nor replaced is there once, in order, with the same bytes
//!   but for its displacement or addend; each branch, call and function reference leads where the map says. All
//!   other instructions are those of the edit.
//! - `records`: the records of `.BTF.ext` are those of the old file, each where its instruction or function is
//!   now, but for those of deleted code; lines follow the kernel's rule.
//! - `data`: all other bytes are the same, but for addends of edited code and entries of its jump tables.

mod change;
mod code;
mod data;
mod error;
mod file;
mod functions;
mod records;
mod relocations;
mod sections;
mod slot;
mod symbols;
mod trace;

use alloc::vec::Vec;

pub use change::CodeChange;
pub use error::VerifyError;

use file::File;
use trace::Trace;

/// Both files, and how they belong together.
struct Check<'a> {
    old: File<'a>,
    new: File<'a>,
    /// For each section of the old file where its code went, if it was edited.
    traces: Vec<Option<Trace<'a>>>,
    /// For each section of the old file its index in the new one, if it is there.
    sections: Vec<Option<usize>>,
    /// For each symbol of the old file its index in the new one, if it is there.
    symbols: Vec<Option<usize>>,
}

/// Whether the object `new` is `old` after `changes`, and no different in anything else.
///
/// The changes of one code section are in the order in which they were made. Changes of code are all that it knows of:
/// an object to which an [`ObjectEditor`](super::ObjectEditor) has added variables, maps, functions, kernel symbols or
/// references is not taken for the old one.
///
/// O(size of both files · log their records, and the units of the maps).
///
/// ```no_run
/// use relinear::bpf::Cpu;
/// use relinear::elf::{Object, passes::Dce, patch_recorded, verify};
///
/// let old = std::fs::read("prog.o")?;
/// let mut object = Object::parse(&old)?;
/// let mut changes = Vec::new();
/// patch_recorded(&mut object, &[&Dce], Cpu::V4, &mut changes)?;
/// let new = object.write()?;
/// verify(&old, &new, &changes)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`VerifyError::Unreadable`] if one of the files is no ELF object by the letter of the format, and
/// [`VerifyError::Wrong`] with the first thing that is not as it should be.
pub fn verify(old: &[u8], new: &[u8], changes: &[CodeChange]) -> Result<(), VerifyError> {
    let unreadable = |is_old| move |reason| VerifyError::Unreadable { is_old, reason };
    let old = File::read(old).map_err(unreadable(true))?;
    let new = File::read(new).map_err(unreadable(false))?;
    let traces = trace::trace_all(&old, changes)?;
    let mut check = Check { old, new, traces, sections: Vec::new(), symbols: Vec::new() };
    check.sections = sections::pair(&check)?;
    check.symbols = symbols::pair(&check)?;
    sections::check(&check)?;
    let addends = relocations::check(&check)?;
    code::check(&check, &addends)?;
    data::check(&check, &addends)?;
    records::check(&check)
}

impl Check<'_> {
    /// Whether any instruction stands elsewhere than before.
    fn has_moved(&self) -> bool {
        self.traces.iter().flatten().any(Trace::has_moved)
    }
}
