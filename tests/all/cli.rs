//! The command, run as its users run it: exit statuses, messages, files left and not left behind.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SectionKind, SymbolKind};
use serde_json::Value;
use tempfile::TempDir;

/// A program of the kind: object with its debug sections, several functions, source lines.
pub(crate) const PLAIN: &str = "globals.o";

pub(crate) fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

pub(crate) fn read(path: impl AsRef<Path>) -> Vec<u8> {
    fs::read(path.as_ref()).unwrap_or_else(|error| panic!("{}: {error}", path.as_ref().display()))
}

/// All committed objects.
fn objects() -> Vec<PathBuf> {
    let entries = fs::read_dir(data("")).expect("tests/data is there");
    let mut objects: Vec<PathBuf> = entries.map(|entry| entry.expect("it can be listed").path()).collect();
    objects.retain(|path| path.extension().is_some_and(|extension| extension == "o"));
    objects.sort();
    assert!(objects.len() >= 8);
    objects
}

pub(crate) fn command() -> Command {
    Command::new(env!("CARGO_BIN_EXE_relinear"))
}

/// What came of running the command.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: Vec<u8>,
    pub(crate) err: String,
}

impl Ran {
    pub(crate) fn new(output: Output) -> Self {
        let err = String::from_utf8(output.stderr).expect("messages are UTF-8");
        assert!(!err.contains("panicked"), "{err}");
        let code = output.status.code().unwrap_or_else(|| panic!("{}: {err}", output.status));
        Self { code, out: output.stdout, err }
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.out).expect("text is UTF-8")
    }

    fn json(&self) -> Value {
        assert_eq!(self.code, 0, "{}", self.err);
        serde_json::from_slice(&self.out).expect("it is JSON")
    }

    /// It failed with this status, one line that says why, and nothing else.
    #[track_caller]
    pub(crate) fn fails(&self, code: i32, why: &[&str]) {
        assert_eq!(self.code, code, "{}{}", self.err, String::from_utf8_lossy(&self.out));
        assert_eq!(self.out, b"");
        assert!(self.err.starts_with("error: "), "{}", self.err);
        if code == 1 {
            assert_eq!(self.err.lines().count(), 1, "{}", self.err);
        }
        for word in why {
            assert!(self.err.contains(word), "{word:?} is not in: {}", self.err);
        }
    }
}

pub(crate) fn run<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Ran {
    Ran::new(command().args(args).output().expect("it starts"))
}

fn run_with_input(args: &[&str], input: &[u8]) -> Ran {
    let mut command = command();
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("it is piped");
    std::thread::scope(|scope| {
        // It may not want all of it.
        scope.spawn(move || drop(stdin.write_all(input)));
        Ran::new(child.wait_with_output().expect("it ends"))
    })
}

pub(crate) fn patch(input: &Path, output: &Path, more: &[&str]) -> Ran {
    let mut args = vec![Path::new("patch"), input, Path::new("-o"), output];
    args.extend(more.iter().map(Path::new));
    run(args)
}

/// What lies in a directory, by name.
pub(crate) fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("it can be listed");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("it can be listed").file_name().to_string_lossy().into()).collect();
    names.sort();
    names
}

pub(crate) fn tempdir() -> TempDir {
    tempfile::tempdir().expect("there is room for temporary files")
}

/// The code sections of a file, read by another reader: name and bytes.
fn code_sections(file: &[u8]) -> Vec<(String, Vec<u8>)> {
    let file = object::File::parse(file).expect("it is an object");
    let code = file.sections().filter(|section| section.kind() == SectionKind::Text && section.size() != 0);
    code.map(|section| {
        let name = section.name().expect("it has a name").to_owned();
        (name, section.data().expect("it has data").to_vec())
    })
    .collect()
}

/// How many instructions there are in code: those of two slots (code 0x18, RFC 9669) count once.
fn count_insns(code: &[u8]) -> u64 {
    let mut slots = code.chunks_exact(8);
    let mut count = 0;
    while let Some(slot) = slots.next() {
        count += 1;
        if slot[0] == 0x18 {
            slots.next();
        }
    }
    count
}

/// The object with one slot of its code section `section` overwritten.
fn with_slot(file: &[u8], section: &str, slot: usize, bytes: [u8; 8]) -> Vec<u8> {
    let (start, _) = {
        let file = object::File::parse(file).expect("it is an object");
        let section = file.section_by_name(section).expect("it has that section");
        section.file_range().expect("it is in the file")
    };
    let at = usize::try_from(start).expect("it fits") + slot * 8;
    let mut damaged = file.to_vec();
    damaged[at..at + 8].copy_from_slice(&bytes);
    damaged
}

