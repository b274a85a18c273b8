//! The command when the system fails it: no room, files that change or vanish, every call that fails or is its last.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::cli::{PLAIN, Ran, command, data, names, patch, read, run, tempdir};

/// The calls that change a file system.
const CHANGING: [&str; 8] =
    ["write", "fsync", "fdatasync", "rename", "renameat", "renameat2", "fchmod", "ftruncate"];

/// A directory with an object, `in.o`, an old `out.o`, and what the new one has to be.
struct Setting {
    dir: tempfile::TempDir,
    new: Vec<u8>,
}

const OLD: &[u8] = b"old";

impl Setting {
    fn new() -> Self {
        let dir = tempdir();
        let out = dir.path().join("out.o");
        fs::copy(data(PLAIN), dir.path().join("in.o")).expect("it can be copied");
        assert_eq!(patch(&data(PLAIN), &out, &["--pass", "dce,blind"]).code, 0);
        let new = read(&out);
        fs::write(&out, OLD).expect("it can be written");
        Self { dir, new }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `patch` of `in.o` to `out.o`, under a program that makes system calls fail.
    fn traced(&self, inject: &str) -> Command {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-o"]).arg(self.path("trace")).args(["-e", inject]);
        strace.arg(env!("CARGO_BIN_EXE_relinear"));
        strace.arg("patch").arg(self.path("in.o")).arg("-o").arg(self.path("out.o"));
        strace.args(["--pass", "dce,blind"]).stdout(Stdio::piped()).stderr(Stdio::piped());
        strace
    }

    fn run_traced(&self, inject: &str) -> Output {
        let output = self.traced(inject).output().expect("it starts");
        fs::remove_file(self.path("trace")).expect("it is there");
        output
    }

    /// Whether OUT is the new file. It must be that or the old one, whole.
    fn is_new(&self) -> bool {
        let out = read(self.path("out.o"));
        assert!(
            out == OLD || out == self.new,
            "{} bytes are neither the old file nor the new one",
            out.len()
        );
        out == self.new
    }

    fn reset(&self) {
        for name in names(self.dir.path()).iter().filter(|name| name.starts_with(".relinear-")) {
            fs::remove_file(self.path(name)).expect("it is ours");
        }
        fs::write(self.path("out.o"), OLD).expect("it can be written");
    }
}

/// Whether system calls can be made to fail here.
fn can_trace() -> bool {
    let mut strace = Command::new("strace");
    strace.args(["-qq", "-o", "/dev/null", "-e", "inject=fsync:error=EIO", "true"]);
    let can = strace.output().is_ok_and(|output| output.status.success());
    if !can {
        crate::skipped("system calls that fail: there is no strace, or it may not trace");
    }
    can
}

/// Waits until `happened`.
#[track_caller]
fn wait_for(mut happened: impl FnMut() -> bool) {
    let started = Instant::now();
    while !happened() {
        assert!(started.elapsed() < Duration::from_secs(60), "it did not happen");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn finish(child: Child) -> Ran {
    Ran::new(child.wait_with_output().expect("it ends"))
}

#[test]
fn killed_at_each_call() {
    if !can_trace() {
        return;
    }
    let setting = Setting::new();
    let mut killed = 0;
    for call in CHANGING {
        for when in 1.. {
            let output = setting.run_traced(&format!("inject={call}:signal=KILL:when={when}"));
            let is_new = setting.is_new();
            if output.status.success() {
                assert!(is_new);
                setting.reset();
                break;
            }
            killed += 1;
            // What was killed cannot clean up: at most one file is left, and it is no obstacle to the next run.
            let left = names(setting.dir.path()).iter().filter(|name| name.starts_with(".relinear-")).count();
            assert!(left <= 1 && (left == 0 || !is_new), "{call} {when}: {left} left");
            setting.reset();
        }
    }
    // It writes, syncs, sets permissions and renames, and then says what it did.
    assert!(killed >= 6, "{killed} calls");
}

#[test]
fn told_to_end_at_each_call() {
    if !can_trace() {
        return;
    }
    let setting = Setting::new();
    let mut ended = 0;
    for signal in ["INT", "TERM"] {
        for call in CHANGING {
            // The calls of the main thread; signals are taken care of by another one, which makes its own.
            for when in 1..=6 {
                let output = setting.run_traced(&format!("inject={call}:signal={signal}:when={when}"));
                setting.is_new();
                ended += usize::from(!output.status.success());
                let left = names(setting.dir.path());
                assert_eq!(left, ["in.o", "out.o"], "{signal} at {call} {when}");
                setting.reset();
            }
        }
    }
    assert!(ended >= 6, "{ended} times");
}

#[test]
fn a_newer_file_gets_into_the_place_of_the_input() {
    if !can_trace() {
        return;
    }
    let setting = Setting::new();
    let input = setting.path("in.o");
    let whole = read(&input);
    // While the new file is written, and when it is about to take its place.
    for call in ["fsync", "renameat2"] {
        for same_bytes in [false, true] {
            fs::write(&input, &whole).expect("it is ours");
            let mut strace = Command::new("strace");
            strace.args(["-f", "-qq", "-o", "/dev/null", "-e"]);
            strace
                .arg(format!("inject={call}:delay_enter=2000000:when=1"))
                .arg(env!("CARGO_BIN_EXE_relinear"));
            strace.arg("patch").arg(&input).args(["--in-place", "--pass=dce"]);
            let child = strace.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
            wait_for(|| names(setting.dir.path()).iter().any(|name| name.starts_with(".relinear-")));
            let newer = setting.path("newer.o");
            let bytes = if same_bytes { &whole[..] } else { b"somebody else's" };
            fs::write(&newer, bytes).and_then(|()| fs::rename(&newer, &input)).expect("it is ours");
            finish(child).fails(1, &["in.o: somebody else changed it"]);
            assert_eq!(read(&input), bytes, "{call}");
            assert_eq!(names(setting.dir.path()), ["in.o", "out.o"], "{call}");
        }
    }
    // Where files cannot be exchanged.
    for error in ["EINVAL", "ENOSYS"] {
        fs::write(&input, &whole).expect("it is ours");
        let mut strace = Command::new("strace");
        strace
            .args(["-f", "-qq", "-o", "/dev/null", "-e"])
            .arg(format!("inject=renameat2:error={error}:when=1"));
        strace
            .arg(env!("CARGO_BIN_EXE_relinear"))
            .arg("patch")
            .arg(&input)
            .args(["--in-place", "--pass=dce"]);
        let ran = Ran::new(strace.output().expect("it starts"));
        assert_eq!(ran.code, 0, "{}", ran.err);
        assert_ne!(read(&input), whole);
        assert_eq!(names(setting.dir.path()), ["in.o", "out.o"]);
    }
}

#[test]
fn root_keeps_the_owner() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};

    let setting = Setting::new();
    let (input, out) = (setting.path("in.o"), setting.path("out.o"));
    if [&input, &out].into_iter().any(|path| chown(path, Some(12345), Some(54321)).is_err()) {
        crate::skipped("files of other users: it takes root to have them");
        return;
    }
    for path in [&input, &out] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o640)).expect("it is ours");
        let ran = run([
            Path::new("patch"),
            &input,
            Path::new("-o"),
            path,
            Path::new("--in-place"),
            Path::new("--pass=dce"),
        ]);
        assert_eq!(ran.code, 0, "{}", ran.err);
        let metadata = fs::metadata(path).expect("it is there");
        assert_eq!((metadata.uid(), metadata.gid(), metadata.mode() & 0o777), (12345, 54321, 0o640));
    }
}

