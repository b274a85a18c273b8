//! [`VerifyError`]: what is not as it should be in an object that was written.

use alloc::format;
use alloc::string::String;
use core::fmt;

/// The most characters of a name in a message.
const MAX_NAME: usize = 64;

/// Why an object is not taken for what an edit made of another.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum VerifyError {
    /// A file is no ELF object by the letter of the format, so nothing can be said of it.
    Unreadable {
        /// Whether it is the file from before the edit.
        is_old: bool,
        /// What is wrong with it.
        reason: String,
    },
    /// Something is not as it should be.
    Wrong {
        /// Where, in words.
        place: String,
        /// What is wrong there.
        reason: String,
    },
}

impl VerifyError {
    pub(super) fn at(place: String, reason: impl Into<String>) -> Self {
        Self::Wrong { place, reason: reason.into() }
    }

    pub(super) fn of_section(name: &[u8], reason: impl Into<String>) -> Self {
        Self::at(format!("section {}", quoted(name)), reason)
    }

    /// Of a byte of the old section.
    pub(super) fn of_byte(name: &[u8], offset: u64, reason: impl Into<String>) -> Self {
        Self::at(format!("section {}, offset {offset:#x}", quoted(name)), reason)
    }

    /// Of a slot of the old section.
    pub(super) fn of_slot(name: &[u8], slot: u32, reason: impl Into<String>) -> Self {
        Self::at(format!("section {}, slot {slot}", quoted(name)), reason)
    }

    /// Of a slot of the new section.
    pub(super) fn of_new_slot(name: &[u8], slot: u32, reason: impl Into<String>) -> Self {
        Self::at(format!("section {}, slot {slot} of the new code", quoted(name)), reason)
    }

    /// Of a symbol of the old file.
    pub(super) fn of_symbol(index: usize, name: &[u8], reason: impl Into<String>) -> Self {
        Self::at(format!("symbol {index} {}", quoted(name)), reason)
    }
}

/// A name as it may go to a terminal.
pub(super) fn quoted(name: &[u8]) -> String {
    let name = String::from_utf8_lossy(&name[..name.len().min(4 * MAX_NAME)]);
    match name.char_indices().nth(MAX_NAME) {
        Some((end, _)) => format!("{:?}...", &name[..end]),
        None => format!("{name:?}"),
    }
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { is_old: true, reason } => write!(f, "cannot verify the object: {reason}"),
            Self::Unreadable { is_old: false, reason } => {
                write!(f, "what was written is no object: {reason}")
            }
            Self::Wrong { place, reason } => write!(f, "what was written is wrong: {place}: {reason}"),
        }
    }
}

impl core::error::Error for VerifyError {}
