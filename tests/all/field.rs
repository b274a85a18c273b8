//! Objects as the field has them, and hand-made ones of the same kinds: read, patched, written.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use object::{Object as _, ObjectComdat as _, ObjectSection as _, RelocationTarget};
use relinear::bpf::{Endian, Insn, encode};
use relinear::elf::passes::{Blind, Dce};
use relinear::elf::{ElfError, Evidence, Note, Object, Part, Pass, Unanalysed, patch};

const PROGBITS: u32 = 1;
const SYMTAB: u32 = 2;
const STRTAB: u32 = 3;
const RELA: u32 = 4;
const REL: u32 = 9;
const GROUP: u32 = 17;
/// LLVM's sections of bitcode for optimization while linking: of no type that a loader knows.
const LLVM_LTO: u32 = 0x6fff_4c0c;
const CODE: u64 = 6;
const LINK_ORDER: u64 = 0x80;
const IN_GROUP: u64 = 0x200;

const OBJECT: u8 = 1;
const FUNC: u8 = 2;
const SECTION: u8 = 3;
const GLOBAL: u8 = 0x10;

/// A section to make: the first one has number 1.
#[derive(Clone, Default)]
struct Made {
    name: &'static str,
    kind: u32,
    flags: u64,
    link: u32,
    info: u32,
    data: Vec<u8>,
}

/// A symbol to make: name, type and binding, section, value, size. The first one has number 1.
type Symbol = (&'static str, u8, u16, u64, u64);

fn code(name: &'static str, insns: &[Insn]) -> Made {
    Made { name, kind: PROGBITS, flags: CODE, data: encode(insns, Endian::Little), ..Made::default() }
}

fn data(name: &'static str, data: Vec<u8>) -> Made {
    Made { name, kind: PROGBITS, flags: 3, data, ..Made::default() }
}

/// Relocations of section `of`: offset, symbol, type. The symbol table comes last but two.
fn rel(of: u32, symtab: u32, relocs: &[(u64, u64, u64)]) -> Made {
    let words = relocs.iter().flat_map(|&(at, symbol, kind)| [at, symbol << 32 | kind]);
    let data = words.flat_map(u64::to_le_bytes).collect();
    Made { name: ".rel", kind: REL, link: symtab, info: of, data, ..Made::default() }
}

fn rela(of: u32, symtab: u32, relocs: &[(u64, u64, u64, i64)]) -> Made {
    let words = relocs
        .iter()
        .flat_map(|&(at, symbol, kind, addend)| [at, symbol << 32 | kind, addend.cast_unsigned()]);
    let data = words.flat_map(u64::to_le_bytes).collect();
    Made { name: ".rela", kind: RELA, link: symtab, info: of, data, ..Made::default() }
}

/// The file of an object: the sections, then `.symtab` and `.strtab`, which has all names.
fn object(mut sections: Vec<Made>, symbols: &[Symbol]) -> Vec<u8> {
    let mut names = vec![0];
    let mut name = |text: &str| {
        let at = u32::try_from(names.len()).unwrap();
        names.extend(text.bytes().chain([0]));
        at
    };
    let mut table = vec![0; 24];
    let locals = symbols.iter().take_while(|symbol| symbol.1 < GLOBAL).count();
    for &(text, info, section, value, size) in symbols {
        table.extend(name(text).to_le_bytes());
        table.extend([info, 0]);
        table.extend(section.to_le_bytes());
        table.extend(value.to_le_bytes());
        table.extend(size.to_le_bytes());
    }
    let strings = u32::try_from(sections.len() + 2).unwrap();
    let info = u32::try_from(locals + 1).unwrap();
    sections.push(Made {
        name: ".symtab",
        kind: SYMTAB,
        link: strings,
        info,
        data: table,
        ..Made::default()
    });
    sections.push(Made { name: ".strtab", kind: STRTAB, ..Made::default() });
    let starts: Vec<u32> = sections.iter().map(|section| name(section.name)).collect();
    sections.last_mut().unwrap().data = names;
    let mut file = vec![0; 64];
    let mut headers = vec![0; 64];
    for (section, name) in sections.iter().zip(starts) {
        let entsize: u64 = match section.kind {
            SYMTAB | RELA => 24,
            REL => 16,
            _ => 0,
        };
        headers.extend(name.to_le_bytes());
        headers.extend(section.kind.to_le_bytes());
        headers.extend(section.flags.to_le_bytes());
        headers.extend([0; 8]);
        headers.extend((file.len() as u64).to_le_bytes());
        headers.extend((section.data.len() as u64).to_le_bytes());
        headers.extend(section.link.to_le_bytes());
        headers.extend(section.info.to_le_bytes());
        headers.extend(8_u64.to_le_bytes());
        headers.extend(entsize.to_le_bytes());
        file.extend(&section.data);
        file.resize(file.len().next_multiple_of(8), 0);
    }
    let count = u16::try_from(sections.len()).unwrap();
    file[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    file[16..24].copy_from_slice(&[1, 0, 247, 0, 1, 0, 0, 0]);
    let at = file.len() as u64;
    file[40..48].copy_from_slice(&at.to_le_bytes());
    file[52] = 64;
    file[58] = 64;
    file[60..62].copy_from_slice(&(count + 1).to_le_bytes());
    file[62..64].copy_from_slice(&count.to_le_bytes());
    file.extend(headers);
    file
}

const MOV: Insn = Insn::mov64_imm(0, 7);
const BLINDED: Insn = Insn::mov64_imm(0, 70_000);
const EXIT: Insn = Insn::exit();

fn both() -> Vec<&'static dyn Pass> {
    const BLIND: &Blind = &Blind::new();
    vec![&Dce, BLIND]
}

fn field() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/field");
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = entries.filter(|path| path.extension().is_some_and(|of| of == "o")).collect();
    paths.sort();
    assert!(paths.len() >= 9);
    let name = |path: &Path| path.file_stem().unwrap().to_string_lossy().into_owned();
    paths.iter().map(|path| (name(path), std::fs::read(path).unwrap())).collect()
}

