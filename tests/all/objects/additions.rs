//! What is added to objects, and code that refers to it: written, read back, loaded and run.

use relinear::bpf::Insn;
use relinear::elf::{
    CodeSection, Data, ElfError, Extern, ExternKind, FunctionDef, MapDef, Object, ObjectEditor, Reference,
    SymbolId,
};
use relinear::{Arena, Handle, Patch};

use super::{OTHER_LOADERS, ask, objects};

/// A kind of addition: what adds it, which gives the symbol that programs then refer to.
type Add = fn(&mut ObjectEditor<'_, '_>) -> Result<SymbolId, ElfError>;

const KINDS: [(&str, Add); 9] = [
    ("a static variable", |edit| edit.add_data(&Data::zeroed("added", 8))),
    ("a described variable", |edit| edit.add_data(&Data::zeroed("added", 8).described())),
    ("a global variable", |edit| edit.add_data(&Data::zeroed("added", 8).global().described())),
    ("a variable of .data", |edit| edit.add_data(&Data::new("added", vec![7; 4]).section(".data").global())),
    ("a variable of .rodata", |edit| edit.add_data(&Data::new("added", vec![7; 4]).section(".rodata"))),
    ("a variable of .bss", |edit| edit.add_data(&Data::zeroed("added", 8).section(".bss").global())),
    ("a map", |edit| edit.add_map(&MapDef::new("added", 1, 4, 8, 16))),
    ("a function", |edit| {
        let code = [Insn::mov64_reg(0, 1), Insn::exit()];
        Ok(edit.add_function(&FunctionDef::new("added", 1), Patch::new(&code))?.symbol)
    }),
    ("a weak kernel variable", |edit| {
        let kind = ExternKind::Variable { type_id: 0 };
        edit.add_extern(&Extern { name: "no_such_variable", kind, weak: true })
    }),
];

/// The object with one addition, which every program refers to at its start.
fn with_addition(file: &[u8], what: &str, add: Add) -> Vec<u8> {
    let fail = |error: ElfError| -> ! { panic!("{what}: {error}") };
    let mut object = Object::parse(file).unwrap_or_else(|error| fail(error));
    let arena = Arena::new();
    let mut edit = object.edit(&arena);
    let symbol = add(&mut edit).unwrap_or_else(|error| fail(error));
    let [low, high] = Insn::ld_imm64(0, 0);
    let (load, call) = (vec![low, high], Insn::call_kfunc(0));
    let call = vec![Insn::mov64_reg(6, 1), Insn::mov64_imm(1, 3), call, Insn::mov64_reg(1, 6)];
    for index in 0..edit.object().code().len() {
        if edit.object().code()[index].name() == ".text" {
            continue;
        }
        let (units, at, reference) = if what.ends_with("a function") {
            (&call, 2, Reference::call(symbol))
        } else {
            (&load, 0, Reference::address(symbol, 0))
        };
        let code = edit.code(index).unwrap_or_else(|error| fail(error));
        let new = code.list().prepend_fallthrough(Handle::new(0), Patch::new(units)).expect("there is room");
        code.refer(new.at(at), reference).expect("it was just inserted");
    }
    let change = edit.finish().unwrap_or_else(|error| fail(error));
    object.commit(change).unwrap_or_else(|error| fail(error));
    object.write().unwrap_or_else(|error| fail(error))
}

#[test]
fn additions_are_read_back() {
    for (name, file) in objects() {
        let before = Object::parse(&file).expect("ours can be read").check().len();
        for (kind, add) in KINDS {
            let what = format!("{name} with {kind}");
            let bytes = with_addition(&file, &what, add);
            let object = Object::parse(&bytes).unwrap_or_else(|error| panic!("{what}: {error}"));
            let findings = object.check();
            assert!(findings.len() <= before, "{what}: {findings:?}");
            let added = if kind.starts_with("a weak") { "no_such_variable" } else { "added" };
            let symbol = object.symbol(added).unwrap_or_else(|| panic!("{what}: no symbol {added}"));
            let mut references = object.code().iter().flat_map(CodeSection::relocations);
            assert!(references.any(|relocation| relocation.symbol == symbol.id().index()), "{what}");
        }
    }
}

#[test]
fn objects_with_additions_answer_as_before() {
    for (name, file) in objects() {
        if OTHER_LOADERS.contains(&name.as_str()) {
            continue;
        }
        let Some(expected) = ask(&file, &name) else { return };
        for (kind, add) in KINDS {
            // aya takes no kernel variables.
            if kind.starts_with("a weak") {
                continue;
            }
            let what = format!("{name} with {kind}");
            let Some(found) = ask(&with_addition(&file, &what, add), &what) else { return };
            for (found, expected) in found.outcomes.iter().zip(&expected.outcomes) {
                assert_eq!(found, expected, "{what}");
            }
        }
    }
}

#[test]
fn an_object_that_was_changed_refuses_a_change_of_before() {
    let (_, file) = objects().swap_remove(0);
    let mut object = Object::parse(&file).expect("ours can be read");
    let arena = Arena::new();
    let changes: Vec<_> = ["one", "two"]
        .into_iter()
        .map(|name| {
            let mut edit = object.edit(&arena);
            edit.add_data(&Data::zeroed(name, 8)).expect("the name is free");
            edit.finish().expect("it fits")
        })
        .collect();
    let mut changes = changes.into_iter();
    object.commit(changes.next().expect("two")).expect("it is the first");
    let error = object.commit(changes.next().expect("two")).expect_err("it is of before");
    assert_eq!(error, ElfError::Stale);
    assert!(object.symbol("one").is_some() && object.symbol("two").is_none());
    // What was added can be added to.
    let mut edit = object.edit(&arena);
    edit.add_data(&Data::zeroed("two", 8).described()).expect("the name is free");
    let change = edit.finish().expect("it fits");
    object.commit(change).expect("it is the last");
    let written = object.write().expect("it can be written");
    let again = Object::parse(&written).expect("it can be read");
    assert!(again.symbol("one").is_some() && again.symbol("two").is_some());
}
