//! Printing: colours only for a terminal, and no panic if nobody listens.

use std::env;
use std::fmt::{self, Display};
use std::io::{self, BufWriter, IsTerminal, Write};

use anstyle::AnsiColor;
use relinear::elf::Text;
use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter};

use super::failure::{Failure, reason};

/// Whether text gets colours.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    on: bool,
}

impl Style {
    /// What fits the standard output.
    pub(super) fn of_stdout() -> Self {
        Self::of(&io::stdout())
    }

    /// What fits the standard error.
    pub(super) fn of_stderr() -> Self {
        Self::of(&io::stderr())
    }

    /// A terminal has colours, unless it is a dumb one or the user wants none (<https://no-color.org>).
    fn of(stream: &impl IsTerminal) -> Self {
        let refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = env::var_os("TERM").is_some_and(|value| value == "dumb");
        Self { on: stream.is_terminal() && !refused && !dumb }
    }

    /// Something that went wrong.
    pub(super) fn error<T: Display>(self, text: T) -> impl Display {
        self.paint(text, AnsiColor::Red.on_default().bold())
    }

    /// A title.
    pub(super) fn title<T: Display>(self, text: T) -> impl Display {
        self.paint(text, anstyle::Style::new().bold())
    }

    /// Something beside the point.
    pub(super) fn aside<T: Display>(self, text: T) -> impl Display {
        self.paint(text, AnsiColor::Green.on_default())
    }

    fn paint<T: Display>(self, text: T, style: anstyle::Style) -> Painted<T> {
        Painted { text, style: if self.on { style } else { anstyle::Style::new() } }
    }
}

/// A text with its colour, and without control characters of its own.
struct Painted<T> {
    text: T,
    style: anstyle::Style,
}

impl<T: Display> Display for Painted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{:#}", self.style, Line(&self.text), self.style)
    }
}

/// A text that stays in its line, whatever names there are in it.
pub(super) struct Line<T>(pub(super) T);

impl<T: Display> Display for Line<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Text::new(&self.0.to_string()).whole().fmt(f)
    }
}

/// Prints to the standard output what `print` writes. A reader who has closed it has seen enough: nothing is said then.
pub(super) fn to_stdout(print: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Failure> {
    try_to_stdout(print).map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::Told,
        _ => failed(&error),
    })
}

/// Writes all of a file to the standard output.
pub(super) fn file_to_stdout(bytes: &[u8]) -> Result<(), Failure> {
    try_to_stdout(|out| out.write_all(bytes)).map_err(|error| failed(&error))
}

fn try_to_stdout(print: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    let printed = print(&mut out).and_then(|()| out.flush());
    if printed.is_err() {
        // What is left in it cannot be printed either.
        drop(out.into_parts());
    }
    printed
}

fn failed(error: &io::Error) -> Failure {
    Failure::Work(format!("standard output: {}", reason(error)))
}

/// Prints to the standard error what `print` writes. It is not known whom to tell if that fails.
pub(super) fn to_stderr(print: impl FnOnce(&mut dyn Write) -> io::Result<()>) {
    let mut out = BufWriter::new(io::stderr().lock());
    let _ = print(&mut out).and_then(|()| out.flush());
}

/// Prints a line to the standard error.
pub(super) fn note(line: &str) {
    to_stderr(|out| writeln!(out, "{}", Line(line)));
}

/// Prints an error to the standard error.
pub(super) fn error(reason: &str) {
    let style = Style::of_stderr();
    to_stderr(|out| writeln!(out, "{}: {}", style.error("error"), Line(reason)));
}

/// The version of all JSON that the command prints.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Versioned<'a, T> {
    version: u32,
    #[serde(flatten)]
    value: &'a T,
}

/// Writes `value`, a structure, as JSON, with a line end.
pub(super) fn json(out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    let mut serializer = serde_json::Serializer::with_formatter(&mut *out, Calm(PrettyFormatter::new()));
    Versioned { version: VERSION, value }.serialize(&mut serializer)?;
    writeln!(out)
}

/// JSON on several lines, in which characters that act on a terminal are escaped. The format asks for that of those below
/// U+0020 only.
struct Calm<'a>(PrettyFormatter<'a>);

impl Formatter for Calm<'_> {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        let mut plain = fragment;
        while let Some((at, character)) = plain.char_indices().find(|&(_, character)| Text::acts(character)) {
            out.write_all(&plain.as_bytes()[..at])?;
            for unit in character.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}")?;
            }
            plain = &plain[at + character.len_utf8()..];
        }
        out.write_all(plain.as_bytes())
    }

    fn begin_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_array(out)
    }

    fn end_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_array(out)
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_array_value(out, first)
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_array_value(out)
    }

    fn begin_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_object(out)
    }

    fn end_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_object(out)
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_object_key(out, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_object_value(out)
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_object_value(out)
    }
}