#[test]
fn help_and_version() {
    for args in [&["--help"][..], &["-h"], &["patch", "--help"], &["dis", "--help"], &["check", "--help"]] {
        let ran = run(args);
        assert_eq!(ran.code, 0);
        assert!(ran.text().contains("Usage: relinear"), "{}", ran.text());
        assert!(!ran.text().contains('\x1b'), "colours outside of a terminal");
    }
    assert_eq!(run(["--version"]).text(), format!("relinear {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn wrong_use() {
    let object = data(PLAIN);
    let object = object.to_str().expect("it is UTF-8");
    for args in [
        &[][..],
        &["fly"],
        &["patch"],
        &["patch", object],
        &["patch", object, "-o", "x"],
        &["patch", object, "--pass", "dce"],
        &["patch", object, "-o", "x", "--pass", ""],
        &["patch", object, "-o", "x", "--pass", "dce,nothing"],
        &["patch", object, "-o", "x", "--pass", "dce", "--seed", "-1"],
        &["patch", object, "-o", "x", "--pass", "dce", "--seed", "18446744073709551616"],
        &["patch", object, "-o", "x", "--pass", "dce", "--seed", "0x"],
        &["patch", object, "-o", "x", "--pass", "dce", "--sneed"],
        &["patch", "-", "--in-place", "--pass", "dce"],
        &["dis"],
        &["check", object, object],
    ] {
        let ran = run(args);
        assert_eq!(ran.code, 2, "{args:?}: {}", ran.err);
        assert_eq!(ran.out, b"", "{args:?}");
        assert!(!ran.err.is_empty(), "{args:?}");
    }
    assert!(
        run(["patch", object, "-o", "x", "--pass", "nothing"]).err.contains("[possible values: dce, blind]")
    );
    assert!(!Path::new("x").exists());
}

#[test]
fn inputs_that_are_none() {
    let dir = tempdir();
    let out = dir.path().join("out.o");
    let not_elf = dir.path().join("not-elf");
    fs::write(&not_elf, "int main(void) { return 0; }\n").expect("it can be written");
    let empty = dir.path().join("empty");
    fs::write(&empty, "").expect("it can be written");
    let other_machine = dir.path().join("other");
    let mut bytes = read(data(PLAIN));
    bytes[18..20].copy_from_slice(&62_u16.to_le_bytes());
    fs::write(&other_machine, bytes).expect("it can be written");
    for (input, why) in [
        (dir.path().join("missing.o"), "No such file or directory"),
        (dir.path().to_path_buf(), "directory"),
        (not_elf, "ELF magic"),
        (empty, "ELF magic"),
        (other_machine, "another machine"),
    ] {
        let name = input.to_str().expect("it is UTF-8");
        patch(&input, &out, &["--pass", "dce"]).fails(1, &[name, why]);
        run([Path::new("dis"), &input]).fails(1, &[name, why]);
        assert_eq!(run([Path::new("check"), &input]).code, 1);
        assert!(!out.exists());
    }
}

#[test]
fn objects_cut_short() {
    let dir = tempdir();
    let (input, out) = (dir.path().join("in.o"), dir.path().join("out.o"));
    for name in [PLAIN, "xdp_parse.be.o"] {
        let whole = read(data(name));
        let lengths = (0..64).chain((64..whole.len()).step_by(whole.len() / 40)).chain([whole.len() - 1]);
        for len in lengths {
            fs::write(&input, &whole[..len]).expect("it can be written");
            patch(&input, &out, &["--pass", "dce,blind"]).fails(1, &[input.to_str().expect("it is UTF-8")]);
            let checked = run([Path::new("check"), &input]);
            assert_eq!(checked.code, 1, "{len}");
            assert!(checked.text().contains("1 finding"), "{}", checked.text());
            assert_eq!(names(dir.path()), ["in.o"], "{len}");
        }
    }
}

#[test]
fn outputs_that_cannot_be() {
    let dir = tempdir();
    let input = data(PLAIN);
    let dangling = dir.path().join("dangling");
    symlink(dir.path().join("nowhere"), &dangling).expect("it can be linked");
    for (out, why) in [
        (dir.path().join("missing/out.o"), "No such file or directory"),
        (dir.path().to_path_buf(), "it is a directory"),
        (dangling, "leads nowhere"),
        (PathBuf::from("/dev/full"), "No space left on device"),
        (PathBuf::from("/proc/self/out.o"), "/proc/self/out.o"),
    ] {
        patch(&input, &out, &["--pass", "dce"]).fails(1, &[out.to_str().expect("it is UTF-8"), why]);
    }
    assert_eq!(names(dir.path()), ["dangling"]);
}

#[test]
fn a_directory_that_must_not_be_written_to() {
    let dir = tempdir();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o555)).expect("it is ours");
    // Root may.
    if fs::write(dir.path().join("probe"), "").is_err() {
        patch(&data(PLAIN), &dir.path().join("out.o"), &["--pass", "dce"]).fails(1, &["Permission denied"]);
    }
}

