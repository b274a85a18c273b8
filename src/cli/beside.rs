//! [`Beside`]: the new file while it is not in its place yet. Nothing is left of it if the process is told to end.

use std::fs::{self, File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::{Builder, NamedTempFile};

use super::output::is_unchanged;

/// The file that a signal has to remove. Who holds this holds off signals, too.
static PENDING: Mutex<Option<PathBuf>> = Mutex::new(None);

fn pending() -> MutexGuard<'static, Option<PathBuf>> {
    PENDING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file beside the one that it is to become. It goes when it is dropped.
#[derive(Debug)]
pub(super) struct Beside {
    /// It is there until it gets into its place.
    file: Option<NamedTempFile>,
}

impl Beside {
    /// A new file in a directory. A process has one of them at a time.
    pub(super) fn create_in(dir: &Path) -> io::Result<Self> {
        #[cfg(unix)]
        signals::watch()?;
        let mut builder = Builder::new();
        builder.prefix(".relinear-").suffix(".tmp");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;

            // The umask takes its part of it, as with any new file.
            builder.permissions(fs::Permissions::from_mode(0o666));
        }
        let mut pending = pending();
        let file = builder.tempfile_in(dir)?;
        *pending = Some(file.path().to_owned());
        Ok(Self { file: Some(file) })
    }

    /// The file, to write to.
    pub(super) fn as_file(&mut self) -> io::Result<&mut File> {
        let file = self.file.as_mut().ok_or_else(|| io::Error::other("it is in its place already"))?;
        Ok(file.as_file_mut())
    }

    /// Puts the file in its place, whatever is there.
    pub(super) fn replace(mut self, path: &Path) -> io::Result<()> {
        let mut pending = pending();
        if let Some(file) = self.file.take() {
            file.persist(path)?;
        }
        *pending = None;
        Ok(())
    }

    /// Puts the file in the place of the one that `read` is of. If that is not there any more, or was written to,
    /// what is there stays.
    pub(super) fn replace_read(mut self, path: &Path, read: &Metadata) -> io::Result<()> {
        let mut pending = pending();
        let Some(file) = self.file.take() else { return Ok(()) };
        let outcome = match exchange(file.path(), path, read) {
            Exchanged::Done(is_read) if is_read => Ok(()),
            Exchanged::Done(_) => Err(somebody_else()),
            Exchanged::Lost(error) => {
                // What is beside is not ours to remove.
                let kept = file.into_temp_path().keep()?;
                *pending = None;
                let text = format!("{error}; the newer file of somebody else is now {}", kept.display());
                return Err(io::Error::new(error.kind(), text));
            }
            Exchanged::Never(error) => Err(error),
            Exchanged::Unsupported => {
                if fs::symlink_metadata(path).is_ok_and(|now| is_unchanged(read, &now)) {
                    file.persist(path)?;
                    *pending = None;
                    return Ok(());
                }
                Err(somebody_else())
            }
        };
        // What is beside is ours, or the file that ours has replaced.
        drop(file);
        *pending = None;
        outcome
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        if let Some(file) = self.file.take() {
            let mut pending = pending();
            drop(file);
            *pending = None;
        }
    }
}

fn somebody_else() -> io::Error {
    io::Error::other("somebody else changed it in the meantime: it is left as it is")
}

/// What became of an exchange of two files.
enum Exchanged {
    /// The newest file is in the place. It is ours if what came out of there is what was read.
    Done(bool),
    /// Nothing has happened.
    Never(io::Error),
    /// The newer file of somebody else came out, and could not be put back.
    Lost(io::Error),
    /// This kernel or file system cannot exchange files.
    Unsupported,
}

/// Exchanges the file `beside` and the one at `path`. If what comes out is not what was read, it is put back; if in the
/// meantime an even newer file got there, that one stays.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn exchange(beside: &Path, path: &Path, read: &Metadata) -> Exchanged {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use rustix::io::Errno;

    let look = || fs::symlink_metadata(beside).ok();
    let (mut inside, mut outside) = (Some(read.clone()), look());
    let mut is_read = true;
    loop {
        match renameat_with(CWD, beside, CWD, path, RenameFlags::EXCHANGE) {
            Ok(()) => {}
            Err(Errno::NOSYS | Errno::INVAL | Errno::OPNOTSUPP) if is_read => return Exchanged::Unsupported,
            Err(Errno::NOENT) if is_read => return Exchanged::Done(false),
            Err(error) if is_read => return Exchanged::Never(error.into()),
            Err(error) => return Exchanged::Lost(error.into()),
        }
        let came = look();
        if came.iter().zip(&inside).any(|(came, inside)| is_unchanged(inside, came)) {
            return Exchanged::Done(is_read);
        }
        is_read = false;
        (inside, outside) = (outside, came);
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn exchange(_: &Path, _: &Path, _: &Metadata) -> Exchanged {
    Exchanged::Unsupported
}

#[cfg(unix)]
mod signals {
    //! Signals that end the process.

    use std::fs;
    use std::io;
    use std::sync::Mutex;
    use std::thread;

    use signal_hook::consts::{SIGINT, SIGTERM};
    use signal_hook::iterator::Signals;
    use signal_hook::low_level::emulate_default_handler;

    /// Removes the file that is not in its place before a signal ends the process.
    pub(super) fn watch() -> io::Result<()> {
        static WATCHED: Mutex<bool> = Mutex::new(false);
        let Ok(mut watched) = WATCHED.lock() else { return Ok(()) };
        if *watched {
            return Ok(());
        }
        let mut signals = Signals::new([SIGINT, SIGTERM].into_iter().filter(|&signal| !is_ignored(signal)))?;
        let run = move || {
            for signal in &mut signals {
                // Whoever has the file now finishes first.
                let pending = super::pending();
                if let Some(path) = pending.as_deref() {
                    // The process ends in any case.
                    _ = fs::remove_file(path);
                }
                _ = emulate_default_handler(signal);
            }
        };
        thread::Builder::new().name("signals".to_owned()).spawn(run)?;
        *watched = true;
        Ok(())
    }

    /// Whether whoever started the process wants it to ignore the signal, as shells do for jobs in the background.
    fn is_ignored(signal: i32) -> bool {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        ignored.is_some_and(|mask| mask >> (signal - 1) & 1 != 0)
    }
}
