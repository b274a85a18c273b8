//! Objects with jump tables that clang 22 made, before and after passes. No kernel here loads them, so an interpreter runs
//! them.

use std::fs;

use object::{Object as _, ObjectSection as _, ObjectSymbol as _};
use relinear::bpf::opcode::{LD_MAP_VALUE, W};
use relinear::bpf::{Cfg, Endian, Insn, InsnReason, dis};
use relinear::elf::passes::{Blind, Dce};
use relinear::elf::{CodeSection, Object, Pass, PatchReason, Referent, patch};
use relinear::fuzzing::interp::{Machine, MapValues, Outcome};
use relinear::passes;

const OBJECTS: [(&str, Endian); 3] =
    [("gotox.o", Endian::Little), ("gotox_more.o", Endian::Little), ("gotox_more.be.o", Endian::Big)];

fn read(name: &str) -> Vec<u8> {
    fs::read(format!("{}/tests/data/elf/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// The text of every instruction, as the file has them.
fn texts(code: &CodeSection) -> Vec<String> {
    let insns: Vec<Insn> = (0..).take(code.program().insns.len()).map(|slot| code.insn(slot)).collect();
    dis::dis_all(&insns).to_string().lines().map(str::to_owned).collect()
}

/// The offsets that jump tables hold, and the bytes of their section, by another reader.
fn tables(file: &[u8], endian: Endian) -> (Vec<u8>, Vec<u64>) {
    let file = object::File::parse(file).unwrap();
    let bytes = file.section_by_name(".jumptables").unwrap().data().unwrap().to_vec();
    let word = |bytes: &[u8]| {
        let bytes = bytes.try_into().unwrap();
        if endian == Endian::Big { u64::from_be_bytes(bytes) } else { u64::from_le_bytes(bytes) }
    };
    let words = bytes.chunks(8).map(word).collect();
    (bytes, words)
}

#[test]
fn targets_are_the_entries_of_the_tables() {
    for (name, endian) in OBJECTS {
        let data = read(name);
        let object = Object::parse(&data).unwrap();
        assert_eq!(object.check(), [], "{name}");
        let code = object.code().iter().find(|code| !code.program().insn_array.is_empty()).unwrap();
        let mut expected: Vec<_> =
            tables(&data, endian).1.iter().map(|offset| Some(u32::try_from(offset / 8).unwrap())).collect();
        expected.sort_unstable();
        expected.dedup();
        assert_eq!(code.program().insn_array, expected, "{name}");
        let cfg = Cfg::new(code.program()).unwrap();
        for entry in expected.into_iter().flatten() {
            let block = cfg.block_at(entry);
            assert!(cfg.blocks()[block as usize].start == entry && cfg.is_reachable(block), "{name} {entry}");
        }
        let texts = texts(code);
        let gotox = texts.iter().filter(|text| text.starts_with("gotox r"));
        assert_eq!(gotox.count(), if name == "gotox.o" { 1 } else { 4 }, "{name}");
    }
}

/// What a function of the object does with this number, and leaves in the variable `g`.
fn run(file: &[u8], endian: Endian, function: &str, number: u32) -> Outcome {
    let object = Object::parse(file).unwrap();
    let (index, code) =
        object.code().iter().enumerate().find(|(_, code)| !code.program().insn_array.is_empty()).unwrap();
    let function = code.functions().iter().find(|found| found.name == function).unwrap();
    // `r1 = *(u32 *)r1; call function; exit`, then the section. A program gets a pointer to the number.
    let by_number = code.name() == ".text";
    let head = [
        if by_number { Insn::ldx(W, 1, 1, 0) } else { Insn::mov64_reg(1, 1) },
        Insn::call_local(i32::try_from(function.start).unwrap() + 1),
        Insn::exit(),
    ];
    let mut insns = [&head[..], &code.program().insns].concat();
    for relocation in code.relocations() {
        let at = head.len() + relocation.slot as usize;
        let Referent::Data { section, offset } = object.referent(index, relocation) else { panic!() };
        let map = i32::from(section != ".jumptables");
        let load = Insn::ld_imm64_kind(insns[at].dst(), LD_MAP_VALUE, map, i32::try_from(offset).unwrap());
        insns.splice(at..at + 2, load);
    }
    // The tables count from the section, which is behind the head.
    let moved = tables(file, endian).1.into_iter().flat_map(|offset| {
        let offset = offset + 8 * head.len() as u64;
        if endian == Endian::Big { offset.to_be_bytes() } else { offset.to_le_bytes() }
    });
    let context = if endian == Endian::Big { number.to_be_bytes() } else { number.to_le_bytes() };
    let mut g = 5_u32.to_le_bytes();
    if endian == Endian::Big {
        g.reverse();
    }
    let maps = vec![MapValues { size: 8, bytes: moved.collect() }, MapValues { size: 4, bytes: g.to_vec() }];
    let machine = Machine { endian, context: context.to_vec(), maps, ..Machine::default() };
    let mut outcome = machine.run(&insns).unwrap_or_else(|fault| panic!("{number}: {fault}"));
    // What moves.
    outcome.maps.remove(0);
    outcome
}

/// The pass of this name.
fn pass(name: &str) -> &'static dyn Pass {
    const BLIND: Blind = Blind::new();
    if name == "dce" { &Dce } else { &BLIND }
}

#[test]
fn passes_keep_what_programs_do() {
    for (name, endian) in OBJECTS {
        let data = read(name);
        let functions = if name == "gotox.o" { &["sw"][..] } else { &["twice", "global"] };
        let mut values = std::collections::BTreeSet::new();
        for passes in [&["dce"][..], &["blind"], &["dce", "blind"], &["blind", "dce"]] {
            let passes: Vec<&dyn Pass> = passes.iter().map(|name| pass(name)).collect();
            let mut object = Object::parse(&data).unwrap();
            patch(&mut object, &passes).unwrap();
            let written = object.write().unwrap();
            let again = Object::parse(&written).unwrap();
            assert_eq!(again.check(), [], "{name}");
            assert_eq!(
                again.code().iter().map(|code| &code.program().insn_array).collect::<Vec<_>>(),
                object.code().iter().map(|code| &code.program().insn_array).collect::<Vec<_>>(),
            );
            for function in functions {
                for number in 0..22 {
                    let before = run(&data, endian, function, number);
                    assert_eq!(run(&written, endian, function, number), before, "{name} {function} {number}");
                    values.insert((before.value, before.maps));
                }
            }
        }
        assert!(values.len() > 18, "{name}: {} outcomes", values.len());
    }
}

#[test]
fn a_function_goes_with_its_table() {
    let data = read("gotox_more.o");
    let has_unused = |file: &[u8]| {
        let file = object::File::parse(file).unwrap();
        file.symbols().any(|symbol| symbol.name() == Ok("unused"))
    };
    assert!(has_unused(&data));
    let mut object = Object::parse(&data).unwrap();
    patch(&mut object, &[pass("dce")]).unwrap();
    assert!(!has_unused(&object.write().unwrap()));
    // Of its table nothing is known any more; those of the others are whole.
    let entries =
        |object: &Object<'_>| object.code().iter().map(|code| code.program().insn_array.len()).sum::<usize>();
    let before = entries(&Object::parse(&data).unwrap());
    assert_eq!(entries(&object), before - 15);
}

#[test]
fn arguments_on_the_stack_are_shown_and_refused_with_their_place() {
    let data = read("../refused/stack_args.o");
    let object = Object::parse(&data).unwrap();
    let texts: Vec<String> = object.code().iter().flat_map(texts).collect();
    // By llvm-objdump of LLVM 22.
    assert!(texts.contains(&"r0 = *(u64 *)(r11 + 0x8)".to_owned()), "{texts:?}");
    assert!(texts.contains(&"*(u64 *)(r11 - 0x8) = 0x6".to_owned()), "{texts:?}");
    let findings = object.check();
    let places: Vec<(&str, u32)> =
        findings.iter().map(|found| (object.code()[found.code].name(), found.slot)).collect();
    assert_eq!(places, [(".text", 0), ("tc", 5)]);
    assert!(
        findings.iter().all(|found| found.message == InsnReason::StackArgument.to_string()),
        "{findings:?}"
    );
    for name in ["dce", "blind"] {
        let mut object = Object::parse(&data).unwrap();
        let error = patch(&mut object, &[pass(name)]).unwrap_err();
        assert!(matches!(error.reason, PatchReason::Pass(passes::Error::Cfg(_))), "{error}");
        let text = error.to_string();
        for part in ["section \".text\"", "function six", "slot 0", "by r11"] {
            assert!(text.contains(part), "{text}");
        }
    }
}

/// What the tables name must be instructions of one function.
#[test]
fn a_table_that_leads_nowhere_is_found() {
    let data = read("gotox.o");
    let file = object::File::parse(&*data).unwrap();
    let (start, _) = file.section_by_name(".jumptables").unwrap().file_range().unwrap();
    let at = usize::try_from(start).unwrap() + 8;
    // The second slot of a load, the middle of a slot, the end, and far away.
    for (bytes, place) in
        [(12_u64 * 8, "slot 12"), (73, "slot 4294967295"), (101 * 8, "slot 101"), (1 << 60, "slot 429")]
    {
        let mut bad = data.clone();
        bad[at..at + 8].copy_from_slice(&bytes.to_le_bytes());
        let mut object = Object::parse(&bad).unwrap();
        let findings = object.check();
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].message.contains(place), "{findings:?}");
        // The function is left alone, or the object refused.
        let whole = object.write().unwrap();
        patch(&mut object, &[pass("blind")]).unwrap();
        assert_eq!(object.write().unwrap(), whole);
        let mut object = Object::parse(&bad).unwrap();
        object.strict(true);
        let error = patch(&mut object, &[pass("blind")]).unwrap_err();
        assert!(error.to_string().contains("of the jump tables leads to"), "{error}");
    }
}