#[test]
fn the_input_is_not_overwritten_unasked() {
    let dir = tempdir();
    let input = dir.path().join("in.o");
    fs::copy(data(PLAIN), &input).expect("it can be copied");
    let soft = dir.path().join("soft.o");
    symlink(&input, &soft).expect("it can be linked");
    let hard = dir.path().join("hard.o");
    fs::hard_link(&input, &hard).expect("it can be linked");
    let before = (read(&input), fs::metadata(&input).expect("it is there").ino());
    for out in [&input, &soft, &hard] {
        patch(&input, out, &["--pass", "dce"]).fails(2, &["--in-place"]);
    }
    let mut from_stdin = command();
    from_stdin.args(["patch", "-", "--pass", "dce", "-o"]).arg(&hard);
    from_stdin.stdin(fs::File::open(&input).expect("it is there"));
    Ran::new(from_stdin.output().expect("it starts")).fails(2, &["--in-place"]);
    assert_eq!(before, (read(&input), fs::metadata(&input).expect("it is there").ino()));
    assert_eq!(names(dir.path()), ["hard.o", "in.o", "soft.o"]);
}

#[test]
fn in_place() {
    let dir = tempdir();
    let (input, out, soft) = (dir.path().join("in.o"), dir.path().join("out.o"), dir.path().join("soft.o"));
    fs::copy(data(PLAIN), &input).expect("it can be copied");
    fs::set_permissions(&input, fs::Permissions::from_mode(0o640)).expect("it is ours");
    symlink(&input, &soft).expect("it can be linked");
    assert_eq!(patch(&input, &out, &["--pass", "dce"]).code, 0);
    let once = read(&out);
    assert_ne!(once, read(&input));

    assert_eq!(run([Path::new("patch"), &soft, Path::new("--in-place"), Path::new("--pass=dce")]).code, 0);
    assert_eq!(read(&input), once);
    assert!(soft.is_symlink());
    assert_eq!(fs::metadata(&input).expect("it is there").permissions().mode() & 0o777, 0o640);
    assert_eq!(patch(&input, &input, &["--pass", "blind", "--in-place"]).code, 0);
    assert_ne!(read(&input), once);
    assert_eq!(names(dir.path()), ["in.o", "out.o", "soft.o"]);
}

#[test]
fn a_new_file_has_the_usual_permissions() {
    let dir = tempdir();
    let (usual, out) = (dir.path().join("usual"), dir.path().join("out.o"));
    fs::write(&usual, "").expect("it can be written");
    assert_eq!(patch(&data(PLAIN), &out, &["--pass", "dce"]).code, 0);
    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode();
    assert_eq!(mode(&out), mode(&usual));
}

#[test]
fn standard_input_and_output() {
    let dir = tempdir();
    let out = dir.path().join("out.o");
    let input = read(data(PLAIN));
    let table = patch(&data(PLAIN), &out, &["--pass", "dce,blind", "--seed", "7"]);
    let piped = run_with_input(&["patch", "-", "-o", "-", "--pass", "dce,blind", "--seed", "7"], &input);
    assert_eq!(piped.code, 0);
    assert_eq!(piped.out, read(&out));
    let row = table.text().lines().find(|line| line.starts_with("total")).expect("there are totals");
    assert!(piped.err.contains(row), "{}", piped.err);

    let piped = run_with_input(&["patch", "-", "-o", "-", "--pass", "dce,blind", "--json"], &input);
    assert!(serde_json::from_str::<Value>(&piped.err).is_ok(), "{}", piped.err);
    for verb in ["dis", "check"] {
        let named = run([Path::new(verb), &data(PLAIN)]);
        let piped = run_with_input(&[verb, "-"], &input);
        let name = data(PLAIN).display().to_string();
        assert_eq!(named.text().replace(&name, "standard input"), piped.text());
    }
}

#[test]
fn a_pipe_that_nobody_reads() {
    let large = data("large.o");
    for args in [
        vec![Path::new("dis"), &large],
        vec![Path::new("dis"), &large, Path::new("--json")],
        vec![Path::new("patch"), &large, Path::new("-o"), Path::new("-"), Path::new("--pass=dce")],
        vec![Path::new("check"), &large],
        vec![Path::new("--help")],
    ] {
        let (reader, writer) = std::io::pipe().expect("there are pipes");
        drop(reader);
        let ran = command().args(&args).stdout(writer).output().expect("it starts");
        assert_eq!(Ran::new(ran).code, 1, "{args:?}");
    }
    // Nor does it matter if there is nobody to tell.
    let (reader, writer) = std::io::pipe().expect("there are pipes");
    drop(reader);
    let ran = command().args(["dis", "missing.o"]).stderr(writer).output().expect("it starts");
    assert_eq!(ran.status.code(), Some(1));
}

/// Runs `patch` under a limit on the length of files that is shorter than the object.
fn patch_with_short_files(out: &Path, before: &str) -> Output {
    let script = format!("ulimit -f 4; {before} exec \"$0\" patch \"$1\" -o \"$2\" --pass dce");
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(script).arg(env!("CARGO_BIN_EXE_relinear")).arg(data(PLAIN)).arg(out);
    shell.output().expect("there is a shell")
}

