//! [`Place`]: where an instruction stands, in words.

use alloc::borrow::ToOwned;
use alloc::string::String;
use core::fmt;
use core::ops::Range;

use super::code::{CodeSection, LineInfo};
use super::object::Object;
use crate::bpf::Insn;

/// Where an instruction stands, in words.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Place {
    /// The name of its section.
    pub section: String,
    /// The name of its function, if the section has a symbol for it.
    pub function: Option<String>,
    /// Its first slot, from the start of the section.
    pub slot: u32,
    /// The source line it comes from, if the object says.
    pub line: Option<SourceLine>,
}

/// A line of source code.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct SourceLine {
    /// The name of the file, as the compiler was given it.
    pub file: String,
    /// The number of the line, from 1.
    pub line: u32,
    /// The column, from 1; 0 if there is none.
    pub column: u32,
    /// The text of the line, without the blanks around it.
    pub text: String,
}

impl Object<'_> {
    /// Where slot `slot` of code section `code` stands. O(records of the section).
    ///
    /// # Panics
    ///
    /// If there is no such code section.
    #[must_use]
    pub fn place(&self, code: usize, slot: u32) -> Place {
        let section = &self.code[code];
        let start = section.program().subprogs.get(section.subprogram_at(slot)).copied().unwrap_or_default();
        let last = section.line_info().filter(|line| (start..=slot).contains(&line.slot)).last();
        Place {
            section: section.name().to_owned(),
            function: section.function_name(slot).map(ToOwned::to_owned),
            slot,
            line: last.and_then(|line| self.source_line(&line)),
        }
    }

    /// The source line that a record names. `None` if it names no line, or its strings are not there.
    #[must_use]
    pub fn source_line(&self, record: &LineInfo) -> Option<SourceLine> {
        let string = |offset| self.btf()?.string(offset);
        let file = string(record.file_name).filter(|_| record.line != 0)?;
        let text = string(record.text).unwrap_or_default().trim();
        Some(SourceLine {
            file: file.to_owned(),
            line: record.line,
            column: record.column,
            text: text.to_owned(),
        })
    }
}

impl CodeSection {
    /// The instructions in a range of slots, each with its first slot.
    ///
    /// The range must start with an instruction. Parts that the program shows stand-ins for are shown as they are,
    /// taken for instructions as well as can be. One cut short at the end of the section is of one slot.
    pub fn insns(&self, range: Range<u32>) -> impl Iterator<Item = (u32, &[Insn])> {
        let insns = &self.program().insns;
        let mut next = range.start;
        core::iter::from_fn(move || {
            let slot = next;
            let (insns, at) = match self.covered_at(slot) {
                Some(covered) => (&covered.insns, (slot - covered.start) as usize),
                None => (insns, slot as usize),
            };
            let first = insns.get(at).filter(|_| next < range.end)?;
            let insn = insns.get(at..at + first.slots()).unwrap_or(&insns[at..=at]);
            next += if insn.len() == 2 { 2 } else { 1 };
            Some((slot, insn))
        })
    }

    /// The name of the function that the slot is in, if it has one. O(log functions).
    #[must_use]
    pub fn function_name(&self, slot: u32) -> Option<&str> {
        let start = *self.program().subprogs.get(self.subprogram_at(slot))?;
        let first = self.functions().partition_point(|function| function.start < start);
        let function = self.functions().get(first).filter(|function| function.start == start);
        function.map(|function| function.name.as_str())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "section {:?}", self.section)?;
        if let Some(function) = &self.function {
            write!(f, ", function {function}")?;
        }
        write!(f, ", slot {}", self.slot)?;
        match &self.line {
            Some(line) => write!(f, " ({line})"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for SourceLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}
