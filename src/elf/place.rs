//! [`Place`]: where an instruction stands, in words.

use alloc::borrow::Cow;
use core::fmt;
use core::ops::Range;

use super::btf_ext::Kind;
use super::code::{CodeSection, Function, LineInfo};
use super::object::Object;
use super::text::{Name, Text};
use crate::bpf::Insn;

/// Where an instruction stands, in words.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Place {
    /// The name of its section.
    pub section: Name,
    /// The name of its function, if the section has a symbol for it.
    pub function: Option<Name>,
    /// Its first slot, from the start of the section.
    pub slot: u32,
    /// The source line it comes from, if the object says, cut to what is shown of a [`Text`].
    pub line: Option<SourceLine<'static>>,
}

/// A line of source code.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct SourceLine<'a> {
    /// The name of the file, as the compiler was given it.
    pub file: Cow<'a, str>,
    /// The number of the line, from 1.
    pub line: u32,
    /// The column, from 1; 0 if there is none.
    pub column: u32,
    /// The text of the line, without the blanks around it.
    pub text: Cow<'a, str>,
}

impl Object<'_> {
    /// Where slot `slot` of code section `code` stands. O(log records of the section).
    ///
    /// The line is that of the last record of the function at or before the slot.
    ///
    /// # Panics
    ///
    /// If there is no such code section.
    #[must_use]
    pub fn place(&self, code: usize, slot: u32) -> Place {
        let section = &self.code[code];
        let start = section.program().subprogs.get(section.subprogram_at(slot)).copied().unwrap_or_default();
        let last = section.line_at(slot).filter(|line| line.slot >= start);
        Place {
            section: section.name.clone(),
            function: section.function_at(slot).map(|function| function.name.clone()),
            slot,
            line: last.and_then(|line| self.source_line(&line)).map(SourceLine::cut),
        }
    }

    /// The source line that a record names. `None` if it names no line, or its strings are not there.
    ///
    /// O(log strings), and the blanks around the text.
    #[must_use]
    pub fn source_line(&self, record: &LineInfo) -> Option<SourceLine<'_>> {
        let string = |offset| self.btf()?.string(offset);
        let file = string(record.file_name).filter(|_| record.line != 0)?;
        let text = trim(string(record.text).unwrap_or_default());
        Some(SourceLine { file: file.into(), line: record.line, column: record.column, text: text.into() })
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
        self.function_at(slot).map(|function| function.name.as_str())
    }

    /// The first symbol of the function that the slot is in. O(log functions).
    pub(crate) fn function_at(&self, slot: u32) -> Option<&Function> {
        let start = *self.program().subprogs.get(self.subprogram_at(slot))?;
        let first = self.functions().partition_point(|function| function.start < start);
        self.functions().get(first).filter(|function| function.start == start)
    }

    /// The line record that holds at the slot: the last one at or before it. O(log records).
    fn line_at(&self, slot: u32) -> Option<LineInfo> {
        let index = self.records(Kind::Line).last_at(slot, self.endian)?;
        self.records(Kind::Line).get(index, self.endian).map(LineInfo::read)
    }
}

/// The text without the blanks around it. Only so many blanks are taken as are shown of a text: many records may name
/// one string, which may be as long as the file.
fn trim(text: &str) -> &str {
    let blanks = |left: &mut usize, character: char| {
        *left = left.saturating_sub(1);
        *left > 0 && character.is_whitespace()
    };
    let (mut before, mut after) = (Text::MOST, Text::MOST);
    let text = text.trim_start_matches(|character| blanks(&mut before, character));
    text.trim_end_matches(|character| blanks(&mut after, character))
}

impl SourceLine<'_> {
    /// The line, with as much of its texts as is shown of them.
    fn cut(self) -> SourceLine<'static> {
        let cut = |text: &str| Cow::Owned(Text::new(text).cut().into_owned());
        SourceLine { file: cut(&self.file), text: cut(&self.text), line: self.line, column: self.column }
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

impl fmt::Display for SourceLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", Text::new(&self.file), self.line)
    }
}
