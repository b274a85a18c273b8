//! Patched objects against their originals, on the running kernel.

mod additions;
#[cfg(feature = "kernel")]
mod count;
mod inputs;
#[cfg(all(feature = "cli", feature = "fuzzing"))]
mod linked;
mod load;
mod maps;
mod pass_list;
#[cfg(feature = "fuzzing")]
mod scratch;
#[cfg(feature = "cli")]
mod script;

use std::fs;
use std::path::{Path, PathBuf};

use relinear::elf::passes::{Blind, Dce};
use relinear::elf::{Object, Pass, Passes, patch};

use self::load::{Loaded, Refusal, load_and_run};

/// Objects that `aya` does not load: kernel functions, syscall programs, the other byte order.
/// The scripts load the first two with libbpf.
const OTHER_LOADERS: [&str; 4] = ["ksyms.o", "subprogs.be.o", "syscall.o", "xdp_parse.be.o"];

/// The sets of passes that every object is put through.
fn pass_sets() -> [Vec<&'static dyn Pass>; 3] {
    const BLIND: &Blind = &Blind::seeded(1);
    [vec![&Dce], vec![BLIND], vec![&Dce, BLIND]]
}

/// Name and bytes of each committed object, by name.
fn objects() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let entries = fs::read_dir(folder).expect("tests/data is committed");
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "o"))
        .collect();
    paths.sort_unstable();
    let read = |path: PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).expect("our names are plain");
        (name.to_owned(), fs::read(&path).expect("a readable object"))
    };
    paths.into_iter().map(read).collect()
}

fn patched(object: &[u8], passes: &[&dyn Pass], what: &str) -> Vec<u8> {
    let mut object = Object::parse(object).unwrap_or_else(|error| panic!("{what}: {error}"));
    patch(&mut object, passes).unwrap_or_else(|error| panic!("{what}: {error}"));
    object.write().unwrap_or_else(|error| panic!("{what}: {error}"))
}

/// What the kernel makes of an object; `None`, said aloud, where it may not be asked.
fn ask(object: &[u8], what: &str) -> Option<Loaded> {
    match load_and_run(object) {
        Ok(loaded) => Some(loaded),
        Err(Refusal::NotPermitted(why)) => {
            crate::skipped(format_args!("{what}: {why}; run the tests as root"));
            None
        }
        Err(Refusal::Object(why)) => panic!("{what}: {why}"),
    }
}

/// That the kernel takes the other object too, and that its programs do the same on every input.
fn compare(expected: &Loaded, object: &[u8], what: &str) {
    let found = ask(object, what).expect("the kernel was asked before");
    assert_eq!(found.outcomes.len(), expected.outcomes.len(), "{what}");
    for (found, expected) in found.outcomes.iter().zip(&expected.outcomes) {
        let program = &expected.program;
        assert_eq!(&found.program, program, "{what}");
        if let Err(log) = &found.runs {
            panic!("{what}: {program} is refused:\n{log}");
        }
        assert_eq!(found.runs, expected.runs, "{what}: {program}");
    }
    assert_eq!(found.maps, expected.maps, "{what}");
}

#[test]
fn patched_programs_answer_as_before() {
    for (name, object) in objects() {
        if OTHER_LOADERS.contains(&name.as_str()) {
            continue;
        }
        let Some(expected) = ask(&object, &name) else { continue };
        for outcome in &expected.outcomes {
            assert!(outcome.runs.is_ok(), "{name}: the original is refused: {outcome:?}");
        }
        compare(&expected, &object, &name);
        for passes in pass_sets() {
            let what = format!("{name} after {passes:?}");
            compare(&expected, &patched(&object, &passes, &what), &what);
        }
    }
}

/// Where a pass has nothing to do, that the answers stay the same shows nothing.
#[test]
fn passes_have_work_to_do() {
    let run = |name: &str, pass: &str| {
        let (_, bytes) = objects().into_iter().find(|(other, _)| other == name).expect("it is committed");
        let mut object = Object::parse(&bytes).expect("an object of clang's");
        patch(&mut object, &[Passes::standard().by_name(pass).expect("a pass")]).expect("it can be patched")
    };
    let dead = run("dead.o", "dce");
    assert!(dead.functions.iter().filter(|function| function.after == 0).count() >= 5, "{dead:?}");
    assert!(dead.functions.iter().all(|function| function.deleted > 0), "{dead:?}");
    let reach = run("reach.o", "blind");
    assert!(reach.relaxed > 0, "{reach:?}");
}

#[test]
fn objects_of_other_loaders_are_patched_too() {
    let mut seen = 0;
    for (name, object) in objects() {
        if OTHER_LOADERS.contains(&name.as_str()) {
            seen += 1;
            for passes in pass_sets() {
                let what = format!("{name} after {passes:?}");
                let patched = patched(&object, &passes, &what);
                assert!(Object::parse(&patched).is_ok(), "{what}");
            }
        }
    }
    assert_eq!(seen, OTHER_LOADERS.len());
}

/// A harness that could not see a difference would prove nothing.
#[test]
fn programs_depend_on_their_input() {
    for (name, object) in objects() {
        if OTHER_LOADERS.contains(&name.as_str()) {
            continue;
        }
        let Some(loaded) = ask(&object, &name) else { continue };
        let varied = loaded.outcomes.iter().any(|outcome| {
            let runs = outcome.runs.as_ref().expect("our objects load");
            runs.iter().any(|run| (run.value, &run.packet) != (runs[0].value, &runs[0].packet))
        });
        assert!(varied, "{name}: every run gives the same");
    }
}