#[test]
fn no_room_for_the_output() {
    let dir = tempdir();
    let out = dir.path().join("out.o");
    let ran = Ran::new(patch_with_short_files(&out, "trap '' XFSZ;"));
    ran.fails(1, &["out.o", "File too large"]);
    assert_eq!(names(dir.path()), [""; 0]);

    fs::write(&out, "old").expect("it can be written");
    Ran::new(patch_with_short_files(&out, "trap '' XFSZ;")).fails(1, &["File too large"]);
    assert_eq!(read(&out), b"old");
    assert_eq!(names(dir.path()), ["out.o"]);
}

#[test]
fn killed_while_it_writes() {
    let dir = tempdir();
    let out = dir.path().join("out.o");
    fs::write(&out, "old").expect("it can be written");
    // The signal for a file that grows too long kills it in the middle of writing.
    let output = patch_with_short_files(&out, "");
    assert_eq!(output.status.code(), None, "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(read(&out), b"old");
}

#[test]
fn counts_are_those_of_the_files() {
    let dir = tempdir();
    let out = dir.path().join("out.o");
    for input in objects() {
        for passes in ["dce", "blind", "dce,blind"] {
            let json = patch(&input, &out, &["--pass", passes, "--json"]).json();
            let insns = |file: &Path| -> u64 {
                code_sections(&read(file)).iter().map(|(_, code)| count_insns(code)).sum()
            };
            let total = |key: &str| json["total"][key].as_u64().expect("it is a count");
            assert_eq!(total("insns_before"), insns(&input), "{input:?} {passes}");
            assert_eq!(total("insns_after"), insns(&out), "{input:?} {passes}");
            assert_eq!(total("insns_before") + total("inserted") - total("deleted"), total("insns_after"));
            let functions = json["functions"].as_array().expect("they are a list");
            for key in ["insns_before", "insns_after", "inserted", "deleted", "branches_moved"] {
                let of_functions = functions.iter().map(|of| of[key].as_u64().expect("it is a count"));
                assert_eq!(total(key), of_functions.sum::<u64>(), "{key}");
            }
            let names: Vec<&str> = functions.iter().filter_map(|of| of["function"].as_str()).collect();
            let file = read(&input);
            let file = object::File::parse(&*file).expect("it is an object");
            for symbol in file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text) {
                assert!(names.contains(&symbol.name().expect("it has a name")), "{names:?}");
            }
        }
    }
}

#[test]
fn nothing_to_do_changes_no_section() {
    let dir = tempdir();
    let out = dir.path().join("out.o");
    let input = data("xdp_parse.o");
    let ran = patch(&input, &out, &["--pass", "dce", "--keep-debug"]);
    assert!(ran.text().contains("dce: nothing to do"), "{}", ran.text());
    assert_eq!(ran.err, "");
    let (before, after) = (read(input), read(out));
    let (before, after) = (object::File::parse(&*before), object::File::parse(&*after));
    let (before, after) = (before.expect("it is an object"), after.expect("it is an object"));
    for section in before.sections().filter(|section| section.kind() != SectionKind::Metadata) {
        let name = section.name().expect("it has a name");
        let same = after.section_by_name(name).expect("it is there");
        assert_eq!(section.data().expect("it has data"), same.data().expect("it has data"), "{name}");
    }
}

#[test]
fn the_seed_decides_the_bytes() {
    let patched = |seed: &str| {
        let input = data("xdp_parse.o");
        let ran = run(["patch", input.to_str().expect("it is UTF-8"), "-o-", "--pass=blind", "--seed", seed]);
        assert_eq!(ran.code, 0, "{}", ran.err);
        ran.out
    };
    assert_eq!(patched("255"), patched("255"));
    assert_eq!(patched("255"), patched("0xff"));
    assert_ne!(patched("255"), patched("254"));
    assert_eq!(patched("18446744073709551615"), patched("0xffffffffffffffff"));
}

#[test]
fn debug_sections_are_dropped_with_a_note_or_kept() {
    let dir = tempdir();
    let out = dir.path().join("out.o");
    patch(&data(PLAIN), &out, &["--pass", "blind", "--keep-debug"]).fails(1, &[".debug_", "kept"]);
    assert!(!out.exists());
    let ran = patch(&data(PLAIN), &out, &["--pass", "blind"]);
    let note = ran.err.lines().find(|line| line.starts_with("note: dropped sections"));
    assert!(note.is_some_and(|note| note.contains(" .debug_info ")), "{}", ran.err);
    let file = read(out);
    let file = object::File::parse(&*file).expect("it is an object");
    let names: Vec<&str> = file.sections().filter_map(|section| section.name().ok()).collect();
    assert!(!names.iter().any(|name| name.contains(".debug_")), "{names:?}");
}