fn named(name: &str) -> Vec<u8> {
    field().into_iter().find(|(found, _)| found == name).unwrap().1
}

/// Section, name and size of every function; sizes only where they are those of functions that are left alone.
fn functions(object: &Object<'_>) -> BTreeSet<(String, String)> {
    let of = |code: &relinear::elf::CodeSection| {
        let name = code.name().to_owned();
        code.functions()
            .iter()
            .map(move |function| (name.clone(), function.name.to_string()))
            .collect::<Vec<_>>()
    };
    object.code().iter().flat_map(of).collect()
}

#[test]
fn every_object_is_patched_and_nothing_live_is_gone() {
    for (name, file) in field() {
        let passes = both();
        for passes in [&passes[..1], &passes[1..], &passes[..]] {
            let mut object = Object::parse(&file).unwrap_or_else(|error| panic!("{name}: {error}"));
            let before = functions(&object);
            let findings = object.check();
            patch(&mut object, passes).unwrap_or_else(|error| panic!("{name}: {error}"));
            let written = object.write().unwrap();
            let again = Object::parse(&written).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(functions(&again), before, "{name}");
            assert_eq!(again.check().len(), findings.len(), "{name}");
            for (index, code) in again.code().iter().enumerate() {
                assert_eq!(code.program(), object.code()[index].program(), "{name}");
            }
        }
    }
}

