//! [`verify`]: it takes what edits of every kind write, and finds whatever is changed in it.

use std::path::{Path, PathBuf};

use relinear::bpf::{Bpf, Cpu, Insn};
use relinear::elf::passes::{Blind, Dce};
use relinear::elf::{CodeChange, Edit, Object, Pass, VerifyError, patch_recorded, verify};
use relinear::{Arena, Handle, Linear, List};

/// Every object of the test data, by name.
fn objects() -> Vec<(String, Vec<u8>)> {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data")];
    let mut paths: Vec<PathBuf> = Vec::new();
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "o") {
                paths.push(path);
            }
        }
    }
    paths.sort();
    assert!(paths.len() >= 20, "{} objects", paths.len());
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    paths.iter().map(|path| (name(path), std::fs::read(path).unwrap())).collect()
}

fn object(name: &str) -> Vec<u8> {
    objects().into_iter().find(|(found, _)| found == name).expect(name).1
}

const DCE: &dyn Pass = &Dce;
const BLIND: &dyn Pass = &const { Blind::seeded(5) };

/// What `edit` makes of every code section, and the changes.
fn edited(data: &[u8], rounds: u32, mut edit: impl FnMut(&mut List<'_, Bpf>)) -> (Vec<u8>, Vec<CodeChange>) {
    let mut object = Object::parse(data).unwrap();
    let mut changes = Vec::new();
    for _ in 0..rounds {
        let mut done: Vec<Linear<Insn>> = Vec::new();
        for code in object.code() {
            let program = &code.program().insns;
            let arena = Arena::new();
            let mut list = List::<Bpf>::new(&arena, program).unwrap();
            edit(&mut list);
            let linear = list.linearize().unwrap();
            changes.push(CodeChange::new(code.section_index(), program, &list, &linear));
            done.push(linear);
        }
        let edits = done.iter().enumerate();
        let edits = edits.map(|(code, new)| Edit { code, insns: new.units.clone(), map: &new.map });
        object.replace_codes(edits.collect()).unwrap();
    }
    (object.write().unwrap(), changes)
}

#[track_caller]
fn assert_verified(name: &str, old: &[u8], new: &[u8], changes: &[CodeChange]) {
    if let Err(error) = verify(old, new, changes) {
        panic!("{name}: {error}");
    }
}

#[test]
fn what_was_not_edited_is_the_same() {
    for (name, data) in objects() {
        let Ok(object) = Object::parse(&data) else { continue };
        assert_verified(&name, &data, &object.write().unwrap(), &[]);
    }
}

#[test]
fn passes_move_all_that_there_is_to_move() {
    let mut patched = 0;
    for (name, data) in objects() {
        for passes in [&[DCE][..], &[BLIND], &[DCE, BLIND], &[BLIND, DCE]] {
            let Ok(mut object) = Object::parse(&data) else { continue };
            let mut changes = Vec::new();
            if patch_recorded(&mut object, passes, Cpu::V4, &mut changes).is_err() {
                continue;
            }
            patched += 1;
            assert_verified(&format!("{name} {passes:?}"), &data, &object.write().unwrap(), &changes);
        }
    }
    assert!(patched >= 4 * 20, "{patched}");
}

#[test]
fn insertions_of_all_kinds_move_all_that_there_is_to_move() {
    const NOP: &[Insn] = &[Insn::mov64_reg(9, 9)];
    for (name, data) in objects() {
        if Object::parse(&data).is_err() {
            continue;
        }
        let mut seed = 7_u64;
        let (new, changes) = edited(&data, 2, |list| {
            let rarity = if list.original_len() < 16_000 { 5 } else { 100 };
            for handle in (0..list.original_len()).map(Handle::new) {
                let Some(insn) = list.insn(handle) else { continue };
                let ends = insn[0].ends_flow();
                seed = (seed * 1_103_515_245 + 12345) & 0x7fff_ffff;
                match (seed >> 16) % rarity {
                    0 => _ = list.prepend(handle, NOP).unwrap(),
                    1 => _ = list.prepend_fallthrough(handle, NOP).unwrap(),
                    2 if !ends => _ = list.append(handle, NOP).unwrap(),
                    _ => {}
                }
            }
        });
        assert_verified(&name, &data, &new, &changes);
    }
}

/// An edit that moves every kind of thing: no-ops before every third instruction, and the third function gone.
fn moved(data: &[u8]) -> (Vec<u8>, Vec<CodeChange>) {
    let mut at = 0;
    edited(data, 1, |list| {
        for handle in (0..list.original_len()).map(Handle::new) {
            at += 1;
            if at % 3 == 0 && list.insn(handle).is_some() {
                list.prepend(handle, &[Insn::mov64_reg(9, 9)][..]).unwrap();
            }
        }
    })
}

/// The places of a file, in bytes, with a name for each kind.
fn places(data: &[u8]) -> Vec<(String, std::ops::Range<usize>)> {
    use object::read::elf::{FileHeader as _, SectionHeader as _};
    type Header = object::elf::FileHeader64<object::Endianness>;
    let header = Header::parse(data).unwrap();
    let endian = header.endian().unwrap();
    let table = header.sections(endian, data).unwrap();
    let mut places = vec![("the header".to_owned(), 4..8), ("the header".to_owned(), 16..20)];
    places.push(("the header".to_owned(), 48..52));
    let headers = usize::try_from(header.e_shoff(endian)).unwrap();
    for (index, section) in table.enumerate().skip(1) {
        let name = String::from_utf8_lossy(table.section_name(endian, section).unwrap()).into_owned();
        let start = headers + index.0 * 64;
        // All but its place in memory, which a relocatable file does not have.
        let is_names = section.sh_type(endian) == object::elf::SHT_STRTAB;
        let fields = [
            ("name", 0..4),
            ("type", 4..8),
            ("flags", 8..16),
            ("offset", 24..32),
            ("size", 32..40),
            ("link", 40..44),
            ("info", 44..48),
            ("alignment", 48..56),
            ("entry size", 56..64),
        ];
        for (field, range) in fields {
            // What is behind the last name that something uses is nothing.
            // Nor does it matter where what has no bytes begins.
            let is_empty = section.file_range(endian).is_none_or(|(_, len)| len == 0);
            if !(is_names && field == "size" || is_empty && field == "offset") {
                places.push((format!("{field} of {name}"), start + range.start..start + range.end));
            }
        }
        if let Some((start, len)) = section.file_range(endian) {
            let start = usize::try_from(start).unwrap();
            // The first symbol is none.
            let first = if section.sh_type(endian) == object::elf::SHT_SYMTAB { 24 } else { 0 };
            places.push((name, start + first..start + usize::try_from(len).unwrap()));
        }
    }
    places
}

/// Changes each byte of each place of `new`, and lists what [`verify`] takes all the same.
fn missed(old: &[u8], new: &[u8], changes: &[CodeChange]) -> Vec<(String, usize, u8)> {
    let mut missed = Vec::new();
    let mut bad = new.to_vec();
    for (place, range) in places(new) {
        for at in range.clone() {
            for change in [1, 0x80, 0xff] {
                bad[at] ^= change;
                // An alignment of 0 is one of 1.
                let is_same = place.starts_with("alignment") && new[at] == 1 && change == 1;
                if !is_same && verify(old, &bad, changes).is_ok() {
                    missed.push((place.clone(), at - range.start, change));
                }
                bad[at] ^= change;
            }
        }
    }
    missed
}

#[test]
fn every_byte_that_is_changed_is_found() {
    for name in
        ["subprogs.o", "subprogs.be.o", "core.o", "pointers.o", "jump_table.o", "globals.o", "nobtf.o"]
    {
        let old = object(name);
        let (new, changes) = moved(&old);
        assert_verified(name, &old, &new, &changes);
        assert_eq!(missed(&old, &new, &changes), [], "{name}");
    }
    // What was deleted, and what was replaced.
    for name in ["subprogs.o", "core.o", "syscall.o", "tailcall.o"] {
        let old = object(name);
        let mut object = Object::parse(&old).unwrap();
        let mut changes = Vec::new();
        patch_recorded(&mut object, &[DCE, BLIND], Cpu::V4, &mut changes).unwrap();
        let new = object.write().unwrap();
        assert_verified(name, &old, &new, &changes);
        assert_eq!(missed(&old, &new, &changes), [], "{name}, patched");
    }
}

/// The file with two ranges of bytes of one length exchanged.
fn exchanged(data: &[u8], one: usize, other: usize, len: usize) -> Vec<u8> {
    let mut data = data.to_vec();
    let (low, high) = (one.min(other), one.max(other));
    let (head, tail) = data.split_at_mut(high);
    head[low..low + len].swap_with_slice(&mut tail[..len]);
    data
}

#[test]
fn what_is_exchanged_or_of_another_edit_is_found() {
    for name in ["subprogs.o", "core.o", "globals.o"] {
        let old = object(name);
        let (new, changes) = moved(&old);
        // The entries of tables, and instructions.
        for (place, range) in places(&new) {
            let entry = match place.as_str() {
                ".symtab" => 24,
                ".text" | "xdp" | "tc" => 8,
                // The relocations of records stand in any order.
                place if place.starts_with(".rel") && place != ".rel.BTF.ext" => 16,
                _ => continue,
            };
            for at in range.clone().step_by(entry).skip(1) {
                let before = at - entry;
                if new[before..at] != new[at..at + entry] {
                    let bad = exchanged(&new, before, at, entry);
                    assert!(verify(&old, &bad, &changes).is_err(), "{name}: {place}, {}", at - range.start);
                }
            }
        }
        assert!(verify(&old, &old, &changes).is_err());
        assert!(verify(&old, &new, &changes[1..]).is_err());
        assert!(verify(&old, &new, &[]).is_err());
        let twice: Vec<CodeChange> = changes.iter().chain(&changes).cloned().collect();
        assert!(verify(&old, &new, &twice).is_err());
        for len in 0..new.len() {
            assert!(verify(&old, &new[..len], &changes).is_err(), "{name}: {len} bytes");
        }
        let error = verify(&new[..100], &new, &changes).unwrap_err();
        assert!(matches!(error, VerifyError::Unreadable { is_old: true, .. }), "{error}");
        let error = verify(&old, &new[..100], &changes).unwrap_err();
        assert!(matches!(error, VerifyError::Unreadable { is_old: false, .. }), "{error}");
    }
}
