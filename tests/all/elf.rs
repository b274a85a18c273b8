//! ELF objects: what comes out is what went in, at its new place.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use relinear::bpf::{Bpf, Insn};
use relinear::elf::{Edit, ElfError, Note, Object, passes, patch};
use relinear::{Arena, Handle, Linear, List};

use crate::facts::{facts, is_debug, literal};

/// The no-op of [`facts`].
const NOP: &[Insn] = &[Insn::mov64_reg(9, 9)];
const NOPS: &[Insn] = &[NOP[0], NOP[0]];

/// Every object of the test data.
fn objects() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let list = |folder: &Path| std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = list(&folder).chain(list(&folder.join("elf"))).collect();
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
    object.replace_codes(
        edits.map(|(code, new)| Edit { code, insns: new.units.clone(), map: &new.map }).collect(),
    )
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

/// Names of functions, each with how many slots it has, whether by symbol or by `func_info`.
fn functions(object: &Object<'_>) -> Vec<(String, u32)> {
    let mut functions = Vec::new();
    for code in object.code() {
        let infos: Vec<_> = code.func_info().collect();
        assert_eq!(infos.len(), code.functions().len(), "{}", code.name());
        for (function, info) in code.functions().iter().zip(infos) {
            assert_eq!(info.slot, function.start);
            assert_eq!(object.btf().unwrap().function(info.type_id), Some(&*function.name));
            functions.push((function.name.to_string(), function.len));
        }
    }
    functions
}

fn lines<'a>(object: &'a Object<'_>, code: usize) -> Vec<(u32, &'a str)> {
    let btf = object.btf().unwrap();
    object.code()[code].line_info().map(|line| (line.slot, btf.string(line.text).unwrap())).collect()
}

fn delete(list: &mut List<'_, Bpf>, slots: std::ops::Range<u32>) {
    for handle in slots.map(Handle::new) {
        if list.is_live(handle) {
            list.delete(handle).unwrap();
        }
    }
}

/// The number of the code section, and the slots, of a function.
fn find(object: &Object<'_>, name: &str) -> (usize, std::ops::Range<u32>) {
    let all = object.code().iter().enumerate();
    let mut all =
        all.flat_map(|(code, section)| section.functions().iter().map(move |function| (code, function)));
    let (code, function) = all.find(|(_, function)| function.name == name).expect(name);
    (code, function.start..function.start + function.len)
}

#[test]
fn a_function_that_nothing_refers_to_can_go() {
    for name in ["subprogs.o", "subprogs.be.o"] {
        let data = object(name);
        let mut object = Object::parse(&data).unwrap();
        let before = functions(&object);
        let (text, range) = find(&object, "orphan");
        let mut expected = lines(&object, text);
        expected.retain(|(slot, _)| !range.contains(slot));
        for (slot, _) in &mut expected {
            if *slot >= range.end {
                *slot -= range.end - range.start;
            }
        }
        let expected: Vec<_> = expected.iter().map(|(slot, text)| (*slot, (*text).to_string())).collect();

        // By what the objects say, `orphan` is the only one.
        let unreached: Vec<_> = object.reachable().unreached().collect();
        assert_eq!(unreached.len(), 1, "{unreached:?}");
        assert_eq!(object.code()[unreached[0].code].subprogram_range(unreached[0].subprogram), range);

        edit_all(&mut object, |code, list| {
            if code == text {
                delete(list, range.clone());
            }
        })
        .unwrap();
        assert!(object.notes().contains(&Note::Removed { function: "orphan".into() }));
        let written = object.write().unwrap();
        let object = Object::parse(&written).unwrap();
        let after = functions(&object);
        assert_eq!(after, before.into_iter().filter(|(name, _)| name != "orphan").collect::<Vec<_>>());
        let found: Vec<_> =
            lines(&object, text).iter().map(|(slot, text)| (*slot, (*text).to_string())).collect();
        assert_eq!(found, expected);
        assert_eq!(object.reachable().unreached().count(), 0);
    }
}

#[test]
fn a_section_that_dce_leaves_nothing_of_is_clean() {
    let data = object("syscall.o");
    let mut object = Object::parse(&data).unwrap();
    let (text, range) = find(&object, "isqrt");
    assert_eq!(object.code()[text].program().insns.len(), range.len(), "its section has nothing else");
    edit_all(&mut object, |code, list| {
        if code != text {
            let last = list.iter().last().unwrap();
            list.replace(last, &[Insn::mov64_imm(0, 0), Insn::exit()][..]).unwrap();
            handles(list)
                .into_iter()
                .filter(|&handle| handle != last)
                .for_each(|at| list.delete(at).unwrap());
        }
    })
    .unwrap();
    let data = object.write().unwrap();
    let mut object = Object::parse(&data).unwrap();
    assert_eq!(object.check(), []);
    patch(&mut object, &[&passes::Dce]).unwrap();
    assert!(object.code()[text].program().insns.is_empty());
    assert_eq!(object.check(), []);
    let written = object.write().unwrap();
    let again = Object::parse(&written).unwrap();
    assert_eq!(again.check(), []);
    assert_eq!(again.code().len(), object.code().len() - 1, "what is empty is no code");
}

