//! [`Target`]: where an edited object goes.

use std::io::{self, IsTerminal as _};
use std::path::Path;

use super::failure::{Failure, reason};
use super::input::{self, Input};
use super::{output, print};

/// Where an edited object goes: a file, or the standard output.
pub(super) struct Target<'a> {
    path: &'a Path,
}

impl<'a> Target<'a> {
    /// Checks that an object may go there, before anything is read.
    pub(super) fn new(path: &'a Path) -> Result<Self, Failure> {
        if input::is_standard(path) && io::stdout().is_terminal() {
            return Err(Failure::Usage("an object is not for a terminal: redirect the output".to_owned()));
        }
        Ok(Self { path })
    }

    /// Checks that it is not the file that was read, unless that is `allowed`.
    pub(super) fn check(&self, input: &Input, allowed: bool) -> Result<(), Failure> {
        let same = input.metadata.as_ref().is_some_and(|metadata| output::is_same_file(self.path, metadata));
        if same && !allowed && !self.is_stdout() {
            let path = self.path.display();
            return Err(Failure::Usage(format!("{path} is the file that is read: allow that by --in-place")));
        }
        Ok(())
    }

    /// Whether it is the standard output; reports then go to the standard error.
    pub(super) fn is_stdout(&self) -> bool {
        input::is_standard(self.path)
    }

    /// What to call it.
    pub(super) fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// Writes the object, whole or not at all.
    pub(super) fn write(&self, bytes: &[u8], input: &Input) -> Result<(), Failure> {
        if self.is_stdout() {
            return print::file_to_stdout(bytes);
        }
        let read = input.metadata.as_ref().filter(|metadata| output::is_same_file(self.path, metadata));
        output::write_whole(self.path, bytes, read)
            .map_err(|error| Failure::Work(format!("{}: {}", self.name(), reason(&error))))
    }

    /// Prints a report, where the object does not go.
    pub(super) fn report(
        &self,
        write: impl FnOnce(&mut dyn io::Write, print::Style) -> io::Result<()>,
    ) -> Result<(), Failure> {
        if self.is_stdout() {
            print::to_stderr(|out| write(out, print::Style::of_stderr()));
            return Ok(());
        }
        print::to_stdout(|out| write(out, print::Style::of_stdout()))
    }
}
