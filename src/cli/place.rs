//! Source lines and places as JSON.

use std::fmt::{self, Display, Formatter};

use relinear::elf::{Place, SourceLine};
use serde::Serialize;

/// A source line.
#[derive(Serialize, Debug)]
pub(super) struct LineJson {
    file: String,
    line: u32,
    column: u32,
    text: String,
}

impl From<SourceLine> for LineJson {
    fn from(line: SourceLine) -> Self {
        Self { file: line.file, line: line.line, column: line.column, text: line.text }
    }
}

/// What the command found at a place.
#[derive(Serialize, Debug)]
pub(super) struct FindingJson {
    section: Option<String>,
    function: Option<String>,
    /// In 8-byte slots from the start of the section.
    slot: Option<u32>,
    line: Option<LineJson>,
    message: String,
    /// The place as text.
    #[serde(skip)]
    at: Option<String>,
}

impl FindingJson {
    pub(super) fn new(place: Option<Place>, message: String) -> Self {
        let at = place.as_ref().map(ToString::to_string);
        let Some(place) = place else {
            return Self { section: None, function: None, slot: None, line: None, message, at };
        };
        let Place { section, function, slot, line, .. } = place;
        let line = line.map(LineJson::from);
        Self { section: Some(section), function, slot: Some(slot), line, message, at }
    }
}

impl Display for FindingJson {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(at) = &self.at {
            write!(f, "{at}: ")?;
        }
        f.write_str(&self.message)
    }
}
