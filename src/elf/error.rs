//! [`ElfError`]: what is wrong with an object or an edit of it, and where.

use alloc::string::String;
use core::fmt;

use super::text::{Name, Text};
use crate::bpf::{EditError, InsnReason};

/// Why an object could not be read, edited or written.
#[non_exhaustive]
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ElfError {
    /// The file is not a 64-bit relocatable ELF object for eBPF.
    Header {
        /// What does not fit.
        reason: &'static str,
    },
    /// The object is larger than [`Limits`](super::Limits) allow.
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How many there are, or at least.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
    /// A section holds something no well-formed object has, or something this crate cannot move.
    Section {
        /// The name of the section.
        section: Name,
        /// Where in the section, in bytes.
        offset: u64,
        /// What is wrong there.
        reason: &'static str,
    },
    /// A symbol is malformed, or stands in the way of an edit.
    Symbol {
        /// The name of the symbol.
        symbol: Name,
        /// Its index in the symbol table.
        index: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// New code does not go with the code it replaces, or with what refers to it.
    Edit {
        /// The name of the code section.
        section: Name,
        /// Where in the section's old code, in slots.
        slot: u32,
        /// What is wrong.
        reason: &'static str,
    },
    /// New code has something that is no valid instruction.
    Insn {
        /// The name of the code section.
        section: Name,
        /// The slot of the section's old code that it was inserted for.
        slot: u32,
        /// What is wrong with it.
        reason: InsnReason,
    },
    /// The edits of a code section do not fit together.
    Code {
        /// The name of the code section.
        section: Name,
        /// What is wrong; positions in it are slots of the section.
        error: EditError,
    },
    /// Something cannot be added to the object.
    Add {
        /// Its name.
        name: Name,
        /// Why not.
        reason: &'static str,
    },
    /// A change was worked out for an object, and the object was changed since.
    Stale,
    /// There is no code section with this index.
    NoSuchCode {
        /// The index asked for.
        index: usize,
        /// How many code sections there are.
        count: usize,
    },
    /// The ELF writer refused.
    Write {
        /// Its own words.
        reason: String,
    },
}

impl ElfError {
    pub(crate) fn section(name: &[u8], offset: u64, reason: &'static str) -> Self {
        Self::Section { section: Name::of_bytes(name), offset, reason }
    }

    pub(crate) fn add(name: &str, reason: &'static str) -> Self {
        Self::Add { name: name.into(), reason }
    }

    pub(crate) fn symbol(name: &[u8], index: usize, reason: &'static str) -> Self {
        Self::Symbol { symbol: Name::of_bytes(name), index, reason }
    }
}

impl fmt::Display for ElfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header { reason } => write!(f, "not an eBPF object: {reason}"),
            Self::TooMany { what, count, limit } => {
                write!(f, "the object has {count} {what}, and the limit is {limit}")
            }
            Self::Section { section, offset, reason } => {
                write!(f, "section {section:?}, offset {offset:#x}: {reason}")
            }
            Self::Symbol { symbol, index, reason } => write!(f, "symbol {index} {symbol:?}: {reason}"),
            Self::Edit { section, slot, reason } => {
                write!(f, "cannot edit section {section:?} at slot {slot}: {reason}")
            }
            Self::Insn { section, slot, reason } => write!(
                f,
                "cannot edit section {section:?} at slot {slot}: what was inserted there is no valid instruction: {reason}"
            ),
            Self::Code { section, error } => write!(f, "cannot edit section {section:?}: {error}"),
            Self::Add { name, reason } => write!(f, "cannot add {name:?}: {reason}"),
            Self::Stale => f.write_str("the object was changed after this change of it was worked out"),
            Self::NoSuchCode { index, count } => {
                write!(f, "no code section {index}: the object has {count}")
            }
            Self::Write { reason } => write!(f, "cannot write the object: {}", Text::new(reason)),
        }
    }
}

impl core::error::Error for ElfError {}
