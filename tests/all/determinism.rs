//! The same input and options give the same bytes: run twice, and on several threads at once.

use std::fs;
use std::path::{Path, PathBuf};

use relinear::elf::passes::{Blind, Dce};
use relinear::elf::{Object, patch};

fn objects() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .expect("it is there")
        .map(|entry| entry.expect("it can be listed").path())
        .collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "o"));
    paths.sort();
    paths
}

fn patched(path: &Path) -> Vec<u8> {
    let file = fs::read(path).expect("it is there");
    let mut object = Object::parse(&file).expect("it is an object");
    patch(&mut object, &[&Dce, &Blind::seeded(7)]).expect("it can be patched");
    object.write().expect("it can be written")
}

/// In both byte orders, there are objects for both. `tests/scripts/determinism.sh` compares builds of other kinds.
#[test]
fn the_same_bytes_twice_and_on_each_thread() {
    let paths = objects();
    assert!(paths.iter().any(|path| path.to_string_lossy().ends_with(".be.o")));
    let once: Vec<Vec<u8>> = paths.iter().map(|path| patched(path)).collect();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2)
            .map(|_| scope.spawn(|| paths.iter().map(|path| patched(path)).collect::<Vec<_>>()))
            .collect();
        for thread in threads {
            assert!(thread.join().expect("it ends") == once);
        }
    });
}
