//! Names, source lines and places as JSON.

use std::borrow::Cow;
use std::fmt::{self, Display, Formatter};

use relinear::elf::{Name, Place, SourceLine, Text};
use serde::{Serialize, Serializer};

/// A name or another text out of an object: exact, but cut as [`Text`] cuts it.
#[derive(Clone, Debug)]
pub(super) struct TextJson<T = Name>(pub(super) T);

impl<T: AsRef<str>> Serialize for TextJson<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Text::new(self.0.as_ref()).cut().serialize(serializer)
    }
}

/// A source line.
#[derive(Serialize, Debug)]
pub(super) struct LineJson<'a> {
    file: TextJson<Cow<'a, str>>,
    line: u32,
    column: u32,
    text: TextJson<Cow<'a, str>>,
}

impl<'a> From<SourceLine<'a>> for LineJson<'a> {
    fn from(line: SourceLine<'a>) -> Self {
        Self { file: TextJson(line.file), line: line.line, column: line.column, text: TextJson(line.text) }
    }
}

/// What the command found at a place.
#[derive(Serialize, Debug)]
pub(super) struct FindingJson {
    section: Option<TextJson>,
    function: Option<TextJson>,
    /// In 8-byte slots from the start of the section.
    slot: Option<u32>,
    line: Option<LineJson<'static>>,
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
        let (section, function) = (Some(TextJson(section)), function.map(TextJson));
        Self { section, function, slot: Some(slot), line, message, at }
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