#[test]
fn each_call_fails() {
    if !can_trace() {
        return;
    }
    let setting = Setting::new();
    let mut failed = 0;
    for (call, error) in CHANGING.iter().flat_map(|call| [(call, "ENOSPC"), (call, "EIO")]) {
        for when in 1..=4 {
            let ran = Ran::new(setting.run_traced(&format!("inject={call}:error={error}:when={when}")));
            let what = format!("{error} of {call} {when}: {}", ran.err);
            assert_eq!(names(setting.dir.path()), ["in.o", "out.o"], "{what}");
            // Not every file system can be told to keep a name, and nobody may listen to notes.
            if ran.code == 0 {
                assert!(setting.is_new(), "{what}");
            } else {
                failed += 1;
                assert_eq!(ran.code, 1, "{what}");
                let mut errors = ran.err.lines().filter(|line| !line.starts_with("note: "));
                let error = errors.next().expect("it says why");
                let is_told = error.contains("standard output");
                assert!(is_told || error.contains("out.o"), "{what}");
                assert_eq!((setting.is_new(), errors.next()), (is_told, None), "{what}");
            }
            setting.reset();
        }
    }
    assert!(failed >= 8, "{failed}");
}

#[test]
fn calls_that_are_interrupted_go_on() {
    if !can_trace() {
        return;
    }
    let setting = Setting::new();
    for call in ["read", "write", "fsync"] {
        let output = setting.run_traced(&format!("inject={call}:error=EINTR:when=1"));
        // The first read is the loader's own, which does not try again.
        if call != "read" {
            assert!(output.status.success(), "{call}: {}", String::from_utf8_lossy(&output.stderr));
            assert!(setting.is_new());
        }
        setting.reset();
    }
}

