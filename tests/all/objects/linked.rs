//! Counters and scripts, run by the interpreter: an object is linked here as a loader links it.

use relinear::Arena;
use relinear::bpf::opcode::{CALL_KFUNC, LD_MAP_IDX_VALUE};
use relinear::bpf::{Insn, Program};
use relinear::count::{self, Options, Row};
use relinear::elf::{DATA_SECTION, Object, Referent};
use relinear::fuzzing::interp::{Machine, MapValues, Outcome};
use relinear::script::Script;

use crate::cli::{data, read};

/// The program that starts with the code section `main`, with `.text` behind it.
fn link(object: &Object<'_>, main: &str) -> Vec<Insn> {
    let index = |name: &str| object.code().iter().position(|code| code.name() == name).expect("it is there");
    let parts = [index(main), index(".text")];
    let program = |code: usize| -> &Program { object.code()[code].program() };
    let base = |code: usize| if code == parts[0] { 0 } else { program(parts[0]).insns.len() };
    let mut insns = [&program(parts[0]).insns[..], &program(parts[1]).insns].concat();
    for code in parts {
        for relocation in object.code()[code].relocations() {
            let at = base(code) + relocation.slot as usize;
            let insn = insns[at];
            match object.referent(code, relocation) {
                Referent::Code { code, slot } if insn.is_call() => {
                    assert_eq!(insn.src(), CALL_KFUNC, "a call that a loader fills in");
                    let to = base(code) + slot as usize;
                    let [to, from] = [to, at].map(|slot| i64::try_from(slot).expect("short"));
                    let displacement = to - from - 1;
                    insns[at] = Insn::call_local(i32::try_from(displacement).expect("short programs"));
                }
                Referent::Data { section, offset } if section == DATA_SECTION => {
                    insns[at] = insn.with_src(LD_MAP_IDX_VALUE).with_imm(0);
                    insns[at + 1] = insns[at + 1].with_imm(i32::try_from(offset).expect("few variables"));
                }
                other => panic!("slot {at}: {other:?}"),
            }
        }
    }
    insns
}

/// Runs the XDP program of a section on a packet of 64 bytes, all of them set.
fn run(object: &Object<'_>, main: &str) -> Outcome {
    let machine = Machine {
        packet: vec![0xff; 64],
        context: vec![0; 24],
        packet_starts: vec![0],
        packet_ends: vec![4],
        maps: vec![MapValues { size: 1024, bytes: vec![0; 1024] }],
        frame: 1024,
        ..Machine::default()
    };
    machine.run(&link(object, main)).unwrap_or_else(|fault| panic!("{main}: {fault}"))
}

/// The object after an edit.
fn edited(file: &[u8], edit: impl FnOnce(&mut relinear::elf::ObjectEditor<'_, '_>)) -> Object<'_> {
    let mut object = Object::parse(file).expect("an object of clang's");
    let arena = Arena::new();
    let mut editor = object.edit(&arena);
    edit(&mut editor);
    let change = editor.finish().unwrap_or_else(|error| panic!("{error}"));
    object.commit(change).unwrap_or_else(|error| panic!("{error}"));
    object
}

/// How often each function of `subprogs.c` runs when a program does: `mix_all` calls `mix` for each word, four in `sum` and two
/// in `second`; with these bytes `scale` does not.
const RUNS: [(&str, [(&str, u64); 5]); 2] = [
    ("xdp", [("sum", 1), ("mix_all", 1), ("mix", 4), ("scale", 1), ("classify", 0)]),
    ("xdp.frags", [("second", 1), ("mix_all", 1), ("mix", 2), ("scale", 0), ("orphan", 0)]),
];

#[test]
fn counters_hold_what_the_source_says() {
    let file = read(data("subprogs.o"));
    let original = Object::parse(&file).expect("an object of clang's");
    for (exits, time) in [(false, false), (true, false), (true, true)] {
        let object = edited(&file, |edit| {
            let report = count::run(edit, &Options { exits, time }).unwrap_or_else(|error| panic!("{error}"));
            assert!(report.functions.iter().all(|function| function.time == time), "{report:?}");
        });
        // As others read it.
        let bytes = object.write().expect("it can be written");
        let object = Object::parse(&bytes).expect("it can be read");
        for (main, expected) in RUNS {
            let (before, after) = (run(&original, main), run(&object, main));
            assert_eq!((after.value, &after.packet), (before.value, &before.packet), "{main}");
            let rows = count::read(&count::counters(&object), &after.maps[0], object.endian());
            for (function, runs) in expected {
                let row: &Row = rows.iter().find(|row| row.function == function).expect("it is counted");
                assert_eq!(row.entries, Some(runs), "{function} in {main}");
                assert_eq!(row.exits, exits.then_some(runs), "{function} in {main}");
                assert_eq!(row.nanoseconds.is_some(), time, "{function} in {main}");
            }
        }
    }
}

const SCRIPT: &str = "
data entries 8
data calls 8
data sum_of_log 8
at sum entry prepend
    {a} = &entries ll
    {b} = 1
    lock *(u64 *)({a} + 0x0) += {b}
at sum call mix_all prepend
    {a} = &entries + 8 ll
    {b} = *(u64 *)({a} + 0)
    if {b} s< 0 goto next
    {b} += 1
    *(u64 *)({a} + 0) = {b}
at mix exit prepend
    r1 = 20
    r2 = 22
    call log_it
func log_it(2)
    r0 = r1
    r0 += r2
    r1 = &sum_of_log ll
    lock *(u64 *)(r1 + 0) += r0
    exit
at second exit replace
    r0 = 77
    exit
at second entry prepend
    call bpf_ktime_get_ns#5
";

#[test]
fn scripts_do_what_they_say_in_the_interpreter() {
    let file = read(data("subprogs.o"));
    let original = Object::parse(&file).expect("an object of clang's");
    let object = edited(&file, |edit| {
        let script = Script::parse(SCRIPT).unwrap_or_else(|error| panic!("{error}"));
        script.run(edit).unwrap_or_else(|error| panic!("{error}"));
    });
    let bytes = object.write().expect("it can be written");
    let object = Object::parse(&bytes).expect("it can be read");
    let (before, after) = (run(&original, "xdp"), run(&object, "xdp"));
    assert_eq!((after.value, &after.packet), (before.value, &before.packet));
    let words: Vec<u64> =
        after.maps[0].chunks(8).map(|word| u64::from_le_bytes(word.try_into().expect("eight"))).collect();
    assert_eq!(words[..3], [1, 1, 4 * 42]);
    assert_eq!(run(&object, "xdp.frags").value, 77);
}
