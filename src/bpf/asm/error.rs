//! What is wrong with a text, and where.

use alloc::string::String;
use core::fmt;

/// A text that is no program: the place and the reason.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct AsmError {
    /// The line, from 1.
    pub line: usize,
    /// The first character that is wrong, from 1. One past the last where something is missing.
    pub column: usize,
    /// What is wrong.
    pub reason: AsmReason,
}

/// Why a text is no program.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum AsmReason {
    /// A character that the syntax has no use for.
    Character(char),
    /// Something like a number that is none, or has more than 64 bits.
    Number,
    /// Something else must stand here.
    Expected(&'static str),
    /// The number is not one that the field can hold, or the label is too far away.
    Range {
        /// The number, or the displacement to the label in slots.
        value: i128,
        /// The least that fits.
        min: i128,
        /// The most that fits.
        max: i128,
    },
    /// The label is nowhere defined.
    Undefined(String),
    /// The label is already defined.
    Redefined(String),
}

impl fmt::Display for AsmReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Character(character) => write!(f, "unexpected character {character:?}"),
            Self::Number => f.write_str("not a number of at most 64 bits"),
            Self::Expected(what) => write!(f, "expected {what}"),
            Self::Range { value, min, max } => write!(f, "{value} is not between {min} and {max}"),
            Self::Undefined(name) => write!(f, "label '{name}' is not defined"),
            Self::Redefined(name) => write!(f, "label '{name}' is defined twice"),
        }
    }
}

impl fmt::Display for AsmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.reason)
    }
}

impl core::error::Error for AsmError {}

/// A reason and the byte of its line.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) at: usize,
    pub(super) reason: AsmReason,
}

impl Fault {
    pub(super) fn expected(at: usize, what: &'static str) -> Self {
        Self { at, reason: AsmReason::Expected(what) }
    }

    /// The error, if the text before has `number` lines and this is on `line`.
    pub(super) fn on(self, number: usize, line: &str) -> AsmError {
        let column = 1 + line.char_indices().take_while(|&(at, _)| at < self.at).count();
        AsmError { line: number + 1, column, reason: self.reason }
    }
}
