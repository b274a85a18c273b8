//! [`Failure`]: why the command did not do what it was asked for.

use std::io;

/// Why the command did not do what it was asked for.
#[derive(Debug)]
pub(super) enum Failure {
    /// It was asked for the wrong thing.
    Usage(String),
    /// The input, or the work on it, failed: in one line.
    Work(String),
    /// It failed, and has said why already.
    Told,
    /// Nothing failed, but a part of what it was asked for was not done, and it has said which.
    Skipped,
}

impl Failure {
    /// The exit status.
    pub(super) fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Work(_) | Self::Told => 1,
            Self::Skipped => 3,
        }
    }
}

/// What an I/O error says, without the number that the standard library adds.
pub(super) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}