#[test]
fn what_something_refers_to_cannot_go() {
    // By a call with a relocation, by one without, by data, and by a callback's address.
    let cases = [
        ("subprogs.o", "scale"),
        ("subprogs.o", "mix"),
        ("pointers.o", "twice"),
        ("pointers.o", "global"),
        ("pointers.be.o", "other"),
        ("pointers.o", "step"),
    ];
    for (name, function) in cases {
        let data = object(name);
        let mut object = Object::parse(&data).unwrap();
        let (section, range) = find(&object, function);
        let result = edit_all(&mut object, |code, list| {
            if code == section {
                delete(list, range.clone());
            }
        });
        let error = result.expect_err(function);
        assert!(matches!(error, ElfError::Edit { .. } | ElfError::Symbol { .. }), "{error}");
        let unchanged = object.write().unwrap();
        assert_eq!(literal(&data), literal(&unchanged)[..literal(&data).len()], "{function}");
    }
}

#[test]
fn what_the_loader_rewrites_is_not_to_be_changed() {
    let data = object("core.o");
    let object = Object::parse(&data).unwrap();
    let code = &object.code()[0];
    let pinned: Vec<u32> =
        (0..).zip(&code.program().pinned).filter(|(_, pin)| **pin).map(|(slot, _)| slot).collect();
    let relocated = code.relocations().iter().map(|relocation| relocation.slot);
    let adapted = code.core_relos().map(|relo| relo.slot);
    let mut expected: Vec<u32> = relocated.chain(adapted).collect();
    expected.sort_unstable();
    let wide = |slot: &u32| code.program().insns[*slot as usize].is_wide();
    let seconds: Vec<u32> = expected.iter().copied().filter(wide).map(|slot| slot + 1).collect();
    assert_eq!(
        pinned,
        expected.iter().copied().chain(seconds).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>()
    );

    for slot in expected {
        let edit = |replace: bool| {
            let mut object = object.clone();
            edit_all(&mut object, |_, list| {
                let handle = Handle::new(slot);
                if replace { _ = list.replace(handle, NOP).unwrap() } else { list.delete(handle).unwrap() }
            })
            .map(|()| object.code()[0].relocations().len() + object.code()[0].core_relos().count())
        };
        assert!(matches!(edit(true), Err(ElfError::Edit { slot: at, .. }) if at == slot));
        assert_eq!(edit(false), Ok(code.relocations().len() + code.core_relos().count() - 1));
    }
}

/// Inserted code has no relocations, so a copy of an instruction that has one would mean something else.
#[test]
fn copies_of_relocated_instructions_are_refused() {
    let (mut loads, mut calls) = (0, 0);
    for (name, data) in objects() {
        let object = Object::parse(&data).unwrap();
        for (index, code) in object.code().iter().enumerate() {
            for relocation in code.relocations().iter().step_by(3) {
                let at = relocation.slot as usize;
                let insns = &code.program().insns;
                // What is left alone is not shown.
                if insns[at] != code.insn(relocation.slot) {
                    continue;
                }
                let copy = insns[at..at + insns[at].slots()].to_vec();
                if insns[at].is_call() {
                    calls += 1;
                } else {
                    loads += 1;
                }
                // Into its own section, and into another one.
                for target in [index, 0] {
                    let arena = Arena::new();
                    let old = &object.code()[target].program().insns;
                    if old.is_empty() {
                        continue;
                    }
                    let mut list = List::<Bpf>::new(&arena, old).unwrap();
                    list.prepend(Handle::new(0), &copy[..]).unwrap();
                    let new = list.linearize().unwrap();
                    let refused = object.clone().replace_code(target, new.units, &new.map).unwrap_err();
                    assert!(matches!(refused, ElfError::Edit { slot: 0, .. }), "{name}: {refused}");
                    assert!(
                        refused.to_string().contains("like an instruction with a relocation"),
                        "{refused}"
                    );
                }
            }
        }
    }
    assert!(loads > 30 && calls > 10, "{loads} {calls}");
}

#[test]
fn what_is_inserted_must_be_valid() {
    let data = object("subprogs.o");
    let edit = |object: &mut Object<'_>, inserted: &[Insn]| {
        let arena = Arena::new();
        let insns = object.code()[0].program().insns.clone();
        let mut list = List::<Bpf>::new(&arena, &insns).unwrap();
        list.append(Handle::new(1), inserted).unwrap();
        let new = list.linearize().unwrap();
        object.replace_code(0, new.units, &new.map)
    };
    let mov = NOP[0];
    for bad in [
        mov.with_off(3),
        mov.with_imm(1),
        mov.with_dst(11),
        Insn::new(0x8d, 0, 0, 0, 0),
        Insn::new(0x7b, 11, 1, -8, 0),
    ] {
        let mut object = Object::parse(&data).unwrap();
        let refused = edit(&mut object, &[mov, bad]).unwrap_err();
        let name = object.code()[0].name();
        let is_place = |section: &str, slot| section == name && slot == 1;
        assert!(
            matches!(&refused, ElfError::Insn { section, slot, .. } if is_place(section, *slot)),
            "{refused}"
        );
        assert_eq!(object.write().unwrap(), Object::parse(&data).unwrap().write().unwrap());
    }
}

