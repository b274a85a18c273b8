//! Patched objects against their originals, on the running kernel.

mod inputs;
mod load;
mod maps;

use std::fs;
use std::path::{Path, PathBuf};

use self::load::{Loaded, Refusal, load_and_run};

/// Objects that `aya` does not load: kernel functions, syscall programs, the other byte order.
/// The scripts load the first two with libbpf.
const OTHER_LOADERS: [&str; 4] = ["ksyms.o", "syscall.o", "subprogs.be.o", "xdp_parse.be.o"];

fn objects() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let entries = fs::read_dir(folder).expect("tests/data is committed");
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "o"))
        .collect();
    paths.sort_unstable();
    paths
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).expect("our names are plain")
}

/// What the kernel makes of an object; `None`, said aloud, where it may not be asked.
fn ask(object: &[u8], what: &str) -> Option<Loaded> {
    match load_and_run(object) {
        Ok(loaded) => Some(loaded),
        Err(Refusal::NotPermitted(why)) => {
            eprintln!("skipped: {what}: {why}; run the tests as root");
            None
        }
        Err(Refusal::Object(why)) => panic!("{what}: {why}"),
    }
}

/// That the kernel takes both objects, and that their programs do the same on every input.
fn compare(original: &[u8], patched: &[u8], what: &str) {
    let Some(expected) = ask(original, what) else { return };
    let Some(found) = ask(patched, what) else { return };
    for outcome in &expected.outcomes {
        assert!(outcome.runs.is_ok(), "{what}: the original is refused: {outcome:?}");
    }
    assert_eq!(found, expected, "{what}");
}

#[test]
fn the_kernel_answers_the_same_twice() {
    for path in objects() {
        if OTHER_LOADERS.contains(&name(&path)) {
            continue;
        }
        let object = fs::read(&path).expect("a committed object");
        compare(&object, &object, name(&path));
    }
}

/// A harness that could not see a difference would prove nothing.
#[test]
fn programs_depend_on_their_input() {
    for path in objects() {
        if OTHER_LOADERS.contains(&name(&path)) {
            continue;
        }
        let object = fs::read(&path).expect("a committed object");
        let Some(loaded) = ask(&object, name(&path)) else { return };
        let varied = loaded.outcomes.iter().any(|outcome| {
            let runs = outcome.runs.as_ref().expect("our objects load");
            runs.iter().any(|run| (run.value, &run.packet) != (runs[0].value, &runs[0].packet))
        });
        assert!(varied, "{}: every run gives the same", name(&path));
    }
}
