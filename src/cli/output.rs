//! Writing a file whole or not at all.

use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::path::Path;

use super::beside::Beside;

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

/// Whether `now` is of the file that `before` was of, and nobody has written to it since, as far as that shows.
#[cfg(unix)]
pub(super) fn is_unchanged(before: &Metadata, now: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;

    (before.dev(), before.ino()) == (now.dev(), now.ino()) && !has_changed(before, now)
}

#[cfg(not(unix))]
pub(super) fn is_unchanged(before: &Metadata, now: &Metadata) -> bool {
    !has_changed(before, now) && before.created().ok() == now.created().ok()
}

/// Writes `bytes` to `path`, so that at any moment the file there is the old one or the whole new one.
///
/// A symbolic link stays, and the file that it leads to is replaced. A file that was there keeps its
/// permissions, and its owner and group if the system allows that. What is no regular file (a pipe, a device) is
/// written to as it is. If `path` led to the input, `read` is what that was when it was read: it is not replaced if
/// somebody else wrote to it, or put another file there, in the meantime.
pub(super) fn write_whole(path: &Path, bytes: &[u8], read: Option<&Metadata>) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(old) if old.is_dir() => Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory")),
        Ok(old) if old.is_file() => replace(&fs::canonicalize(path)?, bytes, Some(&old), read),
        Ok(_) => File::options().write(true).open(path)?.write_all(bytes),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Err(_) if path.is_symlink() => {
            Err(io::Error::new(io::ErrorKind::NotFound, "it is a symbolic link that leads nowhere"))
        }
        Err(error) if read.is_some() => Err(error),
        Err(_) => replace(path, bytes, None, None),
    }
}

fn replace(path: &Path, bytes: &[u8], old: Option<&Metadata>, read: Option<&Metadata>) -> io::Result<()> {
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let mut beside = Beside::create_in(dir)?;
    let file = beside.as_file()?;
    file.write_all(bytes)?;
    if let Some(old) = old {
        keep_owner(file, old);
        file.set_permissions(old.permissions())?;
    }
    file.sync_all()?;
    match read {
        Some(read) => beside.replace_read(path, read)?,
        None => beside.replace(path)?,
    }
    // The file is in its place. Not every file system can be told to keep the name as well.
    let _ = File::open(dir).and_then(|dir| dir.sync_all());
    Ok(())
}

/// Gives the file to the owner and the group of the old one, as far as that is allowed: to root it is.
#[cfg(unix)]
fn keep_owner(file: &File, old: &Metadata) {
    use std::os::unix::fs::{MetadataExt as _, fchown};

    if file.metadata().is_ok_and(|new| (new.uid(), new.gid()) != (old.uid(), old.gid())) {
        let _ = fchown(file, Some(old.uid()), Some(old.gid()));
    }
}

#[cfg(not(unix))]
fn keep_owner(_: &File, _: &Metadata) {}
