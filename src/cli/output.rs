//! Writing a file whole or not at all.

use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::path::Path;

use tempfile::{Builder, NamedTempFile};

/// Whether `path` leads, through whatever links, to the file that `metadata` is of.
#[cfg(unix)]
pub(super) fn is_same_file(path: &Path, metadata: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;

    fs::metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == (metadata.dev(), metadata.ino()))
}

/// Whether `path` leads to the file that `metadata` is of: here, whether it looks the same.
#[cfg(not(unix))]
pub(super) fn is_same_file(path: &Path, metadata: &Metadata) -> bool {
    let looks = |of: &Metadata| (of.len(), of.modified().ok(), of.created().ok());
    fs::metadata(path).is_ok_and(|found| looks(&found) == looks(metadata))
}

/// Whether the file that `before` was of when it was read has been written to since, as far as `now` shows.
pub(super) fn has_changed(before: &Metadata, now: &Metadata) -> bool {
    before.len() != now.len() || before.modified().ok() != now.modified().ok()
}

/// Writes `bytes` to `path`, so that at any moment the file there is the old one or the whole new one.
///
/// A symbolic link stays, and the file that it leads to is replaced. A file that was there keeps its
/// permissions. What is no regular file (a pipe, a device) is written to as it is. The file that `input` is of,
/// which the bytes were made from, is not replaced if somebody else wrote to it in the meantime.
pub(super) fn write_whole(path: &Path, bytes: &[u8], input: Option<&Metadata>) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(old) if old.is_dir() => Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory")),
        Ok(old) if old.is_file() => replace(&fs::canonicalize(path)?, bytes, Some(&old), input),
        Ok(_) => File::options().write(true).open(path)?.write_all(bytes),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Err(_) if path.is_symlink() => {
            Err(io::Error::new(io::ErrorKind::NotFound, "it is a symbolic link that leads nowhere"))
        }
        Err(_) => replace(path, bytes, None, input),
    }
}

fn replace(path: &Path, bytes: &[u8], old: Option<&Metadata>, input: Option<&Metadata>) -> io::Result<()> {
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let mut beside = create_in(dir)?;
    beside.write_all(bytes)?;
    if let Some(old) = old {
        beside.as_file().set_permissions(old.permissions())?;
    }
    beside.as_file().sync_all()?;
    if let Some(input) = input.filter(|input| is_same_file(path, input))
        && fs::metadata(path).is_ok_and(|now| has_changed(input, &now))
    {
        return Err(io::Error::other("somebody else changed it in the meantime: it is left as it is"));
    }
    beside.persist(path)?;
    // The file is in its place. Not every file system can be told to keep the name as well.
    let _ = File::open(dir).and_then(|dir| dir.sync_all());
    Ok(())
}

/// A file that goes when it is dropped.
fn create_in(dir: &Path) -> io::Result<NamedTempFile> {
    let mut builder = Builder::new();
    builder.prefix(".relinear-").suffix(".tmp");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;

        // The umask takes its part of it, as with any new file.
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(dir)
}