/// A file system of its own for a directory, with these options; `None` without the right to it.
fn on_tmpfs(options: &str, script: &str) -> Option<Output> {
    let dir = tempdir();
    let script = format!("mount -t tmpfs -o {options} none \"$1\" || exit 77\n{script}");
    let mut unshare = Command::new("unshare");
    unshare.args(["-m", "sh", "-c", &script, env!("CARGO_BIN_EXE_relinear")]).arg(dir.path());
    let output = unshare.arg(data(PLAIN)).output().ok()?;
    if output.status.code() == Some(77) || String::from_utf8_lossy(&output.stderr).contains("unshare") {
        crate::skipped("full and read-only file systems: it takes root to mount them");
        return None;
    }
    Some(output)
}

#[test]
fn a_full_file_system() {
    // Pages are of 4 KiB, and the object is longer than one.
    let script = r#"
        echo old > "$1/out.o"
        "$0" patch "$2" -o "$1/out.o" --pass dce; echo "status $?"
        "$0" patch "$2" -o "$1/new.o" --pass dce; echo "status $?"
        cat "$1/out.o"; ls -A "$1""#;
    let Some(output) = on_tmpfs("size=8k", script) else { return };
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(out, "status 1\nstatus 1\nold\nout.o\n", "{err}");
    let mut lines = err.lines();
    for name in ["out.o", "new.o"] {
        let line = lines.next().expect("it says why");
        assert!(line.contains(name) && line.contains("No space left on device"), "{line}");
    }
    assert_eq!(lines.next(), None);
}

#[test]
fn a_read_only_file_system() {
    let script = r#"
        echo old > "$1/out.o"
        mount -o remount,ro "$1" || exit 77
        "$0" patch "$2" -o "$1/out.o" --pass dce; echo "status $?"
        cat "$1/out.o"; ls -A "$1""#;
    let Some(output) = on_tmpfs("size=1m", script) else { return };
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(out, "status 1\nold\nout.o\n", "{err}");
    assert!(err.contains("Read-only file system") && err.lines().count() == 1, "{err}");
}