#[test]
fn a_verified_object_is_the_same() {
    let dir = tempdir();
    let (one, other) = (dir.path().join("one.o"), dir.path().join("other.o"));
    for object in objects() {
        let passes = ["--pass", "dce,blind", "--seed", "3"];
        let plain = patch(&object, &one, &passes);
        let verified = patch(&object, &other, &[&passes[..], &["--verify"]].concat());
        assert_eq!(plain.code, verified.code, "{}: {}", object.display(), verified.err);
        if plain.code == 0 {
            assert_eq!(read(&one), read(&other), "{}", object.display());
        }
    }
}

#[test]
fn a_failed_pass_says_where() {
    let dir = tempdir();
    let (input, out) = (dir.path().join("in.o"), dir.path().join("out.o"));
    // globals.c: `trace` is first in .text, and its slot 14 is its only jump (of line 25).
    let far_jump = [0x2d, 0x12, 0xff, 0x7f, 0, 0, 0, 0];
    fs::write(&input, with_slot(&read(data(PLAIN)), ".text", 14, far_jump)).expect("it can be written");
    let place = ["in.o: ", "section \".text\"", "function trace", "slot 14", "globals.c:25"];
    for pass in ["dce", "blind"] {
        patch(&input, &out, &["--strict", "--pass", pass]).fails(1, &place);
        patch(&input, &out, &["--strict", "--pass", pass]).fails(1, &[pass, "out of"]);
        assert!(!out.exists());
    }
    // What is not strict leaves the function alone, and says so at the same place.
    let ran = patch(&input, &out, &["--pass", "blind"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    for word in &place[1..] {
        assert!(ran.err.contains(word), "{word:?} is not in: {}", ran.err);
    }
    let slots = |file: &[u8]| {
        code_sections(file).into_iter().find(|(name, _)| name == ".text").expect("it has code").1
    };
    assert_eq!(slots(&read(&input))[..19 * 8], slots(&read(&out))[..19 * 8], "the function, byte for byte");
}

#[test]
fn a_function_goes_with_the_last_call_of_it() {
    let dir = tempdir();
    let (input, out) = (dir.path().join("in.o"), dir.path().join("out.o"));
    // globals.c: `trace` is called in `step`, if slot 24 of .text loads no zero, and in another section
    // in `count`, if its slot 6 does not jump over that.
    let zero = [0xb7, 1, 0, 0, 0, 0, 0, 0];
    let over = [5, 0, 3, 0, 0, 0, 0, 0];
    let once = with_slot(&read(data(PLAIN)), ".text", 24, zero);
    for (file, left) in [(&once, 1), (&with_slot(&once, "classifier", 6, over), 0)] {
        fs::write(&input, file).expect("it can be written");
        let json = patch(&input, &out, &["--pass", "dce", "--json"]).json();
        let functions = json["functions"].as_array().expect("they are a list");
        let trace = functions.iter().find(|of| of["function"] == "trace").expect("it was there");
        assert_eq!(trace["insns_after"] == 0, left == 0, "{trace}");
        let file = read(&out);
        let file = object::File::parse(&*file).expect("it is an object");
        assert_eq!(file.symbols().filter(|symbol| symbol.name() == Ok("trace")).count(), left);
        assert_eq!(run([Path::new("check"), &out]).code, 0);
    }
}

#[test]
fn check_tells_all_that_is_wrong() {
    let dir = tempdir();
    let input = dir.path().join("in.o");
    let far_jump = [0x2d, 0x12, 0xff, 0x7f, 0, 0, 0, 0];
    let no_insn = [0xff, 0, 0, 0, 0, 0, 0, 0];
    let mut damaged = with_slot(&read(data(PLAIN)), ".text", 14, far_jump);
    damaged = with_slot(&damaged, ".text", 9, no_insn);
    damaged = with_slot(&damaged, ".text", 20, [0xbf, 0, 0, 0, 0, 0, 0, 0]);
    fs::write(&input, damaged).expect("it can be written");
    let ran = run([Path::new("check"), &input]);
    assert_eq!(ran.code, 1);
    assert!(ran.text().contains("3 findings"), "{}", ran.text());
    for (slot, what) in [(9, "0xff"), (14, "out of"), (20, "falls off the end")] {
        let at = format!("section \".text\", function trace, slot {slot} (");
        let line = ran.text().lines().find(|line| line.contains(&at));
        assert!(line.is_some_and(|line| line.contains(what)), "{}", ran.text());
    }
    let ran = run([Path::new("check"), &input, Path::new("--json")]);
    assert_eq!(ran.code, 1);
    let json: Value = serde_json::from_slice(&ran.out).expect("it is JSON");
    let slots: Vec<u64> =
        json["findings"].as_array().into_iter().flatten().filter_map(|of| of["slot"].as_u64()).collect();
    assert_eq!(slots, [9, 14, 20]);
}

#[test]
fn committed_objects_and_what_passes_make_of_them_are_sound() {
    let dir = tempdir();
    let out = dir.path().join("out.o");
    for input in objects() {
        let json = run([Path::new("check"), &input, Path::new("--json")]).json();
        assert_eq!(json["findings"].as_array().map(Vec::len), Some(0), "{input:?}");
        assert_eq!(patch(&input, &out, &["--pass", "dce,blind", "--seed", "0x5eed"]).code, 0, "{input:?}");
        let ran = run([Path::new("check"), &out]);
        assert_eq!(ran.code, 0, "{input:?}: {}", ran.text());
    }
}

#[test]
fn dis_shows_what_is_in_the_file() {
    for input in objects() {
        let json = run([Path::new("dis"), &input, Path::new("--json")]).json();
        let file = read(&input);
        let sections = json["sections"].as_array().expect("they are a list");
        let expected = code_sections(&file);
        assert_eq!(sections.len(), expected.len());
        for (section, (name, code)) in sections.iter().zip(&expected) {
            assert_eq!(section["section"], **name);
            let insns = section["insns"].as_array().expect("they are a list");
            let bytes: String = insns.iter().filter_map(|insn| insn["bytes"].as_str()).collect();
            let pairs = bytes.as_bytes().chunks(2).map(|pair| str::from_utf8(pair).expect("it is ASCII"));
            let found: Vec<u8> =
                pairs.map(|pair| u8::from_str_radix(pair, 16).expect("hexadecimal")).collect();
            assert_eq!(&found, code, "{input:?} {name}");
            // Each jump leads to a label that is there.
            for insn in
                insns.iter().filter(|insn| insn["text"].as_str().is_some_and(|text| text.contains("goto")))
            {
                let target = insns.iter().find(|other| other["slot"] == insn["target_slot"]);
                let label = target.and_then(|target| target["label"].as_str()).unwrap_or("?");
                let text = insn["text"].as_str().unwrap_or_default();
                assert!(text.ends_with(&format!(" {label}")), "{text} {label}");
            }
        }
    }
}

#[test]
fn source_lines_are_those_of_the_source() {
    let mut checked = 0;
    for input in objects() {
        let json = run([Path::new("dis"), &input, Path::new("--json")]).json();
        let insns = json["sections"]
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|section| section["insns"].as_array().into_iter().flatten());
        for line in insns.map(|insn| &insn["line"]).filter(|line| line.is_object()) {
            let source = fs::read_to_string(data(line["file"].as_str().expect("it is a name")));
            let source = source.expect("the source is committed as well");
            let number = usize::try_from(line["line"].as_u64().expect("it is a number")).expect("it fits");
            let expected = source.lines().nth(number - 1).map(str::trim);
            assert_eq!(line["text"].as_str(), expected, "{input:?}:{number}");
            checked += 1;
        }
    }
    assert!(checked > 1000);
}

#[test]
fn dis_names_what_code_refers_to() {
    // globals.c and core.c say what there is to find.
    let globals = run([Path::new("dis"), &data(PLAIN)]);
    for text in ["r1 = journal ll", "call trace", "r1 = debug ll", "if r1 == 0x0 goto L"] {
        assert!(globals.text().contains(text), "{text}");
    }
    let core = run([Path::new("dis"), &data("core.o")]);
    for text in ["CO-RE byte_sz task_struct.comm", "CO-RE type_exists mm_struct___nowhere"] {
        assert!(core.text().contains(text), "{text}");
    }
}

#[cfg(not(feature = "kernel"))]
#[test]
fn the_kernel_is_not_asked_without_its_feature() {
    run([Path::new("check"), &data(PLAIN), Path::new("--kernel")]).fails(2, &["not built in"]);
}

/// The verdicts of `check --kernel`, in words; `None` if the kernel cannot be asked at all.
#[cfg(feature = "kernel")]
fn verdicts(ran: &Ran) -> Option<Vec<Value>> {
    let json: Value = serde_json::from_slice(&ran.out).expect("it is JSON");
    let programs = json["kernel"]["programs"].as_array().expect("they are a list").clone();
    let denied = |of: &Value| {
        let reason = of["reason"].as_str().unwrap_or_default();
        reason.contains("not permitted") || reason.contains("not to be had")
    };
    if !programs.is_empty() && programs.iter().all(denied) {
        crate::skipped(format_args!("what the kernel says of programs: {}", programs[0]["reason"]));
        assert_eq!(ran.code, 3);
        return None;
    }
    Some(programs)
}

#[cfg(feature = "kernel")]
#[test]
fn the_kernel_says_what_it_makes_of_programs() {
    let ran = run([Path::new("check"), &data("xdp_parse.o"), Path::new("--kernel"), Path::new("--json")]);
    let Some(programs) = verdicts(&ran) else { return };
    assert_eq!(ran.code, 0, "{}", ran.text());
    for program in &programs {
        assert_eq!(program["verdict"], "accepted");
        assert!(program["verified_insns"].as_u64().is_some_and(|insns| insns > 0), "{program}");
        assert!(program["translated_bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{program}");
    }
    assert_eq!(programs.len(), 2);
    assert!(!ran.text().contains("skipped"));

    // A null check that is gone: the verifier says so, and that is a failure. The other program is judged all the same.
    let dir = tempdir();
    let input = dir.path().join("in.o");
    let file = read(data("nobtf.o"));
    fs::write(&input, with_slot(&file, "xdp", 0, [0x79, 0, 0, 0, 0, 0, 0, 0])).expect("it can be written");
    let ran = run([Path::new("check"), &input, Path::new("--kernel")]);
    assert_eq!(ran.code, 1, "{}", ran.text());
    assert!(ran.text().contains("R0 !read_ok"), "{}", ran.text());
    let lines = |word: &str| ran.text().lines().filter(|line| line.starts_with(word)).count();
    assert_eq!((lines("rejected"), lines("accepted"), lines("skipped")), (1, 1, 0), "{}", ran.text());
}

#[cfg(feature = "kernel")]
#[test]
fn what_the_kernel_was_not_asked_is_no_success() {
    // An object of the other byte order, and one without a program: no kernel can be asked about them.
    let dir = tempdir();
    let no_program = dir.path().join("none.o");
    let mut builder = crate::terminal::builder(&read(data("lock.o")));
    for section in builder.sections.iter_mut().filter(|section| section.name[..] == b"classifier"[..]) {
        section.name = b".text"[..].into();
    }
    fs::write(&no_program, crate::terminal::written(builder)).expect("it can be written");
    let other_order = if cfg!(target_endian = "little") { "xdp_parse.be.o" } else { "xdp_parse.o" };
    for input in [data(other_order), no_program] {
        let ran = run([Path::new("check"), &input, Path::new("--kernel")]);
        assert_eq!(ran.code, 3, "{}", ran.text());
        assert!(ran.text().contains("skipped: "), "{}", ran.text());
        assert_eq!(
            run([Path::new("check"), &input, Path::new("--kernel"), Path::new("--allow-skips")]).code,
            0
        );
    }
    // A finding is a failure, whatever was skipped.
    let bad = dir.path().join("bad.o");
    let file = read(data(other_order));
    fs::write(&bad, with_slot(&file, "xdp", 0, [0xff; 8])).expect("it can be written");
    assert_eq!(run([Path::new("check"), &bad, Path::new("--kernel"), Path::new("--allow-skips")]).code, 1);
}

#[cfg(feature = "kernel")]
#[test]
fn users_without_rights_are_told_that_nothing_was_asked() {
    // The user `nobody`, who may not read this directory: the object comes by the standard input.
    let mut unprivileged = Command::new("setpriv");
    unprivileged.args([
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "--bounding-set=-all",
        "--inh-caps=-all",
    ]);
    let dir = tempfile::tempdir_in("/tmp").expect("there is room for temporary files");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
    let command = dir.path().join("relinear");
    fs::copy(env!("CARGO_BIN_EXE_relinear"), &command).expect("it can be copied");
    unprivileged.arg(&command).args(["check", "-", "--kernel"]);
    unprivileged.stdin(fs::File::open(data("xdp_parse.o")).expect("it is there"));
    let Ok(output) = unprivileged.output() else {
        crate::skipped("a user without rights: there is no setpriv");
        return;
    };
    if String::from_utf8_lossy(&output.stderr).contains("setpriv") {
        crate::skipped("a user without rights: it takes root to become one");
        return;
    }
    let ran = Ran::new(output);
    assert_eq!(ran.code, 3, "{}{}", ran.text(), ran.err);
    assert_eq!(ran.text().lines().filter(|line| line.starts_with("skipped: ")).count(), 2, "{}", ran.text());
}

#[cfg(feature = "kernel")]
#[test]
fn aya_is_asked_where_there_is_no_libbpf() {
    // In a namespace of its own, nothing is where libbpf was.
    let script = r#"
        for file in $(ldconfig -p | sed -n 's/.*libbpf[.]so[.]1 .*=> //p'); do
            mount --bind /dev/null "$(readlink -f "$file")" || exit 77
        done
        exec "$0" check "$1" --kernel --json"#;
    let ask = |object: &str| {
        let mut unshare = Command::new("unshare");
        unshare.args(["-m", "sh", "-c", script, env!("CARGO_BIN_EXE_relinear")]).arg(data(object));
        let output = unshare.output().ok()?;
        let denied = String::from_utf8_lossy(&output.stderr).contains("unshare");
        if output.status.code() == Some(77) || denied {
            crate::skipped("the kernel asked by aya: it takes root to hide libbpf");
            return None;
        }
        let ran = Ran::new(output);
        let json: Value = serde_json::from_slice(&ran.out).expect("it is JSON");
        assert_eq!(json["kernel"]["loader"], "aya");
        Some((ran.code, verdicts(&ran)?))
    };
    let Some((code, programs)) = ask("subprogs.o") else { return };
    assert!(programs.iter().all(|of| of["verdict"] == "accepted"), "{programs:?}");
    assert_eq!((code, programs.len()), (0, 5));
    // aya has no type for programs that are system calls: these are skipped, and no others.
    let Some((code, programs)) = ask("ksyms.o") else { return };
    let of = |section: &str| programs.iter().filter(|of| of["section"] == section).collect::<Vec<_>>();
    assert!(of("syscall").iter().all(|of| of["verdict"] == "skipped"), "{programs:?}");
    assert_eq!((code, of("syscall").len()), (3, 1));
}

#[test]
fn findings_are_capped_and_counted() {
    let dir = tempdir();
    let input = dir.path().join("in.o");
    let mut file = read(data("alu32.o"));
    for slot in 0..4 {
        file = with_slot(&file, "xdp", slot, [0xff; 8]);
    }
    fs::write(&input, file).expect("it can be written");
    let all = run([Path::new("check"), &input]);
    let lines = |ran: &Ran| ran.text().lines().filter(|line| line.contains(": finding: ")).count();
    let found = lines(&all);
    assert!(found >= 4 && !all.text().contains("more than"), "{}", all.text());
    for most in [0, 1, 3] {
        let most_text = most.to_string();
        let ran = run([Path::new("check"), &input, Path::new("--max-findings"), Path::new(&most_text)]);
        assert_eq!((ran.code, lines(&ran)), (1, most));
        let told = format!("{found} findings ({} more than are listed)", found - most);
        assert!(ran.text().contains(&told), "{}", ran.text());
        let ran = run([
            Path::new("check"),
            &input,
            Path::new("--json"),
            Path::new("--max-findings"),
            Path::new(&most_text),
        ]);
        let json: Value = serde_json::from_slice(&ran.out).expect("it is JSON");
        assert_eq!(json["findings_left_out"], found - most);
        assert_eq!(json["findings"].as_array().map(Vec::len), Some(most));
    }
}

#[test]
fn json_has_a_version() {
    let dir = tempdir();
    let out = dir.path().join("out.o");
    for ran in [
        run([Path::new("dis"), &data(PLAIN), Path::new("--json")]),
        run([Path::new("check"), &data(PLAIN), Path::new("--json")]),
        patch(&data(PLAIN), &out, &["--pass", "dce", "--json"]),
    ] {
        assert_eq!(ran.json()["version"], 1);
    }
}

#[test]
fn parts_of_a_listing() {
    let dis = |more: &[&str]| {
        let object = data(PLAIN);
        run([Path::new("dis"), &object].into_iter().chain(more.iter().map(Path::new)))
    };
    let whole = dis(&["--json"]).json();
    let sections = whole["sections"].as_array().expect("it is a list");
    assert!(sections.len() > 1);
    for section in sections {
        let name = section["section"].as_str().expect("it has a name");
        assert_eq!(dis(&["--json", "--section", name]).json()["sections"], serde_json::json!([section]));
        let insns = section["insns"].as_array().expect("it is a list");
        let functions = insns.iter().filter_map(|insn| insn["function"].as_str());
        let mut count = 0;
        for function in functions {
            let part = dis(&["--json", "--function", function, "--section", name]).json();
            let part = part["sections"][0]["insns"].as_array().expect("it is a list").clone();
            assert_eq!(part[0]["function"], function);
            assert!(part.iter().all(|insn| insns.contains(insn)));
            count += part.len();
        }
        assert_eq!(count, insns.len());
    }
    dis(&["--function", "nowhere"]).fails(1, &["nothing here is called nowhere"]);
    dis(&["--section", "nowhere"]).fails(1, &["nothing here is called nowhere"]);
    let (with, without) = (dis(&[]), dis(&["--no-bytes"]));
    assert!(without.text().len() < with.text().len());
    assert!(with.text().contains("0000000000  exit") || with.text().contains("00000000000000  exit"));
    assert!(!without.text().contains("9500000000000000"), "{}", without.text());
}

#[test]
fn a_reader_who_has_seen_enough() {
    for args in [&["dis"][..], &["dis", "--json"], &["check"]] {
        let mut command = command();
        command.args(args).arg(data("large.o")).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        drop(child.stdout.take());
        let ran = Ran::new(child.wait_with_output().expect("it ends"));
        assert_eq!((ran.code, ran.err.as_str()), (1, ""), "{args:?}");
    }
    // But an object that did not arrive is an error.
    let mut command = command();
    command
        .args(["patch", "--pass=dce", "-o-"])
        .arg(data("large.o"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    drop(child.stdout.take());
    Ran::new(child.wait_with_output().expect("it ends")).fails(1, &["standard output: "]);
}

#[test]
fn completions_and_manual_pages() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let ran = run(["completions", shell]);
        assert_eq!(ran.code, 0, "{}", ran.err);
        for word in ["relinear", "patch", "keep-debug", "max-findings"] {
            assert!(ran.text().contains(word), "{shell}: {word}");
        }
    }
    let page = run(["man"]);
    assert!(page.text().contains(".TH relinear 1"), "{}", page.text());
    // A hyphen that is no minus has a backslash before it.
    let page = run(["man", "patch"]).text().replace('\\', "");
    assert!(page.contains("patch") && page.contains("--keep-debug"), "{page}");
    run(["man", "fly"]).fails(2, &["fly"]);
}
