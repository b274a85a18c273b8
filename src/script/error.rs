//! [`ScriptError`]: what is wrong with a script, where in it and where in the object.

use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;

use crate::bpf::CfgError;
use crate::bpf::asm::AsmReason;
use crate::bpf::scratch::ScratchReason;
use crate::elf::{self, ElfError};

/// What is wrong with a script, where in it and where in the object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScriptError {
    /// The line of the script, from 1.
    pub line: usize,
    /// The instruction of the object, if it is one.
    pub place: Option<Box<elf::Place>>,
    /// What is wrong.
    pub reason: ScriptReason,
}

/// What is wrong with a script.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ScriptReason {
    /// Something else must stand there.
    Expected(&'static str),
    /// A line of code is none.
    Code {
        /// The first character that is wrong, from 1.
        column: usize,
        /// What is wrong.
        reason: AsmReason,
    },
    /// The object has no function of that name.
    NoFunction(String),
    /// No symbol of the object, helper or kernel function that the object names has that name.
    NoName(String),
    /// No instruction of the object is there.
    NoMatch,
    /// The slots are not all in the function, or are not those of whole instructions.
    NotInFunction {
        /// The first slot of the function.
        first: u32,
        /// Its last one.
        last: u32,
    },
    /// Control never comes there, so that code would never run.
    NeverRuns,
    /// The place does not take the action.
    NoAction(&'static str),
    /// No registers or stack slots are free.
    Scratch(ScratchReason),
    /// The code of the function has no control flow graph.
    Cfg(CfgError),
    /// The object refuses.
    Elf(ElfError),
}

impl fmt::Display for ScriptReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expected(what) => write!(f, "expected {what}"),
            Self::Code { column, reason } => write!(f, "column {column}: {reason}"),
            Self::NoFunction(name) => write!(f, "the object has no function {name:?}"),
            Self::NoName(name) => {
                write!(
                    f,
                    "{name:?} is no symbol of the object, no helper, and no kernel function that it names"
                )
            }
            Self::NoMatch => f.write_str("no instruction of the object is there"),
            Self::NotInFunction { first, last } => {
                write!(
                    f,
                    "the function has slots {first} to {last}, and these are no whole instructions of it"
                )
            }
            Self::NeverRuns => f.write_str("control never goes on from there, so the code would never run"),
            Self::NoAction(why) => f.write_str(why),
            Self::Scratch(reason) => reason.fmt(f),
            Self::Cfg(error) => error.fmt(f),
            Self::Elf(error) => error.fmt(f),
        }
    }
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        self.reason.fmt(f)
    }
}

impl core::error::Error for ScriptError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match &self.reason {
            ScriptReason::Cfg(error) => Some(error),
            ScriptReason::Elf(error) => Some(error),
            _ => None,
        }
    }
}