#[test]
fn a_map_of_another_program_is_refused() {
    let data = object("subprogs.o");
    let mut object = Object::parse(&data).unwrap();
    let program = [Insn::mov64_imm(0, 0), Insn::exit()];
    let arena = Arena::new();
    let other = List::<Bpf>::new(&arena, &program).unwrap().linearize().unwrap();
    let refused = object.replace_code(0, other.units.clone(), &other.map);
    assert!(matches!(refused, Err(ElfError::Edit { .. })));
    let count = object.code().len();
    let refused = object.replace_code(count, other.units, &other.map);
    assert_eq!(refused, Err(ElfError::NoSuchCode { index: count, count }));
}

#[test]
fn jump_tables_are_read() {
    let data = object("jump_table.o");
    // By llvm-objdump: .La, .Lb, .Lc and .Ld.
    assert_eq!(Object::parse(&data).unwrap().jump_targets(0), Ok(vec![10, 12, 14, 15]));
}

/// Edits what can be edited, and writes. All that may not happen is a panic or an object out of all
/// proportion.
fn exercise(data: &[u8]) -> bool {
    let Ok(mut object) = Object::parse(data) else { return false };
    for (index, code) in object.code().iter().enumerate() {
        for relocation in code.relocations() {
            _ = object.referent(index, relocation);
        }
        let btf = object.btf();
        code.func_info().for_each(|info| _ = btf.and_then(|btf| btf.function(info.type_id)));
        code.core_relos().for_each(|relo| _ = btf.and_then(|btf| btf.access(&relo)));
        _ = object.jump_targets(index);
    }
    _ = object.reachable();
    for index in 0..object.code().len() {
        let insns = object.code()[index].program().insns.clone();
        let arena = Arena::new();
        let Ok(mut list) = List::<Bpf>::new(&arena, &insns) else { continue };
        for handle in handles(&list).into_iter().step_by(3) {
            list.prepend(handle, NOP).unwrap();
        }
        if let Ok(new) = list.linearize() {
            _ = object.replace_code(index, new.units, &new.map);
        }
    }
    if let Ok(written) = object.write() {
        assert!(written.len() <= 128 * data.len() + (2 << 20), "{} from {}", written.len(), data.len());
    }
    true
}

#[test]
fn damaged_objects_are_refused_or_survived() {
    let mut survivors = 0;
    for name in ["pointers.o", "pointers.be.o", "subprogs.be.o", "core.o", "jump_table.o"] {
        // Without the sections for debuggers: most damage would be to them, and nobody would mind.
        let data = object(name);
        let mut object = Object::parse(&data).unwrap();
        edit_all(&mut object, |_, list| _ = list.prepend(Handle::new(0), NOP).unwrap()).unwrap();
        let data = object.write().unwrap();
        let mut seed = 1u64;
        let mut random = |below: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(seed >> 33).unwrap() % below
        };
        for _ in 0..600 {
            let mut damaged = data.clone();
            for _ in 0..=random(3) {
                let at = random(damaged.len());
                match random(4) {
                    0 => damaged.truncate(at.max(1)),
                    1 => damaged[at] = [0, 1, 7, 0x7f, 0x80, 0xff][random(6)],
                    2 => damaged[at] ^= 1 << random(8),
                    _ => {
                        let from = random(damaged.len()) & !7;
                        let (from, to, len) = (from, at & !7, 8.min(damaged.len() - from.max(at & !7)));
                        damaged.copy_within(from..from + len, to);
                    }
                }
            }
            survivors += usize::from(exercise(&damaged));
        }
    }
    assert!(survivors > 100, "{survivors}: the damage is too great to test what comes after the reader");
}

#[test]
fn the_error_says_where() {
    let data = object("nobtf.o");
    let fails = |data: &[u8], expected: &str| {
        let error = Object::parse(data).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    fails(b"MZ", "no ELF magic number");
    fails(&data[..40], "shorter than an ELF header");
    fails(&data[..data.len() - 1], "section headers beyond the end");
    let change = |at: usize, byte: u8| {
        let mut data = data.clone();
        data[at] = byte;
        data
    };
    fails(&change(4, 1), "not a 64-bit ELF file");
    fails(&change(5, 3), "unknown byte order");
    fails(&change(16, 4), "not a relocatable object");
    fails(&change(16, 2), "a linked program");
    fails(&change(18, 62), "made for another machine");
    fails(b"BC\xc0\xde and more", "LLVM bitcode");
    fails(b"\xde\xc0\x17\x0b and more", "LLVM bitcode");
    // Solana's tools make shared objects, for a machine number of their own since 2024.
    let mut solana = change(16, 3);
    fails(&solana, "Solana");
    solana[18..20].copy_from_slice(&263_u16.to_le_bytes());
    fails(&solana, "Solana");
}