/// Starts `patch` of a pipe with a name, which waits for what the test writes to it.
fn patch_of_pipe(setting: &Setting) -> (Child, File) {
    let pipe = setting.path("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().expect("there is mkfifo");
    assert!(made.success());
    let mut patch = command();
    patch.arg("patch").arg(&pipe).arg("-o").arg(setting.path("out.o")).args(["--pass", "dce,blind"]);
    let child = patch.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    // This waits until it is read from.
    let writer = File::options().write(true).open(&pipe).expect("it is there");
    (child, writer)
}

#[test]
fn the_input_vanishes_or_ends_early() {
    let whole = read(data(PLAIN));
    let setting = Setting::new();
    let (child, mut writer) = patch_of_pipe(&setting);
    fs::remove_file(setting.path("pipe")).expect("it is there");
    writer.write_all(&whole).expect("somebody reads");
    drop(writer);
    assert_eq!(finish(child).code, 0);
    assert!(setting.is_new());
    setting.reset();

    let (child, mut writer) = patch_of_pipe(&setting);
    writer.write_all(&whole[..whole.len() / 2]).expect("somebody reads");
    drop(writer);
    finish(child).fails(1, &["pipe: "]);
    assert!(!setting.is_new());
    assert_eq!(names(setting.dir.path()), ["in.o", "out.o", "pipe"]);
}

#[test]
fn the_target_changes_its_kind() {
    let whole = read(data(PLAIN));
    let setting = Setting::new();
    let (child, mut writer) = patch_of_pipe(&setting);
    fs::remove_file(setting.path("out.o")).expect("it is there");
    fs::create_dir(setting.path("out.o")).expect("it is ours");
    writer.write_all(&whole).expect("somebody reads");
    drop(writer);
    finish(child).fails(1, &["out.o: it is a directory"]);
    assert_eq!(names(setting.dir.path()), ["in.o", "out.o", "pipe"]);
    assert_eq!(names(&setting.path("out.o")), [""; 0]);
}

/// Waits until what `strace` traces was stopped by a signal that it injects, whatever else this machine does meanwhile.
/// Gives the number of the process.
fn wait_for_stop(setting: &Setting, strace: &Child) -> String {
    let trace = setting.path("trace");
    wait_for(|| fs::read_to_string(&trace).is_ok_and(|trace| trace.contains("stopped by SIGSTOP")));
    let pid = strace.id();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("it runs");
    children.split_whitespace().next().expect("it has a child").to_owned()
}

fn go_on(pid: &str) {
    let status = Command::new("kill").args(["-CONT", pid]).status().expect("there is kill");
    assert!(status.success());
}

#[test]
fn the_input_changes() {
    if !can_trace() {
        return;
    }
    let setting = Setting::new();
    let input = fs::canonicalize(setting.path("in.o")).expect("it is there");
    let whole = read(&input);
    // While it is read: `-P` is for calls about this file alone.
    let name = input.to_str().expect("it is UTF-8").to_owned();
    let mut slow = Command::new("strace");
    slow.args(["-qq", "-o"]).arg(setting.path("trace"));
    slow.args(["-P", &name, "-e", "inject=read:signal=STOP:when=1"]);
    slow.arg(env!("CARGO_BIN_EXE_relinear")).arg("patch").arg(&input).arg("-o").arg(setting.path("out.o"));
    slow.arg("--pass=dce").stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = slow.spawn().expect("it starts");
    let stopped = wait_for_stop(&setting, &child);
    File::options()
        .append(true)
        .open(&input)
        .and_then(|mut file| file.write_all(b"more"))
        .expect("it is ours");
    go_on(&stopped);
    finish(child).fails(1, &["in.o: it changed while it was read"]);
    assert!(!setting.is_new());
    fs::remove_file(setting.path("trace")).expect("it is there");

    // While the new one is written, which is to take its place.
    fs::write(&input, &whole).expect("it is ours");
    let out = setting.path("out.o");
    fs::remove_file(&out).and_then(|()| std::os::unix::fs::symlink(&input, &out)).expect("it is ours");
    let mut slow = setting.traced("inject=fsync:signal=STOP:when=1");
    let child = slow.arg("--in-place").spawn().expect("it starts");
    let stopped = wait_for_stop(&setting, &child);
    fs::write(&input, "somebody else's").expect("it is ours");
    go_on(&stopped);
    finish(child).fails(1, &["out.o: somebody else changed it"]);
    assert_eq!(read(&input), b"somebody else's");
    assert_eq!(names(setting.dir.path()), ["in.o", "out.o", "trace"]);
}

#[test]
fn a_target_that_is_marked_read_only_is_replaced() {
    let setting = Setting::new();
    let out = setting.path("out.o");
    let mut permissions = fs::metadata(&out).expect("it is there").permissions();
    permissions.set_readonly(true);
    fs::set_permissions(&out, permissions).expect("it is ours");
    let ran = run([
        Path::new("patch"),
        &setting.path("in.o"),
        Path::new("-o"),
        &out,
        Path::new("--pass=dce,blind"),
    ]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(setting.is_new() && fs::metadata(&out).expect("it is there").permissions().readonly());
}
