//! Reading the object that the command is about.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::path::Path;

use super::failure::{Failure, reason};
use super::output;

/// The longest input taken, in bytes. Objects are far shorter; endless devices are not.
const LIMIT: u64 = 1 << 30;

/// A file that was read.
#[derive(Debug)]
pub(super) struct Input {
    /// What to call it.
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
    /// Which file it is.
    pub(super) metadata: Option<Metadata>,
}

/// Whether `path` stands for the standard input or output.
pub(super) fn is_standard(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Reads the file at `path`, or the standard input.
pub(super) fn read(path: &Path) -> Result<Input, Failure> {
    let name = if is_standard(path) { "standard input".to_owned() } else { path.display().to_string() };
    let fail = |reason: &str| Failure::Work(format!("{name}: {reason}"));
    let opened = if is_standard(path) { standard_input() } else { File::open(path) };
    let mut file = opened.map_err(|error| fail(&reason(&error)))?;
    let metadata = file.metadata().ok();
    let mut bytes = Vec::new();
    let read = file.by_ref().take(LIMIT + 1).read_to_end(&mut bytes);
    read.map_err(|error| fail(&reason(&error)))?;
    if bytes.len() as u64 > LIMIT {
        return Err(fail("longer than 1 GiB, so it is no object"));
    }
    let now = file.metadata().ok();
    if metadata.iter().zip(&now).any(|(before, now)| before.is_file() && output::has_changed(before, now)) {
        return Err(fail("it changed while it was read"));
    }
    Ok(Input { name, bytes, metadata })
}

#[cfg(unix)]
fn standard_input() -> io::Result<File> {
    use std::os::fd::AsFd as _;

    io::stdin().as_fd().try_clone_to_owned().map(File::from)
}

#[cfg(windows)]
fn standard_input() -> io::Result<File> {
    use std::os::windows::io::AsHandle as _;

    io::stdin().as_handle().try_clone_to_owned().map(File::from)
}