/// Loads all programs of an object with bpftool, in a file system for them of its own.
fn load(file: &[u8]) -> Result<(), String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("object.o");
    std::fs::write(&path, file).unwrap();
    let mount = dir.path().join("bpf");
    std::fs::create_dir(&mount).unwrap();
    let run = |command: &mut Command| {
        let out = command.output().map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&out.stderr).into_owned();
        if out.status.success() { Ok(()) } else { Err(text) }
    };
    run(Command::new("mount").args(["-t", "bpf", "none"]).arg(&mount))
        .map_err(|error| format!("mount: {error}"))?;
    let loaded = run(Command::new("bpftool").args(["prog", "loadall"]).arg(&path).arg(mount.join("all")));
    run(Command::new("umount").arg(&mount)).unwrap();
    loaded
}

#[test]
fn what_loads_still_loads() {
    let mut loaded = 0;
    for (name, file) in field() {
        if let Err(error) = load(&file) {
            let last = error.lines().last().unwrap_or_default();
            eprintln!("skipped: {name} does not load here as it is: {last}");
            continue;
        }
        loaded += 1;
        let passes = both();
        for passes in [&passes[..1], &passes[1..], &passes[..]] {
            let mut object = Object::parse(&file).unwrap();
            patch(&mut object, passes).unwrap();
            load(&object.write().unwrap()).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
    if loaded == 0 {
        eprintln!("skipped: no object loads here");
    }
}

/// The name of the function that a relocation in the first instructions of a section calls.
fn callees(object: &Object<'_>, section: &str) -> Vec<u32> {
    let index = object.code().iter().position(|code| code.name() == section).unwrap();
    let relocations = object.code()[index].relocations().iter();
    let slot = |relocation| match object.referent(index, relocation) {
        relinear::elf::Referent::Code { slot, .. } => Some(slot),
        _ => None,
    };
    relocations.filter_map(slot).collect()
}

#[test]
fn a_symbol_without_a_type_names_a_function() {
    let file = named("notype_call");
    let mut object = Object::parse(&file).unwrap();
    let text = &object.code()[0];
    let before = text.program().insns.clone();
    let evidence: Vec<_> =
        text.program().subprogs.iter().copied().zip(text.parts().iter().copied()).collect();
    let function = Part::Function;
    let expected = [
        (0, function(Evidence::Symbol)),
        (2, function(Evidence::UntypedSymbol)),
        (5, function(Evidence::Symbol)),
    ];
    assert_eq!(evidence, expected);
    patch(&mut object, &both()[..1]).unwrap();
    assert_eq!(callees(&object, "tc"), [2]);
    assert_eq!(object.code()[0].program().insns, before, "nothing was dead");
}

/// Calls of `.text` by addends and by displacements, as `llvm-strip -x` leaves them: no symbol says where the two
/// local functions start.
fn stripped() -> Vec<u8> {
    let text = [
        // global, at 0; two that nothing names, at 2 and 4; one at 7 that the second of them calls.
        MOV,
        EXIT,
        MOV,
        EXIT,
        Insn::call_local(2),
        MOV,
        EXIT,
        MOV,
        EXIT,
    ];
    let tc = [Insn::call_local(3), EXIT];
    let symbols =
        [("", SECTION, 1, 0, 0), ("global", GLOBAL | FUNC, 1, 0, 16), ("m", GLOBAL | FUNC, 2, 0, 16)];
    object(vec![code(".text", &text), code("tc", &tc), rel(2, 4, &[(0, 1, 10)])], &symbols)
}

#[test]
fn calls_name_functions() {
    let file = stripped();
    let mut object = Object::parse(&file).unwrap();
    assert_eq!(object.check(), []);
    let text = &object.code()[0];
    assert_eq!(text.program().subprogs, [0, 2, 4, 7]);
    assert_eq!(text.parts()[1], Part::Between, "nothing refers to it");
    assert_eq!(text.parts()[2..], [Part::Function(Evidence::Call); 2]);
    patch(&mut object, &both()).unwrap();
    let written = object.write().unwrap();
    let again = Object::parse(&written).unwrap();
    assert_eq!(again.check(), []);
    assert_eq!(again.code()[0].parts(), object.code()[0].parts());
    let callee = callees(&again, "tc");
    let text = &again.code()[0];
    assert_eq!(text.program().subprogs[2], callee[0]);
    // What nothing refers to is as it was.
    let start = text.program().subprogs[1];
    assert_eq!([text.insn(start), text.insn(start + 1)], [MOV, EXIT]);
}

#[test]
fn padding_stays_behind_what_it_was_behind() {
    let pad = Insn::new(0, 0, 0, 0x1500, 0);
    let text = [BLINDED, EXIT, pad, pad, BLINDED, EXIT];
    let symbols = [("a", GLOBAL | FUNC, 1, 0, 16), ("b", GLOBAL | FUNC, 1, 32, 16)];
    let file = object(vec![code(".text", &text)], &symbols);
    let mut object = Object::parse(&file).unwrap();
    assert_eq!(object.check(), []);
    assert_eq!(object.notes(), []);
    assert_eq!(object.code()[0].parts()[1], Part::Between);
    patch(&mut object, &both()).unwrap();
    let written = object.write().unwrap();
    let again = Object::parse(&written).unwrap();
    let text = &again.code()[0];
    let [a, b] = [&text.functions()[0], &text.functions()[1]];
    assert!(a.len > 2 && b.len > 2, "they were blinded");
    assert_eq!(b.start, a.start + a.len + 2);
    let between: Vec<Insn> = (a.len..b.start).map(|slot| text.insn(slot)).collect();
    assert_eq!(between, [pad, pad]);
}

/// A function that falls off its end, calls and jumps out of itself, with one to blind before it and behind it.
fn odd() -> Vec<u8> {
    let text = [
        BLINDED,
        EXIT,
        // The odd one, at 2: a call of the first, one of the last, a jump to the start of the last, and no end.
        Insn::call_local(-3),
        Insn::call_local(2),
        Insn::jmp_imm(0x10, 0, 0, 1),
        Insn::new(0xff, 1, 2, 3, 4),
        BLINDED,
        EXIT,
    ];
    let symbols = [("a", FUNC, 1, 0, 16), ("odd", GLOBAL | FUNC, 1, 16, 32), ("b", GLOBAL | FUNC, 1, 48, 16)];
    object(vec![code(".text", &text)], &symbols)
}

#[test]
fn an_odd_function_is_left_alone_and_its_references_follow() {
    let file = odd();
    let mut object = Object::parse(&file).unwrap();
    assert_eq!(object.check(), [], "no program refers to it");
    assert!(matches!(object.notes(), [Note::LeftAlone { code: 0, slot: 5, .. }]), "{:?}", object.notes());
    let text = object.notes()[0].to_string();
    assert!(text.contains("slot 5") && text.contains("no instruction has the code 0xff"), "{text}");
    let mut strict = object.clone();
    strict.strict(true);
    let error = patch(&mut strict, &both()).unwrap_err().to_string();
    assert!(error.contains("function odd") && error.contains("0xff"), "{error}");

    patch(&mut object, &both()).unwrap();
    let written = object.write().unwrap();
    let again = Object::parse(&written).unwrap();
    let text = &again.code()[0];
    let [a, odd, b] = [0, 1, 2].map(|index| &text.functions()[index]);
    assert_eq!((odd.len, a.start), (4, 0));
    assert!(a.len > 2, "it was blinded, and stays though only the odd one calls it");
    let at = |slot: u32| odd.start + slot;
    let relative =
        |slot: u32, target: u32| i32::try_from(target).unwrap() - i32::try_from(at(slot) + 1).unwrap();
    assert_eq!(text.insn(at(0)), Insn::call_local(relative(0, a.start)));
    assert_eq!(text.insn(at(1)), Insn::call_local(relative(1, b.start)));
    assert_eq!(i32::from(text.insn(at(2)).off), relative(2, b.start));
    assert_eq!(text.insn(at(3)), Insn::new(0xff, 1, 2, 3, 4));
}

#[test]
fn a_function_that_an_odd_one_jumps_into_is_left_alone() {
    let text = [Insn::jmp_imm(0x10, 0, 0, 2), EXIT, BLINDED, BLINDED, EXIT];
    let symbols = [("odd", GLOBAL | FUNC, 1, 0, 16), ("entered", GLOBAL | FUNC, 1, 16, 24)];
    let file = object(vec![code(".text", &text)], &symbols);
    let mut object = Object::parse(&file).unwrap();
    assert!(matches!(object.code()[0].parts()[1], Part::LeftAlone(_, Unanalysed::Entered(3))));
    let mut strict = object.clone();
    strict.strict(true);
    assert!(patch(&mut strict, &both()).is_err());
    patch(&mut object, &both()).unwrap();
    assert_eq!(object.write().unwrap(), Object::parse(&file).unwrap().write().unwrap());
}

#[test]
fn a_program_that_is_wrong_is_a_finding_unless_it_is_optional() {
    let file = |name| object(vec![code(name, &[MOV])], &[("m", GLOBAL | FUNC, 1, 0, 8)]);
    let loaded = file("tc");
    let findings = Object::parse(&loaded).unwrap().check();
    assert_eq!(findings.len(), 1);
    assert!(findings[0].message.contains("falls off the end"), "{}", findings[0].message);
    let optional = file("?tc");
    let optional = Object::parse(&optional).unwrap();
    assert_eq!(optional.check(), []);
    assert_eq!(optional.notes().len(), 1);
}

#[test]
fn contradictions_about_boundaries_are_refused_with_the_place() {
    let text = [MOV, MOV, MOV, EXIT, MOV, EXIT];
    let call = [Insn::call_local(0), EXIT];
    let a = ("a", GLOBAL | FUNC, 1, 0, 32);
    let cases: [(Vec<Symbol>, u32, &str); 4] = [
        (vec![a, ("inner", GLOBAL | FUNC, 1, 16, 32)], 2, "the symbol of a function"),
        (vec![a, ("inner", GLOBAL, 1, 8, 0)], 1, "a symbol without a type"),
        (vec![a, ("other", GLOBAL | FUNC, 1, 0, 48)], 0, "two sizes"),
        (vec![a, ("m", GLOBAL | FUNC, 2, 0, 16)], 1, "a call"),
    ];
    for (mut symbols, slot, what) in cases {
        symbols.insert(0, ("", SECTION, 1, 0, 0));
        let relocs: &[_] = if what == "a call" { &[(0, 1, 10)] } else { &[] };
        let file = object(vec![code(".text", &text), code("tc", &call), rel(2, 4, relocs)], &symbols);
        let mut object = Object::parse(&file).unwrap();
        let findings = object.check();
        assert!(
            findings.iter().any(|of| of.slot == slot && of.message.contains(what)),
            "{what}: {findings:?}"
        );
        for pass in both() {
            let error = patch(&mut object, &[pass]).unwrap_err().to_string();
            let place = format!("slot {slot}");
            assert!(error.contains(&place) && error.contains("piece of evidence"), "{what}: {error}");
        }
        assert_eq!(object.write().unwrap(), Object::parse(&file).unwrap().write().unwrap(), "{what}");
    }
}

#[test]
fn relocations_with_addends_move() {
    let text = [BLINDED, EXIT, BLINDED, EXIT];
    let symbols = [("", SECTION, 1, 0, 0), ("a", GLOBAL | FUNC, 1, 0, 16), ("b", GLOBAL | FUNC, 1, 16, 16)];
    let sections = vec![
        code(".text", &text),
        code("tc", &[Insn::call_local(-1), EXIT]),
        data(".data", vec![0; 16]),
        rela(2, 6, &[(0, 1, 10, 16)]),
        rela(3, 6, &[(8, 1, 2, 16)]),
    ];
    let file = object(sections, &symbols);
    let mut object = Object::parse(&file).unwrap();
    assert_eq!(object.check(), []);
    assert_eq!(callees(&object, "tc"), [2]);
    patch(&mut object, &both()).unwrap();
    let written = object.write().unwrap();
    let again = Object::parse(&written).unwrap();
    let b = again.code()[0].functions().iter().find(|function| function.name == "b").unwrap().start;
    assert!(b > 2);
    assert_eq!(callees(&again, "tc"), [b]);
    let read = object::File::parse(&*written).unwrap();
    let relocs: Vec<_> = read.section_by_name(".data").unwrap().relocations().collect();
    assert_eq!(relocs.len(), 1);
    assert_eq!((relocs[0].0, relocs[0].1.addend()), (8, i64::from(b) * 8));
    assert!(matches!(relocs[0].1.target(), RelocationTarget::Symbol(symbol) if symbol.0 == 1));
}

#[test]
fn old_relocations_of_data_move() {
    let text = [BLINDED, EXIT, BLINDED, EXIT];
    let symbols = [("", SECTION, 1, 0, 0), ("a", GLOBAL | FUNC, 1, 0, 16)];
    let mut maps = vec![0; 16];
    maps[8] = 16;
    let sections = vec![code("tc", &text), data(".maps", maps), rel(2, 4, &[(8, 1, 1)])];
    let file = object(sections, &symbols);
    let mut object = Object::parse(&file).unwrap();
    assert_eq!(object.code()[0].program().subprogs, [0, 2], "an address is evidence");
    patch(&mut object, &both()).unwrap();
    let written = object.write().unwrap();
    let read = object::File::parse(&*written).unwrap();
    let found =
        u64::from_le_bytes(read.section_by_name(".maps").unwrap().data().unwrap()[8..].try_into().unwrap());
    assert_eq!(found, u64::from(object.code()[0].program().subprogs[1]) * 8);
    assert!(found > 16);
}

/// A table in a code section, of the addresses of the function that comes next and of itself.
#[test]
fn a_table_between_functions_is_data_and_moves() {
    let text = [BLINDED, EXIT, Insn::new(40, 0, 0, 0, 0), Insn::new(16, 0, 0, 0, 0), BLINDED, BLINDED, EXIT];
    let main = [Insn::ld_imm64(1, 0).to_vec(), vec![MOV, EXIT]].concat();
    let symbols = [
        ("", SECTION, 1, 0, 0),
        ("table", OBJECT, 1, 16, 16),
        ("a", GLOBAL | FUNC, 1, 0, 16),
        ("b", GLOBAL | FUNC, 1, 32, 24),
        ("m", GLOBAL | FUNC, 2, 0, 32),
    ];
    let sections = vec![
        code(".text", &text),
        code("tc", &main),
        rel(1, 5, &[(16, 1, 2), (24, 1, 2)]),
        rel(2, 5, &[(0, 2, 1)]),
    ];
    let file = object(sections, &symbols);
    let mut object = Object::parse(&file).unwrap();
    assert_eq!(object.check(), []);
    let parts = object.code()[0].parts();
    assert_eq!(parts[1], Part::Between);
    // 40 is in the middle of b: a label, so that b has to stay as it is.
    assert!(matches!(parts[2], Part::LeftAlone(_, Unanalysed::Entered(5))), "{parts:?}");
    patch(&mut object, &both()).unwrap();
    let written = object.write().unwrap();
    let again = Object::parse(&written).unwrap();
    let text = &again.code()[0];
    let (a, b) = (&text.functions()[0], &text.functions()[1]);
    assert!(a.len > 2);
    let table = a.len;
    assert_eq!(b.start, table + 2);
    let word = |slot: u32| u64::from_le_bytes(text.insn(slot).to_bytes(Endian::Little));
    assert_eq!([word(table), word(table + 1)], [u64::from(b.start + 1) * 8, u64::from(table) * 8]);
    assert_eq!(callees(&again, "tc"), [table]);
}

#[test]
fn sections_that_no_loader_reads_pass_or_go() {
    let sections = vec![
        code(".text", &[BLINDED, EXIT]),
        Made { name: ".llvm.lto", kind: LLVM_LTO, data: vec![7; 24], ..Made::default() },
        rel(2, 6, &[(1 << 40, 1, 77)]),
        Made { name: ".debug_x", kind: PROGBITS, data: vec![1; 8], ..Made::default() },
        Made {
            name: ".linked",
            kind: PROGBITS,
            flags: LINK_ORDER,
            link: 4,
            data: vec![2; 8],
            ..Made::default()
        },
    ];
    let file = object(sections, &[("a", GLOBAL | FUNC, 1, 0, 16)]);
    let mut object = Object::parse(&file).unwrap();
    assert_eq!(object.check(), []);
    let names = |file: &[u8]| -> Vec<String> {
        let read = object::File::parse(file).unwrap();
        read.sections().map(|section| section.name().unwrap().to_owned()).collect()
    };
    let untouched = object.write().unwrap();
    assert_eq!(names(&untouched)[..5], [".text", ".llvm.lto", ".rel", ".debug_x", ".linked"]);
    patch(&mut object, &both()).unwrap();
    let written = object.write().unwrap();
    assert_eq!(names(&written)[..2], [".text", ".linked"], "what it was linked for is gone, and it is not");
    for section in [".llvm.lto", ".debug_x"] {
        assert!(object.notes().contains(&Note::Dropped { section: section.into() }), "{section}");
    }
    assert!(Object::parse(&written).is_ok());
}

/// An inline function of C++: a section of its own, in a group that its symbol names.
fn grouped() -> Vec<u8> {
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    let sections = vec![
        code(".text", &[BLINDED, EXIT]),
        Made { name: ".debug_x", kind: PROGBITS, data: vec![1; 8], ..Made::default() },
        Made { name: ".group", kind: GROUP, link: 5, info: 3, data: words(&[1, 4, 2]), ..Made::default() },
        Made { flags: CODE | IN_GROUP, ..code(".text._Z1fv", &[BLINDED, EXIT]) },
    ];
    let symbols = [
        ("gone", SECTION, 2, 0, 0),
        ("a", GLOBAL | FUNC, 1, 0, 16),
        ("_Z1fv", GLOBAL | 0x10 | FUNC, 4, 0, 16),
    ];
    object(sections, &symbols)
}

#[test]
fn groups_move() {
    let file = grouped();
    let mut object = Object::parse(&file).unwrap();
    assert_eq!(object.check(), []);
    patch(&mut object, &both()).unwrap();
    let written = object.write().unwrap();
    let read = object::File::parse(&*written).unwrap();
    let groups: Vec<_> = read.comdats().collect();
    assert_eq!(groups.len(), 1);
    assert_eq!(groups[0].name(), Ok("_Z1fv"));
    let members: Vec<_> = groups[0].sections().map(|index| read.section_by_index(index).unwrap()).collect();
    assert_eq!(members.iter().map(|section| section.name().unwrap()).collect::<Vec<_>>(), [".text._Z1fv"]);
    assert!(Object::parse(&written).is_ok());
}

#[test]
fn a_relocation_past_the_end_stays_past_the_end() {
    let file = named("lib_gcc");
    let mut object = Object::parse(&file).unwrap();
    assert_eq!(object.check(), []);
    assert!(matches!(object.notes(), [Note::LeftAlone { slot: 13, .. }]), "{:?}", object.notes());
    let beyond = |object: &Object<'_>| {
        let text = &object.code()[0];
        let lib1 = text.functions().iter().find(|function| function.name == "lib1").unwrap().start;
        let relocation = text.relocations()[0];
        let target = i64::from(lib1) + i64::from(text.insn(relocation.slot).imm) + 1;
        target - i64::try_from(text.program().insns.len()).unwrap()
    };
    let before = beyond(&object);
    assert!(before > 0);
    patch(&mut object, &both()).unwrap();
    assert_eq!(beyond(&object), before);
    let mut strict = Object::parse(&file).unwrap();
    strict.strict(true);
    let error = patch(&mut strict, &both()).unwrap_err().to_string();
    assert!(error.contains("past the end") && error.contains("slot 13"), "{error}");
}

#[test]
fn malformed_objects_are_refused_with_a_reason() {
    let a = ("a", GLOBAL | FUNC, 1, 0, 16);
    let text = || code(".text", &[MOV, EXIT]);
    let wide = || code(".text", &[&Insn::ld_imm64(1, 0)[..], &[MOV, EXIT]].concat());
    let all = ("a", GLOBAL | FUNC, 1, 0, 32);
    let of =
        |kind, link, info, data: Vec<u8>| Made { name: ".made", kind, link, info, data, ..Made::default() };
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (object(vec![text(), of(REL, 3, 1, vec![0; 15])], &[a]), "not a whole number of relocations"),
        (object(vec![text(), of(RELA, 3, 1, vec![0; 16])], &[a]), "not a whole number of relocations"),
        (object(vec![text(), of(GROUP, 3, 1, vec![0; 3])], &[a]), "not a whole number of sections"),
        (object(vec![text(), of(GROUP, 3, 9, vec![0; 4])], &[a]), "a group of sections without a symbol"),
        (
            object(vec![text(), of(GROUP, 3, 1, vec![9; 8])], &[a]),
            "a group has a section that does not exist",
        ),
        (object(vec![text(), of(STRTAB, 99, 0, vec![])], &[a]), "links to a section that does not exist"),
        (object(vec![text(), rel(9, 3, &[])], &[a]), "relocates a section that does not exist"),
        (object(vec![text(), rel(1, 1, &[])], &[a]), "relocations without a symbol table"),
        (object(vec![text(), rel(1, 3, &[(0, 9, 1)])], &[a]), "against a symbol that does not exist"),
        (object(vec![text(), rel(1, 3, &[(16, 1, 1)])], &[a]), "beyond the end of its section"),
        (object(vec![text(), rel(1, 3, &[(0, 1, 10)])], &[a]), "R_BPF_64_32 on what is not a call"),
        (object(vec![text(), rel(1, 3, &[(0, 1, 1)])], &[a]), "R_BPF_64_64 on what is not a plain ld_imm64"),
        (object(vec![text(), rel(1, 3, &[(0, 1, 3)])], &[a]), "a relocation that no instruction can have"),
        (object(vec![wide(), rel(1, 3, &[(8, 1, 1)])], &[all]), "relocation inside an instruction"),
        (object(vec![wide(), rel(1, 3, &[(0, 1, 1), (0, 1, 1)])], &[all]), "a second relocation of one"),
        (object(vec![wide(), rel(1, 3, &[(16, 1, 77)])], &[a]), "neither code nor data can have"),
        (object(vec![text()], &[("a", FUNC, 1, 0, 24)]), "a function beyond the end of its section"),
        (object(vec![text()], &[("a", FUNC, 1, 4, 8)]), "a function that starts inside a slot"),
        (object(vec![text()], &[("a", FUNC, 1, 0, 12)]), "a function that ends inside a slot"),
        (object(vec![text()], &[("a", FUNC, 77, 0, 16)]), "in a section that does not exist"),
    ];
    for (file, reason) in cases {
        let error = Object::parse(&file).expect_err(reason);
        assert!(matches!(error, ElfError::Section { .. } | ElfError::Symbol { .. }), "{error}");
        assert!(error.to_string().contains(reason), "{error}, not {reason}");
    }
}
