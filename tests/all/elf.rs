//! ELF objects: what comes out is what went in, at its new place.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use relinear::bpf::{Bpf, Insn};
use relinear::elf::{Edit, ElfError, Note, Object};
use relinear::{Arena, Handle, Linear, List};

use crate::facts::{facts, is_debug, literal};

/// The no-op of [`facts`].
const NOP: &[Insn] = &[Insn::mov64_reg(9, 9)];
const NOPS: &[Insn] = &[NOP[0], NOP[0]];

/// Every object of the test data.
fn objects() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "o"));
    paths.sort();
    assert!(paths.len() >= 10, "{} objects", paths.len());
    let read = |path: &PathBuf| {
        (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(path).unwrap())
    };
    paths.iter().map(read).collect()
}

fn object(name: &str) -> Vec<u8> {
    objects().into_iter().find(|(found, _)| found == name).expect(name).1
}

/// Edits every code section alike.
fn edit_all(
    object: &mut Object<'_>,
    mut edit: impl FnMut(usize, &mut List<'_, Bpf>),
) -> Result<(), ElfError> {
    let mut edited: Vec<Linear<Insn>> = Vec::new();
    for (index, code) in object.code().iter().enumerate() {
        let arena = Arena::new();
        let mut list = List::<Bpf>::new(&arena, &code.program().insns).unwrap();
        edit(index, &mut list);
        edited.push(list.linearize().unwrap());
    }
    let edits = edited.iter().enumerate();
    object.edit(edits.map(|(code, new)| Edit { code, insns: new.units.clone(), map: &new.map }).collect())
}

fn handles(list: &List<'_, Bpf>) -> Vec<Handle> {
    (0..list.original_len()).map(Handle::new).filter(|&handle| list.insn(handle).is_some()).collect()
}

#[track_caller]
fn assert_same(name: &str, expected: &BTreeSet<String>, found: &BTreeSet<String>) {
    let lost: Vec<_> = expected.difference(found).take(8).collect();
    let new: Vec<_> = found.difference(expected).take(8).collect();
    assert!(lost.is_empty() && new.is_empty(), "{name}:\nlost {lost:#?}\nnew {new:#?}");
}

#[test]
fn unedited_objects_keep_every_byte() {
    for (name, data) in objects() {
        let object = Object::parse(&data).unwrap_or_else(|error| panic!("{name}: {error}"));
        let written = object.write().unwrap();
        for (old, new) in literal(&data).iter().zip(literal(&written)) {
            assert_eq!(*old, new, "{name}");
        }
        assert_eq!(object.notes(), []);
    }
}

#[test]
fn an_edit_of_nothing_keeps_every_byte() {
    for (name, data) in objects() {
        let mut object = Object::parse(&data).unwrap();
        edit_all(&mut object, |_, _| ()).unwrap();
        assert_eq!(object.notes(), [], "{name}");
        assert_eq!(literal(&data), literal(&object.write().unwrap())[..literal(&data).len()], "{name}");
    }
}

#[test]
fn everything_follows_an_instruction_with_a_no_op_before_it() {
    for (name, data) in objects() {
        let expected = facts(&data);
        let mut object = Object::parse(&data).unwrap();
        edit_all(&mut object, |_, list| {
            // A program of 16-bit jumps has no room for a no-op before every instruction.
            let stride = if list.original_len() < 16_000 { 1 } else { 32 };
            for handle in handles(list).into_iter().step_by(stride) {
                list.prepend(handle, NOP).unwrap();
            }
        })
        .unwrap();
        let written = object.write().unwrap();
        assert_same(&name, &expected, &facts(&written));
        // The same object once more, from the file.
        assert_eq!(written, Object::parse(&written).unwrap().write().unwrap());
    }
}

#[test]
fn everything_follows_no_ops_of_all_kinds() {
    for (name, data) in objects() {
        let expected = facts(&data);
        let mut object = Object::parse(&data).unwrap();
        // Two edits after each other, of one section at a time.
        for round in 0..2 {
            for index in 0..object.code().len() {
                let new = {
                    let arena = Arena::new();
                    let mut list = List::<Bpf>::new(&arena, &object.code()[index].program().insns).unwrap();
                    let rarity = if list.original_len() < 16_000 { 5 } else { 100 };
                    let mut seed = 7 + round;
                    for handle in handles(&list) {
                        seed = (seed * 1_103_515_245 + 12345) & 0x7fff_ffff_u64;
                        // What is appended to the last instruction of a function is still its own.
                        let falls = !list.insn(handle).unwrap()[0].ends_flow();
                        match (seed >> 16) % rarity {
                            0 => list.prepend(handle, NOPS).map(|_| ()).unwrap(),
                            1 => list.prepend_fallthrough(handle, NOP).map(|_| ()).unwrap(),
                            2 if falls => list.append(handle, NOP).map(|_| ()).unwrap(),
                            _ => {}
                        }
                    }
                    list.linearize().unwrap()
                };
                object.replace_code(index, new.units, &new.map).unwrap();
            }
        }
        assert_same(&name, &expected, &facts(&object.write().unwrap()));
    }
}

#[test]
fn sections_for_debuggers_go_when_code_moves() {
    let data = object("subprogs.o");
    let mut object = Object::parse(&data).unwrap();
    let edit =
        |object: &mut Object<'_>| edit_all(object, |_, list| _ = list.prepend(Handle::new(0), NOP).unwrap());
    object.keep_debug(true);
    let error = edit(&mut object).unwrap_err();
    assert!(matches!(&error, ElfError::Section { section, .. } if is_debug(section)), "{error}");
    assert_eq!(
        literal(&data),
        literal(&object.write().unwrap())[..literal(&data).len()],
        "nothing has changed"
    );

    object.keep_debug(false);
    edit(&mut object).unwrap();
    assert!(object.notes().iter().any(|note| *note == Note::Dropped { section: ".debug_line".into() }));
    let sections = literal(&object.write().unwrap());
    let stale = |fact: &&String| fact.starts_with(".debug") || fact.starts_with(".rel.debug");
    assert_eq!(sections.iter().find(stale), None);
}
